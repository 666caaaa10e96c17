"""The page for new clips: uploads, settings, what they will need, and into the queue."""

import shutil
from collections.abc import Mapping, Sequence

from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import size_text
from vsr_pipeline.serve.pages import AddPage, ClipEstimate
from vsr_pipeline.serve.preview_page import previews_of
from vsr_pipeline.serve.settings_form import chosen_from, refuse_others, settings_form
from vsr_pipeline.serve.site import Site, start_batch
from vsr_pipeline.serve.uploads import PIECE_BYTES
from vsr_pipeline.stages.workspace import VIDEO_SUFFIXES


def add_page(site: Site, ticked: Sequence[str], form: Mapping[str, str]) -> AddPage:
    """Return what the page shows now.

    Args:
        site: the server.
        ticked: ids of the uploads that are meant; none: all that are ready.
        form: the settings so far; with `estimate`, what they need is worked out.

    Raises:
        UsageError, ConfigError, ModelError: a setting cannot be meant.
    """
    site.checks.begin()
    uploads = tuple(site.uploads.all())
    ready = [upload for upload in uploads if upload.facts is not None]
    meant = [upload for upload in ready if not ticked or upload.id in ticked]
    height = meant[0].facts.height if meant and meant[0].facts else 0
    estimates: tuple[ClipEstimate, ...] = ()
    if form.get("estimate"):
        chosen = chosen_from(form)
        refuse_others(chosen)
        estimates = tuple(site.estimates.of(upload, site.uploads.data(upload.id), chosen) for upload in meant)
    return AddPage(
        uploads=uploads,
        ticked=frozenset(upload.id for upload in meant),
        settings=settings_form(form, source_height=height),
        estimates=estimates,
        is_pending=any(estimate.is_pending for estimate in estimates),
        seconds=sum(estimate.seconds for estimate in estimates),
        size_bytes=sum(estimate.size_bytes for estimate in estimates),
        free=size_text(shutil.disk_usage(site.options.folder).free),
        batch_is_running=site.batch.state().is_running,
        previews=previews_of(site),
        piece_bytes=PIECE_BYTES,
        suffixes=",".join(VIDEO_SUFFIXES.split()),
    )


def queue_uploads(site: Site, ticked: Sequence[str], form: Mapping[str, str]) -> None:
    """Put uploads into the queue, with settings; start the batch if the form says so.

    Raises:
        UsageError, ConfigError, ModelError: nothing is ticked, or a setting cannot be meant; nothing was done.
        NotThereError: there is no such upload.
        OutputError, DiskFullError, ResourceError: the folder cannot be written, or the batch cannot be started.
    """
    if not ticked:
        raise UsageError("no video is ticked: tick at least one")
    chosen = chosen_from(form)
    refuse_others(chosen)
    for upload_id in ticked:
        clip = site.uploads.publish(upload_id, site.options.inbox).relative_to(site.options.inbox).as_posix()
        site.store.ask(lambda queue, clip=clip: queue.add([clip], chosen))  # type: ignore[misc]
    if form.get("start_now"):
        start_batch(site)
