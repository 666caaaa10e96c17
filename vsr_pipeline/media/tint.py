"""Pictures of one tint, grey above all: told from their coded values, and kept when a model has given them colours."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from vsr_pipeline.media.colour import LUMA_WEIGHTS, SWSCALE_THREADS, is_grey, is_rgb, matrix_for_swscale, tint_of
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.pixels import bit_depth, coding_of_frame, plane_samples
from vsr_pipeline.timeline import Tint, VideoInfo

GREY = Tint()

# Layouts of chroma that packed and half-planar formats have: samples per 16 columns and 16 rows.
_SUBSAMPLINGS = {(8, 8): "420", (8, 16): "422", (16, 16): "444", (4, 16): "411"}


class TintFinder:
    """Looks at the frames of a clip, one by one, for those of one tint."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._reformatter = VideoReformatter()
        self._tints: list[Tint | None] = []

    def feed(self, frame: VideoFrame) -> None:
        """Look at the next frame, as coded."""
        self._tints.append(self._tint(frame))

    def skip(self) -> None:
        """Take the next frame to be as the last one: it belongs to no part that is enhanced."""
        self._tints.append(self._tints[-1] if self._tints else None)

    def of_shots(self, cuts: Sequence[int]) -> tuple[Tint | None, ...]:
        """Return the tint of each shot that has one in all its frames; `cuts` as in `Timeline`."""
        return tints_of_shots(self._tints, cuts)

    def _tint(self, frame: VideoFrame) -> Tint | None:
        if is_grey(frame.format) or frame.format.name.startswith(("mono", "ya")):
            return GREY
        if is_rgb(frame.format):
            name = "rgb24" if bit_depth(frame.format) <= 8 else "rgb48le"
            rgb: npt.NDArray[Any] = self._reformatted(frame, name).to_ndarray()
            return GREY if has_equal_channels(self._shown(rgb, frame)) else None
        frame = self._planar(frame)
        values = [_only_value(self._shown(plane_samples(frame, index), frame)) for index in (1, 2)]
        if values[0] is None or values[1] is None:
            return None
        coding, _ = coding_of_frame(frame, self._info)
        return tint_of(coding, bit_depth(frame.format), (values[0], values[1]))

    def _planar(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame with its chroma in two planes; no value is changed."""
        components = frame.format.components
        if (components[1].plane, components[2].plane) == (1, 2):
            return frame
        layout = _SUBSAMPLINGS[frame.format.chroma_width(16), frame.format.chroma_height(16)]
        bits = bit_depth(frame.format)
        return self._reformatted(frame, f"yuv{layout}p" + ("" if bits <= 8 else f"{bits}le"))

    def _reformatted(self, frame: VideoFrame, pixel_format: str) -> VideoFrame:
        matrix, level = matrix_for_swscale(frame), ColorRange.MPEG
        return self._reformatter.reformat(
            frame,
            format=pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=level,
            dst_color_range=level,
            threads=SWSCALE_THREADS,
        )

    def _shown(self, plane: npt.NDArray[Any], frame: VideoFrame) -> npt.NDArray[Any]:
        """Return the part of a plane that its container does not crop, if the frame has the clip's size."""
        crop, (height, width) = self._info.crop, plane.shape[:2]
        if (frame.width, frame.height) != (self._info.width, self._info.height):
            return plane
        step_x, step_y = -(-frame.width // width), -(-frame.height // height)
        bottom, right = -(-(frame.height - crop.bottom) // step_y), -(-(frame.width - crop.right) // step_x)
        return plane[crop.top // step_y : bottom, crop.left // step_x : right]


def tints_of_shots(tints: Sequence[Tint | None], cuts: Sequence[int]) -> tuple[Tint | None, ...]:
    """Return for each shot the tint that all its frames have; None where they differ, or one has several colours."""
    shots = pairwise((0, *cuts, len(tints)))
    return tuple(tints[a] if all(tint == tints[a] for tint in tints[a:b]) else None for a, b in shots)


def tint_of_pixels(pixels: Pixels) -> Tint | None:
    """Return the tint of an RGB picture (H, W, 3): grey where its channels are equal, else none."""
    return GREY if has_equal_channels(pixels) else None


def has_equal_channels(pixels: npt.NDArray[Any]) -> bool:
    """Whether red, green and blue are equal in every pixel of (H, W, 3)."""
    middle = pixels[pixels.shape[0] // 2]  # enough for nearly every picture with colours
    return all(np.array_equal(part[..., 0], part[..., k]) for part in (middle, pixels) for k in (1, 2))


def with_tint(pixels: Pixels, tint: Tint | None) -> Pixels:
    """Return an RGB picture (H, W, 3) with its luma, by the weights of BT.709, and one tint; None: as it is.

    What leaves the range of the samples is clipped. With `GREY`, the channels are equal in every pixel.
    """
    if tint is None:
        return pixels
    red, blue = LUMA_WEIGHTS["bt709"]
    weights = np.array([red, 1 - red - blue, blue])
    offsets = np.array([tint.red, tint.green, tint.blue])
    offsets = (offsets - weights @ offsets) * np.iinfo(pixels.dtype).max
    tinted: Pixels = cv2.transform(pixels, np.column_stack([np.stack([weights] * 3), offsets]))  # type: ignore[assignment]
    return tinted


def tint_note(tints: Sequence[Tint | None]) -> tuple[str, ...]:
    """Say which shots keep their tint, if any."""
    kept = sum(tint is not None for tint in tints)
    if not kept:
        return ()
    is_grey = all(tint in (None, GREY) for tint in tints)
    what = "grey" if is_grey else "of one tint"
    return (
        f"the picture is {what} and stays so" + ("" if kept == len(tints) else f" in {kept} of {len(tints)} shots"),
    )


def _only_value(plane: npt.NDArray[Any]) -> int | None:
    """Return the value that all samples have; None where they differ."""
    value = plane[0, 0]
    middle = plane[plane.shape[0] // 2]  # enough for nearly every picture with colours
    return int(value) if bool((middle == value).all()) and bool((plane == value).all()) else None
