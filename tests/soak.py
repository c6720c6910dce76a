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
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import fuzz
import nbformat
import papermill  # noqa: F401  so that copies of this process need not
import psutil
import soak_asking
import torch

from opembed_nb import bo
from opembed_nb.data import ArchDataset, SearchSpace, random_architectures
from opembed_nb.hood.asking import Search
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_keys, to_keys
from opembed_nb.hood.ledger import Evaluation, Ledger
from opembed_nb.hood.networks import (
    Images,
    NetSizes,
    Schedule,
    Supernet,
    load_supernet,
    save_supernet,
    train_fully,
    train_supernet,
)
from opembed_nb.hood.records import digest, load_tensors, provenance, read_record, save_record
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
    db = sqlite3.connect(path)  # not read-only: a killed transaction has to be rolled back
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
    Search(FREE, folder / "asked.sqlite", seed=4).run(worth, many, progress=False)


def asked_rows(folder):
    return rows_of(folder / "asked.sqlite", "SELECT number, key, scores FROM architectures")


def told(folder):
    return evaluations(folder, "asked.sqlite", "architectures WHERE scores IS NOT NULL")


STAGES = {"00_first": "text = 'first'", "12_pipeline": "text = open(f'{runs}/00_first').read()"}
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
            said = json.loads(path.read_text())["parameters"]
            found[name] = {key: value for key, value in said.items() if key != "dataset"}  # a path
        elif path.suffix == ".ipynb":
            cells = nbformat.read(path, 4).cells
            found[name] = [out.get("text") for cell in cells for out in cell.get("outputs", ())]
        elif path.name == CHECKPOINT:
            found[name] = checkpoint(path.parent)[0]
        elif path.suffix == ".safetensors":  # whose header has its names in any order
            found[name] = digest(*(t for _, t in sorted(load_tensors(path)[0].items())))
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1), os.dup2(own, 2)
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


def kills(kind, counts, seed=0, most=KILLS):
    "As many as are missing, one at a time."
    for name in COUNTED:
        counts.setdefault(name, 0)
    left = [how for number in range(most) for how in SIGNALS if counts[how] <= number]
    if not left:
        return
    whole, seconds = undisturbed(kind)
    counts["whole run"] = round(seconds, 2)
    for how in left:
        draw = random.Random(f"{seed} {kind} {how} {counts[how]}")
        while not kill(kind, how, whole, seconds, draw, counts):
            pass  # it was done before the signal came
        yield


# Faults. A file of a kind is written in versions, by `write(folder, version)`; `read(folder)` says
# what is there.


def record(folder, version):
    save_record(folder, "training", dict(history=[version] * 3000), 1.0)


def data_file(folder, version):
    batch = drawn(60, FREE)
    scores = torch.linspace(version, version + 1, 60)
    ArchDataset.from_scores("mine", FREE, batch, scores).save(folder / "mine.jsonl")


def weights(folder, version):
    with torch.random.fork_rng():
        torch.manual_seed(version)
        save_supernet(folder / "net.safetensors", Supernet(TINY, NetSizes(16, 1, 2, pools=())))


def export(folder, version):
    ledger = Ledger(":memory:", oracle=Edges())
    keys = to_keys(drawn(60, FREE), FREE)
    ledger.add_round([Evaluation("tuned", 0, 1, i, key, "waiting", None, float(version), 0.1)
                      for i, key in enumerate(keys)], None)  # fmt: skip
    ledger.to_csv(folder / "export.csv")


FILES = {"record": (record, lambda folder: read_record(folder / "training.json")["values"]),
         "data file": (data_file, lambda folder: ArchDataset.read(folder / "mine.jsonl").digest()),
         "weights": (weights, lambda folder: digest(*load_supernet(folder / "net.safetensors")
                                                    .state_dict().values())),
         "export": (export, lambda folder: (folder / "export.csv").read_text())}  # fmt: skip
WORKS = ("training", "rounds", "stacks", "full training", "search", "ask and tell")
FINISHED = "search", "ask and tell"  # whose whole files are also opened to be written


def mounted(*options):
    return subprocess.run(["mount", *options], capture_output=True).returncode == 0


@contextmanager
def disk():
    "A file system of two megabytes, which only root can make; None for others."
    with fresh() as folder:
        if os.geteuid() or not mounted("-t", "tmpfs", "-o", "size=2m", "none", str(folder)):
            yield None
            return
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, left):
    "Until only so many kilobytes are left."
    room = os.statvfs(folder)
    many = room.f_bavail * room.f_frsize - 1024 * left
    (folder / "filler").write_bytes(b"0" * max(0, many))


