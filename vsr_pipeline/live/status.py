"""What `vsr live` says every second: a line for people, or JSON."""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TextIO

from vsr_pipeline.live.meter import Measured
from vsr_pipeline.runtime.progress import Event, Noted, Warned, clock_text, one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What there is to say of a second."""

    at_seconds: float
    """Since the start."""
    measured: Measured
    level: int
    level_name: str
    state: Literal["live", "stalled", "reconnecting"]

    @property
    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "seconds": round(self.at_seconds, 1),
            **facts_of(self.measured),
            "level": self.level,
            "level_name": self.level_name,
            "state": self.state,
        }

    def __str__(self) -> str:
        measured = self.measured
        parts = [
            f"{clock_text(self.at_seconds)} {measured.fps_in:.1f} fps in, {measured.fps_out:.1f} out",
            age_text(measured),
            dropped_text(measured.dropped),
            f"level {self.level}: {self.level_name}",
            "" if self.state == "live" else self.state,
        ]
        return ", ".join(part for part in parts if part)


def facts_of(measured: Measured) -> dict[str, object]:
    """Return what was measured, for JSON; times in milliseconds."""
    ages = {f"p{round(100 * share)}": measured.age_seconds(share) for share in (0.5, 0.95)}
    ages["max"] = measured.age_seconds(1.0)
    return {
        "fps_in": round(measured.fps_in, 2),
        "fps_out": round(measured.fps_out, 2),
        **{f"age_ms_{name}": None if age is None else round(1000 * age, 1) for name, age in ages.items()},
        "out": dict(measured.out_by_sink),
        "dropped": dict(measured.dropped),
    }


def age_text(measured: Measured) -> str:
    """Write ages: `age 41/66/71 ms`; they are p50, p95 and the largest."""
    ages = [measured.age_seconds(share) for share in (0.5, 0.95, 1.0)]
    return (
        "age " + "/".join(f"{1000 * age:.0f}" for age in ages if age is not None) + " ms" if ages[0] is not None else ""
    )


def dropped_text(dropped: Mapping[str, int]) -> str:
    """Write what was dropped: `dropped 3 model, 1 y4m`."""
    counts = ", ".join(f"{count} {cause}" for cause, count in sorted(dropped.items()))
    return f"dropped {counts}" if counts else ""


class Status:
    """Writes notes and seconds to a stream; on a terminal each second replaces the one before it."""

    def __init__(self, log_format: Literal["text", "json"], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._json = log_format == "json"
        self._in_place = not self._json and self._stream.isatty()
        self._has_line = False
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write an event, if it is a note or a warning."""
        if isinstance(event, Noted | Warned):
            kind = "note" if isinstance(event, Noted) else "warning"
            self._write({"event": kind, "message": event.message}, one_line(event.message))

    def second(self, second: Second) -> None:
        """Write what was measured."""
        self._write({"event": "second", **second.facts}, one_line(str(second)), in_place=self._in_place)

    def end(self) -> None:
        """Leave the last line as it is."""
        with self._lock:
            if self._has_line:
                print(file=self._stream, flush=True)
                self._has_line = False

    def _write(self, facts: dict[str, object], text: str, *, in_place: bool = False) -> None:
        with self._lock:
            if self._json:
                text = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | facts)
            if in_place:  # a line that wraps would not be replaced
                text = text[: os.get_terminal_size(self._stream.fileno()).columns - 1]
            before = "\r\x1b[K" if self._has_line else ""
            print(f"{before}{text}", file=self._stream, flush=True, end="" if in_place else "\n")
            self._has_line = in_place
