"""What importing the package does to a process."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        # Where a number is given, libgomp does not look at the policy.
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_spin_for_a_short_time_unless_the_user_says_otherwise(given, expected):
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import sys, flowers_tl, os; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | given, capture_output=True, text=True, check=True
    )
    # Torch reads it when it is imported, which must be later.
    assert done.stdout.split() == [expected, "False"]
