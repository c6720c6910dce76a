"The door: what `import opembed_nb as oe` offers, and where the old names lead."

import ast
import doctest
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import moved
import numpy as np
import pytest
import torch
from common import refused_as

import opembed_nb as oe
from opembed_nb import _moved
from opembed_nb.data import random_architectures
from tests.warm import python

ROOT = Path(__file__).resolve().parent.parent
DOOR = (
    "load Dataset Space draw pretrained fit abilities SparseGP oracle Tuned search Search MODELS "
    "Parts OperationEmbedding DAGDecoder from_module"
).split()


def prints(code):
    "What another Python prints that runs this code."
    done = python("-c", code)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_the_door_has_these_names_and_no_other():
    assert dir(oe) == sorted(DOOR) and oe.__all__ == DOOR
    assert oe.__version__ and "__version__" not in dir(oe)
    with pytest.raises(AttributeError, match="has no attribute 'lode'; it has .*'load'"):
        oe.lode  # noqa: B018


def test_a_notebook_completes_these_names_and_no_other():
    code = """
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import opembed_nb as oe; oe.oracle")
for shell.Completer.use_jedi in (False, True):
    with provisionalcompleter():
        print(*sorted(c.text.strip(".") for c in shell.Completer.completions("oe.", 3)))
"""
    *_, plain, jedi = prints(code).splitlines()
    assert plain.split() == jedi.split() == sorted(DOOR)


