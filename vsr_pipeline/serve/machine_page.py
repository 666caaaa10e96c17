"""The page about this machine: what `vsr doctor` finds, and the models that are here or can be had."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vsr_pipeline.checkpoints.download import pull
from vsr_pipeline.checkpoints.manifest import ModelEntry, checkpoints_folder, find, is_here, load_manifest
from vsr_pipeline.errors import VsrError
from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.runtime.progress import size_text
from vsr_pipeline.serve.pages import MachinePage, ModelView

_CHECK_SECONDS = 120.0

Findings = tuple[tuple[str, str, str, str], ...]


class Machine:
    """What was found out about this machine, and the downloads that are under way. Any thread may ask.

    Args:
        helper: makes the checks, which load PyTorch.
        folder: whose disk is looked at.
        shown: turns a message into one that a page may show.
    """

    def __init__(self, helper: Helper, folder: Path, shown: Callable[[str], str]) -> None:
        self._helper = helper
        self._folder = folder
        self._shown = shown
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="machine")
        self._lock = threading.Lock()
        self._checks: Future[Findings] | None = None
        self._pulls: dict[str, Future[Path]] = {}
        self._received: dict[str, int] = {}

    def close(self) -> None:
        """Drop what is not begun; downloads go on the next time."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def page(self, *, again: bool = False) -> MachinePage:
        """Return what the page shows now; begin the checks where none were made, or `again`."""
        with self._lock:
            if self._checks is None or (again and self._checks.done()):
                self._checks = self._threads.submit(self._check)
            checks = self._checks
        models = self.models()
        return MachinePage(
            findings=checks.result() if checks.done() else (),
            is_checking=not checks.done(),
            models=models,
            is_pulling=any(model.pulling for model in models),
        )

    def models(self) -> tuple[ModelView, ...]:
        """Return the models of the manifest, with the downloads that are under way."""
        return tuple(self._view(entry) for entry in load_manifest())

    def pull(self, name: str) -> None:
        """Begin to download a model, unless that is under way.

        Raises:
            ModelError: there is no such model.
        """
        entry = find(name)
        with self._lock:
            if name not in self._pulls or self._pulls[name].done():
                self._received[name] = 0
                self._pulls[name] = self._threads.submit(self._pull, entry)

    def _pull(self, entry: ModelEntry) -> Path:
        def on_progress(received: int, _total: int | None) -> None:
            self._received[entry.name] = received

        return pull(entry, folder=checkpoints_folder(), on_progress=on_progress)

    def _check(self) -> Findings:
        try:
            return self._helper.call(partial(findings_of, self._folder), what="the checks", seconds=_CHECK_SECONDS)
        except VsrError as error:
            return (("checks", "error", self._shown(str(error)), ""),)

    def _view(self, entry: ModelEntry) -> ModelView:
        pulling = self._pulls.get(entry.name)
        failure = pulling.exception() if pulling is not None and pulling.done() else None
        size = size_text(entry.bytes) if entry.bytes else ""
        received = size_text(self._received.get(entry.name, 0))
        return ModelView(
            name=entry.name,
            enlarges="" if entry.makes_any_size or entry.scale == 1 else f"×{entry.scale}",
            licence=entry.licence,
            about=entry.note,
            is_here=is_here(entry),
            size=size,
            can_pull=entry.source == "download",
            how=entry.how_to_get,
            pulling=f"{received} / {size}" if pulling is not None and not pulling.done() else "",
            failed=self._shown(str(failure)) if failure is not None else "",
        )


def findings_of(folder: Path) -> Findings:
    """Return what `vsr doctor` finds, as texts."""
    from vsr_pipeline.doctor import examine

    return tuple((found.subject, found.status, found.found, found.remedy) for found in examine(folder))
