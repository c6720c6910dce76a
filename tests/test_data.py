"Chapter 0: formats, validity, random architectures, files good and bad, data of one's own."

import gzip
import hashlib
import http.server
import json
import os
import random
import socket
import threading
import time
from pathlib import Path

import igraph
import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opembed_nb.data import (
    ENAS,
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    codes,
    draw,
    extremes,
    random_architectures,
    raw_features,
    same_graphs,
    skip_pairs,
    split_rows,
    validity,
)
from opembed_nb.hood.files import (
    ASSETS,
    OpembedError,
    absolute_folders,
    chosen_device,
    chosen_folder,
    find_file,
    write_whole,
)
from opembed_nb.hood.formats import (
    from_flat,
    from_igraph,
    from_keys,
    from_nested,
    from_networkx,
    to_flat,
    to_igraph,
    to_keys,
    to_nested,
    to_networkx,
)
from opembed_nb.hood.records import read_records, run_folder, save_record
from opembed_nb.hood.sources import (
    SOURCES,
    Source,
    about,
    absolute_dataset,
    dataset_name,
    load_dataset,
    read_structures,
    write_structures,
)

paper = pytest.mark.skipif(not os.environ.get("OPEMBED_DATA"), reason="needs the paper's file")
quick = settings(deadline=None, max_examples=30)  # a busy machine is no failure
seeds = st.integers(0, 2**31)
spaces = st.builds(
    SearchSpace,
    st.just("drawn"),
    st.integers(1, 9).map(lambda n: tuple("abcdefghi"[:n])),
    st.integers(1, 12),
    st.booleans(),
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nested_lists(space: SearchSpace):
    "One architecture of a chain space as ENAS writes it."
    layers = [
        st.tuples(st.integers(0, len(space.operations) - 1), *[st.integers(0, 1)] * i).map(list)
        for i in range(space.n_layers)
    ]
    return st.tuples(*layers).map(list)


def any_graphs(n: int, space: SearchSpace, seed: int, p: float) -> DAGBatch:
    "Graphs of 1 … max_nodes nodes: architectures with a few types and edges changed at random."
    g, parts = generator(seed), []
    for layers in range(space.n_layers + 1):
        # `max_nodes` of one graph is not that of the next: padding is part of what is tested
        part = random_architectures(
            n, SearchSpace(space.name, space.operations, layers, space.chain), g, p
        )
        flip = (torch.rand(part.adj.shape, generator=g) < 0.03).triu(1)
        wrong = torch.rand(part.ops.shape, generator=g) < 0.03
        types = torch.where(
            wrong, torch.randint(0, space.n_types, part.ops.shape, generator=g), part.ops
        )
        parts.append(DAGBatch(types, part.adj ^ flip, part.n_nodes))
    parts.append(
        DAGBatch(torch.zeros(1, 1).long(), torch.zeros(1, 1, 1).bool(), torch.ones(1).long())
    )
    return cat_batches(parts)


# Formats


@quick
@given(st.data(), st.integers(1, 9), st.integers(1, 8))
def test_nested_flat_and_tensors_are_one_architecture(data, operations, layers):
    space = SearchSpace("drawn", tuple("abcdefghi"[:operations]), layers)
    rows = data.draw(st.lists(nested_lists(space), min_size=1, max_size=5))
    batch = from_nested(rows, space)
    flat = [" ".join(str(i) for layer in row for i in layer) for row in rows]
    assert to_nested(batch) == rows and to_flat(batch) == flat
    assert same_graphs(from_flat(flat, space), batch).all()
    assert same_graphs(
        from_flat([[int(i) for i in text.split()] for text in flat], space), batch
    ).all()
    assert validity(check_batch(batch, space), space).all()
    for b, row in enumerate(rows):  # node by node, from the protocol
        assert batch.ops[b].tolist() == [0, *(layer[0] + 2 for layer in row), 1]
        edges = {(i, i + 1) for i in range(layers + 1)}
        edges |= {
            (j, i + 1) for i, layer in enumerate(row) for j, skip in enumerate(layer[1:]) if skip
        }
        assert {tuple(e) for e in batch.adj[b].nonzero().tolist()} == edges


@quick
@given(spaces, seeds, st.floats(0, 1))
def test_igraph_and_networkx_give_back_what_they_got(space, seed, p):
    batch = any_graphs(3, space, seed, p)
    for there, back in ((to_igraph, from_igraph), (to_networkx, from_networkx)):
        again = back(there(batch, space), space)
        assert again.n_nodes.tolist() == batch.n_nodes.tolist() and same_graphs(again, batch).all()
    graph, other = to_igraph(batch, space)[0], to_networkx(batch, space)[0]
    assert graph.vs["operation"] == [space.types[t] for t in graph.vs["type"]]
    assert sorted(graph.get_edgelist()) == sorted(other.edges)


def test_no_graphs_at_all():
    none = random_architectures(3)[[]]
    assert (
        len(none) == 0
        and to_flat(none) == to_nested(none) == to_igraph(none) == to_networkx(none) == []
    )
    assert len(from_igraph([])) == len(from_networkx([])) == 0
    assert validity(check_batch(none, ENAS)).shape == (0,) and codes(none).shape == (0, 8)
    assert draw(none).startswith("<svg")


def test_a_space_of_one_name_without_its_comma_is_refused():
    with pytest.raises(OpembedError, match="operations are a list of names, not 'conv'"):
        SearchSpace("blocks", ("conv"), 3)


@quick
@given(spaces, seeds)
def test_graphs_are_equal_exactly_when_types_and_edges_are(space, seed):
    a, b = any_graphs(2, space, seed, 0.3), any_graphs(2, space, seed + 1, 0.3)
    mixed = cat_batches([a, b, a])
    rows = torch.randint(len(mixed), (len(mixed),), generator=generator(seed))
    other = mixed[rows]

    def plain(batch, i):
        n = int(batch.n_nodes[i])
        return batch.ops[i, :n].tolist(), batch.adj[i, :n, :n].tolist()

    expected = [plain(mixed, i) == plain(other, i) for i in range(len(mixed))]
    assert same_graphs(mixed, other).tolist() == expected
    assert (
        same_graphs(
            mixed, cat_batches([other, random_architectures(1)])[list(range(len(other)))]
        ).tolist()
        == expected
    )
    distinct = {json.dumps(plain(mixed, i)) for i in range(len(mixed))}
    assert codes(mixed).unique(dim=0).shape[0] == len(distinct)


@pytest.mark.parametrize("layers", [45, 46, 47, 94, 100])
def test_codes_tell_deep_graphs_apart(layers):
    space = SearchSpace("deep", ("a", "b"), layers, chain=False)
    batch = random_architectures(5, space, generator(0))
    other = DAGBatch(batch.ops, batch.adj.clone(), batch.n_nodes)
    other.adj[0, layers - 1, layers] ^= True  # the last possible edge between layers
    assert same_graphs(batch, batch).all() and codes(batch).unique(dim=0).shape[0] == 5
    assert same_graphs(batch, other).tolist() == [False, True, True, True, True]
    shallow = random_architectures(5, ENAS, generator(0))
    joined = cat_batches([shallow, batch])
    assert same_graphs(joined[:5], shallow).all()
    assert torch.equal(codes(joined[:5]), codes(shallow, joined.ops.shape[1]))


def test_codes_refuse_a_type_that_does_not_fit():
    batch = random_architectures(1, SearchSpace("many", tuple(map(str, range(300))), 40))
    with pytest.raises(OpembedError, match="above 255"):
        codes(batch)


@pytest.mark.parametrize(
    "row",
    [
        "0 1",
        "a b c",
        [[0] * 21, [1] * 20],
        [[6] + [0] * 20],
        [[-1] + [0] * 20],
        [[0, 1, 2] + [0] * 18],
    ],
)
def test_bad_flat_rows_are_refused(row):
    with pytest.raises(OpembedError):
        from_flat(row)


@pytest.mark.parametrize(
    "call",
    [
        lambda: from_flat([[None] * 21]),
        lambda: from_flat(torch.full((1, 21), 0.7)),
        lambda: from_networkx([networkx.path_graph(3, networkx.DiGraph)]),
        lambda: from_igraph([igraph.Graph(2, [(0, 1)], directed=True)]),
        lambda: cat_batches([]),
        lambda: random_architectures(2, p_skip=2.0),
    ],
)
def test_what_should_be_refused_in_one_line(call):
    with pytest.raises(OpembedError):
        call()


def test_no_nested_lists_are_an_empty_batch():
    assert len(from_nested([])) == 0


def test_a_negative_type_is_named():
    batch = random_architectures(1)
    with pytest.raises(OpembedError, match="type -2"):
        check_batch(
            DAGBatch(torch.where(batch.ops == 1, -2, batch.ops), batch.adj, batch.n_nodes), ENAS
        )


def test_a_number_of_many_digits_is_a_bad_row(tmp_path):
    (tmp_path / "structures.txt").write_text(f"{ROW}\n{'1' * 5000}\n")
    with pytest.raises(OpembedError, match="line 2"):
        read_structures(tmp_path / "structures.txt")


def test_flat_rows_cannot_write_a_space_that_is_no_chain():
    with pytest.raises(OpembedError, match="no chain"):
        from_flat("0", SearchSpace("free", ("a",), 1, chain=False))


def test_check_batch_names_what_is_wrong():
    good = random_architectures(2, generator=generator(0))
    ops, adj, n = good.ops, good.adj, good.n_nodes
    deep = random_architectures(1, SearchSpace("deep", ENAS.operations, 9))
    for reason, bad in {
        "ops has shape": DAGBatch(ops[0], adj, n),
        "do not go together": DAGBatch(ops, adj[:1], n),
        "adj is torch.float": DAGBatch(ops, adj.float(), n),
        "11 nodes": deep,
        "n_nodes reaches from 0": DAGBatch(ops, adj, n * 0),
        "type 8": DAGBatch(ops + (ops == 7) + 6 * (ops == 2), adj, n),
        "earlier to a later": DAGBatch(ops, adj.transpose(1, 2), n),
        "past n_nodes": DAGBatch(ops, adj, n - 1),
    }.items():
        with pytest.raises(OpembedError, match=reason) as e:
            check_batch(bad, ENAS)
        assert "enas" in str(e.value) and "\n" not in str(e.value)


# Graphs of other libraries


def chain_of(types: list) -> networkx.DiGraph:
    "A path whose nodes have these types; None: no type."
    graph = networkx.path_graph(len(types), networkx.DiGraph)
    networkx.set_node_attributes(
        graph, {v: t for v, t in enumerate(types) if t is not None}, "type"
    )
    return graph


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ([0, None, 1], "graph 1: vertex 1 has no attribute 'type'"),
        ([None, None, None], "graph 1: vertex 0 has no attribute 'type'"),
        ([0, "2", 1], "graph 1: vertex 1: type '2' is no integer"),
        ([0, 2.5, 1], "graph 1: vertex 1: type 2.5 is no integer"),
        ([0, 2, float("nan")], "graph 1: vertex 2: type nan is no integer"),
        ([0, float("inf"), 1], "graph 1: vertex 1: type inf is no integer"),
        ([0, True, 1], "graph 1: vertex 1: type True is no integer"),
        ([0, [2], 1], "graph 1: vertex 1: type [2] is no integer"),
        ([0, 8, 1], "graph 1: vertex 1: type 8 is not one of 0 … 7"),
        ([0, -1, 1], "graph 1: vertex 1: type -1 is not one of 0 … 7"),
        ([], "graph 1: it has 0 vertices"),
        ([0] + [2] * 7 + [1], "graph 1: it has 9 vertices"),
    ],
)
def test_a_vertex_of_no_known_type_is_named_with_its_graph(types, reason):
    good, bad = chain_of([0, 2, 1]), chain_of(types)
    there = igraph.Graph(len(types), list(bad.edges), directed=True)
    if any(t is not None for t in types):
        there.vs["type"] = types
    other = igraph.Graph(3, [(0, 1), (1, 2)], directed=True, vertex_attrs={"type": [0, 2, 1]})
    for call in (lambda: from_networkx([good, bad]), lambda: from_igraph([other, there])):
        with pytest.raises(OpembedError) as e:
            call()
        assert reason in str(e.value) and "\n" not in str(e.value)


