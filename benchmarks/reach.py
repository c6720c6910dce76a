"""How much of z reaches each node before training, and the losses that follow.

    python benchmarks/reach.py

Writes results/reach.json, with where it comes from, and results/reach.png, the first picture of
the README.
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from clearly import clearly

from opembed_nb.data import load_dataset
from opembed_nb.hood.records import provenance
from opembed_nb.lab.commands import PACKAGED_DATA
from opembed_nb.training import INITIAL_WEIGHTS, MODELS, build_model, reach, read_card

RESULTS = Path(__file__).parents[1] / "results"
MODEL, DATA, HIDDEN, SEEDS = "dvae-emb", "enas-digits", 128, range(5)


def measure():
    "The reach of z with each kind of initial weights, a row a seed; `nodes` are 1 … 7."
    start, data = time.perf_counter(), load_dataset(DATA)
    found = {}
    for kind, initialise in INITIAL_WEIGHTS.items():
        rows = []
        for seed in SEEDS:
            model = build_model(MODEL, data.space, hidden=HIDDEN, seed=seed).eval()
            initialise(model, data.train.batch, seed)
            rows.append(reach(model, data.test.batch[:200]).tolist())
        found[kind] = rows
    seconds = round(time.perf_counter() - start, 1)
    return dict(
        reach=found,
        model=MODEL,
        data=DATA,
        hidden=HIDDEN,
        seconds=seconds,
        provenance=provenance(),
    )


def draw(record, path):
    "Left: the reach; right: the losses of the packaged models, trained from the new weights."
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=110, facecolor="white")
    for (kind, rows), style in zip(record["reach"].items(), ("s--", "o-"), strict=True):
        rows = torch.tensor(rows)
        label = "PyTorch's weights" if kind == "pytorch" else "weights that let z through"
        left.semilogy(range(1, 8), rows.mean(0), style, label=label)
        left.fill_between(range(1, 8), rows.amin(0), rows.amax(0), alpha=0.2)
    left.set(xlabel="node (7 is the output)", ylabel="change of log p(type) with z")
    left.set_title("before training: how much of z arrives", fontsize=10)
    left.legend(frameon=False, fontsize=9)
    seconds = []
    for dataset in PACKAGED_DATA:
        for name in ("dvae", "dvae-emb"):
            card = read_card(name, dataset)
            seconds.append(card["seconds"] / len(card["history"]))
            curve = [row["reconstruction"] for row in card["history"]]
            style = "--" if name == "dvae" else "-"
            label = f"{MODELS[name].title}, {dataset}"
            right.semilogy(range(1, len(curve) + 1), curve, style, label=label)
    span = f"{min(seconds):.0f} to {max(seconds):.0f} s on one core"
    right.set(xlabel=f"pass over the train part ({span})", ylabel="reconstruction loss")
    right.set_title("training from the new weights", fontsize=10)
    right.legend(frameon=False, fontsize=9)
    fig.tight_layout()
    fig.savefig(path)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    record = measure()
    (RESULTS / "reach.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(record, RESULTS / "reach.png")


if __name__ == "__main__":
    clearly(main)
