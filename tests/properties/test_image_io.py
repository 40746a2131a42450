"""Mutated images: the reader returns an image or raises UserError, soon and with bounded memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_mutant_of_an_image_breaks_the_reader(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz_images", "60", "0", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    # Killed by its alarm: the mutant that was read then lies in the folder.
    assert done.returncode == 0, f"{tmp_path}: {done.returncode}: {done.stdout[-2000:]} {done.stderr[-500:]}"
    assert int(re.search(r"(\d+) mutants, 0 broke", done.stdout)[1]) > 1000
