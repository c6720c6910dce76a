"All models against a plain version in double precision; what each promises; what is refused."

import copy

import pytest
import torch
from common import refused_as
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from opembed_nb.data import (
    ENAS,
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    random_architectures,
)
from opembed_nb.decoder import DAGDecoder, SequenceDecoder
from opembed_nb.embeddings import OperationEmbedding
from opembed_nb.encoders import DVAEEncoder, GCNEncoder, GINEncoder
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.sweeps import product
from opembed_nb.training import MODELS, PAPER_TABLE_1, Parts, build_model, twin_pairs

each_model = pytest.mark.parametrize("name", MODELS)
quick = settings(deadline=None, max_examples=12)
FREE = SearchSpace("free", ("a", "b", "c"), 6, chain=False)
DEEP = SearchSpace("deep", ("a", "b", "c"), 12)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed_sizes(space, n, seed=0, p=0.4):
    "Graphs of 1 … n_layers layers, padded to the largest."
    shallower = [
        SearchSpace("s", space.operations, 1 + i % space.n_layers, space.chain) for i in range(n)
    ]
    return cat_batches(
        [random_architectures(1, part, generator(seed + i), p) for i, part in enumerate(shallower)]
    )


def build(name, space=ENAS, hidden=7, latent=4, seed=0):
    return build_model(name, space, hidden, latent, seed=seed).double().eval()


# The plain version: one graph, one node, one edge at a time;
# a graph is its types and its adjacency matrix without padding.


def message(part, state, place):
    e = torch.nn.functional.one_hot(torch.tensor([place]), part.gate.in_features - state.shape[1])
    h = torch.cat([state, e.to(state.dtype)], 1)
    return torch.sigmoid(part.gate(h)) * part.map(h)


def propagate(cell, part, table, ops, adj, order, first=None):
    states = {}
    for v in order:
        senders = (u for u in states if adj[u, v] or adj[v, u])
        received = sum(
            (message(part, states[u], u) for u in senders),
            torch.zeros(1, cell.hidden_size, dtype=table.dtype),
        )
        states[v] = cell(table[ops[v]][None], received if first is None or states else first)
    return states


def rows(table, ops, adj, N):
    "Rows 1 … N - 1: operation vector and incoming edges; past the end the input's, without edges."
    result = []
    for v in range(1, N):
        row = torch.zeros(1, N - 1, dtype=table.dtype)
        if v < len(ops):
            row[0, : min(len(ops), N - 1)] = adj[: N - 1, v].to(table.dtype)
        result.append(torch.cat([table[ops[v] if v < len(ops) else 0][None], row], 1))
    return result


def plain_encode(model, ops, adj):
    encoder, table, n = model.encoder, model.embedding.table(), len(ops)
    if isinstance(encoder, DVAEEncoder):
        graph = table, ops, adj
        forth = propagate(encoder.forward_cell, encoder.forward_message, *graph, range(n))
        back = propagate(encoder.backward_cell, encoder.backward_message, *graph, range(n)[::-1])
        state = encoder.unify(torch.cat([forth[n - 1], back[0]], 1))
    elif isinstance(encoder, GCNEncoder):
        ins, outs, states = adj.sum(0) + 1, adj.sum(1) + 1, [table[k][None] for k in ops]
        for number, level in enumerate(encoder.levels):
            received = list(states) if number == 0 else states
            for v in range(n):
                x = states[v] / ins[v]
                for u in range(v):
                    if adj[u, v]:
                        x = x + received[u] / (outs[u] * ins[v]).to(table.dtype).sqrt()
                states[v] = level(x).relu()
        state = sum(states[1:-1])
    elif isinstance(encoder, GINEncoder):
        states = [table[k] for k in ops]
        for first, second in zip(encoder.before, encoder.after, strict=True):
            sums = [states[v] + sum(states[u] for u in range(v) if adj[u, v]) for v in range(n)]
            states = [second(first(x).relu()).relu() for x in sums]
        state = sum(states[1:-1])[None]
    else:
        state = torch.zeros(1, encoder.cell.hidden_size, dtype=table.dtype)
        for row in rows(table, ops, adj, model.space.max_nodes):
            state = encoder.cell(row, state)
    return encoder.mu(state), encoder.logvar(state)


