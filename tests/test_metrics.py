"""PSNR and SSIM against their definitions."""

import math

import numpy as np
import pytest

from vsr_pipeline.errors import InputError
from vsr_pipeline.measure import measure
from vsr_pipeline.media.frames import write_png
from vsr_pipeline.metrics import luma, psnr, score, ssim


@pytest.fixture
def picture():
    return np.random.RandomState(0).randint(0, 256, (40, 50, 3)).astype(np.uint8)


def test_psnr_of_a_constant_error():
    a = np.full((20, 20), 100.0)
    assert psnr(a, a + 5) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(a, a) == math.inf


def test_ssim_of_equal_and_of_opposite_pictures(picture):
    plane = picture[..., 0].astype(float)
    assert ssim(plane, plane) == pytest.approx(1)
    assert ssim(plane, 255 - plane) < 0


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b, c1 = 100.0, 120.0, (0.01 * 255) ** 2
    flat = np.ones((30, 30))
    assert ssim(a * flat, b * flat) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))


def test_luma_is_bt601_in_studio_range():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], float)
    assert luma(colours)[0] == pytest.approx([16, 235, 81.481])


def test_depths_compare_as_what_they_show(picture):
    scores = score([(picture, picture.astype(np.uint16) * 257)])
    assert scores.psnr_rgb == math.inf
    assert scores.frame_count == 1


def test_clips_of_different_length_are_an_error(tmp_path, picture):
    for name, count in (("a", 2), ("b", 3)):
        for i in range(count):
            write_png(tmp_path / name / f"{i}.png", picture)
    with pytest.raises(InputError, match="ends after 2 frames"):
        measure(tmp_path / "a", tmp_path / "b")


def test_a_smaller_clip_is_enlarged_first(tmp_path):
    write_png(tmp_path / "large" / "0.png", np.full((40, 40, 3), 80, np.uint8))
    write_png(tmp_path / "small" / "0.png", np.full((10, 10, 3), 80, np.uint8))
    assert measure(tmp_path / "large", tmp_path / "small").psnr_rgb == math.inf
