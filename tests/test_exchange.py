"Conversions: what other tools write, and modules, both ways; what has no other form is refused."

import networkx
import pytest
import torch
from common import refused_as
from torch import nn

import opembed_nb as oe
from opembed_nb.data import ENAS, DAGBatch, SearchSpace, random_architectures, same_graphs
from opembed_nb.hood.exchange import (
    CELLS,
    CELLS_101,
    DARTS,
    Genotype,
    build,
    from_cells,
    from_genotype,
    from_matrices,
    from_module,
    to_cells,
    to_genotype,
    to_matrices,
)
from opembed_nb.hood.formats import from_keys, from_networkx, to_networkx
from opembed_nb.hood.networks import to_source

FREE = SearchSpace("free", ("conv", "pool", "act"), n_layers=5, chain=False)
MODULES = dict(conv=nn.Conv2d(2, 2, 3, padding=1), pool=nn.AvgPool2d(3, 1, 1), act=nn.Tanh())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


ONE = random_architectures(1, FREE, generator())


def test_each_form_gives_back_what_it_got():
    for space in (CELLS_101, FREE, ENAS):
        batch = random_architectures(30, space, generator())
        again = from_matrices(to_matrices(batch, space), space)
        assert same_graphs(again, batch).all() and again.space == space
    cells = random_architectures(50, CELLS, generator())
    assert same_graphs(from_cells(to_cells(cells)), cells).all()
    assert len(from_cells([])) == 0 == len(from_matrices([]))


def random_genotype(rng):
    "Cells in which each state is used; every operation leaves an earlier state."

    def cell():
        while True:
            pairs = []
            for own in range(2, 6):
                states = torch.randint(own, (2,), generator=rng).tolist()
                kinds = torch.randint(2, len(DARTS.operations), (2,), generator=rng).tolist()
                pairs += [(DARTS.operations[k], state) for k, state in zip(kinds, states)]
            if {state for _, state in pairs} >= {0, 1}:
                return pairs

    first, second, leave = cell(), cell(), list(range(2, 6))
    return Genotype(first, leave, second, leave)


def test_a_genotype_comes_back_and_is_the_graph_that_it_says():
    rng = generator()
    for _ in range(30):
        genotype = random_genotype(rng)
        assert to_genotype(from_genotype(genotype)) == genotype
    graph = from_genotype(genotype)[0]
    for k, (operation, state) in enumerate(genotype.normal):
        assert DARTS.types[graph.ops[0, k + 3]] == operation
        heard = graph.adj[0, :, k + 3].nonzero().flatten().tolist()
        assert heard == ([state + 1] if state < 2 else [2 * state - 1, 2 * state])


def test_a_module_is_built_written_and_read_back():
    x = torch.randn(2, 2, 5, 5, generator=generator())
    for found in random_architectures(15, FREE, generator(1)):
        net = build(found, FREE, MODULES).eval()
        [ops], [adj] = found.ops.tolist(), found.adj.tolist()
        states = {0: x}  # by hand
        for v in range(1, int(found.n_nodes)):
            heard = sum(states[u] for u in range(v) if adj[u][v])
            states[v] = net.operations[v - 1](heard) if ops[v] != 1 else heard
        assert torch.allclose(net(x), states[v])
        scope = {}
        exec(to_source(net, "Found"), scope)
        alone = scope["Found"]().eval()
        alone.load_state_dict(net.state_dict())
        assert torch.equal(alone(x), net(x))
        for read in (net, alone):
            assert same_graphs(from_module(read, FREE, MODULES), found).all()
    weights = [part.weight for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert all(w is not MODULES["conv"].weight for w in weights)


def test_stem_norms_and_head_stand_beside():
    cell = build(ONE, FREE, MODULES)
    head = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Flatten())  # a conv that is no node
    net = nn.Sequential(nn.BatchNorm2d(2), cell, nn.BatchNorm2d(2), head)
    found = from_module(net, FREE, MODULES, beside=(nn.BatchNorm2d, "3"))
    assert same_graphs(found, ONE).all()


class Cell(nn.Module):
    "A cell of NAS-Bench-201 as code, its edges called in another order than its string has."

    def __init__(self):
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{a}{b}": nn.Conv2d(2, 2, 1) for b in range(4) for a in range(b)}
        )
        self.edges["13"] = nn.MaxPool2d(1)

    def forward(self, x):
        second = self.edges["02"](x)
        third = self.edges["03"](x)
        first = self.edges["01"](x)
        third = third + self.edges["13"](first)
        second = torch.add(self.edges["12"](first), second)
        third += self.edges["23"](second)
        return torch.relu(third)


def test_nodes_are_numbered_as_the_wiring_of_the_space_has_them():
    like = dict(nor_conv_1x1=nn.Conv2d, avg_pool_3x3=lambda part: isinstance(part, nn.MaxPool2d))
    found = from_module(Cell(), CELLS, like, beside=[torch.relu])
    conv, pool = "nor_conv_1x1", "avg_pool_3x3"
    assert to_cells(found) == [f"|{conv}~0|+|{conv}~0|{conv}~1|+|{conv}~0|{pool}~1|{conv}~2|"]


