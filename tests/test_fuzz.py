"""Damaged files: every run ends in time, with a documented exit code, and what is finished is complete.

`VSR_FUZZ` says how many damaged copies; `python -m tests.support.fuzz --count 500` gives a table.
"""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("count", ["20", pytest.param("60", marks=pytest.mark.nightly)])
def test_damaged_files(count):
    # Children are forked from a process of their own: threads that other tests have started survive no fork.
    count = os.environ.get("VSR_FUZZ", count)
    command = [sys.executable, "-m", "tests.support.fuzz", "--count", count]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
