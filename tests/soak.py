"""What is promised, at length: kills, faults and broken inputs.

`make soak` writes results/reliability/soak.json; what an earlier run of the same commit has done is
not done again. Not collected by pytest; test_reliability runs a short form.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import fuzz
import nbformat
import papermill  # noqa: F401  so that copies of this process need not
import torch

from opembed_nb import bo
from opembed_nb.data import ArchDataset, SearchSpace, random_architectures
from opembed_nb.hood.asking import Search
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_keys, to_keys
from opembed_nb.hood.ledger import Ledger
from opembed_nb.hood.networks import Images, NetSizes, Schedule, train_fully, train_supernet
from opembed_nb.hood.records import load_tensors, provenance, read_record, save_record
from opembed_nb.lab import commands
from opembed_nb.lab.arms import arm_config
from opembed_nb.lab.stacks import fit_stack
from opembed_nb.training import TrainConfig, build_model, fit_rounds

ROOT, CHECKPOINT = Path(__file__).parents[1], "checkpoint.safetensors"
KILLS = 20  # of each kind with each signal
SIGNALS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143}  # and the status that they end in

# What is killed: `run(folder)` works to the end, or goes on; `outcome(folder)` is what must be the
# same after any kill; `kept(folder)` reads what a killed one has left, and says how much it is.


FREE = SearchSpace("blocks", ("conv", "pool", "skip"), 4, chain=False)
TINY = SearchSpace("tiny", ("conv 3×3", "max pool 3×3"), 2)


def drawn(n, space=TINY):
    return random_architectures(n, space, torch.Generator().manual_seed(0))


SMALL = dict(hidden=6, latent=3, device="cpu")


def training(folder, rounds=1, epochs=24):
    config = TrainConfig(epochs // rounds, rounds, minibatch=8, lr=1e-3)
    fit_rounds("dvae-emb", drawn(16), config, folder, progress=False, **SMALL)


def stacks(folder):
    members = [arm_config(arm, 0, 6, epochs=8) for arm in ("one-hot", "learned-3")]
    fit_stack("dvae", drawn(16), members, folder=folder, **SMALL)


def images():
    draw = torch.Generator().manual_seed(0)
    parts = [(torch.randn(n, 1, 4, 4, generator=draw), torch.arange(n) % 2) for n in (32, 8, 8)]
    return Images("noise", *parts, 2, lambda x, generator: x)


SIZES = NetSizes(2, 1, 2, pools=())


def supernet(folder):
    schedule = Schedule(80, 16, cycle=80)
    train_supernet(images(), TINY, SIZES, schedule, folder, progress=False)


def full_training(folder):
    schedule = Schedule(80, 16, cycle=80)
    train_fully(drawn(1), images(), TINY, SIZES, schedule, folder, progress=False)


def checkpoint(folder):
    "All tensors and all that is said, but for the seconds."
    tensors, meta = load_tensors(folder / CHECKPOINT)
    for row in meta["history"]:
        del row["seconds"]
    said = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        said.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return said.hexdigest(), sorted(path.name for path in folder.iterdir())


def epochs(folder):
    path = folder / CHECKPOINT
    return len(load_tensors(path)[1]["history"]) if path.exists() else 0


class Edges:
    "An oracle that likes few edges, and may note what it is asked."

    name, version, space = "edges", "1", FREE

    def __init__(self, note=None):
        self.note = note

    def __call__(self, batch):
        time.sleep(0.005)
        if self.note:
            with open(self.note, "a") as file:
                file.writelines(f"{key}\n" for key in to_keys(batch, FREE))
        return 0.9 - batch.adj.sum((1, 2)).float() / 100 + batch.ops[:, 1] / 1000


def search(folder, note=None):
    oracle, batch = Edges(note), drawn(100, FREE)
    data = ArchDataset("made", FREE, batch, Edges()(batch), torch.arange(100), 80)
    model = build_model("dvae-emb", FREE, 6, 3, seed=0).eval()
    problem = bo.make_problem(model, data, oracle, inducing=10)
    chosen = {"tuned": bo.Tuned(pool=60), "evolution": bo.Evolution(20, 5)}
    ledger = Ledger(folder / "search.sqlite", oracle=oracle)
    bo.search(problem, chosen, ledger, 1, 3, 6, progress=False)


def rows_of(path, *queries):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [db.execute(query).fetchall() for query in queries]
    finally:
        db.close()


LEDGER = ("SELECT * FROM proposals ORDER BY study, strategy, seed, round, position",
          "SELECT architecture, state, attempts, value, error FROM evaluations "
          "ORDER BY architecture")  # fmt: skip


def ledger_rows(folder):
    return rows_of(folder / "search.sqlite", *LEDGER)


def evaluations(folder, name="search.sqlite", done="evaluations WHERE state = 'done'"):
    path = folder / name
    if not path.exists() or not rows_of(path, "SELECT name FROM sqlite_master")[0]:
        return 0
    return rows_of(path, f"SELECT count(*) FROM {done}")[0][0][0]


def worth(one):
    time.sleep(0.005)
    return float((one.ops == 2).sum()) - 0.1 * float(one.adj.sum())


def asking(folder, many=16):
    found = Search(FREE, folder / "asked.sqlite", seed=4)
    for key in to_keys(found.out(), FREE):  # what a killed one was at
        one = from_keys([key], FREE)
        found.tell(one, worth(one))
    while len(found) < many:
        one = found.ask()
        found.tell(one, worth(one))


def asked_rows(folder):
    return rows_of(folder / "asked.sqlite", "SELECT number, key, scores FROM architectures")


def told(folder):
    return evaluations(folder, "asked.sqlite", "architectures WHERE scores IS NOT NULL")


STAGES = {"00_first": "text = 'first'", "10_pipeline": "text = open(f'{runs}/00_first').read()"}
STAGE = """import os, time
runs = os.environ['OPEMBED_RUNS']
{}
time.sleep(0.1)
with open(f'{{runs}}/{}', 'w') as file: _ = file.write(text)
print(text)"""


def project(folder):
    "A project of three chapters: one before and one after the training of a small model."
    for name in ("nbs", "opembed_nb", "profiles", "runs"):
        (folder / name).mkdir()
    batch = drawn(40, FREE)
    mine = ArchDataset.from_scores("mine", FREE, batch, Edges()(batch))
    mine.save(folder / "mine.jsonl")
    real = nbformat.read(ROOT / "nbs" / "04_training.ipynb", 4)
    [own] = [cell for cell in real.cells if "parameters" in cell.metadata.get("tags", ())]
    for name, code in {**STAGES, "04_training": "text = str(epochs)"}.items():
        said = own.source if name == "04_training" else "profile: str = 'live'"
        cells = [nbformat.v4.new_markdown_cell("# One\n\n> A chapter.", id="a"),
                 nbformat.v4.new_code_cell(said, id="b", metadata=dict(tags=["parameters"])),
                 nbformat.v4.new_code_cell(STAGE.format(code, name), id="c")]  # fmt: skip
        kernel = dict(name="python3", display_name="python3", language="python")
        book = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
        nbformat.write(book, folder / "nbs" / f"{name}.ipynb")
    values = dict(dataset=str(folder / "mine.jsonl"), models=["dvae"], hidden=12, latent=6,
                  epochs=20, minibatch=16, device="cpu")  # fmt: skip
    (folder / "profiles" / "toy.yaml").write_text(json.dumps(values))


def run_folder(folder):
    if not (folder / "nbs").exists():
        project(folder)
    os.chdir(folder)
    os.environ["OPEMBED_RUNS"] = str(folder / "runs")
    return commands.main(["run", "toy"])


def run_outcome(folder):
    runs, found = folder / "runs", {}
    for path in sorted(runs.rglob("*")):
        name = str(path.relative_to(runs))
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text())["key"]
        elif path.suffix == ".ipynb":
            cells = nbformat.read(path, 4).cells
            found[name] = [out.get("text") for cell in cells for out in cell.get("outputs", ())]
        elif path.name == CHECKPOINT:
            found[name] = checkpoint(path.parent)[0]
        elif path.is_file():
            found[name] = path.suffix == ".log" or path.read_bytes()
    return found


def stages_done(folder):
    for path in folder.rglob(CHECKPOINT):
        load_tensors(path)
    return len(list(folder.glob("runs/toy/done/*.json"))) + len(list(folder.rglob(CHECKPOINT)))


KINDS = {"training": (training, checkpoint, epochs),
         "rounds": (partial(training, rounds=3), checkpoint, epochs),
         "stacks": (stacks, checkpoint, epochs),
         "supernet": (supernet, checkpoint, epochs),
         "full training": (full_training, checkpoint, epochs),
         "search": (search, ledger_rows, evaluations),
         "ask and tell": (asking, asked_rows, told),
         "pipeline": (run_folder, run_outcome, stages_done)}  # fmt: skip


# Kills: a copy of this process, which has loaded all libraries, does the work.


def begin(run, *arguments, say=None):
    "A process at its work, from the moment on at which it heeds signals, as a command does."
    ready, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        os.read(ready, 1)
        os.close(ready)
        return process
    status = 1
    try:
        own = os.open(say or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(own, 1), os.dup2(own, 2)
        with commands._heeding():
            os.write(write, b"1")
            status = run(*arguments) or 0
    except commands._Terminated:
        status = 143
    except OpembedError as e:
        status = 2
        os.write(2, f"opembed: {e}\n".encode())
    finally:
        os._exit(status)


def ended(process):
    "Its status: negative for a signal."
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def work(run, *arguments, say=None):
    return ended(begin(run, *arguments, say=say))


@contextmanager
def fresh(name="work"):
    "A new folder in memory, where there is such a file system."
    where = fuzz.FASTEST if os.access(fuzz.FASTEST, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=where, prefix="soak"))
    try:
        (folder / name).mkdir()
        yield folder / name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def undisturbed(kind):
    "What comes out, and how long it takes."
    run, outcome, _ = KINDS[kind]
    if kind != "pipeline":  # whose kernels are other processes
        with fresh() as folder:
            run(folder)  # loads what is loaded late, so that its copies need not
    with fresh() as folder:
        begun = time.monotonic()
        assert work(run, folder) == 0, f"{kind} does not work undisturbed"
        return outcome(folder), time.monotonic() - begun


def kill(kind, how, whole, seconds, draw, counts):
    "One process killed at a random moment, and another that goes on in its place."
    run, outcome, kept = KINDS[kind]
    with fresh() as folder:
        process = begin(run, folder)
        time.sleep(draw.uniform(0, seconds))
        sent = time.monotonic()
        os.kill(process, getattr(signal, how))
        status, took = ended(process), time.monotonic() - sent
        if status == 0:
            return False  # it was done
        counts["other status"] += status != SIGNALS[how]
        if how == "SIGTERM":
            counts["slowest"] = max(counts["slowest"], round(took, 2))
        try:
            counts["before the first checkpoint"] += not kept(folder)
        except (OpembedError, sqlite3.Error, AssertionError, ValueError, KeyError):
            counts["unreadable"] += 1
        counts["not resumed"] += work(run, folder) != 0
        try:
            counts["different"] += outcome(folder) != whole
        except (OpembedError, OSError, sqlite3.Error):
            counts["different"] += 1
        counts[how] += 1
    return True


COUNTED = ("SIGKILL", "SIGTERM", "before the first checkpoint", "unreadable", "not resumed",
           "different", "other status", "slowest")  # fmt: skip


def kills(kind, counts, until, seed=0, most=KILLS):
    "As many as are missing, one at a time."
    for name in COUNTED:
        counts.setdefault(name, 0)
    left = [how for how in SIGNALS for _ in range(most - counts[how])]
    if not left:
        return
    whole, seconds = undisturbed(kind)
    counts["whole run"] = round(seconds, 2)
    for how in left:
        draw = random.Random(f"{seed} {kind} {how} {counts[how]}")
        while time.monotonic() < until and not kill(kind, how, whole, seconds, draw, counts):
            pass  # it was done before the signal came
        yield


FAULTS = {}


def fault(*_):
    yield


# Broken inputs: see fuzz.

INPUTS, BLOCK = 100_000, 1_000


def inputs(found, until, seed=0, most=INPUTS):
    "As many as are missing, a block at a time."
    found.setdefault("made", 0)
    outcomes = {name: Counter(found.get("outcomes", {}).get(name, {})) for name in fuzz.READERS}
    while found["made"] < most and time.monotonic() < until:
        block = min(BLOCK, most - found["made"])
        counts, surprises, cost = fuzz.run(block, f"{seed} {found['made']}", stop_at=10**9)
        for name, own in counts.items():
            outcomes[name].update(own)
        found["made"] += block
        found["outcomes"] = {name: dict(own) for name, own in outcomes.items()}
        found["surprises"] = (found.get("surprises", []) + surprises)[:100]
        for name, value in cost.items():
            found[name] = max(found.get(name, 0), value)
        yield


# All of it.


def parts(only):
    "Name in the record → what goes on with it, and gives way now and then."
    if only in (None, "kills"):
        for kind in KINDS:
            yield f"kill {kind}", partial(kills, kind)
    if only in (None, "faults"):
        for case in FAULTS:
            yield f"fault {case}", partial(fault, case)
    if only in (None, "fuzz"):
        yield "inputs", inputs


def main(argv=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=["kills", "faults", "fuzz"])
    options.add_argument("--minutes", type=float, default=600.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=ROOT / "results" / "reliability")
    given = options.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    until, commit = time.monotonic() + 60 * given.minutes, provenance()["commit"]
    path, values = given.folder / "soak.json", {}
    if path.exists():
        values = read_record(path)["values"]
    for name, go_on in parts(given.only):
        own = values.get(name, {})
        if (own.get("commit"), own.get("seed")) != (commit, given.seed):
            own = values[name] = dict(commit=commit, seed=given.seed, seconds=0.0)
        begun, before = time.monotonic(), own["seconds"]
        for _ in go_on(own, until, given.seed):
            own["seconds"] = round(before + time.monotonic() - begun, 1)
            whole = sum(part["seconds"] for part in values.values())
            save_record(given.folder, "soak", values, whole)
        print(name, json.dumps(own), flush=True)


if __name__ == "__main__":
    main()
