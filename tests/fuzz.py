"""Broken inputs of every reader: accepted with the same content, or one `OpembedError`.

`make soak` runs many, test_records a few.
"""

import copy
import json
import math
import os
import random
import resource
import signal
import sqlite3
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import networkx
import torch

from opembed_nb.data import ENAS, ArchDataset, SearchSpace, random_architectures
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import (
    from_flat,
    from_keys,
    from_nested,
    from_networkx,
    to_flat,
    to_keys,
    to_nested,
    to_networkx,
)
from opembed_nb.hood.ledger import Evaluation, Ledger
from opembed_nb.hood.networks import NetSizes, Supernet, load_supernet, save_supernet
from opembed_nb.hood.objectives import Search
from opembed_nb.hood.records import read_record, save_record
from opembed_nb.hood.sources import read_structures, write_structures
from opembed_nb.pipeline import parse_yaml
from opembed_nb.training import TrainConfig, fit, load_pretrained, save_pretrained

SECONDS, MEGABYTES, ROOT = 1.0, 200, Path(__file__).parents[1]
ODD = [None, True, -1, 0, 2, 10**400, -(2**63), 1e308, 1.5, float("nan"), "", "é", "9" * 5000,
       [], {}, [[]], [None], {"a": [1]}]  # fmt: skip


class Took(BaseException):
    "An input that would never have been read to its end."


def _late(*_):
    raise Took


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    at, how = draw.randrange(len(content) + 1), draw.randrange(5)
    some = bytes(draw.randrange(256) for _ in range(draw.randint(1, 8)))
    if how == 0:
        return content[:at]
    if how == 1:
        return content[:at] + some + content[at:]
    if how == 2:
        return content[:at] + content[at + draw.randint(1, 40) :]
    if how == 3:
        return content[:at] + content[draw.randrange(len(content) + 1) :]
    return content[:at] + some + content[at + len(some) :]


def of_json(value, draw: random.Random):
    "One place of a JSON value is another value, is missing, or is there twice."
    value = copy.deepcopy(value)
    holder = value
    while holder:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = draw.choice(keys)
        inside = isinstance(holder[key], dict | list) and holder[key]
        if inside and draw.random() < 0.8:
            holder = holder[key]
            continue
        how = draw.randrange(4)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(draw.choice(ODD))
        break
    return value


def text_of(value) -> bytes:
    "JSON of any number, the 400 digits of one, too."
    return json.dumps(value).encode()


