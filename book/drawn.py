"""Each architecture that a chapter draws opens in Explore: a line of links below the drawing.

`opembed_nb.data.draw` makes a column of each, so that a drawing says what it shows.
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
NODE = re.compile(
    r'<rect x="[\d.]+" y="([\d.]+)" width="\d+" height="2[46]"[^>]*/>'
    r'<text x="([\d.]+)"[^>]*>([^<]*)</text>'
)
EDGE = re.compile(r'<path d="M([\d.]+) ([\d.]+) ?(?:V([\d.]+)|C\S+ \S+ \S+ \S+ \S+ ([\d.]+))"')
TITLE = re.compile(r'<text x="([\d.]+)" y="[\d.]+" font-weight="bold">([^<]*)</text>')
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(n):
    return DIGITS[n] if n < 36 else base36(n // 36) + DIGITS[n % 36]


def key(names, edges, space):
    "An architecture as Explore's address writes it; None if it is not of the space."
    bits = [sum(1 << u for u, w in edges if w == v) for v in range(len(names))]
    known = set(names) <= set(space.types) and len(names) <= space.max_nodes
    known &= [names[0], names[-1]] == ["input", "output"]  # not the half of one
    chain = all(bits[v] >> (v - 1) & 1 for v in range(1, len(names)))
    if not known or (space.chain and not chain):
        return None
    types = [DIGITS[space.types.index(name)] for name in names]
    return ".".join(t + base36(b) for t, b in list(zip(types, bits))[1:])


def architectures(svg):
    "(title, names of the nodes in order, edges) of each that a drawing shows, a column each."
    columns, edges, titles = {}, {}, {}
    for y, x, name in NODE.findall(svg):
        columns.setdefault(float(x), []).append((float(y) + 12, html.unescape(name)))
    for x, start, straight, bent in EDGE.findall(svg) if columns else ():
        column = min(columns, key=lambda middle: abs(middle - float(x)))
        heights = sorted(y for y, _ in columns[column])
        ends = (
            (float(start) - 12, float(straight) + 14) if straight else (float(start), float(bent))
        )
        edge = tuple(min(range(len(heights)), key=lambda v: abs(heights[v] - y)) for y in ends)
        edges.setdefault(column, []).append(edge)
    for x, line in TITLE.findall(svg):
        titles.setdefault(float(x), []).append(html.unescape(line))
    return [
        (" ".join(titles.get(x, [])), [name for _, name in sorted(columns[x])], edges.get(x, []))
        for x in sorted(columns)
    ]


def pictures(cell):
    "The drawings of a cell; of a picture in steps those of all steps."
    for data in (output.get("data", {}) for output in cell.get("outputs", ())):
        text = "".join(data.get("text/html", ""))
        yield "".join(data.get("image/svg+xml", ""))
        yield from text.split("</svg>") if 'class="frames"' in text else ()


def links(svg, up, first=1):
    "Links into Explore, of which `up` leads to the folder; none for architectures without a page."
    made = []
    for number, (title, names, edges) in enumerate(architectures(svg), first):
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
        made = {}  # by address: a walk may stay where it is
        for svg in pictures(cell):
            made |= {one.split(">")[0]: one for one in links(svg, up, len(made) + 1)} | made
        if made:
            text = f'<p class="opens">Open in Explore: {" · ".join(made.values())}</p>'
            cells.append(dict(cell_type="markdown", id=f"{cell['id']}-x", metadata={}, source=text))
    if len(cells) > len(notebook["cells"]):
        file.write_text(json.dumps({**notebook, "cells": cells}), encoding="utf-8")
