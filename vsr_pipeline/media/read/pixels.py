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

from vsr_pipeline.errors import InputError, OutOfMemoryError
from vsr_pipeline.media.colour import (
    SWSCALE_THREADS,
    Coding,
    coding_of,
    colour_of,
    grey_to_rgb,
    has_alpha,
    is_grey,
    is_rgb,
    matrix_for_swscale,
    yuv_to_rgb,
)
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.filters import FilterChain
from vsr_pipeline.timeline import Colour, Crop, VideoInfo

_ACCURATE = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)

ALPHA_NOTE = "transparency is dropped"

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def bit_depth(pixel_format: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pixel_format.components)


def size_note(frame: VideoFrame, info: VideoInfo) -> str:
    """What to say about a frame of another size than the stream's."""
    return f"the frame size changes to {frame.width}x{frame.height}: scaled to {info.width}x{info.height}"


def turn_upright(pixels: Pixels, *, rotation_degrees: int, mirrored: bool) -> Pixels:
    """Turn clockwise by a multiple of 90 degrees, then, if `mirrored`, swap left and right."""
    if rotation_degrees:
        pixels = cv2.rotate(pixels, _TURNS[rotation_degrees])  # type: ignore[assignment]
    if mirrored:
        pixels = cv2.flip(pixels, 1)  # type: ignore[assignment]
    return pixels


def coding_of_frame(frame: VideoFrame, info: VideoInfo) -> tuple[Coding, tuple[str, ...]]:
    """How the values of a frame are to be understood: as it says, else as the stream says, else by a guess.

    The second value tells what was assumed.
    """
    said, known = colour_of(frame), info.colour
    colour = Colour(
        matrix=said.matrix or known.matrix, range=said.range or known.range, chroma_location=known.chroma_location
    )
    return coding_of(colour, frame.format, width=info.width, height=info.height)


class RgbConverter:
    """Converts the frames of one stream to the size, depth and orientation that `info` says."""

    def __init__(self, info: VideoInfo, notes: list[str]) -> None:
        self._info = info
        self._notes = notes
        self._reformatter = VideoReformatter()
        self._sited: FilterChain | None = None
        self._dtype = np.uint16 if info.bit_depth > 8 else np.uint8
        self._white = int(np.iinfo(self._dtype).max)

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Return (H, W, 3) upright RGB: uint8 for sources of up to 8 bits, else uint16.

        Raises:
            InputError: the pixel format cannot be converted.
            OutOfMemoryError: there is not enough memory for it.
        """
        try:
            rgb = self._to_rgb(frame)
        except MemoryError as error:
            raise OutOfMemoryError(f"not enough memory to convert a frame of {self._info.path}") from error
        except av.error.FFmpegError as error:
            raise InputError(
                f"cannot convert frames of {self._info.path}: {frame.width}x{frame.height} {frame.format.name} "
                f"({error.strerror})"
            ) from error
        crop = self._info.crop
        if crop != Crop():
            # A copy: what is made of a frame takes its memory to be in one piece.
            rgb = rgb[crop.top : rgb.shape[0] - crop.bottom, crop.left : rgb.shape[1] - crop.right].copy()
        if not self._info.upright:
            return rgb
        return turn_upright(rgb, rotation_degrees=self._info.rotation_degrees, mirrored=self._info.mirrored)

    def _to_rgb(self, frame: VideoFrame) -> Pixels:
        if (frame.width, frame.height) != (self._info.width, self._info.height):
            self._note(size_note(frame, self._info))
        if has_alpha(frame.format):
            self._note(ALPHA_NOTE)
        if is_rgb(frame.format):
            rgb: Pixels = self._resample(frame, "rgb24" if self._white == 255 else "rgb48le", full=True).to_ndarray()  # type: ignore[assignment]
            return rgb
        coding = self._coding(frame)
        return self._grey(frame, coding) if is_grey(frame.format) else self._yuv(frame, coding)

    def _coding(self, frame: VideoFrame) -> Coding:
        coding, assumed = coding_of_frame(frame, self._info)
        for sentence in assumed:
            self._note(sentence)
        return coding

    def _yuv(self, frame: VideoFrame, coding: Coding) -> Pixels:
        bits = bit_depth(frame.format)
        affine = yuv_to_rgb(coding.matrix, full_range=coding.full_range, bits=bits, white=self._white)
        if self._info.colour.chroma_location is None:
            frame = self._with_site(frame, coding.chroma_location)
        return self._apply(affine, self._yuv_codes(frame, bits))

    def _with_site(self, frame: VideoFrame, chroma_location: str) -> VideoFrame:
        """Tag a frame with the assumed chroma location, for swscale: it would assume the middle."""
        if self._sited is None:
            self._sited = FilterChain(("setparams", f"chroma_location={chroma_location}"))
        (tagged,) = self._sited.push(frame)
        return tagged

    def _yuv_codes(self, frame: VideoFrame, bits: int) -> npt.NDArray[np.uint16]:
        """(H, W, 3) coded values, shifted up to 16 bits; chroma interpolated."""
        # Only where swscale takes both sides for limited range it shifts values instead of stretching them; formats of
        # the old yuvj kind it always takes for full range.
        old_full = frame.format.name.startswith("yuvj")
        if frame.format.name == "yuvj444p":
            return _shifted_up(_merge(self._resample(frame, "yuvj444p", full=True)), bits)
        return _merge(self._resample(frame, "yuv444p16le", full=old_full))

    def _grey(self, frame: VideoFrame, coding: Coding) -> Pixels:
        bits = bit_depth(frame.format)
        scaled = self._resample(frame, frame.format.name, full=True)
        codes = _shifted_up(plane_samples(scaled, 0)[:, :: 2 if frame.format.name.startswith("ya") else 1], bits)
        return self._apply(grey_to_rgb(full_range=coding.full_range, bits=bits, white=self._white), codes)

    def _apply(self, affine: npt.NDArray[np.float64], codes: npt.NDArray[np.uint16]) -> Pixels:
        rgb: npt.NDArray[np.uint16] = cv2.transform(codes, affine)  # type: ignore[assignment]
        if self._dtype is np.uint16:
            return rgb
        return np.minimum(rgb, 255).astype(np.uint8)

    def _resample(self, frame: VideoFrame, pixel_format: str, *, full: bool) -> VideoFrame:
        level = ColorRange.JPEG if full else ColorRange.MPEG
        matrix = matrix_for_swscale(frame)
        return self._reformatter.reformat(
            frame,
            width=self._info.width,
            height=self._info.height,
            format=pixel_format,
            interpolation=_ACCURATE,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=level,
            dst_color_range=level,
            threads=SWSCALE_THREADS,
        )

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)


def plane_samples(frame: VideoFrame, index: int) -> npt.NDArray[np.uint16]:
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
    return np.asarray(cv2.merge([plane_samples(frame, index) for index in range(3)]), dtype=np.uint16)


def _shifted_up(codes: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint16]:
    return np.left_shift(codes, 16 - bits, dtype=np.uint16)
