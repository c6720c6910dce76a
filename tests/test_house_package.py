"The package: what it needs, and what must not be in the tree."

import configparser
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK_TOOLS = (
    "nbdev fastcore execnb IPython ipykernel papermill nbformat nbclient yaml sphinx jupyter_book "
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
for module in pkgutil.iter_modules(opembed_nb.__path__):
    importlib.import_module("opembed_nb." + module.name)
"""


def settings():
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def test_imports_without_the_notebook_tools():
    command = [sys.executable, "-c", IMPORT_ALL.format(tools=set(NOTEBOOK_TOOLS))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


def test_every_requirement_has_a_pin_inside_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for group in ("requirements", "run_requirements", "book_requirements", "test_requirements"):
        for requirement in map(Requirement, settings()[group].split()):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin, f"settings.ini, {group}: {requirement.name} has no pin in constraints.txt"
            assert pin in requirement.specifier, (
                f"constraints.txt: {requirement.name}=={pin} is outside {requirement}"
            )


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
