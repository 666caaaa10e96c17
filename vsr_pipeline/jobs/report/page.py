"""`report.html`: one file without a network, for phone and desktop, that also works without JavaScript."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome, ShotOutcome, Status, WorkerOutcome
from vsr_pipeline.jobs.report.totals import headline, totals_of
from vsr_pipeline.media.image_headers import jpeg_size

STILLS_BYTES = 24 * 1024**2
"""JPEGs that a page holds at most. Pictures inside a page cannot be loaded lazily, and a phone has to open it."""

# In this order: what needs a person comes first. The pictures are given out in it, too.
_SECTIONS: dict[Status, str] = {
    "failed": "Failed",
    "given up": "Given up",
    "stopped": "Not finished",
    "done": "Done",
    "unchanged": "Done earlier, unchanged",
}
_EXIT_CODES = {
    0: "all is done",
    1: "a bug in the program",
    2: "options that cannot be meant",
    3: "the input",
    4: "the model",
    5: "disk, memory or GPU",
    6: "the output's place",
    7: "some clips failed",
    75: "to be continued",
    130: "interrupted",
    143: "told to end",
}
_CLEANED = {0: "not cleaned", 1: "cleaned once", 2: "cleaned twice"}
_OPEN_WARNINGS = 3
_WIDE = {"Model", "From", "To"}
_STILL_WIDTH = 960
# Control characters have no meaning in HTML, lone surrogates none in UTF-8, and overrides of the writing direction
# would turn around what follows a name.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def report_page(outcome: BatchOutcome, *, stills_bytes: int = STILLS_BYTES) -> str:
    """Return the whole page.

    Clips get their stills in the page's order for as long as `stills_bytes` last; the others say where theirs lie.
    """
    album = _Album(stills_bytes)
    by_status: dict[Status, list[ClipOutcome]] = {status: [] for status in _SECTIONS}
    for clip in outcome.clips:
        by_status[clip.status].append(clip)
    sections = [_section(status, clips, album) for status, clips in by_status.items() if clips]
    template = Template(files("vsr_pipeline.jobs.report").joinpath("report.html.tmpl").read_text(encoding="utf-8"))
    return template.substitute(
        title=text(outcome.title),
        tone="bad" if by_status["failed"] or by_status["given up"] else "open" if outcome.exit_code else "good",
        headline=text(headline(outcome)),
        facts=_facts(_run_facts(outcome)),
        exit_code=_exit_code(outcome.exit_code),
        sections="\n".join(sections) + _workers(outcome.workers),
        origin=_origin(outcome),
        config="\n".join(text(line) for line in outcome.config_toml.splitlines()),
    )


def text(value: object) -> str:
    r"""Return a value as HTML text or attribute on one line; what cannot be printed is shown as in Python, `\n`."""
    printable = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(value))
    return escape(printable)


class _Album:
    """Embeds stills for as long as there is room."""

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes

    def figure(self, clip: ClipOutcome) -> str:
        """Return a clip's two stills with a divider, or what is to be said instead; nothing where it has none."""
        if clip.before_still is None or clip.after_still is None:
            return ""
        try:
            before, after = clip.before_still.read_bytes(), clip.after_still.read_bytes()
        except OSError as error:
            return f'<p class="aside">The stills could not be read: {text(error.strerror or error)}.</p>'
        if len(before) + len(after) > self._room_bytes:
            return (
                f'<p class="aside">No room for more pictures here: see <bdi>{text(clip.after_still.parent)}</bdi></p>'
            )
        self._room_bytes -= len(before) + len(after)
        # The still's own: its pixels are square, the clip's need not be.
        width, height = jpeg_size(after) or clip.output_size or (_STILL_WIDTH, _STILL_WIDTH)
        name = text(clip.input.name)
        return (
            f'<figure class="pair" style="--width:{min(width, _STILL_WIDTH)}px;--shape:{width / height:.4f}">'
            f'<img class="after" alt="After: a frame of {name}" src="{_data_uri(after)}">'
            f'<img class="before" alt="Before: the same frame of {name}" src="{_data_uri(before)}">'
            f'<span class="label before">before</span><span class="label after">after</span>'
            f'<input type="range" min="0" max="100" step="0.5" value="50" autocomplete="off"'
            f' aria-label="Divider between before and after, {name}"></figure>'
        )


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _section(status: Status, clips: Sequence[ClipOutcome], album: _Album) -> str:
    cards = "\n".join(_card(clip, album) for clip in clips)
    heading = f"<h2>{_SECTIONS[status]} <span>{len(clips):,}</span></h2>"
    if status == "unchanged":
        return f'<details class="section"><summary>{heading}</summary>\n{cards}\n</details>'
    return f'<section class="section">{heading}\n{cards}\n</section>'


def _card(clip: ClipOutcome, album: _Album) -> str:
    reason = ""
    if clip.reason:
        code = f' <span class="code">Exit code {_exit_code(clip.exit_code)}</span>' if clip.exit_code else ""
        reason = f'<p class="reason">{text(clip.reason)}{code}</p>'
    details = reason + _warnings(clip.warnings) + _facts(_clip_facts(clip)) + _notes(clip.notes) + _shots(clip.shots)
    kind = clip.status.replace(" ", "-")
    return (
        f'<article class="{kind}"><h3><bdi>{text(clip.input.name)}</bdi> <span class="status">{clip.status}</span></h3>'
        f'<div class="body">{album.figure(clip)}<div class="details">{details}</div></div></article>'
    )


