"""Finished segments into one video track, without re-encoding, and checks that a file holds the right frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.files import write_failure
from vsr_pipeline.media.ffmpeg import file_url


def join_segments(segments: Sequence[Path], output: Path) -> None:
    """Copy the packets of segment files, in order, into the one video track of `output`.

    Every segment starts with a key frame and carries its place in the clip in its timestamps, so these are kept.
    Decoding times are made anew: those of a segment know nothing of the segment before.

    Args:
        segments: files of `VideoWriter` with the same settings and time base, in the order of their frames.
        output: an .mp4 to write; overwritten if it exists.

    Raises:
        OutputError: it cannot be written, or the segments were made with different settings.
        ResourceError: the disk is full.
    """
    pts, delay = _presentation_times(segments)
    try:
        with av.open(file_url(segments[0])) as first:
            template = first.streams.video[0]
            time_base = template.time_base
            assert time_base is not None
            header = template.codec_context.extradata
            scale = str(time_base.denominator)
            options = {"video_track_timescale": scale, "movie_timescale": scale, "fflags": "+bitexact"}
            with av.open(file_url(output), "w", format="mp4", container_options=options) as container:
                stream = container.add_stream_from_template(template)
                stream.time_base = time_base
                # The first frames are decoded before the time at which the first one is shown.
                step = pts[1] - pts[0] if len(pts) > 1 else 1
                decoding_times = iter([*(pts[0] - (delay - i) * step for i in range(delay)), *pts])
                for path in segments:
                    for packet in _packets(path, time_base, header):
                        packet.dts = next(decoding_times)
                        packet.stream = stream
                        container.mux(packet)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise write_failure(output, error) from error
        raise OutputError(f"cannot join segments to {output}: {error.strerror}") from error


def _packets(path: Path, time_base: Fraction, header: bytes | None) -> "Iterator[av.Packet[av.VideoStream]]":
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        if stream.time_base != time_base or stream.codec_context.extradata != header:
            raise OutputError(f"{path} was encoded with other settings than the first segment: run with --fresh")
        for packet in container.demux(stream):
            if packet.size:
                yield packet


def _presentation_times(segments: Sequence[Path]) -> tuple[list[int], int]:
    """Timestamps of all packets in order of presentation, and the largest number of places a packet comes early."""
    decoded: list[int] = []
    for path in segments:
        with av.open(file_url(path)) as container:
            decoded += [p.pts for p in container.demux(container.streams.video[0]) if p.size and p.pts is not None]
    shown = sorted(decoded)
    place = {pts: index for index, pts in enumerate(shown)}
    return shown, max(index - place[pts] for index, pts in enumerate(decoded))


def check_frames(path: Path, times_seconds: Sequence[Fraction], *, decode: bool) -> None:
    """Check that the video of a file has exactly these frames.

    Args:
        path: a video file.
        times_seconds: when each frame is shown, in order.
        decode: decode every frame; else only the packets are counted and their timestamps compared.

    Raises:
        InputError: it has other frames, or one cannot be decoded.
    """
    try:
        with av.open(file_url(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            time_base = stream.time_base
            assert time_base is not None
            items = container.decode(stream) if decode else (p for p in container.demux(stream) if p.size)
            found = sorted(item.pts * time_base for item in items if item.pts is not None)
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if len(found) != len(times_seconds):
        raise InputError(f"{path} has {len(found)} frames, expected {len(times_seconds)}")
    # Matroska rounds to milliseconds.
    tolerance = Fraction(1, 1000) if path.suffix.lower() == ".mkv" else 0
    for index, (a, b) in enumerate(zip(found, times_seconds, strict=True)):
        if abs(a - b) > tolerance:
            raise InputError(f"frame {index} of {path} is shown at {float(a):.6f} s, expected {float(b):.6f} s")
