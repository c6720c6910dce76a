"""Two processes ask one file and are killed at random moments: nothing is lost or made twice.

Not collected; `make soak ONLY=asking` runs the long form, and test_asking_report a short one.
"""

import os
import random
import signal
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import torch

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
    torch.set_num_threads(1)  # it has none of its parent's threads, and would wait for them
    try:
        function(*args)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def undisturbed(path, seed, some=None):
    "How many asks were made again in one process that is told the same; how many then differ."
    rows = Search.open(path)._db.execute(
        "SELECT number, key, asked, told, scores FROM architectures ORDER BY number"
    )
    rows = [row for row in rows]
    moments, different = sorted({row[2] for row in rows}), 0
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
        different += to_keys(alone.ask(len(wanted)), SPACE) != wanted
    return dict(replayed=len(moments), different=different)


def asking(minutes, seed, asks=100, kills=20, some=None):
    "Counts of what was done, and of what was lost, made twice without need, or asked otherwise."
    draws, end = random.Random(seed), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder, "search.sqlite"), os.open(Path(folder, "log"), LOG, 0o600)
        Search(SPACE, path, seed=seed).close()
        alive, killed, n, odd = set(), 0, 0, 0
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
                odd += status not in (0, signal.SIGKILL)
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed += 1
        search = Search.open(path)
        late = to_keys(search.ask_again(0), SPACE)
        for key in late:
            search.tell(from_keys([key], SPACE), [evaluate(key, log)])
        rows = search._rows()
        made = Counter(Path(folder, "log").read_text().splitlines())
        lost = {key for _, key, scores in rows if [value(key)] != (scores or [None])}
        repeated = sum(made.values()) - len(made)  # each kill may cost one that was not told
        return dict(
            asks=len({row for row in search._db.execute("SELECT asked FROM architectures")}),
            evaluations=len(rows), failed=sum(scores == [] for *_, scores in rows), kills=killed,
            given_again=len(late), repeated=repeated, **undisturbed(path, seed, some),
            lost=len(lost | (made.keys() ^ {key for _, key, _ in rows})),
            twice=max(0, repeated - killed), **{"other status": odd},
        )  # fmt: skip


LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND
