"Several objectives: what is proposed enlarges the front, and limits count."

import json
import math
import sqlite3

import pytest
import torch
from common import refused_as

import opembed_nb as oe
from opembed_nb.data import SearchSpace, random_architectures
from opembed_nb.hood import objectives as page
from opembed_nb.hood.asking import everything
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import to_keys
from opembed_nb.hood.objectives import ParetoSearch, expected_growth, hypervolume, undominated
from opembed_nb.lab.fronts import SEARCHES, regrets, two_scores
from opembed_nb.lab.search_commands import new_search, read_done, todo_lines

AIMS = dict(accuracy="max", latency="min")
LISTED = SearchSpace("few", ("conv", "small", "skip"), 5, chain=False, wirings=("0 1 2 3 4 5",))
FREE = SearchSpace("blocks", ("conv", "pool", "skip"), n_layers=5, chain=False)


def value(one):
    "Convolutions are accurate and slow, the more so the later they come."
    conv, small = ((one.ops == kind).double() for kind in (2, 3))
    weight = torch.arange(conv.shape[1]).double()
    accuracy = 1 - 0.7 ** float((conv * weight + small).sum())
    return dict(accuracy=accuracy, latency=float(3 * conv.sum() + small.sum()))


def true_scores(space):
    return torch.tensor([list(value(one).values()) for one in everything(space)]).double()


def told_scores(search):
    return search.means([scores for _, scores in search.history()]) * search.signs


def test_it_finds_the_front_that_random_draws_do_not():
    every, reference = true_scores(LISTED) * torch.tensor([1, -1]), torch.tensor([0, -16]).double()
    goal = hypervolume(every, reference)
    search = oe.Search(LISTED, objectives=AIMS, seed=1)
    assert isinstance(search, ParetoSearch)
    search.run(value, 32, q=4)
    assert hypervolume(told_scores(search), reference) > 0.995 * goal
    drawn = torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:32]
    assert hypervolume(every[drawn], reference) < 0.97 * goal
    front = search.front()
    assert undominated(front.scores * search.signs).all()
    assert front.scores[:, 0].tolist() == sorted(front.scores[:, 0].tolist(), reverse=True)
    assert to_keys(search.best(2), LISTED) == to_keys(front.architectures[:2], LISTED)
    assert len(front) + len(front.others) == 32


def test_expected_growth_is_the_mean_growth_over_draws():
    generator = torch.Generator().manual_seed(0)
    known = torch.tensor([[0.2, 1.0], [1.0, 0.1], [0.0, 0.0]]).double()
    reference = torch.tensor([-1.0, -1.0]).double()
    mean, variance = torch.tensor([[0.8, 0.6], [-2, 0]]).double(), torch.tensor([[0.3, 0.5]] * 2)
    grown = []
    for k in range(2):
        draws = mean[k] + variance[k].sqrt() * torch.randn(1500, 2, generator=generator)
        volumes = [hypervolume(torch.cat([known, draw[None]]), reference) for draw in draws]
        grown.append(sum(volumes) / 1500 - hypervolume(known, reference))
    found = expected_growth(mean, variance.double(), known, reference)
    assert found.tolist() == pytest.approx(grown, rel=0.08, abs=0.02)
    alone = expected_growth(mean, variance.double(), known[:0], reference)
    assert alone[0] > found[0]


def test_what_breaks_a_limit_is_not_sought_and_not_found():
    limits = dict(latency=("<", 4))
    free, bound = (oe.Search(LISTED, objectives=AIMS, seed=3, limits=x) for x in (None, limits))
    for search in (free, bound):
        search.run(value, 30, q=4)
    late = [-told_scores(search)[10:, 1] for search in (free, bound)]
    broken = [float((latency >= 4).double().mean()) for latency in late]
    assert broken[1] < 0.5 * broken[0]
    assert bound.front().scores[:, 1].max() < 4 <= free.front().scores[:, 1].max()
    nothing = oe.Search(LISTED, objectives=AIMS, limits=dict(accuracy=(">", 2)))
    nothing.run(value, 14)
    assert len(nothing.front()) == 0 and len(nothing.best()) == 0 and len(nothing.ask(2)) == 2
    assert "No architecture is within the limits yet: accuracy > 2." in str(nothing.report())


def test_a_file_decides_what_is_asked_and_whose_it_is(tmp_path):
    path, whole = tmp_path / "s.sqlite", oe.Search(FREE, objectives=AIMS, seed=2)
    for _ in range(6):
        batch = whole.ask(3)
        step = oe.Search(FREE, path, objectives=AIMS, seed=2)
        assert to_keys(step.ask(3), FREE) == to_keys(batch, FREE)
        for each in (whole, step):
            each.tell(batch, [value(batch[0]), tuple(value(batch[1]).values()), None])
        step.close()
    for other, says in (
        (dict(objectives=dict(accuracy="max", energy="min")), "is a search with objectives = {"),
        (
            dict(objectives=AIMS, limits=dict(latency=("<", 5))),
            "is a search with limits = None, not {",
        ),
        (dict(), "is a search with objectives = {"),
    ):
        refused_as(says, oe.Search, FREE, path, seed=2, **other)
    again = oe.Search.open(path)
    assert isinstance(again, ParetoSearch) and again.objectives == AIMS and len(again) == 18
    oe.Search(FREE, tmp_path / "one.sqlite").close()
    with sqlite3.connect(tmp_path / "one.sqlite") as db:
        names = {name for (name,) in db.execute("SELECT name FROM search")}
    assert not names & {"objectives", "limits"}
    refused_as("objectives = None", oe.Search, FREE, tmp_path / "one.sqlite", objectives=AIMS)


