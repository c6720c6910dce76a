"""The import paths before the three buildings, kept for one release: each works, and warns once.

Written by hand; `python tests/moved.py` prints the lines that the table lacks.
"""

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec

# Old module, or old module:name → the new module, with :name where that is new, too.
MOVED = {
    "arms": "lab.arms",
    "arms:Job": "lab.runner",
    "arms:record_path": "lab.runner",
    "benchmarks": "hood.sources",
    "benchmarks:canonical": "hood.isomorphs",
    "benchmarks:in_one_order": "hood.isomorphs",
    "benchmarks:skips_first": "hood.isomorphs",
    "bo:evaluate": "hood.ledger",
    "bo:paired": "hood.intervals",
    "data:ASSETS": "hood.files",
    "data:CELLS": "hood.exchange",
    "data:GNNS": "hood.sources",
    "data:OpembedError": "hood.files",
    "data:SOURCES": "hood.sources",
    "data:Source": "hood.sources",
    "data:about": "hood.sources",
    "data:absolute_dataset": "hood.sources",
    "data:absolute_folders": "hood.files",
    "data:chosen_device": "hood.files",
    "data:chosen_folder": "hood.files",
    "data:dataset_folder": "hood.sources",
    "data:dataset_name": "hood.sources",
    "data:find_file": "hood.files",
    "data:folder_dataset": "hood.sources",
    "data:from_flat": "hood.formats",
    "data:from_igraph": "hood.formats",
    "data:from_keys": "hood.formats",
    "data:from_nested": "hood.formats",
    "data:from_networkx": "hood.formats",
    "data:home_path": "hood.files",
    "data:is_file_name": "hood.sources",
    "data:load_dataset": "hood.sources",
    "data:make_folder": "hood.files",
    "data:malformed": "hood.formats",
    "data:project_folder": "hood.files",
    "data:read_text": "hood.files",
    "data:refused": "hood.files",
    "data:require": "hood.files",
    "data:to_flat": "hood.formats",
    "data:to_igraph": "hood.formats",
    "data:to_keys": "hood.formats",
    "data:to_nested": "hood.formats",
    "data:to_networkx": "hood.formats",
    "data:write_whole": "hood.files",
    "engines": "hood.engines",
    "evidence": "lab.evidence",
    "evidence:holm": "hood.intervals",
    "evidence:student": "hood.intervals",
    "ledger": "hood.ledger",
    "networks": "hood.networks",
    "pipeline:COMMANDS": "lab.commands",
    "pipeline:FACTOR": "lab.commands",
    "pipeline:PACKAGED_DATA": "lab.commands",
    "pipeline:WHY": "lab.commands",
    "pipeline:beside": "lab.commands",
    "pipeline:build_book": "lab.commands",
    "pipeline:cards_table": "lab.commands",
    "pipeline:committed_run": "lab.commands",
    "pipeline:digest": "lab.commands",
    "pipeline:made_otherwise": "lab.commands",
    "pipeline:main": "lab.commands",
    "pipeline:make_weights": "lab.commands",
    "pipeline:packaged_table": "lab.commands",
    "pipeline:predict_test": "lab.commands",
    "pipeline:recorded": "lab.commands",
    "pipeline:records_root": "lab.commands",
    "pipeline:tolerance": "lab.commands",
    "pipeline:train_again": "lab.commands",
    "records": "hood.records",
    "records:over_seeds": "hood.intervals",
    "regret": "lab.regret",
    "regret:ArchTable": "oracle",
    "regret:SmallGP": "sgp",
    "regret:normal_scores": "hood.kernels",
    "regret:resampled": "hood.intervals",
    "regret:share": "hood.intervals",
    "scoreboard": "lab.scoreboard",
    "scoreboard:Table": "hood.records",
    "sgp:mean_std": "hood.intervals",
    "stacks": "lab.stacks",
    "sweeps": "hood.sweeps",
    "training:PUBLIC": "lab.public",
    "training:UNUSED": "lab.public",
    "training:from_public": "lab.public",
    "training:to_public": "lab.public",
}

SOURCE = """
from opembed_nb._moved import forward, warn
__getattr__ = forward({old!r})
if __name__ == "__main__":
    import runpy
    warn("python -m opembed_nb.{old}", "python -m opembed_nb.{new}")
    runpy.run_module("opembed_nb.{new}", run_name="__main__", alter_sys=True)
"""
_warned = set()


def warn(old, new, stacklevel=2):
    "Say where something is now, once."
    if old not in _warned:
        _warned.add(old)
        message = f"{old} is now {new}; the old name goes with the next release"
        warnings.warn(message, FutureWarning, stacklevel=stacklevel + 1)


def forward(module):
    "The `__getattr__` of an old module: what it had, from where that is now."

    def __getattr__(name):
        place = MOVED.get(f"{module}:{name}", MOVED.get(module))
        if not place or (name.startswith("__") and name != "__all__"):
            raise AttributeError(f"module 'opembed_nb.{module}' has no attribute {name!r}")
        new, _, renamed = place.partition(":")
        found = getattr(import_module(f"opembed_nb.{new}"), renamed or name)
        warn(f"opembed_nb.{module}.{name}", f"opembed_nb.{new}.{renamed or name}")
        return found

    return __getattr__


def mend(module):
    "Let a module that has lost names to others say where they are."
    old = module.__name__.removeprefix("opembed_nb.")
    if any(key.startswith(f"{old}:") for key in MOVED) and not hasattr(module, "__getattr__"):
        module.__getattr__ = forward(old)


class OldModules:
    "Finds and loads the modules that are gone."

    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, module = name.rpartition(".")
        return ModuleSpec(name, OldModules) if package == "opembed_nb" and module in MOVED else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def get_code(name):  # what `python -m` runs
        old = name.rpartition(".")[2]
        return compile(SOURCE.format(old=old, new=MOVED[old]), f"<{name}, moved>", "exec")

    @staticmethod
    def exec_module(module):
        exec(OldModules.get_code(module.__name__), module.__dict__)
