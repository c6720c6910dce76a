"""The figure of Is it the embedding? that the README shows, drawn anew from the study's records.

    python benchmarks/evidence.py

Writes results/evidence/width.png; what it shows is named in the file, so that a test can tell
whether it is older than the records.
"""

import argparse
import hashlib
import json
from pathlib import Path

from clearly import clearly

from opembed_nb.lab.arms import study_records
from opembed_nb.lab.evidence import OUTCOMES, over_arms, plot_rmse, width_of

PATH = Path(__file__).parents[1] / "results" / "evidence" / "width.png"
DATA = ["enas-digits", "nas-bench-graph/arxiv", "nas-bench-201/cifar10", "enas-cifar10"]
LABEL = "numbers in an operation's learned row; 0: one row for all operations"


def shown(records):
    "What the figure is drawn from, as a hash."
    rmse = {
        f"{name} {arm}": [OUTCOMES["rmse"].read(values) for values in runs]
        for name in DATA
        for arm, runs in over_arms(records, name).items()
        if width_of(arm) is not None
    }
    return hashlib.sha256(json.dumps(rmse, sort_keys=True).encode()).hexdigest()


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    records = study_records()
    fig = plot_rmse(records, DATA, width_of, LABEL)
    fig.axes[0].annotate("the paper's data", (0.1, 0.22), (1, 0.2), fontsize=9, va="center",
                         arrowprops=dict(arrowstyle="->"))  # fmt: skip
    fig.savefig(PATH, dpi=120, metadata={"Description": shown(records)})
    print(PATH)


if __name__ == "__main__":
    clearly(main)
