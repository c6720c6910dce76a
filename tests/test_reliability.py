"What is promised: the record of the long form, a short form of the kills, numbers that go wrong."

from pathlib import Path

import fuzz
import pytest
import soak
import torch

from opembed_nb.data import ArchDataset
from opembed_nb.hood.asking import Search
from opembed_nb.hood.files import refused
from opembed_nb.hood.networks import Schedule, train_fully
from opembed_nb.hood.records import read_record
from opembed_nb.sgp import SparseGP
from opembed_nb.training import TrainConfig, fit
from tests.warm import python

ROOT = Path(__file__).parents[1]


def test_the_record_has_all_parts_and_no_loss():
    values = read_record(ROOT / "results" / "reliability" / "soak.json")["values"]
    wanted = [f"kills {kind}" for kind in soak.KINDS] + [f"faults {c}" for c in soak.FAULTS]
    assert {*wanted, "asking", "fuzz"} == values.keys()
    asked = values["asking"]
    assert asked["asks"] >= 100 and asked["kills"] >= 20 and asked["replayed"] == asked["asks"]
    assert not [name for name, own in values.items() if soak.bad(own)]
    assert values["fuzz"]["outcomes"].keys() == set(fuzz.READERS)
    assert values["fuzz"]["made"] == sum(
        sum(counts.values()) for counts in values["fuzz"]["outcomes"].values()
    )


# The others: of a training and of a search see test_training, test_bo and test_pipeline.
SHORT = ["stacks", "full training", "ask and tell"]


def test_one_kill_of_each_kind_and_signal_loses_nothing(tmp_path):
    only = [f"kills {kind}" for kind in SHORT]
    command = ROOT / "tests" / "soak.py", "--kills", "1", "--folder", tmp_path, "--only", *only
    done = python(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    values = read_record(tmp_path / "soak.json")["values"]
    assert [*values] == only and all(o["SIGKILL"] == o["SIGTERM"] == 1 for o in values.values())


def test_a_loss_is_bad():
    assert not soak.bad(dict(lost=0, different=0, slowest=0.1, surprises=[]))
    assert all(map(soak.bad, (dict(lost=1), dict(slowest=11), dict(surprises=["x"]))))


BATCH, DRAW = soak.drawn(40, soak.FREE), torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 3, generator=DRAW), torch.randn(40, generator=DRAW)
SMALL = dict(hidden=4, latent=3, device="cpu", progress=False)


def labelled(first):
    return ArchDataset.from_scores("mine", soak.FREE, BATCH, [first, *range(39)])


WRONG = [
    (lambda: labelled(float("inf")), "score 0 is inf, not finite"),
    (lambda: labelled(float("nan")), "score 0 is nan, not finite"),
    (lambda: labelled(10**400), "scores: Overflow"),
    (lambda: ArchDataset.from_scores("a", soak.FREE, BATCH, [1.0] * 40), "nothing to predict"),
    (lambda: SparseGP(5).fit(X * torch.tensor([1, torch.inf, 1]), Y), "predictors need finite"),
    (lambda: SparseGP(5).fit(X, Y.where(Y < 1, torch.nan)), "predictors need finite"),
    (lambda: Search(soak.FREE).tell(BATCH[:1], float("inf")), "score 0 is inf; give a finite"),
    (lambda: fit("dvae", BATCH, TrainConfig(9, minibatch=8, lr=1e18), **SMALL), "the loss is"),
    (lambda: train_fully(soak.drawn(1), soak.images(), soak.TINY, soak.SIZES,
                         Schedule(9, 16, lr=1e30)), "the loss is nan in epoch"),
]  # fmt: skip


@pytest.mark.parametrize("act, says", WRONG, ids=[says for _, says in WRONG])
def test_a_number_that_is_none_is_one_line(act, says):
    message = refused(act)
    assert says in message and "\n" not in message


@pytest.mark.parametrize("x, y", [(X, torch.ones(40)), (torch.ones(40, 3), Y), (1e-8 * X, Y)])
def test_constant_labels_and_equal_rows_are_predicted_by_the_mean(x, y):
    mean, std = SparseGP(5).fit(x, y).predict(x)
    assert (mean - y.mean()).abs().max() < 2 and std.isfinite().all()