def plain_log_prob(model, z, ops, adj, padding):
    decoder, table, N, n = model.decoder, model.embedding.table(), model.space.max_nodes, len(ops)

    def bit(logit, edge):
        return -cross_entropy(logit, torch.full_like(logit, float(edge)), reduction="sum")

    def edge(u, v):
        return bool(adj[u, v]) if max(u, v) < n else False

    total = 0.0
    if isinstance(decoder, DAGDecoder):
        nothing = torch.zeros(1, decoder.cell.hidden_size, dtype=table.dtype)
        first = torch.tanh(decoder.start(z))
        states = propagate(decoder.cell, decoder.message, table, ops, adj, range(n), first)
        for v in range(1, N if padding else n):
            before = [states[u] for u in range(min(v, n))]
            free = (
                []
                if model.space.chain
                else [sum(message(decoder.message, state, u) for u, state in enumerate(before))]
            )
            last_or_sum = sum(before) if decoder.graph_state == "sum" else before[-1]
            types = decoder.type_head(*free or [last_or_sum])
            total = total + types.log_softmax(1)[0, ops[v] if v < n else 0]
            received = nothing
            for u in reversed(range(v)):
                now = decoder.cell(table[ops[v]][None], received) if v < n else nothing
                old = states.get(u, nothing)
                if free:
                    old = message(decoder.message, old, u) if u < n else nothing
                logit = decoder.edge_head(torch.cat([old, now, *free], 1))
                total = total + bit(logit, edge(u, v))
                if edge(u, v):
                    received = received + message(decoder.message, states[u], u)
        return total
    from_z = torch.relu(decoder.start(z))
    state = torch.zeros_like(from_z) if isinstance(decoder, SequenceDecoder) else from_z
    row = torch.zeros(1, table.shape[1] + N - 1, dtype=table.dtype)
    for v, next_row in enumerate(rows(table, ops, adj, N), 1):
        state = decoder.cell(from_z if isinstance(decoder, SequenceDecoder) else row, state)
        if padding or v < n:
            total = total + decoder.type_head(state).log_softmax(1)[0, ops[v] if v < n else 0]
        along, before = state, 0.0
        for u in range(N - 1):
            if isinstance(decoder, SequenceDecoder):
                logit = decoder.edge_head(state)[0, u]
            else:
                along = decoder.edge_cell(torch.tensor([[before]], dtype=table.dtype), along)
                logit = decoder.edge_head(along)[0, 0]
            before = float(edge(u, v) and u < v)
            if padding or (v < n and u < v):
                total = total + bit(logit, before)
        row = next_row
    return total


def plainly(model, batch, z=None, padding=True):
    "μ, log σ² and log p of each graph, from the plain version."
    means, variances, scores = [], [], []
    for b, n in enumerate(batch.n_nodes.tolist()):
        ops, adj = batch.ops[b, :n].tolist(), batch.adj[b, :n, :n]
        mu, logvar = plain_encode(model, ops, adj)
        means.append(mu)
        variances.append(logvar)
        scores.append(plain_log_prob(model, mu if z is None else z[b : b + 1], ops, adj, padding))
    return torch.cat(means), torch.cat(variances), torch.stack(scores).flatten()


@each_model
@pytest.mark.parametrize("space", [ENAS, FREE, DEEP], ids=lambda space: space.name)
def test_mixed_sizes_are_encoded_and_scored_like_the_plain_version(name, space):
    model, batch = build(name, space), mixed_sizes(space, 7 if space is DEEP else 8)
    means, variances, scores = plainly(model, batch)
    mu, logvar = model.encode(batch)
    assert torch.allclose(mu, means, atol=1e-10) and torch.allclose(logvar, variances, atol=1e-10)
    loss = model.loss(batch)
    assert loss.reconstruction.item() == pytest.approx(-scores.sum().item(), rel=1e-10)
    kl = -0.5 * (1 + variances - means**2 - variances.exp()).sum()
    assert loss.kl.item() == pytest.approx(kl.item(), rel=1e-10)
    weights = list(model.parameters())
    plain = torch.autograd.grad(-scores.sum() + 0.005 * kl, weights)
    ours = torch.autograd.grad(loss.loss, weights)
    for (weight, _), a, b in zip(model.named_parameters(), ours, plain):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-9), weight


