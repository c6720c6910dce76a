"Chapter 0: tensors, validity, drawing, random architectures, features, data of one's own."

import json
import time
import xml.etree.ElementTree as tree
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opembed_nb.data import (
    ENAS,
    RESERVED,
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    codes,
    draw,
    extremes,
    from_edges,
    random_architectures,
    raw_features,
    same_graphs,
    skip_pairs,
    split_rows,
    validity,
    wiring_tensor,
    wirings,
)
from opembed_nb.hood.files import OpembedError, refused
from opembed_nb.hood.formats import from_flat, to_flat
from opembed_nb.hood.sources import CELLS, GNNS, dataset_name, load_dataset

quick = settings(deadline=None, max_examples=30)  # a busy machine is no failure
seeds = st.integers(0, 2**31)
spaces = st.builds(
    SearchSpace,
    st.just("drawn"),
    st.integers(1, 9).map(lambda n: tuple("abcdefghi"[:n])),
    st.integers(1, 12),
    st.booleans(),
)
FREE = SearchSpace("free", ("a", "b"), 4, chain=False)
TWO = SearchSpace("two", ("a",), 2, chain=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def any_graphs(n: int, space: SearchSpace, seed: int, p: float) -> DAGBatch:
    "Graphs of 1 … max_nodes nodes: architectures with a few types and edges changed at random."
    g, parts = generator(seed), []
    for layers in range(space.n_layers + 1):
        # `max_nodes` of one graph is not that of the next: padding is part of what is tested
        shape = SearchSpace(space.name, space.operations, layers, space.chain)
        part = random_architectures(n, shape, g, p)
        flip = (torch.rand(part.adj.shape, generator=g) < 0.03).triu(1)
        wrong = torch.rand(part.ops.shape, generator=g) < 0.03
        drawn = torch.randint(0, space.n_types, part.ops.shape, generator=g)
        parts.append(DAGBatch(torch.where(wrong, drawn, part.ops), part.adj ^ flip, part.n_nodes))
    parts.append(from_edges([([0], [])], space))
    return cat_batches(parts)


# Tensors


def test_no_graphs_at_all():
    none = random_architectures(3)[[]]
    assert len(none) == len(from_edges([])) == 0
    assert validity(check_batch(none, ENAS)).shape == (0,) and codes(none).shape == (0, 8)
    assert draw(none).startswith("<svg")


@quick
@given(spaces, seeds)
def test_graphs_are_equal_exactly_when_types_and_edges_are(space, seed):
    a, b = bare(any_graphs(2, space, seed, 0.3)), bare(any_graphs(2, space, seed + 1, 0.3))
    mixed = cat_batches([a, b, a])
    rows = torch.randint(len(mixed), (len(mixed),), generator=generator(seed))
    other = mixed[rows]

    def plain(batch, i):
        n = int(batch.n_nodes[i])
        return batch.ops[i, :n].tolist(), batch.adj[i, :n, :n].tolist()

    expected = [plain(mixed, i) == plain(other, i) for i in range(len(mixed))]
    wider = cat_batches([other, bare(random_architectures(1))])[: len(other)]
    assert same_graphs(mixed, other).tolist() == expected == same_graphs(mixed, wider).tolist()
    distinct = {json.dumps(plain(mixed, i)) for i in range(len(mixed))}
    assert codes(mixed).unique(dim=0).shape[0] == len(distinct)


@pytest.mark.parametrize("layers", [45, 46, 47, 94, 100])
def test_codes_tell_deep_graphs_apart(layers):
    space = SearchSpace("deep", ("a", "b"), layers, chain=False)
    batch = random_architectures(5, space, generator())
    other = DAGBatch(batch.ops, batch.adj.clone(), batch.n_nodes)
    other.adj[0, layers - 1, layers] ^= True  # the last possible edge between layers
    assert same_graphs(batch, batch).all() and codes(batch).unique(dim=0).shape[0] == 5
    assert same_graphs(batch, other).tolist() == [False, True, True, True, True]
    shallow = random_architectures(5, ENAS, generator())
    joined = cat_batches([bare(shallow), bare(batch)])
    assert same_graphs(joined[:5], shallow).all()
    assert torch.equal(codes(joined[:5]), codes(shallow, joined.ops.shape[1]))


def test_batches_move_join_and_split():
    batch = random_architectures(7, generator=generator())
    parts = [batch[:3], batch[3], batch[torch.tensor([4, 5])], batch[torch.arange(7) == 6]]
    assert same_graphs(cat_batches(parts), batch).all() and len(batch[2]) == 1
    assert batch.to("meta").device.type == "meta" and len(batch.to("meta")) == 7


def test_no_tensor_is_made_without_its_device():
    for space in (ENAS, FREE):
        batch = random_architectures(5, space, generator())
        with torch.device("meta"):
            assert check_batch(batch, space).mask.device.type == "cpu"
            assert codes(batch).device.type == validity(batch, space).device.type == "cpu"
            assert same_graphs(cat_batches([batch, batch])[:5], batch).all()
            drawn = random_architectures(5, space, generator())
            assert drawn.device.type == "cpu" and same_graphs(drawn, batch).all()
    with torch.device("meta"):
        data = load_dataset("enas-digits")
    assert {x.device.type for x in (*data.batch, data.accuracy, data.order)} == {"cpu"}


def bad_batch(**changes):
    "Two architectures of which a tensor is another."
    good = random_architectures(2, generator=generator())
    tensors = {name: getattr(good, name) for name in ("ops", "adj", "n_nodes")}
    changes = {name: change(tensors[name]) for name, change in changes.items()}
    return lambda: check_batch(DAGBatch(**{**tensors, **changes}), ENAS)


DEEP = SearchSpace("deep", ENAS.operations, 9)
MANY = SearchSpace("many", tuple(map(str, range(300))), 40)


def bare(batch):
    "The same graphs, of nobody knows what."
    return DAGBatch(batch.ops, batch.adj, batch.n_nodes)


def deep_batch():
    return random_architectures(1, DEEP)


def distinct(batch):
    "Each graph once."
    return batch[[*{tuple(row): i for i, row in enumerate(codes(batch).tolist())}.values()]]


BATCHES = {  # message → a batch that is none of the space
    "ops has shape": bad_batch(ops=lambda ops: ops[0]),
    "do not go together": bad_batch(adj=lambda adj: adj[:1]),
    "adj is torch.float": bad_batch(adj=lambda adj: adj.float()),
    "11 nodes": lambda: check_batch(random_architectures(1, DEEP), ENAS),
    "n_nodes reaches from 0": bad_batch(n_nodes=lambda n: n * 0),
    "type 8": bad_batch(ops=lambda ops: ops + (ops == 7) + 6 * (ops == 2)),
    "type -2": bad_batch(ops=lambda ops: torch.where(ops == 1, -2, ops)),
    "earlier to a later": bad_batch(adj=lambda adj: adj.transpose(1, 2)),
    "past n_nodes": bad_batch(n_nodes=lambda n: n - 1),
}
REFUSED = {
    "operations are a list of names, not 'conv'": lambda: SearchSpace("blocks", ("conv"), 3),
    "above 255": lambda: codes(random_architectures(1, MANY)),
    "no batches to join": lambda: cat_batches([]),
    "p_skip = 2.0 is no probability": lambda: random_architectures(2, p_skip=2.0),
    "8; say what they are architectures of: space=": lambda: raw_features(bare(deep_batch())),
    "batch is of space deep (9 layers, 6 operations), not of enas": lambda: raw_features(
        deep_batch(), ENAS
    ),
    "same_graphs: 6 graphs and 1; give equally many": lambda: same_graphs(
        random_architectures(6), random_architectures(1)
    ),
}


@pytest.mark.parametrize("reason", [*BATCHES, *REFUSED])
def test_what_fits_no_space_is_refused_in_one_line(reason):
    said = refused({**BATCHES, **REFUSED}[reason])
    assert reason in said and "\n" not in said
    assert reason in REFUSED or "enas" in said


# Validity


def is_architecture(ops, edges, space) -> bool:
    "The protocol's validity of one graph, word by word."
    n, ends = len(ops), (space.INPUT, space.OUTPUT)
    if (ops[0], ops[-1]) != ends or any(ops.count(end) != 1 for end in ends):
        return False
    for v in range(n):
        if v > 0 and not any(to == v for _, to in edges):
            return False
        if v < n - 1 and not any(start == v for start, _ in edges):
            return False
    if not space.chain:
        return True
    if not all((i, i + 1) in edges for i in range(n - 1)):
        return False
    return [start for start, to in edges if to == n - 1] == [n - 2]


class Column:
    """A column of a pandas table: what stands in its brackets is a label, not a place, and its
    array cannot be written, or holds objects."""

    def __init__(self, values, index=(), kind=None):
        self.values, self.index = np.array(values, kind), index
        self.values.flags.writeable = False

    def to_numpy(self):
        return self.values

    tolist = property(lambda self: self.values.tolist)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, label):
        return self.values[self.index.index(label)]


