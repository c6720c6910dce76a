"A supernet that ignores operations, what its records say, and what the page claims."

import json
import os
import re
from pathlib import Path

import pytest
import torch
from common import shown

from opembed_nb.data import ENAS, DAGBatch, cat_batches, random_architectures
from opembed_nb.hood.files import ASSETS, OpembedError
from opembed_nb.hood.formats import from_flat
from opembed_nb.hood.networks import (
    NetSizes,
    Schedule,
    Supernet,
    digit_images,
    layers_of,
    load_supernet,
    train_supernet,
)
from opembed_nb.hood.records import read_records
from opembed_nb.hood.sources import load_dataset
from opembed_nb.lab.operations_ignored import LastBranch, train_last_branch
from opembed_nb.lab.studies import dependence, file_itself, sample
from opembed_nb.oracle import WeightSharingOracle

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "nbs" / "lab/operations_ignored.ipynb"
TINY = NetSizes(4)
WEIGHTS = ASSETS / "enas-digits-supernet.safetensors"
no_paper = not os.environ.get("OPEMBED_DATA")
papers_file = pytest.mark.skipif(no_paper, reason="needs the paper's file")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_wiring(batch, seed):
    "The wirings of a batch with operations drawn at random."
    ops = random_architectures(len(batch), ENAS, generator(seed)).ops
    return DAGBatch(ops, batch.adj, batch.n_nodes)


@pytest.fixture(scope="module")
def faulty():
    "The packaged supernet's weights, in a network with the fault."
    return LastBranch.of(load_supernet(WEIGHTS))


def test_with_the_fault_all_architectures_of_one_wiring_are_one(faulty):
    x = digit_images().valid[0][:300]
    batch = random_architectures(8, ENAS, generator(1))
    other, sound = same_wiring(batch, 2), load_supernet(WEIGHTS)
    assert not torch.equal(batch.ops, other.ops)
    with torch.no_grad():
        for a, b in zip(layers_of(batch), layers_of(other)):
            last = tuple((5, skips) for _, skips in a)
            assert torch.equal(faulty(x, a), faulty(x, b))
            assert torch.equal(faulty(x, a), sound(x, last))  # six poolings, and nothing else
            assert not torch.equal(sound(x, a), sound(x, b))


def test_without_the_fault_nothing_has_changed():
    "Hooks on all operations: those asked for are applied, and no others."
    x, net, applied = digit_images().valid[0][:50], load_supernet(WEIGHTS), []
    for i, choices in enumerate(net.operations):
        for k, module in enumerate(choices):
            module.register_forward_hook(lambda *_, at=(i, k): applied.append(at))
    for layers in layers_of(random_architectures(5, ENAS, generator(3))):
        applied.clear()
        net(x, layers)
        assert applied == [(i, k) for i, (k, _) in enumerate(layers)]


def test_both_begin_with_the_same_weights_and_train_on_the_same_wirings(tmp_path):
    "What differs after training is the fault's doing; neither goes on from the other's checkpoint."
    images, schedule = digit_images(), Schedule(1, cycle=1)
    faulty, _ = train_last_branch(images, ENAS, TINY, schedule, tmp_path)
    with pytest.raises(OpembedError, match="belongs to a run with fault = last branch, not None"):
        train_supernet(images, ENAS, TINY, schedule, tmp_path)
    torch.manual_seed(schedule.seed)
    start = Supernet(ENAS, TINY).state_dict()
    moved = {name: not torch.equal(start[name], w) for name, w in faulty.state_dict().items()}
    used = [name.split(".")[2] == "5" for name in moved if name.startswith("operations.")]
    assert [moved[n] for n in moved if n.startswith("operations.")] == used


def test_trained_with_the_fault_the_scores_of_a_wiring_are_one():
    images = digit_images()
    x, y = images.valid
    few = images._replace(valid=(x[:600], y[:600]))
    trained, _ = train_last_branch(images, ENAS, NetSizes(8), Schedule(8, cycle=8))
    batch = random_architectures(6, ENAS, generator(4))
    scores = WeightSharingOracle(trained, few)(cat_batches([batch, same_wiring(batch, 5)]))
    assert torch.equal(scores[:6], scores[6:])


# the records and the page


def kept(dataset, model):
    return read_records(ROOT / "results", "fault", "*", dataset, model, "fault")


def test_with_the_fault_the_wiring_is_all_that_counts():
    faulty, sound = (kept("enas-digits", m) for m in ("supernet-last-branch", "supernet"))
    assert [r["seed"] for r in faulty] == [r["seed"] for r in sound] and faulty
    for with_fault, without in zip(faulty, sound):
        ours, theirs = with_fault["values"], without["values"]
        assert ours["fault"] == LastBranch.fault and theirs["fault"] is None
        alike = ("schedule", "sizes", "rows", "draws", "architectures", "wirings", "several")
        assert all(ours[key] == theirs[key] for key in alike)
        assert ours["schedule"]["seed"] == with_fault["seed"]
        assert ours["within"] < 0.02 and ours["depend"] == 0 == ours["widest"]
        assert theirs["within"] > 0.5 and theirs["depend"] > 0.99 * theirs["several"]
        assert all(a == b for a, b in ours["pairs"])
        assert sum(a == b for a, b in theirs["pairs"]) < 0.1 * len(theirs["pairs"])


