"Records, run folders and seeds: whole files that say where they come from."

import argparse
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import pytest
import torch
from common import refused_as

from opembed_nb.data import ENAS, ArchDataset, random_architectures
from opembed_nb.hood import engines, ledger
from opembed_nb.hood.asking import Search
from opembed_nb.hood.files import refused, write_whole
from opembed_nb.hood.formats import from_networkx, to_networkx
from opembed_nb.hood.intervals import mean_std, over_seeds
from opembed_nb.hood.records import (
    best_profile,
    by_model,
    copy_into,
    load_tensors,
    optimizer_tensors,
    provenance,
    read_record,
    read_records,
    record_files,
    restore_optimizer,
    run_folder,
    run_name,
    runs_root,
    save_record,
    save_tensors,
    stream,
)
from opembed_nb.lab import commands
from opembed_nb.lab.runner import how_named
from tests.warm import python

ROOT = Path(__file__).parents[1]


def test_records_are_whole_and_say_where_they_come_from(tmp_path):
    folder = tmp_path / "quick" / "data" / "dvae" / "seed-3"
    values = dict(accuracy=1.5, validity=2.5, uniqueness=0.5)
    path = save_record(folder, "abilities", values, 2.0)
    record = json.loads(path.read_text())
    assert record["values"] == values
    assert {"commit", "torch", "device", "processor"} <= record["provenance"].keys()
    (row,) = read_records(tmp_path, "abilities")
    place = (row["profile"], row["dataset"], row["model"], row["seed"])
    assert place == ("quick", "data", "dvae", 3)
    path.write_text("{")
    refused_as("is no record", read_records, tmp_path, "abilities")


@pytest.mark.parametrize("place", ["installed", "committed", "hook"])
def test_a_record_names_no_commit_of_somebody_elses(tmp_path, place):
    "The package is installed below somebody's repository, and used in it."
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(tmp_path)]
    packages = tmp_path / ".venv" / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "opembed_nb", packages / "opembed_nb", ignore=ignored)
    (tmp_path / "mine.py").write_text("")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "." if place == "committed" else "mine.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "mine"], check=True)
    code = "from opembed_nb.hood.records import provenance; print(provenance()['commit'])"
    env = dict(PYTHONPATH=str(packages), OPEMBED_COMMIT=None)
    if place == "hook":
        env |= dict(GIT_DIR=str(tmp_path / ".git"), GIT_WORK_TREE=str(tmp_path))
    done = python("-c", code, folder=tmp_path, **env)
    assert re.fullmatch(r"version \d.*|unknown", done.stdout.strip()), done.stdout + done.stderr
    env["OPEMBED_COMMIT"] = "abc"
    assert python("-c", code, folder=tmp_path, **env).stdout == "abc\n"


def test_a_record_made_elsewhere_names_the_checkout_of_the_package(tmp_path, monkeypatch):
    here = provenance()["commit"]
    monkeypatch.chdir(tmp_path)
    assert provenance()["commit"] == here and re.fullmatch(r"[0-9a-f]{10}\+?", here)


def test_copies_and_strays_are_left_out(tmp_path):
    model = tmp_path / "quick" / "data" / "dvae"
    names = "seed-0", "seed-0 (1)", "seed-x", "seed-", "seed-00", "seed-٣", "seed-10", "seed-2"
    for name in names:
        save_record(model / name, "ranking", {}, 0)
    (tmp_path / "notes.txt").write_text("a file where a profile is expected")
    (tmp_path / "quick" / "ranking.json").write_text("{")
    (model / "seed-3").write_text("a file where a folder is expected")
    for name in ("ranking (1).json", "._ranking.json", ".ranking.json.9.part"):
        (model / "seed-0" / name).write_bytes(b"\x00\xff")
    (model / "seed-1" / "ranking.json").mkdir(parents=True)
    assert [row["seed"] for row in read_records(tmp_path, "ranking")] == [0, 2, 10]
    assert len(record_files(tmp_path)) == 3


def test_a_name_with_brackets_is_a_name(tmp_path):
    save_record(tmp_path / "a[b]" / "data" / "dvae" / "seed-0", "ranking", {}, 0)
    assert len(read_records(tmp_path, "ranking", "a[b]")) == 1
    assert not read_records(tmp_path, "ranking", "b")


