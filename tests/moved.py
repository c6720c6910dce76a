"""What `opembed_nb/_moved.py` lacks: `python tests/moved.py [moved.json ...]` prints the lines.

Old names are those before the three buildings (`old_names.json`). A file of moves, {"old
module:name": "new module"}, decides where a name is in several modules, or has another name now.
"""

import json
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import opembed_nb
from opembed_nb._moved import MOVED

OLD = json.loads(Path(__file__).with_name("old_names.json").read_text(encoding="utf-8"))
OLD = {module: names.split() for module, names in OLD.items()}
# Old names that lead nowhere now, each with the reason.
DROPPED = {
    "arms:evidence_folder": "results/ has one scheme: `lab.runner.study_folder`",
    "arms:write_run": "there is one form of record: `hood.records.save_record`",
    "bo:Table": "what is searched is a space or a data set, not a third thing",
    "data:to_pyg": "nothing used or tested it",
    "evidence:ANSWERS": "an answer is yes, no or open, as `evidence.verdict` has it",
    "evidence:COLOURS": "what has a colour is in `hood.figures`; of an answer: `evidence.ANSWERED`",
    "evidence:plot_arms": "the tables of `arm_table` say the same",
    "networks:FAULTS": "a supernet has no fault; the faulty one is in `lab.operations_ignored`",
    "networks:load_state": "there is one checkpoint: `hood.records.go_on`",
    "records:PROFILES": "a table asks for a configuration, not for a folder",
    "regret:Arena": "a search of a table is a `bo.Problem`",
    "regret:PUBLISHED": "numbers that nobody here could read",
    "regret:Trial": "the ledger holds what a trial knows",
    "regret:advance": "the one search loop is `bo.search`",
    "regret:begin": "the one search loop is `bo.search`",
    "regret:published_table": "numbers that nobody here could read",
    "training:negative_elbo": "the loss is written once: `training.elbo_terms`",
}


def made():
    "Every public name of the package as it is, with the modules that export it."
    found = {}
    for module in pkgutil.walk_packages(opembed_nb.__path__, "opembed_nb."):
        if not module.name.rpartition(".")[2].startswith("_"):
            for name in getattr(import_module(module.name), "__all__", ()):
                found.setdefault(name, []).append(module.name.removeprefix("opembed_nb."))
    return found


def lacks(moves):
    "The lines that the table lacks, and old names that are in no module or in several."
    found, there = made(), {module for modules in made().values() for module in modules}
    lines, undecided = {}, []
    for module, names in OLD.items():
        places, several = {}, {}
        for name in names:
            old, now = f"{module}:{name}", found.get(name, [])
            chosen = moves.get(old) or MOVED.get(old)
            if old in DROPPED or (module in now and not chosen):
                continue
            if chosen or len(now) == 1:
                places[old] = chosen or now[0]
            else:
                several[old] = now
        if module not in there and places:  # gone: most names say where the module went
            plain = [place for place in places.values() if ":" not in place]
            lines[module] = most = MOVED.get(module) or max(plain, key=plain.count)
            places = {old: place for old, place in places.items() if place != most}
            several = {old: now for old, now in several.items() if most not in now}
        lines |= places
        undecided += [f"{old} is in {now or 'no module'}" for old, now in several.items()]
    return {old: place for old, place in lines.items() if MOVED.get(old) != place}, undecided


if __name__ == "__main__":
    given = {}
    for file in sys.argv[1:]:
        given |= json.loads(Path(file).read_text(encoding="utf-8"))
    missing, undecided = lacks(given)
    for key, place in sorted(missing.items()):
        print(f'    "{key}": "{place}",')
    for line in undecided:
        print(f"undecided: {line}", file=sys.stderr)