class Readers:
    "For each reader: `broken(draw)` makes an input, `read(input)` its content; and the whole one."

    def __init__(self, folder: Path):
        self.folder = folder
        draw = torch.Generator().manual_seed(0)
        self.batch = random_architectures(12, ENAS, draw)
        scores = torch.linspace(0.5, 0.9, 12)
        self.keys, self.flat, self.nested = (
            to_keys(self.batch, ENAS), to_flat(self.batch), to_nested(self.batch))  # fmt: skip
        cells = SearchSpace("cells", ("a", "b"), 3, chain=False)
        self.cells = cells
        self.nodes = to_keys(random_architectures(5, cells, draw), cells)
        self.scores = scores.tolist()
        data = ArchDataset.from_scores("mine", ENAS, self.batch, scores)
        data.save(folder / "data.jsonl")
        graph = to_networkx(self.batch[:1])[0]
        networkx.write_graphml(graph, folder / "graph.graphml")
        self.graph = dict(nodes=[dict(of) for _, of in graph.nodes(data=True)],
                          edges=[list(edge) for edge in graph.edges])  # fmt: skip
        tiny = SearchSpace("tiny", ("conv 3×3", "max pool 3×3"), 2)
        net = Supernet(tiny, NetSizes(2, 1, pools=()))
        save_supernet(folder / "supernet.safetensors", net)
        self.net = net.state_dict()
        write_structures(folder / "structures.txt", self.batch, scores)
        self.config, self.sizes = TrainConfig(epochs=1), dict(hidden=4, latent=3, dim=2)
        self.kept = folder / "run"
        run = self._train()
        packaged = folder / "packaged"
        save_pretrained(run, "mine", self.config, self.sizes, packaged)
        values = {
            "training": dict(history=run.history),
            "abilities": dict(accuracy=9.0, validity=8.0, uniqueness=7.0),
            "prediction": dict(rmse=[0.1, 0.2], pearson=[0.3, 0.4]),
            "search": dict(oracle="o", strategies={"tuned": dict(best=[0.1, 0.2], all=[[1, 2]])}),
        }
        for section, value in values.items():
            save_record(folder / "record" / "seed-0", section, value, 1.0)
        self._ledger()
        self._search()
        self.contents = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def _train(self, stop=None):
        return fit("dvae-emb", self.batch, self.config, folder=self.kept, device="cpu",
                   progress=False, stop_after=stop, **self.sizes)  # fmt: skip

    def _ledger(self):
        class Oracle:
            name, version, space = "o", "1", ENAS

        ledger = Ledger(self.folder / "search.db", oracle=Oracle(), settings=dict(q=2))
        rows = [Evaluation("tuned", 0, 1, i, key, "waiting", None, 0.5, 0.1, torch.zeros(3))
                for i, key in enumerate(self.keys[:4])]  # fmt: skip
        ledger.add_round(rows, dict(x=torch.ones(2)))
        ledger.claim(self.keys[:4], 4)
        for i, key in enumerate(self.keys[:3]):
            ledger.finish(key, 0.1 * i)
        ledger.close()

    def _search(self):
        "Evaluated, failed, repeated, and out."
        search = Search(self.cells, self.folder / "asked.db", start=40)
        batch = search.ask(6)
        search.tell(batch[:5], [0.1, [0.2, 0.3], None, 0.4, 0.5])
        search.close()

    def file(self, name, draw):
        "A file with one fault, of its bytes or of a value in it."
        path = self.folder / name
        content = self.contents[path]
        if path.suffix in (".json", ".jsonl") and draw.random() < 0.6:
            lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
            at = draw.randrange(len(lines))
            lines[at] = text_of(of_json(json.loads(lines[at]), draw)).decode()
            content = "\n".join(lines).encode()
        else:
            content = of_bytes(content, draw)
        path.write_bytes(content)
        return path

    def restore(self):
        for path in map(Path, self._files()):
            if path not in self.contents:
                path.unlink()
            elif path.read_bytes() != self.contents[path]:
                path.write_bytes(self.contents[path])
        for path in self.contents.keys() - set(map(Path, self._files())):
            path.write_bytes(self.contents[path])

    def _files(self):
        return [os.path.join(top, name) for top, _, names in os.walk(self.folder) for name in names]

    # what each reader is given, and how it reads; a reader answers with something comparable
    def key(self, draw):
        if draw.random() < 0.2:
            return from_keys(of_json(self.keys, draw), ENAS)
        keys, space = draw.choice([(self.keys, ENAS), (self.nodes, self.cells)])
        broken = of_bytes(draw.choice(keys).encode(), draw).decode("utf-8", "replace")
        return to_keys(from_keys([broken], space), space)

    def flat_string(self, draw):
        broken = of_bytes(draw.choice(self.flat).encode(), draw).decode("utf-8", "replace")
        return to_flat(from_flat([broken], ENAS))

    def nested_list(self, draw):
        return to_nested(from_nested(of_json(self.nested, draw), ENAS))

    def data_file(self, draw):
        return ArchDataset.read(self.file("data.jsonl", draw)).digest()

    def structure_file(self, draw):
        return len(read_structures(self.file("structures.txt", draw))[0])

    def profile(self, draw):
        text = (ROOT / "profiles" / "laptop.yaml").read_bytes()
        return parse_yaml(of_bytes(text, draw).decode("utf-8", "replace"), "profile")

    def checkpoint(self, draw):
        self.file("run/checkpoint.safetensors", draw)
        got = self._train(stop=0).model.state_dict()
        self.restore()
        whole = self._train(stop=0).model.state_dict()
        assert all(torch.equal(got[k], whole[k]) for k in whole), "other weights without a word"

    def supernet(self, draw):
        got, whole = load_supernet(self.file("supernet.safetensors", draw)).state_dict(), self.net
        assert all(torch.equal(got[k], whole[k]) for k in whole), "other weights without a word"

    def score_list(self, draw):
        scores = of_json(self.scores, draw)
        return ArchDataset.from_scores("mine", ENAS, self.batch, scores).digest()

    def graph_object(self, draw):
        "From a GraphML file, or made by hand."
        graph = networkx.DiGraph()
        try:
            if draw.random() < 0.5:
                content = of_bytes(self.contents[self.folder / "graph.graphml"], draw)
                graph = networkx.read_graphml(BytesIO(content), int)
            else:
                said = of_json(self.graph, draw)
                for v, of in enumerate(said["nodes"]):
                    graph.add_node(v, **of)
                graph.add_edges_from(said["edges"])
        except Exception as e:  # networkx, which is not ours, raises what it likes
            raise OpembedError(str(e)[:80].replace("\n", " ")) from None
        return to_keys(from_networkx([graph]), ENAS)

    def packaged_model(self, draw):
        self.file(f"packaged/mine-dvae-emb.{draw.choice(['json', 'safetensors'])}", draw)
        load_pretrained("dvae-emb", "mine", self.folder / "packaged")

    def record(self, draw):
        section = draw.choice(["training", "abilities", "prediction", "search"])
        return read_record(self.file(f"record/seed-0/{section}.json", draw))

    def database(self, name, tables, draw):
        "A database with another value in one column, or with a fault of its bytes."
        if draw.random() < 0.5:
            return self.file(name, draw)
        db = sqlite3.connect(self.folder / name)
        db.execute("PRAGMA synchronous = OFF")
        table = draw.choice(tables)
        column = draw.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
        odd = [None, "é", b"\xff", 1e308, -1, "[]", "9" * 5000, b"abcd", '{"a": [1]}', "[[1]]",
               "[null]", "[NaN]", "[1e999]", '["é"]', "3", math.inf]  # fmt: skip
        some = draw.choice(["1", "rowid = 1"])
        with suppress(sqlite3.Error):
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {some}", (draw.choice(odd),))
            db.commit()
        db.close()
        return self.folder / name

    def search_file(self, draw):
        path = self.database("asked.db", ["search", "architectures"], draw)
        search = Search(self.cells, path, start=40)
        try:
            repr(search), search.out(), search.tell(search.ask(), 0.5)
            if draw.random() < 0.05:  # the judge takes longer
                search.start = 0
                search.ask(), search.report(), search.best()
        finally:
            search.close()

    def ledger(self, draw):
        tables = ["studies", "rounds", "proposals", "evaluations"]
        ledger = Ledger(self.database("search.db", tables, draw))
        try:
            ledger.tally(), ledger.errors(), ledger.best(2), ledger.seconds("tuned")
            ledger.surrogate("tuned", 0, 1), ledger.to_csv(self.folder / "out.csv")
            return from_keys([r.architecture for r in ledger.rows() if r.architecture], ENAS)
        finally:
            ledger.close()


