"""`vsr merge`: HR frames to a video, with the timestamps and the sound of the source."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.clip.folder import FolderSource
from vsr_pipeline.clip.footage import Footage, footage_of, look_at
from vsr_pipeline.clip.inspect import analysed, default_suffix
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.media.contents import Contents, read_contents
from vsr_pipeline.media.images import images_of
from vsr_pipeline.media.streams.dry import check_times
from vsr_pipeline.media.streams.join import check_finished
from vsr_pipeline.media.streams.mux import mux
from vsr_pipeline.media.streams.plan import plan_streams
from vsr_pipeline.media.write.writer import VideoWriter, check_encoder, codec_for, colour_to_write, track_suffix
from vsr_pipeline.plan import Schedule, even_ticks, schedule_of
from vsr_pipeline.runtime.files import FileIdentity, published, refuse_to_replace, scratch, write_text
from vsr_pipeline.runtime.prefetch import read_ahead
from vsr_pipeline.runtime.progress import Reporter, counted, one_line, reported
from vsr_pipeline.stages.record import model_of_frames
from vsr_pipeline.stages.workspace import Clip, clip_folder_of
from vsr_pipeline.timeline import VideoInfo

RECORD_FILE = "merge.json"


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The video that was made, or found to be there already."""

    frames: Path
    output: Path
    frame_count: int
    width: int
    height: int
    written: bool

    def __str__(self) -> str:
        return one_line(f"{self.output}: {counted(self.frame_count, 'frame')} of {self.width}x{self.height}")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is merged: the images, when they are shown, and whose sound, shape and colour they get."""

    images: tuple[Path, ...]
    pixels: FolderSource
    schedule: Schedule
    origin_seconds: Fraction
    """Time of the source that is 0 in the output."""
    info: VideoInfo
    """Of the source; without one, of the images."""
    footage: Footage | None
    """The source; None: there is only the picture."""

    @property
    def source(self) -> Path | None:
        return self.footage.header.path if self.footage else None

    @property
    def contents(self) -> Contents | None:
        return self.footage.header.contents if self.footage else None


def merge(
    frames: Path,
    config: Config,
    *,
    results: Path,
    output: Path | None = None,
    source: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter,
) -> MergeResult:
    """Encode images and copy the other streams of the source beside them.

    Args:
        frames: a folder of images of one size, or a pattern such as `shots/frame_%05d.png`.
        config: the settings. A frame rate takes the place of the timestamps of the source: each image is shown for as
            long.
        results: the workspace, where the output goes if no `output` is given.
        output: the video; by default `<stem>_x4`, or with the factor that the frames have, in the source's container
            beside the frames folder.
        source: the video that sound, subtitles and shape are taken from; by default the one in `clip.json`.
        overwrite: replace an `output` that exists.
        reporter: is told about progress.

    Raises:
        UsageError: there is neither a `clip.json` nor a source nor a frame rate; or no encoder for the settings.
        InputError: the images or the source cannot be read, or their counts differ.
        OutputError: the output exists, cannot be written, its container cannot hold the source's streams, or what was
            written has other frames.
        ResourceError: the disk is full.
    """
    plan = _plan(frames, source, config, reporter)
    config = config.model_copy(update={"encode": codec_for(config.encode, plan.info)})
    height, width = plan.pixels.shape
    check_encoder(config.encode, size=(width, height), bit_depth=plan.pixels.bit_depth)
    folder = _folder_of(frames, results)
    target = output or folder / f"{folder.name}{_size_label(plan, height)}{_default_suffix(plan, config)}"
    if plan.source is not None:
        refuse_to_replace(plan.source, target)
    result = MergeResult(frames, target, len(plan.images), width, height, written=True)
    fingerprint = _fingerprint(plan, config, target)
    record = folder / RECORD_FILE
    if target.exists() and not overwrite:
        if output is not None or not record.exists():
            raise OutputError(f"{target} exists: give --overwrite to replace it, or another --output")
        if _is_current(record, target, fingerprint):
            reporter.note(f"{target} is there already")
            return replace(result, written=False)
    for note in _notes_on(plan, target, config):
        reporter.note(f"{target.name}: {note}")
    if output is None:
        # Before the output is written: one that is older than its record is not what the record says.
        known = {"output": target.name, "fingerprint": fingerprint, "model": model_of_frames(frames)}
        write_text(record, json.dumps(known) + "\n")
    _write(plan, config, target, reporter)
    return result


def merged_model(output: Path) -> str | None:
    """Return the name of the model that made the frames of a merged video; None where that is not recorded."""
    try:
        known = json.loads((output.parent / RECORD_FILE).read_text(encoding="utf-8"))
        return str(known["model"]) if known["model"] and known["output"] == output.name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _notes_on(plan: _Plan, target: Path, config: Config) -> Iterator[str]:
    """Yield what is worth knowing of the streams and times.

    Raises:
        OutputError: the container cannot hold them.
    """
    yield from plan_streams(plan.contents, target.suffix, config.encode, config.output).notes
    schedule = plan.schedule
    yield from check_times(
        schedule.pts,
        schedule.time_base,
        schedule.last_duration,
        suffix=target.suffix.lower(),
        track_suffix=track_suffix(config.encode),
    )


def _size_label(plan: _Plan, height: int) -> str:
    """Return how many times larger the images are than the video that they come from; the usual where none is known."""
    if plan.footage is None:
        return "_x4"
    return f"_x{height / plan.footage.header.info.display_size[1]:.3g}"


def _folder_of(frames: Path, results: Path) -> Path:
    """Return the clip's folder in the workspace: the one that the images are in, or one of their folder's name."""
    images_folder = frames if frames.is_dir() else frames.parent
    folder = clip_folder_of(images_folder)
    return results / folder.name if folder == images_folder else folder


def _write(plan: _Plan, config: Config, target: Path, reporter: Reporter) -> None:
    with published(target) as temporary, scratch(target.with_suffix(track_suffix(config.encode))) as track:
        _encode(plan, config, track, reporter)
        is_turned = plan.footage is not None and not plan.info.upright
        mux(
            track,
            plan.contents,
            temporary,
            source_video_index=plan.info.stream_index if plan.footage else None,
            origin=plan.origin_seconds,
            span=plan.footage.span if plan.footage else None,
            transcode_audio=config.output.transcode_audio,
            drop=config.output.drop,
            rotation=(plan.info.rotation_degrees, plan.info.mirrored) if is_turned else None,
            last_duration=plan.schedule.last_duration * plan.schedule.time_base,
            clock_parts=plan.footage.file_timeline.clock_parts if plan.footage else (),
        )
        check_finished(temporary, plan.schedule.times, name=target)


def _plan(frames: Path, source: Path | None, config: Config, reporter: Reporter) -> _Plan:
    found = images_of(frames)
    if found is None:
        raise InputError(f"no such folder: {frames}; give one of images, or a pattern such as frame_%05d.png")
    images = tuple(found.values())
    clip = (Clip.load(frames) or Clip.load(clip_folder_of(frames))) if frames.is_dir() else None
    footage = _footage(clip, source, config, reporter)
    if footage and footage.timeline.frame_count != len(images):
        raise InputError(
            f"{frames} has {counted(len(images), 'image')}, {footage.header.path} has "
            f"{counted(footage.timeline.frame_count, 'frame')}: "
            "run `vsr enhance` again for the rest, or give the right --source"
        )
    if footage is None and config.encode.constant_rate is None:
        raise UsageError(f"{frames} has no clip.json to take timestamps from: give --fps, or --source VIDEO")
    rate = config.encode.constant_rate
    info = footage.header.info if footage else look_at(frames, config.input, frame_rate=rate).info
    origin_ticks = footage.origin_ticks(config.output.drop) if footage else 0
    origin_seconds = origin_ticks * footage.timeline.time_base if footage else Fraction(0)
    if rate is not None:
        schedule = _at_constant_rate(len(images), rate, footage, origin_seconds, reporter)
    else:
        assert footage is not None
        schedule = schedule_of(footage.timeline, origin_ticks=origin_ticks)
    return _Plan(images, FolderSource(images), schedule, origin_seconds, info, footage)


def _footage(clip: Clip | None, source: Path | None, config: Config, reporter: Reporter) -> Footage | None:
    """Return the video that the frames come from; None where nothing says which that is."""
    if clip and (source is None or clip.path == source.resolve()):
        if not clip.is_of(clip.path):
            raise InputError(
                f"{clip.path} is missing or has changed since `vsr split`: split it again, or give --source"
            )
        header = clip.footage.header
        return replace(clip.footage, header=replace(header, contents=read_contents(header.path)))
    if source is None:
        return None
    header = look_at(source, config.input)
    return footage_of(header, analysed(header, reporter))


def _at_constant_rate(
    frame_count: int, frame_rate: Fraction, footage: Footage | None, origin_seconds: Fraction, reporter: Reporter
) -> Schedule:
    """Show the images at a constant rate that starts exactly when the source's frames start."""
    start, step = Fraction(0), 1 / frame_rate
    if footage is not None:
        start = footage.timeline.pts[0] * footage.timeline.time_base - origin_seconds
        drift = frame_count * step - footage.timeline.duration_seconds
        if abs(drift) > step:
            reporter.note(
                f"--fps {frame_rate}: the picture is {float(drift):+.2f} s longer than the source's, sound is not"
            )
    tick, pts = even_ticks(start, step, frame_count)
    return Schedule(tick, pts, max(1, round(step / tick)), tuple(range(frame_count)))


