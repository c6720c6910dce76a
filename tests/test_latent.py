"Chapter 9: neighbours, smoothness, projections, walks and the picture of the operation table."

import math
import os

import matplotlib.pyplot as plt
import pytest
import torch
from common import refused_as
from hypothesis import given, settings
from hypothesis import strategies as st

from opembed_nb.data import ENAS, DAGBatch, SearchSpace, random_architectures
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_flat
from opembed_nb.hood.sources import load_dataset
from opembed_nb.latent import (
    edit_distance,
    interpolate,
    latent_figure,
    neighbour_mean,
    plain_vectors,
    plot_operations,
    project,
    smoothness,
)

quick = settings(deadline=None, max_examples=20)  # a busy machine is no failure


def architectures(n, seed=0, space=ENAS, p_skip=0.5):
    return random_architectures(n, space, torch.Generator().manual_seed(seed), p_skip)


class Rounding:
    "Latents are raw features; the decoder rounds them, and spoils a share of its graphs."

    def __init__(self, space=ENAS, spoiled=0.0):
        self.space, self.spoiled = space, spoiled

    def encode(self, batch):
        z = plain_vectors(batch, self.space)
        return z, torch.zeros_like(z)

    def sample(self, z, generator=None):
        n, types = self.space.max_nodes, self.space.n_types
        ops = z[:, : n * types].reshape(-1, n, types).argmax(2)
        adj = torch.zeros(len(z), n, n, dtype=torch.bool, device=z.device)
        u, v = torch.triu_indices(n, n, 1, device=z.device)
        adj[:, u, v] = z[:, n * types :] > 0.5
        drawn = torch.rand(len(z), generator=generator, device=z.device)
        adj[drawn < self.spoiled, n - 2, n - 1] = False
        return DAGBatch(ops, adj, torch.full((len(z),), n, device=z.device))


@quick
@given(st.integers(0, 10**6))
def test_distances_of_plain_vectors_count_edits(seed):
    a, b = architectures(30, seed), architectures(30, seed + 1)
    types = (a.ops != b.ops).sum(1)
    edges = (a.adj != b.adj).sum((1, 2))
    assert torch.equal(edit_distance(a, b), types + edges)
    apart = (plain_vectors(a) - plain_vectors(b)).square().sum(1)
    assert torch.equal(apart.long(), 2 * types + edges)
    wired = (plain_vectors(a, operations=0) - plain_vectors(b, operations=0)).square().sum(1)
    assert torch.equal(wired.long(), edges)


@quick
@given(st.integers(0, 10**6))
def test_edit_distance_is_a_metric_on_graphs_of_any_size(seed):
    sizes = [SearchSpace("s", ENAS.operations, n, chain=False) for n in (1, 3, 5)]
    a, b, c = (architectures(10, seed + i, s) for i, s in enumerate(sizes))
    assert torch.equal(edit_distance(a, b), edit_distance(b, a))
    assert (edit_distance(a, a) == 0).all()
    assert (edit_distance(a, b) > 0).all()
    assert (edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)).all()


@quick
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_neighbour_mean_is_the_loop_over_queries(k, seed):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(12, 3, generator=g)
    queries = torch.randn(7, 3, generator=g)
    values = torch.randn(12, generator=g)
    expected = [values[(z - q).norm(dim=1).argsort()[:k]].mean() for q in queries]
    means = neighbour_mean(z, queries, values, k, chunk=3)
    assert torch.allclose(means, torch.stack(expected), atol=1e-5)


