"""Broken inputs of every reader: accepted with the same content, or one `OpembedError`.

python tests/fuzz.py --count 100000 --minutes 10    writes results/reliability/fuzz.json
"""

import argparse
import copy
import json
import random
import resource
import signal
import sqlite3
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

from opembed_nb.data import ENAS, ArchDataset, SearchSpace, random_architectures
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_flat, from_keys, from_nested, to_flat, to_keys, to_nested
from opembed_nb.hood.ledger import Evaluation, Ledger
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
        data = ArchDataset.from_scores("mine", ENAS, self.batch, scores)
        data.save(folder / "data.jsonl")
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
        self.contents = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def _train(self, stop=None):
        return fit("dvae-emb", self.batch, self.config, folder=self.kept, device="cpu",
                   progress=False, stop_after=stop, **self.sizes)  # fmt: skip

    def _ledger(self):
        class Oracle:
            name, version = "o", "1"

        ledger = Ledger(self.folder / "search.db", oracle=Oracle(), settings=dict(q=2))
        rows = [Evaluation("tuned", 0, 1, i, key, "waiting", None, 0.5, 0.1, torch.zeros(3))
                for i, key in enumerate(self.keys[:4])]  # fmt: skip
        ledger.add_round(rows, dict(x=torch.ones(2)))
        ledger.claim(self.keys[:4], 4)
        for i, key in enumerate(self.keys[:3]):
            ledger.finish(key, 0.1 * i)
        ledger.close()

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
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.contents:
                path.unlink()
        for path, content in self.contents.items():
            path.write_bytes(content)

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

    def packaged_model(self, draw):
        self.file(f"packaged/mine-dvae-emb.{draw.choice(['json', 'safetensors'])}", draw)
        load_pretrained("dvae-emb", "mine", self.folder / "packaged")

    def record(self, draw):
        section = draw.choice(["training", "abilities", "prediction", "search"])
        return read_record(self.file(f"record/seed-0/{section}.json", draw))

    def ledger(self, draw):
        path = self.folder / "search.db"
        if draw.random() < 0.5:
            db = sqlite3.connect(path)
            table = draw.choice(["studies", "rounds", "proposals", "evaluations"])
            column = draw.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
            value = draw.choice([None, "é", b"\xff", 1e308, -1, "[]", "9" * 5000, b"abcd"])
            try:
                db.execute(f"UPDATE {table} SET {column} = ?", (value,))
                db.commit()
            except sqlite3.Error:
                pass
            db.close()
        else:
            self.file("search.db", draw)
        ledger = Ledger(path)
        try:
            ledger.tally(), ledger.errors(), ledger.best(2), ledger.seconds("tuned")
            ledger.surrogate("tuned", 0, 1), ledger.to_csv(self.folder / "out.csv")
            return from_keys([r.architecture for r in ledger.rows() if r.architecture], ENAS)
        finally:
            ledger.close()


READERS = ("key", "flat_string", "nested_list", "data_file", "structure_file", "profile",
           "checkpoint", "packaged_model", "record", "ledger")  # fmt: skip


def run(count: int, seed: int = 0, minutes: float = 1e9, stop_at: int = 20):
    "So many mutations, reader after reader: how often what came out, and each surprise."
    draw, outcomes, surprises = random.Random(seed), {r: Counter() for r in READERS}, []
    end = time.monotonic() + 60 * minutes
    old = signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readers = Readers(Path(folder))
        for i in range(count):
            if time.monotonic() > end or len(surprises) >= stop_at:
                break
            name, state = READERS[i % len(READERS)], draw.getstate()
            begin, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            signal.setitimer(signal.ITIMER_REAL, 10)
            try:
                getattr(readers, name)(draw)
                outcome = "accepted"
            except OpembedError as e:
                outcome = "refused"
                if "\n" in str(e) or len(str(e)) > 1500:
                    outcome = f"long: {str(e)[:300]!r}"
            except Took:
                outcome = "hangs"
            except Exception as e:
                outcome = f"{type(e).__name__}: {str(e)[:200]}"
            signal.setitimer(signal.ITIMER_REAL, 0)
            seconds = time.perf_counter() - begin
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            if outcome in ("accepted", "refused") and seconds > SECONDS:
                outcome = f"takes {seconds:.1f} s"
            if grown > MEGABYTES:
                outcome = f"takes {grown:.0f} MB"
            readers.restore()
            if outcome not in ("accepted", "refused"):
                surprises.append(f"{name}: {outcome}")
                draw.setstate(state)
                draw.random()
            outcomes[name][outcome.split(":")[0]] += 1
    signal.signal(signal.SIGALRM, old)
    return {name: dict(counts) for name, counts in outcomes.items()}, surprises


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=0)
    given, begin = options.parse_args(), time.perf_counter()
    outcomes, surprises = run(given.count, given.seed, given.minutes, stop_at=10**9)
    many = sum(sum(counts.values()) for counts in outcomes.values())
    values = dict(seed=given.seed, asked=given.count, made=many, outcomes=outcomes,
                  surprises=surprises[:100])  # fmt: skip
    folder = ROOT / "results" / "reliability"
    print(save_record(folder, "fuzz", values, time.perf_counter() - begin))
    print(*surprises[:30], sep="\n")
    raise SystemExit(1 if surprises else 0)


if __name__ == "__main__":
    main()
