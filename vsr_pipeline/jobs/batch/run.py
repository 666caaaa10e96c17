"""One run of a batch: each clip gets its turn, and what became of it is recorded at once."""

import platform
import signal
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.clip.inspect import inspect
from vsr_pipeline.enhance.open_model import sizing_of
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
from vsr_pipeline.jobs.batch.live import LOG, Live
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, Planner
from vsr_pipeline.jobs.batch.pool import WorkerPool
from vsr_pipeline.jobs.batch.queue import Queue
from vsr_pipeline.jobs.batch.records import Records, frames_done, outcome_of, outcome_without_work
from vsr_pipeline.jobs.batch.rules import Ending
from vsr_pipeline.jobs.batch.settings import BatchSettings, changed_settings
from vsr_pipeline.jobs.batch.side_by_side import Turn, Turns, can_be_ended, of_one_clip
from vsr_pipeline.jobs.batch.waiting import Requests, Waiting
from vsr_pipeline.jobs.job import Clock, RunOptions
from vsr_pipeline.jobs.report.files import write_report
from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome, Status
from vsr_pipeline.jobs.runner import run_clip
from vsr_pipeline.runtime.files import WORK_FOLDER, refusals_as_errors
from vsr_pipeline.runtime.memory import memory_as_error
from vsr_pipeline.runtime.process import Call
from vsr_pipeline.runtime.progress import Reporter, all_of, counted, reported

_SOME_FAILED = 7
_LOST = "the GPU no longer answers, or no worker is left"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlaces:
    """Where a batch reads and writes."""

    folder: Path
    output: Path
    queue: Queue
    live: Live
    log: Reporter
    """Is told the tracebacks, too."""
    call: Call
    """In which process clips are looked at and analysed."""


