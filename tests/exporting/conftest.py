"""A run with a temperature, and all files of its export."""

import shutil

import pytest

from flowers_tl.exporting.export import export
from flowers_tl.inference.checkpoint import keep_temperature, load_trained


@pytest.fixture(scope="session")
def calibrated(run_folder, tmp_path_factory):
    """The shared run with a temperature, so that one sees where it goes."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run_folder, folder)
    keep_temperature(load_trained(folder), 2.0)
    return load_trained(folder)


@pytest.fixture(scope="session")
def out(calibrated, tmp_path_factory):
    """All files of a calibrated run."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    export(calibrated, folder)
    return folder
