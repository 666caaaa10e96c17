"""The way of `vsr compare`: refuse, look for moments, read them, run each model, write what there is after each."""

import math
import random
import shlex
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.clip.footage import USUAL_FRAME_RATE, Footage, Header, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry, Size, size_label
from vsr_pipeline.clip.inspect import analysed, default_suffix
from vsr_pipeline.clip.traits import propose
from vsr_pipeline.compare.candidates import Candidate, common_scale, entry_of
from vsr_pipeline.compare.judging import Score, against, naturalness, scores_of
from vsr_pipeline.compare.making import Made, Pictures, Take, make, measured_seconds, reference_pictures, take
from vsr_pipeline.compare.moments import Moment, behind_the_end, choose_moments, moments_at
from vsr_pipeline.compare.options import CompareOptions, refuse_output
from vsr_pipeline.compare.page import Page
from vsr_pipeline.compare.rows import Cost, Row, seconds_text
from vsr_pipeline.compare.sheet import write_sheet
from vsr_pipeline.config import Config, InputConfig
from vsr_pipeline.enhance.open_model import open_model, refuse_dials, sizing_of
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.estimate import context_share, picture_bytes
from vsr_pipeline.jobs.report.page import duration
from vsr_pipeline.media.write.writer import codec_for
from vsr_pipeline.metrics.measure import resized
from vsr_pipeline.metrics.scores import FrameScores
from vsr_pipeline.runtime.progress import Reporter, counted, one_line, reported, size_text
from vsr_pipeline.timeline import Decision, Shot

_LOOPS_SECONDS = 50.0
"""If the loops of a model's later moments would take longer, a frame is made of each instead."""
_AFTER_SECONDS = 5
"""How much of a clip is analysed behind the last moment that was named."""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What is known of a model."""

    model: str
    seconds_per_frame: float
    hours: float
    gigabytes: float
    scores: dict[str, float | str]
    """JSON has no infinity, which is the PSNR of equal pictures: the text `inf` stands for it."""
    command: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """What is known of a video that was made of the clip before."""

    name: str
    scores: dict[str, float | str]


@dataclass(frozen=True, slots=True)
class MomentResult:
    """A moment: when it is shown, and what is shown of it, as (left, top, width, height) in pixels of the source."""

    title: str
    seconds: float
    crop: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and where to look at it."""

    page: Path
    sheet: Path
    frame_count: int
    moments: tuple[MomentResult, ...]
    models: tuple[ModelResult, ...]
    results: tuple[FileResult, ...] = ()

    def __str__(self) -> str:
        return f"{one_line(str(self.page))}\n{one_line(str(self.sheet))}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate with its settings and sizes."""

    candidate: Candidate
    config: Config
    geometry: Geometry
    command: str


def compare(options: CompareOptions, config: Config, reporter: Reporter) -> Comparison:
    """Run models on moments of a clip, and write the page and the sheet.

    Args:
        options: what is compared.
        config: the settings that all models have in common.
        reporter: is told about progress, and of each model when it is ready.

    Raises:
        UsageError: a moment is behind the end, or a dial is not for its model.
        InputError: the clip, a result or the reference cannot be read, or they are of different length or shape.
        ModelError, ResourceError: as `open_model`, and `Upscaler.upscale`.
        OutputError: as `refuse_output`, or a file cannot be written.
    """
    refuse_output(options)
    header = _header(options.source, options.at, config)
    entries = _entries(options, header, config)
    footage = _footage(header, reporter)
    reporter.note(str(propose(footage)))
    chosen = moments_at(footage, options.at, reporter) if options.at else choose_moments(footage, reporter)
    takes = [take(footage, moment) for moment in chosen]
    truth = _File(options.reference, header, footage, takes, config, reporter) if options.reference else None
    files = [_File(path, header, footage, takes, config, reporter) for path in options.results]
    shown_size = files[0].size if files else (0, 0)
    if entries:
        crop = takes[0].moment.crop
        shown_size = entries[0].geometry.scaled_to((crop.width, crop.height)).output_size
    page = _page(options, footage, takes, shown_size)
    letters = list(string.ascii_uppercase[: len(entries) + len(files)])
    if options.blind:
        random.SystemRandom().shuffle(letters)
    rows: list[Row] = []
    for file, letter in zip(files, letters[len(entries) :], strict=True):
        rows.append(file.row(letter, shown_size, truth, reporter))
    if truth is not None and rows:
        rows.insert(0, truth.reference_row(rows[0]))
    for entry, letter in zip(entries, letters, strict=False):
        row = _row(entry, letter, takes, footage, truth, reporter)
        if truth is not None and not rows:
            rows.append(truth.reference_row(row))
        rows.append(row)
        assert row.cost is not None
        reporter.note(
            f"{row.name}: {seconds_text(row.cost.seconds_per_frame)} a frame, {duration(row.cost.hours * 3600)} and "
            f"about {size_text(row.cost.output_bytes)} for the whole clip"
        )
        if not options.blind:  # the order in which rows come would tell their names
            page.write(rows)
    if options.blind:
        rows.sort(key=lambda row: (not row.is_reference, row.letter))
    page.write(rows)
    write_sheet(options.sheet, rows, chosen, blind=options.blind)
    return _comparison(options, rows, chosen, _frame_count(footage))


