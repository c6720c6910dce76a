"""Parity with the paper's public code: its outputs on random weights and 24 random architectures;
its checkpoints, and what is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as

from opembed_nb.data import ENAS, DAGBatch, SearchSpace, cat_batches
from opembed_nb.hood.files import OpembedError
from opembed_nb.lab.public import PUBLIC, from_public, to_public
from opembed_nb.training import MODELS, build_model

FILES = sorted((Path(__file__).parent / "golden").glob("*.npz"))
GOLDEN = {path.stem.replace("_", "-"): path for path in FILES}


def load(name):
    golden = np.load(GOLDEN[name], allow_pickle=False)
    weights = [key for key in golden.files if key.startswith("state/")]
    state = {key.removeprefix("state/"): torch.from_numpy(golden[key]) for key in weights}
    batch = DAGBatch(*(torch.from_numpy(golden[k]) for k in ("ops", "adj", "n_nodes")))
    return golden, from_public(name, state), batch


def test_the_golden_files_are_here():
    assert {"dvae", "dvae-emb"} <= GOLDEN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_latents_and_loss(name):
    golden, model, batch = load(name)
    mu, logvar = model.encode(batch)
    assert np.abs(mu.detach().numpy() - golden["mu"]).max() <= 1e-5 * np.abs(golden["mu"]).max()
    error = np.abs(logvar.detach().numpy() - golden["logvar"]).max()
    assert error <= 1e-5 * np.abs(golden["logvar"]).max()
    loss = model.loss(batch, beta=float(golden["beta"]))
    for value, key in zip(loss, ("loss", "recon", "kld"), strict=True):
        assert value.item() == pytest.approx(float(golden[key]), rel=1e-5), key


@pytest.mark.parametrize("name", GOLDEN)
def test_gradients(name):
    golden, model, batch = load(name)
    model.loss(batch, beta=float(golden["beta"])).loss.backward()
    ours = to_public(model, grad=True)
    compared = 0
    for key in golden.files:
        if not key.startswith("grad_norm/"):
            continue
        public, norm = key.removeprefix("grad_norm/"), float(golden[key])
        if public in ours:
            assert ours[public].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), public
            compared += 1
        else:
            assert norm == 0, f"{public} has a gradient in the public code but is no weight of ours"
    assert compared == len(ours)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_batch_is_the_sum_of_its_graphs(name):
    _, model, batch = load(name)
    whole = model.loss(batch).reconstruction.item()
    parts = sum(model.loss(batch[i]).reconstruction.item() for i in range(len(batch)))
    assert whole == pytest.approx(parts, rel=1e-5)
    doubled = cat_batches([batch, batch])
    assert model.loss(doubled).reconstruction.item() == pytest.approx(2 * whole, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].encoder in PUBLIC])
@pytest.mark.parametrize(
    "space",
    [ENAS, SearchSpace("deep", ("a", "b", "c"), 12), SearchSpace("pairs", ("a", "b"), 4)],
    ids=lambda space: space.name,
)
def test_checkpoints_of_any_width_come_back(name, space):
    model = build_model(name, space, 11, 5, dim=4, seed=0).eval()
    again = from_public(name, to_public(model))
    assert (again.space.n_layers, again.space.n_types) == (space.n_layers, space.n_types)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def without(state, lost):
    return {k: v for k, v in state.items() if k != lost}


REFUSALS = [  # a model's checkpoint, changed, read as another's, and what is said
    ("dvae-emb", lambda s: dict(state_dict=s), "dvae-emb", "no weights; give the model"),
    ("dvae-emb", lambda s: s | {"fc1.weight": s["fc1.weight"].long()}, "dvae-emb", "no weights"),
    ("dvae-emb", lambda s: s, "gnn", "model 'gnn' is unknown"),
    ("dvae-emb", lambda s: without(s, "fc1.weight"), "dvae-emb", "'fc1.weight' is missing"),
    ("dvae-emb", lambda s: without(s, "fc2.weight"), "dvae-emb",
     "public checkpoint of 'dvae-emb': tensor 'encoder.logvar.weight' does not fit"),
    ("dvae-emb", lambda s: s | {"nonsense.weight": torch.zeros(2)}, "dvae-emb",
     "'nonsense.weight' belongs to no model"),
    ("dvae-emb", lambda s: s, "dvae", "does not fit"),
    ("gcn", lambda s: s, "dvae", "does not fit"),
    ("gcn", lambda s: s, "svae", "'grue.weight_ih_l0' is missing"),
    # a GCN without directions, which is another model
    ("gcn", lambda s: s | {"hg_unify.0.weight": torch.zeros(12, 24)}, "gcn",
     "'hg_unify.0.weight' belongs to no model"),
    ("gcn", lambda s: s, "gin-emb", "model 'gin-emb' is not in the public code"),
]  # fmt: skip


@pytest.mark.parametrize("name, change, read_as, says", REFUSALS)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(name, change, read_as, says):
    state = change(to_public(build_model(name, hidden=12, latent=6)))
    refused_as(says, from_public, read_as, state)


def test_a_model_without_a_public_counterpart_says_so():
    assert [name for name in MODELS if MODELS[name].encoder not in PUBLIC] == ["gin", "gin-emb"]
    with pytest.raises(OpembedError, match="model 'gin-emb' is not in the public code"):
        to_public(build_model("gin-emb", hidden=7, latent=4))
