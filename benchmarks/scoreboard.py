"""The scoreboard where a reader meets it first: on the book's first page and in the README.

    python benchmarks/scoreboard.py

Writes nbs/scoreboard.svg, and the tables between the marks of README.md, from the records of the
profile `laptop` in results/. Run it when there are new ones; a test fails until then.
"""

import argparse
from pathlib import Path

from clearly import clearly

from opembed_nb.hood.files import require, write_whole
from opembed_nb.lab.scoreboard import scoreboard_figure, short_scoreboard, short_twins

ROOT, PROFILE = Path(__file__).parents[1], "laptop"
TABLES = {"scoreboard": short_scoreboard, "twins": short_twins}  # marks in the README


def write(root):
    "Draw the figure and fill the README of the project at `root`."
    figure, readme = scoreboard_figure(root / "results", PROFILE), root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for mark, table in TABLES.items():
        start, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
        for each in (start, end):
            require(text.count(each) == 1, f"{readme}: needs a line {each.strip()}, once")
        before, rest = text.split(start)
        text = before + start + table(root / "results", PROFILE) + end + rest.split(end)[1]
    write_whole(root / "nbs" / "scoreboard.svg", figure.encode())
    write_whole(readme, text.encode())


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    write(ROOT)


if __name__ == "__main__":
    clearly(main)
