"""`report.html`: one file without a network, for phone and desktop, that also works without JavaScript.

The template `report.html.jinja` has the page; this file prepares what it shows. Jinja escapes every value.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome, ShotOutcome, Status, Still
from vsr_pipeline.jobs.report.template import data_uri, page_template
from vsr_pipeline.jobs.report.totals import headline, totals_of
from vsr_pipeline.media.picture_facts import picture_size
from vsr_pipeline.runtime.progress import size_text

STILLS_BYTES = 24 * 1024**2
"""JPEGs that a page holds at most. Pictures inside a page cannot be loaded lazily, and a phone has to open it."""

# In this order: what needs a person comes first. The pictures are given out in it, too.
_SECTIONS: dict[Status, str] = {
    "failed": "Failed",
    "given up": "Given up",
    "stopped": "Not finished",
    "cancelled": "Cancelled",
    "done": "Done",
    "unchanged": "Done earlier, unchanged",
}
_EXIT_CODES = {
    0: "all is done",
    1: "a bug in the program",
    2: "options that do not fit together",
    3: "the input",
    4: "the model",
    5: "disk, memory or GPU",
    6: "the output's place",
    7: "some clips failed",
    75: "to be continued",
    130: "interrupted",
    143: "told to end",
}
_OPEN_WARNINGS = 3
_STILL_WIDTH = 960


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is known, as label and text."""

    label: str
    value: str
    href: str = ""
    """Where it leads, seen from the page; empty: nowhere."""

    @property
    def is_wide(self) -> bool:
        """Whether it takes a whole line."""
        return self.label in ("Model", "From", "To", "Folder")


