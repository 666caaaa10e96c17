"""Frames into a video file: exact timestamps, exact colours, the same bytes every time."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.codec.codec import UnknownCodecError

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import OutputError, VsrError
from vsr_pipeline.media.colour import LUMA_WEIGHTS, guess_matrix
from vsr_pipeline.media.ffmpeg import file_url
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.codecs import Codec, find_codec
from vsr_pipeline.media.write.conversion import Planes, YuvConversion
from vsr_pipeline.media.write.encoders import (
    available_codecs,
    check_encoder,
    codec_for,
    open_encoder,
    pixel_format_for,
    quiet_encoders,
    track_suffix,
)
from vsr_pipeline.media.write.hdr import encoder_hdr_options, write_hdr_boxes
from vsr_pipeline.media.write.order import EncoderClock
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.timeline import Colour, HdrMetadata, Tint, VideoInfo

__all__ = [
    "VideoWriter",
    "available_codecs",
    "check_encoder",
    "codec_for",
    "colour_to_write",
    "conversion_to",
    "track_suffix",
]

_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_MAX_TIMESCALE = 2**31 - 1


def colour_to_write(info: VideoInfo) -> Colour:
    """Colour of the enhanced `info`: its own, with what cannot be written or was not said replaced by what was read.

    Matrix and range are always set, because a player would guess them from the enlarged size.
    """
    matrix = {"bt2020c": "bt2020nc"}.get(info.colour.matrix or "", info.colour.matrix)
    if matrix not in LUMA_WEIGHTS:
        matrix = guess_matrix(info.width, info.height)
    return replace(info.colour, matrix=matrix, range=info.colour.range or "tv")


def _colour_for(codec: Codec, colour: Colour) -> Colour:
    """What of the colour this codec's files can say; pixels are converted to that, so nothing is shown wrongly."""
    sites = codec.chroma_sites
    location = colour.chroma_location if colour.chroma_location in (None, *sites) else sites[0]
    matrix = colour.matrix
    if codec.matrices and matrix in LUMA_WEIGHTS and matrix not in codec.matrices:
        same = (name for name in codec.matrices if LUMA_WEIGHTS[name] == LUMA_WEIGHTS[matrix])
        matrix = next(same, codec.matrices[0])
    full = codec.full_range or colour.range is None
    return replace(colour, matrix=matrix, chroma_location=location, range=colour.range if full else "tv")


def conversion_to(settings: EncodeConfig, colour: Colour, bit_depth: int) -> YuvConversion:
    """Return from RGB to what a `VideoWriter` with these arguments encodes, for who gives it frames in YUV."""
    codec = find_codec(settings.codec)
    return _rgb_to_yuv(codec, _colour_for(codec, colour), bit_depth).conversion


def _rgb_to_yuv(codec: Codec, colour: Colour, bit_depth: int) -> RgbToYuv:
    return RgbToYuv(colour, pixel_format_for(codec, bit_depth))


