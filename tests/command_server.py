"""Runs commands in processes of their own that need not import torch and Lightning again, which takes seconds each time.

This program imports them once, and forks for each command that it reads from stdin, a line of JSON. The package itself is
not imported before the fork: a command imports it as always, after its environment is set. It prints each process's id, and
at its end the exit code and the peak of its memory. :class:`CommandServer` is its client.
"""

import gc
import json
import logging
import math
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

# Nothing of the package, and nothing that starts a thread: a fork takes along only the thread that calls it.
IMPORTS = ["lightning.pytorch", "torchvision", "torchmetrics", "tensorboard.compat", "matplotlib.pyplot", "scipy.stats"]
IMPORTS += ["hydra.main", "hydra.compose"]


class Finished(subprocess.CompletedProcess):
    """What a command left; ``peak`` is the most memory that it had, in MB, with torch's own."""

    peak: float


class Running:
    """A command at work; ``pid`` is its process group's too."""

    def __init__(self, server: subprocess.Popen, module: str, arguments: Sequence[str], cwd: Path, environment: dict):
        self.server, self.arguments, self.finished = server, [module, *arguments], False
        self.folder = TemporaryDirectory(prefix="command-")
        out, err = self.texts = [str(Path(self.folder.name, name)) for name in ("stdout", "stderr")]
        request = {"module": module, "arguments": arguments, "environment": environment}
        print(json.dumps(request | {"cwd": str(cwd), "out": out, "err": err}), file=server.stdin, flush=True)
        self.pid = int(server.stdout.readline())

    def kill(self) -> None:
        """Kill all that the command has started and that is still there, as a machine that is switched off does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """CPU time of the command's main thread; it does not depend on what else the machine does."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9
        return math.inf

    def wait(self) -> Finished:
        """Wait for its end; where this process is interrupted, the command is killed."""
        try:
            ended = self.server.stdout.readline()
        except BaseException:
            self.kill()
            self.server.stdout.readline()
            raise
        finally:
            self.finished = True
        code, peak = ended.split()
        texts = [Path(file).read_text(errors="replace") for file in self.texts]
        self.folder.cleanup()
        finished = Finished(self.arguments, int(code), *texts)
        finished.peak = int(peak) / 1024
        return finished


class CommandServer:
    """A process that has torch and Lightning, and runs one command at a time.

    ``modules`` are imported besides: commands then don't read the environment anew that these read when they are imported.
    """

    def __init__(self, *modules: str) -> None:
        root = str(Path(__file__).parents[1])
        own = {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])} if modules else {}
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        self.running: Running | None = None

    def start(self, module: str, arguments: Sequence[str], cwd: Path, environment: dict) -> Running:
        """Start ``python -m MODULE ARGUMENTS`` in a folder and environment; a command that nobody waited for is killed."""
        if self.running and not self.running.finished:
            self.running.kill()
            self.running.wait()
        self.running = Running(self.process, module, arguments, cwd, environment)
        return self.running

    def close(self) -> None:
        """End the process, after its command."""
        self.process.stdin.close()
        self.process.wait()


def become(request: dict) -> None:
    """Make this process what ``python -m MODULE ARGUMENTS`` would be in the request's folder and environment."""
    # The group is there before its id is known, so that it can be killed at any moment.
    os.setsid()
    print(os.getpid(), flush=True)
    for number, name, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT),
        (2, request["err"], os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(name, mode), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    # OpenMP read it when torch was imported.
    if threads := os.environ.get("OMP_NUM_THREADS"):
        sys.modules["torch"].set_num_threads(int(threads))
    os.chdir(request["cwd"])
    sys.path[0] = os.getcwd()
    sys.argv = ["-m", *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", request["module"], *request["arguments"]]


def next_request() -> dict:
    """Wait for each command's end in a fork's parent; return in the fork."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return json.loads(line)
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_maxrss, flush=True)
    sys.exit()


if __name__ == "__main__":
    # As under Hydra: an import of Lightning that finds no handler of the root logger adds one that prints all it says.
    logging.getLogger().addHandler(stand_in := logging.NullHandler())
    for name in [*IMPORTS, *sys.argv[1:]]:
        __import__(name)
    logging.getLogger().removeHandler(stand_in)
    # Else the collector of each fork copies the memory that it looks at, which takes longer than most commands.
    gc.freeze()
    asked = next_request()
    # A command that hangs is killed.
    signal.alarm(600)
    become(asked)
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
