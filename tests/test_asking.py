"A search by ask and tell: nothing is asked twice, a file decides what is asked, noise is noise."

import math
import random
import time
from pathlib import Path

import pytest
import torch
from common import refused_as

import opembed_nb as oe
from opembed_nb.data import ENAS, SearchSpace, random_architectures, validity
from opembed_nb.hood import judge
from opembed_nb.hood.asking import everything, mutants
from opembed_nb.hood.asking_report import Search
from opembed_nb.hood.features import counted_features, fingerprints, live_part, types_of
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_keys, to_keys
from opembed_nb.hood.isomorphs import canonical
from opembed_nb.hood.judge import Counts, Judge, Latents, Places, Vectors, View, factor, matern
from opembed_nb.hood.sources import CELLS, load_dataset

README = Path(__file__).parents[1] / "README.md"
CELL = dict(zero=("none",), identity=("skip_connect",))
FREE = SearchSpace("blocks", ("conv", "pool", "skip"), n_layers=5, chain=False)


def value(architecture):
    "A score that anybody can recompute: convolutions count, edges cost a little."
    return float((architecture.ops == 2).sum()) - 0.1 * float(architecture.adj.sum())


def seed(number):
    return torch.Generator().manual_seed(number)


def keys(search, where="TRUE"):
    return [key for _, key, _ in search._rows(where)]


@pytest.mark.parametrize("space", [FREE, ENAS, CELLS], ids=lambda space: space.name)
def test_a_search_finds_what_a_score_rewards(space):
    search = oe.Search(space, seed=3)
    search.run(value, 40, q=3)
    scores = [s[0] for _, _, s in search._rows()]
    assert len(search) == 40 == len(set(keys(search)))
    assert max(scores[10:]) > max(scores[:10])  # better than ten random ones
    assert validity(from_keys(keys(search), space), space).all()
    assert value(search.best()) == max(scores)


def test_what_is_asked_depends_on_the_file_alone(tmp_path):
    "Asks and tells in another order of processes, of which each makes one step, are the same."
    whole, path = Search(FREE, seed=1), tmp_path / "search.sqlite"
    for _ in range(8):
        batch = whole.ask(2)
        step = Search(FREE, path, seed=1)
        assert to_keys(step.ask(2), FREE) == to_keys(batch, FREE)
        step.close()
        late = Search(FREE, path, seed=1)
        for architecture in reversed(list(batch)):
            late.tell(architecture, value(architecture))
        whole.tell(batch, [value(architecture) for architecture in batch])
        late.close()


def test_what_is_out_is_neither_asked_again_nor_forgotten():
    search = Search(CELLS, seed=0, **CELL)
    out = search.ask(4)
    search.run(value, 25, q=3)
    assert len(keys(search)) == 29 and len(search) == 25
    assert set(to_keys(out, CELLS)) == set(keys(search, "scores IS NULL"))
    search.tell(out, [value(each) for each in out])
    assert len(search) == 29


def test_a_failed_evaluation_counts_as_the_worst_and_is_not_asked_again():
    search = Search(FREE, seed=2)
    def fragile(architecture):
        if (architecture.ops == 3).any(): raise ValueError("no memory")
        return value(architecture)
    with pytest.warns(UserWarning, match="ValueError: no memory"):
        search.run(fragile, 60, q=3)
    failed = [key for key in keys(search, "scores = '[]'")]
    assert failed and len(keys(search)) == 60
    late = from_keys(keys(search)[40:], FREE)
    assert (late.ops == 3).any(1).float().mean() < 0.5  # of random ones 84 % have a pool
    assert not (search.best(5).ops == 3).any()


def test_failures_by_chance_hide_nothing():
    search, far = Search(FREE, seed=4, start=20), random_architectures(300, FREE, seed(0))
    known = random_architectures(40, FREE, seed(1))
    search.begin_with(known, [None if k % 2 else value(one) for k, one in enumerate(known)])
    asked = [value(one) for one in search.ask(5)]
    assert min(asked) > sorted(map(value, far))[-60]


