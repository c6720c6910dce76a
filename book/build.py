"""Build the book, strictly: a warning or a missing page is an error that names its place.

On the command line:

    python book/build.py                                    the stored outputs → _build/html
    python book/build.py --notebooks runs/quick/notebooks --out runs/quick/book
"""

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from book import origins, sheets  # noqa: E402
from book.drawn import link  # noqa: E402
from book.plots import inline  # noqa: E402
from book.slim import slim  # noqa: E402

SUFFIXES = {".md", ".bib", ".ipynb", ".png", ".svg"}  # of the pages and what they show
LEAST = 100  # characters of a page's text; one with fewer is empty


class BookError(RuntimeError):
    "The book cannot be built as it is; the message says where and why."


def pages(source):
    "The pages that _toc.yml promises, in reading order, as paths without a suffix."
    toc = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["chapters"] for part in toc.get("parts", [])]
    return [toc["root"], *(chapter["file"] for chapters in parts for chapter in chapters)]


def written(source):
    "The pages that lie in nbs/, as paths without a suffix; what begins with _ or . is none."
    files = [*(source / "nbs").rglob("*.ipynb"), *(source / "nbs").rglob("*.md")]
    paths = [file.relative_to(source).with_suffix("") for file in files]
    return {str(path) for path in paths if not any(part[0] in "_." for part in path.parts)}


def missing(source, html):
    "A line for each page of _toc.yml that is not in the built book, or is empty there."
    toc, built = pages(source), {}
    for file in html.glob("nbs/**/*.html"):
        article = re.search(r"<article.*</article>", file.read_text(encoding="utf-8"), re.S)
        text = re.sub(r"<[^>]*>|\s+", " ", article[0] if article else "")
        built[str(file.relative_to(html).with_suffix(""))] = len(" ".join(text.split()))
    lines = [
        f"_toc.yml: {page} is listed, but the build left no page of it"
        for page in toc
        if page not in built
    ]
    lines += [
        f"{page}: the page is empty ({built[page]} characters of text)"
        for page in toc
        if built.get(page, LEAST) < LEAST
    ]
    if len(built) != len(toc):
        lines.append(f"{len(toc)} pages were to be built, {len(built)} were")
    return lines