def test_types_of_other_integer_kinds_are_read():
    graphs = [
        chain_of(types)
        for types in ([0, 2, 1], [0.0, 2.0, 1.0], [*torch.tensor([0, 2, 1]).numpy()])
    ]
    batch = from_networkx(graphs)
    assert batch.ops.tolist() == [[0, 2, 1]] * 3 and batch.adj.sum() == 6


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (chain_of([0, 2, 1]).to_undirected(), "graph 0: it is undirected"),
        (
            chain_of([0, 2, 1]).reverse(),
            "graph 0: edge 1 → 0 does not lead from an earlier to a later vertex",
        ),
        (
            networkx.relabel_nodes(chain_of([0, 2, 1]), {0: "in"}),
            "graph 0: its nodes are not numbered 0 … 2",
        ),
        (networkx.MultiDiGraph([(0, 1), (0, 1)]), "graph 0: vertex 0 has no attribute 'type'"),
        (None, "graph 0: a NoneType is no Graph"),
    ],
)
def test_a_graph_that_is_no_dag_of_typed_vertices_is_named(graph, reason):
    with pytest.raises(OpembedError) as e:
        from_networkx([graph])
    assert reason in str(e.value) and "\n" not in str(e.value)


def test_graphs_that_igraph_would_take_without_a_word_are_refused():
    def graph(edges, directed=True):
        return igraph.Graph(3, edges, directed=directed, vertex_attrs={"type": [0, 2, 1]})

    for bad, reason in [
        (graph([(0, 1), (1, 2)], directed=False), "graph 0: it is undirected"),
        (graph([(0, 1), (1, 2), (1, 2)]), "graph 0: it has an edge twice"),
        (graph([(0, 1), (1, 1)]), "graph 0: edge 1 → 1 does not lead"),
    ]:
        with pytest.raises(OpembedError, match=reason):
            from_igraph([bad])
    with pytest.raises(OpembedError, match="a list of graphs is needed"):
        from_igraph(graph([(0, 1), (1, 2)]))


# Keys


