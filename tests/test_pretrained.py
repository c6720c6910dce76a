"Models that come with the package do what their cards say; a file that is not theirs is refused."

import json
import shutil

import pytest
import torch
from common import refused_as

from opembed_nb import training
from opembed_nb.data import same_graphs
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.sources import load_dataset
from opembed_nb.training import (
    PACKAGED,
    Trained,
    fit,
    load_pretrained,
    read_card,
    save_pretrained,
    train_config,
    train_or_load,
)
from tests.warm import python

CARDS = [(data, name) for data in ("enas-digits", "enas-cifar10") for name in ("dvae", "dvae-emb")]
each_card = pytest.mark.parametrize("dataset, name", CARDS)


@each_card
def test_a_card_says_how_the_model_was_made(dataset, name):
    card = read_card(name, dataset)
    assert card["abilities"].keys() >= {"accuracy", "validity", "uniqueness"}
    assert card["prediction"].keys() >= {"rmse", "pearson", "kendall"}
    assert card["config"]["weights"] == "signal"
    assert len(card["history"]) == card["config"]["epochs"]
    assert card["provenance"].keys() >= {"commit", "processor", "instructions"}
    assert card["seconds"] > 0
    assert (PACKAGED / f"{dataset}-{name}.safetensors").stat().st_size < 1_200_000


@pytest.mark.parametrize("name", ["dvae", "dvae-emb"])
def test_it_reconstructs_as_its_card_says(name):
    test = load_dataset("enas-digits").test.batch[:500]
    model = load_pretrained(name, "enas-digits")
    drawn = model.sample(model.latents(test), torch.Generator().manual_seed(0), repeats=10)
    share = 100 * same_graphs(drawn, test.repeat(10)).float().mean().item()
    assert share == pytest.approx(read_card(name, "enas-digits")["abilities"]["accuracy"], abs=0.5)


def copied(folder, *names):
    for name in names:
        shutil.copy(PACKAGED / name, folder)


def test_files_that_are_not_whole_or_not_the_models_are_refused_by_name(tmp_path):
    weights, other = "enas-digits-dvae.safetensors", "enas-digits-dvae-emb.safetensors"
    copied(tmp_path, weights, other, "enas-digits-dvae.json")
    whole = (tmp_path / weights).read_bytes()
    for content in (whole[:-1], whole[:100], b"", (tmp_path / other).read_bytes()):
        (tmp_path / weights).write_bytes(content)
        refusal = f"{weights}: is not the file that its card describes"
        refused_as(refusal, load_pretrained, "dvae", "enas-digits", tmp_path)
    (tmp_path / weights).unlink()
    refused_as(f"{weights}: cannot be read", load_pretrained, "dvae", "enas-digits", tmp_path)
    (tmp_path / "enas-digits-dvae.json").write_text("{")
    with pytest.raises(OpembedError, match="enas-digits-dvae.json: is no card of a model"):
        load_pretrained("dvae", "enas-digits", tmp_path)


def test_the_refusal_of_an_unknown_model_names_those_that_there_are():
    refusal = "no model 'gcn' of data set 'enas-digits' .*enas-digits-dvae-emb"
    refused_as(refusal, load_pretrained, "gcn", "enas-digits")


def test_a_model_that_is_kept_comes_back_in_half_precision(tmp_path):
    data = load_dataset("enas-digits")
    sizes = dict(hidden=12, latent=6, dim=3)
    config = train_config("signal", 12, epochs=1, max_graphs=64)
    run = fit("dvae-emb", data.train.batch, config, progress=False, **sizes)
    model = save_pretrained(run, "enas-digits", config, sizes, tmp_path)
    for kept, trained in zip(model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(kept, trained.half().float())
    card = json.loads((tmp_path / "enas-digits-dvae-emb.json").read_text())
    assert card["history"] == run.history and card["sizes"] == sizes


def test_a_chapter_uses_it_for_its_own_parameters_and_no_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    data = load_dataset("enas-digits")
    card = read_card("dvae", "enas-digits")
    config = train_config("signal", 128, epochs=card["config"]["epochs"])
    found = train_or_load("dvae", data, config, **card["sizes"])
    assert "comes with the package" in capsys.readouterr().out
    assert found.history == card["history"] and not found.folder.exists()
    small = train_config("signal", 12, epochs=1, max_graphs=64)
    train_or_load("dvae", data, small, progress=False, hidden=12, latent=6, dim=3)
    assert "was missing; trained in" in capsys.readouterr().out


def test_it_is_not_used_for_another_split_whose_test_part_it_has_seen(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path))
    card = read_card("dvae", "enas-digits")
    config = train_config("signal", 128, epochs=card["config"]["epochs"])
    trained = []
    monkeypatch.setattr(training, "fit_rounds", lambda *a, **_: trained.append(a) or Trained(
        None, [], None))  # fmt: skip
    apart = load_dataset("enas-digits").split("wiring")
    train_or_load("dvae", apart, config, **card["sizes"])
    assert len(trained) == 1 and "comes with the package" not in capsys.readouterr().out


def test_it_needs_no_repository_and_no_network(tmp_path):
    code = """
import socket
def refuse(*_, **__): raise OSError("no network")
socket.socket.connect = refuse
from opembed_nb.hood.formats import from_flat
from opembed_nb.training import load_pretrained
model = load_pretrained("dvae-emb", "enas-digits")
one = from_flat("0 1 1 2 0 0 3 0 0 0 4 0 0 0 0 5 0 0 0 0 0")
print(tuple(model.sample(model.latents(one)).ops.shape))
"""
    done = python("-c", code, folder=tmp_path)
    assert done.returncode == 0 and done.stdout == "(1, 8)\n", done.stderr
