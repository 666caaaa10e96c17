"""`vsr enhance`: LQ frames to HR frames."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vsr_pipeline import __version__
from vsr_pipeline.clip.folder import FolderSource
from vsr_pipeline.clip.footage import Footage, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.clip.inspect import analysed, damage_of, refuse_damage
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import note_model, open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.enhance.steps import Step, steps_for
from vsr_pipeline.enhance.too_large import refuse_too_large
from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.media.images import ImageTarget, read_image, remove_frames_from
from vsr_pipeline.media.picture_facts import facts_of
from vsr_pipeline.media.picture_files import refuse_too_large_for
from vsr_pipeline.media.tint import GREY, tint_of_pixels
from vsr_pipeline.plan import (
    part_of,
    repeats_note,
)
from vsr_pipeline.runtime.files import FileIdentity, make_folder
from vsr_pipeline.runtime.progress import Reporter, counted, one_line
from vsr_pipeline.stages.images_job import ImagesJob
from vsr_pipeline.stages.pictures import PictureWriter, note_losses
from vsr_pipeline.stages.record import Record, as_begun, record_file_of
from vsr_pipeline.stages.workspace import ENHANCED, FRAMES, Clip, clip_folder_of, clip_name_of
from vsr_pipeline.timeline import Analysis, Tint


@dataclass(frozen=True, slots=True)
class EnhanceResult:
    """Where the HR frames of a clip are, and how many of them were computed this time."""

    input: Path
    output: Path
    """Of images with numbers in their names, it has a `%05d` in the place of the number."""
    model: str
    frame_count: int
    computed_frames: int
    decisions: tuple[str, ...]
    """What was decided for each shot that was worked on, in order."""
    decode_errors: int = 0
    missing_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return one_line(f"{self.output}: {counted(self.frame_count, 'frame')}, {self.computed_frames} computed now")


def enhance(
    input_path: Path,
    target: ImageTarget,
    config: Config,
    *,
    reporter: Reporter,
    fresh: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    allow_cpu: bool = False,
    model: Callable[[UpscaleConfig], ModelSpec] | None = None,
) -> EnhanceResult:
    """Upscale a video or images into images.

    `enhance.json` records the settings and every finished segment; a second run makes only what is missing, damaged, or
    made from other frames or with other settings.

    Args:
        input_path: a video, a folder of images, one image, or a pattern such as `shots/frame_%05d.png`.
        target: where the images go.
        config: the settings.
        reporter: is told about progress.
        fresh: forget what an earlier run has done.
        overwrite: replace images that no run of ours made.
        strict: refuse a source of which something cannot be decoded.
        allow_cpu: go on with the CPU when the GPU's memory does not suffice.
        model: gives the model of the settings, where several inputs share it. None: it is built.

    Raises:
        InputError: the input is missing or cannot be read.
        ModelError, UsageError: as `open_model`; or the clip has more frames than the target holds.
        OutputError: images of something else, or its own source, are in the target's place, or it cannot be written.
        ResourceError: disk or memory do not suffice.
    """
    record_file = record_file_of(target)
    if fresh:
        record_file.unlink(missing_ok=True)
    if not overwrite:
        _refuse_foreign_images(target, record_file)
    before = FileIdentity.of(input_path) if input_path.is_file() else None
    begun = as_begun(config.upscale, record_file)
    spec = model(begun) if model is not None else open_model(begun, allow_cpu=allow_cpu)
    footage, analysis = _open(input_path, config, spec, reporter, strict=strict)
    job, kept = _job_for(footage, target, config, spec, reporter)
    made = job.make_missing(Fallback(spec, limit_bytes=config.upscale.memory_limit_bytes, allow_cpu=allow_cpu))
    if target.is_frames_folder:
        remove_frames_from(target.folder, footage.timeline.frame_count)
        if before is not None and not footage.header.images:
            Clip.of(before, footage, analysis).save(target.folder)
    return EnhanceResult(
        input=input_path,
        output=Path(str(target)),
        model=spec.description,
        frame_count=footage.timeline.frame_count,
        computed_frames=made.computed_frames,
        decisions=made.decisions,
        decode_errors=analysis.decode_errors,
        missing_seconds=float(analysis.missing_seconds),
        notes=(*analysis.notes, *repeats_note(footage.timeline), *kept, *made.notes),
    )


def _job_for(
    footage: Footage, target: ImageTarget, config: Config, spec: ModelSpec, reporter: Reporter
) -> tuple[ImagesJob, tuple[str, ...]]:
    """Refuse what is not possible, and return the job, and what to say of the output's files."""
    _refuse_one_image_of_many(target, footage)
    _refuse_own_source(target, footage)
    geometry = Geometry.of(footage.header.info, spec.sizing, config.upscale, even=False)
    steps = steps_for(geometry, config.upscale)
    refuse_too_large_for(target.file(0), geometry.output_size)
    for note in geometry.notes:
        reporter.note(note)
    refuse_too_large(spec, footage.header, geometry, config, len(footage.timeline.distinct))
    note_model(spec, reporter)
    make_folder(target.folder)
    kept = note_losses(footage, target, reporter)
    record_file, settings = record_file_of(target), _recorded_settings(config, geometry, steps)
    record = Record(record_file, spec.name, {"program": __version__, **spec.identity, **settings}, reporter)
    writer = None
    if footage.header.keeps_pictures:
        writer = PictureWriter(footage, geometry, spec, steps, config.upscale, record_file.parent / ".alpha")
    return ImagesJob(footage, geometry, spec, steps, target, record, writer, reporter), kept


