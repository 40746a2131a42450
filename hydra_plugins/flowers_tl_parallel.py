"""A Hydra launcher that runs jobs in parallel on this machine, each a process with one device.

Not a pool of workers, as hydra-joblib-launcher is: there a job that dies (out of memory, for example) ends all others, and
a worker that has used one device can't change to another. Hydra looks for launchers only in the package hydra_plugins.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from flowers_tl.utils.errors import validate_count
from flowers_tl.utils.interruption import before_end
from flowers_tl.utils.threads import count_cores

log = logging.getLogger(__name__)

# Overrides of the sweep, which its jobs do not get.
OF_THE_SWEEP = tuple(f"hydra{key}" for key in ("/launcher", ".launcher", "/sweeper", ".sweep", ".run.", ".mode"))


class ParallelLauncher(Launcher):
    """Run ``n_jobs`` jobs at a time; each uses one of ``devices`` and its share of the cores."""

    def __init__(self, n_jobs: int | None = None, devices: Sequence[int | str] | None = None) -> None:
        self.n_jobs, self.devices = n_jobs, devices

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.load = config, hydra_context.config_loader.load_sweep_config
        validate_count("hydra.launcher.n_jobs", self.n_jobs or 1)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; an interruption is passed on to those that run, and no other begins."""
        setup_globals()
        devices = [str(device) for device in (find_devices(self.config) if self.devices is None else self.devices)]
        cores = count_cores()
        n_jobs = self.n_jobs or len(devices) or max(2, cores // 4)
        self.slots: Queue[str | None] = Queue()
        for k in range(n_jobs):
            self.slots.put(devices[k % len(devices)] if devices else None)
        self.threads = max(1, cores // n_jobs)
        self.running: set[subprocess.Popen] = set()
        self.lock, self.stopped = Lock(), False
        log.info(f"Launching {len(job_overrides)} jobs, {n_jobs} at a time")
        pool = ThreadPoolExecutor(n_jobs)
        try:
            with before_end(self.stop):
                numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
                return list(pool.map(self.run, numbers, job_overrides))
        except BaseException:
            self.stop(signal.SIGINT)
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def stop(self, number: int) -> None:
        """Send a signal to all jobs and wait for their end; no other begins."""
        with self.lock:
            self.stopped = True
        for process in [*self.running]:
            # To its helper processes too, as a terminal does.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in [*self.running]:
            process.wait()

    def run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        """Run one job to its end; its output goes to ``log.txt`` in its folder."""
        from flowers_tl.cli.exit import print_error
        from flowers_tl.cli.hydra_main import FULL_ERROR
        from flowers_tl.cli.sweep_summary import complete_record, describe_record

        config = self.load(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
        folder = (Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        device = self.slots.get()
        visible = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        environment = {"OMP_NUM_THREADS": str(self.threads)} | os.environ | visible | {"HYDRA_FULL_ERROR": FULL_ERROR}
        command = [*this_command(), *self.arguments(config, folder, number, overrides)]
        result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        # Appended: the output of an earlier sweep in this folder stays.
        with open(folder / "log.txt", "a", encoding="utf-8") as output:
            with self.lock:
                if self.stopped:
                    return result
                process = subprocess.Popen(
                    command,
                    env={name: value for name, value in environment.items() if value is not None},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                self.running.add(process)
            log.info(f"\t#{number} : {' '.join(overrides)}{f' on device {device}' if device else ''}")
            code = process.wait()
        self.running.discard(process)
        self.slots.put(device)
        if self.stopped:
            return result
        record = complete_record(config, number, overrides, folder, code)
        if record["error"]:
            print_error(f"job {number} ({' '.join(overrides)}): {record['error']}")
        else:
            log.info(f"\t#{number} : {describe_record(record)}")
        result._return_value = record["value"]
        return result

    def arguments(self, config: DictConfig, folder: Path, number: int, overrides: Sequence[str]) -> list[str]:
        """The arguments that run this job alone."""
        from flowers_tl.cli.hydra_main import MULTIRUN, split_arguments

        flags = [flag for flag in split_arguments(sys.argv[1:])[0] if flag not in MULTIRUN]
        hydra = [word for word in config.hydra.overrides.hydra if not word.startswith(OF_THE_SWEEP)]
        where = {"run.dir": folder, "sweep.dir": Path(config.hydra.sweep.dir).absolute()}
        hydra += [f"hydra.{key}={QuotedString(str(path), Quote.single).with_quotes()}" for key, path in where.items()]
        return [*flags, *filter_overrides(overrides), *hydra, f"hydra.job.num={number}", "hydra.mode=RUN"]


def this_command() -> list[str]:
    """The command that started this process, without its arguments."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [sys.executable, *(["-m", spec.name] if spec else [sys.argv[0]])]


def find_devices(config: DictConfig) -> list[Any]:
    """The GPUs that this process may use; none if the jobs run on a CPU."""
    if OmegaConf.select(config, "trainer.accelerator") == "cpu":
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    from torch.cuda import device_count

    return list(range(device_count()))
