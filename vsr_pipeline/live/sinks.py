"""Where frames go: each sink in a thread of its own behind a mailbox, so that none waits for another."""

import math
import os
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from vsr_pipeline.clip.geometry import Size
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import OutputError
from vsr_pipeline.live.frames import Shown
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.media.colour import guess_matrix
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.runtime.files import sync, write_failure
from vsr_pipeline.timeline import Colour

_TICKS = 1000
"""A second of a recording: what Matroska rounds to."""
_MOST_DEBT_SECONDS = 1.0
_PRESETS = MappingProxyType({"h264": "veryfast", "hevc": "ultrafast"})


class ReaderGoneError(Exception):
    """Nobody wants what a sink writes any more: no failure."""


class Sink(Protocol):
    """What frames are written to."""

    name: str
    """In counts."""
    idle_seconds: float | None
    """After so long without a frame, `idle` is called; None: never."""

    def write(self, shown: Shown) -> bool:
        """Take a frame; returns whether it was given out.

        Raises:
            ReaderGoneError: nobody reads any more.
            OutputError, ResourceError: it cannot be written.
        """
        ...

    def idle(self) -> None:
        """Do what is to do while no frame comes; raises as `write`."""
        ...

    def close(self) -> None:
        """End, whatever happened before; what was written stays usable."""
        ...


