"""The work on one clip: analysis, segments, join, publication. A step that the ledger says is done is skipped."""

import datetime
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from vsr_pipeline.build import BuiltUpscaler
from vsr_pipeline.config import Config
from vsr_pipeline.errors import StoppedForNow
from vsr_pipeline.files import file_sha256, make_folder, published
from vsr_pipeline.jobs.outcome import ClipOutcome, ShotOutcome
from vsr_pipeline.jobs.preflight import estimate, refuse_what_cannot_fit
from vsr_pipeline.jobs.segments import SegmentResult, SegmentTask, SerialExecutor, segment_name
from vsr_pipeline.jobs.store import FinishedRow, JoinedRow, Ledger, SegmentRow
from vsr_pipeline.ladder import Ladder
from vsr_pipeline.media.analyse import analyse
from vsr_pipeline.media.join import check_frames, join_segments
from vsr_pipeline.media.mux import mux, unfit_streams
from vsr_pipeline.reporting import Reporter, reported
from vsr_pipeline.timeline import Segment, Timeline, VideoInfo
from vsr_pipeline.upscale import SCALE

SEGMENTS = "segments"
TRACK = "track.mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run behaves; nothing here changes a pixel, so it is not part of the job's fingerprint."""

    fresh: bool = False
    """Forget what an earlier run has done."""
    overwrite: bool = False
    """Replace an output that no run of ours made."""
    allow_cpu: bool = False
    """When the GPU's memory does not suffice even for tiles, go on with the CPU."""
    should_stop: Callable[[], bool] | None = None
    """Asked before each segment; when it says so, `StoppedForNow` is raised. The next run continues."""


class Clock:
    """When a run began, and how long ago that is."""

    def __init__(self) -> None:
        self.started_at = now()
        self._started = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._started


def delete_temporaries(folder: Path) -> None:
    """Delete what a run that was killed has left half done; the caller holds the job's lock."""
    for path in [*folder.glob(".*.tmp*"), *(folder / SEGMENTS).glob(".*.tmp*")]:
        path.unlink()


def delete_intermediates(folder: Path) -> None:
    """Delete what a published output has made superfluous."""
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)
    (folder / TRACK).unlink(missing_ok=True)


def analyse_clip(source: Path, info: VideoInfo, reporter: Reporter) -> Timeline:
    """Decode a clip once for its timeline, and report the progress."""
    with reported(reporter, f"analyse {source.name}", info.frame_count_from_header or 0):
        return analyse(source, on_frame=partial(reporter.worked, 1.0))


def outcome_to_json(outcome: ClipOutcome) -> str:
    """Write an outcome for the ledger."""
    # Through `json`, because file names need not be Unicode, and pydantic's own writer takes nothing else.
    return json.dumps(TypeAdapter(ClipOutcome).dump_python(outcome, mode="json"))


def outcome_of(known: FinishedRow) -> ClipOutcome:
    """Read the outcome that a ledger has recorded."""
    return TypeAdapter(ClipOutcome).validate_python(json.loads(known.outcome_json))


def _origin_ticks(timeline: Timeline) -> int:
    """The source's tick that becomes 0: a file has no time before its start."""
    return min(0, timeline.pts[0])


def _times(timeline: Timeline) -> list[Fraction]:
    """When each frame is shown in the output, in seconds."""
    return [(tick - _origin_ticks(timeline)) * timeline.time_base for tick in timeline.pts]


def now() -> str:
    """Return the time as ISO 8601 with the offset from UTC."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def peak_memory_bytes() -> int:
    """Largest main memory of this process so far; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


