"""The models of the paper's Tables 1 and 2 at the paper's width, many seeds at a time.

    python benchmarks/tables.py train [--models NAME …] [--seeds 0 1 2 3 4] [--device cuda]
    python benchmarks/tables.py predict [--splits own wiring] [--paper 1] [--minutes 60]
    python benchmarks/tables.py raw [--splits own wiring]
    python benchmarks/tables.py look

`train` trains each pair of twins, all seeds, as one stack (Stacks) with the parameters of the
profile `laptop`, and writes what chapter 4 would: training.json and abilities.json in
results/laptop/<data>/<model>/seed-k. The latents of all architectures go to runs/. `predict` reads
them and writes what chapter 5 would: prediction.json and prediction-wiring.json, with so many fits
by the paper's setting; with `--thorough`, a fit by that setting, with twice the inducing points,
as prediction-thorough.json. `raw` does the same from the raw features, as raw_prediction.json and
raw_prediction-wiring.json of the data. `look` reads the latents, too: how well neighbours predict
an accuracy, and what operations and wiring explain of the latents, becomes smoothness.json, and
what was watched latents.png beside the models' folders. What is there is not made again; where
records are there and their latents are not, `train` says so and wants `--again`, to replace them.

`--data`, `--results` and `--latents` say where else. `--alone` trains one model after the other,
which is sooner on a processor, and goes on where it was killed. `--rounds 4` trains the twins that
learn so many rounds, into results/laptop-rounds; `--watch 0 1 4` also keeps the first seed's
latents after those passes, and `--weights DIR` all weights, halved. `--profile paper --passes 100`
trains by the paper's protocol, as far as that.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from clearly import at_least, clearly

from opembed_nb.data import SPLITS, dataset_folder, load_dataset, raw_features
from opembed_nb.encoders import SequenceEncoder
from opembed_nb.graph_properties import score_label
from opembed_nb.hood.engines import local_engine
from opembed_nb.hood.files import require
from opembed_nb.hood.records import load_tensors, save_record, save_tensors
from opembed_nb.lab.arms import variance_shares
from opembed_nb.lab.stacks import fit_stack
from opembed_nb.latent import latent_figure, smoothness
from opembed_nb.pipeline import how_to_train, load_profile
from opembed_nb.sgp import YARDSTICKS, evaluate_latents, yardsticks
from opembed_nb.training import (
    INITIAL_WEIGHTS,
    MODELS,
    abilities,
    build_model,
    fit_rounds,
    load_weights,
    save_pretrained,
)

ROOT = Path(__file__).parents[1]
EMBEDDINGS = {True: "learned-3", False: "one-hot"}  # of the twins, which differ in nothing else
NEIGHBOURS = 10  # as in chapter 9
SHARED = 4000  # architectures whose latents are explained, as in Arms
OF_LATENTS = ("ridge", "MLP", "exact GP")  # yardsticks, as in chapter 5: trees read raw features


def folder_of(args, model, seed):
    return args.results / dataset_folder(args.data) / model / f"seed-{seed}"


def latents_of(args, model, seed):
    return args.latents / f"{dataset_folder(args.data)}-{model}-{seed}.safetensors"


def stacks(models, seeds):
    "Members of each stack: twins that share an encoder and a decoder; sequence models go alone."
    alike = {}
    for name in models:
        parts = MODELS[name]
        key = name if parts.encoder is SequenceEncoder else (parts.encoder, parts.decoder)
        alike.setdefault(key, []).extend((name, seed) for seed in seeds)
    return list(alike.values())


def train(args):
    values = load_profile(args.profile) | args.changes
    config, sizes = how_to_train(values)
    if args.rounds > 1:
        learned = [m for m in args.models if MODELS[m].learned]
        require(learned, "--rounds: only models that learn their rows have any, such as dvae-emb")
        args.models = learned
    data = load_dataset(args.data)
    groups = stacks(args.models, args.seeds)
    if args.alone:
        groups = [[member] for group in groups for member in group]
    for group in groups:
        todo = [each for each in group if not latents_of(args, *each).exists()]
        for each in todo:
            path = folder_of(args, *each) / "training.json"
            require(
                args.again or not path.exists(),
                f"{path}: is there, but its latents are not; --again trains it once more and "
                "replaces it, --results FOLDER keeps it",
            )
        if todo:
            train_group(args, data, todo, config, sizes, values)


def train_group(args, data, todo, config, sizes, values):
    "Models and seeds as a stack, or one of them alone."
    configs, start = [replace(config, seed=seed) for _, seed in todo], time.perf_counter()
    name, batch, watch = todo[0][0], data.train.batch, watcher(args, data, todo, args.rounds)
    if args.alone:
        runs = [train_alone(args, data, *todo[0], *configs, sizes)]
    else:
        learned = (MODELS[model].learned for model, _ in todo)
        members = list(zip((EMBEDDINGS[each] for each in learned), configs, strict=True))
        shape = {k: sizes[k] for k in ("hidden", "latent")}
        runs = fit_stack(name, batch, members, data.space, args.device, watch, **shape)
    print(f"{len(todo)} trained in {time.perf_counter() - start:.0f} s", flush=True)
    for (name, _), own, run in zip(todo, configs, runs, strict=True):
        run.model.name = name
        keep(args, data, run, own, sizes, values, len(todo))


def train_alone(args, data, name, seed, config, sizes):
    "One model, in a folder from which a killed training goes on."
    folder = args.latents / "checkpoints" / latents_of(args, name, seed).stem
    watched = args.watch if seed == args.seeds[0] else []
    require(args.rounds == 1 or 0 not in watched, "--watch 0 --alone: one round only")
    run = fit_rounds(
        name, data.train.batch, config, folder, data.space, args.device, snapshots=watched, **sizes
    )
    start, batch = seed + 1000, data.train.batch[: config.max_graphs or len(data.train.batch)]
    model = build_model(name, data.space, seed=start, **sizes)
    for epoch in watched:
        if epoch:
            path = folder / f"epoch-{epoch}.safetensors"
            load_weights(model, load_tensors(path)[0], str(path))
        else:
            INITIAL_WEIGHTS[config.weights](model, batch, start)
        keep_latents(args, data, model, name, f"{seed}-after-{epoch}")
    return run


def keep_latents(args, data, model, name, suffix):
    found = model.eval().to(args.device).latents(data.batch)
    save_tensors(latents_of(args, name, suffix), {"latents": found})
    model.to("cpu")


def watcher(args, data, members, rounds):
    "Keeps the first seed's latents after some passes of the last round."

    def watch(turn, epoch, models):
        if turn < rounds or epoch not in args.watch:
            return
        for (name, seed), model in zip(members, models, strict=True):
            if seed == args.seeds[0]:
                keep_latents(args, data, model, name, f"{seed}-after-{epoch}")

    return watch


def keep(args, data, run, config, sizes, values, together):
    "What chapter 4 writes of a run, and its latents."
    name, seed = run.model.name, config.seed
    folder, start = folder_of(args, name, seed), time.perf_counter()
    training = dict(config=asdict(config), sizes=sizes, history=run.history)
    if not args.alone:
        training["stack"] = together
    save_record(folder, "training", training, sum(row["seconds"] for row in run.history))
    model = run.model.to(args.device)
    counts = dict(decodings=values["test_decodings"], points=values["prior_points"])
    able = dict(**counts, **abilities(model, data, *counts.values(), seed=seed))
    save_record(folder, "abilities", able, time.perf_counter() - start)
    keep_latents(args, data, model, name, seed)
    if args.weights:
        save_pretrained(run, f"{dataset_folder(args.data)}-{seed}", config, sizes, args.weights)
    print(f"{name}, seed {seed}: accuracy {able['accuracy']:.3f} %", flush=True)


def predict(args):
    todo = [
        (args, name, seed, split)
        for split in (["own"] if args.thorough else args.splits)
        for seed in args.seeds
        for name in args.models
        if latents_of(args, name, seed).exists()
        and not (folder_of(args, name, seed) / f"{section_of(args, split)}.json").exists()
    ]
    print(f"{len(todo)} predictions are missing", flush=True)
    end, failed = time.time() + 60 * args.minutes, 0
    tasks = [(*job, end) for job in todo]
    for i, done, error in local_engine(args.workers).run(predicted, tasks):
        failed += bool(error)
        if error or done:
            print(*todo[i][1:], error or done, flush=True)
    return failed


def section_of(args, split):
    kind = "thorough" if args.thorough else "" if split == "own" else split
    return f"prediction-{kind}" if kind else "prediction"


def predicted(args, name, seed, split, end):
    "What chapter 5 writes of a model: a task; says nothing if its time is over."
    if time.time() > end:
        return None
    values, start = load_profile(args.profile) | args.changes, time.perf_counter()
    data = load_dataset(args.data).split(split)
    latents = load_tensors(latents_of(args, name, seed))[0]["latents"]
    require(len(latents) == len(data), f"{name}, seed {seed}: latents of other data")
    parts = latents[data.order[: data.n_train]], data.train.target
    parts += latents[data.order[data.n_train :]], data.test.target
    judge = judged_thoroughly if args.thorough else judged
    record = judge(args, parts, values, seed, split)
    section, took = section_of(args, split), time.perf_counter() - start
    save_record(folder_of(args, name, seed), section, record, took)
    return f"RMSE {sum(record['rmse']) / len(record['rmse']):.3f}"


def judged(args, parts, values, seed, split, names=OF_LATENTS):
    used = dict(inducing=values["inducing"], n_train=values["n_train"])
    rows = slice(0, values["n_train"] or None)
    parts = (parts[0][rows], parts[1][rows], *parts[2:])
    found = evaluate_latents(*parts, values["repeats"], used["inducing"], seed)
    others = yardsticks(*parts, names, 1, seed, 4 * used["inducing"])
    record = dict(**used, **found, yardsticks=others)
    if args.paper and split == "own":
        paper = evaluate_latents(*parts, args.paper, used["inducing"], seed, "paper")
        record["paper_setting"] = paper
    return record


def judged_thoroughly(args, parts, values, seed, split):
    points = 2 * values["inducing"]
    return dict(inducing=points, **evaluate_latents(*parts, 1, points, seed, "thorough"))


def raw(args):
    "What chapter 5 writes of the raw features, of which there is one seed."
    values, seed = load_profile(args.profile) | args.changes, args.seeds[0]
    folder = folder_of(args, "data", seed)
    for split in args.splits:
        section, start = f"raw_{section_of(args, split)}", time.perf_counter()
        if (folder / f"{section}.json").exists():
            continue
        data, parts = load_dataset(args.data).split(split), ()
        for part in (data.train, data.test):
            parts += raw_features(part.batch, data.space), part.target
        record = judged(args, parts, values, seed, split, YARDSTICKS)
        record["raw"] = {k: record.pop(k) for k in list(record) if isinstance(record[k], list)}
        save_record(folder, section, record, time.perf_counter() - start)
        print(f"raw features, {split}: RMSE {record['raw']['rmse'][0]:.3f}", flush=True)


def look(args):
    "How smooth the latent spaces are, and the paper's Figures 9 and 10 of what was watched."
    data = load_dataset(args.data)
    train, test = data.order[: data.n_train], data.order[data.n_train :]
    picture = {}
    for name in args.models:
        for seed in args.seeds:
            path, start = latents_of(args, name, seed), time.perf_counter()
            if not path.exists():
                continue
            latents = load_tensors(path)[0]["latents"]
            require(len(latents) == len(data), f"{path}: latents of other data")
            columns = watched_latents(args, name, seed)
            if columns:
                columns["at the end"] = latents
                picture[MODELS[name].title] = {k: z[test] for k, z in columns.items()}
            if not (folder_of(args, name, seed) / "smoothness.json").exists():
                found = smoothness(
                    latents[train], data.train.target, latents[test], data.test.target, NEIGHBOURS
                )
                record = dict(k=NEIGHBOURS, **found.r._asdict())
                record |= dict(explained=found.explained, lift=found.lift)
                some = train[:SHARED]
                record["shares"] = variance_shares(latents[some], data.batch[some], data.space)
                took = time.perf_counter() - start
                save_record(folder_of(args, name, seed), "smoothness", record, took)
                print(f"{name}, seed {seed}: r {found.r.r:.3f}", flush=True)
    if picture:
        figure = latent_figure(picture, data.test.accuracy, score=score_label(data))
        figure.savefig(args.results / dataset_folder(args.data) / "latents.png")


def watched_latents(args, name, seed):
    "After so many passes → latents, as far as they were kept."
    start = f"{latents_of(args, name, seed).stem}-after-"
    found = {int(p.stem.removeprefix(start)): p for p in args.latents.glob(f"{start}*")}
    columns = {}
    for k, path in sorted(found.items()):
        title = f"after {k} pass" + "es" * (k > 1) if k else "untrained"
        columns[title] = load_tensors(path)[0]["latents"]
    return columns


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "predict", "raw", "look"))
    parser.add_argument("--data", default="enas-cifar10")
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME",
                        default=["dvae", "dvae-emb", "gcn", "gcn-emb"])  # fmt: skip
    parser.add_argument(
        "--seeds", nargs="+", type=at_least(0), default=[0, 1, 2, 3, 4], metavar="K"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, metavar="SPLIT")
    parser.add_argument("--paper", type=at_least(0), default=1, help="fits by the paper's setting")
    parser.add_argument("--thorough", action="store_true", help="fit by that setting alone")
    parser.add_argument("--workers", type=at_least(1), default=1, help="processes that predict")
    parser.add_argument("--minutes", type=float, default=600, help="begin no fit after that")
    parser.add_argument("--again", action="store_true", help="replace records without latents")
    parser.add_argument("--alone", action="store_true", help="no stacks")
    parser.add_argument("--profile", default="laptop", choices=("laptop", "paper"))
    parser.add_argument("--passes", type=at_least(1), help="default: the profile's")
    parser.add_argument("--minibatch", type=at_least(1), help="default: the recipe's")
    parser.add_argument("--lr", type=float, help="default: the recipe's")
    parser.add_argument("--rounds", type=at_least(1), default=1, help="for the twins that learn")
    parser.add_argument("--watch", nargs="*", type=at_least(0), default=[], metavar="PASSES")
    parser.add_argument("--weights", type=Path, help="keep all weights there")
    parser.add_argument("--results", type=Path, help="default: results/laptop, …")
    parser.add_argument("--latents", type=Path, help="default: runs/latents-laptop, …")
    parser.add_argument("--tiny", action="store_true", help="a test of the command")
    args = parser.parse_args()
    tiny = dict(hidden=16, latent=6, epochs=1, max_graphs=300, test_decodings=1, prior_points=20,
                inducing=20, n_train=1000, repeats=1)  # fmt: skip
    kind = f"{args.profile}-rounds" if args.rounds > 1 else args.profile
    args.results = args.results or ROOT / "results" / kind
    args.latents = args.latents or ROOT / "runs" / f"latents-{kind}"
    args.changes = {"training_rounds": args.rounds} | (tiny if args.tiny else {})
    if args.passes:
        args.changes["epochs"] = args.passes
    if args.minibatch:
        args.changes["minibatch"] = args.minibatch
    if args.lr is not None:
        args.changes["lr"] = args.lr
    torch.set_num_threads(1)
    return dict(train=train, predict=predict, raw=raw, look=look)[args.what](args)


if __name__ == "__main__":
    clearly(main)
