"The runner: strict parameters, stages that are skipped or named, the scoreboard, the command line."

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from common import refused_as
from processes import gone, wait_for

from opembed_nb import pipeline
from opembed_nb.data import ArchDataset, SearchSpace, cat_batches, random_architectures
from opembed_nb.hood.engines import LocalEngine, ProcessEngine
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.ledger import Ledger
from opembed_nb.hood.records import load_tensors, read_history, save_record
from opembed_nb.lab import commands
from opembed_nb.lab.commands import main
from opembed_nb.lab.scoreboard import finalists, found_by_twins, scoreboard
from opembed_nb.oracle import WeightSharingOracle
from opembed_nb.pipeline import load_profile, run_stage, stages, with_changes
from tests.warm import python

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch):
    monkeypatch.chdir(ROOT)


TOY_PARAMETERS = """
n: int = 1  # how many
lr: float = 0.0  # any number
profile: str = "live"  # whose run
dataset: str = ""  # of what
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A project with one chapter, and a function that says what the chapter does."
    (tmp_path / "nbs").mkdir()
    (tmp_path / "opembed_nb").mkdir()
    (tmp_path / "opembed_nb" / "toy.py").write_text("")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "toy.yaml").write_text("n: 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "train_profile", lambda *_: {})

    def write(code):
        cells = [
            nbformat.v4.new_markdown_cell("# Toy\n\n> What a toy does ± nothing.", id="t"),
            nbformat.v4.new_code_cell(TOY_PARAMETERS, id="a", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code, id="b"),
        ]
        meta = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata=meta), tmp_path / "nbs" / "00_toy.ipynb"
        )

    return write


@pytest.mark.parametrize("name", ["demo", "quick", "laptop", "paper"])
def test_profiles_fit_the_chapters(name):
    plan = stages(load_profile(name))
    assert [chapter for _, chapter, _ in plan] == sorted(chapter for _, chapter, _ in plan)
    assert len({name for name, *_ in plan}) == len(plan)
    assert (
        dict(epochs=load_profile(name)["epochs"]).items()
        <= next(p for _, c, p in plan if c == "04_training").items()
    )


def test_a_demo_is_a_quick_run_with_less_of_four_things():
    demo, quick = load_profile("demo"), load_profile("quick")
    less = {name for name in quick if demo[name] != quick[name]} - {"profile"}
    assert less == {"epochs", "inducing", "n_train", "full_epochs"} and demo.keys() == quick.keys()
    assert all(0 < demo[name] < quick[name] for name in less)


PARAMETERS = [  # values, and what is said of them before anything runs
    ({"epoch": 3}, "'epoch' is unknown; perhaps 'epochs' is meant; chapters know .*epochs"),
    ({"epochs": "3"}, r"'epochs' is '3', but 0\d_\w+ needs a value of type int"),
    ({"epochs": True}, "'epochs' is True"),
    ({"epochs": 2.5}, "'epochs' is 2.5"),
    ({"models": "dvae"}, "'models' is 'dvae', .* of type list"),
    ({"trials": 0}, "'trials' is 0; 1 is the least that 07_bo can work with"),
    ({"seed": -1}, "'seed' is -1; 0 is the least"),
    ({"lr": "fast"}, "'lr' is 'fast', but .* of type float"),
    ({"lr": float("nan")}, "'lr' is nan; 0 is the least"),
    ({"lr": float("inf")}, "'lr' is inf; 2147483647 is the most"),
    ({"seed": 10**23}, "'seed' is 10*; 2147483647 is the most"),
    ({"models": []}, "'models' is empty; write a list: -p models '.dvae, dvae-emb.'"),
    ({"models": [[1]]}, r"'models' has \[1\]; known are dvae, "),
    ({"models": ["dvae", "gnn"]}, "'models' has 'gnn'; known"),
    ({"model": "svae"}, "'model': a run has several; say -p models"),
    ({"strategies": ["luck"]}, "'strategies' has 'luck'; known are paper, "),
    ({"winners_of": [{}]}, "'winners_of' has {}; known are paper, "),
    ({"fits": ["foo"]}, "'fits' has 'foo'; known are tuned, paper, thorough"),
    ({"snapshots": [1, -4]}, "'snapshots' has -4; give whole numbers from 1 on"),
    ({"snapshots": ["a"]}, "'snapshots' has 'a'; give"),
    ({"snapshots": [0]}, "'snapshots' has 0; give"),
    ({"dataset": "imagenet"}, "dataset 'imagenet' is unknown"),
    ({"profile": "a/b"}, "profile 'a/b' is not a plain name; it names a folder in runs/"),
    ({"profile": ".."}, "profile '..' is not a plain name"),
    ({"profile": ""}, "profile '' is not a plain name"),
    ({"profile": "lap*"}, r"profile 'lap\*' is not a plain name"),
    ({"profile": "x" * 300}, "is not a plain name"),
]


@pytest.mark.parametrize("values, says", PARAMETERS, ids=str)
def test_a_wrong_parameter_is_refused_before_anything_runs(values, says):
    refused_as(says, stages, values)


def test_the_parameters_that_may_be_0_are_those_whose_chapter_says_what_it_means():
    said = {"seed"}
    for chapter in pipeline.chapters():
        for cell in pipeline.read_chapter(chapter)["cells"]:
            if "parameters" in cell["metadata"].get("tags", ()):
                lines = re.findall(r"^(\w+): (?:int|float) .*\b0(?::| for| leaves)",
                                   "".join(cell["source"]), re.M)  # fmt: skip
                said |= set(lines)
    assert said == set(pipeline.MAY_BE_0)


def test_the_full_search_is_one_command_of_readme_and_of_the_chapter():
    paper, alone = load_profile("paper"), pipeline.defaults("07_bo")
    command = "-p trials 10 -p rounds 10 -p batch_size 50 -p inducing 500 -p n_train 0"
    for file in ("README.md", "nbs/07_bo.ipynb"):
        assert command in (pipeline.project_folder() / file).read_text(encoding="utf-8")
    words = command.split()
    named = {name: int(value) for name, value in zip(words[1::3], words[2::3], strict=True)}
    search = ("strategies", "decodings", "candidates", *named)
    assert {name: {**alone, **named}[name] for name in search} == {n: paper[n] for n in search}


@pytest.mark.usefixtures("warm")
def test_a_stage_is_done_once(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "ASSETS", tmp_path / "opembed_nb" / "assets")
    toy("from pathlib import Path; Path('count').open('a').write('x')")
    runs = tmp_path / "runs"
    assert (
        run_stage("00_toy", "00_toy", {"n": 2}, runs) > 0
        and run_stage("00_toy", "00_toy", {"n": 2}, runs) == 0
    )
    assert (tmp_path / "nbs" / "count").read_text() == "x"
    assert run_stage("00_toy", "00_toy", {"n": 3}, runs) > 0
    (tmp_path / "opembed_nb" / "toy.py").write_text("changed = True")
    assert run_stage("00_toy", "00_toy", {"n": 3}, runs) > 0


@pytest.mark.usefixtures("warm")
def test_the_last_stage_of_a_run_shows_what_is_there_now(toy, tmp_path, monkeypatch):
    toy("from pathlib import Path; Path('count').open('a').write('x')")
    toys = tmp_path / "nbs" / "00_toy.ipynb"
    (tmp_path / "nbs" / "01_tables.ipynb").write_text(toys.read_text().replace("count", "tables"))
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    for runs in ("x", "xx"):
        pipeline.run_profile("toy", LocalEngine())
        assert (tmp_path / "nbs" / "count").read_text() == "x"
        assert (tmp_path / "nbs" / "tables").read_text() == runs


@pytest.mark.usefixtures("warm")
def test_a_failed_stage_names_notebook_cell_and_log_and_runs_again(toy, tmp_path):
    toy("raise RuntimeError('no luck')")
    refused_as(r"stage 00_toy failed in cell \d+ \(RuntimeError: no luck\)"
        r".*00_toy\.ipynb.*00_toy\.log", run_stage, "00_toy", "00_toy", {}, tmp_path / "runs")
    toy("print('fine')")
    assert run_stage("00_toy", "00_toy", {}, tmp_path / "runs") > 0


# a stage in a process of its own, as a terminal starts it

RUN_TOY = """
import sys
from opembed_nb import pipeline
from opembed_nb.lab.commands import main
pipeline.train_profile = lambda *_: {}
sys.exit(main(["run", "toy"]))
"""
MAIN = "import sys; from opembed_nb.lab.commands import main; sys.exit(main(sys.argv[1:]))"
INTERRUPTED = "opembed: interrupted; the same command goes on from here\n"


@pytest.fixture
def stage(toy, tmp_path, started):
    "A stage that is in the middle of a cell: its process and the number of its kernel."
    toy(
        "import os, time\n"
        "with open('pid', 'w') as f: _ = f.write(str(os.getpid()))\n"
        "os.rename('pid', 'kernel')\n"
        "time.sleep(600)"
    )
    process, kernel = started(RUN_TOY, [], tmp_path), tmp_path / "nbs" / "kernel"
    wait_for(kernel.exists)
    yield process, int(kernel.read_text())
    process.kill()
    process.communicate()


def test_an_interrupted_stage_is_one_line_and_status_130(stage):
    process, kernel = stage
    os.killpg(process.pid, signal.SIGINT)
    assert (*process.communicate(timeout=60), process.returncode) == ("", INTERRUPTED, 130)
    wait_for(lambda: gone(kernel))


def test_a_killed_kernel_is_one_line_and_status_2(stage):
    process, kernel = stage
    os.kill(kernel, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode, err.count("\n")) == ("", 2, 1)
    assert err.startswith(
        "opembed: stage 00_toy failed: its kernel died (killed, or short of memory?); see "
    )
    assert "00_toy.ipynb" in err and "00_toy.log; the same command goes on from here" in err


@pytest.mark.slow
def test_a_kernel_that_never_answers_is_named(toy, tmp_path, monkeypatch, capfd):
    toy("1")
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(pipeline.sys, "executable", str(silent))
    monkeypatch.setattr(pipeline, "KERNEL_STARTS", 2)
    expected = "stage 00_toy failed: its kernel does not answer .*2 seconds"
    refused_as(expected, run_stage, "00_toy", "00_toy", {}, tmp_path / "runs")
    assert capfd.readouterr().err == ""


def one_line(capsys, arguments):
    "What a command says that ends with status 2."
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith("opembed: ") and out == ""
    return err


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("runs, data", [("out", "sub/data"), ("~/out", "~/data")])
def test_the_environments_folders_are_the_same_for_command_and_chapters(
    toy, tmp_path, monkeypatch, capsys, runs, data
):
    toy(
        "import os\n"
        "from pathlib import Path\n"
        "from opembed_nb.hood.records import runs_root\n"
        "chosen = runs_root(), Path(os.environ['OPEMBED_RUNS']), os.environ['OPEMBED_DATA']\n"
        "(runs_root() / 'seen').write_text('\\n'.join(map(str, chosen)))"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPEMBED_RUNS", runs)
    monkeypatch.setenv("OPEMBED_DATA", data)
    assert main(["run", "toy"]) == 0
    folder = tmp_path / "out"
    assert str(folder / "toy") in capsys.readouterr().out
    seen = [str(folder), str(folder), str(tmp_path / data.replace("~/", ""))]
    assert (folder / "seen").read_text().split("\n") == seen
    names = {"nbs", "opembed_nb", "profiles", "out"}
    assert names <= {path.name for path in tmp_path.iterdir()} <= names | {".ipython", ".cache"}
    assert not (tmp_path / "nbs" / "out").exists() and not (tmp_path / "~").exists()


def test_a_folder_of_nobodys_home_is_refused(toy, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", "~nobody-of-this-name/runs")
    assert "OPEMBED_RUNS=~nobody-of-this-name/runs" in one_line(capsys, ["run", "toy"])


@pytest.mark.usefixtures("warm")
def test_a_profile_of_another_name_is_kept_under_that_name(toy, tmp_path, monkeypatch):
    toy("print(profile)")
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "out"))
    assert main(["run", "toy", "-p", "profile", "mine"]) == 0
    log = tmp_path / "out" / "mine" / "logs" / "00_toy.log"
    assert "mine" in log.read_text() and not (tmp_path / "out" / "toy").exists()


@pytest.mark.parametrize("text", ["1e-4", "1E-4", ".1e-3", "10e-5", "0.0001", "1.e-4"])
def test_a_float_is_written_as_in_python(toy, tmp_path, text):
    toy("1")
    found = with_changes({"n": 3}, [["lr", text], ["profile", "1e5"]])
    assert found == {"n": 3, "lr": 0.0001, "profile": "1e5"}  # text where text is declared
    (tmp_path / "profiles" / "toy.yaml").write_text(f"lr: {text}\n")
    [(_, _, parameters)] = stages(load_profile("toy"))
    assert parameters["lr"] == 0.0001


PROFILES = [  # what stands in a profile's file
    ("", "toy.yaml: holds no parameters; write one `name: value` a line"),
    ("[1, 2]", "toy.yaml: holds no parameters"),
    ("n: 1\nlr: 2\nn: 3\n", "toy.yaml: parameter 'n' is given twice"),
    ("{n: 1, n: 2}", "toy.yaml: parameter 'n' is given twice"),
    (b"\xff\xfe\xff", "toy.yaml: cannot be read"),
    ("n: !!int x", "toy.yaml: cannot be read"),
    ("n: [1", "toy.yaml: cannot be read"),
    ("n: " + "[" * 3000, "toy.yaml: cannot be read"),
    ("n: !!python/name:os", "toy.yaml: cannot be read"),
    ("m: 1", "parameter 'm' is unknown"),
    ("n: x", "parameter 'n' is 'x', but 00_toy needs a value of type int"),
]


@pytest.mark.parametrize("text, says", PROFILES)
def test_a_profile_that_cannot_serve_is_one_line(toy, tmp_path, capsys, text, says):
    toy("1")
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "profiles" / "toy.yaml").write_bytes(content)
    assert says in one_line(capsys, ["run", "toy"])


CONFLICT = '{\n<<<<<<< HEAD\n "cells": [],\n=======\n "cells": [1],\n>>>>>>> other\n'


@pytest.mark.parametrize(
    "text, says",
    [
        (CONFLICT, "00_toy.ipynb, line 2: an unresolved merge conflict; resolve it first"),
        ('{"cells": [', "00_toy.ipynb: is not a notebook (Expecting value"),
        ("[1, 2]", "00_toy.ipynb: is not a notebook (it has no cells)"),
        ('{"cells": [1], "nbformat": 4}', "00_toy.ipynb: is not a notebook ("),
        (b"\xff\xfe", "00_toy.ipynb: cannot be read"),
    ],
)
def test_a_broken_chapter_is_named_in_one_line(toy, tmp_path, capsys, text, says):
    toy("1")
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "nbs" / "00_toy.ipynb").write_bytes(content)
    assert says in one_line(capsys, ["run", "toy"])


NO_UTF8 = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="")


RUN_BOTH = RUN_TOY.replace("sys.exit(", "assert not (") + """
sys.exit(main(["run", "toy", "-p", "n", "3"]))
"""


def test_all_is_utf8_whatever_the_locale(toy, tmp_path):
    toy("print('σ ±')\nopen('../written', 'w').write('é')\nif n > 2: raise ValueError('τ')")
    profile = tmp_path / "profiles" / "toy.yaml"
    profile.write_text("# 10 × 10\nn: 2\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), **NO_UTF8}
    command = [sys.executable, "-c", RUN_BOTH]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and "What a toy does ± nothing." in done.stdout
    assert done.stderr.count("\n") == 1 and "(ValueError: τ)" in done.stderr
    assert (tmp_path / "written").read_bytes() == "é".encode()
    assert "σ ±" in (tmp_path / "runs/toy/logs/00_toy.log").read_text(encoding="utf-8")


def listing(folder):
    "Every file and folder with its content and its times."
    paths = sorted(folder.rglob("*"))
    return [(p, p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in paths]


def test_a_checkout_that_nobody_may_write_runs(toy, tmp_path, monkeypatch):
    toy("print(n)")
    project, runs = tmp_path, tmp_path.parent / f"{tmp_path.name}-runs"
    folders = [project, *(path for path in project.rglob("*") if path.is_dir())]
    before = listing(project)
    monkeypatch.setenv("OPEMBED_RUNS", str(runs))
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert main(["run", "toy"]) == 0
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert listing(project) == before  # root may write, and does not
    assert (runs / "toy" / "notebooks" / "00_toy.ipynb").exists()


def test_another_python3_kernel_or_none_at_all_does_not_matter(toy, tmp_path, monkeypatch):
    toy("import sys\nassert sys.executable == " + repr(sys.executable))
    kernel = tmp_path / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    other = dict(argv=["/bin/false"], display_name="other", language="python")
    (kernel / "kernel.json").write_text(json.dumps(other))
    for path in (tmp_path / "share", tmp_path / "nothing"):
        monkeypatch.setenv("JUPYTER_PATH", str(path))
        assert run_stage("00_toy", "00_toy", {"n": len(str(path))}, tmp_path / "runs") > 0


def test_a_kernel_of_a_user_without_a_home_has_one(tmp_path, monkeypatch):
    def unknown(cls):
        raise RuntimeError("Could not determine home directory.")

    assert "HOME" not in pipeline._environment(tmp_path)
    monkeypatch.setattr(Path, "home", classmethod(unknown))
    assert pipeline._environment(tmp_path)["HOME"] == str(tmp_path)


def test_two_runs_at_once_write_nothing_into_the_checkout(toy, tmp_path):
    toy("import time\ntime.sleep(0.5)")
    before = sorted(path.name for path in (tmp_path / "nbs").iterdir())
    engine = ProcessEngine(2)
    jobs = [("00_toy", "00_toy", {}, tmp_path / f"runs-{k}") for k in range(2)]
    for _, seconds, error in engine.run(run_stage, jobs):
        assert seconds and not error
    assert sorted(path.name for path in (tmp_path / "nbs").iterdir()) == before


# training

TINY = dict(models="[dvae, dvae-emb]", hidden="8", latent="6", max_graphs="200", minibatch="20")


def words(command, *more, **changes):
    "A command of the profile quick, some of whose parameters are changed."
    return [command, "quick", *more, *(w for pair in changes.items() for w in ("-p", *pair))]


def train_arguments(*more, **changes):
    return words("train", *more, **TINY | changes)


@pytest.mark.slow
def test_training_from_the_command_line_is_interrupted_and_goes_on(
    tmp_path, monkeypatch, capsys, started
):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    process = started(MAIN, train_arguments("--workers", "2", epochs="100000"), ROOT)
    paths = [
        tmp_path / f"quick/enas-digits/{m}/seed-0/checkpoint.safetensors"
        for m in ("dvae", "dvae-emb")
    ]
    wait_for(lambda: all(path.exists() for path in paths))
    os.killpg(process.pid, signal.SIGINT)
    assert (*process.communicate(timeout=60), process.returncode) == ("", INTERRUPTED, 130)
    assert main(train_arguments(epochs="99999")) == 2  # another training's folder
    assert "belongs to a run with epochs = 100000, not 99999" in capsys.readouterr().err


TERMINATED = "opembed: terminated; the same command goes on from here\n"
SLOW_SEARCH = """
import sys, time
from opembed_nb.lab import commands
def slow(*_):
    oracle = real(*_)
    class Slow(type(oracle)):
        def __call__(self, batch):
            open({mark!r}, "w").close()
            time.sleep(3600)
    oracle.__class__ = Slow
    return oracle
