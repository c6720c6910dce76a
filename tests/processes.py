"Processes for tests: forked from one that has torch and the package, they begin at once."

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# What most of them would import; a module that is missing is left out.
MODULES = ["opembed_nb.lab.commands", "opembed_nb.lab.runner", "sklearn.ensemble", "papermill"]
MODULES.append("torch._dynamo")  # a first optimizer would import it


def gone(pid):
    "Whether a process has ended; one that nobody has waited for has."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def forking():
    "A context of multiprocessing; its server is started once in a session of pytest."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


def command(code, arguments, folder, environment, out, err):
    "What such a process does: the code, as `python -c` would run it in a terminal."
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


class Command:
    "As much of `subprocess.Popen` as the tests use."

    def __init__(self, code, arguments, folder, files):
        self.files = out, err = files / "stdout", files / "stderr"
        how = code, arguments, str(folder), dict(os.environ), str(out), str(err)
        self.process = forking().Process(target=command, args=how)
        self.process.start()

    pid = property(lambda self: self.process.pid)
    returncode = property(lambda self: self.process.exitcode)

    def kill(self):
        self.process.kill()

    def communicate(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a command", timeout)
        return tuple(Path(file).read_text(encoding="utf-8") for file in self.files)