def _default_suffix(plan: _Plan, config: Config) -> str:
    if plan.footage is not None:
        return default_suffix(plan.footage.header, config)
    return plan_streams(None, None, config.encode, config.output).suffix


def _encode(plan: _Plan, config: Config, path: Path, reporter: Reporter) -> None:
    """Write the video track to `path`."""
    schedule, info = plan.schedule, plan.info
    height, width = plan.pixels.shape
    rate = plan.footage.average_frame_rate if plan.footage is not None else info.average_frame_rate
    with (
        reported(reporter, f"merge {clip_folder_of(plan.images[0].parent).name}", len(plan.images)),
        read_ahead(plan.pixels.read(0, len(plan.images)), depth=4) as frames,
        VideoWriter(
            path,
            width=width,
            height=height,
            time_base=schedule.time_base,
            frame_rate=config.encode.constant_rate or rate,
            colour=colour_to_write(info),
            sample_aspect_ratio=info.display_aspect_ratio_of_pixels,
            bit_depth=plan.pixels.bit_depth,
            hdr=info.hdr,
            settings=config.encode,
        ) as writer,
    ):
        for place, pixels in enumerate(frames):
            writer.write(schedule.pts[place], pixels, duration=schedule.duration(place))
            reporter.worked(1.0)


def _fingerprint(plan: _Plan, config: Config, target: Path) -> str:
    files = [*plan.images, *([plan.source] if plan.source else [])]
    seen = [FileIdentity.of(path) for path in files]
    facts = {
        "program": __version__,
        "files": [(str(p.resolve()), i.size_bytes, i.modified_ns) for p, i in zip(files, seen, strict=True)],
        "timeline": [str(plan.schedule.time_base), plan.schedule.pts],
        "encode": config.encode.model_dump(mode="json"),
        "streams": config.output.model_dump(mode="json"),
        "output": target.name,
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _is_current(record: Path, target: Path, fingerprint: str) -> bool:
    """Whether the output was made after its record was written, and from what would be used now."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return known.get("fingerprint") == fingerprint and target.stat().st_mtime_ns >= record.stat().st_mtime_ns
