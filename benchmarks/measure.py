"""Run a command and measure it: seconds, memory of its processes, and what its record says of the phases."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flowers_tl.utils.errors import UserError

INTERVAL = 0.1  # seconds between two looks at the memory


class Bench:
    """Measures one command after another, each beginning with an empty cache in a temporary folder.

    Args:
        folder: where each command's output goes, as ``NUMBER_KIND.log`` and ``.err``.
        overrides: what train, and the plain loop, are told besides.
    """

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder, self.overrides = folder, overrides

    def measure(self, number: str, kind: str, strategy: str, sweep: int) -> Iterator[dict[str, Any]]:
        """Yield what was measured of a command: kind, strategy, seconds, GB of memory, images, and what
        the run recorded.

        Kinds: ``plain``; ``flowers_tl`` (followed by ``again``, the same command with the cache as it then is);
        ``sweep``, a multirun of so many rates; ``heads``, the same rates in one run.

        Raises:
            UserError: if the command fails.
        """
        with tempfile.TemporaryDirectory(prefix="flowers_tl-benchmark-", ignore_cleanup_errors=True) as temporary:
            for name in (kind, "again") if kind == "flowers_tl" else (kind,):
                folder = Path(temporary) / name
                command = self._command(kind, strategy, rates(sweep), folder)
                measured, output = run(command, self.folder / f"{number}_{name}.log")
                found = read_plain(output) if kind == "plain" else read_runs(folder)
                yield {"kind": name, "strategy": strategy} | measured | found

    def _command(self, kind: str, strategy: str, rates: list[str], folder: Path) -> list[str]:
        told = [f"strategy={strategy}", *self.overrides]
        if kind == "plain":
            return ["benchmarks.plain_loop", *told]
        told += [f"cache.dir={folder.parent / 'cache'}", "trainer.enable_progress_bar=false", "force=true"]
        if kind == "sweep":
            swept = f"strategy.table.0.lr={','.join(rates)}"
            return ["flowers_tl.train", "-m", *told, swept, f"hydra.sweep.dir={folder}"]
        heads = [f"heads.lr=[{','.join(rates)}]"] if kind == "heads" else []
        return ["flowers_tl.train", *told, *heads, f"hydra.run.dir={folder}"]


def rates(count: int) -> list[str]:
    """Learning rates from 1e-4 to 1e-2, evenly in their logarithm."""
    return [f"{1e-4 * 100 ** (k / max(1, count - 1)):.3g}" for k in range(count)]


def run(command: list[str], log: Path, variables: Mapping[str, str] = {}) -> tuple[dict[str, Any], str]:
    """Run a module with its arguments, and with these environment variables besides.

    Returns:
        Seconds and memory, and what the command printed, which ``log`` keeps.
    """
    # The plain loop is no part of the package, and this command may have been started in any folder.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path} | variables
    # In a benchmark's own folder, where a log can only be that of the same command, cut short.
    with open(log, "w", encoding="utf-8") as output, open(log.with_suffix(".err"), "w", encoding="utf-8") as errors:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=errors, env=environment)
        try:
            memory = watch(process)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        last = (log.with_suffix(".err").read_text(encoding="utf-8").strip().splitlines() or ["it said nothing."])[-1]
        raise UserError(last.removeprefix("Error: "))  # in the words of the command, the rest of which is in the file
    return {"seconds": round(seconds, 2), "memory_gb": memory}, log.read_text(encoding="utf-8")


def read_plain(output: str) -> dict[str, Any]:
    """Phases, images and test accuracy that the plain loop printed."""
    found = json.loads(output.strip().splitlines()[-1])
    return {"phases": found["seconds"], "pictures": found["pictures"], "test": found["test"]}


def read_runs(folder: Path) -> dict[str, Any]:
    """Phases and test accuracy of the run in the folder, as far as it is one; images of all runs in and below it."""
    whole = folder / "result.json"
    result = json.loads(whole.read_text(encoding="utf-8")) if whole.is_file() else {}
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*/result.json")] or [result]
    found = {"phases": result["seconds"]} if result else {}
    found |= {"test": result["test"]["accuracy"]} if "test" in result else {}
    return found | {"pictures": sum(map(images_seen, runs))}


def images_seen(result: dict[str, Any]) -> int:
    """Images that a run trained on, validated or tested: those of every epoch, whether computed anew or not."""
    sizes = result["data"]
    return result["epochs"] * (sizes["train"] + sizes["val"]) + sizes["test"]


def watch(process: subprocess.Popen) -> dict[str, float] | None:
    """Wait for the process; return the peaks in GB of it and its children: ``private``, and ``mapped`` from files.

    None without psutil.
    """
    if importlib.util.find_spec("psutil") is None:
        process.wait()
        return None
    import psutil

    peaks = {"private": 0, "mapped": 0}
    root = psutil.Process(process.pid)
    while process.poll() is None:
        found = {"private": 0, "mapped": 0}
        try:
            for one in [root, *root.children(recursive=True)]:
                memory = one.memory_info()
                shared = getattr(memory, "shared", 0)  # Linux knows; elsewhere all counts as private
                found["private"] += memory.rss - shared
                found["mapped"] = max(found["mapped"], shared)  # processes map the same files
        except psutil.NoSuchProcess:  # a child has just ended
            continue
        peaks = {name: max(peak, found[name]) for name, peak in peaks.items()}
        time.sleep(INTERVAL)
    return {name: round(peak / 2**30, 2) for name, peak in peaks.items()}


def describe_machine() -> dict[str, Any]:
    """What the measured seconds depend on: processor, cores, memory, GPU."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"processor": model, "cores": os.cpu_count(), "memory_gb": memory, "gpu": gpu}
