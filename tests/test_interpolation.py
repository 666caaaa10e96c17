"""Interpolation as OpenCV does it, and the one change of size after a network as Pillow does it."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden.make_reference import make_clip
from vsr_pipeline.enhance.resize import lanczos_resize
from vsr_pipeline.media.interpolation import METHODS, interpolate
from vsr_pipeline.media.read.reader import VideoReader

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"

FLAGS = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos": 4}

SIZES = [
    ((30, 40), (120, 160)),
    ((30, 40), (45, 60)),
    ((37, 23), (1, 1)),
    ((64, 48), (27, 20)),
    ((97, 31), (33, 90)),
    ((1, 1), (5, 7)),
    ((120, 2), (54, 2)),
]


def picture(height, width, dtype=np.uint8):
    pixels = make_clip(1, height, width, 3)[0].transpose(1, 2, 0)
    return np.ascontiguousarray(pixels if dtype == np.float32 else (pixels * np.iinfo(dtype).max).round().astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("method", FLAGS)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_opencvs(method, source, target, dtype):
    pixels = picture(*source, dtype)
    found = interpolate(pixels, target, method)
    assert found.dtype == dtype
    assert np.array_equal(found, cv2.resize(pixels, target[::-1], interpolation=FLAGS[method]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_classical_chain(dtype):
    """Against the same steps by hand, rounded after each one."""
    pixels = picture(20, 30, dtype)
    white = np.iinfo(dtype).max
    padded = np.pad(pixels.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    sharpened = (5 * pixels.astype(np.int64) - neighbours).clip(0, white)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(sharpened.astype(float), ((2, 2), (2, 2), (0, 0)), mode="reflect")
    rows = sum(weight * padded[n : n + 20] for n, weight in enumerate(kernel))
    blurred = sum(weight * rows[:, n : n + 30] for n, weight in enumerate(kernel)).round().astype(dtype)
    expected = cv2.resize(blurred, (120, 80), interpolation=cv2.INTER_CUBIC).astype(np.int64)
    found = interpolate(pixels, (80, 120), "classical")
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("method", METHODS)
def test_one_channel_keeps_its_axis(method):
    assert interpolate(picture(6, 7)[..., :1], (12, 14), method).shape == (12, 14, 1)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_lanczos_equals_pillows(source, target):
    pixels = picture(*source, np.float32) * 1.2 - 0.1
    found = lanczos_resize(torch.from_numpy(pixels).permute(2, 0, 1)[None], target)[0]
    for channel, plane in zip(found.numpy(), pixels.transpose(2, 0, 1), strict=True):
        expected = np.asarray(Image.fromarray(plane).resize(target[::-1], Image.Resampling.LANCZOS))
        np.testing.assert_allclose(channel, expected, rtol=0, atol=1e-5)


def test_lanczos_keeps_what_is_constant_and_does_not_alias():
    flat = torch.full((1, 3, 50, 70), 0.25)
    torch.testing.assert_close(lanczos_resize(flat, (21, 33)), torch.full((1, 3, 21, 33), 0.25), rtol=0, atol=1e-6)
    stripes = (torch.arange(80) % 2).float().expand(1, 1, 10, 80)
    middle = lanczos_resize(stripes, (10, 30))[..., 5:-5]
    assert (middle - 0.5).abs().max() < 0.05


def test_lanczos_leaves_its_input_and_the_same_size():
    frame = torch.rand(2, 3, 12, 9)
    before = frame.clone()
    assert lanczos_resize(frame, (12, 9)) is frame
    assert lanczos_resize(frame, (12, 20)).shape == (2, 3, 12, 20)
    assert torch.equal(frame, before)
    assert lanczos_resize(frame.half(), (12, 9)).dtype == torch.float32
    with pytest.raises(ValueError, match="9x0"):
        lanczos_resize(frame, (0, 9))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("--model lanczos --scale 1.5", (240, 136)),
        ("--model fsrcnn-small-x4", (640, 360)),
        ("--model espcn-x2 --tile 64", (320, 180)),
        (f"--checkpoint {CHECKPOINTS / 'FSRCNN_x3.pb'}", (480, 270)),
    ],
)
def test_a_run_without_a_network_of_pytorch_needs_no_torch(tmp_path, model, size):
    """Made, continued, and with its size and time told: PyTorch takes a second and a hundred megabytes to load."""
    demo, output = Path(__file__).parent.parent / "data" / "demo.mp4", tmp_path / "large.mp4"
    run = ["run", str(demo), "--output", str(output), "--max-frames", "3", *model.split()]
    twice = f"print([cli.run(arguments) for arguments in {[run, [*run, '--dry-run'], run]}])"
    code = f"import sys; sys.modules['torch'] = None; from vsr_pipeline import cli; {twice}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0]", done.stderr
    with VideoReader(output) as reader:
        assert (reader.info.width, reader.info.height, sum(1 for _ in reader)) == (*size, 3)
