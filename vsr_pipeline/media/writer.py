"""Frames into a video file: exact timestamps, exact colours, the same bytes every time."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.codec import UnknownCodecError

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import OutputError, VsrError
from vsr_pipeline.files import write_failure
from vsr_pipeline.media._colour import LUMA_WEIGHTS, guess_matrix
from vsr_pipeline.media.ffmpeg import file_url
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.timeline import Colour, VideoInfo

# Where a chroma sample of 4:2:0 lies, as a filter of three taps around pixel 0 and the first pixel that it sits on.
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

_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_MAX_TIMESCALE = 2**31 - 1


# A fixed number, not the machine's: with another number x264 makes other bytes, and the same job must give the same
# file wherever it runs.
_THREADS = 8


def colour_to_write(info: VideoInfo) -> Colour:
    """Colour of the enhanced `info`: its own, with what cannot be written or was not said replaced by what was read.

    Matrix and range are always set, because a player would guess them from the enlarged size.
    """
    matrix = {"bt2020c": "bt2020nc"}.get(info.colour.matrix or "", info.colour.matrix)
    if matrix not in LUMA_WEIGHTS:
        matrix = guess_matrix(info.width, info.height)
    return replace(info.colour, matrix=matrix, range=info.colour.range or "tv")


class VideoWriter:
    """Encode frames to a file with one video track; a context manager.

    The file holds every timestamp exactly when it is `.mp4` or `.mov`; `.mkv` rounds to milliseconds. The picture is
    YUV 4:2:0 of 8 bits, or of 10 when `bit_depth` is above 8. 4:2:0 has even sizes only: at an odd size the last row
    or column is written twice.

    Args:
        path: where to write; an existing file is overwritten. Nothing is published or deleted here: see `published`.
        width, height: size of the frames in pixels.
        time_base: seconds per tick of the timestamps.
        frame_rate: frames per second if that is constant; a hint for players, timestamps do not depend on it.
        colour: `matrix` and `range` must be given, because a player would guess them from the enlarged size. They are
            used for the conversion and written as tags, as are the others where they are given.
        sample_aspect_ratio: width / height of a pixel.
        bit_depth: bits per sample of the source.

    Raises:
        ValueError: an argument that no caller should give: see `LUMA_WEIGHTS` for the matrices that can be written.
        OutputError: the file cannot be written, or the encoder refuses these settings.
        ResourceError: the disk is full.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        time_base: Fraction,
        frame_rate: Fraction | None,
        colour: Colour,
        sample_aspect_ratio: Fraction = Fraction(1),
        bit_depth: int = 8,
        settings: EncodeConfig = EncodeConfig(),
    ) -> None:
        if path.suffix.lower() not in _CONTAINERS:
            raise ValueError(f"{path} ends in {path.suffix!r}; a video track is one of {', '.join(_CONTAINERS)}")
        if time_base <= 0 or time_base.denominator > _MAX_TIMESCALE:
            raise ValueError(f"time base {time_base} is not positive or finer than 1/{_MAX_TIMESCALE} s")
        self.path = path
        self._shape = (height, width, 3)
        self._ticks_per_unit = time_base.numerator
        self._unit = Fraction(1, time_base.denominator)
        self._last_pts: int | None = None
        self._failed: VsrError | None = None
        self._conversion = _Conversion(colour, depth=10 if bit_depth > 8 else 8)
        try:
            self._container = self._open()
            self._stream = self._add_stream(settings, frame_rate, sample_aspect_ratio, colour)
        except av.FFmpegError as error:
            raise self._failure(error) from error
        except UnknownCodecError as error:
            raise OutputError(f"this build of PyAV has no encoder {'libx264'}") from error

    def _open(self) -> av.container.OutputContainer:
        options = {"fflags": "+bitexact"}  # no library version in the file
        if self.path.suffix.lower() != ".mkv":
            # Edit lists count in the movie's time scale: in its default of milliseconds they would move the start.
            scale = str(self._unit.denominator)
            options |= {"video_track_timescale": scale, "movie_timescale": scale, "movflags": "+faststart"}
        container = _CONTAINERS[self.path.suffix.lower()]
        return av.open(file_url(self.path), "w", format=container, container_options=options)

    def _add_stream(
        self, settings: EncodeConfig, frame_rate: Fraction | None, sample_aspect_ratio: Fraction, colour: Colour
    ) -> av.VideoStream:
        height, width, _ = self._shape
        tags = {
            "colorspace": colour.matrix,
            "color_range": colour.range,
            "color_primaries": colour.primaries,
            "color_trc": colour.transfer,
            "chroma_sample_location": colour.chroma_location,
        }
        options = {name: value for name, value in tags.items() if value is not None}
        options |= {
            "crf": str((100 - settings.quality) / 2),
            "preset": settings.preset or "medium",
            "threads": str(_THREADS),
        }
        options |= {"flags": "+frame_duration"}
        stream = self._container.add_stream("libx264", rate=frame_rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = self._conversion.pixel_format
        stream.time_base = stream.codec_context.time_base = self._unit
        stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        return stream

    def write(self, pts: int, pixels: Pixels, *, duration: int | None = None) -> None:
        """Encode one frame, shown from tick `pts` on.

        Args:
            pts: ticks of `time_base`; at least 0 (a file has no time before its start) and above the last one.
            pixels: (height, width, 3), RGB, full range, uint8 or uint16.
            duration: ticks that the frame is shown; needed for the last frame, the next one's `pts` tells the others.

        Raises:
            OutputError, ResourceError: the file cannot be written.
        """
        if pixels.shape != self._shape or pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame is {pixels.dtype} {pixels.shape}, expected uint8 or uint16 {self._shape}")
        if pts < 0 or (self._last_pts is not None and pts <= self._last_pts):
            raise ValueError(f"pts {pts} after {self._last_pts}: must not be negative and must increase")
        self._last_pts = pts
        frame = av.VideoFrame.from_ndarray(self._conversion(pixels), format=self._conversion.pixel_format)
        frame.pts = pts * self._ticks_per_unit
        frame.time_base = self._unit
        if duration is not None:
            frame.duration = duration * self._ticks_per_unit
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        if self._failed is not None:
            raise self._failed  # FFmpeg crashes when it is given packets after it could not write one
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            self._failed = self._failure(error)
            raise self._failed from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon()
            return
        if self._last_pts is None:
            self._abandon()
            raise ValueError(f"no frame was written to {self.path}")
        try:
            self._encode(None)
            self._container.close()
        except av.FFmpegError as failure:
            self._abandon()
            raise self._failure(failure) from failure
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Close what is left of the file; nobody will read it, so it does not matter if that fails, too."""
        for _ in range(2):  # PyAV gives up on closing the file when it cannot write the packets that it holds back
            try:
                self._container.close()
            except av.FFmpegError:
                continue

    def _failure(self, error: av.FFmpegError) -> VsrError:
        if isinstance(error, OSError):
            return write_failure(self.path, error)
        height, width, _ = self._shape
        return OutputError(f"cannot encode {width}x{height} frames to {self.path}: {error.strerror}")


class _Conversion:
    """RGB to planar YUV 4:2:0, as ITU-T H.273 defines it, rounded to nearest.

    Chroma is filtered to where the stream says that its samples lie (unsaid: left, as every player assumes).
    """

    def __init__(self, colour: Colour, *, depth: int) -> None:
        if colour.matrix not in LUMA_WEIGHTS or colour.range not in ("tv", "pc"):
            allowed = ", ".join(LUMA_WEIGHTS)
            raise ValueError(f"cannot write {colour}: matrix must be one of {allowed}, range tv or pc")
        if colour.chroma_location is not None and colour.chroma_location not in _CHROMA_SITES:
            raise ValueError(f"chroma location {colour.chroma_location!r} is none of {', '.join(_CHROMA_SITES)}")
        self.pixel_format = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
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

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return the three planes one after the other, as an array (height * 3 / 2, width) of even sizes."""
        samples: npt.NDArray[Any] = pixels
        bottom, right = samples.shape[0] % 2, samples.shape[1] % 2
        if bottom or right:
            samples = np.pad(samples, ((0, bottom), (0, right), (0, 0)), mode="edge")
        if samples.dtype == np.uint8 and self._sample_type == np.uint16:
            samples = samples.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535
        height, width, _ = samples.shape
        white = np.array([np.iinfo(samples.dtype).max] * 3 + [1])
        planes: npt.NDArray[Any] = np.empty((height * 3 // 2, width), self._sample_type)
        planes[:height] = cv2.transform(samples, self._luma / white)  # OpenCV rounds to nearest and saturates
        (taps_x, first_x), (taps_y, first_y) = self._site
        filtered = cv2.sepFilter2D(
            samples, cv2.CV_32F, np.array(taps_x), np.array(taps_y), borderType=cv2.BORDER_REPLICATE
        )[first_y::2, first_x::2]
        chroma = cv2.transform(np.ascontiguousarray(filtered), self._chroma / white)
        chroma = np.rint(chroma).clip(0, self._peak)
        planes[height:].reshape(2, height // 2, width // 2)[:] = chroma.transpose(2, 0, 1)
        return planes