def free(folder):
    (folder / "filler").unlink(missing_ok=True)


def one_line(message, folder):
    return "\n" not in message and len(message) < 1500 and str(folder) in message


def said(run, folder, notes):
    "How a piece of work ends: done, refused (in one line that names the folder), or unclear."
    status = work(run, folder, say=notes)
    text = notes.read_text().strip()
    if status == 0:
        return "done"
    return "refused" if status == 2 and one_line(text, folder) else "unclear"


def written(name, folder, version):
    try:
        FILES[name][0](folder, version)
    except OpembedError as e:
        return "refused" if one_line(str(e), folder) else "unclear"
    except OSError:
        return "unclear"
    return "done"


def full_disk(counts):
    "With so much room left: the old file is whole, and with more room the work ends as it would."
    for name in FILES:
        for left in (0, 4, 8, 16, 32, 64):
            with disk() as folder:
                if folder is None:
                    return counts.update(skipped="only root can mount a file system")
                files_on(counts, name, folder, partial(fill, folder, left), partial(free, folder))
        yield
    for kind in WORKS:
        whole, seconds = undisturbed(kind)
        for left in (0, 16, 64):
            with disk() as folder, tempfile.TemporaryDirectory() as notes:
                fill(folder, left)
                counts[said(KINDS[kind][0], folder, Path(notes, "said"))] += 1
                free(folder)
                counts["lost"] += said(KINDS[kind][0], folder, Path(notes, "said")) != "done" or (
                    KINDS[kind][1](folder) != whole)  # fmt: skip
            yield


def files_on(counts, name, folder, disturb, mend):
    "The second version meets the fault: the first or the second is there, and then the third."
    write, read = FILES[name]
    write(folder, 1)
    first = read(folder)
    disturb()
    how = written(name, folder, 2)
    counts[how] += 1
    counts["lost"] += how != "done" and read(folder) != first
    mend()
    counts["lost"] += written(name, folder, 2) != "done" or read(folder) == first


def read_only(counts):
    "A folder that cannot be written; as root, a file system that cannot."
    for name in FILES:
        with disk() as folder:
            if folder is None:
                return counts.update(skipped="only root can mount a file system")
            lock, unlock = (partial(mounted, "-o", f"remount,{how}", str(folder))
                            for how in ("ro", "rw"))  # fmt: skip
            files_on(counts, name, folder, lock, unlock)
        yield
    for kind in WORKS:
        run, outcome, kept = KINDS[kind]
        whole, seconds = undisturbed(kind)
        with disk() as folder, tempfile.TemporaryDirectory() as notes:
            process = begin(run, folder)
            time.sleep(seconds / 2)
            os.kill(process, signal.SIGKILL)
            ended(process)
            mounted("-o", "remount,ro", str(folder))
            counts[said(run, folder, Path(notes, "said"))] += 1
            kept(folder)
            mounted("-o", "remount,rw", str(folder))
            counts["lost"] += work(run, folder) != 0 or outcome(folder) != whole
            mounted("-o", "remount,ro", str(folder))
            how = said(run, folder, Path(notes, "said"))  # finished: there is only to read
            counts["finished, read" if how == "done" else "finished, " + how] += 1
        yield


def jumping(run, *arguments):
    "With a clock that is a day late or early at any look."
    draw, real, day = random.Random(0), time.time, 86_400
    with mock.patch("time.time", lambda: real() + draw.choice((-day, 0, day))):
        return run(*arguments)


def clock(counts):
    "Alone, and two processes on one ledger."
    for kind in WORKS:
        whole, _ = undisturbed(kind)
        with fresh() as folder, tempfile.TemporaryDirectory() as notes:
            how = said(partial(jumping, KINDS[kind][0]), folder, Path(notes, "said"))
            counts[how] += 1
            counts["lost"] += how != "done" or KINDS[kind][1](folder) != whole
        yield
    yield from together("search", counts, jumping)


def alone(run, *arguments):
    return run(*arguments)


