"Search: what a point means, how strategies propose; no evaluation is lost, doubled or mixed."

import csv
import json
import math
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as

from opembed_nb import bo
from opembed_nb.bo import (
    Evolution,
    Hybrid,
    LocalSearch,
    Mutation,
    PaperBO,
    RandomArchitectures,
    RandomLatent,
    SearchState,
    Tuned,
    curve,
    decode_points,
    expected_improvement,
    judge_pool,
    log_expected_improvement,
    make_problem,
    make_strategies,
    most_frequent,
    neighbours,
    open_ledger,
    propose,
    propose_points,
    search,
    strategy_table,
    summarise,
)
from opembed_nb.data import (
    ENAS,
    About,
    ArchDataset,
    SearchSpace,
    cat_batches,
    codes,
    random_architectures,
    validity,
)
from opembed_nb.hood import ledger as ledger_module
from opembed_nb.hood.engines import LocalEngine, ProcessEngine
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_flat, from_keys, to_flat
from opembed_nb.hood.intervals import paired
from opembed_nb.hood.ledger import Evaluation, Ledger, evaluate
from opembed_nb.hood.records import read_records, save_record
from opembed_nb.lab import runner
from opembed_nb.sgp import SparseGP
from opembed_nb.training import build_model

ROOT = Path(__file__).parents[1]
FIRST = "0 1 1 2 0 0 3 0 0 1 4 0 0 0 0 5 0 0 0 0 0"
OFTEN = "1 1 1 2 0 0 3 0 0 1 4 0 0 0 0 5 0 0 0 0 0"


class Edges:
    "An oracle that likes few edges; it may sleep, fail, or write down what it is asked."

    name, version, space = "edges", "1", ENAS

    def __init__(self, sleep=0.0, note=None, bad=None):
        self.sleep, self.note, self.bad = sleep, note, bad

    def __call__(self, batch):
        time.sleep(self.sleep)
        if self.note:
            with open(self.note, "a") as f:
                f.write("".join(f"{a}\n" for a in to_flat(batch)))
        if self.bad:
            self.bad(batch)
        return 0.9 - batch.adj.sum((1, 2)).float() / 100 + batch.ops[:, 1] / 1000


def small_data(n=300):
    batch = random_architectures(n, generator=torch.Generator().manual_seed(0))
    return ArchDataset("made", ENAS, batch, Edges()(batch), torch.arange(n), n - 50)


def small_problem(oracle=None):
    model = build_model("dvae-emb", hidden=16, latent=6, seed=0).eval()
    return make_problem(model, small_data(), oracle or Edges(), inducing=30)


class Brief(SparseGP):
    "Short passes of the paper's setting."

    passes = 3


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(bo, "SparseGP", Brief)


SMALL = {
    "paper": PaperBO(10, 200),
    "tuned": Tuned(pool=400),
    "random": RandomLatent(10),
    "evolution": Evolution(20, 5),
    "hybrid": Hybrid(pool=400),
    "mutation": Mutation(pool=400),
    "local search": LocalSearch(),
    "random architectures": RandomArchitectures(),
}
MODELLED = ("paper", "tuned", "hybrid", "mutation")


KEPT = {
    "proposals": "SELECT * FROM proposals ORDER BY study, strategy, seed, round, position",
    "evaluations": "SELECT study, architecture, state, attempts, value, error, software"
    " FROM evaluations ORDER BY architecture",
    "rounds": "SELECT study, strategy, seed, round, surrogate"
    " FROM rounds ORDER BY study, strategy, seed, round",
}


def everything(ledger):
    "All that must be equal in two runs of one study: no times, no owners."
    with sqlite3.connect(ledger.path) as db:
        return {table: db.execute(query).fetchall() for table, query in KEPT.items()}


# points and batches


def test_the_most_frequent_usable_decoding_is_taken(problem):
    model = problem.model
    points = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    graphs, found = decode_points(model, points, 40, torch.Generator().manual_seed(0))
    assert len(graphs) == 60 and found.any() and not found.all()
    assert validity(graphs[found]).all() and (graphs[found].n_nodes == ENAS.max_nodes).all()
    votes = cat_batches([from_flat(FIRST), from_flat(OFTEN), from_flat(OFTEN)])
    for usable, wins in (([1, 1, 1], OFTEN), ([1, 0, 0], FIRST)):  # the most, and not the first
        rows, there = most_frequent(votes, 3, torch.tensor(usable, dtype=torch.bool))
        assert there.all() and to_flat(votes[rows]) == [wins]
    nobody = torch.zeros(6 * 40, dtype=torch.bool)
    assert not most_frequent(model.sample(torch.randn(240, 6)), 40, nobody)[1].any()


def test_expected_improvement_has_the_gradient_it_claims():
    mean = torch.tensor([0.2, -3.0, 4.0], dtype=torch.double, requires_grad=True)
    std = torch.tensor([0.5, 1.0, 2.0], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: expected_improvement(m, s, 1.0), (mean, std))


def test_log_expected_improvement_is_botorchs():
    from botorch.acquisition.analytic import _log_ei_helper

    u = torch.tensor([5.0, 1.0, -0.9, -1.1, -7.0, -60.0, -2e3, -1e6]).double()
    ours = log_expected_improvement(u, torch.ones_like(u), 0.0)
    assert torch.allclose(ours, _log_ei_helper(u), rtol=1e-6)


