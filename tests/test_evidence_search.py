"The study's searches: all arms of a seed begin alike, and every number is a record's."

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from common import chains, refused_as, shown

from opembed_nb.data import ArchDataset, SearchSpace
from opembed_nb.hood.records import save_record
from opembed_nb.lab import arms
from opembed_nb.lab.arms import (
    SEARCH,
    SEARCHES,
    arm_config,
    plan,
    run_study,
    search_arm,
    study_records,
    train_arm,
)
from opembed_nb.lab.evidence import (
    OUTCOMES,
    SEARCH_QUESTIONS,
    answer,
    answer_table,
    judge,
    optimum_table,
    plot_optimum,
    to_optimum,
)
from opembed_nb.lab.runner import Job, main, record_path

pytestmark = pytest.mark.usefixtures("runs")
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results" / "evidence"
RECORDS = study_records(FOLDER, "search")
SPACE = SearchSpace("three", ("conv 3×3", "max pool 3×3", "avg pool 3×3"), n_layers=3)
SMALL = dict(hidden=12, latent=6)
OPTIONS = dict(sizes=SMALL, epochs=1, trials=2, search=dict(start=10, budget=25, q=5))
ARMS = SEARCHES[2]
NAME = SEARCHES[0][0]


@pytest.fixture(scope="module")
def table():
    "All chains of three layers; one has the best score."
    batch = chains(SPACE)
    scores = torch.rand(len(batch), generator=torch.Generator().manual_seed(0))
    return ArchDataset.from_scores("three", SPACE, batch, scores.tolist())


def starts(values, start=10):  # the incumbents among the random architectures, trial by trial
    return [[step for step in steps if step[0] <= start] for steps in values["steps"]]


# Runs


def test_all_arms_of_a_seed_begin_with_the_same_ten(table):
    options = OPTIONS | dict(trials=4)  # of two, neither may tell the arms apart
    found = {arm: search_arm(table, "dvae", arm, 1, **options) for arm in ARMS}
    first = starts(found["one-hot"])
    assert all(starts(values) == first for values in found.values())
    assert first[0] != first[1]  # trials differ
    assert starts(search_arm(table, "dvae", "one-hot", 2, **options)) != first
    assert any(values["steps"] != found["one-hot"]["steps"] for values in found.values())
    assert found["learned-3"]["seed"] == 100 and len(found["learned-3"]["evaluations"]) == 4


@pytest.mark.parametrize("arm", ["one-hot", "learned-3"])
def test_the_model_is_the_one_that_the_study_trains(table, arm):
    options = dict(sizes=SMALL, epochs=2)
    one = train_arm(table, "dvae", arm, 1, **options)
    other = search_arm(table, "dvae", arm, 1, trials=1, search=OPTIONS["search"], **options)
    assert other["accuracy"] == one["curve"][-1]["accuracy"]
    assert other["passes"] == one["passes"] == 2


def test_what_is_needed_is_none_where_the_budget_was_not_enough(table):
    few = search_arm(table, "dvae", "one-hot", **OPTIONS | dict(search=dict(SEARCH, budget=10)))
    assert few["evaluations"] == [None, None] and few["budget"] == 10
    enough = dict(SEARCH, budget=len(table))
    found = search_arm(table, "dvae", "one-hot", **OPTIONS | dict(search=enough))
    for steps, number in zip(found["steps"], found["evaluations"], strict=True):
        assert steps[-1][0] == number and steps[-1][1] == pytest.approx(found["optimum"])


def test_what_is_no_table_is_refused_before_it_trains(table, monkeypatch):
    monkeypatch.setattr(arms, "fit_rounds", None)
    twice = ArchDataset("twice", SPACE, table.batch[[0, 0, 1]], torch.rand(3), torch.arange(3), 2)
    refused_as("isomorphic to others", search_arm, twice, "dvae", "one-hot", **OPTIONS)


def test_searches_go_on_where_they_were(table, tmp_path, capsys):
    table.save(tmp_path / "three.jsonl")
    jobs = plan([str(tmp_path / "three.jsonl")], ["dvae"], ["one-hot", "learned-3"], [0])
    root = tmp_path / "records"
    assert run_study(jobs[:1], root, kind="search", **OPTIONS) == 0
    kept = {path: path.read_bytes() for path in root.rglob("*.json")}
    assert [path.name for path in kept] == ["arm-search.json"]
    capsys.readouterr()
    assert run_study(jobs, root, kind="search", **OPTIONS) == 0
    assert "2 runs, 1 of them missing" in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert study_records(root) == []  # they are no trainings
    records = study_records(root, "search")
    assert {(r["data"], r["arm"], r["seed"]) for r in records} == {
        ("three", "one-hot", 0),
        ("three", "learned-3", 0),
    }
    assert run_study(jobs[:1], root, sizes=SMALL, epochs=1) == 0  # nor in the way of one
    assert len(study_records(root)) == 1 and len(study_records(root, "search")) == 2


def test_the_command_names_the_searches_that_are_missing(tmp_path, capsys):
    args = ["arms", "--folder", str(tmp_path), "--search", "--dry-run"]
    assert main(args) == 0
    lines = capsys.readouterr().out.split("\n")
    assert sorted(lines[:4]) == sorted(f"{NAME} dvae {arm} 0" for arm in ARMS)
    assert len(lines) == len(set(lines)) == 21
    pretend(tmp_path, "one-hot", 0, [7, None])
    args += ["--arms", "one-hot", "learned-8", "--seeds", "0"]
    assert main(args) == 0
    assert capsys.readouterr().out.strip() == f"{NAME} dvae learned-8 0"
    assert main([*args, "--stack", "2"]) == 2
    assert "--search takes no --stack" in capsys.readouterr().err


