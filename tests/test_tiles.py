"""Tiles: they cover the frame, their seams do not show, and one tile's features are all that is held."""

import weakref
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.test_models import fill
from tests.test_upscale import exact, frames_of, worst
from vsr_pipeline.errors import InputError
from vsr_pipeline.models import RealBasicVSRNet
from vsr_pipeline.models.blocks import ResidualBlocks
from vsr_pipeline.tiles import TiledUpscaler, ramps, spans
from vsr_pipeline.timeline import Timeline
from vsr_pipeline.upscale import BicubicUpscaler


class LiveFeatures:
    """Counts the samples of a network's features that are alive, as a device's allocator does; full at `limit`."""

    def __init__(self, net, limit=None):
        self.now = self.peak = 0
        self.limit = limit
        for module in net.modules():
            if isinstance(module, ResidualBlocks):
                module.register_forward_hook(self._allocated)

    def _allocated(self, _module, _inputs, output):
        self.now += output.numel()
        self.peak = max(self.peak, self.now)
        weakref.finalize(output, self._freed, output.numel())
        if self.limit is not None and self.now > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def _freed(self, samples):
        self.now -= samples


def segment_of(upscaler, frames):
    return upscaler.plan(Timeline.constant_rate(len(frames), Fraction(25)))[0]


def run(upscaler, frames):
    work = []
    segment = segment_of(upscaler, frames)
    outputs = list(upscaler.upscale(iter(frames), segment, cleaning_passes=1, on_work=work.append))
    return outputs, sum(work)


def psnr(a, b):
    error = np.mean((np.stack(a).astype(float) - np.stack(b)) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


@pytest.fixture(scope="module")
def tiny():
    return fill(RealBasicVSRNet(8, 2, 2), 0.7)


@given(length=st.integers(1, 3000), grids=st.integers(2, 20), shared=st.floats(0, 0.5))
def test_tiles_cover_an_axis_and_their_weights_sum_to_one(length, grids, shared):
    tile, overlap = 32 * grids, 32 * int(shared * grids)
    parts = spans(length, tile=tile, overlap=overlap)
    assert (parts[0].start, parts[-1].stop) == (0, length)
    assert len({len(part) for part in parts}) == 1
    assert min(64, length) <= len(parts[0]) <= tile
    total = np.zeros(4 * length)
    for part, weight in zip(parts, ramps(parts), strict=True):
        assert (weight > 0).all()
        total[4 * part.start : 4 * part.stop] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert all(a.stop - b.start >= overlap and a.start < b.start for a, b in pairwise(parts))
    assert all(part.start % 32 == 0 for part in parts[:-1])


def test_no_more_tiles_than_needed():
    assert [(s.start, s.stop) for s in spans(512, tile=512, overlap=32)] == [(0, 512)]
    assert [(s.start, s.stop) for s in spans(513, tile=512, overlap=32)] == [(0, 288), (225, 513)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(150, 97), (20, 131), (64, 64)])
def test_seams_of_interpolation_do_not_show(dtype, height, width):
    ramp = np.add.outer(np.arange(height), np.arange(width)) * (np.iinfo(dtype).max / (height + width))
    frames = [np.repeat(ramp.astype(dtype)[..., None], 3, axis=2)] * 3
    whole, _ = run(BicubicUpscaler(), frames)
    tiled, work = run(TiledUpscaler(BicubicUpscaler(), tile=64, overlap=32, window_frames=2), frames)
    assert [o.shape for o in tiled] == [(4 * height, 4 * width, 3)] * 3
    assert tiled[0].dtype == dtype
    assert work == pytest.approx(3)
    assert worst(whole, tiled) <= np.iinfo(dtype).max / 255


def test_one_tile_changes_nothing(tiny):
    frames = frames_of(3, 64, 64)
    upscaler = exact(tiny, max_seq_len=2)
    assert worst(run(upscaler, frames)[0], run(TiledUpscaler(upscaler, tile=64, window_frames=2), frames)[0]) == 0


def test_overlap_makes_tiles_equal_to_the_whole(tiny):
    frames = frames_of(2, 64, 128)
    upscaler = exact(tiny, max_seq_len=2)
    whole, _ = run(upscaler, frames)
    apart, together = (
        psnr(whole, run(TiledUpscaler(upscaler, tile=64, overlap=overlap, window_frames=2), frames)[0])
        for overlap in (0, 32)
    )
    assert together > apart + 10
    assert together > 50


def test_plan_and_cleaning_are_those_of_the_whole(tiny):
    upscaler = exact(tiny, refine_threshold=0)
    tiled = TiledUpscaler(upscaler, tile=64, window_frames=30)
    frames = frames_of(2, 64, 136)
    timeline = Timeline.constant_rate(700, Fraction(25), (400,))
    assert tiled.plan(timeline) == upscaler.plan(timeline)
    assert tiled.cleaning_passes(frames) == upscaler.cleaning_passes(frames) == 3


def test_features_of_one_tile_are_held_at_a_time():
    net = fill(RealBasicVSRNet(8, 1, 1), 0.7)
    live = LiveFeatures(net)
    upscaler = TiledUpscaler(exact(net, max_seq_len=3, lookahead=1), tile=64, overlap=0, window_frames=3)
    outputs, _ = run(upscaler, frames_of(4, 64, 64 * 3))
    assert len(outputs) == 4
    feature = 8 * 64 * 64
    # A window of 3 and a step over it, the states of 3 tiles, and one that is being replaced.
    assert live.peak <= (3 + 1 + 3 + 1) * feature
    assert live.now == 0


def test_input_is_read_a_window_ahead(tiny):
    read = 0

    def source():
        nonlocal read
        for frame in frames_of(7, 20, 70):
            read += 1
            yield frame

    upscaler = TiledUpscaler(exact(tiny, max_seq_len=2, lookahead=2), tile=64, overlap=32, window_frames=2)
    segment = segment_of(upscaler, range(7))
    outputs = upscaler.upscale(source(), segment, cleaning_passes=1, on_work=lambda _: None)
    for made, _ in enumerate(outputs, start=1):
        assert read <= made + 1 + 2 + 2


@pytest.mark.parametrize("there", [0, 3])
def test_input_that_ends_early_is_an_error(tiny, there):
    upscaler = TiledUpscaler(exact(tiny), tile=64, window_frames=30)
    segment = segment_of(upscaler, range(5))
    with pytest.raises(InputError, match="ended"):
        list(upscaler.upscale(iter(frames_of(5, 8, 70)[:there]), segment, cleaning_passes=1, on_work=lambda _: None))


@pytest.mark.parametrize("wrong", [{"tile": 32}, {"tile": 65}, {"tile": 64, "overlap": 64}, {"tile": 64, "overlap": 8}])
def test_tiles_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match="tiles of"):
        TiledUpscaler(BicubicUpscaler(), window_frames=1, **wrong)
