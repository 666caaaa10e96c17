"""One run of a batch: each clip gets its turn, and what became of it is recorded at once."""

import datetime
import platform
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.clip.inspect import inspect
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.open_model import note_model
from vsr_pipeline.errors import (
    ChangedError,
    DiskFullError,
    Interrupted,
    LockedError,
    PrecisionError,
    ReadError,
    ResourceError,
    StoppedForNow,
    VsrError,
)
from vsr_pipeline.jobs.batch.plan import (
    BatchClip,
    BatchOptions,
    changed_settings,
    compared,
    next_occurrence,
    plan_batch,
    seen,
    settings_of,
)
from vsr_pipeline.jobs.batch.queue import Queue, QueueRow, save_workers
from vsr_pipeline.jobs.batch.records import Records, frames_done, outcome_of, outcome_without_work
from vsr_pipeline.jobs.batch.side_by_side import Turn, Turns, of_one_clip
from vsr_pipeline.jobs.job import Clock, RunOptions
from vsr_pipeline.jobs.report.files import write_report
from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome
from vsr_pipeline.jobs.runner import recorded_identity, run_clip, settings_as_begun
from vsr_pipeline.jobs.workers.workers import Workers
from vsr_pipeline.runtime.files import WORK_FOLDER, refusals_as_errors
from vsr_pipeline.runtime.memory import memory_as_error
from vsr_pipeline.runtime.process import Call
from vsr_pipeline.runtime.progress import Reporter, counted, reported

LOG = "batch.log"
WORKERS = "workers.json"

_SOME_FAILED = 7
_WORKERS_SECONDS = 10.0
_LOST = "the GPU no longer answers, or no worker is left"


