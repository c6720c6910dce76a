"Formats: numbers, nested lists, graphs of other libraries, keys."

import igraph
import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_data import any_graphs, generator, quick, seeds, spaces

from opembed_nb.data import (
    ENAS,
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    codes,
    random_architectures,
    same_graphs,
    validity,
)
from opembed_nb.hood.files import refused
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

SMALL = SearchSpace("free", ("a", "b"), 2, chain=False)


def nested_lists(space: SearchSpace):
    "One architecture of a chain space as ENAS writes it."
    layers = [
        st.tuples(st.integers(0, len(space.operations) - 1), *[st.integers(0, 1)] * i).map(list)
        for i in range(space.n_layers)
    ]
    return st.tuples(*layers).map(list)


@quick
@given(st.data(), st.integers(1, 9), st.integers(1, 8))
def test_nested_flat_and_tensors_are_one_architecture(data, operations, layers):
    space = SearchSpace("drawn", tuple("abcdefghi"[:operations]), layers)
    rows = data.draw(st.lists(nested_lists(space), min_size=1, max_size=5))
    batch = from_nested(rows, space)
    numbers = [[i for layer in row for i in layer] for row in rows]
    flat = [" ".join(map(str, row)) for row in numbers]
    assert to_nested(batch) == rows and to_flat(batch) == flat
    for written in (flat, numbers, torch.tensor(numbers)):
        assert same_graphs(from_flat(written, space), batch).all()
    assert validity(check_batch(batch, space), space).all()
    for b, row in enumerate(rows):  # node by node, from the protocol
        assert batch.ops[b].tolist() == [0, *(layer[0] + 2 for layer in row), 1]
        edges = {(i, i + 1) for i in range(layers + 1)}
        for i, layer in enumerate(row):
            edges |= {(j, i + 1) for j, skip in enumerate(layer[1:]) if skip}
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
    for write in (to_flat, to_nested, to_igraph, to_networkx):
        assert write(none) == []
    for read in (from_nested, from_igraph, from_networkx):
        assert len(read([])) == 0


def test_types_of_other_integer_kinds_are_read():
    kinds = ([0, 2, 1], [0.0, 2.0, 1.0], [*torch.tensor([0, 2, 1]).numpy()])
    batch = from_networkx([chain_of(types) for types in kinds])
    assert batch.ops.tolist() == [[0, 2, 1]] * 3 and batch.adj.sum() == 6


@quick
@given(spaces, seeds, st.floats(0, 1))
def test_every_graph_comes_back_from_its_key(space, seed, p):
    drawn = random_architectures(3, space, generator(seed), p)
    batch = cat_batches([any_graphs(3, space, seed, p), drawn])
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
    batch = random_architectures(3, space, generator())
    again = from_keys(to_keys(batch, space), space)
    assert torch.equal(again.ops, batch.ops) and torch.equal(again.adj, batch.adj)


# What is refused


def chain_of(types: list) -> networkx.DiGraph:
    "A path whose nodes have these types; None: no type."
    graph = networkx.path_graph(len(types), networkx.DiGraph)
    known = {v: t for v, t in enumerate(types) if t is not None}
    networkx.set_node_attributes(graph, known, "type")
    return graph


def igraph_of(edges, types=(0, 2, 1), directed=True):
    known = {"type": list(types)} if any(t is not None for t in types) else {}
    return igraph.Graph(len(types), edges, directed=directed, vertex_attrs=known)


def both(types):
    "Calls that read a good graph and one whose vertices have these types."
    edges = list(chain_of(types).edges)
    good, other = chain_of([0, 2, 1]), igraph_of([(0, 1), (1, 2)])
    yield lambda: from_networkx([good, chain_of(types)])
    yield lambda: from_igraph([other, igraph_of(edges, types)])


def chains_and(write):
    free = SearchSpace("free", ENAS.operations, 6, chain=False)
    chains, loose = (random_architectures(3, space, generator()) for space in (ENAS, free))
    loose = DAGBatch(loose.ops, loose.adj, loose.n_nodes)
    return lambda: write(cat_batches([chains, loose]))


