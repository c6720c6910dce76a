"""Build the page *Explore*: models, maps and code in one folder that opens without a server.

    python explorer/build.py                      the book's data sets → _build/explore
    python explorer/build.py --data mine.jsonl    architectures of your own; trains their models
    python explorer/build.py --data mine.jsonl --models gcn gcn-emb
    python explorer/build.py --out FOLDER

Each data set is a page: index.html is that of enas-digits, or of the data you name. What takes
long, trainings, t-SNE and Gaussian processes, lies in prepared/ (explorer/prepare.py makes it).
"""

import argparse
import html
import json
import re
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import prepare
import torch

from opembed_nb.data import DARK, PALETTE
from opembed_nb.hood.files import ASSETS, OpembedError
from opembed_nb.hood.networks import digit_images, load_supernet
from opembed_nb.hood.sources import load_dataset
from opembed_nb.training import MODELS

HERE = Path(__file__).resolve().parent
# In the order in which they import each other.
ENGINE = ["bytes", "graphs", "product", "gcn", "dvae", "process", "supernet", "worker"]
PAGE = "bytes graphs draw engine world state map bench walk game main".split()
KINDS = {"uint8": "u8", "uint16": "u16", "float16": "f16", "float32": "f32"}
NOTES = ("one-hot operations", "learned operation vectors")
LEFT_OUT = "encoder.logvar."  # not needed for μ
ABSENT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Explore <!-- title --></title>
<link rel="stylesheet" href="style.css">
<main>
<h1>Explore <!-- title --></h1>
<p>The data set was not at hand when this page was built, and could not be downloaded.</p>
<p><a href="index.html">Back to Explore</a></p>
</main>
</html>
"""
PAGES = {"nas-bench-201/cifar10": "nas-bench-201", "nas-bench-101/30k": "nas-bench-101"}
TITLES = {"nas-bench-201/cifar10": "NAS-Bench-201", "nas-bench-101/30k": "NAS-Bench-101"}
LEAD = (
    "Each point is one of {} neural networks, placed where a trained autoencoder puts it. Point at "
    "one to see it and its neighbours, or press Play training to watch the maps take shape."
)
MOST_NODES, MOST_TYPES = 16, 36  # of an address: 16 bits for predecessors, a letter for a type


# --- arrays as text

ESCAPE = 0xE000
# Codes that no string of a script may hold, or no text: halves of a pair of UTF-16.
ESCAPED = np.array([*map(ord, '\0\n\r"\\'), ESCAPE, *range(0xD800, 0xE000)])


def as_text(content):
    "Bytes as letters of 16 bits; one that may not stand there is two, `fromText` reads them."
    codes = np.frombuffer(content + b"\0" * (-len(content) % 2), "<u2")
    at = np.flatnonzero(np.isin(codes, ESCAPED))
    order = ESCAPED.argsort()
    number = order[np.searchsorted(ESCAPED[order], codes[at])]
    codes = codes.copy()
    codes[at] = 256 + number
    return np.insert(codes, at, ESCAPE).astype("<u2").tobytes().decode("utf-16-le")


def pack(arrays, **facts):
    "{name: array}, its byte planes deflated, as text; `unpack` in src/bytes.js reads it."
    heads, planes = [], []
    for name, array in arrays.items():
        heads.append([name, KINDS[str(array.dtype)], list(array.shape)])
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        planes.append(raw.reshape(-1, array.dtype.itemsize).T.tobytes())
    content = zlib.compress(b"".join(planes), 9)
    return {"arrays": heads, "bytes": len(content), "text": as_text(content), **facts}


# --- what the page knows


def map_pack(data, found):
    "Architectures, accuracies and coordinates; PCA of the trained models is made by the page."
    low = float(data.accuracy.min())
    step = (float(data.accuracy.max()) - low) / 65535 or 1.0
    if data.name == prepare.DATA:
        low, step = 0.0, 1 / 3000  # shares of so many images
    rows = prepare.alike(data.batch)
    levels = np.round((data.accuracy.double().numpy() - low) / step).astype(np.uint16)
    arrays, axes = {**prepare.graphs(data.batch[rows]), "accuracy": levels[rows]}, {}
    for twin, own in found.items():
        placed = {f"{twin} {key}": own[key].T for key in own if key.endswith(("tsne", "pca"))}
        arrays, axes = arrays | placed, axes | {twin: json.loads(str(own["facts"]))["axes"]}
    return pack(arrays, accuracy=[low, step], axes=axes)


def model_pack(own):
    "Weights in half precision, in which the packaged models are kept, and the process over them."
    names = [key.removeprefix("weights ") for key in own if key.startswith("weights ")]
    kept = {name: own[f"weights {name}"] for name in names if not name.startswith(LEFT_OUT)}
    return pack({**kept, "root": own["root"]}, process=json.loads(str(own["facts"]))["process"])


def supernet_pack():
    "The supernet in half precision, and its validation digits in 256 levels."
    net, images = load_supernet(ASSETS / "enas-digits-supernet.safetensors"), digit_images()
    x, y = images.valid
    low, high = float(x.min()), float(x.max())
    step = (high - low) / 255
    weights = {name: t.detach().numpy().astype(np.float16) for name, t in net.state_dict().items()}
    weights["images"] = np.round((x.numpy().reshape(-1) - low) / step).astype(np.uint8)
    weights["labels"] = y.numpy().astype(np.uint8)
    about = dict(pools=net.sizes.pools, operations=net.space.operations)
    return pack(weights, facts=dict(side=x.shape[-1], low=low, step=step, **about))


# --- the folder


def bundle(names):
    "Modules one after the other, in one scope: files may not import each other without a server."
    text = "\n".join((HERE / "src" / f"{name}.js").read_text(encoding="utf-8") for name in names)
    text = re.sub(r"^import [^;]*;\n|^ *//.*\n|^/\*\*.*\*/\n", "", text, flags=re.M)
    return re.sub(r"^export |^ +", "", text, flags=re.M)


def script():
    "The pages' code, with the engine as a string that its workers are made of."
    vendor = (HERE / "vendor" / "d3.js").read_text(encoding="utf-8")
    facts = 'JSON.parse(document.getElementById("facts").textContent)'
    constants = f"const ENGINE = {json.dumps(bundle(ENGINE))};\nconst FACTS = {facts};\n"
    return f"{vendor}\n(() => {{\n'use strict';\n{constants}{bundle(PAGE)}\n}})();\n"


def facts_of(data, found, pages):
    "What a page is about."
    space = data.space
    first = next(iter(found.values()))
    return {
        "data": data.name,
        "title": TITLES.get(data.name, data.name),
        "pages": pages,
        "space": {"types": space.types, "layers": space.n_layers, "chain": space.chain},
        "shares": bool(data.accuracy.min() >= 0 and data.accuracy.max() <= 1),
        "sign": 1 if data.higher_is_better else -1,
        "supernet": data.name == prepare.DATA,
        "twins": [[name, MODELS[name].title, NOTES[MODELS[name].learned]] for name in found],
        "epochs": sorted(int(key.split()[0]) for key in first if key.endswith("tsne")),
        "every": prepare.every(len(data.accuracy)),
        "levels": [prepare.FEWER, prepare.LEVELS],
        "palette": PALETTE,
        "dark": sorted(DARK),
    }


def refuse(data, names):
    "What a page cannot show, before anything is trained for it."
    for name in names:
        known = ", ".join(prepare.KNOWN)
        if name not in prepare.KNOWN:
            raise OpembedError(f"--models: the page cannot compute {name!r}; it can {known}")
    if len(set(names)) < len(names) or len(names) > 2:
        raise OpembedError(f"--models: {' '.join(names)}; give one model, or two different ones")
    space = data.space
    for field, size, most in (
        ("nodes", space.max_nodes, MOST_NODES),
        ("types of node", space.n_types, MOST_TYPES),
    ):
        if size > most:
            raise OpembedError(f"{data.name}: {size} {field}; the page shows at most {most}")


def write(file, name, content):
    "A pack as a script in UTF-16, whose mark at the beginning counts more than what a server says."
    text, facts = content.pop("text"), json.dumps(content, separators=(",", ":"))
    line = f'explorer.take({json.dumps(name)}, {facts}, "{text}");\n'
    file.write_bytes(b"\xff\xfe" + line.encode("utf-16-le"))


def page(out, stem, dataset, names, pages):
    "One data set: its packs and its page."
    data = load_dataset(dataset)
    found = prepare.read(data, names)
    packs = {"map": map_pack(data, found)}
    packs |= {name: model_pack(own) for name, own in found.items()}
    if data.name == prepare.DATA:
        packs["supernet"] = supernet_pack()
    lines = [f"{stem}-{name}.js" for name in packs] + ["game.js"]
    for file, (name, content) in zip(lines, packs.items()):
        write(out / file, name, content)
    text = (HERE / "index.html").read_text(encoding="utf-8")
    known = json.dumps(facts_of(data, found, pages)).replace("<", "\\u003c")
    files = "".join(f'<script defer src="{file}"></script>\n' for file in lines)
    title, count = TITLES.get(data.name, data.name), f"{len(data.accuracy):,}"
    words = {"title": html.escape(title), "lead": LEAD.format(count), "facts": known}
    for name, value in words.items():
        text = text.replace(f"<!-- {name} -->", value)
    text = text.replace("<!-- data -->\n", files)
    (out / f"{stem}.html").write_text(text, encoding="utf-8")


def build(out, dataset=None, names=prepare.TWINS):
    "Write the pages, all of the book or one of your own, and return the path of index.html."
    refuse(load_dataset(dataset or prepare.DATA), names)
    if out.exists() and not (out / "explorer.js").exists():
        raise OpembedError(f"--out: {out} holds something else; name a folder that is not there")
    made = out.with_name(f".{out.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        fill(made, dataset, names)
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return out / "index.html"


def at_hand(out, name):
    "Can a page of the book be made? Where its data set is missing, a page says so instead."
    if not prepare.file_of(name).exists():
        return False
    try:
        load_dataset(name)
    except OpembedError as error:  # a book is also built without a network
        print(f"explorer: no page of {name}: {error}", file=sys.stderr)
        text = ABSENT.replace("<!-- title -->", html.escape(TITLES.get(name, name)))
        (out / f"{PAGES[name]}.html").write_text(text, encoding="utf-8")
        return False
    return True


def fill(out, dataset, names):
    "All files of the pages."
    cells, rivals = prepare.table()
    medians = {name: np.median(curves, 0).tolist() for name, curves in rivals.items()}
    write(out / "game.js", "cells", pack({"accuracy": cells}, rivals=medians))
    pages = {"index": dataset or prepare.DATA}
    if not dataset:
        pages |= {PAGES[name]: name for name in PAGES if at_hand(out, name)}
    menu = [[stem, TITLES.get(name, name)] for stem, name in pages.items()] if not dataset else []
    for stem, name in pages.items():
        page(out, stem, name, names, menu)
    shutil.copy(HERE / "style.css", out)
    if menu:
        text = (HERE / "beside.html").read_text(encoding="utf-8")
        text = text.replace("<!-- pages -->", json.dumps(menu))
        (out / "beside.html").write_text(text, encoding="utf-8")
    (out / "explorer.js").write_text(script(), encoding="utf-8")
    shutil.copy(HERE / "vendor" / "LICENSE", out / "LICENSE-d3.txt")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="data set, or .jsonl file of yours; default: the book's")
    parser.add_argument("--models", nargs="+", default=prepare.TWINS, help="one or two of them")
    parser.add_argument("--out", type=Path, default=HERE.parent / "_build" / "explore")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(build(arguments.out, arguments.data, tuple(arguments.models)))
    except OpembedError as error:
        sys.exit(f"explorer: {error}")


if __name__ == "__main__":
    main()
