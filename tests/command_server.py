"""Runs commands in processes of their own that need not import torch and Lightning again, which takes seconds each time.

This program imports them once, and forks for each command that it reads from stdin, a line of JSON. The package itself is
not imported before the fork: a command imports it as always, after its environment is set. It prints each exit code.
"""

import json
import logging
import os
import runpy
import signal
import sys

# Nothing of the package, and nothing that starts a thread: a fork takes along only the thread that calls it.
IMPORTS = ["lightning.pytorch", "torchvision", "torchmetrics", "tensorboard.compat", "matplotlib.pyplot", "scipy.stats"]
IMPORTS += ["hydra.main", "hydra.compose"]


def become(request: dict) -> None:
    """Make this process what ``python -m MODULE ARGUMENTS`` would be in the request's folder and environment."""
    for number, name, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY),
        (2, request["err"], os.O_WRONLY),
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


def next_request() -> dict:
    """Wait for each command's end in a fork's parent; return in the fork."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


if __name__ == "__main__":
    # As under Hydra: an import of Lightning that finds no handler of the root logger adds one that prints all it says.
    logging.getLogger().addHandler(stand_in := logging.NullHandler())
    for name in IMPORTS:
        __import__(name)
    logging.getLogger().removeHandler(stand_in)
    asked = next_request()
    # A command that hangs is killed.
    signal.alarm(600)
    become(asked)
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
