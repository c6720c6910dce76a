"The package: what it needs, and what must not be in the tree."

import ast
import configparser
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from opembed_nb.lab.runner import COMMANDS as STUDIES
from opembed_nb.lab.runner import main as run_study
from tests.warm import python

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK_TOOLS = (
    "nbdev fastcore execnb IPython ipykernel papermill nbformat nbclient sphinx jupyter_book "
    "pytest"
).split()

IMPORT_ALL = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {tools}:
            raise ModuleNotFoundError("not a core dependency: " + name, name=name)

sys.meta_path.insert(0, Refuse())
import opembed_nb
import socket

def refused(*args, **kwargs): raise OSError("an import asks for the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
for module in pkgutil.walk_packages(opembed_nb.__path__, "opembed_nb."):
    importlib.import_module(module.name)
"""


def settings():
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def test_imports_without_the_notebook_tools_and_without_a_network():
    command = [sys.executable, "-c", IMPORT_ALL.format(tools=set(NOTEBOOK_TOOLS))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


def modules():
    "Path and syntax tree of every exported module."
    for path in sorted((ROOT / "opembed_nb").rglob("[a-z]*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def names_made(tree):
    "All names and attributes that a module defines or assigns."
    made = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            made.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
    return made


def test_no_private_name_crosses_a_module():
    trees = dict(modules())
    made = {path: names_made(tree) for path, tree in trees.items()}
    for path, tree in trees.items():
        others = set().union(*(names for other, names in made.items() if other != path))
        foreign = {name for name in others - made[path] if is_private(name)}
        for node in ast.walk(tree):
            used = [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opembed_nb"):
                used = [alias.name for alias in node.names if is_private(alias.name)]
            for name in used:
                where = f"{path.name}, line {node.lineno}"
                assert name not in foreign, f"{where}: {name} is private to another module"


COLUMNS = 100


def test_only_what_nbdev_generates_is_wider_than_the_page():
    # ruff measures the notebooks; nbdev adds `__all__` above their code, and `_modidx.py`.
    for path, tree in modules():
        generated = range(0)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                generated = range(node.lineno, node.end_lineno + 1)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if number not in generated:
                assert len(line) <= COLUMNS, f"{path.name}, line {number}: {len(line)} columns"


def test_every_requirement_has_a_pin_inside_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for group in (name for name in settings() if name.endswith("requirements")):
        for requirement in map(Requirement, settings()[group].split()):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin, f"settings.ini, {group}: {requirement.name} has no pin in constraints.txt"
            assert pin in requirement.specifier, (
                f"constraints.txt: {requirement.name}=={pin} is outside {requirement}"
            )
    locked = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    locked = [line.split() for line in locked if line[:1].isalnum()]
    assert all(any(word.startswith("--hash=sha256:") for word in line) for line in locked)
    names = dict(line[0].split("==") for line in locked)
    names = {canonicalize_name(name): version for name, version in names.items()}
    assert names.items() >= pins.items(), "requirements.lock is another set: make lock"
    listed = (ROOT / "results" / "reliability" / "licences.md").read_text().splitlines()[2:]
    licensed = [line.split("|") for line in listed]
    assert {canonicalize_name(line[1].strip()) for line in licensed} == pins.keys(), "make lock"
    assert all(line[3].strip() for line in licensed)


def test_a_wheel_can_be_built_from_the_source_distribution(tmp_path):
    "It holds what setup.py reads and what the package needs; `make versions` builds and runs both."
    for name in ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("opembed_nb", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = set((tmp_path / "opembed_nb.egg-info" / "SOURCES.txt").read_text().splitlines())
    data = {f"opembed_nb/assets/{path.name}" for path in (ROOT / "opembed_nb" / "assets").iterdir()}
    assert {"settings.ini", "setup.py", "pyproject.toml", "opembed_nb/__init__.py"} | data <= found
    assert not any(name.startswith("tests/") for name in found)


def test_no_path_of_a_machine_in_the_tree():
    pattern = re.compile(r"(?<![\w.~])/(?:work|root|home|Users)/\w")
    suffixes = set(".py .ipynb .md .yml .yaml .ini .toml .txt .json .csv .bib .svg".split())
    names = "nbs opembed_nb tests book profiles results benchmarks".split()
    folders = [ROOT / name for name in names]
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in folders for path in folder.rglob("*")]
    for path in files:
        if path.suffix not in suffixes or ".ipynb_checkpoints" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.relative_to(ROOT)}, line {number}"
            found = pattern.search(line)
            assert not found, f"{where}: a path of one machine, {line[found.start() :][:60]!r}"


COMMANDS = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if p.stem != "clearly")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_clearly(name):
    text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    assert text.split('if __name__ == "__main__":\n')[1].startswith("    clearly(")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_usage_and_does_nothing_else(name, monkeypatch, capsys):
    script = str(ROOT / "benchmarks" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_tells_its_usage_and_does_nothing_else(study, capsys):
    with pytest.raises(SystemExit) as ended:
        run_study([study, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m opembed_nb.lab.runner {study} ")


@pytest.mark.parametrize("words", [["search", "--trials"], ["tables", "train", "--workers"]])
def test_a_count_of_nothing_is_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        run_study([*words, "0"])
    assert ended.value.code == 2
    assert f"argument {words[-1]}: 0 is too small; 1 is the least" in capsys.readouterr().err


def test_an_error_that_names_its_remedy_is_one_line():
    done = python(*"-m opembed_nb.lab.runner tables train --rounds 2 --models gcn".split())
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("tables: --rounds: only models with learned vectors have rounds")
    assert done.stderr.count("\n") == 1