class Batch:
    """One run, while the output folder's lock is held and the queue is open."""

    def __init__(
        self,
        folder: Path,
        output: Path,
        config: Config,
        options: BatchOptions,
        open_workers: Callable[[UpscaleConfig], Workers],
        reporter: Reporter,
        log: Reporter,
        queue: Queue,
        call: Call,
    ) -> None:
        self._folder = folder
        self._output = output
        self._config = config
        self._options = options
        self._open_workers = open_workers
        self._reporter = reporter
        self._log = log
        self._queue = queue
        self._call = call
        self._clock = Clock()
        self._settings = settings_of(config, options.name_template)
        self._records = Records(queue, output, self._settings, options)
        self._workers: Workers | None = None
        self._upscale = config.upscale
        self._workers_written = 0.0
        self._abandoned: VsrError | Interrupted | None = None
        self._begun = 0
        self._stopped_because = ""
        self._exit_code = 0
        self._has_locked = False
        started = datetime.datetime.now().astimezone()
        self._deadline = next_occurrence(options.until, started) if options.until else None

    def run(self, *, side_by_side: bool) -> BatchOutcome:
        """Give each clip its turn; then write the report, also when something ends the batch early.

        Args:
            side_by_side: work on several clips at once, so that no worker waits at the end of one.
        """
        self._reporter.note(f"vsr {__version__}: batch of {self._folder}, into {self._output}")
        self._records.settle_deaths()
        rows = self._queue.rows()
        clips = plan_batch(
            self._folder,
            self._output,
            self._config,
            rows=rows,
            options=self._options,
            call=self._call,
            note=self._reporter.note,
        )
        self._announce(clips)
        self._upscale = self._settings_to_begin_with(clips, with_ray=side_by_side)
        (self._output / WORK_FOLDER / WORKERS).unlink(missing_ok=True)
        outcomes: dict[Path, ClipOutcome] = {}
        try:
            (self._side_by_side if side_by_side else self._one_by_one)(clips, outcomes)
        except (Exception, Interrupted, KeyboardInterrupt) as error:
            with suppress(VsrError):  # the queue's own trouble may be why all ends
                self._records.stop_open()
            if isinstance(error, VsrError | Interrupted):
                self._stop(error.exit_code, str(error))
                self._finish(outcomes.get(clip.source) or self._left(clip) for clip in clips)
            raise
        return self._finish(outcomes[clip.source] for clip in clips)

    def _one_by_one(self, clips: tuple[BatchClip, ...], outcomes: dict[Path, ClipOutcome]) -> None:
        for clip in map(self._compared, clips):
            if clip.has_work:
                self._reporter.overall(self._folder.name, len(outcomes), len(clips))
            outcomes[clip.source] = self._work(clip) if self._gets_a_turn(clip) else self._left(clip)

    def _side_by_side(self, clips: tuple[BatchClip, ...], outcomes: dict[Path, ClipOutcome]) -> None:
        """While the workers make the segments of one clip, the next is analysed, and the last is joined.

        Only this thread touches the queue: it begins the turns and records how they end.
        """
        enhance = partial(self._enhance, reporter=of_one_clip(self._reporter, lambda: self._abandoned))
        with Turns(enhance) as turns, reported(self._reporter, f"enhance {self._folder.name}", 0):
            try:
                for clip in map(self._compared, clips):
                    while clip.has_work and not self._may_begin(clip, turns):
                        self._settle(turns, outcomes)
                    if self._gets_a_turn(clip):
                        self._reporter.overall(self._folder.name, len(outcomes), len(clips))
                        self._hold(clip, turns, outcomes)
                    else:
                        outcomes[clip.source] = self._left(clip)
                while turns:
                    self._settle(turns, outcomes)
            except BaseException as error:
                self._abandon(turns, outcomes, error)
                raise
            finally:
                self._write_workers()

    def _may_begin(self, clip: BatchClip, turns: Turns) -> bool:
        if not turns or self._workers is None:
            return True
        if turns.decode or turns.has_one_alone or clip.todo == "retry":
            return False
        return self._workers.wants_another_clip(preparing=len(turns.held))

    def _hold(self, clip: BatchClip, turns: Turns, outcomes: dict[Path, ClipOutcome]) -> None:
        """Begin a turn as far as it needs this thread."""
        turn = self._begin(clip)
        turns.hold(turn)
        try:
            self._take_in(turn)
        except Exception as error:  # noqa: BLE001 - as below
            turns.drop(turn)
            outcomes[clip.source] = self._not_done(turn, error)

    def _settle(self, turns: Turns, outcomes: dict[Path, ClipOutcome]) -> None:
        """Let the turns go on that are held, and record what became of those that have ended."""
        turns.let_go()
        for turn, future in turns.ended():
            try:
                outcome = future.result()
            except Exception as error:  # noqa: BLE001 - recorded, as where one clip is worked on after the other
                outcomes[turn.clip.source] = self._not_done(turn, error)
            else:
                outcomes[turn.clip.source] = self._done(turn, outcome)
        if time.monotonic() > self._workers_written + _WORKERS_SECONDS:
            self._write_workers()

    def _abandon(self, turns: Turns, outcomes: dict[Path, ClipOutcome], error: BaseException) -> None:
        """End all turns at once; what has just been finished is recorded."""
        self._abandoned = error if isinstance(error, VsrError | Interrupted) else Interrupted(signal.SIGINT)
        if self._workers is not None:
            self._workers.stop(self._abandoned)
        for turn in turns.held:
            turns.drop(turn)
        while turns:
            for turn, future in turns.ended():
                with suppress(VsrError):  # the queue's own trouble may be why all ends
                    if future.exception() is None:
                        outcomes[turn.clip.source] = self._done(turn, future.result())

    def _write_workers(self) -> None:
        if self._workers is not None:
            self._workers_written = time.monotonic()
            with suppress(VsrError):  # what matters of it is in the report, too
                save_workers(self._output / WORK_FOLDER / WORKERS, self._workers.outcomes())

    def _announce(self, clips: tuple[BatchClip, ...]) -> None:
        counts = Counter(clip.todo for clip in clips)
        found = ", ".join(f"{count} {todo}" for todo, count in counts.items())
        self._reporter.note(f"{counted(len(clips), 'clip')}: {found}" if clips else f"no videos in {self._folder}")
        outdated = Counter(
            changed_settings(clip.row, self._settings) for clip in clips if clip.row and clip.todo == "unchanged"
        )
        for changes, count in outdated.items():
            if changes:
                self._reporter.note(
                    f"{counted(count, 'clip was', 'clips were')} made with other settings ({'; '.join(changes)}) and "
                    f"not made again: --redo-outdated does that"
                )

    def _compared(self, clip: BatchClip) -> BatchClip:
        """Decide by its content what to do with a clip that was touched, unless no more clips are begun."""
        if clip.todo != "touched" or self._stopped_because or self._is_late():
            return clip
        self._reporter.note(f"{clip.clip}: it or its output was touched, their content is compared")
        try:
            known = compared(clip, self._output, self._config, self._options, self._call)
        except (VsrError, OSError):
            return replace(clip, todo="continue")  # its turn will say what is wrong, and start nothing over for it
        if known.row is not None and known.row != clip.row:
            self._queue.save(known.row)
        return known

    def _settings_to_begin_with(self, clips: tuple[BatchClip, ...], *, with_ray: bool) -> UpscaleConfig:
        """Return the settings for the workers: nothing is measured for them if all clips were begun already."""
        recorded: Mapping[str, str] = {}
        for clip in clips:
            if clip.has_work:
                identity = {} if clip.todo in ("outdated", "changed") else recorded_identity(clip.output)
                if not identity:
                    return self._config.upscale
                recorded = recorded or identity
        return settings_as_begun(self._config.upscale, recorded, with_ray=with_ray)

    def _gets_a_turn(self, clip: BatchClip) -> bool:
        if clip.has_work and not self._stopped_because and self._is_late():
            self._stop(StoppedForNow.exit_code, self._until_came())
        reached = self._options.max_clips is not None and self._begun >= self._options.max_clips
        return clip.has_work and not self._stopped_because and not reached

    def _left(self, clip: BatchClip) -> ClipOutcome:
        """Say what a clip is that this run does not work on."""
        outcome = outcome_without_work(clip, self._folder)
        if outcome is not None:
            return outcome
        because = self._stopped_because or f"--max-clips {self._options.max_clips} was reached"
        return outcome_of(clip, "stopped", f"not begun: {because}")

    def _work(self, clip: BatchClip) -> ClipOutcome:
        turn = self._begin(clip)
        try:
            self._take_in(turn)
            outcome = self._enhance(turn, reporter=self._reporter)
        except Exception as error:  # noqa: BLE001 - recorded, with its traceback in the log, and the other clips go on
            return self._not_done(turn, error)
        return self._done(turn, outcome)

    def _begin(self, clip: BatchClip) -> Turn:
        if self._workers is None:
            self._workers = self._open_workers(self._upscale)
            note_model(self._workers.spec, self._reporter)
        self._begun += 1
        row = self._records.begin(clip)
        self._reporter.note(f"{clip.clip} ({clip.todo}) -> {clip.output}")
        return Turn(clip, row)

    def _done(self, turn: Turn, outcome: ClipOutcome) -> ClipOutcome:
        row = replace(turn.row, tries=0, published=seen(turn.clip.output), suspected=False, outcome=outcome)
        self._records.save(row, "done")
        self._reporter.note(str(outcome))
        return outcome

    def _take_in(self, turn: Turn) -> None:
        with memory_as_error(turn.clip.source), refusals_as_errors():
            assert self._workers is not None
            clip, sizing = turn.clip, self._workers.spec.sizing
            turn.inspection = inspect(clip.source, clip.output, self._config, sizing=sizing, call=self._call)

    def _enhance(self, turn: Turn, reporter: Reporter) -> ClipOutcome:
        """Work on a clip that was taken in, in whatever thread."""
        clip, row = turn.clip, turn.row
        assert self._workers is not None
        assert turn.inspection is not None
        if not turn.inspection.is_current:
            self._take_in(turn)
        is_ours = row.published is not None and row.published.is_untouched(clip.output)
        was_done = clip.row is not None and clip.row.state == "done"

        def should_stop() -> bool:
            turn.is_prepared = True
            return bool(self._stopped_because) or self._is_late()

        options = RunOptions(
            fresh=clip.todo == "outdated" or (clip.todo == "changed" and was_done),
            overwrite=is_ours or self._options.overwrite,
            strict=self._options.strict,
            allow_cpu=self._options.allow_cpu,
            workers=self._options.workers,
            retries=self._options.retries,
            call=self._call,
            should_stop=should_stop,
        )
        with memory_as_error(clip.source), refusals_as_errors():
            run = partial(run_clip, turn.inspection, self._workers, reporter=reporter)
            try:
                return run(options=options)
            except ChangedError as error:
                # What this batch has begun, it may start over; what somebody else has begun there, only when told to.
                if clip.row is None and not self._options.redo_outdated:
                    raise
                self._reporter.note(f"{clip.clip} starts over: {error}")
                return run(options=replace(options, fresh=True))

    def _not_done(self, turn: Turn, error: Exception) -> ClipOutcome:
        """Record why a clip was not finished, and whether that ends the batch."""
        outcome = self._failure(turn.clip, turn.row, error)
        return replace(outcome, started_at=turn.clock.started_at, elapsed_seconds=turn.clock.elapsed_seconds)

    def _failure(self, clip: BatchClip, row: QueueRow, error: Exception) -> ClipOutcome:
        if isinstance(error, StoppedForNow):
            if not self._stopped_because:
                self._stop(error.exit_code, self._until_came())
            return self._postponed(
                clip,
                row,
                f"{self._stopped_because}; {counted(frames_done(clip.output), 'frame is', 'frames are')} done",
            )
        if isinstance(error, LockedError):
            self._has_locked = True
            self._begun -= 1
            return self._postponed(clip, row, str(error))
        exit_code = error.exit_code if isinstance(error, VsrError) else 1
        reason = str(error)
        if not isinstance(error, VsrError):
            self._log.crashed("".join(traceback.format_exception(error)))
            reason = f"a bug: {type(error).__name__}: {reason}; the traceback is in {self._output / WORK_FOLDER / LOG}"
        lost = self._workers is not None and self._workers.are_lost()
        if isinstance(error, DiskFullError) or lost:
            self._stop(ResourceError.exit_code, _LOST if lost else reason)
        if isinstance(error, ResourceError | PrecisionError | ReadError) or lost:
            # The machine's, the disk's or the network's fault and not the clip's: it is tried again every night.
            self._records.save(row, "failed", reason=reason, exit_code=exit_code)
        else:
            self._records.save_failure(row, reason, exit_code)
        outcome = outcome_of(clip, "failed", " ".join(reason.split()), exit_code)
        self._reporter.note(str(outcome))
        return outcome

    def _postponed(self, clip: BatchClip, row: QueueRow, reason: str) -> ClipOutcome:
        self._records.save(row, "stopped", reason=reason)
        return outcome_of(clip, "stopped", reason)

    def _is_late(self) -> bool:
        return self._deadline is not None and datetime.datetime.now().astimezone() >= self._deadline

    def _until_came(self) -> str:
        assert self._options.until is not None
        return f"--until {self._options.until:%H:%M} came"

    def _stop(self, exit_code: int, reason: str) -> None:
        self._exit_code = exit_code
        self._stopped_because = reason

    def _finish(self, clips: Iterable[ClipOutcome]) -> BatchOutcome:
        """Write the report of all clips, whether they were worked on or not."""
        outcomes = tuple(clips)
        some_failed = any(clip.status in ("failed", "given up") for clip in outcomes)
        code = _SOME_FAILED if some_failed else LockedError.exit_code if self._has_locked else 0
        outcome = BatchOutcome(
            program=f"vsr {__version__}",
            title=str(self._folder),
            started_at=self._clock.started_at,
            elapsed_seconds=self._clock.elapsed_seconds,
            exit_code=self._exit_code or code,
            clips=outcomes,
            config_toml=self._config.to_toml(),
            machine=platform.node(),
            log_file=self._output / WORK_FOLDER / LOG,
            workers=self._workers.outcomes() if self._workers is not None else (),
        )
        try:
            self._reporter.note(f"report: {write_report(outcome, self._output).html}")
        except VsrError as error:
            self._reporter.note(f"there is no report of this run: {error}")
            return replace(outcome, exit_code=outcome.exit_code or error.exit_code)
        return outcome
