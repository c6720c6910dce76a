"""The scoreboard where a reader meets it first: on the book's first page and in the README.

    python benchmarks/scoreboard.py

Writes nbs/scoreboard.svg, and the tables between the marks of README.md, from the records of the
profile `laptop` in results/. Run it when there are new ones; a test fails until then.
"""

import json
from pathlib import Path

from opembed_nb.scoreboard import Table, scoreboard_figure, short_scoreboard, short_twins
from opembed_nb.training import MODELS

ROOT, PROFILE = Path(__file__).parents[1], "laptop"
TIMES = ("a pass there", "a pass here", "passes there", "passes here", "minibatch here", "ratio")


def times(results, profile):
    "Whole trainings by the public code's protocol and as ours were, timed in turns on one core."
    rows = []
    text = (results / "benchmarks" / "protocol.json").read_text(encoding="utf-8")
    for row in json.loads(text)["rows"]:
        seconds = (f"{row[f'{whose}_seconds_a_pass']:,.0f} s" for whose in ("public", "our"))
        counts = (str(row[key]) for key in ("public_passes", "our_passes", "our_minibatch"))
        rows.append([MODELS[row["model"]].title, *seconds, *counts, f"{row['ratio']:,.0f}"])
    return Table.of(["model", *TIMES], rows)


TABLES = {  # marks in the README
    "scoreboard": short_scoreboard,
    "twins": short_twins,
    "times": times,
}


def write(root):
    "Draw the figure and fill the README of the project at `root`."
    figure = scoreboard_figure(root / "results", PROFILE)
    (root / "nbs" / "scoreboard.svg").write_text(figure, encoding="utf-8")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for mark, table in TABLES.items():
        start, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
        before, rest = text.split(start)
        text = before + start + table(root / "results", PROFILE) + end + rest.split(end)[1]
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
