"""The work on one clip: analysis, segments, join, publication. A step that the ledger says is done is skipped."""

import datetime
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from vsr_pipeline.clip.footage import Footage, footage_of
from vsr_pipeline.clip.inspect import Inspection, analysed, constant_rate_of, damage_of, rate_notes, refuse_damage
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.enhance.too_large import refuse_too_large
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.estimate import estimate, refuse_what_cannot_fit
from vsr_pipeline.jobs.fingerprint import JobSource, SourceWatch
from vsr_pipeline.jobs.ledger import FinishedRow, JoinedRow, Ledger
from vsr_pipeline.jobs.making import SegmentsOfClip
from vsr_pipeline.jobs.part import Encoding
from vsr_pipeline.jobs.report.outcome import ClipOutcome, ShotOutcome
from vsr_pipeline.jobs.report.stills import stills_in
from vsr_pipeline.jobs.segment import segment_name
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.jobs.workers.workers import Workers
from vsr_pipeline.media.streams.dry import check_times
from vsr_pipeline.media.streams.join import check_frames, join_segments
from vsr_pipeline.media.streams.mux import mux
from vsr_pipeline.media.write.writer import track_suffix
from vsr_pipeline.plan import Schedule, repeats_note, schedule_of
from vsr_pipeline.runtime.files import FileIdentity, file_sha256, published
from vsr_pipeline.runtime.memory import peak_memory_bytes
from vsr_pipeline.runtime.process import Call, here
from vsr_pipeline.runtime.progress import Reporter, counted
from vsr_pipeline.timeline import Analysis, Decision, Segment

SEGMENTS = "segments"
_TRACK = "track"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run behaves; nothing here changes a pixel, so it is not part of the job's fingerprint."""

    fresh: bool = False
    """Forget what an earlier run has done."""
    overwrite: bool = False
    """Replace an output that no run of ours made."""
    strict: bool = False
    """Refuse a source of which something cannot be decoded."""
    allow_cpu: bool = False
    """When the GPU's memory does not suffice even for bands of frames, go on with the CPU."""
    workers: WorkerOptions = field(default_factory=WorkerOptions)
    retries: int = 2
    """How often a segment is given to another worker when its worker has died."""
    call: Call = here
    """In which process a source is decoded for the first time."""
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
    for path in [*folder.glob(".*.tmp*"), *(folder / SEGMENTS).rglob(".*.tmp*")]:
        path.unlink()


def delete_intermediates(folder: Path) -> None:
    """Delete what a published output has made superfluous."""
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)
    for track in joined_tracks(folder):
        track.unlink()


def joined_tracks(folder: Path) -> tuple[Path, ...]:
    """Return the joined track of a job, whatever its container; none before the join."""
    return tuple(folder.glob(f"{_TRACK}.*"))


def outcome_to_json(outcome: ClipOutcome) -> str:
    """Write an outcome for the ledger."""
    # Through `json`, because file names need not be Unicode, and pydantic's own writer takes nothing else.
    return json.dumps(TypeAdapter(ClipOutcome).dump_python(outcome, mode="json"))


def outcome_of(known: FinishedRow) -> ClipOutcome:
    """Read the outcome that a ledger has recorded."""
    return TypeAdapter(ClipOutcome).validate_python(json.loads(known.outcome_json))


def now() -> str:
    """Return the time as ISO 8601 with the offset from UTC."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class _Work:
    """What a clip is made of and into, once it was analysed."""

    analysis: Analysis
    footage: Footage
    schedule: Schedule
    origin_ticks: int
    """The source's tick that is 0 in the output."""
    segments: tuple[Segment, ...]
    """Those of which something is shown."""

    @property
    def frame_count(self) -> int:
        """Frames of the clip that have to be computed."""
        return sum(map(len, self.segments))


