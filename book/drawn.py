"""Each architecture that a chapter draws opens in Explore: a line of links below the drawing.

A drawing says what it shows, by the places at which `opembed_nb.data.draw` puts nodes and edges.
"""

import html
import json
import re
from pathlib import Path

from opembed_nb.data import ENAS
from opembed_nb.hood.exchange import CELLS, CELLS_101

PREPARED = Path(__file__).resolve().parent.parent / "explorer" / "prepared"
FILES = {  # what explorer/build.py makes a page of
    "index": ("enas-digits", ENAS),
    "nas-bench-201": ("nas-bench-201-cifar10", CELLS),
    "nas-bench-101": ("nas-bench-101-30k", CELLS_101),
}
PAGES = {page: of for page, (file, of) in FILES.items() if (PREPARED / f"{file}.npz").exists()}
WIDTH, TOP, STEP = 190, 40, 44  # of a drawing
NODE = re.compile(
    r'<rect x="([\d.]+)" y="([\d.]+)" width="104"[^>]*/><text [^>]*style="[^>]*>([^<]*)</text>'
)
EDGE = re.compile(r'<path d="M([\d.]+) ([\d.]+) (?:V([\d.]+)|C\S+ \S+ \S+ \S+ \S+ ([\d.]+))"')
TITLE = re.compile(r'<text x="([\d.]+)" y="16" font-weight="bold">([^<]*)</text>')
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def place(y):
    "Which node is at a height."
    return round((float(y) - TOP) / STEP)


def base36(n):
    return DIGITS[n] if n < 36 else base36(n // 36) + DIGITS[n % 36]


def key(names, edges, space):
    "An architecture as Explore's address writes it; None if it is not of the space."
    bits = [sum(1 << u for u, w in edges if w == v) for v in range(len(names))]
    known = set(names) <= set(space.types) and len(names) <= space.max_nodes
    chain = all(bits[v] >> (v - 1) & 1 for v in range(1, len(names)))
    if not known or (space.chain and not chain):
        return None
    types = [DIGITS[space.types.index(name)] for name in names]
    return ".".join(t + base36(b) for t, b in list(zip(types, bits))[1:])


def architectures(svg):
    "(title, names of the nodes in order, edges) of each that a drawing shows."
    found = {}
    for x, y, name in NODE.findall(svg):
        one = found.setdefault(int(float(x)) // WIDTH, ({}, []))
        one[0][place(float(y) + 12)] = html.unescape(name)
    for x, start, straight, bent in EDGE.findall(svg):
        ends = (float(start) - 12, float(straight) + 14) if straight else (start, bent)
        found[int(float(x)) // WIDTH][1].append(tuple(map(place, ends)))
    titles = {int(float(x)) // WIDTH: html.unescape(title) for x, title in TITLE.findall(svg)}
    return [
        (titles.get(b, ""), [names[v] for v in sorted(names)], edges)
        for b, (names, edges) in sorted(found.items())
    ]


def links(svg, up):
    "Links into Explore, of which `up` leads to the folder; none for architectures without a page."
    made = []
    for number, (title, names, edges) in enumerate(architectures(svg), 1):
        for page, space in PAGES.items():
            if written := key(names, edges, space):
                words = html.escape(title or f"architecture {number}")
                made.append(f'<a href="{up}explore/{page}.html#arch={written}">{words}</a>')
                break
    return made


def link(file, up):
    "Write the links of a staged notebook into it, each line below its drawing."
    notebook, cells = json.loads(file.read_text(encoding="utf-8")), []
    for cell in notebook["cells"]:
        cells.append(cell)
        drawn = [output.get("data", {}).get("image/svg+xml") for output in cell.get("outputs", ())]
        if made := [one for svg in drawn if svg for one in links("".join(svg), up)]:
            text = f'<p class="opens">Open in Explore: {" · ".join(made)}</p>'
            cells.append(dict(cell_type="markdown", id=f"{cell['id']}-x", metadata={}, source=text))
    if len(cells) > len(notebook["cells"]):
        file.write_text(json.dumps({**notebook, "cells": cells}), encoding="utf-8")
