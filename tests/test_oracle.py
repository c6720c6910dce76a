"""The surrogate oracle: its trees are scikit-learn's, its cache is whole or absent,
and it scores nothing it does not know."""

import os
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from common import refused_as
from sklearn.ensemble import HistGradientBoostingRegressor

import opembed_nb.oracle as oracle_module
from opembed_nb.data import (
    ENAS,
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    random_architectures,
    raw_features,
)
from opembed_nb.hood.networks import (
    check_architectures,
)
from opembed_nb.hood.records import load_tensors, save_tensors
from opembed_nb.hood.sources import load_dataset
from opembed_nb.oracle import (
    Oracle,
    fit_forest,
    fit_surrogate,
    forest_from_sklearn,
    load_oracle,
    load_surrogate,
    operations_matter,
)
from tests.warm import python

QUICK = dict(members=3, max_iter=60, max_leaf_nodes=15)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def toy_data(operations: bool, n=2500, p_skip=0.5) -> ArchDataset:
    batch = random_architectures(n, generator=generator(), p_skip=p_skip)
    x = raw_features(batch)
    of_operations = x[:, 0] + 0.5 * x[:, 8] if operations else 0
    signal = x[:, 36] + x[:, 40] * x[:, 45] + 0.3 * x[:, 50] + of_operations
    accuracy = 0.7 + 0.01 * signal
    order = torch.randperm(n, generator=generator())
    return ArchDataset("toy", ENAS, batch, accuracy, order, int(0.9 * n))


@pytest.fixture(scope="module")
def data():
    return toy_data(operations=True)


@pytest.fixture(scope="module")
def oracle(data):
    return fit_surrogate(data, **QUICK)


def test_forest_is_what_scikit_learn_predicts():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 9)).astype(np.float32)
    models = []
    for s in (0, 1):
        model = HistGradientBoostingRegressor(max_iter=30, max_features=0.5)
        models.append(model.fit(x, x[:, s] - x[:, 3] * x[:, 5]))
    forest = forest_from_sklearn(models)
    expected = np.stack([m.predict(x) for m in models], 1)
    assert np.allclose(forest(torch.from_numpy(x), chunk=7).numpy(), expected, atol=1e-9)
    assert forest.roots.shape == (2, 30)


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_out_of_fold_rows_are_unknown_to_their_member():
    x = random_architectures(600, generator=generator()).adj.flatten(1).float()
    noise = torch.randn(600, generator=generator())
    _, out = fit_forest(x, noise, **QUICK)
    assert abs(correlation(out, noise)) < 0.15  # nothing to learn, nothing learned
    twice = x.repeat(2, 1)
    labels = noise.repeat(2)
    _, out = fit_forest(twice, labels, **QUICK)
    # a copy in another fold would give it away
    assert abs(correlation(out, labels)) < 0.15


def test_surrogate_learns(oracle, data):
    assert isinstance(oracle, Oracle) and oracle.name == "surrogate of toy"
    value, std = oracle.predict(data.test.batch)
    assert torch.equal(oracle(data.test.batch), value)
    assert value.dtype == torch.float32 and (std > 0).all()
    rmse = (value - data.test.accuracy).square().mean().sqrt()
    assert rmse < 0.2 * data.accuracy.std() and oracle.held_out.pearson > 0.97


@pytest.fixture(scope="module")
def sparse():
    return fit_surrogate(toy_data(operations=True, p_skip=0.1), **QUICK)


def distance(batch, known):
    return torch.cdist(raw_features(batch).double(), known.double(), p=1).amin(1).round()


