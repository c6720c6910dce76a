"Few labels: what is not counted is not used, and no copy stands on both sides."

import copy
import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from opembed_nb.data import codes, random_architectures
from opembed_nb.hood.features import fingerprints
from opembed_nb.hood.isomorphs import in_one_order
from opembed_nb.hood.judge import Latents, View
from opembed_nb.hood.sources import CELLS
from opembed_nb.lab.few_labels import (
    ARMS,
    PREDICTORS,
    SHORT_ARMS,
    bought,
    by_copy,
    classes,
    drawn,
    few_record,
    few_records,
    headed,
    labels_of,
    predicted,
    table_of,
    unseen,
)
from opembed_nb.lab.runner import Job
from opembed_nb.lab.unseen import Given, levelled, parted, transferred
from opembed_nb.training import build_model

no_table = not os.environ.get("OPEMBED_DATA")
needs_table = pytest.mark.skipif(no_table, reason="needs the table's file")


class Few(SimpleNamespace):
    "A table by hand."

    def __len__(self):
        return len(self.batch)


def cells(batch, seed=1):
    "Cells of NAS-Bench-201 with random scores."
    score, report = torch.rand(
        2, len(batch), generator=torch.Generator().manual_seed(seed)
    ).double()
    kinds = fingerprints(batch, CELLS, ("none",), ("skip_connect",))
    return Few(
        batch=batch, space=CELLS, score=score, report=report, kinds=kinds,
        groups=torch.arange(len(batch)), zero=("none",), kept={},
    )  # fmt: skip


def poisoned(table, rows):
    "The same table without any score but those of some rows."
    bare = copy.copy(table)
    bare.score, bare.report = table.score * torch.nan, table.report * torch.nan
    bare.score[rows], bare.report[rows] = table.score[rows], table.report[rows]
    bare.kept = {"dvae": table.kept["dvae"]} if "dvae" in table.kept else {}
    return bare


def small_model():
    return build_model("dvae", CELLS, hidden=8, latent=4, seed=0).eval()


@pytest.fixture(scope="module")
def few():
    return cells(random_architectures(240, CELLS, torch.Generator().manual_seed(0)))


LATENT = [("process", "dvae"), ("process", "counts + dvae"), ("head", "dvae")]


@pytest.mark.parametrize("predictor, encoding", [*ARMS, *SHORT_ARMS, *LATENT])
def test_a_label_that_is_not_counted_is_not_used(few, predictor, encoding, monkeypatch):
    monkeypatch.setattr("opembed_nb.lab.few_labels.after_36", lambda arena: arena.score**2)
    monkeypatch.setitem(PREDICTORS, "head", partial(headed, steps=3))
    few.kept.setdefault("dvae", View(Latents(small_model()), CELLS, few.batch))
    job = Job("few cells", predictor, encoding, 3)
    values, rows = predicted(few, job, 20)
    again, same = predicted(poisoned(few, rows), job, 20)
    assert torch.equal(rows, same) and len(rows) == bought(job, 20)
    assert len(rows) == (60 if "36 epochs" in encoding else 20)
    assert torch.equal(values, again) and values.isfinite().all() and values.std() > 0


def test_nor_where_an_operation_is_left_out(few):
    expected = torch.rand(len(few), generator=torch.Generator().manual_seed(2)).double()
    view = View(Given(rows=levelled(torch.eye(5))), CELLS, few.batch)
    old, new, tested = parted(few, drawn(few, 0), "nor_conv_3x3")
    conv = (few.batch.ops == CELLS.types.index("nor_conv_3x3")).any(1)
    assert conv[new].all() and not conv[old].any() and conv[tested].all() and not tested[new].any()
    value = computed(few.batch)
    assert not torch.isin(value[tested], value[torch.cat([old, new])]).any()
    rows = torch.cat([old[:20], new[:4]])
    values = transferred(few, view, expected, rows, tested)
    assert torch.equal(values, transferred(poisoned(few, rows), view, expected, rows, tested))


def computed(batch, x=0.37):
    "What a cell makes of a number, if every operation is a function that keeps zero."
    functions = {
        "none": torch.zeros_like, "skip_connect": lambda x: x, "nor_conv_1x1": torch.tanh,
        "nor_conv_3x3": lambda x: torch.sin(2 * x), "avg_pool_3x3": lambda x: x + 0.3 * x**3,
    }  # fmt: skip
    heard = torch.full((len(batch), 8), x).double()
    for v in range(1, 8):
        made = torch.stack([functions[name](heard) for name in CELLS.operations])
        kinds = (batch.ops - 2).clamp(0, 4)
        sent = made.gather(0, kinds[None])[0]
        sent[:, 0] = x
        heard[:, v] = (batch.adj[:, :, v] * sent).sum(1)
    return (heard[:, -1] * 1e9).round()


TABLES = ["nas-bench-201/cifar10", "nas-bench-graph/cora", "nas-bench-101/30k", "enas-digits"]


@needs_table
@pytest.mark.parametrize("name", TABLES)
def test_no_isomorphic_copy_stands_on_both_sides(name):
    table = table_of(name)
    if table.space == CELLS:
        kind = computed(table.batch)
        assert len(kind.unique()) == len(classes(table).unique())  # no more is left out
    else:
        batch = table.batch if table.space.chain else in_one_order(table.batch)
        kind = codes(batch).unique(dim=0, return_inverse=True)[1]
    for seed in range(5):
        for n in labels_of(name):
            rows = drawn(table, seed)[:n]
            tested = unseen(table, rows)
            assert not torch.isin(kind[tested], kind[rows]).any() and tested.sum() > 5000


def test_a_copy_of_a_copy_is_a_copy():
    table = Few(kinds=torch.tensor([5, 5, 6, 7]), groups=torch.tensor([0, 1, 1, 2]))
    assert unseen(table, torch.tensor([0])).tolist() == [False, False, False, True]


def test_a_copy_is_another_training_of_the_same():
    table = Few(groups=torch.tensor([3, 1, 3, 3]), report=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert by_copy(table).nan_to_num(-1).tolist() == [3, -1, 4, 1]


@needs_table
def test_a_cell_of_the_table_can_be_computed_again(monkeypatch):
    monkeypatch.setattr("opembed_nb.lab.few_labels.labels_of", lambda name: (78,))
    job = Job("nas-bench-201/cifar10", "process", "counts", 0)
    [now] = few_record(job)["labels"]
    [record] = [r for r in few_records() if Job(*(r[f] for f in Job._fields)) == job]
    before = record["values"]["labels"][0]
    assert now["tested"] == before["tested"]
    for tested in ("unseen", "all"):
        assert now[tested]["kendall"] == pytest.approx(before[tested]["kendall"], abs=2e-3)
