"What several test files need."

import http.server
import resource
import threading
from contextlib import contextmanager

import pytest
from hypothesis import settings
from processes import Command, forking
from scipy.stats import ttest_rel

from opembed_nb.hood import records
from tests.warm import warm_kernels

# The same examples in every run: a red test is red again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    "What is not finished is kept in a folder of the test."
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def warm():
    with warm_kernels():
        yield


@pytest.fixture
def disk_of():
    "A disk that has room for no file of more than so many bytes."

    @contextmanager
    def limited(size: int):
        _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited


class Server(http.server.ThreadingHTTPServer):
    "Serves what `bodies` has, less than it promised at /cut; notes what it was asked for."

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            if self.path not in self.server.bodies:
                self.send_error(404)
                return
            sent = self.server.bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent[: len(sent) // 2] if self.path == "/cut" else sent)

        def log_message(self, *args):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.requests, self.bodies = [], {}
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server(monkeypatch):
    for name in ("OPEMBED_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        serve = {"poll_interval": 0.02}
        threading.Thread(target=server.serve_forever, kwargs=serve, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def begin():
    "Starts a process that has torch already."

    def start(*args, target):
        process = forking().Process(target=target, args=args)
        process.start()
        return process

    start(target=int).join()  # the server that all others are forked from is up
    return start


@pytest.fixture
def started(begin, tmp_path_factory):
    "Starts a command that leads a process group, as one in a terminal does."
    commands = []

    def start(code, arguments, folder):
        files = tmp_path_factory.mktemp("command")
        commands.append(Command(code, arguments, folder, files))
        return commands[-1]

    yield start
    for command in commands:  # or pytest would wait for it at its end
        command.kill()


@pytest.fixture
def agree():
    "Checks findings against pairs of samples: means, Holm's p values and intervals, by scipy."

    def check(findings, pairs):
        told, largest = [], 0.0
        for f, (a, b) in zip(findings, pairs, strict=True):
            assert f.seeds == len(a)
            if len(a) < 2:
                assert f.answer == "not run"
                continue
            assert f.mean == pytest.approx(sum(a) / len(a) - sum(b) / len(b), abs=1e-9)
            told.append((f, ttest_rel(a, b)))
        told.sort(key=lambda pair: pair[1].pvalue)
        for rank, (f, test) in enumerate(told):
            largest = max(largest, min(1.0, (len(told) - rank) * test.pvalue))
            assert f.p == pytest.approx(largest, rel=1e-6)
            interval = test.confidence_interval(1 - 0.05 / (len(told) - rank))
            assert (f.low, f.high) == pytest.approx((interval.low, interval.high), abs=1e-9)

    return check


@pytest.fixture(scope="session")
def origin():
    return records.provenance()


@pytest.fixture
def known_origin(origin, monkeypatch):
    "Records say where they come from without asking git for each of them."
    monkeypatch.setattr(records, "provenance", lambda: dict(origin))


@pytest.fixture(scope="session")
def cells():
    from test_sources import loaded

    return loaded("nas-bench-201/cifar10")


@pytest.fixture(scope="session")
def gnns():
    from test_sources import loaded

    return loaded("nas-bench-graph/arxiv")