def _header(path: Path, at: Sequence[Fraction], config: Config) -> Header:
    """Look at the clip; where moments are named, the part up to the last of them is enough.

    Raises:
        UsageError: a moment is behind the end that the header says.
    """
    header = look_at(path, config.input)
    length = header.info.duration_seconds_from_header
    for seconds in at:
        if length is not None and seconds >= length:
            raise behind_the_end(seconds, length)
    if not at:
        return header
    end = f"{float(max(at) + _AFTER_SECONDS):.3f}"
    return replace(header, settings=InputConfig(**{**config.input.model_dump(), "end": end}))


def _footage(header: Header, reporter: Reporter) -> Footage:
    analysis = analysed(header, reporter)
    for note in analysis.notes:
        reporter.note(f"{header.path.name}: {note}")
    return footage_of(header, analysis)


def _entries(options: CompareOptions, header: Header, config: Config) -> list[_Entry]:
    """Put the settings of each candidate together: all make one size.

    Raises:
        UsageError: a dial is not for its model, or the size makes no sense.
    """
    has_size = any(getattr(config.upscale, name) is not None for name in ("scale", "height", "width"))
    scale = common_scale(options.candidates) / config.upscale.shrink_input
    entries = []
    for candidate in options.candidates:
        own = candidate.applied_to(config)
        entry = entry_of(candidate)
        refuse_dials(own.upscale, entry.name, entry.architecture, entry)
        needs_scale = not has_size and entry.scale != common_scale(options.candidates)
        if needs_scale:
            own = own.override(scale=scale)
        own = own.model_copy(update={"encode": codec_for(own.encode, header.info)})
        geometry = Geometry.of(header.info, sizing_of(own.upscale), own.upscale, even=not header.images)
        command = _command(options, header, candidate, own, ["--scale", f"{scale:g}"] if needs_scale else [])
        entries.append(_Entry(candidate, own, geometry, command))
    return entries


def _command(options: CompareOptions, header: Header, candidate: Candidate, config: Config, size: list[str]) -> str:
    """Return the line that makes the whole clip by a model, quoted for a shell."""
    source = options.source
    suffix = ".png" if len(header.images) == 1 else default_suffix(header, config)
    model = candidate.label.replace(":", "_").replace("=", "-")
    output = source.with_name(f"{source.stem}_{model}_{size_label(config.upscale, sizing_of(config.upscale))}{suffix}")
    dials = [part for name, value in candidate.dials.items() for part in (f"--{name}", value)]
    words = ["vsr", "run", _plain(source), "--output", _plain(output), "--model", candidate.model]
    return shlex.join([*words, *dials, *size, *options.run_options])