READERS = ("key", "flat_string", "nested_list", "graph_object", "score_list", "data_file",
           "structure_file", "profile", "checkpoint", "packaged_model", "supernet", "record",
           "ledger", "search_file")  # fmt: skip
NAMED = {"data_file": "data.jsonl", "structure_file": "structures.txt", "profile": "profile",
         "checkpoint": "run/checkpoint.safetensors", "packaged_model": "packaged/mine-dvae-emb.",
         "supernet": "supernet.safetensors", "record": "record/seed-0/", "ledger": "search.db",
         "search_file": "asked.db"}  # fmt: skip
FASTEST = Path("/dev/shm")  # a file system in memory, where there is one


def _megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _once(readers, name, draw):
    "What came out, and the processor's seconds; a refusal is one line that names the file."
    begin = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 10)
    try:
        getattr(readers, name)(draw)
        outcome = "accepted"
    except OpembedError as e:
        outcome = "refused"
        if "\n" in str(e) or len(str(e)) > 1500:
            outcome = f"long: {str(e)[:300]!r}"
        elif NAMED.get(name, "") not in str(e):
            outcome = f"nameless: {e}"
    except Took:
        outcome = "hangs"
    except Exception as e:
        outcome = f"{type(e).__name__}: {str(e)[:200]}"
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.process_time() - begin
    readers.restore()
    return outcome, seconds


def run(count: int, seed: int = 0, stop_at: int = 20):
    """So many mutations, reader after reader.

    How often what came out, each surprise, and the most seconds and megabytes of one.
    """
    draw, outcomes, surprises = random.Random(seed), {r: Counter() for r in READERS}, []
    slowest, begun = 0.0, 0.0
    old = signal.signal(signal.SIGALRM, _late)
    where = FASTEST if os.access(FASTEST, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readers = Readers(Path(folder))
        for i in range(count):
            if len(surprises) >= stop_at:
                break
            name, state = READERS[i % len(READERS)], draw.getstate()
            if i == len(READERS):
                begun = _megabytes()  # all libraries are loaded
            outcome, seconds = _once(readers, name, draw)
            if seconds > SECONDS:  # or the machine was busy
                draw.setstate(state)
                outcome, seconds = _once(readers, name, draw)
            slowest = max(slowest, seconds)
            if outcome in ("accepted", "refused") and seconds > SECONDS:
                outcome = f"takes {seconds:.1f} s"
            if outcome not in ("accepted", "refused"):
                surprises.append(f"{name}: {outcome}")
            outcomes[name][outcome.split(":")[0]] += 1
        # The high-water mark of all is at least what any one of them took.
        grown = _megabytes() - begun if begun else 0.0
        if grown > MEGABYTES:
            surprises.append(f"some input takes {grown:.0f} MB")
    signal.signal(signal.SIGALRM, old)
    counts = {name: dict(counts) for name, counts in outcomes.items()}
    return counts, surprises, dict(slowest=round(slowest, 3), megabytes=round(grown))
