"""What a container makes of a timeline, tried with empty packets before any frame is made."""

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error

from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.ffmpeg import file_url
from vsr_pipeline.media.streams.plan import FORMATS
from vsr_pipeline.media.write.order import packet_times
from vsr_pipeline.runtime.files import write_failure

# A codec with B-frames that all of these containers hold, and whose packets no muxer looks into.
_CODEC = "mpeg4"
_REORDERED = 3
"""So many frames are decoded in another order than they are shown in."""
_MILLISECOND = Fraction(1, 1000)
_MOST_IN_ONE_MILLISECOND = Fraction(1, 100)


def check_times(
    pts: Sequence[int], time_base: Fraction, last_duration: int, *, suffix: str, track_suffix: str
) -> tuple[str, ...]:
    """Check that a container holds the times of all frames; return what of them it cannot, in a sentence.

    Args:
        pts: when each frame is shown, in ticks, in order, from 0 on.
        time_base: seconds per tick.
        last_duration: ticks that the last frame is shown.
        suffix: of the output.
        track_suffix: of the file that the picture is first written to.

    Raises:
        OutputError: it cannot hold them.
        ResourceError: the disk is full.
    """
    is_matroska = FORMATS[suffix] in ("matroska", "webm")
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys((track_suffix, ".mkv" if is_matroska else ".mp4")):
            path = Path(folder) / f"dry{name}"
            try:
                _write(path, pts, time_base, last_duration)
                is_same = _holds(path, pts, time_base)
            except OSError as error:
                raise write_failure(path, error) from error
            except av.error.FFmpegError:
                is_same = False
            if not is_same:
                longest = max([last_duration, *(b - a for a, b in pairwise(pts))]) * time_base
                raise OutputError(
                    f"a {name} file cannot hold the times of these {len(pts)} frames: they are counted in steps of "
                    f"{time_base} s, and one is shown for {float(longest):.3f} s; give --fps for a constant rate"
                )
    return _collapsed(pts, time_base, suffix) if is_matroska else ()


def _collapsed(pts: Sequence[int], time_base: Fraction, suffix: str) -> tuple[str, ...]:
    """Say how many frames are shown in the same millisecond as the one before them; refuse it where that is usual."""
    milliseconds = [round(tick * time_base / _MILLISECOND) for tick in pts]
    count = sum(a == b for a, b in pairwise(milliseconds))
    if count > _MOST_IN_ONE_MILLISECOND * len(pts):
        raise OutputError(
            f"{suffix} counts time in milliseconds, and {count} of {len(pts)} frames are shown in the same one as the "
            "frame before them: name the output .mp4 or .mov, or give a lower --fps"
        )
    if count:
        return (f"{suffix} counts time in milliseconds: {count} of {len(pts)} frames share one with another frame",)
    return ()


def _write(path: Path, pts: Sequence[int], time_base: Fraction, last_duration: int) -> None:
    unit = Fraction(1, time_base.denominator)
    ticks = [tick * time_base.numerator for tick in pts]
    decoded = [ticks[index] for index in _decoding_order(len(ticks))]
    times = packet_times(decoded, ticks[-1] + last_duration * time_base.numerator)
    scale = str(time_base.denominator)
    options = {"video_track_timescale": scale, "movie_timescale": scale} if path.suffix != ".mkv" else {}
    container_format = FORMATS[path.suffix]
    with av.open(file_url(path), "w", format=container_format, container_options=options) as container:
        stream = container.add_mux_stream(_CODEC, width=16, height=16)
        stream.time_base = unit
        for tick, (dts, duration) in zip(decoded, times, strict=True):
            packet = av.Packet(b"\0")
            packet.stream = stream
            packet.pts, packet.dts, packet.duration, packet.time_base = tick, dts, duration, unit
            packet.is_keyframe = dts == times[0].dts
            container.mux(packet)


def _holds(path: Path, pts: Sequence[int], time_base: Fraction) -> bool:
    """Whether a file has frames at these times, to half of its own ticks and a little."""
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        found = sorted(packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None)
        assert stream.time_base is not None
        # Integers: a long film has hundreds of thousands of frames.
        ours = time_base.numerator * stream.time_base.denominator
        theirs = stream.time_base.numerator * time_base.denominator
    tolerance = theirs if path.suffix == ".mkv" else 0
    return len(found) == len(pts) and all(
        abs(theirs * a - ours * b) <= tolerance for a, b in zip(found, pts, strict=True)
    )


def _decoding_order(count: int) -> list[int]:
    """Indices of frames as an encoder with B-frames gives them: each third one before the two before it."""
    order = [0] if count else []
    for start in range(1, count, _REORDERED):
        group = list(range(start, min(start + _REORDERED, count)))
        order += [group[-1], *group[:-1]]
    return order
