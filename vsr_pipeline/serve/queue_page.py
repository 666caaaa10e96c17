"""The first page: the queue, with what can be done to it."""

import shutil
from collections.abc import Callable, Mapping

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.batch.hours import Hours
from vsr_pipeline.jobs.batch.live import ClipProgress
from vsr_pipeline.jobs.batch.queue import Queue
from vsr_pipeline.jobs.batch.rows import WAITING, QueueRow
from vsr_pipeline.jobs.report.files import REPORT_HTML
from vsr_pipeline.runtime.progress import clock_text, one_line, size_text
from vsr_pipeline.serve.pages import NewClip, QueuePage, RowView
from vsr_pipeline.serve.settings_form import as_words
from vsr_pipeline.serve.site import Site, is_time, start_batch
from vsr_pipeline.serve.store import id_of


def queue_page(site: Site) -> QueuePage:
    """Return what the page shows now."""
    rows, sequence, hours = site.store.ask(lambda queue: (queue.list(), queue.last_sequence, queue.hours))
    batch = site.batch.state()
    progress = batch.progress
    working = {clip.clip: clip for clip in progress.clips} if progress is not None else {}
    return QueuePage(
        rows=tuple(row_view(site, row, working.get(row.clip)) for row in rows),
        new=tuple(NewClip(id=id_of(clip), name=clip) for clip in site.store.new_clips()),
        uploaded=tuple(upload for upload in site.uploads.all() if upload.facts is not None),
        is_running=batch.is_running,
        is_wanted=batch.is_wanted,
        clips_done=progress.clips_done if progress is not None else 0,
        clips_total=progress.clips_total if progress is not None else 0,
        exit_code=batch.exit_code,
        error=site.store.shown(batch.message),
        hours=str(hours or ""),
        waits_for_hours=batch.is_wanted and not batch.is_running and not is_time(hours),
        free=size_text(shutil.disk_usage(site.options.folder).free),
        has_report=(site.options.results / REPORT_HTML).is_file(),
        sequence=sequence,
    )


def row_view(site: Site, row: QueueRow, progress: ClipProgress | None) -> RowView:
    """Return what is shown of a clip."""
    left = progress.left_seconds if progress is not None else None
    return RowView(
        id=id_of(row.clip),
        name=one_line(row.clip),
        state=row.state,
        request=row.request,
        reason=site.store.shown(one_line(row.reason)) if row.state in ("failed", "given up", "stopped") else "",
        settings=as_words(row.chosen),
        done=progress.done if progress is not None else 0,
        total=progress.total if progress is not None else 0,
        fps=progress.per_second if progress is not None else row.fps,
        left=clock_text(left) if left is not None else "",
        is_waiting=row.state in WAITING,
        can_cancel=row.state in WAITING or (row.state == "working" and not row.request),
        can_retry=row.state in ("failed", "given up", "cancelled", "stopped") or bool(row.request),
        has_result=row.outcome is not None,
    )


def act_on_batch(site: Site, form: Mapping[str, str]) -> None:
    """Start or stop the batch, or set its hours.

    Raises:
        UsageError: it is none of these, or the hours are none.
        OutputError, ResourceError: it cannot be started.
    """
    action = form.get("action", "")
    if action == "hours":
        text = form.get("hours", "").strip()
        try:
            hours = Hours.parse(text) if text else None
        except ValueError as error:
            raise UsageError(f"the hours {error}") from error
        site.store.ask(lambda queue: queue.set_hours(hours))
    elif action == "start":
        start_batch(site)
    elif action == "stop":
        site.batch.stop()
    else:
        raise UsageError(f"the action {action!r} is unknown: allowed are start, stop, hours")


def act_on_clip(site: Site, clip_id: str, action: str) -> None:
    """Do what a button of the queue says.

    Raises:
        NotThereError: there is no such clip.
        UsageError: the clip is in a state in which that cannot be done, or there is no such action.
    """
    clip = site.store.clip_of(clip_id)
    actions: dict[str, Callable[[Queue], object]] = {
        "add": lambda queue: queue.add([clip]),
        "first": lambda queue: queue.move(clip, first=True),
        "last": lambda queue: queue.move(clip),
        "up": lambda queue: _move_by(queue, clip, -1),
        "down": lambda queue: _move_by(queue, clip, 1),
        "cancel": lambda queue: queue.cancel(clip),
        "cancel-now": lambda queue: queue.cancel(clip, now=True),
        "retry": lambda queue: queue.retry(clip),
        "remove": lambda queue: queue.remove(clip),
    }
    if action not in actions:
        raise UsageError(f"the action {action!r} is unknown: allowed are {', '.join(actions)}")
    site.store.ask(actions[action])


def _move_by(queue: Queue, clip: str, step: int) -> None:
    """Move a clip among those that wait; at an end, it stays."""
    order = [row.clip for row in queue.list() if row.state in WAITING]
    others = [name for name in order if name != clip]
    index = max(0, order.index(clip) + step) if clip in order else 0
    queue.move(clip, before=others[index] if index < len(others) else None, first=index == 0)