def test_surrogate_warns_where_it_extrapolates(sparse):
    data = toy_data(operations=True, p_skip=0.1)
    far = random_architectures(30, generator=generator(1), p_skip=1.0)
    known = sparse.known.unique(dim=0).long()
    assert torch.equal(known, raw_features(data.train.batch).unique(dim=0).long())
    assert sparse.reach == distance(data.test.batch, sparse.known).max()
    assert sparse.known.dtype == torch.uint8
    assert (distance(far, sparse.known) > sparse.reach).all()
    for batch in (far, far[7], cat_batches([data.train.batch, far[:1]])):
        says = f"surrogate of toy: .* more than {sparse.reach} bits .* extrapolations"
        with pytest.warns(UserWarning, match=says) as caught:
            sparse(batch)
        assert len(caught) == 1
        assert "\n" not in str(caught[0].message)
    with pytest.warns(UserWarning, match="extrapolations"):
        values, std = sparse.predict(far)
    assert values.isfinite().all()
    assert (std > 0).all()


def test_surrogate_warns_of_nothing_it_was_tested_on(sparse):
    data = toy_data(operations=True, p_skip=0.1)
    drawn = random_architectures(500, generator=generator(2))
    within = drawn[distance(drawn, sparse.known) <= sparse.reach]
    assert len(within) > 20
    assert (distance(within, sparse.known) > 0).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in (data.train.batch, data.test.batch, within, within[:0]):
            sparse(batch)


def test_card_says_what_it_is(oracle, data):
    card = oracle.card()
    held_out = oracle.held_out
    first, *rest = card.splitlines()
    assert first == f"surrogate of toy, version {oracle.version}: estimates, not measurements"
    assert len(rest) == 3
    for said in (
        f"RMSE {held_out.rmse:.3f}",
        f"{held_out.pearson:.4f}",
        f"{held_out.coverage:.1%}",
        f"{held_out.new:,} unlike",
        "operations and edges",
    ):
        assert said in card  # fmt: skip
    test = data.test
    value, std = oracle.predict(test.batch)
    error = (value - test.accuracy).double() / data.moments()[1]
    assert held_out.rmse == pytest.approx(float(error.square().mean().sqrt()), rel=1e-3)
    assert held_out.pearson == pytest.approx(correlation(value, test.accuracy), abs=1e-3)
    covered = (value - test.accuracy).abs() <= 1.96 * std
    assert held_out.coverage == pytest.approx(float(covered.double().mean()), abs=2e-3)
    assert held_out.new == int((distance(test.batch, oracle.known) > 0).sum())


def test_operations_without_influence_are_left_out():
    data = toy_data(operations=False)
    x = raw_features(data.batch)
    small = SearchSpace("small", ENAS.operations, 3)
    many = random_architectures(2000, small, generator())
    few_wirings = raw_features(many, small)
    assert not operations_matter(few_wirings, few_wirings[:, -1], small)
    assert operations_matter(few_wirings, few_wirings[:, 0], small)
    assert operations_matter(x[:20], data.accuracy[:20], ENAS)  # too few to tell
    accuracy = 0.7 + 0.01 * few_wirings[:, -1]
    with_ops = ArchDataset("small", small, many, accuracy, torch.arange(2000), 1800)
    oracle = fit_surrogate(with_ops, members=2, max_iter=5)
    assert len(oracle.columns) == 3
    assert "edges alone" in oracle.card()
    other_ops = torch.where(many.ops > 1, 2, many.ops)
    other = DAGBatch(other_ops, many.adj, many.n_nodes)
    assert torch.equal(oracle(other), oracle(many))


def some(n, layers=6, operations=ENAS.operations):
    return random_architectures(n, SearchSpace("some", tuple(operations), layers), generator())


def broken():
    "Three architectures, of which the second has lost an edge of its chain."
    batch = some(3)
    batch.adj[1, 2, 3] = False
    return batch


DOORS = [  # what an oracle or a fit is asked, what is said
    (lambda oracle: oracle(broken()), "architecture 1 of 3 is not valid"),
    (lambda oracle: oracle(some(2, layers=4)), "fewer than the 8 nodes"),
    (lambda oracle: oracle(some(2, layers=7)), "9 nodes"),
    (lambda oracle: oracle(some(50, operations="abcdefgh")), "holds type"),
    (lambda oracle: fit_forest(torch.ones(10, 4), torch.zeros(10), members=3), "too few"),
    (lambda oracle: fit_forest(torch.eye(10), torch.zeros(10), members=1), "members = 1"),
]


