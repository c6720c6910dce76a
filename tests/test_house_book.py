"The book: every chapter has its page, directives are understood, and the build is strict."

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from book.build import ROOT, BookError, build
from book.execute import SEEN, smaller
from book.measure import FIRST_READING
from book.plots import DARK, GROUND, inline
from book.reader import read
from book.sheets import offer
from book.slim import bare
from opembed_nb.data import PALETTE, draw, random_architectures
from opembed_nb.hood.figures import (
    BLUE,
    BROWN,
    COLOURS,
    GREY,
    INK,
    STRATEGY_COLOURS,
    VARIANT_COLOURS,
    VIOLET,
    panels,
)

CHAPTER = [
    (
        "markdown",
        "# A toy\n\n> One page.\n\nSee {cite:p}`pham2018enas` and [the first page](index.md), "
        "and read this sentence to its end.",
    ),
    ("code", "#| default_exp toy"),
    ("code", "#| export\nshown = 1"),
    ("code", "#| hide\nhidden = 2"),
    ("answer", "assert 6 * 7 == 42"),
]


def toy_book(folder, chapter=CHAPTER):
    "A project of two pages under the real configuration, reader and build."
    (folder / "nbs").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copytree(ROOT / "book", folder / "book")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: nbs/index\nparts:\n  - caption: One\n    chapters:\n"
        "      - file: nbs/00_toy\n      - file: nbs/references\n"
    )
    (folder / "nbs" / "index.md").write_text(f"# The first page\n\n{'It has a few words. ' * 9}\n")
    for name in ("references.md", "references.bib"):
        shutil.copy(ROOT / "nbs" / name, folder / "nbs")
    write_chapter(folder / "nbs" / "00_toy.ipynb", chapter)
    return folder


def write_chapter(path, chapter):
    cells = []
    for number, (kind, source) in enumerate(chapter):
        tags = {"tags": ["answer"]} if kind == "answer" else {}
        kind = "code" if tags else kind
        cell = {"id": f"cell{number}", "cell_type": kind, "metadata": tags, "source": source}
        code = {"outputs": [], "execution_count": None} if kind == "code" else {}
        cells.append(cell | code)
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    path.write_text(json.dumps(notebook(cells, kernelspec=kernel)))


def notebook(cells, **metadata):
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


INDEX = (ROOT / "nbs" / "index.md").read_text(encoding="utf-8")


def test_the_preface_lists_the_pages_as_the_sidebar_does():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    for part in parts:
        if part["caption"] == "Reference":
            continue  # where one looks something up
        listed = INDEX.split(f"**{part['caption']}**")[1].split("\n\n")[1]
        chapters = [chapter["file"][4:] for chapter in part["chapters"]]
        assert re.findall(r"\]\((.*?)\.(?:ipynb|md)\)", listed) == chapters
        numbers = re.findall(r"^\| (\d+) \|", listed, re.M)
        assert numbers == [str(int(page[:2])) for page in chapters if page[:2].isdigit()]


def test_the_first_reading_is_the_numbered_chapters_in_order_and_nothing_under_the_hood():
    path = INDEX.split("## A first reading")[1].split("\n## ")[0]
    read = re.findall(r"^\| \d+ \| \[\d+ .*?\]\((.*?)\.ipynb\)", path, re.M)
    assert read == [page.removeprefix("nbs/") for page in FIRST_READING]
    minutes = sum(map(int, re.findall(r"^\| (\d+) \|", path, re.M)))
    assert 100 <= minutes <= 130, f"{minutes} minutes are not about two hours"


# What a newcomer looks for: the section that the preface links to, and what is written there.
WAYS = {
    "reconstruction accuracy": ("04_training.ipynb#basic-abilities", "def abilities("),
    "an encoder": ("contributing.md#an-encoder", "oe.MODELS["),
    "a data set": ("contributing.md#a-data-set-of-your-own", "oe.Dataset.from_scores("),
    "an embedding": (
        "10_encoding.ipynb#which-embedding-to-use",
        "counted features",
    ),
    "a strategy": ("contributing.md#a-strategy", "oe.search("),
    "a number of the study": ("lab/arms.ipynb#all-runs", "make evidence"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_newcomer_finds_it_one_click_from_the_preface(way):
    link, text = WAYS[way]
    page, section = link.split("#")
    assert f"]({link})" in INDEX
    path = ROOT / ("CONTRIBUTING.md" if page == "contributing.md" else f"nbs/{page}")
    found = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        found = "\n\n".join("".join(cell["source"]) for cell in json.loads(found)["cells"])
    title = next(
        line
        for line in found.splitlines()
        if line.startswith("## ") and line[3:].lower().replace(" ", "-") == section
    )
    assert text in found.split(f"{title}\n")[1].split("\n## ")[0]


def test_directives_become_tags_and_an_executed_chapter_stands_in(tmp_path):
    project, runs = toy_book(tmp_path / "project"), tmp_path / "runs"
    runs.mkdir()
    write_chapter(runs / "00_toy.ipynb", [*CHAPTER, ("code", "executed = 3")])
    first = build(project, notebooks=runs, out=tmp_path / "out")
    assert first == tmp_path / "out" / "_build" / "html" / "index.html" and first.exists()
    page = (first.parent / "nbs" / "00_toy.html").read_text(encoding="utf-8")
    assert "shown" in page and "executed" in page and "tag_export" in page
    assert re.search(r'<details class="answer">\s*<summary><span>Answer</span></summary>', page)
    assert "hidden" not in page and "#| " not in page and "default_exp" not in page
    assert "<title>0 A toy" in page and re.search(r"<h1>0 A toy<", page)
    assert '<a class="reference internal" href="nbs/00_toy.html">0 A toy' in " ".join(
        (first.parent / "nbs" / "index.html").read_text(encoding="utf-8").split()
    ).replace('href="00_toy.html"', 'href="nbs/00_toy.html"')


def test_a_captioned_cell_shows_its_picture_once():
    output = {"output_type": "display_data", "metadata": {}}
    outputs = [
        {**output, "data": {"text/plain": "<Legend>"}},
        {**output, "data": {"image/png": "", "text/plain": "<Figure>"}},
    ]
    cell = {"id": "a", "cell_type": "code", "source": "", "outputs": outputs}
    cell["execution_count"] = None
    for caption, shown in (({}, 2), ({"mystnb": {"figure": {"name": "fig-a"}}}, 1)):
        text = json.dumps(notebook([cell | {"metadata": caption}]))
        assert len(read(text).cells[0].outputs) == shown


def test_a_broken_link_stops_the_build_and_is_named(tmp_path):
    broken = [*CHAPTER, ("markdown", "## Next\n\nSee [nowhere](11_nowhere.ipynb).")]
    where = r"nbs/00_toy\.ipynb, cell 6, line 3: WARNING: .*11_nowhere"
    with pytest.raises(BookError, match=where):
        build(toy_book(tmp_path / "project", broken))


def test_a_page_without_a_file_stops_the_build_and_is_named(tmp_path):
    project = toy_book(tmp_path / "project")
    Path(project / "nbs" / "00_toy.ipynb").unlink()
    with pytest.raises(BookError, match="nbs/00_toy is listed"):
        build(project)


def test_a_page_that_no_part_lists_stops_the_build_and_is_named(tmp_path):
    project = toy_book(tmp_path / "project")
    (project / "nbs" / "hood").mkdir()
    write_chapter(project / "nbs" / "hood" / "lost.ipynb", CHAPTER)
    with pytest.raises(BookError, match=r"_toc\.yml: nbs/hood/lost not listed"):
        build(project)


def test_a_page_that_is_missing_or_empty_stops_the_build_and_is_named(tmp_path, monkeypatch):
    project = toy_book(tmp_path / "project", [("markdown", "# A toy\n\n{cite:p}`pham2018enas`")])
    with pytest.raises(BookError, match=r"nbs/00_toy: the page is empty \(\d+ characters of text"):
        build(project)
    assert not (project / "_build" / "html").exists()
    run = subprocess.run

    def loses_a_page(command, **kwargs):
        done = run(command, **kwargs)
        (project / "_build" / "html" / "nbs" / "references.html").unlink()
        return done

    write_chapter(project / "nbs" / "00_toy.ipynb", CHAPTER)
    monkeypatch.setattr(subprocess, "run", loses_a_page)
    with pytest.raises(BookError, match="3 pages were to be built, 2 were") as error:
        build(project)
    assert "nbs/references is listed, but the build left no page of it" in str(error.value)


def test_a_stored_picture_keeps_the_colours_of_its_lines():
    palette = ("#d55e00", "#0072b2", "#56b4e9", "#e69f00", "#999999", "#009e73", "#cc79a7")
    figure = Figure(figsize=(6, 3), facecolor="white")
    axes = figure.subplots()
    for i, colour in enumerate(palette):
        axes.plot([0, 1, 2, 3], [i, i + 3, i + 1, i + 4], color=colour)
        axes.fill_between([0, 1, 2, 3], i, i + 3, color=colour, alpha=0.15, linewidth=0)
    palette += ("#008080",)  # seen in the legend alone
    axes.plot([], [], color=palette[-1], label="none")
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = base64.b64encode(drawn.getvalue()).decode()
    found = smaller(picture)
    assert len(found) < len(picture) / 2
    image = Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")
    kept = [colour for _, colour in image.getcolors(image.width * image.height)]
    for colour in map(ImageColor.getrgb, palette):
        assert min(max(abs(a - b) for a, b in zip(colour, near)) for near in kept) <= SEEN


def test_a_folded_table_can_be_had_as_a_file_and_another_cannot(tmp_path):
    table = (
        '<div class="box"><table><tr><th>x</th><th>a, <b>b</b></th></tr>'
        "<tr><td>1</td><td>−2<br>[3, 4]</td></tr></table></div>"
    )
    (tmp_path / "nbs" / "lab").mkdir(parents=True)
    page = tmp_path / "nbs" / "lab" / "a.html"
    page.write_text(f"{table}<details><summary>more</summary>{table}</details>", encoding="utf-8")
    offer(tmp_path)
    found = page.read_text(encoding="utf-8")
    [link] = re.findall(r'href="([^"]*)" download', found)
    assert (page.parent / link).read_bytes().decode() == 'x,"a, b"\r\n1,"−2 [3, 4]"\r\n'
    assert found.index(link) > found.index("<details>")


def test_a_page_loses_what_nobody_sees_and_code_stays_as_it_is():
    code = '<pre>def f():\n    <span class="head">return</span> 1\n</pre>'
    table = '<tr class="row-odd">\n   <td><p>a</p></td>\n  <td><p>b</p><p>c</p></td></tr>'
    assert bare(table + code) == f"<tr>\n<td>a</td>\n<td><p>b</p><p>c</p></td></tr>{code}"


def drawings(tmp_path, *files):
    "A page that shows these files, twice each, as a built book does; its text afterwards."
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "opembed.css").write_text("", encoding="utf-8")
    images = []
    for number, text in enumerate(files):
        (tmp_path / f"{number}.svg").write_text(str(text), encoding="utf-8")
        images += [f'<p><img alt="What is {number}" class="shown" src="{number}.svg"/></p>'] * 2
    page = tmp_path / "index.html"
    page.write_text("".join(images), encoding="utf-8")
    inline(tmp_path)
    return page.read_text(encoding="utf-8")


def test_a_drawing_lies_in_the_page_and_concerns_nothing_else_there(tmp_path):
    figure, (left, right) = panels(2, size=(6, 2))
    for ax in (left, right):
        ax.plot([1, 2], [2, 1], "o-", color=BLUE)
    graph = draw(random_architectures(1, generator=torch.Generator().manual_seed(0)))
    page = drawings(tmp_path, figure.svg(), graph)
    assert "<img" not in page and not list(tmp_path.glob("*.svg"))
    names = re.findall(r'\bid="([^"]*)"', page)
    assert len(names) == len(set(names))
    used = re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)", page)
    assert used and {a or b for a, b in used} <= set(names)
    assert all(rule.startswith(":where(#d") for rule in re.findall(r"<style>([^<]*)", page))
    assert page.count('class="plot shown" role="img" aria-label="What is 1"') == 2
    # Two panels of the plot, each alone; of the graph there is one drawing.
    assert page.count("<use href=\"#d1-panel-") == 2 and page.count('class="parts"') == 2


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(x * weight for x, weight in zip(linear, (0.2126, 0.7152, 0.0722)))


def test_every_colour_of_a_plot_can_be_seen_in_the_dark():
    ground = luminance(GROUND)
    own = {*COLOURS, INK, GREY, BROWN, VIOLET, *VARIANT_COLOURS.values()}
    for colour in own | set(STRATEGY_COLOURS.values()):
        assert (luminance(DARK[colour]) + 0.05) / (ground + 0.05) > 4.5, colour
    stored = (ROOT / "nbs").rglob("*.ipynb")
    written = {c for file in stored for c in re.findall(r"(?:fill|stroke): (#\w{6})", svgs(file))}
    scale = {to_hex(colour) for colour in colormaps["viridis"].colors}
    assert len(written) > 10 and written <= {*DARK, *PALETTE, *scale}


def svgs(file):
    "The plots that a notebook has stored."
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    shown = [o.get("data", {}) for cell in cells for o in cell.get("outputs", ())]
    return "".join("".join(data.get("image/svg+xml", "")) for data in shown)
