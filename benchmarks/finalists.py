"""Train to the end what the searches of both twins found: the paper's Figures 5 and 6.

    python benchmarks/finalists.py [--winners paper tuned] [--epochs 600] [--trainings 3]

Reads the committed searches of the profile `laptop` (results/laptop/<data>/<model>/seed-0) and
writes finalists.json beside them: the five best of each strategy, five random architectures and the
best of the train part, which both twins have in common, each trained alone from so many weights. A
call that was killed goes on from its checkpoints in runs/finalists.
"""

import argparse
import time
from pathlib import Path

import torch
from clearly import at_least, clearly

from opembed_nb.bo import train_finalists, winners
from opembed_nb.hood.files import require
from opembed_nb.hood.records import read_records, save_record
from opembed_nb.hood.sources import dataset_folder, load_dataset
from opembed_nb.oracle import load_oracle

ROOT = Path(__file__).parents[1]


def searches(args):
    "The search of each model, with the folder that it was read from."
    found = {}
    for record in read_records(args.results, "search", args.profile, dataset_folder(args.data)):
        seed = f"seed-{record['seed']}"
        folder = args.results / args.profile / dataset_folder(args.data) / record["model"] / seed
        top = record["values"]["top"]
        require(
            isinstance(top, dict),
            f"{folder}/search.json does not say what each strategy found; search again",
        )
        found[folder] = record["values"]
    where = args.results / args.profile
    require(found, f"{where} has no search on {args.data}; run opembed search {args.profile} first")
    return found


def train(args):
    data, records, start = load_dataset(args.data), searches(args), time.perf_counter()
    oracle = load_oracle(data)
    found = {
        (folder, name): best
        for folder, record in records.items()
        for name, best in winners(record, args.winners, data.space).items()
    }
    how = args.epochs, args.runs, args.workers
    rows = train_finalists(found, data, oracle, *how, trainings=args.trainings)
    seconds = time.perf_counter() - start
    for folder in records:
        own = [named(row, folder) for row in rows if row["by"] is None or row["by"][0] == folder]
        values = dict(oracle=oracle.name, epochs=args.epochs, trainings=args.trainings, rows=own)
        print(save_record(folder, "finalists", values, seconds))


def named(row, folder):
    "A row of a record: the strategy alone, without the folder."
    return row | dict(by=row["by"] and row["by"][1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="enas-digits")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--winners", nargs="+", default=["paper", "tuned"], metavar="STRATEGY")
    parser.add_argument("--epochs", type=at_least(1), default=600, help="of each training")
    parser.add_argument("--trainings", type=at_least(1), default=3, help="of each architecture")
    parser.add_argument("--workers", type=at_least(1), default=2, help="processes of one thread")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "finalists")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args)


if __name__ == "__main__":
    clearly(main)
