"""What the page needs of models, and what takes long: trainings, t-SNE, Gaussian processes, rivals.

python explorer/prepare.py                an hour on one core → explorer/prepared/
python explorer/prepare.py enas-digits    a part of it

Everything is seeded, so that the same machine and versions make the same files again. Trainings
are kept in runs/explorer and go on where they were.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE

from opembed_nb.hood.files import OpembedError, project_folder
from opembed_nb.hood.records import digest, load_tensors, provenance, tensors_of
from opembed_nb.hood.sources import dataset_folder, load_dataset
from opembed_nb.lab.asking_tables import Arena, evolution, gathered, walked
from opembed_nb.latent import project
from opembed_nb.sgp import SparseGP
from opembed_nb.training import (
    build_model,
    fit_rounds,
    load_pretrained,
    load_weights,
    new_weights,
    train_config,
)

HERE = Path(__file__).resolve().parent / "prepared"
DATA, TWINS = "enas-digits", ("dvae", "dvae-emb")
# Widths of the models; those of the first come with the package, the other pages train their own.
WIDTHS = {DATA: 128, "nas-bench-201/cifar10": 64, "nas-bench-101/30k": 64}
KNOWN = ("dvae", "dvae-emb", "gcn", "gcn-emb")  # what the page can compute
EPOCHS = (0, 1, 2, 4, 8)  # and the last
SAMPLE = 5000  # architectures of a map between the first and the last
LEVELS, FEWER = 2047, 255  # coordinates are whole numbers up to this one; in between to that
POINTS = 200  # inducing points of a process


# --- rows in the order of the page


def graphs(batch):
    "For each node a byte for its type, 255 past the last, and 16 bits for its predecessors."
    mask, nodes = batch.mask.numpy(), batch.ops.shape[1]
    bits = (batch.adj.numpy() * (1 << np.arange(nodes))[:, None]).sum(1)
    types = np.where(mask, batch.ops.numpy(), 255)
    return {"ops": types.T.astype(np.uint8), "adj": bits.T.astype(np.uint16)}


def alike(batch):
    "Rows in an order in which equal beginnings stand together, which makes the text shorter."
    keys = graphs(batch)
    columns = [keys[name][v] for v in range(batch.ops.shape[1]) for name in ("ops", "adj")]
    return np.lexsort(columns[::-1])


def every(n):
    "Of n rows each so-manieth is on all maps, which makes about SAMPLE."
    return max(1, n // SAMPLE)


# --- models


def moments(name, data, width=128, folder=None):
    "A model before training, after some epochs and at its end: {epoch: model}."
    config = train_config("signal", width)
    sizes = dict(hidden=width, latent=56, dim=3)
    packaged = data.name == DATA
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(folder or spare)
        trained = fit_rounds(
            name,
            data.train.batch,
            config,
            folder,
            data.space,
            stop_after=max(EPOCHS) if packaged else None,
            snapshots=EPOCHS,
            **sizes,
        )
        found = {0: new_weights(name, data.train.batch, config, space=data.space, **sizes).eval()}
        for epoch in EPOCHS[1:]:
            tensors, _ = load_tensors(folder / f"epoch-{epoch}.safetensors")
            fresh = build_model(name, data.space, **sizes)
            found[epoch] = load_weights(fresh, tensors).eval()
    last = load_pretrained(name, DATA) if packaged else trained.model.half().float()
    return {**found, config.epochs: last}


# --- maps


def in_levels(flat, most=LEVELS):
    "Coordinates (n, 2) as whole numbers 0 … most; both axes have one scale: levels, low, step."
    low = flat.min(0)
    step = float((flat.max(0) - low).max()) / most or 1.0
    kind = np.uint8 if most < 256 else np.uint16
    return np.round((flat - low) / step).astype(kind), low.tolist(), step


def tsne(latents):
    "t-SNE of all rows, in their order."
    flat, rows = project(latents, "tsne", n=len(latents))
    placed = np.empty((len(rows), 2))
    placed[rows.numpy()] = flat.numpy()
    return placed


def tsne_from(latents, later):
    "t-SNE of an earlier epoch, begun where its points are later, so that they move as they must."
    x, start = latents.numpy(), 15 * (later - later.mean(0)) / later.std()
    if len(x) < 5 or x.std(0).max() < 1e-9:
        return start
    perplexity = min(30, (len(x) - 1) / 3)
    options = dict(init=start.astype(np.float32), early_exaggeration=1, max_iter=300)
    return TSNE(2, perplexity=perplexity, random_state=0, **options).fit_transform(x)


def pca(latents):
    "Two principal components (n, 2), and what takes a vector there."
    x = latents.double().numpy()
    middle = x.mean(0)
    _, spread, directions = np.linalg.svd(x - middle, full_matrices=False)
    axes = directions[:2] * np.sign(directions[:2].sum(1, keepdims=True))
    flat = (x - middle) @ axes.T
    _, low, step = in_levels(flat)
    deviations = (spread[:2] / len(x) ** 0.5).tolist()
    share = float((spread[:2] ** 2).sum() / (spread**2).sum())
    facts = dict(middle=middle.tolist(), axes=axes.tolist(), deviations=deviations)
    return flat, {**facts, "low": low, "step": step, "share": share}


def turned(flat, later):
    "Each axis in the direction that it has later."
    along = ((flat - flat.mean(0)) * (later - later.mean(0))).sum(0)
    return flat * np.where(along < 0, -1, 1)


def maps(latents, rows, whole=tsne):
    "Levels on both maps at each epoch, backwards, and facts of the last: all rows at both ends."
    ends, some = (min(latents), max(latents)), rows[:: every(len(rows))]
    arrays, axes, later = {}, None, None
    for epoch in sorted(latents, reverse=True):
        z = latents[epoch]
        flat, facts = pca(z)
        axes, now = axes or facts, {"pca": flat if later is None else turned(flat, later["pca"])}
        if epoch in ends:
            now["tsne"] = whole(z)
        else:
            now["tsne"] = np.zeros((len(rows), 2))
            now["tsne"][some] = tsne_from(z[some], later["tsne"][some])
        for projection, placed in now.items():
            kept = (placed[rows], LEVELS) if epoch in ends else (placed[some], FEWER)
            arrays[f"{epoch} {projection}"] = in_levels(*kept)[0]
        later = now
    del arrays[f"{ends[1]} pca"]  # the page makes it of the vectors
    return arrays, axes


# --- a process


def process(latents, data, rows):
    "A process on the training set: the root of its gain, rows of its points, other facts."
    known = data.order[: data.n_train]
    gp = SparseGP(min(POINTS, len(known) // 2)).fit(latents[known], data.train.target)
    at = gp.points * gp.scale + gp.shift
    points = known[torch.cdist(at, latents[known].double()).argmin(1)]
    eye = torch.eye(len(points), dtype=torch.double)
    upper = torch.triu_indices(*gp.gain.shape).unbind()
    root = torch.linalg.cholesky(gp.gain + 1e-10 * eye).T[upper]
    kernel, (centre, deviation) = gp.prior.kernel, data.moments()
    lists = dict(
        rows=torch.from_numpy(rows.argsort())[points],
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


def game():
    arena = Arena(TABLE)
    return dict(cells=cells(arena), rivals=np.array(json.dumps(rivals(arena))))


# --- kept in files


def of_twin(name, data, width=128, folder=None):
    "All that takes long of one model."
    found, rows = moments(name, data, width, folder), alike(data.batch)
    latents = {epoch: model.latents(data.batch) for epoch, model in found.items()}
    arrays, axes = maps(latents, rows)
    arrays["root"], facts = process(latents[max(latents)], data, rows)
    arrays["facts"] = np.array(json.dumps(dict(process=facts, axes=axes)))
    return {**arrays, **weights(found[max(found)])}


def weights(model):
    "In half precision, in which the packaged models are kept, too."
    tensors = tensors_of(model).items()
    return {f"weights {name}": t.detach().numpy().astype(np.float16) for name, t in tensors}


def file_of(name):
    return HERE / f"{dataset_folder(name)}.npz"


def source(data, names=TWINS):
    "What a file is made from: a digest of the architectures, accuracies and packaged models."
    parts = [data.batch.ops, data.batch.adj, data.accuracy, data.order]
    if data.name == DATA:
        parts += [t for name in names for t in load_pretrained(name, DATA).state_dict().values()]
    return digest(*parts)[:16]


def prepare(name):
    "All of a data set, into its file; the packaged weights are not kept a second time."
    data, arrays = load_dataset(name), {}
    for twin in TWINS:
        folder = project_folder() / "runs" / "explorer" / dataset_folder(name) / twin
        made = of_twin(twin, data, WIDTHS[name], folder)
        kept = [key for key in made if name != DATA or not key.startswith("weights")]
        arrays |= {f"{twin} {key}": made[key] for key in kept}
        print(name, twin, flush=True)
    save(file_of(name), arrays, source=source(data))


def save(file, arrays, **facts):
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(file, **arrays, made=np.array(json.dumps({**facts, **provenance()})))


def read(data, names=TWINS):
    "{model: its maps, process and weights}: from the file of these data, or made now."
    if data.name not in WIDTHS or tuple(names) != TWINS:
        return {name: of_twin(name, data) for name in names}
    kept, found = np.load(file_of(data.name)), {}
    for name in names:
        keys = [key for key in kept if key.startswith(f"{name} ")]
        found[name] = {key.removeprefix(f"{name} "): kept[key] for key in keys}
        if data.name == DATA:
            found[name] |= weights(load_pretrained(name, DATA))
    return found


def table():
    "The game's table and the rivals' curves."
    kept = np.load(HERE / "game.npz")
    return kept["cells"], json.loads(str(kept["rivals"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = [*WIDTHS, "game"]
    parser.add_argument("parts", nargs="*", default=parts, metavar="PART", help=", ".join(parts))
    torch.set_num_threads(1)
    try:
        for part in parser.parse_args().parts:
            if part == "game":
                save(HERE / "game.npz", game())
            elif part in WIDTHS:
                prepare(part)
            else:
                known = ", ".join(parts)
                raise OpembedError(f"part {part!r} is unknown; known are {known}")
    except OpembedError as error:
        sys.exit(f"prepare: {error}")


if __name__ == "__main__":
    main()