PATH = chain_of([0, 2, 1])
TYPES = {  # the types of three vertices → what is wrong
    (0, None, 1): "graph 1: vertex 1 has no attribute 'type'",
    (None, None, None): "graph 1: vertex 0 has no attribute 'type'",
    (0, "2", 1): "graph 1: vertex 1: type '2' is no integer",
    (0, 2.5, 1): "graph 1: vertex 1: type 2.5 is no integer",
    (0, 2, float("nan")): "graph 1: vertex 2: type nan is no integer",
    (0, float("inf"), 1): "graph 1: vertex 1: type inf is no integer",
    (0, True, 1): "graph 1: vertex 1: type True is no integer",
    (0, (2,), 1): "graph 1: vertex 1: type (2,) is no integer",
    (0, 8, 1): "graph 1: vertex 1: type 8 is not one of 0 … 7",
    (0, -1, 1): "graph 1: vertex 1: type -1 is not one of 0 … 7",
    (): "graph 1: it has 0 vertices",
    (0, *[2] * 7, 1): "graph 1: it has 9 vertices",
}
KEYS = """0|:|0: 2:0 1:2|0: 2:0,0 1:1|0: 2:-1 1:1|0: 4:0 1:1|0: x:0 1:1|0: 2:0: 1:1|0:  2:0 1:1|
0: 2:0,x|0: 2.0:0|0: 2:0 2:1 2:2 2:3 1:4""".replace("\n", "").split("|")
KEYS += ["", "1:" * 9000, "0: " + "9" * 5000 + ":0", None, 7]
REFUSED = [  # (call, message)
    (lambda: from_flat("0 1"), "have 21 integers each, not 2"),
    (lambda: from_flat("a b c"), "invalid literal"),
    (lambda: from_flat([[0] * 21, [1] * 20]), "expected sequence of length 21"),
    (lambda: from_flat([[6] + [0] * 20]), "layer 0: operation 6 is not one of 0 … 5"),
    (lambda: from_flat([[-1] + [0] * 20]), "layer 0: operation -1 is not one of 0 … 5"),
    (lambda: from_flat([[0, 1, 2] + [0] * 18]), "layer 1: a skip is 0 or 1, not 2"),
    (lambda: from_flat([[None] * 21]), "'NoneType' object cannot be interpreted"),
    (lambda: from_flat([[0.7] + [0] * 20]), "'float' object cannot be interpreted"),
    (lambda: from_flat([["0.7"] + [0] * 20]), "invalid literal"),
    (lambda: from_flat(torch.full((1, 21), 0.7)), "of type torch.float32"),
    (lambda: from_flat("0", SearchSpace("free", ("a",), 1, chain=False)), "no chain"),
    (chains_and(to_flat), "graph 3 is no chain: a flat string would lose edges of it; `to_keys`"),
    (chains_and(to_nested), "graph 3 is no chain: a flat string would lose edges of it; `to_keys`"),
    *((call, reason) for types, reason in TYPES.items() for call in both(types)),
    (lambda: from_networkx([PATH.to_undirected()]), "graph 0: it is undirected"),
    (lambda: from_networkx([PATH.reverse()]), "graph 0: edge 1 → 0 does not lead from an earlier"),
    (
        lambda: from_networkx([networkx.relabel_nodes(PATH, {0: "in"})]),
        "graph 0: its nodes are not numbered 0 … 2",
    ),
    (
        lambda: from_networkx([networkx.MultiDiGraph([(0, 1), (0, 1)])]),
        "graph 0: vertex 0 has no attribute 'type'",
    ),
    (lambda: from_networkx([None]), "graph 0: a NoneType is no Graph"),
    # which igraph would take without a word
    (
        lambda: from_igraph([igraph_of([(0, 1), (1, 2)], directed=False)]),
        "graph 0: it is undirected",
    ),
    (lambda: from_igraph([igraph_of([(0, 1), (1, 2), (1, 2)])]), "graph 0: it has an edge twice"),
    (lambda: from_igraph([igraph_of([(0, 1), (1, 1)])]), "graph 0: edge 1 → 1 does not lead"),
    (lambda: from_igraph(igraph_of([(0, 1), (1, 2)])), "a list of graphs is needed"),
    (lambda: from_keys("0: 1:0", SMALL), "a list of keys is needed"),
    *((lambda key=key: from_keys([key], SMALL), f"key {str(key)[:200]!r}: ") for key in KEYS),
]


@pytest.mark.parametrize(
    ("call", "reason"), REFUSED, ids=lambda x: x[:60] if isinstance(x, str) else ""
)
def test_what_is_no_architecture_is_refused_in_one_line(call, reason):
    said = refused(call)
    assert reason in said and "\n" not in said and len(said) < 900
