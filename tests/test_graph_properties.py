"Chapter 8: graph properties against igraph, correlations against scipy, and the paper's numbers."

import json
import math
import os
import time
from pathlib import Path

import igraph
import numpy as np
import pytest
import torch
from common import refused_as
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from opembed_nb.data import DAGBatch, SearchSpace, cat_batches, random_architectures, wirings
from opembed_nb.graph_properties import (
    PAPER_CORRELATIONS,
    PROPERTIES,
    accuracy_groups,
    average_path_length,
    bootstrap_interval,
    clustering_coefficient,
    depth,
    distances,
    edge_count,
    group_boxes,
    input_readers,
    log_paths,
    operation_means,
    pearson,
    plot_groups,
    properties,
    variance_within,
)
from opembed_nb.hood.formats import to_igraph
from opembed_nb.hood.sources import load_dataset

quick = settings(deadline=None, max_examples=20)  # a busy machine is no failure


no_paper = not os.environ.get("OPEMBED_DATA")
papers_file = pytest.mark.skipif(no_paper, reason="needs the paper's file")


@pytest.fixture(scope="module")
def data():
    return load_dataset("enas-digits")


@pytest.fixture(scope="module")
def papers_data():
    return load_dataset("enas-cifar10")


def dags(seed: int, sizes=(1, 2, 3, 5, 8, 11)) -> DAGBatch:
    "Random graphs of several sizes, with and without edges, padded to the widest."
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for n in sizes:
        for p in (0.0, 0.2, 0.5, 1.0):
            adj = (torch.rand(3, n, n, generator=generator) < p).triu(1)
            ops = torch.randint(0, 8, (3, n), generator=generator)
            parts.append(DAGBatch(ops, adj, torch.full((3,), n)))
    return cat_batches(parts)


def path_counts(graph: igraph.Graph) -> int:
    "Paths from the first to the last node, one by one."
    if graph.vcount() == 1:
        return 1
    return len(graph.get_all_simple_paths(0, graph.vcount() - 1, mode="out"))


@quick
@given(st.integers(0, 10**6))
def test_properties_are_those_of_igraph_on_graphs_of_any_size(seed):
    batch = dags(seed, sizes=(1, 2, 3, 6))
    for b, graph in enumerate(to_igraph(batch)):
        n, one = graph.vcount(), batch[b]
        apart = np.array(graph.distances(mode="out"))
        apart = np.where(np.isinf(apart), 0, apart)
        assert distances(one)[0, :n, :n].tolist() == apart.tolist()
        assert float(average_path_length(one)) == pytest.approx(apart.sum() / max(n * (n - 1), 1))
        clustering = pytest.approx(graph.transitivity_undirected(), nan_ok=True)
        assert float(clustering_coefficient(one)) == clustering
        assert float(edge_count(one)) == graph.ecount()
        assert float(input_readers(one)) == graph.outdegree(0)
        assert round(math.exp(float(log_paths(one)))) == path_counts(graph)


def test_longest_path_is_that_of_a_walk_through_the_nodes():
    batch = dags(3)
    for b in range(len(batch)):
        longest = [0] * int(batch.n_nodes[b])
        for u, v in batch.adj[b].nonzero().tolist():  # row-major: u is final when its edges come
            longest[v] = max(longest[v], longest[u] + 1)
        assert int(depth(batch[b])) == max(longest)


def test_a_graph_has_the_same_properties_whatever_it_is_padded_to():
    batch = dags(1, sizes=(2, 4, 7))

    def unpadded(b, n):
        own = slice(b, b + 1)
        return DAGBatch(batch.ops[own, :n], batch.adj[own, :n, :n], batch.n_nodes[own])

    graphs = [unpadded(b, n) for b, n in enumerate(batch.n_nodes.tolist())]
    for name, f in PROPERTIES.items():
        alone = torch.cat([f(graph) for graph in graphs])
        assert torch.equal(alone.nan_to_num(-1), f(batch).nan_to_num(-1)), name


def test_empty_batches():
    batch = random_architectures(3)[[]]
    assert all(v.shape == (0,) for v in properties(batch).values())


