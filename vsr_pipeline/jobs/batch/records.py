"""What a batch writes into its queue about a clip: when it is begun, and how that ended."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vsr_pipeline.errors import InputError, OutputError, VsrError
from vsr_pipeline.jobs.batch.live import boot_id
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, seen
from vsr_pipeline.jobs.batch.rows import QueueRow, columns_of
from vsr_pipeline.jobs.batch.rules import Ending, after
from vsr_pipeline.jobs.batch.settings import changed_settings
from vsr_pipeline.jobs.batch.table import Table, timestamp
from vsr_pipeline.jobs.checkpoint import frames_in_parts
from vsr_pipeline.jobs.job import SEGMENTS
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.jobs.report.outcome import ClipOutcome, Status
from vsr_pipeline.jobs.runner import LEDGER, job_folder
from vsr_pipeline.runtime.progress import counted

_BY_BEGIN = (
    *("state", "output", "source", "settings", "published", "tries", "changed_at", "frames_before", "boot_id"),
    *("reason", "exit_code", "request"),
)
_BY_END = ("state", "place", "tries", "suspected", "reason", "exit_code", "changed_at", "request")


class Records:
    """The queue, as one run writes it. Others may write, too; nobody else changes the row of a clip that is begun.

    Args:
        table: the queue.
        output: the batch's output folder.
        options: how often a clip may fail.
    """

    def __init__(self, table: Table, output: Path, options: BatchOptions) -> None:
        self._table = table
        self._output = output
        self._options = options

    def settle_deaths(self) -> None:
        """Settle what a run that was killed has left open: no other is at work here, because we hold the lock.

        A clip on which nothing was finished before the death may be its cause, such as by taking all memory, and so it
        has failed; one that got on is continued. Where several clips were open, or the machine has started anew since,
        nothing says that a clip was the cause: it is made after the others, alone, and has failed if the same happens
        again.
        """
        open_rows = self._open()
        for row in open_rows:
            has_restarted = row.boot_id != boot_id()
            if frames_done(self._output / row.output) > row.frames_before:
                self.end(row.clip, "died after a segment", reason="the run was killed")
            elif not row.suspected and (len(open_rows) > 1 or has_restarted):
                why = (
                    "the machine was started anew or is another one"
                    if has_restarted
                    else f"{len(open_rows)} clips were open"
                )
                reason = (
                    f"the run ended without a word (killed, memory, or power) and {why}: it is made alone, at the end"
                )
                self.end(row.clip, "died with others", reason=reason)
            else:
                reason = "the run ended without a word while it was at work on this clip (killed, memory, or power)"
                self.end(row.clip, "died", reason=reason, exit_code=1)

    def stop_open(self) -> None:
        """Record that the run ends in order while it is at work on clips: none of them is to blame."""
        for row in self._open():
            self.end(row.clip, "stopped", reason="interrupted")

    def found(self, clips: Sequence[BatchClip]) -> None:
        """Record what there is to do, in its order; what was found before and never begun is forgotten."""
        with self._table.transaction() as connection:
            connection.execute("UPDATE clips SET rank = NULL WHERE rank IS NOT NULL")
            for rank, clip in enumerate(clips):
                connection.execute(
                    "INSERT INTO clips (clip, state, rank) VALUES (?, 'queued', ?)"
                    " ON CONFLICT DO UPDATE SET rank = excluded.rank",
                    (clip.clip, rank),
                )
            connection.execute(
                "DELETE FROM clips WHERE rank IS NULL AND state = 'queued' AND NOT is_added AND source = 'null'"
            )

    def begin(self, clip: BatchClip) -> QueueRow | None:
        """Record that the work on a clip begins, and return what was written.

        None where somebody has changed its row since it was planned: it is to be planned again.
        """
        before = clip.row
        assert before is not None
        relative = clip.output.relative_to(self._output).as_posix()
        settings = clip.settings.recorded
        counts_on = clip.todo != "changed" and not changed_settings(before, settings)
        row = replace(
            before,
            output=relative,
            state="working",
            request="",
            source=seen(clip.source) or clip.identity,
            settings=settings,
            published=before.published if before.output == relative else None,
            tries=before.tries if counts_on and not self._options.retry_failed else 0,
            reason="",
            exit_code=0,
            changed_at=timestamp(),
            frames_before=frames_done(clip.output),
            boot_id=boot_id(),
        )
        with self._table.transaction():
            now = self._table.row(clip.clip)
            if now is None or (now.state, now.chosen) != (before.state, before.chosen):
                return None
            self._set(row, _BY_BEGIN, before)
        return row

    def touched(self, row: QueueRow) -> None:
        """Record the new times of what is the same; nothing, where somebody has asked for something else meanwhile."""
        self._table.update(row, "source", "published", only_if=("done",))

    def done(self, clip: BatchClip, outcome: ClipOutcome) -> None:
        """Record that a clip is done."""
        self.end(clip.clip, "done", published=clip.output, outcome=outcome)

    def end(
        self,
        clip: str,
        ending: Ending,
        *,
        reason: str = "",
        exit_code: int = 0,
        published: Path | None = None,
        outcome: ClipOutcome | None = None,
    ) -> QueueRow:
        """Record how the work on a clip ended, for now or for good; returns what was written.

        What somebody has asked of it meanwhile is looked at in the same transaction.

        Raises:
            OutputError: its row is not there any more, or is none of a clip that was begun.
        """
        with self._table.transaction():
            before = self._table.row(clip)
            if before is None or before.state != "working":
                state = before.state if before is not None else "not there any more"
                raise OutputError(f"another program has changed the queue: {clip} was begun, and now is {state}")
            verdict = after(
                ending,
                tries=before.tries,
                retries=self._options.retries,
                suspected=before.suspected,
                request=before.request,
            )
            if verdict.state == "cancelled":
                reason = f"cancelled; {reason}" if ending not in ("stopped", "died after a segment") else "cancelled"
                exit_code = 0
            row = replace(
                before,
                state=verdict.state,
                place=before.place if verdict.state == "stopped" else None,
                tries=verdict.tries,
                suspected=verdict.suspected,
                reason=reason,
                exit_code=exit_code,
                changed_at=timestamp(),
                request="",
                published=seen(published) if published is not None else before.published,
                outcome=outcome if outcome is not None else before.outcome,
            )
            self._set(row, (*_BY_END, "published", "outcome"), before)
        return row

    def _set(self, row: QueueRow, names: Sequence[str], before: QueueRow) -> None:
        """Set columns of a row that was looked at in the same transaction, and tell who follows the queue."""
        is_set = self._table.set(row.clip, columns_of(row, *names), only_if=(before.state,), request=None)
        assert is_set, f"the row of {row.clip} is not {before.state}"
        self._table.note("changed", row.clip, row.state)

    def _open(self) -> list[QueueRow]:
        return [row for row in self._table.rows() if row.state == "working"]


def frames_done(output: Path) -> int:
    """Frames that the job of an output has finished and recorded."""
    path = job_folder(output) / LEDGER
    try:
        if not path.exists():
            return 0
        with Ledger(path, only_read=True) as ledger:
            finished = sum(stop - start for start, stop in ledger.segments())
        return finished + frames_in_parts(path.parent / SEGMENTS)
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
    if clip.todo == "cancelled":
        assert clip.row is not None
        return outcome_of(clip, "cancelled", f"{clip.row.reason or 'cancelled'}; `vsr queue retry` takes it up again")
    if clip.todo == "given up":
        assert clip.row is not None
        tries = f"failed in {counted(clip.row.tries, 'run')}; left alone until it changes: --retry-failed"
        return outcome_of(clip, "given up", f"{clip.row.reason} ({tries})", clip.row.exit_code)
    return None


def _unchanged_outcome(clip: BatchClip) -> ClipOutcome:
    """Return what a clip was when it was made; its folders may have other names by now."""
    assert clip.row is not None
    assert clip.row.outcome is not None
    folder = job_folder(clip.output)
    before, later = (folder / f"{name}.jpg" for name in ("before", "after"))
    stills = (still.moved_to(folder) for still in clip.row.outcome.stills)
    return replace(
        clip.row.outcome,
        status="unchanged",
        input=clip.source,
        output=clip.output,
        computed_frames=0,
        reused_frames=clip.row.outcome.frame_count,
        before_still=before if before.exists() else None,
        after_still=later if later.exists() else None,
        stills=tuple(still for still in stills if still.is_there),
    )