class Own(nn.Module):
    "A module whose forward is given."

    def __init__(self, forward, **parts):
        super().__init__()
        self.how = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.how(self, x)


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


conv = nn.Conv2d(2, 2, 3, padding=1)
twin = from_genotype(random_genotype(generator()))


def read(forward):
    return from_module(Own(forward, c=conv), FREE, MODULES)


ODD = {name: Cell() for name in MODULES}
REFUSED = [
    (lambda: from_module(TwoInputs(), FREE, MODULES), "a second input, 'y'"),
    (lambda: read(lambda m, x: m.c(m.c(x))), "'c' is used twice"),
    (lambda: read(lambda m, x: m.c(x) if x.sum() else x),
     "must not depend on values"),
    (lambda: read(lambda m, x: [m.c(x), x]), "several outputs"),
    (lambda: read(lambda m, x: m.c(x).sin()), "'sin' is no oper"),
    (lambda: read(lambda m, x: m.c(x) + 1), "adds something el"),
    (lambda: read(lambda m, x: m.c(x + x)), "same twice"),
    (lambda: read(lambda m, x: m.c(torch.ones(2))), "'_tensor_constant0' is no"),
    (lambda: from_module(nn.Sequential(nn.Conv2d(2, 2, 1)), FREE, MODULES), "'0', a Conv2d, is no"),
    (lambda: read(lambda m, x: x.tanh()), "'tanh' is no operation"),
    (lambda: from_module(nn.Sequential(conv), CELLS, dict(none=nn.Conv2d)), "no architecture of"),
    (lambda: from_module(nn.Sequential(conv), FREE, dict(fft=nn.Conv2d)), "'fft' is no operation"),
    (lambda: build(ONE, FREE, dict(act=nn.Tanh)), "has no module"),
    (lambda: to_source(build(ONE, FREE, ODD)), "no module of torch.nn"),
    (lambda: from_cells("|none~0|"), "a list of cells is needed"),
    (lambda: from_cells([7]), "cell 0: '7' is not"),
    (lambda: from_cells(to_cells(random_architectures(1, CELLS)), FREE), "has not the wiring"),
    (lambda: to_cells(ONE, FREE), "has not the wiring"),
    (lambda: from_matrices([([[0, 1]], ["input", "output"])]), "the matrix is not 2 × 2"),
    (lambda: from_matrices([([[0, 2], [0, 0]], ["input", "output"])]), "an edge is 0 or 1"),
    (lambda: from_matrices([([[0, 0], [1, 0]], ["input", "output"])]), "edge 1 → 0 does not lead"),
    (lambda: from_matrices([7]), "is no pair"),
    (lambda: from_genotype((1, 2)), "has no field 'normal'"),
    (lambda: from_genotype(Genotype([("none", 0)], [2], [], [])), "1 edges are no pairs"),
    (lambda: from_genotype(Genotype([("none", 0)] * 2, [2], [], [])), "state [1] feeds nothing"),
    (lambda: from_genotype(Genotype([("none", 0)] * 2, [1], [], [])), "states [1] leave"),
    (lambda: from_genotype(Genotype([("fft", 0), ("fft", 1)], [2], [], [])), "operation 'fft'"),
    (lambda: to_genotype(twin[0]), "1 graphs; a genotype has two"),
    (lambda: to_genotype(DAGBatch(twin.ops.roll(1, 1), twin.adj, twin.n_nodes)), "is not of darts"),
    (lambda: from_networkx(to_networkx(ONE, FREE), ENAS), "is none of space enas"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_has_no_such_form_is_one_line(case):
    call, says = REFUSED[case]
    refused_as(says, call)


def test_a_graph_that_is_no_genotype_says_why():
    base = "0: 2:0 3:0 8:1 8:2 8:{} 8:{} 1:{}"
    for first, second, leave, says in (
        ("3,4", "3,4", "1,5,6", "an input leaves"),
        ("1,3,4", "3,4", "5,6", "does not hear exactly one state"),
        ("3", "4", "5,6", "nodes 3 and 4 do not feed the same"),
    ):
        graph = from_keys([base.format(first, second, leave)] * 2, DARTS)
        refused_as(says, to_genotype, graph)


def test_graphs_of_networkx_are_known_by_their_operations_names():
    other = SearchSpace("renamed", FREE.operations[::-1], 5, chain=False)
    graphs = to_networkx(random_architectures(3, FREE, generator()), FREE)
    for graph in graphs:
        networkx.set_node_attributes(graph, None, "type")
    again = to_networkx(from_networkx(graphs, other), other)
    assert [g.nodes[1]["operation"] for g in again] == [g.nodes[1]["operation"] for g in graphs]
    assert oe.from_module is from_module
