"Engines: every task has its result or one line in its place, and no worker outlives its parent."

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import test_bo
import torch
from common import refused_as
from processes import gone, wait_for
from test_bo import SMALL, Edges, everything, small_problem, some_rows

from opembed_nb.bo import search
from opembed_nb.data import ENAS, SearchSpace, random_architectures
from opembed_nb.hood.asking_report import Search
from opembed_nb.hood.engines import LocalEngine, ProcessEngine, RayEngine, local_engine, run_again
from opembed_nb.hood.files import OpembedError
from opembed_nb.hood.formats import from_flat, to_flat
from opembed_nb.hood.ledger import Ledger, evaluate
from opembed_nb.hood.networks import NetSizes, Schedule, digit_images, train_each

ROOT = Path(__file__).parents[1]


def double(x):
    if x == 3:
        raise ValueError("three\nis too much")
    return 2 * x


def die_once(mark, how=signal.SIGKILL):
    "Kills its process at the first call."
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), how)
    return "alive"


def die_at(k, victim):
    if k == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return k


def trained(path, one):
    "One of a search; the fourth fails, the eighth takes its worker along."
    with open(path, "a") as f:
        f.write("x")
        f.flush()
        calls = f.tell()
    if calls == 4:
        raise ValueError("it does not train")
    if calls == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(one.ops.sum())


def count_and_fail(path, kind):
    with open(path, "a") as f:
        f.write("x")
    raise kind("no")


def threads():
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def a_lock():
    return threading.Lock()


class Unreadable:
    "Can be packed, but not be unpacked."

    def __reduce__(self):
        return int, ("x",)


def outcomes(engine, function, jobs, **more):
    return sorted(engine.run(function, jobs, **more))


@pytest.fixture(scope="module")
def processes():
    return ProcessEngine(2)


@pytest.fixture(scope="module")
def ray():
    "A Ray cluster of two cores, whose workers do not know these files."
    import ray

    for module in (sys.modules[__name__], test_bo):
        ray.cloudpickle.register_pickle_by_value(module)
    yield RayEngine(cpus=2, timeout=600)
    ray.shutdown()


ELSEWHERE = ["processes", pytest.param("ray", marks=pytest.mark.slow)]


@pytest.fixture(params=["here", *ELSEWHERE])
def engine(request):
    return LocalEngine() if request.param == "here" else request.getfixturevalue(request.param)


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request):
    return request.getfixturevalue(request.param)


# what all engines have in common


def test_every_job_has_its_result_or_an_error_of_one_line(engine):
    found = outcomes(engine, double, [(x,) for x in range(6)])
    assert [(i, result) for i, result, _ in found] == [
        (0, 0),
        (1, 2),
        (2, 4),
        (3, None),
        (4, 8),
        (5, 10),
    ]
    assert [error for _, _, error in found] == [None] * 3 + ["ValueError: three"] + [None] * 2
    assert outcomes(engine, double, []) == []


def test_what_is_shared_arrives_as_itself(engine):
    numbers = engine.share(torch.arange(1000))
    assert [int(result) for _, result, _ in outcomes(engine, torch.sum, [(numbers,)] * 3)] == [
        499500
    ] * 3


def test_jobs_that_join_meanwhile_are_run(engine):
    jobs, found = [(0,)], []
    for i, result, _ in engine.run(double, jobs):
        found.append((i, result))
        if i < 2:
            jobs.append((i + 10,))
    assert found == [(0, 0), (1, 20), (2, 22)]


def test_a_failure_is_tried_again_and_a_refusal_is_not(engine, tmp_path):
    jobs = [(str(tmp_path / "failed"), ValueError), (str(tmp_path / "refused"), OpembedError)]
    found = sorted(run_again(engine, count_and_fail, jobs, attempts=3))
    assert found == [(0, None, "ValueError: no"), (1, None, "OpembedError: no")]
    assert (tmp_path / "failed").read_text() == "xxx" and (tmp_path / "refused").read_text() == "x"


def test_a_search_by_ask_and_tell_goes_on_when_an_evaluation_fails_or_dies(elsewhere, tmp_path):
    asked = Search(SearchSpace("blocks", ("conv", "pool"), 4, chain=False), start=12)
    with pytest.warns(UserWarning, match="it counts as failed") as told:
        asked.run(partial(trained, str(tmp_path / "calls")), 12, elsewhere)
    assert "ValueError: it does not train" in str(told[0].message)
    assert "its worker died" in str(told[1].message) and len(told) == 2
    assert len(asked) == 12 and [scores for _, scores in asked.history()].count([]) == 2
    assert len(asked.out()) == 0 and (tmp_path / "calls").stat().st_size == 12


def test_one_worker_is_this_process():
    assert isinstance(local_engine(1), LocalEngine) and local_engine(2).slots == 2
    for workers in (0, -1):
        refused_as(f"{workers} workers; at least 1", local_engine, workers)


