"""The page that shows about three seconds of a clip before it is queued, with the settings that are chosen."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import clock_text, one_line
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.pages import PreviewPage
from vsr_pipeline.serve.settings_form import (
    as_words,
    chosen_from,
    form_from,
    kept_settings,
    moment_from,
    refuse_others,
    settings_form,
)
from vsr_pipeline.serve.site import Site
from vsr_pipeline.serve.tasks import Asked


def begin_preview(site: Site, form: Mapping[str, str], ticked: Sequence[str]) -> str:
    """Begin a preview of the first upload that is ticked, or of a clip of the folder; return its id.

    Raises:
        UsageError, ConfigError, ModelError: nothing is named, or a setting or the moment cannot be meant.
        NotThereError: there is no such upload or clip.
        FullError, OutputError, DiskFullError: as `Tasks.begin`.
    """
    chosen = chosen_from(form)
    at = moment_from(form)
    asked: dict[str, Any] = {"upload": "", "clip": "", "at": at}
    if ticked:
        upload = site.uploads.get(ticked[0])
        if upload.facts is None:
            raise UsageError(f"{upload.name} cannot be shown: {upload.reason or 'it is not complete'}")
        asked |= {"upload": upload.id, "name": upload.name}
    elif form.get("clip"):
        row = site.store.row_of(form["clip"])
        chosen = kept_settings(row.chosen, chosen) if row is not None else chosen
        asked |= {"clip": form["clip"], "name": one_line(site.store.clip_of(form["clip"]))}
    else:
        raise UsageError("no video is ticked: tick one")
    refuse_others(chosen)
    return site.previews.begin({**asked, "settings": chosen})


def preview_page(site: Site, task_id: str) -> PreviewPage:
    """Return what the page shows now.

    Raises:
        NotThereError: there is no such preview.
    """
    task = site.previews.get(task_id)
    asked, made = task.asked, task.result or {}
    row = site.store.row_of(asked["clip"]) if asked["clip"] else None
    return PreviewPage(
        id=task.id,
        name=asked["name"],
        upload=asked["upload"],
        clip=asked["clip"],
        has_source=_has_source(site, asked),
        is_in_queue=row is not None,
        settings=settings_form(form_from(asked["settings"])),
        words=as_words(asked["settings"]),
        at=asked["at"],
        is_pending=task.is_pending,
        done=int(task.progress.get("done", 0)),
        total=int(task.progress.get("total", 0)),
        reason=task.reason,
        begins_at=clock_text(made.get("at_seconds", 0.0)),
        frame_count=made.get("frame_count", 0),
        before_size=tuple(made.get("before_size", (0, 0))),
        after_size=tuple(made.get("after_size", (0, 0))),
        clip_size=tuple(made.get("clip_size", (0, 0))),
        shape=made.get("shape", 1.0),
        seconds=made.get("elapsed_seconds", 0.0),
        is_on_cpu=made.get("is_on_cpu", False),
        batch_is_running=site.batch.state().is_running,
    )


def previews_of(site: Site, *, clip_id: str = "") -> tuple[tuple[str, str], ...]:
    """Return the previews of a clip, or, without one, of uploads that are here: id, and what it is of."""
    tasks = site.previews.all()
    meant = [task for task in tasks if task.asked["clip"] == clip_id and _has_source(site, task.asked)]
    return tuple(
        (task.id, " ".join(filter(None, (task.asked["name"], as_words(task.asked["settings"]))))) for task in meant
    )


def _has_source(site: Site, asked: Asked) -> bool:
    with suppress(NotThereError):
        if asked["upload"]:
            return bool(site.uploads.get(asked["upload"]))
        return bool(site.store.file_of(asked["clip"], "source"))
    return False