@pytest.mark.filterwarnings("error")
def test_indexes_as_people_have_them():
    batch = random_architectures(12, generator=torch.Generator().manual_seed(0))
    third = codes(batch)[[2]]
    for one in (2, -10, np.int64(2), np.uint8(2), torch.tensor(2)):
        assert codes(batch[one]).equal(third)
    picked = codes(batch)[[2, 5]]
    mask = [i in (2, 5) for i in range(12)]
    for several in (
        [2, 5], range(2, 8, 3), slice(2, 6, 3), np.array([2, 5], np.uint8), np.array(mask), mask,
        Column([2, 5]), Column([2, 5], kind=object), Column(mask), Column(mask, kind=object),
    ):  # fmt: skip
        assert codes(batch[several]).equal(picked)
    for none in (1.5, "2", None):
        with pytest.raises(TypeError, match="as an integer"):
            batch[none]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [float, np.float32, object, list])
def test_columns_of_numbers_and_names_make_a_data_set(kind):
    batch = random_architectures(12, generator=torch.Generator().manual_seed(0))
    values = [i / 4 for i in range(12)]
    names = list(np.array([f"kind {i % 4}" for i in range(12)]))
    scores = [*map(np.float32, values)] if kind is list else Column(values, kind=kind)
    data = ArchDataset.from_scores("mine", ENAS, batch, scores, np.int64(0), names)
    assert data.accuracy.tolist() == values and {type(name) for name in data.groups} == {str}
    said = refused(ArchDataset.from_scores, "mine", ENAS, batch, Column(values, kind=complex))
    assert said == "scores: they are complex numbers; give real ones"