real, commands.load_oracle = commands.load_oracle, slow
sys.exit(commands.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_training_that_is_terminated_ends_with_its_checkpoints(
    workers, tmp_path, monkeypatch, started
):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    process = started(MAIN, train_arguments("--workers", workers, epochs="100000"), ROOT)
    path = tmp_path / "quick/enas-digits/dvae/seed-0/checkpoint.safetensors"
    wait_for(path.exists)
    os.kill(process.pid, signal.SIGTERM)
    assert (*process.communicate(timeout=10), process.returncode)[1:] == (TERMINATED, 143)
    history = read_history(path.parent)
    assert history and len(load_tensors(path)[1]["history"]) == len(history)


@pytest.mark.slow
def test_a_search_that_is_terminated_leaves_no_claim(tmp_path, monkeypatch, started):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    small = dict(models="[dvae]", hidden="8", latent="6", epochs="1", max_graphs="200")
    small |= dict(strategies="[evolution]", n_train="200", inducing="20", full_epochs="0")
    small |= dict(rounds="1", batch_size="2", trials="1", profile="mine")
    code = SLOW_SEARCH.format(mark=str(tmp_path / "asked"))
    process = started(code, words("search", **small), ROOT)
    wait_for((tmp_path / "asked").exists)
    os.kill(process.pid, signal.SIGTERM)
    assert (process.communicate(timeout=10)[1], process.returncode) == (TERMINATED, 143)
    [path] = tmp_path.glob("mine/enas-digits/dvae/seed-0/search-*.sqlite")
    assert {row.state for row in Ledger(path).rows()} == {"waiting"}
    held = "UPDATE evaluations SET state = 'running', owner = 'there 7 1000', claimed = 0"
    Ledger(path).db.execute(held)
    assert main(words("search", "--take-over", **small)) == 0
    assert {row.state for row in Ledger(path).rows()} == {"done"}


def test_a_stage_that_is_terminated_is_one_line_and_status_143(stage):
    process, kernel = stage
    os.kill(process.pid, signal.SIGTERM)
    assert (process.communicate(timeout=10), process.returncode) == (("", TERMINATED), 143)
    wait_for(lambda: gone(kernel))


def test_trained_models_are_what_the_chapters_look_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    changes = dict(models="[dvae-emb]", epochs="2", profile="mine")
    arguments = train_arguments("--workers", "1", "--seeds", "0", "2", **changes)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("trained in") == 2 and "2 epochs, loss " in out and "seed-2" in out
    assert {p.name for p in tmp_path.glob("mine/enas-digits/dvae-emb/seed-2/*")} == {
        "checkpoint.safetensors",
        "epoch-1.safetensors",  # chapter 9 looks at it
    }
    assert main(arguments) == 0 and capsys.readouterr().out.count("found") == 2


def test_a_run_folder_that_cannot_be_written(toy, tmp_path):
    toy("1")
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OpembedError, match="stage 00_toy: .* cannot be written .*OPEMBED_RUNS"):
        run_stage("00_toy", "00_toy", {}, tmp_path / "runs")


