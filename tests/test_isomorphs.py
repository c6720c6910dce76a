"One graph for all that a benchmark takes for the same architecture, and the table as an oracle."

import itertools
import pickle
import random
import time

import pytest
import torch
from networkx import vf2pp_is_isomorphic
from test_data import generator
from test_sources import loaded

from opembed_nb.data import (
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    codes,
    random_architectures,
    same_graphs,
    validity,
    wiring_tensor,
)
from opembed_nb.hood.files import refused
from opembed_nb.hood.formats import from_keys, to_networkx
from opembed_nb.hood.isomorphs import canonical, in_one_order, skips_first
from opembed_nb.hood.sources import CELLS, GNNS, load_dataset
from opembed_nb.oracle import Oracle, TableOracle, load_oracle


def relabelled(batch, seed=0):
    "The same graphs, their nodes in topological orders drawn at random."
    draw, ops, adj = random.Random(seed), batch.ops.clone(), batch.adj.clone()
    for b in range(len(batch)):
        n, order, edges = int(batch.n_nodes[b]), [0], batch.adj[b].tolist()
        while len(order) < n:
            ready = [
                v
                for v in range(n)
                if v not in order and all(u in order for u in range(n) if edges[u][v])
            ]
            order.append(draw.choice(ready))
        ops[b, :n] = batch.ops[b, order]
        adj[b, :n, :n] = batch.adj[b][order][:, order]
    return DAGBatch(ops, adj, batch.n_nodes)


def test_isomorphic_graphs_become_equal():
    space = SearchSpace("free", ("a", "b"), 5, chain=False)
    graphs = random_architectures(60, space, generator(), p_skip=0.3)
    first = in_one_order(graphs)
    assert validity(first, space).all() and same_graphs(in_one_order(first), first).all()
    for seed in range(3):
        assert same_graphs(in_one_order(relabelled(graphs, seed)), first).all()


def test_graphs_that_differ_stay_different():
    space = SearchSpace("free", ("a", "b"), 3, chain=False)
    graphs = random_architectures(60, space, generator(), p_skip=0.4)
    rows, objects = codes(in_one_order(graphs)), to_networkx(graphs, space)
    pairs = list(itertools.combinations(range(60), 2))
    same = [vf2pp_is_isomorphic(objects[a], objects[b], node_label="type") for a, b in pairs]
    assert any(same) and not all(same)
    assert [bool((rows[a] == rows[b]).all()) for a, b in pairs] == same


def test_graphs_of_several_depths_and_none():
    deep = SearchSpace("free", ("a", "b"), 5, chain=False)
    parts = [
        random_architectures(10, SearchSpace("s", ("a", "b"), n, chain=False), generator(n))
        for n in (1, 5, 3)
    ]
    batch = cat_batches(parts)
    assert same_graphs(in_one_order(relabelled(batch)), in_one_order(batch)).all()
    assert len(canonical(batch[:0], deep)) == 0
    wide = random_architectures(2, SearchSpace("w", ("a",), 9, chain=False))
    assert "11 nodes" in refused(canonical, wide, deep)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_graphs_of_hardly_any_nodes_have_one_order(n):
    "A decoder writes them now and then."
    ops, adj = torch.zeros(1, n, dtype=torch.long), torch.zeros(1, n, n, dtype=torch.bool)
    adj[0, 0, 1:] = True
    graph = DAGBatch(ops, adj, torch.tensor([n]))
    assert same_graphs(in_one_order(graph), graph).all()


# NAS-Bench-Graph


def trees():
    "All graph neural networks of four layers: each hears one earlier, leaves feed the output."
    kinds = torch.tensor(list(itertools.product(range(2, GNNS.n_types), repeat=4)))
    ops = torch.nn.functional.pad(kinds, (1, 1))
    ops[:, -1] = GNNS.OUTPUT
    for parents in itertools.product([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]):
        leaves = [str(v) for v in range(1, 5) if v not in parents]
        line = " ".join(map(str, parents)) + " " + ",".join(leaves)
        space = SearchSpace("tree", GNNS.operations, 4, chain=False, wirings=(line,))
        adj = wiring_tensor(space).repeat(len(ops), 1, 1)
        yield DAGBatch(ops, adj, torch.full((len(ops),), 6))


def test_every_architecture_finds_its_row(gnns):
    table, rows = TableOracle(gnns), set()
    for batch in trees():
        skips_only = (batch.ops[:, 1:-1] == GNNS.types.index("skip")).all(1)
        assert torch.equal(table.holds(batch), ~skips_only)  # which compute nothing
        rows |= set(map(tuple, codes(canonical(batch[~skips_only], GNNS)).tolist()))
    assert len(rows) == len(gnns) == 26_206  # and no row is left over


