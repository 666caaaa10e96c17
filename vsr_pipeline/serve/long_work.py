"""What pages ask for that takes seconds to minutes: previews and comparisons, computed by helper processes.

While a batch uses the device, they are computed on the CPU.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.serve.batch_process import BatchProcess
from vsr_pipeline.serve.options import ServeOptions
from vsr_pipeline.serve.store import Store, inside
from vsr_pipeline.serve.tasks import Asked, Tasks
from vsr_pipeline.serve.uploads import Uploads
from vsr_pipeline.serve.work import Compared, compare_versions, preview_of

_PREVIEW_SECONDS = 600.0
_COMPARISON_SECONDS = 3600.0


def open_previews(options: ServeOptions, store: Store, uploads: Uploads, helper: Helper, batch: BatchProcess) -> Tasks:
    """Return the previews of a folder; the helper computes them, on the CPU while a batch uses the device."""

    def work(place: Path, asked: Asked) -> Mapping[str, Any]:
        source = uploads.data(asked["upload"]) if asked["upload"] else store.file_of(asked["clip"], "source")
        on_cpu = batch.state().is_running
        call = partial(preview_of, source, place, asked["settings"], asked["at"], options.config, on_cpu=on_cpu)
        return {**helper.call(call, what="the preview", seconds=_PREVIEW_SECONDS), "is_on_cpu": on_cpu}

    return Tasks(options.work / "previews", work, store.shown)


def open_comparisons(options: ServeOptions, store: Store, batch: BatchProcess) -> Tasks:
    """Return the comparisons of a folder; a helper of their own computes them, and is ended after each."""
    helper = Helper()

    def work(place: Path, asked: Asked) -> Mapping[str, Any]:
        source, reference = ("in/" + asked[name] if asked[name] else "" for name in ("clip", "reference"))
        for path in filter(None, (source, reference, *asked["results"])):
            inside(options.folder / path.partition("/")[0], options.folder / path)
        compared = Compared(
            folder=options.folder,
            source=source,
            models=tuple(asked["models"]),
            results=tuple(asked["results"]),
            reference=reference,
            at=asked["at"],
            blind=asked["blind"],
        )
        call = partial(compare_versions, compared, place, options.config, on_cpu=batch.state().is_running)
        try:
            return helper.call(call, what="the comparison", seconds=_COMPARISON_SECONDS)
        finally:
            helper.end()

    return Tasks(options.work / "comparisons", work, store.shown, stop=helper.end)
