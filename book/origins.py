"""Where the numbers of the book come from: each is a link to the records behind it.

A mark of a number (opembed_nb.lab.numbers) is a comment, which stays in the built page; there it
becomes a link to the page Records, which is written from the records themselves.
"""

import html
import json
import re
import shlex
from functools import cache
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

PAGE = "nbs/records"
RUNNER = "python -m opembed_nb.lab.runner"
TABLES = f"{RUNNER} tables"
OF_MODEL = "--data {data} --models {model} --seeds {seeds}{flags}"
# Section of a record → the command that makes it; see `command`.
COMMANDS = {
    "training": f"{TABLES} train {OF_MODEL}",
    "prediction": f"{TABLES} predict --splits own {OF_MODEL}",
    "prediction-wiring": f"{TABLES} predict --splits wiring {OF_MODEL}",
    "prediction-thorough": f"{TABLES} predict --thorough {OF_MODEL}",
    "smoothness": f"{TABLES} look {OF_MODEL}",
    "raw_prediction": f"{TABLES} raw --data {{data}}",
    "lookup": f"{TABLES} lookup --data {{data}}",
    "explained": "papermill nbs/hood/sources.ipynb out.ipynb -p dataset {data}",
    "graph_properties": "papermill nbs/08_graph_properties.ipynb out.ipynb -p dataset {data}",
    "raw_space": "papermill nbs/09_latent.ipynb out.ipynb -p dataset {data}",
    "latent": "papermill nbs/09_latent.ipynb out.ipynb -p dataset {data}",
    "pool": "papermill nbs/07_bo.ipynb out.ipynb -p dataset {data} -p profile laptop",
    "search": "opembed search laptop -p dataset {data} -p models '[{model}]'",
    "finalists": f"{RUNNER} finalists --data {{data}}",
    "surrogate": f"{RUNNER} surrogate --data {{data}}",
    "matter": f"{RUNNER} matter",
    "example": f"{RUNNER} example",
    "epochs": f"{RUNNER} epochs",
    "fault": f"{RUNNER} fault",
    "ranking": "make digits",
    "arm": "make evidence DATA={data} MODELS={model} ARMS={how} SEEDS='{seeds}'",
    "arm-search": "make evidence SEARCH=1 DATA={data} MODELS={model} ARMS={how} SEEDS='{seeds}'",
    "trial": f"{RUNNER} recipes --models {{model}} --only {{how}}",
    "reach": f"{RUNNER} reach",
    "few-labels": f"{RUNNER} few-labels --data {{data}} --only {{model}}",
    "unseen": f"{RUNNER} unseen --data {{data}} --only {{model}}",
    "asking": f"{RUNNER} asking --kind {{model}} --data {{data}} --only {{how}}",
    "asking-limit": f"{RUNNER} asking --kind limit --data {{data}}",
    "asking-cost": f"{RUNNER} asking --kind cost --data {{data}}",
    "front": f"{RUNNER} objectives --devices {{how}} --only {{model}}",
    "regret": f"{RUNNER} search --data {{data}}",
    "soak": "make soak",
    "versions": "make versions",
    "speed": "make bench",
    "gpu": "make gpu",
    "protocol": "python benchmarks/protocol.py PUBLIC",
    "step": "python benchmarks/step.py CHECKOUT",
    "first-reading": "python book/measure.py --save now",
    "judge": "python benchmarks/judge.py",
    "explorer": "python benchmarks/explorer.py --slower 3",
    "text": "python benchmarks/text_vectors.py FOLDER",
    "enas-digits": "make digits",
}
LABELS = "--judged 0 --labels 100 172 424 4236"
STUDIES = {  # folder of variants in results/ → how they were run
    "evidence-101": LABELS,
    "evidence-101-501": f"{LABELS} --hidden 501",
    "evidence-501": "--judged 0 --hidden 501",
}
COMMANDS["abilities"] = COMMANDS["training"]
COMMANDS["raw_prediction-wiring"] = COMMANDS["raw_prediction"]
CHAPTERS = ("training", "abilities", "prediction", "smoothness", "latent", "search")
FLAGS = {"b": "minibatch", "lr": "lr", "r": "rounds"}  # of a configuration's name → of `tables`


class Group(NamedTuple):
    "Records that differ in their seed alone, made by one commit on one kind of processor."

    folder: str  # of the project, without the seed's own
    section: str
    commit: str
    made_on: str  # processor, instructions, threads


