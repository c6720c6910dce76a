"Data sources: ENAS files, tables of other projects, names and folders."

import copy
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import socket
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as
from hypothesis import given
from hypothesis import strategies as st
from test_data import generator, own_data, quick, seeds

from opembed_nb.data import (
    ENAS,
    RESERVED,
    SearchSpace,
    check_batch,
    codes,
    extremes,
    random_architectures,
    same_graphs,
    validity,
    wiring_tensor,
    wirings,
)
from opembed_nb.hood.exchange import from_cells
from opembed_nb.hood.files import ASSETS, OpembedError, find_file, refused
from opembed_nb.hood.formats import to_nested
from opembed_nb.hood.records import (
    load_checkpoint,
    read_records,
    run_folder,
    save_record,
    save_tensors,
)
from opembed_nb.hood.sources import (
    CELLS,
    GNNS,
    SOURCES,
    NumbersOnly,
    about,
    absolute_dataset,
    bench_file,
    cell_costs,
    dataset_folder,
    dataset_name,
    explained,
    folder_dataset,
    load_dataset,
    read_bench,
    read_structures,
    write_structures,
)
from tests.warm import python

ROOT = Path(__file__).resolve().parent.parent
BEST = {"cifar10": 0.9437, "cifar100": 0.7351, "imagenet16-120": 0.4731}
TASKS = "arxiv citeseer computers cora cs photo physics proteins pubmed".split()
ROW = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


def loaded(name):
    "A data set, or a skipped test where its file or package cannot be had."
    try:
        return load_dataset(name)
    except OpembedError as e:
        if "cannot be downloaded" in str(e) or "is not installed" in str(e):
            pytest.skip(str(e))
        raise


@pytest.fixture(scope="module")
def paper():
    return loaded("enas-cifar10")


@pytest.fixture(scope="module")
def digits():
    return loaded("enas-digits")


# ENAS structures

BAD_ROWS = {  # a row → what is wrong with it
    ROW.replace("[4, 0]", "[6, 0]"): "layer 1: operation 6 is not one of 0 … 5",
    ROW.replace("[4, 0]", "[-1, 0]"): "layer 1: operation -1",
    ROW.replace("[4, 0]", "[4, 0, 1]"): "layer 1 has 2 skips, it needs 1",
    ROW.replace("[4, 0]", "[4]"): "layer 1 has 0 skips, it needs 1",
    ROW.replace("[4, 0]", "[4, 2]"): "layer 1: a skip is neither 0 nor 1",
    ROW.replace("[4, 0]", "[4, 0.5]"): "layer 1 is no list of integers",
    ROW.replace("[4, 0]", "[4, true]"): "layer 1 is no list of integers",
    ROW.replace("[4, 0]", "4"): "layer 1 is no list of integers",
    ROW.replace("[1], ", ""): "5 layers, the space has 6",
    ROW.replace("0.7302", "1.7302"): "accuracy 1.7302 is not between 0 and 1",
    ROW.replace("0.7302", "NaN"): "accuracy nan is not between 0 and 1",
    ROW.replace("0.7302", '"0.7302"'): "accuracy '0.7302' is not between 0 and 1",
    ROW.replace(", 0.7302", ""): "1 fields",
    ROW + ", 0.5": "3 fields",
    ROW[:40]: "no row of the form",
    "": "0 fields",
    "__import__('os').abort()": "no row of the form",
    "[" * 100_000: "no row of the form",
    "1" * 5000: "no row of the form",
}


@pytest.mark.parametrize("bad", BAD_ROWS, ids=lambda row: row[:40])
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path, bad):
    file = tmp_path / "structures.txt"
    file.write_text("\n".join([ROW, ROW, bad, ROW]) + "\n", encoding="utf-8")
    said = refused(read_structures, file)
    assert f"{file}, line 3: " in said and BAD_ROWS[bad] in said and "\n" not in said


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


def test_files_that_hold_nothing(tmp_path):
    file = tmp_path / "structures.txt"
    for content in (None, b"", b"\xff\xfe\x00"):
        if content is not None:
            file.write_bytes(content)
        assert "structures.txt" in refused(read_structures, file)