def test_what_the_page_says_of_correlations_and_spread():
    kinds = ("supernet-last-branch", "supernet")
    [file], faulty, sound = (kept("enas-cifar10", "data"), *(kept("enas-digits", k) for k in kinds))

    def signs(record):
        return [c["r"] > 0 for c in record["values"]["correlations"].values()]

    assert signs(file) == [True, False, False, False]
    assert all(signs(record) == [False, True, True, False] for record in [*faulty, *sound])
    for with_fault, without in zip(faulty, sound):
        assert without["values"]["std"] > 4 * with_fault["values"]["std"]
        narrow, wide = with_fault["values"]["std"], without["values"]["std"]
        assert narrow - file["values"]["std"] < 0.2 * (wide - narrow)


def test_records_say_where_they_come_from():
    for record in kept("*", "*"):
        assert re.fullmatch("[0-9a-f]{10}", record["provenance"]["commit"])  # no + after it
        assert record["provenance"]["processor"] and record["seconds"] > 0
        assert record["provenance"]["threads"] == 1


@papers_file
def test_the_record_of_the_file_is_what_the_file_gives():
    again = json.loads(json.dumps(file_itself()))
    [record] = kept("enas-cifar10", "data")
    assert again.pop("correlations")["edges"]["r"] == pytest.approx(-0.442, abs=0.001)
    correlations = record["values"].pop("correlations")
    assert correlations["average path length"]["r"] == pytest.approx(0.318, abs=0.001)
    assert correlations["clustering coefficient"]["r"] == pytest.approx(-0.395, abs=0.001)
    assert again.pop("pairs") == record["values"].pop("pairs")
    for key, value in record["values"].items():
        assert again[key] == pytest.approx(value, abs=1e-6), key
    assert again["depend"] == 0 and again["wirings"] == 8477 and again["known"] == 1371
    low, high = again["operations_by_chance"]
    assert low < again["operations"] < high


@papers_file
def test_the_sample_has_the_files_wirings_and_each_with_other_operations():
    data = load_dataset("enas-cifar10")
    batch, accuracy = sample(data, rows=50, draws=3)
    own, *others = (batch[torch.arange(k, k + 50)] for k in (0, 50, 100))
    again = torch.randperm(len(data), generator=generator())[:50]
    assert torch.equal(own.ops, data.batch.ops[again])
    assert torch.equal(accuracy, data.accuracy[again])
    for other in others:
        assert torch.equal(own.adj, other.adj)
        assert (own.ops != other.ops).any(1).all()


def test_dependence_on_a_case_to_count_by_hand():
    batch = from_flat(
        ["0 1 1 2 0 0 3 0 0 1 4 0 0 0 0 5 0 0 0 0 0", "5 1 1 1 0 0 0 0 0 1 0 0 0 0 0 4 0 0 0 0 0"]
        * 2
        + ["0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"]
    )
    found = dependence(batch, torch.tensor([0.5, 0.75, 0.5, 0.75, 0.25]))
    assert (found["wirings"], found["several"], found["depend"]) == (2, 1, 1)
    assert found["widest"] == 0.25
    found = dependence(batch, torch.tensor([0.5, 0.5, 0.5, 0.5, 0.25]))
    assert (found["several"], found["depend"], found["within"]) == (1, 0, 0)


def test_the_pages_table_is_that_of_the_records():
    page = shown("lab/operations_ignored")
    [table] = [text for text in page if text.startswith("|  |")]
    rows = {line.split(" | ")[0].strip("|* "): line for line in table.splitlines()[2:]}
    numbers = {
        name: [float(n.replace("−", "-")) for n in re.findall(r"(?<=\| )[+−]?[\d.]+", line)]
        for name, line in rows.items()
    }
    kinds = [("enas-cifar10", "data")]
    kinds += [("enas-digits", model) for model in ("supernet-last-branch", "supernet")]
    for column, kind in enumerate(kinds):
        found = [record["values"] for record in kept(*kind)]

        def mean(of_each, found=found):
            return sum(map(of_each, found)) / len(found)

        def number(name, column=column):
            return numbers[name][column]

        within = number("variance within wirings")
        assert within == pytest.approx(100 * mean(lambda v: v["within"]), abs=0.051)
        std = number("standard deviation of accuracy, in points")
        assert std == pytest.approx(100 * mean(lambda v: v["std"]), abs=0.0051)
        for name in found[0]["correlations"]:
            r = mean(lambda v, name=name: v["correlations"][name]["r"])
            assert number(f"r with {name.removeprefix('average ')}") == pytest.approx(r, abs=0.0051)


def test_six_lines_of_python_are_enough():
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    [cell] = [c for c in cells if "".join(c["source"]).startswith("apply = {}")]
    assert len("".join(cell["source"]).splitlines()) == 6
    assert "what 3×3 max pooling makes" in "".join(cell["outputs"][0]["data"]["text/plain"])
