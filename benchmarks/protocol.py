"""Time to the paper's accuracy, by the recipe and by the public code's protocol, on the same core.

    python benchmarks/protocol.py PUBLIC [--models NAME …] [--turns 5]

PUBLIC is a clone of the public D-VAE repository. Its protocol is 300 passes over the train part in
batches of 32. Its training step and ours, both at the paper's width and on one thread, are timed in
turns: as many passes and as large minibatches as the committed runs of the profile `laptop` had,
whose accuracy stands next to the ratio. The record goes to results/benchmarks/protocol.json.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from clearly import at_least, clearly
from run import HIDDEN, LATENT, ROOT, public

from opembed_nb.data import load_dataset
from opembed_nb.records import provenance, read_records
from opembed_nb.training import PAPER_TABLE_1, TrainConfig, fit

DATASET = "enas-cifar10"
PASSES, BATCH = 300, 32  # of the public protocol
GRAPHS = 640  # architectures in a turn


def public_seconds(work):
    "Seconds per architecture of the public training step."
    start, done = time.perf_counter(), 0
    while done < GRAPHS // 4:
        done += work()
    return (time.perf_counter() - start) / done


def our_seconds(name, train, turn, config):
    "Seconds per architecture of a pass as in the committed runs."
    some = train[slice(turn * GRAPHS, (turn + 1) * GRAPHS)]
    run = fit(name, some, config, progress=False, hidden=HIDDEN, latent=LATENT)
    return run.history[0]["seconds"] / len(some)


def compare(name, path, data, turns):
    "Medians over turns of both, and the ratio of the whole trainings; None: no committed run."
    runs, trained = (
        read_records(ROOT / "results", section, "laptop", DATASET, name)
        for section in ("abilities", "training")
    )
    if not trained:
        return None
    config = TrainConfig(**trained[0]["values"]["config"])
    passes, config = config.epochs, replace(config, epochs=1)
    work = public(name, path, data)["training, batch 32"]
    work()
    theirs, ours = [], []
    for turn in range(turns):
        theirs.append(public_seconds(work))
        ours.append(our_seconds(name, data.train.batch, turn, config))
    pass_public = data.n_train * statistics.median(theirs)
    pass_ours = data.n_train * statistics.median(ours)
    return dict(
        model=name,
        public_seconds_a_pass=round(pass_public, 1),
        our_seconds_a_pass=round(pass_ours, 1),
        public_passes=PASSES,
        our_passes=passes,
        our_minibatch=config.minibatch,
        ratio=round(PASSES * pass_public / (passes * pass_ours), 1),
        ratios_of_turns=[round(a / b, 2) for a, b in zip(theirs, ours)],
        accuracy=[run["values"]["accuracy"] for run in runs],
        paper_accuracy=PAPER_TABLE_1[name][0],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("public", type=Path, help="a clone of the public D-VAE repository")
    names = list(PAPER_TABLE_1)
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--turns", type=at_least(1), default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = load_dataset(DATASET), []
    start = time.perf_counter()
    for name in args.models:
        row = compare(name, args.public, data, args.turns)
        rows += [row] if row else []
        print(json.dumps(row), flush=True)
    seconds = round(time.perf_counter() - start, 1)
    record = dict(rows=rows, seconds=seconds, provenance=provenance())
    path = ROOT / "results" / "benchmarks" / "protocol.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    clearly(main)