ABLE = dict(accuracy=1.0, validity=2.0, uniqueness=3.0, novelty=4.0)


def keep(root, model="dvae", seed=0, profile="quick", data="enas-digits", **sections):
    "Records of one run."
    for section, values in sections.items():
        save_record(root / profile / data / model / f"seed-{seed}", section, values, 1)


def a_search(oracle, **best):
    strategies = {name: dict(best=values) for name, values in best.items()}
    return dict(oracle=oracle, strategies=strategies)


def finals(*rows, epochs=3, **more):
    "What a record of finalists holds; a row: kind, architecture, both scores, and by whom."
    names = "kind", "architecture", "shared", "full", "by"
    return dict(oracle="o", epochs=epochs, rows=[dict(zip(names, row)) for row in rows], **more)


def test_the_scoreboard_shows_records_and_nothing_else(tmp_path):
    assert "No records" in scoreboard(tmp_path, "quick", "enas-cifar10")
    fits = dict(rmse=[0.5, 0.7], pearson=[0.8, 0.8], kendall=[0.6, 0.6], coverage=[0.9, 0.9])
    keep(tmp_path, "dvae-emb", data="enas-cifar10", prediction=fits)
    table = scoreboard(tmp_path, "quick", "enas-cifar10")
    for row in (
        "| RMSE, tuned fit, DVAE-EMB | 0.371 ± 0.003 | – | 0.600 | +0.229 | one seed |",
        "| reconstruction (%), DVAE-EMB | 99.99 | – | – | – | not run |",
        "| Kendall τ | 0.600 ± 0.000 |",
    ):
        assert row in table


