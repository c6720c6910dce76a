"""How the book folds code: a cell of the package shows what it defines, and unfolds."""

import ast
import html
import json
import re

SHORT = 6  # lines of a cell outside of the package that stay open
WIDE = 96  # letters of a signature; the rest is in the code
ANSWER = "Answer"  # what a folded answer to an exercise shows


def statements(source):
    "The statements of a cell; none if it is no plain Python."
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []


def sentence(text):
    "The first sentence of a docstring."
    text = " ".join((text or "").split())
    return re.match(r".*?[.!?](?=\s|$)|.*", text)[0]


def arguments(node, skip):
    "The arguments of a function as its signature shows them, without their types."
    args = node.args
    places = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(places) - len(args.defaults)) + args.defaults
    found = [(arg.arg, default) for arg, default in zip(places, defaults)][skip:]
    if args.vararg:
        found.append((f"*{args.vararg.arg}", None))
    elif args.kwonlyargs:
        found.append(("*", None))
    found += [(arg.arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults)]
    if args.kwarg:
        found.append((f"**{args.kwarg.arg}", None))
    return [name + (f"={ast.unparse(default)}" if default else "") for name, default in found]


def fields(node):
    "The fields of a dataclass or a named tuple."
    return [
        item.target.id + (f"={ast.unparse(item.value)}" if item.value else "")
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]


def is_patch(node):
    "Whether a function is a method that fastcore adds to a class."
    return any(ast.unparse(decorator).startswith("patch") for decorator in node.decorator_list)


def names(node):
    "The names that a statement defines."
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [
            name.id
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        ]
    return [node.target.id] if isinstance(node, ast.AnnAssign) else []


def defined(source):
    "The public names that a cell defines; a method that it adds to a class with the class's name."
    found = []
    for node in statements(source):
        patched = isinstance(node, ast.FunctionDef) and is_patch(node)
        owners = [""]
        if patched:
            annotation = node.args.args[0].annotation
            many = annotation.elts if isinstance(annotation, ast.Tuple) else [annotation]
            owners = [f"{ast.unparse(owner)}." for owner in many]
        found += [f"{o}{name}" for o in owners for name in names(node) if name[0] != "_"]
    return found


def signature(node):
    "A definition in a line."
    if isinstance(node, ast.FunctionDef):
        patch = is_patch(node)
        owner = f"{ast.unparse(node.args.args[0].annotation)}." if patch else ""
        given = ", ".join(arguments(node, skip=int(patch)))
        if any(
            ast.unparse(decorator) == "property" or "as_prop" in ast.unparse(decorator)
            for decorator in node.decorator_list
        ):
            return owner + node.name
        return f"{owner}{node.name}({given})"
    if isinstance(node, ast.ClassDef):
        made = [item for item in node.body if getattr(item, "name", "") == "__init__"]
        plain = any("Tuple" in ast.unparse(base) for base in node.bases) or any(
            "dataclass" in ast.unparse(decorator) for decorator in node.decorator_list
        )
        given = arguments(made[0], 1) if made else fields(node) if plain else []
        return f"class {node.name}" + (f"({', '.join(given)})" if given else "")
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{', '.join(names(node))} = …"


def comment(source, node):
    "What is written behind the first line of a definition."
    line = source.splitlines()[node.lineno - 1]
    found = re.search(r":\s*#\s*(.*)", line) if isinstance(node, ast.FunctionDef) else None
    return found[1] if found else ""


def summary(source):
    "What a folded cell of the package shows: the definition, the others, the first sentence."
    defined = [node for node in statements(source) if names(node)]
    public = [node for node in defined if not all(name[0] == "_" for name in names(node))]
    if not defined:
        return summary_of_lines(source)
    classes = (ast.FunctionDef, ast.ClassDef)
    shown = (public or defined)[:1]
    node = next((node for node in public if isinstance(node, classes)), shown[0])
    others = [name for other in public if other is not node for name in names(other)]
    others = [name for name in others if name[0] != "_"]
    text = sentence(ast.get_docstring(node)) if isinstance(node, classes) else ""
    code = signature(node)
    if len(code) > WIDE:
        code = code[: WIDE - 1].rsplit(",", 1)[0] + ", …" + (")" if "(" in code else "")
    return {"code": code, "others": others, "text": text or comment(source, node)}