def test_the_best_is_the_best_believed_not_the_luckiest():
    draws, right, lucky = random.Random(0), 0, 0
    space = SearchSpace("line", ("a", "b"), n_layers=6, chain=True, wirings=())
    for seed in range(5):
        search = Search(space, seed=seed)
        search.run(lambda one: float((one.ops == 2).sum()) + draws.gauss(0, 1.5), 60, q=5)
        scored = {key: scores[0] for _, key, scores in search._rows()}
        luckiest = from_keys([max(scored, key=scored.get)], space)
        right += int((search.best().ops == 2).sum())
        lucky += int((luckiest.ops == 2).sum())
    assert right >= lucky


def test_a_repeated_evaluation_is_a_mean():
    search = Search(FREE)
    one = search.ask()
    search.tell(one, [[1.0, 3.0]])
    search.tell(one, 5.0)
    assert search.believed()[0][1] == 3.0 and len(search) == 1


def test_lower_is_better_where_it_is_said():
    search = Search(FREE, higher_is_better=False, seed=5)
    search.run(lambda one: -value(one), 40, q=5)
    shown = [score for _, score, _ in search.believed()]
    assert shown[0] == min(shown) and "mean score" in str(search.report(3))


def test_twins_are_evaluated_once_unless_it_is_asked_for():
    space = SearchSpace("two", ("conv", "pool"), n_layers=2, chain=False)
    once, all_of_them = Search(space, seed=0), Search(space, seed=0, twins=True)
    for search in (once, all_of_them):
        search.run(value, 100, q=10)
    assert len(once) < len(all_of_them)
    found = from_keys(keys(all_of_them), space)
    assert len(once) == len(set(to_keys(canonical(found, space), space)))


def test_a_space_can_be_used_up_and_candidates_can_be_forbidden():
    space = SearchSpace("two", ("conv", "pool"), 2, chain=False, wirings=("0 1 2",))
    assert len(everything(space)) == 4
    search = Search(space)
    assert len(search.ask(9)) == 4 and len(search.ask(3)) == 0
    no_pool = Search(space, allowed=lambda batch: ~(batch.ops == 3).any(1))
    assert to_keys(no_pool.ask(9), space) == ["0: 2:0 2:1 1:2"]
    among = random_architectures(30, FREE, torch.Generator().manual_seed(0))
    listed = Search(FREE, among=among, seed=1)
    listed.run(value, 20, q=5)
    assert set(keys(listed)) <= set(to_keys(among, FREE))


def test_known_scores_are_a_start(recwarn):
    search, known = Search(FREE), random_architectures(30, FREE, torch.Generator().manual_seed(1))
    search.tell(known, [value(each) for each in known])
    assert "was never asked for; it is taken" in str(recwarn[0].message)
    assert len(search) == 30 and value(search.ask()) >= sorted(map(value, known))[-3]


def test_the_example_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = README.read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
    exec(code, {"train": value})
    assert len(Search(FREE, "search.sqlite")) == 4


REFUSED = [
    (lambda s, a: s.ask(0), "ask: n is 0; give a whole number, 1 …"),
    (lambda s, a: s.ask(1.5), "ask: n is 1.5; give a whole number"),
    (lambda s, a: s.tell(a, math.nan), "tell: score 0 is nan; give a finite number, or None"),
    (lambda s, a: s.tell(a, [1, 2]), "tell: 2 scores for 1 architectures"),
    (lambda s, a: s.tell(a, [["high"]]), "tell: score 0 is 'high'"),
    (lambda s, a: s.tell(a, [1.0, 2.0]), "tell: 2 scores for 1 architectures; give each one"),
    (lambda s, a: s.tell(random_architectures(1, CELLS), 1.0), "is not of space blocks"),
    (lambda s, a: Search(FREE, "/"), "cannot be used as a search"),
    (lambda s, a: Search(FREE, zero=("nothing",)).ask(), "operation 'nothing' is not one of"),
]


@pytest.mark.parametrize("call, says", REFUSED)
def test_what_does_not_fit_is_one_line(call, says):
    search = Search(FREE)
    refused_as(says, lambda: call(search, search.ask()))