# Answers


def pretend(root, arm, seed, evaluations, budget=300):
    job, values = Job(NAME, "dvae", arm, seed), dict(budget=budget, evaluations=evaluations)
    save_record(record_path(root, job, "arm-search").parent, "arm-search", values, 1.0)


def test_a_trial_that_found_nothing_counts_as_the_budget():
    read = OUTCOMES["evaluations"].read
    assert read(dict(budget=300, evaluations=[100, None, 50])) == 150
    assert read(dict(budget=20, evaluations=[None])) == 20
    assert read(dict(rounds=1, curve=[])) is None  # a training has none


def test_tables_and_figures_by_hand(tmp_path):
    pretend(tmp_path, "one-hot", 0, [40, None, 60])
    pretend(tmp_path, "one-hot", 1, [None, 80, None])
    pretend(tmp_path, "described", 0, [None, None, 12])
    records = study_records(tmp_path, "search")
    assert to_optimum([r["values"] for r in records if r["arm"] == "one-hot"]).tolist() == [
        40,
        301,
        60,
        301,
        80,
        301,
    ]
    rows = optimum_table(records, NAME).split("\n")[2:]
    assert rows[0].startswith("| one-hot | 2 | 6 | 50 [19, 81] | 190 | 180 ± 66 |")
    assert rows[1].startswith("| described | 1 | 3 | 33 [6, 79] | > 300 | 204 |")
    (axes,) = plot_optimum(records, NAME).axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["one-hot (6)", "described (3)"]
    at, found = axes.lines[0].get_data()
    assert (at[-1], found[38], found[-1]) == (300, 0, 50)
    assert found[39] == pytest.approx(100 / 6)
    assert optimum_table([], NAME).count("\n") == 1 and not plot_optimum([], NAME).axes[0].lines


def test_answers_are_over_models(tmp_path):
    for seed in range(5):
        pretend(tmp_path, "one-hot", seed, [200 + seed, None])
        pretend(tmp_path, "frozen-3", seed, [200 - seed, None])
        pretend(tmp_path, "described", seed, [100, 100 + seed])
        pretend(tmp_path, "learned-3", seed, [100, 104 - seed])
    found = judge(study_records(tmp_path, "search"), SEARCH_QUESTIONS)
    assert [f.answer for f in found] == ["yes", "yes", "no", "yes"]
    assert all(f.seeds == 5 for f in found)
    assert found[0].mean == pytest.approx(np.mean([102 - s / 2 - 250 - s / 2 for s in range(5)]))


# What is committed


def test_every_committed_search_says_where_it_comes_from():
    for r in RECORDS:
        job, values = Job(*(r[name] for name in Job._fields)), r["values"]
        path = record_path(FOLDER, job, "arm-search")
        assert path.is_file() and path.stat().st_size < 12_000, path
        assert re.fullmatch(r"[0-9a-f]{7,10}\+?", r["provenance"]["commit"]), path
        assert r["provenance"]["processor"] and r["provenance"]["threads"] == 1, path
        assert (values["hidden"], values["latent"]) == (128, 56), path
        assert values["passes"] == arm_config(r["arm"])[1].epochs, path
        assert {key: values[key] for key in SEARCH} == SEARCH, path
        assert values["strategy"]["kind"] == "Tuned" and values["seed"] == 100 * r["seed"], path
        assert len(values["steps"]) == len(values["evaluations"]) == 6, path
        for steps, number in zip(values["steps"], values["evaluations"], strict=True):
            missing = values["optimum"] - steps[-1][1]
            assert number in (None, steps[-1][0]), path
            assert (missing == 0) if number else (missing >= 0), path


def test_committed_searches_are_paired():
    begun = {}
    for r in RECORDS:
        where = r["data"], r["model"], r["seed"]
        assert starts(r["values"]) == begun.setdefault(where, starts(r["values"])), where


def by_hand(c):  # outcomes of both arms straight from the files, seed by seed
    means = {}
    for arm in (c.arm, c.against):
        first = record_path(FOLDER, Job(c.data, c.model, arm, 0), "arm-search")
        for path in first.parents[1].glob("*/arm-search.json"):
            r = json.loads(path.read_text(encoding="utf-8"))
            made = [300 if n is None else n for n in r["values"]["evaluations"]]
            means[arm, int(path.parent.name.removeprefix("seed-"))] = sum(made) / len(made)
    seeds = [s for s in range(100) if (c.arm, s) in means and (c.against, s) in means]
    return [means[c.arm, s] for s in seeds], [means[c.against, s] for s in seeds]


def test_effects_are_recomputed_from_the_files(agree):
    agree(judge(RECORDS, SEARCH_QUESTIONS), [by_hand(c) for c in SEARCH_QUESTIONS])


def test_the_chapter_shows_what_the_searches_say():
    table = answer_table(RECORDS, SEARCH_QUESTIONS)
    (said,) = [text for text in shown("lab/evidence") if table in text]
    assert said.startswith(f"**{answer(judge(RECORDS, SEARCH_QUESTIONS))}**")
    if RECORDS:
        assert optimum_table(RECORDS, NAME) in said
    else:
        assert said.startswith("**not run**")
