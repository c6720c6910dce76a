"A search as a product: it runs itself, loses nothing, says what it knows, and speaks files."

import json
import math
import os
import random
import signal
import sqlite3
import tempfile
import time
import warnings
from contextlib import closing
from pathlib import Path

import pytest
import soak_asking
import torch
from common import refused_as
from test_asking import FREE, keys, value

import opembed_nb as oe
from opembed_nb.data import ArchDataset, SearchSpace, choice_mask, random_architectures, validity
from opembed_nb.hood.asking import everything, mutants
from opembed_nb.hood.asking_report import Search, rivals
from opembed_nb.hood.features import fingerprints
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_keys, to_keys
from opembed_nb.hood.ledger import calling
from opembed_nb.hood.sources import CELLS
from opembed_nb.lab.commands import main


class Crowd:
    "An engine of several places whose tasks end in a random order."

    def __init__(self, slots, seed=0):
        self.slots, self.draws, self.most = slots, random.Random(seed), 0

    def share(self, thing):
        return thing

    def run(self, function, jobs, timeout=None):
        begun, running = 0, []
        while begun < len(jobs) or running:
            while begun < len(jobs) and len(running) < self.slots:
                running, begun = [*running, begun], begun + 1
            self.most = max(self.most, len(running))
            i = running.pop(self.draws.randrange(len(running)))
            try:
                yield i, function(*jobs[i]), None
            except Exception as e:
                yield i, None, f"{type(e).__name__}: {e}"


# -- it runs itself


@pytest.mark.parametrize("slots, q", [(4, 1), (4, 3), (1, 5)])
def test_a_run_keeps_all_places_busy_and_makes_as_many_evaluations_as_it_was_told(slots, q):
    search, engine = Search(FREE, start=8), Crowd(slots)
    search.run(value, 17, engine, q=q)
    assert len(search) == 17 == len(set(keys(search))) and not keys(search, "scores IS NULL")
    assert engine.most == slots
    search.run(value, 17, engine)
    assert len(search) == 17


@pytest.mark.filterwarnings("ignore:.* gave nan")
def test_what_fails_counts_as_failed_and_a_mistake_stops_the_run():
    search, calls = Search(FREE, start=30), []

    def fragile(one):
        calls.append(one)
        if len(calls) % 3 == 0: raise MemoryError("too large")
        return math.nan if len(calls) % 3 == 1 else value(one)

    with pytest.warns(UserWarning, match="MemoryError: too large; it counts as failed"):
        search.run(fragile, 12, Crowd(3))
    assert len(keys(search, "scores = '[]'")) == 8 and len(search) == 12
    with pytest.warns(UserWarning, match="gave None; it counts as failed"):
        Search(FREE).run(lambda one: None, 1)
    other = Search(FREE)
    with pytest.raises(OpembedError, match="the first three evaluations failed.*NameError"):
        other.run(lambda one: undefined, 12)  # noqa: F821
    waiting = keys(other)
    assert len(other) == 0 and len(waiting) == 3
    other.run(value, 3)
    assert keys(other, "scores IS NOT NULL") == waiting  # what was out comes first


def taken_by_a_child(path, seconds):
    "A process that takes two architectures in `run` and lives so long; its number."
    before, pid = len(keys(Search.open(path))), os.fork()
    if pid == 0:
        torch.set_num_threads(1)  # it has none of its parent's threads, and would wait for them
        Search.open(path).claim(2, 100, None)
        time.sleep(seconds)
        os._exit(0)
    while len(keys(Search.open(path))) < before + 2:
        time.sleep(0.01)
    return pid


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_takes_over_what_the_dead_have_left_and_nothing_of_the_living(tmp_path):
    path = tmp_path / "search.sqlite"
    search = Search(FREE, path, start=30)
    living = taken_by_a_child(path, 60)
    try:
        os.waitpid(taken_by_a_child(path, 0), 0)
        theirs, lost = keys(search)[:2], keys(search)[2:]
        by_hand = to_keys(search.ask(), FREE)
        search.run(value, 6)
        told = keys(search, "scores IS NOT NULL")
        assert told[:2] == lost and len(told) == 4  # two of six are the living one's
        assert keys(search, "scores IS NULL") == theirs + by_hand
        search.run(value, 6, overdue=0.0)  # in minutes: it has had its time
        assert len(search) == 6 and keys(search, "scores IS NULL") == by_hand
    finally:
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)


