"""Runs written by hand, and the report of them."""

import csv

import pytest
from written_runs import write_run

from flowers_tl.report import summarize, write_report
from flowers_tl.results.load_runs import find_runs, group_runs


@pytest.fixture
def run(tmp_path):
    """Write a run below tmp_path/runs: a function of its name and of what :func:`write_run` takes."""
    return lambda name, **settings: write_run(tmp_path / "runs" / name, **settings)


@pytest.fixture
def groups(tmp_path):
    """The groups of all runs written so far."""
    return lambda: group_runs(find_runs([tmp_path / "runs"])[0])[0]


@pytest.fixture
def report(tmp_path, groups):
    """Write the report of all runs written so far; return its page, Markdown and CSV rows."""

    def write(notes=()):
        page = write_report(summarize(groups(), notes), tmp_path / "report")
        with open(page.with_suffix(".csv"), newline="") as file:
            return page.read_text(), page.with_suffix(".md").read_text(), list(csv.DictReader(file))

    return write
