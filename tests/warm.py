"""Fresh Pythons for tests that begin at once, forked from one that has imported what the package
needs of others. Of the package itself they have nothing: it is imported, and may be left out.
Nor have they pyplot, or igraph, which imports it: a kernel shows figures only if it does that."""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]

OTHERS = """numpy torch torch._dynamo torch.func scipy.optimize scipy.stats scipy.sparse.csgraph
gpytorch linear_operator safetensors.torch sklearn.ensemble sklearn.neural_network sklearn.pipeline
sklearn.linear_model sklearn.manifold sklearn.model_selection networkx matplotlib.figure
matplotlib.backends.backend_agg matplotlib.widgets tqdm.auto ipykernel.kernelapp
ipykernel.ipkernel""".split()
SERVE = "from tests.warm import serve; serve()"


def serve():
    "Forks what it is asked for, a line of JSON each, and says the number, or a number's status."
    for name in OTHERS:
        with suppress(ImportError):  # what no test needs that runs where it is missing
            import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                return become(**asked)
            with suppress(OSError):  # it is over
                os.setpgid(answer, answer)  # its own group before anybody knows its number
        print(json.dumps(answer), flush=True)


def become(words, folder, environment, out, err):
    "What a new Python would be that is called with these words."
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate((os.devnull, out, err)):
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        os.dup2(os.open(path, how), number)
    sys.path[:1] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    first, *rest = words
    sys.argv = rest if first == "-m" else words
    if first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path[0] = str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


@cache
def server():
    "It is started once in a process; it ends when its input does."
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # as a kernel sets it, before the library is imported
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, "-c", SERVE]
    started = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    atexit.register(started.communicate)
    return started


def ask(what):
    print(json.dumps(what), file=server().stdin, flush=True)
    return json.loads(server().stdout.readline())


class Forked:
    "As much of `subprocess.Popen` as is used of it."

    stdin = stdout = stderr = returncode = None

    def __init__(self, words, folder, environment, out=os.devnull, err=os.devnull):
        self.pid = ask(dict(words=list(map(str, words)), folder=str(folder), out=str(out),
                            environment=environment, err=str(err)))  # fmt: skip

    def poll(self):
        if self.returncode is None:
            self.returncode = ask(self.pid)
        return self.returncode

    def wait(self, timeout=600):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a process", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def launch_kernel(cmd, env=None, cwd=None, stdout=None, **_):
    "In place of `jupyter_client.launch_kernel`: the same kernel of the same Python, but warm."
    environment = {**(env or os.environ), "JPY_PARENT_PID": str(server().pid)}  # it ends with that
    out = getattr(stdout, "name", os.devnull)
    return Forked(cmd[1:], cwd or os.getcwd(), environment, out, out)


@contextmanager
def warm_kernels():
    "Whatever starts a kernel meanwhile starts a warm one."
    with mock.patch("jupyter_client.provisioning.local_provisioner.launch_kernel", launch_kernel):
        yield


def python(*words, folder=ROOT, **environment):
    "What a Python does that is called so: its output, errors and status. None: no such variable."
    with TemporaryDirectory() as place:
        out, err = (Path(place, name) for name in ("out", "err"))
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        known = {name: value for name, value in environment.items() if value is not None}
        status = Forked(words, folder, known, out, err).wait()
        said = [path.read_text(encoding="utf-8") for path in (out, err)]
    return SimpleNamespace(stdout=said[0], stderr=said[1], returncode=status)
