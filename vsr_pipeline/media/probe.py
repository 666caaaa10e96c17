"""What a media file is, from its header and its first frame."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.errors import InputError
from vsr_pipeline.media._colour import colour_of
from vsr_pipeline.media._decode import Decoder
from vsr_pipeline.media._pixels import bit_depth
from vsr_pipeline.timeline import VideoInfo

_MICROSECONDS = 1_000_000
_MACROBLOCK = 16


def probe(path: Path) -> VideoInfo:
    """Describe the video stream of a file that is enhanced: the default one, else the first, never a cover picture.

    One frame is decoded: it alone says for certain how the picture is turned, and whether there is one.

    Raises:
        InputError: the file is missing, is no video, has no video stream, or nothing of it can be decoded.
    """
    with Decoder(path, frame_threads=False) as decoder:
        frame = next(decoder.frames(), None)
        if frame is None:
            raise InputError(f"no frame of {path} can be decoded: it is damaged or encrypted")
        container, stream = decoder.container, decoder.stream
        rotation_degrees, mirrored = orientation(frame)
        width, height = _size(decoder, frame)
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            stream_index=stream.index,
            width=width,
            height=height,
            pixel_format=frame.format.name,
            bit_depth=bit_depth(frame.format),
            time_base=decoder.time_base,
            average_frame_rate=stream.average_rate or stream.guessed_rate,
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            rotation_degrees=rotation_degrees,
            mirrored=mirrored,
            colour=colour_of(frame),
            frame_count_from_header=stream.frames or None,
            duration_seconds_from_header=_duration_seconds(container, stream),
            audio_streams=len(container.streams.audio),
            subtitle_streams=len(container.streams.subtitles),
        )


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """(clockwise degrees, mirrored) that turn a frame upright, from its display matrix, to the nearest right angle.

    The matrix sends a pixel at (x, y), y pointing down, to (a x + c y, b x + d y).
    """
    try:
        matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # PyAV does not know some kinds of side data and then gives none at all, but for the angle
        return -round(frame.rotation / 90) * 90 % 360, False
    if matrix is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(memoryview(matrix), dtype=np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirrored = (a < 0) != (d < 0)
        return (180 if d < 0 else 0), mirrored
    mirrored = (b < 0) == (c < 0)
    return (90 if b > 0 else 270), mirrored


def _size(decoder: Decoder, frame: VideoFrame) -> tuple[int, int]:
    """Size as coded: the header's, unless the first frame only differs by a border that is cropped.

    A stream whose size changes may begin small; scaling the rest down to that would throw the picture away.
    """
    width, height = decoder.size_from_header
    if abs(width - frame.width) < _MACROBLOCK and abs(height - frame.height) < _MACROBLOCK:
        return frame.width, frame.height
    return (width, height) if width and height else (frame.width, frame.height)


def _duration_seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    return Fraction(container.duration, _MICROSECONDS) if container.duration is not None else None
