"""Ctrl-C, SIGTERM and SIGHUP wherever they come: the documented exit code, and nothing takes them for a failure."""

import os
import shutil
import signal
import sys

import pytest
import torch

from tests.support.clips import make_video, same_pictures
from vsr_pipeline import api, cli

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

BICUBIC = ["--model", "bicubic-x4", "--segment-frames", "4", "--encoder-preset", "ultrafast"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "walk.mp4", frames=12, cut=8)


def run_with_signal(function, number, arguments):
    """Run a command; a signal comes when it first calls a function of this name."""
    came = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_name == function:
            sys.setprofile(None)
            came.append(function)
            os.kill(os.getpid(), number)

    sys.setprofile(watch)
    try:
        code = cli.run(arguments)
    finally:
        sys.setprofile(None)
    assert came, f"{function} was not called"
    return code


@pytest.mark.parametrize(
    ("function", "number", "code"),
    [
        ("find_videos", signal.SIGINT, 130),  # the batch is planned
        ("default_suffix", signal.SIGINT, 130),  # the name of an output is chosen
        pytest.param("default_suffix", signal.SIGTERM, 143, marks=pytest.mark.nightly),
        pytest.param("default_suffix", signal.SIGHUP, 129, marks=pytest.mark.nightly),
        ("begin", signal.SIGINT, 130),  # a clip is about to be begun
        ("codec_for", signal.SIGINT, 130),  # and its header looked at
        ("save_analysis", signal.SIGINT, 130),
        ("compute_segment", signal.SIGTERM, 143),
        ("save_segment", signal.SIGINT, 130),
        ("join_segments", signal.SIGHUP, 129),
        ("check_frames", signal.SIGINT, 130),
        ("save_finished", signal.SIGINT, 130),
        ("delete_intermediates", signal.SIGINT, 130),
    ],
)
def test_a_batch_stops_wherever_it_is(workspace, video, capsys, function, number, code):
    (workspace / "in").mkdir()
    shutil.copyfile(video, workspace / "in" / "a.mp4")
    command = ["batch", "in", "--output", "out", *BICUBIC]
    assert run_with_signal(function, number, command) == code
    assert capsys.readouterr().err.splitlines()[-1] == "vsr: stopped as asked; the same command continues"
    states = ("queued",) if function == "begin" else ("stopped", "done")
    assert all(row.state in states for row in api.batch_status(workspace / "out"))
    assert cli.run(command) == 0
    assert [row.tries for row in api.batch_status(workspace / "out")] == [0]
    assert [path.name for path in (workspace / "out").glob("*_x4.*")] == ["a_x4.mp4"]
    assert list((workspace / "out").rglob("*.tmp*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_checkpoint_that_is_being_read_is_not_called_damaged(workspace, video, capsys, number):
    torch.save({"a": torch.zeros(1)}, workspace / "some.pth")
    command = ["run", str(video), "--output", "out.mp4", "--checkpoint", "some.pth"]
    assert run_with_signal("load", number, command) == 128 + number
    assert "some.pth" not in capsys.readouterr().err


def test_doctor_does_not_take_a_signal_for_a_finding(workspace, capsys):
    assert run_with_signal("ffmpeg_binary", signal.SIGINT, ["doctor"]) == 130
    assert "stopped as asked" in capsys.readouterr().err


def test_what_was_stopped_goes_on_to_the_same_pixels(workspace, video):
    (workspace / "in").mkdir()
    shutil.copyfile(video, workspace / "in" / "a.mp4")
    assert run_with_signal("save_segment", signal.SIGTERM, ["batch", "in", "--output", "out", *BICUBIC]) == 143
    assert cli.run(["batch", "in", "--output", "out", *BICUBIC]) == 0
    assert cli.run(["run", "in/a.mp4", "--output", "undisturbed.mp4", *BICUBIC]) == 0
    assert same_pictures(workspace / "out" / "a_x4.mp4", workspace / "undisturbed.mp4")
