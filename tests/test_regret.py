"Search on a table: nothing leaks, trials are repeatable, and regret is what its name says."

import itertools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from common import chains, refused_as, shown

from opembed_nb.bo import (
    Evolution,
    Hybrid,
    LocalSearch,
    Mutation,
    PaperBO,
    Proposal,
    RandomArchitectures,
    RandomLatent,
    Tuned,
)
from opembed_nb.data import (
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    codes,
    random_architectures,
    validity,
)
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_keys, to_keys
from opembed_nb.hood.intervals import resampled, share
from opembed_nb.hood.kernels import normal_scores
from opembed_nb.hood.records import read_records
from opembed_nb.hood.sources import folder_dataset
from opembed_nb.lab import studies
from opembed_nb.lab.regret import (
    LatentMutation,
    make_arena,
    needed,
    regret_curves,
    regret_table,
    reported_regret,
    search_table,
    sooner,
    steps_of,
    study,
    table_strategies,
)
from opembed_nb.oracle import ArchTable, TableOracle
from opembed_nb.sgp import SmallGP
from opembed_nb.training import build_model

ROOT = Path(__file__).parents[1]
SPACE = SearchSpace("tiny", ("a", "b", "c"), n_layers=3)
QUICK = {
    "tuned": Tuned(pool=60, narrows=2),
    "hybrid": Hybrid(pool=60, narrows=2),
    "mutation": Mutation(pool=60),
    "mutation on latents": LatentMutation(pool=60),
    "local search": LocalSearch(),
    "evolution": Evolution(),
    "random architectures": RandomArchitectures(),
    "random": RandomLatent(decodings=5),
    "paper": PaperBO(decodings=2, candidates=50),
}


def small_data(seed=0, test=False):
    batch = chains(SPACE)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch), generator=generator)
    accuracy = torch.rand(len(batch), generator=generator) * 0.9
    accuracy[7] = 0.95
    return ArchDataset(
        "tiny", SPACE, batch, accuracy, order, 190, test_score=1 - accuracy if test else None
    )


def arena_of(data):
    model = build_model("dvae-emb", data.space, hidden=16, latent=4, seed=0).eval()
    return make_arena(model, data, TableOracle(data))


@pytest.fixture(scope="module")
def arena():
    return arena_of(small_data())


# the table


def test_neighbours_differ_in_what_one_node_applies_or_hears():
    table = ArchTable(chains(SPACE), SPACE)
    ops, adj = table.batch.ops, table.batch.adj[:, :, :-1]
    applied = (ops[:, None] != ops).sum(2)
    heard = (adj[:, None] != adj).any(2).sum(2)
    expected = applied + heard == 1
    for row, links in enumerate(table.links):
        assert sorted(links[links >= 0].tolist()) == expected[row].nonzero()[:, 0].tolist()
    near = table.near(table.batch[5])
    assert (codes(near) == codes(table.batch[table.links[5][table.links[5] >= 0]])).all()


def test_isomorphic_architectures_are_one_row():
    space = SearchSpace("free", ("a", "b"), n_layers=3, chain=False)
    first = from_keys(["0: 2:0 3:0 2:1,2 1:3"], space)
    other = from_keys(["0: 3:0 2:0 2:1,2 1:3"], space)  # its middle nodes change places
    table = ArchTable(first, space)
    assert table.find(other).tolist() == [0] == table.find(first).tolist()
    assert to_keys(table.own(cat_batches([other, first])), space) == to_keys(first, space) * 2
    stranger = from_keys(["0: 3:0 3:0 2:1,2 1:3"], space)
    assert table.find(stranger).tolist() == [-1] and not len(table.own(stranger))
    with pytest.raises(OpembedError, match="table: 1 of its 2 architectures are isomorphic to"):
        ArchTable(cat_batches([first, other]), space)
    refused_as("near: the architecture is not in the table", table.near, stranger)


