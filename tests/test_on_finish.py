"""`vsr batch --on-finish`: a program of the user's is told how the batch ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.clips import make_video
from vsr_pipeline import cli

REPOSITORY = Path(__file__).parent.parent
QUICK = ["--model", "bicubic", "--encoder-preset", "ultrafast"]


@pytest.fixture
def folder(workspace):
    make_video(workspace / "in" / "a.mp4", frames=3, cut=9)
    (workspace / "in" / "bad.mp4").write_bytes(b"no video")
    script = workspace / "tell me.sh"
    script.write_text("#!/bin/sh\nenv | grep ^VSR_ | sort > told.txt\necho called $1\nexit ${2:-0}\n")
    script.chmod(0o755)
    return workspace


def told(folder):
    return dict(line.split("=", 1) for line in (folder / "told.txt").read_text().splitlines())


def test_it_is_told_how_the_batch_ended(folder, capfd):
    code = cli.run(["batch", "in", "--output", "out", *QUICK, "--on-finish", "'./tell me.sh' me"])
    assert code == 7
    known = told(folder)
    assert (known["VSR_EXIT_CODE"], known["VSR_DONE"], known["VSR_FAILED"]) == ("7", "1", "1")
    assert known["VSR_OUTPUT"] == str(folder / "out")
    assert Path(known["VSR_REPORT"]).read_text().lower().startswith("<!doctype html>")
    streams = capfd.readouterr()
    assert "called me" in streams.err
    assert "called" not in streams.out


def test_its_failure_is_a_warning(folder, capfd):
    (folder / "in" / "bad.mp4").unlink()
    assert cli.run(["batch", "in", "--output", "out", *QUICK, "--on-finish", "'./tell me.sh' me 3"]) == 0
    assert "--on-finish ./tell me.sh: ended with exit code 3" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["", "no-such-program-here", "'unclosed"])
def test_a_program_that_there_is_not_is_refused_before_the_work(folder, capsys, command):
    assert cli.run(["batch", "in", "--output", "out", *QUICK, "--on-finish", command]) == 2
    assert "--on-finish" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.nightly
def test_it_is_called_when_the_batch_was_stopped(folder):
    make_video(folder / "in" / "long.mp4", frames=400, cut=200, width=160, height=120)
    command = [sys.executable, "-m", "vsr_pipeline", "batch", "in", "--output", "out", *QUICK, "--segment-frames", "5"]
    process = subprocess.Popen(
        [*command, "--on-finish", "'./tell me.sh' me"], env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, cwd=folder
    )
    segments = folder / "out" / ".vsr" / "long_x4.mp4" / "segments"
    deadline = time.monotonic() + 60
    while not segments.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert told(folder)["VSR_EXIT_CODE"] == "143"
