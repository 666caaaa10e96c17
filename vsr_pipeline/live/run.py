"""`vsr live` from start to end: opens everything, watches over it once a second, and ends it, whatever happens."""

import math
import os
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, Interrupted, UsageError
from vsr_pipeline.live.capture import Capture
from vsr_pipeline.live.controller import Control, controlled
from vsr_pipeline.live.engine import STALLED_SECONDS, Engine
from vsr_pipeline.live.frames import Captured, Shown
from vsr_pipeline.live.levels import Level, geometry_for, levels_for, live_settings, open_live_model
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Measured, Meter
from vsr_pipeline.live.options import LiveOptions, SinkChoice
from vsr_pipeline.live.page import PageSink, refuse_missing_server
from vsr_pipeline.live.pictures import Converters
from vsr_pipeline.live.sinks import (
    NullSink,
    Recording,
    Sink,
    SinkThread,
    Y4mSink,
    recording_settings,
    refuse_recording,
)
from vsr_pipeline.live.status import Second, Status, age_text, dropped_text
from vsr_pipeline.media.write.writer import check_encoder
from vsr_pipeline.runtime.progress import Reporter, clock_text, counted
from vsr_pipeline.runtime.signals import uninterrupted
from vsr_pipeline.timeline import VideoInfo

TIMED_FRAMES = 4
"""On each of the five levels that most models have: 20."""
_TIMING_SECONDS = 1.5
"""Most of the two seconds until frames are seen."""
_USUAL_RATE = Fraction(30)
_SIGNAL_SECONDS = 2.5
"""For the end after a signal, which may take 3."""
_ENDING_SECONDS = 30.0
"""For every other end: an encoder holds frames back."""
_TOLERANCE = 0.8


@dataclass(frozen=True, slots=True)
class LiveResult:
    """What became of a run."""

    source: str
    seconds: float
    """From the first frame on."""
    measured: Measured
    level: int
    """At the end."""

    def __str__(self) -> str:
        measured = self.measured
        out = ", ".join(f"{count} to {name}" for name, count in measured.out_by_sink.items()) or "none shown"
        parts = [f"{self.source}: {counted(measured.frames_in, 'frame')} in {clock_text(self.seconds)}, {out}"]
        parts += [age_text(measured), dropped_text(measured.dropped)]
        return ", ".join(part for part in parts if part)


def run_live(options: LiveOptions, config: Config, status: Status) -> LiveResult:
    """Show a source larger until it ends, the time is up, no sink is left, or a signal comes.

    Args:
        options: what to do.
        config: settings of the model and of the encoder.
        status: is told what happens, and what was measured each second.

    Raises:
        UsageError, ModelError: something cannot be meant, or the model is not here.
        InputError: the source cannot be opened, or broke and cannot be opened again (a file).
        OutputError, ResourceError: a sink failed; the others went on until the end.
        Interrupted: a signal came; everything is closed.
    """
    for sink in options.sinks:
        if sink.kind == "http":
            refuse_missing_server()
        if sink.kind == "file":
            refuse_recording(sink.path, overwrite=options.overwrite)
    run = _Run(options, config, status)
    try:
        run.begin()
        run.watch()
    except Interrupted as stopped:
        result = run.end(_SIGNAL_SECONDS)
        stopped.args = (f"stopped as asked; {result}",)
        raise
    except BaseException:
        run.end(_ENDING_SECONDS)
        raise
    result = run.end(math.inf if options.no_drop else _ENDING_SECONDS)
    run.raise_failure()
    return result