def test_without_ray_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused_as(r"pip install '\.\[parallel\]'", RayEngine)


# processes


def test_a_worker_has_one_thread(processes):
    before = os.environ.get("OMP_NUM_THREADS")
    assert outcomes(processes, threads, [(), ()]) == [(0, (1, "1"), None), (1, (1, "1"), None)]
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_killed_worker_costs_its_own_task_alone(processes, tmp_path):
    found = outcomes(processes, die_at, [(k, 2) for k in range(6)])
    assert found == [
        (k, None if k == 2 else k, "its worker died (SIGKILL)" if k == 2 else None)
        for k in range(6)
    ]
    again = sorted(run_again(processes, die_once, [(str(tmp_path / name),) for name in "ab"]))
    assert again == [(0, "alive", None), (1, "alive", None)]


def test_a_worker_that_leaves_is_named(processes):
    assert outcomes(processes, os._exit, [(7,)]) == [(0, None, "its worker died (7)")]


def test_an_idle_worker_that_was_killed_is_replaced(processes):
    [(_, pid, _)] = outcomes(processes, os.getpid, [()])
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in [child.pid for child in multiprocessing.active_children()])
    assert [error for _, _, error in outcomes(processes, os.getpid, [()] * 4)] == [None] * 4


def test_a_task_that_takes_too_long_is_ended(processes):
    list(processes.run(os.getpid, [(), ()]))  # both are up
    start = time.monotonic()
    found = outcomes(processes, time.sleep, [(0,), (600,), (0.1,)], timeout=1.5)
    assert [error for _, _, error in found] == [
        None,
        "it took longer than 1.5 s, and its worker was ended",
        None,
    ]
    assert time.monotonic() - start < 30
    assert outcomes(ProcessEngine(1, timeout=1), time.sleep, [(600,)])[0][2].startswith(
        "it took longer than 1 s"
    )


@pytest.mark.parametrize(
    "function, job, names",
    [
        (lambda x: x, (1,), r"function <lambda> cannot"),
        (double, (threading.Lock(),), r"argument 1 of function double cannot .*lock"),
        (double, (1, (x for x in "ab")), r"argument 2 of function double cannot .*generator"),
    ],
)
def test_what_cannot_be_sent_is_named(processes, function, job, names):
    refused_as(f"engine: {names}", lambda: list(processes.run(function, [job])))
    assert outcomes(processes, double, [(1,)] * 3) == [(0, 2, None), (1, 2, None), (2, 2, None)]


def test_what_cannot_be_unpacked_or_sent_back_is_one_line(processes):
    [(_, _, error)] = processes.run(double, [(Unreadable(),)])
    assert (
        error.startswith("a worker cannot read the task (ValueError: invalid literal")
        and "\n" not in error
    )
    [(_, _, error)] = processes.run(a_lock, [()])
    assert "cannot pickle" in error and "\n" not in error
    [(_, _, error)] = processes.run(Unreadable, [()])
    assert error.startswith("its result cannot be read here (ValueError") and "\n" not in error


def test_threads_share_the_workers(processes):
    found = {}

    def ask(k):
        found[k] = [
            result
            for _, result, _ in outcomes(processes, double, [(10 * k + x,) for x in range(4, 9)])
        ]

    asking = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert found == {k: [2 * (10 * k + x) for x in range(4, 9)] for k in range(4)}
    assert len({pid for _, pid, _ in processes.run(os.getpid, [()] * 20)}) <= 2


def test_workers_end_with_their_engine_and_with_a_run_that_is_left():
    engine = ProcessEngine(1)
    [(_, pid, _)] = engine.run(os.getpid, [()])
    assert not gone(pid)
    del engine
    wait_for(lambda: gone(pid))
    engine = ProcessEngine(2)
    running = engine.run(eval, [("__import__('os').getpid()",), ("__import__('time').sleep(600)",)])
    assert next(running)[2] is None
    start = time.monotonic()
    running.close()
    assert time.monotonic() - start < 10
    assert outcomes(engine, double, [(1,), (2,)]) == [(0, 2, None), (1, 4, None)]


PARENT = """
import os, sys, time
if len(sys.argv) > 2: import torch  # which takes its workers seconds, too
from opembed_nb.hood.engines import ProcessEngine

def work(path):
    open(path + str(os.getpid()), "w").close()
    time.sleep(600)

if __name__ == "__main__":
    open(os.path.join(os.path.dirname(sys.argv[0]), "started"), "w").close()
    try: print(list(ProcessEngine(2).run(work, [(sys.argv[1],)] * 2)))
    except KeyboardInterrupt: sys.exit("interrupted")
"""