@pytest.mark.parametrize("call, says", DOORS)
def test_what_cannot_be_scored_is_said_in_one_line(call, says, oracle):
    refused_as(f"^[^\n]*{says}[^\n]*$", call, oracle)
    good = some(3)
    assert oracle(good[:0]).shape == (0,) and check_architectures(good, ENAS) is good


def test_cache_is_read_and_repaired(data, tmp_path, monkeypatch):
    oracle = load_surrogate(data, tmp_path, **QUICK)
    [file] = tmp_path.iterdir()
    some = random_architectures(20, generator=generator(3))
    with monkeypatch.context() as patch:
        name = "opembed_nb.oracle.fit_surrogate"
        patch.setattr(name, lambda *a, **k: pytest.fail("fitted again"))
        again = load_surrogate(data, tmp_path, **QUICK)
    assert again.version == oracle.version
    assert again.held_out == oracle.held_out
    assert torch.equal(again(some), oracle(some))
    assert torch.equal(again.known, oracle.known)
    assert again.known.dtype == torch.uint8
    assert again.reach == oracle.reach
    assert again.card() == oracle.card()
    whole = file.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], whole[:-8] + bytes(8)):
        file.write_bytes(damage)
        assert torch.equal(load_surrogate(data, tmp_path, **QUICK)(some), oracle(some))
        assert [f.name for f in tmp_path.iterdir()] == [file.name]
        assert file.stat().st_size == len(whole)


@pytest.mark.parametrize("lost", ["known", "reach", "held_out", "depth", "mean"])
def test_a_cache_of_another_format_is_fitted_again(data, tmp_path, lost):
    oracle = load_surrogate(data, tmp_path, **QUICK)
    [file] = tmp_path.iterdir()
    tensors, meta = load_tensors(file)
    assert lost in tensors or lost in meta
    tensors = {k: v for k, v in tensors.items() if k != lost}
    meta = {k: v for k, v in meta.items() if k != lost}
    save_tensors(file, tensors, **meta)
    again = load_surrogate(data, tmp_path, **QUICK)
    tensors, meta = load_tensors(file)
    assert again.version == oracle.version
    assert again.reach == oracle.reach
    assert lost in tensors | meta


def test_other_data_or_settings_are_another_entry(data, tmp_path):
    accuracy = data.accuracy.clone().index_fill_(0, torch.tensor([0]), 0.7)
    changed = replace(data, accuracy=accuracy)
    cases = ((data, {}), (changed, {}), (data, dict(max_iter=61)))
    versions = {load_surrogate(d, tmp_path, **{**QUICK, **more}).version for d, more in cases}
    assert len(versions) == 3 == len(list(tmp_path.iterdir()))


def test_the_space_is_part_of_what_a_cache_is_of(tmp_path):
    two = SearchSpace("cells", ("conv", "pool"), 4)
    three = replace(two, operations=("conv", "pool", "norm"))
    batch = replace(random_architectures(300, two, generator()), space=None)
    scores = (batch.ops == 2).sum(1) + 0.1 * batch.adj.sum((1, 2))
    for space in (two, three):
        data = ArchDataset.from_scores("latency", space, batch, scores)
        assert load_surrogate(data, tmp_path, **QUICK).space == space
        error = load_surrogate(data, tmp_path, **QUICK).held_out.rmse
        assert error == fit_surrogate(data, **QUICK).held_out.rmse
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_a_warning(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="works but is not kept"):
        oracle = load_surrogate(data, tmp_path / "file" / "cache", **QUICK)
    assert oracle.held_out.pearson > 0.9


def test_every_tensor_is_made_on_the_device_of_its_inputs(data, tmp_path):
    some = random_architectures(5, generator=generator())
    with torch.device("meta"):
        oracle = load_surrogate(data, tmp_path, members=2, max_iter=3)
        again = load_surrogate(data, tmp_path, members=2, max_iter=3)
        values = [*oracle.predict(some), again(some), oracle.to("cpu")(some)]
    assert all(v.device.type == "cpu" for v in values)
    assert torch.equal(values[0], values[2])


