"Chapters: clean, in step with the package, and all of one form."

import ast
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from book.reader import EXPORTS, TAGS, split

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = ("__init__.py", "_moved.py")  # by hand
NOTEBOOKS = sorted((ROOT / "nbs").rglob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.parent.name == "nbs"]


def page_name(path):
    "A notebook by its path in nbs/, such as 07_bo or lab/regret."
    return str(path.relative_to(ROOT / "nbs").with_suffix(""))


each_page = pytest.mark.parametrize("path", NOTEBOOKS, ids=page_name)


def cells(path, kind=None):
    "The cells of the notebook at `path`, as (source, tags), of one kind if given."
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if kind in (None, cell["cell_type"]):
            found.append(("".join(cell["source"]), cell["metadata"].get("tags", [])))
    return found


def copy_sources(source, target):
    "A project with the notebooks and the hand-written files of `source`, but no exported module."
    (target / "opembed_nb").mkdir(parents=True)
    shutil.copy(source / "settings.ini", target)
    for name in WRITTEN:
        shutil.copy(source / "opembed_nb" / name, target / "opembed_nb")
    shutil.copytree(source / "nbs", target / "nbs")


def out_of_step(root, scratch):
    "A line for each file at `root` that is not what nbdev would make of the notebooks there."
    copy_sources(root, scratch)
    env = dict(os.environ)
    env.pop("IN_TEST", None)  # with it nbdev does nothing
    for name in ("nbdev_clean", "nbdev_export"):
        command = [Path(sys.executable).with_name(name)]
        subprocess.run(command, cwd=scratch, env=env, check=True, capture_output=True)
    names = set()
    for base in (root, scratch):
        paths = [*(base / "nbs").rglob("*.ipynb"), *(base / "opembed_nb").rglob("*.py")]
        names |= {str(path.relative_to(base)) for path in paths}
    lines = []
    for name in sorted(names):
        if not (root / name).exists():
            lines.append(f"{name}: not in the package yet; run make export")
        elif not (scratch / name).exists():
            lines.append(f"{name}: exported by no notebook; move it into one, or remove it")
        elif not filecmp.cmp(root / name, scratch / name, shallow=False):
            state = "not clean" if name.endswith(".ipynb") else "not what the notebook exports"
            lines.append(f"{name}: {state}; run make export")
    return lines


def test_notebooks_are_clean_and_in_step_with_the_package(tmp_path):
    if lines := out_of_step(ROOT, tmp_path / "copy"):
        pytest.fail("\n".join(lines), pytrace=False)


def test_what_is_out_of_step_is_named(tmp_path):
    project, scratch = tmp_path / "project", tmp_path / "copy"
    copy_sources(ROOT, project)
    shutil.copytree(ROOT / "opembed_nb", project / "opembed_nb", dirs_exist_ok=True)
    notebook = project / "nbs" / CHAPTERS[0].name
    content = json.loads(notebook.read_text(encoding="utf-8"))
    content["cells"][0]["metadata"]["collapsed"] = True
    exported = next(
        cell for cell in content["cells"] if "".join(cell["source"]).startswith("#| export")
    )
    exported["source"] = ["#| export\n", "unexported = 1"]
    notebook.write_text(json.dumps(content), encoding="utf-8")
    (project / "opembed_nb" / "stray.py").write_text("x = 1\n")
    module = CHAPTERS[0].stem.split("_", 1)[1]
    lines = "\n".join(out_of_step(project, scratch))
    assert f"nbs/{notebook.name}: not clean" in lines
    assert f"opembed_nb/{module}.py: not what the notebook exports" in lines
    assert "opembed_nb/stray.py: exported by no notebook" in lines


@each_page
def test_opens_with_a_title_and_one_sentence(path):
    first, _ = cells(path)[0]
    lines = [line for line in first.splitlines() if line.strip()]
    assert re.match(r"# \S", lines[0]), (
        f"{path.name}: the first line is {lines[0]!r}, not `# Title`"
    )
    assert re.match(r"> \S.*[.?!]$", lines[1]), (
        f"{path.name}: the second line is {lines[1]!r}, not `> one sentence`"
    )


