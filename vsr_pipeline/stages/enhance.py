"""`vsr enhance`: LQ frames to HR frames."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.build import build_upscaler
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.files import make_folder, write_text
from vsr_pipeline.ladder import Ladder
from vsr_pipeline.media.analyse import analyse
from vsr_pipeline.media.frames import Pixels, frame_name, list_frames, png_size, write_png
from vsr_pipeline.media.probe import probe
from vsr_pipeline.media.source import FolderSource, FrameSource, VideoSource
from vsr_pipeline.overlap import WriteBehind, read_ahead
from vsr_pipeline.plan import CLEANING_SAMPLES, sample_indices
from vsr_pipeline.reporting import Reporter, reported, retracted_on_failure
from vsr_pipeline.shots import detect_cuts
from vsr_pipeline.timeline import Segment, Shot, Timeline
from vsr_pipeline.upscale import Upscaler
from vsr_pipeline.workspace import ENHANCED, FRAMES, Clip, SourceFile, clip_folder_of

RECORD_FILE = "enhance.json"


@dataclass(frozen=True, slots=True)
class EnhanceResult:
    """Where the HR frames of a clip are, and how many of them were computed this time."""

    input: Path
    output: Path
    model: str
    frame_count: int
    computed_frames: int
    cleaning_passes: tuple[int, ...]
    """Decided for each shot that was worked on, in order."""

    def __str__(self) -> str:
        return f"{self.output}: {self.frame_count} frames, {self.computed_frames} computed now"


@dataclass(frozen=True, slots=True)
class _Input:
    """A clip, opened: its frames, when they are shown, and an identity for each of its segments."""

    source: FrameSource
    timeline: Timeline
    files: tuple[Path, ...]

    def identity(self, segment: Segment) -> str:
        """Hash of what the segment's pixels are made from: names, sizes and times of its files, and its place."""
        files = self.files[segment.context_start : segment.context_stop] if len(self.files) > 1 else self.files
        facts = [(s.path.name, s.size_bytes, s.modified_ns) for s in map(SourceFile.of, files)]
        place = (segment.start, segment.stop, segment.context_start, segment.context_stop)
        shot = (segment.shot.start, segment.shot.stop)
        return hashlib.sha256(json.dumps([facts, place, shot]).encode()).hexdigest()[:32]


def enhance(input_path: Path, output: Path, config: Config, *, reporter: Reporter) -> EnhanceResult:
    """Upscale a frames folder or a video into the folder `output`, one PNG per frame.

    `output/enhance.json` records the settings and every finished segment; a second run makes only what is missing,
    damaged, or made from other frames or with other settings.

    Raises:
        InputError: the input is missing or cannot be read.
        ModelError, UsageError: as `build_upscaler`.
        OutputError: `output` holds files of something else, or cannot be written.
        ResourceError: disk or memory do not suffice.
    """
    _refuse_foreign_folder(output)
    with ExitStack() as stack:
        opened = _open(input_path, stack, reporter)
        built = build_upscaler(config.upscale)
        reporter.note(f"model: {built.description}")
        make_folder(output)
        record = _Record(output, {"program": __version__, **built.identity}, reporter)
        segments = built.upscaler.plan(opened.timeline)
        todo = [s for s in segments if not record.has(s, opened.identity(s))]
        if len(todo) < len(segments):
            done_frames = sum(map(len, segments)) - sum(map(len, todo))
            reporter.note(f"{output}: {done_frames} of {opened.timeline.frame_count} frames are there already")
        passes: dict[Shot, int] = {}
        if todo:
            ladder = Ladder(config.upscale, built, reporter)
            with reported(reporter, f"enhance {_name(input_path)}", sum(map(len, todo))):
                for segment in todo:
                    _enhance_segment(opened, ladder, segment, passes, output, reporter)
                    record.add(segment, opened.identity(segment))
                    reporter.milestone()
    return EnhanceResult(
        input=input_path,
        output=output,
        model=built.description,
        frame_count=opened.timeline.frame_count,
        computed_frames=sum(map(len, todo)),
        cleaning_passes=tuple(passes.values()),
    )


