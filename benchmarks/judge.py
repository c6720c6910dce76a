"""The judge of a search beside the same Gaussian process by GPyTorch, and BoTorch's own.

    python benchmarks/judge.py [--scores 20 300 500] [--repeats 5] [--cells 200]

All three are told the same normal scores of random cells of NAS-Bench-201 and see the same counted
features. `ours` is the judge; `gpytorch` has its kernel, its priors and its start, and is fitted by
BoTorch; `botorch` is BoTorch's `SingleTaskGP` as it comes, with inputs between 0 and 1. Each learns
and predicts the other cells, and then chooses four of them by expected improvement. One thread, in
turns, the first turn not counted; medians over the repeats, each of which draws other cells. What
counts is the process's own time on the processor, so that whatever else the machine does matters
little. The record goes to results/speed/judge.json; rows that it has for other numbers of scores
stay, with what is known of their run.
"""

import argparse
import json
import math
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

from clearly import at_least, clearly

ROOT = Path(__file__).parents[1]
CHOSEN = 4  # cells


def the_same(x, y):
    "The judge's kernel, priors and start in GPyTorch's classes; not yet fitted."
    import torch
    from botorch.models import SingleTaskGP
    from gpytorch.constraints import GreaterThan
    from gpytorch.kernels import MaternKernel
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.means import ZeroMean
    from gpytorch.priors import NormalPrior

    def above(least):
        return GreaterThan(least, torch.exp, torch.log)

    usual = 0.5 * math.log(x.shape[1])
    kernel = MaternKernel(2.5, lengthscale_constraint=above(0.0))
    kernel.register_prior("usual", NormalPrior(usual, 1.0), lambda own: own.raw_lengthscale)
    kernel.lengthscale = math.exp(usual)
    likelihood = GaussianLikelihood(noise_constraint=above(1e-6))
    likelihood.register_prior(
        "usual", NormalPrior(-4.0, 1.0), lambda own: own.noise_covar.raw_noise
    )
    likelihood.noise = math.exp(-3.0)
    return SingleTaskGP(x, y[:, None], None, likelihood, kernel, ZeroMean(), outcome_transform=None)


def as_it_comes(x, y):
    "BoTorch's default: a squared exponential with a length-scale for each feature."
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize

    return SingleTaskGP(x, y[:, None], input_transform=Normalize(x.shape[1]))


def by_botorch(make, view, batch, known, others, target):
    "Seconds to learn and to choose, the evidence, and what is believed of the others."
    import torch
    from botorch.acquisition import qLogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.optim import optimize_acqf_discrete
    from gpytorch.mlls import ExactMarginalLogLikelihood

    seen, pool = view.of(batch[known]), view.x[others].double()
    begun = time.process_time()
    model = make(seen, target)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        mean = torch.cat([model.posterior(some).mean[:, 0] for some in pool.split(500)])
        learned = time.process_time()
        gain = qLogExpectedImprovement(model, target.max())
        optimize_acqf_discrete(gain, CHOSEN, pool, max_batch_size=500, return_acq_values=False)
    chosen = time.process_time()
    with torch.no_grad():
        told = model.train().likelihood(model(*model.train_inputs))
        evidence = float(told.log_prob(model.train_targets))
    return learned - begun, chosen - learned, evidence, mean


def by_hand(view, batch, known, others, target):
    "The same of the judge."
    import torch

    from opembed_nb.hood.judge import Judge

    begun = time.process_time()
    judge = Judge([view], batch[known], target, others)
    learned = time.process_time()
    judge.choose(CHOSEN)
    chosen = time.process_time()
    noisy = judge.kernel.between(judge.anchors, judge.anchors)
    noisy = noisy + judge.noise * torch.eye(len(known))
    told = torch.distributions.MultivariateNormal(torch.zeros(len(known)).double(), noisy)
    return learned - begun, chosen - learned, float(told.log_prob(judge.target)), judge.mean


WAYS = {
    "ours": by_hand,
    "gpytorch": partial(by_botorch, the_same),
    "botorch": partial(by_botorch, as_it_comes),
}


def turns(scores, repeats, cells):
    "For each number of scores and each process the medians of its turns."
    import torch
    from scipy.stats import kendalltau

    from opembed_nb.hood.judge import Counts, View
    from opembed_nb.hood.kernels import normal_scores
    from opembed_nb.hood.sources import CELLS, load_dataset

    data = load_dataset("nas-bench-201/cifar100")
    view = View(Counts(("none",)), CELLS, data.batch)
    for n in scores:
        found = {name: [] for name in WAYS}
        for turn in range(repeats + 1):
            order = torch.randperm(len(data.batch), generator=torch.Generator().manual_seed(turn))
            known, others = order[:n].tolist(), order[n : n + cells].tolist()
            target = normal_scores(data.accuracy[known])
            for name, way in WAYS.items():
                *numbers, mean = way(view, data.batch, known, others, target)
                tau = kendalltau(mean, data.accuracy[others]).statistic
                found[name].append([*numbers, float(tau)])
        for name, each in found.items():
            yield n, name, *map(statistics.median, zip(*each[1:], strict=True))


def earlier(path, args):
    "Rows of the record for other numbers of scores, and which runs they are from."
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if (found.get("repeats"), found.get("cells")) != (args.repeats, args.cells):
        return [], []
    kept = [row for row in found["rows"] if row["scores"] not in args.scores]
    runs = found.get("before", [])
    runs.append({name: found[name] for name in ("gpytorch", "botorch", "seconds", "provenance")})
    runs[-1]["scores"] = sorted({row["scores"] for row in found["rows"]})
    return kept, runs if kept else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", nargs="+", type=at_least(3), default=[20, 300, 500])
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--cells", type=at_least(10), default=200, help="of the others")
    args = parser.parse_args()
    import botorch
    import gpytorch
    import torch

    from opembed_nb.hood.records import provenance

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    begun, rows, path = time.perf_counter(), [], ROOT / "results" / "speed" / "judge.json"
    kept, before = earlier(path, args)
    print("scores process   learn s  choose s  evidence    tau")
    for n, name, learn, choose, evidence, tau in turns(args.scores, args.repeats, args.cells):
        print(f"{n:6} {name:8} {learn:8.3f} {choose:9.3f} {evidence:9.1f} {tau:6.3f}", flush=True)
        row = dict(scores=n, process=name, learn_seconds=round(learn, 4))
        rows.append(row | dict(choose_seconds=round(choose, 4), evidence=evidence, tau=tau))
        ours = rows[-1 - (len(rows) - 1) % len(WAYS)]
        for what in ("learn", "choose"):
            rows[-1][f"{what}_ratio"] = rows[-1][f"{what}_seconds"] / ours[f"{what}_seconds"]
        ordered = sorted(kept + rows, key=lambda row: row["scores"])
        record = dict(repeats=args.repeats, cells=args.cells, rows=ordered, before=before)
        record |= dict(gpytorch=gpytorch.__version__, botorch=botorch.__version__)
        record |= dict(seconds=round(time.perf_counter() - begun, 1), provenance=provenance())
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    clearly(main)
