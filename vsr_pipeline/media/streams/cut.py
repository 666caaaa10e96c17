"""Cutting streams that are copied: which packets lie in a span of time, and the chapters in it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.media.contents import Chapter
from vsr_pipeline.runtime.files import write_failure

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds `[start, stop)` of the output's clock; `None`: from the source's beginning, to its end."""

    start: Fraction | None
    stop: Fraction | None

    @classmethod
    def of_source(cls, span: tuple[Fraction, Fraction | None], origin: Fraction) -> "Span":
        """Span of the output for one of the source, whose time `origin` is the output's 0."""
        start, stop = span
        # Before 0 lies what a decoder needs to get ready, such as the priming of AAC: it goes with what follows.
        return cls(None if start <= 0 else start - origin, None if stop is None else stop - origin)

    def packet_filter(self) -> str:
        """The bitstream filter of ffmpeg that keeps the packets that begin in the span, bit for bit."""
        return f"noise=drop='{self._misses('pts*tb')}'"

    def subtitle_filter(self) -> str:
        """The bitstream filters of ffmpeg that keep what is seen in the span, shown no longer than that."""
        start = "TS" if self.start is None else f"max(TS,{_seconds(self.start)}/TB)"
        end = "PTS+DURATION" if self.stop is None else f"min(PTS+DURATION,{_seconds(self.stop)}/TB)"
        # Without a duration (PGS) a subtitle is there until the next one says otherwise: only its beginning counts.
        drop = self._misses("(pts+max(duration,1))*tb")
        return f"noise=drop='{drop}',setts=ts='{start}':duration='if(DURATION,{end}-{start.replace('TS', 'PTS')},0)'"

    def sound_filter(self) -> str:
        """The filter of ffmpeg that cuts decoded sound to the sample."""
        bounds = {"start": self.start, "end": self.stop}
        return "atrim=" + ":".join(f"{name}={_seconds(time)}" for name, time in bounds.items() if time is not None)

    def _misses(self, end: str) -> str:
        """Expression that is not 0 for packets outside; `end` is the second at which a packet is over."""
        early = [] if self.start is None else [f"lt({end},{_seconds(self.start)})"]
        late = [] if self.stop is None else [f"gte(pts*tb,{_seconds(self.stop)})"]
        return "+".join([*early, *late]) or "0"


def _seconds(time: Fraction) -> str:
    """A time for ffmpeg's expressions, a nanosecond early: a packet at just that time is not missed by rounding."""
    return f"{float(time) - 1 / _NANOSECONDS:.9f}"


def write_chapters(path: Path, chapters: Iterable[Chapter], span: Span, origin: Fraction) -> None:
    """Write the chapters of a source that lie in `span`, clipped to it, as a file of ffmpeg's.

    Raises:
        ResourceError, OutputError: it cannot be written.
    """
    lines = [";FFMETADATA1"]
    for chapter in chapters:
        start = max(chapter.start - origin, span.start or Fraction(0), Fraction(0))
        stop = chapter.stop - origin
        stop = stop if span.stop is None else min(stop, span.stop)
        if start < stop:
            lines += ["[CHAPTER]", f"TIMEBASE=1/{_NANOSECONDS}"]
            lines += [f"START={round(start * _NANOSECONDS)}", f"END={round(stop * _NANOSECONDS)}"]
            lines += [f"{_escaped(name)}={_escaped(text)}" for name, text in chapter.tags]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace", newline="\n")
    except OSError as error:
        raise write_failure(path, error) from error


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "=;#\\\n" else letter for letter in text)


def later_timecode(timecode: str, seconds: Fraction, frame_rate: Fraction | None) -> str:
    """Timecode of the frame that is shown `seconds` after the one with `timecode` (`HH:MM:SS:FF`, `;`: drop frame)."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+)([:;.])(\d+)", timecode)
    if found is None or frame_rate is None:
        return timecode
    hours, minutes, whole_seconds, frames = (int(found[n]) for n in (1, 2, 3, 5))
    per_second = round(frame_rate)
    # Drop frame: the numbers 0 and 1 (of 30) are not used in minutes that 10 does not divide.
    unused = 0 if found[4] == ":" else per_second // 15
    minutes += 60 * hours
    number = (60 * minutes + whole_seconds) * per_second + frames - unused * (minutes - minutes // 10)
    number += round(seconds * frame_rate)
    tens, rest = divmod(number, 600 * per_second - 9 * unused)
    after_first_minute = (
        max(0, rest - 60 * per_second) // (60 * per_second - unused) + 1 if rest >= 60 * per_second else 0
    )
    number += unused * (9 * tens + after_first_minute)
    minutes, frames = divmod(number, 60 * per_second)
    whole_seconds, frames = divmod(frames, per_second)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{whole_seconds:02}{found[4]}{frames:02}"
