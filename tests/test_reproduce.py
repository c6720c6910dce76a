"A committed model trained again: the same bits, or inside the tolerance, or status 1."

import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from opembed_nb.hood.records import provenance, save_record
from opembed_nb.hood.sources import load_dataset
from opembed_nb.lab import commands
from opembed_nb.lab.commands import beside, made_otherwise, main, tolerance
from opembed_nb.training import abilities, fit, train_config

ROOT = Path(__file__).parents[1]
SIZES = dict(hidden=12, latent=6, dim=3)
COUNTS = dict(decodings=2, points=30)
COMMAND = ["reproduce", "dvae-emb", "--seed", "1", "--data", "enas-digits", "--device", "cpu"]


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    "The folder of a tiny run as it is committed; trained once."
    data, root = load_dataset("enas-digits"), tmp_path_factory.mktemp("committed")
    config = train_config("signal", 12, epochs=2, max_graphs=200, seed=1)
    run = fit("dvae-emb", data.train.batch, config, space=data.space, device="cpu",
              progress=False, **SIZES)  # fmt: skip
    able = abilities(run.model, data, *COUNTS.values(), seed=1)
    training = dict(config=asdict(config), sizes=SIZES, history=run.history)
    save_record(root, "training", training, 1)
    save_record(root, "abilities", dict(**COUNTS, **able), 1)
    return root


@pytest.fixture
def folder(committed, tmp_path, monkeypatch):
    "The same, in a project of the test's own."
    for name in ("nbs", "profiles", "opembed_nb"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    kept = tmp_path / "results" / "laptop" / "enas-digits" / "dvae-emb" / "seed-1"
    return shutil.copytree(committed, kept)


def change(path, act):
    record = json.loads(path.read_text(encoding="utf-8"))
    act(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_the_same_machine_gives_the_same_bits(folder, capsys):
    threads = torch.get_num_threads()
    assert main(COMMAND) == 0
    out = capsys.readouterr().out
    assert out.startswith("dvae-emb, seed 1, enas-digits, profile laptop (with epochs 2, not 12, ")
    assert "Losses of all epochs: the same bits." in out and out.endswith("\nReproduced.\n")
    assert out.count(" | inside |") == 3 and "| uniqueness (%) | " in out
    assert (folder.parents[4] / "runs/reproduce-laptop/enas-digits/dvae-emb/seed-1").is_dir()
    assert torch.get_num_threads() == threads


def test_another_number_than_the_records_is_status_1(folder, capsys):
    def worse(record):
        record["values"]["accuracy"] = 97.0

    change(folder / "abilities.json", worse)
    assert main(COMMAND) == 1
    out = capsys.readouterr().out
    assert out.count("| outside |") == 1 and out.endswith("\nNot reproduced.\n")
    assert "| reconstruction (%) | 97.000 |" in out and "three sampling errors" in out


def test_other_losses_and_where_they_come_from_are_named(folder, capsys):
    def stacked(record):
        record["values"]["stack"] = 10  # whose members are measured by the same draws
        record["values"]["history"][0]["loss"] += 1e-6
        record["provenance"] |= dict(device="NVIDIA H200", threads=1)

    change(folder / "training.json", stacked)
    assert main(COMMAND) == 0
    out = capsys.readouterr().out
    assert "not the same bits" in out and "device: NVIDIA H200 there, " in out
    assert "trained as one of a stack of 10 there, alone here" in out


def test_records_of_a_study_that_has_no_profile(folder, capsys):
    shutil.copytree(folder, folder.parents[3] / "study" / "enas-digits" / "dvae-emb" / "seed-1")
    assert main([*COMMAND, "--profile", "study"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("dvae-emb, seed 1, enas-digits, profile study\n") and "same bits" in out


REFUSED = [  # what becomes of the records of gcn, the words, what is said
    ({}, "dvae", "dvae with seed 0 has no records of enas-digits (profile laptop) in results/; "
                 "there are dvae-emb with 1, 3; gcn with 0"),
    ({}, "gcn --seed 2", "gcn with seed 2 has no records"),
    ({}, "gnn", "gnn with seed 0 has no records"),
    ({}, "gcn --profile paper", "(profile paper) in results/; there are none"),
    ({}, "gcn --data imagenet", "dataset 'imagenet' is unknown"),
    ({"abilities": None}, "gcn", "gcn with seed 0 has no records"),
    ({"training": "history"}, "gcn", "training.json: is no record (no history)"),
    ({"training": "config"}, "gcn", "the record of training in results/ has no config"),
    ({"training": "sizes"}, "gcn", "the record of training in results/ has no sizes"),
    ({"abilities": "points"}, "gcn", "the record of abilities in results/ has no points"),
]  # fmt: skip


@pytest.mark.parametrize("lost, words, says", REFUSED)
def test_what_cannot_be_repeated_is_one_line(folder, capsys, lost, words, says):
    gcn = shutil.copytree(folder, folder.parents[1] / "gcn" / "seed-0")
    shutil.copytree(folder, folder.with_name("seed-3"))
    for section, key in lost.items():
        path = gcn / f"{section}.json"
        if key is None:
            path.unlink()
        else:
            change(path, lambda record, key=key: record["values"].pop(key))
    assert main(["reproduce", "--data", "enas-digits", *words.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and says in err


def test_the_tolerance_is_three_errors_of_a_difference_of_two_shares():
    chance = torch.Generator().manual_seed(0)
    share, n = 0.98, 2000
    hits = (torch.rand(400, n, generator=chance) < share).double().mean(1) * 100
    far = [abs(a - b) > tolerance(a, b, n) for a, b in hits.view(-1, 2).tolist()]
    assert sum(far) <= 3 and tolerance(100.0, 100.0, n) == 0
    spread = float((hits.view(-1, 2) @ torch.tensor([1.0, -1.0]).double()).std())
    assert tolerance(98.0, 98.0, n) == pytest.approx(3 * spread, rel=0.15)


@pytest.mark.parametrize(
    "changes, good",
    [
        ({}, True),
        (dict(accuracy=99.4), True),
        (dict(accuracy=99.0), False),
        (dict(validity=98.9), True),
        (dict(validity=97.0), False),
        (dict(uniqueness=1.0), True),
        (dict(history=[dict(loss=0.0052)]), True),
        (dict(history=[dict(loss=0.0024)]), False),
        (dict(history=[dict(loss=0.011)]), False),
    ],
)
def test_what_is_inside_the_tolerance(changes, good):
    record = dict(accuracy=99.8, validity=99.5, uniqueness=40.0, points=1000)
    record["history"] = [dict(loss=0.005)]
    table, found = beside(record, record | changes, 1902)
    assert found == good and table.count("outside") == (not good)


def test_nothing_differs_where_a_record_is_made(monkeypatch):
    here = provenance()
    monkeypatch.setattr(commands, "provenance", lambda: here)
    training = dict(values={}, provenance={**here, "utc": "then"})
    assert made_otherwise(training) == []
    training["provenance"] = {k: v for k, v in here.items() if k != "processor"}
    [line] = made_otherwise(training)
    assert line.startswith("processor: unknown there, ")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "words, command",
    [
        ("", "opembed run paper"),
        ("MODEL=gcn", "opembed reproduce gcn --seed 0 --data enas-cifar10"),
        ("MODEL=gcn SEED=3 DATA=enas-digits", "opembed reproduce gcn --seed 3 --data enas-digits"),
    ],
)
def test_make_calls_the_command(words, command):
    call = ["make", "-n", "-o", ".venv/installed", "reproduce", *words.split()]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # set where `make test` runs this
    env = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.strip().endswith(command), done.stderr
