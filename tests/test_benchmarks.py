"Tables of other projects: what is read, how it is split, looked up and refused."

import copy
import itertools
import os
import pickle
import pickletools
import random
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from opembed_nb.data import (
    ENAS,
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    check_batch,
    codes,
    random_architectures,
    same_graphs,
    validity,
    wiring_tensor,
    wirings,
)
from opembed_nb.hood.files import OpembedError, find_file, refused
from opembed_nb.hood.formats import from_keys
from opembed_nb.hood.isomorphs import canonical, in_one_order, skips_first
from opembed_nb.hood.records import read_records, run_folder, save_record
from opembed_nb.hood.sources import (
    CELLS,
    GNNS,
    SOURCES,
    bench_file,
    dataset_folder,
    explained,
    folder_dataset,
    load_dataset,
    read_bench,
)
from opembed_nb.oracle import Oracle, TableOracle, load_oracle

ROOT = Path(__file__).resolve().parent.parent
BEST = {"cifar10": 0.9437, "cifar100": 0.7351, "imagenet16-120": 0.4731}
TASKS = "arxiv citeseer computers cora cs photo physics proteins pubmed".split()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def loaded(name):
    "A data set, or a skipped test where its file or package cannot be had."
    try:
        return load_dataset(name)
    except OpembedError as e:
        if "cannot be downloaded" in str(e) or "is not installed" in str(e):
            pytest.skip(str(e))
        raise


@pytest.fixture(scope="module")
def cells():
    return loaded("nas-bench-201/cifar10")


@pytest.fixture(scope="module")
def gnns():
    return loaded("nas-bench-graph/arxiv")


@pytest.fixture(scope="module")
def paper():
    return loaded("enas-cifar10")


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


# NAS-Bench-201


@pytest.mark.parametrize("task", BEST)
def test_cells_are_a_data_set(task):
    data = loaded(f"nas-bench-201/{task}")
    assert len(data) == 15_625 and data.space == CELLS
    assert len(codes(check_batch(data.batch, CELLS)).unique(dim=0)) == 15_625
    assert validity(data.batch, CELLS).all() and int(wirings(data.batch).max()) == 0
    assert round(float(data.accuracy.max()), 4) == BEST[task]
    assert 0 <= float(data.accuracy.min()) and data.test_score is None


def test_no_canonical_string_is_on_both_sides(cells):
    parts = cells.order[: cells.n_train], cells.order[cells.n_train :]
    train, test = ({cells.groups[row] for row in part.tolist()} for part in parts)
    assert not train & test and len(train | test) == len(set(cells.groups)) == 6466
    assert len(cells.train.batch) == 14_062 and sorted(cells.order.tolist()) == list(range(15_625))
    # drawn with equal chance: the usable cells on both sides are alike
    assert abs(len(test) / 6466 - 0.1) < 0.01
    means = [float(p.accuracy[p.usable].mean()) for p in (cells.train, cells.test)]
    assert abs(means[0] - means[1]) < 0.003


def test_cells_load_in_two_seconds(cells):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load_dataset(cells.name)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2


def test_in_some_cells_nothing_passes(cells):
    passes = (cells.batch.ops != CELLS.types.index("none"))[:, 1:-1].T
    a, b, c, d, e, f = passes  # 0→1, 0→2, 1→2, 0→3, 1→3, 2→3
    whole = d | a & e | b & f | a & c & f
    assert int((~whole).sum()) == 341 and not cells.usable[~whole].any()


def test_a_cell_by_hand(cells):
    path = find_file(SOURCES[cells.name])
    for row in (0, 7000, 15_624):
        fields = path.read_text(encoding="utf-8").splitlines()[row + 1].split(",")
        names = [part.split("~") for part in fields[3].replace("+", "").split("|") if part]
        edges = [(int(source), node) for node in (1, 2, 3) for source in range(node)]
        edges.sort(key=lambda edge: (edge[1], edge[0]))
        assert [int(source) for _, source in names] == [u for u, _ in edges]
        kinds = [CELLS.types[kind] for kind in cells.batch.ops[row].tolist()]
        assert kinds == ["input", *(name for name, _ in names), "output"]
        assert float(cells.accuracy[row]) == pytest.approx(float(fields[0]) / 100)
        # an operation's node hears the operations on the edges that end where its own begins
        adj = cells.batch.adj[row]
        for b, (u, v) in enumerate(edges):
            for a, (_, end) in enumerate(edges):
                assert bool(adj[a + 1, b + 1]) == (end == u)
            assert bool(adj[0, b + 1]) == (u == 0) and bool(adj[b + 1, 7]) == (v == 3)


