"""The reference: every public name with its signature, parameters, errors and where it is written.

Made when the book is built, from the package itself, one page for each building; what is said of a
parameter is the comment beside it (fastcore's docments).
"""

import inspect
import json
import re
from importlib import import_module

from fastcore.docments import docments

from book.fold import defined

# Building → its page's title, and the sentence under it.
BUILDINGS = {
    "book": ("Reference: the chapters", "What the chapters define, from data to pipeline."),
    "hood": ("Reference: under the hood", "The machinery: files, formats, engines, searches."),
    "lab": ("Reference: the lab", "The studies behind the numbers, and the command line."),
}
TOP = """Shapes and units are beside each parameter. Whatever does not fit raises an `OpembedError`
that names the file or the value, and the fix. Each name links to the cell that defines it.

Three recipes, which a test runs, show how to add [an encoder](../contributing.md#an-encoder),
[a data set](../contributing.md#a-data-set-of-your-own) and
[a strategy](../contributing.md#a-strategy)."""


def safe(text):
    "Text as Markdown that shows it: only `names` in backticks mean something."
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([\\*_$<\[\]{}|#~])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def prose(docstring):
    "A docstring as Markdown; examples at a prompt, and what is indented, are code."
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    code = re.compile(r"(>>>| {4})")
    return "\n\n".join(
        f"```python\n{inspect.cleandoc(block)}\n```" if code.match(block) else safe(block)
        for block in blocks
        if block.strip()
    )


def kind(annotation):
    "A type in few letters."
    if annotation in (inspect.Parameter.empty, None):
        return ""
    name = getattr(annotation, "__name__", None)
    text = name if name and "[" not in str(annotation) else str(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("|", "\\|")


def parameters(thing):
    "What docments say of a function's parameters or of a class's fields; nothing if they cannot."
    try:
        return {name: said for name, said in docments(thing, full=True).items() if name != "self"}
    except (TypeError, ValueError, AttributeError, OSError, KeyError, IndexError, SyntaxError):
        return {}


def default(value):
    "A default as it is written, if that is short."
    name = getattr(value, "__name__", None) if callable(value) else None
    text = name or repr(value)
    return text if len(text) <= 24 and "<" not in text and "`" not in text else "…"


def given(thing, said):
    "The names of the parameters, with their defaults."
    try:
        found = [p for p in inspect.signature(thing).parameters.values() if p.name in said]
    except (TypeError, ValueError):
        return ", ".join(name for name in said if name != "return")
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        stars.get(p.kind, "") + p.name + ("" if p.default is p.empty else f"={default(p.default)}")
        for p in found
    )


def table(said):
    "The parameters as a table, and what is returned as a sentence."
    entries = {name: each for name, each in said.items() if name != "return"}
    rows = [
        [f"`{name}`", kind(each["anno"]), safe(each["docment"] or "").replace("\n", " ")]
        for name, each in entries.items()
    ]
    head = ["parameter", "type", "meaning"]
    used = [0, *(i for i in (1, 2) if any(row[i] for row in rows))]  # columns that say something
    lines = [f"| {' | '.join(row[i] for i in used)} |" for row in [head, ["---"] * 3, *rows]]
    lines = lines if len(used) > 1 else []  # names alone are in the signature
    back = said.get("return") or {}
    if kind(back.get("anno")) or back.get("docment"):
        parts = [f"`{kind(back.get('anno'))}`" if kind(back.get("anno")) else ""]
        parts.append(safe(back.get("docment") or ""))
        lines.append("\n*Returns* " + ", ".join(filter(None, parts)))
    return "\n".join(lines)


def raised(thing):
    "The errors that a function raises itself."
    try:
        code = inspect.getsource(thing)
    except (TypeError, OSError):
        return ""
    found = set(re.findall(r"\braise (\w*(?:Error|Interrupt))\b", code))
    found |= {"OpembedError"} if re.search(r"\b(require|refuse)\w*\(", code) else set()
    return f"*Raises* {', '.join(f'`{name}`' for name in sorted(found))}" if found else ""


def directive(colons, name, argument, parts):
    "A block of MyST."
    fence = ":" * colons
    body = "\n\n".join(filter(None, parts))
    return f"{fence}{{{name}}} {argument}\n\n{body}\n{fence}\n"


def methods(found, anchors):
    "The public methods of a class that this package defines."
    for name, member in vars(found).items():
        call = getattr(member, "__func__", getattr(member, "fget", None) or member)
        if name.startswith("_") or not inspect.isfunction(call):
            continue
        if not call.__module__.startswith("opembed_nb"):
            continue
        said = {p: entry for p, entry in parameters(call).items() if p not in ("self", "cls")}
        is_property = isinstance(member, property)
        shown = name if is_property else f"{name}({given(call, said)})"
        place = anchors.get(f"{found.__name__}.{name}", "")
        parts = (prose(call.__doc__), table(said), raised(call), place)
        yield directive(4, "py:property" if is_property else "py:method", shown, parts)


def entry(name, thing, anchors):
    "A public name as MyST."
    place = anchors.get(name, "")
    if inspect.isclass(thing):
        said = parameters(thing)
        said.pop("return", None)
        text = thing.__doc__ or ""
        text = "" if text.startswith(f"{name}(") else text
        parts = (prose(text), table(said), raised(thing.__init__), place, *methods(thing, anchors))
        return directive(5, "py:class", f"{name}({given(thing, said)})" if said else name, parts)
    if callable(thing) and hasattr(thing, "__code__") or hasattr(thing, "__wrapped__"):
        said = parameters(thing)
        parts = (prose(thing.__doc__), table(said), raised(thing), place)
        return directive(5, "py:function", f"{name}({given(thing, said)})", parts)
    value = repr(sorted(thing) if isinstance(thing, set) else thing)
    value = f"`{value}`" if len(value) <= 80 and "`" not in value and "\n" not in value else ""
    return directive(5, "py:data", name, (value, place))


def chapters(source, pages):
    "Building → (module, page, title, name → the line that says where it is defined)."
    found = {building: [] for building in BUILDINGS}
    for page in pages:
        path = source / f"{page}.ipynb"
        if not path.exists():
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells]
        module = re.search(r"^#\| default_exp (\S+)", "\n".join(sources), re.M)
        if not module:
            continue
        title = re.search(r"^# (.*)", sources[0], re.M)[1]
        exported = [text for text in sources if re.match(r"#\|\s*export", text)]
        address = f"../{page.removeprefix('nbs/')}.html"
        anchors = {
            name: f'<a href="{address}#code-{name}">Defined in {title}</a>'
            for text in exported
            for name in defined(text)
        }
        building = module[1].split(".")[0] if "." in module[1] else "book"
        found[building].append((module[1], page, title, anchors))
    return found


def door():
    "The names at the door, each with its first sentence."
    import opembed_nb

    rows = []
    for name, behind in opembed_nb._DOOR.items():
        module, _, attribute = behind.partition(":")
        thing = getattr(import_module(f"opembed_nb.{module}"), attribute)
        text = inspect.cleandoc(getattr(thing, "__doc__", "") or "").split("\n\n")[0]
        text = " ".join(text.split()) if not text.startswith("dict(") else "models by name"
        full = f"{getattr(thing, '__module__', f'opembed_nb.{module}')}.{attribute}"
        rows.append(f"| `oe.{name}` | {{py:obj}}`{full}` | {safe(text)} |")
    head = "## The door: `import opembed_nb as oe`\n\n| name | its full name | what it is |"
    return "\n".join([head, "|---|---|---|", *rows])


def written(source, pages):
    "The pages of the reference, as path without suffix → text."
    found = {}
    for building, modules in chapters(source, pages).items():
        title, sentence = BUILDINGS[building]
        parts = [f"# {title}\n\n> {sentence}\n\n{TOP}"] + ([door()] if building == "book" else [])
        for module, page, chapter, anchors in modules:
            imported = import_module(f"opembed_nb.{module}")
            link = f"../{page.removeprefix('nbs/')}.ipynb"
            parts.append(
                f"## `{module}`\n\n```{{py:module}} opembed_nb.{module}\n```\n\n"
                f"From [{chapter}]({link})."
            )
            parts += [
                entry(name, getattr(imported, name), anchors)
                for name in getattr(imported, "__all__", ())
                if not name.startswith("_")
            ]
        found[f"nbs/reference/{building}"] = "\n\n".join(parts) + "\n"
    return found
