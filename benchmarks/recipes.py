"""What was tried on the way to the recipe `signal`: every variant, the failures too.

    python benchmarks/recipes.py [--only NAME …] [--workers 2]

Each trial trains on nine tenths of the train part and is judged on the tenth that is left; the
test part is never looked at. Trials that have a record in results/recipes/ are not run again; the
table is written to results/recipes/table.md.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from clearly import at_least, clearly

from opembed_nb.data import load_dataset, same_graphs
from opembed_nb.hood.engines import ProcessEngine
from opembed_nb.hood.intervals import mean_std
from opembed_nb.hood.records import read_records, save_record
from opembed_nb.sgp import SparseGP, metrics
from opembed_nb.training import INITIAL_WEIGHTS, MODELS, fit, signal_weights, train_config

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "recipes"
TWINS = ["dvae-emb", "dvae"]
OTHERS = [name for name in MODELS if name not in TWINS]
DATA = ["enas-cifar10", "enas-digits"]
SIZES = dict(hidden=128, latent=56, dim=3)

# Initial weights: the cure with parts of it changed or left out.
NOTHING = dict(gates=False, operations=0, layers=False, latents=0)
WEIGHTS = {
    "signal": {},
    "only open gates": {**NOTHING, "gates": True},
    "only operations": {**NOTHING, "operations": 0.4},
    "only layers": {**NOTHING, "layers": True},
    "only latents": {**NOTHING, "latents": 0.3},
    "without open gates": dict(gates=False),
    "without operations": dict(operations=0),
    "without layers": dict(layers=False),
    "without latents": dict(latents=0),
    "operations 0.2": dict(operations=0.2),
    "operations 0.8": dict(operations=0.8),
    "latents 0.1": dict(latents=0.1),
    "latents 1": dict(latents=1.0),
}
INITIAL_WEIGHTS.update({k: partial(signal_weights, **v) for k, v in WEIGHTS.items() if v})

# variant: (what differs from the recipe, models, data sets, seeds)
SCREEN = dict(epochs=4)
TRIALS = {
    "pytorch": (dict(SCREEN, weights="pytorch"), TWINS, DATA, [0]),
    **{name: (dict(SCREEN, weights=name), TWINS, DATA[:1], [0]) for name in WEIGHTS},
    "half the step": (dict(SCREEN, lr=0.03 * 128**-0.5), TWINS, DATA[:1], [0]),
    "twice the step": (dict(SCREEN, lr=0.12 * 128**-0.5), TWINS, DATA[:1], [0]),
    "batch 32": (dict(SCREEN, minibatch=32), TWINS, DATA[:1], [0]),
    "batch 128": (dict(SCREEN, minibatch=128), TWINS, DATA[:1], [0]),
    "beta2 0.999": (dict(SCREEN, beta2=0.999), TWINS, DATA[:1], [0]),
    "no clipping": (dict(SCREEN, clip=1e9), TWINS, DATA[:1], [0]),
    "finalist": (dict(epochs=10), TWINS, DATA, [0, 1, 2]),
    "finalist, 20 passes": (dict(epochs=20), OTHERS, DATA[:1], [0]),
}


def trial(variant, model, dataset, seed):
    "Train one variant and judge it on the held-out tenth of the train part."
    start = time.perf_counter()
    changes = TRIALS[variant][0]
    train = load_dataset(dataset).train
    order = torch.randperm(len(train.batch), generator=torch.Generator().manual_seed(1))
    kept, held = order.split([len(order) * 9 // 10, len(order) - len(order) * 9 // 10])
    config = train_config("signal", SIZES["hidden"], seed=seed, **changes)
    run = fit(model, train.batch[kept], config, progress=False, **SIZES)
    test, mu = train.batch[held], run.model.latents(train.batch[held])
    drawn = run.model.sample(mu, torch.Generator().manual_seed(0), repeats=10)
    accuracy = 100 * float(same_graphs(drawn, test.repeat(10)).float().mean())
    gp = SparseGP(300, seed, "tuned").fit(run.model.latents(train.batch[kept]), train.target[kept])
    found = metrics(*gp.predict(mu, noise=True), train.target[held])
    values = dict(
        changes=changes,
        sizes=SIZES,
        curve=[round(row["reconstruction"], 4) for row in run.history],
        training_seconds=round(sum(row["seconds"] for row in run.history), 1),
        accuracy=accuracy,
        rmse=found["rmse"],
        pearson=found["pearson"],
    )
    save_record(folder(variant, model, dataset, seed), "trial", values, time.perf_counter() - start)


def folder(variant, model, dataset, seed):
    return RESULTS / variant / dataset / model / f"seed-{seed}"


COLUMNS = dict(accuracy=2, rmse=3, pearson=3, training_seconds=0)  # digits after the point


def table():
    "All records as a Markdown table, seeds side by side."
    rows = {}
    for r in read_records(RESULTS, "trial"):
        rows.setdefault((r["profile"], r["dataset"], r["model"]), []).append(r["values"])
    lines = [
        "| variant | data | model | seeds | passes | loss after each pass (seed 0) "
        "| accuracy (%) | RMSE | r | seconds |",
        "|---|---|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for variant in TRIALS:
        for (name, dataset, model), found in sorted(rows.items()):
            if name != variant:
                continue
            cells = [name, dataset, MODELS[model].title, len(found), len(found[0]["curve"])]
            cells.append(" ".join(f"{loss:.2f}" for loss in found[0]["curve"]))
            for key, digits in COLUMNS.items():
                cells.append(mean_std([v[key] for v in found], digits))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--workers", type=at_least(1), default=2)
    args = parser.parse_args()
    jobs = [
        (variant, model, dataset, seed)
        for variant in args.only
        for seed in TRIALS[variant][3]
        for dataset in TRIALS[variant][2]
        for model in TRIALS[variant][1]
        if model in args.models
        and not (folder(variant, model, dataset, seed) / "trial.json").exists()
    ]
    print(f"{len(jobs)} trials to run")
    for i, _, error in ProcessEngine(args.workers).run(trial, jobs):
        print(" ".join(map(str, jobs[i])), error or "done", flush=True)
        (RESULTS / "table.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    clearly(main)