def test_the_scoreboard_shows_the_data_sets_that_have_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "out"))
    for name in ("my-cells", "enas-digits"):
        keep(tmp_path / "out", profile="mine", data=name, abilities=ABLE)
    assert main(["scoreboard", "mine"]) == 0
    out = capsys.readouterr().out
    assert out.index("\nenas-digits\n") < out.index("\nmy-cells\n") and "enas-cifar10" not in out
    assert out.count("| validity (%) | 2.00 |") == 2
    assert main(["scoreboard", "mine", "-p", "dataset", "enas-digits"]) == 0
    assert "my-cells" not in capsys.readouterr().out


def test_several_seeds_are_averaged_in_every_table(tmp_path):
    assert "No finalists" in finalists(tmp_path, "quick")
    for seed in (0, 1):
        found = finals(
            ("found", f"a{seed}", 0.5, 0.7 + seed / 10),
            ("found", "b", 0.4, 0.6),
            ("random", f"r{seed}", 0.2, 0.3),
            ("best of the data", "d", 0.4, 0.5),
        )
        fits = {key: [0.1 + seed, 0.3 + seed] for key in ("rmse", "pearson", "kendall")}
        searched = a_search("a", tuned=[0.5 + seed, 0.7 + seed])
        able = dict(ABLE, accuracy=90.0 + seed)
        keep(tmp_path, seed=seed, abilities=able, prediction=fits, search=searched, finalists=found)
        if seed == 0:
            table = finalists(tmp_path, "quick")
            assert "trained alone, 3 epochs" in table and "| random | r0 |" in table
            assert "| D-VAE, 2. | b | 0.4000 | 0.6000 |" in table
    table = scoreboard(tmp_path, "quick")
    assert "| reconstruction (%) | 90.50 ± 0.71 (n = 2) |" in table
    assert "| RMSE | 0.700 ± 0.707 (n = 2) |" in table
    assert "| best found, tuned (a) | 1.1000 ± 0.7071 (n = 2) |" in table
    table = finalists(tmp_path, "quick")
    first = "| one of each seed (2) | 0.5000 ± 0.0000 (n = 2) | 0.7500 ± 0.0707 (n = 2) |"
    assert f"| D-VAE, 1. {first}" in table and "| D-VAE, 2. | b | " in table
    for row in ("| random | one of each seed (2) |", "| best of the data |"):
        assert table.count(row) == 1