def _clip_facts(clip: ClipOutcome) -> Iterable[tuple[str, str]]:
    """Yield what is known of a clip, as label and text."""
    if clip.frame_count:
        yield "Size", f"{_size(clip.input_size)} → {_size(clip.output_size)}"
        yield "Length", duration(clip.duration_seconds)
        yield "Frames", f"{clip.frame_count:,}"
    if clip.computed_frames and clip.reused_frames:
        yield "Computed now", f"{clip.computed_frames:,}"
    if clip.elapsed_seconds:
        yield "Time", duration(clip.elapsed_seconds)
    if clip.fps:
        yield "Speed", f"{clip.fps:.2f} fps"
    yield from _memory_facts(clip.peak_memory_bytes, clip.peak_gpu_memory_bytes)
    if clip.decode_errors:
        yield "Decode errors", f"{clip.decode_errors:,}"
    if clip.missing_seconds:
        yield "Missing", duration(clip.missing_seconds)
    if clip.output_bytes:
        yield "File", f"{clip.output_bytes / 1024**2:,.1f} MiB"
    if clip.started_at:
        yield "Begun", _moment(clip.started_at)
    if clip.model:
        yield "Model", clip.model
    yield "From", str(clip.input)
    yield "To", str(clip.output)


def _run_facts(outcome: BatchOutcome) -> Iterable[tuple[str, str]]:
    totals = totals_of(outcome)
    yield "Time", duration(outcome.elapsed_seconds)
    yield "Video", duration(totals.video_seconds)
    yield "Frames", f"{totals.frames:,}"
    yield "Computed now", f"{totals.computed_frames:,}"
    if totals.fps:
        yield "Speed", f"{totals.fps:.2f} fps"
    yield from _memory_facts(totals.peak_memory_bytes, totals.peak_gpu_memory_bytes)


def _memory_facts(main_bytes: int, gpu_bytes: int) -> Iterable[tuple[str, str]]:
    if main_bytes:
        yield "Peak memory", f"{main_bytes / 1024**3:.2f} GiB"
    if gpu_bytes:
        yield "Peak GPU memory", f"{gpu_bytes / 1024**3:.2f} GiB"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f"<div{' class=wide' if label in _WIDE else ''}><dt>{label}</dt><dd><bdi>{text(value)}</bdi></dd></div>"
        for label, value in facts
    )
    return f"<dl>{rows}</dl>"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "<ul>" + "".join(f"<li>{text(warning)}</li>" for warning in warnings) + "</ul>"
    if len(warnings) > _OPEN_WARNINGS:
        items = f"<details><summary>{len(warnings):,} warnings</summary>{items}</details>"
    return f'<div class="warnings">{items}</div>'


def _notes(notes: Sequence[str]) -> str:
    """Return what was guessed, measured or left out, folded away."""
    if not notes:
        return ""
    count = "1 note" if len(notes) == 1 else f"{len(notes):,} notes"
    items = "".join(f"<li>{text(note)}</li>" for note in notes)
    return f"<details><summary>{count}</summary><ul>{items}</ul></details>"


def _shots(shots: Sequence[ShotOutcome]) -> str:
    """Return the shots, folded away; their list is text alone, because a film has thousands."""
    if not shots:
        return ""
    passes = [shot.cleaning_passes for shot in shots]
    low, high = min(passes), max(passes)
    cleaned = f"cleaned {low} to {high} times" if low < high else _CLEANED.get(high, f"cleaned {high} times")
    count = "1 shot" if len(shots) == 1 else f"{len(shots):,} shots"
    lines = "\n".join(f"{shot.start}–{shot.stop - 1}: {shot.cleaning_passes}" for shot in shots)
    return (
        f"<details><summary>{count}, {cleaned}</summary>"
        f'<p class="aside">First and last frame of each shot, and how often it was cleaned:</p>'
        f'<pre tabindex="0">{lines}</pre></details>'
    )


def _workers(workers: Sequence[WorkerOutcome]) -> str:
    """Return a table of the workers, where there were any."""
    if not workers:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("Node", "Device", "Segments", "Frames", "fps", "Busy", "Deaths"))
    rows = []
    for worker in workers:
        numbers = f"{worker.segments:,}", f"{worker.frames:,}", f"{worker.fps:.2f}", f"{worker.utilisation:.0%}"
        cells = (text(worker.node), text(worker.device), *numbers, f"{worker.deaths:,}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<section class="section"><h2>Workers <span>{len(workers):,}</span></h2>'
        f'<div class="table" tabindex="0"><table><tr>{head}</tr>{"".join(rows)}</table></div></section>'
    )


def _origin(outcome: BatchOutcome) -> str:
    parts = [outcome.program, f"begun {_moment(outcome.started_at)}"]
    if outcome.machine:
        parts.append(f"on {outcome.machine}")
    if outcome.log_file:
        parts.append(f"log: {outcome.log_file}")
    return " · ".join(f"<bdi>{text(part)}</bdi>" for part in parts)


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
