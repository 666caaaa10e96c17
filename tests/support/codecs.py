"""The same small video in every codec."""

from fractions import Fraction

import numpy as np

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.media.write.writer import VideoWriter, track_suffix
from vsr_pipeline.timeline import Colour

CODECS = ["h264", "hevc", "av1", "prores", "ffv1"]
FAST = {"h264": "veryfast", "hevc": "veryfast", "av1": "10"}


def settings_of(codec, **more):
    return EncodeConfig(codec=codec, preset=more.pop("preset", FAST.get(codec)), **more)


def write(path, frames, settings, *, pts=None, **options):
    height, width = frames[0].shape[:2]
    given = {"time_base": Fraction(1, 25), "frame_rate": None, "colour": Colour("bt709", "tv")} | options
    pts = pts or list(range(len(frames)))
    with VideoWriter(path, width=width, height=height, settings=settings, **given) as writer:
        for tick, end, pixels in zip(pts, [*pts[1:], pts[-1] + 1], frames, strict=True):
            writer.write(tick, pixels, duration=end - tick)
    return path


def texture(count, *, height=64, width=64):
    small = np.random.default_rng(3).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    large = small.repeat(8, 0).repeat(8, 1)
    return [np.roll(large, 3 * index, axis=1) for index in range(count)]


def write_all(folder):
    for codec in CODECS:
        settings = settings_of(codec)
        write(folder / f"{codec}{track_suffix(settings)}", texture(8, height=144, width=176), settings)