class VideoWriter:
    """Encode frames to a file with one video track; a context manager.

    The file holds every timestamp exactly when it is `.mp4` or `.mov`; `.mkv` rounds to milliseconds. The pixel format
    follows from the codec and `bit_depth`: for h264, hevc and av1 it is YUV 4:2:0 of 8 bits, or of 10 when `bit_depth`
    is above 8. 4:2:0 has even sizes only: at an odd size the last row or column is written twice.

    Args:
        path: where to write; an existing file is overwritten. Nothing is published or deleted here: see `published`.
        width, height: size of the frames in pixels.
        time_base: seconds per tick of the timestamps.
        frame_rate: frames per second if that is constant; a hint for players, timestamps do not depend on it.
        colour: `matrix` and `range` must be given, because a player would guess them from the enlarged size. They are
            used for the conversion and written as tags, as are the others where they are given.
        sample_aspect_ratio: width / height of a pixel.
        bit_depth: bits per sample of the source.
        hdr: what the source says about the display it was mastered on; written into the stream where the codec has a
            place for it, and into the file's header.
        settings: codec, quality, preset and further options; `check_encoder` tells beforehand what cannot work.
        is_recording: whether all but the last second can be played when the process is killed; `.mkv` only.

    Raises:
        ValueError: an argument that no caller should give: see `LUMA_WEIGHTS` for the matrices that can be written.
        OutputError: the file cannot be written, or the encoder refuses this size, this depth or these settings.
        UsageError: there is no such codec, or the encoder refuses the preset or an option.
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
        hdr: HdrMetadata | None = None,
        settings: EncodeConfig = EncodeConfig(),
        is_recording: bool = False,
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
        self._end = 0
        self._clock = EncoderClock()
        self._failed: VsrError | None = None
        self._hdr = hdr
        self._codec = find_codec(settings.codec)
        colour = _colour_for(self._codec, colour)
        self._conversion = _rgb_to_yuv(self._codec, colour, bit_depth)
        quiet_encoders()
        try:
            self._container = self._open(is_recording=is_recording)
        except av.FFmpegError as error:
            raise self._failure(error) from error
        try:
            self._stream = self._add_stream(settings, frame_rate, sample_aspect_ratio, colour)
        except (UnknownCodecError, av.FFmpegError) as error:
            self._abandon()
            check_encoder(settings, size=(width, height), bit_depth=bit_depth)  # says what it is
            raise OutputError(f"{self._codec.encoder} cannot encode {width}x{height} frames: {error}") from error

    def _open(self, *, is_recording: bool) -> av.container.OutputContainer:
        options = {"fflags": "+bitexact"}  # no library version in the file
        if self.path.suffix.lower() != ".mkv":
            # Edit lists count in the movie's time scale: in its default of milliseconds they would move the start.
            scale = str(self._unit.denominator)
            # Matrix and range go into the header even if the primaries are not known: FFV1 has no other place for them.
            # With HDR metadata the header must stay at the end, where boxes can be added to it.
            movflags = "+write_colr" if self._hdr else "+write_colr+faststart"
            options |= {"video_track_timescale": scale, "movie_timescale": scale, "movflags": movflags}
        elif is_recording:
            options |= {"flush_packets": "1", "cluster_time_limit": "1000"}
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
        options |= self._codec.options(settings, encoder_hdr_options(self._codec.encoder, self._hdr))
        stream = self._container.add_stream(self._codec.encoder, rate=frame_rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = self._conversion.coded_size(width, height)
        stream.pix_fmt = self._conversion.pixel_format
        stream.time_base = stream.codec_context.time_base = self._unit
        stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if self._codec.format == "hevc" and self.path.suffix.lower() != ".mkv":
            stream.codec_context.codec_tag = "hvc1"  # Apple's players know no other
        open_encoder(stream.codec_context)
        return stream

    def write(
        self, pts: int, pixels: Pixels | Planes, *, duration: int | None = None, tint: Tint | None = None
    ) -> None:
        """Encode one frame, shown from tick `pts` on.

        Args:
            pts: ticks of `time_base`; at least 0 (a file has no time before its start) and above the last one.
            pixels: (height, width, 3), RGB, full range, uint8 or uint16; or YUV by `conversion_to`.
            duration: ticks that the frame is shown; needed for the last frame, the next one's `pts` tells the others.
            tint: that the frame is given everywhere, exactly; None: its own colours.

        Raises:
            OutputError, ResourceError: the file cannot be written.
        """
        if isinstance(pixels, Planes):
            width, height = self._conversion.coded_size(self._shape[1], self._shape[0])
            if pixels.samples[0].shape != (height, width):
                raise ValueError(f"frame has {pixels.samples[0].shape} samples of luma, expected {(height, width)}")
        elif pixels.shape != self._shape or pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame is {pixels.dtype} {pixels.shape}, expected uint8 or uint16 {self._shape}")
        if pts < 0 or (self._last_pts is not None and pts <= self._last_pts):
            raise ValueError(f"pts {pts} after {self._last_pts}: must not be negative and must increase")
        self._last_pts = pts
        frame = self._conversion(pixels, tint)
        # ProRes takes its tags from the frames.
        context = self._stream.codec_context
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        frame.color_primaries, frame.color_trc = context.color_primaries, context.color_trc
        frame.pts = pts * self._ticks_per_unit
        frame.time_base = self._unit
        if duration is not None:
            frame.duration = duration * self._ticks_per_unit
        self._end = frame.pts + (frame.duration or 1)
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        if self._failed is not None:
            raise self._failed  # FFmpeg crashes when it is given packets after it could not write one
        try:
            packets = self._stream.encode(frame)
            self._clock.correct(packets, end=self._end if frame is None else None)
            self._container.mux(packets)
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
            if self._hdr is not None and self.path.suffix.lower() != ".mkv":
                write_hdr_boxes(self.path, self._hdr)
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