def test_good_rows_are_read(tmp_path):
    file = tmp_path / "structures.txt"
    file.write_text(f"{ROW}\n{ROW.replace('0.7302', '1')}")
    batch, accuracy = read_structures(file)
    assert to_nested(batch) == [json.loads(f"[{ROW}]")[0]] * 2
    assert accuracy.tolist() == [pytest.approx(0.7302), 1]


@quick
@given(seeds, st.integers(1, 30), st.sampled_from(["own.txt", "own.txt.gz"]), st.integers(1, 9))
def test_what_is_written_is_read_again(tmp_path_factory, seed, n, name, layers):
    space = SearchSpace("drawn", tuple("abcdef"), layers)
    file = tmp_path_factory.mktemp("written") / name
    batch = random_architectures(n, space, generator(seed))
    accuracy = torch.rand(n, generator=generator(seed))
    write_structures(file, batch, accuracy)
    again, read = read_structures(file, space)
    assert same_graphs(batch, again).all() and torch.allclose(accuracy, read, atol=1e-6)
    assert (file.read_bytes()[:2] == b"\x1f\x8b") == (file.suffix == ".gz")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_writing_twice_writes_the_same_bytes(tmp_path, suffix):
    batch = random_architectures(50, generator=generator())
    accuracy = torch.rand(50, generator=generator(1))
    first, second = (tmp_path / "a" / f"a.txt{suffix}", tmp_path / "b" / "c" / f"b.txt{suffix}")
    write_structures(first, batch, accuracy)  # a folder that is not there is made
    time.sleep(1.01 if suffix else 0)  # gzip's clock counts seconds
    write_structures(second, batch, accuracy)
    assert first.read_bytes() == second.read_bytes() and list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("cut", [0, 1, 5, -1, -9, -100])
def test_a_truncated_archive_is_named(tmp_path, cut):
    file = tmp_path / "structures.txt.gz"
    write_structures(file, random_architectures(50, generator=generator()), torch.full((50,), 0.5))
    file.write_bytes(file.read_bytes()[:cut])
    said = refused(read_structures, file)
    assert str(file) in said and "\n" not in said


@pytest.mark.parametrize("name", ["structures.txt", "structures.txt.gz"])
def test_on_a_full_disk_the_old_file_stays(disk_of, tmp_path, name):
    file, batch = tmp_path / name, random_architectures(400, generator=generator())
    write_structures(file, batch[:3], torch.full((3,), 0.5))
    before = file.read_bytes()
    with disk_of(1000):
        said = refused(write_structures, file, batch, torch.rand(400, generator=generator()))
    assert f"{file}: cannot be written" in said and "free the disk" in said and "\n" not in said
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


# Their two data sets


@pytest.mark.parametrize(
    ("name", "rows", "distinct"), [("paper", 19_020, 19_015), ("digits", 20_000, 20_000)]
)
def test_the_two_data_sets_and_their_split(name, rows, distinct, request):
    data = request.getfixturevalue(name)
    assert len(data) == rows and codes(data.batch).unique(dim=0).shape[0] == distinct
    assert validity(check_batch(data.batch, ENAS)).all()
    assert (data.batch.n_nodes == ENAS.max_nodes).all()
    assert len(data.train.batch) == data.n_train == int(0.9 * rows)
    assert len(data.test.batch) == rows - data.n_train and f"{data.n_train:,} train" in repr(data)
    target = data.train.target
    assert abs(float(target.mean())) < 1e-4 and abs(float(target.std()) - 1) < 1e-3
    assert torch.allclose(data.unstandardise(data.test.target), data.test.accuracy)
    assert 0.1 < data.accuracy.min() and data.accuracy.max() < 1
    order = list(range(rows))
    random.Random(0).shuffle(order)
    assert data.order.tolist() == order
    if name == "paper":
        mean, std = data.moments()
        assert abs(mean - 0.73632) < 5e-6 and abs(std - 0.00613) < 5e-6
    else:
        assert same_graphs(data.batch, random_architectures(rows, ENAS, generator())).all()


def test_every_row_comes_back_as_it_stands_in_the_file(paper):
    lines = find_file(SOURCES["enas-cifar10"]).read_text().splitlines()[1000:]
    written = [f"{json.dumps(row)}, " for row in to_nested(paper.batch)]
    for line, start, accuracy in zip(lines, written, paper.accuracy.tolist(), strict=True):
        assert line.startswith(start) and abs(float(line.rsplit(",", 1)[1]) - accuracy) < 1e-6


