"""From RGB arrays to planar YUV frames, as ITU-T H.273 defines them, rounded to nearest."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vsr_pipeline.media._colour import LUMA_WEIGHTS
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.timeline import Colour

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
        self.step_x, self.step_y = 8 // layout.components[1].width, 8 // layout.components[1].height
        depth = layout.components[0].bits
        self._sample_type = np.uint8 if depth == 8 else np.uint16
        self._peak = 2**depth - 1
        self._site = _CHROMA_SITES[colour.chroma_location or "left"]
        red, blue = LUMA_WEIGHTS[colour.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        step = 2 ** (depth - 8)
        full = colour.range == "pc"
        luma_scale, luma_zero = (self._peak, 0) if full else (219 * step, 16 * step)
        chroma_scale, chroma_zero = self._peak if full else 224 * step, 128 * step
        difference_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        difference_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        self._luma = np.append(luma * luma_scale, luma_zero)[None]
        chroma = np.stack([difference_blue, difference_red]) * chroma_scale
        self._chroma = np.hstack([chroma, np.full((2, 1), chroma_zero)])

    def coded_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels of the frames for arrays of this size: whole chroma samples."""
        return width + -width % self.step_x, height + -height % self.step_y

    def __call__(self, pixels: Pixels) -> VideoFrame:
        """Convert one array (height, width, 3), uint8 or uint16; where `coded_size` is larger, the edge is repeated."""
        samples: npt.NDArray[Any] = pixels
        height, width, _ = samples.shape
        coded_width, coded_height = self.coded_size(width, height)
        if (coded_width, coded_height) != (width, height):
            samples = np.pad(samples, ((0, coded_height - height), (0, coded_width - width), (0, 0)), mode="edge")
        if samples.dtype == np.uint8 and self._sample_type == np.uint16:
            samples = samples.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535
        white = np.array([np.iinfo(samples.dtype).max] * 3 + [1])
        frame = VideoFrame(coded_width, coded_height, self._planar)
        # OpenCV rounds to nearest and saturates.
        self._fill(frame, 0, cv2.transform(samples, self._luma / white))
        chroma = np.rint(cv2.transform(self._filtered(samples), self._chroma / white)).clip(0, self._peak)
        self._fill(frame, 1, chroma[:, :, 0])
        self._fill(frame, 2, chroma[:, :, 1])
        return frame if self._planar == self.pixel_format else frame.reformat(format=self.pixel_format)

    def _filtered(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """RGB at the places of the chroma samples."""
        if self.step_x == 1:
            return samples.astype(np.float32)
        taps_x, first_x = self._site[0]
        taps_y, first_y = self._site[1] if self.step_y == 2 else ((0.0, 1.0, 0.0), 0)
        filtered = cv2.sepFilter2D(
            samples, cv2.CV_32F, np.array(taps_x), np.array(taps_y), borderType=cv2.BORDER_REPLICATE
        )
        return np.ascontiguousarray(filtered[first_y :: self.step_y, first_x :: self.step_x], dtype=np.float32)

    def _fill(self, frame: VideoFrame, index: int, values: npt.NDArray[Any]) -> None:
        plane = frame.planes[index]
        rows = np.frombuffer(memoryview(plane), self._sample_type).reshape(plane.height, -1)
        rows[:, : plane.width] = values