class Job:
    """The work on one clip, while its lock is held and its ledger is open."""

    def __init__(
        self,
        clip: Inspection,
        folder: Path,
        workers: Workers,
        spec: ModelSpec,
        ledger: Ledger,
        reporter: Reporter,
        options: RunOptions,
    ) -> None:
        self._clip = clip
        self._name = clip.source.name
        upscale = as_recorded(clip.config.upscale, spec.identity)
        self._config = clip.config.model_copy(update={"upscale": upscale})
        self._folder = folder
        self._track = folder / f"{_TRACK}{track_suffix(clip.config.encode)}"
        self._workers = workers
        self._spec = spec
        self._ledger = ledger
        self._reporter = reporter
        self._options = options
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self._decisions: dict[int, Decision] = dict(ledger.decisions())
        begun = ledger.fingerprint()
        assert begun is not None
        self._source = JobSource.recorded(clip.source, begun)
        self._watch = SourceWatch(self._source)

    def run(self, clock: Clock) -> ClipOutcome:
        """Do what is left: analysis, segments, join, mux."""
        self._spec.reset_peak_gpu_memory()  # in a batch, not that of the clips before
        refuse_too_large(self._spec, self._clip.header, self._clip.geometry, self._config)
        work = self._planned(self._analysed())
        has_track = self._has_track()  # asked once: it reads the whole track
        if not has_track:
            self._check_times(work.schedule)
            count = len(work.footage.timeline.distinct)
            refuse_too_large(self._spec, self._clip.header, self._clip.geometry, self._config, count)
            needed = estimate(
                self._spec, self._clip.geometry, work.footage, work.schedule, work.segments, self._config, self._folder
            )
            there = sum(path.stat().st_size for path in (self._folder / SEGMENTS).rglob("*") if path.is_file())
            refuse_what_cannot_fit(replace(needed, disk_bytes=needed.disk_bytes - there), self._clip.output.parent)
        computed = 0 if has_track else self._compute(work)
        if not has_track:
            self._join(work)
        # Now, and not at the end: the disk holds the picture twice at most.
        shutil.rmtree(self._folder / SEGMENTS, ignore_errors=True)
        return self._publish(work, computed, clock)

    def _analysed(self) -> Analysis:
        analysis = self._ledger.analysis()
        if analysis is None:
            analysis = analysed(self._clip.header, self._reporter, self._options.call)
            self._ledger.save_analysis(analysis)
        if self._options.strict:
            refuse_damage(self._clip.header, analysis)
        for sentence in damage_of(self._clip.header, analysis):
            self._warn(sentence)
        return analysis

    def _planned(self, analysis: Analysis) -> _Work:
        """Decide which frames are made and when they are shown, and say what is worth knowing about it."""
        header, config = self._clip.header, self._config
        footage = footage_of(header, analysis, every_frame=self._spec.context.every_frame)
        origin = footage.origin_ticks(config.output.drop)
        rate = constant_rate_of(header, config)
        schedule = schedule_of(footage.timeline, origin_ticks=origin, frame_rate=rate)
        notes = (*analysis.notes, *repeats_note(footage.timeline), *self._clip.geometry.notes)
        for note in (*notes, *self._clip.streams.notes, *rate_notes(header, config)):
            self._note(note)
        if rate is not None:
            distinct = len(footage.timeline.distinct)
            left_out = distinct - len(set(schedule.frames))
            self._note(
                f"constant rate of {rate}: {counted(len(schedule.pts), 'frame')} of {distinct}, "
                f"{schedule.repeated} repeated, {left_out} left out"
            )
        segments = tuple(s for s in self._spec.context.segments(footage.timeline) if schedule.shows(s))
        return _Work(analysis, footage, schedule, origin, segments)

    def _check_times(self, schedule: Schedule) -> None:
        """Refuse times that the output cannot hold, before any frame is made."""
        for note in check_times(
            schedule.pts,
            schedule.time_base,
            schedule.last_duration,
            suffix=self._clip.output.suffix.lower(),
            track_suffix=self._track.suffix,
        ):
            self._warn(f"{self._name}: {note}")

    def _compute(self, work: _Work) -> int:
        """Make every segment that is not there and right; return how many frames that were."""
        making = SegmentsOfClip(
            name=self._name,
            source=self._source,
            folder=self._folder / SEGMENTS,
            encoding=Encoding(work.footage, self._clip.geometry, work.schedule, self._config.encode),
            steps=steps_for(self._clip.geometry, self._config.upscale),
            spec=self._spec,
            ledger=self._ledger,
            decisions=self._decisions,
            reporter=self._reporter,
            warn=self._warn,
            refuse_changed_source=self._refuse_changed_source,
            should_stop=self._options.should_stop,
        )
        return making.make(work.segments, self._workers)

    def _has_track(self) -> bool:
        row = self._ledger.joined()
        if row is None or not self._track.is_file() or self._track.stat().st_size != row.size_bytes:
            return False
        return file_sha256(self._track) == row.sha256

    def _join(self, work: _Work) -> None:
        """Join the segments to one track and record it."""
        files = [self._folder / SEGMENTS / segment_name(s, self._config.encode) for s in work.segments]
        with published(self._track) as temporary:
            join_segments(files, temporary, work.schedule.end)
            check_frames(temporary, work.schedule.times, decode=False)
        self._ledger.save_joined(JoinedRow(self._track.name, self._track.stat().st_size, file_sha256(self._track)))

    def _publish(self, work: _Work, computed: int, clock: Clock) -> ClipOutcome:
        """Join the picture with the source's other streams, and let the output appear.

        It is recorded before: a run that dies in between finds no such file, and publishes it again from the track.
        """
        header, output = self._clip.header, self._clip.output
        turned = (header.info.rotation_degrees, header.info.mirrored)
        with published(output, scratch_folder=self._folder) as temporary:
            mux(
                self._track,
                header.contents,
                temporary,
                source_video_index=None if header.images else header.info.stream_index,
                origin=work.origin_ticks * work.footage.timeline.time_base,
                span=work.footage.span,
                transcode_audio=self._config.output.transcode_audio,
                drop=self._config.output.drop,
                rotation=None if header.info.upright else turned,
                last_duration=work.schedule.last_duration * work.schedule.time_base,
                clock_parts=work.footage.file_timeline.clock_parts,
            )
            check_frames(temporary, work.schedule.times, decode=False)
            self._refuse_changed_source()
            made = FileIdentity.of(temporary)
            outcome = self._outcome(work, computed, clock, made.size_bytes, file_sha256(temporary))
            row = FinishedRow(output.name, made, now(), outcome_to_json(outcome))
            self._ledger.save_finished(row)
        return outcome

    def _refuse_changed_source(self, images: Sequence[Path] | None = None) -> None:
        """Refuse to make an output of two videos.

        Args:
            images: those of the source that are looked at; None: all.

        Raises:
            InputError: the source is no longer what the job was begun with.
        """
        source = self._clip.source
        try:
            if self._watch.is_untouched(images):
                return
        except InputError:
            return  # it is gone: who reads it next will say so, and what was read before is right
        found = JobSource.of(source)
        if found.identity.sha256 != self._source.identity.sha256:
            raise InputError(f"{source} was changed while it was enhanced: run again when it is complete")
        self._source, self._watch = found, SourceWatch(found)

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        self._reporter.warn(message)
        self._ledger.note("warning", message)

    def _note(self, message: str) -> None:
        self._notes.append(message)
        self._reporter.note(f"{self._name}: {message}")

    def _outcome(self, work: _Work, computed: int, clock: Clock, output_bytes: int, output_sha256: str) -> ClipOutcome:
        segments = self._ledger.segments().values()
        said = dict.fromkeys(note for row in segments for note in row.notes if note not in self._notes)
        geometry = self._clip.geometry
        computing = sum(row.computed_seconds for row in segments)
        timeline = work.footage.timeline
        stills = stills_in(self._folder, work.schedule)
        return ClipOutcome(
            input=self._clip.source,
            output=self._clip.output,
            status="done",
            model=self._spec.description,
            frame_count=len(work.schedule.pts),
            input_size=geometry.input_size,
            output_size=geometry.output_size,
            duration_seconds=float(timeline.duration_seconds),
            started_at=clock.started_at,
            elapsed_seconds=clock.elapsed_seconds,
            computed_frames=computed,
            reused_frames=work.frame_count - computed,
            fps=work.frame_count / computing if computing else 0.0,
            peak_memory_bytes=peak_memory_bytes(),
            peak_gpu_memory_bytes=self._spec.peak_gpu_memory_bytes(),
            output_bytes=output_bytes,
            output_sha256=output_sha256,
            shots=tuple(
                ShotOutcome(shot.start, shot.stop, self._decisions.get(computed.start, Decision()).description)
                for shot, computed in zip(timeline.shots, timeline.without_repeats.shots, strict=True)
            ),
            decode_errors=work.analysis.decode_errors,
            missing_seconds=float(work.analysis.missing_seconds),
            warnings=(*self._warnings, *said),
            notes=(*self._notes, *self._spec.summary(list(self._decisions.values()))),
            before_still=stills[0].before if stills else None,
            after_still=stills[0].after if stills else None,
            stills=stills,
        )