def test_a_copied_models_folder_is_no_model(tmp_path):
    for name in ("dvae", "dvae (1)"):
        keep(tmp_path, name, abilities=ABLE, finalists=finals(("found", "a", 0.5, 0.7)))
    assert scoreboard(tmp_path, "quick").startswith("|  | D-VAE |\n")
    assert finalists(tmp_path, "quick").count("\n") == 2


def test_on_other_data_the_paper_has_no_column_and_unlike_records_do_not_mix(tmp_path):
    keep(tmp_path, search=a_search("a", tuned=[0.5, 0.6], random=[0.4]))
    table = scoreboard(tmp_path, "quick")
    assert "paper" not in table and "| best found, tuned (a) | 0.5500 ± 0.0707 |" in table
    assert "| best found, random (a) | 0.4000 |" in table
    assert "No records" in scoreboard(tmp_path, "quick", "enas-cifar10")
    keep(tmp_path, "dvae-emb", search=a_search("b", tuned=[0.5]))
    refused_as("scored by different oracles, a and b", scoreboard, tmp_path, "quick")
    for seed, epochs in enumerate((3, 310)):
        keep(tmp_path, seed=seed, finalists=finals(("found", "f", 0.5, 0.9), epochs=epochs))
    refused_as("finalists differ in oracle, epochs or", finalists, tmp_path, "quick")


