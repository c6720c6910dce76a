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

# What touches each dependency, in two or three minutes: files of tests → names (all: "").
TESTS = {
    "formats files isomorphs": "",  # igraph, networkx, pooch
    "own_data asking contributing": "",  # own spaces: training, prediction, search
    "records": "not fuzz and not bound",  # safetensors
    "sgp": "reference or fit or predict or refus",  # gpytorch, botorch, scipy
    "pretrained oracle": "card or comes_back or surrogate or table or forest",  # scikit-learn
    "latent sources": "projections or figure or gnn or bench",  # matplotlib, nas-bench-graph
    "bo": "optuna or resumes",
    "engines": "every_job or what_is_shared",  # ray
    "pipeline": "done_once or a_failed_stage or every_profile or readme_code",  # papermill
}


def run(*command, **options) -> str:
    "What a command prints; where it fails, its last words."
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
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
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OPEMBED_RUNS")}
    env |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PATH": f"{python.parent}:{env['PATH']}"}
    run(python, "-c", example(), cwd=folder, env=env)
    counts, wrong = dict(passed=0, failed=0, skipped=0), []
    for files, names in TESTS.items():
        paths = [f"tests/test_{name}.py" for name in files.split()]
        command = [python, "-m", "pytest", *paths, "-k", names, "-p", "no:cacheprovider", "-rfE"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env,
                              cwd=folder / "sources")  # fmt: skip
        for many, what in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout[-300:]):
            counts["failed" if what == "error" else what] += int(many)
        wrong += re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
        if done.returncode not in (0, 1):
            wrong.append(f"{files}: {(done.stdout + done.stderr)[-300:]}")
        print(f"    {files}: {done.stdout.strip().splitlines()[-1:]}", flush=True)
        (folder / f"{'-'.join(files.split())}.log").write_text(done.stdout + done.stderr)
    link.unlink()
    return counts | {"wrong": wrong}


def environment(base: str, old: bool, folder: Path, given: Path) -> dict:
    "A row of the record: install, run README's example and the tests, clean up."
    start, place = time.perf_counter(), folder / "venv"
    python, bounds = place / "bin" / "python", folder / "lowest.txt"
    bounds.write_text("\n".join(lowest()))
    run(base, "-m", "venv", place)
    options = ["-c", bounds] if old else []
    run(python, "-m", "pip", "install", "-q", *options, f"{given}[{EXTRAS}]")
    begun = time.perf_counter()
    found = tested(python, folder)
    names = [bound.split("==")[0] for bound in lowest()]
    show = (
        "import json, sys; from importlib import metadata\n"
        "known = {d.metadata['name'].lower(): d.version for d in metadata.distributions()}\n"
        "print(json.dumps({n: known[n] for n in sys.argv[1:] if n in known}))"
    )
    row = dict(
        python=run(python, "--version").split()[1],
        versions="lowest" if old else "newest",
        installed="source distribution" if old else "wheel built from the source distribution",
        **found,
        seconds=round(time.perf_counter() - begun),
        install_seconds=round(begun - start),
        resolved=json.loads(run(python, "-c", show, *names)),
    )
    shutil.rmtree(place)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--lowest", action="store_true", help="the oldest versions, not the newest")
    args = parser.parse_args()
    begun, path = time.perf_counter(), PLACE / "versions.json"
    rows = read_record(path)["values"]["rows"] if path.exists() else []
    with tempfile.TemporaryDirectory(prefix="versions") as name:
        sdist, wheel = built(Path(name))
        for base in args.python:
            row = environment(base, args.lowest, Path(name), sdist if args.lowest else wheel)
            print(json.dumps(row, indent=1), flush=True)
            same = (row["python"][:4], row["versions"])
            rows = [r for r in rows if (r["python"][:4], r["versions"]) != same] + [row]
            rows.sort(key=lambda r: (r["versions"], r["python"]))
            save_record(PLACE, "versions", dict(rows=rows), time.perf_counter() - begun)
    return 1 if any(row["failed"] or row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