def test_all_the_data_at_once_and_fast(data):
    start = time.process_time()
    values = properties(data.batch)
    assert time.process_time() - start < 10
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))[:1500]
    graphs = to_igraph(data.batch[rows])
    # half of a chain's pairs are reachable
    mean_distance = torch.tensor([g.average_path_length() / 2 for g in graphs])
    assert torch.allclose(values["average path length"][rows], mean_distance, atol=1e-6)
    clustering = torch.tensor([g.transitivity_undirected() for g in graphs])
    assert torch.allclose(values["clustering coefficient"][rows], clustering, atol=1e-6)


@papers_file
def test_the_papers_correlations(papers_data):
    values, accuracy = properties(papers_data.batch), papers_data.accuracy
    for name, paper in PAPER_CORRELATIONS.items():
        ours = pearson(values[name], accuracy)
        assert ours.n == 19_020 and ours.low <= paper <= ours.high, name
    assert variance_within(accuracy, wirings(papers_data.batch)) < 1e-9
    # the sign turns
    assert pearson(values["average path length"], accuracy, given=values["edges"]).r < -0.1


@papers_file
def test_the_committed_record_is_what_the_papers_file_gives(papers_data):
    results = Path(__file__).parent.parent / "results"
    paths = list(results.glob("models/enas-cifar10/data/raw/seed-*/graph_properties.json"))
    assert paths
    for path in paths:
        kept = json.loads(path.read_text(encoding="utf-8"))["values"]
        values = properties(papers_data.batch)
        for name, correlation in kept["correlations"].items():
            r = pearson(values[name], papers_data.accuracy).r
            assert correlation["r"] == pytest.approx(r, abs=1e-6), name
        for name, boxes in kept["boxes"].items():
            found = group_boxes(values[name], papers_data.accuracy)
            for ours, box in zip(found, boxes, strict=True):
                assert ours == pytest.approx(box, abs=1e-6), name
        length, edges = values["average path length"].numpy(), values["edges"].numpy()
        accuracy = papers_data.accuracy.double().numpy()
        n = np.bincount(edges.astype(int)).clip(1)
        means = (np.bincount(edges.astype(int), x) / n for x in (length, accuracy))
        rest = [
            x - mean[edges.astype(int)] for x, mean in zip((length, accuracy), means, strict=True)
        ]
        each = kept["correlations"]["average path length"]["each"]
        assert each == pytest.approx(np.corrcoef(*rest)[0, 1], abs=1e-4)
        for count, c in kept["at_each"].items():
            having = edges == int(count)
            r = np.corrcoef(length[having], accuracy[having])[0, 1]
            assert (c["r"], c["n"]) == (pytest.approx(r, abs=1e-4), having.sum())


@papers_file
def test_the_looked_up_wirings_are_those_of_the_papers_file(papers_data):
    path = "results/models/enas-cifar10/data/raw/seed-0/lookup.json"
    kept = json.loads((Path(__file__).parent.parent / path).read_text(encoding="utf-8"))["values"]
    for split in ("own", "wiring"):
        data = papers_data.split(split)
        bits = [part.batch.adj.flatten(1).float().numpy() for part in (data.train, data.test)]
        keys = np.packbits(bits[0].astype(bool), 1).view("u8").ravel()  # 8 nodes: 64 bits
        _, first, index, size = np.unique(keys, True, True, True)
        wiring, mean = bits[0][first], np.bincount(index, data.train.target) / size
        apart = bits[1].sum(1)[:, None] + wiring.sum(1) - 2 * bits[1] @ wiring.T
        near = apart == apart.min(1, keepdims=True)
        gap = near @ mean / near.sum(1) - data.test.target.double().numpy()
        new = apart.min(1) > 0
        assert (kept[split]["known"], kept[split]["new"]) == ((~new).sum(), new.sum())
        assert kept[split]["rmse"] == [pytest.approx(np.sqrt((gap**2).mean()), abs=1e-6)]
        assert kept[split]["new_rmse"] == pytest.approx(np.sqrt((gap[new] ** 2).mean()), abs=1e-6)


