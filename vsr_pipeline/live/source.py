"""Opening a source for `vsr live`: only what the command line names, with nothing buffered on the way."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.errors import InputError, ReadError, UsageError
from vsr_pipeline.live.options import RawFormat, Source, cameras
from vsr_pipeline.media.colour import chroma_location_of, colour_of
from vsr_pipeline.media.input import allowed_formats, choose_stream, open_container
from vsr_pipeline.media.read.pixels import bit_depth
from vsr_pipeline.media.read.side_data import SideDataReader, orientation
from vsr_pipeline.runtime.memory import refuse_absurd_size
from vsr_pipeline.timeline import VideoInfo

SILENCE_SECONDS = 10.0
"""A camera or stream that says nothing for so long is opened again."""

# Further protocols that FFmpeg builds these on; files, pipes and everything else stay closed to a stream.
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsp,rtsps,rtp,tcp,udp,tls",
    "http": "http,https,tcp,tls",
    "https": "https,tcp,tls",
}
# Read by libav until it knows the streams: little, or the picture would be seconds old before it is seen.
_HASTE = {"fflags": "nobuffer", "analyzeduration": "500000", "probesize": "500000"}


@dataclass(frozen=True, slots=True)
class Connection:
    """A source that is open."""

    container: InputContainer
    stream: VideoStream
    is_finite: bool
    """Whether it has an end after which there is nothing more, and times by which it is paced."""


@contextmanager
def connected(source: Source, raw: RawFormat | None = None) -> Iterator[Connection]:
    """Open a source.

    Raises:
        InputError: it is not there, is no video, or needs a decoder that is missing. No message has its password.
        ReadError: the network failed.
        UsageError: this system has no V4L2.
    """
    with ExitStack() as stack:
        if source.kind == "file":
            container, file = open_container(Path(source.address))
            stack.enter_context(file)
            stack.enter_context(container)
            is_finite = True
        else:
            container = stack.enter_context(_opened(source, raw))
            # A server that says how long its file is has a file, no camera.
            is_finite = source.kind == "stream" and (container.size or 0) > 0
        stream = choose_stream(container, Path(source.name))
        # Frames in several threads come so many frames later.
        stream.codec_context.thread_count = 2 if is_finite else 1
        stream.codec_context.thread_type = "SLICE"
        yield Connection(container, stream, is_finite)


def _opened(source: Source, raw: RawFormat | None) -> InputContainer:
    url, format_name, options = _how_to_open(source, raw)
    timeout = None if source.kind == "stdin" else (SILENCE_SECONDS, SILENCE_SECONDS)
    try:
        return av.open(url, format=format_name, container_options=options, metadata_errors="replace", timeout=timeout)
    except (av.error.FFmpegError, ValueError) as error:
        # Without the cause, whose text has the address with its password.
        kind = ReadError if isinstance(error, OSError) else InputError
        raise kind(f"cannot open {source.name}: {_reason(error)}") from None


def _how_to_open(source: Source, raw: RawFormat | None) -> tuple[str, str | None, dict[str, str]]:
    if source.kind == "camera":
        _refuse_missing_camera(source.address)
        return f"/dev/video{source.address}", "v4l2", {"fflags": "nobuffer"}
    if source.kind == "stream":
        protocol = source.address.partition("://")[0].lower()
        options = _HASTE | {"protocol_whitelist": _PROTOCOLS[protocol]}
        if protocol.startswith("rtsp"):
            return source.address, "rtsp", options | {"rtsp_transport": "tcp"}
        return source.address, None, options | {"format_whitelist": allowed_formats()}
    if raw is None:
        return "pipe:0", None, {"protocol_whitelist": "pipe", "format_whitelist": allowed_formats()}
    options = {"video_size": f"{raw.width}x{raw.height}", "pixel_format": raw.pixel_format}
    return "pipe:0", "rawvideo", options | {"framerate": str(raw.frame_rate), "protocol_whitelist": "pipe"}


def _refuse_missing_camera(number: str) -> None:
    if sys.platform != "linux":
        raise UsageError("cameras are read through V4L2, which only Linux has: give a stream or - instead")
    if not Path(f"/dev/video{number}").exists():
        known = ", ".join(cameras()) or "none"
        raise InputError(f"no camera {number}: /dev/video{number} is missing; there are {known} (vsr live --list)")


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or "not a video that can be read")
    if isinstance(error, av.error.ExitError):
        return f"it said nothing for {SILENCE_SECONDS:.0f} s"
    return text


def failure_of(source: Source, error: Exception) -> ReadError:
    """Make one line of what a connection broke by, without its address."""
    return ReadError(f"{source.name} stopped: {_reason(error)}")


def info_of(source: Source, connection_stream: VideoStream, frame: VideoFrame) -> VideoInfo:
    """Describe a source by its first frame.

    Raises:
        ResourceError: a frame and its enlargement cannot fit into memory.
    """
    width, height = frame.width, frame.height
    refuse_absurd_size(Path(source.name), width, height)
    codec = connection_stream.codec_context.codec.canonical_name
    rotation_degrees, mirrored = orientation(frame, dict(SideDataReader()(frame)))
    rate = connection_stream.average_rate or connection_stream.guessed_rate
    return VideoInfo(
        path=Path(source.name),
        container="",
        codec=codec,
        stream_index=connection_stream.index,
        width=width,
        height=height,
        pixel_format=frame.format.name,
        bit_depth=bit_depth(frame.format),
        time_base=frame.time_base or Fraction(1, 1000),
        average_frame_rate=rate if rate and 1 <= rate <= 240 else None,
        sample_aspect_ratio=connection_stream.sample_aspect_ratio or Fraction(1),
        rotation_degrees=rotation_degrees,
        mirrored=mirrored,
        colour=replace(colour_of(frame), chroma_location=chroma_location_of(frame, codec)),
    )