@cache
def group(file, project):
    "The group of a record, and (seed or None, seconds or None)."
    record = json.loads(file.read_text(encoding="utf-8"))
    origin = record.get("provenance", record)  # a card of an early version has all in one
    alone = not file.parent.name.startswith("seed-")
    folder = (file.parent if alone else file.parent.parent).relative_to(project).as_posix()
    made_on = [origin.get("processor") or record.get("processor") or origin["device"]]
    made_on += [origin[key] for key in ("instructions",) if key in origin]
    made_on.append(f"{origin['threads']} thread" + "s" * (origin["threads"] > 1))
    if (place := record.get("values", record).get("trained_on")) not in (None, *made_on):
        made_on.append(f"trained on {place}")
    if origin["device"] not in made_on and "NVIDIA" in origin["device"]:
        made_on.append(origin["device"])
    seed = record.get("seed") if alone else int(file.parent.name.removeprefix("seed-"))
    found = Group(folder, file.stem, origin["commit"], ", ".join(made_on))
    return found, (seed, record.get("seconds"))


def where(folder):
    "Data, model and configuration, as far as a folder names them."
    from opembed_nb.hood.sources import folder_dataset

    parts = folder.split("/")[2:]
    if len(parts) < 3:
        return "", "", ""
    name, at, split = parts[0].partition("@")
    return folder_dataset(name) + at + split, parts[1], parts[2]


def command(folder, section, seeds=(0,)):
    "The command that makes a record."
    data, model, how = where(folder)
    words = {"data": data.partition("@")[0], "model": shlex.quote(model), "how": shlex.quote(how)}
    words |= {"seeds": " ".join(map(str, seeds)), "flags": ""}
    study = folder.split("/")[1]
    if section.startswith("arm"):
        words["data"] = data  # with its split
    if study in STUDIES:
        made = "{runner} arms --data {data} --models {model} --arms {how} --seeds {seeds}"
        flags = f"{STUDIES[study]} --folder results/{study}"
        return f"{made.format(runner=RUNNER, **words)} {flags}"
    if folder.startswith("results/models/") and "@" in how:
        recipe, *changes = how.split(",")
        recipe, _, passes = recipe.partition("@")
        changes = [re.match("([a-z]+)(.*)", change).groups() for change in changes]
        if "w" in dict(changes) and section in CHAPTERS:
            return narrow(words, recipe, passes, changes)
        flags = [("profile", recipe)] * (recipe == "paper")
        flags += [("passes", passes)] * ((recipe, passes) != ("signal", "12"))
        flags += [(FLAGS[letters], value) for letters, value in changes if letters in FLAGS]
        words["flags"] = "".join(f" --{name} {value}" for name, value in flags)
    if folder.startswith("opembed_nb/") and section != "enas-digits":
        return "make weights"
    made = COMMANDS[section].format(**words)
    if section == "asking":
        made += searched(folder)
    return made + " --device cuda" * (section == "protocol" and folder.endswith("gpu"))


def searched(folder):
    "The options of a search by ask and tell, which its record knows."
    file = Path(__file__).parents[1] / folder / "seed-0" / "asking.json"
    values = json.loads(file.read_text(encoding="utf-8"))["values"]
    said = [("trials", len(values["found"]), 30), ("budget", values["budget"], 300)]
    return "".join(f" --{name} {n}" for name, n, usual in said if n != usual)


def narrow(words, recipe, passes, changes):
    "The run of the chapters that makes the records of a model narrower than the paper's."
    if (recipe, passes) == ("signal", "10"):
        return "opembed run quick -p dataset {data} -p models '[{model}]'".format(**words)
    names = {"w": "hidden", "b": "minibatch", "lr": "lr"}
    said = [(names[letters], value) for letters, value in changes]
    said += [("training_rounds", "1"), ("epochs", passes)]
    made = "opembed run {recipe} -p dataset {data} -p models '[{model}]'".format(
        **words, recipe="paper" if recipe == "paper" else "laptop"
    )
    return made + "".join(f" -p {name} {value}" for name, value in said)


def numbers(values):
    "Seeds as text: 0–4 if none is left out."
    values = sorted(values)
    whole = len(values) > 2 and values == list(range(values[0], values[-1] + 1))
    return f"{values[0]}–{values[-1]}" if whole else ", ".join(map(str, values))