def test_what_the_twins_found_is_compared_strategy_by_strategy(tmp_path):
    for name, more in (("dvae", 0.0), ("dvae-emb", 0.01)):
        found = [
            ("found", f"{by}{x}", 0.5, 0.9 + more + x, by)
            for by in ("paper", "tuned")[: 1 + (name == "dvae-emb")]
            for x in (0.0, 0.01, 0.02)
        ]
        found += [("random", "r", 0.5, full, None) for full in (0.7, 0.8)]
        keep(tmp_path, name, finalists=finals(*found, trainings=2))
    table = finalists(tmp_path, "quick")
    assert "| D-VAE, paper, 3. | paper0.02 |" in table and "| DVAE-EMB, tuned, 1. |" in table
    assert table.count("| random |") == 2
    table = found_by_twins(tmp_path, "quick")
    half = 2.7764 * math.sqrt(2 / 3)  # Student's t with 4 degrees of freedom, spreads of 1
    around = f"+1.00 [{1 - half:+.2f}, {1 + half:+.2f}]"
    assert f"| paper | D-VAE | 91.00 ± 1.00 | 92.00 ± 1.00 | {around}" in table
    assert "| tuned |" not in table  # of one twin alone
    for name, full in (("dvae", 0.9), ("dvae-emb", 0.92)):  # one find each has no interval
        found = ("found", "a", 0.5, full, "paper"), ("random", "r", 0.5, 0.9, None)
        keep(tmp_path, name, profile="laptop", finalists=finals(*found, trainings=1))
    alone = "| paper | D-VAE | 90.00 | 92.00 | +2.00 | +2.00 |"
    assert alone in found_by_twins(tmp_path, "laptop")
    assert "| 94.70 ± 0.07 | 95.21 ± 0.12 | +0.51 [+0.36, +0.66] | – |" in table


COMMAND_LINES = [  # the words after opembed, and what is said
    ("run slow", "profile 'slow' is unknown; known are demo, laptop, paper, quick"),
    ("run quick -p epoch 3", "parameter 'epoch' is unknown"),
    ("run quick -p epochs [1", "parameter 'epochs': cannot be read: "),
    ("search quick -p epochs many", "parameter 'epochs' is 'many'"),
    ("search quick -p strategies [luck]", "parameter 'strategies' has 'luck'; known are paper"),
    ("search quick --timeout nan", "--timeout nan: give seconds, more than 0"),
    ("search quick --address a:1", "--address a:1: only --engine ray works on a"),
    ("search quick --csv .", "--csv .: is a folder; name a file in it"),
    ("search quick --csv nowhere/l.csv", "--csv nowhere/l.csv: there is no folder "),
    ("search quick --optuna search.db", "is no address; write it as sqlite:///"),
    ("search quick --optuna sqlite:///nowhere/s.db", "--optuna nowhere/s.db: there is no folder "),
    ("search quick --optuna sqlite:///~/s.db", "sqlite:///~/s.db: ~ is not read there"),
    ("train quick -p models [dvae] --workers 0", "engine: 0 workers"),  # as a shell leaves it
    ("train quick -p models dvae", "parameter 'models' is 'dvae'"),
    ("train quick --address a:1", "--address a:1: only --engine ray works on a"),
    ("train quick --workers 0", "engine: 0 workers; at least 1 is needed"),
    ("train quick -p epochs 1 -p epochs 2", "'epochs' is given twice"),
    ("train quick -p profile ../mine", "is not a plain name"),
    (f"train quick -p dataset {'x' * 300}.jsonl", "File name too long"),
    ("train quick -p dataset ~nobody-of-that-name/x.jsonl", "home directory"),
    ("train quick -p max_graphs 64 --seeds -1", "seed is -1; it is at least 0"),
    ("scoreboard none", "'none' has no records in runs/ or results/; those that have some: "),
    ("scoreboard quick -p dataset imagenet", "dataset 'imagenet' is unknown"),
    ("scoreboard quick -p dataset 3", "'dataset' is 3, but scoreboard needs a value of type str"),
    ("scoreboard quick -p epochs 3", "parameter 'epochs' does not choose records"),
    ("scoreboard *", "profile '*' is not a plain name"),
    ("scoreboard \udcc3\udca9", "has no records in runs/ or results/"),  # é in an ASCII locale
    ("digest lap*", "profile 'lap*' is not a plain name"),
    ("digest ../quick", "not a plain name"),
    ("reproduce dvae --profile *", "profile '*' is not a plain name"),
    ("reproduce dvae --profile ../results/laptop", "is not a plain name"),
    ("weights /proc/none", "/proc/none: cannot be made"),
    ("digits /proc/none", "/proc/none: cannot be made"),
]


