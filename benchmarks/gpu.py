"""What a GPU makes of the book's work: the same numbers as the processor, and how much sooner.

    python benchmarks/gpu.py [--parts parity waits …] [--minutes 60] [--passes 5] [--models …]
                             [--out results/speed/gpu] [--commit HASH] [--device cuda] [--tiny]

parity      golden outputs of the public code, and packaged models in double and single precision
waits       how often a training step waits for the GPU, with graphs checked in each step or once
training    models by the recipe at the paper's width: passes, loss, accuracy by 10 × 10 decodings
passes      the paper's protocol, the recipe and larger minibatches: seconds a pass here and there
prediction  the sparse Gaussian process on the latents of a packaged model
search      some rounds of the search with the oracle that comes with the package
stacks      many models trained as one: equal to the processor's, and what one of them costs a pass
models      a pass of every model by the recipe, here and there

Every row is written to OUT/gpu.json and OUT/gpu.md as soon as it is known. No row and no pass of a
training begins after so many minutes, of which each part has a share. Seconds on the processor are
those of a part of the graphs, times what is left out. HASH is the commit, where the copy at hand
has no history.
The exit status is 2 without CUDA (nothing is written), 1 if a limit did not hold, a part or a model
failed, or nothing was reached.
"""

import argparse
import copy
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from clearly import at_least, clearly

from opembed_nb.bo import make_problem, make_strategies, search
from opembed_nb.data import DAGBatch, same_graphs
from opembed_nb.decoder import plan_batch
from opembed_nb.hood.files import OpembedError, write_whole
from opembed_nb.hood.ledger import Ledger
from opembed_nb.hood.records import Table, provenance
from opembed_nb.hood.sources import load_dataset
from opembed_nb.lab.public import from_public, to_public
from opembed_nb.lab.stacks import fit_stack
from opembed_nb.oracle import load_oracle
from opembed_nb.sgp import Prior, SparseGP, collapsed_bound, metrics
from opembed_nb.training import (
    MODELS,
    TrainConfig,
    abilities,
    build_model,
    fit,
    fit_rounds,
    load_pretrained,
    train_config,
)

ROOT = Path(__file__).parents[1]
# Largest errors, relative to the largest number of a tensor. A GPU adds in another order, and the
# gradients of a trained model are small sums of large numbers, which single precision blurs.
GOLDEN, LIMITS = 1e-4, {"float64": 1e-9, "float32": 1e-2}


class Run:
    "What the parts share: where, how large, how long."

    def __init__(self, args):
        self.device, self.tiny = args.device, args.tiny
        self.passes, self.models = args.passes, args.models
        self.every = list(MODELS)[:3] if args.tiny else list(MODELS)
        self.last = self.end = time.perf_counter() + 60 * args.minutes  # of all, and of a part
        self.data = load_dataset("enas-digits" if args.tiny else "enas-cifar10")
        train = self.data.train.batch
        self.train = train[:256] if args.tiny else train
        self.sizes = dict(hidden=16, latent=8) if args.tiny else dict(hidden=501, latent=56)
        self.threads = torch.get_num_threads()

    def over(self):
        return time.perf_counter() > self.end

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, work):
        "Seconds of `work()`, and what it gives."
        self.wait()
        start = time.perf_counter()
        found = work()
        self.wait()
        return time.perf_counter() - start, found


def error(found, true):
    "The largest difference, relative to the largest true number."
    found, true = (torch.as_tensor(t).detach().double().cpu() for t in (found, true))
    return float((found - true).abs().max() / true.abs().max().clamp_min(1e-30))


def judged(what, model, dtype, limit, **errors):
    holds = all(value <= limit for value in errors.values())
    return dict(what=what, model=model, dtype=dtype, limit=limit, holds=holds, **errors)


