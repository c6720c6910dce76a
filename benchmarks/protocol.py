"""Time to the paper's accuracy, by the recipe and by the public code's protocol, on the same core.

    python benchmarks/protocol.py PUBLIC [--models NAME …] [--turns 5] [--device cuda] [--stack 1]

PUBLIC is a clone of the public D-VAE repository. Its protocol is 300 epochs of training in
batches of 32. Its training step and ours, both at the paper's width and on one thread, are timed in
turns: as many passes and as large minibatches as the committed runs of the profile `laptop` had,
whose accuracy stands next to the ratio. The record goes to results/speed/protocol.json.

On a GPU ours is a stack of so many seeds (Stacks), of which each has its share of the seconds,
those outside its passes too, and a turn is a pass over the whole training set; the record goes to
results/speed/gpu/protocol.json, with a stack of several as protocol-stack-K.json.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace

import torch
from clearly import at_least, clearly
from gpu import about
from run import HIDDEN, LATENT, ROOT, clone, public

from opembed_nb.hood.files import chosen_device
from opembed_nb.hood.records import provenance, read_records
from opembed_nb.hood.sources import load_dataset
from opembed_nb.lab.stacks import fit_stack
from opembed_nb.training import PAPER_TABLE_1, TrainConfig, fit

DATASET = "enas-cifar10"
PASSES, BATCH = 300, 32  # of the public protocol
GRAPHS = 640  # architectures in a turn


def public_seconds(work, device):
    "Seconds per architecture of the public training step."
    start, done = time.perf_counter(), 0
    while done < GRAPHS // 4:
        done += work()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / done


def on_a_core(name, train, config, turns, work):
    "Seconds per architecture, the public code's and ours, of each turn, and no others."
    theirs, ours = [], []
    for turn in range(turns):
        theirs.append(public_seconds(work, "cpu"))
        some = train[slice(turn * GRAPHS, (turn + 1) * GRAPHS)]
        config = replace(config, epochs=1)
        run = fit(name, some, config, progress=False, hidden=HIDDEN, latent=LATENT)
        ours.append(run.history[0]["seconds"] / len(some))
    return theirs, ours, 0.0


def on_a_gpu(name, train, config, turns, work, device, k):
    "The same of one of k seeds in a stack, and its share of all other seconds."
    theirs, spent = [], 0.0

    def after(_, epoch, __):
        nonlocal spent
        start = time.perf_counter()
        if epoch:
            theirs.append(public_seconds(work, device))
        spent += time.perf_counter() - start

    members = [(None, replace(config, epochs=turns, seed=seed)) for seed in range(k)]
    start = time.perf_counter()
    run, *_ = fit_stack(name, train, members, device=device, after=after,
                        hidden=HIDDEN, latent=LATENT)  # fmt: skip
    whole = (time.perf_counter() - start - spent) / k
    seconds = [row["seconds"] for row in run.history]
    return theirs, [each / len(train) for each in seconds], whole - sum(seconds)


def compare(name, data, args):
    "Medians over turns of both, and the ratio of the whole trainings; None: no committed run."
    runs, trained = (
        read_records(ROOT / "results", section, "laptop", DATASET, name)
        for section in ("abilities", "training")
    )
    if not trained:
        return None
    config = TrainConfig(**trained[0]["values"]["config"])
    work = public(name, args.public, data, device=args.device)["training, batch 32"]
    work()
    job = (name, data.train.batch, config, args.turns, work)
    on_gpu = args.device != "cpu"
    theirs, ours, other = on_a_gpu(*job, args.device, args.stack) if on_gpu else on_a_core(*job)
    pass_public = data.n_train * statistics.median(theirs)
    pass_ours = data.n_train * statistics.median(ours)
    row = dict(
        model=name,
        public_seconds_a_pass=round(pass_public, 1),
        our_seconds_a_pass=round(pass_ours, 3 if on_gpu else 1),
        public_passes=PASSES,
        our_passes=config.epochs,
        our_minibatch=config.minibatch,
        ratio=round(PASSES * pass_public / (config.epochs * pass_ours + other), 1),
        ratios_of_turns=[round(a / b, 2) for a, b in zip(theirs, ours)],
        accuracy=[run["values"]["accuracy"] for run in runs],
        paper_accuracy=PAPER_TABLE_1[name][0],
    )
    return row | dict(stack=args.stack, our_other_seconds=round(other, 2)) if on_gpu else row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("public", type=clone, help="a clone of the public D-VAE repository")
    names = list(PAPER_TABLE_1)
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--turns", type=at_least(1), default=5)
    parser.add_argument("--device", default="cpu", help="default: one core of the processor")
    parser.add_argument("--stack", type=at_least(1), default=1, help="seeds at a time, on a GPU")
    args = parser.parse_args()
    on_gpu = chosen_device(args.device) != "cpu"
    if args.stack > 1 and not on_gpu:
        parser.error("--stack: on one core models are trained one after the other")
    torch.set_num_threads(1)
    data, rows = load_dataset(DATASET), []
    start = time.perf_counter()
    for name in args.models:
        row = compare(name, data, args)
        rows += [row] if row else []
        print(json.dumps(row), flush=True)
    seconds = round(time.perf_counter() - start, 1)
    record = dict(rows=rows, seconds=seconds, provenance=provenance())
    path = ROOT / "results" / "speed" / "protocol.json"
    if on_gpu:
        record["gpu"] = about(args.device)
        kind = f"-stack-{args.stack}" if args.stack > 1 else ""
        path = ROOT / "results" / "speed" / "gpu" / f"protocol{kind}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    clearly(main)