def row(found, made):
    "A line of the page for a group of records; made: a pair of seed and seconds for each."
    seeds = sorted(seed for seed, _ in made if seed is not None)
    seconds = [f"{taken:,.0f}" for _, taken in sorted(made, key=itemgetter(0)) if taken is not None]
    took = ", ".join(seconds)
    if len(seconds) > 6:
        took = f"{sum(taken or 0 for _, taken in made):,.0f} in all"
    shell = numbers(seeds).replace("–", "..").replace(", ", ",")  # a pattern that a shell expands
    inner = f"seed-{{{shell}}}/" if len(seeds) > 1 else f"seed-{shell}/"
    inner = inner if where(found.folder)[2] else ""
    said = [f"seed{'s' * (len(seeds) > 1)} {numbers(seeds)}"] if seeds else []
    said += [f"commit {found.commit}", found.made_on]
    said += [f"{took} s"] if took else ["seconds not kept"]
    path = html.escape(f"{found.folder}/{inner}{found.section}.json")
    return (
        f"<li><code>{path}</code><br>{html.escape(' · '.join(said))}<br>"
        f"<code>{html.escape(command(found.folder, found.section, seeds))}</code></li>"
    )


def title(groups):
    "What records are of, in a line."
    from opembed_nb.training import MODELS

    def few(names, what):
        names = list(dict.fromkeys(filter(None, names)))
        return ", ".join(names) if len(names) < 5 else f"{len(names)} {what}"

    places = [where(found.folder) for found in groups]
    if not any(any(place) for place in places):
        return few((f"{found.folder.split('/')[-1]}, {found.section}" for found in groups), "files")
    models = [MODELS[m].title if m in MODELS else m for _, m, _ in places if m != "data"]
    parts = [
        few((found.section for found in groups), "kinds of records"),
        few(models, "models"),
        few((data for data, _, _ in places), "data sets"),
        few((how for _, _, how in places), "configurations"),
    ]
    return " · ".join(filter(None, parts))


class Entry(NamedTuple):
    "What several numbers may be computed from."

    name: str  # of the place on the page
    title: str
    rows: tuple[str, ...]
    data: str  # of the first records


PAPER = Entry("numbers-of-the-paper", "published, none of ours", (), "")  # a section of PAGE


def entry(files, project):
    "The entry of some records; that of the paper if there are none."
    if not files:
        return PAPER
    groups = {}
    for file in files:
        found, made = group(file, project)
        groups.setdefault(found, []).append(made)
    rows = tuple(row(found, made) for found, made in sorted(groups.items()))
    name = "r-" + sha256("".join(rows).encode()).hexdigest()[:8]
    seeds = {seed for made in groups.values() for seed, _ in made}
    said = title(sorted(groups))
    if len(seeds) == 1 and seeds != {None}:
        said += f" · seed {seeds.pop()}"
    return Entry(name, said, rows, where(min(groups).folder)[0])


def marks(source, pages):
    "The marks of the book's pages, each once, in order."
    from opembed_nb.lab.numbers import MARK, texts

    files = [source / f"{page}{end}" for page in pages for end in (".md", ".ipynb")]
    prose = (text for file in files if file.exists() for _, text in texts(file))
    found = (match["mark"] for text in prose for match in MARK.finditer(text))
    return list(dict.fromkeys(filter(None, found)))


def entries(source, pages):
    "Mark → its entry."
    from opembed_nb.lab.numbers import behind

    return {mark: entry(behind(mark, source / "results"), source) for mark in marks(source, pages)}


def written(found):
    "All entries, data set by data set, as Markdown."
    by_data = {}
    for each in dict.fromkeys(found.values()):
        by_data.setdefault(each.data, []).append(each)
    parts = []
    for data in sorted(by_data):
        parts.append(f"## {data or 'Speed, reliability, packaged models'}\n")
        parts += [
            f'<h3 id="{each.name}">{html.escape(each.title)}</h3>\n<ul>{"".join(each.rows)}</ul>\n'
            for each in sorted(by_data[data], key=lambda each: each.title)
            if each is not PAPER
        ]
    return "\n".join(parts)


LINKED = re.compile(r"<!-- n:([^\n]*?) -->(.*?)<!-- / -->", re.S)


def linked(page, found, up):
    "A built page, of which each number is a link; up: from its folder to that of the first."

    def link(match):
        each = found[html.unescape(match[1])]
        place = f'href="{up}{Path(PAGE).name}.html#{each.name}"'
        if match[1].startswith("table "):
            return f'{match[2]}<p class="origin"><a {place}>Records behind this table</a></p>'
        said = html.escape(f"Records: {each.title}")
        return f'<a class="number" {place} title="{said}">{match[2]}</a>'

    return LINKED.sub(link, page)


def link(folder, found):
    "Make the numbers of all built pages links, in place."
    for file in (folder / "nbs").rglob("*.html"):
        up = "../" * (len(file.relative_to(folder / "nbs").parts) - 1)
        page = file.read_text(encoding="utf-8")
        file.write_text(linked(page, found, up), encoding="utf-8")
