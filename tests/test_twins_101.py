"Twins on NAS-Bench-101: the answers are Welch's, corrected by Holm."

import math

import numpy as np
import pytest
import torch
from common import shown
from scipy.stats import ttest_ind

from opembed_nb.lab.arms import from_few
from opembed_nb.lab.twins_101 import (
    ASKED,
    DATA_101,
    LABELS,
    answers,
    answers_101,
    found_at_the_end,
    records_101,
    table_101,
)


def pretend(model, arm, seed, tau):
    "A run with this τ from all scores, and 0.1 less from few."
    few = {str(n): {"gp": {"kendall": tau - 0.1, "rmse": 0.9, "pearson": 0.5}} for n in LABELS}
    end = {"accuracy": 99.0, "gp": {"kendall": tau, "rmse": 0.5, "pearson": 0.8}, "few": few}
    values = {"passes": 10, "curve": [{"accuracy": 0.0}, end]}
    return {"data": DATA_101, "model": model, "arm": arm, "seed": seed, "values": values}


def test_answers_are_those_of_scipy():
    rng = np.random.default_rng(0)
    means = {"one-hot": 0.6, "learned-3": 0.55, "frozen-3": 0.6, "described": 0.75}
    taus = {
        (model, arm): mean + 0.02 * rng.standard_normal(5)
        for model in ("dvae", "gcn")
        for arm, mean in means.items()
    }
    records = [pretend(*of, k, tau) for of, own in taus.items() for k, tau in enumerate(own)]
    found, told = answers(records), []
    for c, answer in zip(ASKED, found, strict=True):
        if c.model not in ("dvae", "gcn"):
            assert answer.says == "not run" and answer.seeds == (0, 0) and math.isnan(answer.p)
            continue
        test = ttest_ind(taus[c.model, c.arm], taus[c.model, c.against], equal_var=False)
        told.append((c, answer, test))
    told.sort(key=lambda row: row[2].pvalue)
    largest = 0.0
    for rank, (c, answer, test) in enumerate(told):
        largest = max(largest, min(1.0, (len(told) - rank) * test.pvalue))
        assert answer.seeds == (5, 5) and answer.p == pytest.approx(largest, rel=1e-6)
        interval = test.confidence_interval(1 - 0.05 / (len(told) - rank))
        assert (answer.low, answer.high) == pytest.approx(tuple(interval), abs=1e-9)
        above, below = answer.low > 0 and largest < 0.05, answer.high < 0.01
        says = "yes" if (above if c.predicted == "more" else below) else answer.says
        assert answer.says == says
    by = {(c.question, c.model, c.labels): a.says for c, a, _ in told}
    assert by["A", "dvae", 0] == by["B", "dvae", 100] == by["D", "dvae", 100] == "yes"


def test_the_page_shows_the_records():
    page = shown("lab/twins_101")
    records = records_101()
    assert answers_101(records) in page and table_101(records) in page
    for r in records:  # and reads the right numbers of them
        end = r["values"]["curve"][-1]
        assert found_at_the_end(r["values"]) == end["gp"]
        assert found_at_the_end(r["values"], 424) == end["few"]["424"]["gp"]
        assert r["values"]["passes"] == end["passes"] and {*map(str, LABELS)} == {*end["few"]}


def test_a_score_that_is_not_known_is_not_used():
    x, other = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    bare, known = torch.full((60,), torch.nan), order[:12]
    bare[known] = x.sum(1)[known]
    found = from_few(x, x.sum(1), other, other.sum(1), (12,), 3)
    assert from_few(x, bare, other, other.sum(1), (12,), 3) == found
    assert found["12"]["gp"]["kendall"] > 0.5
