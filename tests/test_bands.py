"""Frames in bands: the same pixels as whole but for rounding, from less memory."""

import pytest
import torch
from torch import nn

from tests.support.networks import fill
from tests.support.small_device import LiveBytes, psnr
from tests.support.upscaling import CPU, exact, frames_of, upscale_whole, worst
from vsr_pipeline.enhance.realbasicvsr_network import prepare
from vsr_pipeline.models import warp
from vsr_pipeline.models.bands import in_bands
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.blocks import ResidualBlocks, conv3x3
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.spynet import FlowLevel


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def stack():
    torch.manual_seed(0)
    return nn.Sequential(conv3x3(3, 8), nn.ReLU(), conv3x3(8, 8), nn.ReLU(), conv3x3(8, 4)).requires_grad_(False)


@pytest.mark.parametrize("rows", [1, 7, 8, 64, None])
@pytest.mark.parametrize(("height", "width"), [(1, 5), (7, 33), (8, 8), (9, 64), (31, 3), (67, 17)])
def test_bands_are_the_whole(stack, rows, height, width):
    x = random(2, 3, height, width)
    banded = in_bands(stack, (x,), rows=rows, halo=3)
    torch.testing.assert_close(banded, stack(x), rtol=0, atol=1e-6)


def test_a_halo_that_is_too_small_shows(stack):
    x = random(1, 3, 40, 16)
    assert (in_bands(stack, (x,), rows=8, halo=2) - stack(x)).abs().max() > 1e-4


def test_bands_of_what_enlarges_several_inputs(stack):
    first, second = random(2, 3, 41, 10), random(2, 3, 41, 10, seed=1)

    def enlarge(a, b):
        return nn.functional.pixel_shuffle(stack(a + 2 * b), 2)

    banded = in_bands(enlarge, (first, second), rows=16, halo=3, scale=2)
    assert banded.shape == (2, 1, 82, 20)
    torch.testing.assert_close(banded, enlarge(first, second), rtol=0, atol=1e-6)


def test_no_band_is_higher_than_asked_for():
    heights = []

    def record(x):
        heights.append(x.shape[-2])
        return x

    for height in (64, 65, 127, 128, 129, 1000):
        heights.clear()
        in_bands(record, (random(1, 1, height, 2),), rows=64, halo=0)
        assert max(heights) <= 64
        assert max(heights) - min(heights) <= 1
        assert sum(heights) == height


def upscaled(net, frames, precision="fp32", band_rows=None):
    model = exact(net, precision=precision, band_rows=band_rows, max_seq_len=2, lookahead=1, warm_up=0)
    return upscale_whole(model.upscaler, frames)


# In bf16 it is slow where that is emulated.
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("height", "width"), [(150, 70), (131, 35)])
def test_a_network_in_bands_gives_the_same_pixels(precision, height, width):
    frames = frames_of(2, height, width)
    whole = upscaled(fill(RealBasicVSRNet(8, 2, 2), 0.7), frames, precision)
    banded = upscaled(fill(RealBasicVSRNet(8, 2, 2), 0.7), frames, precision, band_rows=64)
    # Sums of another order, at most, where a library takes another algorithm for another height.
    assert worst(whole, banded) <= (1 if precision == "fp32" else 3)
    assert psnr(whole, banded) > 65


def test_every_stack_of_blocks_can_be_cut():
    """Deep ones, too: the halo grows with the number of blocks."""
    torch.manual_seed(0)
    blocks = ResidualBlocks(3, 4, 12).requires_grad_(False)
    for parameter in blocks.parameters():
        parameter *= 3  # so that the farthest rows count
    x = random(1, 3, 160, 9)
    whole = blocks(x)
    blocks.band_rows = 16
    torch.testing.assert_close(blocks(x), whole, rtol=1e-6, atol=0)
    blocks._reach -= 3
    assert not torch.allclose(blocks(x), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("stack", "channels", "factor"), [(ResidualBlocks(16, 16, 1), 16, 0.6), (FlowLevel(), 8, 0.3)])
@torch.inference_mode()
def test_bands_need_less_memory(stack, channels, factor):
    """Of residual blocks, the whole result stays; that of a flow level is small."""
    x = random(1, channels, 512, 16)
    peaks = []
    for stack.band_rows in (None, 64):
        with LiveBytes() as live:
            stack(x)
        peaks.append(live.peak)
    assert peaks[1] < factor * peaks[0]


def test_reconstruction_never_holds_a_whole_frame_of_features():
    """Features at the size of the output would be 16 times as large as those of the frame, twice."""
    net = fill(BasicVSRNet(64, 1), 0.7)
    prepare(net, device=CPU, precision="fp32")
    feature = random(1, 64, 640, 8)
    with torch.inference_mode(), LiveBytes() as live:
        net.reconstruct(random(1, 3, 640, 8), feature, feature)
    assert live.peak < 6 * feature.nbytes


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@torch.inference_mode()
def test_warping_by_groups_of_channels_changes_nothing(monkeypatch, padding_mode):
    features = random(2, 64, 20, 30).to(torch.bfloat16).to(memory_format=torch.channels_last)
    flow = 8 * (random(2, 2, 20, 30) - 0.5)
    with LiveBytes() as at_once:
        whole = warp.warp(features, flow, padding_mode=padding_mode)
    monkeypatch.setattr(warp, "COPY_BYTES", 5 * 4 * 2 * 20 * 30)
    with LiveBytes() as by_groups:
        grouped = warp.warp(features, flow, padding_mode=padding_mode)
    assert torch.equal(whole, grouped)
    assert by_groups.peak < 0.6 * at_once.peak


def test_cleaning_is_decided_as_for_whole_frames():
    frames = frames_of(2, 136, 64)
    model = exact(fill(RealBasicVSRNet(8, 1, 1), 0.7), refine_threshold=0)
    assert model.upscaler.decide(frames).description == "cleaned three times"
