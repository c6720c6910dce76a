"""A supernet that applies its last operation whatever is asked, and one that does as it is told.

    python benchmarks/fault.py [--seeds 0 1 2] [--rows 1000] [--draws 3] [--epochs 2500]
                               [--models supernet supernet-last-branch] [--public PUBLIC]

Both are trained alike on the digits: images, schedule, seed, sampled architectures. They are asked
for architectures of the paper's file, and for the same wirings with other operations drawn at
random. The records go to results/fault/: one of the file itself, one of each supernet and seed, and
where PUBLIC, a clone of the public D-VAE repository, is given, one of the architectures that its
search found. Records that are there are not made again; a training that was killed goes on. Needs
the paper's file (chapter 0 says where it is looked for).
"""

import argparse
import re
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from clearly import at_least, clearly

from opembed_nb.data import (
    ENAS,
    DAGBatch,
    cat_batches,
    extremes,
    from_flat,
    load_dataset,
    random_architectures,
    to_flat,
    wirings,
)
from opembed_nb.graph_properties import (
    average_path_length,
    clustering_coefficient,
    edge_count,
    operation_means,
    pearson,
    variance_within,
)
from opembed_nb.hood.networks import NETWORKS, digit_images, train_supernet
from opembed_nb.hood.records import run_folder, save_record
from opembed_nb.lab.operations_ignored import LastBranch, train_last_branch
from opembed_nb.oracle import WeightSharingOracle

RESULTS = Path(__file__).parents[1] / "results"
PAPER, OURS = "enas-cifar10", "enas-digits"
MODELS = {  # name → its fault, and who trains it
    "supernet": (None, train_supernet),
    "supernet-last-branch": (LastBranch.fault, train_last_branch),
}


def correlations(batch, accuracy):
    "With accuracy: the paper's two properties, the number of edges, and paths with edges fixed."
    length, edges = average_path_length(batch), edge_count(batch)
    found = {
        "average path length": pearson(length, accuracy),
        "clustering coefficient": pearson(clustering_coefficient(batch), accuracy),
        "edges": pearson(edges, accuracy),
        "average path length, edges fixed": pearson(length, accuracy, given=edges),
    }
    return {name: correlation._asdict() for name, correlation in found.items()}


def dependence(batch, accuracy):
    "How far the accuracy of architectures that share a wiring differs, and that of operations."
    wiring = wirings(batch)
    size, (low, high) = wiring.bincount(), extremes(accuracy, wiring)
    of_operations = operation_means(batch, accuracy.double())
    between = of_operations.amax(1) - of_operations.amin(1)
    return dict(
        architectures=len(batch),
        mean=float(accuracy.mean()),
        std=float(accuracy.std()),
        wirings=len(size),
        several=int((size > 1).sum()),
        depend=int((low != high).sum()),
        widest=float((high - low).max()),
        within=variance_within(accuracy, wiring),
        operations=float(between.max()),
    )


def rounded(pairs):
    "Accuracies of architectures that share a wiring, two and two."
    return [[round(a, 4) for a in pair] for pair in pairs.tolist()]


def by_chance(batch, accuracy, shuffles=200):
    "What the largest difference between operations is where accuracy has nothing to do with them."
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(shuffles):
        order = torch.randperm(len(accuracy), generator=generator)
        means = operation_means(batch, accuracy[order].double())
        found.append(float((means.amax(1) - means.amin(1)).max()))
    return torch.tensor(found).quantile(torch.tensor([0.025, 0.975])).tolist()


def file_itself(folder):
    "What the paper's file says, for a reader who does not have it."
    start, data = time.perf_counter(), load_dataset(PAPER)
    wiring, accuracy = wirings(data.batch), data.accuracy
    train, test = (wiring[rows] for rows in data.order.tensor_split([data.n_train]))
    twice = [rows[:2] for rows in wiring.argsort(stable=True).split(wiring.bincount().tolist())]
    pairs = accuracy[torch.stack([rows for rows in twice if len(rows) == 2])]
    values = dict(
        **dependence(data.batch, accuracy),
        operations_by_chance=by_chance(data.batch, accuracy),
        correlations=correlations(data.batch, accuracy),
        test=len(test),
        known=int(torch.isin(test, train).sum()),
        pairs=rounded(pairs.unique(dim=0)),
    )
    save_record(folder, "fault", values, time.perf_counter() - start)