@pytest.mark.parametrize("command, says", COMMAND_LINES)
def test_a_mistake_on_the_command_line_is_one_line(capsys, tmp_path, monkeypatch, command, says):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    assert says in one_line(capsys, command.split()) and list(tmp_path.iterdir()) == []


def test_what_nobody_thought_of_is_one_line_too(capsys, monkeypatch):
    def fails(args):
        raise LookupError("a fault\nof ours")

    monkeypatch.setitem(commands.COMMANDS, "scoreboard", (fails, ""))
    assert main(["scoreboard", "laptop"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("opembed: LookupError: a fault of ours (test_pipeline.py, line ")
    assert err.count("\n") == 1 and "OPEMBED_TRACEBACK=1" in err
    monkeypatch.setenv("OPEMBED_TRACEBACK", "1")
    with pytest.raises(LookupError):
        main(["scoreboard", "laptop"])


INTO = """
import os, sys
from opembed_nb.lab.commands import main
for name in ("full", "closed", "left"):
    if not os.fork():
        os.dup2(os.open(os.path.join(sys.argv[1], name), os.O_WRONLY | os.O_CREAT), 2)
        if name == "closed":
            os.close(1)
            sys.stdout = sys.__stdout__ = None  # as at the start of a Python without it
        else:
            ours, theirs = os.pipe()  # whose reader has left
            os.dup2(theirs if name == "left" else os.open("/dev/full", os.O_WRONLY), 1)
            os.close(ours)
        sys.exit(main(["scoreboard", "mine"]))
    print(name, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_an_output_that_is_full_closed_or_left_early_is_no_traceback(tmp_path):
    keep(tmp_path, profile="mine", abilities=ABLE)
    done = python("-c", INTO, tmp_path, OPEMBED_RUNS=str(tmp_path))
    assert (done.stdout, done.stderr) == ("full 1\nclosed 0\nleft 141\n", "")
    said = {name: (tmp_path / name).read_text() for name in ("full", "closed", "left")}
    assert said["closed"] == said["left"] == "" and "Traceback" not in said["full"]
    assert said["full"].count("\n") == 1


def test_a_demo_away_from_the_project_says_so_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no profiles are there; run from the project's folder" in one_line(capsys, ["demo"])


@pytest.mark.parametrize("mark", ["", "[]", "[1]", "{", "\x00"])
def test_a_broken_note_of_what_is_done_counts_as_none(tmp_path, mark):
    (tmp_path / "a.json").write_text(mark)
    assert pipeline._key_of(tmp_path / "a.json") is None
    assert pipeline._key_of(tmp_path / "b.json") is None


def test_a_search_from_the_command_line_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    small = dict(models="[dvae]", hidden="8", latent="6", epochs="1", max_graphs="200")
    small |= dict(n_train="200", inducing="20", strategies="[tuned, evolution]")
    small |= dict(rounds="2", batch_size="3", full_epochs="1", workers="1", profile="mine")
    arguments = words("search", "--csv", str(tmp_path / "l.csv"), **small)
    export = ["--optuna", f"sqlite:///{tmp_path / 'o.db'}"]
    assert main(arguments + export) == 0
    out = capsys.readouterr().out
    assert "| tuned |" in out and "12 rows in" in out and "D-VAE, tuned, 5." in out
    [ledger] = tmp_path.glob("mine/enas-digits/dvae/seed-0/search-*.sqlite")
    before, trained = (tmp_path / "l-dvae.csv").read_text(), next(tmp_path.rglob("full-1"))
    stamps = {p: p.stat().st_mtime_ns for p in trained.rglob("*.safetensors")}
    assert main(arguments + export) == 0 and (tmp_path / "l-dvae.csv").read_text() == before
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*.safetensors")} == stamps
    assert ledger.exists() and not (tmp_path / "quick").exists()


def test_digest_copies_records_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    refused_as("holds no records", commands.digest, "quick")
    folder = tmp_path / "runs" / "quick" / "d" / "m" / "seed-0"
    save_record(folder, "training", dict(history=[1]), 1)
    (folder / "checkpoint.safetensors").write_bytes(b"heavy")
    (folder / "notes.json").write_text("[1]")
    (folder / "._training.json").write_bytes(b"\x00\xff")
    shutil.copytree(folder, folder.with_name("seed-0 (1)"))
    (folder.parent / "training.json").write_text("{}")
    assert commands.digest("quick") == 1
    copied = [p for p in (tmp_path / "results").rglob("*") if p.is_file()]
    assert [p.name for p in copied] == ["training.json"] and json.loads(copied[0].read_text())[
        "values"
    ] == {"history": [1]}


# data of one's own


@pytest.fixture
def own_data(tmp_path):
    "200 scored DAGs of five to nine nodes, in a file."
    space = SearchSpace("cells", ("conv", "pool", "norm"), n_layers=7, chain=False)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for layers in range(3, 8):
        shape = replace(space, n_layers=layers)
        batches.append(random_architectures(40, shape, generator, p_skip=0.4))
    batch = cat_batches(batches)
    scores = (batch.ops == 2).sum(1) + 0.1 * batch.adj.sum((1, 2))
    path = tmp_path / "mine.jsonl"
    ArchDataset.from_scores("my-cells", space, batch, scores, higher_is_better=False).save(path)
    return path


@pytest.mark.usefixtures("warm")
def test_chapters_are_given_the_absolute_path_of_own_data(toy, tmp_path, own_data):
    toy("from pathlib import Path\nassert Path(dataset).is_absolute() and Path(dataset).exists()")
    with own_data.open() as file:
        own_data.with_name("fewer.jsonl").write_text("".join(file.readlines()[:150]))
    [stage] = stages(dict(dataset="mine.jsonl"))
    assert stage[2]["dataset"] == str(own_data)
    assert run_stage(*stage, tmp_path / "runs") > 0 and run_stage(*stage, tmp_path / "runs") == 0
    own_data.with_name("fewer.jsonl").replace(own_data)  # other data under the same name
    assert run_stage(*stage, tmp_path / "runs") > 0


def test_own_data_that_is_missing_or_broken_is_one_line(toy, tmp_path, capsys):
    toy("1")
    (tmp_path / "broken.jsonl").write_text("{\n")
    chosen = ["run", "toy", "-p", "dataset"]
    assert "missing.jsonl: cannot be read" in one_line(capsys, [*chosen, "missing.jsonl"])
    assert "broken.jsonl, line 1: is no JSON" in one_line(capsys, [*chosen, "broken.jsonl"])


def test_no_network_is_trained_of_data_that_describes_none(own_data):
    quick = load_profile("quick")
    for dataset, epochs in ((str(own_data), 0), ("enas-digits", quick["full_epochs"])):
        plan = stages({**quick, "dataset": dataset})
        searches = [parameters for _, chapter, parameters in plan if chapter == "07_bo"]
        assert [p["full_epochs"] for p in searches] == [epochs, epochs] != [None, None]


def test_train_scoreboard_and_digest_take_own_data(own_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    small = dict(models="[dvae]", hidden="8", latent="6", epochs="1", workers="1", profile="mine")

    def arguments(command, **changes):
        return words(command, dataset=os.path.relpath(own_data), **changes)

    assert main(arguments("train", **small)) == 0
    folder = tmp_path / "runs" / "mine" / "my-cells" / "dvae" / "seed-0"
    assert (folder / "checkpoint.safetensors").exists()
    assert main(arguments("train", **small)) == 0
    assert capsys.readouterr().out.count("dvae, seed 0: found") == 1
    save_record(folder, "abilities", ABLE, 1)
    assert main(arguments("scoreboard", profile="mine")) == 0
    out = capsys.readouterr().out
    assert "\nmy-cells\n" in out and "| validity (%) | 2.00 |" in out and "paper" not in out
    monkeypatch.setattr(commands, "project_folder", lambda: tmp_path)
    assert main(arguments("digest", profile="mine")) == 0
    assert (tmp_path / "results/models/my-cells/dvae/mine/seed-0/abilities.json").exists()


def test_a_search_takes_own_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    space = SearchSpace("blocks", ("conv", "pool", "norm"), n_layers=4)
    batch = random_architectures(60, space, torch.Generator().manual_seed(0))
    path = tmp_path / "mine.jsonl"
    ArchDataset.from_scores("my-blocks", space, batch, batch.adj.sum((1, 2))).save(path)
    values = dict(models="[dvae]", hidden="8", latent="6", epochs="1", minibatch="16")
    values |= dict(strategies="[evolution]", rounds="1", batch_size="3", inducing="20", n_train="0")
    assert main(words("search", dataset=os.path.relpath(path), **values)) == 0
    assert "| evolution |" in capsys.readouterr().out
    found = {p.name for p in (tmp_path / "runs/quick/my-blocks/dvae/seed-0").glob("*.json")}
    assert found == {"search.json"}  # these architectures describe no networks to train


def test_a_search_says_how_many_evaluations_gave_no_value(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    works, bad = WeightSharingOracle.__call__, []

    def shaky(oracle, batch):
        if len(batch) == 1:  # else the oracle tries itself
            bad[:] = bad or [batch.ops.tolist()]
            if batch.ops.tolist() == bad[0]:
                raise ValueError("no luck")
        return works(oracle, batch)

    monkeypatch.setattr(WeightSharingOracle, "__call__", shaky)
    values = dict(models="[dvae]", hidden="8", latent="6", epochs="1", max_graphs="100")
    values |= dict(strategies="[random architectures]", rounds="1", batch_size="2", trials="1")
    values |= dict(inducing="20", n_train="100", full_epochs="0")
    assert main(words("search", **values)) == 0
    assert "1 of them gave no value; the first: ValueError: no luck" in capsys.readouterr().out


def test_the_readme_code_works():
    "The ten lines, on a few architectures."
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("data.train.batch", "data.train.batch[:128]")
    code = code.replace("data.train.target", "data.train.target[:128]")
    exec(compile(code, "README.md", "exec"), {})


def test_the_command_is_installed():
    assert shutil.which("opembed", path=str(Path(shutil.sys.executable).parent))


def test_without_the_run_tools_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    refused_as(r"pip install '\.\[run\]'", pipeline.declared, "07_bo")


@pytest.mark.parametrize(
    "models, workers, share", [(["dvae"], 2, 2), (["dvae", "gcn"], 2, 1), (["dvae", "gcn"], 8, 4)]
)
def test_searches_that_run_together_share_the_processes(models, workers, share):
    plan = stages({"models": models, "workers": workers})
    assert [p["workers"] for _, chapter, p in plan if chapter == "07_bo"] == [share] * len(models)
