"""How the book reads a chapter: nbdev's directives become the tags that Jupyter Book understands.

A chapter says `#| hide` once, for nbdev; neither a second tag nor a processed copy of the notebook
is needed.
"""

import json
import re

import nbformat

from book.alt import describe
from book.fold import fold

_directive = re.compile(r"#\|\s*(?P<name>\w[\w-]*)\s*:?\s*(?P<value>[^\n]*)")

# Directive (and value, where it has one) → the tag with the same meaning in the book.
TAGS = {
    ("hide", ""): "remove-cell",
    ("include", "false"): "remove-cell",
    ("hide_input", ""): "remove-input",
    ("echo", "false"): "remove-input",
    ("hide_output", ""): "remove-output",
    ("output", "false"): "remove-output",
    ("code-fold", "true"): "hide-input",
    ("eval", "false"): "skip-execution",
    ("slow", ""): "skip-execution",
    ("gpu", ""): "skip-execution",
    ("notest", ""): "skip-execution",
}
# These say where code goes; in the book the edge of a cell shows it (book/static/opembed.css).
EXPORTS = {"export", "exporti", "exports", "default_exp"}


def split(source):
    "The directives above the first line of code, as (name, value), and the source without them."
    found, lines = [], source.splitlines(keepends=True)
    while lines and (match := _directive.match(lines[0])):
        found.append((match["name"], match["value"].strip()))
        lines.pop(0)
    return found, "".join(lines)


def tags(source):
    "The Jupyter Book tags that a code cell's directives, or its only call, stand for."
    directives, code = split(source)
    result = {TAGS[directive] for directive in directives if directive in TAGS}
    if any(name in EXPORTS for name, _ in directives):
        result.add("export")
    if not code.strip():
        result.add("remove-cell")
    if code.lstrip().startswith("show_doc("):
        result.add("remove-input")
    return result


def pictures(cell):
    """The outputs of a cell as the book shows them.

    A caption belongs to the picture, not to what the last line returned.
    """

    def is_picture(output):
        return any(kind.startswith("image/") for kind in output.get("data", {}))

    found = [output for output in cell.outputs if is_picture(output)]
    return found if "figure" in cell.metadata.get("mystnb", {}) and found else cell.outputs


def unbroken(table):
    "A table whose numbers keep to one line with deviation and interval, if there is room."
    wide = table.count("|", 0, table.find("\n")) > 10
    pattern = r"\[[\d., −+-]+\]|n = \d+" + (r"" if wide else r"|[\d.]+( [±→%] ?[\d.]*)+")
    return re.sub(pattern, lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), table)


def read(text):
    "The notebook in `text` as the book shows it; myst-nb calls this for every chapter."
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata["tags"] = sorted({*cell.metadata.get("tags", []), *tags(cell.source)})
            cell.source = split(cell.source)[1]
            cell.outputs = pictures(cell)
            for data in (output.get("data", {}) for output in cell.outputs):
                if "text/markdown" in data:
                    data["text/markdown"] = unbroken(data["text/markdown"])
    describe(notebook.cells)
    fold(notebook.cells)
    return notebook


def number(app, docname, source):
    """Write a chapter's number, which its file's name has, before its title.

    Sphinx calls this with the text of every page; pages in nbs/hood and nbs/lab have no number.
    """
    if match := re.fullmatch(r"nbs/(\d+)_[^/]*", docname):
        notebook = json.loads(source[0])
        first = notebook["cells"][0]
        first["source"] = re.sub(r"\A# ", f"# {int(match[1])} ", "".join(first["source"]))
        source[0] = json.dumps(notebook)


def number_figures(app, env):
    """Count the figures of each page by itself: Fig. 5.1 opens chapter 5, Fig. 1 a page of the lab.

    Sphinx counts them across the book, and calls this afterwards.
    """
    for docname, counted in env.toc_fignumbers.items():
        chapter = re.fullmatch(r"nbs/(\d+)_[^/]*", docname)
        before = (int(chapter[1]),) if chapter else ()
        figures = counted.get("figure", {})
        for n, name in enumerate(sorted(figures, key=figures.get), 1):
            figures[name] = (*before, n)
    return []  # pages to read again


def setup(app):
    "Lets Sphinx import this module as an extension; the reader itself is named in _config.yml."
    app.connect("source-read", number)
    app.connect("env-get-updated", number_figures, priority=900)  # after Sphinx has counted
    return {"parallel_read_safe": True}
