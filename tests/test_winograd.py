"""Convolutions by Winograd's method: the same network, the same pixels, other arithmetic."""

import numpy as np
import pytest
import torch

from tests.support.networks import CASES, assert_reproduces, fill, golden_net
from tests.support.small_device import psnr
from tests.support.upscaling import exact, frames_of, upscale_whole
from vsr_pipeline import cli
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.errors import PrecisionError
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.winograd import use_winograd, winograd_library

pytestmark = pytest.mark.skipif(winograd_library() is None, reason="needs ncnn: pip install 'vsr-pipeline[ncnn]'")


@torch.inference_mode()
def test_reproduces_official_outputs():
    net = golden_net(CASES["full_c64n20"])
    use_winograd(net)
    assert_reproduces("full_c64n20", net)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 64), (2, 33, 70), (3, 67, 97), (2, 1, 5)])
@torch.inference_mode()
def test_any_size_and_batch(count, height, width):
    clip = torch.rand(count, 2, 3, height, width, generator=torch.Generator().manual_seed(0))
    direct, winograd = (fill(RealBasicVSRNet(16, 2, 1, cleaning_channels=8), 0.7) for _ in range(2))
    use_winograd(winograd)
    torch.testing.assert_close(winograd(clip), direct(clip), rtol=0, atol=1e-4)


def upscaled(frames, band_rows=None):
    net = fill(BasicVSRNet(16, 2), 0.7)
    model = exact(net, band_rows=band_rows, winograd=True, max_seq_len=2, lookahead=1, warm_up=0)
    return np.stack(upscale_whole(model.upscaler, frames, passes=0))


def test_in_bands_and_with_other_threads():
    frames = frames_of(3, 150, 70)
    whole = upscaled(frames)
    banded = upscaled(frames, band_rows=64)
    assert np.abs(whole.astype(int) - banded).max() <= 1
    assert psnr(whole, banded) > 60
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert np.abs(upscaled(frames).astype(int) - whole).max() <= 1
    finally:
        torch.set_num_threads(threads)


def test_what_a_run_says_of_it(tmp_path):
    torch.save({"state_dict": fill(BasicVSRNet(8, 1), 0.7).state_dict()}, tmp_path / "tiny.pth")

    def opened(**settings):
        return open_model(UpscaleConfig(checkpoint=tmp_path / "tiny.pth", device="cpu", **settings))

    winograd, direct = (opened(precision="fp32", convolutions=name) for name in ("winograd", "direct"))
    assert f"fp32 by {winograd_library()} on cpu" in winograd.description
    assert winograd.identity["convolutions"] == winograd_library()
    assert "ncnn" not in direct.description
    assert direct.identity["convolutions"] == opened(precision="bf16").identity["convolutions"] == "direct"
    with pytest.raises(PrecisionError, match="winograd is for fp32 on a CPU with ncnn, not for bf16 on cpu: leave"):
        opened(precision="bf16", convolutions="winograd")


def test_a_value_that_is_unknown(tmp_path, capsys):
    assert cli.run(["run", str(tmp_path / "a.mp4"), "--output", str(tmp_path / "b.mp4"), "--convolutions", "fft"]) == 2
    assert "convolutions" in capsys.readouterr().err