@dataclass(frozen=True, slots=True)
class Pair:
    """The stills of one moment of a clip, as `data:` addresses; or `missing` says why they are not shown."""

    before: str = ""
    after: str = ""
    full: str = ""
    """The enhanced one in the output's size, as a file beside the page."""
    moment: str = ""
    """When it is shown, in words; empty where that is not known."""
    width: int = _STILL_WIDTH
    shape: float = 1.0
    """Width / height."""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of a clip."""

    anchor: str
    name: str
    status: str
    reason: str
    exit_code: str
    output: str
    """Where its output lies, seen from the page; empty: it is not there."""
    row: tuple[str, ...]
    """Its cells in the overview, behind name and status."""
    pairs: tuple[Pair, ...]
    """The middle of the clip first."""
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    shots: str
    """How many there are, and what was decided for them."""
    shot_lines: tuple[str, ...]

    @property
    def folds_warnings(self) -> bool:
        """Whether they are too many to be shown at once."""
        return len(self.warnings) > _OPEN_WARNINGS


@dataclass(frozen=True, slots=True)
class Section:
    """Clips of one status."""

    heading: str
    cards: tuple[Card, ...]
    is_folded: bool


def report_page(outcome: BatchOutcome, folder: Path, *, stills_bytes: int = STILLS_BYTES) -> str:
    """Return the whole page, as it lies in `folder`, from where its links lead.

    Clips get their stills in the page's order for as long as `stills_bytes` last; the others say where theirs lie.
    """
    numbers = {id(clip): number for number, clip in enumerate(outcome.clips, 1)}
    by_status: dict[Status, list[ClipOutcome]] = {status: [] for status in _SECTIONS}
    for clip in outcome.clips:
        by_status[clip.status].append(clip)
    album = _album([clip for clips in by_status.values() for clip in clips], folder, stills_bytes)
    sections = [
        Section(
            _SECTIONS[status],
            tuple(_card(clip, numbers[id(clip)], album.get(id(clip), ()), folder) for clip in clips),
            status == "unchanged",
        )
        for status, clips in by_status.items()
        if clips
    ]
    origin = [outcome.program, f"begun {_moment(outcome.started_at)}"]
    origin += [f"on {outcome.machine}"] if outcome.machine else []
    return page_template("vsr_pipeline.jobs.report", "report.html.jinja").render(
        title=outcome.title,
        tone="bad" if by_status["failed"] or by_status["given up"] else "open" if outcome.exit_code else "good",
        headline=headline(outcome),
        # Of one clip, its own figures are all there are.
        facts=tuple(_run_facts(outcome)) if len(outcome.clips) != 1 else (),
        overview=sections if len(outcome.clips) > 1 else (),
        columns=_COLUMNS,
        log=Fact("log", str(outcome.log_file), _link(outcome.log_file, folder)) if outcome.log_file else None,
        exit_code=_exit_code(outcome.exit_code),
        sections=sections,
        workers=outcome.workers,
        origin=origin,
        config=outcome.config_toml.splitlines(),
    )


def _album(clips: Sequence[ClipOutcome], folder: Path, room_bytes: int) -> dict[int, list[Pair]]:
    """Return the stills of clips, by their `id`, while there is room: first the middle of each, then the rest."""
    album: dict[int, list[Pair]] = {}
    moments = {id(clip): _stills_of(clip) for clip in clips}
    for clip in clips:
        for still in moments[id(clip)][:1]:
            pair, used = _pair_of(still, folder, room_bytes)
            album[id(clip)] = [pair]
            room_bytes -= used
    for clip in clips:
        for still in moments[id(clip)][1:]:
            pair, used = _pair_of(still, folder, room_bytes)
            if not pair.missing and not album[id(clip)][0].missing:
                album[id(clip)].append(pair)
                room_bytes -= used
    return album


def _stills_of(clip: ClipOutcome) -> tuple[Still, ...]:
    if clip.stills or clip.before_still is None or clip.after_still is None:
        return clip.stills
    # An older version kept one moment, and did not say when it is.
    return (Still(math.nan, clip.before_still, clip.after_still, clip.after_still),)


def _pair_of(still: Still, folder: Path, room_bytes: int) -> tuple[Pair, int]:
    """Return the stills of a moment, or what is to be said instead, and how many bytes they take."""
    try:
        before, after = still.before.read_bytes(), still.after.read_bytes()
    except OSError as error:
        return Pair(missing=f"The stills could not be read: {error.strerror or error}."), 0
    if len(before) + len(after) > room_bytes:
        return Pair(missing=f"No room for more pictures here: see {still.after.parent}"), 0
    # The still's own: its pixels are square, the clip's need not be.
    width, height = picture_size(after) or (_STILL_WIDTH, _STILL_WIDTH)
    pair = Pair(
        data_uri(before),
        data_uri(after),
        full=_link(still.full, folder),
        moment="" if math.isnan(still.seconds) else f"at {duration(still.seconds)}",
        width=min(width, _STILL_WIDTH),
        shape=width / height,
    )
    return pair, len(before) + len(after)


_COLUMNS = ("Size", "Length", "Time", "Speed", "File")


def _link(path: Path, folder: Path) -> str:
    """Return a path as an address relative to a folder, so that both can be moved together."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    text = relative.replace(os.sep, "/")
    try:
        return quote(text, errors="surrogateescape")  # the bytes of a name that is no valid Unicode
    except UnicodeEncodeError:
        return quote(text, errors="surrogatepass")


def _card(clip: ClipOutcome, number: int, pairs: Sequence[Pair], folder: Path) -> Card:
    is_there = clip.status in ("done", "unchanged")
    return Card(
        anchor=f"clip-{number}",
        output=_link(clip.output, folder) if is_there else "",
        row=(
            _size(clip.output_size) if clip.output_size else "",
            duration(clip.duration_seconds) if clip.duration_seconds else "",
            duration(clip.elapsed_seconds) if clip.elapsed_seconds else "",
            f"{clip.fps:.2f} fps" if clip.fps else "",
            size_text(clip.output_bytes) if clip.output_bytes else "",
        ),
        name=clip.input.name,
        status=clip.status,
        reason=clip.reason,
        exit_code=_exit_code(clip.exit_code) if clip.exit_code else "",
        pairs=tuple(pairs),
        facts=tuple(_clip_facts(clip, folder)),
        warnings=clip.warnings,
        notes=clip.notes,
        shots=_shots(clip.shots) if clip.shots else "",
        shot_lines=tuple(f"{shot.start}–{shot.stop - 1}: {shot.decision}".rstrip(": ") for shot in clip.shots),
    )