@pytest.mark.parametrize(
    "other, says",
    [
        (dict(seed=1), "is a search with seed = 0, not 1"),
        (dict(higher_is_better=False), "higher_is_better = true, not false"),
        (dict(space=ENAS), 'is a search with name = "blocks", not "enas"'),
        (dict(zero=("skip",)), 'zero = [], not ["skip"]'),
        (dict(parts=[Counts()]), 'parts = ["counts", "places"], not ["counts"]'),
    ],
)
def test_another_search_in_the_same_file_is_refused(tmp_path, other, says):
    Search(FREE, tmp_path / "s.sqlite").close()
    with pytest.raises(OpembedError, match="name another file, or ask for the same") as error:
        Search(**{"space": FREE, "path": tmp_path / "s.sqlite"} | other)
    assert says in str(error.value)
    (tmp_path / "text.sqlite").write_text("no database, but a text of some length " * 9)
    refused_as("text.sqlite: cannot be used as a search", Search, FREE, tmp_path / "text.sqlite")


def test_a_fingerprint_does_not_see_numbering_dead_parts_or_identities():
    drawn = random_architectures(300, FREE, torch.Generator().manual_seed(0))
    same = fingerprints(drawn, FREE)[:, None] == fingerprints(drawn, FREE)
    alike = to_keys(canonical(drawn, FREE), FREE)
    assert same.tolist() == [[a == b for b in alike] for a in alike]
    space = SearchSpace("cut", ("conv", "none", "skip"), n_layers=3, chain=False)
    cut, plain, skipped, other = from_keys(
        ["0: 2:0 3:0 2:2 1:1,3", "0: 2:0 1:1", "0: 4:0 2:1 1:2", "0: 2:0 2:1 1:2"], space
    )
    marks = [
        int(fingerprints(x, space, ("none",), ("skip",))) for x in (cut, plain, skipped, other)
    ]
    assert marks[0] == marks[1] == marks[2] != marks[3]


def test_features_count_what_can_be_counted_by_hand():
    # input → conv → pool → output, and input → conv → output
    graph = from_keys(["0: 2:0 3:1 2:0 1:2,3"], FREE)
    live, adj = live_part(graph, types_of(FREE, ()))
    assert live.all() and int(adj.sum()) == 5
    x = counted_features(graph, FREE)
    assert x.shape == counted_features(random_architectures(3, FREE), FREE)[:1].shape
    assert x.isfinite().all() and x.dtype == torch.double
    large = SearchSpace("large", tuple("abcdefgh"), n_layers=46, chain=False)
    assert counted_features(random_architectures(2, large), large).isfinite().all()


def test_mutants_are_one_step_away_and_of_the_space():
    for space in (FREE, ENAS, CELLS):
        generator = torch.Generator().manual_seed(0)
        [parent] = random_architectures(1, space, generator)
        found = mutants(parent, space, 300, generator)
        assert validity(found, space).all() and len(found) > 50
        ops, edges = (found.ops != parent.ops).sum(1), (found.adj != parent.adj).sum((1, 2))
        assert (ops + edges.clamp(max=1) <= 1).all()


def test_the_judge_believes_what_it_was_told_and_less_far_away():
    batch = random_architectures(60, FREE, torch.Generator().manual_seed(0))
    scores = torch.tensor([value(each) for each in batch]).double()
    judge = Judge([View(Places(), FREE, batch)], batch[:30], scores[:30], range(60))
    assert torch.corrcoef(torch.stack([judge.mean[:30], scores[:30]]))[0, 1] > 0.9
    assert judge.variance[:30].mean() < judge.variance[30:].mean()
    assert torch.corrcoef(torch.stack([judge.mean[30:], scores[30:]]))[0, 1] > 0.5