def golden_row(run, path):
    "The public code's outputs on random weights against the device's, in single precision."
    golden, name = np.load(path, allow_pickle=False), path.stem.replace("_", "-")
    weights = [key for key in golden.files if key.startswith("state/")]
    state = {key.removeprefix("state/"): torch.from_numpy(golden[key]) for key in weights}
    model = from_public(name, state).to(run.device)
    batch = DAGBatch(*(torch.from_numpy(golden[k]) for k in ("ops", "adj", "n_nodes")))
    loss = model.loss(batch.to(run.device), beta=float(golden["beta"]))
    loss.loss.backward()
    mu, logvar = model.encode(batch.to(run.device))
    gradients = []
    for public, gradient in to_public(model, grad=True).items():
        true, norm = float(golden[f"grad_norm/{public}"]), float(gradient.norm())
        gradients.append(abs(norm - true) / (abs(true) + 1e-2))
    latents = max(error(mu, golden["mu"]), error(logvar, golden["logvar"]))
    off = max(error(value, golden[key]) for value, key in zip(loss, ("loss", "recon", "kld")))
    errors = dict(latents=latents, loss=off, gradients=max(gradients))
    return judged("public code", name, "float32", GOLDEN, **errors)


def outcome(model, batch):
    "Latents, terms of the loss and gradients, in evaluation mode."
    model.zero_grad()
    loss = model.loss(batch)
    loss.loss.backward()
    return model.encode(batch), loss, [p.grad for p in model.parameters()]


def differences(a, b):
    names = ("latents", "loss", "gradients")
    return {name: max(map(error, x, y)) for name, x, y in zip(names, a, b)}


def packaged_rows(run, dataset, name):
    "A packaged model on the device against the processor, and a planned batch against a plain one."
    data = load_dataset(dataset)
    test = data.test.batch[: 16 if run.tiny else 256]
    for dtype in (torch.float64, torch.float32):
        here = load_pretrained(name, dataset).to(dtype)
        there = copy.deepcopy(here).to(run.device)
        kind, title = str(dtype).removeprefix("torch."), f"processor, {dataset}"
        on_device = outcome(there, test.to(run.device))
        errors = differences(on_device, outcome(here, test))
        yield judged(title, name, kind, LIMITS[kind], **errors)
        planned = outcome(there, plan_batch(test.to(run.device), data.space))
        errors = differences(planned, on_device)
        yield judged(f"checked in each step, {dataset}", name, kind, LIMITS[kind], **errors)
        z = here.latents(test)
        a = there.sample(z.to(run.device), stochastic=False).to("cpu")
        differ = 1 - float(same_graphs(a, here.sample(z, stochastic=False)).float().mean())
        yield judged(f"likeliest graphs, {dataset}", name, kind, 0.01, graphs=differ)


def parity(run):
    for path in sorted((ROOT / "tests" / "golden").glob("*.npz")):
        yield golden_row(run, path)
    for dataset in ["enas-digits"] if run.tiny else ["enas-cifar10", "enas-digits"]:
        for name in ("dvae-emb", "dvae"):
            yield from packaged_rows(run, dataset, name)


def find_waits(run, work):
    "Where `work()` makes the program wait for the GPU; None where there is none."
    if run.device == "cpu":
        return None
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [w for w in found if "called a synchronizing" in str(w.message)]
    return [f"{Path(w.filename).name}:{w.lineno}" for w in found]


def waits(run):
    "A step of every model, with a batch that is checked in each step and one that was before."
    size, steps = (8, 2) if run.tiny else (64, 20)
    for name in run.every:
        model = build_model(name, run.data.space, seed=0, **run.sizes).to(run.device).train()
        adam = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
        plain = run.train[:size].to(run.device)

        def step(batch, model=model, adam=adam):
            adam.zero_grad()
            model.loss(batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0 * size)
            adam.step()

        row = dict(model=name, minibatch=size)
        for kind, batch in (("each", plain), ("once", plan_batch(plain, run.data.space))):

            def some(step=step, batch=batch):
                for _ in range(steps):
                    step(batch)

            some()
            where = find_waits(run, lambda step=step, batch=batch: step(batch))
            row[f"waits_{kind}"] = None if where is None else len(where)
            row[f"ms_{kind}"] = round(1000 * run.timed(some)[0] / steps, 2)
        yield row | dict(where=" ".join(sorted(set(where or []))), holds=not where)