@pytest.fixture
def parent(tmp_path, request):
    "A process whose two workers are at work, in a process group of its own as in a terminal."
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "pids").mkdir()
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pids") + "/"]
    command += ["slow"] * request.node.callspec.params.get("early", False)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env
    )
    started.pids = lambda: [int(path.name) for path in (tmp_path / "pids").iterdir()]
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(parent, how):
    wait_for(lambda: len(parent.pids()) == 2)
    parent.send_signal(how)
    assert parent.wait(30) == -how
    wait_for(lambda: all(map(gone, parent.pids())), 15)


@pytest.mark.parametrize("early", [False, True])
def test_an_interrupt_is_told_once(parent, early, tmp_path):
    if early:  # workers that are still importing say nothing, either
        wait_for((tmp_path / "started").exists)
        time.sleep(0.7)
    else:
        wait_for(lambda: len(parent.pids()) == 2)
    os.killpg(parent.pid, signal.SIGINT)
    _, err = parent.communicate(timeout=30)
    wait_for(lambda: all(map(gone, parent.pids())), 15)
    assert (parent.returncode, err) == (1, "interrupted\n")


def test_shared_things_are_packed_once():
    class Counted:
        packed = 0

        def __reduce__(self):
            Counted.packed += 1
            return int, ("7",)

    shared = ProcessEngine(1).share(Counted())
    assert [pickle.loads(pickle.dumps(shared)) for _ in range(3)] == [
        7,
        7,
        7,
    ] and Counted.packed == 1


# searches and trainings elsewhere


def test_other_engines_find_what_this_process_finds(elsewhere, tmp_path):
    torch.set_num_threads(1)
    here, there = (Ledger(tmp_path / f"{n}.sqlite", oracle=Edges()) for n in "ab")
    chosen = {name: SMALL[name] for name in ("random", "evolution", "local search")}
    problem = small_problem()
    search(problem, chosen, here, 2, 2, 4)
    search(problem, chosen, there, 2, 2, 4, engine=elsewhere)
    assert everything(here) == everything(there)


class Deadly(Edges):
    "Kills its own process at the first question about each third architecture; another hangs once."

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def __call__(self, batch):
        text = to_flat(batch)[0].replace(" ", "")
        mark = self.folder / text
        first, kind = not mark.exists(), int(text, 8) % 5
        mark.touch()
        if first and kind == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if first and kind == 1:
            time.sleep(600)
        if kind == 2:
            raise ValueError("never")
        return super().__call__(batch)


@pytest.mark.slow
def test_killed_hung_and_failing_workers_cost_an_attempt(ray, tmp_path):
    (tmp_path / "marks").mkdir()
    oracle = Deadly(tmp_path / "marks")
    ledger = Ledger(tmp_path / "l.sqlite", oracle=oracle)
    batch = random_architectures(60, generator=torch.Generator().manual_seed(0))
    kinds = {text: int(text.replace(" ", ""), 8) % 5 for text in to_flat(batch)}
    texts = []
    for kind, many in ((0, 1), (1, 1), (2, 1), (3, 2)):  # killed, hung, failing, quiet
        texts += [text for text, its_kind in kinds.items() if its_kind == kind][:many]
    ledger.add_round(some_rows(texts), None)
    ray.timeout = 4
    evaluate(ledger, texts, ray.share(oracle), ray)
    ray.timeout = 600
    query = "SELECT architecture, state, attempts, error, value FROM evaluations"
    expected = {0: ("done", 2), 1: ("done", 2), 2: ("failed", 3), 3: ("done", 1)}
    for text, state, attempts, error, value in ledger.db.execute(query).fetchall():
        assert (state, attempts) == expected[kinds[text]], (kinds[text], error)
        if state == "done":
            assert value == pytest.approx(float(Edges()(from_flat(text))[0]))
        else:
            assert "never" in error  # the last error is kept


def test_full_trainings_run_elsewhere(elsewhere, tmp_path):
    batch = random_architectures(2, generator=torch.Generator().manual_seed(0))
    asked = batch, digit_images(), ENAS, NetSizes(4), Schedule(1, cycle=1)
    found = train_each(*asked, folder=tmp_path, engine=elsewhere)
    assert found.shape == (2, 1) and ((found > 0) & (found < 1)).all()
    assert len(list(tmp_path.iterdir())) == 2


class Unsendable(Edges):
    def __reduce__(self):
        raise TypeError("cannot pickle an open connection\nsecond line")


def test_an_oracle_that_cannot_be_sent_is_named_in_one_line(elsewhere, tmp_path):
    oracle = Unsendable()
    ledger, chosen = Ledger(tmp_path / "l.sqlite", oracle=oracle), {"random": SMALL["random"]}
    asked = small_problem(oracle), chosen, ledger, 1, 1, 2
    says = "oracle 'edges' cannot be sent to other processes .*open connection"
    refused_as(says, search, *asked, engine=elsewhere)
