"""`vsr enhance --backend mmedit` and our network with official windows give the same frames."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.golden.make_reference import make_clip
from tests.reference.random_nets import filled, save_official_checkpoint, small_basicvsr, small_realbasicvsr
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

pytestmark = pytest.mark.usefixtures("official")

VSR = Path(sys.executable).parent / "vsr"
WINDOW = 3


def write_frames(folder, *, frames, height, width, seed=11):
    """Write a moving clip as the PNGs that `vsr split` would make of it."""
    folder.mkdir()
    for index, frame_3HW in enumerate(make_clip(frames, height, width, seed)):
        pixels = (frame_3HW * 255).round().astype(np.uint8).transpose(1, 2, 0)
        assert cv2.imwrite(str(folder / f"{index:08d}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return folder


def enhance(frames, checkpoint, output, *options):
    """Run the installed command; return its frames (T, 4H, 4W, 3)."""
    command = [VSR, "enhance", frames, "--checkpoint", checkpoint, "--max-seq-len", WINDOW, "--output", output]
    done = subprocess.run([*map(str, command), *options], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return np.stack([cv2.imread(str(path)) for path in sorted(output.glob("*.png"))])


def assert_backends_agree(frames, checkpoint, folder, *options):
    official = enhance(frames, checkpoint, folder / "mmedit", "--backend", "mmedit", *options)
    ours = enhance(frames, checkpoint, folder / "torch", "--windows", "official", "--precision", "fp32", *options)
    height, width = cv2.imread(str(frames / "00000000.png")).shape[:2]
    assert official.shape == ours.shape == (len(list(frames.glob("*.png"))), 4 * height, 4 * width, 3)
    worst = np.abs(official.astype(int) - ours).max()
    assert worst <= 1, f"off by {worst} levels"
    assert official.std() > 5, "flat frames would prove nothing"


@pytest.mark.parametrize(("height", "width"), [(64, 72), (45, 67)])
def test_realbasicvsr(tmp_path, height, width):
    frames = write_frames(tmp_path / "frames", frames=2 * WINDOW + 1, height=height, width=width)
    checkpoint = save_official_checkpoint(small_realbasicvsr(), tmp_path / "checkpoint.pth")
    assert_backends_agree(frames, checkpoint, tmp_path)


def test_basicvsr(tmp_path):
    frames = write_frames(tmp_path / "frames", frames=WINDOW + 2, height=66, width=64)
    checkpoint = save_official_checkpoint(small_basicvsr(), tmp_path / "checkpoint.pth")
    assert_backends_agree(frames, checkpoint, tmp_path)


def test_published_size_with_the_official_config(tmp_path):
    import mmedit

    configs = Path(mmedit.__file__).parent / ".mim" / "configs" / "restorers" / "real_basicvsr"
    config = configs / "realbasicvsr_c64b20_1x30x8_lr5e-5_150k_reds.py"
    frames = write_frames(tmp_path / "frames", frames=2, height=64, width=64)
    with torch.no_grad():
        checkpoint = save_official_checkpoint(filled(RealBasicVSRNet()), tmp_path / "checkpoint.pth")
    assert_backends_agree(frames, checkpoint, tmp_path, "--config", str(config))
