"The study of embeddings and its arms: each differs in what it claims; every number is recorded."

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as, shown
from scipy.stats import ttest_ind

from opembed_nb.data import ENAS, ArchDataset, SearchSpace, random_architectures
from opembed_nb.embeddings import EMBEDDINGS, FixedRows, OneHot, OperationEmbedding, describe
from opembed_nb.hood.intervals import holm, student
from opembed_nb.hood.records import load_tensors, save_record
from opembed_nb.hood.sources import SOURCES
from opembed_nb.lab import arms, runner
from opembed_nb.lab.arms import (
    DATA,
    arm_config,
    cost_table,
    plan,
    run_study,
    study_records,
    train_arm,
    variance_shares,
)
from opembed_nb.lab.evidence import (
    AFTERWARDS,
    DRAWN,
    OUTCOMES,
    QUESTIONS,
    SECOND_LOOK,
    SHOWN,
    Comparison,
    advice,
    answer,
    answer_table,
    arm_table,
    differences,
    judge,
    plot_curves,
    plot_findings,
    plot_rmse,
    pooled,
    seeds_needed,
    share_table,
    size_of,
    spread_table,
    trial_records,
    verdict,
    width_of,
)
from opembed_nb.lab.runner import Job, main, record_path
from opembed_nb.lab.studies import WIDTH_FIGURE, width_shown
from opembed_nb.training import (
    INITIAL_WEIGHTS,
    build_model,
    fit_rounds,
    signal_weights,
    train_config,
)

pytestmark = pytest.mark.usefixtures("runs")
ROOT = Path(__file__).parents[1]
SMALL = dict(hidden=12, latent=6)
RECORDS = study_records(ROOT / "results" / "evidence")


def graphs(n, space=ENAS, seed=0):
    return random_architectures(n, space, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def data():
    "A small data set whose score counts an operation."
    batch = graphs(160)
    scores = (batch.ops == 4).sum(1).float() + 0.01 * batch.adj.sum((1, 2))
    return ArchDataset.from_scores("small", ENAS, batch, scores)


def begun(arm, model="dvae", weights="signal", space=ENAS, seed=0):
    made = build_model(model, space, seed=seed, embedding=arm, **SMALL).eval()
    INITIAL_WEIGHTS[weights](made, graphs(300, space), seed)
    return made


def added(model, part):  # what every operation adds to every pre-activation
    return [model.embedding.table() @ c.T for c in getattr(model, part).operation_columns()]


# Arms


@pytest.mark.parametrize("model", ["dvae", "gcn", "gin", "svae", "graphrnn"])
@pytest.mark.parametrize(
    "arm, rows, start",
    [(f"one-hot-x{k:g}", k, k) for k in (0.25, 0.5, 2, 3, 4)]
    + [("one-hot-x3-step", 3, 1), ("one-hot-x3-start", 1, 3)],
)
def test_times_k_is_times_k(model, arm, rows, start):
    plain, other = begun("one-hot", model), begun(arm, model)
    assert torch.equal(other.embedding.table(), rows * plain.embedding.table())
    for part in ("encoder", "decoder"):
        for a, b in zip(added(plain, part), added(other, part), strict=True):
            assert torch.allclose(b, start * a, rtol=1e-4)


def test_with_the_weights_of_pytorch_the_rows_alone_count():
    plain = begun("one-hot", weights="pytorch")
    for arm, rows in (("one-hot-x3", 3), ("one-hot-x3-step", 3), ("one-hot-x3-start", 1)):
        (a,), (b,) = added(plain, "decoder"), added(begun(arm, weights="pytorch"), "decoder")
        assert torch.allclose(b, rows * a)


@pytest.mark.parametrize("k", [0.5, 2])
def test_a_larger_learned_table_is_the_same_table_larger(k):
    plain, other = begun("learned-3"), begun(f"learned-3-x{k:g}")
    assert torch.equal(other.embedding.table(), k * plain.embedding.table())
    for a, b in zip(added(plain, "decoder"), added(other, "decoder"), strict=True):
        assert torch.allclose(b, k * a, rtol=1e-4)


def test_frozen_rows_are_those_the_learned_table_starts_with_and_stay():
    config = train_config("signal", 12, epochs=2, seed=3)
    run = dict(space=ENAS, device="cpu", progress=False, **SMALL)
    frozen, learned, fast = (
        fit_rounds("dvae", graphs(300), config, embedding=arm, **run).model.embedding.table()
        for arm in ("frozen-3", "learned-3", "learned-3-fast")
    )
    start = build_model("dvae", seed=1003, embedding="learned-3", **SMALL).embedding.table()
    assert torch.equal(frozen, start)
    slow, quick = (learned - start).norm(), (fast - start).norm()
    assert 0 < 3 * slow < quick
    other = build_model("dvae", seed=1004, embedding="frozen-3", **SMALL).embedding.table()
    assert not torch.allclose(frozen, other)


def test_one_step_in_the_fast_table_is_ten_times_as_long():
    moved = {}
    for arm in ("learned-3", "learned-3-fast"):
        model = begun(arm)
        before = model.embedding.table().detach().clone()
        adam = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-12)
        model.loss(graphs(64)).loss.backward()
        adam.step()
        moved[arm] = (model.embedding.table() - before).detach()
    assert torch.allclose(moved["learned-3-fast"], 10 * moved["learned-3"], rtol=0.01, atol=1e-6)


