"What many tests say."

import json
import re
from pathlib import Path

import torch

from opembed_nb.hood.files import refused
from opembed_nb.hood.formats import from_flat

ROOT = Path(__file__).resolve().parents[1]


def shown(page):
    "What the stored outputs of a page say: text and Markdown, one after the other."
    text = (ROOT / "nbs" / f"{page}.ipynb").read_text(encoding="utf-8")
    outputs = [o for cell in json.loads(text)["cells"] for o in cell.get("outputs", [])]
    return ["".join(o.get("text") or o.get("data", {}).get("text/markdown", "")) for o in outputs]


def refused_as(words, act, *args, **kwargs):
    "The one line in which a call is refused; it holds these words, or fits them as a pattern."
    said = refused(act, *args, **kwargs)
    assert words in said or re.search(words, said), said
    assert "\n" not in said, said
    return said


def chains(space):
    "All chains of three layers of a space."
    n = len(space.operations)  # a layer is its operation, and a skip or none from each before
    rows = torch.cartesian_prod(*map(torch.arange, (n, n, 2, n, 2, 2)))
    return from_flat(rows.tolist(), space)