class NullSink:
    """Takes frames and forgets them, for measuring."""

    name = "null"
    idle_seconds: float | None = None

    def write(self, shown: Shown) -> bool:  # noqa: ARG002
        """Do nothing."""
        return True

    def idle(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _colour_for(size: Size) -> Colour:
    return Colour(matrix=guess_matrix(*size), range="tv")


class Y4mSink:
    """Frames as YUV4MPEG2, which has one rate: where frames come more slowly, the last one is repeated meanwhile.

    Args:
        descriptor: where to write; it stays open.
        size: (width, height) of what is written.
        rate: frames per second.
        sample_aspect_ratio: of a pixel.
        by_stamps: repeat by the times of the frames, not by the time of day.
    """

    name = "y4m"

    def __init__(
        self, descriptor: int, size: Size, rate: Fraction, sample_aspect_ratio: Fraction, *, by_stamps: bool
    ) -> None:
        self._descriptor, self._rate = descriptor, rate
        self.idle_seconds: float | None = None if by_stamps else float(1 / rate)
        self._convert = RgbToYuv(_colour_for(size), "yuv420p")
        width, height = self._convert.coded_size(*size)
        aspect = f"{sample_aspect_ratio.numerator}:{sample_aspect_ratio.denominator}"
        self._header = (
            f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A{aspect} "
            "C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED\n"
        ).encode()
        self._frame = b""
        self._written = 0
        self._start = 0.0

    def write(self, shown: Shown) -> bool:
        """Write a frame, after repeats of the last one that its time asks for."""
        if not self._frame:
            self._put(self._header)
            self._start = time.monotonic() if self.idle_seconds else float(shown.time)
        elif self.idle_seconds is None:
            for _ in range(min(self._due(float(shown.time)) - self._written, math.ceil(self._rate))):
                self._repeat()
        converted = self._convert(shown.picture)
        planes = (
            memoryview(plane).cast("B")[row * plane.line_size :][: plane.width]
            for plane in converted.planes
            for row in range(plane.height)
        )
        self._frame = b"".join((b"FRAME\n", *planes))
        self._repeat()
        return True

    def idle(self) -> None:
        """Repeat the last frame, where one more is due."""
        if not self._frame:
            return
        now = time.monotonic()
        debt = self._due(now) - self._written
        if debt > _MOST_DEBT_SECONDS * self._rate:
            self._start = now - self._written / float(self._rate)  # the reader stood still: it is not flooded now
        elif debt > 1:  # one frame may be late
            self._repeat()

    def close(self) -> None:
        """Do nothing: each frame is out."""

    def _due(self, now_seconds: float) -> int:
        return round((now_seconds - self._start) * float(self._rate))

    def _repeat(self) -> None:
        self._put(self._frame)
        self._written += 1

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            raise write_failure(Path("video to standard output"), error) from error


class Recording:
    """A Matroska file with the times at which frames were captured.

    It grows as `NAME.partial.mkv`, which can be played at any time but for its last second or two, and gets its name at
    the end, whatever that is.

    Args:
        path: the name at the end.
        size: (width, height) of what is written.
        rate: of the source, for players.
        sample_aspect_ratio: of a pixel.
        settings: of the encoder.

    Raises:
        OutputError, ResourceError: the file cannot be written.
    """

    idle_seconds: float | None = None

    def __init__(
        self, path: Path, size: Size, rate: Fraction, sample_aspect_ratio: Fraction, settings: EncodeConfig
    ) -> None:
        self.name = path.name
        self.path = path
        self._partial = partial_path(path)
        self._duration = max(1, round(_TICKS / rate))
        self._last = -1
        self._failure: BaseException | None = None
        self._writer = VideoWriter(
            self._partial,
            width=size[0],
            height=size[1],
            time_base=Fraction(1, _TICKS),
            frame_rate=rate,
            colour=_colour_for(size),
            sample_aspect_ratio=sample_aspect_ratio,
            settings=settings,
            is_recording=True,
        )

    def write(self, shown: Shown) -> bool:
        """Encode a frame at the time when it was captured, to the millisecond."""
        ticks = max(round(shown.time * _TICKS), self._last + 1)
        try:
            self._writer.write(ticks, shown.picture, duration=self._duration)
        except BaseException as error:
            self._failure = error
            raise
        self._last = ticks
        return True

    def idle(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Give the file its name; without a frame, delete it.

        Raises:
            OutputError, ResourceError: the end could not be written; what came before it can be played.
        """
        if self._last < 0:
            self._writer.__exit__(OutputError, OutputError(), None)
            self._partial.unlink(missing_ok=True)
            return
        try:
            failure = self._failure
            self._writer.__exit__(type(failure) if failure else None, failure, None)
        finally:
            try:
                sync(self._partial)
                self._partial.replace(self.path)
                sync(self.path.parent)
            except OSError as error:
                raise write_failure(self.path, error) from error


def partial_path(path: Path) -> Path:
    """Return the name under which a recording grows."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def refuse_recording(path: Path, *, overwrite: bool) -> None:
    """Refuse a recording that would replace another one, or that has no folder.

    Raises:
        OutputError: see above.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot record to {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise OutputError(f"cannot record to {path}: it is a folder; give the name of a file")
    for there in (path, partial_path(path)):
        if there.exists() and not overwrite:
            cut_off = "" if there == path else ", a recording that was cut off and can be played"
            raise OutputError(f"{there} exists{cut_off}: give --overwrite to replace it, or another name")


def recording_settings(settings: EncodeConfig) -> EncodeConfig:
    """Return settings with which encoding keeps up, where nobody asked for a preset."""
    codec = "h264" if settings.codec == "auto" else settings.codec
    preset = settings.preset or _PRESETS.get(codec)
    return settings.model_copy(update={"codec": codec, "preset": preset})


class SinkThread:
    """Runs a sink in a thread: the newest frame wins.

    Args:
        sink: what to run.
        meter: counts its frames.
        waits: whether every frame is written, and the model waits for that.

    Attributes:
        failure: why the sink ended, if that is one.
    """

    def __init__(self, sink: Sink, meter: Meter, *, waits: bool) -> None:
        self.sink = sink
        self.failure: BaseException | None = None
        self._meter = meter
        self._box: Mailbox[Shown] = Mailbox(waits=waits)
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, shown: Shown) -> None:
        """Give a frame; what it replaces is counted."""
        replaced = self._box.put(shown)
        if replaced is not None and not replaced.is_stalled and not self.is_over:
            self._meter.dropped(self.sink.name)

    @property
    def is_over(self) -> bool:
        """Whether the sink has ended."""
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Let nothing more in; what is inside is still written."""
        self._box.close()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; returns whether it came."""
        self._thread.join(None if math.isinf(timeout_seconds) else max(0.0, timeout_seconds))
        return self.is_over

    def _run(self) -> None:
        try:
            try:
                self._write_all()
            finally:
                self._box.close()
                self.sink.close()
        except ReaderGoneError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that started this one
            self.failure = error

    def _write_all(self) -> None:
        while True:
            shown = self._box.take(self.sink.idle_seconds)
            if shown is None:
                if self._box.is_over:
                    return
                self.sink.idle()
                continue
            if self.sink.write(shown) and not shown.is_stalled:
                self._meter.shown(self.sink.name, time.monotonic() - shown.arrived_seconds)
