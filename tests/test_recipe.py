"The recipe `signal`: its initial weights, its schedule, and what only those weights learn."

import math
from pathlib import Path

import pytest
import torch
from common import refused_as

from opembed_nb.data import ENAS, SearchSpace, random_architectures
from opembed_nb.hood.intervals import mean_std
from opembed_nb.hood.records import read_records
from opembed_nb.training import (
    INITIAL_WEIGHTS,
    MODELS,
    TrainConfig,
    _way_out,
    build_model,
    calm_messages,
    fit,
    reach,
    scale_layers,
    scale_operations,
    signal_weights,
    train_config,
    whiten_latents,
)

ROOT = Path(__file__).parents[1]
SMALL = dict(device="cpu", progress=False)
each_model = pytest.mark.parametrize("name", MODELS)


def graphs(n, space=ENAS, seed=0):
    return random_architectures(n, space, torch.Generator().manual_seed(seed))


def deviations(model, batch):
    return model.latents(batch).std(0, correction=0)


@each_model
@pytest.mark.parametrize("space", [ENAS, SearchSpace("deep", ("a", "b", "c"), 12)], ids=str)
def test_latents_start_white_and_the_loss_finite(name, space):
    batch = graphs(400, space)
    model = build_model(name, space, hidden=40, latent=10, seed=0).eval()
    signal_weights(model, batch)
    covariance = model.latents(batch).T.cov(correction=0)
    assert torch.allclose(covariance, 0.09 * torch.eye(10), atol=1e-3)
    assert model.loss(batch).loss.isfinite()
    model.sample(model.latents(batch[:5]))


@pytest.mark.parametrize("n, latent", [(12, 20), (1, 6), (400, 30)])
def test_fewer_architectures_or_units_than_dimensions(n, latent):
    model = build_model("dvae", hidden=16, latent=latent, seed=0).eval()
    whiten_latents(model, graphs(n))
    assert all(p.isfinite().all() for p in model.parameters())
    assert (deviations(model, graphs(n)) < 0.31).all()


@pytest.mark.parametrize("hidden", [32, 200])
def test_operations_have_one_size_for_both_twins_at_any_width(hidden):
    for name in ("dvae", "dvae-emb", "gcn", "gcn-emb", "svae-emb", "graphrnn"):
        model = build_model(name, hidden=hidden, seed=0)
        edges = model.encoder.operation_columns()[0].shape[1]
        scale_operations(model)
        for part in (model.encoder, model.decoder):
            for columns in part.operation_columns():
                assert columns.shape[1] == edges == model.embedding.dim
                size = (model.embedding.table()[2:] @ columns.T).std()
                assert size.item() == pytest.approx(0.4, rel=1e-4)


def test_layers_keep_the_size_of_a_signal_also_where_a_gcn_averages():
    gcn, dvae = (build_model(name, hidden=400, seed=0) for name in ("gcn", "dvae"))
    for model in (gcn, dvae):
        scale_layers(model)
    first, *later = gcn.encoder.levels
    for layer, gain in ((dvae.encoder.unify, 1), *((level, 2) for level in later)):
        expected = gain * (2 / layer.in_features) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert (layer.bias == 0).all()


def test_the_columns_that_read_edges_keep_their_weights():
    before, after = (build_model("svae", hidden=16, seed=0) for _ in range(2))
    scale_operations(after)
    dim = before.embedding.dim
    old, new = before.encoder.cell.weight_ih, after.encoder.cell.weight_ih
    assert torch.equal(old[:, dim:], new[:, dim:]) and not torch.equal(old[:, :dim], new[:, :dim])


@pytest.mark.parametrize("name, layers", [("gcn", 12), ("dvae", 18), ("gin-emb", 24)])
def test_the_first_loss_of_a_deep_dense_space_is_that_of_guessing_and_falls(name, layers):
    space = SearchSpace("deep", ("a", "b", "c"), layers)
    batch, sizes = graphs(128, space), dict(hidden=64, latent=16)
    model = build_model(name, space, seed=0, **sizes).eval()
    signal_weights(model, batch)
    guessing = (layers + 1) * math.log(5) + (layers + 1) * (layers + 2) / 2 * math.log(2)
    assert float(model.loss(batch).reconstruction.detach()) / 128 < 1.2 * guessing
    config = train_config("signal", 64, epochs=8)
    history = fit(name, batch, config, space=space, **sizes, **SMALL).history
    assert history[-1]["loss"] < guessing


def test_six_layers_keep_their_weights_whatever_is_wired():
    before, after = (build_model("gin", hidden=16, seed=3) for _ in range(2))
    calm_messages(after, random_architectures(10, ENAS, p_skip=1))
    assert all(map(torch.equal, before.parameters(), after.parameters()))


