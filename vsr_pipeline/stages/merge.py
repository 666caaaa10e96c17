"""`vsr merge`: HR frames to a video, with the timestamps and the sound of the source."""

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.files import published, scratch, write_text
from vsr_pipeline.media.frames import list_frames
from vsr_pipeline.media.mux import container_for, mux
from vsr_pipeline.media.probe import probe
from vsr_pipeline.media.source import FolderSource
from vsr_pipeline.media.writer import VideoWriter, colour_to_write
from vsr_pipeline.overlap import read_ahead
from vsr_pipeline.reporting import Reporter, reported
from vsr_pipeline.timeline import Colour, Timeline, VideoInfo
from vsr_pipeline.workspace import Clip, SourceFile, clip_folder_of

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
        return f"{self.output}: {self.frame_count} frames of {self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is merged: the images, when they are shown, and whose sound, shape and colour they get."""

    images: tuple[Path, ...]
    pixels: FolderSource
    timeline: Timeline
    source: Path | None
    info: VideoInfo | None


def merge(
    frames: Path,
    config: Config,
    *,
    results: Path,
    output: Path | None = None,
    source: Path | None = None,
    frame_rate: Fraction | None = None,
    overwrite: bool = False,
    reporter: Reporter,
) -> MergeResult:
    """Encode a folder of images and copy the other streams of the source beside it.

    Args:
        frames: folder of images of one size.
        config: the encoder's settings.
        results: the workspace, where the output goes if no `output` is given.
        output: the video; by default `<stem>_x4` with the source's container beside the frames folder.
        source: the video that sound, subtitles and shape are taken from; by default the one in `clip.json`.
        frame_rate: constant frames per second; by default the timestamps of `clip.json`, or of `source`.
        overwrite: replace an `output` that exists.
        reporter: is told about progress.

    Raises:
        UsageError: there is neither a `clip.json` nor a source nor a frame rate.
        InputError: the images or the source cannot be read, or their counts differ.
        OutputError: the output exists, cannot be written, or its container cannot hold the source's streams.
        ResourceError: the disk is full.
    """
    plan = _plan(frames, source, frame_rate, reporter)
    folder = clip_folder_of(frames)
    if folder == frames:
        folder = results / frames.name
    target = output or folder / f"{folder.name}_x4{container_for(plan.source) if plan.source else '.mp4'}"
    height, width = plan.pixels.shape
    result = MergeResult(frames, target, len(plan.images), width, height, written=True)
    fingerprint = _fingerprint(plan, config, target)
    record = folder / RECORD_FILE
    if target.exists() and not overwrite:
        if output is not None or not record.exists():
            raise OutputError(f"{target} exists: give --overwrite to replace it, or another --output")
        if _is_current(record, target, fingerprint):
            reporter.note(f"{target} is there already")
            return MergeResult(frames, target, len(plan.images), width, height, written=False)
    if output is None:
        # Before the output is written: one that is older than its record is not what the record says.
        write_text(record, json.dumps({"output": target.name, "fingerprint": fingerprint}) + "\n")
    job = _Job(plan, width, height, bit_depth=plan.pixels.bit_depth)
    with published(target) as temporary:
        if plan.source is None:
            job.encode(temporary, config, reporter)
        else:
            with scratch(target.with_suffix(".mp4")) as track:
                job.encode(track, config, reporter)
                mux(
                    track,
                    plan.source,
                    temporary,
                    source_video_index=plan.info.stream_index if plan.info else None,
                    origin=job.origin_ticks * plan.timeline.time_base,
                )
    return result


def _plan(frames: Path, source: Path | None, frame_rate: Fraction | None, reporter: Reporter) -> _Plan:
    images = list_frames(frames)
    clip = Clip.load(clip_folder_of(frames))
    if clip and source is None:
        source = clip.source.path
        if not clip.source.is_unchanged(source):
            raise InputError(f"{source} is missing or has changed since `vsr split`: split it again, or give --source")
    info = timeline = None
    if source is not None:
        info = probe(source)
        if clip and clip.source.path == source.resolve():
            timeline = clip.timeline
        else:
            from vsr_pipeline.media.analyse import analyse

            timeline = analyse(source)
    if timeline and timeline.frame_count != len(images):
        raise InputError(
            f"{frames} has {len(images)} images, {source} has {timeline.frame_count} frames: "
            "run `vsr enhance` again for the rest, or give the right --source"
        )
    if frame_rate is not None:
        timeline = _at_constant_rate(len(images), frame_rate, timeline, reporter)
    if timeline is None:
        raise UsageError(f"{frames} has no clip.json to take timestamps from: give --fps, or --source VIDEO")
    return _Plan(images, FolderSource(images), timeline, source, info)


def _at_constant_rate(
    frame_count: int, frame_rate: Fraction, original: Timeline | None, reporter: Reporter
) -> Timeline:
    """Timestamps at a constant rate that start exactly when the original ones start."""
    if original is None:
        return Timeline.constant_rate(frame_count, frame_rate)
    start, step = original.pts[0] * original.time_base, 1 / frame_rate
    common = lcm(start.denominator, step.denominator)
    tick = Fraction(gcd(int(start * common), int(step * common)), common)
    pts = tuple(int((start + k * step) / tick) for k in range(frame_count))
    timeline = Timeline(tick, pts, int(step / tick))
    drift = timeline.duration_seconds - original.duration_seconds
    if abs(drift) > step:
        reporter.note(
            f"--fps {frame_rate}: the picture is {float(drift):+.2f} s longer than the source's, sound is not"
        )
    return timeline


@dataclass(frozen=True, slots=True)
class _Job:
    """What is encoded, in which size."""

    plan: _Plan
    width: int
    height: int
    bit_depth: int

    @property
    def origin_ticks(self) -> int:
        """The tick that becomes 0: a file has no time before its start."""
        return min(0, self.plan.timeline.pts[0])

    def encode(self, path: Path, config: Config, reporter: Reporter) -> None:
        """Write the video track to `path`."""
        plan, timeline, info = self.plan, self.plan.timeline, self.plan.info
        ends = (*timeline.pts[1:], timeline.pts[-1] + timeline.last_duration)
        with (
            reported(reporter, f"merge {clip_folder_of(plan.images[0].parent).name}", len(plan.images)),
            read_ahead(plan.pixels.read(0, len(plan.images)), depth=4) as frames,
            VideoWriter(
                path,
                width=self.width,
                height=self.height,
                time_base=timeline.time_base,
                frame_rate=info.average_frame_rate if info else 1 / timeline.time_base,
                colour=colour_to_write(info) if info else Colour(matrix="bt709", range="tv"),
                sample_aspect_ratio=info.display_aspect_ratio_of_pixels if info else Fraction(1),
                bit_depth=self.bit_depth,
                settings=config.encode,
            ) as writer,
        ):
            for pts, end, pixels in zip(timeline.pts, ends, frames, strict=True):
                writer.write(pts - self.origin_ticks, pixels, duration=end - pts)
                reporter.worked(1.0)


def _fingerprint(plan: _Plan, config: Config, target: Path) -> str:
    files = [*plan.images, *([plan.source] if plan.source else [])]
    facts = {
        "program": __version__,
        "files": [(str(s.path), s.size_bytes, s.modified_ns) for s in map(SourceFile.of, files)],
        "timeline": [str(plan.timeline.time_base), plan.timeline.pts],
        "encode": config.encode.model_dump(mode="json"),
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