def test_without_operations_a_model_does_not_see_them():
    batch = graphs(40)
    other = type(batch)(batch.ops.clone(), batch.adj, batch.n_nodes)
    other.ops[:, 1:-1] = 9 - other.ops[:, 1:-1]
    model = begun("no-operations")
    assert torch.allclose(model.latents(batch), model.latents(other), atol=1e-5)
    model = begun("one-hot")
    assert not torch.allclose(model.latents(batch), model.latents(other), atol=1e-2)


def test_descriptions_tell_the_operations_of_every_space_apart():
    for space in {source.space for source in SOURCES.values()}:
        rows = describe(space)
        assert rows.shape[0] == space.n_types
        assert torch.cdist(rows, rows).fill_diagonal_(9).min() > 0.1, space
        assert rows[2:].square().sum(1).mean().item() == pytest.approx(3, rel=1e-4)
        learned = EMBEDDINGS["learned-described"](space)
        assert torch.equal(learned.table(), rows) and isinstance(learned, OperationEmbedding)


REFUSED = {
    "no description": (
        lambda: describe(SearchSpace("mine", ("conv 3×3", "fold"), 3)),
        "'fold' has no description",
    ),
    "two alike": (
        lambda: describe(SearchSpace("mine", ("conv 3×3", "conv3x3", "avg pool 3×3"), 3)),
        "same description: conv 3×3, conv3x3",
    ),
    "embedding": (lambda: build_model("dvae", embedding="emb"), "embedding 'emb' is unknown"),
    "change": (lambda: arm_config("learned-3+frozen"), "arm 'learned-3.frozen' is unknown"),
    "fixed rows": (
        lambda: arm_config("one-hot+rounds"),
        "arm 'one-hot.rounds': the vectors of one-hot are fixed",
    ),
    "split": (lambda: plan(["enas-digits@foo"]), "split 'foo' is unknown; known are own, wiring"),
    "file": (lambda: plan(["/nowhere.jsonl"]), "nowhere.jsonl"),
    "arm": (lambda: plan(arms=["two-hot"]), "arm 'two-hot' is unknown"),
    "model": (lambda: plan(models=["vae"]), "'vae'"),
    "data": (lambda: plan(["imagenet"]), "'imagenet' is unknown"),
    "seed": (lambda: plan(seeds=[0, -1]), "seed -1: it is at least 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_unknown_or_alike_is_refused(what):
    call, says = REFUSED[what]
    refused_as(says, call)


def test_what_has_another_round_says_so_in_its_name():
    for name, rows in EMBEDDINGS.items():
        assert isinstance(rows(ENAS), OperationEmbedding) == name.startswith("learned")


def test_rounds_belong_to_what_learns_whatever_the_model_is_called():
    config = train_config("signal", 12, epochs=1, training_rounds=2)
    run = dict(device="cpu", progress=False, **SMALL)
    for model, arm, rounds in (("dvae", "learned-3", 2), ("dvae-emb", "one-hot", 1)):
        assert len(fit_rounds(model, graphs(64), config, embedding=arm, **run).history) == rounds
    assert isinstance(build_model("dvae").embedding, OneHot)
    assert isinstance(build_model("dvae-emb", embedding="frozen-8").embedding, FixedRows)


def test_a_checkpoint_goes_on_with_the_same_frozen_rows(tmp_path):
    config = train_config("signal", 12, epochs=2)
    run = dict(device="cpu", progress=False, embedding="frozen-3", **SMALL)
    whole = fit_rounds("dvae", graphs(100), config, **run).model
    for _ in range(2):
        parts = fit_rounds("dvae", graphs(100), config, tmp_path, stop_after=1, **run).model
    for (name, a), (_, b) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        assert torch.equal(a, b), name


# Runs


def test_a_run_measures_along_the_way(data):
    found = train_arm(data, "dvae", "learned-3", 1, sizes=SMALL, epochs=3)
    assert [row["passes"] for row in found["curve"]] == [0, 1, 2, 3]
    assert all("gp" in row and "ridge" in row for row in found["curve"])
    first, last = (torch.tensor(t) for t in found["tables"])
    moved = ((last - first)[2:].square().sum() / first[2:].square().sum()).sqrt().item()
    assert found["moved"] == pytest.approx(moved, rel=1e-4) and moved > 0
    assert found["curve"][0]["sizes"]["decoder"] == pytest.approx(0.4, rel=1e-3)
    fixed = train_arm(data, "dvae", "one-hot", 1, sizes=SMALL, epochs=1)
    assert fixed["moved"] == 0 and fixed["tables"] == []
    rounds = train_arm(data, "dvae", "learned-3+rounds", 1, sizes=SMALL, judged=())
    assert [row["passes"] for row in rounds["curve"]] == [0, 6, 7, 8, 9, 10]
    assert OUTCOMES["speed"].read(rounds) is None and rounds["rounds"] == 2


def test_shares_of_variance():
    batch = graphs(500)
    noise = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    shares = variance_shares(noise, batch, ENAS)
    assert all(abs(share) < 0.05 for share in shares.values())
    operations = torch.nn.functional.one_hot(batch.ops[:, 1:-1], 8).flatten(1).float()
    shares = variance_shares(operations, batch, ENAS)
    assert shares["operations"] > 0.999 and abs(shares["wiring"]) < 0.05
    assert math.isnan(variance_shares(torch.ones(500, 3), batch, ENAS)["both"])


OPTIONS = dict(sizes=SMALL, epochs=1, judged=())


@pytest.fixture
def dataset(data, tmp_path):
    data.save(tmp_path / "small.jsonl")
    return str(tmp_path / "small.jsonl")


def test_data_and_models_outside_the_plan_are_planned_too(dataset):
    everywhere = plan(models=["svae-emb"], seeds=[0])
    assert len(plan([dataset], seeds=[0])) == len(everywhere) // len(DATA) > 1


def test_the_study_goes_on_where_it_was(dataset, tmp_path, monkeypatch, capsys):
    jobs = plan([dataset], ["gcn"], ["one-hot", "frozen-3"], [0, 1])
    assert len(jobs) == 4
    root, trained = tmp_path / "records", []
    plain = arms.train_arm

    def counted(data, model, arm, seed, **options):
        if len(trained) == 2:
            raise RuntimeError("lost")
        trained.append((arm, seed))
        return plain(data, model, arm, seed, **options)

    monkeypatch.setattr(arms, "train_arm", counted)
    assert run_study(jobs, root, **OPTIONS) == 2
    assert "2 done, 2 failed" in capsys.readouterr().out
    monkeypatch.setattr(arms, "train_arm", plain)
    kept = {path: path.read_bytes() for path in root.rglob("*.json")}
    assert len(kept) == 2
    assert run_study(jobs, root, **OPTIONS) == 0
    assert "4 runs, 2 of them missing" in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in kept.items())
    records = study_records(root)
    assert {(r["arm"], r["seed"]) for r in records} == {(j.arm, j.seed) for j in jobs}
    assert all(r["data"] == "small" for r in records)


def test_a_killed_training_of_the_study_goes_on(dataset, tmp_path, monkeypatch):
    [job] = plan([dataset], ["gcn"], ["learned-3"], [1])
    options, fit = dict(OPTIONS, epochs=3), arms.fit_rounds
    assert run_study([job], tmp_path / "whole", **options) == 0

    def killed(*args, **more):  # after the second epoch
        fit(*args, stop_after=2, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(arms, "fit_rounds", killed)
    with pytest.raises(KeyboardInterrupt):
        run_study([job], tmp_path / "parts", **options)
    done = []

    def counted(name, batch, config, folder, *args, **more):
        done.append(len(load_tensors(Path(folder, "checkpoint.safetensors"))[1]["history"]))
        return fit(name, batch, config, folder, *args, **more)

    monkeypatch.setattr(arms, "fit_rounds", counted)
    assert run_study([job], tmp_path / "parts", **options) == 0 and done == [2]
    whole, parts = (study_records(tmp_path / name)[0]["values"] for name in ("whole", "parts"))
    assert whole.pop("training_seconds") and parts.pop("training_seconds") and whole == parts
    assert not list((tmp_path / "runs").rglob("*.safetensors"))  # done: nothing is left


def test_what_is_not_judged_is_not_measured(data):
    found = train_arm(data, "dvae", "one-hot", 1, sizes=SMALL, epochs=2, judged=())
    assert ["shares" in row for row in found["curve"]] == [False, False, True]
    more = dict(judged=(1,), labels=(20, 90))
    found = train_arm(data, "dvae", "one-hot", 1, sizes=SMALL, epochs=2, **more)
    assert [list(row.get("few", ())) for row in found["curve"]] == [[], [], ["20", "90"]]
    assert found["curve"][-1]["few"]["20"].keys() == {"gp", "ridge"}
    assert ["shares" in row for row in found["curve"]] == [True, True, True]
    assert ["gp" in row for row in found["curve"]] == [False, True, True]


def test_records_under_their_former_names_are_read_and_not_made_again(dataset, tmp_path, capsys):
    jobs = plan([dataset], ["gcn"], ["one-hot"], [0, 1])
    assert run_study(jobs, tmp_path / "new", **OPTIONS) == 0
    for seed in (0, 1):
        path = record_path(tmp_path / "new", jobs[seed], "arm")
        former = tmp_path / "old" / "small" / "gcn" / "one-hot" / f"seed-{seed}.json"
        former.parent.mkdir(parents=True, exist_ok=True)
        former.write_bytes(path.read_bytes())
    assert study_records(tmp_path / "old") == study_records(tmp_path / "new")
    assert run_study(jobs, tmp_path / "old", **OPTIONS) == 0
    assert "2 runs, 0 of them missing" in capsys.readouterr().out


def test_nothing_begins_that_cannot_end_in_time(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "_slowest", [1e6])
    jobs = plan([dataset], ["gcn"], ["one-hot"], [0])
    assert run_study(jobs, tmp_path / "records", minutes=1, **OPTIONS) == 0
    assert "0 done, 0 failed, 1 left" in capsys.readouterr().out
    assert not list(tmp_path.rglob("arm.json"))


def test_the_command_says_what_is_missing_and_refuses_what_is_unknown(tmp_path, capsys):
    args = ["arms", "--folder", str(tmp_path), "--data", "enas-digits", "--models", "dvae"]
    assert main([*args, "--arms", "one-hot", "--seeds", "0", "--dry-run"]) == 0
    assert capsys.readouterr().out.strip() == "enas-digits dvae one-hot 0"
    for more in ([], ["--dry-run"]):
        assert main([*args, *more, "--arms", "two-hot"]) == 2
        assert capsys.readouterr().err.startswith("arms: arm 'two-hot' is unknown")


# Answers


def pretend(root, arm, seed, rmse, data="enas-digits", accuracy=50.0):
    row = dict(accuracy=accuracy, operations=1.0, wiring=1.0)
    found = dict(rmse=rmse, pearson=0.5, kendall=0.4, top1_recall=0.1)
    row |= dict(gp=found, ridge=found, sizes=dict(decoder=0.4))
    row["shares"] = dict(operations=0.3, wiring=0.3, both=0.7)
    curve = [dict(row, passes=p) for p in (0, 1, 2, 4, 8, 10)]
    values = dict(rounds=1, curve=curve, moved=0.0, tables=[])
    folder = record_path(root, Job(data, "dvae", arm, seed), "arm").parent
    save_record(folder, "arm", values, 1.0)


def test_an_arm_added_in_one_line_is_in_every_table_and_figure(tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDINGS, "mine", lambda space: FixedRows(torch.eye(space.n_types)))
    assert {job.data for job in plan() if job.arm == "mine"} == set(DATA)
    for seed in range(3):
        pretend(tmp_path, "one-hot", seed, 0.5 + 0.01 * seed)
        pretend(tmp_path, "mine", seed, 0.3 + 0.011 * seed, accuracy=80.0)
    records = study_records(tmp_path)
    for table in (arm_table, share_table):
        assert "\n| mine | 3 |" in table(records, "enas-digits")
    assert "| enas-digits | predict (RMSE) | mine | none |" in advice(records)
    figure = plot_curves(records, ["enas-digits"])
    assert "mine (3)" in [t.get_text() for t in figure.axes[0].get_legend().get_texts()]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
    assert holm([0.02]) == [0.02]


def test_students_interval_of_equal_differences():
    "Of others, see `agree`."
    assert student(torch.ones(3).double())[:2] == (1, 1) and student(torch.ones(3).double())[2] == 0


def test_seeds_that_an_effect_needs():
    d = torch.tensor([0.3, 0.1, 0.2]).double()  # mean 0.2, deviation 0.1
    assert seeds_needed(d) == 4  # 4.303 · 0.1 / √3 > 0.2 > 3.182 · 0.1 / √4
    assert seeds_needed(torch.tensor([1.0, -1.0, 0.1]).double()) is None


def test_advice_compares_arms_on_the_seeds_they_share(tmp_path):
    for seed in range(4):
        pretend(tmp_path, "one-hot", seed, 0.5)
    for seed in (0, 1):
        pretend(tmp_path, "learned-3", seed, 0.4 + 0.001 * seed)
    assert "| predict (RMSE) | learned-3 | none |" in advice(study_records(tmp_path))
    pretend(tmp_path, "learned-3", 1, 0.7)
    assert "| predict (RMSE) | one-hot | learned-3 |" in advice(study_records(tmp_path))
    for path in tmp_path.rglob("learned-3/*/*.json"):
        path.unlink()
    assert "RMSE" not in advice(study_records(tmp_path))  # nothing to choose from


def test_an_answer_follows_the_rule(tmp_path):
    for seed, noise in enumerate((0.0, 0.002, -0.001, 0.001)):
        pretend(tmp_path, "one-hot", seed, 0.5 + noise)
        pretend(tmp_path, "learned-3", seed, 0.4 - noise)
        pretend(tmp_path, "frozen-3", seed, 0.5 + 30 * noise)
        pretend(tmp_path, "described", seed, 0.5 + 2 * noise)
    records = study_records(tmp_path)

    def judged(*claims):
        comparisons = [Comparison("", a, b, "rmse", p, "enas-digits") for a, b, p in claims]
        return [f.answer for f in judge(records, comparisons)]

    assert judged(("learned-3", "one-hot", "less")) == ["yes"]
    assert judged(("learned-3", "one-hot", "more")) == ["no"]
    assert judged(("frozen-3", "one-hot", "less")) == ["open"]
    assert judged(("described", "one-hot", "less")) == ["no"]  # not by the margin
    assert judged(("described", "one-hot", "no more")) == ["yes"]
    assert judged(("described", "frozen-8", "less")) == ["not run"]
    both = [("learned-3", "one-hot", "less"), ("frozen-3", "one-hot", "less")]
    assert judged(*both) == ["yes", "open"]
    (wide,) = judge(records, [Comparison("", *both[0][:2], "rmse", "less", "enas-digits")])
    narrow = judge(records, [Comparison("", *b[:2], "rmse", "less", "enas-digits") for b in both])
    assert narrow[0].high - narrow[0].low > wide.high - wide.low  # Holm's interval is wider
    plain = [0.5, 0.502, 0.499, 0.501]  # of one-hot, in the order of seeds
    noisy = [0.5, 0.56, 0.47, 0.53]
    asked = Comparison("", *both[1][:2], "rmse", "less", "enas-digits")
    (found,) = judge(records, [asked], paired=False)
    welch = ttest_ind(noisy, plain, equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((welch.pvalue, *ends), abs=1e-9)
    plot_findings(narrow)
    plot_rmse(records, ["enas-digits"], size_of, "size")
    plot_rmse(records, ["enas-digits"], width_of, "width")


@pytest.mark.parametrize("predicted, sign", [("more", 1), ("less", -1)])
def test_verdicts_at_the_margin(predicted, sign):
    def says(low, high):
        return verdict(predicted, *sorted((sign * low, sign * high)), 0.01)

    assert says(0.001, 0.3) == "yes"
    assert says(-0.3, -0.1) == says(-0.01, 0.005) == "no"
    assert says(-0.1, 0.1) == "open"


def test_a_broken_record_is_named(tmp_path):
    for text in ("{", "{}", "[]", "3", '{"data": "enas-digits", "values": {}}'):
        path = tmp_path / "enas-digits" / "dvae" / "one-hot" / "seed-0.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        refused_as("seed-0.json: is no record", study_records, tmp_path)


# What is committed


def test_every_committed_record_says_where_it_comes_from():
    for r in RECORDS:
        job = Job(*(r[name] for name in Job._fields))
        path = record_path(ROOT / "results" / "evidence", job, "arm")
        assert path.is_file(), path
        assert path.stat().st_size < 12_000, path
        assert re.fullmatch(r"[0-9a-f]{7,10}\+?", r["provenance"]["commit"]), path
        assert r["provenance"]["processor"] and r["provenance"]["threads"] == 1, path
        assert r["seconds"] > 0 and r["values"]["hidden"] == 128, path
        embedding, config = arm_config(r["arm"])
        learned = "learned" in embedding
        assert (r["values"]["moved"] > 0) == learned, path
        assert r["values"]["passes"] == config.epochs * (config.training_rounds if learned else 1)


def by_hand(question):  # effects and raw p values straight from the files
    values = {}
    for path in (ROOT / "results" / "evidence").rglob("arm.json"):
        r = json.loads(path.read_text(encoding="utf-8"))
        data, model, arm, seed = path.parts[-5:-1]
        rows = {row["passes"]: row for row in r["values"]["curve"]}
        last = rows[max(rows)]
        own = dict(rmse=last["gp"]["rmse"], accuracy=last["accuracy"])
        if "gp" in rows.get(4, {}):
            own["rmse-4"] = rows[4]["gp"]["rmse"]
        if r["values"]["rounds"] == 1:
            own["speed"] = sum(row["accuracy"] for p, row in rows.items() if p) / (len(rows) - 1)
        values[data, model, arm, seed] = own
    effects = []
    for c in QUESTIONS[question]:
        a, b = [], []
        for seed in range(100):
            where = c.data.replace("/", "-"), c.model
            mine, other = (
                values.get((*where, arm, f"seed-{seed}"), {}) for arm in (c.arm, c.against)
            )
            if c.outcome in mine and (c.before or c.outcome) in other:
                a.append(mine[c.outcome])
                b.append(other[c.before or c.outcome])
        effects.append((a, b))
    return effects


@pytest.mark.parametrize("question", QUESTIONS)
def test_effects_are_recomputed_from_the_files(question, agree):
    agree(judge(RECORDS, QUESTIONS[question]), by_hand(question))


def test_the_chapter_shows_what_the_records_say():
    page = "\n".join(shown("lab/evidence"))
    for question in QUESTIONS:
        assert answer_table(RECORDS, QUESTIONS[question]) in page, question
        says = answer(judge(RECORDS, QUESTIONS[question]))
        assert f"- **{question}**: **{says}**." in page
    for name in {r["data"] for r in RECORDS}:
        assert arm_table(RECORDS, name) in page
        assert share_table(RECORDS, name, arms=SHOWN) in page
    assert answer_table(RECORDS, AFTERWARDS) in page
    assert spread_table(RECORDS, list(DATA), DRAWN) in page
    assert advice(RECORDS) in page
    assert answer_table(trial_records(ROOT / "results"), SECOND_LOOK) in page


def test_the_second_look_is_at_the_trials_of_the_recipe():
    folder = ROOT / "results" / "recipes"
    for f in judge(trial_records(ROOT / "results"), SECOND_LOOK):
        c, effects = f.comparison, []
        for seed in range(f.seeds):
            last = f"finalist/seed-{seed}/trial.json"
            twins = [
                json.loads((folder / c.data / name / last).read_text())["values"]
                for name in ("dvae-emb", "dvae")
            ]
            effects.append(twins[0][c.outcome] - twins[1][c.outcome])
        assert f.seeds == 3 and f.mean == pytest.approx(sum(effects) / 3)


def test_differences_need_a_pair(tmp_path):
    pretend(tmp_path, "one-hot", 0, 0.5)
    pretend(tmp_path, "learned-3", 1, 0.4)
    c = Comparison("", "learned-3", "one-hot", "rmse", "less", "enas-digits")
    assert differences(study_records(tmp_path), c).tolist() == []


def test_signal_weights_still_give_both_twins_one_size():
    for name in ("dvae", "dvae-emb"):
        model = build_model(name, hidden=12, latent=6, seed=0).eval()
        signal_weights(model, graphs(300))
        assert added(model, "decoder")[0][2:].std().item() == pytest.approx(0.4, rel=1e-4)


def test_the_figure_of_the_readme_is_of_these_records():
    picture = (ROOT / "results/evidence" / WIDTH_FIGURE).read_text()
    assert width_shown(RECORDS) in picture, "run the study `width`"


def test_chapter_9a_shows_what_runs_cost():
    assert cost_table(RECORDS) in shown("lab/arms")


def test_the_chapter_counts_the_records():
    have = {(r["data"], r["model"], r["arm"], r["seed"]) for r in RECORDS}
    said = f"{len(have & set(plan()))} of {len(plan())} planned runs are there"
    assert said in "".join(shown("lab/evidence"))


def test_all_nine_are_pooled_as_the_files_say():
    cells = []
    for folder in ("enas-digits", "nas-bench-201-cifar10", "nas-bench-graph-arxiv"):
        for model in ("dvae", "gcn", "gin"):
            rmse = []
            for arm in ("learned-3", "one-hot"):
                paths = sorted((ROOT / "results/evidence" / folder / model / arm).glob("seed-*/*"))
                paths = [path for path in paths if path.name == "arm.json"]
                values = [json.loads(path.read_text(encoding="utf-8"))["values"] for path in paths]
                rmse.append([v["curve"][-1]["gp"]["rmse"] for v in values])
            cells.append(np.subtract(*rmse))
    found, cells = pooled(RECORDS), np.array(cells)
    assert cells.shape == (9, 5)
    assert sorted(found["pairs"]) == pytest.approx(sorted(cells.ravel()))
    assert sorted(found["cells (encoder and data)"]) == pytest.approx(sorted(cells.mean(1)))
    assert found["seeds"] == pytest.approx(cells.mean(0))
    assert found["data sets"] == pytest.approx(cells.reshape(3, 3, 5).mean((1, 2)))