@each_model
def test_scores_without_padding_are_those_of_the_plain_version(name):
    model, batch = build(name, FREE), mixed_sizes(FREE, 8, seed=5)
    z = torch.randn(8, 4, dtype=torch.double, generator=generator())
    _, _, scores = plainly(model, batch, z, padding=False)
    ours = model.decoder.log_prob(z, batch, model.embedding.table(), padding=False)
    assert torch.allclose(ours, scores, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_products_do_not_depend_on_the_layout_of_their_factors(dtype):
    def layouts(n, m):
        wide = torch.randn(2 * n, 2 * m, generator=generator(), dtype=dtype)
        yield from (
            wide[:n, :m].contiguous(),
            wide[:n, :m].T.contiguous().T,
            wide[:n, m:],
            wide[::2, ::2],
        )
        yield from (wide[:1, :m].expand(n, m), wide[:n, :1].expand(n, m))

    sizes = (5, 7, 9), (1, 7, 9), (5, 1, 9), (5, 7, 1), (0, 7, 9), (40, 501, 30)
    for n, inputs, outputs in sizes:
        biases = (
            None,
            torch.randn(outputs, 3, dtype=dtype)[:, 1],
            torch.randn(1, dtype=dtype).expand(outputs),
        )
        for rows in layouts(n, inputs):
            for weight in layouts(outputs, inputs):
                for bias in biases:
                    expected = torch.nn.functional.linear(rows, weight, bias)
                    ours = product(rows, weight, bias)
                    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-4)


# What is promised


@quick
@given(st.sampled_from(list(MODELS)), st.integers(0, 2**31), st.sampled_from([ENAS, FREE, DEEP]))
def test_a_graph_does_not_feel_its_neighbours(name, seed, space):
    model, batch = build(name, space, seed=seed), mixed_sizes(space, 10, seed)
    shuffled = torch.randperm(10, generator=generator(seed))
    z = torch.randn(10, 4, dtype=torch.double, generator=generator(seed))
    table = model.embedding.table()
    mu, scores = model.encode(batch)[0], model.decoder.log_prob(z, batch, table)
    assert torch.allclose(model.encode(batch[shuffled])[0], mu[shuffled], atol=1e-10)
    scores_shuffled = model.decoder.log_prob(z[shuffled], batch[shuffled], table)
    assert torch.allclose(scores_shuffled, scores[shuffled], atol=1e-9)
    i = seed % 10
    n = int(batch.n_nodes[i])
    own = slice(i, i + 1)
    alone = DAGBatch(batch.ops[own, :n], batch.adj[own, :n, :n], batch.n_nodes[own])  # no padding
    assert torch.allclose(model.encode(alone)[0], mu[own], atol=1e-10)
    assert torch.allclose(model.decoder.log_prob(z[own], alone, table), scores[own], atol=1e-9)


def another_order(batch, seed):
    "The one graph of `batch` in a random topological order."
    ops, adj, order = batch.ops[0], batch.adj[0], []
    before = [adj[:, v].nonzero()[:, 0].tolist() for v in range(len(ops))]
    for _ in ops:
        left = [v for v in range(len(ops)) if v not in order]
        ready = [v for v in left if all(u in order for u in before[v])]
        chosen = torch.randint(len(ready), (), generator=generator(seed + len(order)))
        order.append(ready[int(chosen)])
    return DAGBatch(ops[order][None], adj[order][:, order][None], batch.n_nodes)


@quick
@given(st.sampled_from(["gcn", "gcn-emb"]), st.integers(0, 2**31))
def test_gcn_encodes_a_dag_and_not_its_order(name, seed):
    model, batch = build(name, FREE, seed=seed), random_architectures(1, FREE, generator(seed), 0.2)
    other = check_batch(another_order(batch, seed), FREE)
    for a, b in zip(model.encode(batch), model.encode(other)):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["dvae", "dvae-emb", "svae", "svae-emb", "graphrnn", "graphrnn-emb"]
)
def test_the_other_encoders_know_the_place_of_a_node(name):
    "They promise nothing about other orders of a DAG; in a chain space there are none."
    model = build(name, FREE)
    diamond = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    ops = torch.tensor([[0, 2, 4, 1], [0, 4, 2, 1]])
    two = DAGBatch(ops, diamond.expand(2, 4, 4), torch.tensor([4, 4]))
    one, other = model.encode(two)[0]
    assert not torch.allclose(one, other, atol=1e-6)
    batch = random_architectures(1, ENAS, generator())
    assert torch.equal(another_order(batch, 3).ops, batch.ops)
    assert torch.equal(another_order(batch, 3).adj, batch.adj)


