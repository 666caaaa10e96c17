"""From RGB arrays to planar YUV frames, as ITU-T H.273 defines them, rounded to nearest."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vsr_pipeline.media.colour import LUMA_WEIGHTS, SWSCALE_THREADS
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.conversion import Planes, YuvConversion
from vsr_pipeline.timeline import Colour, Tint

# Where a chroma sample lies along one axis: a filter of three taps around pixel 0, and the first pixel it sits on.
_ON_PIXEL_0 = ((0.25, 0.5, 0.25), 0)
_BETWEEN_0_AND_1 = ((0.0, 0.5, 0.5), 0)
_ON_PIXEL_1 = ((0.25, 0.5, 0.25), 1)
_CHROMA_SITES = {
    "left": (_ON_PIXEL_0, _BETWEEN_0_AND_1),
    "center": (_BETWEEN_0_AND_1, _BETWEEN_0_AND_1),
    "topleft": (_ON_PIXEL_0, _ON_PIXEL_0),
    "top": (_BETWEEN_0_AND_1, _ON_PIXEL_0),
    "bottomleft": (_ON_PIXEL_0, _ON_PIXEL_1),
    "bottom": (_BETWEEN_0_AND_1, _ON_PIXEL_1),
}
# Formats with interleaved chroma, and the planar one that holds the same values.
_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}
# Converted at a time, so that everything in between stays in the caches; even.
_BAND_ROWS = 64


class RgbToYuv:
    """Converts RGB arrays to frames of one pixel format.

    Args:
        colour: `matrix` and `range` must be given. In 4:2:0 and 4:2:2 chroma is filtered to `chroma_location` (unsaid:
            left, as every player assumes).
        pixel_format: yuv420p, yuv422p or yuv444p of 8 to 16 bits, nv12 or p010le.

    Raises:
        ValueError: a colour that cannot be written.
    """

    def __init__(self, colour: Colour, pixel_format: str) -> None:
        if colour.matrix not in LUMA_WEIGHTS or colour.range not in ("tv", "pc"):
            allowed = ", ".join(LUMA_WEIGHTS)
            raise ValueError(f"cannot write {colour}: matrix must be one of {allowed}, range tv or pc")
        if colour.chroma_location is not None and colour.chroma_location not in _CHROMA_SITES:
            raise ValueError(f"chroma location {colour.chroma_location!r} is none of {', '.join(_CHROMA_SITES)}")
        self.pixel_format = pixel_format
        self._planar = _PLANAR.get(pixel_format, pixel_format)
        layout = VideoFormat(self._planar, 8, 8)
        step_x, step_y = 8 // layout.components[1].width, 8 // layout.components[1].height
        depth = layout.components[0].bits
        peak = 2**depth - 1
        site = _CHROMA_SITES[colour.chroma_location or "left"]
        red, blue = LUMA_WEIGHTS[colour.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        step = 2 ** (depth - 8)
        full = colour.range == "pc"
        luma_scale, luma_zero = (peak, 0) if full else (219 * step, 16 * step)
        chroma_scale, chroma_zero = peak if full else 224 * step, 128 * step
        difference_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        difference_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        scales = np.array([[luma_scale], [chroma_scale], [chroma_scale]])
        zeros = np.array([[luma_zero], [chroma_zero], [chroma_zero]])
        self.conversion = YuvConversion(
            affine=np.hstack([np.stack([luma, difference_blue, difference_red]) * scales, zeros]),
            peak=peak,
            step_x=step_x,
            step_y=step_y,
            filter_x=site[0],
            filter_y=site[1] if step_y == 2 else ((0.0, 1.0, 0.0), 0),
        )
        self._affine = self.conversion.affine

    def coded_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels of the frames for arrays of this size: whole chroma samples."""
        return self.conversion.coded_size(width, height)

    def __call__(self, pixels: Pixels | Planes, tint: Tint | None = None) -> VideoFrame:
        """Convert one array (height, width, 3), uint8 or uint16; where `coded_size` is larger, the edge is repeated.

        With a `tint` all chroma samples have its value, and the pixels give the luma alone. `Planes` of the same
        conversion are only copied.
        """
        if isinstance(pixels, Planes):
            return self._from_planes(pixels, tint)
        samples: npt.NDArray[Any] = pixels
        height, width, _ = samples.shape
        coded_width, coded_height = self.coded_size(width, height)
        if (coded_width, coded_height) != (width, height):
            samples = np.pad(samples, ((0, coded_height - height), (0, coded_width - width), (0, 0)), mode="edge")
        if samples.dtype == np.uint8 and self.conversion.sample_type == np.uint16:
            samples = samples.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535
        white = np.array([np.iinfo(samples.dtype).max] * 3 + [1])
        frame = VideoFrame(coded_width, coded_height, self._planar)
        planes = [self._samples_of(frame, index) for index in range(3)]
        affine = self._affine / white
        if tint is not None:
            self._fill_chroma(planes[1:], tint)
            planes = planes[:1]
        step_y = self.conversion.step_y
        for top in range(0, coded_height, _BAND_ROWS):
            bottom = min(top + _BAND_ROWS, coded_height)
            above = max(top - 1, 0)  # chroma is filtered over one row more on either side
            # OpenCV has vector instructions for this in float32, and none for integers to one channel: 20 times slower.
            band = samples[above : bottom + 1].astype(np.float32)
            for index, (plane, weights) in enumerate(zip(planes, affine, strict=False)):
                values = cv2.transform(band, weights[None])
                if index == 0:
                    plane[top:bottom] = self._rounded(values[top - above : bottom - above])
                else:
                    values = self._at_chroma_sites(values, slice(top - above, bottom - above))
                    plane[top // step_y : bottom // step_y] = self._rounded(values)
        return self._in_format(frame)

    def _from_planes(self, given: Planes, tint: Tint | None) -> VideoFrame:
        height, width = given.samples[0].shape
        frame = VideoFrame(width, height, self._planar)
        planes = [self._samples_of(frame, index) for index in range(3)]
        for plane, samples in zip(planes, given.samples, strict=True):
            plane[:] = samples
        if tint is not None:
            self._fill_chroma(planes[1:], tint)
        return self._in_format(frame)

    def _fill_chroma(self, planes: list[npt.NDArray[Any]], tint: Tint) -> None:
        chroma = self._affine[1:] @ np.array([tint.red, tint.green, tint.blue, 1])
        for plane, value in zip(planes, chroma, strict=True):
            plane[:] = self._rounded(value)

    def _in_format(self, frame: VideoFrame) -> VideoFrame:
        return (
            frame
            if self._planar == self.pixel_format
            else frame.reformat(format=self.pixel_format, threads=SWSCALE_THREADS)
        )

    def _at_chroma_sites(self, values: npt.NDArray[Any], rows: slice) -> npt.NDArray[Any]:
        """Filter a chroma plane of full size, and return its samples in some of its rows."""
        step_x, step_y = self.conversion.step_x, self.conversion.step_y
        if step_x == 1:
            return values[rows]
        (taps_x, first_x), (taps_y, first_y) = self.conversion.filter_x, self.conversion.filter_y
        filtered = cv2.sepFilter2D(values, -1, np.array(taps_x), np.array(taps_y), borderType=cv2.BORDER_REPLICATE)
        return filtered[rows][first_y::step_y, first_x::step_x]

    def _rounded(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rounded: npt.NDArray[Any] = np.rint(values).clip(0, self.conversion.peak)
        return rounded

    def _samples_of(self, frame: VideoFrame, index: int) -> npt.NDArray[Any]:
        """(height, width) view of a plane, without the padding of its rows."""
        plane = frame.planes[index]
        rows: npt.NDArray[Any] = np.frombuffer(memoryview(plane), self.conversion.sample_type).reshape(plane.height, -1)
        return rows[:, : plane.width]
