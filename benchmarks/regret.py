"""Search on tables with a known optimum, from nothing but ten random evaluations.

    python benchmarks/regret.py [--data NAME …] [--only STRATEGY …] [--trials 30] [--results DIR]

For each table one record, results/regret/<data>/<model>/seed-0/regret.json, written whole after
each strategy; what is in it already is not run again. The model is that of the profile quick, and
trained first if runs/ has none: on architectures alone, no score is looked at. The
page `nbs/lab/regret` has the results. The committed records have thirty trials of each strategy
and, with `--only paper --trials 10` first, ten of the paper's, which are slow.
"""

import argparse
import hashlib
import time
from pathlib import Path

import torch
from clearly import at_least, clearly

from opembed_nb.hood.files import require
from opembed_nb.hood.records import provenance, read_record, save_record
from opembed_nb.hood.sources import dataset_folder, load_dataset
from opembed_nb.lab.regret import make_arena, study, table_strategies
from opembed_nb.oracle import TableOracle
from opembed_nb.training import train_config, train_or_load

RESULTS = Path(__file__).parents[1] / "results" / "regret"
CELLS = ["nas-bench-201/cifar10", "nas-bench-201/cifar100", "nas-bench-201/imagenet16-120"]
TABLES = [*CELLS, "nas-bench-graph/arxiv"]
MODEL, SIZES = "dvae-emb", dict(hidden=128, latent=56, dim=3)
SETTINGS = dict(start=10, budget=300, q=5)


def trained(name):
    "The model of a table's space; the three tasks on cells share one."
    data = load_dataset(CELLS[0] if name in CELLS else name)
    config = train_config("signal", SIZES["hidden"], epochs=10, training_rounds=1, minibatch=64)
    return train_or_load(MODEL, data, config, "quick", **SIZES)


def facts(arena, run):
    "What a record says besides the strategies."
    oracle, parameters = arena.oracle, run.model.state_dict().values()
    weights = b"".join(p.cpu().contiguous().numpy().tobytes() for p in parameters)
    reported = oracle.accuracy if oracle.test_score is None else oracle.test_score
    return dict(
        oracle=oracle.name,
        version=oracle.version,
        architectures=len(arena.table),
        optimum=oracle.best,
        best_to_report=float(reported.max()),
        model=dict(
            name=MODEL,
            **SIZES,
            epochs=len(run.history),
            seconds=round(sum(row["seconds"] for row in run.history), 1),
            reconstruction=run.history[-1]["reconstruction"],
            weights=hashlib.sha256(weights).hexdigest()[:12],
        ),
    )


def run_table(name, names, trials, results):
    "All strategies on one table, those that are in its record already left out."
    folder = results / dataset_folder(name) / MODEL / "seed-0"
    run, data = trained(name), load_dataset(name)
    arena = make_arena(run.model, data, TableOracle(data))
    record, before = dict(facts(arena, run), strategies={}), 0.0
    if (folder / "regret.json").exists():
        kept = read_record(folder / "regret.json")
        for key in ("version", "model"):
            same = kept["values"][key] == record[key]
            require(same, f"{folder}: was made with another {key}; move it away")
        record, before = kept["values"], kept["seconds"]
    begun = time.perf_counter()
    for strategy in names:
        if strategy in record["strategies"]:
            continue
        found = study(arena, strategy, table_strategies()[strategy], trials, **SETTINGS)
        record["strategies"][strategy] = dict(**found, provenance=provenance())
        save_record(folder, "regret", record, before + time.perf_counter() - begun)
        print(f"{name}, {strategy}: {sum(found['seconds']):.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TABLES, default=TABLES)
    known = table_strategies()
    parser.add_argument("--only", nargs="+", choices=known, default=list(known))
    parser.add_argument("--trials", type=at_least(1), default=30)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.data:
        run_table(name, args.only, args.trials, args.results)


if __name__ == "__main__":
    clearly(main)
