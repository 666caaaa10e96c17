"""All that answers requests, in one value: the folder, its queue, uploads, batch, and the process that computes."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.batch.hours import Hours
from vsr_pipeline.runtime.files import make_folder
from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.runtime.process import Isolation
from vsr_pipeline.serve.batch_process import BatchProcess
from vsr_pipeline.serve.checks import Checks
from vsr_pipeline.serve.estimates import Estimates
from vsr_pipeline.serve.long_work import open_comparisons, open_previews
from vsr_pipeline.serve.options import ServeOptions
from vsr_pipeline.serve.store import Store
from vsr_pipeline.serve.tasks import Tasks
from vsr_pipeline.serve.uploads import Uploads
from vsr_pipeline.serve.urls import Urls


@dataclass(frozen=True, slots=True)
class Site:
    """One server."""

    options: ServeOptions
    urls: Urls
    store: Store
    uploads: Uploads
    checks: Checks
    """Looks at complete uploads."""
    batch: BatchProcess
    helper: Helper
    """Computes what is asked for at once."""
    estimates: Estimates
    previews: Tasks
    comparisons: Tasks


def start_batch(site: Site) -> None:
    """Start the batch, unless it runs or it is not between the hours of the queue: then it is started later.

    Raises:
        OutputError, ResourceError: it cannot be started.
    """
    site.batch.start(is_time=is_time(site.store.ask(lambda queue: queue.hours)))


def is_time(hours: Hours | None) -> bool:
    """Whether a batch may work now."""
    return hours is None or hours.contains(datetime.datetime.now().astimezone())


@contextmanager
def opened_site(options: ServeOptions) -> Iterator[Site]:
    """Open a folder; at the end, what computes for pages is ended, and the batch goes on.

    Raises:
        UsageError: `in` or `out` lead out of the folder.
        OutputError, DiskFullError: the folder cannot be written.
    """
    for folder in (options.inbox, options.results, options.work):
        make_folder(folder)
        if not folder.resolve().is_relative_to(options.folder.resolve()):
            raise UsageError(f"{folder} leads out of {options.folder}: name the folder that it leads to as --folder")
    store = Store(options)
    uploads = Uploads(options.work / "uploads", max_bytes=options.max_upload_bytes)
    helper = Helper()
    batch = BatchProcess(options)
    estimates = Estimates(helper, store.shown, options.config)
    previews = open_previews(options, store, uploads, helper, batch)
    comparisons = open_comparisons(options, store, batch)
    try:
        with Isolation() as call:
            checks = Checks(uploads, call, store.shown)
            try:
                yield Site(
                    options=options,
                    urls=Urls(options.root_path),
                    store=store,
                    uploads=uploads,
                    checks=checks,
                    batch=batch,
                    helper=helper,
                    estimates=estimates,
                    previews=previews,
                    comparisons=comparisons,
                )
            finally:
                checks.close()
    finally:
        for work in (estimates, previews, comparisons):
            work.close()
        helper.end()
        batch.leave()
        store.close()
