"""HR frames that become YUV on the device: what the writer's own conversion on the CPU gives, within one level."""

import itertools

import numpy as np
import pytest
import torch

from tests.support.clips import decoded, make_video
from tests.support.enhancing import enhance
from tests.support.small_device import OnlyGpuOperations
from vsr_pipeline.enhance import transfer
from vsr_pipeline.enhance.transfer import Download, download, to_pixels
from vsr_pipeline.errors import NotFiniteError
from vsr_pipeline.media.colour import SWSCALE_THREADS
from vsr_pipeline.media.write.conversion import Planes
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.timeline import Colour, Tint

SITES = ("left", "center", "topleft", "top", "bottomleft", "bottom")
EIGHT, SIXTEEN = np.dtype(np.uint8), np.dtype(np.uint16)
CASES = [
    *itertools.product(("bt709", "smpte170m", "bt2020nc"), ("tv", "pc"), ("left",), ("yuv420p", "yuv420p10le")),
    *itertools.product(("bt709",), ("tv",), SITES, ("yuv420p", "yuv422p10le")),
    ("bt709", "tv", None, "yuv444p"),
    ("bt709", "tv", None, "nv12"),
    ("bt709", "tv", None, "p010le"),
]


def a_frame(height=47, width=69, seed=0):
    """Noise with colours that leave the range, (1, 3, H, W): the hardest that chroma is filtered of."""
    return 1.3 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 0.15


def samples(frame):
    """The three planes of a frame, without the padding of their rows."""
    planar = {"nv12": "yuv420p", "p010le": "yuv420p10le"}.get(frame.format.name)
    frame = frame.reformat(format=planar, threads=SWSCALE_THREADS) if planar else frame
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    rows = [np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1) for plane in frame.planes]
    return [row[:, : plane.width].astype(int) for row, plane in zip(rows, frame.planes, strict=True)]


@pytest.mark.parametrize(("matrix", "range_", "site", "pixel_format"), CASES)
def test_as_the_writer_converts_within_a_level(matrix, range_, site, pixel_format):
    to_yuv = RgbToYuv(Colour(matrix=matrix, range=range_, chroma_location=site), pixel_format)
    deep = to_yuv.conversion.peak > 255
    frame = a_frame()
    expected = to_yuv(to_pixels(frame, SIXTEEN if deep else EIGHT))
    with OnlyGpuOperations():
        planes = Download(frame, EIGHT, conversion=to_yuv.conversion).arrived()
    assert isinstance(planes, Planes)
    given = to_yuv(planes)
    assert (given.format.name, given.width, given.height) == (expected.format.name, expected.width, expected.height)
    for own, other in zip(samples(given), samples(expected), strict=True):
        assert np.abs(own - other).max() <= 1


def test_a_tint_takes_the_place_of_chroma():
    to_yuv = RgbToYuv(Colour(matrix="bt709", range="tv"), "yuv420p")
    planes = Download(a_frame(48, 64), EIGHT, conversion=to_yuv.conversion).arrived()
    luma, *chroma = samples(to_yuv(planes, Tint()))
    assert np.array_equal(luma, planes.samples[0])
    assert all((plane == 128).all() for plane in chroma)


def test_pictures_of_a_report_show_what_is_written():
    to_yuv = RgbToYuv(Colour(matrix="bt709", range="tv"), "yuv444p10le")
    frame = a_frame().clamp(0, 1)
    rgb = Download(frame, EIGHT, conversion=to_yuv.conversion).arrived().to_rgb()
    assert np.abs(rgb.astype(int) - to_pixels(frame, EIGHT)).max() <= 1


def test_frames_of_a_gpu_are_converted_and_those_of_a_cpu_are_not(monkeypatch):
    conversion = RgbToYuv(Colour(matrix="bt709", range="tv"), "yuv420p").conversion
    frames = [a_frame(), np.zeros((8, 8, 3), np.uint8)]
    assert [type(frame) for frame in download(frames, EIGHT, conversion)] == [np.ndarray] * 2
    monkeypatch.setattr(transfer, "converts_on", lambda _: True)
    assert [type(frame) for frame in download(frames, EIGHT, conversion)] == [Planes, np.ndarray]
    half = sum(plane.nbytes for plane in next(download([a_frame(48, 64)], EIGHT, conversion)).samples)
    assert half == 48 * 64 * 3 // 2
    with pytest.raises(NotFiniteError):
        list(download([torch.full((1, 3, 8, 8), torch.nan)], EIGHT, conversion))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_clip_comes_out_alike(tmp_path, monkeypatch, codec):
    """The same clip with the conversion on the CPU and on what stands for a GPU."""
    source = make_video(tmp_path / "in.mp4", frames=3, cut=9, width=32, height=24)
    options = ("--codec", codec, "--strength", "0.9")
    plain = enhance(source, tmp_path / "plain.mp4", *options)
    monkeypatch.setattr(transfer, "converts_on", lambda _: True)
    converted = enhance(source, tmp_path / "converted.mp4", *options)
    assert (plain.code, converted.code) == (0, 0), plain.said + converted.said
    for (_, a), (_, b) in zip(decoded(plain.output), decoded(converted.output), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 2
    assert (tmp_path / ".vsr" / "converted.mp4" / "after.jpg").exists()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_bands_of_rows_give_the_same_bytes(layout, dtype):
    frame = a_frame(71, 33).contiguous(memory_format=layout)
    assert np.array_equal(to_pixels(frame, dtype), Download(frame, dtype).arrived())
    frame[0, 1, 70, 32] = 3e38  # finite, and so is its neighbour, but not their sum
    frame[0, 1, 70, 31] = 3e38
    assert to_pixels(frame, dtype)[70, 32, 1] == np.iinfo(dtype).max
    frame[0, 2, 70, 0] = -torch.inf
    with pytest.raises(NotFiniteError):
        to_pixels(frame, dtype)