@pytest.mark.skipif(not os.environ.get("OPEMBED_DATA"), reason="needs the paper's file")
def test_surrogate_of_the_papers_data_meets_its_promise(tmp_path):
    from opembed_nb.hood.sources import load_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held_out = load_surrogate(load_dataset("enas-cifar10"), tmp_path).held_out
    assert held_out.pearson >= 0.98
    assert held_out.rmse <= 0.19
    assert held_out.new_pearson >= 0.98
    assert held_out.coverage >= 0.9


# data of one's own, and whatever torch makes by default

FREE = SearchSpace("free", ("sum", "product", "max"), 7, chain=False)


def free_data(n=300):
    "Graphs of 5 to 9 nodes, whose scores of any scale count edges and one operation."
    generator = torch.Generator().manual_seed(0)
    parts = []
    for nodes in range(5, 10):
        small = SearchSpace("free", FREE.operations, nodes - 2, chain=False)
        parts.append(random_architectures(n // 5, small, generator))
    batch = cat_batches(parts)
    scores = 1000 * batch.adj.sum((1, 2)) + 300 * (batch.ops == 3).sum(1) - 7
    return ArchDataset.from_scores("mine", FREE, batch, scores.float(), higher_is_better=False)


def test_a_surrogate_of_free_graphs_of_any_depth(tmp_path):
    data = free_data()
    oracle = load_surrogate(data, tmp_path, max_iter=40)
    again = load_surrogate(data, tmp_path, max_iter=40)  # from the cache
    found = oracle(data.test.batch)
    assert torch.equal(found, again(data.test.batch))
    assert oracle.least == again.least == 5
    assert correlation(found, data.test.accuracy) > 0.8
    tiny = random_architectures(2, SearchSpace("free", FREE.operations, 1, chain=False))
    says = "architecture 0 of 2 has fewer than the 5 nodes that are needed"
    refused_as(says, oracle, tiny)


def test_an_oracle_evaluates_where_it_was_asked_to(monkeypatch, tmp_path):
    data = free_data()
    asked = []
    quick = partial(load_surrogate, cache=tmp_path, max_iter=5)
    monkeypatch.setattr(oracle_module, "load_surrogate", quick)
    assert load_oracle(data, "meta").forest.value.device.type == "meta"
    images = oracle_module.digit_images()

    def to(self, device):
        asked.append(device)
        return images

    monkeypatch.setattr(oracle_module.Images, "to", to)
    for device in ("meta", None):
        load_oracle(load_dataset("enas-digits"), device)
    assert asked == ["meta", "cuda" if torch.cuda.is_available() else "cpu"]


DOUBLE = """
import torch
torch.set_default_dtype(torch.double)
from opembed_nb.data import ENAS, random_architectures
from opembed_nb.hood.networks import NetSizes, Schedule, digit_images, to_module
from opembed_nb.hood.networks import train_fully, train_supernet
from opembed_nb.hood.sources import load_dataset
from opembed_nb.oracle import load_oracle
data = load_dataset("enas-digits")
oracle = load_oracle(data)
batch = data.batch[:3]
assert torch.allclose(oracle(batch).double(), data.accuracy[:3].double(), atol=0.002)
black = torch.zeros(1, 1, 8, 8, dtype=torch.float)
assert to_module(batch[0], oracle.net)(black).dtype == torch.float
brief = Schedule(1, cycle=1)
sizes = NetSizes(4)
train_supernet(digit_images(), ENAS, sizes, brief)
print(train_fully(batch[0], digit_images(), sizes=sizes, schedule=brief).accuracy)
"""


@pytest.mark.slow
def test_another_default_dtype_changes_nothing():
    done = python("-c", DOUBLE)
    assert done.returncode == 0, done.stderr[-1500:]
    assert 0 <= float(done.stdout) <= 1
