"""What a batch writes into its queue about a clip: when it is begun, and how that ended."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vsr_pipeline.errors import InputError, VsrError
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, changed_settings, seen
from vsr_pipeline.jobs.batch.queue import Queue, QueueRow, State
from vsr_pipeline.jobs.job import now
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.jobs.report.outcome import ClipOutcome, Status
from vsr_pipeline.jobs.runner import LEDGER, job_folder
from vsr_pipeline.runtime.progress import counted


class Records:
    """The queue of one run.

    Args:
        queue: where it is written, by one thread.
        output: the batch's output folder.
        settings: what clips are made with now.
        options: how often a clip may fail.
    """

    def __init__(self, queue: Queue, output: Path, settings: Mapping[str, str], options: BatchOptions) -> None:
        self._queue = queue
        self._output = output
        self._settings = settings
        self._options = options

    def settle_deaths(self) -> None:
        """Settle what a run that was killed has left open: no other is at work here, because we hold the lock.

        A clip on which nothing was finished before the death may be its cause, such as by taking all memory, and so it
        has failed; one that got on is continued. Where several clips were open, or the machine has started anew since,
        nothing says that a clip was the cause: it is made after the others, alone, and has failed if the same happens
        again.
        """
        open_rows = [row for row in self._queue.rows().values() if row.state == "working"]
        for row in open_rows:
            has_restarted = row.boot_id != boot_id()
            if frames_done(self._output / row.output) > row.frames_before:
                self.save(row, "stopped", reason="the run was killed")
            elif not row.suspected and (len(open_rows) > 1 or has_restarted):
                why = (
                    "the machine was started anew or is another one"
                    if has_restarted
                    else f"{len(open_rows)} clips were open"
                )
                reason = (
                    f"the run ended without a word (killed, memory, or power) and {why}: it is made alone, at the end"
                )
                self.save(replace(row, suspected=True), "stopped", reason=reason)
            else:
                reason = "the run ended without a word while it was at work on this clip (killed, memory, or power)"
                self.save_failure(row, reason, exit_code=1)

    def stop_open(self) -> None:
        """Record that the run ends in order while it is at work on clips: none of them is to blame."""
        for row in self._queue.rows().values():
            if row.state == "working":
                self.save(row, "stopped", reason="interrupted")

    def begin(self, clip: BatchClip) -> QueueRow:
        """Record that the work on a clip begins, and return what was written."""
        relative = clip.output.relative_to(self._output).as_posix()
        before = clip.row
        was_same = before is not None and before.output == relative
        counts_on = before is not None and clip.todo != "changed" and not changed_settings(before, self._settings)
        row = QueueRow(
            clip=clip.clip,
            output=relative,
            state="working",
            source=seen(clip.source) or clip.identity,
            settings=self._settings,
            published=before.published if before is not None and was_same else None,
            tries=before.tries if before is not None and counts_on and not self._options.retry_failed else 0,
            changed_at=now(),
            frames_before=frames_done(clip.output),
            suspected=before is not None and before.suspected,
            boot_id=boot_id(),
        )
        self._queue.save(row)
        return row

    def save_failure(self, row: QueueRow, reason: str, exit_code: int) -> None:
        """Record a failure that counts: too many, and the clip is given up."""
        tries = row.tries + 1
        state: State = "given up" if tries >= self._options.retries else "failed"
        self.save(replace(row, tries=tries), state, reason=reason, exit_code=exit_code)

    def save(self, row: QueueRow, state: State, *, reason: str = "", exit_code: int = 0) -> None:
        """Record how the work on a clip ended, for now or for good."""
        self._queue.save(replace(row, state=state, reason=reason, exit_code=exit_code, changed_at=now()))


def boot_id() -> str:
    """Return what names the time since the machine was started; empty where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def frames_done(output: Path) -> int:
    """Frames that the job of an output has finished and recorded."""
    path = job_folder(output) / LEDGER
    try:
        if not path.exists():
            return 0
        with Ledger(path, only_read=True) as ledger:
            return sum(stop - start for start, stop in ledger.segments())
    except (VsrError, OSError):
        return 0  # `run_clip` will say what is wrong with it


def outcome_of(clip: BatchClip, status: Status, reason: str, exit_code: int = 0) -> ClipOutcome:
    """Return what became of a clip of which nothing but this is to be said."""
    return ClipOutcome(input=clip.source, output=clip.output, status=status, reason=reason, exit_code=exit_code)


def outcome_without_work(clip: BatchClip, folder: Path) -> ClipOutcome | None:
    """Say what a clip of `folder` is that no run works on; None where one would."""
    if clip.todo == "misnamed":
        reason = "its name is no valid Unicode, the question marks stand for what is not: rename it"
        return replace(outcome_of(clip, "failed", reason, InputError.exit_code), input=folder / clip.clip)
    if clip.todo == "unchanged":
        return _unchanged_outcome(clip)
    if clip.todo == "given up":
        assert clip.row is not None
        tries = f"failed in {counted(clip.row.tries, 'run')}; left alone until it changes: --retry-failed"
        return outcome_of(clip, "given up", f"{clip.row.reason} ({tries})", clip.row.exit_code)
    return None


def _unchanged_outcome(clip: BatchClip) -> ClipOutcome:
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