@each_page
def test_one_parameters_cell_that_papermill_can_fill(path):
    found = [source for source, tags in cells(path, "code") if "parameters" in tags]
    if not found and path not in CHAPTERS:
        return
    assert len(found) == 1, (
        f"{path.name}: {len(found)} cells are tagged `parameters`; papermill needs one"
    )
    source, lines = found[0], found[0].splitlines()
    assert not split(source)[0], (
        f"{path.name}: the parameters cell is exported or hidden; its names belong to the run"
    )
    for statement in ast.parse(source).body:
        line = lines[statement.end_lineno - 1]
        where = f"{path.name}, parameters: {line!r}"
        assert isinstance(statement, ast.AnnAssign) and statement.value, (
            f"{where} is not `name: type = value`"
        )
        value = ast.literal_eval(statement.value)
        for item in value if isinstance(value, list) else [value]:
            assert item is None or isinstance(item, bool | int | float | str), (
                f"{where} is no JSON scalar or flat list"
            )
        assert "#" in line[statement.end_col_offset :], f"{where} has no trailing comment"
        if isinstance(value, list):  # papermill gives the text of a list
            name = statement.target.id
            read = any(f'listed({name}, "{name}"' in code for code, _ in cells(path, "code"))
            assert read, f"{where}: no cell reads it by `listed`"


@each_page
def test_keeps_to_the_form(path):
    code = cells(path, "code")
    assert path.stat().st_size < 500_000, (
        f"{path.name}: {path.stat().st_size:,} bytes; the limit is 500,000"
    )
    assert any("nbval-check-output" in tags for _, tags in code), (
        f"{path.name}: no cell's output is checked by nbval"
    )
    for source, _ in code:
        assert not source.rstrip().endswith(";"), (
            f"{path.name}: nbval prints what `;` hides: {source[-60:]!r}"
        )
        for name, value in split(source)[0]:
            assert name in EXPORTS or (name, value) in TAGS, (
                f"{path.name}: unknown directive `#| {name}: {value}`"
            )


@each_page
def test_an_exercise_has_an_answer_that_is_tested(path):
    "A cell tagged `answer` follows; it asserts what it says, or nbval compares what it shows."
    found, asked = cells(path), False
    if path in CHAPTERS:
        ends = [
            part
            for part in ("## What we learned", "### Exercise")
            if not any(f"\n{part}" in f"\n{source}" for source, _ in found)
        ]
        assert not ends, f"{path.name}: {' and '.join(ends)} missing"
    for source, tags in found:
        if asked or "answer" in tags:
            assert asked and "answer" in tags, f"{path.name}: {source[:60]!r}"
            assert "assert " in source or "nbval-check-output" in tags, f"{path.name}: {source}"
        asked = source.startswith("### Exercise")


def test_every_directive_has_its_meaning_in_the_book():
    directives, code = split("#| export\n#| eval: false\n\nx = 1\n")
    assert directives == [("export", ""), ("eval", "false")]
    assert code.strip() == "x = 1"


PACKAGE = ROOT / "opembed_nb"


def exported_modules():
    "Every module that a notebook exports, as `data` or `hood.files`; the chapters in their order."
    found = []
    for path in [*CHAPTERS, *(path for path in NOTEBOOKS if path not in CHAPTERS)]:
        for source, _ in cells(path, "code"):
            found += re.findall(r"^#\| default_exp (\S+)", source, re.M)
    return found


def imports(module):
    "The modules of this package that one of them imports, each with the line."
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    here = ["opembed_nb", *module.split(".")]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            base += (node.module or "").split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.removeprefix("opembed_nb.").split(".")
            depth = 2 if parts[0] in ("hood", "lab") else 1
            if name.startswith("opembed_nb."):
                yield ".".join(parts[:depth]), node.lineno