def test_points_lie_in_the_box_and_are_the_greedy_ones():
    x = torch.rand(80, 3, generator=torch.Generator().manual_seed(0))
    gp = SparseGP(40).fit(x, -((x - 0.5) ** 2).sum(1))
    box, best = torch.stack([x.amin(0), x.amax(0)]), -0.05
    points = propose_points(gp, box, best, 5, torch.Generator().manual_seed(0), 300)
    assert (points >= box[0]).all()
    assert (points <= box[1]).all()
    assert torch.pdist(points).min() > 1e-6
    again = propose_points(gp, box, best, 5, torch.Generator().manual_seed(0), 300)
    assert torch.equal(points, again)
    # the slow way: predict everything again for every point
    pool = bo._uniform(box, 300, torch.Generator().manual_seed(0)).double()
    for point in points:
        scores = log_expected_improvement(*gp.predict(pool), best)
        chosen = log_expected_improvement(*gp.predict(point[None].double()), best)
        assert chosen >= scores.max() - 1e-3
        best = max(best, float(gp.predict(point[None].double())[0]))
        gp = gp.condition(point[None])


# strategies


def a_surrogate(problem, gp=None):
    return SearchState(problem.data, problem.x, problem.y, gp, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SMALL)
def test_a_strategy_proposes_q_architectures(problem, name):
    rows, state, *_ = propose(problem, name, SMALL[name], 0, 1, [], None, 7)
    assert [r.position for r in rows] == list(range(7))
    assert (state is not None) == (name in MODELLED)
    for r in rows:
        assert (r.state == "empty") == (r.architecture is None)
        assert (r.mean is not None) == (name in MODELLED)
        assert (r.z is not None) == (name in (*MODELLED, "random"))
    real = from_flat([r.architecture for r in rows if r.architecture])
    assert validity(real).all()
    assert rows == propose(problem, name, SMALL[name], 0, 1, [], None, 7)[0]
    if name != "paper":
        assert rows != propose(problem, name, SMALL[name], 1, 1, [], None, 7)[0]


@pytest.mark.parametrize("name", ["tuned", "hybrid", "mutation", "evolution", "local search"])
def test_what_is_known_is_not_proposed_again(problem, name):
    known = set(to_flat(problem.data.train.batch))
    ledger = []
    for round in (1, 2, 3):
        rows, *_ = propose(problem, name, SMALL[name], 0, round, ledger, None, 10)
        texts = [r.architecture for r in rows]
        assert len(set(texts)) == 10 and not known & set(texts)
        known |= set(texts)
        values = Edges()(from_flat(texts)).tolist()
        for row, value in zip(rows, values):
            ledger.append(Evaluation(**{**row.__dict__, "state": "done", "value": value}))


def test_local_search_climbs_and_evolution_forgets(problem):
    train = problem.data.train
    tops = [train.batch[i] for i in (train.accuracy == train.accuracy.max()).nonzero()[:, 0]]
    proposed = set(to_flat(LocalSearch().propose(None, a_surrogate(problem), [], 30).batch))
    # all unseen neighbours of a best one come first
    assert any(proposed <= set(to_flat(neighbours(top))) for top in tops)
    old = [Evaluation("evolution", 0, 1, 0, FIRST, "done", 0.99)]
    old += [Evaluation("evolution", 0, 1, i, OFTEN, "done", 0.1) for i in range(1, 21)]
    evolve = Evolution(population=20, tournament=20)
    # the old best at position 0 has died
    children = evolve.propose(None, a_surrogate(problem), old, 5).batch
    assert set(to_flat(children)) <= set(to_flat(neighbours(from_flat(OFTEN))))
    younger = evolve.propose(None, a_surrogate(problem), old[:20], 5).batch
    assert set(to_flat(younger)) <= set(to_flat(neighbours(from_flat(FIRST))))
    # more than there are neighbours
    assert len(evolve.propose(None, a_surrogate(problem), old, 60).batch) == 60


