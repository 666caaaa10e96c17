"""What is refused before PyTorch and PyAV are loaded, which takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ("run missing.mp4 --output x.mp4", 3, "no such file: missing.mp4"),
    ("run empty.mp4 --output x.mp4", 3, "empty.mp4 is empty"),
    ("run clip.mp4 --output x.mp4 --model nothing", 4, "unknown model 'nothing'"),
    ("run clip.mp4 --output x.mp4 --model realbasicvsr-x4", 4, "vsr models pull realbasicvsr-x4"),
    ("run clip.mp4 --output x.mp4 --checkpoint no.pth", 4, "no such checkpoint file: no.pth"),
    ("run clip.mp4 --output x.mp4 --codec nothing", 2, "no encoder nothing"),
    ("run clip.mp4 --output x.mp4 --device gpu", 2, "--device: must be auto, cpu, cuda"),
    ("run clip.mp4 --output x.mp4 --quality 400", 2, "--quality"),
    ("run clip.mp4 --output x.mp4 --config no.toml", 3, "no.toml"),
    ("run clip.mp4 --output x.mp4 --dry-run --model nothing", 4, "unknown model 'nothing'"),
    ("batch missing --output o", 3, "no such folder: missing"),
    ("batch . --output o --model nothing", 4, "unknown model 'nothing'"),
    ("batch . --output o --until noon", 2, "--until noon"),
    ("split missing.mp4", 3, "no such file: missing.mp4"),
    ("enhance missing", 3, "no such file: missing"),
    ("enhance clip.mp4 --model nothing", 4, "unknown model 'nothing'"),
    ("merge missing --fps 25", 3, "missing"),
    ("merge . --fps 25 --source missing.mp4", 3, "no such file: missing.mp4"),
    ("merge . --codec nothing --fps 25", 2, "no encoder nothing"),
    ("demo missing.mp4 clip.mp4 --output d.mp4", 3, "no such file: missing.mp4"),
    ("demo clip.mp4 clip.mp4 --output d.mp4 --fps x", 2, "--fps x"),
    ("demo clip.mp4 clip.mp4 --output d.mp4 --repeats -1", 2, "--repeats"),
    ("metrics clip.mp4 missing.mp4", 3, "no such file: missing.mp4"),
    ("probe missing.mp4", 3, "no such file: missing.mp4"),
    ("degrade missing.mp4 x.mp4", 3, "no such file: missing.mp4"),
    ("degrade . x.mp4 --config missing.toml", 3, "missing.toml"),
    ("train missing.toml --output r", 3, "missing.toml"),
    ("bench --model nothing", 4, "unknown model 'nothing'"),
    ("bench --size 3", 2, "--size 3"),
    ("models pull nothing", 4, "unknown model 'nothing'"),
]
PROGRAM = """
import contextlib, io, json, sys
from vsr_pipeline import cli
for command in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.run(command.split())
    heavy = [name for name in ("torch", "av", "cv2", "numpy") if name in sys.modules]
    print(json.dumps([code, said.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """For each command its exit code, what it said, and the heavy libraries that were loaded by then."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "clip.mp4").write_bytes(b"not looked at")
    (folder / "empty.mp4").touch()
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "VSR_CHECKPOINTS": str(folder / "checkpoints"),
    }
    commands = json.dumps([command for command, _, _ in COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip((command for command, _, _ in COMMANDS), map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("command", "code", "message"), COMMANDS)
def test_it_is_refused_before_anything_heavy_is_loaded(results, command, code, message):
    found, said, heavy = results[command]
    assert (found, heavy) == (code, []), said
    assert len(said.splitlines()) == 1
    assert message in said


def test_of_several_videos_a_missing_one_stops_no_other(tmp_path, monkeypatch, capsys):
    from tests.support.clips import make_video
    from vsr_pipeline import cli

    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", frames=3, cut=9, audio=False)
    assert cli.run(["split", "missing.mp4", "clip.mp4"]) == 7
    assert "vsr: no such file: missing.mp4" in capsys.readouterr().err
    assert (tmp_path / "results" / "clip" / "clip.json").exists()