@each_model
def test_names_of_operations_do_not_matter_to_one_hot_models_with_permuted_weights(name):
    """Types are labels: no number changes when they are permuted in the batch
    and in every weight that reads or writes them."""
    model, batch = build(name), mixed_sizes(ENAS, 6)
    # new type k is the old type order[k]
    order = torch.tensor([0, 1, *(2 + torch.randperm(6, generator=generator())).tolist()])
    new_name = order.argsort()
    other = copy.deepcopy(model)
    with torch.no_grad():
        # a one-hot table is permuted, too: the rows are as they were
        other.embedding.weight.copy_(model.embedding.weight[order])
        old_head, new_head = model.decoder.type_head[2], other.decoder.type_head[2]
        new_head.weight.copy_(old_head.weight[order])
        new_head.bias.copy_(old_head.bias[order])
    renamed = DAGBatch(new_name[batch.ops] * batch.mask, batch.adj, batch.n_nodes)
    assert torch.allclose(model.encode(batch)[0], other.encode(renamed)[0], atol=1e-12)
    expected = pytest.approx(other.loss(renamed).loss.item(), rel=1e-12)
    assert model.loss(batch).loss.item() == expected


def test_a_row_of_three_parts_is_a_model_of_ones_own(monkeypatch):
    class Own(DVAEEncoder):
        pass

    row = Parts(OperationEmbedding, Own, DAGDecoder)
    assert (row.title, row.learned, row.twin_of, row.rounds) == ("Own, learned", True, "", 1)
    monkeypatch.setitem(MODELS, "mine", row)
    model = build_model("mine", hidden=7, latent=4, dim=2)
    assert model.embedding.table().shape == (8, 2) and isinstance(model.encoder, Own)
    assert {name for name, row in MODELS.items() if row.paper} == PAPER_TABLE_1.keys()


@pytest.mark.parametrize("base, name", twin_pairs())
def test_the_twins_differ_in_the_embedding_alone(base, name):
    one_hot, twin = MODELS[base], MODELS[name]
    assert (one_hot.encoder, one_hot.decoder) == (twin.encoder, twin.decoder)
    assert (one_hot.learned, twin.learned) == (False, True)
    # a table of width 8 can be the one-hot one
    identity = build_model(name, hidden=7, latent=4, dim=8, seed=0).eval()
    with torch.no_grad():
        identity.embedding.weight.copy_(torch.eye(8))
    fixed = build_model(base, hidden=7, latent=4).eval()
    state = {k: v for k, v in identity.state_dict().items() if k != "embedding.weight"}
    fixed.load_state_dict(state)
    batch = mixed_sizes(ENAS, 6)
    assert torch.equal(fixed.encode(batch)[0], identity.encode(batch)[0])
    assert torch.equal(fixed.loss(batch).loss, identity.loss(batch).loss)


@each_model
def test_every_weight_learns(name):
    model = build_model(name, hidden=12, latent=6, seed=0)
    batch = random_architectures(32, generator=generator())
    model.loss(batch, generator=generator()).loss.backward()
    for weight, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, weight


@each_model
def test_no_tensor_is_made_on_another_device(name):
    """With `meta` as the default device, a tensor that is made without a device
    cannot meet the model's: it fails loudly."""
    model, batch = build_model(name, hidden=7, latent=4, seed=0), mixed_sizes(ENAS, 8)
    with torch.device("meta"):
        model.loss(batch, generator=torch.Generator("cpu").manual_seed(0)).loss.backward()
        mu = model.eval().encode(batch)[0]
        model.decoder.log_prob(mu, batch, model.embedding.table(), padding=False).sum().backward()
        for stochastic in (True, False):
            written = model.sample(mu.detach(), torch.Generator("cpu").manual_seed(0), stochastic)
            tensors = written.ops, written.adj, written.n_nodes
            assert {tensor.device.type for tensor in tensors} == {"cpu"}


