"""The workers of a batch: opened when there is work, and opened anew where a clip wants another model."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.open_model import note_model
from vsr_pipeline.errors import Interrupted, VsrError
from vsr_pipeline.jobs.batch.live import WORKERS, save_workers
from vsr_pipeline.jobs.batch.plan import BatchClip
from vsr_pipeline.jobs.report.outcome import WorkerOutcome
from vsr_pipeline.jobs.runner import recorded_identity, settings_as_begun
from vsr_pipeline.jobs.workers.workers import Workers
from vsr_pipeline.runtime.files import WORK_FOLDER
from vsr_pipeline.runtime.progress import Reporter

_SECONDS_BETWEEN_WRITES = 10.0


class WorkerPool:
    """The workers that there are now; a context manager that leaves none.

    Args:
        open_workers: starts them, for settings.
        output: the batch's output folder.
        with_ray: whether they are Ray's, which have one model for all clips that they are given; else the process
            itself reads another model for each clip that wants one.
        reporter: told which model computes.
    """

    def __init__(
        self,
        open_workers: Callable[[UpscaleConfig], AbstractContextManager[Workers]],
        output: Path,
        reporter: Reporter,
        *,
        with_ray: bool,
    ) -> None:
        self.with_ray = with_ray
        self._open_workers = open_workers
        self._output = output
        self._reporter = reporter
        self._stack = ExitStack()
        self._now: Workers | None = None
        self._settings: UpscaleConfig | None = None
        self._former: tuple[WorkerOutcome, ...] = ()
        self._written = 0.0

    def __enter__(self) -> Self:
        (self._output / WORK_FOLDER / WORKERS).unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def now(self) -> Workers:
        """The workers that were opened last."""
        assert self._now is not None
        return self._now

    def takes(self, clip: BatchClip) -> bool:
        """Whether a clip can be given to the workers that are there, beside the clips that they have."""
        return self._now is None or not self.with_ray or self._settings == clip.settings.config.upscale

    def open_for(self, clip: BatchClip, clips: Iterable[BatchClip]) -> Workers:
        """Return workers for a clip; those that are there, where they can be given it.

        Args:
            clip: it is begun next; if others are open, `takes` says that it can be.
            clips: all of the batch, of which those with the same settings are made by these workers, too.

        Raises:
            UsageError, ModelError, ResourceError: as `workers_for`.
        """
        if self._now is not None and self.takes(clip):
            return self._now
        self._former = self.outcomes()
        self._now = None
        self._stack.close()
        self._settings = clip.settings.config.upscale
        alike = [other for other in clips if other.has_work and other.settings.config.upscale == self._settings]
        self._now = self._stack.enter_context(self._open_workers(self._as_begun(alike, self._settings)))
        note_model(self._now.spec, self._reporter)
        return self._now

    def _as_begun(self, clips: Iterable[BatchClip], settings: UpscaleConfig) -> UpscaleConfig:
        """Return the settings for the workers: nothing is measured for them if all clips were begun already."""
        recorded: Mapping[str, str] = {}
        for clip in clips:
            identity = {} if clip.todo in ("outdated", "changed") else recorded_identity(clip.output)
            if not identity:
                return settings
            recorded = recorded or identity
        return settings_as_begun(settings, recorded, with_ray=self.with_ray)

    def wants_another_clip(self, preparing: int) -> bool:
        """Whether a clip should be begun beside those that are open, of which so many are about to be analysed."""
        return self._now is None or self._now.wants_another_clip(preparing)

    def stop(self, error: VsrError | Interrupted) -> None:
        """Let every clip that another thread is at work on end with this error, at once."""
        if self._now is not None:
            self._now.stop(error)

    def are_lost(self) -> bool:
        """Whether they have failed for good, so that every clip would fail with them."""
        return self._now is not None and self._now.are_lost()

    def outcomes(self) -> tuple[WorkerOutcome, ...]:
        """Return what each has done so far, of all that there were; empty where it is this process alone."""
        return (*self._former, *(self._now.outcomes() if self._now is not None else ()))

    def write(self, *, at_once: bool = False) -> None:
        """Write down what they have done, unless that was done a moment ago."""
        if self._now is not None and (at_once or time.monotonic() > self._written + _SECONDS_BETWEEN_WRITES):
            self._written = time.monotonic()
            with suppress(VsrError):  # what matters of it is in the report, too
                save_workers(self._output, self.outcomes())
