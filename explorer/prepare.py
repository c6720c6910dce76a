"""What the page needs of models, and what takes long: t-SNE, Gaussian processes, rivals' searches.

python explorer/prepare.py         half an hour on one core → explorer/prepared.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from opembed_nb.hood.records import provenance
from opembed_nb.hood.sources import load_dataset
from opembed_nb.lab.asking_tables import Arena, evolution, gathered, walked
from opembed_nb.latent import project
from opembed_nb.own_space import fit
from opembed_nb.sgp import SparseGP
from opembed_nb.training import MODELS, load_pretrained, new_weights, train_config

PREPARED = Path(__file__).resolve().parent / "prepared.npz"
DATA, TWINS = "enas-digits", ("dvae", "dvae-emb")
LEVELS = 2047  # coordinates are kept as whole numbers up to this one
POINTS = 200  # inducing points of a process


def models(data):
    "{name: (title, model)}: the packaged twins, or of your own data new ones."
    if data.name == DATA:
        made = {name: load_pretrained(name, DATA) for name in TWINS}
    else:
        made = {name: fit(name, data).half().float() for name in TWINS}  # as the page keeps them
    return {name: (MODELS[name].title, model) for name, model in made.items()}


def spaces(name, model, data):
    "The latents of all architectures before and after training: {moment: (n, latent)}."
    sizes = dict(hidden=model.encoder.mu.in_features, latent=model.latent, dim=3)
    config = train_config("signal", sizes["hidden"])
    fresh = new_weights(name, data.train.batch, config, space=data.space, **sizes).eval()
    return {"untrained": fresh.latents(data.batch), "trained": model.latents(data.batch)}


def in_levels(flat):
    "Coordinates (n, 2) as whole numbers 0 … LEVELS; both axes have one scale: levels, low, step."
    low = flat.min(0)
    step = float((flat.max(0) - low).max()) / LEVELS or 1.0
    return np.round((flat - low) / step).astype(np.uint16), low.tolist(), step


def tsne(latents):
    "t-SNE of all rows, in their order, as levels."
    flat, rows = project(latents, "tsne", n=len(latents))
    placed = np.empty((len(rows), 2))
    placed[rows.numpy()] = flat.numpy()
    return in_levels(placed)[0]


def pca(latents):
    "Two principal components as levels, and what takes a vector there."
    x = latents.double().numpy()
    middle = x.mean(0)
    _, spread, directions = np.linalg.svd(x - middle, full_matrices=False)
    axes = directions[:2] * np.sign(directions[:2].sum(1, keepdims=True))
    levels, low, step = in_levels((x - middle) @ axes.T)
    deviations = (spread[:2] / len(x) ** 0.5).tolist()
    share = float((spread[:2] ** 2).sum() / (spread**2).sum())
    facts = dict(middle=middle.tolist(), axes=axes.tolist(), deviations=deviations)
    return levels, {**facts, "low": low, "step": step, "share": share}


def process(latents, data):
    "A process on the training set: the root of its gain, rows of its points, other facts."
    rows = data.order[: data.n_train]
    gp = SparseGP(min(POINTS, len(rows) // 2)).fit(latents[rows], data.train.target)
    at = gp.points * gp.scale + gp.shift
    points = rows[torch.cdist(at, latents[rows].double()).argmin(1)]
    eye = torch.eye(len(points), dtype=torch.double)
    upper = torch.triu_indices(*gp.gain.shape).unbind()
    root = torch.linalg.cholesky(gp.gain + 1e-10 * eye).T[upper]
    kernel, (centre, deviation) = gp.prior.kernel, data.moments()
    lists = dict(
        rows=points,
        weights=gp.weights,
        shift=gp.shift,
        units=gp.scale,
        lengths=kernel.base_kernel.lengthscale[0],
        mean=gp.prior.mean.constant,
        scale=kernel.outputscale,
        noise=gp.prior.noise,
    )
    facts = {name: tensor.tolist() for name, tensor in lists.items()}
    return root.numpy().astype(np.float32), dict(facts, centre=centre, deviation=deviation)


def of_twin(name, model, data):
    "All that takes long of one model."
    latents = spaces(name, model, data)
    root, facts = process(latents["trained"], data)
    placed = {f"{moment} tsne": tsne(z) for moment, z in latents.items()}
    return {**placed, "root": root, "facts": np.array(json.dumps(facts))}


# --- the game: a table of all cells, and what others find in it with as many evaluations

TABLE, BUDGET, SEEDS = "nas-bench-201/cifar10", 30, 30
RIVALS = {"chance": "random", "local search": "local search, first", "our search": "search"}


def cells(arena):
    "Accuracies in hundredths of a percent; a cell's place is its operations, read in base 5."
    place = ((arena.batch.ops[:, 1:-1] - 2) * 5 ** torch.arange(6).flip(0)).sum(1)
    levels = np.zeros(len(arena), np.uint16)
    levels[place.numpy()] = (10_000 * arena.score).round().numpy()
    return levels


def rivals(arena):
    "{name: for each seed the best accuracy after 1, 2, … evaluations}, in hundredths of a percent."
    records = gathered()[TABLE]
    steps = {name: records[strategy]["steps"][:SEEDS] for name, strategy in RIVALS.items()}
    steps["evolution"] = []  # not on record with as small a population as so few evaluations need
    for seed in range(SEEDS):
        walk = evolution(arena, seed, population=10, tournament=3)
        rows = walked(arena, walk, BUDGET, arena.best)
        steps["evolution"].append([[n, float(arena.score[row])] for n, row in enumerate(rows, 1)])
    return {name: [curve(each) for each in of] for name, of in steps.items()}


def curve(steps):
    "The best so far after each evaluation, from [evaluation, score, …]."
    return [round(1e4 * max(s for n, s, *_ in steps if n <= k)) for k in range(1, BUDGET + 1)]


# --- kept in a file


def main():
    torch.set_num_threads(1)
    data, arena = load_dataset(DATA), Arena(TABLE)
    made = dict(cells=cells(arena), rivals=np.array(json.dumps(rivals(arena))))
    for name, (_, model) in models(data).items():
        made |= {f"{name} {key}": array for key, array in of_twin(name, model, data).items()}
        print(name, flush=True)
    np.savez_compressed(PREPARED, **made, made=np.array(json.dumps(provenance())))


def read(data, trained):
    "{twin: its spaces, t-SNE and process}, from the file where it is about these data."
    kept = np.load(PREPARED) if data.name == DATA else None
    found = {}
    for name, (_, model) in trained.items():
        if kept:
            of = [key for key in kept if key.startswith(f"{name} ")]
            own = {key.removeprefix(f"{name} "): kept[key] for key in of}
        else:
            own = of_twin(name, model, data)
        latents, facts = spaces(name, model, data), json.loads(str(own["facts"]))
        flat = {moment: own[f"{moment} tsne"] for moment in latents}
        found[name] = dict(spaces=latents, process=(own["root"], facts), tsne=flat)
    return found


def table():
    "The game's table and the rivals' curves."
    kept = np.load(PREPARED)
    return kept["cells"], json.loads(str(kept["rivals"]))


if __name__ == "__main__":
    sys.exit(main())
