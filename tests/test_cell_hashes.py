"The cells of NAS-Bench-101: each once, and each found by its hash."

import itertools
import json

import pytest
import torch
from test_sources import loaded

from opembed_nb.data import DAGBatch, check_batch, codes, from_edges, same_graphs, validity, wirings
from opembed_nb.hood import sources
from opembed_nb.hood.cell_hashes import every_cell, graph_hashes
from opembed_nb.hood.exchange import CELLS_101
from opembed_nb.hood.files import find_file
from opembed_nb.hood.isomorphs import canonical
from opembed_nb.hood.sources import FILES_101, KEPT_101, cell_trainings, load_dataset

NAME = "nas-bench-101/30k"


@pytest.fixture(scope="module")
def data():
    return loaded(NAME)


def by_hand(n, most):
    "All cells of n nodes, each by the least of its descriptions: slowly, from the definition."
    pairs, found = list(itertools.combinations(range(n), 2)), set()
    orders = [(0, *inner, n - 1) for inner in itertools.permutations(range(1, n - 1))]
    for bits in itertools.product((False, True), repeat=len(pairs)):
        edges = list(itertools.compress(pairs, bits))
        fed, feeds = {v for _, v in edges}, {u for u, _ in edges}
        if len(edges) > most or fed != {*range(1, n)} or feeds != {*range(n - 1)}:
            continue
        for kinds in itertools.product(range(3), repeat=n - 2):
            labels = dict(enumerate(kinds, 1))
            described = (
                (sorted((o[u], o[v]) for u, v in edges), sorted((o[v], labels[v]) for v in labels))
                for o in orders
            )
            found.add(repr(min(described)))
    return len(found)


def test_small_cells_are_as_many_as_by_hand():
    for most in (5, 6, 9):
        sizes = every_cell(5, most).n_nodes.bincount().tolist()
        assert sizes[2:] == [by_hand(n, most) for n in (2, 3, 4, 5)]
    assert len(every_cell(5)) == 2532


def test_isomorphic_cells_and_no_others_share_a_hash():
    cells = every_cell(5)
    hashes = graph_hashes(cells)
    assert len(set(hashes)) == len(cells)
    five = cells[cells.n_nodes == 5][::10]
    for inner in itertools.permutations((1, 2, 3)):
        order = torch.tensor([0, *inner, 4])
        moved = DAGBatch(
            five.ops[:, order], five.adj[:, order][:, :, order], five.n_nodes, CELLS_101
        )
        assert graph_hashes(moved) == graph_hashes(five)


PUBLISHED = {  # of the files: hash → operations of the inner nodes, edges
    "096f593e0f12d65f6220bf8565b764a9": ("02010", "01 05 06 12 23 34 35 45 56"),  # the best
    "160d10ce6d1999194e29305ed38909b2": ("02122", "01 12 14 15 23 25 35 45 56"),  # the worst
    "043721b9c7fe8c5fad811d47d83132ec": ("", "01"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_hash(name):
    kinds, edges = PUBLISHED[name]
    types = [0, *(int(kind) + 2 for kind in kinds), 1]
    cell = from_edges([(types, [tuple(map(int, edge)) for edge in edges.split()])], CELLS_101)
    assert graph_hashes(cell) == [name]


@pytest.mark.slow
def test_every_published_hash_is_that_of_its_cell(data):
    columns = [json.loads(find_file(file).read_text(encoding="utf-8")) for file in FILES_101]
    names = [name for own in columns for name in own["key"]]
    assert graph_hashes(data.batch) == names and len(set(names)) == len(data) == 30_001
    cells = every_cell()
    assert len(cells) == 423_624 == len(codes(cells).unique(dim=0))
    assert validity(check_batch(cells, CELLS_101)).all()
    row = cells.n_nodes.tolist().index(7)  # one graph for each: the canonical one
    some = torch.arange(0, len(cells), 97)
    assert same_graphs(canonical(cells[some], CELLS_101), cells[some]).all() and row == 64_542


def test_the_data_set_is_what_was_trained(data):
    assert len(data) == 30_001 and data.n_train == 27_000
    assert validity(check_batch(data.batch, CELLS_101)).all()
    assert len(codes(canonical(data.batch, CELLS_101)).unique(dim=0)) == len(data)  # no twins
    drawn = data.random_like(500, torch.Generator().manual_seed(0))
    assert validity(drawn).all() and len(drawn.n_nodes.unique()) > 2
    assert int(wirings(data.batch).max()) + 1 == 2473
    assert int((data.batch.n_nodes == 7).sum()) == 25_374
    trained = cell_trainings()
    assert list(trained) == ["4", "12", "36", "108", "seconds", "parameters"]
    assert torch.equal(trained["108"].float(), data.accuracy)
    for epochs in ("4", "12", "36", "108"):  # shares of as many images
        hits = 9984 * trained[epochs]
        assert (hits - hits.round()).abs().max() < 1e-3
    assert f"{data.accuracy.max():.4f} {data.accuracy.mean():.4f}" == "0.9491 0.9105"
    assert int((~data.usable).sum()) == 160


def test_cells_are_kept_and_a_broken_file_is_made_anew(data, tmp_path, monkeypatch):
    made = []

    def found(names):
        made.append(len(names))
        return data.batch

    monkeypatch.setattr(sources, "cells_named", found)
    kept = tmp_path / KEPT_101.file
    for broken in (None, b"1" * 840_028):
        if broken is not None:
            kept.write_bytes(broken)
        for _ in range(2):  # the second time it is there
            assert same_graphs(load_dataset(NAME, tmp_path).batch, data.batch).all()
    assert made == [30_001] * 2
    kept.unlink()
    kept.mkdir()  # where nothing can be kept, the cells are found all the same
    with pytest.warns(UserWarning, match="cells are not kept"):
        assert load_dataset(NAME, tmp_path).digest() == data.digest()