def found_by_search(folder, public):
    "The architectures that a public script trains in full, with what the search had measured."
    start = time.perf_counter()
    script = public / "bayesian_optimization" / "fully_train_ENAS.py"  # read, never run
    listed = re.findall(r"^((?:\d+ ){21})(0\.\d+)\s*$", script.read_text(encoding="utf-8"), re.M)
    batch = from_flat([row.strip() for row, _ in listed])
    wiring, known = wirings(batch), set(to_flat(load_dataset(PAPER).batch))
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    commit = subprocess.run(command, cwd=public, capture_output=True, text=True, check=True)
    counts = dependence(batch, torch.tensor([float(accuracy) for _, accuracy in listed]))
    values = dict(
        public="muhanzhang/D-VAE",
        public_commit=commit.stdout.strip(),
        **{name: counts[name] for name in ("architectures", "wirings", "several", "depend")},
        sharing=int((wiring.bincount()[wiring] > 1).sum()),
        new=sum(row not in known for row in to_flat(batch)),
    )
    save_record(folder, "fault", values, time.perf_counter() - start)


def sample(data, rows, draws):
    "Architectures of the file, then the same wirings with other operations: rows · draws of them."
    generator = torch.Generator().manual_seed(0)
    picked = torch.randperm(len(data), generator=generator)[:rows]
    own = data.batch[picked]
    others = random_architectures(rows * (draws - 1), data.space, generator).ops.split(rows)
    drawn = [DAGBatch(ops, own.adj, own.n_nodes) for ops in others]
    return cat_batches([own, *drawn]), data.accuracy[picked]


def supernet(folder, fault, train, seed, args):
    "Train one supernet and ask it for all architectures of the sample."
    images = digit_images()
    sizes, schedule = NETWORKS["digits"]["supernet"]
    schedule = replace(schedule, epochs=args.epochs, cycle=args.epochs, seed=seed)
    work = run_folder(OURS, folder.parent.name, seed, f"fault-{args.epochs}")
    net, history = train(images, ENAS, sizes, schedule, work)
    start, trained = time.perf_counter(), sum(row["seconds"] for row in history)
    oracle = WeightSharingOracle(net, images)
    batch, papers = sample(load_dataset(PAPER), args.rows, args.draws)
    accuracy = oracle(batch)
    own = accuracy[: args.rows]
    values = dict(
        fault=fault,
        schedule=asdict(schedule),
        sizes=asdict(sizes),
        oracle=oracle.version,
        train_loss=history[-1]["loss"],
        training_seconds=round(trained, 1),
        rows=args.rows,
        draws=args.draws,
        **dependence(batch, accuracy),
        correlations=correlations(batch[: args.rows], own),
        with_papers=pearson(own, papers)._asdict(),
        pairs=rounded(accuracy.view(args.draws, -1)[:2, :200].T),
    )
    save_record(folder, "fault", values, trained + time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=at_least(1), default=1000, help="architectures of the file")
    parser.add_argument(
        "--draws", type=at_least(1), default=3, help="choices of operations of each"
    )
    parser.add_argument(
        "--epochs", type=at_least(1), default=NETWORKS["digits"]["supernet"][1].epochs
    )
    parser.add_argument("--public", type=Path, help="a clone of the public D-VAE repository")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where records are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)  # one thread: the records say the same on every run of a machine
    folder = run_folder(PAPER, "data", 0, "fault", args.results)
    if not (folder / "fault.json").exists():
        file_itself(folder)
    folder = run_folder(PAPER, "search", 0, "fault", args.results)
    if args.public and not (folder / "fault.json").exists():
        found_by_search(folder, args.public)
    for seed in args.seeds:
        for model in args.models:
            folder = run_folder(OURS, model, seed, "fault", args.results)
            if not (folder / "fault.json").exists():
                supernet(folder, *MODELS[model], seed, args)
                print(folder, flush=True)


if __name__ == "__main__":
    clearly(main)
