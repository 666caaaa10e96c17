"""The command line on a pseudo-terminal: every failure is one line there, too."""

import os
import re
import sys
import threading

import pytest

from tests.support.bad_inputs import FAILING_COMMANDS
from tests.support.clips import images, make_video
from vsr_pipeline import cli

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

# Control sequences: colours, and moves of the cursor.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(monkeypatch):
    """Run a command with stderr on a pseudo-terminal; returns the exit code and the lines that it shows."""

    def run(arguments):
        reading, writing = pty.openpty()
        shown = []

        def read():
            try:
                while data := os.read(reading, 65536):
                    shown.append(data)
            except OSError:  # the terminal is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(writing, "w", encoding="utf-8", buffering=1) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            assert sys.stderr.isatty()
            code = cli.run(arguments)
        reader.join()
        os.close(reading)
        return code, re.split(r"[\r\n]+", _CONTROL.sub("", b"".join(shown).decode()))

    return run


@pytest.fixture
def more_inputs(bad_inputs):
    """What other test files make their failing commands fail with."""
    make_video(bad_inputs / "clip.mp4", frames=5, cut=3, audio=False)
    make_video(bad_inputs / "shorter.mp4", frames=4, cut=3, audio=False)
    images(bad_inputs / "four", 4)
    (bad_inputs / "wrong.toml").write_text("[encode]\nqualty = 3\n")
    (bad_inputs / "train.toml").write_text("[data]\nfolders = ['missing']\n")
    (bad_inputs / "inbox").mkdir()
    return bad_inputs


MORE_COMMANDS = [
    ("demo missing.mp4 clip.mp4 --output d.mp4", 3, "no such file: missing.mp4"),
    ("demo clip.mp4 missing.mp4 --output d.mp4", 3, "no such file: missing.mp4"),
    ("demo clip.mp4 shorter.mp4 --output d.mp4", 3, "clip.mp4 has 5 frames, shorter.mp4 has 4"),
    ("demo good four --output d.mp4", 3, "good has 3 frames, four has 4"),
    ("demo clip.mp4 clip.mp4 --output d.mp4 --start-frame 5", 2, "start frame 5"),
    ("demo clip.mp4 clip.mp4 --output d.gif", 2, "d.gif"),
    ("demo clip.mp4 clip.mp4 --output d.mp4 --fps 0", 2, "--fps"),
    ("demo clip.mp4 text.mp4 --output d.mp4", 3, "text.mp4"),
    ("metrics clip.mp4 shorter.mp4 --no-vmaf", 3, "shorter.mp4 ends after 4 frames"),
    ("metrics clip.mp4 missing.mp4 --no-vmaf", 3, "missing.mp4"),
    ("metrics clip.mp4 clip.mp4 --csv scores.txt", 2, "scores.txt"),
    ("run missing.mp4 --output x.mp4", 3, "no such file: missing.mp4"),
    ("run text.mp4 --output x.mp4 --model bicubic-x4", 3, "text.mp4"),
    ("run clip.mp4 --output x.mp4 --model nothing", 4, "nothing"),
    ("run clip.mp4 --output x.mp4 --checkpoint text.mp4", 4, "text.mp4"),
    ("run clip.mp4 --output x.mp4 --codec nothing", 2, "nothing"),
    ("run clip.mp4 --output x.mp4 --start 9 --model bicubic-x4", 2, "9"),
    ("run clip.mp4 --output clip.mp4", 6, "clip.mp4"),
    ("run clip.mp4 --output x.txt --model bicubic-x4", 6, "cannot write .txt"),
    ("run clip.mp4 --output x.mp4 --config wrong.toml", 2, "qualty"),
    ("run clip.mp4 --output out.png --model bicubic-x4", 2, "out.png"),
    ("run https://example.org/a.mp4 --output x.mp4", 2, "--allow-url"),
    ("batch missing --output o", 3, "missing"),
    ("batch inbox --output inbox", 2, "inbox"),
    ("batch inbox --output o --until noon", 2, "noon"),
    ("batch --status --output o", 3, "no batch"),
    ("probe missing.mp4", 3, "missing.mp4"),
    ("degrade missing.mp4 x.mp4", 3, "missing.mp4"),
    ("degrade good x.mp4", 3, "good"),
    ("degrade good x.avi", 6, "x.avi"),
    ("train missing.toml --output r", 3, "missing.toml"),
    ("train train.toml --output r", 3, "missing"),
    ("train train.toml --output r --resume", 3, "r"),
    ("bench --model nothing", 4, "nothing"),
    ("bench --model bicubic-x4", 2, "bicubic-x4"),
    ("bench --size 3", 2, "--size 3"),
    ("models verify nothing", 4, "nothing"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), [*FAILING_COMMANDS, *MORE_COMMANDS])
def test_a_failure_on_a_terminal_is_one_line(more_inputs, terminal, capsys, monkeypatch, arguments, code, message):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(more_inputs / "checkpoints"))
    found, lines = terminal(arguments.split())
    assert found == code, lines
    (said,) = [line for line in lines if line.startswith("vsr: ")]
    assert message in said
    assert not any("Traceback" in line for line in lines)
    assert capsys.readouterr() == ("", "")


def test_the_first_line_comes_before_pytorch_is_loaded(more_inputs, terminal):
    options = ["--model", "bicubic-x4", "--encoder-preset", "ultrafast"]
    code, lines = terminal(["run", "clip.mp4", "--output", "x.mp4", *options, "--dry-run"])
    assert code == 0
    assert lines[0] == "loading the model"
    assert any(line.startswith("measure the speed") and "6/6 frames" in line for line in lines)