@quick
@given(spaces, seeds, st.floats(0, 1))
def test_every_graph_comes_back_from_its_key(space, seed, p):
    batch = cat_batches(
        [any_graphs(3, space, seed, p), random_architectures(3, space, generator(seed), p)]
    )
    keys = to_keys(batch, space)
    again = from_keys(keys, space)
    assert again.n_nodes.tolist() == batch.n_nodes.tolist() and same_graphs(again, batch).all()
    assert to_keys(again, space) == keys and all("\n" not in key for key in keys)
    assert len(set(keys)) == codes(batch).unique(dim=0).shape[0]


@quick
@given(seeds, st.integers(1, 9))
def test_the_key_of_a_chain_of_full_depth_is_its_flat_string(seed, layers):
    space = SearchSpace("drawn", tuple("abc"), layers)
    batch = random_architectures(4, space, generator(seed))
    assert to_keys(batch, space) == to_flat(batch)


def test_keys_hold_graphs_that_codes_cannot():
    space = SearchSpace("deep", ("a", "b"), 98, chain=False)
    batch = random_architectures(3, space, generator(0))
    again = from_keys(to_keys(batch, space), space)
    assert torch.equal(again.ops, batch.ops) and torch.equal(again.adj, batch.adj)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "0",
        ":",
        "0: 2:0 1:2",
        "0: 2:0,0 1:1",
        "0: 2:-1 1:1",
        "0: 4:0 1:1",
        "0: x:0 1:1",
        "0: 2:0: 1:1",
        "0:  2:0 1:1",
        "0: 2:0,x",
        "0: 2.0:0",
        "0: 2:0 2:1 2:2 2:3 1:4",
        "1:" * 9000,
        "0: " + "9" * 5000 + ":0",
        None,
        7,
    ],
)
def test_a_key_that_is_none_is_named(key):
    with pytest.raises(OpembedError) as e:
        from_keys([key], SearchSpace("free", ("a", "b"), 2, chain=False))
    assert "key" in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 900


def test_flat_strings_lose_no_edge_without_a_word():
    free = SearchSpace("free", ENAS.operations, 6, chain=False)
    chains, loose = (
        random_architectures(3, ENAS, generator(0)),
        random_architectures(3, free, generator(0)),
    )
    for write in (to_flat, to_nested):
        with pytest.raises(OpembedError, match="graph 3 is no chain.*to_keys"):
            write(cat_batches([chains, loose]))


def test_flat_numbers_are_not_rounded():
    for row in ([[0.7] + [0] * 20], [["0.7"] + [0] * 20]):
        with pytest.raises(OpembedError):
            from_flat(row)


def test_raw_features_say_which_layers_and_edges_there_are():
    batch = random_architectures(50, generator=generator(0))
    features = raw_features(batch)
    assert features.shape == (50, 51) and (features[:, :36].view(50, 6, 6).sum(2) == 1).all()
    assert (features[:, 36:].sum(1) == batch.adj.sum((1, 2)) - 7).all()
    small = from_flat("1 4 0 5 0 1", SearchSpace("shallow", ENAS.operations, 3))
    assert raw_features(small).shape == (1, 51) and raw_features(small)[:, 18:36].sum() == 0
    free = SearchSpace("free", ("a", "b"), 2, chain=False)
    assert skip_pairs(free).shape == (2, 6) and raw_features(
        random_architectures(3, free), free
    ).shape == (3, 10)


@quick
@given(seeds, st.integers(1, 6), st.booleans())
def test_raw_features_tell_all_architectures_apart(seed, layers, chain):
    space = SearchSpace("drawn", ("a", "b"), layers, chain)
    depths = [SearchSpace("drawn", ("a", "b"), depth, chain) for depth in range(1, layers + 1)]
    batch = cat_batches([random_architectures(9, depth, generator(seed)) for depth in depths])
    distinct = codes(batch).unique(dim=0).shape[0]
    assert raw_features(batch, space).unique(dim=0).shape[0] == distinct
    assert torch.equal(raw_features(batch[:9], space), raw_features(batch, space)[:9])


def test_raw_features_refuse_a_graph_that_is_too_deep():
    deep = random_architectures(1, SearchSpace("deep", ENAS.operations, 9))
    with pytest.raises(OpembedError, match="more than the 8 nodes"):
        raw_features(deep)
    assert raw_features(
        cat_batches([from_flat("0 1 0 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"), deep])[:1]
    ).shape == (1, 51)


# Validity


def is_architecture(ops, edges, space) -> bool:
    "The protocol's validity of one graph, word by word."
    n = len(ops)
    if (
        ops.count(space.INPUT) != 1
        or ops.count(space.OUTPUT) != 1
        or ops[0] != space.INPUT
        or ops[-1] != space.OUTPUT
    ):
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


@settings(deadline=None, max_examples=60)
@given(spaces, seeds, st.floats(0, 1))
def test_validity_is_the_protocols(space, seed, p):
    batch = any_graphs(6, space, seed, p)
    expected = []
    for b, n in enumerate(batch.n_nodes.tolist()):
        expected.append(
            is_architecture(
                batch.ops[b, :n].tolist(),
                {tuple(e) for e in batch.adj[b].nonzero().tolist()},
                space,
            )
        )
    assert validity(batch, space).tolist() == expected


def test_the_drawn_graphs_of_the_validity_test_are_of_both_kinds():
    for chain in (True, False):
        space = SearchSpace("drawn", tuple("abc"), 6, chain)
        share = validity(any_graphs(200, space, 0, 0.3), space).double().mean()
        assert 0.1 < share < 0.9


# Random architectures


