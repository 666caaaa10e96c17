"""A clip that does not fit into memory: the advice is one that can be followed, and it helps."""

import re
import shlex
import subprocess

import pytest
import torch

from tests.support.clips import images, make_video, times
from tests.support.networks import fill
from vsr_pipeline import cli
from vsr_pipeline.media.ffmpeg import ffmpeg_binary
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet


def reason(capsys):
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: ")]
    return said


def test_the_command_that_reduces_a_video_makes_it_fit(workspace, capsys):
    make_video(workspace / "a clip.mp4", frames=3, cut=9, width=640, height=480)
    limited = ["--model", "bicubic-x4", "--encoder-preset", "ultrafast", "--memory-limit", "480MB"]
    assert cli.run(["run", "a clip.mp4", "--output", "out.mkv", *limited]) == 5
    said = reason(capsys)
    assert "--memory-limit allows 480 MB: allow more, or reduce the video: ffmpeg -i 'a clip.mp4'" in said
    assert "GPU" not in said  # no network runs
    command = shlex.split(said[said.index("ffmpeg -i") :])
    subprocess.run([str(ffmpeg_binary()), *command[1:], "-loglevel", "error"], check=True, stdin=subprocess.DEVNULL)
    assert [round(t, 3) for t in times(command[-1])] == [round(t, 3) for t in times("a clip.mp4")]
    assert cli.run(["run", command[-1], "--output", "out.mkv", *limited]) == 0


@pytest.mark.nightly
def test_the_option_that_is_advised_makes_it_fit(workspace, capsys):
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, workspace / "tiny.pth")
    make_video(workspace / "clip.mp4", frames=8, cut=9, width=192, height=128, audio=False)
    command = ["run", "clip.mp4", "--output", "out.mp4", "--checkpoint", "tiny.pth", "--device", "cpu"]
    command += ["--precision", "fp32", "--convolutions", "direct", "--encoder-preset", "ultrafast"]
    for limit in range(400, 900, 10):
        if cli.run([*command, "--memory-limit", f"{limit}MB"]) == 0:
            pytest.fail("no limit was refused with an option that helps")
        if advised := re.search(r"give (--[a-z-]+ \d+(?: --[a-z-]+ \d+)?), or use a GPU", reason(capsys)):
            break
    assert cli.run([*command, "--memory-limit", f"{limit}MB", *advised[1].split()]) == 0


def test_images_are_told_their_size(workspace, capsys):
    images(workspace / "shots", 3, 640, 480)
    assert cli.run(["run", "shots", "--output", "o.mp4", "--model", "bicubic-x4", "--memory-limit", "480MB"]) == 5
    assert re.search(r"allow more, or reduce the images first, to \d+x\d+$", reason(capsys))


def test_the_limit_counts_for_bicubic_too(workspace, capsys):
    make_video(workspace / "clip.mp4", frames=3, cut=9, audio=False)
    command = ["run", "clip.mp4", "--output", "out.mp4", "--model", "bicubic-x4", "--encoder-preset", "ultrafast"]
    assert cli.run([*command, "--memory-limit", "300MB"]) == 5
    assert reason(capsys).endswith("--memory-limit allows 300 MB: allow more")
    assert cli.run([*command, "--memory-limit", "600MB"]) == 0
