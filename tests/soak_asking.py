"""Two processes ask one file and are killed at random moments: nothing is lost or made twice.

Not collected; `python tests/soak_asking.py 10` goes on for ten minutes at most.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

from opembed_nb.data import SearchSpace
from opembed_nb.hood.asking_report import Search
from opembed_nb.hood.formats import from_keys, to_keys

SPACE = SearchSpace("soak", ("conv", "pool", "skip"), n_layers=5, chain=False, depths=(3, 4, 5))


def value(key):
    "A score that anybody can recompute; one evaluation of ten fails."
    luck = zlib.crc32(key.encode())
    return None if luck % 10 == 0 else key.count("2:") - 0.1 * key.count(",") + luck % 7 / 100


def evaluate(key, log):
    "Make an evaluation, and write down that it was made."
    os.write(log, f"{key}\n".encode())
    return value(key)


def work(path, log, seed, asks):
    "Ask for four and tell them in random order, until there were so many asks."
    draws, search, mine = random.Random(seed), Search.open(path), []
    while True:
        if len(mine) <= draws.randrange(4):
            if len(search) >= 4 * asks:
                os._exit(0)
            mine += to_keys(search.ask(4), SPACE)
        draws.shuffle(mine)
        key = mine.pop()
        search.tell(from_keys([key], SPACE), [evaluate(key, log)])


def run(path, log, asks):
    "The same, by `run`: it takes what belonged to a process that was killed."
    Search.open(path).run(lambda one: evaluate(to_keys(one, SPACE)[0], log), 4 * asks, q=4)
    os._exit(0)


def started(function, *args):
    "The number of a process that calls a function."
    pid = os.fork()
    if pid:
        return pid
    try:
        function(*args)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def undisturbed(path, seed, some=None):
    "How many asks gave what a search in one process gives that was told the same; all must."
    rows = Search.open(path)._db.execute(
        "SELECT number, key, asked, told, scores FROM architectures ORDER BY number"
    )
    rows = [row for row in rows]
    moments = sorted({row[2] for row in rows})
    if some is not None:
        moments = random.Random(seed).sample(moments, min(some, len(moments)))
    for moment in moments:
        alone = Search(SPACE, seed=seed)
        before = [row for row in rows if row[2] < moment]
        alone._db.executemany(
            "INSERT INTO architectures (number, key, asked, scores) VALUES (?, ?, ?, ?)",
            [(n, key, asked, scores if told and told < moment else None)
             for n, key, asked, told, scores in before],
        )  # fmt: skip
        wanted = [row[1] for row in rows if row[2] == moment]
        assert to_keys(alone.ask(len(wanted)), SPACE) == wanted, f"another ask at {moment}"
    return len(moments)


def asking(minutes, seed, asks=100, kills=20, some=None):
    "Counts of what was done; an AssertionError if anything was lost, doubled or asked otherwise."
    draws, end = random.Random(seed), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder, "search.sqlite"), os.open(Path(folder, "log"), LOG, 0o600)
        Search(SPACE, path, seed=seed).close()
        alive, killed, n = set(), 0, 0
        moments = sorted(draws.sample(range(4, 4 * asks), kills))  # by evaluations made
        while time.monotonic() < end and (alive or n == 0 or moments):
            while len(alive) < 2 and (moments or n < 2):
                n += 1
                function = work if n % 2 else run
                alive.add(started(function, path, log, *([n] if n % 2 else []), asks))
            time.sleep(draws.uniform(0, 0.02))
            made = Path(folder, "log").read_bytes().count(b"\n")
            if moments and made >= moments[0]:
                victim, moments = draws.choice(sorted(alive)), moments[1:]
                os.kill(victim, signal.SIGKILL)
                killed += 1
            done, status = os.waitpid(-1, os.WNOHANG)
            if done:
                alive.discard(done)
                assert status in (0, signal.SIGKILL), f"a process ended with {status}"
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed += 1
        search = Search.open(path)
        late = to_keys(search.ask_again(0), SPACE)
        for key in late:
            search.tell(from_keys([key], SPACE), [evaluate(key, log)])
        rows = search._rows()
        for _, key, scores in rows:
            assert scores == ([] if value(key) is None else [value(key)]), f"{key}: {scores}"
        made = Counter(Path(folder, "log").read_text().splitlines())
        assert set(made) == {key for _, key, _ in rows}
        assert sum(made.values()) - len(made) <= killed, "made twice though nobody was killed"
        replayed = undisturbed(path, seed, some)
        return dict(
            asks=len({row for row, in search._db.execute("SELECT asked FROM architectures")}),
            evaluations=len(rows), failed=sum(scores == [] for *_, scores in rows),
            kills=killed, given_again=len(late), repeated=sum(made.values()) - len(made),
            replayed=replayed,
        )  # fmt: skip


LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND

if __name__ == "__main__":
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(json.dumps(asking(limit, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
