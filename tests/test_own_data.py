"Chapters 8 and 9 on a data set of one's own: free graphs, chains of several depths."

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from opembed_nb.data import ArchDataset, SearchSpace, cat_batches, random_architectures, skip_pairs
from opembed_nb.graph_properties import (
    average_path_length,
    bootstrap_interval,
    clustering_coefficient,
    pearson,
    score_label,
)
from opembed_nb.hood.sources import load_dataset
from opembed_nb.latent import plot_operations
from opembed_nb.pipeline import run_stage

ROOT = Path(__file__).resolve().parent.parent
FREE = SearchSpace("cells", ("conv", "pool", "norm"), n_layers=7, chain=False)
CHAINS = SearchSpace("blocks", tuple(f"op {k}" for k in range(13)), n_layers=7)


def made_up(space, layers):
    "The architectures and scores of a data set: sixty graphs of each depth."
    generator = torch.Generator().manual_seed(0)
    shapes = [replace(space, n_layers=n) for n in layers]
    batch = cat_batches([random_architectures(60, s, generator, p_skip=0.4) for s in shapes])
    return batch, 2.0 * (batch.ops == 2).sum(1) + 0.1 * batch.adj.sum((1, 2))


@pytest.fixture
def free(tmp_path):
    "The file of 300 graphs of five to nine nodes whose lower scores are better."
    path = tmp_path / "mine.jsonl"
    batch, scores = made_up(FREE, range(3, 8))
    options = dict(higher_is_better=False, task="latency in ms")
    ArchDataset.from_scores("my-cells", FREE, batch, scores, **options).save(path)
    return path


@pytest.fixture
def chains(tmp_path):
    "The file of 240 chains of several depths, none of full depth, and of many operations."
    path = tmp_path / "chains.jsonl"
    batch, scores = made_up(CHAINS, (1, 2, 4, 6))
    ArchDataset.from_scores("my-blocks", CHAINS, batch, scores).save(path)
    return path


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    "A function that runs a chapter and gives what it prints."
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small graphs are faster so

    def run(name, path, **parameters):
        run_stage(name, name, dict(dataset=str(path), **parameters), tmp_path)
        text = (tmp_path / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        outputs = []
        for cell in json.loads(text)["cells"]:
            outputs += cell.get("outputs", [])
        return "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")

    return run


def kept(tmp_path, dataset, model, section):
    "The values of a record."
    path = tmp_path / "runs" / "live" / dataset / model / "seed-0" / f"{section}.json"
    return json.loads(path.read_text(encoding="utf-8"))["values"]


def edge_correlation(data):
    "Of accuracy with the number of edges, by its definition."
    sides = torch.stack([data.batch.adj.sum((1, 2)).double(), data.accuracy.double()])
    return float(torch.corrcoef(sides)[0, 1])


@pytest.mark.slow
def test_the_wiring_of_free_graphs_is_measured_and_the_papers_data_left_out(
    chapter, free, tmp_path
):
    printed = chapter("08_graph_properties", free)
    assert printed.count("equal on all 300 graphs") == 2
    assert "space cells (7 layers, 3 operations) is no chain" in printed
    assert "is not the paper's, and its data are left out" in printed
    assert "19,020" not in printed
    values = kept(tmp_path, "my-cells", "data", "graph_properties")
    assert values["architectures"] == 300 and "skips" not in values
    expected = edge_correlation(load_dataset(str(free)))
    assert expected < 0
    assert values["correlations"]["edges"]["r"] == pytest.approx(expected, abs=1e-6)
    assert "depth" in values["correlations"]  # which chains of one depth do not vary


@pytest.mark.slow
@pytest.mark.parametrize("name", ["05_sgp", "06_oracle", "09_latent"])
def test_a_chapter_takes_a_handful_of_architectures(chapter, tmp_path, name):
    path = tmp_path / "few.jsonl"
    batch, scores = made_up(CHAINS, (2, 4))
    some = torch.arange(0, 120, 8)
    ArchDataset.from_scores("few", CHAINS, batch[some], scores[some]).save(path)
    assert len(load_dataset(str(path)).train.batch) < 15
    small = dict(hidden=16, latent=4, epochs=1) if name != "06_oracle" else {}
    chapter(name, path, **small)


@pytest.mark.slow
def test_the_wiring_of_chains_of_several_depths_is_measured(chapter, chains, tmp_path):
    printed = chapter("08_graph_properties", chains)
    assert "is no chain" not in printed
    values = kept(tmp_path, "my-blocks", "data", "graph_properties")
    batch = load_dataset(str(chains)).batch
    u, v = skip_pairs(replace(CHAINS, n_layers=6))  # of the deepest chain
    possible = v < batch.n_nodes[:, None] - 1
    present = batch.adj[:, u, v] & possible
    share = float(present.sum() / possible.sum())
    assert values["skips"] == pytest.approx(share, abs=1e-6)
    assert len(values["operations"]) == 6 and len(values["operations"][0]) == 13


SMALL = dict(hidden=8, latent=6, epochs=1)  # models that are trained in a second


@pytest.mark.slow
def test_the_space_of_free_graphs_is_measured_and_committed_results_left_out(
    chapter, free, tmp_path
):
    printed = chapter("09_latent", free, **SMALL)
    assert "is not the paper's, and committed results are left out" in printed
    assert "enas" not in printed and "not all graphs contain the chain" in printed
    spaces = kept(tmp_path, "my-cells", "data", "raw_space")["spaces"]
    assert spaces["operations"]["r"] > 0.8  # the score counts convolutions
    for model in ("dvae", "dvae-emb"):
        values = kept(tmp_path, "my-cells", model, "latent")
        assert values["operations"] == ["conv", "pool", "norm"]
        assert 0 <= values["walks"]["valid"] <= 1 and len(values["table"]) == FREE.n_types


@pytest.mark.slow
def test_the_space_of_chains_of_several_depths_is_measured(chapter, chains, tmp_path):
    printed = chapter("09_latent", chains, models=["dvae"], **SMALL)
    assert "none of the models has a learnable table" in printed
    assert -1 <= kept(tmp_path, "my-blocks", "dvae", "latent")["r"] <= 1


@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_a_table_of_few_operations_is_drawn(dims):
    figure = plt.figure()
    axes = figure.add_subplot(projection="3d" if dims == "3d" else None)
    assert plot_operations(torch.randn(1, 5), ("conv",), axes) == 0
    assert plot_operations(torch.randn(2, 5), ("conv", "pool"), axes) == pytest.approx(1)
    plt.close(figure)


def test_fishers_interval_and_the_bootstraps_agree_on_the_packaged_data():
    data = load_dataset("enas-digits")
    for property_of in (average_path_length, clustering_coefficient):
        values = property_of(data.batch)
        fisher = pearson(values, data.accuracy)
        generator = torch.Generator().manual_seed(0)
        low, high = bootstrap_interval(values, data.accuracy, 500, generator)
        assert abs(fisher.low - low) < 0.01 and abs(fisher.high - high) < 0.01


def test_axes_are_named_after_what_the_scores_measure(free, chains):
    assert score_label(load_dataset(str(free))) == "latency in ms, negated"
    assert score_label(load_dataset(str(chains))) == "scores of your own"
    assert score_label(load_dataset("enas-digits")) == "weight-sharing accuracy"
