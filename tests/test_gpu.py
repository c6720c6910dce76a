"`make gpu`: everything it does on a GPU, done small on the processor; and what it says without."

import json
import sys
from pathlib import Path

import pytest

from tests.warm import python

ROOT = Path(__file__).parents[1]
PARTS = ["parity", "waits", "training", "passes", "prediction", "search", "stacks", "models"]


def call(folder, *arguments):
    script = ROOT / "benchmarks" / "gpu.py"
    alone = dict(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    return python(script, "--out", folder, *arguments, **alone)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    done = call(folder, "--device", "cpu", "--tiny", "--passes", "2")
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "gpu.json").read_text())


def test_every_part_has_rows_and_every_limit_holds(dry):
    _, record = dry
    assert list(record["parts"]) == PARTS and not record["failed"] and not record["cut"]
    for name, rows in record["parts"].items():
        assert rows and all(row.get("holds", True) for row in rows), name
    assert {"commit", "torch", "processor"} <= record["provenance"].keys()
    paper = [row for row in record["parts"]["passes"] if row["protocol"] == "paper"]
    assert {(row["model"], row["minibatch"]) for row in paper} == {("dvae-emb", 32), ("dvae", 32)}
    for row in paper:
        assert row["ratio_all"] == pytest.approx(
            row["all_threads"] / row["seconds_a_pass"], rel=0.2
        )


def test_the_table_has_a_line_for_each_row(dry):
    folder, record = dry
    text = (folder / "gpu.md").read_text()
    tables = len(record["parts"])
    rows = sum(map(len, record["parts"].values()))
    assert text.count("\n| ") == rows + 2 * tables


def test_what_was_reached_survives_a_part_that_fails(tmp_path, monkeypatch):
    import gpu

    def broken(run):
        yield dict(model="dvae", seconds=1.0)
        raise RuntimeError("no memory is left")

    monkeypatch.setitem(gpu.PARTS, "waits", (broken, 1.0))
    monkeypatch.setattr(
        sys,
        "argv",
        ["gpu.py", "--device", "cpu", "--tiny", "--parts", "waits", "--out", str(tmp_path)],
    )
    assert gpu.main() == 1
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["parts"]["waits"] == [dict(model="dvae", seconds=1.0)]
    assert record["failed"] == {"waits": "RuntimeError: no memory is left"}


def test_a_model_that_diverges_is_no_end_of_the_others(tmp_path, monkeypatch):
    import gpu

    train = gpu.trained

    def diverged(run, name, config, passes):
        if name == "dvae-emb":
            raise gpu.OpembedError("dvae-emb: the loss is nan")
        return train(run, name, config, passes)

    monkeypatch.setattr(gpu, "trained", diverged)
    options = ["--device", "cpu", "--tiny", "--parts", "models", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    assert gpu.main() == 1
    record = json.loads((tmp_path / "gpu.json").read_text())
    failed = {row["model"]: row.get("failed") for row in record["parts"]["models"]}
    assert failed == {"dvae": None, "dvae-emb": "dvae-emb: the loss is nan", "gcn": None}
    assert not record["failed"]


def test_no_row_begins_when_the_time_is_over(tmp_path, monkeypatch, capsys):
    import gpu

    options = ["--device", "cpu", "--tiny", "--minutes", "0", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    assert gpu.main() == 1
    assert not capsys.readouterr().out and not (tmp_path / "gpu.json").exists()


def test_without_cuda_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "gpu")])
    assert gpu.main() == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "no CUDA device" in err
    assert not (tmp_path / "gpu").exists()


def test_the_public_step_is_timed_between_the_passes_of_a_stack(monkeypatch):
    import protocol

    from opembed_nb.hood.sources import load_dataset
    from opembed_nb.training import TrainConfig

    done = []
    monkeypatch.setattr(protocol, "HIDDEN", 16)
    train = load_dataset("enas-digits").train.batch[:64]
    job = ("svae", train, TrainConfig(), 3, lambda: done.append(32) or 32)
    theirs, ours, other = protocol.on_a_gpu(*job, "cpu", 2)
    assert len(theirs) == len(ours) == 3 and sum(done) == 3 * protocol.GRAPHS // 4
    assert min(theirs) > 0 and min(ours) > 0 and other > 0


def test_the_public_passes_say_what_is_wrong_with_their_arguments(tmp_path, monkeypatch, capsys):
    import protocol

    (tmp_path / "models.py").touch()
    for arguments, said in (
        ([str(tmp_path), "--stack", "2"], "--stack: on one core"),
        (["none"], "'none' holds no models.py; name a clone of the public D-VAE repository"),
        ([str(ROOT / "README.md")], "README.md' holds no models.py"),
    ):
        monkeypatch.setattr(sys, "argv", ["protocol.py", *arguments])
        with pytest.raises(SystemExit) as left:
            protocol.main()
        assert left.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
