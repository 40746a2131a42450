"""A sweep tells of each of its jobs, and of no other sweep's."""

import pytest
from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from flowers_tl.cli.sweep_summary import Failure, SweepSummary, begin_records, read_records
from flowers_tl.utils.errors import UserError


def test_a_sweep_forgets_the_jobs_of_an_earlier_one_in_its_folder(tmp_path, capsys):
    def job(number: int, value: object) -> None:
        hydra = {"job": {"num": number}, "sweep": {"dir": str(tmp_path)}, "runtime": {"output_dir": str(tmp_path)}}
        config = OmegaConf.create({"hydra": hydra})
        returned = JobReturn(overrides=["a=1", f"seed={number}"], status=JobStatus.COMPLETED, _return_value=value)
        SweepSummary().on_job_end(config, job_return=returned)

    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    for values in ([0.5, Failure("No."), None], [0.25]):
        SweepSummary().on_multirun_start(config)
        begin_records(config)
        for number, value in enumerate(values):
            job(number, value)
        SweepSummary().on_multirun_end(config)
        assert SweepSummary.failed == any(isinstance(value, Failure) for value in values)
        assert len(read_records(config)) == len(values)
    printed = capsys.readouterr().out
    assert printed.count(f"\nNext: python -m flowers_tl.compare {tmp_path}\n") == 2
    SweepSummary().on_multirun_start(config)
    begin_records(config)
    job(0, Failure("No."))
    SweepSummary().on_multirun_end(config)
    # Of runs that all failed there is nothing to compare.
    assert "Next" not in capsys.readouterr().out
    for line in (
        "seed=0  val accuracy 50.0%",
        "seed=1  failed: No.",
        "seed=2  finished",
        "a=1 seed=0  val accuracy 25.0%",
    ):
        assert line in printed


def test_two_sweeps_never_work_in_one_folder_and_nothing_but_records_is_removed(tmp_path):
    config, jobs = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}), tmp_path / ".jobs"
    jobs.mkdir()
    for name in ("0.json", "mine.json", "notes.txt"):
        (jobs / name).write_text("{}")
    with FileLock(jobs / ".lock"), pytest.raises(UserError, match="Another process works on the sweep in"):
        begin_records(config)
    assert {file.name for file in jobs.iterdir()} >= {"0.json", "mine.json", "notes.txt"}
    begin_records(config)
    assert {file.name for file in jobs.iterdir()} == {".lock", "mine.json", "notes.txt"}