def _enhance_segment(
    opened: _Input, ladder: Ladder, segment: Segment, passes: dict[Shot, int], output: Path, reporter: Reporter
) -> None:
    """Write the HR frames of a segment; decide on its shot's cleaning if nobody has, and remember it in `passes`."""
    shot = segment.shot
    if shot not in passes:
        decision = ladder.run(segment, lambda upscaler: upscaler.cleaning_passes(_samples(opened.source, shot)))
        passes[shot] = decision[0]

    def attempt(upscaler: Upscaler) -> None:
        frames = opened.source.read(segment.context_start, segment.context_stop)
        with (
            read_ahead(frames, depth=4) as ahead,
            WriteBehind(threads=2, depth=4) as writes,
            retracted_on_failure(reporter.worked) as counted,
        ):
            outputs = upscaler.upscale(ahead, segment, cleaning_passes=passes[shot], on_work=counted)
            for index, pixels in enumerate(outputs, start=segment.start):
                writes.call(partial(write_png, output / frame_name(index), pixels))

    ladder.run(segment, attempt)


def _samples(source: FrameSource, shot: Shot) -> Iterator[Pixels]:
    return chain.from_iterable(source.read(i, i + 1) for i in sample_indices(shot, CLEANING_SAMPLES))


def _open(path: Path, stack: ExitStack, reporter: Reporter) -> _Input:
    if path.is_dir():
        images = list_frames(path)
        source = FolderSource(images)
        return _Input(source, _timeline_of_folder(path, images, source, reporter), images)
    info = probe(path)
    with reported(reporter, f"analyse {path.name}", info.frame_count_from_header or 0):
        timeline = analyse(path, on_frame=partial(reporter.worked, 1.0))
    return _Input(stack.enter_context(VideoSource(path, timeline)), timeline, (path,))


def _timeline_of_folder(path: Path, images: tuple[Path, ...], source: FolderSource, reporter: Reporter) -> Timeline:
    clip = Clip.load(clip_folder_of(path)) if path.name == FRAMES else None
    if clip is None:
        with reported(reporter, f"analyse {_name(path)}", len(images)):
            cuts = detect_cuts(_counted(source.read(0, len(images)), reporter))
        # Only the cuts matter here; the rate of a bare folder is given to `vsr merge`.
        return Timeline.constant_rate(len(images), Fraction(1), cuts)
    if clip.timeline.frame_count != len(images):
        raise InputError(
            f"{path} has {len(images)} images, its clip.json says {clip.timeline.frame_count}: run `vsr split` again, "
            "or move the images to a folder of their own"
        )
    return clip.timeline


def _counted(items: Iterable[Pixels], reporter: Reporter) -> Iterator[Pixels]:
    for item in items:
        yield item
        reporter.worked(1.0)


def _name(path: Path) -> str:
    """What a person calls the clip: `holiday` for `results/holiday/frames`."""
    return clip_folder_of(path).name


def _refuse_foreign_folder(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()) and not (output / RECORD_FILE).exists():
        raise OutputError(f"{output} is not empty and was not made by `vsr enhance`: choose another --output")


class _Record:
    """`enhance.json`: the settings, and for each finished segment the identity of its input."""

    def __init__(self, output: Path, settings: dict[str, str | int | float], reporter: Reporter) -> None:
        self._output = output
        self._settings = settings
        self._segments: dict[str, str] = {}
        path = output / RECORD_FILE
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                self._segments = known["segments"] if known["settings"] == settings else {}
                changed = [k for k in settings if known["settings"].get(k) != settings[k]]
            except (OSError, ValueError, KeyError, AttributeError) as error:
                raise OutputError(f"{path} is damaged: delete {output} to make all frames again") from error
            if changed:
                old = ", ".join(f"{k} {known['settings'].get(k)} -> {settings[k]}" for k in changed)
                reporter.note(f"{output}: settings have changed ({old}); all frames are made again")
        self._save()

    def has(self, segment: Segment, identity: str) -> bool:
        """Whether the segment was made from this input and its files are still complete."""
        if self._segments.get(f"{segment.start}-{segment.stop}") != identity:
            return False
        return all(png_size(self._output / frame_name(i)) for i in range(segment.start, segment.stop))

    def add(self, segment: Segment, identity: str) -> None:
        """Record a finished segment."""
        self._segments[f"{segment.start}-{segment.stop}"] = identity
        self._save()

    def _save(self) -> None:
        facts = {"settings": self._settings, "segments": self._segments}
        write_text(self._output / RECORD_FILE, json.dumps(facts, indent=1) + "\n")


def default_output(input_path: Path, results: Path) -> Path:
    """Return where the HR frames of a frames folder or a video go: `enhanced/` beside `frames/`, or under results."""
    if input_path.name == FRAMES:
        return input_path.parent / ENHANCED
    stem = input_path.name if input_path.is_dir() else input_path.stem
    return results / stem / ENHANCED