def test_an_answer_is_found_before_the_file_is_locked(tmp_path, monkeypatch):
    "Others tell meanwhile: three times the answer is found anew, then they wait."
    search, alone = Search(FREE, tmp_path / "s", seed=1), Search(FREE, seed=1)
    batch, other, said, answer = search.ask(12), Search.open(tmp_path / "s"), [], Search._answer
    other._db.execute("PRAGMA busy_timeout = 0")

    def disturbed(*arguments):
        found = answer(*arguments)
        try: other.tell(batch[len(said)], value(batch[len(said)]))
        except OpembedError as e: said.append(str(e))
        else: said.append("told")
        return found

    monkeypatch.setattr(Search, "_answer", disturbed)
    found = search.ask(2)
    assert said[:3] == ["told"] * 3 and "another process has been writing" in said[3]
    monkeypatch.undo()
    for one in alone.ask(12)[:3]: alone.tell(one, value(one))
    assert to_keys(alone.ask(2), FREE) == to_keys(found, FREE)


def test_claims_end_with_the_call_that_made_them(tmp_path):
    search = Search(FREE, tmp_path / "s")
    with calling(search.path):
        mine = search.claim(3, 10)  # and then it is interrupted
    with calling(search.path):
        search.give_up(mine)  # another call's, they stay as they are
        assert search.claim(3, 3) == mine
    search.run(value, 4)
    assert len(search) == 4 and not keys(search, "scores IS NULL")
    search.claim(2, 9)
    search._db.execute("UPDATE architectures SET runner = 'there/1 7 1000 -' WHERE scores IS NULL")
    with pytest.warns(UserWarning, match="s: 2 of its evaluations belong to process 7 on there"):
        search.run(value, 6)
    assert len(search) == 4


