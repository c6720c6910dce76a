"Decoders: sampling is right in distribution, scores are probabilities, samples are valid graphs."

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from opembed_nb.data import (
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    codes,
    random_architectures,
    same_graphs,
)
from opembed_nb.decoder import DAGDecoder, GraphRNNDecoder, SequenceDecoder
from opembed_nb.training import MODELS, build_model

SPACE = SearchSpace("small", ("a", "b"), 2)  # 4 nodes, 4 types: 79 graphs can be written
each_model = pytest.mark.parametrize("name", MODELS)
quick = settings(deadline=None, max_examples=15)


def build(name, space=SPACE, seed=0, scale=2.0, hidden=6, latent=3):
    "A model whose distributions are far from uniform, and a latent."
    model = build_model(name, space, hidden, latent, seed=seed).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    return model, torch.randn(1, latent, generator=torch.Generator().manual_seed(seed))


# What a decoder can write, from its own step distributions:
# one decision after the other, as a tree.


def ended(types, edges, space):
    "The graph with an output node behind it that is joined to all loose ends, too."
    v = len(types)
    loose = {(u, v) for u in range(v)} - {(u, v) for u, _ in edges}
    return (*types, space.OUTPUT), frozenset(edges | loose)


def graph_state(decoder, states):
    "What is read of the nodes so far: the last one, their sum, or in free spaces their messages."
    if not decoder.space.chain:
        return sum(decoder.message(state, u) for u, state in enumerate(states))
    return sum(states) if decoder.graph_state == "sum" else states[-1]


def dag_tree(decoder, z, table, decide):
    space, found = decoder.space, Counter()

    def new_node(types, edges, states, p):
        if len(types) == space.max_nodes - 1:
            return node_of_type(space.OUTPUT, types, edges, states, p)
        logits = decoder.type_head(graph_state(decoder, states))
        for kind, q in enumerate(decide(logits.softmax(1))[0].tolist()):
            if p * q:
                node_of_type(kind, types, edges, states, p * q)

    def node_of_type(kind, types, edges, states, p):
        if kind == space.OUTPUT and space.chain:
            found[ended(types, edges, space)] += p
            return
        received = torch.zeros_like(states[0])
        state = decoder.cell(table[kind][None], received)
        new_edge((*types, kind), edges, states, state, received, len(types) - 1, p)

    def new_edge(types, edges, states, state, received, u, p):
        if u < 0 and types[-1] == space.OUTPUT:
            found[ended(types[:-1], edges, space)] += p
            return
        if u < 0:
            return new_node(types, edges, [*states, state], p)
        read = [states[u], state]
        if not space.chain:
            read = [decoder.message(states[u], u), state, graph_state(decoder, states)]
        q = float(decide(two(decoder.edge_head(torch.cat(read, 1))))[0, 1])
        if q < 1:
            new_edge(types, edges, states, state, received, u - 1, p * (1 - q))
        if q > 0:
            received = received + decoder.message(states[u], u)
            state = decoder.cell(table[types[-1]][None], received)
            new_edge(types, edges | {(u, len(types) - 1)}, states, state, received, u - 1, p * q)

    first = decoder.cell(table[space.INPUT][None], torch.tanh(decoder.start(z)))
    new_node((space.INPUT,), frozenset(), [first], 1.0)
    return found