def trained(run, name, config, passes):
    "A model after so many passes, or as many as there is time for."
    with tempfile.TemporaryDirectory() as folder:
        options = dict(folder=Path(folder), space=run.data.space, device=run.device)
        while True:  # every pass goes on from the checkpoint of the one before
            found = fit_rounds(
                name, run.train, config, progress=False, stop_after=1, **options, **run.sizes
            )
            if len(found.history) >= passes or run.over():
                return found


def training(run):
    config = train_config("signal", run.sizes["hidden"], epochs=2 if run.tiny else 12)
    decodings, points = (2, 20) if run.tiny else (100, 1000)
    for name in run.models:
        found = trained(run, name, config, config.epochs)
        seconds, able = run.timed(
            lambda model=found.model: abilities(model, run.data, decodings, points)
        )
        spent = [row["seconds"] for row in found.history]
        yield dict(
            model=name,
            passes=len(spent),
            of=config.epochs,
            minibatch=config.minibatch,
            seconds_a_pass=round(statistics.median(spent), 3),
            training_seconds=round(sum(spent), 1),
            loss=[round(row["loss"], 4) for row in found.history],
            decodings=decodings,
            abilities_seconds=round(seconds, 1),
            **{key: round(value, 4) for key, value in able.items()},
        )


def processor_seconds(run, name, config, threads):
    "Seconds a pass on the processor, from the second of two passes over a part of the graphs."
    some = run.train[: 64 if run.tiny else max(320, config.minibatch)]
    torch.set_num_threads(threads)
    try:
        options = dict(space=run.data.space, device="cpu", progress=False, **run.sizes)
        found = fit(name, some, replace(config, epochs=2), **options)
    finally:
        torch.set_num_threads(run.threads)
    return found.history[-1]["seconds"] * len(run.train) / len(some)


def pass_row(run, protocol, name, config, passes):
    "Seconds a pass here and there; or that the model diverged, which is no end of the others."
    row = dict(protocol=protocol, model=name, minibatch=config.minibatch)
    longer = replace(config, epochs=max(passes, config.epochs))
    try:
        found = trained(run, name, longer, passes)
        one, every = (processor_seconds(run, name, config, k) for k in (1, run.threads))
    except OpembedError as e:
        return row | dict(failed=str(e))
    spent = [one_pass["seconds"] for one_pass in found.history]
    here = statistics.median(spent[1:] or spent)
    return row | dict(
        passes=len(spent),
        loss=[round(one_pass["loss"], 4) for one_pass in found.history],
        seconds_a_pass=round(here, 3),
        one_thread=round(one, 2),
        threads=run.threads,
        all_threads=round(every, 2),
        ratio_one=round(one / here, 1),
        ratio_all=round(every / here, 1),
    )


def passes(run):
    hidden = run.sizes["hidden"]
    for name in run.models:
        yield pass_row(run, "paper", name, TrainConfig(), run.passes)
    for size in (16, 32) if run.tiny else (64, 32, 256, 1024):
        config = train_config("signal", hidden, minibatch=size)
        yield pass_row(run, "recipe", run.models[0], config, 3)


def models(run):
    config = train_config("signal", run.sizes["hidden"])
    for name in run.every:
        yield pass_row(run, "recipe", name, config, 2)


def bound_row(run, x, target):
    "The collapsed bound of one and the same process on both, with its gradients."
    x, target, found = x.double(), target.double(), []
    for device in (run.device, "cpu"):
        at, y = x.to(device), target.to(device)
        points = at[::40].clone().requires_grad_()
        prior = Prior(x.shape[1], at)
        bound = collapsed_bound(prior, at, y, points)
        gradients = torch.autograd.grad(bound, [points, *prior.parameters()])
        found.append(([bound], gradients))
    names = ("bound", "gradients")
    errors = {name: max(map(error, a, b)) for name, a, b in zip(names, *found)}
    return judged("collapsed bound", "dvae-emb", "float64", 1e-6, **errors)