@pytest.mark.parametrize("layers", [-1, 2.0, 10**6, "3", True, None, 10**80])
def test_a_number_of_layers_that_is_none_is_refused(layers):
    said = refused(SearchSpace, "mine", ("a",), layers)
    assert said.startswith("space 'mine' has ") and len(said) < 200 and "\n" not in said


@settings(deadline=None, max_examples=60)
@given(spaces, seeds, st.floats(0, 1))
def test_validity_is_the_protocols(space, seed, p):
    batch, expected = any_graphs(6, space, seed, p), []
    for b, n in enumerate(batch.n_nodes.tolist()):
        edges = {tuple(e) for e in batch.adj[b].nonzero().tolist()}
        expected.append(is_architecture(batch.ops[b, :n].tolist(), edges, space))
    assert validity(batch, space).tolist() == expected


def test_the_drawn_graphs_of_the_validity_test_are_of_both_kinds():
    for chain in (True, False):
        space = SearchSpace("drawn", tuple("abc"), 6, chain)
        share = validity(any_graphs(200, space, 0, 0.3), space).double().mean()
        assert 0.1 < share < 0.9


def test_a_space_with_wirings_has_these_and_no_others():
    free = SearchSpace("free", CELLS.operations, CELLS.n_layers, chain=False)
    assert not validity(random_architectures(200, free, generator()), CELLS).any()
    for space in (CELLS, GNNS):
        drawn = random_architectures(500, space, generator())
        assert validity(check_batch(drawn, space), space).all()
        assert int(wirings(drawn).max()) + 1 == len(space.wirings)
        drawn.adj[:, 0, 1] = False
        assert not validity(drawn, space).any()
    small = random_architectures(3, SearchSpace("s", CELLS.operations, 3, chain=False))
    assert not validity(small, CELLS).any() and not validity(small[:0], CELLS).any()


