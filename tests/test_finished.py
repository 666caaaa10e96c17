"""What `merge`, `demo` and `degrade` have written is read back before it gets its name."""

from pathlib import Path

import av
import pytest

from tests.support.clips import images, make_video, times
from vsr_pipeline import cli


class _Losing:
    """A stand-in for a file that is written: its third packet gets lost, as no real muxer can be made to do."""

    def __init__(self, container):
        self._container = container
        self._left = 3

    def __getattr__(self, name):
        return getattr(self._container, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._container.close()

    def mux(self, packets):
        for packet in packets:
            self._left -= 1
            if self._left != 0:
                self._container.mux(packet)


COMMANDS = [
    "merge images --fps 24 --output out.mp4",
    "merge images --fps 24 --output out.mkv",
    "demo images images --output out.mp4 --fps 4 --repeats 0",
    "degrade images out.mp4",
    "degrade images out.mkv",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_lost_a_frame_is_not_published(workspace, capsys, monkeypatch, command):
    images(workspace / "images", 6, 64, 64)
    really_open = av.open

    def losing_open(file, mode="r", *more, **options):
        container = really_open(file, mode, *more, **options)
        return _Losing(container) if mode == "w" and "out" in Path(file).name else container

    monkeypatch.setattr(av, "open", losing_open)
    before = sorted(workspace.rglob("*"))
    assert cli.run(command.split()) == 6
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: ")]
    assert "was not written as it should be (it has" in said
    assert [path for path in sorted(workspace.rglob("*")) if path not in before] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_right_is_published(workspace, command):
    images(workspace / "images", 6, 64, 64)
    assert cli.run(command.split()) == 0
    assert len(times(next(workspace.glob("out.*")))) >= 6


@pytest.mark.parametrize("rate", ["24", "30000/1001"])
def test_webm_rounds_times_to_milliseconds_as_matroska_does(workspace, rate):
    make_video(workspace / "clip.mp4", frames=6, cut=3, audio=False)
    command = [
        "run",
        "clip.mp4",
        "--output",
        "out.webm",
        "--model",
        "bicubic-x4",
        "--codec",
        "av1",
        "--encoder-preset",
        "12",
    ]
    assert cli.run([*command, "--fps", rate]) == 0
    assert len(times(workspace / "out.webm")) in (6, 7)