def test_editors_are_told_the_same():
    found = {}
    for node in ast.parse((ROOT / "opembed_nb" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name: f"{node.module}:{a.name}" for a in node.names}
        elif isinstance(node, ast.Assign):
            assert ast.literal_eval(node.value) == DOOR
    assert found == oe._DOOR
    assert (ROOT / "opembed_nb" / "py.typed").exists()


def test_the_import_brings_neither_torch_nor_half_a_second():
    code = "import time, sys, opembed_nb; print(time.process_time(), 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    seconds, torch = subprocess.check_output(command, cwd=ROOT, text=True).split()
    assert torch == "False"
    assert float(seconds) < 0.5  # with the start of Python itself


@pytest.mark.parametrize("name", DOOR)
def test_each_name_has_an_example_of_two_lines_that_runs(name):
    text = getattr(oe, name).__doc__
    example = doctest.DocTestParser().get_doctest(text, {"oe": oe}, f"oe.{name}", None, 0)
    lines = [line.source for line in example.examples]
    assert len(lines) == 2 and f"oe.{name}" in "".join(lines)
    before = dict(oe.MODELS)
    try:
        said = []
        assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
    finally:
        oe.MODELS.clear()
        oe.MODELS.update(before)


def test_a_chapter_and_a_name_at_the_door_may_be_called_the_same():
    code = """
import opembed_nb as oe
first = oe.oracle
import inspect
import opembed_nb.oracle
from opembed_nb import oracle as chapter
from opembed_nb.oracle import TableOracle
assert first is oe.oracle is chapter and chapter.TableOracle is TableOracle
assert "device" in inspect.signature(oe.oracle).parameters
"""
    prints(code)


# Names that modules had before the three buildings

OLD = [(module, name) for module, names in moved.OLD.items() for name in names]


def test_every_old_name_leads_to_the_new_place():
    assert len(OLD) == 498
    made, lost = moved.made(), []
    for module, name in OLD:
        if f"{module}:{name}" in moved.DROPPED:
            continue
        place = _moved.MOVED.get(f"{module}:{name}", _moved.MOVED.get(module, module))
        new, _, renamed = place.partition(":")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            try:
                found = getattr(import_module(f"opembed_nb.{module}"), name)
                there = getattr(import_module(f"opembed_nb.{new}"), renamed or name)
            except (ImportError, AttributeError) as error:
                lost.append(f"{module}:{name} ({error})")
                continue
        public = new in made.get(renamed or name, ())
        if found is not there or not public:
            lost.append(f"{module}:{name} (is not opembed_nb.{place}'s)")
    assert not lost, "python tests/moved.py prints what opembed_nb/_moved.py lacks"


def test_the_table_has_no_other_names():
    known = {f"{module}:{name}" for module, name in OLD} | set(moved.OLD)
    assert set(_moved.MOVED) <= known and set(moved.DROPPED) <= known
    assert moved.lacks({}) == ({}, [])


def test_an_old_name_warns_once_and_says_where_it_is():
    code = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from opembed_nb.records import runs_root
    from opembed_nb.records import runs_root
    from opembed_nb.data import absolute_folders
    import opembed_nb.arms
    from opembed_nb.hood.records import save_record
for one in said: print(one.category.__name__, one.filename, one.message)
"""
    gone, left = prints(code).splitlines()
    start = "FutureWarning <string> opembed_nb."
    assert gone.startswith(f"{start}records.runs_root is now opembed_nb.hood.records.runs_root; ")
    assert left.startswith(f"{start}data.absolute_folders is now opembed_nb.hood.files.absolute")


def test_an_old_command_runs_and_says_where_it_is():
    done = python("-m", "opembed_nb.arms", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert "python -m opembed_nb.arms is now python -m opembed_nb.lab.arms" in done.stderr


def test_the_table_finds_what_it_lacks(monkeypatch):
    monkeypatch.delitem(_moved.MOVED, "records")
    monkeypatch.setitem(moved.MOVED, "data:require", "hood.engines")
    missing, undecided = moved.lacks({})
    assert missing == {"records": "hood.records"} and not undecided
    missing, _ = moved.lacks({"data:require": "hood.files"})
    assert missing["data:require"] == "hood.files"


# What chapter 11 adds to the chapters


@pytest.fixture(scope="module")
def cells():
    "A data set of one's own, in which less is better, and a model of it."
    space = oe.Space("cells", ("conv", "pool"), n_layers=4, chain=False)
    batch = random_architectures(60, space, torch.Generator().manual_seed(0))
    data = oe.Dataset.from_scores("cells", space, batch, edges(batch), higher_is_better=False)
    return data, oe.fit("gin-emb", data, hidden=8, latent=4, epochs=1)


def edges(batch):
    return batch.adj.sum((1, 2)).float()


def test_a_search_by_a_function_of_ones_own_says_scores_as_they_were_given(cells):
    data, model = cells
    found = oe.search(model, data, oe.oracle(data, edges), "evolution", rounds=2, q=5)
    best = found.best(3)
    assert len(found.rows) == len(found.curve) == 10
    assert found.scores(3).tolist() == edges(best).tolist() == sorted(edges(best).tolist())
    assert found.curve[-1] == float(found.scores()) and (np.diff(found.curve) <= 0).all()
    assert repr(found) == f"Found(10 architectures scored by edges, the best {found.curve[-1]:.4f})"


def test_a_search_with_a_folder_keeps_its_evaluations(cells, tmp_path):
    data, model = cells
    asked = []

    def edges_asked(batch):
        asked.append(len(batch))
        return edges(batch)

    one, two, again = (
        oe.search(
            model, data, oe.oracle(data, edges_asked), "evolution", rounds, 5, folder=tmp_path
        ).rows
        for rounds in (1, 2, 2)
    )
    assert len(one) == 5 and two[:5] == one and two == again
    # beside these, the first search asks for five architectures whose score is known
    assert sum(asked) == 5 + len({row.architecture for row in two})


def test_the_space_of_a_model_is_that_of_its_data(cells):
    data, model = cells
    assert model.space == data.space and not model.training
    assert oe.oracle(data, edges).space == data.space


def failing(batch):
    raise OSError("no luck")


def test_the_door_says_what_does_not_fit(cells):
    data, model = cells
    whole = oe.load("enas-digits")
    anew = whole.split("wiring")
    refusals = [
        (lambda: oe.pretrained("gin", "enas-digits"), "no model 'gin' of data set 'enas-digits'"),
        (lambda: oe.pretrained("dvae-emb", data), "no model 'dvae-emb' of data set 'cells'"),
        (lambda: oe.pretrained("dvae-emb", anew), "has seen test architectures"),
        (lambda: oe.fit("dvea", data), "model 'dvea' is unknown"),
        (lambda: oe.search(model, data, None, "best"), "strategy 'best' is unknown"),
        (lambda: oe.search(model, data, edges, oe.Tuned), "is the class .*Tuned.*; call it"),
        (lambda: oe.search(model, data, failing, "evolution", 1, 2), "luck; mend that and search"),
        (lambda: oe.fit("dvae", "mine.jsonl"), "data is .mine.jsonl.; give a data set: oe"),
        (lambda: oe.fit("dvae", data, rate=1), "rate is no field of a training; known are epochs"),
        (lambda: oe.fit("dvae", data, lr="fast"), "lr is 'fast'; give a value of type float"),
        (lambda: oe.fit("dvae", data, minibatch=2.5), "minibatch is 2.5; give a value of type int"),
        (lambda: oe.fit("dvae", data, device=["cpu"]), "name another, cpu for one"),
        (lambda: oe.Space("x", ("a",), 3, chain="no"), "chain is 'no'; give True or False"),
        (lambda: oe.oracle(data, lambda b: b.ops)(data.batch), r"shape \(59, 6\) for 59"),
    ]
    for call, message in refusals:
        refused_as(message, call)