def test_wirings_list_the_predecessors_of_each_node():
    space = SearchSpace("two", ["a"], 2, chain=False, wirings=["0 0 1,2", "0 1 2"])
    both = wiring_tensor(space)
    assert both[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert both[1].nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert hash(space) == hash(SearchSpace("two", ("a",), 2, False, ("0 0 1,2", "0 1 2")))


# Random architectures, drawings, features


@quick
@given(spaces, seeds, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_random_architectures_are_architectures(space, seed, p):
    batch = random_architectures(20, space, generator(seed), p)
    assert validity(check_batch(batch, space), space).all()
    assert (batch.n_nodes == space.max_nodes).all()
    assert same_graphs(batch, random_architectures(20, space, generator(seed), p)).all()
    if space.chain and space.n_layers < 9:
        assert same_graphs(from_flat(to_flat(batch), space), batch).all()


def test_random_architectures_have_the_skips_that_were_asked_for():
    for p in (0.0, 0.3, 1.0):
        batch = random_architectures(4000, ENAS, generator(), p)
        skips = batch.adj.sum((1, 2)) - (ENAS.max_nodes - 1)
        assert abs(float(skips.double().mean()) - 15 * p) < 0.1
    counts = batch.ops[:, 1:-1].flatten().bincount(minlength=8)
    assert (counts[:2] == 0).all() and counts[2:].min() > 0.9 * counts[2:].max()


def test_a_drawing_is_well_formed_and_says_what_it_shows():
    batch = random_architectures(3, generator=generator())
    for space in (ENAS, SearchSpace("<&>", tuple(f"<{i}&>" for i in range(6)), 6)):
        picture = draw(bare(batch), space, titles=["a < b", "", "c"])
        root = tree.fromstring(picture)
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        assert texts.count("input") == texts.count("output") == 3 and "a < b" in texts
        assert all(space.types[t] in texts for t in batch.ops.flatten().tolist())
        assert picture._repr_svg_() == picture


def test_raw_features_say_which_layers_and_edges_there_are():
    batch = random_architectures(50, generator=generator())
    features = raw_features(batch)
    assert features.shape == (50, 51) and (features[:, :36].view(50, 6, 6).sum(2) == 1).all()
    assert (features[:, 36:].sum(1) == batch.adj.sum((1, 2)) - 7).all()
    small = from_flat("1 4 0 5 0 1", SearchSpace("shallow", ENAS.operations, 3))
    wide = raw_features(small, ENAS)
    assert wide.shape == (1, 51) and wide[:, 18:36].sum() == 0
    assert raw_features(small).shape == (1, 21)  # of its own space
    padded = cat_batches([batch[:1], random_architectures(1, DEEP)])[:1]
    assert torch.equal(raw_features(bare(padded), ENAS), features[:1])
    free = SearchSpace("free", ("a", "b"), 2, chain=False)
    assert skip_pairs(free).shape == (2, 6)
    assert raw_features(random_architectures(3, free), free).shape == (3, 10)


@quick
@given(seeds, st.integers(1, 6), st.booleans())
def test_raw_features_tell_all_architectures_apart(seed, layers, chain):
    space = SearchSpace("drawn", ("a", "b"), layers, chain)
    depths = [SearchSpace("drawn", ("a", "b"), depth, chain) for depth in range(1, layers + 1)]
    batch = cat_batches([random_architectures(9, depth, generator(seed)) for depth in depths])
    distinct = codes(batch).unique(dim=0).shape[0]
    assert raw_features(batch, space).unique(dim=0).shape[0] == distinct
    assert torch.equal(raw_features(batch[:9], space), raw_features(batch, space)[:9])


# The split


def test_the_extremes_of_each_kind():
    least, greatest = extremes(torch.tensor([3.0, -1.0, 2.0, 2.0]), torch.tensor([0, 2, 0, 1]))
    assert least.tolist() == [2.0, 2.0, -1.0] and greatest.tolist() == [3.0, 2.0, -1.0]


def test_the_split_is_nine_to_one_and_of_its_seed():
    order, n_train = split_rows(1000)
    assert n_train == 900 and sorted(order) == list(range(1000)) and order == split_rows(1000)[0]
    assert set(split_rows(1000, seed=1)[0][900:]) != set(order[900:])
    data = own_data(n=40)
    assert len(data.train.batch) == 36 and len(data.test.batch) == 4


@quick
@given(seeds, st.integers(10, 200), st.integers(2, 40))
def test_a_group_is_never_split(seed, n, kinds):
    groups = torch.randint(kinds, (n,), generator=generator(seed)).tolist()
    if len(set(groups)) < 2:
        return
    order, n_train = split_rows(n, seed, groups)
    train, test = ({groups[row] for row in rows} for rows in (order[:n_train], order[n_train:]))
    assert not train & test and train and test and sorted(order) == list(range(n))
    sizes = [groups.count(g) for g in groups]
    assert n - n_train <= max(n - int(0.9 * n), min(sizes))
    assert n - n_train > (n - int(0.9 * n)) - max(sizes)


def test_a_split_by_wiring_keeps_groups_together():
    space = SearchSpace("mine", ("a", "b"), 3, chain=False)
    batch = distinct(random_architectures(300, space, generator()))
    scores, n = torch.rand(len(batch), generator=generator()), len(batch)
    pairs = ArchDataset.from_scores("mine", space, batch, scores, groups=[*np.arange(n) // 2])
    assert "cannot be split by wiring" in refused(pairs.split, "wiring")  # groups join all of it
    assert "known are own, wiring" in refused(pairs.split, "paper")
    groups = wirings(batch).tolist()
    few = ArchDataset.from_scores("few", space, batch, scores, groups=groups).split("wiring")
    for labels in (few.groups, groups):
        sides = few.order[: few.n_train].tolist(), few.order[few.n_train :].tolist()
        train, test = ({labels[row] for row in side} for side in sides)
        assert not train & test


# Data of one's own


def own_data(n=40, name="mine", space=None, batch=None, **kwargs) -> ArchDataset:
    space = space or SearchSpace("mine", ("conv", "max pool"), 4, kwargs.pop("chain", False))
    batch = batch or random_architectures(n, space, generator(), 0.3)
    kwargs = {"scores": torch.rand(len(batch), generator=generator(1)), **kwargs}
    return ArchDataset.from_scores(name, space, batch, **kwargs)


@quick
@given(
    seeds,
    st.booleans(),
    st.booleans(),
    st.integers(1, 6),
    st.sampled_from([1e-12, 1.0, 1e12]),
    st.sampled_from([None, "numbers", "names"]),
    st.text(max_size=20),
)
def test_a_data_set_of_ones_own_is_saved_and_read(
    tmp_path_factory, seed, chain, higher, layers, scale, kind, task
):
    deep = SearchSpace("drawn", ("a", "β", "a,b"), layers, chain)
    depths = [SearchSpace("part", deep.operations, d, chain) for d in range(1, layers + 1)]
    batch = cat_batches([random_architectures(10, depth, generator(seed)) for depth in depths])
    batch = distinct(batch)
    assume(len(batch) >= 10)
    scores = (torch.randn(len(batch), generator=generator(seed)) * scale).tolist()
    groups = None if kind is None else [i // 3 for i in range(len(batch))]
    if kind == "names":
        groups = [f"group {i}" for i in groups]
    data = ArchDataset.from_scores("drawn.1", deep, batch, scores, seed, groups, higher, task)
    file = tmp_path_factory.mktemp("own") / "any name.jsonl"
    data.save(file)
    again = load_dataset(str(file))
    for field in ("name", "space", "seed", "n_train", "groups", "about"):
        assert getattr(again, field) == getattr(data, field)
    assert (again.name, again.space, again.seed, again.about.task) == ("drawn.1", deep, seed, task)
    assert same_graphs(again.batch, data.batch).all() and torch.equal(again.accuracy, data.accuracy)
    assert torch.equal(again.order, data.order) and again.digest() == data.digest()
    given_back = torch.tensor(scores).float()
    assert torch.equal(again.scores(again.accuracy), given_back)
    best = given_back.argmax() if higher else given_back.argmin()
    assert int(again.accuracy.argmax()) == int(best) and again.accuracy.dtype == torch.float32
    assert abs(float(again.train.target.double().mean())) < 1e-4
    back = again.unstandardise(again.test.target)
    assert torch.allclose(back, again.test.accuracy, rtol=1e-4, atol=scale / 1e4)


def unconnected():
    batch = random_architectures(20, SearchSpace("mine", ("conv", "pool"), 3), generator())
    batch.adj[7, 1, 2] = False
    return dict(space=SearchSpace("mine", ("conv", "pool"), 3), batch=batch)


def of_space(*facts, layers=3, **more):  # an architecture of 3 layers in a space of others
    batch = random_architectures(20, SearchSpace("mine", ("conv", "pool"), 3), generator())
    return dict(space=SearchSpace("mine", facts, layers, **more), batch=batch)


def wired(wiring):
    batch = random_architectures(20, TWO, generator())
    return dict(space=SearchSpace("two", ("a",), 2, False, (wiring,)), batch=batch)


NO_NAMES = ["", ".", "..", "a/b", "../mine", "a b", "-p", ".hidden", "ends.", "ä", "a" * 101]
NO_DATA = [  # (what from_scores is given, the message)
    ({"scores": torch.rand(39)}, "scores have shape (39,), (40,) is needed"),
    ({"scores": [0.1] * 39 + [float("nan")]}, "score 39 is nan, not finite"),
    ({"scores": [0.1] * 39 + ["x"]}, "scores: "),
    ({"scores": None}, "scores: "),
    ({"scores": [0.5] * 40}, "all scores of the training set are 0.5"),
    ({"scores": 1e12 + torch.rand(40).double()}, "single precision"),
    ({"scores": 1e300 * torch.rand(40).double()}, "single precision"),
    ({"scores": 2e38 * torch.rand(40).double() + 1e38}, "too large for single precision"),
    ({"groups": [1] * 40}, "all rows are of one group"),
    ({"groups": [1] * 39}, "39 groups, 40 are needed"),
    ({"groups": [0.5] * 40}, "groups are integers or names"),
    ({"groups": 5}, "groups is 5, not a list"),
    ({"higher_is_better": "no"}, "higher_is_better is 'no'; give True or False"),
    ({"task": 5}, "task 5 is no text"),
    ({"chain": 1}, "chain is 1; give True or False"),
    ({"seed": "1"}, "seed '1' is no integer"),
    ({"n": 9}, "9 architectures; 10 at least"),
    *(({"name": name}, f"name {name!r} is no plain folder name") for name in [*NO_NAMES, None, 3]),
    *(({"name": name}, f"name {name!r} is taken") for name in sorted(RESERVED)),
    (of_space("conv", "conv"), "stands twice"),
    (of_space("conv", "input"), "stands twice"),
    (of_space("conv", ""), "operations are names"),
    (of_space("conv", "pool", layers=2), "5 nodes, the space at most 4"),
    (of_space("conv"), "type 3"),
    (unconnected(), "architecture 7: it is none of space mine (3 layers, 2 operations): "),
    (unconnected(), "node i feeds node i + 1"),
    (wired("0 0 1,2"), "in one of the wirings that the space lists"),
    *(
        (wired(wiring), f"wiring {wiring!r} does not list the predecessors")
        for wiring in ("0 1", "0 0 3", "1 0 1", "0 0 x", "0  1 2", 3)
    ),
]


@pytest.mark.parametrize(("given", "reason"), NO_DATA)
def test_what_makes_no_data_set_is_refused_in_one_line(given, reason):
    refused_as(reason, own_data, **given)


def test_a_split_of_another_kind_is_not_saved(tmp_path):
    data = own_data()
    other = ArchDataset("mine", data.space, data.batch, data.accuracy, torch.arange(40), 30)
    for bad, path, reason in [
        (other, "mine.jsonl", "its split"),
        (data, "mine.txt", "ends in .jsonl"),
        (load_dataset(), "digits.jsonl", "taken"),
    ]:
        assert reason in refused(bad.save, tmp_path / path)
    assert list(tmp_path.iterdir()) == [] and other.digest() != data.digest()


def test_whatever_makes_a_data_set_is_read_again_as_it_was(tmp_path):
    grouped = own_data(groups=list(np.arange(40) // 2), task="a lone \udc80, an ä and a \n")
    batch = random_architectures(40, GNNS, generator())
    for data in (grouped, own_data(space=GNNS, batch=batch)):
        data.save(tmp_path / "mine.jsonl")
        again = load_dataset(str(tmp_path / "mine.jsonl"))
        assert again.digest() == data.digest() and again.about == data.about
        assert again.groups == data.groups and again.space == data.space


def test_another_default_type_changes_nothing():
    before = own_data()
    torch.set_default_dtype(torch.double)
    try:
        assert load_dataset().accuracy.dtype == torch.float32
        after = ArchDataset.from_scores("mine", before.space, before.batch, before.accuracy)
    finally:
        torch.set_default_dtype(torch.float32)
    assert after.digest() == before.digest() and after.train.target.dtype == torch.float32


# The file of one's own


@pytest.fixture(scope="module")
def own_lines(tmp_path_factory) -> list[str]:
    file = tmp_path_factory.mktemp("own") / "mine.jsonl"
    own_data().save(file)
    return file.read_text(encoding="utf-8").splitlines()


def changed(line: str, **fields) -> str:
    "The line with other fields; None: without the field."
    row = {**json.loads(line), **fields}
    return json.dumps({k: v for k, v in row.items() if v is not None})


def space_of(**facts):
    return {"space": {"name": "x", "operations": ["a"], "layers": 4, "chain": False} | facts}


def graph(nodes, edges):
    return {"nodes": nodes, "edges": edges}


CHAIN = ["input", "conv", "output"]
NO_LINES = ["", "x", "[]", "3", "[" * 100_000, '{"nodes": 1', "1" * 5000, '"' + "a" * 9999]
BROKEN = [  # (line, what becomes of it: other fields or another line, the message)
    (1, {"name": None}, "field 'name' is missing"),
    (1, {"space": None}, "field 'space' is missing"),
    (1, {"name": "../../etc"}, "name '../../etc' is no plain folder name"),
    (1, {"name": 3}, "field 'name' is 3, not of type str"),
    (1, {"seed": "0"}, "field 'seed' is \"0\", not of type int"),
    (1, {"higher_is_better": 1}, "field 'higher_is_better' is 1, not of type bool"),
    (1, {"higherisbetter": True}, "field 'higherisbetter' is unknown; known are name, space"),
    (1, {"space": {"name": "x"}}, "space: field 'operations' is missing"),
    (1, space_of(operations=[1]), "operations are names"),
    (1, space_of(layers=10**9), "1000000000 layers"),
    (1, space_of(layers=1.5), "'layers' is 1.5"),
    (3, {"score": "0.5"}, "field 'score' is \"0.5\", not of type int or float"),
    (3, {"score": True}, "field 'score' is true"),
    (3, {"score": float("nan")}, "score NaN is no finite number"),
    (3, {"score": 1e300}, "score 1e+300 is no finite number"),
    (3, {"score": 10**400}, "is no finite number"),
    (3, {"nodes": ["input", "kanv"]}, 'node "kanv" is not one of input, output, conv, max pool'),
    (3, {"nodes": ["input", 2, "output"]}, "node 2 is not one of"),
    (3, {"nodes": ["input", ["conv"], "output"]}, 'node ["conv"] is not one of'),
    (3, {"nodes": []}, "0 vertices"),
    (3, graph(["input"] * 10_000, []), "10000 vertices"),
    (3, graph(CHAIN, [[0, 1], [1, 9]]), "edge 1 → 9 does not lead"),
    (3, graph(CHAIN, [[1, 0]]), "edge 1 → 0 does not lead"),
    (3, graph(CHAIN, [[0, 1], [1, 2], [0, 1]]), "an edge twice"),
    (3, graph(CHAIN, [[0, 1, 2]]), "edge [0, 1, 2] is no pair"),
    (3, graph(CHAIN, [[0, True]]), "edge [0, true] is no pair"),
    (3, graph(CHAIN, "0 1"), "field 'edges' is \"0 1\""),
    (3, graph(CHAIN, [[0, 1]]), "it is none of space mine"),
    (3, graph(["conv", "conv", "output"], [[0, 1], [1, 2]]), "it is none of space mine"),
    (3, {"edges": None}, "field 'edges' is missing"),
    (3, {"weight": 3}, "field 'weight' is unknown; known are nodes, edges, score, group"),
    (3, {"group": None}, "either all lines have a group, or none"),
    (3, '{"score": 1, "score": 2}', "field 'score' stands twice"),
    *((number, line, "") for number in (1, 4) for line in NO_LINES),
]


@pytest.mark.parametrize(("number", "change", "reason"), BROKEN, ids=lambda x: str(x)[:40])
def test_a_broken_file_of_ones_own_is_named_by_line_and_field(
    tmp_path, own_lines, number, change, reason
):
    lines, old = list(own_lines), own_lines[number - 1]
    lines[number - 1] = change if isinstance(change, str) else changed(old, **change)
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    said = refused(load_dataset, str(file))
    assert said.startswith(f"{file}, line {number}") and reason in said
    assert "\n" not in said and len(said) < 1000
    if number == 1:  # a name needs no more than the first line, and checks all of it
        assert refused(dataset_name, str(file)) == said


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", "head"])
def test_a_file_of_ones_own_that_holds_no_data(tmp_path, own_lines, content):
    file = tmp_path / "mine.jsonl"
    if content is not None:
        file.write_bytes(f"{own_lines[0]}\n".encode() if content == "head" else content)
    said = refused(load_dataset, str(file))
    assert "mine.jsonl" in said
    assert content != "head" or "mine.jsonl: 0 architectures; 10 at least" in said


STRAIGHT = [[i, i + 1] for i in range(6)]


def test_a_file_by_hand_needs_no_more_than_it_says(tmp_path):
    head = {"name": "by-hand", **space_of(operations=["conv", "pool"], layers=2, chain=True)}
    kinds = [("conv", "pool")[int(bit)] for i in range(20) for bit in f"{i:05b}"]
    head["space"]["layers"] = 5
    rows = [
        {**graph(["input", *kinds[5 * i : 5 * i + 5], "output"], STRAIGHT), "score": i}
        for i in range(20)
    ]
    file = tmp_path / "hand.jsonl"
    file.write_text("\r\n".join(map(json.dumps, [head, *rows])), encoding="utf-8-sig")
    data = load_dataset(str(file))
    assert data.higher_is_better and data.seed == 0 and len(data) == 20
    assert data.accuracy.tolist() == list(range(20)) and data.order.tolist() == split_rows(20)[0]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*CHAIN, "x"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["name", "space", "task", "seed", "nodes", "edges", "score", "group"]), values
)
def test_no_field_of_ones_own_file_gets_past_the_reader_unchecked(
    tmp_path_factory, own_lines, field, value
):
    lines = list(own_lines)
    number = 1 if field in ("name", "space", "task", "seed") else 5
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), field: value})
    file = tmp_path_factory.mktemp("fuzzed") / "mine.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    try:
        data = load_dataset(str(file))
    except OpembedError as e:
        assert str(file) in str(e) and "\n" not in str(e) and len(str(e)) < 1000
    else:
        assert validity(data.batch, data.space).all() and data.accuracy.isfinite().all()


def test_a_data_set_of_5000_is_read_in_seconds(tmp_path):
    space = SearchSpace("mine", ENAS.operations, 6, chain=False)
    own_data(batch=random_architectures(5_000, space, generator()), space=space).save(
        tmp_path / "mine.jsonl"
    )
    start = time.process_time()
    assert len(load_dataset(str(tmp_path / "mine.jsonl"))) == 5_000
    assert time.process_time() - start < 2.5


def test_home_is_the_same_folder_for_writing_and_for_reading(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    own_data().save(Path("~/mine.jsonl"))
    assert len(load_dataset("~/mine.jsonl")) == 40
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