def test_mutants_are_one_and_two_steps_from_the_best(problem):
    best = problem.data.train.accuracy.topk(3).indices
    pool = Mutation(centres=3, pool=900)._drawn(None, a_surrogate(problem), [])  # needs no model
    steps = (codes(pool)[:, None] != codes(problem.data.train.batch[best])).sum(2).amin(1)
    assert set(steps.tolist()) == {0, 1, 2} and 900 <= len(pool) <= 900 + 3 * 45
    assert len(steps[: len(steps) // 2].unique()) == 3  # in no order


def test_the_trust_region_follows_success(problem):
    surrogate, top = a_surrogate(problem), float(problem.data.train.accuracy.max())
    t = Tuned(radius=0.6)
    won = [Evaluation("tuned", 0, 1, 0, OFTEN, "done", top + 0.01)]
    lost = [Evaluation("tuned", 0, 1, 0, OFTEN, "done", top - 0.01)]
    assert t._radius(surrogate, []) == 0.6
    assert t._radius(surrogate, won) > 0.6 > t._radius(surrogate, lost)


def test_failed_and_missing_values_never_reach_the_process(problem, monkeypatch):
    seen = {}

    class Spy(Brief):
        def fit(self, x, target, start=None):
            seen["x"], seen["y"] = x, target
            return super().fit(x, target, start)

    monkeypatch.setattr(bo, "SparseGP", Spy)
    z = torch.zeros(6)
    states = [("done", 0.95), ("nan", None), ("failed", None), ("empty", None)]
    known = []
    for i, (state, value) in enumerate(states):
        architecture = None if state == "empty" else OFTEN
        known.append(Evaluation("paper", 0, 1, i, architecture, state, value, z=z + i))
    propose(problem, "paper", SMALL["paper"], 0, 2, known, None, 2)
    assert len(seen["x"]) == len(problem.x) + 2 and seen["y"].isfinite().all()
    assert torch.equal(seen["x"][-2:], torch.stack([z, z + 3])) and seen["y"][-1] == problem.y.min()


def test_a_pool_is_judged_by_the_oracle(problem):
    class Anywhere(Hybrid):  # an untrained decoder makes few architectures
        def _drawn(self, model, surrogate, ledger):
            return random_architectures(300, ENAS, surrogate.generator)

    found = judge_pool(problem._replace(inducing=200), Anywhere(), 100)
    assert found["spearman"] > 0.5 and found["top_tenth"] > found["all"]


# the ledger


class Leaving(Edges):
    def __call__(self, batch):
        sys.exit(0)


def some_rows(texts=(FIRST, OFTEN), strategy="tuned", seed=0, round=1):
    return [
        Evaluation(strategy, seed, round, i, t, "waiting" if t else "empty", None)
        for i, t in enumerate(texts)
    ]


@pytest.fixture
def empty(tmp_path):
    return Ledger(tmp_path / "l.sqlite", oracle=Edges())


@pytest.fixture
def ledger(empty):
    "With two architectures that wait."
    empty.add_round(some_rows(), None)
    return empty


def test_a_round_is_written_once_and_whole(empty):
    z = torch.randn(6)
    rows = [Evaluation("tuned", 0, 1, 0, FIRST, "waiting", None, 0.5, 0.1, z)]
    empty.add_round(rows, {"a": torch.arange(3.0)})
    empty.add_round(some_rows(), None)  # another process was quicker
    [row] = empty.rows()
    assert torch.equal(row.z, z)
    assert (row.architecture, row.mean, row.state) == (FIRST, 0.5, "waiting")
    assert torch.equal(empty.surrogate("tuned", 0, 1)["a"], torch.arange(3.0))
    assert empty.surrogate("tuned", 0, 2) is None
    # one position twice
    broken = [*some_rows(round=2), Evaluation("tuned", 0, 2, 1, FIRST, "waiting", None)]
    refused_as("cannot be used as a ledger", empty.add_round, broken, None)
    assert len(empty.rows()) == 1
    empty.add_round([replace(rows[0], round=2, z=torch.zeros(0))], None)  # without a model
    assert empty.rows()[1].z.shape == (0,)


def test_states_attempts_and_values(empty):
    empty.add_round(some_rows((FIRST, OFTEN, None)), None)
    assert empty.claim([FIRST, OFTEN]) == ([FIRST], [FIRST, OFTEN])
    assert empty.claim([FIRST]) == ([], [FIRST])
    empty.finish(FIRST, 0.75)
    for _ in range(3):
        assert empty.claim([OFTEN]) == ([OFTEN], [OFTEN])
        empty.fail(OFTEN, "broken")
    expected = [("done", 0.75), ("failed", None), ("empty", None)]
    assert [(r.state, r.value) for r in empty.rows()] == expected
    assert empty.claim([FIRST, OFTEN]) == ([], [])
    empty.finish(FIRST, 0.1)  # what is acknowledged stays
    assert empty.rows()[0].value == 0.75 and empty.tally() == (3, 0.75, "tuned")
    empty.add_round(some_rows(round=2), None)  # proposed again: the value is there already
    assert [r.state for r in empty.rows("tuned", 0)][3:] == ["done", "failed"]


CLAIM = "UPDATE evaluations SET owner = ?, state = 'running', claimed = ?"


def test_claims_of_the_dead_are_void(ledger):
    ledger.claim([FIRST, OFTEN], 2)
    host, pid, mine = ledger_module._owner(os.getpid()).split()
    gone = multiprocessing.get_context("spawn").Process(target=int)
    gone.start()
    gone.join()
    parent = os.getppid()
    # numbers are used again
    owners = {f"{host} {number} 1000": True for number in (gone.pid, pid, parent)}
    owners |= {
        f"{host} {parent} {ledger_module._birth(parent)}": False,
        f"{host} {pid} {mine} 1000-1": True,  # a call of ours that is over
        f"elsewhere {gone.pid} 1000": False,
    }
    for owner, dead in owners.items():
        ledger.db.execute(CLAIM, (owner, time.time()))
        assert (ledger.claim([FIRST])[0] == [FIRST]) == dead


def test_a_claim_of_another_machine_lives_by_its_heartbeat(ledger, monkeypatch, capsys):
    "Three minutes without one, by our clock; the wait is said once, and can be cut short."
    now = [0.0]
    ledger.clock = lambda: now[0]
    ledger.db.execute(CLAIM, ("there/1 7 1000 1700000000-0", 1e12))  # its wall clock is wrong
    waits = []

    def wait(seconds):
        if not seconds:  # the oracle's
            return
        waits.append(now[0])
        now[0] += 60
        if now[0] == 120:
            ledger.renew("there/1 7 1000 1700000000-0")

    monkeypatch.setattr(ledger_module.time, "sleep", wait)
    evaluate(ledger, [FIRST, OFTEN], Edges(), LocalEngine())
    assert waits == [0, 60, 120, 180, 240, 300] and {r.state for r in ledger.rows()} == {"done"}
    out = capsys.readouterr().out
    assert out.count("search: waits for process 7 on there, which holds 2 evaluations since ") == 1
    assert out.count("\n") == 1 and ", until " in out and "opembed search --take-over" in out
    ledger.add_round(some_rows([to_flat(random_architectures(1))[0]], round=2), None)
    ledger.db.execute(CLAIM + " WHERE state = 'waiting'", ("there/1 7 1000", 0.0))
    key = ledger.rows()[-1].architecture
    assert ledger.claim([key]) == ([], [key]) and ledger.take_over(own=True) == 0
    assert ledger.take_over() == 1 and ledger.claim([key])[0] == [key]
    assert ledger.take_over() == 0 and ledger.take_over(own=True) == 1


def test_a_claim_is_renewed_while_its_evaluation_runs(ledger):
    ledger.lease, beats = 0.09, set()

    def slow(batch):
        for _ in range(40):
            time.sleep(0.01)
            beats.update(ledger.db.execute("SELECT max(claimed) FROM evaluations").fetchone())

    evaluate(ledger, [FIRST], Edges(bad=slow), LocalEngine())
    assert len(beats) > 3


def test_nobody_waits_for_himself(tmp_path):
    "Interrupted at each line of the ledger's code in turn, the same call ends when it is repeated."
    code, lines = evaluate.__code__.co_filename, 0

    def interrupt(after):
        left = [after]

        def local(frame, event, _):
            if event == "line" and frame.f_code.co_filename == code:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return local

        return local

    while True:
        path = tmp_path / f"{lines}.sqlite"
        ledger = Ledger(path, oracle=Edges())
        ledger.db.execute("PRAGMA synchronous = OFF")
        ledger.add_round(some_rows(), None)
        lines += 1
        sys.settrace(interrupt(lines))
        try:
            evaluate(ledger, [FIRST, OFTEN], Edges(), LocalEngine())
            ended = True
        except KeyboardInterrupt:
            ended = False
        finally:
            sys.settrace(None)
        again = Ledger(path, oracle=Edges())
        again.db.execute("PRAGMA synchronous = OFF")
        evaluate(again, [FIRST, OFTEN], Edges(), LocalEngine())
        assert [r.state for r in again.rows()] == ["done", "done"], lines
        if ended:
            break
    assert lines > 50


@pytest.mark.parametrize("kind", [LocalEngine, partial(ProcessEngine, 1)])
def test_an_oracle_that_leaves_has_failed(kind, ledger):
    evaluate(ledger, [FIRST, OFTEN], Leaving(), kind())
    assert [r.state for r in ledger.rows()] == ["failed"] * 2
    assert ledger.errors() == ["SystemExit: 0"] * 2


def test_a_claim_is_its_owners_when_the_clock_was_set(ledger, monkeypatch):
    ledger.claim([FIRST])
    born = ledger_module._birth
    monkeypatch.setattr(ledger_module, "_birth", lambda pid: born(pid) + 1)
    ledger.finish(FIRST, 0.7)
    assert [(r.state, r.value) for r in ledger.rows()][0] == ("done", 0.7)


def test_a_full_disk_loses_nothing_that_was_acknowledged(ledger, tmp_path):
    ledger.claim([FIRST])
    ledger.finish(FIRST, 0.7)
    pages = ledger.db.execute("PRAGMA page_count").fetchone()[0]
    ledger.db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite says when the disk is full
    many = to_flat(random_architectures(400, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(OpembedError, match="full.*free space"):
        ledger.add_round(some_rows(many, round=2), {"a": torch.zeros(200_000)})
    again = Ledger(tmp_path / "l.sqlite")
    assert [(r.architecture, r.value) for r in again.rows()] == [(FIRST, 0.7), (OFTEN, None)]


def test_the_table_can_be_exported(empty, tmp_path):
    empty.add_round(some_rows((FIRST, OFTEN, None)), None)
    empty.claim([FIRST])
    empty.finish(FIRST, 0.123456789012345)
    assert empty.to_csv(tmp_path / "l.csv") == 3
    rows = list(csv.DictReader((tmp_path / "l.csv").open()))
    assert float(rows[0]["value"]) == 0.123456789012345
    assert rows[0]["oracle_version"] == "1"
    assert rows[2]["state"] == "empty"
    columns = "study", "architecture", "oracle", "seed", "state", "attempts", "finished", "software"
    assert set(columns) <= set(rows[0])


def test_the_study_can_be_looked_at_with_optuna(empty, tmp_path):
    import optuna

    empty.add_round(some_rows((FIRST, OFTEN, None)), None)
    empty.claim([FIRST])
    empty.finish(FIRST, 0.7)
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    assert empty.to_optuna(storage) == 2
    study = optuna.load_study(study_name="search tuned", storage=storage)
    assert study.best_value == 0.7 and study.best_params["layer 1"] == ENAS.operations[0]
    assert study.best_params["0 → 2"] == 1 and study.trials[1].state.name == "WAITING"
    assert study.trials[0].user_attrs["oracle"] == "edges"


class Nothing(Edges):
    "An oracle that gives no number."

    version = "2"

    def __call__(self, batch):
        return torch.full((len(batch),), math.nan)


class Fails(Edges):
    def __call__(self, batch):
        raise ValueError("no luck")


LEDGERS = [  # what lies there, how it is opened, what is said
    ("text", {}, "cannot be used as a ledger"),
    ("folder", {}, "cannot be used as a ledger"),
    ("schema", {}, "schema 7, this version .* schema 1"),
    ("whole", dict(oracle=Nothing()), "of 'edges', version 1; those of 'edges', version 2, cannot"),
    ("whole", dict(settings=dict(batch_size=5)), "made with batch_size = 4, not 5"),
    ("whole", dict(oracle=None, study="mine"), "no study 'mine'; open one of those it has: search"),
]


@pytest.mark.parametrize("what, how, says", LEDGERS)
def test_what_is_no_ledger_of_this_study_is_refused(what, how, says, tmp_path):
    path = tmp_path / "missing" / "l.sqlite" if what == "folder" else tmp_path / "l.sqlite"
    if what == "text":
        path.write_text("no database, but long enough to have had a header " * 40)
    elif what != "folder":
        Ledger(path, oracle=Edges(), settings=dict(batch_size=4)).close()
    if what == "schema":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 7")
    before = path.read_bytes() if what != "folder" else b""
    said = refused_as(says, lambda: Ledger(path, **{"oracle": Edges(), **how}))
    assert str(path) in said
    assert what == "folder" or path.read_bytes() == before
    assert what != "whole" or Ledger(path).oracle == "edges"


def searched(problem, name):
    "One trial of two rounds, in memory."
    ledger = Ledger(":memory:", oracle=problem.oracle)
    search(problem, {name: SMALL[name]}, ledger, 1, 2, 2, progress=False)
    return ledger.rows()


def another_strategy(problem, folder):
    "The third is another one of the same name."
    for local in (LocalSearch(), LocalSearch(), LocalSearch(starts=6)):
        ledger = open_ledger(folder, problem, 10, 100, 5)
        ledger.keep_strategy("local", bo._said(local))
        ledger.close()


NO_LUCK = "evaluations gave a value; the first: ValueError: no luck; mend that"
NO_MODEL = "looks into a latent space, and the problem has no model; give it one"
IN_TRAINING = build_model("dvae", hidden=8, latent=4)
DOORS = [  # what is called with a problem and a folder, what is said
    (lambda p, at: make_problem(IN_TRAINING, p.data, Edges()), r"training mode; call model\.eval"),
    (lambda p, at: make_strategies(["tuned", "annealing"]), "'annealing' is unknown; known are"),
    (lambda p, at: bo.winners(dict(top={}), ["tunned"], ENAS), "'tunned': no such strategy; known"),
    (lambda p, at: open_ledger(at / "file", p, 10, 100, 5), "file: cannot be made"),
    (lambda p, at: Ledger(":memory:", oracle=Edges()).to_csv(at / "file" / "l"), "be written"),
    (another_strategy, r"strategy 'local' was .*starts=50\), not .*starts=6\)"),
    (lambda p, at: searched(p._replace(oracle=Fails()), "random architectures"), f"4 {NO_LUCK}"),
    (lambda p, at: searched(p._replace(oracle=Fails(), start=3), "mutation"), f"3 {NO_LUCK}"),
    (lambda p, at: searched(p._replace(oracle=Nothing()), "tuned"), "value; .*the oracle gave nan"),
    *[
        (lambda p, at, n=n: searched(p._replace(model=None), n), f"strategy '{n}' {NO_MODEL}")
        for n in ("paper", "tuned", "hybrid", "random")
    ],
]


@pytest.mark.parametrize("call, says", DOORS)
def test_what_cannot_be_searched_is_said_in_one_line(call, says, problem, tmp_path):
    (tmp_path / "file").write_text("")
    refused_as(says, call, problem, tmp_path)


# a study


@pytest.mark.parametrize("name", SMALL)
def test_a_search_from_nothing_begins_with_chance_and_goes_on(name, problem, tmp_path):
    "Its random evaluations are rows of the ledger; without a latent space it needs no model."
    blind = name in ("mutation", "evolution", "local search", "random architectures")
    model = None if blind else problem.model
    nothing = make_problem(model, problem.data, Edges(), start=6)
    whole, parts = (open_ledger(tmp_path / n, nothing, 10, 100, 3) for n in "ab")
    search(nothing, {name: SMALL[name]}, whole, 2, 2, 3, progress=False)
    for rounds in (0, 1, 2):
        search(nothing, {name: SMALL[name]}, parts, 2, rounds, 3, progress=False)
    assert everything(whole) == everything(parts)
    rows = whole.rows(name, 1)
    assert [r.round for r in rows] == [0] * 6 + [1] * 3 + [2] * 3
    assert all(r.mean is None for r in rows)  # ranks are no accuracies
    other = make_problem(model, replace(problem.data, accuracy=torch.rand(300)), Edges(), start=6)
    again = Ledger(":memory:", oracle=Edges())
    search(other, {name: SMALL[name]}, again, 2, 2, 3, progress=False)
    assert [r.architecture for r in again.rows()] == [r.architecture for r in whole.rows()]


@pytest.mark.parametrize("name", ["mutation", "evolution", "local search"])
def test_without_a_model_scored_architectures_are_enough(name, problem):
    blind = make_problem(None, problem.data, Edges(), inducing=30)
    ours, theirs = searched(blind, name), searched(problem, name)
    assert [r.architecture for r in ours] == [r.architecture for r in theirs]
    assert [r.mean for r in ours] == [r.mean for r in theirs]


def test_data_scores_and_settings_are_a_ledger_each(problem, tmp_path):
    data, other = problem.data, replace(problem.data, accuracy=problem.data.accuracy.flip(0))
    a, scores, b, again = (
        open_ledger(tmp_path, problem._replace(data=data), decodings, 100, 5).path
        for data, decodings in ((data, 10), (other, 10), (data, 20), (data, 10))
    )
    assert a == again and len({a, scores, b}) == 3


def test_a_study_is_determined_by_its_seed_and_goes_on(problem, tmp_path):
    whole, parts = (Ledger(tmp_path / f"{n}.sqlite", oracle=Edges()) for n in "ab")
    chosen = {name: SMALL[name] for name in ("paper", "tuned", "evolution")}
    search(problem, chosen, whole, 2, 3, 4)
    for trials, rounds in ((1, 1), (1, 2), (2, 2), (2, 3)):
        search(problem, chosen, parts, trials, rounds, 4)
    assert everything(whole) == everything(parts) and len(whole.rows()) == 2 * 3 * 3 * 4
    for row in whole.rows():
        if row.architecture is not None:
            expected = float(Edges()(from_flat(row.architecture))[0])
            assert row.value == pytest.approx(expected)


def test_an_architecture_is_evaluated_once_in_a_study(tmp_path):
    oracle = Edges(note=tmp_path / "asked")
    problem = small_problem(oracle)
    ledger = Ledger(tmp_path / "l.sqlite", oracle=oracle)
    chosen = {name: SMALL[name] for name in ("random", "local search")}
    search(problem, chosen, ledger, 2, 2, 6)
    asked = (tmp_path / "asked").read_text().splitlines()
    first, asked = asked[:5], asked[5:]  # whose scores were known, before the search
    assert {*first} < {*to_flat(problem.data.train.batch)}
    proposed = [r.architecture for r in ledger.rows() if r.architecture]
    assert len(asked) == len(set(asked)) == len(set(proposed))
    assert len(proposed) > len(asked)  # both trials of the local search begin alike


def test_failures_are_tried_three_times_and_the_study_goes_on(tmp_path):
    asked = []

    def bad(batch):
        asked.append(to_flat(batch)[0])
        if batch.ops[0, 1] == 3:
            raise ValueError("no luck")

    oracle = Edges(bad=bad)
    ledger = Ledger(tmp_path / "l.sqlite", oracle=oracle)
    name = "random architectures"
    search(small_problem(oracle), {name: SMALL[name]}, ledger, 1, 3, 10)
    failed = [r for r in ledger.rows() if r.state == "failed"]
    assert failed
    assert all(asked.count(r.architecture) == 3 and r.architecture.startswith("1") for r in failed)
    assert all(r.state == "done" for r in ledger.rows() if r not in failed)
    query = "SELECT error, attempts FROM evaluations WHERE state = 'failed'"
    [(error, attempts)] = {tuple(row) for row in ledger.db.execute(query)}
    assert error == "ValueError: no luck" and attempts == 3


def test_an_interrupted_process_leaves_no_claim(ledger):
    def stop(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(ledger, [FIRST, OFTEN], Edges(bad=stop), LocalEngine())
    assert ledger.claim([FIRST, OFTEN], 2)[0] == [FIRST, OFTEN]


# processes that die, and two at once

STUDY = dict(trials=1, rounds=3, q=4)


def run_study(path, sleep, note):
    "What a process does that may be killed at any moment."
    torch.set_num_threads(1)
    bo.SparseGP = Brief
    oracle = Edges(sleep, note)
    ledger = Ledger(path, oracle=oracle)
    chosen = {n: SMALL[n] for n in ("tuned", "paper", "evolution")}
    search(small_problem(oracle), chosen, ledger, progress=False, **STUDY)


@pytest.fixture(scope="module")
def uninterrupted(begin, tmp_path_factory):
    "The ledger of a study that nobody disturbs, and the seconds it takes."
    path = tmp_path_factory.mktemp("whole") / "l.sqlite"
    process, since = begin(path, 0.01, None, target=run_study), time.monotonic()
    process.join()
    assert process.exitcode == 0
    return everything(Ledger(path)), time.monotonic() - since


@pytest.mark.slow
def test_kills_change_nothing(begin, uninterrupted, tmp_path):
    expected, seconds = uninterrupted
    path, note = tmp_path / "l.sqlite", tmp_path / "asked"
    rng, kills, stages = random.Random(0), 0, set()
    # at least 6, and at different moments on a slow machine, too; `make soak` has more
    while kills < 6 or (len(stages) < 3 and kills < 100):
        process = begin(path, 0.01, note, target=run_study)
        share = rng.uniform(0.2, 0.5) if kills % 2 else rng.uniform(0.02, 0.2)
        process.join(share * seconds)
        if process.exitcode is not None:  # it was done: from the beginning again
            assert process.exitcode == 0 and everything(Ledger(path)) == expected
            for part in tmp_path.glob("l.sqlite*"):
                part.unlink()
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
        if path.exists():
            with sqlite3.connect(path) as db:
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'proposals'").fetchone():
                    done = "SELECT count(*) FROM evaluations WHERE state = 'done'"
                    stages.add(db.execute(done).fetchone()[0])
    process = begin(path, 0.01, note, target=run_study)
    process.join()
    assert process.exitcode == 0 and everything(Ledger(path)) == expected
    assert len(stages) >= 3  # the kills came at different moments


@pytest.mark.slow
def test_two_processes_on_one_ledger(begin, uninterrupted, tmp_path):
    expected, _ = uninterrupted
    path, note = tmp_path / "l.sqlite", tmp_path / "asked"
    both = [begin(path, 0.01, note, target=run_study) for _ in range(2)]
    for process in both:
        process.join()
    assert [p.exitcode for p in both] == [0, 0] and everything(Ledger(path)) == expected
    asked = note.read_text().splitlines()
    # Beside these, whoever begins the study asks for five that are known: see `refuse_scores`.
    with sqlite3.connect(path) as db:
        searched = [key for (key,) in db.execute("SELECT architecture FROM evaluations")]
    assert [asked.count(key) for key in searched] == [1] * len(expected["evaluations"])
    assert len(asked) - len(searched) in (5, 10)


# what came of it


def test_summaries_by_hand():
    rows = [
        Evaluation("a", 0, 1, 0, None, "empty", None, 0.5, 0.1),
        Evaluation("a", 0, 2, 0, "x", "done", 0.6, 0.5, 0.1),
        Evaluation("a", 0, 3, 0, "x", "done", 0.55, 0.5, 0.1),
        Evaluation("a", 1, 1, 0, None, "empty", None, 0.5, 0.1),
        Evaluation("a", 1, 2, 0, "x", "done", 1.6, 0.5, 0.1),
        Evaluation("a", 1, 3, 0, "x", "done", 1.55, 0.5, 0.1),
    ]
    s = summarise(rows)
    assert s["best"] == [0.6, 1.6]
    assert s["auc"] == pytest.approx([0.4, 3.2 / 3])
    assert s["found"] == 2 / 3
    assert s["distinct"] == 0.5
    assert s["covered"] == 0.5
    assert s["std"] == pytest.approx(np.sqrt(0.5))
    assert [r["found"] for r in s["rounds"]] == [0, 1, 1]
    assert np.isnan(curve(rows[:1])[0]) and json.dumps(s)


def test_finding_nothing_is_no_better_than_the_worst_score():
    def auc(*values, floor=0.0):
        states = ("empty" if v is None else "done" for v in values)
        keys = (None if v is None else "x" for v in values)
        return summarise([
            Evaluation("a", 0, k, 0, key, state, value)
            for k, (key, state, value) in enumerate(zip(keys, states, values, strict=True), 1)
        ], floor)["auc"]  # fmt: skip

    assert auc(None, None, -0.66) == auc(-0.66, -0.66, -0.66) == pytest.approx([-0.66])
    assert auc(None, 0.5) == [0.25]  # shares are 0 at least
    assert auc(None, None, floor=-0.9) == [-0.9]  # another strategy's worst


def test_the_paired_interval_is_students():
    from scipy.stats import ttest_rel

    a, b = np.random.default_rng(0).normal(size=(2, 10))
    mean, low, high = paired(a, b)
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(a - b), expected.low, expected.high))

    def summary(name, value):
        return summarise([Evaluation(name, 0, 1, 0, "x", "done", value)])

    one = {"tuned": summary("tuned", 0.7), "b": summary("b", 0.6)}
    table = strategy_table(one, "edges")
    assert "evaluated by edges" in table and "+0.1000" in table


# data of one's own, ideas of one's own, and what is refused before it starts

FREE = SearchSpace("free", ("sum", "product", "max"), 9, chain=False)


class Longest(Edges):
    "An oracle of free graphs that likes many edges."

    space = FREE

    def __call__(self, batch):
        return 1000 * (batch.adj.sum((1, 2)).float() - batch.n_nodes) - 3


def free_data(n=200):
    "Graphs of 5 to 9 nodes with scores of any scale, of which lower ones are better."
    generator, parts = torch.Generator().manual_seed(0), []
    for nodes in range(5, 10):
        small = SearchSpace("free", FREE.operations, nodes - 2, chain=False)
        parts.append(random_architectures(n // 5, small, generator))
    batch = cat_batches(parts)
    return ArchDataset.from_scores("mine", FREE, batch, -Longest()(batch), higher_is_better=False)


@pytest.mark.parametrize("name", SMALL)
def test_free_graphs_of_any_depth_are_searched(name, tmp_path):
    data, oracle = free_data(), Longest()
    model = build_model("dvae-emb", FREE, hidden=16, latent=6, seed=0).eval()
    problem = make_problem(model, data, oracle, inducing=30)
    ledger = Ledger(tmp_path / "l.sqlite", oracle=oracle)
    search(problem, {name: SMALL[name]}, ledger, 1, 2, 6)
    rows = ledger.rows()
    assert len(rows) == 12 and {r.state for r in rows} <= {"done", "empty"}
    graphs = from_keys([r.architecture for r in rows if r.architecture], FREE)
    assert validity(graphs, FREE).all() and (graphs.n_nodes >= 5).all()
    values = [r.value for r in rows if r.architecture]
    assert values == pytest.approx(Longest()(graphs).tolist())
    assert ledger.to_csv(tmp_path / "l.csv") == 12
    assert ledger.to_optuna(f"sqlite:///{tmp_path / 'optuna.db'}", FREE) == len(graphs)


def test_neighbours_of_a_free_graph_differ_in_one_place():
    graph = free_data().batch[7]
    near = neighbours(graph, FREE)
    assert validity(near, FREE).all() and (near.n_nodes == graph.n_nodes).all()
    changed = (near.ops != graph.ops).sum(1) + (near.adj != graph.adj).flatten(1).sum(1)
    assert (changed == 1).all() and len(near) >= 2 * (int(graph.n_nodes) - 2)


TINY = SearchSpace("tiny", ("a", "b"), 2)  # 8 architectures


@pytest.mark.parametrize("name", ["tuned", "hybrid", "mutation", "evolution", "local search"])
def test_a_search_ends_when_nothing_new_is_left(name, tmp_path, capsys):
    every = from_flat([f"{a} {b} {skip}" for a in (0, 1) for b in (0, 1) for skip in (0, 1)], TINY)
    oracle = Edges()
    oracle.space = TINY
    data = ArchDataset("tiny", TINY, every, oracle(every), torch.arange(8), 5)
    model = build_model("dvae-emb", TINY, hidden=16, latent=4, seed=0).eval()
    problem = make_problem(model, data, oracle, inducing=4)
    ledger = Ledger(":memory:", oracle=oracle)
    search(problem, {name: SMALL[name]}, ledger, 1, 4, 2)
    new = {r.architecture for r in ledger.rows() if r.architecture} - set(to_flat(data.train.batch))
    assert len(new) == 3  # all that is not in the training set
    record = bo.search_record(ledger, [name], 0, 1, 4, 2)
    assert json.dumps(record) and record["strategies"][name]["best"]
    if name != "evolution":  # which goes on with what is known
        assert len(ledger.rows()) == 3
        says = f"{name}, seed 0 ends before round 3: no architecture is left"
        assert says in capsys.readouterr().out


def test_an_acquisition_is_an_argument(problem):
    asked = []

    def optimistic(mean, std, best):
        asked.append(len(mean))
        return mean + 2 * std

    for strategy in (PaperBO(10, 200, optimistic), Tuned(pool=400, acquisition=optimistic)):
        asked.clear()
        rows, *_ = propose(problem, "mine", strategy, 0, 1, [], None, 5)
        plain = replace(strategy, acquisition=log_expected_improvement)
        assert len(rows) == 5 and asked
        others, *_ = propose(problem, "mine", plain, 0, 1, [], None, 5)
        assert any((a.z != b.z).any() for a, b in zip(rows, others))


class Stubborn:
    "A strategy of one's own: the same architecture again and again."

    gp, raw = None, 0

    def propose(self, model, state, ledger, q):
        return bo.Proposal(cat_batches([from_flat(FIRST)] * q), torch.ones(q, dtype=torch.bool))


def test_a_strategy_of_ones_own_passes_through(problem, tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", oracle=Edges())
    search(problem, {"stubborn": Stubborn()}, ledger, 2, 2, 3)
    assert {r.strategy for r in ledger.rows()} == {"stubborn"} and len(ledger.rows()) == 12
    record = bo.search_record(ledger, ["stubborn"], 0, 2, 2, 3)
    assert [t["architecture"] for t in record["top"]["stubborn"]] == [FIRST]
    for names in (["stubborn"], ["tuned"]):  # who did not search: the first that did
        found = bo.winners(record, names, ENAS)
        assert list(found) == ["stubborn"] and to_flat(found["stubborn"]) == [FIRST]
    assert bo.winners(dict(top={"a": [], "b": record["top"]["stubborn"]}), ["a"], ENAS).keys() == {
        "b"
    }
    assert "| stubborn |" in strategy_table(record["strategies"], record["oracle"])


def test_winners_are_trained_once_and_several_times(problem, tmp_path, monkeypatch):
    "What two strategies found is one architecture; each has so many trainings, and their mean."
    trained = []

    def train_each(batch, images, space, sizes, schedule, seeds, folder, *where, device):
        trained.extend(to_flat(batch))
        assert (schedule.epochs, schedule.cycle, seeds, folder) == (7, 7, 2, tmp_path)
        assert device == images.train[0].device.type == "meta"  # the one that was asked for
        return torch.arange(2.0 * len(batch)).view(-1, 2) / 100

    monkeypatch.setattr(bo, "train_each", train_each)
    other = random_architectures(1, ENAS, torch.Generator("cpu").manual_seed(5))
    found = {"paper": from_flat(FIRST), "tuned": cat_batches([other, from_flat(FIRST)])}
    data = replace(problem.data, about=About(network="digits"))
    rows = bo.train_finalists(found, data, problem.oracle, 7, tmp_path, trainings=2, device="meta")
    assert [(r["kind"], r["by"]) for r in rows[:4]] == [
        ("found", "paper"),
        ("found", "tuned"),
        ("found", "tuned"),
        ("random", None),
    ]
    assert len(rows) == 3 + 5 + 1 and len(trained) == len(set(trained)) == 8
    assert rows[0]["architecture"] == rows[2]["architecture"] == trained[0]
    assert rows[0]["trainings"] == rows[2]["trainings"] == pytest.approx([0, 0.01])
    assert rows[1]["full"] == pytest.approx(0.025)
    assert rows[1]["shared"] == pytest.approx(float(problem.oracle(other)))


def test_the_finds_of_both_twins_are_trained_from_their_records(tmp_path):
    "What both found is trained once; each record holds its own finds, and what all share."
    other = to_flat(random_architectures(1, ENAS, torch.Generator("cpu").manual_seed(5)))[0]
    tops = {"dvae": [FIRST], "dvae-emb": [other, FIRST]}
    for name, keys in tops.items():
        top = {"paper": [dict(architecture=key, value=0.5) for key in keys], "random": []}
        folder = tmp_path / "results" / "laptop" / "enas-digits" / name / "seed-0"
        save_record(folder, "search", dict(oracle="an oracle", strategies={}, top=top), 1)
    command = "finalists --winners paper --epochs 1 --trainings 2 --workers 1".split()
    command += ["--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]
    assert runner.main(command) == 0
    found = {
        r["model"]: r["values"]
        for r in read_records(tmp_path / "results", "finalists", "laptop", "enas-digits")
    }
    assert len(list((tmp_path / "runs").iterdir())) == 2 * (2 + 5 + 1)
    for name, keys in tops.items():
        rows, n = found[name]["rows"], len(keys)
        assert [row["architecture"] for row in rows[:n]] == keys
        assert [row["by"] for row in rows] == ["paper"] * n + [None] * 6
        assert all(len(row["trainings"]) == 2 for row in rows)
    assert found["dvae"]["rows"][0] == found["dvae-emb"]["rows"][1]
    assert found["dvae"]["rows"][1:] == found["dvae-emb"]["rows"][2:]