def test_draws_are_of_the_table(arena):
    drawn = arena.table.draw(500, torch.Generator().manual_seed(0))
    rows = arena.table.find(drawn)
    assert (rows >= 0).all() and len(rows.unique()) > 150
    again = arena.table.draw(500, torch.Generator().manual_seed(0))
    assert (codes(again) == codes(drawn)).all()


# ranks and the process


def test_normal_scores_keep_the_order_and_nothing_else():
    values = torch.tensor([0.2, math.nan, 0.9, 0.2, 0.1])
    scores = normal_scores(values)
    assert scores.argsort().tolist()[:2] == [1, 4] and scores[0] == scores[3] < scores[2]
    assert torch.equal(scores, normal_scores(torch.exp(5 * values)))
    assert abs(float(scores[[0, 2]].sum() + scores[[1, 3, 4]].sum())) < 0.1


def test_the_process_is_the_textbooks():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(30, 4, generator=generator).double()
    x[:, 3] = 2.0  # never varies
    y = normal_scores(x[:, 0] + 0.1 * torch.randn(30, generator=generator))
    gp, new = SmallGP().fit(x, y), torch.randn(5, 4, generator=generator).double()
    lengths, noise = np.exp(gp.logs[:-1]), np.exp(gp.logs[-1])

    def kernel(a, b):
        scale = np.where(x.std(0) > 0, x.std(0), 1.0) * lengths
        gap = (a[:, None].numpy() - b[None].numpy()) / scale
        return np.exp(-0.5 * (gap**2).sum(2))

    noisy = np.linalg.inv(kernel(x, x) + noise * np.eye(30))
    mean = kernel(new, x) @ noisy @ y.numpy()
    variance = 1 - np.einsum("ij,jk,ik->i", kernel(new, x), noisy, kernel(new, x))
    found = gp.predict(new)
    assert np.allclose(found[0], mean, atol=1e-8)
    assert np.allclose(found[1], np.sqrt(variance), atol=1e-6)
    assert gp.logs[0] < gp.logs[1:3].min()