class Batch:
    """One run, while the output folder's lock is held and the queue is open.

    Args:
        places: where it reads and writes.
        settings: what the clips are made with.
        options: which clips, and how.
        workers: make the segments; side by side with Ray, so that no worker waits at the end of a clip.
        reporter: hears what the log file is told, too.
    """

    def __init__(
        self,
        places: BatchPlaces,
        settings: BatchSettings,
        options: BatchOptions,
        workers: WorkerPool,
        reporter: Reporter,
    ) -> None:
        self._places = places
        self._folder, self._output = places.folder, places.output
        self._settings = settings
        self._options = options
        self._workers = workers
        self._sink = reporter.sink
        self._reporter = Reporter(all_of(reporter.sink, places.live.of("")))
        self._clock = Clock()
        self._records = Records(places.queue.table, places.output, options)
        planner = Planner(places.folder, places.output, settings, options, places.call)
        self._planner = planner
        self._waiting = Waiting(places.folder, planner, places.queue, self._records)
        self._requests = Requests(places.queue, options)
        self._abandoned: VsrError | Interrupted | None = None
        self._begun = 0
        self._stopped_because = ""
        self._exit_code = 0
        self._has_locked = False

    def run(self) -> BatchOutcome:
        """Give each clip its turn; then write the report, also when something ends the batch early."""
        self._reporter.note(f"vsr {__version__}: batch of {self._folder}, into {self._output}")
        self._places.queue.set_folder(self._folder)
        self._records.settle_deaths()
        self._announce(self._waiting.plan(self._reporter.note))
        try:
            (self._side_by_side if self._workers.with_ray else self._one_by_one)()
        except (Exception, Interrupted, KeyboardInterrupt) as error:
            with suppress(VsrError):  # the queue's own trouble may be why all ends
                self._records.stop_open()
            if isinstance(error, VsrError | Interrupted):
                self._stop(error.exit_code, str(error))
                self._finish()
            raise
        return self._finish()

    def _one_by_one(self) -> None:
        while (clip := self._next()) is not None:
            self._tell_overall()
            if (turn := self._begin(clip)) is not None:
                self._waiting.end(clip, self._work(turn))

    def _side_by_side(self) -> None:
        """While the workers make the segments of one clip, the next is analysed, and the last is joined.

        Only this thread touches the queue: it begins the turns and records how they end.
        """
        with Turns(self._enhance) as turns, reported(self._reporter, f"enhance {self._folder.name}", 0):
            try:
                while (clip := self._next()) is not None or turns:
                    if clip is None or not self._may_begin(clip, turns):
                        self._settle(turns)
                        continue
                    self._tell_overall()
                    if (turn := self._begin(clip)) is not None:
                        self._hold(turn, turns)
            except BaseException as error:
                self._abandon(turns, error)
                raise
            finally:
                self._workers.write(at_once=True)

    def _may_begin(self, clip: BatchClip, turns: Turns) -> bool:
        if not turns:
            return True
        if turns.decode or turns.has_one_alone or clip.todo == "retry" or not self._workers.takes(clip):
            return False
        return self._workers.wants_another_clip(preparing=len(turns.held))

    def _hold(self, turn: Turn, turns: Turns) -> None:
        """Begin a turn as far as it needs this thread."""
        turns.hold(turn)
        try:
            self._take_in(turn)
        except Exception as error:  # noqa: BLE001 - as below
            turns.drop(turn)
            self._waiting.end(turn.clip, self._not_done(turn, error))

    def _settle(self, turns: Turns) -> None:
        """Let the turns go on that are held, and record what became of those that have ended."""
        turns.let_go()
        for turn, future in turns.ended():
            try:
                outcome = future.result()
            except Exception as error:  # noqa: BLE001 - recorded, as where one clip is worked on after the other
                self._waiting.end(turn.clip, self._not_done(turn, error))
            else:
                self._waiting.end(turn.clip, self._done(turn, outcome))
        self._workers.write()
        self._requests.time_is_up()  # what the threads of the clips are told is what this one has seen

    def _abandon(self, turns: Turns, error: BaseException) -> None:
        """End all turns at once; what has just been finished is recorded."""
        self._abandoned = error if isinstance(error, VsrError | Interrupted) else Interrupted(signal.SIGINT)
        self._workers.stop(self._abandoned)
        for turn in turns.held:
            turns.drop(turn)
        while turns:
            for turn, future in turns.ended():
                with suppress(VsrError):  # the queue's own trouble may be why all ends
                    if future.exception() is None:
                        self._waiting.end(turn.clip, self._done(turn, future.result()))

    def _tell_overall(self) -> None:
        done, total = self._waiting.ended, len(self._waiting.clips)
        self._reporter.overall(self._folder.name, done, total)
        self._places.live.counted(done, total)

    def _announce(self, clips: tuple[BatchClip, ...]) -> None:
        counts = Counter(clip.todo for clip in clips)
        found = ", ".join(f"{count} {todo}" for todo, count in counts.items())
        self._reporter.note(f"{counted(len(clips), 'clip')}: {found}" if clips else f"no videos in {self._folder}")
        outdated = Counter(
            changed_settings(clip.row, clip.settings.recorded)
            for clip in clips
            if clip.row and clip.todo == "unchanged"
        )
        for changes, count in outdated.items():
            if changes:
                self._reporter.note(
                    f"{counted(count, 'clip was', 'clips were')} made with other settings ({'; '.join(changes)}) and "
                    f"not made again: --redo-outdated does that"
                )

    def _next(self) -> BatchClip | None:
        """Return the clip that is begun next; None: none is, at least now."""
        while not self._stopped_because and (clip := self._waiting.next()) is not None:
            if self._options.max_clips is not None and self._begun >= self._options.max_clips:
                return None
            if reason := self._requests.time_is_up():
                self._stop(StoppedForNow.exit_code, reason)
            elif clip.todo != "touched":
                return clip
            else:
                self._waiting.compare(clip, self._compared(clip))
        return None

    def _compared(self, clip: BatchClip) -> BatchClip:
        """Decide by its content what to do with a clip that was touched."""
        self._reporter.note(f"{clip.clip}: it or its output was touched, their content is compared")
        try:
            known = self._planner.compared(clip)
        except (VsrError, OSError):
            return replace(clip, todo="continue")  # its turn will say what is wrong, and start nothing over for it
        if known.row is not None and known.row != clip.row:
            self._records.touched(known.row)
        return known

    def _left(self, clip: BatchClip) -> ClipOutcome:
        """Say what a clip is that this run does not work on."""
        outcome = outcome_without_work(clip, self._folder)
        if outcome is not None:
            return outcome
        because = self._stopped_because or f"--max-clips {self._options.max_clips} was reached"
        return outcome_of(clip, "stopped", f"not begun: {because}")

    def _begin(self, clip: BatchClip) -> Turn | None:
        """Begin a turn; None: somebody has changed the clip in this moment."""
        assert clip.row is not None
        try:
            if clip.refusal is None:
                self._workers.open_for(clip, self._waiting.clips)
        except VsrError as error:
            if not clip.row.chosen:
                raise  # no other clip could be made, either
            clip = replace(clip, refusal=error)
        row = self._records.begin(clip)
        if row is None:
            self._waiting.look_again()
            return None
        self._waiting.give_out(clip)
        self._requests.look()
        self._begun += 1
        self._reporter.note(f"{clip.clip} ({clip.todo}) -> {clip.output}")
        return Turn(clip, row)

    def _work(self, turn: Turn) -> ClipOutcome:
        try:
            self._take_in(turn)
            outcome = self._enhance(turn)
        except Exception as error:  # noqa: BLE001 - recorded, with its traceback in the log, and the other clips go on
            return self._not_done(turn, error)
        return self._done(turn, outcome)

    def _done(self, turn: Turn, outcome: ClipOutcome) -> ClipOutcome:
        self._records.done(turn.clip, outcome)
        self._reporter.note(str(outcome))
        return outcome

    def _take_in(self, turn: Turn) -> None:
        clip = turn.clip
        if clip.refusal is not None:
            raise clip.refusal
        with memory_as_error(clip.source), refusals_as_errors():
            config = clip.settings.config
            sizing = sizing_of(config.upscale)
            turn.inspection = inspect(clip.source, clip.output, config, sizing=sizing, call=self._places.call)

    def _reporter_of(self, turn: Turn) -> Reporter:
        """Return who hears of the work on a clip, and ends it in the middle where somebody asks for that."""
        clip = turn.clip.clip

        def why_not() -> VsrError | Interrupted | None:
            is_dropped = self._requests.of(clip) == "cancel now"
            return StoppedForNow(f"{clip} was cancelled") if is_dropped else self._abandoned

        sink = of_one_clip(self._sink) if self._workers.with_ray else self._sink
        return Reporter(can_be_ended(all_of(sink, self._places.live.of(clip)), why_not))

    def _enhance(self, turn: Turn) -> ClipOutcome:
        """Work on a clip that was taken in, in whatever thread."""
        clip, row = turn.clip, turn.row
        assert turn.inspection is not None
        if not turn.inspection.is_current:
            self._take_in(turn)
        assert clip.row is not None
        is_ours = row.published is not None and row.published.is_untouched(clip.output)
        was_done = clip.row.state == "done"

        def should_stop() -> bool:
            turn.is_prepared = True
            return bool(self._stopped_because or self._requests.time_is_up() or self._requests.of(clip.clip))

        options = RunOptions(
            fresh=clip.todo == "outdated" or (clip.todo == "changed" and was_done),
            overwrite=is_ours or self._options.overwrite,
            strict=self._options.strict,
            allow_cpu=self._options.allow_cpu,
            workers=self._options.workers,
            retries=self._options.retries,
            call=self._places.call,
            should_stop=should_stop,
        )
        with memory_as_error(clip.source), refusals_as_errors():
            run = partial(run_clip, turn.inspection, self._workers.now, reporter=self._reporter_of(turn))
            try:
                return run(options=options)
            except ChangedError as error:
                # What this batch has begun, it may start over; what somebody else has begun there, only when told to.
                if clip.row.source is None and not self._options.redo_outdated:
                    raise
                self._reporter.note(f"{clip.clip} starts over: {error}")
                return run(options=replace(options, fresh=True))

    def _not_done(self, turn: Turn, error: Exception) -> ClipOutcome:
        """Record why a clip was not finished, and whether that ends the batch."""
        outcome = self._failure(turn.clip, error)
        return replace(outcome, started_at=turn.clock.started_at, elapsed_seconds=turn.clock.elapsed_seconds)

    def _failure(self, clip: BatchClip, error: Exception) -> ClipOutcome:
        if isinstance(error, StoppedForNow):
            return self._stopped(clip)
        if isinstance(error, LockedError):
            self._has_locked = True
            self._begun -= 1
            row = self._records.end(clip.clip, "stopped", reason=str(error))
            return outcome_of(clip, "cancelled" if row.state == "cancelled" else "stopped", row.reason)
        exit_code = error.exit_code if isinstance(error, VsrError) else 1
        reason = str(error)
        if not isinstance(error, VsrError):
            self._places.log.crashed("".join(traceback.format_exception(error)))
            reason = f"a bug: {type(error).__name__}: {reason}; the traceback is in {self._output / WORK_FOLDER / LOG}"
        lost = self._workers.are_lost()
        if isinstance(error, DiskFullError) or lost:
            self._stop(ResourceError.exit_code, _LOST if lost else reason)
        # The machine's, the disk's or the network's fault and not the clip's: it is tried again in every run.
        is_machine = isinstance(error, ResourceError | PrecisionError | ReadError) or lost
        ending: Ending = "machine failed" if is_machine else "failed"
        row = self._records.end(clip.clip, ending, reason=reason, exit_code=exit_code)
        status: Status = "cancelled" if row.state == "cancelled" else "failed"
        outcome = outcome_of(clip, status, " ".join(row.reason.split()), row.exit_code)
        self._reporter.note(str(outcome))
        return outcome

    def _stopped(self, clip: BatchClip) -> ClipOutcome:
        """Record that a clip was stopped before its end, by the time or by somebody."""
        done = f"{counted(frames_done(clip.output), 'frame is', 'frames are')} done"
        up = self._stopped_because or self._requests.time_is_up()
        row = self._records.end(
            clip.clip, "stopped", reason=f"{up or 'the request to cancel it was taken back'}; {done}"
        )
        if row.state == "cancelled":
            outcome = outcome_of(clip, "cancelled", f"{row.reason}; {done}")
            self._reporter.note(str(outcome))
            return outcome
        if up and not self._stopped_because:
            self._stop(StoppedForNow.exit_code, up)
        return outcome_of(clip, "stopped", row.reason)

    def _stop(self, exit_code: int, reason: str) -> None:
        self._exit_code = exit_code
        self._stopped_because = reason

    def _finish(self) -> BatchOutcome:
        """Write the report of all clips, whether they were worked on or not."""
        clips = self._waiting.clips
        outcomes = tuple(self._waiting.outcome(clip) or self._left(clip) for clip in clips)
        some_failed = any(clip.status in ("failed", "given up") for clip in outcomes)
        code = _SOME_FAILED if some_failed else LockedError.exit_code if self._has_locked else 0
        outcome = BatchOutcome(
            program=f"vsr {__version__}",
            title=str(self._folder),
            started_at=self._clock.started_at,
            elapsed_seconds=self._clock.elapsed_seconds,
            exit_code=self._exit_code or code,
            clips=outcomes,
            config_toml=self._settings.common.config.to_toml(),
            machine=platform.node(),
            log_file=self._output / WORK_FOLDER / LOG,
            workers=self._workers.outcomes(),
        )
        try:
            self._reporter.note(f"report: {write_report(outcome, self._output).html}")
        except VsrError as error:
            self._reporter.note(f"there is no report of this run: {error}")
            return replace(outcome, exit_code=outcome.exit_code or error.exit_code)
        return outcome
