"""Time of one training step here and in another checkout, as ratios measured in turns.

    python benchmarks/step.py CHECKOUT [--models dvae-emb gcn-emb] [--widths 128 501]
                                       [--batches 32 64] [--rounds 25] [--encode | --sample]

Each checkout has a process of its own, on one thread. They do the same steps in turns, a few at
a time, and never at the same time, so that whatever else the machine does falls on both; and what
counts is a process's own time on the processor. A ratio above 1: less time here than there.
The record goes to results/speed/step.json (or encode.json, sample.json).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from clearly import at_least, clearly

ROOT = Path(__file__).parents[1]


def work(kind, name, width, size):
    "A closure that does one piece of work, each time on other architectures."
    import torch

    from opembed_nb.hood.sources import load_dataset
    from opembed_nb.training import build_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, model = load_dataset().train.batch, build_model(name, hidden=width, seed=0)
    adam = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    parts = [train[slice(i, i + size)] for i in range(0, 40 * size, size)]

    def step(i):
        model.train()
        adam.zero_grad()
        model.loss(parts[i % len(parts)]).loss.backward()
        adam.step()

    def encode(i):
        model.eval().latents(train[slice(0, 16 * size)])

    def sample(i):
        z = torch.randn(4 * size, model.latent, generator=torch.Generator().manual_seed(i))
        model.eval().sample(z, torch.Generator().manual_seed(i))

    return {"step": step, "encode": encode, "sample": sample}[kind]


def answer(kind, name, width, size):
    "In a process of its own: for each line, do so many pieces of work and print their times in ms."
    import opembed_nb

    do, done = work(kind, name, int(width), int(size)), 0
    print(Path(opembed_nb.__file__).parents[1], flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.process_time()
            do(done)
            done += 1
            times.append(1000 * (time.process_time() - start))
        print(*times, flush=True)


class Worker:
    "A process that works with the package of one checkout."

    def __init__(self, checkout, *what):
        command = [sys.executable, __file__, "--answer", *map(str, what)]
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, env=environment, **pipes)
        found = self.process.stdout.readline().strip()
        if found != str(checkout):
            raise SystemExit(f"{checkout} was to be timed, its process works with {found}")

    def times(self, pieces):
        self.process.stdin.write(f"{pieces}\n")
        self.process.stdin.flush()
        return [float(t) for t in self.process.stdout.readline().split()]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(other, rounds, pieces, *what):
    "Median milliseconds there and here, and the median over the rounds of their ratio."
    workers = Worker(other, *what), Worker(ROOT, *what)
    for worker in workers:
        worker.times(pieces)  # the first ones are slow
    there, here = [], []
    for k in range(rounds):
        turn = [(workers[0], there), (workers[1], here)]
        for worker, times in turn if k % 2 else reversed(turn):
            times.append(statistics.median(worker.times(pieces)))
    for worker in workers:
        worker.end()
    ratios = [a / b for a, b in zip(there, here, strict=True)]
    return statistics.median(there), statistics.median(here), statistics.median(ratios)


def commit_of(checkout):
    command = ["git", "-C", str(checkout), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def keep(kind, checkout, rounds, rows, seconds):
    from opembed_nb.hood.records import provenance

    record = dict(
        there=commit_of(checkout),
        rounds=rounds,
        rows=rows,
        seconds=round(seconds, 1),
        provenance=provenance(),
    )
    path = ROOT / "results" / "speed" / f"{kind}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main():
    if sys.argv[1:2] == ["--answer"]:
        return answer(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="the other checkout")
    parser.add_argument("--models", nargs="+", default=["dvae-emb", "gcn-emb"])
    parser.add_argument("--widths", nargs="+", type=at_least(1), default=[128, 501])
    parser.add_argument("--batches", nargs="+", type=at_least(1), default=[32, 64])
    parser.add_argument("--rounds", type=at_least(1), default=25)
    parser.add_argument(
        "--encode", dest="kind", action="store_const", const="encode", default="step"
    )
    parser.add_argument("--sample", dest="kind", action="store_const", const="sample")
    args = parser.parse_args()
    print(f"{args.kind:8} width batch   there ms    here ms  ratio")
    start, rows = time.perf_counter(), []
    for name in args.models:
        for width in args.widths:
            for size in args.batches:
                pieces = 4 if width < 256 else 2
                what = args.kind, name, width, size
                there, here, ratio = compare(args.checkout.resolve(), args.rounds, pieces, *what)
                line = f"{name:8} {width:5} {size:5} {there:10.1f} {here:10.1f} {ratio:6.2f}"
                print(line, flush=True)
                row = dict(model=name, width=width, batch=size, there_ms=round(there, 1))
                rows.append(row | dict(here_ms=round(here, 1), ratio=round(ratio, 2)))
    keep(args.kind, args.checkout.resolve(), args.rounds, rows, time.perf_counter() - start)


if __name__ == "__main__":
    clearly(main)