@pytest.mark.parametrize("n", [2, 10, 40])
def test_the_process_bears_copies_and_equal_values(n):
    x = torch.randn(n // 2, 30, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    for y in (torch.zeros(n), normal_scores(torch.arange(n) % 3)):
        mean, std = SmallGP().fit(x, y.double()).predict(x)
        assert mean.isfinite().all() and (std > 0).all()


# trials


@dataclass(frozen=True)
class Peeks:
    "A strategy that cheats a little: what it draws depends on the mean of the training set."

    gp = None
    raw = 0
    data: ArchDataset

    def propose(self, model, state, ledger, q):
        generator = torch.Generator().manual_seed(round(1e6 * self.data.moments()[0]))
        batch = state.table.draw(q, generator)
        return Proposal(batch, torch.ones(len(batch), dtype=torch.bool))


def shuffled(data, evaluated):
    "The data with all scores exchanged that are not evaluated, and another split."
    scores, free = data.accuracy.clone(), torch.ones(len(data), dtype=torch.bool)
    free[evaluated] = False
    rows = free.nonzero()[:, 0]
    scores[rows] = scores[rows[torch.randperm(len(rows))]]
    return replace(data, accuracy=scores, order=data.order.flip(0), n_train=50)


def trial_changes(name, strategy_for):
    "Whether a trial becomes another one when scores change that it has not seen."
    data = small_data()
    first = arena_of(data)
    trial = search_table(first, name, strategy_for(first), 3, budget=23, q=4)
    keys = [r.architecture for r in trial if r.architecture]
    rows = first.table.find(from_keys(keys, SPACE))
    other = arena_of(shuffled(data, rows))
    assert not torch.equal(other.oracle.accuracy, first.oracle.accuracy)
    again = search_table(other, name, strategy_for(other), 3, budget=23, q=4)
    points = [(a.z, b.z) for a, b in zip(trial, again, strict=False)]
    moved = any(a is not None and not torch.equal(a, b) for a, b in points)
    return trial != again or moved


@pytest.mark.parametrize("name", QUICK)
def test_nothing_leaks(name):
    assert not trial_changes(name, lambda arena: QUICK[name])


def test_a_leak_would_be_seen():
    assert trial_changes("peeks", lambda arena: Peeks(arena.data))


@pytest.mark.parametrize("name", QUICK)
def test_a_trial_is_determined_by_its_seed(arena, name):
    one, two = (search_table(arena, name, QUICK[name], 1, budget=24) for _ in range(2))
    assert one == two and len(one) <= 24
    other = search_table(arena, name, QUICK[name], 2, budget=24)
    assert [r.value for r in one] != [r.value for r in other]


def test_all_begin_with_the_same_random_architectures(arena):
    trials = [search_table(arena, name, QUICK[name], 5, budget=10) for name in QUICK]
    starts = [[r.architecture for r in rows] for rows in trials]
    assert all(s == starts[0] for s in starts) and len(set(starts[0])) == 10
    assert {r.round for rows in trials for r in rows} == {0}


@pytest.mark.parametrize(
    "name", ["tuned", "hybrid", "mutation", "mutation on latents", "local search", "evolution"]
)
def test_nothing_is_evaluated_twice_but_by_chance_and_the_papers(arena, name):
    keys = [r.architecture for r in search_table(arena, name, QUICK[name], 0, budget=60)]
    assert len(set(keys)) == len(keys) and None not in keys


def test_a_trial_ends_at_the_optimum_and_its_last_step_is_exact():
    data = small_data(test=True)
    arena = arena_of(data)
    trial = search_table(arena, "local search", LocalSearch(), 0, budget=len(data))
    steps = steps_of(arena, trial)
    assert max(r.value for r in trial) == arena.oracle.best
    assert steps[-1][1] == round(arena.oracle.best, 7)
    assert steps[-1][2] == pytest.approx(1 - arena.oracle.best, abs=1e-6)  # what is to be reported
    assert len(trial) - 5 < steps[-1][0] <= len(trial)


class Strange:
    "Half of its proposals are in no table."

    gp, raw = "tuned", 0

    def propose(self, model, state, ledger, q):
        batch = random_architectures(q, state.space, state.generator)
        found = torch.arange(q) % 2 == 0
        return Proposal(batch, found, torch.randn(q, model.latent, generator=state.generator))


def test_a_lost_proposal_counts_and_ranks_last(arena):
    trial = search_table(arena, "strange", Strange(), 0, budget=16, q=4)
    assert [r.value is None for r in trial[10:]] == [False, True] * 3
    assert [r.state for r in trial[10:]] == ["done", "empty"] * 3
    assert [r.round for r in trial[10:]] == [1] * 4 + [2] * 2  # fitted to the lost ones, too
    found = study(arena, "strange", Strange(), 2, start=10, budget=20, q=5)
    assert found["lost"] == [4, 4] and found["evaluations"] == [20, 20]


def test_free_graphs_of_other_wirings_are_left_out():
    space = SearchSpace("free", ("a", "b"), n_layers=3, chain=False)
    wanted = from_keys(["0: 2:0 2:0 2:0 1:1,2,3"], space)
    kinds = torch.tensor(list(itertools.combinations_with_replacement((2, 3), 3)))
    ops = wanted.ops.repeat(len(kinds), 1)
    ops[:, 1:4] = kinds
    batch = DAGBatch(ops, wanted.adj.repeat(len(kinds), 1, 1), wanted.n_nodes.repeat(len(kinds)))
    assert validity(batch, space).all()
    scores = torch.linspace(0.1, 0.9, len(batch))
    data = ArchDataset("free", space, batch, scores, torch.arange(len(batch)), 3)
    for strategy in (Evolution(), Tuned(pool=50), LocalSearch(), Mutation()):
        trial = search_table(arena_of(data), "s", strategy, 0, start=2, budget=4, q=1)
        assert all(r.architecture for r in trial)


# what is said of them


def recorded(steps, budget=6, optimum=0.9):
    return dict(optimum=optimum, strategies=dict(s=dict(budget=budget, steps=steps)))


def test_regret_by_hand():
    record = recorded([[[1, 0.5, 0], [2, 0.7, 0]], [[1, 0.6, 0], [4, 0.9, 0]]])
    curves = regret_curves(record, "s")
    assert np.allclose(curves, [[0.4, 0.2, 0.2, 0.2, 0.2, 0.2], [0.3, 0.3, 0.3, 0, 0, 0]])
    assert needed(curves).tolist() == [7, 4] and needed(curves, 0.2).tolist() == [2, 4]


def test_what_is_reported_has_a_regret_of_its_own_where_it_is_another_score():
    record = recorded([[[1, 0.5, 0.6], [2, 0.7, 0.4]], [[1, 0.9, 0.5]]])
    assert "test regret" not in regret_table(record)
    record["best_to_report"] = 0.8
    assert np.allclose(reported_regret(record, "s"), [0.4, 0.3])  # of the last incumbents
    table = regret_table(record)
    assert "| test regret at the end [95 %] |" in table and table.endswith(
        "| 35.00 [30.00, 40.00] |"
    )
    for name, r in RECORDS.items():
        assert ("test regret" in regret_table(r)) == name.startswith("nas-bench-graph")


def test_regret_never_rises_and_is_zero_at_the_optimum_alone(arena):
    found = {name: study(arena, name, QUICK[name], 2, budget=20, start=10, q=5) for name in QUICK}
    record = dict(optimum=arena.oracle.best, strategies=found)
    for name in QUICK:
        curves = regret_curves(record, name)
        assert (curves >= 0).all() and (np.diff(curves) <= 0).all()
        ends = [steps[-1][1] == round(arena.oracle.best, 7) for steps in found[name]["steps"]]
        assert ((curves[:, -1] < 1e-6) == ends).all()
    table = regret_table(record)
    assert table.count("\n") == 1 + len(QUICK) and all(f"| {name} |" in table for name in QUICK)
    never = [n for n in QUICK if (needed(regret_curves(record, n)) > 20).all()]
    assert never and all(f"| {n} |" in table for n in never)
    for line in table.splitlines():
        if line.split(" | ")[0].strip("| ") in never:
            assert "| 0 [0, " in line and "> 20" in line


def test_intervals():
    low, high = resampled(np.arange(30.0))
    mean, half = 14.5, 1.96 * np.arange(30).std() / math.sqrt(30)
    assert low == pytest.approx(mean - half, abs=0.4) and high == pytest.approx(
        mean + half, abs=0.4
    )
    assert share(np.array([True] * 15 + [False] * 15)) == pytest.approx(
        (0.5, 0.332, 0.668), abs=1e-3
    )
    record = recorded([[[1, 0.9, 0]], [[2, 0.9, 0]], [[3, 0.9, 0]]])
    record["strategies"]["t"] = dict(budget=6, steps=[[[3, 0.9, 0]], [[4, 0.9, 0]], [[6, 0.9, 0]]])
    mean, low, high = sooner(record, "s", "t")
    assert mean == pytest.approx(7 / 3) and low < mean < high
    record["strategies"]["t"]["steps"].pop()
    refused_as("sooner: s has 3 trials, t 2; compare those", sooner, record, "s", "t")


# the script and its records


@pytest.fixture
def script(monkeypatch):
    script = studies
    data = small_data()

    class Run:
        model = build_model("dvae-emb", SPACE, hidden=16, latent=4, seed=0).eval()
        history = [dict(seconds=1.0, reconstruction=0.1)]

    monkeypatch.setattr(script, "trained_for", lambda name: Run)
    monkeypatch.setattr(script, "load_dataset", lambda name: data)
    monkeypatch.setattr(script, "table_strategies", lambda: QUICK)
    monkeypatch.setattr(script, "SETTINGS", dict(start=10, budget=20, q=5))
    monkeypatch.setattr(script, "Run", Run, raising=False)
    return script


def test_a_stopped_study_goes_on_where_it_was(script, tmp_path, monkeypatch):
    def kept(folder):
        path = folder / "nas-bench-201-cifar10/dvae-emb/signal@10,w128/seed-0/regret.json"
        return json.loads(path.read_text())["values"]

    def plain(values):  # without times and places
        ours = {n: {k: v for k, v in s.items() if k not in ("seconds", "provenance")}
                for n, s in values["strategies"].items()}  # fmt: skip
        return dict(values, strategies=ours)

    names, table = ["tuned", "evolution"], "nas-bench-201/cifar10"
    script.finish_table(table, names, 2, tmp_path / "whole")
    script.finish_table(table, names[:1], 2, tmp_path / "parts")
    before = kept(tmp_path / "parts")["strategies"]["tuned"]
    script.finish_table(table, names, 2, tmp_path / "parts")
    after = kept(tmp_path / "parts")
    assert after["strategies"]["tuned"] == before  # not even its times are new
    assert plain(after) == plain(kept(tmp_path / "whole"))
    other = build_model("dvae-emb", SPACE, hidden=16, latent=4, seed=1).eval()
    monkeypatch.setattr(script.Run, "model", other)
    refused_as("made with another model", script.finish_table, table, names, 2, tmp_path / "parts")


RECORDS = {
    folder_dataset(r["dataset"]): r["values"]
    for r in read_records(ROOT / "results", "regret", kind="search")
}
TABLES = {
    "nas-bench-201/cifar10": 0.9437,
    "nas-bench-201/cifar100": 0.7351,
    "nas-bench-201/imagenet16-120": 0.4731,
    "nas-bench-graph/arxiv": 0.7367,
}


def test_all_tables_were_searched_alike():
    assert RECORDS.keys() == TABLES.keys()
    expected = {
        name: dict(kind=type(s).__name__, **{k: v for k, v in vars(s).items() if not callable(v)})
        for name, s in table_strategies().items()
    }
    for name, record in RECORDS.items():
        assert record["optimum"] == pytest.approx(TABLES[name], abs=5e-5)
        made = {n: s["strategy"] for n, s in record["strategies"].items()}
        assert made == {n: expected[n] for n in made} and expected.keys() - made <= {"paper"}
        for strategy, found in record["strategies"].items():
            assert (found["start"], found["budget"], found["q"], found["seed"]) == (10, 300, 5, 0)
            trials, origin = 10 if strategy == "paper" else 30, found["provenance"]
            assert len(found["steps"]) == trials == len(found["seconds"])
            assert origin["processor"] and not origin["commit"].endswith("+")


@pytest.mark.parametrize("name", TABLES)
def test_committed_regrets_are_regrets(name):
    record = RECORDS[name]
    for strategy, found in record["strategies"].items():
        curves = regret_curves(record, strategy)
        assert (curves >= 0).all() and (np.diff(curves) <= 0).all()
        hit = curves[:, -1] == 0
        ends = np.array(found["evaluations"])
        assert (ends[~hit] == 300).all() and (needed(curves)[hit] <= ends[hit]).all()
        starts = curves[:, 9]
        other = regret_curves(record, "evolution")[: len(starts), 9]
        assert np.allclose(starts, other)  # paired: the random ten are the same


def test_the_goal_on_cifar10():
    record = RECORDS["nas-bench-201/cifar10"]
    reached = [np.mean(needed(regret_curves(record, n)) <= 192) for n in record["strategies"]]
    assert max(reached) >= 0.5


@pytest.mark.parametrize("name", TABLES)
def test_the_chapter_shows_the_records(name):
    assert regret_table(RECORDS[name]) in shown("lab/regret")
