"The runner: strict parameters, stages that are skipped or named, the scoreboard, the command line."

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from opembed_nb import pipeline
from opembed_nb.data import ArchDataset, SearchSpace, cat_batches, random_architectures
from opembed_nb.hood.engines import LocalEngine, ProcessEngine
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.records import save_record
from opembed_nb.lab import commands
from opembed_nb.lab.commands import main
from opembed_nb.lab.scoreboard import finalists, found_by_twins, scoreboard
from opembed_nb.oracle import WeightSharingOracle
from opembed_nb.pipeline import load_profile, run_stage, stages, with_changes

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


def test_a_demo_is_a_quick_run_with_less_of_three_things():
    demo, quick = load_profile("demo"), load_profile("quick")
    less = {name for name in quick if demo[name] != quick[name]} - {"profile"}
    assert less == {"epochs", "n_train", "full_epochs"} and demo.keys() == quick.keys()
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
    ({"models": []}, "'models' names no model; known are dvae, "),
    ({"models": [[1]]}, r"model \[1\] is unknown; known are dvae, "),
    ({"models": ["dvae", "gnn"]}, "model 'gnn' is unknown"),
    ({"model": "svae"}, "'model': a run has several; say -p models"),
    ({"strategies": ["luck"]}, "strategy 'luck' is unknown; known are paper, "),
    ({"winners_of": [{}]}, "strategy {} is unknown; known are paper, "),
    ({"fits": ["foo"]}, "setting 'foo' is unknown; known are tuned, paper, thorough"),
    ({"snapshots": [1, -4]}, "snapshot -4 is no number of a pass"),
    ({"snapshots": ["a"]}, "snapshot 'a' is no number of a pass"),
    ({"snapshots": [0]}, "snapshot 0 is no number of a pass"),
    ({"dataset": "imagenet"}, "dataset 'imagenet' is unknown"),
    ({"profile": "a/b"}, "profile 'a/b' is not a plain name; it names a folder in runs/"),
    ({"profile": ".."}, "profile '..' is not a plain name"),
    ({"profile": ""}, "profile '' is not a plain name"),
    ({"profile": "lap*"}, r"profile 'lap\*' is not a plain name"),
    ({"profile": "x" * 300}, "is not a plain name"),
]


@pytest.mark.parametrize("values, says", PARAMETERS, ids=str)
def test_a_wrong_parameter_is_refused_before_anything_runs(values, says):
    with pytest.raises(OpembedError, match=says):
        stages(values)


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


def test_a_stage_is_done_once(toy, tmp_path):
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


def test_the_last_stage_of_a_run_shows_what_is_there_now(toy, tmp_path, monkeypatch):
    toy("from pathlib import Path; Path('count').open('a').write('x')")
    toys = tmp_path / "nbs" / "00_toy.ipynb"
    (tmp_path / "nbs" / "01_tables.ipynb").write_text(toys.read_text().replace("count", "tables"))
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    for runs in ("x", "xx"):
        pipeline.run_profile("toy", LocalEngine())
        assert (tmp_path / "nbs" / "count").read_text() == "x"
        assert (tmp_path / "nbs" / "tables").read_text() == runs


def test_a_failed_stage_names_notebook_cell_and_log_and_runs_again(toy, tmp_path):
    toy("raise RuntimeError('no luck')")
    with pytest.raises(
        OpembedError,
        match=r"stage 00_toy failed in cell \d+ \(RuntimeError: no luck\)"
        r".*00_toy\.ipynb.*00_toy\.log",
    ) as error:
        run_stage("00_toy", "00_toy", {}, tmp_path / "runs")
    assert "\n" not in str(error.value)
    toy("print('fine')")
    assert run_stage("00_toy", "00_toy", {}, tmp_path / "runs") > 0


# a stage in a process of its own, as a terminal starts it

RUN_TOY = """
import sys
pipeline.train_profile = lambda *_: {}
sys.exit(main(["run", "toy"]))
"""
INTERRUPTED = "opembed: interrupted; the same command goes on from here\n"


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def heed_interrupts():
    "What a shell starts in the background ignores Ctrl-C, and so would all that a test starts."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(arguments, folder, **more):
    "A command that leads a process group, as one in a terminal does."
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    how = dict(cwd=folder, env=env, start_new_session=True, preexec_fn=heed_interrupts, **pipes)
    return subprocess.Popen([sys.executable, *arguments], **how)


@pytest.fixture
def stage(toy, tmp_path):
    "A stage that is in the middle of a cell: its process and the number of its kernel."
    toy(
        "import os, time\n"
        "with open('pid', 'w') as f: _ = f.write(str(os.getpid()))\n"
        "os.rename('pid', 'kernel')\n"
        "time.sleep(600)"
    )
    process, kernel = started(["-c", RUN_TOY], tmp_path), tmp_path / "nbs" / "kernel"
    wait_for(kernel.exists)
    yield process, int(kernel.read_text())
    process.kill()
    process.communicate()


def test_an_interrupted_stage_is_one_line_and_status_130(stage):
    process, kernel = stage
    os.killpg(process.pid, signal.SIGINT)
    assert (*process.communicate(timeout=60), process.returncode) == ("", INTERRUPTED, 130)
    wait_for(lambda: not running(kernel))


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
    with pytest.raises(OpembedError, match=expected) as error:
        run_stage("00_toy", "00_toy", {}, tmp_path / "runs")
    assert "\n" not in str(error.value) and capfd.readouterr().err == ""


def one_line(capsys, arguments):
    "What a command says that ends with status 2."
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith("opembed: ") and out == ""
    return err


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


CONFLICT = '{\ndef test_the_readme_code_works():
    "The ten lines, on a few architectures."
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("data.train.batch", "data.train.batch[:128]")
    code = code.replace("data.train.target", "data.train.target[:128]")
    exec(compile(code, "README.md", "exec"), {})


def test_the_command_is_installed():
    assert shutil.which("opembed", path=str(Path(shutil.sys.executable).parent))


def test_without_the_run_tools_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(OpembedError, match=r"pip install '\.\[run\]'"):
        load_profile("quick")


@pytest.mark.parametrize(
    "models, workers, share", [(["dvae"], 2, 2), (["dvae", "gcn"], 2, 1), (["dvae", "gcn"], 8, 4)]
)
def test_searches_that_run_together_share_the_processes(models, workers, share):
    plan = stages({"models": models, "workers": workers})
    assert [p["workers"] for _, chapter, p in plan if chapter == "07_bo"] == [share] * len(models)


def test_a_reader_that_leaves_early_is_no_fault():
    code = "import sys; from opembed_nb.lab.commands import main; sys.exit(main())"
    command = f'set -o pipefail; {sys.executable} -c "{code}" scoreboard quick | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 141) and done.stderr == ""