def test_ties_do_not_depend_on_the_order_of_the_rows():
    batch = architectures(400)
    z, values = plain_vectors(batch), torch.rand(400, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    queries = plain_vectors(architectures(50, 2))
    reordered = neighbour_mean(z[order], queries, values[order])
    assert torch.allclose(neighbour_mean(z, queries, values), reordered, atol=1e-6)
    for k in (0, 401):
        refused_as(f"k is {k}", neighbour_mean, z, queries, values, k)


def test_smoothness_of_a_smooth_a_random_and_a_collapsed_space():
    g = torch.Generator().manual_seed(0)
    z = torch.rand(3000, 2, generator=g)
    accuracy, noise = z[:, 0], torch.rand(3000, generator=g)
    smooth = smoothness(z[:2000], accuracy[:2000], z[2000:], accuracy[2000:])
    assert smooth.r.r > 0.99 and smooth.explained > 0.98 and smooth.lift > 8 and smooth.r.n == 1000
    rough = smoothness(z[:2000], noise[:2000], z[2000:], noise[2000:])
    assert abs(rough.r.r) < 0.1 and rough.explained < 0 and rough.lift < 2
    flat = smoothness(torch.ones(2000, 2), accuracy[:2000], torch.ones(1000, 2), accuracy[2000:])
    assert math.isnan(flat.r.r)
    assert abs(flat.explained) < 0.02
    assert flat.lift == pytest.approx(1, abs=1e-4)


def raw_smoothness(dataset, **spaces):
    data = load_dataset(dataset)
    found = {}
    for name, weights in spaces.items():
        z, queries = (plain_vectors(part.batch, **weights) for part in (data.train, data.test))
        found[name] = smoothness(z, data.train.accuracy, queries, data.test.accuracy).r.r
    return found


def test_smoothness_of_our_data_is_the_operations():
    weights = dict(wiring={"operations": 0}, operations={"edges": 0}, both={})
    found = raw_smoothness("enas-digits", **weights)
    assert 0.1 < found["wiring"] < 0.3 and found["operations"] > 0.85 and found["both"] > 0.88


@pytest.mark.skipif(not os.environ.get("OPEMBED_DATA"), reason="needs the paper's file")
def test_smoothness_of_the_papers_data_is_the_wirings():
    weights = dict(wiring={"operations": 0}, operations={"edges": 0}, both={})
    found = raw_smoothness("enas-cifar10", **weights)
    heavier = {str(w): {"operations": w} for w in (0, 0.25, 0.5, 1, 2, 4)}
    curve = list(raw_smoothness("enas-cifar10", **heavier).values())
    assert curve == sorted(curve, reverse=True)  # the less the operations weigh, the smoother
    assert found["wiring"] > 0.94 and 0.75 < found["both"] < 0.9 and abs(found["operations"]) < 0.1


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_projections_keep_clusters_and_repeat(method):
    noise = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    z = noise + 15 * (torch.arange(90) % 3)[:, None]
    points, rows = project(z, method, n=60, seed=3)
    assert points.shape == (60, 2) and points.isfinite().all() and rows.unique().numel() == 60
    apart = torch.cdist(points, points)
    same = (rows % 3)[:, None] == (rows % 3)[None]
    assert apart[same].mean() < 0.5 * apart[~same].mean()
    again, same_rows = project(z, method, n=60, seed=3)
    assert torch.equal(rows, same_rows) and torch.allclose(points, again)


def test_projections_of_little_of_nothing_and_of_nonsense():
    assert project(torch.ones(40, 4))[0].abs().max() == 0
    assert project(torch.randn(3, 4))[0].shape == (3, 2)
    assert project(torch.randn(8, 1), "tsne")[0].shape == (8, 2)
    assert project(torch.randn(8, 1), "pca")[0].shape == (8, 2)
    refused_as("umap", lambda: project(torch.randn(9, 4), "umap"))
    refused_as("not all finite", lambda: project(torch.full((9, 4), torch.nan)))


def test_the_figure_has_a_panel_for_every_space():
    z, accuracy = torch.randn(40, 4), torch.rand(40)
    spaces = {"one": {"epoch 1": z, "epoch 2": z}, "two": {"epoch 1": z}}
    fig = latent_figure(spaces, accuracy, "pca")
    titles = [ax.get_title() for ax in fig.axes if ax.get_title()]
    plt.close(fig)
    assert titles == ["one · epoch 1", "one · epoch 2", "two · epoch 1"]


@quick
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_straight_walks_of_the_rounding_model(seed, steps):
    a, b = architectures(6, seed), architectures(6, seed + 1)
    walks = interpolate(Rounding(), a, b, steps)
    assert len(walks.batch) == 6 * steps
    assert walks.valid.shape == (6, steps)
    assert walks.edits.shape == (6, steps - 1)
    assert walks.valid.all() and walks.ends.all()
    assert torch.equal(walks.edits.sum(1), walks.direct)
    assert torch.equal(walks.direct, edit_distance(a, b))
    summary = walks.summary()
    assert summary["valid"] == summary["ends"] == 1
    if (walks.direct > 0).all():
        assert summary["detour"] == 1


def test_walks_count_what_a_bad_decoder_spoils():
    a, b = architectures(40), architectures(40, 1)
    walks = interpolate(Rounding(spoiled=0.3), a, b, 10, generator=torch.Generator().manual_seed(0))
    assert 0.6 < walks.summary()["valid"] < 0.8 and walks.summary()["detour"] > 1
    again = interpolate(Rounding(spoiled=0.3), a, b, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(walks.valid, again.valid)
    for bad in ((a, b[:3], 5), (a, b, 1)):
        with pytest.raises(OpembedError, match="interpolate"):
            interpolate(Rounding(), *bad)


@pytest.mark.parametrize("dim", [1, 2, 3, 8])
@pytest.mark.parametrize("projection", [None, "3d"])
def test_operation_tables_of_any_width(dim, projection):
    fig = plt.figure()
    ax = fig.add_subplot(projection=projection)
    table = torch.randn(6, dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shown = plot_operations(table, ENAS.operations, ax)
    names = [t.get_text().strip() for t in ax.texts]
    plt.close(fig)
    assert names == list(ENAS.operations)
    assert shown == pytest.approx(1) if dim <= (3 if projection else 2) else 0 < shown < 1
    refused_as("6 vectors and 8 names", plot_operations, table, ENAS.types, ax)


def test_no_tensor_is_made_without_its_device():
    a, b = architectures(12), architectures(12, 1)
    accuracy = torch.rand(12, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        z = plain_vectors(a)
        assert math.isfinite(smoothness(z, accuracy, plain_vectors(b), accuracy, k=3).explained)
        assert project(z, "pca")[0].device.type == "cpu"
        assert project(torch.ones_like(z))[0].device.type == "cpu"
        walks = interpolate(Rounding(), a, b, 4, generator=generator)
        assert walks.edits.device.type == "cpu" and walks.summary()["valid"] == 1


def test_a_short_graph_against_a_long_one_by_hand():
    short = from_flat("0", SearchSpace("one layer", ENAS.operations, 1))
    long = from_flat("0 1 0 2 0 0 3 0 0 0 4 0 0 0 0 5 0 0 0 0 0")
    assert edit_distance(short, long).tolist() == [6 + 5]