def row_tree(decoder, z, table, decide):
    """Both sequence decoders, all beginnings of a size at a time: a node's type, then its bits,
    those that no edge can have as well."""
    space, found, N = decoder.space, Counter(), decoder.space.max_nodes
    graphrnn, from_z = isinstance(decoder, GraphRNNDecoder), torch.relu(decoder.start(z))
    begun, p = [((space.INPUT,), frozenset())], torch.ones(1).double()
    state = from_z if graphrnn else torch.zeros_like(from_z)
    row = torch.zeros(1, table.shape[1] + N - 1) if graphrnn else from_z
    for v in range(1, N - 1):
        state = decoder.cell(row, state)
        chance = p[:, None] * decide(decoder.type_head(state).softmax(1))
        for (types, edges), q in zip(begun, chance[:, space.OUTPUT].tolist(), strict=True):
            found[ended(types, edges, space)] += q
        chance[:, space.OUTPUT] = 0
        rows, kinds = chance.nonzero().T
        p, state = chance[rows, kinds], state[rows]
        bits, along = torch.zeros(len(rows), 0), state
        for u in range(N - 1):
            if graphrnn:
                last = bits[:, -1:] if u else torch.zeros(len(bits), 1)
                along = decoder.edge_cell(last, along)
                logit = decoder.edge_head(along)
            else:
                logit = decoder.edge_head(state)[:, u : u + 1]
            chance = p[:, None] * decide(two(logit))
            if not graphrnn and u >= v:  # read by nobody and part of no graph
                chance = torch.stack([p, torch.zeros_like(p)], 1)
            old, bit = chance.nonzero().T
            rows, kinds, bits, state, along = (x[old] for x in (rows, kinds, bits, state, along))
            p, bits = chance[old, bit], torch.cat([bits, bit[:, None]], 1)
        row = torch.cat([table[kinds], bits], 1) if graphrnn else from_z.expand(len(p), -1)
        begun = [
            ((*begun[i][0], kind), begun[i][1] | {(u, v) for u in range(v) if own[u]})
            for i, kind, own in zip(rows.tolist(), kinds.tolist(), bits.tolist(), strict=True)
        ]
    for (types, edges), q in zip(begun, p.tolist(), strict=True):
        found[ended(types, edges, space)] += q
    return found


def two(logit):
    p = logit.sigmoid()
    return torch.cat([1 - p, p], 1)


def as_drawn(p):
    return p.double()


def as_likelier(p):
    return torch.nn.functional.one_hot(p.argmax(1), p.shape[1]).double()


@torch.no_grad()
def tree(model, z, decide=as_drawn):
    walk = dag_tree if isinstance(model.decoder, DAGDecoder) else row_tree
    found = walk(model.decoder, z, model.embedding.table(), decide)
    return {graph: p for graph, p in found.items() if p}


def keys(batch):
    def key(ops, adj, n):
        return tuple(ops[:n]), frozenset((u, v) for u in range(n) for v in range(n) if adj[u][v])

    return list(map(key, batch.ops.tolist(), batch.adj.tolist(), batch.n_nodes.tolist()))


def p_value(batch, probability):
    "Pearson's chi-square test of how often graphs were drawn; rare ones are counted together."
    n, (_, kind, many) = (
        len(batch),
        codes(batch).unique(dim=0, return_inverse=True, return_counts=True),
    )
    place = torch.zeros_like(many).index_put_((kind,), torch.arange(n))  # of each kind of graph
    observed = Counter(dict(zip(keys(batch[place]), many.tolist(), strict=True)))
    assert observed.keys() <= probability.keys(), "a graph was drawn that cannot be written"
    cells, rest = [], [0, 0.0]
    for graph, p in probability.items():
        if n * p >= 8:
            cells.append((observed[graph], n * p))
        else:
            rest = [rest[0] + observed[graph], rest[1] + n * p]
    cells += [rest] if rest[1] >= 8 else []
    return chi2.sf(sum((o - e) ** 2 / e for o, e in cells), len(cells) - 1), len(cells)