@pytest.mark.parametrize(
    "config, says",
    [
        (dict(lr=0.0075, weights="signal"), "lr, such as 0.0008 or the recipe paper"),
        (dict(lr=1e-9, weights="signal"), "try the recipe paper"),
        (dict(lr=1e-9), "parts"),
    ],
)
def test_a_loss_that_is_no_number_names_a_way_out(config, says):
    assert says in _way_out(TrainConfig(**config))


def test_pytorch_means_that_nothing_is_touched():
    before, after = (build_model("dvae-emb", hidden=16, seed=3) for _ in range(2))
    INITIAL_WEIGHTS["pytorch"](after, graphs(10), 3)
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    def weights(seed):
        model = build_model("dvae", hidden=16, latent=6, seed=0)
        signal_weights(model, graphs(50), seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_a_thousand_times_more_of_z_reaches_every_node():
    batch = graphs(100)
    found = {}
    for weights in ("pytorch", "signal"):
        model = build_model("dvae-emb", hidden=64, seed=0).eval()
        INITIAL_WEIGHTS[weights](model, graphs(300, seed=1), 0)
        found[weights] = reach(model, batch)
    assert found["signal"].shape == (7,)
    assert (found["signal"] > 1000 * found["pytorch"])[1:].all()


def test_the_step_size_rises_and_falls_to_nothing():
    config = train_config("signal", 16, epochs=20, minibatch=16)
    history = fit("dvae", graphs(64), config, hidden=16, latent=6, **SMALL).history
    sizes = [row["lr"] for row in history]
    assert sizes[0] < sizes[1] == max(sizes) <= 0.06 * 16**-0.5
    assert sizes[1:] == sorted(sizes[1:], reverse=True) and sizes[-1] < 0.01 * max(sizes)


def test_gradients_are_cut_to_the_limit():
    from opembed_nb.training import _Training

    batch = graphs(32)
    run = _Training("dvae", batch, train_config("signal", 12, clip=1e-3), ENAS, hidden=12, latent=6)
    run.begin(1)
    run.step(batch)
    norm = torch.stack([p.grad.norm() for p in run.model.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3 * len(batch), rel=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(schedule="linear"), "schedule 'linear' is unknown; known are plateau, cosine"),
        (dict(weights="zeros"), "weights 'zeros' are unknown; known are pytorch, signal"),
    ],
)
def test_unknown_names_are_refused_in_one_line(change, message):
    config = TrainConfig(epochs=1, **change)
    refused_as(message, lambda: fit("dvae", graphs(10), config, hidden=12, latent=6, **SMALL))
    refused_as("recipe 'fast' is unknown; known are paper, signal", train_config, "fast")


def test_the_paper_recipe_is_the_papers():
    config = train_config("paper", 128, epochs=0, lr=0.0)
    assert (config.epochs, config.minibatch, config.lr, config.beta) == (300, 32, 1e-4, 0.005)
    assert (config.schedule, config.weights) == ("plateau", "pytorch")
    assert (config.beta2, config.clip) == (0.999, 0)
    assert train_config("signal", 501).lr == pytest.approx(0.06 * 501**-0.5)


@pytest.mark.parametrize("name", ["svae", "graphrnn"])
def test_the_sequence_recipe_starts_with_states_that_turn(name):
    config = train_config("sequence", 16)
    model = build_model(name, hidden=16, latent=6, seed=0)
    INITIAL_WEIGHTS[config.weights](model, graphs(50), 0)
    turns = model.encoder.cell.weight_hh[32:]
    assert torch.allclose(turns @ turns.T, 1.44 * torch.eye(16), atol=1e-4)
    assert config.lr == pytest.approx(train_config("sequence", 32).lr * 2)
    others = ("epochs", "schedule", "clip", "beta", "beta2", "noise")
    assert all(getattr(config, key) == getattr(train_config("signal"), key) for key in others)


@pytest.mark.slow
def test_the_loss_falls_faster_than_from_pytorch_weights():
    loss = {}
    for weights in ("signal", "pytorch"):
        config = train_config("signal", 64, epochs=8, minibatch=32, weights=weights)
        history = fit("dvae-emb", graphs(900), config, hidden=64, latent=56, **SMALL).history
        loss[weights] = history[-1]["reconstruction"]
    assert loss["signal"] < 0.75 * loss["pytorch"]  # .6; of more passes, see the records


def test_the_trials_of_the_table_are_those_of_the_records():
    kept = read_records(ROOT / "results", "trial", "finalist", kind="recipes")
    table = (ROOT / "results/recipes/table.md").read_text(encoding="utf-8")
    assert {record["seed"] for record in kept} == {0, 1, 2}
    for dataset in ("enas-cifar10", "enas-digits"):
        for model in ("dvae-emb", "dvae"):
            runs = [r["values"] for r in kept if (r["dataset"], r["model"]) == (dataset, model)]
            shown = mean_std([run["accuracy"] for run in runs], 2)
            row = f"| finalist | {dataset} | {MODELS[model].title} | 3 | 10 |"
            assert any(shown in line for line in table.splitlines() if line.startswith(row))
