"""Build the page *Explore*: models, maps and code in one folder that opens without a server.

    python explorer/build.py                      enas-digits, packaged models → _build/explore
    python explorer/build.py --data mine.jsonl    architectures of your own; trains their models
    python explorer/build.py --out FOLDER

The models, the architectures and most coordinates come from the package. What takes long, t-SNE and
the Gaussian processes, lies in prepared.npz (explorer/prepare.py makes it).
"""

import argparse
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
ENGINE = ["bytes", "graphs", "product", "dvae", "process", "supernet", "worker"]
PAGE = "bytes graphs draw engine world state map bench walk game main".split()
KINDS = {"uint8": "u8", "uint16": "u16", "float16": "f16", "float32": "f32"}
NOTES = ("one-hot operations", "learned operation vectors")
LEFT_OUT = ("encoder.logvar.", "decoder.message.")  # not needed for μ, and the encoder's own


# --- arrays as text


ESCAPED = '\0\n\r"\\'  # may not stand in a script's string


def as_text(content):
    "Bytes as letters of seven bits; the few that a string cannot hold are letters from À on."
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    bits = np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7)
    text = (np.packbits(bits, axis=1)[:, 0] >> 1).tobytes().decode("ascii")
    return text.translate({ord(letter): 192 + i for i, letter in enumerate(ESCAPED)})


def pack(arrays, **facts):
    "{name: array}, its byte planes deflated, as text; `unpack` in src/bytes.js reads it."
    heads, planes = [], []
    for name, array in arrays.items():
        heads.append([name, KINDS[str(array.dtype)], list(array.shape)])
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        planes.append(raw.reshape(-1, array.dtype.itemsize).T.tobytes())
    return {"arrays": heads, "text": as_text(zlib.compress(b"".join(planes), 9)), **facts}


def graphs(batch):
    "For each node a byte for its type, 255 past the last, and 16 bits for its predecessors."
    mask, nodes = batch.mask.numpy(), batch.ops.shape[1]
    bits = (batch.adj.numpy() * (1 << np.arange(nodes))[:, None]).sum(1)
    types = np.where(mask, batch.ops.numpy(), 255)
    return {"ops": types.T.astype(np.uint8), "adj": bits.T.astype(np.uint16)}


# --- what the page knows


def alike(batch):
    "Rows in an order in which equal beginnings stand together, which makes the text shorter."
    keys = graphs(batch)
    columns = [keys[name][v] for v in range(batch.ops.shape[1]) for name in ("ops", "adj")]
    return np.lexsort(columns[::-1])


def map_pack(data, rows, prepared):
    "Architectures, accuracies and coordinates; PCA of the trained models is made by the page."
    low = float(data.accuracy.min())
    step = (float(data.accuracy.max()) - low) / 65535 or 1.0
    if data.name == prepare.DATA:
        low, step = 0.0, 1 / 3000  # shares of so many images
    levels = np.round((data.accuracy.double().numpy() - low) / step).astype(np.uint16)
    arrays, axes = {**graphs(data.batch[rows]), "accuracy": levels[rows]}, {}
    for twin, found in prepared.items():
        for moment, latents in found["spaces"].items():
            arrays[f"{twin} {moment} tsne"] = found["tsne"][moment][rows].T
            placed, facts = prepare.pca(latents)
            if moment == "trained":
                axes[twin] = facts
            else:
                arrays[f"{twin} {moment} pca"] = placed[rows].T
    return pack(arrays, accuracy=[low, step], axes=axes)


def model_pack(model, rows, root, facts):
    "Weights in half precision, in which the packaged models are kept, and the process over them."
    facts = {**facts, "rows": rows.argsort()[facts["rows"]].tolist()}
    weights = {
        name: tensor.detach().numpy().astype(np.float16)
        for name, tensor in model.state_dict().items()
        if not name.startswith(LEFT_OUT)
    }
    return pack({**weights, "root": root}, process=facts)


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


def scripts(facts):
    "The page's code, with the engine as a string that its workers are made of."
    vendor = (HERE / "vendor" / "d3.js").read_text(encoding="utf-8")
    known = {"ENGINE": bundle(ENGINE), "FACTS": facts}
    constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in known.items())
    return f"{vendor}\n(() => {{\n'use strict';\n{constants}{bundle(PAGE)}\n}})();\n"


def facts_of(data, models):
    "What the page is about."
    space = data.space
    return {
        "data": data.name,
        "space": {"types": space.types, "layers": space.n_layers, "chain": space.chain},
        "supernet": data.name == prepare.DATA,
        "twins": [
            [name, title, NOTES[MODELS[name].learned]] for name, (title, _) in models.items()
        ],
        "levels": prepare.LEVELS,
        "palette": PALETTE,
        "dark": sorted(DARK),
    }


def build(out, dataset=prepare.DATA):
    "Write the page and return the path of its index.html."
    data = load_dataset(dataset)
    models = prepare.models(data)
    prepared = prepare.read(data, models)
    rows = alike(data.batch)
    packs = {"map": map_pack(data, rows, prepared)}
    for name, (_, model) in models.items():
        packs[name] = model_pack(model, rows, *prepared[name]["process"])
    if data.name == prepare.DATA:
        packs["supernet"] = supernet_pack()
    cells, rivals = prepare.table()
    medians = {name: np.median(curves, 0).tolist() for name, curves in rivals.items()}
    packs["cells"] = pack({"accuracy": cells}, rivals=medians)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    facts = facts_of(data, models)
    page = (HERE / "index.html").read_text(encoding="utf-8")
    files = "".join(f'<script defer src="data-{name}.js"></script>\n' for name in packs)
    (out / "index.html").write_text(page.replace("<!-- data -->\n", files), encoding="utf-8")
    shutil.copy(HERE / "style.css", out)
    (out / "explorer.js").write_text(scripts(facts), encoding="utf-8")
    for name, content in packs.items():
        text, facts = content.pop("text"), json.dumps(content, separators=(",", ":"))
        line = f'explorer.take({json.dumps(name)}, {facts}, "{text}");\n'
        (out / f"data-{name}.js").write_bytes(line.encode())
    shutil.copy(HERE / "vendor" / "LICENSE", out / "LICENSE-d3.txt")
    return out / "index.html"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=prepare.DATA, help="data set, or .jsonl file of yours")
    parser.add_argument("--out", type=Path, default=HERE.parent / "_build" / "explore")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(build(arguments.out, arguments.data))
    except OpembedError as error:
        sys.exit(f"explorer: {error}")


if __name__ == "__main__":
    main()