def together(kind, counts, how=alone, times=3):
    "Two processes that do the same work in one folder: as one would, and nothing twice."
    run, outcome, _ = KINDS[kind]
    whole, _ = undisturbed(kind)
    for _ in range(times):
        with fresh() as folder:
            note = folder.parent / "note"
            more = dict(note=note) if kind == "search" else {}
            both = [begin(partial(how, partial(run, **more)), folder) for _ in range(2)]
            counts["done"] += sum(ended(process) == 0 for process in both)
            if kind == "ask and tell":  # in another order
                [rows] = outcome(folder)
                scores = {key: json.loads(scores) for _, key, scores in rows if scores}
                counts["lost"] += len(scores) < 16 or any(
                    own != [worth(from_keys([key], FREE))] for key, own in scores.items())
            else:
                counts["lost"] += outcome(folder) != whole
            if kind == "search":
                asked = Counter(note.read_text().split("\n"))
                searched = rows_of(folder / "search.sqlite", "SELECT architecture FROM evaluations")
                counts["twice"] += any(asked[key] > 1 for (key,) in searched[0])
        yield


def two_processes(counts):
    for kind in WORKS:
        yield from together(kind, counts)
    for write, read in FILES.values():
        def versions(folder, first):
            for version in range(first, first + 20):
                write(folder, version)  # noqa: B023
        with fresh() as folder:
            write(folder, 0)
            both = [begin(versions, folder, first) for first in (1, 101)]
            known = set()
            while len(known) < 100 and any(psutil.Process(p).status() != "zombie" for p in both):
                known.add(str(read(folder)))  # or it raises
            counts["done"] += sum(ended(process) == 0 for process in both)
            counts["lost"] += [path.suffix for path in folder.iterdir()].count(".part")
            counts["reads"] += len(known)
        yield
    with fresh() as folder, tempfile.TemporaryDirectory() as notes:  # other parameters
        training(folder)
        whole = checkpoint(folder)
        counts[said(partial(training, epochs=25), folder, Path(notes, "said"))] += 1
        counts["lost"] += checkpoint(folder) != whole
    yield


FAULTS = {"full file system": full_disk, "read-only folder": read_only,
          "jumping clock": clock, "two processes": two_processes}  # fmt: skip


def fault(case, counts, seed=0):
    "A case from its beginning to its end, as it takes a minute or two."
    if counts.get("whole"):
        return
    for name in ("done", "refused", "unclear", "lost"):
        counts[name] = 0
    found = Counter(counts)
    for _ in FAULTS[case](found):
        counts.update(found)
        yield
    counts.update(found, whole=True)
    yield


# A search that two processes ask while they are killed: see soak_asking.


def asks(found, seed=0):
    "From its beginning to its end, as it takes some minutes."
    if found.get("whole"):
        return
    found.update(soak_asking.asking(60, seed), whole=True)
    yield


# Broken inputs: see fuzz.

INPUTS, BLOCK = 100_000, 2_000


def inputs(found, seed=0, most=INPUTS):
    "As many as are missing, a block at a time."
    found.setdefault("made", 0)
    outcomes = {name: Counter(found.get("outcomes", {}).get(name, {})) for name in fuzz.READERS}
    while found["made"] < most:
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


def parts(given):
    "Name in the record → what goes on with it, and gives way now and then."
    found = {f"kills {kind}": partial(kills, kind, most=given.kills) for kind in KINDS}
    found |= {f"faults {case}": partial(fault, case) for case in FAULTS}
    found |= {"asking": asks, "fuzz": partial(inputs, most=given.inputs)}
    return {name: go_on for name, go_on in found.items() if name.startswith(tuple(given.only))}


def main(argv=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", nargs="+", default=[""], help="kills, faults, asking, fuzz, …")
    options.add_argument("--kills", type=int, default=KILLS, help="of each kind with each signal")
    options.add_argument("--inputs", type=int, default=INPUTS, help="to all readers")
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
    left = {}
    for name, go_on in parts(given).items():
        own = values.get(name, {})
        if (own.get("commit"), own.get("seed")) != (commit, given.seed):
            own = values[name] = dict(commit=commit, seed=given.seed, seconds=0.0)
        left[name] = go_on(own, given.seed)
    while left and time.monotonic() < until:  # in turn, so that a short run has some of each
        for name in list(left):
            begun = time.monotonic()
            if next(left[name], "over") == "over":
                del left[name]
                print(name, json.dumps(values[name]), flush=True)
            values[name]["seconds"] += round(time.monotonic() - begun, 1)
            whole = sum(part["seconds"] for part in values.values())
            save_record(given.folder, "soak", values, whole)
    return int(any(bad(own) for own in values.values()))


BAD = ("unreadable", "not resumed", "different", "other status", "unclear", "lost", "twice")


def bad(own):
    "What must not be in the record: a loss, or an input that was a surprise."
    return any(own.get(name) for name in BAD) or own.get("surprises") or own.get("slowest", 0) > 10


if __name__ == "__main__":
    raise SystemExit(main())
