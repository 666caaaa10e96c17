"""`vsr degrade`: what it stores, and how it fails."""

import json
from fractions import Fraction

import numpy as np
import pytest

from tests.support.clips import make_video, times
from tests.support.pictures import clip
from vsr_pipeline import cli
from vsr_pipeline.degrade.config import DegradationConfig
from vsr_pipeline.degrade.degradation import Degradation
from vsr_pipeline.media.images import write_png
from vsr_pipeline.media.read.reader import VideoReader


@pytest.fixture(scope="module")
def clean_video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("clean") / "clean.mkv", frames=8, cut=5, width=102, height=76)


def pixels_of(path):
    with VideoReader(path) as reader:
        return [np.rint(f.pixels / (np.iinfo(f.pixels.dtype).max / 255)).astype(np.uint8) for f in reader]


def test_the_command_stores_exactly_what_the_degradation_gives(clean_video, tmp_path, capsys):
    output = tmp_path / "spoiled.mp4"
    assert cli.run(["degrade", str(clean_video), str(output), "--strength", "heavy", "--seed", "3", "--json"]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert (result["frame_count"], result["width"], result["height"], result["seed"]) == (8, 25, 19, 3)
    assert "102x76, of which 100x76 are used" in printed.err
    assert times(output) == times(clean_video)
    clean = np.stack(pixels_of(clean_video))[:, :, :100].astype(np.float32) / 255
    expected = Degradation(DegradationConfig(preset="heavy")).degrade(clean, (19, 25), np.random.default_rng(3))
    np.testing.assert_array_equal(np.stack(pixels_of(output)), np.rint(expected * 255).astype(np.uint8))


def test_the_same_seed_gives_the_same_file(clean_video, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert cli.run(["degrade", str(clean_video), str(tmp_path / f"{name}.mkv"), "--seed", seed]) == 0
    a, b, c = ((tmp_path / f"{name}.mkv").read_bytes() for name in "abc")
    assert a == b != c


def test_a_folder_and_a_config(tmp_path, capsys):
    for index, frame in enumerate(clip(4, 64, 80)):
        write_png(tmp_path / "images" / f"{index:03d}.png", np.rint(frame * 255).astype(np.uint8))
    config = tmp_path / "d.toml"
    config.write_text('[degradation]\npreset = "published"\n')
    output = tmp_path / "out.mp4"
    assert cli.run(["degrade", str(tmp_path / "images"), str(output), "--config", str(config)]) == 0
    assert "4 frames of 20x16" in capsys.readouterr().out
    assert times(output) == [Fraction(i, 25) for i in range(4)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("none.mp4 out.mp4", 3, "none.mp4"),
        ("text.mp4 out.mp4", 3, "text.mp4"),
        ("empty out.mp4", 3, "no images in empty"),
        ("small out.mp4", 3, "small is 40x64"),
        ("small out.avi", 6, "'.avi'"),
        ("small text.mp4", 6, "text.mp4 exists"),
        ("small out.mp4 --strength cruel", 2, "cruel"),
        ("small out.mp4 --seed -1", 2, "--seed"),
        ("small out.mp4 --strength mild --config d.toml", 2, "not both"),
        ("small out.mp4 --config none.toml", 3, "none.toml"),
        ("small out.mp4 --config text.mp4", 2, "text.mp4"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(arguments, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "small" / "0.png", np.zeros((64, 40, 3), np.uint8))
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["degrade", *arguments.split()]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before