def test_learned_vectors_find_two_operations_that_are_alike():
    space = SearchSpace("four", ("a", "b", "c", "d"), n_layers=5, chain=True)
    batch = random_architectures(120, space, torch.Generator().manual_seed(0))
    worth = torch.tensor([0.0, 0.0, 1.0, 1.0, -1.0, 0.3])[batch.ops].sum(1)  # a is as good as b
    judge = Judge([View(Vectors(), space, batch)], batch, worth.double(), range(120))
    rows = judge.kernel.learned[0][:-2].view(4, -1)
    apart = torch.cdist(rows, rows)
    assert apart[0, 1] < 0.5 * apart[[0, 0, 1, 1, 2], [2, 3, 2, 3, 3]].min()
    described = Vectors(rows=torch.eye(6)[:, 2:])  # a start of one's own
    judge = Judge([View(described, space, batch)], batch, worth.double(), range(9))
    assert judge.mean.isfinite().all()


def test_with_many_scores_the_process_is_sparse_and_says_nearly_the_same(monkeypatch):
    batch = random_architectures(200, FREE, torch.Generator().manual_seed(0))
    scores = torch.tensor([value(each) for each in batch])[:150]
    views, rows = [View(Counts(), FREE, batch)], range(150, 200)
    exact = Judge(views, batch[:150], scores, rows)
    monkeypatch.setattr(Judge, "most", 100)
    sparse = Judge(views, batch[:150], scores, rows)
    assert (len(exact.anchors[0]), len(sparse.anchors[0])) == (150, 100)
    assert torch.corrcoef(torch.stack([exact.mean, sparse.mean]))[0, 1] > 0.95
    assert (sparse.variance > 0).all() and len(set(sparse.choose(4))) == 4


def test_an_ask_is_fast_and_a_long_list_is_sampled(monkeypatch):
    cells = everything(CELLS)
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))[:300]
    search = Search(CELLS, seed=0, twins=True, **CELL)
    with pytest.warns(UserWarning, match="never asked for"):
        search.tell(cells[order], (cells.ops[order] == 5).sum(1).double())
    search.ask()  # lists the cells
    begun = time.process_time()
    search.ask(4)
    assert time.process_time() - begun < 3
    monkeypatch.setattr("opembed_nb.hood.asking.LISTED", 1000)
    asked = search.ask(4)
    assert (asked.ops == 5).sum(1).min() >= 3


def test_latents_of_a_model_can_be_a_part_of_the_kernel():
    data, model = oe.load("enas-digits"), oe.pretrained("dvae-emb", "enas-digits")
    search = Search(ENAS, among=data.test.batch[:200], parts=[Places(), Latents(model)])
    known = dict(zip(to_keys(data.test.batch[:200], ENAS), data.test.accuracy[:200].tolist()))
    search.run(lambda one: known[to_keys(one, ENAS)[0]], 30, q=5)
    assert len(search) == 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_15625_cells_within_sixty_evaluations(seed):
    data = load_dataset("nas-bench-201/cifar10")
    known = dict(zip(to_keys(data.batch, CELLS), data.accuracy.tolist()))
    search, goal = Search(CELLS, seed=seed, twins=True, **CELL), max(known.values())
    while len(search) < 60:
        batch = search.ask(5)
        found = [known[key] for key in to_keys(batch, CELLS)]
        search.tell(batch, found)
        if max(found) == goal: return
    pytest.fail(f"not found in {len(search)} evaluations")


def test_rounding_costs_no_search():
    "Two candidates that look alike are one row twice, and less than that after rounding."
    alike = torch.tensor([[1.0, 1.0], [1.0, 1.0 - 1e-7]]).double()
    lower = factor(alike)
    assert torch.allclose(lower @ lower.T, alike, atol=1e-5)
    refused_as("no kernel can be fitted to these scores", factor, alike * torch.nan)
    far = matern(torch.tensor([0.0, 1.0, 1e30]).double(), torch.tensor(1e-300).double())
    assert far.isfinite().all() and far[1:].max() < 1e-30


def test_a_step_of_the_fit_that_goes_too_far_is_taken_back(monkeypatch):
    calls = []

    def some(matrix):
        calls.append(1)
        return factor(matrix * torch.nan if len(calls) == 3 else matrix)

    monkeypatch.setattr(judge, "factor", some)
    search = Search(FREE, start=8)
    batch = search.ask(8)
    search.tell(batch, batch.ops.float().mean(1))
    assert len(search.ask(2)) == 2 and len(calls) > 3
