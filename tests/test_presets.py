"""Presets: files of ordinary settings, what goes before what, and which one is proposed for a clip."""

import json
import tomllib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tests.support.clips import ffmpeg
from vsr_pipeline import cli
from vsr_pipeline.clip.traits import Traits, preset_for
from vsr_pipeline.config import load_config
from vsr_pipeline.presets import NAMES, preset_path
from vsr_pipeline.timeline import VideoInfo


def printed(capsys, *words):
    assert cli.run(["run", "clip.mp4", "--print-config", *words]) == 0
    return tomllib.loads(capsys.readouterr().out)


def test_each_preset_is_a_file_that_says_what_it_was_tried_on():
    for name in NAMES:
        load_config(preset_path(name))
        assert "Tried on:" in preset_path(name).read_text(encoding="utf-8")


def test_options_go_before_the_preset_and_that_before_the_file(capsys, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('[upscale]\nscale = 3.0\nstrength = 0.5\n[encode]\npreset = "slow"\nquality = 60\n')
    said = printed(capsys, "--preset", "phone", "--config", str(mine))
    assert (said["upscale"]["scale"], said["upscale"]["strength"], said["encode"]["quality"]) == (2.0, 0.8, 60)
    assert said["encode"]["preset"] == "slow"
    said = printed(capsys, "--preset", "phone", "--config", str(mine), "--strength", "1", "--scale", "4")
    assert (said["upscale"]["strength"], said["upscale"]["scale"]) == (1.0, 4.0)


def test_a_size_of_the_preset_takes_the_place_of_that_of_the_file(capsys, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("[upscale]\nscale = 3.0\n")
    said = printed(capsys, "--preset", "dvd", "--config", str(mine))["upscale"]
    assert (said["height"], "scale" in said) == (1080, False)
    said = printed(capsys, "--preset", "dvd", "--scale", "2")["upscale"]
    assert (said["scale"], "height" in said) == (2.0, False)


@pytest.mark.parametrize("word", ["slow", "ultrafast", "12"])
def test_words_of_encoders_are_refused_with_the_option_that_takes_them(word, capsys):
    assert cli.run(["run", "clip.mp4", "--preset", word]) == 2
    assert f"the encoder's speed is --encoder-preset {word}" in capsys.readouterr().err
    said = printed(capsys, "--encoder-preset", word)
    assert said["encode"]["preset"] == word


def info(**changed):
    usual = {
        "path": "clip.mp4", "container": "mov", "codec": "h264", "stream_index": 0, "width": 1280, "height": 720,
        "pixel_format": "yuv420p", "bit_depth": 8, "time_base": Fraction(1, 25), "average_frame_rate": Fraction(25),
    }  # fmt: skip
    return VideoInfo(**usual | changed)


def traits(**changed):
    usual = {"interlaced": False, "blockiness": 0.4, "noise": 0.2, "flat": 0.1, "few_colours": 0.6, "grey": False}
    edges = {"edges": 0.1, "clean_edges": 0.1, "sharp_edges": 0.05, "repeated": 0.0}
    return Traits(**usual | edges | changed)


SD = {"width": 720, "height": 576}
SCREEN = {"clean_edges": 0.8, "sharp_edges": 0.3}


@pytest.mark.parametrize(
    ("header", "measured", "preset", "why"),
    [
        ({}, {}, None, "the defaults suit it"),
        (SD, {"interlaced": True}, "dvd", "interlaced, of 576 lines, and has little noise"),
        (SD, {"interlaced": True, "noise": 4.0}, "vhs", "noise of 4.0 of 255"),
        (SD | {"codec": "mpeg2video"}, {}, "dvd", "MPEG-2 of 576 lines"),
        ({"width": 1920, "height": 1080}, {"interlaced": True}, None, ""),
        ({"rotation_degrees": 90}, {"flat": 0.3, "few_colours": 0.9}, "phone", "rotation tag"),
        ({"width": 720, "height": 1280}, {}, "phone", "upright"),
        ({}, {"grey": True, "few_colours": 1.0}, "archive", "no colours"),
        ({}, {"grey": True, "few_colours": 1.0, "flat": 0.9}, None, ""),  # an empty sky
        ({}, {"flat": 0.7, "few_colours": 0.99, "grey": True} | SCREEN, "screen", "70% of it is flat"),
        ({}, {"flat": 0.9, "few_colours": 0.99} | SCREEN | {"edges": 0.01}, None, ""),  # a frame with a word in it
        ({}, {"flat": 0.5, "few_colours": 0.95, "clean_edges": 0.26}, None, ""),  # somebody before a ceiling
        ({}, {"flat": 0.35, "few_colours": 0.85, "clean_edges": 0.5}, "anime", "35% of it is flat"),
        ({}, {"flat": 0.35, "few_colours": 0.85} | SCREEN | {"few_colours": 0.7}, None, ""),
        ({}, {"flat": 0.35, "repeated": 0.5, "clean_edges": 0.4}, "anime", "50% of its frames"),
    ],
)
def test_what_was_measured_decides(header, measured, preset, why):
    found, said = preset_for(info(**header), traits(**measured))
    assert found == preset
    assert why in said


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("interlaced/fate__mpeg2_field_encoding.ts", "dvd"),
        ("rotated/decord__video_270.mov", "phone"),
        ("plain_av/moviepy__chaplin.mp4", "archive"),
        ("multi_stream/androidx__sample_with_chapters.mp4", None),
        ("multi_stream/torchcodec__nasa_13013.mp4", None),
    ],
)
def test_probe_proposes_a_preset_for_real_files(name, preset, shared_data, capsys):
    assert cli.run(["probe", str(shared_data / "data" / "media" / name)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["proposal"]["preset"] == preset, said["proposal"]
    assert said["proposal"]["why"]


def test_probe_knows_drawn_film(tmp_path, capsys):
    """Flat faces with dark lines around them, drawn large and reduced, as drawings are scanned."""
    page = np.full((1440, 2560, 3), (235, 210, 170), np.uint8)
    cv2.rectangle(page, (0, 1000), (2560, 1440), (110, 170, 120), -1)
    for x in range(200, 2400, 500):
        cv2.circle(page, (x, 800), 180, (180, 210, 250), -1)
        cv2.circle(page, (x, 800), 180, (30, 20, 30), 8, cv2.LINE_AA)
        cv2.rectangle(page, (x - 120, 990), (x + 120, 1300), (200, 90, 60), -1)
        cv2.rectangle(page, (x - 120, 990), (x + 120, 1300), (30, 20, 30), 8)
    cv2.imwrite(str(tmp_path / "drawn.png"), cv2.resize(page, (640, 360), interpolation=cv2.INTER_AREA))
    ffmpeg(
        "-loop",
        "1",
        "-i",
        tmp_path / "drawn.png",
        "-frames:v",
        "6",
        "-crf",
        "24",
        "-pix_fmt",
        "yuv420p",
        tmp_path / "drawn.mp4",
    )
    assert cli.run(["probe", str(tmp_path / "drawn.mp4")]) == 0
    assert json.loads(capsys.readouterr().out)["proposal"]["preset"] == "anime"


def test_probe_knows_a_screen(tmp_path, capsys):
    page = np.full((360, 640, 3), 255, np.uint8)
    for line in range(12):
        text = f"line {line}: letters that are read on a screen"
        cv2.putText(page, text, (20, 30 + 28 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 90), 1, cv2.LINE_AA)
    cv2.imwrite(str(tmp_path / "page.png"), page)
    ffmpeg("-loop", "1", "-i", tmp_path / "page.png", "-frames:v", "10", "-pix_fmt", "yuv420p", tmp_path / "page.mp4")
    assert cli.run(["probe", str(tmp_path / "page.mp4")]) == 0
    assert json.loads(capsys.readouterr().out)["proposal"]["preset"] == "screen"
