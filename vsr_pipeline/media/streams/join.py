"""Finished segments into one video track, without re-encoding, and checks that a file holds the right frames."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.ffmpeg import file_url
from vsr_pipeline.media.write.order import PacketTimes, packet_times
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.runtime.progress import counted


def join_segments(segments: Sequence[Path], output: Path, end: Fraction | None = None) -> None:
    """Copy the packets of segment files, in order, into the one video track of `output`.

    Every segment starts with a key frame and carries its place in the clip in its timestamps, so these are kept.
    Decoding times are made anew: those of a segment know nothing of the segment before.

    Args:
        segments: files of `VideoWriter` with the same settings and time base, in the order of their frames.
        output: a file with their suffix to write; overwritten if it exists.
        end: second at which the last frame is no longer shown. None: as the last segment's header says.

    Raises:
        OutputError: it cannot be written, or the segments were made with different settings.
        ResourceError: the disk is full.
    """
    times = iter(_packet_times(segments, end))
    try:
        with av.open(file_url(segments[0])) as first:
            template = first.streams.video[0]
            time_base = template.time_base
            assert time_base is not None
            header = _header(template)
            scale = str(time_base.denominator)
            options = {"video_track_timescale": scale, "movie_timescale": scale}
            options |= {"fflags": "+bitexact", "movflags": "+write_colr"}
            container_format = output.suffix.lower().removeprefix(".")
            with av.open(file_url(output), "w", format=container_format, container_options=options) as container:
                stream = container.add_stream_from_template(template, opaque=True)
                stream.time_base = time_base
                stream.codec_context.codec_tag = template.codec_context.codec_tag
                for path in segments:
                    for packet in _packets(path, time_base, header):
                        packet.dts, packet.duration = next(times)
                        packet.stream = stream
                        container.mux(packet)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise write_failure(output, error) from error
        raise OutputError(f"cannot join segments to {output}: {error.strerror}") from error


def _header(stream: av.VideoStream) -> tuple[object, ...]:
    """What must be the same in all segments: the decoder is told it once for the whole track."""
    context = stream.codec_context
    return context.name, context.extradata, context.width, context.height, context.pix_fmt


def _packets(path: Path, time_base: Fraction, header: tuple[object, ...]) -> "Iterator[av.Packet[av.VideoStream]]":
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        if stream.time_base != time_base or _header(stream) != header:
            raise OutputError(f"{path} was encoded with other settings than the first segment: run with --fresh")
        for packet in container.demux(stream):
            if packet.size:
                yield packet


def _packet_times(segments: Sequence[Path], end: Fraction | None) -> list[PacketTimes]:
    """Decoding times and durations of all packets."""
    decoded: list[int] = []
    for path in segments:
        with av.open(file_url(path)) as container:
            stream = container.streams.video[0]
            decoded += [p.pts for p in container.demux(stream) if p.size and p.pts is not None]
            time_base, duration = stream.time_base, container.duration
            assert time_base is not None
            # Of the file alone, its header tells how long the last picture is shown.
            assert container.start_time is not None
            ends = Fraction(container.start_time + (duration or 0), av.time_base) if end is None else end
            last_tick = round(ends / time_base)
    return packet_times(decoded, max(last_tick, max(decoded) + 1))


def check_frames(
    path: Path, times_seconds: Sequence[Fraction], *, decode: bool, on_frame: Callable[[], None] = lambda: None
) -> None:
    """Check that the video of a file has exactly these frames.

    Args:
        path: a video file.
        times_seconds: when each frame is shown, in order.
        decode: decode every frame; else only the packets are counted and their timestamps compared.
        on_frame: is called after each of them; what it raises ends the check.

    Raises:
        InputError: it has other frames, or one cannot be decoded.
    """
    try:
        # The finished file has the source's tags, whatever their encoding.
        with av.open(file_url(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            time_base = stream.time_base
            assert time_base is not None
            items = container.decode(stream) if decode else (p for p in container.demux(stream) if p.size)
            found = []
            for item in items:
                if item.pts is not None:
                    found.append(item.pts * time_base)
                on_frame()
            found.sort()
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if len(found) != len(times_seconds):
        raise InputError(f"{path} has {counted(len(found), 'frame')}, expected {len(times_seconds)}")
    # Matroska and WebM round to milliseconds.
    tolerance = Fraction(1, 1000) if path.suffix.lower() in (".mkv", ".webm") else 0
    for index, (a, b) in enumerate(zip(found, times_seconds, strict=True)):
        if abs(a - b) > tolerance:
            raise InputError(f"frame {index} of {path} is shown at {float(a):.6f} s, expected {float(b):.6f} s")


def check_finished(path: Path, times_seconds: Sequence[Fraction], *, name: Path) -> None:
    """Check the frames of a video that is about to be published, without decoding them: see `check_frames`.

    Args:
        path: the temporary file.
        times_seconds: when each frame is shown, in order.
        name: what the file will be called, for the message.

    Raises:
        OutputError: it has other frames than it should.
    """
    try:
        check_frames(path, times_seconds, decode=False)
    except InputError as error:
        reason = str(error).replace(str(path), "it")
        raise OutputError(
            f"{name} was not written as it should be ({reason}): the file is not kept, run again"
        ) from error
