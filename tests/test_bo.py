"Search: what a point stands for, what the ledger refuses, and that searching beats drawing where it can."

import pytest
import torch

from opembed_nb.bo import (
    Evaluation,
    Ledger,
    bayes_opt,
    decode_points,
    expected_improvement,
    most_frequent,
    propose,
    random_search,
)
from opembed_nb.data import ENAS, ArchDataset, OpembedError, cat_batches, codes, from_flat, random_architectures, validity
from opembed_nb.sgp import SparseGP
from opembed_nb.training import build_model


@pytest.fixture(scope="module")
def data():
    batch = random_architectures(300, generator=torch.Generator().manual_seed(0))
    return ArchDataset("made", ENAS, batch, edges(batch), torch.arange(300), 250)


def edges(batch):
    return (0.9 - batch.adj.sum((1, 2)).float() / 100).to(batch.device)


edges.name = "edges"


@pytest.fixture(scope="module")
def model():
    return build_model("dvae-emb", hidden=16, latent=6, seed=0).eval()


def test_the_most_frequent_decoding_is_taken_and_not_the_first():
    first = from_flat("0 1 1 2 0 0 3 0 0 1 4 0 0 0 0 5 0 0 0 0 0")
    often = from_flat("1 1 1 2 0 0 3 0 0 1 4 0 0 0 0 5 0 0 0 0 0")
    votes = cat_batches([first, often, often])
    rows, found = most_frequent(votes, 3, torch.ones(3, dtype=torch.bool))
    assert found.all() and (codes(votes[rows]) == codes(often)).all()
    assert (codes(votes[[0]]) != codes(votes[rows])).any()  # what the first valid decoding would have been


def test_unusable_decodings_do_not_vote(model):
    graphs, found = decode_points(model, torch.randn(6, 6), 40, torch.Generator().manual_seed(0))
    assert len(graphs) == 6 and validity(graphs[found]).all() and (graphs[found].n_nodes == ENAS.max_nodes).all()
    nobody = torch.zeros(6 * 40, dtype=torch.bool)
    assert not most_frequent(model.sample(torch.randn(240, 6)), 40, nobody)[1].any()


def test_expected_improvement_has_the_gradient_it_claims():
    mean, std = (torch.tensor(x, dtype=torch.double, requires_grad=True) for x in ([0.2, -3.0, 4.0], [0.5, 1.0, 2.0]))
    assert torch.autograd.gradcheck(lambda m, s: expected_improvement(m, s, 1.0), (mean, std))


def test_proposals_lie_in_the_box_and_differ():
    x = torch.rand(80, 3, generator=torch.Generator().manual_seed(0))
    gp = SparseGP(40).fit(x, -((x - 0.5) ** 2).sum(1))
    box = torch.stack([x.amin(0), x.amax(0)])
    points = propose(gp, box, -0.05, 5, torch.Generator().manual_seed(0), 300)
    assert (points >= box[0]).all() and (points <= box[1]).all() and torch.pdist(points).min() > 1e-6
    assert torch.equal(points, propose(gp, box, -0.05, 5, torch.Generator().manual_seed(0), 300))


def test_a_search_is_determined_by_its_seed(model, data):
    runs = [bayes_opt(model, data, edges, 2, 4, 10, 200, 30, seed=s) for s in (1, 1, 2)]
    assert runs[0].rows == runs[1].rows != runs[2].rows
    assert [r.round for r in runs[0].rows] == [1] * 4 + [2] * 4
    assert {r.oracle for r in runs[0].rows} == {"edges"}


def test_both_strategies_value_alike(model, data):
    book = random_search(model, data, edges, 3, 10, 20, seed=0)
    assert len(book.rows) == 30
    for row in book.rows:
        if row.architecture is not None:
            assert row.value == pytest.approx(edges(from_flat(row.architecture)).item())


def test_the_ledger_keeps_one_oracle_and_knows_its_best():
    book = Ledger()
    for value, text in ((None, None), (0.5, "a"), (0.7, "b"), (0.7, "b"), (0.6, "c")):
        book.add(Evaluation("bayes", 0, 1, text, value, "one"))
    assert [r.architecture for r in book.best(5)] == ["b", "c", "a"]
    assert book.curve()[1:] == [0.5, 0.7, 0.7, 0.7] and book.curve()[0] != book.curve()[0]
    with pytest.raises(OpembedError, match="holds values of oracle 'one', 'two' can't join"):
        book.add(Evaluation("bayes", 0, 1, "d", 0.9, "two"))


def test_a_model_in_training_mode_is_refused(data):
    with pytest.raises(OpembedError, match=r"training mode; call model\.eval"):
        random_search(build_model("dvae", hidden=8, latent=4), data, edges, 1, 2, 5)