def test_in_our_data_operations_matter_and_short_paths_are_better(data):
    wiring, operations = wirings(data.batch), data.batch.ops.unique(dim=0, return_inverse=True)[1]
    assert variance_within(data.accuracy, operations) < 0.3
    assert variance_within(data.accuracy, wiring) > 0.8
    values = properties(data.batch)
    assert pearson(values["average path length"], data.accuracy).high < -0.2
    assert pearson(values["average path length"], data.accuracy, given=values["edges"]).high < -0.1
    assert pearson(values["edges"], data.accuracy).low > 0.15
    means = operation_means(data.batch, data.accuracy)
    # convolutions above pooling, in every layer
    assert (means[:, :4].amin(1) > means[:, 4:].amax(1)).all()
    assert int((means.amax(1) - means.amin(1)).argmax()) == 0


def test_means_of_operations_are_those_of_a_loop():
    batch = random_architectures(60, generator=torch.Generator().manual_seed(0))
    accuracy = torch.rand(60, generator=torch.Generator().manual_seed(1))
    means = operation_means(batch, accuracy)
    for layer in range(6):
        for k in range(6):
            has = batch.ops[:, layer + 1] == k + 2
            expected = pytest.approx(accuracy[has].mean().item(), abs=1e-6, nan_ok=True)
            assert means[layer, k].item() == expected


@quick
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 10**6))
def test_variance_within_groups_is_the_pooled_one(n, kinds, seed):
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(n, generator=g).double()
    group = 3 * torch.randint(kinds, (n,), generator=g)
    parts = [values[group == k] for k in group.unique()]
    free = sum(len(part) - 1 for part in parts)
    squares = sum(float((part - part.mean()).square().sum()) for part in parts)
    expected = squares / free / float(values.var()) if free else math.nan
    assert variance_within(values, group) == pytest.approx(expected, nan_ok=True)


def test_wirings_ignore_operations_and_nothing_else():
    batch = random_architectures(300, generator=torch.Generator().manual_seed(0))
    renamed = torch.where(batch.ops > 1, 9 - batch.ops, batch.ops)
    other = DAGBatch(renamed, batch.adj, batch.n_nodes)
    both = wirings(cat_batches([batch, other]))
    assert torch.equal(both[:300], both[300:])
    expected = {tuple(a.flatten().tolist()) for a in batch.adj}
    assert both.unique().numel() == len(expected)


@quick
@given(st.integers(4, 60), st.integers(0, 10**6))
def test_pearson_is_scipys(n, seed):
    x, y = torch.randn(2, n, generator=torch.Generator().manual_seed(seed)).double()
    ours, theirs = pearson(x, y), stats.pearsonr(x.numpy(), y.numpy())
    assert ours.r == pytest.approx(theirs.statistic, abs=1e-9) and ours.n == n
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


@quick
@given(st.integers(0, 10**6), st.floats(0.1, 50), st.floats(-100, 100))
def test_partial_correlation_ignores_what_is_given(seed, scale, shift):
    x, y, z, w = torch.randn(4, 80, generator=torch.Generator().manual_seed(seed)).double()
    plain = pearson(x, y, given=torch.stack([z, w], 1))
    moved = pearson(scale * x + 3 * z + shift, y - 2 * w, given=torch.stack([z, w], 1))
    assert plain.r == pytest.approx(moved.r, abs=1e-6)
    textbook = pearson(x, y, given=z).r
    xy, xz, yz = pearson(x, y).r, pearson(x, z).r, pearson(y, z).r
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert textbook == pytest.approx(expected, abs=1e-9)


def test_correlations_without_an_answer_are_nan():
    x = torch.arange(9.0)
    assert math.isnan(pearson(x, torch.full((9,), 0.73)).r) and math.isnan(pearson(x[:3], x[:3]).r)
    assert math.isnan(pearson(2 * x, x.square(), given=x).r)  # nothing of 2x is left
    with_holes = torch.where(x == 4, torch.nan, x)
    assert pearson(with_holes, x).n == 8
    assert pearson(x, x, given=torch.where(x < 2, torch.inf, x * 0 + x.square())).n == 7
    refused_as("equally long", pearson, x, x[:4])


