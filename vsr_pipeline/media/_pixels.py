"""From decoded frames, as coded, to upright RGB arrays.

swscale brings every pixel format to 4:4:4 at 16 bits, a plain shift for luma; the matrix is applied here, in floating
point. swscale's own way to RGB is off by up to a whole 8-bit step in limited range, for 10-bit video too.
"""

import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from vsr_pipeline.errors import InputError
from vsr_pipeline.media._colour import colour_of, grey_to_rgb, guess_matrix, matrix_is_known, yuv_to_rgb
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.timeline import VideoInfo

_ACCURATE = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def bit_depth(pixel_format: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pixel_format.components)


def turn_upright(pixels: Pixels, *, rotation_degrees: int, mirrored: bool) -> Pixels:
    """Turn clockwise by a multiple of 90 degrees, then, if `mirrored`, swap left and right."""
    if rotation_degrees:
        pixels = cv2.rotate(pixels, _TURNS[rotation_degrees])  # type: ignore[assignment]
    if mirrored:
        pixels = cv2.flip(pixels, 1)  # type: ignore[assignment]
    return pixels


class RgbConverter:
    """Converts the frames of one stream to the size, depth and orientation that `info` says."""

    def __init__(self, info: VideoInfo, notes: list[str]) -> None:
        self._info = info
        self._notes = notes
        self._reformatter = VideoReformatter()
        self._dtype = np.uint16 if info.bit_depth > 8 else np.uint8
        self._white = int(np.iinfo(self._dtype).max)

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Return (H, W, 3) upright RGB: uint8 for sources of up to 8 bits, else uint16.

        Raises:
            InputError: the pixel format cannot be converted.
        """
        try:
            rgb = self._to_rgb(frame)
        except av.error.FFmpegError as error:
            raise InputError(
                f"cannot convert frames of {self._info.path}: {frame.width}x{frame.height} {frame.format.name} "
                f"({error.strerror})"
            ) from error
        return turn_upright(rgb, rotation_degrees=self._info.rotation_degrees, mirrored=self._info.mirrored)

    def _to_rgb(self, frame: VideoFrame) -> Pixels:
        name = frame.format.name
        if (frame.width, frame.height) != (self._info.width, self._info.height):
            self._note(
                f"the frame size changes to {frame.width}x{frame.height}: "
                f"scaled to {self._info.width}x{self._info.height}"
            )
        if len(frame.format.components) > 3 or name in ("ya8", "ya16le", "ya16be", "pal8"):
            self._note("transparency is dropped")
        if frame.format.is_rgb or name.startswith(("mono", "xyz", "pal", "bayer")):
            rgb: Pixels = self._resample(frame, "rgb24" if self._white == 255 else "rgb48le", full=True).to_ndarray()  # type: ignore[assignment]
            return rgb
        if name.startswith(("gray", "ya8", "ya16")):
            return self._grey(frame)
        return self._yuv(frame)

    def _yuv(self, frame: VideoFrame) -> Pixels:
        colour = colour_of(frame)
        matrix = colour.matrix or self._info.colour.matrix
        if matrix is None or not matrix_is_known(matrix):
            guess = guess_matrix(self._info.width, self._info.height)
            found = f"the colour matrix {matrix} is not supported" if matrix else "the colour matrix is not tagged"
            self._note(f"{found}: {guess} assumed from the picture's size")
            matrix = guess
        full = (colour.range or self._info.colour.range) == "pc"
        bits = bit_depth(frame.format)
        affine = yuv_to_rgb(matrix, full_range=full, bits=bits, white=self._white)
        return self._apply(affine, self._yuv_codes(frame, bits))

    def _yuv_codes(self, frame: VideoFrame, bits: int) -> npt.NDArray[np.uint16]:
        """(H, W, 3) coded values, shifted up to 16 bits; chroma interpolated."""
        # Only where swscale takes both sides for limited range it shifts values instead of stretching them; formats of
        # the old yuvj kind it always takes for full range.
        old_full = frame.format.name.startswith("yuvj")
        if frame.format.name == "yuvj444p":
            return _shifted_up(_merge(self._resample(frame, "yuvj444p", full=True)), bits)
        return _merge(self._resample(frame, "yuv444p16le", full=old_full))

    def _grey(self, frame: VideoFrame) -> Pixels:
        bits = bit_depth(frame.format)
        scaled = self._resample(frame, frame.format.name, full=True)
        codes = _shifted_up(_plane(scaled, 0)[:, :: 2 if frame.format.name.startswith("ya") else 1], bits)
        full = (colour_of(frame).range or self._info.colour.range) != "tv"
        return self._apply(grey_to_rgb(full_range=full, bits=bits, white=self._white), codes)

    def _apply(self, affine: npt.NDArray[np.float64], codes: npt.NDArray[np.uint16]) -> Pixels:
        rgb: npt.NDArray[np.uint16] = cv2.transform(codes, affine)  # type: ignore[assignment]
        if self._dtype is np.uint16:
            return rgb
        return np.minimum(rgb, 255).astype(np.uint8)

    def _resample(self, frame: VideoFrame, pixel_format: str, *, full: bool) -> VideoFrame:
        level = ColorRange.JPEG if full else ColorRange.MPEG
        return self._reformatter.reformat(
            frame,
            width=self._info.width,
            height=self._info.height,
            format=pixel_format,
            interpolation=_ACCURATE,
            src_color_range=level,
            dst_color_range=level,
        )

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)


def _plane(frame: VideoFrame, index: int) -> npt.NDArray[np.uint16]:
    """(H, W or more for interleaved samples) samples of one plane in the low bits, without the padding of its rows."""
    plane = frame.planes[index]
    bits = bit_depth(frame.format)
    order = ">" if frame.format.name.endswith("be") else "<"
    dtype = np.dtype("u1") if bits <= 8 else np.dtype(f"{order}u2")
    rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
    interleaved = 2 if frame.format.name.startswith("ya") else 1
    return rows[:, : plane.width * interleaved].astype(np.uint16, copy=False)


def _merge(frame: VideoFrame) -> npt.NDArray[np.uint16]:
    """(H, W, 3) array of a frame with three planes of equal size."""
    return np.asarray(cv2.merge([_plane(frame, index) for index in range(3)]), dtype=np.uint16)


def _shifted_up(codes: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint16]:
    return np.left_shift(codes, 16 - bits, dtype=np.uint16)
