"""The thread that decodes a source, without a pause, and opens it again when it is lost."""

import threading
import time
from collections.abc import Callable
from fractions import Fraction

import av.error
from av.video.frame import VideoFrame

from vsr_pipeline.errors import InputError, VsrError
from vsr_pipeline.live.frames import Captured
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.live.options import RawFormat, Source
from vsr_pipeline.live.source import Connection, connected, failure_of, info_of
from vsr_pipeline.timeline import VideoInfo

BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits before the first, second, ... attempt to open a source again; the last one repeats."""

_JUMP_SECONDS = 1
_LONGEST_WAIT_SECONDS = 10.0
_NANOSECONDS = 1_000_000_000


class CaptureClock:
    """Times of frames since the first one: by the source's timestamps, as long as these go with the time of day.

    A source that is opened again, or whose timestamps jump, goes on from when its frame arrived. One whose timestamps
    jump again is not believed any more: MJPEG over HTTP has none, and gets some that are invented.
    """

    def __init__(self) -> None:
        self._start: Fraction | None = None
        self._last = Fraction(-1)
        self._offset: Fraction | None = None
        self._jumps = 0

    def reconnected(self) -> None:
        """The source's timestamps mean something new from now on."""
        self._offset = None
        self._jumps = 0

    def time_of(self, stamp: Fraction | None, arrived_seconds: float, *, trusts_stamps: bool) -> Fraction:
        """Return when a frame was captured, strictly after the one before it.

        Args:
            stamp: what the source says, in seconds; None: nothing.
            arrived_seconds: on the monotonic clock.
            trusts_stamps: whether the arrival says nothing: it follows from the stamp, or from what waits here.
        """
        now = Fraction(round(arrived_seconds * _NANOSECONDS), _NANOSECONDS)
        if self._start is None:
            self._start = now
        arrived = now - self._start
        if stamp is None or (self._jumps > 1 and not trusts_stamps):
            found = arrived
        else:
            if self._offset is None:
                self._offset = arrived - stamp
            found = stamp + self._offset
            if not trusts_stamps and abs(found - arrived) > _JUMP_SECONDS:
                self._offset, found = arrived - stamp, arrived
                self._jumps += 1
        self._last = max(found, self._last + Fraction(1, 1000))
        return self._last


class Capture:
    """Decodes a source into a mailbox, in a thread.

    Args:
        source: what to open.
        raw: what raw frames on standard input are.
        box: gets the frames.
        meter: counts them.
        no_drop: whether to wait until each frame was taken.
        say: is told when the source is lost and found.
    """

    def __init__(
        self,
        source: Source,
        raw: RawFormat | None,
        box: Mailbox[Captured],
        meter: Meter,
        *,
        no_drop: bool,
        say: Callable[[str], None],
    ) -> None:
        self._source, self._raw, self._box, self._meter = source, raw, box, meter
        self._no_drop = no_drop
        self._say = say
        self._stop = threading.Event()
        self._clock = CaptureClock()
        self._count = 0
        self._connections = 0
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.info: VideoInfo | None = None
        """What the first frame told; known before that frame is in the mailbox."""
        self.failure: BaseException | None = None
        """Why it ended, if not because the source did."""
        self.is_connected = False
        """Whether frames come, or would; a source that has ended counts, too."""

    def start(self) -> None:
        """Open the source and begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; a read that hangs is left to itself."""
        self._stop.set()
        self._box.close()
        if self._thread.ident is not None:
            self._thread.join(timeout=0.3)

    def _run(self) -> None:
        try:
            self._capture()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that started this one
            self.failure = error
        finally:
            self._box.close()

    def _capture(self) -> None:
        failures = 0
        while not self._stop.is_set():
            count_before = self._count
            try:
                with connected(self._source, self._raw) as connection:
                    self._connections += 1
                    self._clock.reconnected()
                    self._read(connection)
                if connection.is_finite or self._source.can_wait:
                    break
                lost: VsrError = InputError(f"{self._source.name} ended")
            except InputError as error:
                lost = error
            if self._stop.is_set():
                return
            self.is_connected = False
            if self._count == 0 or self._source.can_wait:
                raise lost  # an address that is wrong from the start will not become right
            failures = 0 if self._count > count_before else failures + 1
            wait = BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)]
            self._say(f"{lost}; trying again in {wait:g} s")
            self._stop.wait(wait)
        if self._count == 0 and not self._stop.is_set():
            raise InputError(f"no frame of {self._source.name} can be decoded: it is empty, damaged or encrypted")

    def _read(self, connection: Connection) -> None:
        pace = Pace() if connection.is_finite else None
        try:
            for packet in connection.container.demux(connection.stream):
                if self._stop.is_set():
                    return
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    self._meter.dropped("damaged")
                    continue
                for frame in frames:
                    assert isinstance(frame, VideoFrame)
                    self._give(frame, connection, pace)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            raise failure_of(self._source, error) from None

    def _give(self, frame: VideoFrame, connection: Connection, pace: "Pace | None") -> None:
        stamp = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        if pace is not None and stamp is not None:
            self._stop.wait(pace.wait_seconds(stamp, time.monotonic()))
        arrived = time.monotonic()
        if self.info is None:
            self.info = info_of(self._source, connection.stream, frame)
        if not self.is_connected:
            self.is_connected = True
            if self._count:
                self._say(f"{self._source.name} is back")
        captured = Captured(
            number=self._count,
            arrived_seconds=arrived,
            time=self._clock.time_of(stamp, arrived, trusts_stamps=pace is not None or self._no_drop),
            connection=self._connections,
            picture=frame,
        )
        self._count += 1
        self._meter.captured()
        replaced = self._box.put(captured)
        if pace is not None and self._no_drop and stamp is not None:
            pace.was_taken(stamp, time.monotonic())
        if replaced is not None:
            self._meter.dropped("model")


class Pace:
    """When the frames of a file are due: by their timestamps, from the first one on, but for jumps of many seconds."""

    def __init__(self) -> None:
        self._start: float | None = None

    def wait_seconds(self, stamp: Fraction, now_seconds: float) -> float:
        """Return how long to wait with a frame."""
        if self._start is None:
            self._start = now_seconds - float(stamp)
        wait = self._start + float(stamp) - now_seconds
        if wait > _LONGEST_WAIT_SECONDS:
            self._start, wait = now_seconds - float(stamp), 0.0
        return max(0.0, wait)

    def was_taken(self, stamp: Fraction, now_seconds: float) -> None:
        """A frame was taken only now: what comes after it is late by as much, and not hurried."""
        if self._start is not None:
            self._start = max(self._start, now_seconds - float(stamp))