@quick
@given(spaces, seeds, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_random_architectures_are_architectures(space, seed, p):
    batch = random_architectures(20, space, generator(seed), p)
    assert (
        validity(check_batch(batch, space), space).all()
        and (batch.n_nodes == space.max_nodes).all()
    )
    assert same_graphs(batch, random_architectures(20, space, generator(seed), p)).all()
    if space.chain and space.n_layers < 9:
        assert same_graphs(from_flat(to_flat(batch), space), batch).all()


def test_random_architectures_have_the_skips_that_were_asked_for():
    for p in (0.0, 0.3, 1.0):
        batch = random_architectures(4000, ENAS, generator(0), p)
        skips = batch.adj.sum((1, 2)) - (ENAS.max_nodes - 1)
        assert abs(float(skips.double().mean()) - 15 * p) < 0.1
    counts = batch.ops[:, 1:-1].flatten().bincount(minlength=8)
    assert (counts[:2] == 0).all() and counts[2:].min() > 0.9 * counts[2:].max()


def test_batches_move_join_and_split():
    batch = random_architectures(7, generator=generator(0))
    joined = cat_batches(
        [batch[:3], batch[3], batch[torch.tensor([4, 5])], batch[torch.arange(7) == 6]]
    )
    assert same_graphs(joined, batch).all() and len(batch[2]) == 1
    assert batch.to("meta").device.type == "meta" and len(batch.to("meta")) == 7


def test_no_tensor_is_made_without_its_device():
    free = SearchSpace("free", ("a", "b"), 4, chain=False)
    for space in (ENAS, free):
        batch = random_architectures(5, space, generator(0))
        with torch.device("meta"):
            assert check_batch(batch, space).mask.device.type == "cpu"
            assert codes(batch).device.type == validity(batch, space).device.type == "cpu"
            assert same_graphs(cat_batches([batch, batch])[:5], batch).all()
            drawn = random_architectures(5, space, generator(0))
            assert drawn.device.type == "cpu" and same_graphs(drawn, batch).all()
    with torch.device("meta"):
        data = load_dataset("enas-digits")
    assert {x.device.type for x in (*data.batch, data.accuracy, data.order)} == {"cpu"}


# The file

ROW = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (ROW.replace("[4, 0]", "[6, 0]"), "layer 1: operation 6 is not one of 0 … 5"),
        (ROW.replace("[4, 0]", "[-1, 0]"), "layer 1: operation -1"),
        (ROW.replace("[4, 0]", "[4, 0, 1]"), "layer 1 has 2 skips, it needs 1"),
        (ROW.replace("[4, 0]", "[4]"), "layer 1 has 0 skips, it needs 1"),
        (ROW.replace("[4, 0]", "[4, 2]"), "layer 1: a skip is neither 0 nor 1"),
        (ROW.replace("[4, 0]", "[4, 0.5]"), "layer 1 is no list of integers"),
        (ROW.replace("[4, 0]", "[4, true]"), "layer 1 is no list of integers"),
        (ROW.replace("[4, 0]", "4"), "layer 1 is no list of integers"),
        (ROW.replace("[1], ", ""), "5 layers, the space has 6"),
        (ROW.replace("0.7302", "1.7302"), "accuracy 1.7302 is not between 0 and 1"),
        (ROW.replace("0.7302", "NaN"), "accuracy nan is not between 0 and 1"),
        (ROW.replace("0.7302", '"0.7302"'), "accuracy '0.7302' is not between 0 and 1"),
        (ROW.replace(", 0.7302", ""), "1 fields"),
        (ROW + ", 0.5", "3 fields"),
        (ROW[:40], "no row of the form"),
        ("", "0 fields"),
        ("__import__('os').abort()", "no row of the form"),
        ("[" * 100_000, "no row of the form"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path, bad, reason):
    file = tmp_path / "structures.txt"
    file.write_text("\n".join([ROW, ROW, bad, ROW]) + "\n", encoding="utf-8")
    with pytest.raises(OpembedError) as e:
        read_structures(file)
    assert (
        f"{file}, line 3: " in str(e.value) and reason in str(e.value) and "\n" not in str(e.value)
    )


@quick
@given(st.text(max_size=80))
def test_no_line_gets_past_the_parser_unchecked(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("rows") / "structures.txt"
    file.write_text(f"{ROW}\n{text}", encoding="utf-8", errors="replace")
    try:
        batch, accuracy = read_structures(file)
    except OpembedError as e:
        assert str(file) in str(e)
    else:
        assert len(batch) == len(accuracy) == len(file.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_files_that_hold_nothing(tmp_path, content):
    file = tmp_path / "structures.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OpembedError, match="structures.txt"):
        read_structures(file)


def test_good_rows_are_read(tmp_path):
    file = tmp_path / "structures.txt"
    file.write_text(f"{ROW}\n{ROW.replace('0.7302', '1')}")
    batch, accuracy = read_structures(file)
    assert to_nested(batch) == [json.loads(f"[{ROW}]")[0]] * 2
    assert accuracy.tolist() == [pytest.approx(0.7302), 1]


@pytest.fixture(scope="module")
def data() -> ArchDataset:
    return load_dataset("enas-cifar10")


@pytest.fixture(scope="module")
def digits() -> ArchDataset:
    return load_dataset("enas-digits")


@paper
def test_the_papers_data(data):
    assert len(data) == 19_020 and codes(data.batch).unique(dim=0).shape[0] == 19_015
    assert validity(check_batch(data.batch, ENAS)).all()
    assert len(data.train.batch) == 17_118 and len(data.test.batch) == 1_902
    mean, std = data.moments()
    assert abs(mean - 0.73632) < 5e-6 and abs(std - 0.00613) < 5e-6
    assert (
        abs(float(data.train.target.mean())) < 1e-4
        and abs(float(data.train.target.std()) - 1) < 1e-3
    )
    assert torch.allclose(data.unstandardise(data.test.target), data.test.accuracy)
    order = list(range(19_020))
    random.Random(0).shuffle(order)
    assert data.order.tolist() == order


@paper
def test_every_row_comes_back_as_it_stands_in_the_file(data):
    lines = find_file(SOURCES["enas-cifar10"]).read_text().splitlines()[1000:]
    written = [f"{json.dumps(row)}, " for row in to_nested(data.batch)]
    assert all(line.startswith(start) for line, start in zip(lines, written, strict=True))
    assert all(
        abs(float(line.rsplit(",", 1)[1]) - a) < 1e-6
        for line, a in zip(lines, data.accuracy.tolist(), strict=True)
    )


@paper
def test_in_the_papers_data_accuracy_depends_on_the_wiring_alone(data):
    assert spread_of_one_wiring(data).max() == 0


def spread_of_one_wiring(data: ArchDataset) -> torch.Tensor:
    "Highest minus lowest accuracy of every wiring that at least two different architectures share."
    distinct, first = codes(data.batch).unique(dim=0, return_inverse=True)
    accuracy = torch.zeros(len(distinct)).index_put_((first,), data.accuracy)
    adj = torch.zeros(len(distinct), *data.batch.adj.shape[1:], dtype=torch.bool).index_put_(
        (first,), data.batch.adj
    )
    _, wiring, counts = adj.flatten(1).unique(dim=0, return_inverse=True, return_counts=True)
    none = torch.zeros(len(counts))
    low, high = (
        none.scatter_reduce(0, wiring, accuracy, how, include_self=False)
        for how in ("amin", "amax")
    )
    assert (counts > 1).sum() > 1000
    return (high - low)[counts > 1]


def test_the_extremes_of_each_kind():
    least, greatest = extremes(torch.tensor([3.0, -1.0, 2.0, 2.0]), torch.tensor([0, 2, 0, 1]))
    assert least.tolist() == [2.0, 2.0, -1.0] and greatest.tolist() == [3.0, 2.0, -1.0]


# The data set in the package


def test_the_embedded_data(digits):
    assert len(digits) == 20_000 and codes(digits.batch).unique(dim=0).shape[0] > 19_990
    assert (
        validity(check_batch(digits.batch, ENAS)).all()
        and (digits.batch.n_nodes == ENAS.max_nodes).all()
    )
    assert (
        len(digits.train.batch) == 18_000
        and len(digits.test.batch) == 2_000
        and "18,000 train" in repr(digits)
    )
    assert (
        abs(float(digits.train.target.mean())) < 1e-4
        and abs(float(digits.train.target.std()) - 1) < 1e-3
    )
    assert torch.allclose(digits.unstandardise(digits.test.target), digits.test.accuracy)
    assert 0.1 < digits.accuracy.min() and digits.accuracy.max() < 1
    order = list(range(20_000))
    random.Random(0).shuffle(order)
    assert (
        digits.order.tolist() == order
        and same_graphs(digits.batch, random_architectures(20_000, ENAS, generator(0))).all()
    )


def test_in_the_embedded_data_operations_matter(digits):
    assert spread_of_one_wiring(digits).median() > 0.02


def test_the_embedded_data_needs_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.delenv("OPEMBED_DATA", raising=False)
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert (
        load_dataset().name == "enas-digits" and find_file(SOURCES["enas-digits"]).parent == ASSETS
    )


def test_the_embedded_file_is_small():
    assert (ASSETS / SOURCES["enas-digits"].file).stat().st_size <= 600_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: b"",
        lambda whole: whole[:99] + bytes([whole[99] ^ 1]) + whole[100:],
        None,
    ],
)
def test_a_damaged_package_is_named(tmp_path, monkeypatch, damage):
    source = SOURCES["enas-digits"]
    whole = (ASSETS / source.file).read_bytes()
    monkeypatch.setattr("opembed_nb.data.ASSETS", tmp_path)
    if damage:
        (tmp_path / source.file).write_bytes(damage(whole))
    with pytest.raises(OpembedError, match="install the package again") as e:
        load_dataset("enas-digits")
    assert str(tmp_path / source.file) in str(e.value) and "\n" not in str(e.value)
    assert ("sha256 is" if damage else "No such file") in str(e.value)


def test_parsing_20000_rows_takes_less_than_a_second():
    file, seconds = find_file(SOURCES["enas-digits"]), []
    for _ in range(3):
        start = time.process_time()
        batch, _ = read_structures(file)
        seconds.append(time.process_time() - start)
    assert len(batch) == 20_000 and min(seconds) < 1


@pytest.mark.parametrize("name", ["imagenet", "", "enas-digits.txt.gz", "../enas-digits"])
def test_an_unknown_data_set_is_named(name):
    with pytest.raises(OpembedError) as e:
        load_dataset(name)
    assert str(e.value).startswith(
        f"dataset {name!r} is unknown; known are enas-digits, enas-cifar10"
    )
    assert ".jsonl" in str(e.value) and "\n" not in str(e.value)


# Written and read again


@quick
@given(
    seeds,
    st.integers(1, 30),
    st.sampled_from(["structures.txt", "structures.txt.gz"]),
    st.integers(1, 9),
)
def test_what_is_written_is_read_again(tmp_path_factory, seed, n, name, layers):
    space, file = (
        SearchSpace("drawn", tuple("abcdef"), layers),
        tmp_path_factory.mktemp("written") / name,
    )
    batch, accuracy = (
        random_architectures(n, space, generator(seed)),
        torch.rand(n, generator=generator(seed)),
    )
    write_structures(file, batch, accuracy)
    again, read = read_structures(file, space)
    assert same_graphs(batch, again).all() and torch.allclose(accuracy, read, atol=1e-6)
    assert (file.read_bytes()[:2] == b"\x1f\x8b") == (file.suffix == ".gz")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_writing_twice_writes_the_same_bytes(tmp_path, suffix):
    batch, accuracy = (
        random_architectures(50, generator=generator(0)),
        torch.rand(50, generator=generator(1)),
    )
    for folder in ("a", "b/c"):  # a folder that is not there is made
        write_structures(tmp_path / folder / f"{folder[0]}.txt{suffix}", batch, accuracy)
        time.sleep(1.01 if suffix and folder == "a" else 0)  # gzip's clock counts seconds
    first, second = (tmp_path / "a" / f"a.txt{suffix}", tmp_path / "b" / "c" / f"b.txt{suffix}")
    assert first.read_bytes() == second.read_bytes() and list(first.parent.iterdir()) == [first]


def test_the_embedded_file_is_what_write_structures_writes(digits, tmp_path):
    write_structures(tmp_path / "again.txt", digits.batch, digits.accuracy)
    assert (tmp_path / "again.txt").read_bytes() == gzip.decompress(
        find_file(SOURCES["enas-digits"]).read_bytes()
    )


@pytest.mark.parametrize("cut", [0, 1, 5, -1, -9, -100])
def test_a_truncated_archive_is_named(tmp_path, cut):
    file = tmp_path / "structures.txt.gz"
    write_structures(file, random_architectures(50, generator=generator(0)), torch.full((50,), 0.5))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(OpembedError) as e:
        read_structures(file)
    assert str(file) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["structures.txt", "structures.txt.gz"])
