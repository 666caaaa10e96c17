"""What `vsr live` is asked to do, read and checked before anything is opened."""

import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from vsr_pipeline.config_text import frame_rate_from
from vsr_pipeline.errors import UsageError

View = Literal["original", "bicubic"]
MAX_LOOKAHEAD = 4
USUAL_LOOKAHEAD = 2

_PROTOCOLS = ("rtsp", "rtsps", "http", "https")
_VIEWS: tuple[View, ...] = ("original", "bicubic")
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_RAW = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4}),([a-z0-9_]+),([0-9./]+)")


@dataclass(frozen=True, slots=True)
class Source:
    """Where frames come from."""

    kind: Literal["camera", "file", "stream", "stdin"]
    address: str = ""
    """Number of the camera, path, or URL; may hold a password: never to be said."""

    @property
    def name(self) -> str:
        """For people and logs: of a URL only protocol, host and path."""
        if self.kind == "camera":
            return f"camera {self.address}"
        if self.kind == "stdin":
            return "standard input"
        if self.kind == "file":
            return self.address
        parts = urlsplit(self.address)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}" + ("?..." if parts.query else "")

    @property
    def can_wait(self) -> bool:
        """Whether no frame is lost when it is read later."""
        return self.kind in ("file", "stdin")


def source_from(text: str) -> Source:
    """Read SOURCE.

    Raises:
        UsageError: it is an address of another protocol, or none that can be read.
    """
    if text == "-":
        return Source("stdin")
    if re.fullmatch(r"[0-9]{1,3}", text):
        return Source("camera", str(int(text)))
    protocol, separator, _ = text.partition("://")
    if not separator:
        return Source("file", text)
    if protocol.lower() not in _PROTOCOLS:
        shown = protocol if protocol.isalnum() else "this"
        raise UsageError(
            f"{shown}:// is no protocol of vsr live: give one of {', '.join(_PROTOCOLS)}, or save it first"
        )
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise UsageError(
            f"the {protocol} address has no host and port that can be read: give {protocol}://HOST:PORT/..."
        )
    return Source("stream", text)


@dataclass(frozen=True, slots=True)
class SinkChoice:
    """Where frames go."""

    kind: Literal["y4m", "http", "file", "null"]
    port: int = 0
    """Of `http`; 0: any that is free."""
    path: Path = Path()
    """Of `file`."""


def sinks_from(texts: list[str]) -> tuple[SinkChoice, ...]:
    """Read the values of `--to`.

    Raises:
        UsageError: one is no sink, or there are two of the same.
    """
    sinks = tuple(map(_sink_from, texts))
    if len(set(sinks)) < len(sinks) or sum(sink.kind == "y4m" for sink in sinks) > 1:
        raise UsageError("--to: two sinks are the same: leave one of them out")
    return sinks


def _sink_from(text: str) -> SinkChoice:
    if text in ("y4m", "null"):
        return SinkChoice("y4m" if text == "y4m" else "null")
    if text.startswith("http:") and text.removeprefix("http:").isdecimal() and int(text[5:]) < 65_536:
        return SinkChoice("http", port=int(text[5:]))
    if text.lower().endswith(".mkv"):
        return SinkChoice("file", path=Path(text))
    reason = (
        ": only .mkv can be played when the recording was cut off" if text.lower().endswith((".mp4", ".mov")) else ""
    )
    raise UsageError(f"--to {text} is no sink{reason}; give y4m, http:PORT, FILE.mkv or null")


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What raw frames on standard input are."""

    width: int
    height: int
    pixel_format: str
    """In ffmpeg's words, such as yuv420p or rgb24."""
    frame_rate: Fraction


def raw_from(text: str) -> RawFormat:
    """Read the value of `--raw`.

    Raises:
        UsageError: it cannot be meant.
    """
    found = _RAW.fullmatch(text)
    try:
        rate = frame_rate_from(found[4]) if found else None
    except ValueError:
        rate = None
    if found is None or rate is None:
        raise UsageError(f"--raw {text}: give WIDTHxHEIGHT,FORMAT,RATE such as 640x480,yuv420p,30")
    return RawFormat(int(found[1]), int(found[2]), found[3], rate)


def age_seconds_from(text: str) -> float:
    """Read the value of `--max-age`.

    Raises:
        UsageError: it is no time above 0.
    """
    found = _AGE.fullmatch(text.strip())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not 0 < seconds <= 3600:
        raise UsageError(f"--max-age {text}: give a time such as 200ms or 1.5s")
    return seconds


def views_from(text: str | None) -> tuple[View, ...]:
    """Read the value of `--compare`.

    Raises:
        UsageError: there is no such view.
    """
    names = tuple(text.split(",")) if text else ()
    if len(set(names)) < len(names) or not set(names) <= set(_VIEWS):
        raise UsageError(f"--compare {text}: give {', '.join(_VIEWS)}, or both with a comma between")
    return tuple(view for view in _VIEWS if view in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What is asked for, beside the settings of the model and the encoder."""

    source: Source
    sinks: tuple[SinkChoice, ...]
    raw: RawFormat | None = None
    input_width: int | None = None
    """Frames are reduced to it before the model; None: as they come."""
    views: tuple[View, ...] = ()
    """Shown to the left of the model's picture."""
    max_age_seconds: float = 0.2
    level: int | None = None
    """Where to begin; None: by timed frames."""
    lookahead: int = USUAL_LOOKAHEAD
    """Later frames that a recurrent model waits for."""
    no_drop: bool = False
    """Every frame, however late."""
    seconds: float | None = None
    """When to end; None: with the source."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.no_drop and not self.source.can_wait:
            raise UsageError(f"--no-drop: {self.source.name} does not wait; it is for files and standard input")
        if self.raw is not None and self.source.kind != "stdin":
            raise UsageError(f"--raw is for standard input (-), not for {self.source.name}: leave it out")
        if not 0 <= self.lookahead <= MAX_LOOKAHEAD:
            raise UsageError(f"--lookahead {self.lookahead}: 0 to {MAX_LOOKAHEAD} frames, each of which is waited for")
        if self.input_width is not None and self.input_width < 16:
            raise UsageError(f"--input-width {self.input_width}: give at least 16 pixels")
        if any(sink.kind == "y4m" for sink in self.sinks) and sys.stdout.isatty():
            raise UsageError("--to y4m writes video to standard output, which is a terminal: pipe it, such as | mpv -")


def cameras() -> dict[str, str]:
    """Return the cameras of this machine, as V4L2 knows them: number and name."""
    found = {}
    for path in sorted(Path("/dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        number = path.name.removeprefix("video")
        if number.isdecimal():
            try:
                name = Path(f"/sys/class/video4linux/{path.name}/name").read_text(encoding="utf-8", errors="replace")
            except OSError:
                name = ""
            found[number] = name.strip()
    return found
