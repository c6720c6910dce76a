"Parity with the paper's public code: its outputs on random weights and 24 random architectures."

from pathlib import Path

import numpy as np
import pytest
import torch

from opembed_nb.data import DAGBatch, cat_batches
from opembed_nb.lab.public import from_public, to_public

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