def test_bootstrap_agrees_with_fisher_on_normal_data_and_repeats():
    x, noise = torch.randn(2, 2000, generator=torch.Generator().manual_seed(0))
    y = 0.5 * x + noise
    fisher = pearson(x, y)
    low, high = bootstrap_interval(x, y, 400, torch.Generator().manual_seed(1))
    assert abs(low - fisher.low) < 0.02 and abs(high - fisher.high) < 0.02
    assert (low, high) == bootstrap_interval(x, y, 400, torch.Generator().manual_seed(1))


@quick
@given(
    st.lists(st.sampled_from([0.70, 0.71, 0.72, 0.74, 0.75]), min_size=1, max_size=40),
    st.integers(1, 6),
    st.sampled_from(["width", "count"]),
)
def test_groups_keep_the_order_of_accuracy(values, n, by):
    a = torch.tensor(values)
    group = accuracy_groups(a, n, by)
    assert ((0 <= group) & (group < n)).all()
    order = a.argsort(stable=True)
    assert (group[order].diff() >= 0).all()
    assert all(group[a == v].unique().numel() <= 1 for v in a)


def test_groups_of_equal_count():
    group = accuracy_groups(torch.randperm(600).float(), 6, by="count")
    assert group.bincount().tolist() == [100] * 6
    refused_as("width, count", lambda: accuracy_groups(torch.rand(5), by="size"))


def test_boxes_are_those_of_matplotlib():
    from matplotlib.cbook import boxplot_stats

    g = torch.Generator().manual_seed(0)
    values, accuracy = torch.randn(500, generator=g), torch.rand(500, generator=g)
    values[::50] = math.nan
    group = accuracy_groups(accuracy, 4)
    for k, box in enumerate(group_boxes(values, accuracy, 4)):
        member = values[(group == k) & values.isfinite()].double()
        [theirs] = boxplot_stats(member.numpy())
        assert box["n"] == int((group == k).sum())
        keys = "mean", "q1", "med", "q3", "whislo", "whishi"
        assert [box[key] for key in keys] == pytest.approx([theirs[key] for key in keys])


def test_groups_without_members_or_without_values_are_drawn_as_such():
    import matplotlib.pyplot as plt

    boxes = group_boxes(torch.tensor([1.0, 2, math.nan, math.nan]), torch.tensor([0.0, 0, 1, 1]))
    assert [box["n"] for box in boxes] == [2, 0, 0, 0, 0, 2]
    assert json.loads(json.dumps(boxes)) == boxes
    fig, ax = plt.subplots()
    means = plot_groups(boxes, ax, "a property")
    labels = [text.get_text() for text in ax.get_xticklabels()]
    plt.close(fig)
    assert means[0] == 1.5 and all(map(math.isnan, means[1:]))
    assert labels[1:5] == ["empty"] * 4 and "n =\n2" in labels[5]


@papers_file
def test_the_groups_means_rise_and_fall_as_the_paper_says(papers_data):
    values = properties(papers_data.batch)

    def means(name):
        return [box["mean"] for box in group_boxes(values[name], papers_data.accuracy)]

    rising, falling = means("average path length"), means("clustering coefficient")
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)


def test_no_tensor_is_made_without_its_device():
    space = SearchSpace("free", ("a", "b"), 5, chain=False)
    batch = random_architectures(20, space, torch.Generator().manual_seed(0))
    x = torch.randn(20, generator=torch.Generator().manual_seed(1))
    with torch.device("meta"):
        values = properties(batch)
        assert all(v.device.type == "cpu" for v in values.values())
        assert math.isfinite(pearson(values["edges"], x, given=values["depth"]).r)
        g = torch.Generator().manual_seed(0)
        assert all(map(math.isfinite, bootstrap_interval(values["edges"], x, 20, g)))
        assert math.isfinite(variance_within(x, batch.ops[:, 1]))
        assert group_boxes(values["edges"], x)[0]["n"]
        assert operation_means(batch, x, space).device.type == "cpu"
        assert wirings(batch).device.type == accuracy_groups(x).device.type == "cpu"