def prediction(run):
    data, model = run.data, load_pretrained("dvae-emb", run.data.name)
    rows, inducing = (300, 20) if run.tiny else (len(data.train.batch), 500)
    x, y = model.latents(data.train.batch)[:rows], data.train.target[:rows]
    test, truth = model.latents(data.test.batch), data.test.target
    standard = (x - x.mean(0)) / x.std(0).clamp_min(1e-9)
    yield bound_row(run, standard[:4000], y[:4000])
    for setting in ("tuned", "paper"):
        for device in dict.fromkeys((run.device, "cpu")):
            if run.over():
                return
            gp = SparseGP(inducing, 0, setting)
            if run.tiny:
                gp.passes = 2
            there = [t.to(device) for t in (x, y, test)]
            seconds, gp = run.timed(lambda gp=gp, there=there: gp.fit(*there[:2]))
            found = metrics(*gp.predict(there[2], noise=True), truth)
            yield dict(
                what=setting,
                model="dvae-emb",
                device=device,
                rows=rows,
                inducing=inducing,
                seconds=round(seconds, 2),
                rmse=round(found["rmse"], 4),
                pearson=round(found["pearson"], 4),
            )


def search_rows(run, device, data, rounds, q):
    oracle = load_oracle(data, device)
    model = load_pretrained("dvae-emb", data.name).to(device)
    problem = make_problem(model, data, oracle, *((20, 200) if run.tiny else ()))
    settings = dict(decodings=20, candidates=100) if run.tiny else {}
    names = ["tuned", "hybrid", "random", "paper"]
    for name, strategy in make_strategies(names, **settings).items():
        if run.over():
            return
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder, "search.sqlite"), "gpu", oracle)
            one = dict(trials=1, rounds=rounds, q=q, progress=False)
            work = lambda: search(problem, {name: strategy}, ledger, **one)  # noqa: B023, E731
            seconds = run.timed(work)[0]
            rows, spent = ledger.rows(name), ledger.seconds(name)
            (best,) = ledger.best()
        yield dict(
            strategy=name,
            device=device,
            dataset=data.name,
            oracle=oracle.name,
            rounds=rounds,
            architectures=sum(r.value is not None for r in rows),
            best=round(best.value, 4),
            best_known=round(float(data.train.accuracy.max()), 4),
            seconds=round(seconds, 1),
            spent=spent,
        )


def searching(run):
    data, (rounds, q) = load_dataset("enas-digits"), (1, 2) if run.tiny else (3, 20)
    for device in dict.fromkeys((run.device, "cpu")):
        yield from search_rows(run, device, data, rounds, q)


