"The recipes of CONTRIBUTING.md run as they stand, are short, and touch nothing in the package."

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from opembed_nb.data import ENAS, random_architectures
from opembed_nb.training import MODELS
from tests.warm import python

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = {
    title: code
    for title, code in re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", TEXT, re.S | re.M)
}
SAYS = {
    "An encoder": "'validity': ",
    "A data set of your own": "ArchDataset(my-blocks: 12 architectures, 6 train, 6 test)",
    "A strategy": " architectures scored by weight sharing on ",
}


def test_every_recipe_is_run():
    assert list(RECIPES) == re.findall(r"^## (.+)", TEXT, re.M) == list(SAYS)
    assert TEXT.count("```") == 2 * len(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_takes_at_most_thirty_lines(title):
    lines = [line for line in RECIPES[title].splitlines() if line and "import " not in line]
    assert len(lines) <= 30 and max(map(len, lines)) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_runs_as_it_stands(tmp_path, title):
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "opembed_nb").rglob("*.*")}
    done = python("-c", RECIPES[title], folder=tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
    assert SAYS[title] in done.stdout, done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (ROOT / "opembed_nb").rglob("*.*")}


def test_the_benchmark_counts_an_encoder_that_it_does_not_know(monkeypatch):
    class Mean(nn.Module):
        def __init__(self, dim, space, hidden, latent):
            super().__init__()
            self.mu, self.logvar = nn.Linear(dim, latent), nn.Linear(dim, latent)

        def forward(self, batch, table):
            mean = table[batch.ops].mean(1)
            return self.mu(mean), self.logvar(mean)

    run = importlib.import_module("run")
    monkeypatch.setitem(MODELS, "mean", replace(MODELS["dvae"], encoder=Mean))
    batch = random_architectures(4, generator=torch.Generator().manual_seed(0))
    counted = run.multiply_adds("mean", batch)
    assert counted["encoder"] == 2 * ENAS.n_types * run.LATENT
    assert counted["type MLP"] == run.multiply_adds("dvae", batch)["type MLP"] > 0


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / link).exists(), link
    assert "CONTRIBUTING.md" in (ROOT / "README.md").read_text(encoding="utf-8")