def test_the_same_cells_are_usable_in_all_tasks(cells):
    assert int((~cells.usable).sum()) == 1687 and bool(cells.usable[cells.accuracy > 0.8].all())
    for task in BEST:
        assert torch.equal(load_dataset(f"nas-bench-201/{task}").usable, cells.usable)
    held = cells.order[cells.n_train :]
    assert torch.equal(cells.test.usable, cells.usable[held])


# Spaces that have a list of wirings


def test_a_space_with_wirings_has_these_and_no_others():
    free = SearchSpace("free", CELLS.operations, CELLS.n_layers, chain=False)
    assert not validity(random_architectures(200, free, generator()), CELLS).any()
    for space in (CELLS, GNNS):
        drawn = random_architectures(500, space, generator())
        assert validity(check_batch(drawn, space), space).all()
        assert int(wirings(drawn).max()) + 1 == len(space.wirings)
        drawn.adj[:, 0, 1] = False
        assert not validity(drawn, space).any()
    small = random_architectures(3, SearchSpace("s", CELLS.operations, 3, chain=False))
    assert not validity(small, CELLS).any() and not validity(small[:0], CELLS).any()


def test_wirings_say_whom_each_node_hears():
    space = SearchSpace("two", ["a"], 2, chain=False, wirings=["0 0 1,2", "0 1 2"])
    both = wiring_tensor(space)
    assert both[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert both[1].nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert hash(space) == hash(SearchSpace("two", ("a",), 2, False, ("0 0 1,2", "0 1 2")))


def test_a_space_with_wirings_is_saved(tmp_path):
    batch = random_architectures(40, GNNS, generator())
    data = ArchDataset.from_scores("own-gnns", GNNS, batch, torch.rand(40, generator=generator()))
    data.save(tmp_path / "own.jsonl")
    again = load_dataset(str(tmp_path / "own.jsonl"))
    assert again.space == GNNS and again.digest() == data.digest()


@pytest.mark.parametrize("wiring", ["0 1", "0 0 3", "1 0 1", "0 0 x", "0  1 2", 3])
def test_a_malformed_wiring_is_named(wiring):
    space = SearchSpace("two", ("a",), 2, chain=False, wirings=(wiring,))
    batch, scores = random_architectures(20, SearchSpace("two", ("a",), 2, False)), range(20)
    assert f"wiring {wiring!r} does not say" in refused(
        ArchDataset.from_scores, "own", space, batch, scores
    )


def test_checkpoints_from_before_there_were_wirings_go_on(tmp_path):
    from dataclasses import asdict

    from opembed_nb.hood.records import load_checkpoint, save_tensors

    now = {"space": asdict(ENAS)}
    before = copy.deepcopy(now)
    del before["space"]["wirings"]
    save_tensors(tmp_path / "c.safetensors", {}, identity=before)
    load_checkpoint(tmp_path / "c.safetensors", now)
    other = {"space": asdict(CELLS)}
    save_tensors(tmp_path / "d.safetensors", {}, identity=other)
    del before["space"]
    assert "wirings" in refused(
        load_checkpoint,
        tmp_path / "d.safetensors",
        {"space": {**other["space"], "wirings": []}},
    )


# One graph for isomorphic ones


def test_isomorphic_graphs_become_equal():
    space = SearchSpace("free", ("a", "b"), 5, chain=False)
    graphs = random_architectures(60, space, generator(), p_skip=0.3)
    first = in_one_order(graphs)
    assert validity(first, space).all() and same_graphs(in_one_order(first), first).all()
    for seed in range(3):
        assert same_graphs(in_one_order(relabelled(graphs, seed)), first).all()


def test_graphs_that_differ_stay_different():
    from networkx import vf2pp_is_isomorphic

    from opembed_nb.hood.formats import to_networkx

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


@pytest.mark.parametrize("task", TASKS)
def test_all_tasks_are_data_sets(task):
    data = loaded(f"nas-bench-graph/{task}")
    assert len(data) == (2021 if task == "proteins" else 26_206)
    assert validity(check_batch(data.batch, GNNS), GNNS).all()
    for score in (data.accuracy, data.test_score):
        assert score.shape == (len(data),) and 0 <= float(score.min()) <= float(score.max()) <= 1
    assert not torch.equal(data.accuracy, data.test_score)
    again = load_dataset(data.name)
    assert torch.equal(again.order, data.order) and again.digest() == data.digest()


def test_the_key_is_the_wiring_and_four_operations(gnns):
    table = read_bench(bench_file("arxiv"))
    for row in (0, 9000, 26_205):
        key = f"{list(table)[row]:05}"
        assert [int(k) - 2 for k in gnns.batch.ops[row, 1:-1]] == [int(d) for d in key[1:]]
        assert torch.equal(gnns.batch.adj[row], wiring_tensor(GNNS)[int(key[0])])
        fields = list(table.values())[row]
        assert float(gnns.accuracy[row]) == pytest.approx(fields["valid_perf"])
        assert float(gnns.test_score[row]) == pytest.approx(fields["perf"])


def test_the_package_is_read_without_running_its_code():
    code = """
import sys
from opembed_nb.hood.sources import load_dataset
print(len(load_dataset("nas-bench-graph/proteins")), "nas_bench_graph" in sys.modules)
"""
    loaded("nas-bench-graph/proteins")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2021", "False"], done.stderr[-500:]


def test_without_the_package_a_line_says_which_extra_brings_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    said = refused(load_dataset, "nas-bench-graph/cora")
    assert "pip install '.[benchmarks]'" in said and "\n" not in said


# Files that are no tables


class Runs:
    "Pickled, it asks for a call when it is read."

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def row(**changes):
    return {
        name: np.float64(changes.get(name, 0.5))
        for name in ("valid_perf", "perf", "latency", "para")
    }


def hostile(mark):
    "What a pickle can be made of, by name; `mark` is a file that would be made if it ran."
    touch = f"touch {mark}"
    deep = b"\x80\x03}q\x00(" + b")" + b"\x85" * 1_000_000 + b"K\x01u."
    pairs = b"\x80\x03}q\x00(K\x01" + b"K\x01\x86" * 500_000 + b"u."
    # a tuple that holds the one before, used up at once and fetched again: as state, in a call
    get = b"cnumpy\ndtype\nq\x00(X\x02\x00\x00\x00f8\x89\x88tRq\x01"
    again = b"h\x01"
    state = b"\x80\x03" + get + (b"(K\x03X\x01\x00\x00\x00<" + again + b"tq\x01b") * 9 + b"."
    calls = b"\x80\x03" + get + (b"h\x00X\x02\x00\x00\x00f8" + again + b"\x88\x87q\x01R") * 9 + b"."
    far = b"\x80\x03}q\x00(K\x01}r\xff\xff\xff\xffu."
    good = pickle.dumps({1111: row()}, protocol=3)
    return {
        "system": pickle.dumps({1111: Runs(os.system, touch)}, protocol=3),
        "nested": pickle.dumps(
            {1111: row(), 1112: {"perf": Runs(eval, f"open({str(mark)!r}, 'w')")}}, 3
        ),
        "getattr": pickle.dumps({1: Runs(getattr, Runs(__import__, "os"), "system")}, protocol=3),
        "stack global": pickle.dumps({1111: Runs(os.system, touch)}, protocol=4),
        "load": pickle.dumps(Runs(np.load, str(mark)), protocol=3),
        "huge integer": pickle.dumps({10**5000: row()}, protocol=3),
        "huge text": b"\x80\x03}q\x00(I" + b"9" * 5000 + b"\nK\x01u.",
        "deep": deep,
        "state": state,
        "calls": calls,
        "pairs": pairs,
        "far memory": far,
        "truncated": good[: len(good) // 2],
        "no stop": good[:-1],
        "empty": b"",
        "text": b"accuracy, 0.5\n",
        "object dtype": pickle.dumps({1111: {**row(), "perf": np.dtype("O")}}, 3),
        "array": pickle.dumps({1111: {**row(), "perf": np.zeros(3)}}, protocol=3),
        "single": pickle.dumps({1111: {**row(), "perf": np.float32(0.5)}}, protocol=3),
        "build": good[:-1] + b"N}b.",
        "list": pickle.dumps([row()], protocol=3),
        "nothing": pickle.dumps({}, protocol=3),
        "missing field": pickle.dumps({1111: {"perf": np.float64(0.5)}}, protocol=3),
        "other field": pickle.dumps({1111: {**row(), "more": np.float64(0.5)}}, protocol=3),
        "text for a number": pickle.dumps({1111: {**row(), "perf": "0.5"}}, protocol=3),
        "flag for a number": pickle.dumps({1111: {**row(), "perf": True}}, protocol=3),
        "not finite": pickle.dumps({1111: row(latency=float("nan"))}, protocol=3),
        "percent": pickle.dumps({1111: row(perf=71.2)}, protocol=3),
        "digit 9": pickle.dumps({1911: row()}, protocol=3),
        "negative": pickle.dumps({-1: row()}, protocol=3),
        "text key": pickle.dumps({"1111": row()}, protocol=3),
        "too large": b"\x80\x03" + bytes(17_000_000),
    }


REASONS = {
    "it asks for": {"system", "nested", "getattr", "load"},
    "it has a step": {"stack global", "huge integer", "deep", "text", "list"},
    "it is no whole pickle": {"huge text", "truncated", "no stop", "empty", "build"},
    "it has a tuple of its own": {"pairs", "array"},
    "it remembers more than it holds": {"far memory"},
    "its numbers are no doubles": {"single", "state", "calls", "object dtype"},
    "it holds no table": {"nothing"},
    "not the four fields": {"missing field", "other field"},
    "a field is no finite number": {"text for a number", "flag for a number", "not finite"},
    " is not in 0 … 1": {"percent"},
    " is none of wiring": {"digit 9", "negative", "text key"},
    "it is too large": {"too large"},
}


@pytest.mark.parametrize("kind", hostile("x"))
def test_a_hostile_file_executes_nothing_and_is_refused_in_one_line(kind, tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / "cora.bench"
    path.write_bytes(hostile(mark)[kind])
    start = time.perf_counter()
    said = refused(read_bench, path)
    assert time.perf_counter() - start < 5 and not mark.exists()
    assert str(path) in said and "\n" not in said and len(said) < len(str(path)) + 150
    [reason] = [reason for reason, kinds in REASONS.items() if kind in kinds]
    assert reason in said


def test_the_hostile_files_would_run(tmp_path):
    mark = tmp_path / "it-ran"
    pickle.loads(hostile(mark)["system"])
    assert mark.exists()


def test_a_sound_file_is_read(tmp_path):
    table = {1111: row(), 88_887: row(perf=0.25)}
    (tmp_path / "own.bench").write_bytes(pickle.dumps(table, protocol=3))
    read = read_bench(tmp_path / "own.bench")
    assert read == {1111: row(), 88_887: row(perf=0.25)}
    assert all(type(x) is float for values in read.values() for x in values.values())


def test_the_steps_of_a_sound_file_are_all_known(gnns):
    raw = bench_file("arxiv").read_bytes()
    assert {name for op, name, _ in pickletools.genops(raw) if op.name == "GLOBAL"} == {
        "numpy dtype",
        "numpy.core.multiarray scalar",
    }


# The table as an oracle


@pytest.mark.parametrize("name", ["cells", "gnns"])
def test_the_table_says_what_the_data_say(name, request):
    data = request.getfixturevalue(name)
    table = load_oracle(data, "cpu")
    assert isinstance(table, TableOracle) and isinstance(table, Oracle)
    assert table.space == data.space and data.name in table.name
    start = time.perf_counter()
    assert torch.equal(table(data.batch), data.accuracy)
    assert time.perf_counter() - start < 5
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
        "twice", space, cat_batches([batch[rows], batch[rows][:1]]), [*range(len(rows)), 0.5]
    )
    assert "1 of its" in refused(TableOracle, twice)


# The split by wiring


def test_most_of_the_papers_test_part_shares_its_wiring_with_the_train_part(paper):
    wiring = wirings(paper.batch)
    known = set(wiring[paper.order[: paper.n_train]].tolist())
    held = wiring[paper.order[paper.n_train :]].tolist()
    assert len(held) == 1902 and sum(w in known for w in held) == 1371


@pytest.mark.parametrize("name", ["enas-digits", "enas-cifar10", "nas-bench-graph/arxiv"])
def test_no_wiring_is_on_both_sides_of_its_split(name):
    data = loaded(name)
    apart = data.split("wiring")
    wiring, cut = wirings(data.batch)[apart.order], apart.n_train
    assert not set(wiring[:cut].tolist()) & set(wiring[cut:].tolist())
    assert sorted(apart.order.tolist()) == list(range(len(data)))
    assert 0 < len(data) - cut <= len(data) - int(0.9 * len(data))
    assert torch.equal(apart.accuracy, data.accuracy) and apart.name == data.name
    assert torch.equal(apart.order, data.split("wiring").order)
    assert data.split("own") is data
    # the part is drawn from the whole: its accuracies are no others
    spread = float(data.accuracy.std())
    if len(set(wiring.tolist())) > 100:
        assert abs(float(apart.test.accuracy.mean() - data.accuracy.mean())) < 0.15 * spread


def test_a_split_by_wiring_keeps_groups_together():
    space = SearchSpace("mine", ("a", "b"), 3, chain=False)
    batch = random_architectures(300, space, generator())
    groups = [i // 2 for i in range(300)]
    scores = torch.rand(300, generator=generator())
    data = ArchDataset.from_scores("mine", space, batch, scores, groups=groups)
    try:
        apart = data.split("wiring")
    except OpembedError as e:  # chains of wirings and groups join all of it
        assert "cannot be split by wiring" in str(e)
        apart = None
    few = ArchDataset.from_scores("few", space, batch, scores, groups=wirings(batch).tolist())
    for data in filter(None, (apart, few.split("wiring"))):
        for labels in (data.groups, wirings(batch).tolist()):
            sides = data.order[: data.n_train].tolist(), data.order[data.n_train :].tolist()
            train, test = ({labels[row] for row in side} for side in sides)
            assert not train & test


def test_a_split_that_cannot_be_is_refused(cells):
    assert "cannot be split by wiring" in refused(cells.split, "wiring")
    assert "known are own, wiring" in refused(cells.split, "paper")


# What is said about the data


def test_the_committed_shares_are_what_the_data_give():
    data = loaded("nas-bench-graph/proteins")
    [record] = read_records(ROOT / "results", "explained", "quick", data.name)
    assert record["dataset"] == data.name and record["values"]["architectures"] == len(data)
    kept, now = record["values"]["shares"], explained(data)
    assert kept.keys() == now.keys()
    for name, share in now.items():
        assert share == pytest.approx(kept[name], abs=0.03)


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


# Names and folders


def test_a_name_with_a_slash_has_a_plain_folder(tmp_path):
    name = "nas-bench-201/cifar10"
    folder = run_folder(name, "dvae", 3, "quick", tmp_path)
    assert folder == tmp_path / "quick" / "nas-bench-201-cifar10" / "dvae" / "seed-3"
    save_record(folder, "ranking", {"best": 1}, 0.1)
    for asked in (name, "*"):
        [record] = read_records(tmp_path, "ranking", dataset=asked)
        assert record["dataset"] == name and record["model"] == "dvae" and record["seed"] == 3
    for name in SOURCES:
        assert folder_dataset(dataset_folder(name)) == name and "/" not in dataset_folder(name)
    assert folder_dataset("mine") == "mine"
    batch = random_architectures(20, GNNS, generator())
    assert "is taken" in refused(
        ArchDataset.from_scores, "nas-bench-201-cifar10", GNNS, batch, range(20)
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_graphs_of_hardly_any_nodes_have_one_order(n):
    "A decoder writes them now and then."
    ops, adj = torch.zeros(1, n, dtype=torch.long), torch.zeros(1, n, n, dtype=torch.bool)
    adj[0, 0, 1:] = True
    graph = DAGBatch(ops, adj, torch.tensor([n]))
    assert same_graphs(in_one_order(graph), graph).all()