def may_import(module, other, chapters):
    "The rule of the three buildings: book, hood, lab."
    if module.startswith("lab."):
        return True
    if module.startswith("hood."):
        return other.startswith("hood.") or (other == "data" and module != "hood.files")
    if other.startswith("hood."):
        return module != "data" or other == "hood.files"
    return other in chapters[: chapters.index(module)]


def test_a_module_imports_only_what_its_building_may():
    modules = exported_modules()
    chapters = [module for module in modules if "." not in module]
    for module in modules:
        for other, line in imports(module):
            allowed = other == module or may_import(module, other, chapters)
            assert allowed, f"{module}, line {line}: may not import {other}"


def test_no_two_modules_need_each_other():
    needs = {module: {other for other, _ in imports(module)} for module in exported_modules()}
    while needs:
        free = [module for module, others in needs.items() if not (others - {module}) & set(needs)]
        assert free, f"a circle of imports among {sorted(needs)}"
        needs = {module: others for module, others in needs.items() if module not in free}


TOY = [  # (source, tags, stored output)
    ("x = 2\nprint(x)", ["nbval-check-output"], "2\n"),
    ("#| eval: false\nraise RuntimeError('a cell that no test runs')", [], None),
    ("print(x + 1)", ["nbval-check-output"], "3\n"),
]


def run_toy_chapter(folder, toy):
    "nbval's verdict on a small chapter, under this project's own hooks and settings."

    shutil.copytree(ROOT / "book", folder / "book")
    for name in ("nbs", "tests"):
        (folder / name).mkdir()
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    warm = "from contextlib import nullcontext as warm_kernels\n"  # one toy is not worth it
    (folder / "tests" / "warm.py").write_text(warm)
    kernel = {"name": "python3", "display_name": "python3"}
    notebook = v4.new_notebook(metadata={"kernelspec": kernel})
    for source, tags, output in toy:
        outputs = [v4.new_output("stream", name="stdout", text=output)] if output else []
        notebook.cells.append(v4.new_code_cell(source, metadata={"tags": tags}, outputs=outputs))
    nbformat.write(notebook, folder / "nbs" / "00_toy.ipynb")
    command = [sys.executable, "-m", "pytest", "nbs", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def test_nbval_compares_the_outputs_of_clean_cells(tmp_path):
    assert "2 passed, 1 skipped" in run_toy_chapter(tmp_path / "sound", TOY)
    source, tags, _ = TOY[2]
    toy = [TOY[0], (source, tags, "4\n"), (source, tags, None)]
    tampered = run_toy_chapter(tmp_path / "tampered", toy)
    assert "2 failed, 1 passed" in tampered, tampered
    assert "Cell outputs differ" in tampered


# Tables of what a chapter measures as it runs; every other table is drawn from committed records.
LIVE_TABLES = {
    "05_sgp": {"3af48cc5", "d0325d1d", "ee050001", "ee050002"},
    "07_bo": {"56182710"},
    "lab/regret": {"7b000064"},
    "12_pipeline": {"014b3f0e", "17917d54"},
}


@each_page
def test_a_table_of_records_is_drawn_again_and_compared(path):
    "A table that was stored before its records changed is an error."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", [])):
            compared = "nbval-check-output" in cell["metadata"].get("tags", [])
            live = cell["id"] in LIVE_TABLES.get(page_name(path), set())
            assert compared != live, f"cell {cell['id']}: tag it nbval-check-output"


@each_page
def test_every_cell_has_an_id_of_its_own(path):
    ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert len(set(ids)) == len(ids)


@each_page
def test_a_chapter_that_runs_is_no_command(path):
    "In a kernel, too, __name__ is __main__; but there no __file__ is."
    for source, _ in cells(path, "code"):
        for line in source.splitlines():
            assert '__name__ == "__main__"' not in line or "__file__" in line
