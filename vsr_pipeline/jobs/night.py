"""One run of a batch: each clip gets its turn, and what became of it is recorded at once."""

import datetime
import platform
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from vsr_pipeline import __version__
from vsr_pipeline.build import BuiltUpscaler
from vsr_pipeline.config import Config
from vsr_pipeline.errors import (
    ChangedError,
    DiskFullError,
    InputError,
    Interrupted,
    LockedError,
    ResourceError,
    StoppedForNow,
    VsrError,
)
from vsr_pipeline.jobs.agenda import BatchClip, BatchOptions, changed_settings, plan_batch, settings_of
from vsr_pipeline.jobs.intake import memory_as_error, take_in
from vsr_pipeline.jobs.job import Clock, RunOptions, now
from vsr_pipeline.jobs.outcome import BatchOutcome, ClipOutcome, Status
from vsr_pipeline.jobs.queue import FileIdentity, Queue, QueueRow, State
from vsr_pipeline.jobs.report import write_report
from vsr_pipeline.jobs.runner import LEDGER, WORK_FOLDER, job_folder, run_clip
from vsr_pipeline.jobs.store import Ledger
from vsr_pipeline.reporting import Reporter

LOG = "batch.log"

_SOME_FAILED = 7


def next_occurrence(moment: datetime.time, after: datetime.datetime) -> datetime.datetime:
    """Return when the clock shows a local time next, as a time with its zone; `after` has one, too."""
    day = after.astimezone().date()
    coming = datetime.datetime.combine(day, moment).astimezone()
    if coming <= after:
        coming = datetime.datetime.combine(day + datetime.timedelta(days=1), moment).astimezone()
    return coming