def test_what_has_been_out_for_long_is_given_out_once_more():
    search = Search(FREE)
    out = to_keys(search.ask(3), FREE)
    assert len(search.ask_again(minutes=1)) == 0
    search._db.execute("UPDATE architectures SET given = given - 90 WHERE number <= 2")
    assert to_keys(search.ask_again(1), FREE) == out[:2]
    assert len(search.ask_again(1)) == 0  # somebody has them now
    late = from_keys(out[:1], FREE)
    search.tell(late, 1.0)
    search.tell(late, 3.0)  # the first one, after all
    assert search._rows("scores IS NOT NULL")[0][2] == [1.0, 3.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_short_soak():
    "Two processes on one file, killed at random: see soak_asking.py for the long one."
    done = soak_asking.asking(1, seed=1, asks=4, kills=2, some=2)
    assert done["evaluations"] >= 16 and done["kills"] >= 2 and done["replayed"] == 2
    assert not any(done[name] for name in ("lost", "twice", "different", "other status"))


# -- where it starts, and what it refuses


def test_scores_from_before_are_a_start_as_often_as_they_are_given():
    known = random_architectures(20, FREE, torch.Generator().manual_seed(1))
    data = ArchDataset.from_scores("mine", FREE, known, [value(one) for one in known])
    search = Search(FREE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search.begin_with(data) == 20 and search.begin_with(data) == 0
        assert search.begin_with(known[:2], [9.0, None]) == 0
    assert len(search) == 20 and 9.0 not in [s[0] for *_, s in search._rows()]
    assert value(search.ask()) >= sorted(map(value, known))[-3]


def test_asks_do_not_depend_on_the_order_of_what_was_asked_and_told():
    known = random_architectures(14, FREE, torch.Generator().manual_seed(3))
    scores = [[0.1 * k, 0.3, 1e9, -1e9] if k % 3 == 0 else 0.1 * k for k in range(12)]
    asked = []
    for order in (range(12), reversed(range(12))):
        search = Search(FREE)
        for k in order:
            search.begin_with(known[k], [scores[k] if k % 3 else None])
            if k % 3 == 0:
                for score in sorted(scores[k], reverse=k < 6): search.tell(known[k], score)
        asked.append(to_keys(search.ask(3), FREE))
    assert asked[0] == asked[1]


def full(search, one):
    "As if the disk were full."
    pages = search._db.execute("PRAGMA page_count").fetchone()[0]
    search._db.execute(f"PRAGMA max_page_count = {pages}")
    search.tell(one.repeat(1), [[0.1] * 5000])


def forked(search, one):
    search._db.process = 1  # as a child sees it
    search.tell(one, 1.0)


def foreign(search, one):
    with tempfile.TemporaryDirectory() as folder:
        with closing(sqlite3.connect(Path(folder, "x"))) as db:
            db.execute("CREATE TABLE bookmarks (url)")
        Search(FREE, Path(folder, "x"))


def moved(search, one):
    with tempfile.TemporaryDirectory() as folder:
        search = Search(FREE, Path(folder, "x"))
        Path(folder, "x").rename(Path(folder, "y"))
        search.begin_with(one, 1.0)


class Lines:
    def __repr__(self): return "two\nlines"


NOTHING = SearchSpace("nothing", (), n_layers=2)
LOW = ArchDataset.from_scores(
    "low", FREE, random_architectures(12, FREE, torch.Generator().manual_seed(2)), range(12),
    higher_is_better=False,
)  # fmt: skip
REFUSED = [
    (lambda s, a: s.begin_with(LOW), "in data set low higher_is_better is False"),
    (lambda s, a: s.begin_with(random_architectures(3, CELLS), [1, 2, 3]), "not of space blocks"),
    (lambda s, a: s.begin_with(a), "give the scores of the architectures, too"),
    (lambda s, a: s.begin_with(a, math.nan), "begin_with: score 0 is nan"),
    (lambda s, a: s.tell(a, -1.7e308), "tell: score 0 is -1.7e+308; give a finite number"),
    (lambda s, a: s.run(lambda one: "0.9", 6), "TypeError: gave '0.9', which is no number; mend"),
    (lambda s, a: s.run(lambda one: {"a": 1}, 6), "TypeError: gave {'a': 1}, which is no number"),
    (forked, "it was opened before this process was forked; open it anew"),
    (foreign, "has a table 'bookmarks' that no search has; use another file"),
    (moved, "make it writable, or open it again if it was moved"),
    (lambda s, a: Search(FREE, None), "give another path"),
    (lambda s, a: s.tell(to_keys(a, FREE), [1.0]), "list is no batch of architectures"),
    (lambda s, a: s.run(value, 4, q=0), "run: q is 0; give a whole number, 1 …"),
    (lambda s, a: s.run(value, 4.5), "run: budget is 4.5; give a whole number"),
    (lambda s, a: s.run(value, 4, overdue=math.nan), "overdue: nan minutes; give a number"),
    (lambda s, a: s.ask_again(math.inf), "ask_again: inf minutes; give a number"),
    (lambda s, a: s.ask(10**5), "ask: n is 100000; give a whole number, 1 … 10000"),
    (lambda s, a: s.best(-1), "best: n is -1; give a whole number"),
    (lambda s, a: s.tell(a, Lines()), "tell: score 0 is two lines; give a finite number"),
    (lambda s, a: s.tell(a, "0.9"), "tell: score 0 is '0.9'; give a finite number"),
    (lambda s, a: s.tell(a, [b"9"]), "tell: score 0 is b'9'; give a finite number"),
    (lambda s, a: s.tell(a, [""]), "tell: score 0 is ''; give a finite number"),
    (lambda s, a: s.pilot(value, 1), "pilot: n is 1; give a whole number, 2 …"),
    (lambda s, a: s.pilot(lambda one: math.nan), "a pilot needs evaluations that do not fail"),
    (lambda s, a: s.beliefs(), "0 evaluations have a score; a judgement needs three"),
    (lambda s, a: s.report().save("/dev/null/r.html"), "cannot be written"),
    (full, "database or disk is full"),
    (lambda s, a: Search(NOTHING), "0 operations; 1 … 254 are possible"),
    (lambda s, a: Search("blocks"), "'blocks' is no space; oe.Space(name"),
    (lambda s, a: Search(FREE, higher_is_better="no"), "higher_is_better is 'no'; give True or"),
    (lambda s, a: Search(FREE, seed="x"), "seed is 'x'; give a whole number"),
    (lambda s, a: Search(FREE, start=1.5), "start is 1.5; give a whole number"),
    (lambda s, a: Search(FREE, zero="skip"), "zero is 'skip'; give a list of operations"),
    (lambda s, a: Search(FREE, zero=["skip"], identity=["skip"]), "skip is in zero and in ident"),
    (lambda s, a: Search(FREE, parts=["counts"]), "parts are ['counts']; give a list"),
    (lambda s, a: Search(FREE, among=["0: 2:0 1:1"]), "give a batch of architectures"),
    (lambda s, a: Search(FREE, "/dev/null/s.sqlite"), "cannot be used as a search"),
    (lambda s, a: Search.open("/dev/none.sqlite"), "there is no such file"),
    (lambda s, a: Search(FREE, allowed=lambda b: b.ops[:, 1] > 9).ask(), "allowed was found"),
    (lambda s, a: Search(FREE, allowed=lambda b: True).ask(), "give a truth value for each"),
    (lambda s, a: Search(FREE, allowed=lambda b: b.nodes).ask(), "allowed: AttributeError"),
    (lambda s, a: Search(oe.Space("x", ["a"], 3, depths=[4])), "each is one of 1 … 3 layers"),
    (lambda s, a: Search(oe.Space("x", ["a"], 3, choices=["a"])), "1 choices for 3 layers"),
    (lambda s, a: Search(oe.Space("x", ["a"], 1, choices=["b"])), "layer 0 can be 'b'"),
    (lambda s, a: Search(oe.Space("x", ["a"], 1, choices=[[]])), "layer 0 can be 'nothing'"),
]  # fmt: skip


def test_what_does_not_fit_is_one_line():
    for call, says in REFUSED:
        search = Search(FREE)
        with pytest.raises(OpembedError) as error:
            call(search, search.ask())
            pytest.fail(says)
        assert says in str(error.value) and "\n" not in str(error.value)


def test_a_file_knows_what_it_is(tmp_path):
    space = oe.Space("v", ["a", "b"], 3, depths=(2, 3), choices=["a"] * 3)
    path = tmp_path / "s.sqlite"
    Search(space, path, higher_is_better=False, zero=("b",)).close()
    again = Search.open(path)
    assert again.space == space and again.zero == ("b",) and not again.higher_is_better
    among = random_architectures(5, FREE)
    Search(FREE, tmp_path / "among", among=among, allowed=lambda b: b.ops[:, 1] == 2).close()
    again = Search.open(tmp_path / "among")
    assert to_keys(again._among, FREE) == to_keys(among, FREE)
    refused_as("was made with a predicate `allowed`; ask with it", again.ask)
    again = Search.open(path)
    three = again.ask(3)
    again.tell(three, [1.0, [2.0, 3.0], None])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE search SET value = '0' WHERE name = 'format'")
    for make in (Search.open, lambda path: Search(space, path)):
        refused_as("another version; name another file, which can `begin_with`", make, path)
    new = Search(space, higher_is_better=False)
    assert new.begin_with(path) == 3 and dict(new.history()) == dict(again.history())
    refused_as("higher_is_better = false, not true", Search(space).begin_with, path)
    refused_as("is no chain", Search(FREE, higher_is_better=False).begin_with, path)
    refused_as("begin_with: there is no file", new.begin_with, tmp_path / "none")


# -- spaces

SPACES = {
    "a chain": SearchSpace("chain", ("a", "b", "c"), 6),
    "one layer": SearchSpace("one", ("a", "b", "c"), 1, chain=False),
    "one wiring": SearchSpace("fixed", ("a", "b"), 3, chain=False, wirings=("0 0,1 2 2,3",)),
    "a few wirings, places": SearchSpace(
        "few", ("a", "b", "c"), 2, chain=False, wirings=("0 1 2", "0 0 1,2"),
        choices=["a", ["b", "c"]],
    ),
    "depths and places": SearchSpace(
        "deep", ("a", "b", "c"), 5, chain=False, depths=(1, 2, 3, 4, 5), choices=[["a", "b"]] * 5
    ),
    "a chain of depths": SearchSpace("line", ("a", "b", "c"), 6, depths=(3, 4, 6)),
    "forty-eight nodes": SearchSpace("large", ("a", "b"), 46, chain=False, depths=(2, 20, 46)),
}  # fmt: skip


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_random_ones_mutants_and_asks_stay_in_the_space(space):
    generator = torch.Generator().manual_seed(0)
    drawn = random_architectures(60, space, generator)
    found = mutants(drawn, space, 120, generator)
    depths, mask = set(space.depths or [space.n_layers]), choice_mask(space)
    for batch in (drawn, found, everything(space) or drawn):
        assert validity(batch, space).all() and len(batch) > 3
        assert {n - 2 for n in batch.n_nodes.tolist()} <= depths
        layer, inner = batch.mask[:, 2:].nonzero().T[1], batch.ops[:, 1:-1][batch.mask[:, 2:]]
        assert mask[layer, inner].all()
    assert {n - 2 for n in drawn.n_nodes.tolist()} == depths
    search = Search(space, start=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.run(value, 12, q=3)
    assert validity(from_keys(keys(search), space), space).all()


def test_limits_of_a_space_are_kept_in_a_file_and_change_nothing_elsewhere(tmp_path):
    space = SPACES["depths and places"]
    batch = random_architectures(30, space, torch.Generator().manual_seed(0))
    data = ArchDataset.from_scores("limits", space, batch, torch.rand(30))
    data.save(tmp_path / "limits.jsonl")
    assert oe.load(str(tmp_path / "limits.jsonl")).space == space
    assert set(FREE.facts()) == {"name", "operations", "n_layers", "chain", "wirings"}
    assert FREE == SearchSpace(**FREE.facts()) and space == SearchSpace(**space.facts())


def test_dead_parts_and_identities_are_found_in_free_wirings_too():
    space = SearchSpace("cut", ("conv", "none", "skip"), n_layers=2, chain=False)
    search = Search(space, zero=("none",), identity=("skip",))
    search.run(value, 500, q=10)
    found = from_keys(keys(search), space)
    kinds = fingerprints(found, space, ("none",), ("skip",)).tolist()
    assert len(set(kinds)) == len(kinds) == len(search)
    drawn = random_architectures(2000, space, torch.Generator().manual_seed(5))
    assert set(fingerprints(drawn, space, ("none",), ("skip",)).tolist()) == set(kinds)
    assert len(search) < len(set(to_keys(drawn, space)))


# -- what it says


@pytest.mark.parametrize("sign", [1, -1])
def test_rivals_are_those_that_noise_could_explain(sign):
    draws, search = random.Random(0), Search(FREE, higher_is_better=sign > 0)
    noisy = random_architectures(25, FREE, torch.Generator().manual_seed(0))
    search.begin_with(noisy, [sign * (value(one) + draws.gauss(0, 0.3)) for one in noisy])
    believed = search.beliefs()
    assert believed.repeats == 0 and believed.slope * sign > 0
    known = rivals(believed)
    assert all(0.05 <= rival.chance <= 0.5 and rival.repeats >= 1 for rival in known)
    for one in noisy[:12]: search.tell(one, sign * (value(one) + draws.gauss(0, 0.3)))
    believed = search.beliefs()
    assert believed.repeats == 12 and 0.15 < believed.noise < 0.6
    best = from_keys(believed.keys[:1], FREE)
    assert value(best) >= sorted(map(value, noisy))[-6]


def told_apart(repeats, noise=1.0):
    "In simulated searches: how many are told apart from the best, and which share of them wrongly."
    worse, wrong, drawn = 0, 0, random_architectures(300, FREE, torch.Generator().manual_seed(2))
    for k in range(12):
        draws, some = random.Random(k), drawn[25 * k : 25 * k + 25]
        search = Search(FREE)
        search.begin_with(
            some,
            [[value(one) + draws.gauss(0, noise) for _ in range(1 + repeats * (j < 6))]
             for j, one in enumerate(some)],
        )  # fmt: skip
        found = search.beliefs()
        truth = [value(one) for one in from_keys(found.keys, FREE)]
        unsure = {rival.key for rival in rivals(found)}
        sure = [truth[j] for j in range(1, 25) if found.keys[j] not in unsure]
        worse, wrong = worse + len(sure), wrong + sum(x > truth[0] for x in sure)
    return worse, wrong / worse


@pytest.mark.parametrize("repeats", [0, 1])
def test_who_is_told_apart_from_the_best_is_worse(repeats):
    worse, wrong = told_apart(repeats)
    assert worse > 60 and wrong < 0.06


def test_a_report_shows_itself_as_text_and_as_one_file(tmp_path):
    search = Search(FREE, higher_is_better=False)
    assert "at least three scores" in str(search.report())
    search.run(lambda one: -value(one), 20)
    report = search.report(3)
    text, page = str(report), report._repr_html_()
    for part in ("20 evaluated, 0 failed, 0 pending", "Best expected scores", "What matters?"):
        assert part in text and part in page
    assert page.count("<svg") == 4
    report.save(tmp_path / "report.html")
    saved = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page in saved and "<script" not in saved and "url(http" not in saved
    shares = search.explained()
    assert all(0 <= share <= 1 for share in shares.values()) and "wiring and depth" in shares
    gains = [change.gain for change in search.changes(search.beliefs())]
    assert gains == sorted(gains)  # lower is better: what helps most comes first


def test_a_report_says_that_a_space_is_used_up():
    space = SearchSpace("two", ("conv", "pool"), 2, chain=False, wirings=("0 1 2",))
    search = Search(space)
    search.run(value, 9)
    assert len(search) == 4 and "the space is used up" in str(search.report())


def test_a_pilot_tells_noise_from_operations():
    draws, found = random.Random(1), []
    for score in (lambda one: value(one) + draws.gauss(0, 0.05), lambda one: draws.gauss(0, 1),
                  lambda one: float(one.adj.sum())):  # fmt: skip
        search = Search(FREE)
        search.run(score, 2)
        found.append(search.pilot(score))
        assert len(search) >= 9
    assert [pilot.p < 0.05 for pilot in found] == [True, False, False]
    assert found[2].noise == found[2].operations == 0.0 and found[0].noise < 0.15
    assert "operations matter here" in str(found[0])


# -- files


def test_a_search_by_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(
        "operations: [conv, pool]\nlayers: 3\nchain: false\ndepths: [2, 3]\nhigher_is_better: false"
    )
    assert main(["search", "new", "space.yaml", "s.sqlite"]) == 0
    (tmp_path / "space.yaml").unlink()
    capsys.readouterr()
    assert main(["ask", "s.sqlite", "-n", "4"]) == 0
    todo = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(todo) == 4 and todo[0]["nodes"][0] == "input" and todo[0]["edges"][0][0] == 0
    scores = [1.5, [1.0, 1.2], None, 2]
    for row in todo: row["nodes"][0] = "in\u2028put"  # a line's end for Python, not for JSON
    done = [json.dumps(row | {"score": score}, ensure_ascii=False)
            for row, score in zip(todo, scores)]  # fmt: skip
    for line, says in [
        ("{", "done.jsonl, line 5: is no JSON"),
        ('{"architecture": "0: 2:0 1:1"}', "line 5: field 'score' is missing"),
        ('{"architecture": "0: 9:0 1:1", "score": 1}', "line 5: key '0: 9:0 1:1'"),
        (done[0].replace("1.5", '"high"'), "line 5: field 'score' is \"high\""),
        (done[0].replace("1.5", "[]"), "line 5: score []; give a number, several, or null"),
        (done[0].replace("1.5", "NaN"), "line 5: score NaN"),
    ]:
        (tmp_path / "done.jsonl").write_text("\n".join([*done, line]), encoding="utf-8")
        assert main(["tell", "s.sqlite", "done.jsonl"]) == 2
        assert says in capsys.readouterr().err
        assert len(Search.open("s.sqlite")) == 0  # nothing is taken before all is read
    (tmp_path / "done.jsonl").write_text("\n".join(done), encoding="utf-8")
    assert main(["tell", "s.sqlite", "done.jsonl"]) == 0
    assert main(["report", "s.sqlite", "--html", "r.html"]) == 0
    assert "4 evaluated, 1 failed" in capsys.readouterr().out
    assert "</html>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert main(["ask", "s.sqlite", "-n", "2", "--again", "0"]) == 0


@pytest.mark.parametrize(
    "words, says",
    [
        (["search", "new", "space.yaml"], "takes two files"),
        (["search", "quick", "more"], "opembed search quick: more is too much"),
        (["search", "new", "wrong.yaml", "s"], "field 'layers' is \"four\", not of type int"),
        (["search", "new", "many.yaml", "s"], "field 'colour' is unknown"),
        (["search", "new", "twice.yaml", "s"], "twice.yaml: parameter 'layers' is given twice"),
        (["search", "new", "number.yaml", "s"], "field '3' is unknown"),
        (["search", "new", "date.yaml", "s"], "field 'layers' is datetime.date(2026, 1, 2), not"),
        (["search", "new", "space.yaml", "space.yaml"], "is there already"),
        (["ask", "none"], "none: there is no such file"),
        (["ask", "space.yaml"], "space.yaml: is no search"),
        (["tell", "none", "space.yaml"], "none: there is no such file"),
    ],
)
def test_files_that_do_not_fit_are_one_line(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, more in (("space", "layers: 3"), ("wrong", "layers: four"),
                       ("many", "layers: 2\ncolour: red"), ("twice", "layers: 2\nlayers: 3"),
                       ("number", "layers: 2\n3: 4"), ("date", "layers: 2026-01-02")):  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(f"operations: [a, b]\n{more}\n")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