def stage(source, notebooks, folder):
    """Gather what the book is made of in `folder`; returns what each mark of a number stands for.

    A notebook found in `notebooks` takes the place of the stored one.
    """
    for path in ("_config.yml", "_toc.yml", "book", "nbs"):
        if not (source / path).exists():
            raise BookError(f"{source / path}: not found, and the book is built from it")
    folder.mkdir(parents=True)
    for file in (*source.glob("*.md"), source / "_config.yml", source / "_toc.yml"):
        shutil.copy(file, folder)
    shutil.copytree(source / "book", folder / "book", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (source / "nbs").rglob("*.*"):
        page = file.relative_to(source / "nbs")
        if file.suffix in SUFFIXES and not any(part.startswith(("_", ".")) for part in page.parts):
            executed = notebooks / page if notebooks else file
            (folder / "nbs" / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(executed if executed.exists() else file, folder / "nbs" / page)
    extract(folder / "nbs")
    for file in (folder / "nbs").rglob("*.ipynb") if (source / "explorer").exists() else ():
        link(file, "../" * len(file.relative_to(folder).parent.parts))
    for page in (folder / "nbs").glob("*.md"):
        for name in re.findall(r"\.\./(results/[^\s)>]+)", page.read_text(encoding="utf-8")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, folder / name)
    made = [page for page in pages(source) if page.startswith("nbs/reference/")]
    if made:
        from book.reference import written as reference

        for page, text in reference(source, pages(source)).items():
            (folder / page).parent.mkdir(exist_ok=True)
            (folder / f"{page}.md").write_text(text, encoding="utf-8")
    found = {}
    if origins.PAGE in pages(source):
        found = origins.entries(source, pages(source))
        with (folder / f"{origins.PAGE}.md").open("a", encoding="utf-8") as page:
            page.write("\n" + origins.written(found))
    for page in pages(source):
        if not any((folder / f"{page}{suffix}").exists() for suffix in (".md", ".ipynb")):
            raise BookError(
                f"_toc.yml: {page} is listed, but there is no {page}.ipynb; "
                "write it or take the line out"
            )
    if unlisted := sorted(written(source) - set(pages(source))):
        raise BookError(f"_toc.yml: {', '.join(unlisted)} not listed")
    return found


def extract(nbs):
    "Write the figures that Markdown pages show, figures/NAME.svg (or .png), from the notebooks."
    text = "".join(page.read_text(encoding="utf-8") for page in nbs.glob("*.md"))
    wanted = {Path(name) for name in re.findall(r"figures/[\w-]+\.(?:svg|png)", text)}
    for file in nbs.rglob("*.ipynb") if wanted else ():
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
            outputs = [output.get("data", {}) for output in cell.get("outputs", ())]
            for figure in (figure for figure in wanted if figure.stem == name):
                kind = {".svg": "image/svg+xml", ".png": "image/png"}[figure.suffix]
                [shown] = ["".join(data[kind]) for data in outputs if kind in data][:1] or [None]
                if shown:
                    content = base64.b64decode(shown) if kind == "image/png" else shown.encode()
                    (nbs / "figures").mkdir(exist_ok=True)
                    (nbs / figure).write_bytes(content)


def warnings(log, folder):
    "The warnings in Sphinx's log, each as `page, cell, line: message`."
    found = []
    for line in re.sub(r"\x1b\[[\d;]*m", "", log).splitlines():
        if not re.search(r"\b(WARNING|ERROR|CRITICAL): ", line):
            continue
        line = line.replace(f"{folder}/", "")
        # In a notebook myst-nb counts 10,000 lines a cell, and from 2.
        found.append(re.sub(r"\.ipynb:(\d+)(\d{4}):", place, line))
    return found


def place(match):
    "The cell and the line that a number of myst-nb stands for."
    return f".ipynb, cell {match[1]}, line {int(match[2]) - 1}:"


def unfounded(source):
    "A line for every number and claim of the text that the records do not bear out."
    if not (source / "results").is_dir():
        return []
    from opembed_nb.lab import claims, numbers

    return numbers.run(source) + claims.broken(source / "results")


def explorer(source, folder):
    "The pages that compute, beside the pages that are read."
    script = source / "explorer" / "build.py"
    if not script.exists():
        return
    command = [sys.executable, script, "--out", folder]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    if done.returncode:
        raise BookError(f"explorer: {done.stderr.strip()[-2000:]}")
    for figure in ("figure.webp", "figure.png"):  # of the first page: moving, and still
        shutil.copy(script.parent / figure, folder)


def build(source=ROOT, notebooks=None, out=None):
    """Build the book of the project at `source` under `out` and return the path of its first page.

    `notebooks` is a folder of executed chapters; one that is not in it is shown as stored.
    """
    source, out = Path(source).resolve(), Path(out or source).resolve()
    if notebooks is not None and not Path(notebooks).is_dir():
        raise BookError(f"{notebooks}: no such folder of executed notebooks")
    if lines := unfounded(source):
        raise BookError("\n".join(["not built; the text is not what the records say", *lines]))
    folder, html = out / "_build" / "source", out / "_build" / "html"
    # Always from scratch: Sphinx warns about a page when it reads it, so a second build would hide
    # the warnings of the first.
    shutil.rmtree(out / "_build", ignore_errors=True)
    found = stage(source, notebooks and Path(notebooks).resolve(), folder)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", folder, "--path-output", out, "-n", "-W", "--keep-going"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    log = out / "_build" / "build.log"
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    problems = warnings(done.stdout + done.stderr, folder) + missing(source, html)
    if problems or done.returncode:
        # No page is left that could be taken for a good book.
        shutil.rmtree(html, ignore_errors=True)
        raise BookError("\n".join([f"not built; the whole log is {log}", *problems]))
    if found:
        origins.link(html, found)
    sheets.offer(html)
    inline(html)
    slim(html)
    explorer(source, html / "explore")
    return html / "index.html"


def main():
    "The command line: print where the first page lies, or one clear error."
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    stored = "folder of executed chapters (default: the stored ones)"
    parser.add_argument("--notebooks", help=stored)
    parser.add_argument("--out", help="where _build/ goes (default: the project's root)")
    arguments = parser.parse_args()
    try:
        print(build(notebooks=arguments.notebooks, out=arguments.out))
    except BookError as error:
        sys.exit(f"book: {error}")


if __name__ == "__main__":
    main()