def stack_of(run, k, hidden, device, graphs, passes=1):
    "k members of a stack, trained: seeds of four embeddings in turn."
    names = ("one-hot", "learned-3", "frozen-8", "described")
    members = [
        (names[i % 4], train_config("signal", hidden, epochs=passes, seed=i // 4)) for i in range(k)
    ]
    sizes = dict(hidden=hidden, latent=run.sizes["latent"])
    return members, fit_stack("dvae", graphs, members, run.data.space, device, **sizes)


def stacks(run):
    torch.set_default_dtype(torch.double)
    try:
        here, there = (
            stack_of(run, 4, 16, device, run.train[:200], 2)[1] for device in (run.device, "cpu")
        )
    finally:
        torch.set_default_dtype(torch.float)
    pairs = list(zip(here, there, strict=True))
    loss = max(error(a.history[-1]["loss"], b.history[-1]["loss"]) for a, b in pairs)
    weights = max(
        error(p, q)
        for a, b in pairs
        for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True)
    )
    yield judged("as on the processor", "dvae", "float64", 1e-9, loss=loss, weights=weights)
    part, whole = run.train[: 64 * 40], len(run.train)
    cases = (
        [(1, 16), (3, 16)] if run.tiny else [(k, 128) for k in (1, 10, 60)] + [(1, 501), (10, 501)]
    )
    for k, hidden in cases:
        members, together = stack_of(run, k, hidden, run.device, part)
        sizes = dict(hidden=hidden, latent=run.sizes["latent"], embedding=members[0][0])
        alone = fit("dvae", part, members[0][1], space=run.data.space, device=run.device,
                    progress=False, **sizes)  # fmt: skip
        a_pass = whole / len(part) * sum(each.history[0]["seconds"] for each in together)
        one = whole / len(part) * alone.history[0]["seconds"]
        yield dict(
            models=k,
            width=hidden,
            minibatch=64,
            seconds_a_pass=round(a_pass, 3),
            seconds_a_model=round(a_pass / k, 3),
            alone=round(one, 3),
            ratio=round(one * k / a_pass, 1),
        )


PARTS = {  # what it does, and its largest share of the time that is left
    "parity": (parity, 0.3),
    "waits": (waits, 0.2),
    "training": (training, 0.5),
    "passes": (passes, 0.6),
    "prediction": (prediction, 0.5),
    "search": (searching, 0.7),
    "stacks": (stacks, 0.7),
    "models": (models, 1.0),
}


def about(device):
    "The device, as its driver and PyTorch know it."
    if device == "cpu":
        return dict(name="none", torch=torch.__version__)
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        driver = "unknown"
    return dict(
        name=torch.cuda.get_device_name(device),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=driver,
        tf32=torch.backends.cuda.matmul.allow_tf32,
    )


def package_digest():
    "16 hexadecimal digits of the package's code."
    whole = hashlib.sha256()
    for path in sorted((ROOT / "opembed_nb").glob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, dict):
        return " + ".join(f"{v:g}" for v in value.values())
    if isinstance(value, list):
        return f"{value[0]:g} … {value[-1]:g}" if len(value) > 1 else f"{value[0]:g}"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 0.01 else str(value)


def table(rows):
    "Markdown: a column for every name that occurs."
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table.of(names, [[shown(row.get(name)) for name in names] for row in rows], "l")


def keep(folder, record):
    lines = [f"# On {record['gpu']['name']}, {record['provenance']['utc'][:10]}"]
    for name, rows in record["parts"].items():
        lines += ["", f"## {name}", "", table(rows) if rows else "No row was reached."]
    lines += [f"\n{name}: its time was over, rows may be missing" for name in record["cut"]]
    lines += [f"\n{name}: {why}" for name, why in record["failed"].items()]
    write_whole(folder / "gpu.md", ("\n".join(lines) + "\n").encode())
    write_whole(folder / "gpu.json", (json.dumps(record, indent=1) + "\n").encode())


def work(run, record, names, folder):
    "Run parts and write down each row; a part that fails is no end of the others."
    start = time.perf_counter()
    for name in names:
        rows, (part, share) = record["parts"].setdefault(name, []), PARTS[name]
        begin = time.perf_counter()
        run.end = begin + share * (run.last - begin)
        if run.over():
            record["cut"].append(name)
            continue
        try:
            for row in part(run):
                rows.append(row)
                record["seconds"] = round(time.perf_counter() - start, 1)
                keep(folder, record)
                print(name, json.dumps(row), flush=True)
                if run.over():
                    record["cut"].append(name)
                    break
        except Exception as e:  # what it has found stays
            traceback.print_exc()
            record["failed"][name] = f"{type(e).__name__}: {next(iter(str(e).splitlines()), '')}"
        record["part_seconds"][name] = round(time.perf_counter() - begin, 1)
        keep(folder, record)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--passes", type=at_least(1), default=5, help="of the paper's protocol")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["dvae-emb", "dvae"])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed" / "gpu")
    parser.add_argument("--commit", help="where the copy at hand has no history")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="all parts in a minute, as a test")
    return parser.parse_args()


def main():
    args = arguments()
    if args.device != "cpu" and not torch.cuda.is_available():
        print("make gpu: PyTorch finds no CUDA device here; nothing was run", file=sys.stderr)
        return 2
    origin = provenance()
    if args.commit and origin["commit"] == "unknown":
        origin["commit"] = args.commit
    record = dict(
        gpu=about(args.device),
        parts={},
        cut=[],
        failed={},
        part_seconds={},
        seconds=0.0,
        code=package_digest(),
        provenance=origin,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    work(Run(args), record, args.parts, args.out)
    rows = [row for rows in record["parts"].values() for row in rows]
    held = all(row.get("holds", True) and "failed" not in row for row in rows)
    return 0 if rows and held and not record["failed"] else 1


if __name__ == "__main__":
    clearly(main)