class Night:
    """One run, while the output folder's lock is held and the queue is open."""

    def __init__(
        self,
        folder: Path,
        output: Path,
        config: Config,
        options: BatchOptions,
        build: Callable[[], BuiltUpscaler],
        reporter: Reporter,
        log: Reporter,
        queue: Queue,
    ) -> None:
        self._folder = folder
        self._output = output
        self._config = config
        self._options = options
        self._build = build
        self._reporter = reporter
        self._log = log
        self._queue = queue
        self._clock = Clock()
        self._settings = settings_of(config, options.name_template)
        self._built: BuiltUpscaler | None = None
        self._begun = 0
        self._stopped_because = ""
        self._exit_code = 0
        started = datetime.datetime.now().astimezone()
        self._deadline = next_occurrence(options.until, started) if options.until else None

    def run(self) -> BatchOutcome:
        """Give each clip its turn; then write the report, also when something ends the batch early."""
        self._reporter.note(f"vsr {__version__}: batch of {self._folder}, into {self._output}")
        self._record_deaths()
        rows = self._queue.rows()
        clips = plan_batch(self._folder, self._output, self._config, rows=rows, options=self._options)
        self._announce(clips)
        outcomes: list[ClipOutcome] = []
        try:
            for clip in clips:
                if clip.has_work:
                    self._reporter.overall(self._folder.name, len(outcomes), len(clips))
                outcomes.append(self._turn(clip))
        except VsrError as error:
            self._stop(error.exit_code, str(error))
            outcomes += [self._left(clip) for clip in clips[len(outcomes) :]]
            self._finish(outcomes)
            raise
        return self._finish(outcomes)

    def _record_deaths(self) -> None:
        """Settle what a run that was killed has left open: no other is at work here, because we hold the lock.

        A clip on which nothing was finished before the death may be its cause, such as by taking all memory, and so it
        has failed; one that got on is continued.
        """
        for row in self._queue.rows().values():
            if row.state == "working" and _frames_done(self._output / row.output) > row.frames_before:
                self._record(row, "stopped", reason="the run was killed")
            elif row.state == "working":
                reason = "the run ended without a word while it was at work on this clip (killed, memory, or power)"
                self._record_failure(row, reason, exit_code=1)

    def _announce(self, clips: tuple[BatchClip, ...]) -> None:
        counts = Counter(clip.todo for clip in clips)
        found = ", ".join(f"{count} {todo}" for todo, count in counts.items())
        self._reporter.note(f"{len(clips)} clips: {found}" if clips else f"no videos in {self._folder}")
        outdated = Counter(
            changed_settings(clip.row, self._settings) for clip in clips if clip.row and clip.todo == "unchanged"
        )
        for changes, count in outdated.items():
            if changes:
                self._reporter.note(
                    f"{count} clips were made with other settings ({'; '.join(changes)}) and stay as they are: "
                    "--redo-outdated makes them again"
                )

    def _turn(self, clip: BatchClip) -> ClipOutcome:
        if clip.has_work and not self._stopped_because and self._is_late():
            self._stop(StoppedForNow.exit_code, self._until_came())
        reached = self._options.max_clips is not None and self._begun >= self._options.max_clips
        if not clip.has_work or self._stopped_because or reached:
            return self._left(clip)
        self._begun += 1
        return self._work(clip)

    def _left(self, clip: BatchClip) -> ClipOutcome:
        """Say what a clip is that this run does not work on."""
        if clip.todo == "misnamed":
            reason = "its name is no valid Unicode, the question marks stand for what is not: rename it"
            source = self._folder / clip.clip
            return replace(_outcome(clip, "failed", reason, InputError.exit_code), input=source)
        if clip.todo == "unchanged":
            return _unchanged(clip)
        if clip.todo == "given up":
            assert clip.row is not None
            reason = f"{clip.row.reason} (failed in {clip.row.tries} runs; left alone until it changes: --retry-failed)"
            return _outcome(clip, "given up", reason, clip.row.exit_code)
        because = self._stopped_because or f"--max-clips {self._options.max_clips} was reached"
        return _outcome(clip, "stopped", f"not begun: {because}")

    def _work(self, clip: BatchClip) -> ClipOutcome:
        if self._built is None:
            self._built = self._build()
            self._reporter.note(f"model: {self._built.description}")
        row = self._opened(clip)
        self._queue.save(row)
        self._reporter.note(f"{clip.clip} ({clip.todo}) -> {clip.output}")
        clock = Clock()
        try:
            outcome = self._enhance(clip, row, self._built)
        except (Interrupted, KeyboardInterrupt):
            self._record(row, "stopped", reason="interrupted")
            raise
        except Exception as error:  # noqa: BLE001 - recorded, with its traceback in the log, and the other clips go on
            return replace(
                self._not_done(clip, row, error), started_at=clock.started_at, elapsed_seconds=clock.elapsed_seconds
            )
        published = FileIdentity.of(clip.output)
        self._record(replace(row, tries=0, published=published, outcome=outcome), "done")
        self._reporter.note(str(outcome))
        return outcome

    def _opened(self, clip: BatchClip) -> QueueRow:
        """Return what is recorded of a clip before the work on it begins."""
        relative = clip.output.relative_to(self._output).as_posix()
        before = clip.row
        was_same = before is not None and before.output == relative
        counts_on = before is not None and clip.todo != "changed" and not changed_settings(before, self._settings)
        return QueueRow(
            clip=clip.clip,
            output=relative,
            state="working",
            source=FileIdentity.of(clip.source) or clip.identity,
            settings=self._settings,
            published=before.published if before is not None and was_same else None,
            tries=before.tries if before is not None and counts_on and not self._options.retry_failed else 0,
            changed_at=now(),
            frames_before=_frames_done(clip.output),
        )

    def _enhance(self, clip: BatchClip, row: QueueRow, built: BuiltUpscaler) -> ClipOutcome:
        is_ours = row.published is not None and FileIdentity.of(clip.output) == row.published
        was_done = clip.row is not None and clip.row.state == "done"
        options = RunOptions(
            fresh=clip.todo == "outdated" or (clip.todo == "changed" and was_done),
            overwrite=is_ours or self._options.overwrite,
            strict=self._options.strict,
            allow_cpu=self._options.allow_cpu,
            should_stop=self._is_late,
        )
        with memory_as_error(clip.source):
            intake = take_in(clip.source, clip.output, self._config)
            run = partial(run_clip, intake, built, reporter=self._reporter)
            try:
                return run(options=options)
            except ChangedError as error:
                # What this batch has begun, it may start over; what somebody else has begun there, only when told to.
                if clip.row is None and not self._options.redo_outdated:
                    raise
                self._reporter.note(f"{clip.clip} starts over: {error}")
                return run(options=replace(options, fresh=True))

    def _not_done(self, clip: BatchClip, row: QueueRow, error: Exception) -> ClipOutcome:
        """Record why a clip was not finished, and whether that ends the batch."""
        if isinstance(error, StoppedForNow):
            self._stop(error.exit_code, self._until_came())
            return self._postponed(clip, row, f"{self._until_came()}; {_frames_done(clip.output)} frames are done")
        if isinstance(error, LockedError):
            self._exit_code = self._exit_code or error.exit_code
            self._begun -= 1
            return self._postponed(clip, row, str(error))
        exit_code = error.exit_code if isinstance(error, VsrError) else 1
        reason = str(error)
        lost = False
        if not isinstance(error, VsrError):
            self._log.note("".join(traceback.format_exception(error)))
            reason = f"a bug: {type(error).__name__}: {reason}; the traceback is in {self._output / WORK_FOLDER / LOG}"
            lost = _is_lost(self._built)
        if isinstance(error, DiskFullError) or lost:
            self._stop(ResourceError.exit_code, "the GPU no longer answers" if lost else reason)
        if isinstance(error, ResourceError) or lost:
            # The machine's fault and not the clip's: it is tried again every night.
            self._record(row, "failed", reason=reason, exit_code=exit_code)
        else:
            self._record_failure(row, reason, exit_code)
        outcome = _outcome(clip, "failed", " ".join(reason.split()), exit_code)
        self._reporter.note(str(outcome))
        return outcome

    def _postponed(self, clip: BatchClip, row: QueueRow, reason: str) -> ClipOutcome:
        self._record(row, "stopped", reason=reason)
        return _outcome(clip, "stopped", reason)

    def _record_failure(self, row: QueueRow, reason: str, exit_code: int) -> None:
        tries = row.tries + 1
        state: State = "given up" if tries >= self._options.retries else "failed"
        self._record(replace(row, tries=tries), state, reason=reason, exit_code=exit_code)

    def _record(self, row: QueueRow, state: State, *, reason: str = "", exit_code: int = 0) -> None:
        self._queue.save(replace(row, state=state, reason=reason, exit_code=exit_code, changed_at=now()))

    def _is_late(self) -> bool:
        return self._deadline is not None and datetime.datetime.now().astimezone() >= self._deadline

    def _until_came(self) -> str:
        assert self._options.until is not None
        return f"--until {self._options.until:%H:%M} came"

    def _stop(self, exit_code: int, reason: str) -> None:
        self._exit_code = exit_code
        self._stopped_because = reason

    def _finish(self, outcomes: list[ClipOutcome]) -> BatchOutcome:
        """Write the report of all clips, whether they were worked on or not."""
        some_failed = any(clip.status in ("failed", "given up") for clip in outcomes)
        outcome = BatchOutcome(
            program=f"vsr {__version__}",
            title=str(self._folder),
            started_at=self._clock.started_at,
            elapsed_seconds=self._clock.elapsed_seconds,
            exit_code=self._exit_code or (_SOME_FAILED if some_failed else 0),
            clips=tuple(outcomes),
            config_toml=self._config.to_toml(),
            machine=platform.node(),
            log_file=self._output / WORK_FOLDER / LOG,
        )
        try:
            self._reporter.note(f"report: {write_report(outcome, self._output).html}")
        except VsrError as error:
            self._reporter.note(f"there is no report of this run: {error}")
            return replace(outcome, exit_code=outcome.exit_code or error.exit_code)
        return outcome