def _recorded_settings(config: Config, geometry: Geometry, steps: Sequence[Step]) -> dict[str, str | int | float]:
    """Return what the images depend on besides the model."""
    settings: dict[str, str | int | float] = {
        "shrink_input": config.upscale.shrink_input,
        # Also where no step makes it: interpolation has any size by itself.
        "output_size": "{}x{}".format(*geometry.output_size),
        "alpha": config.upscale.alpha,
    }
    for name, value in config.input.model_dump(mode="json").items():
        settings[f"input.{name}"] = str(value)
    for step in steps:
        settings |= step.identity
    return settings


def _open(path: Path, config: Config, spec: ModelSpec, reporter: Reporter, *, strict: bool) -> tuple[Footage, Analysis]:
    """Analyse the input, unless it is frames of which `vsr split` knows the timeline."""
    every_frame = spec.context.every_frame
    header = look_at(path, config.input, frame_rate=config.encode.constant_rate, keeps_pictures=True)
    if config.encode.constant_rate is not None and not header.images:
        raise UsageError(f"--fps is for videos that are written: images of {path} have no rate")
    clip = Clip.load(clip_folder_of(path)) if path.is_dir() and path.name == FRAMES else None
    if clip is None:
        analysis = analysed(header, reporter)
        if strict:
            refuse_damage(header, analysis)
        footage = footage_of(header, analysis, every_frame=every_frame)
        for sentence in damage_of(header, analysis):  # it has the name
            reporter.note(sentence)
        for note in (*analysis.notes, *repeats_note(footage.timeline)):
            reporter.note(f"{clip_name_of(path)}: {note}")
        return footage, analysis
    if clip.timeline.frame_count != len(header.images):
        raise InputError(
            f"{path} has {counted(len(header.images), 'image')}, its clip.json says {clip.timeline.frame_count}: "
            "run `vsr split` again, or move the images to a folder of their own"
        )
    FolderSource([image for _, image in header.images], header.info).check_headers()
    # What was edited since the split counts, not what the video repeated.
    skips = config.input.skip_duplicates and not every_frame
    timeline = replace(clip.timeline, tints=tuple(_tint(header.images[s.start : s.stop]) for s in clip.timeline.shots))
    timeline = timeline.with_repeats(_repeats(header.images) if skips else ())
    part = part_of(timeline, config.input, start_seconds=timeline.pts[0] * timeline.time_base)
    for note in repeats_note(part.timeline):
        reporter.note(f"{clip_name_of(path)}: {note}")
    return Footage(header, timeline, part), Analysis(timeline)


def _repeats(images: Sequence[tuple[int, Path]]) -> Iterator[int]:
    """Find the images that are equal to the one before them; one program wrote them, so their files are as large."""
    for index, ((_, before), (_, path)) in enumerate(pairwise(images), start=1):
        if path.stat().st_size == before.stat().st_size and _is_equal(path, before):
            yield index


def _is_equal(path: Path, before: Path) -> bool:
    """Whether two images have the same pixels; those with alpha are taken to differ."""
    return np.array_equal(read_image(path), read_image(before)) and not any(
        facts_of(image).has_alpha for image in (path, before)
    )


def _tint(images: Sequence[tuple[int, Path]]) -> Tint | None:
    """Return the tint that all images of a shot have; only those before the first with colours are read."""
    return GREY if all(tint_of_pixels(read_image(path)) == GREY for _, path in images) else None


def _refuse_one_image_of_many(target: ImageTarget, footage: Footage) -> None:
    count, name = footage.timeline.frame_count, Path(target.name)
    if target.is_single and count > 1:
        pattern = f"{name.stem}_%05d{name.suffix}"
        raise UsageError(
            f"{target} is one image, {footage.header.path} has {counted(count, 'frame')}: "
            f"name a folder, or {pattern}, or give --max-frames 1"
        )


def _refuse_own_source(target: ImageTarget, footage: Footage) -> None:
    images = footage.header.images
    if not images or os.path.realpath(images[0][1].parent) != os.path.realpath(target.folder):
        return
    names = {path.name for _, path in images}
    if target.is_frames_folder or any(target.file(number).name in names for number, _ in images):
        raise OutputError(f"{target} would replace its own source: choose another --output")


def _refuse_foreign_images(target: ImageTarget, record_file: Path) -> None:
    if record_file.exists():
        return
    if target.is_frames_folder:
        if target.folder.is_dir() and any(target.folder.iterdir()):
            raise OutputError(
                f"{target.folder} is not empty and was not made by `vsr enhance`: choose another --output"
            )
    elif taken := target.taken():
        raise OutputError(f"{taken} exists and was not made by this job: choose another --output, or give --overwrite")


def default_output(input_path: Path, results: Path) -> Path:
    """Return where the HR frames of a frames folder or a video go: `enhanced/` beside `frames/`, or under results."""
    if input_path.name == FRAMES:
        return input_path.parent / ENHANCED
    stem = input_path.name if input_path.is_dir() else input_path.stem
    return results / stem / ENHANCED
