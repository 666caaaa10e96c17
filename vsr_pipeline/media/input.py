"""Opening a media file: only this one file, and only its video stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import av
import av.error
import av.format
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.source_bytes import PATIENCE_SECONDS, SourceBytes

# Demuxers that open further files or devices, or that show a text file as a picture.
_FORBIDDEN_FORMATS = frozenset(
    {"concat", "concatf", "dash", "hds", "hls", "image2", "image2pipe", "imf", "rtp", "rtsp", "sap", "sdp"}
    | {"smoothstreaming", "webm_dash_manifest", "avisynth", "vapoursynth", "lavfi", "tty"}
    | {"alsa", "fbdev", "kmsgrab", "openal", "oss", "pulse", "sndio", "video4linux2,v4l2", "x11grab", "xcbgrab"}
)


@cache
def allowed_formats() -> str:
    """Names of the demuxers that may be used, separated by commas."""
    return ",".join(sorted(av.format.formats_available - _FORBIDDEN_FORMATS))


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; see `open_container`.

    Raises:
        InputError: as `open_container`; at the end of the block, too, where something could not be read in it.
    """
    container, file = open_container(path)
    with file, container:
        try:
            yield container
        except av.error.FFmpegError:
            file.check()
            raise
        file.check()


def open_container(path: Path) -> tuple[InputContainer, SourceBytes]:
    """Open a media file for reading; the caller closes both, and asks the second what could not be read.

    `path` is a file, never a URL, a pattern or a playlist: whatever its name and its content, no other file is read.

    Raises:
        InputError: it is missing, empty, no regular file, cannot be read, or no known container.
    """
    file = SourceBytes(path)
    options = {"protocol_whitelist": "file", "format_whitelist": allowed_formats(), "pattern_type": "none"}
    try:
        # Tags in an unknown encoding are no reason to refuse a film.
        container = av.open(
            file, mode="r", container_options=options, metadata_errors="replace", timeout=PATIENCE_SECONDS
        )
        file.end_packet()
        file.check()
    except BaseException as error:
        file.close()
        if not isinstance(error, av.error.FFmpegError):
            raise
        file.check()
        raise InputError(f"not a video file that can be read: {path} ({error.strerror})") from error
    return container, file


def video_streams(container: InputContainer) -> list[VideoStream]:
    """All video streams but cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def choose_stream(container: InputContainer, path: Path, number: int | None = None) -> VideoStream:
    """Return the video stream to enhance, never a cover picture: the one with this `number`, counted from 0.

    Without a number: the first one marked as default, else the first.

    All other streams are switched off: their packets are not read.

    Raises:
        InputError: there is no video stream, none of this number, or none that can be decoded.
    """
    videos = video_streams(container)
    if not videos:
        found = "only a cover picture" if container.streams.video else _kinds(container)
        raise InputError(f"no video stream in {path}: found {found}")
    if number is not None and number >= len(videos):
        raise InputError(f"no video stream {number} in {path}: it has {len(videos)}, counted from 0")
    # Without a decoder PyAV has no codec context, whatever its annotations say.
    wanted = videos if number is None else [videos[number]]
    decodable = [stream for stream in wanted if cast("object | None", stream.codec_context) is not None]
    if not decodable:
        raise InputError(f"no decoder for the video stream of {path}")
    chosen = next((stream for stream in decodable if stream.disposition & Disposition.default), decodable[0])
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = av.stream.Discard.all
    return chosen


def _kinds(container: InputContainer) -> str:
    kinds = sorted({stream.type for stream in container.streams})
    return "only " + " and ".join(kinds) if kinds else "no streams at all"
