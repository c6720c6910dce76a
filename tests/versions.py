"""Builds the package, installs it as others do, and tests it with the oldest and newest it allows.

python tests/versions.py --python python3.11 python3.12

Writes results/reliability/versions.json, a row for each environment; needs the network, and
some gigabytes for each environment while it is tested.
"""

import argparse
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opembed_nb.hood.records import read_record, save_record

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "results" / "reliability"
EXTRAS = "run,parallel,dashboard,benchmarks,test"

# What touches each dependency, in about two minutes: a file of tests → names for `pytest -k`.
TESTS = {
    "formats": "",  # igraph, networkx
    "files": "",  # pooch
    "records": "not fuzz and not bound",  # safetensors
    "own_data": "not chapter",  # an own space: training, prediction, search
    "asking": "",
    "door": "example",
    "contributing": "strategy",
    "sgp": "reference or refus",  # gpytorch, botorch, scipy
    "oracle": "surrogate or forest",  # scikit-learn, threadpoolctl
    "latent": "projections or figure",  # t-SNE, matplotlib
    "sources": "key_is_the_wiring",  # nas-bench-graph
    "bo": "optuna",
    "engines": "every_job or what_is_shared",  # ray, cloudpickle
    "pipeline": "done_once or failed_stage or every_profile or readme_code",  # papermill
}


# The installed package, whatever is on the path here.
ENV = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OPEMBED_RUNS")}
ENV |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def run(*command, **options) -> str:
    "What a command prints; where it fails, its last words."
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=ENV, **options
    )
    if done.returncode:
        last = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(map(str, command))[:200]}: status {done.returncode}\n{last}")
    return done.stdout


def lowest() -> list[str]:
    "The lower bounds of settings.ini, as constraints."
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    found = config["DEFAULT"]
    words = " ".join(found[name] for name in found if name.endswith("requirements"))
    return [f"{name}=={bound}" for name, bound in re.findall(r"([\w-]+)>=([\w.]+)", words)]


def copied(folder: Path) -> Path:
    "What git knows, without what earlier builds left behind."
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def built(folder: Path) -> list[Path]:
    "The source distribution, and the wheel that is built from it."
    run(sys.executable, "-m", "build", "-o", folder / "dist", copied(folder / "sources"))
    shutil.rmtree(folder / "sources" / "opembed_nb")
    return [next((folder / "dist").glob(form)) for form in ("*.tar.gz", "*.whl")]


def example() -> str:
    "README's first example."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("```python\n")[1].split("```")[0]


def tested(python: Path, folder: Path) -> dict:
    "How many tests pass with the installed package, and which fail."
    package = run(python, "-c", "import opembed_nb; print(opembed_nb.__path__[0])", cwd=folder)
    link = folder / "sources" / "opembed_nb"  # some tests look at the package's files
    link.symlink_to(package.strip())
    run(python, "-c", example(), cwd=folder)
    paths = [f"tests/test_{name}.py" for name in TESTS]
    chosen = [
        f"(test_{name} and ({names}))" if names else f"test_{name}" for name, names in TESTS.items()
    ]
    command = [python, "-m", "pytest", *paths, "-k", " or ".join(chosen), "-rfE", "--durations=8"]
    command = list(map(str, [*command, "-p", "no:cacheprovider"]))
    done = subprocess.run(command, capture_output=True, text=True, cwd=link.parent,
                          env={**ENV, "PATH": f"{python.parent}:{ENV['PATH']}"})  # fmt: skip
    print(done.stdout[-6000:], done.stderr[-1000:], sep="\n", flush=True)
    last = done.stdout.strip().splitlines()[-1]
    counts = {what: 0 for what in ("passed", "failed", "error", "skipped")}
    for many, what in re.findall(r"(\d+) (passed|failed|error|skipped)", last):
        counts[what] = int(many)
    wrong = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if done.returncode not in (0, 1):
        wrong.append(f"pytest ended with status {done.returncode}")
    link.unlink()
    return counts | {"wrong": wrong}


VERSIONS = """
import json, sys
from importlib import metadata
known = {d.metadata["name"].lower(): d.version for d in metadata.distributions()}
print(json.dumps({name: known[name] for name in sys.argv[1:] if name in known}))
"""


def environment(base: str, old: bool, folder: Path, given: Path) -> dict:
    "A row of the record: install if it is not, run README's example and the tests."
    version, kind = run(base, "--version").split()[1], "lowest" if old else "newest"
    place = folder / f"{version}-{kind}"
    python, bounds = place / "bin" / "python", folder / "lowest.txt"
    bounds.write_text("\n".join(lowest()))
    if not python.exists():
        run(base, "-m", "venv", place)
    options = ["-c", bounds] if old else []
    install = [python, "-m", "pip", "install", "-q", "--no-compile", *options]
    run(*install, f"{given}[{EXTRAS}]")
    run(*install, "--no-deps", "--force-reinstall", given)  # of an earlier build in a kept folder
    begun = time.perf_counter()
    found = tested(python, folder)
    return dict(
        python=version,
        versions=kind,
        installed="source distribution" if old else "wheel built from the source distribution",
        **found,
        seconds=round(time.perf_counter() - begun),
        resolved=json.loads(run(python, "-c", VERSIONS, *(b.split("==")[0] for b in lowest()))),
    )


def same(row: dict) -> tuple:
    "What a row stands for: 3.12, newest."
    return row["python"].rpartition(".")[0], row["versions"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--lowest", action="store_true", help="the oldest versions, not the newest")
    parser.add_argument(
        "--folder", type=Path, help="keeps the environments (default: none is kept)"
    )
    args = parser.parse_args()
    begun, path = time.perf_counter(), PLACE / "versions.json"
    rows = read_record(path)["values"]["rows"] if path.exists() else []
    for base in args.python:
        with tempfile.TemporaryDirectory(prefix="versions") as name:
            folder = (args.folder or Path(name)).absolute()
            for old in ("sources", "dist"):
                shutil.rmtree(folder / old, ignore_errors=True)
            sdist, wheel = built(folder)
            row = environment(base, args.lowest, folder, sdist if args.lowest else wheel)
        print(json.dumps(row, indent=1), flush=True)
        rows = sorted([r for r in rows if same(r) != same(row)] + [row], key=same)
        save_record(PLACE, "versions", dict(rows=rows), time.perf_counter() - begun)
    return 1 if any(row["failed"] or row["error"] or row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