def assert_independent(batch, probability):
    "Two graphs in a row are equal as often as two that know nothing of each other."
    same = float(same_graphs(batch[::2], batch[1::2]).double().mean())
    expected = sum(p * p for p in probability.values())
    assert abs(same - expected) < 4 * (expected * (1 - expected) / (len(batch) // 2)) ** 0.5


FREE = SearchSpace("free", ("a",), 2, chain=False)  # the output's edges are drawn, too
DEEPER = SearchSpace("deeper", ("a",), 3)  # 5 nodes, 3 types
DRAWN = [(name, SPACE, 2.0, 0, 79, 12) for name in MODELS]  # … seed, graphs, cells of the test
DRAWN += [(name, DEEPER, 1.5, 0, 549, 40) for name in ("dvae", "gcn-emb", "svae", "graphrnn")]
DRAWN += [(name, FREE, 2.0, seed, 91, 12) for name in ("dvae", "gcn-emb") for seed in (0, 1)]


@pytest.mark.parametrize("name, space, scale, seed, graphs, cells", DRAWN, ids=str)
def test_graphs_are_drawn_as_often_as_the_steps_say(name, space, scale, seed, graphs, cells):
    model, z = build(name, space, seed, scale)
    probability = tree(model, z)
    assert len(probability) == graphs and sum(probability.values()) == pytest.approx(1, abs=1e-5)
    drawn = model.sample(z.expand(50000, -1), torch.Generator().manual_seed(seed))
    p, found = p_value(drawn, probability)
    assert found >= cells and p > 1e-5, f"p = {p:.1e} with {found} cells"


@pytest.mark.parametrize("name", ["dvae", "gcn", "svae", "graphrnn"])
def test_a_small_error_in_the_steps_would_be_seen(name):
    model, z = build(name)
    drawn = model.sample(z.expand(40000, -1), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.decoder.edge_head[2].bias += 0.15
    assert p_value(drawn, tree(model, z))[0] < 1e-6


@each_model
def test_the_likelier_choice_is_taken_when_nothing_is_drawn(name):
    for seed in range(8):
        model, z = build(name, seed=seed)
        ((graph, p),) = tree(model, z, as_likelier).items()
        assert keys(model.sample(z, stochastic=False)) == [graph] and p == 1


@each_model
def test_rows_are_drawn_independently(name):
    model, z = build(name)
    probability = tree(model, z)
    assert_independent(
        model.sample(z.expand(20000, -1), torch.Generator().manual_seed(2)), probability
    )


@each_model
def test_graphs_that_share_states_are_drawn_as_often_and_independently(name):
    model, _ = build(name)
    z = torch.randn(3, 3, generator=torch.Generator().manual_seed(6)) * 2
    drawn = model.sample(z, torch.Generator().manual_seed(1), repeats=12000)
    for i in range(3):
        mine, probability = drawn[12000 * i : 12000 * (i + 1)], tree(model, z[i : i + 1])
        assert p_value(mine, probability)[0] > 1e-5
        assert_independent(mine, probability)


@each_model
def test_each_row_of_z_has_its_own_graphs(name):
    model, _ = build(name)
    z = torch.randn(3, 3, generator=torch.Generator().manual_seed(5)) * 2
    g, table = torch.Generator().manual_seed(0), model.embedding.table()
    drawn = model.decoder.sample(z.repeat(8000, 1), table, g, chunk=1000)
    for i in range(3):
        assert p_value(drawn[i::3], tree(model, z[i : i + 1]))[0] > 1e-5


# Scoring


def all_graphs(space):
    "Every graph that unforced decisions can write: it ends at its first output, or is full."
    graphs = []

    def grow(types, edges):
        v = len(types)
        if v > 1 and (types[-1] == space.OUTPUT or v == space.max_nodes):
            graphs.append((types, edges))
            return
        for kind in range(space.n_types):
            for bits in range(2**v):
                grow([*types, kind], edges + [(u, v) for u in range(v) if bits >> u & 1])

    grow([space.INPUT], [])
    N = space.max_nodes
    ops = torch.zeros(len(graphs), N, dtype=torch.long)
    adj = torch.zeros(len(graphs), N, N, dtype=torch.bool)
    for b, (types, edges) in enumerate(graphs):
        ops[b, : len(types)] = torch.tensor(types)
        for u, v in edges:
            adj[b, u, v] = True
    return DAGBatch(ops, adj, torch.tensor([len(types) for types, _ in graphs]))


@each_model
def test_scores_without_padding_are_a_probability(name):
    space = SearchSpace("small", ("a",), 2)
    graphs = check_batch(all_graphs(space), space)
    assert len(graphs) == 2 + 4 * (4 + 8 * 24)
    model, z = build(name, space, scale=1.5)
    with torch.no_grad():
        z, table = z.expand(len(graphs), -1), model.embedding.table()
        log_p = model.decoder.log_prob(z, graphs, table, padding=False)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["dvae", "dvae-emb", "gcn", "gcn-emb", "svae", "svae-emb"])
def test_sampling_and_scoring_agree(name):
    """Under forced ends a graph is drawn with the probability of its other decisions:
    that of the graph without its output.
    (Not GraphRNN's, which also draws and reads bits that no edge can have.)"""
    model, z = build(name)
    full = [(graph, p) for graph, p in tree(model, z).items() if len(graph[0]) == SPACE.max_nodes]
    ops = torch.tensor([graph[0] for graph, _ in full])
    adj = torch.zeros(len(full), 4, 4, dtype=torch.bool)
    for b, ((_, edges), _) in enumerate(full):
        for u, v in edges:
            adj[b, u, v] = v < 3
    ops[:, 3] = 0
    without_end = DAGBatch(ops, adj, torch.full((len(full),), 3))
    with torch.no_grad():
        z, table = z.expand(len(full), -1), model.embedding.table()
        scored = model.decoder.log_prob(z, without_end, table, padding=False)
    assert torch.allclose(scored.exp(), torch.tensor([p for _, p in full]), rtol=1e-4, atol=1e-8)


@each_model
def test_padding_costs_small_graphs_alone(name):
    space = SearchSpace("small", ("a", "b", "c"), 5)
    model, _ = build(name, space)
    shallow = SearchSpace("small", space.operations, 3)
    small = random_architectures(6, shallow, torch.Generator().manual_seed(0))
    full = random_architectures(6, space, torch.Generator().manual_seed(0))
    z, table = torch.randn(6, 3), model.embedding.table()
    with torch.no_grad():
        padded = model.decoder.log_prob(z, small, table)
        assert (padded < model.decoder.log_prob(z, small, table, padding=False)).all()
        gap = model.decoder.log_prob(z, full, table, padding=False)
        gap = gap - model.decoder.log_prob(z, full, table)
    assert (gap == 0).all() if isinstance(model.decoder, DAGDecoder) else (gap > 0).all()


# Properties


@quick
@given(
    st.sampled_from(list(MODELS)),
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
)
def test_sampled_graphs_are_graphs_of_the_space(name, seed, operations, layers, chain, stochastic):
    space = SearchSpace("drawn", tuple("abcd"[:operations]), layers, chain)
    model, _ = build(name, space, seed=seed, scale=3.0)
    z = 2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(seed))
    batch = check_batch(model.sample(z, torch.Generator().manual_seed(seed), stochastic), space)
    assert batch.ops.shape == (50, space.max_nodes)
    assert batch.adj.shape == (50, space.max_nodes, space.max_nodes)
    last = torch.nn.functional.one_hot(batch.n_nodes - 1, space.max_nodes).bool()
    assert ((batch.ops == space.OUTPUT) == last).all()  # one output, at the end
    assert (batch.ops[:, 0] == space.INPUT).all() and (batch.ops[~batch.mask] == 0).all()
    has_successor = batch.adj.any(2)
    assert (has_successor == (batch.mask & ~last)).all()  # no loose end
    again = model.sample(z, torch.Generator().manual_seed(seed), stochastic)
    assert same_graphs(batch, again).all()


@each_model
def test_chunks_and_no_rows_at_all(name):
    model, _ = build(name)
    z, table = torch.randn(37, 3), model.embedding.table()
    whole = model.decoder.sample(z, table, stochastic=False)
    assert same_graphs(whole, model.decoder.sample(z, table, stochastic=False, chunk=10)).all()
    assert len(model.sample(z[:0])) == 0 and model.sample(z[:0]).ops.shape[1] == SPACE.max_nodes


@pytest.mark.parametrize("kind", [DAGDecoder, SequenceDecoder, GraphRNNDecoder])
def test_decoders_are_built_alike(kind):
    decoder = kind(3, SPACE, 5, 4)
    z, table = torch.randn(7, 4), torch.randn(4, 3)
    shallow = SearchSpace("s", SPACE.operations, 1)
    graphs = cat_batches([random_architectures(5, SPACE), random_architectures(2, shallow)])
    assert decoder.log_prob(z, graphs, table).shape == (7,)
    assert decoder.log_prob(z, graphs, table, padding=False).shape == (7,)
    assert len(decoder.sample(z, table, stochastic=False, chunk=3)) == 7


@pytest.mark.parametrize("name", ["dvae-emb", "gcn", "svae-emb", "graphrnn"])
def test_the_output_of_a_free_space_reads_what_the_decoder_says(name):
    space = SearchSpace("free", ("a",), 1, chain=False)  # input, a, output
    model = build_model(name, space, 16, 6, seed=1).eval()
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    path = torch.tensor([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]]).bool()
    around = path.clone()
    around[0, 0, 2] = True  # the output reads the input, too, though a reads it already
    ops, sizes = torch.tensor([[0, 2, 1]] * 2), torch.tensor([3, 3])
    both = DAGBatch(ops, torch.cat([path, around]), sizes)
    with torch.no_grad():
        scores = model.decoder.log_prob(z.expand(2, -1), both, model.embedding.table())
        drawn = model.sample(z, torch.Generator().manual_seed(2), repeats=20_000)
    chance = float(scores.softmax(0)[1])
    assert check_batch(drawn, space) is drawn
    reads = [float(same_graphs(drawn, both[i].repeat(len(drawn))).sum()) for i in (0, 1)]
    assert abs(reads[1] / sum(reads) - chance) < 0.02 < chance < 0.98