def test_scores_in_every_form_are_the_same():
    batch, forms = (
        random_architectures(4, FREE, torch.Generator().manual_seed(0)),
        oe.Search(FREE, objectives=AIMS),
    )
    one, two = dict(latency=3.0, accuracy=0.5), dict(accuracy=0.7, latency=5.0)
    with pytest.warns(UserWarning, match="never asked for"):
        forms.tell(batch, [one, (0.5, 3.0), [one, (0.7, 5.0)], [[0.5, 3.0], [0.7, 5.0]]])
    forms.tell(batch[0], two)
    forms.tell(batch[1], torch.tensor([[0.7, 5.0]]).double())
    wanted = torch.tensor([[0.6, 4.0]]).double().expand(4, 2)
    assert torch.allclose(forms.means([scores for _, scores in forms.history()]), wanted)
    forms.tell(batch[3], (0.9, 1.0))
    assert len(forms) == 4 and len(forms.front()) == 1


def test_three_objectives_and_a_picture(tmp_path):
    search = oe.Search(FREE, objectives={**AIMS, "memory": "min"}, limits=dict(latency=("<", 9)))
    search.run(lambda one: {**value(one), "memory": float(one.adj.sum())}, 20, q=5)
    front = search.front()
    assert front.scores.shape[1] == 3 and len(front.rows()[0]) == 4
    picture = str(front.draw(x="memory", y="latency"))
    assert all(name in picture for name in ("memory", "latency", "limit of", "Pareto front"))
    search.report().save(tmp_path / "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert to_keys(search.best(), FREE)[0] in str(search.report(1))


def test_the_commands_know_objectives(tmp_path):
    space, path = tmp_path / "space.json", tmp_path / "search.sqlite"
    facts = dict(operations=["conv", "pool"], layers=3, chain=False, objectives=AIMS)
    space.write_text(json.dumps(facts | dict(limits=dict(latency=["<", 9]))))
    search = new_search(space, path)
    [line] = todo_lines(search.ask(), search.space)
    done = json.dumps(json.loads(line) | dict(score=[0.5, 3.0]))
    again = oe.Search.open(path)
    again.tell(*read_done(done, again.space, "done.jsonl"))
    assert again.front().scores.tolist() == [[0.5, 3.0]] and search.limits == again.limits


REFUSED = [
    (lambda s, a: s.tell(a, dict(accuracy=1.0)), "score 0 has accuracy; the objectives are"),
    (lambda s, a: s.tell(a, dict(accuracy=math.nan, latency=1)), "tell: score 0 is nan"),
    (lambda s, a: s.tell(a, [[0.5]]), "score 0 has 1 numbers; the objectives are accuracy, lat"),
    (lambda s, a: s.tell(a, ["fast"]), "score 0 is 'fast'; give a number for each"),
    (lambda s, a: s.tell(a, 0.5), "score 0 is 0.5; give a number for each of accuracy, latency"),
    (lambda s, a: oe.Search(FREE, objectives=dict(accuracy="max")), "two or more are needed"),
    (lambda s, a: oe.Search(FREE, objectives=dict(a="max", b="up")), "each with 'max' or 'min'"),
    (lambda s, a: oe.Search(FREE, objectives=AIMS, limits=dict(b=("<", 1))), "'b' is none of"),
    (lambda s, a: oe.Search(FREE, objectives=AIMS, limits=dict(latency=(">", 1))), "limited by ("),
    (lambda s, a: oe.Search(FREE, objectives=AIMS, limits=dict(latency=("<", "x"))), "limited by"),
    (lambda s, a: oe.Search(FREE, objectives=AIMS, limits=dict(latency=5)), "limited by ('<'"),
    (lambda s, a: oe.Search(FREE, objectives=["a", "b"]), "objectives and limits are dictionaries"),
    (lambda s, a: oe.Search(FREE, objectives=AIMS, higher_is_better=False), "leave it out"),
    (lambda s, a: s.begin_with(a, [0.5]), "begin_with: score 0 has 1 numbers; the objectives"),
    (lambda s, a: s.pilot(lambda one: 1.0), "pilot: is for one score; this search has accuracy"),
    (lambda s, a: s.run(lambda one: dict(accuracy=1), 3), "TypeError: the score has no latency"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_does_not_fit_is_one_line(case):
    call, says = REFUSED[case]
    search = oe.Search(FREE, objectives=AIMS)
    refused_as(says, lambda: call(search, search.ask()))


def test_without_botorch_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    refused_as(r"not installed; pip install '\.\[objectives\]'", oe.Search, FREE, objectives=AIMS)


def test_the_true_front_leaves_no_regret_and_every_search_keeps_to_its_budget():
    device = "pixel3_latency"
    try:
        table = two_scores(device)
    except OpembedError as e:
        pytest.skip(str(e))
    front = undominated(table.scores).nonzero().flatten().tolist()
    assert regrets(table, front, at=[43]) == pytest.approx([0], abs=1e-9)
    assert len(front) == 43
    for name in ("random", "TPE", "NSGA-II", "ours"):
        rows = SEARCHES[name](table, 0, 13)
        first, last = regrets(table, rows, at=[4, 13])
        assert len(rows) == 13 and 0 < last <= first <= 1