@pytest.mark.parametrize("name", ["paper", "digits"])
def test_accuracy_depends_on_the_wiring_alone_in_the_papers_data_and_not_in_ours(name, request):
    data = request.getfixturevalue(name)
    distinct, first = codes(data.batch).unique(dim=0, return_inverse=True)
    place = torch.zeros(len(distinct), dtype=torch.long).index_put_(
        (first,), torch.arange(len(data))
    )
    kind = wirings(data.batch[place])
    least, greatest = extremes(data.accuracy[place], kind)
    spread = (greatest - least)[kind.bincount() > 1]
    assert len(spread) > 1000 and (spread.max() == 0 if name == "paper" else spread.median() > 0.02)


def test_the_embedded_data_needs_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.delenv("OPEMBED_DATA", raising=False)
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert load_dataset().name == "enas-digits"
    assert find_file(SOURCES["enas-digits"]).parent == ASSETS


def test_the_embedded_file_is_small_and_what_write_structures_writes(digits, tmp_path):
    file = find_file(SOURCES["enas-digits"])
    assert file.stat().st_size <= 600_000
    write_structures(tmp_path / "again.txt", digits.batch, digits.accuracy)
    assert (tmp_path / "again.txt").read_bytes() == gzip.decompress(file.read_bytes())


