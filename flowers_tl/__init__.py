"""Transfer learning as an experiment: which layers should learn, how fast, and what does that buy?

The modules at the top (``train``, ``predict``, ``compare``, ...) are the commands; they alone know both the command line
and the library. The folders are the library: it takes plain Python values, and what it says is logged to ``flowers_tl``.
In a notebook::

    import flowers_tl

    flowers_tl.load("outputs/2026-01-31/12-00-00_fine_tuning_seed0").predict(["rose.jpg", "daisy.jpg"])

"The article" is Carlos Melo, «Transfer Learning with PyTorch: A Hands-On Guide», Sigmoidal, 2026.
"""

import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from flowers_tl.inference.predictor import Predictor

# This process is a command, from its first import on: the installed script, or -m, as Python calls a module that it still
# looks for.
if sys.argv[0].endswith("flowers-tl") or (sys.argv[0] == "-m" and any("flowers_tl" in word for word in sys.orig_argv)):
    from flowers_tl.utils.interruption import handle_signals

    handle_signals()

# Threads that wait for one another spin. Where other work has their core, long spinning takes the time of the thread that is waited
# for: see docs/speed.md. libgomp reads this when torch is imported; a user's own setting wins.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"

__version__ = version("flowers_tl")


def load(path: "str | Path", device: str | None = None) -> "Predictor":
    """Read a trained network from a checkpoint or a run's folder; see :class:`flowers_tl.inference.predictor.Predictor`.

    Args:
        path: ``RUN/checkpoints/last.ckpt`` or ``best.ckpt``, or ``RUN``, which means the last.
        device: where it computes, ``cpu`` or ``cuda``; None takes a GPU where there is one.

    Raises:
        flowers_tl.utils.errors.UserError: if there is no such network.
    """
    # Imported late: torch takes seconds, and --help does not need it.
    from flowers_tl.inference.predictor import Predictor

    return Predictor.load(path, device)
