"""Many models trained as one are what they are alone, and what cannot be one is refused."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from common import refused_as

from opembed_nb.data import ENAS, ArchDataset, SearchSpace, random_architectures
from opembed_nb.embeddings import EMBEDDINGS, FixedRows
from opembed_nb.hood.records import load_tensors, read_record
from opembed_nb.hood.sources import load_dataset
from opembed_nb.hood.sweeps import is_plain, plainly
from opembed_nb.lab import arms
from opembed_nb.lab.arms import arm_config, run_stacks, run_study, study_records
from opembed_nb.lab.runner import Job, main, record_path
from opembed_nb.lab.stacks import Stack, fit_stack
from opembed_nb.sgp import YARDSTICKS
from opembed_nb.training import INITIAL_WEIGHTS, MODELS, build_model, fit_rounds, train_config

pytestmark = pytest.mark.usefixtures("runs")
FREE = SearchSpace("free", operations=("a", "b", "c"), n_layers=4, chain=False)
SMALL = dict(hidden=12, latent=6)


def graphs(n, space=ENAS, seed=0):
    return random_architectures(n, space, torch.Generator().manual_seed(seed))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)


# Torch's own functions


@pytest.mark.parametrize("space", [ENAS, FREE], ids=["chain", "free"])
@pytest.mark.parametrize("name", MODELS)
def test_plainly_everything_is_the_same(name, space, double):
    model, batch = build_model(name, space, seed=1, **SMALL).eval(), graphs(40, space)

    def found():
        model.zero_grad()
        loss = model.loss(batch)
        loss.loss.backward()
        return [*loss, *(p.grad.clone() for p in model.parameters())]

    fast = found()
    with plainly():
        plain = found()
    for a, b in zip(fast, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_the_plain_way_ends_with_its_block():
    with pytest.raises(RuntimeError), plainly():
        with plainly():
            assert is_plain()
        assert is_plain()
        raise RuntimeError
    assert not is_plain()


# As if alone

MIXED = ["one-hot", "learned-3", "frozen-8", "learned-3-fast", "described+pytorch", "learned-1"]


def both(model, space, members, batch, **more):
    together = fit_stack(model, batch, members, space, "cpu", **SMALL, **more)
    alone = [
        fit_rounds(model, batch, config, None, space, "cpu", False, embedding=name, **SMALL)
        for name, config in members
    ]
    return together, alone


def assert_same(together, alone):
    for a, b in zip(together, alone, strict=True):
        assert a.model.embedding.dim == b.model.embedding.dim
        for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-7)
        for mine, theirs in zip(a.history, b.history, strict=True):
            assert mine.keys() == theirs.keys()
            for key in mine.keys() - {"seconds"}:
                assert mine[key] == pytest.approx(theirs[key], abs=1e-7), key


@pytest.mark.parametrize("space", [ENAS, FREE], ids=["chain", "free"])
@pytest.mark.parametrize("model", ["dvae", "gcn", "gin"])
def test_a_member_is_what_it_is_alone(model, space, double):
    arms = MIXED if space == ENAS else [arm for arm in MIXED if "described" not in arm]
    members = [arm_config(arm, seed, 12, epochs=2) for arm in arms for seed in (0, 3)]
    batch = graphs(150, space)  # 150 = 64 + 64 + 22: the last minibatch is filled up
    assert_same(*both(model, space, members, batch))


@pytest.mark.parametrize("model", ["svae", "graphrnn"])
def test_sequence_models_are_stacked_over_seeds(model, double):
    members = [(None, train_config("signal", 12, epochs=2, seed=seed)) for seed in (0, 1)]
    assert_same(*both(model, ENAS, members, graphs(100)))


def test_rounds_hand_the_table_on(double):
    members = [arm_config("learned-3+rounds", seed, 12) for seed in (0, 1)]
    members = [(name, replace(config, epochs=1)) for name, config in members]
    seen = []
    together, alone = both("dvae", ENAS, members, graphs(100), after=lambda *a: seen.append(a[:2]))
    assert_same(together, alone)
    assert seen == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_one_that_diverges_leaves_the_others_alone(double, monkeypatch):
    rows = lambda space: FixedRows(torch.full((space.n_types, 2), math.nan))  # noqa: E731
    monkeypatch.setitem(EMBEDDINGS, "broken", rows)
    members = [arm_config(arm, 0, 12, epochs=1) for arm in ("broken+pytorch", "one-hot")]
    broken, whole = fit_stack("dvae", graphs(100), members, device="cpu", **SMALL)
    assert math.isnan(broken.history[0]["loss"])
    alone = fit_rounds("dvae", graphs(100), members[1][1], None, device="cpu", progress=False,
                       embedding="one-hot", **SMALL)  # fmt: skip
    assert_same([whole], [alone])


def test_a_stack_with_one_that_diverged_goes_on_exactly(monkeypatch, tmp_path):
    "Killed in its second round, which the one that diverged in the first one does not begin."
    def broken(model, batch, seed):
        if seed > 2000: return INITIAL_WEIGHTS["signal"](model, batch, seed)
        for p in model.parameters(): p.data.fill_(math.nan)

    monkeypatch.setitem(INITIAL_WEIGHTS, "broken", broken)
    (name, config), other = (arm_config("learned-3+rounds", k, 12, epochs=1) for k in (0, 1))
    members = [(name, replace(config, weights="broken", epochs=2)),
               (name, replace(other[1], epochs=2))]  # fmt: skip
    batch = graphs(64)

    def train(folder, stop=None):
        def after(*where):
            if where[:2] == stop: raise KeyboardInterrupt
        return fit_stack("dvae", batch, members, device="cpu", folder=folder, after=after, **SMALL)

    whole = train(tmp_path / "whole")
    assert math.isnan(whole[0].history[-1]["loss"]) and whole[1].history[-1]["loss"] > 0
    for stop in ((2, 0), (2, 2)):
        with pytest.raises(KeyboardInterrupt): train(tmp_path / str(stop), stop)
        for a, b in zip(train(tmp_path / str(stop)), whole, strict=True):
            for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
                assert torch.equal(p.nan_to_num(7), q.nan_to_num(7))
            losses = [[str(row["loss"]) for row in run.history] for run in (a, b)]
            assert losses[0] == losses[1]


# What cannot be one


def stack(*models, **other):
    "The first as it is, the last with other sizes."
    sizes = [SMALL] * (len(models) - 1) + [SMALL | other]
    return Stack([build_model(name, **own) for name, own in zip(models, sizes)], "cpu")


def stacked(*members):
    return fit_stack("dvae", graphs(70), members, device="cpu", **SMALL)


def of(epochs, rounds=1):
    return "one-hot", train_config("signal", 12, epochs=epochs, training_rounds=rounds)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: stack("dvae", "dvae", latent=7), "weights and embeddings alone"),
        (lambda: stack("dvae", "gcn"), "'gcn'.*weights and embeddings alone"),
        (lambda: stack("svae", "svae-emb"), "weights and embeddings alone"),
        (lambda: stacked(of(1), of(2)), "more than seed and weights"),
        (lambda: stacked(of(1, rounds=2)), "the vectors of one-hot are fixed"),
    ],
)
def test_what_cannot_be_one_is_refused(call, says):
    refused_as(says, call)


def test_each_member_has_its_own_plateau(double):
    base = replace(train_config("paper"), epochs=8, patience=0, lr=0.06, minibatch=32)
    members = [("one-hot", replace(base, seed=k)) for k in range(5)]
    together, alone = both("dvae", ENAS, members, graphs(100))
    assert_same(together, alone)
    assert len({tuple(row["lr"] for row in run.history) for run in together}) > 1


def test_architectures_that_are_all_the_same_to_a_model_leave_it_finite():
    space = SearchSpace("one wiring", operations=("a", "b", "c"), n_layers=4, chain=False)
    batch = graphs(1, space)[torch.zeros(100, dtype=torch.long)]
    model = build_model("dvae", space, seed=0, embedding="no-operations", **SMALL).eval()
    INITIAL_WEIGHTS["signal"](model, batch, 0)
    assert model.encoder.mu.weight.abs().max() < 10
    assert torch.isfinite(model.loss(batch).loss)


# The study


def small_data(folder, many):
    "The file of a small data set."
    batch = graphs(many)
    scores = (batch.ops == 4).sum(1).float() + 0.01 * batch.adj.sum((1, 2))
    path = folder / "small.jsonl"
    ArchDataset.from_scores("small", ENAS, batch, scores).save(path)
    return str(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("data"), 160)


def test_a_study_as_stacks_finds_what_one_run_at_a_time_finds(small, tmp_path, capsys, double):
    jobs = [Job(small, "dvae", arm, k) for arm in ("one-hot", "learned-3") for k in (0, 1)]
    jobs.append(Job(small, "dvae", "learned-3+rounds", 0))
    options = dict(sizes=SMALL, judged=())
    assert run_study(jobs, tmp_path / "alone", **options) == 0
    assert run_stacks(jobs, tmp_path / "stacks", 3, **options) == 0
    alone, stacks = study_records(tmp_path / "alone"), study_records(tmp_path / "stacks")
    assert len(alone) == len(stacks) == 5
    for a, b in zip(alone, stacks, strict=True):
        assert (a["arm"], a["seed"]) == (b["arm"], b["seed"])
        mine, theirs = a["values"], b["values"]
        assert theirs["stack"] == (1 if "rounds" in a["arm"] else 1 if a["seed"] and
                                   a["arm"] == "learned-3" else 3)  # fmt: skip
        for key in mine.keys() - {"training_seconds", "curve"}:
            assert mine[key] == theirs[key], key
        for row, other in zip(mine["curve"], theirs["curve"], strict=True):
            assert row == other
    capsys.readouterr()
    assert run_stacks(jobs, tmp_path / "stacks", 3, **options) == 0
    assert "5 runs, 0 of them missing\n0 done, 0 failed, 0 left" in capsys.readouterr().out


def test_a_killed_run_of_stacks_goes_on(small, tmp_path, monkeypatch):
    "In the middle of a training, and when one of its two members has its record."
    jobs = [Job(small, "dvae", arm, 0) for arm in ("one-hot", "learned-3")]
    run = partial(run_stacks, jobs, most=2, sizes=SMALL, judged=(), epochs=2, max_graphs=64)
    monkeypatch.setattr(arms, "prediction", lambda *_: {})  # takes most of the time
    assert run(tmp_path / "whole") == 0
    for name, calls in (("_keep", 5), ("_measured", 2)):
        left, act = [None] * calls, getattr(arms, name)
        def counted(*arguments, left=left, act=act):
            left.pop()
            if not left: raise KeyboardInterrupt
            return act(*arguments)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(arms, name, counted)
            run(tmp_path / name)
        with monkeypatch.context() as patched:
            if name == "_measured": patched.delattr(arms, "_keep")  # nothing is trained again
            assert run(tmp_path / name) == 0
        assert not list(tmp_path.glob("runs/arms/stack-*"))
        for a, b in zip(study_records(tmp_path / "whole"), study_records(tmp_path / name)):
            same = [{**r["values"], "training_seconds": 0} for r in (a, b)]
            assert same[0] == same[1] and same[0]["stack"] == 2


def test_a_stack_that_has_no_time_is_not_begun(small, tmp_path, capsys):
    jobs = [Job(small, "dvae", arm, 0) for arm in ("one-hot", "learned-3")]
    assert run_stacks(jobs, tmp_path, 2, minutes=0.0, sizes=SMALL) == 0
    assert "0 done, 0 failed, 2 left" in capsys.readouterr().out
    assert not record_path(tmp_path, jobs[0], "arm").exists()


def look_is_right(folder, latents, data):
    "The record's r, by a plain loop over some test architectures and all of them by sorting."
    data, z = load_dataset(data), load_tensors(latents)[0]["latents"]
    known = data.order[: data.n_train]
    means = []
    for one in data.order[data.n_train :].tolist():
        near = (z[known] - z[one]).norm(dim=1).topk(10, largest=False).indices
        means.append(float(data.accuracy[known[near]].mean()))
    r = np.corrcoef(means, data.test.accuracy)[0, 1]
    assert abs(r - read_record(folder / "smoothness.json")["values"]["r"]) < 0.01


def test_the_tables_are_made_end_to_end(tmp_path, capsys):
    results, latents, data = tmp_path / "r", tmp_path / "l", small_data(tmp_path, 1200)

    def call(what, *more, status=0):
        found = main(["tables", what, "--tiny", "--data", data, "--seeds", "0", "1",
                      "--models", "gcn", "gcn-emb", "svae", "--results", str(results),
                      "--latents", str(latents), *more])  # fmt: skip
        said = capsys.readouterr()
        assert found == status, said.err
        return said.err if status else said.out

    def run(model, seed=0, how="signal@1,n300,w16,latent=6", root=results):
        return root / "small" / model / how / f"seed-{seed}"

    def values(section, *where, **more):
        return read_record(run(*where, **more) / f"{section}.json")["values"]

    said = call("train", "--device", "cpu", "--watch", "0", "1", "--weights", str(tmp_path / "w"))
    assert "4 trained" in said and "2 trained" in said  # the twins as one, the sequence model alone
    some = "--models", "gcn-emb", "svae"
    assert "4 of them missing" in call("predict", "--splits", "own", "--workers", "2", *some)
    assert "0 of them missing" in call("predict", "--splits", "own", *some)
    longer = "predict", "--thorough", "--models", "svae", "--seeds", "1"
    assert "1 of them missing" in call(*longer)
    assert values("prediction-thorough", "svae", 1)["inducing"] == 40
    assert "1 of them missing" in call("raw", "--splits", "wiring")
    assert "0 of them missing" in call("raw", "--splits", "wiring")
    raw = values("raw_prediction-wiring", "data", how="raw,inducing=20,n_train=1000")
    assert raw["raw"]["rmse"][0] < 1.1 and list(raw["yardsticks"]) == list(YARDSTICKS)
    kept = {p.stem for p in latents.glob("*-after-*")}
    assert kept == {
        f"small-{model}-0-after-{k}" for model in ("gcn", "gcn-emb", "svae") for k in (0, 1)
    }
    assert len(list((tmp_path / "w").glob("*.safetensors"))) == 6
    more = ["--device", "cpu", "--models", "gcn-emb", "--latents", str(tmp_path / "l2")]
    before = (run("gcn-emb") / "training.json").read_bytes()
    refusal = call("train", *more, status=2)
    assert "seed-0/training.json: exists, but its latents do not; --again" in refusal
    assert (run("gcn-emb") / "training.json").read_bytes() == before
    assert "2 trained" in call("train", *more, "--again")
    assert "2 trained" in call("train", *more, "--rounds", "2", "--latents", str(tmp_path / "l5"))
    rounds = values("training", "gcn-emb", how="signal@1,r2,n300,w16,latent=6")
    assert [row["round"] for row in rounds["history"]] == [1, 2]
    assert "2 done" in call("look", "--models", "gcn-emb")
    assert (results / "small" / "latents.png").read_bytes()[1:4] == b"PNG"
    look_is_right(run("gcn-emb", 1), latents / "small-gcn-emb-1.safetensors", data)
    said = call("train", "--device", "cpu", "--alone", "--latents", str(tmp_path / "l4"),
                "--results", str(tmp_path / "alone"), "--watch", "0", "1", *some)  # fmt: skip
    assert said.count("1 trained") == 4
    for path in (tmp_path / "l4").glob("*-after-*"):
        other = latents / path.name
        watched = load_tensors(path)[0]["latents"]
        assert torch.allclose(watched, load_tensors(other)[0]["latents"], atol=0.01)
    assert len(list((tmp_path / "l4").glob("*-after-*"))) == 4
    alone = values("training", "gcn-emb", 1, root=tmp_path / "alone")
    stack = values("training", "gcn-emb", 1)
    assert "stack" not in alone and alone["config"]["seed"] == 1
    assert [row["loss"] for row in alone["history"]] == pytest.approx(
        [row["loss"] for row in stack["history"]], rel=1e-3
    )
    assert "4 trained" in call("train", "--device", "cpu", "--profile", "paper", "--passes", "2",
                               "--latents", str(tmp_path / "l3"))  # fmt: skip
    papers = values("training", "gcn-emb", how="paper@2,n300,w16,latent=6")
    assert papers["config"]["schedule"] == "plateau" and papers["stack"] == 4
    assert [row["epoch"] for row in papers["history"]] == [1, 2]
    made = set(results.glob("small/*/signal@1,n*/*/*"))
    sections = {
        "gcn": ("training", "abilities"),
        "gcn-emb": ("training", "abilities", "prediction", "smoothness"),
        "svae": ("training", "abilities", "prediction"),
    }
    assert made == {
        run(model, k) / f"{section}.json"
        for model, own in sections.items() for k in (0, 1) for section in own
    } | {run("svae", 1) / "prediction-thorough.json"}  # fmt: skip