DAMAGE = [
    lambda whole: whole[:-1],
    lambda whole: b"",
    lambda whole: whole[:99] + bytes([whole[99] ^ 1]) + whole[100:],
    None,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_package_is_named(tmp_path, monkeypatch, damage):
    source = SOURCES["enas-digits"]
    whole = (ASSETS / source.file).read_bytes()
    monkeypatch.setattr("opembed_nb.hood.files.ASSETS", tmp_path)
    if damage:
        (tmp_path / source.file).write_bytes(damage(whole))
    said = refused(load_dataset, "enas-digits")
    assert f"{tmp_path / source.file}: " in said and "install the package again" in said
    assert ("sha256 is" if damage else "No such file") in said and "\n" not in said


def test_load_dataset_refuses_a_file_that_is_right_but_nonsense(tmp_path, monkeypatch):
    bad = f"{ROW}\n[[1]], 0.5\n".encode()
    (tmp_path / "structures.txt").write_bytes(bad)
    monkeypatch.setenv("OPEMBED_DATA", str(tmp_path))
    monkeypatch.setattr("opembed_nb.hood.files.ASSETS", tmp_path)
    for url in ("http://127.0.0.1:9/structures.txt", ""):  # found in the folder, or in the package
        source = SOURCES["enas-cifar10"]._replace(
            file="structures.txt", url=url, sha256=hashlib.sha256(bad).hexdigest()
        )
        monkeypatch.setitem(SOURCES, "enas-cifar10", source)
        assert "line 2: 1 layers" in refused(load_dataset, "enas-cifar10")


def test_parsing_20000_rows_takes_less_than_a_second():
    file, seconds = find_file(SOURCES["enas-digits"]), []
    for _ in range(3):
        start = time.process_time()
        batch, _ = read_structures(file)
        seconds.append(time.process_time() - start)
    assert len(batch) == 20_000 and min(seconds) < 1


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


def test_what_a_cell_costs_is_the_row_of_its_operations(cells):
    # rows of the file: (4, 3, 3, 0, 0, 0) and (2, 2, 0, 4, 2, 0)
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|"
    second = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
    costs = cell_costs(from_cells([first + "skip_connect~2|", second + "skip_connect~2|"]))
    assert costs["edgegpu_latency"].tolist() == [5.807418537139893, 6.547689437866211]
    assert costs["fpga_energy"].tolist() == [18.01072, 37.20752] and len(costs) == 10
    whole = cell_costs(cells.batch)
    assert all(cost.shape == (15_625,) and not (cost <= 0).any() for cost in whole.values())
    assert whole["edgetpu_latency"].isnan().any() and not whole["pixel3_latency"].isnan().any()
    refused_as("nas-bench-201", lambda: cell_costs(random_architectures(1, ENAS)))


def test_cells_load_in_two_seconds(cells):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        load_dataset(cells.name)
        seconds.append(time.process_time() - start)
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


# NAS-Bench-Graph


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
    table = read_bench("arxiv")
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
    done = python("-c", code)
    assert done.stdout.split() == ["2021", "False"], done.stderr[-500:]


def test_without_the_package_a_line_says_which_extra_brings_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    refused_as("pip install '.[benchmarks]'", load_dataset, "nas-bench-graph/cora")


class Runs:
    "Pickled, it asks for a call when it is read."

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_table_that_is_not_the_pinned_one_is_refused_and_not_read(tmp_path, monkeypatch):
    path, mark = tmp_path / "cora.bench", tmp_path / "it-ran"
    whole = bench_file("cora").read_bytes()
    hostile = pickle.dumps({1111: Runs(os.system, f"touch {mark}")}, 3)
    monkeypatch.setattr("opembed_nb.hood.sources.bench_file", lambda task: path)
    for content in (hostile, whole[:-1], whole + b".", b"", None):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        said = refused(load_dataset, "nas-bench-graph/cora")
        assert ("sha256 is" if content is not None else "cannot be read") in said
        assert str(path) in said and "nas-bench-graph==1.4.0" in said and "\n" not in said
    assert not mark.exists()
    pickle.loads(hostile)  # which would run
    assert mark.exists()


HOSTILE = {  # what a pickle asks for → the pickle, in which `{}` is a file that it would make
    "posix.system": lambda mark: pickle.dumps({1: Runs(os.system, f"touch {mark}")}, 4),
    "builtins.eval": lambda mark: pickle.dumps({1: Runs(eval, f"open({str(mark)!r}, 'w')")}, 3),
    "builtins.getattr": lambda mark: pickle.dumps(Runs(getattr, Runs(__import__, "os"), "a"), 3),
    "numpy.load": lambda mark: pickle.dumps(Runs(np.load, str(mark)), 3),
    "numpy.ndarray": lambda mark: b"\x80\x03cnumpy\nndarray\n.",
}


@pytest.mark.parametrize("asked", HOSTILE)
def test_the_unpickler_makes_numpys_numbers_and_nothing_else(asked, tmp_path):
    hostile = HOSTILE[asked](tmp_path / "it-ran")
    said = refused(NumbersOnly(io.BytesIO(hostile)).load)
    assert said == f"a pickle asks for {asked}, which no table needs"
    assert not (tmp_path / "it-ran").exists()
    table = {1111: {"perf": np.float64(0.25), "para": 1.5}}
    for protocol in (3, 4):
        assert NumbersOnly(io.BytesIO(pickle.dumps(table, protocol))).load() == table


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


def test_cells_of_one_wiring_cannot_be_split_by_it(cells):
    assert "cannot be split by wiring" in refused(cells.split, "wiring")


# What is said about the data


def test_the_committed_shares_are_what_the_data_give():
    data = loaded("nas-bench-graph/proteins")
    [record] = read_records(ROOT / "results", "explained", "quick", data.name)
    assert record["dataset"] == data.name and record["values"]["architectures"] == len(data)
    kept, now = record["values"]["shares"], explained(data)
    assert kept.keys() == now.keys()
    for name, share in now.items():
        assert share == pytest.approx(kept[name], abs=0.03)


# Names and folders


@pytest.mark.parametrize("name", ["imagenet", "", "enas-digits.txt.gz", "../enas-digits"])
def test_an_unknown_data_set_is_named(name):
    said = refused(load_dataset, name)
    assert said.startswith(f"dataset {name!r} is unknown; known are enas-digits, enas-cifar10")
    assert ".jsonl" in said and "\n" not in said
    assert refused(absolute_dataset, name) == refused(dataset_name, name) == said


def test_what_a_data_set_is_for_is_its_property():
    assert about("enas-cifar10").paper and not about("enas-digits").paper
    assert load_dataset().about == about("enas-digits") == SOURCES["enas-digits"].about
    assert about("enas-digits").oracle == "supernet" and about("enas-digits").network == "digits"
    assert own_data().about == about("mine") and about("mine").oracle == "surrogate"
    assert own_data(task="seconds").about.task == "seconds"


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
    assert folder_dataset("mine") == "mine" and {*map(dataset_folder, SOURCES)} == RESERVED


def test_checkpoints_from_before_there_were_wirings_go_on(tmp_path):
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