def test_skips_that_make_no_difference_stand_at_the_front():
    def tree(parents, *names):
        leaves = [v for v in range(1, 5) if v not in parents]
        adj = torch.zeros(1, 6, 6, dtype=torch.bool)
        for v, u in enumerate(parents, 1):
            adj[0, u, v] = True
        adj[0, leaves, 5] = True
        ops = torch.tensor([[0, *(GNNS.types.index(name) for name in names), 1]])
        return DAGBatch(ops, adj, torch.tensor([6]))

    def same(a, b):
        return bool(same_graphs(canonical(a, GNNS), canonical(b, GNNS)).all())

    chain = tree((0, 1, 2, 3), "skip", "gcn", "gat", "gin")
    assert same(tree((0, 1, 2, 3), "gcn", "skip", "gat", "gin"), chain)
    assert same(tree((0, 1, 2, 3), "gcn", "gat", "gin", "skip"), chain)
    assert not same(tree((0, 1, 2, 3), "skip", "gat", "gcn", "gin"), chain)
    # a skip that hands the input itself to the output, and one that hands it a hidden state
    front = tree((0, 1, 1, 1), "skip", "gcn", "gat", "gin")
    assert same(tree((0, 0, 0, 0), "gcn", "skip", "gat", "gin"), front)
    beside = tree((0, 1, 1, 1), "gcn", "skip", "gat", "gin")
    assert same_graphs(skips_first(beside), beside).all() and not same(beside, front)


# The table as an oracle


@pytest.mark.parametrize("name", ["cells", "gnns"])
def test_the_table_says_what_the_data_say(name, request):
    data = request.getfixturevalue(name)
    table = load_oracle(data, "cpu")
    assert isinstance(table, TableOracle) and isinstance(table, Oracle)
    assert table.space == data.space and data.name in table.name
    start = time.process_time()
    assert torch.equal(table(data.batch), data.accuracy)
    assert time.process_time() - start < 5
    assert table.best == float(data.accuracy.max())
    some = torch.randperm(len(data), generator=generator())[:300]
    moved = relabelled(data.batch[some])
    assert not same_graphs(moved, data.batch[some]).all()
    assert torch.equal(table(moved), data.accuracy[some]) and table.holds(moved).all()
    known = data.accuracy if data.test_score is None else data.test_score
    assert torch.equal(table.test(moved), known[some])


def test_a_table_travels_and_has_a_version(cells):
    table = TableOracle(cells)
    again = pickle.loads(pickle.dumps(table))
    assert again.version == table.version and torch.equal(
        again(cells.batch[:9]), table(cells.batch[:9])
    )
    assert TableOracle(load_dataset("nas-bench-201/cifar100")).version != table.version
    assert table(cells.batch[:0]).shape == (0,)


def test_what_is_not_in_the_table_is_said(cells, gnns):
    table, free = TableOracle(cells), SearchSpace("free", CELLS.operations, 6, chain=False)
    other = random_architectures(4, free, generator())
    mixed = cat_batches([cells.batch[:2], other])
    assert table.holds(mixed).tolist() == [True, True, False, False, False, False]
    said = refused(table, mixed)
    assert "architecture 2 of 6" in said and "is not in it" in said and "\n" not in said
    assert "batch is not of space" in refused(
        table,
        gnns.batch[:1].__class__(
            gnns.batch.ops[:1] + 7, gnns.batch.adj[:1], gnns.batch.n_nodes[:1]
        ),
    )
    few = TableOracle(loaded("nas-bench-graph/proteins"))
    assert 0 < int(few.holds(gnns.batch).sum()) == 2021
    assert "is not in it" in refused(few, gnns.batch)


def test_a_table_of_your_own():
    space = SearchSpace("mine", ("a", "b"), 3, chain=False)
    batch = in_one_order(random_architectures(200, space, generator()))
    first = codes(batch).unique(dim=0, return_inverse=True)[1]
    rows = torch.stack([(first == k).nonzero()[0, 0] for k in range(int(first.max()) + 1)])
    scores = torch.arange(len(rows), dtype=torch.float32)
    data = ArchDataset.from_scores("mine", space, batch[rows], scores, higher_is_better=False)
    table = TableOracle(data)
    assert torch.equal(table(relabelled(batch[rows])), -scores) and table.best == 0
    twice = ArchDataset.from_scores(
        "twice",
        space,
        cat_batches([batch[rows], relabelled(batch[rows])[:9]]),
        range(len(rows) + 9),
    )
    assert "are isomorphic to" in refused(TableOracle, twice)


def test_a_search_in_a_table_stays_in_it(gnns, tmp_path):
    from opembed_nb.bo import Evolution, RandomArchitectures, make_problem, open_ledger, search
    from opembed_nb.training import build_model

    model = build_model("dvae-emb", GNNS, hidden=16, latent=8, seed=0).eval()
    problem = make_problem(model, gnns, load_oracle(gnns), inducing=20, n_train=60)
    ledger = open_ledger(tmp_path, problem, decodings=2, candidates=50, batch_size=5)
    strategies = {"evolution": Evolution(), "chance": RandomArchitectures()}
    search(problem, strategies, ledger, trials=1, rounds=2, q=5)
    for name in strategies:
        rows = ledger.rows(name)
        assert [row.state for row in rows] == ["done"] * 10
        found = from_keys([row.architecture for row in rows], GNNS)
        values = torch.tensor([row.value for row in rows])
        assert torch.allclose(problem.oracle(found), values)