class Job:
    """The work on one clip, while its lock is held and its ledger is open."""

    def __init__(
        self,
        source: Path,
        output: Path,
        folder: Path,
        info: VideoInfo,
        config: Config,
        built: BuiltUpscaler,
        ledger: Ledger,
        reporter: Reporter,
        options: RunOptions,
    ) -> None:
        self._source = source
        self._output = output
        self._folder = folder
        self._info = info
        self._config = config
        self._built = built
        self._ledger = ledger
        self._reporter = reporter
        self._options = options
        self._warnings: list[str] = []
        self._passes = dict(ledger.cleaning_passes())

    def run(self, clock: Clock) -> ClipOutcome:
        """Do what is left: analysis, segments, join, mux."""
        timeline = self._analysed()
        self._compare_with_header(timeline)
        segments = self._built.upscaler.plan(timeline)
        if not self._has_track():
            needed = estimate(timeline, segments, self._info, self._config, self._folder)
            there = sum(path.stat().st_size for path in (self._folder / SEGMENTS).glob("*"))
            refuse_what_cannot_fit(replace(needed, disk_bytes=needed.disk_bytes - there), self._output.parent)
        computed = self._compute(timeline, segments)
        self._join(timeline, segments)
        return self._publish(timeline, computed, clock)

    def _analysed(self) -> Timeline:
        timeline = self._ledger.timeline()
        if timeline is None:
            timeline = analyse_clip(self._source, self._info, self._reporter)
            self._ledger.save_timeline(timeline)
        return timeline

    def _compare_with_header(self, timeline: Timeline) -> None:
        """Warn when the decoder gave less than the file announces: half a video must not look like a whole one."""
        announced = self._info.frame_count_from_header
        if announced is not None and timeline.frame_count < announced:
            self._warn(
                f"{self._source.name} announces {announced} frames, {timeline.frame_count} could be decoded: "
                "it may be damaged or cut off"
            )
        length = self._info.duration_seconds_from_header
        if length is not None and length - timeline.duration_seconds > max(Fraction(1), length / 50):
            self._warn(
                f"{self._source.name} announces {float(length):.1f} s, "
                f"the picture lasts {float(timeline.duration_seconds):.1f} s"
            )

    def _compute(self, timeline: Timeline, segments: tuple[Segment, ...]) -> int:
        """Make every segment that is not there and right; return how many frames that were."""
        if self._has_track():
            return 0
        make_folder(self._folder / SEGMENTS)
        rows = self._ledger.segments()
        todo = [segment for segment in segments if not self._has(segment, rows.get((segment.start, segment.stop)))]
        left = sum(map(len, todo))
        if left < timeline.frame_count:
            self._reporter.note(f"{self._source.name}: {timeline.frame_count - left} frames are there already")
        if todo:
            ladder = Ladder(self._config.upscale, self._built, self._reporter, allow_cpu=self._options.allow_cpu)
            executor = SerialExecutor(ladder, self._config.encode, self._reporter.worked)
            with reported(self._reporter, f"enhance {self._source.name}", left):
                for result in executor.run(self._tasks(timeline, todo)):
                    self._record(result)
                    self._reporter.milestone()
        return left

    def _tasks(self, timeline: Timeline, todo: list[Segment]) -> Iterator[SegmentTask]:
        """Yield tasks when they are asked for: by then, an earlier one may have decided on its shot's cleaning."""
        for segment in todo:
            if self._options.should_stop is not None and self._options.should_stop():
                raise StoppedForNow(f"{self._source.name} is not finished; the next run goes on")
            self._ledger.count_attempt(segment.start, segment.stop)
            yield SegmentTask(
                source=self._source,
                timeline=timeline,
                segment=segment,
                cleaning_passes=self._passes.get(segment.shot.start),
                folder=self._folder / SEGMENTS,
                origin_ticks=_origin_ticks(timeline),
                still_frame=timeline.frame_count // 2,
            )

    def _record(self, result: SegmentResult) -> None:
        self._passes[result.segment.shot.start] = result.cleaning_passes
        self._ledger.save_cleaning_passes(result.segment.shot.start, result.cleaning_passes)
        self._ledger.save_segment(
            SegmentRow(
                start=result.segment.start,
                stop=result.segment.stop,
                file_name=result.path.name,
                size_bytes=result.size_bytes,
                sha256=result.sha256,
                computed_seconds=result.elapsed_seconds,
                notes=result.notes,
            )
        )

    def _has(self, segment: Segment, row: SegmentRow | None) -> bool:
        """Whether the segment was recorded and its file is still what was recorded."""
        if row is None:
            return False
        path = self._folder / SEGMENTS / row.file_name
        if path.is_file() and path.stat().st_size == row.size_bytes and file_sha256(path) == row.sha256:
            return True
        self._warn(f"{path.name} is missing or has changed since it was made: it is made again")
        self._ledger.forget_segment(segment.start, segment.stop)
        return False

    def _has_track(self) -> bool:
        row = self._ledger.joined()
        path = self._folder / TRACK
        return row is not None and path.is_file() and file_sha256(path) == row.sha256

    def _join(self, timeline: Timeline, segments: tuple[Segment, ...]) -> None:
        """Join the segments to one track, record it, and delete them: the disk holds the picture twice at most."""
        if not self._has_track():
            track = self._folder / TRACK
            with published(track) as temporary:
                join_segments([self._folder / SEGMENTS / segment_name(s) for s in segments], temporary)
                check_frames(temporary, _times(timeline), decode=False)
            self._ledger.save_joined(JoinedRow(track.name, track.stat().st_size, file_sha256(track)))
        shutil.rmtree(self._folder / SEGMENTS, ignore_errors=True)

    def _publish(self, timeline: Timeline, computed: int, clock: Clock) -> ClipOutcome:
        """Join the picture with the source's other streams, and let the output appear.

        It is recorded before: a run that dies in between finds no such file, and publishes it again from the track.
        """
        unfit = unfit_streams(self._source, self._output.suffix)
        for stream in unfit:
            self._warn(f"{stream} cannot be held by {self._output.suffix} and is left out")
        with published(self._output, scratch_folder=self._folder) as temporary:
            mux(
                self._folder / TRACK,
                self._source,
                temporary,
                source_video_index=self._info.stream_index,
                origin=_origin_ticks(timeline) * timeline.time_base,
                leave_out=[stream.index for stream in unfit],
            )
            check_frames(temporary, _times(timeline), decode=False)
            status = temporary.stat()
            outcome = self._outcome(timeline, computed, clock, status.st_size)
            row = FinishedRow(self._output.name, status.st_size, status.st_mtime_ns, now(), outcome_to_json(outcome))
            self._ledger.save_finished(row)
        return outcome

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        self._reporter.note(message)
        self._ledger.note("warning", message)

    def _outcome(self, timeline: Timeline, computed: int, clock: Clock, output_bytes: int) -> ClipOutcome:
        segments = self._ledger.segments().values()
        notes = dict.fromkeys(note for row in segments for note in row.notes)
        width, height = self._info.display_size
        computing = sum(row.computed_seconds for row in segments)
        return ClipOutcome(
            input=self._source,
            output=self._output,
            status="done",
            model=self._built.description,
            frame_count=timeline.frame_count,
            input_size=(width, height),
            output_size=(SCALE * width, SCALE * height),
            duration_seconds=float(timeline.duration_seconds),
            started_at=clock.started_at,
            elapsed_seconds=clock.elapsed_seconds,
            computed_frames=computed,
            reused_frames=timeline.frame_count - computed,
            fps=timeline.frame_count / computing if computing else 0.0,
            peak_memory_bytes=peak_memory_bytes(),
            peak_gpu_memory_bytes=self._built.peak_gpu_memory_bytes(),
            output_bytes=output_bytes,
            shots=tuple(ShotOutcome(s.start, s.stop, self._passes.get(s.start, 0)) for s in timeline.shots),
            warnings=(*self._warnings, *notes),
            before_still=self._still("before.jpg"),
            after_still=self._still("after.jpg"),
        )

    def _still(self, name: str) -> Path | None:
        path = self._folder / name
        return path if path.exists() else None