@pytest.mark.parametrize("text", ["[]", "3", '{"values": {}}', "\xff"])
def test_what_is_no_record_is_named(tmp_path, text):
    path = save_record(tmp_path / "quick" / "data" / "dvae" / "seed-0", "search", {}, 0)
    path.write_bytes(text.encode("latin-1"))
    refused_as("search.json: is no record", read_records, tmp_path, "search")


@pytest.mark.parametrize(
    "section, values, missing",
    [
        ("search", dict(strategies={}), "oracle"),
        ("finalists", {}, "oracle"),
        ("abilities", dict(accuracy=99.0), "validity"),
        ("training", dict(history=None), "history"),
        ("prediction", dict(rmse=[], pearson=[0.9]), "rmse"),
    ],
)
def test_what_a_record_lacks_is_named(tmp_path, section, values, missing):
    save_record(tmp_path / "quick" / "data" / "dvae" / "seed-0", section, values, 0)
    refused_as(rf"{section}.json: is no record \(no {missing}\)", read_records, tmp_path, section)


PAPERS = dict(hidden=501, latent=56)
USUAL = {
    "signal": dict(minibatch=64, lr=0.0027, training_rounds=1, **PAPERS),
    "paper": dict(minibatch=32, lr=1e-4, training_rounds=1, **PAPERS),
}


@pytest.mark.parametrize(
    "changes, name",
    [
        (dict(epochs=12), "signal@12"),
        (dict(epochs=30, minibatch=32), "signal@30,b32"),
        (dict(epochs=12, training_rounds=4, hidden=128), "signal@12,r4,w128"),
        (dict(epochs=25, lr=0.00134), "signal@25,lr0.00134"),
        (dict(epochs=115, minibatch=32, lr=1e-4, seed=3), "paper@115"),
        (dict(epochs=1, latent=6), "signal@1,latent=6"),
    ],
)
def test_a_configuration_is_named_by_the_recipe_from_which_it_differs_least(changes, name):
    assert run_name(USUAL["signal"] | changes, USUAL) == name


def committed_folder(root, names):  # name of a configuration → how many seeds
    for name, seeds in names.items():
        for seed in range(seeds):
            folder = root / "models" / "enas-digits" / "dvae" / name / f"seed-{seed}"
            save_record(folder, "ranking", dict(name=name), 0)


@pytest.mark.parametrize(
    "asked, shown",
    [
        ("signal", "signal@30,b32"),  # most seeds
        ("signal@12", "signal@12"),
        ("signal@30", "signal@30,b32"),
        ("signal,r4", "signal@12,r4"),
        ("signal,w128", "signal@10,w128"),
        ("laptop", "signal@30,b32"),  # what profiles/laptop.yaml says
        ("quick", "signal@10,w128"),
        ("paper", None),  # the profile has four rounds
        ("paper@20", "paper@20"),
        ("signal,w64", None),
        ("sign", None),
    ],
)
def test_a_name_stands_for_the_configurations_that_fit_it(tmp_path, asked, shown):
    names = {"signal@12": 2, "signal@30,b32": 3, "signal@12,r4": 5, "signal@10,w128": 1}
    committed_folder(tmp_path, names | {"paper@20": 1})
    found = {r["values"]["name"] for r in read_records(tmp_path, "ranking", asked)}
    assert found == ({shown} if shown else set())
    everything = read_records(tmp_path, "ranking")
    assert len(everything) == 12 and {r["profile"] for r in everything} == {*names, "paper@20"}
    assert {(r["dataset"], r["model"]) for r in everything} == {("enas-digits", "dvae")}


def test_the_widest_configuration_is_shown_and_of_those_the_one_with_most_records(tmp_path):
    assert best_profile("ranking", root=tmp_path) == "none"
    committed_folder(tmp_path, {"signal@10,w128": 9})
    assert best_profile("ranking", root=tmp_path) == "quick"
    committed_folder(tmp_path, {"paper@60,lr0.001,w256": 1})
    assert best_profile("ranking", root=tmp_path) == "paper,lr0.001,w256"
    committed_folder(tmp_path, {"signal@12,r4": 1, "signal@12": 1, "signal@30,b32": 1})
    assert best_profile("ranking", root=tmp_path) == "laptop"


def test_every_committed_model_is_where_its_own_record_says():
    files = record_files(ROOT / "results", "training")
    assert len(files) > 70
    for path in files:
        values = read_record(path)["values"]
        assert path.parts[-3] == how_named(values["config"], values["sizes"]), path
        assert path.parts[-2] == f"seed-{values['config']['seed']}", path