# Compilation


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, sizes", [("dvae-emb", (6,)), ("gcn", (6,)), ("svae-emb", (6, 9)), ("graphrnn", (6,))]
)
@pytest.mark.filterwarnings("ignore")
def test_compiled_training_and_encoding_agree(name, sizes):
    torch._dynamo.reset()
    space = SearchSpace("short", ("a", "b"), 2)
    model = build_model(name, space, hidden=8, latent=4, seed=0).eval()
    compiled_loss = torch.compile(model.loss, backend="aot_eager")
    compiled_encode = torch.compile(model.encode, backend="aot_eager")
    for n in sizes:  # with the second, shapes may become symbols
        batch = mixed_sizes(space, n)
        loss, weights = model.loss(batch), list(model.parameters())
        compiled = compiled_loss(batch)
        assert torch.allclose(loss.loss, compiled.loss, rtol=1e-5)
        plain = torch.autograd.grad(loss.loss, weights)
        for a, b in zip(plain, torch.autograd.grad(compiled.loss, weights)):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            assert torch.allclose(model.encode(batch)[0], compiled_encode(batch)[0], atol=1e-5)
    torch._dynamo.reset()


# Refusals


@each_model
@pytest.mark.parametrize("call", ["encode", "loss", "latents"])
def test_a_batch_that_does_not_fit_is_named(name, call):
    model = build_model(name, hidden=7, latent=4, seed=0)
    good = random_architectures(3, generator=generator())
    ops, adj, n = good.ops, good.adj, good.n_nodes
    for reason, bad in {
        "ops has 14 nodes, the space at most 8": random_architectures(2, DEEP, generator()),
        "ops holds type 9": DAGBatch(torch.where(ops == 1, 9, ops), adj, n),
        "ops has shape": DAGBatch(ops[0], adj, n),
        "ops is torch.float32": DAGBatch(ops.float(), adj, n),
        "adj is torch.float32": DAGBatch(ops, adj.float(), n),
        "n_nodes is torch.float32": DAGBatch(ops, adj, n.float()),
        "do not go together": DAGBatch(ops, adj[:, :5, :5], n),
        "earlier to a later": DAGBatch(ops, adj.transpose(1, 2), n),
        "past n_nodes": DAGBatch(ops, adj, n - 1),
        "ops is on meta": DAGBatch(ops.to("meta"), adj, n),
    }.items():
        if call == "latents" and reason in ("ops is on meta", "ops has shape"):
            continue  # moved to the model's device; one row is no batch that could be cut
        with pytest.raises(OpembedError, match=reason) as e:
            getattr(model, call)(bad)
        assert str(e.value).startswith(f"model {name!r}") and "\n" not in str(e.value)


@each_model
def test_latents_that_do_not_fit_are_named(name):
    model = build_model(name, hidden=7, latent=4, seed=0)
    for reason, z in {
        r"z has shape \(3, 5\), \(B, 4\) is needed": torch.zeros(3, 5),
        r"z has shape \(4,\)": torch.zeros(4),
        "z is torch.float64": torch.zeros(3, 4).double(),
        "z holds a number that is not finite": torch.full((3, 4), torch.nan),
    }.items():
        said = refused_as(reason, model.sample, z)
        assert said.startswith(f"model {name!r}")


@each_model
def test_weights_that_are_no_numbers_are_named(name):
    batch = random_architectures(3, generator=generator())
    for weight in dict(build_model(name, hidden=7, latent=4).named_parameters()):
        model = build_model(name, hidden=7, latent=4, seed=0).eval()
        dict(model.named_parameters())[weight].data.flatten()[0] = torch.nan
        if not weight.startswith("decoder."):
            parts = [lambda m=model: m.encode(batch), lambda m=model: m.latents(batch)]
        else:
            parts = [
                lambda m=model: m.sample(torch.zeros(2, 4)),
                lambda m=model: m.sample(torch.zeros(2, 4), stochastic=False),
            ]
        for call in (*parts, lambda m=model: m.loss(batch)):
            if weight == "embedding.weight" or "cell.weight_ih" in weight:
                dict(model.named_parameters())[weight].data.fill_(torch.nan)
            says = f"model '{name}': weight '{weight}' holds a number that is not finite"
            refused_as(says, call)


def test_results_that_are_too_large_are_told_apart_from_weights_that_are_no_numbers():
    model = build_model("dvae", hidden=7, latent=4, seed=0).eval()
    with torch.no_grad():
        model.encoder.mu.weight.fill_(1e38)
        model.encoder.mu.bias.fill_(3e38)
    with pytest.raises(OpembedError, match="model 'dvae': a result is too large"):
        model.loss(random_architectures(3, generator=generator()))


@each_model
def test_no_graphs_at_all(name):
    model, none = build_model(name, hidden=7, latent=4, seed=0).eval(), random_architectures(1)[[]]
    assert model.encode(none)[0].shape == (0, 4) and model.loss(none).loss == 0
