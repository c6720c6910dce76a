"""The scoreboard where a reader meets it first: on the book's first page and in the README.

    python benchmarks/scoreboard.py

Writes nbs/scoreboard.svg, and the table between the marks of README.md, from the records of the
profile `laptop` in results/. Run it when there are new ones; a test fails until then.
"""

from pathlib import Path

from opembed_nb.scoreboard import scoreboard_figure, short_scoreboard

ROOT, PROFILE = Path(__file__).parents[1], "laptop"
START, END = "<!-- scoreboard -->\n", "\n<!-- /scoreboard -->"


def write(root):
    "Draw the figure and fill the README of the project at `root`."
    figure = scoreboard_figure(root / "results", PROFILE)
    (root / "nbs" / "scoreboard.svg").write_text(figure, encoding="utf-8")
    readme = root / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    table = short_scoreboard(root / "results", PROFILE)
    readme.write_text(before + START + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
