"""The queue of a batch: one SQLite file per output folder that says what became of each clip, and what is to be done.

Any number of programs may change it while a batch is at work: the batch, `vsr queue`, the web page. So nobody writes
back a row that he has read: each change names the columns that it sets and the states in which it may, in one
transaction. What is asked of a clip that is worked on lies beside its state; the batch looks at it before each segment.

    with open_queue(output) as queue:
        queue.add(["holiday.mp4"], {"model": "bicubic-x4", "height": 1080})
        queue.move("holiday.mp4", first=True)
        for row in queue.list():
            print(row.clip, row.state, row.reason)
        last = queue.last_sequence
    ...
        for event in queue.events_after(last): ...
    progress = progress_of(output)  # of `vsr_pipeline.jobs.batch.live`: frames, fps and time left, now
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.jobs.batch.chosen import check_chosen
from vsr_pipeline.jobs.batch.hours import Hours
from vsr_pipeline.jobs.batch.rows import WAITING, QueueEvent, QueueRow, Request, State, in_order
from vsr_pipeline.jobs.batch.table import Table, timestamp
from vsr_pipeline.runtime.database import Value
from vsr_pipeline.runtime.files import WORK_FOLDER

QUEUE = "batch.sqlite"

_AT_REST: tuple[State, ...] = (*WAITING, "done", "given up", "cancelled")


def open_queue(output: Path, *, only_read: bool = False) -> "Queue":
    """Open the queue of an output folder, to be used as a context manager.

    Args:
        output: the folder, as `vsr batch --output` names it.
        only_read: nothing will be written; else the queue is made where there is none.

    Raises:
        InputError: there is none, and `only_read` is given.
        UsageError, OutputError, DiskFullError, LockedError: as `Queue`.
    """
    path = output / WORK_FOLDER / QUEUE
    if only_read and not path.exists():
        raise InputError(f"no batch has been run in {output}: there is no {path}")
    return Queue(path, only_read=only_read)


class Queue:
    """The clips of one output folder; a context manager, for one thread at a time. It is created where it is missing.

    A clip is named by its path under the batch's folder, with `/`. Methods that change something raise `UsageError`
    and change nothing where the clip is not there, or is in a state in which that cannot be done; the message says
    what was found and what can be done.

    Args:
        path: its file; see `open_queue`.
        only_read: nothing will be written, and an older version of this program may be at work.

    Raises:
        UsageError, OutputError, DiskFullError, LockedError: as `Database`, here and in every method.
    """

    def __init__(self, path: Path, *, only_read: bool = False) -> None:
        self._path = path
        self.table = Table(path, only_read=only_read)
        """For the batch itself, which writes how its work goes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.table.close()

    def list(self) -> tuple[QueueRow, ...]:
        """Return all clips: those that are worked on, those that wait, in their order, and the others by name."""
        return in_order(self.table.rows())

    def rows(self) -> dict[str, QueueRow]:
        """Return all clips by their paths, in the order of these."""
        return {row.clip: row for row in self.table.rows()}

    def row(self, clip: str) -> QueueRow | None:
        """Return what is known of a clip; None: it is not in the queue."""
        return self.table.row(clip)

    def events_after(self, sequence: int = 0, *, limit: int = 1000) -> tuple[QueueEvent, ...]:
        """Return what happened after an event, oldest first. For views that follow a batch: ask once a second.

        Only about the last 10,000 events are kept. Where the first one that is returned is not `sequence + 1`, some
        are gone: read the whole queue again.

        Args:
            sequence: of the last event that is known; 0: from the beginning.
            limit: how many at most.
        """
        return self.table.events_after(sequence, limit)

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest event, to follow from now on; 0: nothing ever happened."""
        return self.table.last_sequence

    @property
    def folder(self) -> Path | None:
        """Where the clips are, as the last batch or `set_folder` said; None: nobody did."""
        text = self.table.option("folder")
        return Path(json.loads(text)) if text else None

    def set_folder(self, folder: Path) -> None:
        """Say where the clips are; batches say it by themselves."""
        self.table.set_option("folder", json.dumps(str(folder.absolute())))

    @property
    def hours(self) -> Hours | None:
        """When a batch may work that is not told so by `--between`; None: always."""
        text = self.table.option("hours")
        return Hours.parse(text) if text else None

    def set_hours(self, hours: Hours | None) -> None:
        """Say when batches may work, also the one that is at work now; None: always."""
        self.table.set_option("hours", str(hours or ""))

    def add(self, clips: Iterable[str], chosen: Mapping[str, Any] | None = None) -> tuple[QueueRow, ...]:
        """Put clips at the end of those that were added before; they come before what a batch finds by itself.

        A clip that waits already gets the settings, and this place. One that failed, was given up or was cancelled is
        made again, as by `retry`, and so is one that is done with other settings of its own.

        Args:
            clips: paths under the batch's folder. Whether there are such files is not looked at.
            chosen: settings of these clips alone, by the names of `Config`'s fields, such as `{"model": "bicubic-x4",
                "height": 1080, "codec": "hevc", "start": "1:30"}`, as JSON can hold them; files by absolute paths.
                None: those that a clip has, which are none for a new one.

        Returns:
            Their rows. A row's `state` is "done" where it was done with these settings.

        Raises:
            UsageError, ConfigError, ModelError: a setting cannot be meant, a path leads out of the folder, or a clip is
                worked on; nothing was added.
        """
        names = tuple(dict.fromkeys(clips))
        for clip in names:
            _refuse_path(clip)
        if chosen is not None:
            check_chosen(chosen)
        with self.table.transaction() as connection:
            for clip in names:
                row = self.table.row(clip)
                if row is None:
                    connection.execute("INSERT INTO clips (clip, state) VALUES (?, 'queued')", (clip,))
                elif row.state == "working":
                    raise _working(clip)
                if row is not None and row.state == "done" and not _differs(row, chosen):
                    self._set(
                        clip, {"is_added": 1}, only_if=("done",)
                    )  # the batch sees whether its files are as they were
                else:
                    self._enqueue(clip, row, chosen)
                self.table.note("changed", clip, "added")
        return tuple(map(self._there, names))

    def retry(self, clip: str, chosen: Mapping[str, Any] | None = None) -> QueueRow:
        """Let a clip be made that failed, was given up, was cancelled or stopped; or one that is done, otherwise.

        It goes to the end of those that were added, and its failures are forgotten. What of it is finished with the
        same settings is kept. On a clip that is worked on, this takes back `cancel`.

        Args:
            clip: which one.
            chosen: other settings, as in `add`; None: those that it has. One that is done needs others.

        Returns:
            Its row.

        Raises:
            UsageError, ConfigError, ModelError: as `add`; or it is worked on and nobody has cancelled it, or is done.
        """
        if chosen is not None:
            check_chosen(chosen)
        with self.table.transaction():
            row = self._there(clip)
            if row.state == "working" and (not row.request or chosen is not None):
                raise _working(clip)
            if row.state == "done" and not _differs(row, chosen):
                raise UsageError(f"{clip} is done: give other settings to make it again")
            if row.state == "working":
                self._set(clip, {"request": ""}, only_if=("working",))
            else:
                self._enqueue(clip, row, chosen)
            self.table.note("changed", clip, "retry")
        return self._there(clip)

    def change(self, clip: str, chosen: Mapping[str, Any]) -> QueueRow:
        """Give a clip that waits other settings of its own, in the place of all that it had; it keeps its place.

        What was begun with other settings starts over.

        Args:
            clip: which one.
            chosen: as in `add`; empty: those of the batch.

        Returns:
            Its row.

        Raises:
            UsageError, ConfigError, ModelError: as `add`; or it does not wait.
        """
        check_chosen(chosen)
        with self.table.transaction():
            row = self._there(clip)
            if row.state not in WAITING:
                raise UsageError(f"{clip} is {row.state}, and only clips that wait can be changed: cancel, or retry it")
            self._set(clip, {"chosen": json.dumps(dict(chosen)), "tries": 0}, only_if=WAITING)
            self.table.note("changed", clip, "settings")
        return self._there(clip)

    def move(self, clip: str, *, before: str | None = None, first: bool = False) -> None:
        """Put a clip that waits before another one that waits, or before all (`first`); with neither, after all.

        Raises:
            UsageError: one of them does not wait.
        """
        with self.table.transaction():
            waiting = [row for row in self.list() if row.state in WAITING]
            order = [row.clip for row in waiting]
            for name in (clip, *([before] if before is not None else [])):
                if name not in order:
                    raise UsageError(f"{name} is {self._there(name).state}: only clips that wait can be moved")
            if clip == before:
                return
            order.remove(clip)
            index = 0 if first else len(order) if before is None else order.index(before)
            order.insert(index, clip)
            # What stands before it must stay there, and has a place from now on, too.
            placed = {row.clip for row in waiting if row.place is not None}.union(order[: index + 1])
            for place, name in enumerate(order):
                if name in placed:
                    self._set(name, {"place": place}, only_if=WAITING)
            self.table.note("changed", clip, "moved")

    def cancel(self, clip: str, *, now: bool = False) -> QueueRow:
        """Let no batch work on a clip until somebody retries it. Finished segments are kept.

        One that waits is cancelled at once. One that is worked on is asked to stop, and its row then is "cancelled"; if
        it was at its end already, it is done.

        Args:
            clip: which one.
            now: drop the segment in work; else it is finished first.

        Returns:
            Its row; `request` says what is asked for where it is worked on.

        Raises:
            UsageError: it is done, or was given up.
        """
        request: Request = "cancel now" if now else "cancel"
        with self.table.transaction():
            row = self._there(clip)
            if row.state == "working":
                self._set(clip, {"request": request}, only_if=("working",))
            elif row.state in (*WAITING, "cancelled"):
                values: dict[str, Value] = {"state": "cancelled", "reason": "cancelled", "exit_code": 0, "place": None}
                self._set(clip, values | {"changed_at": timestamp()}, only_if=(*WAITING, "cancelled"))
            else:
                raise UsageError(f"{clip} is {row.state}: there is nothing to cancel")
            self.table.note("changed", clip, request if row.state == "working" else "cancelled")
        return self._there(clip)

    def remove(self, clip: str) -> None:
        """Forget a clip. No file is deleted, so a batch of the folder finds it as a new one: `cancel` keeps it out.

        Raises:
            UsageError: it is worked on.
        """
        with self.table.transaction() as connection:
            if self._there(clip).state == "working":
                raise _working(clip)
            connection.execute("DELETE FROM clips WHERE clip = ?", (clip,))
            self.table.note("changed", clip, "removed")

    def _enqueue(self, clip: str, row: QueueRow | None, chosen: Mapping[str, Any] | None) -> None:
        """Let a clip wait at the end of those that have a place."""
        last = max((other.place for other in self.table.rows() if other.place is not None), default=-1)
        values: dict[str, Value] = {"is_added": 1, "tries": 0, "reason": "", "exit_code": 0, "place": last + 1}
        if row is None or row.state != "stopped":
            values |= {"state": "queued"}
        if chosen is not None:
            values |= {"chosen": json.dumps(dict(chosen))}
        self._set(clip, values | {"changed_at": timestamp()}, only_if=_AT_REST)

    def _set(self, clip: str, values: Mapping[str, Value], *, only_if: tuple[State, ...]) -> None:
        """Set columns of a row that was looked at in the same transaction."""
        is_set = self.table.set(clip, values, only_if=only_if, request=None)
        assert is_set, f"the row of {clip} is in none of the states {only_if}"

    def _there(self, clip: str) -> QueueRow:
        row = self.table.row(clip)
        if row is None:
            raise UsageError(f"no clip '{clip}' in the queue {self._path}: `vsr queue list` names those that are there")
        return row


def _working(clip: str) -> UsageError:
    return UsageError(f"{clip} is worked on: cancel it first, or wait until it is done")


def _differs(row: QueueRow, chosen: Mapping[str, Any] | None) -> bool:
    """Whether settings are given that are not those that a clip has."""
    return chosen is not None and json.dumps(dict(chosen), sort_keys=True) != json.dumps(
        dict(row.chosen), sort_keys=True
    )


def _refuse_path(clip: str) -> None:
    """Refuse what is no path under a folder.

    Raises:
        UsageError: it is empty, absolute, or leads out of the folder.
    """
    parts = Path(clip).parts
    if not parts or Path(clip).is_absolute() or ".." in parts or "/".join(parts) != clip or "\0" in clip:
        raise UsageError(f"'{clip}' is no path under the batch's folder: give one such as holiday.mp4 or 2019/a.mp4")
    if clip.encode("utf-8", "replace").decode() != clip:
        raise UsageError(f"'{clip!r}' is no valid Unicode: rename the file")