class _Run:
    def __init__(self, options: LiveOptions, config: Config, status: Status) -> None:
        self._options, self._status = options, status
        settings = live_settings(config.upscale, options.lookahead)
        self._config = config.model_copy(update={"upscale": settings, "encode": recording_settings(config.encode)})
        self._reporter = Reporter(status)
        self._meter = Meter()
        self._box: Mailbox[Captured] = Mailbox(waits=options.no_drop)
        self._capture = Capture(
            options.source, options.raw, self._box, self._meter, no_drop=options.no_drop, say=self._reporter.warn
        )
        self._engine: Engine | None = None
        self._sinks: tuple[SinkThread, ...] = ()
        self._page: PageSink | None = None
        self._levels: tuple[Level, ...] = ()
        self._control = Control()
        self._start = self._last_made = time.monotonic()
        self._said_ended: set[str] = set()

    def begin(self) -> None:
        """Open source, model and sinks, and start the threads."""
        spec = open_live_model(self._config.upscale)
        self._reporter.note(f"model: {spec.description}")
        with uninterrupted():
            self._capture.start()
        first = self._first_frame()
        self._start = time.monotonic()
        info = self._capture.info
        assert info is not None
        if info.bit_depth > 8:
            self._reporter.note(f"{info.path} has {info.bit_depth} bits, of which 8 are shown")
        geometry = geometry_for(info, spec, self._config.upscale, self._options.input_width)
        self._levels = levels_for(spec, self._config.upscale, geometry, open_live_model)
        rate = info.average_frame_rate or _USUAL_RATE
        self._say_delay(spec.context.lookahead, rate)
        engine = self._engine = Engine(
            self._levels,
            self._config.upscale,
            box=self._box,
            convert=Converters(info),
            views=self._options.views,
            show=self._show,
            meter=self._meter,
            reporter=self._reporter,
            greys=not self._options.source.can_wait,
        )
        self._open_sinks(info, geometry, rate)
        level = self._first_level(engine, first, float(1 / rate))
        self._control = Control(level)
        self._reporter.note(f"level {level} of {len(self._levels) - 1}: {self._levels[level].name}")
        with uninterrupted():
            engine.start(level)

    def _first_frame(self) -> Captured:
        while (first := self._box.peek(0.2)) is None:
            if self._capture.failure is not None:
                raise self._capture.failure
            if self._box.is_over:
                raise InputError(f"{self._options.source.name} gave no frame")
        return first

    def _say_delay(self, frames: int, rate: Fraction) -> None:
        if frames:
            delay = f"{counted(frames, 'frame')}, {1000 * frames / float(rate):.0f} ms at {float(rate):.3g} fps"
            self._reporter.note(f"{self._levels[0].spec.name} waits for what comes after each frame: {delay}")

    def _open_sinks(self, info: VideoInfo, geometry: Geometry, rate: Fraction) -> None:
        width, height = geometry.output_size
        size = (width * (1 + len(self._options.views)), height)
        self._reporter.note(f"{info.display_size[0]}x{info.display_size[1]} becomes {width}x{height}")
        for choice in self._options.sinks:
            sink = self._open_sink(choice, size, geometry, rate)
            thread = SinkThread(sink, self._meter, waits=self._options.no_drop)
            with uninterrupted():
                thread.start()
                self._sinks = (*self._sinks, thread)

    def _open_sink(self, choice: SinkChoice, size: tuple[int, int], geometry: Geometry, rate: Fraction) -> Sink:
        aspect = geometry.sample_aspect_ratio
        if choice.kind == "null":
            return NullSink()
        if choice.kind == "y4m":
            return Y4mSink(os.dup(1), size, rate, aspect, by_stamps=self._options.no_drop)
        if choice.kind == "file":
            check_encoder(self._config.encode, size=size)
            return Recording(choice.path, size, rate, aspect, self._config.encode)
        names = (*self._options.views, self._levels[0].spec.name)
        self._page = PageSink(choice.port, self._options.source.name, names, self._meter)
        self._reporter.note(f"page: {self._page.url}")
        return self._page

    def _first_level(self, engine: Engine, first: Captured, interval_seconds: float) -> int:
        last = len(self._levels) - 1
        if self._options.level is not None:
            if self._options.level > last:
                raise UsageError(f"--level {self._options.level}: the levels are 0 to {last}, or auto")
            return self._options.level
        if self._options.no_drop:
            return 0
        end = time.monotonic() + _TIMING_SECONDS
        for level in range(last, -1, -1):  # the cheapest first: a slow one would take all the time
            seconds = engine.seconds_per_frame(level, first, frames=TIMED_FRAMES, until_seconds=end)
            held = self._levels[level].spec.context.lookahead
            age = seconds + min(seconds, interval_seconds) + held * max(seconds, interval_seconds)
            if age > _TOLERANCE * self._options.max_age_seconds:
                return min(level + 1, last)
            if time.monotonic() >= end:
                return level
        return 0

    def _show(self, shown: Shown) -> None:
        if not shown.is_stalled:
            self._last_made = time.monotonic()
            self._meter.made()
        for sink in self._sinks:
            sink.put(shown)

    def watch(self) -> None:
        """Measure, control and say, once a second, until there is nothing more to do."""
        assert self._engine is not None
        before = time.monotonic()
        self._last_made = before
        self._meter.take(0.0)  # while it was opened
        end = None if self._options.seconds is None else self._start + self._options.seconds
        while not self._is_done() and (end is None or time.monotonic() < end):
            due = before + 1.0 if end is None else min(before + 1.0, end)
            while (left := due - time.monotonic()) > 0 and not self._is_done():
                time.sleep(min(left, 0.05))
            now = time.monotonic()
            if now - before < 0.2:
                continue  # too short to measure
            measured = self._meter.take(now - before)
            self._control_by(measured)
            self._say(measured, now)
            before = now
        for failure in (self._capture.failure, self._engine.failure):
            if failure is not None:
                raise failure

    def _is_done(self) -> bool:
        assert self._engine is not None
        for sink in self._sinks:
            if sink.is_over and sink.sink.name not in self._said_ended:
                self._said_ended.add(sink.sink.name)
                self._reporter.warn(f"{sink.sink.name} ended: {sink.failure or 'nobody reads it any more'}")
        return self._engine.is_over or all(sink.is_over for sink in self._sinks)

    def _control_by(self, measured: Measured) -> None:
        assert self._engine is not None
        if self._options.no_drop:
            return
        p95 = measured.age_seconds(0.95)
        if measured.frames_in and not measured.frames_made:
            p95 = time.monotonic() - self._last_made  # or more: what comes next is as old at least
        before = self._control
        budget = self._options.max_age_seconds
        self._control = controlled(
            before,
            seconds=measured.seconds,
            p95_age_seconds=p95,
            budget_seconds=budget,
            last_level=len(self._levels) - 1,
        )
        level = self._control.level
        if level == before.level:
            return
        self._engine.go_to(level)
        age = f"95 % were up to {1000 * (p95 or 0):.0f} ms old" if measured.frames_made else "no frame came out"
        way = "down" if level > before.level else "up"
        self._reporter.note(
            f"{way} to level {level} of {len(self._levels) - 1}, {self._levels[level].name}: "
            f"{age}, {1000 * budget:.0f} ms are allowed"
        )

    def _say(self, measured: Measured, now_seconds: float) -> None:
        state: Literal["live", "stalled", "reconnecting"] = "live"
        if not self._capture.is_connected:
            state = "reconnecting"
        elif not measured.frames_in and measured.seconds >= STALLED_SECONDS:
            state = "stalled"
        level = self._control.level
        second = Second(
            at_seconds=now_seconds - self._start,
            measured=measured,
            level=level,
            level_name=self._levels[level].name,
            state=state,
        )
        self._status.second(second)
        if self._page is not None:
            self._page.tell({**second.facts, "text": str(second)})

    def end(self, seconds: float) -> LiveResult:
        """Close everything, in that time: first the source, then the model, last the sinks."""
        with uninterrupted():
            deadline = time.monotonic() + seconds
            self._capture.stop()
            for sink in self._sinks:
                sink.finish()
            if self._engine is not None:
                self._engine.stop(0.5)
            if self._box.take(0.0) is not None:
                self._meter.dropped("end")
            hanging = [sink for sink in self._sinks if not sink.join(deadline - time.monotonic())]
            if self._engine is not None:
                # The process must not end inside a network. After a signal, its watcher bounds the wait.
                self._engine.stop(math.inf)
            self._status.end()
        for sink in hanging:
            self._reporter.warn(f"{sink.sink.name} did not end in time")
        lasted = time.monotonic() - self._start
        return LiveResult(self._options.source.name, lasted, self._meter.total(lasted), self._control.level)

    def raise_failure(self) -> None:
        """Raise what the first sink that failed has failed by."""
        for sink in self._sinks:
            if sink.failure is not None:
                raise sink.failure