def _outcome(clip: BatchClip, status: Status, reason: str, exit_code: int = 0) -> ClipOutcome:
    return ClipOutcome(input=clip.source, output=clip.output, status=status, reason=reason, exit_code=exit_code)


def _frames_done(output: Path) -> int:
    """Frames that the job of an output has finished and recorded."""
    path = job_folder(output) / LEDGER
    if not path.exists():
        return 0
    try:
        with Ledger(path) as ledger:
            return sum(stop - start for start, stop in ledger.segments())
    except VsrError:
        return 0  # `run_clip` will say what is wrong with it


def _is_lost(built: BuiltUpscaler | None) -> bool:
    """Whether the GPU has failed, so that every clip after this one would fail with it."""
    if built is None or built.device is None or built.device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=built.device).cpu()
    except RuntimeError:
        return True
    return False


def _unchanged(clip: BatchClip) -> ClipOutcome:
    """Return what a clip was when it was made; its folders may have other names by now."""
    assert clip.row is not None
    assert clip.row.outcome is not None
    before, after = (job_folder(clip.output) / f"{name}.jpg" for name in ("before", "after"))
    return replace(
        clip.row.outcome,
        status="unchanged",
        input=clip.source,
        output=clip.output,
        computed_frames=0,
        reused_frames=clip.row.outcome.frame_count,
        before_still=before if before.exists() else None,
        after_still=after if after.exists() else None,
    )