def _shots(shots: Sequence[ShotOutcome]) -> str:
    counts = Counter(shot.decision for shot in shots if shot.decision)
    decided = (f", {text}" if count == len(shots) else f", {count:,} {text}" for text, count in counts.items())
    return f"{len(shots):,} shot{'s' if len(shots) > 1 else ''}" + "".join(decided)


def _clip_facts(clip: ClipOutcome, folder: Path) -> Iterable[Fact]:
    """Yield what is known of a clip, as label and text."""
    if clip.frame_count:
        yield Fact("Size", f"{_size(clip.input_size)} → {_size(clip.output_size)}")
        yield Fact("Length", duration(clip.duration_seconds))
        yield Fact("Frames", f"{clip.frame_count:,}")
    if clip.computed_frames and clip.reused_frames:
        yield Fact("Computed now", f"{clip.computed_frames:,}")
    if clip.elapsed_seconds:
        yield Fact("Time", duration(clip.elapsed_seconds))
    if clip.fps:
        yield Fact("Speed", f"{clip.fps:.2f} fps")
    yield from _memory_facts(clip.peak_memory_bytes, clip.peak_gpu_memory_bytes)
    if clip.decode_errors:
        yield Fact("Decode errors", f"{clip.decode_errors:,}")
    if clip.missing_seconds:
        yield Fact("Missing", duration(clip.missing_seconds))
    if clip.output_bytes:
        yield Fact("File", f"{clip.output_bytes / 1024**2:,.1f} MiB")
    if clip.started_at:
        yield Fact("Begun", _moment(clip.started_at))
    if clip.model:
        yield Fact("Model", clip.model)
    yield Fact("From", str(clip.input), _link(clip.input, folder))
    if clip.status in ("done", "unchanged"):
        yield Fact("To", str(clip.output), _link(clip.output, folder))
        yield Fact("Folder", str(clip.output.parent), _link(clip.output.parent, folder))
    else:
        yield Fact("To", str(clip.output))


def _run_facts(outcome: BatchOutcome) -> Iterable[Fact]:
    totals = totals_of(outcome)
    yield Fact("Time", duration(outcome.elapsed_seconds))
    yield Fact("Video", duration(totals.video_seconds))
    yield Fact("Frames", f"{totals.frames:,}")
    yield Fact("Computed now", f"{totals.computed_frames:,}")
    if totals.fps:
        yield Fact("Speed", f"{totals.fps:.2f} fps")
    yield from _memory_facts(totals.peak_memory_bytes, totals.peak_gpu_memory_bytes)


def _memory_facts(main_bytes: int, gpu_bytes: int) -> Iterable[Fact]:
    if main_bytes:
        yield Fact("Peak memory", f"{main_bytes / 1024**3:.2f} GiB")
    if gpu_bytes:
        yield Fact("Peak GPU memory", f"{gpu_bytes / 1024**3:.2f} GiB")


def _exit_code(code: int) -> str:
    return f"{code}: {_EXIT_CODES[code]}" if code in _EXIT_CODES else str(code)


def _moment(iso: str) -> str:
    """Make 2026-11-21T02:00:00.123+01:00 easier to read: 2026-11-21 02:00 +01:00."""
    return re.sub(r"^(\S+)T(\d\d:\d\d):[\d.]+", r"\1 \2 ", iso)


def duration(seconds: float) -> str:
    """Return a time in words: 8.4 s, 3 min 20 s, 7 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[0]}×{size[1]}" if size else "unknown"
