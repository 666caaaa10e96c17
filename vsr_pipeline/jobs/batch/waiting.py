"""What is left to do for a batch that is at work, while others may change its queue and ask it to stop."""

import datetime
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from vsr_pipeline.jobs.batch.hours import Hours, next_occurrence
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, Planner
from vsr_pipeline.jobs.batch.queue import Queue
from vsr_pipeline.jobs.batch.records import Records
from vsr_pipeline.jobs.batch.rows import WAITING, QueueRow, Request
from vsr_pipeline.jobs.report.outcome import ClipOutcome

_SECONDS_BETWEEN_LOOKS = 0.5
_OWN = ("working", "stopped", "done", "failed", "given up")
"""What events say of changes that are the batch's own; all others have somebody else behind them."""


class Waiting:
    """The clips of a run, of which those that wait are given out one by one, in the order that is asked for then.

    Args:
        folder: where the videos are.
        planner: decides what to do with each.
        queue: where others add, move, cancel, retry and remove clips.
        records: writes there.
    """

    def __init__(self, folder: Path, planner: Planner, queue: Queue, records: Records) -> None:
        self._folder = folder
        self._planner = planner
        self._queue = queue
        self._records = records
        self._clips: dict[str, BatchClip] = {}
        self._begun: dict[str, ClipOutcome | None] = {}
        """Clips that were given out, in this order; with what became of them, once that is known."""
        self._sequence = 0

    def plan(self, note: Callable[[str], None]) -> tuple[BatchClip, ...]:
        """Find out what there is to do, and write it into the queue."""
        self._sequence = self._queue.last_sequence
        before = self._queue.rows()
        clips = self._planner.plan(before, note)
        self._records.found([clip for clip in clips if clip.has_work])
        rows = self._queue.rows()
        for clip in clips:
            row = rows.get(clip.clip, clip.row)
            is_new = clip.row is None and row is not None and row.state == "queued" and not row.chosen
            # What somebody has changed in this moment is planned again when the first clip is asked for.
            self._clips[clip.clip] = replace(clip, row=row) if is_new or _is_same(clip.row, row) else clip
        return self.clips

    @property
    def clips(self) -> tuple[BatchClip, ...]:
        """All clips of the run; those that were given out first, in that order, then the others in theirs."""
        rest = sorted((c for name, c in self._clips.items() if name not in self._begun), key=self._planner.turn)
        return (*(self._clips[name] for name in self._begun), *rest)

    @property
    def ended(self) -> int:
        """How many clips have come to their end, or have nothing to do."""
        is_open = (self._begun.get(name, ...) is None or self._waits(clip) for name, clip in self._clips.items())
        return len(self._clips) - sum(is_open)

    def next(self) -> BatchClip | None:
        """Return the clip that is to be worked on next; it stays the next one until it is given out. None: all are."""
        self._refresh()
        waiting = (clip for clip in self._clips.values() if self._waits(clip))
        return min(waiting, key=self._planner.turn, default=None)

    def give_out(self, clip: BatchClip) -> None:
        """Record that a clip is worked on, or need not be."""
        self._begun.pop(clip.clip, None)
        self._begun[clip.clip] = None
        self._clips[clip.clip] = clip

    def compare(self, before: BatchClip, after: BatchClip) -> None:
        """Record what there is to do with a clip, once its content was compared."""
        self._clips[before.clip] = after

    def look_again(self) -> None:
        """Plan all again that waits: somebody has changed it."""
        self._sequence = -1

    def end(self, clip: BatchClip, outcome: ClipOutcome) -> None:
        """Record what became of a clip that was given out."""
        self._begun[clip.clip] = outcome

    def outcome(self, clip: BatchClip) -> ClipOutcome | None:
        """Return what became of a clip; None: it was not given out, or has not come to its end."""
        return self._begun.get(clip.clip)

    def _waits(self, clip: BatchClip) -> bool:
        return clip.has_work and clip.clip not in self._begun

    def _refresh(self) -> None:
        """Take in what others have changed in the queue."""
        if not self._queue.table.has_changed(self._sequence, but_for=_OWN):
            return
        self._sequence = self._queue.last_sequence
        rows = self._queue.rows()
        for name, clip in tuple(self._clips.items()):
            row = rows.get(name)
            if name not in self._begun or (row and row.state == "queued" and self._begun[name] is not None):
                self._take_in(name, clip.source, row)
        for name in rows.keys() - self._clips.keys():
            if rows[name].is_added and rows[name].state in WAITING:
                self._take_in(name, self._folder / name, rows[name])
        kept = self._planner.without_clashes(self._clips.values())
        self._clips = {clip.clip: clip for clip in kept}

    def _take_in(self, name: str, source: Path, row: QueueRow | None) -> None:
        """Plan a clip again, or for the first time."""
        before = self._clips.get(name)
        if before is not None and name not in self._begun and (before.row == row or _is_same(before.row, row)):
            self._clips[name] = replace(before, row=row)
            return
        self._begun.pop(name, None)
        clip = self._planner.clip(name, source, row) if row is not None else None
        if clip is None:
            self._clips.pop(name, None)
        else:
            self._clips[name] = clip


def _is_same(one: QueueRow | None, other: QueueRow | None) -> bool:
    """Whether two rows differ in nothing but the order."""

    def known(row: QueueRow) -> QueueRow:
        return replace(row, rank=None, place=None)

    return one is not None and other is not None and known(one) == known(other)


class Requests:
    """What a batch is asked while it works: to stop because of the time, or to leave a clip.

    The queue is looked at by the thread that made this; the others are told what it saw last.

    Args:
        queue: where people ask.
        options: with the time at which the batch ends.
    """

    def __init__(self, queue: Queue, options: BatchOptions) -> None:
        self._queue = queue
        self._options = options
        started = datetime.datetime.now().astimezone()
        self._deadline = next_occurrence(options.until, started) if options.until else None
        self._hours: Hours | None = options.between
        self._of_clips: Mapping[str, Request] = {}
        self._thread = threading.get_ident()
        self._looked = -math.inf

    def time_is_up(self) -> str:
        """Say why the batch has to stop now; empty: it has not."""
        self._look()
        now = datetime.datetime.now().astimezone()
        if self._deadline is not None and now >= self._deadline:
            return f"--until {self._options.until:%H:%M} came"
        if self._hours is not None and not self._hours.contains(now):
            return f"it is not between {str(self._hours).replace('-', ' and ')}"
        return ""

    def of(self, clip: str) -> Request:
        """Return what is asked of a clip that is worked on."""
        self._look()
        return self._of_clips.get(clip, "")

    def look(self) -> None:
        """Look at the queue now."""
        self._looked = -math.inf
        self._look()

    def _look(self) -> None:
        if threading.get_ident() != self._thread or time.monotonic() < self._looked + _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        self._of_clips = self._queue.table.requests()
        self._hours = self._options.between or self._queue.hours
