"""How long clips will take and how large they will be, worked out by the helper process while the page waits."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from vsr_pipeline.errors import VsrError
from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.serve.pages import ClipEstimate
from vsr_pipeline.serve.uploads import Upload
from vsr_pipeline.serve.work import Timing, timing_of

_SECONDS = 180.0
_KEPT = 200
_COPIES = 2
"""At the end, the joined picture and the output are there at the same time."""


class Estimates:
    """Estimates of the last clips and settings that were asked for. Any thread may ask.

    Args:
        helper: computes.
        shown: turns a message into one that a page may show.
        config_path: settings of the batch.
    """

    def __init__(self, helper: Helper, shown: Callable[[str], str], config_path: Path | None) -> None:
        self._config_path = config_path
        self._helper = helper
        self._shown = shown
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="estimate")
        self._known: OrderedDict[str, Future[Timing]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop what is not begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def of(self, upload: Upload, path: Path, chosen: Mapping[str, Any]) -> ClipEstimate:
        """Return what is known of a clip with these settings; begin to work it out where nothing is."""
        key = json.dumps([upload.id, dict(chosen)], sort_keys=True)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._thread.submit(self._timing, path, dict(chosen))
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)[1].cancel()
            future = self._known[key]
        if not future.done():
            return ClipEstimate(name=upload.name)
        try:
            timing = future.result()
        except VsrError as error:
            return ClipEstimate(name=upload.name, reason=self._shown(str(error)))
        assert upload.facts is not None
        share = max(1.0, upload.facts.frames / timing.frames) if "max_frames" not in chosen else 1.0
        return ClipEstimate(
            name=upload.name,
            seconds=timing.seconds * share,
            size_bytes=round(_COPIES * timing.encoded_bytes * share) + upload.length,
            width=timing.width,
            height=timing.height,
        )

    def _timing(self, path: Path, chosen: Mapping[str, Any]) -> Timing:
        return self._helper.call(
            partial(timing_of, path, chosen, self._config_path), what=f"timing {path.name}", seconds=_SECONDS
        )