def test_seeds_are_averaged_and_counted(tmp_path):
    for seed, value in ((0, 0.5), (1, 0.7), (12, 0.9)):
        folder = tmp_path / "quick" / "data" / "dvae" / f"seed-{seed}"
        save_record(folder, "prediction", dict(rmse=[value, value + 0.1], pearson=[0.9]), 1)
    values = by_model(read_records(tmp_path, "prediction"))["dvae"]
    assert over_seeds([v["rmse"] for v in values]) == "0.750 ± 0.200 (n = 3)"
    assert over_seeds([values[0]["rmse"]]) == "0.550 ± 0.071"
    assert over_seeds([[0.5]], 2) == over_seeds([0.5], 2) == "0.50"
    assert over_seeds([1, 3], 1) == "2.0 ± 1.4 (n = 2)"


def test_what_a_killed_writer_left_goes_with_the_next_whole_file(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, others = tmp_path / f".a.json.{dead.pid}.part", tmp_path / f".b.json.{dead.pid}.part"
    living = tmp_path / f".a.json.{os.getppid()}.part"
    for path in (left, others, living):
        path.write_text("half")
    write_whole(tmp_path / "a.json", b"whole")
    assert not left.exists() and others.exists() and living.exists()


def test_the_folder_of_all_runs_is_absolute_wherever_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "nbs").mkdir()
    for where in (tmp_path, tmp_path / "nbs"):
        monkeypatch.chdir(where)
        monkeypatch.delenv("OPEMBED_RUNS", raising=False)
        assert runs_root() == tmp_path / "runs"
        monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "out"))
        assert runs_root() == tmp_path / "out"
    monkeypatch.setenv("OPEMBED_RUNS", "~/out")
    assert runs_root() == Path.home() / "out"
    assert run_folder("d", "m", 2, "p", tmp_path) == tmp_path / "p" / "d" / "m" / "seed-2"