def test_on_a_full_disk_the_old_file_stays(disk_of, tmp_path, name):
    file, batch = tmp_path / name, random_architectures(400, generator=generator(0))
    write_structures(file, batch[:3], torch.full((3,), 0.5))
    before = file.read_bytes()
    with disk_of(1000), pytest.raises(OpembedError, match="cannot be written .*free the disk") as e:
        write_structures(file, batch, torch.rand(400, generator=generator(0)))
    assert str(file) in str(e.value) and "\n" not in str(e.value)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_none_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "x.txt", Path("/proc/opembed/x.txt")):
        with pytest.raises(OpembedError, match="cannot be written"):
            write_whole(path, b"x")
    with pytest.raises(OpembedError, match="cannot be written"):
        write_whole(tmp_path, b"x")  # a folder stands where the file should
    assert [f.name for f in tmp_path.iterdir()] == ["file"] and not list(
        tmp_path.parent.glob(f".{tmp_path.name}*")
    )


# Found, cached or downloaded

CONTENT = "".join(f"{ROW}\n" for _ in range(200)).encode()


class Server(http.server.ThreadingHTTPServer):
    "Serves CONTENT at /good, part of it at /short, less than promised at /cut; counts requests."

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            body = {
                "/good": CONTENT,
                "/short": CONTENT[:-50],
                "/cut": CONTENT,
                "/other": b"<html>sign in</html>",
            }
            if self.path not in body:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body[self.path])))
            self.end_headers()
            sent = body[self.path]
            self.wfile.write(sent[: len(sent) // 2] if self.path == "/cut" else sent)

        def log_message(self, *args):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.requests = []

    def source(self, path: str) -> Source:
        url = f"http://127.0.0.1:{self.server_address[1]}{path}"
        return Source("structures.txt", url, hashlib.sha256(CONTENT).hexdigest(), ENAS, 0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPEMBED_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        yield server
        server.shutdown()


def test_a_good_download_is_kept_and_not_fetched_twice(server, tmp_path):
    for _ in range(2):
        file = find_file(server.source("/good"), tmp_path / "cache")
        assert file.read_bytes() == CONTENT
    assert server.requests == ["/good"] and [f.name for f in (tmp_path / "cache").iterdir()] == [
        "structures.txt"
    ]
    assert len(read_structures(file)[0]) == 200


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/short", "sha256 is not"),
        ("/other", "sha256 is not"),
        ("/cut", "cannot be downloaded"),
        ("/missing", "404"),
    ],
)
def test_a_bad_download_leaves_nothing_behind(server, tmp_path, path, reason):
    cache = tmp_path / "cache"
    with pytest.raises(OpembedError, match=reason) as e:
        find_file(server.source(path), cache)
    assert path in str(e.value) and "OPEMBED_DATA" in str(e.value) and "\n" not in str(e.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_spoiled_cache_is_fetched_again(server, tmp_path):
    file = tmp_path / "structures.txt"
    file.write_bytes(CONTENT[:-1])
    assert find_file(server.source("/good"), tmp_path).read_bytes() == CONTENT
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(OpembedError, match="sha256"):
        find_file(server.source("/short"), tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["structures.txt"]


def test_nobody_answers(server, tmp_path):
    source = server.source("/good")
    server.shutdown()
    server.server_close()
    with pytest.raises(OpembedError, match="cannot be downloaded"):
        find_file(source, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OpembedError, match="cannot be downloaded to .*file"):
        find_file(server.source("/good"), tmp_path / "file" / "cache")
    assert (tmp_path / "file").read_text() == "no folder" and server.requests == []


def test_a_cache_without_permission(server):
    cache = Path("/proc/opembed")  # where not even root can make a folder
    with pytest.raises(
        OpembedError, match="cannot be downloaded to /proc/opembed .*set OPEMBED_DATA"
    ):
        find_file(server.source("/good"), cache)
    assert not cache.exists()


def test_the_environments_folder_comes_first_and_is_checked(server, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("OPEMBED_DATA", str(folder))
    (folder / "structures.txt").write_bytes(CONTENT)
    assert find_file(server.source("/good"), tmp_path / "cache") == folder / "structures.txt"
    (folder / "structures.txt").write_bytes(CONTENT[:-1])
    with pytest.raises(
        OpembedError, match="sha256 is .* is expected; replace the file or unset OPEMBED_DATA"
    ):
        find_file(server.source("/good"), tmp_path / "cache")
    assert server.requests == [] and not (tmp_path / "cache").exists()
    (folder / "structures.txt").unlink()
    assert (
        find_file(server.source("/good"), tmp_path / "cache")
        == tmp_path / "cache" / "structures.txt"
    )


def test_a_relative_folder_is_seen_from_the_project(server, tmp_path, monkeypatch):
    (tmp_path / "nbs").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "structures.txt").write_bytes(CONTENT)
    monkeypatch.setenv("OPEMBED_DATA", "mine")
    for folder in (tmp_path, tmp_path / "nbs"):  # where a command is given, where its chapters run
        monkeypatch.chdir(folder)
        assert (
            find_file(server.source("/good"), tmp_path / "cache")
            == tmp_path / "mine" / "structures.txt"
        )
    assert server.requests == []


def test_the_environments_folders_are_resolved_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPEMBED_DATA", "~/data")
    monkeypatch.setenv("OPEMBED_RUNS", "out")
    wanted = {
        "OPEMBED_DATA": str(tmp_path / "home" / "data"),
        "OPEMBED_RUNS": str(tmp_path / "out"),
    }
    assert absolute_folders() == wanted
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    assert absolute_folders() == wanted
    monkeypatch.setenv("OPEMBED_RUNS", "")
    assert (
        absolute_folders() == {"OPEMBED_DATA": wanted["OPEMBED_DATA"]}
        and chosen_folder("OPEMBED_RUNS") is None
    )
    monkeypatch.setenv("OPEMBED_DATA", "~nobody-of-this-name/data")
    with pytest.raises(OpembedError, match="OPEMBED_DATA=~nobody"):
        absolute_folders()


def test_load_dataset_refuses_a_file_that_is_right_but_nonsense(tmp_path, monkeypatch):
    bad = CONTENT + b"[[1]], 0.5\n"
    (tmp_path / "structures.txt").write_bytes(bad)
    monkeypatch.setenv("OPEMBED_DATA", str(tmp_path))
    monkeypatch.setattr("opembed_nb.data.ASSETS", tmp_path)
    for url in ("http://127.0.0.1:9/structures.txt", ""):  # found in the folder, or in the package
        monkeypatch.setitem(
            SOURCES,
            "enas-cifar10",
            Source("structures.txt", url, hashlib.sha256(bad).hexdigest(), ENAS, 0),
        )
        with pytest.raises(OpembedError, match="line 201: 1 layers"):
            load_dataset("enas-cifar10")


def test_a_drawing_is_well_formed_and_says_what_it_shows():
    import xml.etree.ElementTree as tree

    batch = random_architectures(3, generator=generator(0))
    for space in (ENAS, SearchSpace("<&>", tuple(f"<{i}&>" for i in range(6)), 6)):
        picture = draw(batch, space, titles=["a < b", "", "c"])
        root = tree.fromstring(picture)
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        assert texts.count("input") == texts.count("output") == 3 and "a < b" in texts
        assert all(space.types[t] in texts for t in batch.ops.flatten().tolist())
        assert picture._repr_svg_() == picture


# Data of one's own


def own_data(n=40, chain=False, **kwargs) -> ArchDataset:
    space = SearchSpace("mine", ("conv", "max pool"), 4, chain)
    batch = random_architectures(n, space, generator(0), 0.3)
    kwargs = {"scores": torch.rand(n, generator=generator(1)), **kwargs}
    return ArchDataset.from_scores("mine", space, batch, **kwargs)


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
    parts = [
        random_architectures(
            10, SearchSpace("part", deep.operations, depth, chain), generator(seed)
        )
        for depth in range(1, layers + 1)
    ]
    batch = cat_batches(parts)
    scores = (torch.randn(len(batch), generator=generator(seed)) * scale).tolist()
    groups = {None: None, "numbers": [i // 3 for i in range(len(batch))]}.get(kind)
    if kind == "names":
        groups = [f"group {i // 4}" for i in range(len(batch))]
    data = ArchDataset.from_scores("drawn.1", deep, batch, scores, seed, groups, higher, task)
    file = tmp_path_factory.mktemp("own") / "any name.jsonl"
    data.save(file)
    again = load_dataset(str(file))
    assert (again.name, again.space, again.seed, again.n_train) == (
        "drawn.1",
        deep,
        seed,
        data.n_train,
    )
    assert same_graphs(again.batch, data.batch).all() and torch.equal(again.accuracy, data.accuracy)
    assert torch.equal(again.order, data.order) and again.about.task == task
    assert again.digest() == data.digest() and again.groups == data.groups
    given_back = torch.tensor(scores).float()
    assert torch.equal(again.scores(again.accuracy), given_back)
    best = given_back.argmax() if higher else given_back.argmin()
    assert int(again.accuracy.argmax()) == int(best)
    assert (
        abs(float(again.train.target.double().mean())) < 1e-4
        and again.accuracy.dtype == torch.float32
    )
    assert torch.allclose(
        again.unstandardise(again.test.target), again.test.accuracy, rtol=1e-4, atol=scale / 1e4
    )


def test_the_split_is_nine_to_one_and_of_its_seed():
    order, n_train = split_rows(1000)
    assert n_train == 900 and sorted(order) == list(range(1000)) and order == split_rows(1000)[0]
    assert set(split_rows(1000, seed=1)[0][900:]) != set(order[900:])
    data = own_data(40)
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
    largest = max(groups.count(g) for g in groups)
    assert n - n_train <= max(n - int(0.9 * n), min(groups.count(g) for g in groups))
    assert n - n_train > (n - int(0.9 * n)) - largest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": torch.rand(39)}, "scores have shape (39,), (40,) is needed"),
        ({"scores": [0.1] * 39 + [float("nan")]}, "score 39 is nan, not finite"),
        ({"scores": [0.1] * 39 + ["x"]}, "scores: "),
        ({"scores": None}, "scores: "),
        ({"scores": [0.5] * 40}, "all scores of the train part are 0.5"),
        ({"scores": 1e12 + torch.rand(40).double()}, "single precision"),
        ({"scores": 1e300 * torch.rand(40).double()}, "single precision"),
        ({"groups": [1] * 40}, "all rows are of one group"),
        ({"groups": [1] * 39}, "39 groups, 40 are needed"),
        ({"groups": [0.5] * 40}, "groups are integers or names"),
        ({"groups": 5}, "groups is 5, not a list"),
        ({"scores": 2e38 * torch.rand(40).double() + 1e38}, "too large for single precision"),
        ({"higher_is_better": "no"}, "higher_is_better is 'no'; give True or False"),
        ({"task": 5}, "task 5 is no text"),
        ({"chain": 1}, "space: chain is 1, not of type bool"),
        ({"seed": "1"}, "seed '1' is no integer"),
        ({"n": 9, "scores": torch.rand(9)}, "9 architectures; 10 at least"),
    ],
)
def test_scores_that_make_no_data_set_are_refused(change, reason):
    assert len(own_data()) == 40
    with pytest.raises(OpembedError) as e:
        own_data(**change)
    assert reason in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../mine",
        "a b",
        "-p",
        ".hidden",
        "ends.",
        "enas-digits",
        "ä",
        "a" * 101,
        None,
        3,
    ],
)
def test_a_name_that_is_no_plain_folder_name_is_refused(name):
    space = SearchSpace("mine", ("conv",), 2)
    with pytest.raises(OpembedError, match="name"):
        ArchDataset.from_scores(name, space, random_architectures(20, space), torch.rand(20))


def test_a_space_or_graph_that_does_not_belong_is_refused():
    space = SearchSpace("mine", ("conv", "pool"), 3)
    batch, scores = random_architectures(20, space, generator(0)), torch.rand(20)
    for other, reason in [
        (SearchSpace("mine", ("conv", "conv"), 3), "stands twice"),
        (SearchSpace("mine", ("conv", "input"), 3), "stands twice"),
        (SearchSpace("mine", ("conv", ""), 3), "operations are names"),
        (SearchSpace("mine", ("conv", "pool"), 2), "5 nodes, the space at most 4"),
        (SearchSpace("mine", ("conv",), 3), "type 3"),
    ]:
        with pytest.raises(OpembedError, match=reason):
            ArchDataset.from_scores("mine", other, batch, scores)
    batch.adj[7, 1, 2] = False
    with pytest.raises(OpembedError, match="architecture 7: .* node i feeds node i . 1"):
        ArchDataset.from_scores("mine", space, batch, scores)


def test_a_split_of_another_kind_is_not_saved(tmp_path):
    data = own_data()
    other = ArchDataset("mine", data.space, data.batch, data.accuracy, torch.arange(40), 30)
    for bad, path, reason in [
        (other, tmp_path / "mine.jsonl", "its split"),
        (data, tmp_path / "mine.txt", "ends in .jsonl"),
        (load_dataset(), tmp_path / "digits.jsonl", "taken"),
    ]:
        with pytest.raises(OpembedError, match=reason):
            bad.save(path)
    assert list(tmp_path.iterdir()) == [] and other.digest() != data.digest()


def test_whatever_makes_a_data_set_is_read_again_as_it_was(tmp_path):
    data = own_data(groups=list(np.arange(40) // 2), task="a lone \udc80, an ä and a \n")
    data.save(tmp_path / "mine.jsonl")
    again = load_dataset(str(tmp_path / "mine.jsonl"))
    assert again.digest() == data.digest() and again.about == data.about
    assert again.groups == data.groups == tuple(k // 2 for k in range(40))


def test_home_is_the_same_folder_for_writing_and_for_reading(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    own_data().save("~/mine.jsonl")
    assert len(load_dataset("~/mine.jsonl")) == 40
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x.jsonl", "x" * 300 + ".jsonl"])
def test_a_path_that_no_system_has_is_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for act in (load_dataset, own_data().save):
        with pytest.raises(OpembedError, match="; give another path") as e:
            act(path)
        assert "\n" not in str(e.value)
    with pytest.raises(OpembedError, match="cannot be written"):
        write_whole(tmp_path / ("x" * 250), b"")  # the part's name is longer
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_of_no_listed_wiring_is_told_so():
    space = SearchSpace("two", ("conv",), 2, False, wirings=("0 0 1,2",))
    batch = random_architectures(40, SearchSpace("free", ("conv",), 2, False), generator(0))
    with pytest.raises(OpembedError, match="in one of the wirings that the space lists"):
        ArchDataset.from_scores("mine", space, batch, torch.rand(40))


def test_batches_of_two_lengths_are_not_compared():
    batch = random_architectures(6, generator=generator(0))
    with pytest.raises(OpembedError, match="same_graphs: 6 graphs and 1; give equally many"):
        same_graphs(batch, batch[:1])


def test_a_folder_that_lacks_the_file_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEMBED_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(OpembedError, match="OPEMBED_DATA names .*nowhere, which holds no") as e:
        find_file(server.source("/missing"), tmp_path / "cache")
    assert "\n" not in str(e.value)


def test_a_field_that_stands_twice_is_named(own_lines, tmp_path):
    lines = [*own_lines[:2], own_lines[2].replace('"score"', '"score": 1, "score"'), *own_lines[3:]]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    with pytest.raises(OpembedError, match="line 3: field 'score' stands twice"):
        load_dataset(str(tmp_path / "mine.jsonl"))


@pytest.fixture(scope="module")
def own_lines(tmp_path_factory) -> list[str]:
    file = tmp_path_factory.mktemp("own") / "mine.jsonl"
    own_data().save(file)
    return file.read_text(encoding="utf-8").splitlines()


def changed(line: str, **fields) -> str:
    "The line with other fields; None: without the field."
    row = {**json.loads(line), **fields}
    return json.dumps({k: v for k, v in row.items() if v is not None})


CHAIN = ["input", "conv", "output"]


@pytest.mark.parametrize(
    ("number", "change", "reason"),
    [
        (1, {"name": None}, "field 'name' is missing"),
        (1, {"space": None}, "field 'space' is missing"),
        (1, {"name": "../../etc"}, "name '../../etc' is no plain folder name"),
        (1, {"name": 3}, "field 'name' is 3, not of type str"),
        (1, {"seed": "0"}, "field 'seed' is \"0\", not of type int"),
        (1, {"higher_is_better": 1}, "field 'higher_is_better' is 1, not of type bool"),
        (1, {"higherisbetter": True}, "field 'higherisbetter' is unknown; known are name, space"),
        (1, {"space": {"name": "x"}}, "space: field 'operations' is missing"),
        (
            1,
            {"space": {"name": "x", "operations": [1], "layers": 4, "chain": False}},
            "operations are names",
        ),
        (
            1,
            {"space": {"name": "x", "operations": ["a"], "layers": 10**9, "chain": False}},
            "1000000000 layers",
        ),
        (
            1,
            {"space": {"name": "x", "operations": ["a"], "layers": 1.5, "chain": False}},
            "'layers' is 1.5",
        ),
        (3, {"score": "0.5"}, "field 'score' is \"0.5\", not of type int or float"),
        (3, {"score": True}, "field 'score' is true"),
        (3, {"score": float("nan")}, "score NaN is no finite number"),
        (3, {"score": 1e300}, "score 1e+300 is no finite number"),
        (3, {"score": 10**400}, "is no finite number"),
        (
            3,
            {"nodes": ["input", "kanv", "output"]},
            'node "kanv" is not one of input, output, conv, max pool',
        ),
        (3, {"nodes": ["input", 2, "output"]}, "node 2 is not one of"),
        (3, {"nodes": ["input", ["conv"], "output"]}, 'node ["conv"] is not one of'),
        (3, {"nodes": []}, "0 vertices"),
        (3, {"nodes": ["input"] * 10_000, "edges": []}, "10000 vertices"),
        (3, {"nodes": CHAIN, "edges": [[0, 1], [1, 9]]}, "edge 1 → 9 does not lead"),
        (3, {"nodes": CHAIN, "edges": [[1, 0]]}, "edge 1 → 0 does not lead"),
        (3, {"nodes": CHAIN, "edges": [[0, 1], [1, 2], [0, 1]]}, "an edge twice"),
        (3, {"nodes": CHAIN, "edges": [[0, 1, 2]]}, "edge [0, 1, 2] is no pair"),
        (3, {"nodes": CHAIN, "edges": [[0, True]]}, "edge [0, true] is no pair"),
        (3, {"nodes": CHAIN, "edges": "0 1"}, "field 'edges' is \"0 1\""),
        (3, {"nodes": CHAIN, "edges": [[0, 1]]}, "it is none of space mine"),
        (
            3,
            {"nodes": ["conv", "conv", "output"], "edges": [[0, 1], [1, 2]]},
            "it is none of space mine",
        ),
        (3, {"edges": None}, "field 'edges' is missing"),
        (3, {"weight": 3}, "field 'weight' is unknown; known are nodes, edges, score, group"),
        (3, {"group": 1}, "either all lines have a group, or none"),
    ],
)
def test_a_broken_file_of_ones_own_is_named_by_line_and_field(
    tmp_path, own_lines, number, change, reason
):
    lines = list(own_lines)
    lines[number - 1] = changed(lines[number - 1], **change)
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(OpembedError) as e:
        load_dataset(str(file))
    assert str(e.value).startswith(f"{file}, line {number}") and reason in str(e.value)
    assert "\n" not in str(e.value) and len(str(e.value)) < 1000


@pytest.mark.parametrize(
    "line", ["", "x", "[]", "3", "[" * 100_000, '{"nodes": 1', "1" * 5000, '"' + "a" * 9999]
)
@pytest.mark.parametrize("number", [1, 4])
def test_a_line_that_is_no_object_is_named(tmp_path, own_lines, line, number):
    file, lines = tmp_path / "mine.jsonl", list(own_lines)
    lines[number - 1] = line
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(OpembedError) as e:
        load_dataset(str(file))
    assert str(e.value).startswith(f"{file}, line {number}: ")
    assert "\n" not in str(e.value) and len(str(e.value)) < 1000


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_file_of_ones_own_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "mine.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OpembedError, match="mine.jsonl"):
        load_dataset(str(file))


def test_a_file_by_hand_needs_no_more_than_it_says(tmp_path):
    space = {"name": "hand", "operations": ["conv", "pool"], "layers": 2, "chain": True}
    rows = [
        {"nodes": ["input", "conv", "output"], "edges": [[0, 1], [1, 2]], "score": i}
        for i in range(20)
    ]
    file = tmp_path / "hand.jsonl"
    lines = [{"name": "by-hand", "space": space}, *rows]
    file.write_text("\r\n".join(map(json.dumps, lines)), encoding="utf-8-sig")
    data = load_dataset(str(file))
    assert data.higher_is_better and data.seed == 0 and len(data) == 20
    assert data.accuracy.tolist() == list(range(20)) and data.order.tolist() == split_rows(20)[0]


def test_a_data_set_is_found_from_here_or_from_the_project(tmp_path, monkeypatch):
    (tmp_path / "nbs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OPEMBED_RUNS", raising=False)
    own_data().save(Path("mine.jsonl"))
    save_record(run_folder("mine.jsonl", "dvae"), "made", {"x": 1}, 0)
    for folder in (tmp_path, tmp_path / "nbs"):
        monkeypatch.chdir(folder)
        for path in ("mine.jsonl", "~/mine.jsonl", str(tmp_path / "mine.jsonl")):
            assert absolute_dataset(path) == str(tmp_path / "mine.jsonl")
            assert load_dataset(path).name == dataset_name(path) == "mine"
            assert run_folder(path, "dvae", 3, "live") == tmp_path / "runs/live/mine/dvae/seed-3"
            assert read_records(tmp_path / "runs", "made", "live", path)[0]["values"] == {"x": 1}
    assert absolute_dataset("enas-digits") == dataset_name("enas-digits") == "enas-digits"
    for call in (absolute_dataset, dataset_name, load_dataset):
        with pytest.raises(OpembedError, match="dataset 'mine' is unknown"):
            call("mine")


def test_what_a_data_set_is_for_is_its_property():
    assert about("enas-cifar10").paper and not about("enas-digits").paper
    assert load_dataset().about == about("enas-digits") == SOURCES["enas-digits"].about
    assert about("enas-digits").oracle == "supernet" and about("enas-digits").network == "digits"
    assert own_data().about == about("mine") and about("mine").oracle == "surrogate"
    assert own_data(task="seconds").about.task == "seconds"


def test_another_default_type_changes_nothing():
    before = own_data()
    torch.set_default_dtype(torch.double)
    try:
        assert load_dataset().accuracy.dtype == torch.float32
        after = ArchDataset.from_scores("mine", before.space, before.batch, before.accuracy)
    finally:
        torch.set_default_dtype(torch.float32)
    assert after.digest() == before.digest() and after.train.target.dtype == torch.float32


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["input", "conv", "x"]),
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


def test_a_file_with_no_architectures_is_named(tmp_path, own_lines):
    file = tmp_path / "mine.jsonl"
    file.write_text(own_lines[0] + "\n", encoding="utf-8")
    with pytest.raises(OpembedError, match="mine.jsonl: 0 architectures; 10 at least"):
        load_dataset(str(file))


def test_a_data_set_of_20000_is_read_in_seconds(tmp_path):
    space = SearchSpace("mine", ENAS.operations, 6, chain=False)
    batch = random_architectures(20_000, space, generator(0))
    scores = torch.rand(20_000, generator=generator(0))
    ArchDataset.from_scores("mine", space, batch, scores).save(tmp_path / "mine.jsonl")
    start = time.process_time()
    assert len(load_dataset(str(tmp_path / "mine.jsonl"))) == 20_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize("device", ["cuda:7", "gpu"])
def test_a_device_that_is_not_there_is_named(device):
    named = f"device '{device}': .*; name another, cpu for one"
    with pytest.raises(OpembedError, match=named) as e:
        chosen_device(device)
    assert "\n" not in str(e.value)
    assert chosen_device("cpu") == "cpu"
    assert chosen_device("") == chosen_device() in ("cpu", "cuda")