def _plain(path: Path) -> str:
    """Return a path that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _page(options: CompareOptions, footage: Footage, takes: Sequence[Take], made: Size) -> Page:
    crop = takes[0].moment.crop
    clip = footage.timeline.without_repeats
    return Page(
        options.output,
        options.source,
        [taken.moment for taken in takes],
        row_count=len(options.candidates) + len(options.results) + (options.reference is not None),
        blind=options.blind,
        what="version" if options.results else "model",
        milliseconds=float(clip.duration_seconds * 1000 / clip.frame_count),
        sizes=f"{crop.width}×{crop.height} pixels of the clip, enlarged to {made[0]}×{made[1]}",
        warns=options.reference is None,
    )


class _File:
    """A video of the same frames at the moments of a clip: the reference, or what was made before."""

    def __init__(
        self,
        path: Path,
        header: Header,
        footage: Footage,
        takes: Sequence[Take],
        config: Config,
        reporter: Reporter,
    ) -> None:
        self.name = path.name
        settings = InputConfig(**{**config.input.model_dump(), "skip_duplicates": False, "end": header.settings.end})
        own = look_at(path, settings)
        analysis = analysed(own, reporter)
        whole = footage_of(own, analysis, every_frame=True)
        count, expected = whole.timeline.frame_count, footage.timeline.frame_count
        if count != expected:
            raise InputError(
                f"{path} has {counted(count, 'frame')}, the clip {expected}: give one with the same frames"
            )
        self.matrix = own.info.colour.matrix
        distinct = footage.timeline.distinct
        self.pictures: list[Pictures] = []
        self.stills = [taken.still - taken.loop.start for taken in takes]
        for taken in takes:
            first = taken.moment.index - taken.still
            indices = [distinct[first + place] for place in taken.loop]
            self.pictures.append(reference_pictures(whole, taken, indices, header.info.display_size))

    @property
    def size(self) -> Size:
        """Of its first picture."""
        return self.pictures[0][0].shape[1], self.pictures[0][0].shape[0]

    def reference_row(self, like: Row) -> Row:
        """Return it as the reference, in the size of the pictures of another row."""
        shapes = (one.pictures[0].shape for one in like.made)
        made = tuple(map(self._made, self.pictures, self.stills, shapes))
        return Row("reference", "reference", made, is_reference=True)

    def row(self, letter: str, size: Size, truth: "_File | None", reporter: Reporter) -> Row:
        """Return it as one of those that are compared, in one size, with its scores."""
        made = tuple(self._made(*one, (size[1], size[0], 3)) for one in zip(self.pictures, self.stills, strict=True))
        return Row(self.name, letter, made, scores=_scores(made, truth, reporter))

    @staticmethod
    def _made(pictures: Pictures, still: int, shape: tuple[int, ...]) -> Made:
        return Made(tuple(resized(pixels, shape) for pixels in pictures), still, Decision())


def _row(
    entry: _Entry,
    letter: str,
    takes: Sequence[Take],
    footage: Footage,
    truth: _File | None,
    reporter: Reporter,
) -> Row:
    """Run a model on all moments, time it, and judge what it made."""
    name, config = entry.candidate.label, entry.config
    with reported(reporter, one_line(name), len(takes) + 1, "steps"):
        spec = open_model(config.upscale)
        upscaler = spec.variants[0].build()
        context = context_share(spec, footage.timeline)
        made: list[Made] = []
        decisions: dict[Shot, Decision] = {}
        is_slow = False
        for taken in takes:
            started = time.perf_counter()
            known = None if spec.context.decides_on_places else decisions.get(taken.shot)
            made.append(
                make(taken, upscaler, spec.context, entry.geometry, config, decision=known, with_loop=not is_slow)
            )
            decisions[taken.shot] = made[-1].decision
            is_slow = is_slow or (time.perf_counter() - started) * (len(takes) - 1) > _LOOPS_SECONDS
            reporter.worked(1.0)
        seconds = measured_seconds(takes[0], upscaler, made[0], entry.geometry, config, context=context)
        reporter.worked(1.0)
    for note in upscaler.take_notes():
        reporter.note(f"{name}: {note}")
    frame_count = _frame_count(footage)
    cost = Cost(seconds, frame_count, picture_bytes(entry.geometry.output_size, frame_count, config.encode))
    return Row(name, letter, tuple(made), cost, _scores(made, truth, reporter), entry.command)


def _scores(made: Sequence[Made], truth: _File | None, reporter: Reporter) -> tuple[Score, ...]:
    frames: list[FrameScores] = []
    for place, one in enumerate(made):
        if truth is None:
            frames += naturalness(one.pictures[one.still])
            continue
        pictures = truth.pictures[place]
        if len(one.pictures) < len(pictures):  # it was too slow for a loop
            pictures = (pictures[truth.stills[place]],)
        frames += against(pictures, one.pictures, truth.matrix, reporter)
    return scores_of(frames)


def _frame_count(footage: Footage) -> int:
    """Return how many frames the whole clip has, as far as is known without decoding all of it."""
    if footage.is_whole:
        return footage.timeline.frame_count
    info = footage.header.info
    by_rate = (info.duration_seconds_from_header or 0) * (info.average_frame_rate or USUAL_FRAME_RATE)
    return max(info.frame_count_from_header or round(by_rate), footage.timeline.frame_count)


def _comparison(
    options: CompareOptions, rows: Sequence[Row], moments: Sequence[Moment], frame_count: int
) -> Comparison:
    row_of = {row.name: row for row in rows if row.cost is not None}
    models = []
    for candidate in options.candidates:  # in their own order: that of the rows tells hidden names
        row = row_of[candidate.label]
        assert row.cost is not None
        cost, scores = row.cost, _scores_by_name(row)
        models.append(ModelResult(row.name, cost.seconds_per_frame, cost.hours, cost.gigabytes, scores, row.command))
    results = tuple(
        FileResult(row.name, _scores_by_name(row)) for row in rows if row.cost is None and not row.is_reference
    )
    shown = []
    for moment in moments:
        crop = moment.crop
        shown.append(MomentResult(moment.title, float(moment.seconds), (crop.left, crop.top, crop.width, crop.height)))
    return Comparison(options.output, options.sheet, frame_count, tuple(shown), tuple(models), results)


def _scores_by_name(row: Row) -> dict[str, float | str]:
    return {score.name: round(score.value, 6) if math.isfinite(score.value) else "inf" for score in row.scores}
