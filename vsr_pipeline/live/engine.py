"""The thread that takes captured frames through the model of the present level.

A model is run over one segment without an end, whose frames come out of the mailbox: so frame models, recurrent ones
with a lookahead and interpolation are all the same here. Frames that a model still holds, because it waits for later
ones, are pending; at the end of a connection the last frame is repeated until they have come out.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial

import torch

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.spec import Frame, Upscaler
from vsr_pipeline.enhance.steps import steps_for, through
from vsr_pipeline.enhance.transfer import to_pixels
from vsr_pipeline.live.frames import Captured, Shown
from vsr_pipeline.live.levels import Level
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.live.options import View
from vsr_pipeline.live.pictures import Converters, greyed, views_of
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import ClipSize, Segment, Shot

STALLED_SECONDS = 1.0
"""After so long without a frame, the last one is shown grey."""
_ENDLESS = Segment(0, 2**40, 0, 2**40, Shot(0, 2**40))
_MOST_PENDING = 32


class _Over(Exception):  # noqa: N818 - it is no error
    """There are no more frames for this model."""


class Engine:
    """Makes what is shown of what was captured, in a thread.

    Args:
        levels: the best one first.
        settings: of the model; its strength counts.
        box: gives captured frames.
        convert: makes RGB of them.
        views: beside the model's.
        show: takes what is made.
        meter: counts what is dropped.
        reporter: is told when memory runs out.
        greys: whether the last frame is shown grey while none come.
    """

    def __init__(
        self,
        levels: tuple[Level, ...],
        settings: UpscaleConfig,
        *,
        box: Mailbox[Captured],
        convert: Converters,
        views: tuple[View, ...],
        show: Callable[[Shown], None],
        meter: Meter,
        reporter: Reporter,
        greys: bool,
    ) -> None:
        self._levels, self._settings = levels, settings
        self._box, self._convert, self._views, self._show = box, convert, views, show
        self._meter, self._reporter, self._greys = meter, reporter, greys
        limit = settings.memory_limit_bytes
        self._fallbacks = {level.spec.name: Fallback(level.spec, limit_bytes=limit) for level in levels}
        self._wanted = 0
        self._stop = threading.Event()
        self._pending: deque[tuple[Captured, Pixels]] = deque()
        self._next: Captured | None = None
        self._last: Shown | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self, level: int) -> None:
        """Begin at a level."""
        self._wanted = level
        self._thread.start()

    def go_to(self, level: int) -> None:
        """Compute at another level from the next frame on."""
        self._wanted = level

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be shown."""
        return not self._thread.is_alive()

    def stop(self, timeout_seconds: float) -> None:
        """End soon; a frame that is being computed is waited for, but not longer than this."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(None if math.isinf(timeout_seconds) else timeout_seconds)

    @torch.inference_mode()
    def seconds_per_frame(self, level: int, captured: Captured, *, frames: int, until_seconds: float) -> float:
        """Time a level on one frame that is repeated; before `start` only. Infinite: no frame came out in time.

        Args:
            level: which one.
            captured: the frame.
            frames: how many are timed; the first one, which prepares the others, counts only if it is alone.
            until_seconds: on the monotonic clock; when to end.
        """
        seconds: list[float] = []

        def timed(upscaler: Upscaler) -> None:
            def same() -> Iterator[Captured]:
                yield captured
                while len(seconds) < frames and time.monotonic() < until_seconds:
                    yield captured
                raise _Over

            before = time.monotonic()
            with suppress(_Over):
                for hr in self._enlarged(upscaler, self._levels[level], same()):
                    self._finished(self._levels[level], hr)
                    now = time.monotonic()
                    seconds.append(now - before)
                    before = now

        self._prepare(level)
        self._fallbacks[self._levels[level].spec.name].run(_ENDLESS, timed)
        self._pending.clear()
        later = sorted(seconds[1:] or seconds)
        return later[len(later) // 2] if later else math.inf

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not (self._next is None and self._box.is_over):
                level = self._wanted
                self._prepare(level)
                self._fallbacks[self._levels[level].spec.name].run(_ENDLESS, partial(self._work, level))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that started this one
            self.failure = error
        finally:
            self._meter.dropped("end", len(self._pending) + (self._next is not None))

    def _prepare(self, level: int) -> None:
        geometry = self._levels[level].geometry
        width, height = geometry.reduced_size
        clip = ClipSize(width, height, 1 + self._settings.lookahead, output_size=geometry.output_size)
        self._fallbacks[self._levels[level].spec.name].begin(clip, self._reporter)

    def _work(self, level: int, upscaler: Upscaler) -> None:
        """Show frames at a level until another one is wanted, a connection ends, or nothing comes."""
        self._meter.dropped("memory", len(self._pending))  # of an attempt that failed
        self._pending.clear()
        with suppress(_Over), torch.inference_mode():
            for hr in self._enlarged(upscaler, self._levels[level], self._frames(level)):
                captured, shown = self._finished(self._levels[level], hr)
                self._last = Shown(captured.number, captured.arrived_seconds, captured.time, shown)
                self._show(self._last)

    def _enlarged(self, upscaler: Upscaler, level: Level, frames: Iterator[Captured]) -> Iterator[Frame]:
        size = level.geometry.reduced_size
        first = next(frames, None)
        if first is None:
            raise _Over
        decision = upscaler.decide([self._convert(first, size)], geometry=level.geometry, say=self._reporter.note)

        def lq() -> Iterator[Pixels]:
            yield self._taken(first, size)
            for captured in frames:
                yield self._taken(captured, size)
            last = self._pending[-1][1] if self._pending else None
            for _ in range(_MOST_PENDING):
                if last is None or not self._pending:
                    break
                yield last
            raise _Over

        enlarge = partial(
            upscaler.upscale, segment=_ENDLESS, decision=decision, geometry=level.geometry, on_work=lambda _: None
        )
        return through(steps_for(level.geometry, self._settings), enlarge, lq(), 0)

    def _taken(self, captured: Captured, size: tuple[int, int]) -> Pixels:
        pixels = self._convert(captured, size)
        self._pending.append((captured, pixels))
        return pixels

    def _finished(self, level: Level, hr: Frame) -> tuple[Captured, tuple[Pixels, ...]]:
        captured, lq = self._pending.popleft()
        geometry = level.geometry
        original = self._convert(captured, geometry.input_size) if "original" in self._views else None
        pixels = to_pixels(hr, lq.dtype) if isinstance(hr, torch.Tensor) else hr
        return captured, views_of(self._views, original=original, lq=lq, hr=pixels, size=geometry.output_size)

    def _frames(self, level: int) -> Iterator[Captured]:
        """Yield frames for the model as they come, until it has to begin anew or end."""
        connection: int | None = None
        while not self._stop.is_set():
            if self._next is None:
                self._next = self._box.take(STALLED_SECONDS)
            if self._wanted != level:
                self._meter.dropped("level", len(self._pending))
                self._pending.clear()
                raise _Over
            captured = self._next
            if captured is None and not self._box.is_over and not (self._greys and self._pending):
                self._show_stalled()
                continue
            if captured is None or (connection is not None and captured.connection != connection):
                return  # what is pending comes out
            self._next = None
            connection = captured.connection
            yield captured
        raise _Over

    def _show_stalled(self) -> None:
        if self._greys and self._last is not None:
            last = self._last
            views = last.views if last.is_stalled else tuple(map(greyed, last.views))
            waited = max(0.0, time.monotonic() - last.arrived_seconds)
            now = last.time + Fraction(round(1000 * waited), 1000)
            self._last = Shown(last.number, last.arrived_seconds + waited, now, views, is_stalled=True)
            self._show(self._last)
