"The runner: strict parameters, stages that are skipped or named when they fail, the scoreboard, the command line."

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from opembed_nb import pipeline
from opembed_nb.data import OpembedError
from opembed_nb.pipeline import check_parameters, load_profile, main, run_stage, scoreboard, stages
from opembed_nb.training import save_record

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A project with one chapter, and a function that says what the chapter does."
    (tmp_path / "nbs").mkdir()
    (tmp_path / "opembed_nb").mkdir()
    (tmp_path / "opembed_nb" / "toy.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "CHAPTERS", ("00_toy",))

    def write(code):
        cells = [
            nbformat.v4.new_code_cell("n: int = 1  # how many", id="a", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code, id="b"),
        ]
        meta = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=meta), tmp_path / "nbs" / "00_toy.ipynb")

    return write


@pytest.mark.parametrize("name", ["quick", "laptop", "paper"])
def test_profiles_fit_the_chapters(name):
    plan = stages(load_profile(name))
    assert [chapter for _, chapter, _ in plan] == sorted(chapter for _, chapter, _ in plan)
    assert len({name for name, *_ in plan}) == len(plan)
    assert dict(epochs=load_profile(name)["epochs"]).items() <= next(p for _, c, p in plan if c == "04_training").items()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"epoch": 3}, "parameter 'epoch' is unknown; chapters know .*epochs"),
        ({"epochs": "3"}, r"parameter 'epochs' is '3', 0\d_\w+ needs a value of type int"),
        ({"epochs": True}, "parameter 'epochs' is True"),
        ({"epochs": 2.5}, "parameter 'epochs' is 2.5"),
        ({"models": "dvae"}, "parameter 'models' is 'dvae', .* of type list"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(values, message):
    with pytest.raises(OpembedError, match=message):
        check_parameters(values)


@pytest.mark.parametrize(
    "values, message",
    [({"models": ["dvae", "gnn"]}, "model 'gnn' is unknown"), ({"dataset": "imagenet"}, "dataset 'imagenet' is unknown")],
)
def test_an_unknown_model_or_dataset(values, message):
    with pytest.raises(OpembedError, match=message):
        stages(values)


def test_an_unknown_profile_is_one_line_and_status_2(capsys):
    assert main(["run", "slow"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("opembed: profile 'slow' is unknown; known are laptop, paper, quick") and err.count("\n") == 1


def test_a_stage_is_done_once(toy, tmp_path):
    toy("from pathlib import Path; Path('count').open('a').write('x')")
    runs = tmp_path / "runs"
    assert run_stage("00_toy", "00_toy", {"n": 2}, runs) > 0 and run_stage("00_toy", "00_toy", {"n": 2}, runs) == 0
    assert (tmp_path / "nbs" / "count").read_text() == "x"
    assert run_stage("00_toy", "00_toy", {"n": 3}, runs) > 0
    (tmp_path / "opembed_nb" / "toy.py").write_text("changed = True")
    assert run_stage("00_toy", "00_toy", {"n": 3}, runs) > 0


def test_a_failed_stage_names_notebook_cell_and_log_and_runs_again(toy, tmp_path):
    toy("raise RuntimeError('no luck')")
    with pytest.raises(
        OpembedError, match=r"stage 00_toy failed in cell \d+ \(RuntimeError: no luck\).*00_toy\.ipynb.*00_toy\.log"
    ) as error:
        run_stage("00_toy", "00_toy", {}, tmp_path / "runs")
    assert "\n" not in str(error.value)
    toy("print('fine')")
    assert run_stage("00_toy", "00_toy", {}, tmp_path / "runs") > 0


def test_a_run_folder_that_cannot_be_written(toy, tmp_path):
    toy("1")
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OpembedError, match="stage 00_toy: .* cannot be written .*OPEMBED_RUNS"):
        run_stage("00_toy", "00_toy", {}, tmp_path / "runs")


def test_the_scoreboard_shows_records_and_nothing_else(tmp_path):
    assert "No records" in scoreboard(tmp_path, "quick")
    save_record(
        tmp_path / "quick" / "enas-cifar10" / "dvae-emb" / "seed-0",
        "prediction",
        dict(rmse=[0.5, 0.7], pearson=[0.8, 0.8], kendall=[0.6, 0.6], coverage=[0.9, 0.9]),
        1,
    )
    table = scoreboard(tmp_path, "quick")
    assert (
        "| RMSE | 0.371 ± 0.003 | 0.600 ± 0.141 |" in table
        and "| accuracy (%) | 99.99 | – |" in table
        and "D-VAE (" not in table
    )


def test_digest_copies_records_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpembedError, match="holds no records"):
        pipeline.digest("quick")
    folder = tmp_path / "runs" / "quick" / "d" / "m" / "seed-0"
    save_record(folder, "training", dict(a=1), 1)
    (folder / "checkpoint.safetensors").write_bytes(b"heavy")
    assert pipeline.digest("quick") == 1
    copied = [p for p in (tmp_path / "results").rglob("*") if p.is_file()]
    assert [p.name for p in copied] == ["training.json"] and json.loads(copied[0].read_text())["values"] == {"a": 1}


def test_the_readme_table_is_the_committed_one():
    text = (ROOT / "README.md").read_text()
    inside = text.split("<!-- scoreboard -->")[1].split("<!-- /scoreboard -->")[0].strip()
    assert inside == scoreboard(ROOT / "results", "quick").strip()


def test_the_readme_code_works():
    "The ten lines, on a few architectures."
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("data.train.batch", "data.train.batch[range(128)]")
    exec(compile(code, "README.md", "exec"), {})


def test_the_command_is_installed():
    assert shutil.which("opembed", path=str(Path(shutil.sys.executable).parent))


def test_without_the_run_tools_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(OpembedError, match=r"pip install 'opembed_nb\[run\]'"):
        load_profile("quick")