def summary_of_lines(source):
    "What another folded cell shows: the comment that it begins with, or else its first line."
    lines = [line for line in source.splitlines() if line.strip()]
    if lines[0].startswith("#"):
        return {"code": "", "others": [], "text": lines[0].lstrip("# ")}
    first, _, beside = lines[0].partition("  # ")
    return {"code": first + " …", "others": [], "text": beside}


def is_setup(cell, code):
    "Whether a cell only imports, or sets the parameters of a page."
    body = statements(code)
    only = body and isinstance(body[0], ast.Import | ast.ImportFrom)
    only = only and all(isinstance(node, ast.Import | ast.ImportFrom | ast.With) for node in body)
    return not cell.outputs and bool(only or "parameters" in cell.metadata["tags"])


def is_helper(cell, code):
    "Whether a cell of the package defines nothing that others should use."
    found = [name for node in statements(code) for name in names(node)]
    private = found and all(name[0] == "_" for name in found)
    return private and "export" in cell.metadata["tags"] and not cell.outputs


def hide(cell, shown, names=(), whole=False):
    "Fold the input of a cell, or all of it; `book.reader` hands what is shown to the page."
    tags = {*cell.metadata["tags"], "hide-cell" if whole else "hide-input"}
    cell.metadata["tags"] = sorted(tags)
    shown = json.dumps({**shown, "names": list(names)})
    options = {**cell.metadata.get("mystnb", {}), "code_prompt_show": shown}
    cell.metadata["mystnb"] = options


def join(first, other):
    "One cell in place of two; the second stays, empty, so that cells keep their numbers."
    first.source = f"{first.source.rstrip()}\n\n\n{other.source.strip()}\n"
    other.metadata["tags"] = sorted({*other.metadata["tags"], "remove-cell"})


def fold(cells):
    """Fold the code cells of a page, in place.

    Imports and parameters that follow each other become one; a helper joins what it helps. A cell
    tagged `answer`, to an exercise, or `hide-cell` is folded with its outputs.
    """
    last = None  # the cell before, if it is folded and what follows may join it
    for cell in cells:
        if cell.cell_type != "code":
            last = None
            continue
        tags = cell.metadata["tags"]
        if "remove-cell" in tags or "remove-input" in tags:
            continue
        if "answer" in tags or "hide-cell" in tags:
            text = {"code": "", "others": [], "text": ANSWER}
            hide(cell, text if "answer" in tags else summary_of_lines(cell.source), whole=True)
            last = None
            continue
        setup, exported = is_setup(cell, cell.source), "export" in tags
        if last and (
            setup and last[1] == "setup" or last[1] == "export" and is_helper(cell, cell.source)
        ):
            join(last[0], cell)
            if exported and setup:
                last[0].metadata["tags"] = sorted({*last[0].metadata["tags"], "export"})
            continue
        last = None
        if setup:
            hide(cell, {"code": "", "others": [], "text": "Setup: imports and parameters"})
            last = (cell, "setup")
        elif exported:
            hide(cell, summary(cell.source), defined(cell.source))
            last = (cell, "export") if not cell.outputs else None
        elif len(cell.source.strip().splitlines()) > SHORT or "hide-input" in tags:
            hide(cell, summary_of_lines(cell.source))


def marked(text):
    "A sentence of a docstring as HTML: `names` as code."
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def visit(self, node):
    "Write the line that a folded cell shows."
    shown = {"code": "", "others": [], "names": [], "text": "The whole output"}
    if "above-input" in node["classes"]:
        shown = json.loads(node["prompt_show"])
    kind = "answer" if shown["text"] == ANSWER else "fold"  # code opens all at once, answers do not
    self.body.append(f'<details class="{kind}">\n<summary>')
    self.body += [f'<span id="code-{name}"></span>' for name in shown["names"]]
    parts = [
        f"<code>{html.escape(shown['code'])}</code>" if shown["code"] else "",
        f"<span>{marked(shown['text'])}</span>" if shown["text"] else "",
        marked("with " + ", ".join(f"`{name}`" for name in shown["others"]))
        if shown["others"]
        else "",
    ]
    self.body.append(" · ".join(filter(None, parts)) + "</summary>\n")


def depart(self, node):
    "Close what `visit` has opened."
    self.body.append("</details>\n")


def setup(app):
    "Lets Sphinx write folded cells as this module wants them."
    from myst_nb.sphinx_ import HideCodeCellNode

    app.connect(
        "builder-inited",  # after myst-nb has set its own
        lambda app: app.add_node(HideCodeCellNode, override=True, html=(visit, depart)),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