def test_streams_are_told_apart_by_all_of_their_names():
    seeds = [stream(0), stream(1), stream(0, "a"), stream(0, "a", 1), stream(0, "a1"), stream(0, 1)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert stream(0, "a", 1) == stream(0, "a", 1)


def test_numbers_that_are_none_are_null_in_json_and_a_dash_in_tables(tmp_path):
    path = save_record(tmp_path / "seed-0", "search", dict(oracle="o", strategies={
        "tuned": dict(best=[math.nan, 0.5]), "random": dict(best=[math.nan])}), 0)  # fmt: skip

    def no(constant):
        raise AssertionError(constant)

    found = json.loads(path.read_text(), parse_constant=no)["values"]["strategies"]
    assert found["tuned"]["best"] == [None, 0.5] and read_record(path)
    assert mean_std(found["random"]["best"]) == over_seeds([None, [None]]) == "–"
    assert mean_std(found["tuned"]["best"]) == "0.500"


@pytest.mark.parametrize("name", ["../../x", "", ".", "a/b", "a\\b", None])
def test_a_run_stays_in_its_folder(name):
    refused_as("no name of a folder", run_folder, "enas-digits", "dvae", 0, name)


def test_another_weight_in_a_checkpoint_is_noticed(tmp_path):
    save_tensors(tmp_path / "a.safetensors", dict(x=torch.ones(4)), note=1)
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    refused_as("a.safetensors: .*checksum differs", load_tensors, tmp_path / "a.safetensors")


def test_weights_that_are_no_numbers_are_read_where_they_may_be_none():
    odd, own = {"w": torch.tensor([math.nan, math.inf])}, {"w": torch.zeros(2)}
    assert "tensor 'w' holds a number that is not finite" in refused(copy_into, own, odd, "x")
    copy_into(own, odd, "x", finite=False)
    assert own["w"].isnan()[0] and own["w"].isinf()[1]
    copy_into({"w": torch.empty(2, device="meta")}, {"w": torch.ones(2)}, "x")  # as on a GPU
    weight = torch.zeros(1, requires_grad=True)
    adam, again = (torch.optim.Adam([weight]) for _ in range(2))
    weight.grad = torch.full((1,), 1e30)  # whose square is infinite, while the weight is not
    adam.step()
    restore_optimizer(again, "adam", optimizer_tensors(adam, "adam"))
    assert again.state[weight]["exp_avg_sq"].isinf() and weight.isfinite()


def test_a_short_fuzz_of_all_readers_brings_no_surprise():
    outcomes, surprises = fuzz.run(300, seed=7)[:2]
    assert not surprises
    assert all({"refused"} <= counts.keys() for counts in outcomes.values())


def some_ledger(tmp_path):
    class Oracle:
        name, version = "o", "1"

    ledger.Ledger(tmp_path / "search.db", oracle=Oracle()).close()
    return tmp_path / "search.db"


def test_a_ledger_with_a_view_without_end_is_refused(tmp_path):
    path = some_ledger(tmp_path)
    db = sqlite3.connect(path)
    db.execute("DROP VIEW ledger")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    db.execute(f"CREATE VIEW ledger AS {endless}")
    db.close()
    refused_as("search.db: has a view 'ledger' that no ledger has", ledger.Ledger, path)


@pytest.mark.parametrize("storage, says", [
    ("sqlite://", "is kept in memory"), ("sqlite:///:memory:", "is kept in memory"),
    ("sqlite:///{}/none/x.db", "there is no folder"), ("sqlite:///{}/text.db", "is no database"),
    ("sqlite:///{}/search.db", "is a ledger"), ("mysql://127.0.0.1:1/x", "cannot be written"),
    ("sqlite:///{}/foreign.db", "has a study 'enas-digits dvae tuned' that is no export"),
    ("sqlite:///{}/shut/x.db", "cannot be written; choose another folder"),
    ("sqlite:///{}/fine.db", None),
])  # fmt: skip
def test_exports_are_asked_before_the_search(tmp_path, monkeypatch, storage, says):
    optuna = pytest.importorskip("optuna")
    (tmp_path / "shut").mkdir()
    can = os.access  # to root, nothing is shut
    monkeypatch.setattr(os, "access", lambda at, how: "shut" not in str(at) and can(at, how))
    if "foreign" in storage:
        optuna.create_study(storage=storage.format(tmp_path), study_name="enas-digits dvae tuned")
    (tmp_path / "text.db").write_text("a text file of more than sixteen letters")
    some_ledger(tmp_path)
    args = argparse.Namespace(optuna=storage.format(tmp_path), csv=None)

    def ask():
        commands._check_storage(args.optuna)
        commands._check_exports(args, dict(dataset="enas-digits"), ["dvae"])

    assert says in refused(ask) if says else ask() is None


def test_a_finished_search_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    some_ledger(tmp_path).rename(tmp_path / "é 1.db")
    search = Search(ENAS, tmp_path / "asked.db")
    search.tell(search.ask(2), [0.5, 0.25])
    search.close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "access", lambda path, how: how != os.W_OK)
    kept, asked = ledger.Ledger(tmp_path / "é 1.db"), Search(ENAS, tmp_path / "asked.db")
    assert kept.oracle == "o" and kept.rows() == [] and len(asked) == 2 and len(asked.best()) == 1
    shut = "attempt to write a readonly database"
    assert shut in refused(asked.ask) and shut in refused(kept.keep_strategy, "a", "A()")
    assert "holds no study 'other'" in refused(ledger.Ledger, tmp_path / "é 1.db", "other")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_ray_is_not_asked_where_nobody_answers():
    begin = time.monotonic()
    assert "nobody answers at 127.0.0.1:1" in refused(engines._check_address, "127.0.0.1:1")
    assert time.monotonic() - begin < 6 and engines._check_address(None) is None


def test_what_has_no_bound_is_refused_at_once(tmp_path):
    begin, fields = time.monotonic(), ", ".join(f'"a{i}": 0' for i in range(60_000))
    (tmp_path / "a.jsonl").write_text("{" + fields + "}\n")
    assert "is unknown" in refused(ArchDataset.read, tmp_path / "a.jsonl")
    space = dict(name="s", operations=[f"o{i}" for i in range(60_000)], layers=2, chain=True)
    (tmp_path / "b.jsonl").write_text(json.dumps(dict(name="b", space=space)) + "\n")
    assert "60000 operations" in refused(ArchDataset.read, tmp_path / "b.jsonl")
    (tmp_path / f".x.{10**20}.part").write_text("")
    write_whole(tmp_path / "x", b"1")
    assert time.monotonic() - begin < 3


def test_numbers_as_networkx_reads_them_are_nodes():
    networkx = pytest.importorskip("networkx")
    batch = random_architectures(1)
    [graph] = to_networkx(batch)
    again = from_networkx([networkx.relabel_nodes(graph, float)])
    assert torch.equal(again.adj, batch.adj)
