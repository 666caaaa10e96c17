"""A worker: a process, here or on another machine, that keeps the model and makes segments. It knows nothing of Ray.

What it cannot do is a value, `Failure`, and no exception: exceptions do not all survive the way between processes.
"""

import os
import platform
import threading
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from vsr_pipeline import __version__, errors
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import GPU_IS_BROKEN, computes
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import BrokenDeviceError, PrecisionError, ResourceError, VsrError
from vsr_pipeline.jobs.ahead import AheadSource
from vsr_pipeline.jobs.compute import compute_segment
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.segment import SegmentResult, SegmentTask
from vsr_pipeline.jobs.workers.spec import Ready, WorkerSpec, refuse_other_pixels
from vsr_pipeline.jobs.workers.task_queue import Progress
from vsr_pipeline.runtime.memory import memory_as_error
from vsr_pipeline.runtime.progress import Event, Noted, Reporter

# What one machine has just written, another one may see this much later on a network's file system.
_SIGHT_SECONDS = 30.0
_REMEDY = "put it on a file system that all machines share, under the same path on each"


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception: the name of its class, what it says, and for a bug, where it happened."""

    kind: str
    message: str
    details: str = ""
    cause: Literal["clip", "files", "device", "precision"] = "clip"
    """clip: another worker would fail, too; files: this machine does not see them; device: it no longer computes;
    precision: it cannot compute in the one that the clip was begun in."""

    @classmethod
    def of(cls, error: Exception, node: str) -> "Failure":
        """Describe an exception that was raised on a node."""
        if isinstance(error, VsrError):
            return cls(type(error).__name__, f"{error} (on {node})")
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return cls("", f"{what} (on {node})", "".join(traceback.format_exception(error)))

    def exception(self) -> Exception:
        """Return what to raise in its place: an error of the same class, or a `RuntimeError` with the traceback."""
        kind = getattr(errors, self.kind, None) if self.kind else None
        if kind is not None:
            error: Exception = kind(self.message)
            return error
        bug = RuntimeError(self.message)
        bug.add_note(self.details)
        return bug


class SegmentWorker:
    """Lives as long as the run. `progress` may be called while `compute` is at work; nothing else may."""

    def __init__(self) -> None:
        self._node = platform.node()
        self._lock = threading.Lock()
        self._frames = 0.0
        self._notes: list[str] = []
        self._opened = ExitStack()

    def about(self) -> tuple[str, str, int]:
        """Return the program's version, the name of the machine and the process: plain data for any version."""
        return __version__, self._node, os.getpid()

    def prepare(self, spec: WorkerSpec) -> Ready | Failure:
        """See whether the work folder is there, and load the model."""
        try:
            self._spec = spec
            self._set_threads()
            _wait_for(spec.token, spec.secret)
            self._open(spec.settings)
            model = self._model
            if not computes(model.device):
                raise BrokenDeviceError(GPU_IS_BROKEN)
            self._clip: tuple[Path, JobSource] | None = None
            return Ready(_device_of(model), model.description, dict(model.identity), model.choice)
        except Exception as error:  # noqa: BLE001 - it goes to the driver
            return Failure.of(error, self._node)

    def compute(self, task: SegmentTask, source: JobSource) -> SegmentResult | Failure:
        """Make a segment, after a look at whether the source is the one that the driver sees."""
        try:
            self._set_threads()
            self._said: set[str] = set()
            notes: tuple[str, ...] = ()
            if self._clip != (task.folder, source):
                self._clip = None
                _check_sight(task, source)
                # One opening for all segments of a clip.
                self._opened.close()
                self._source = self._opened.enter_context(AheadSource(self._opened.enter_context(task.footage.open())))
                self._adopt(task)
                # As where one process does it all: what does not fit of one clip may fit of another.
                notes = self._fallback.begin(task.clip_size, Reporter(self.hear))
                self._clip = (task.folder, source)
            with memory_as_error(source.path):
                result = compute_segment(task, self._source, self._fallback, self._count).result()
            return replace(result, notes=tuple(self._with_node(note) for note in (*notes, *result.notes)))
        except Exception as error:  # noqa: BLE001 - it goes to the driver
            return self._failure(error, task, source)

    def _failure(self, error: Exception, task: SegmentTask, source: JobSource) -> Failure:
        """Describe what went wrong with a segment, and whether this machine is the cause."""
        if not computes(self._model.device):
            broken = error if isinstance(error, BrokenDeviceError) else BrokenDeviceError(f"{GPU_IS_BROKEN} ({error})")
            return replace(Failure.of(broken, self._node), cause="device")
        if isinstance(error, PrecisionError):
            return replace(Failure.of(error, self._node), cause="precision")
        try:
            _check_sight(task, source)
        except (VsrError, OSError):
            return replace(Failure.of(error, self._node), cause="files")
        return Failure.of(error, self._node)

    def progress(self) -> Progress:
        """Return what was done since the last call."""
        with self._lock:
            progress = Progress(self._frames, tuple(self._notes))
            self._frames = 0.0
            self._notes.clear()
            return progress

    def _open(self, settings: UpscaleConfig) -> None:
        allow_cpu = self._spec.allow_cpu
        self._model = open_model(settings, allow_cpu=allow_cpu)
        self._fallback = Fallback(self._model, limit_bytes=settings.memory_limit_bytes, allow_cpu=allow_cpu)

    def _adopt(self, task: SegmentTask) -> None:
        """Take the model as the task's clip was begun.

        Raises:
            PrecisionError: this worker cannot compute in that precision.
        """
        wanted = self._model.identity if task.identity is None else task.identity
        open_settings = self._spec.settings.model_copy(update={"precision": "auto", "convolutions": "auto"})
        if any(self._model.identity.get(name) != wanted.get(name) for name in ("precision", "convolutions")):
            self._open(as_recorded(open_settings, wanted))
        refuse_other_pixels(self._model.identity, wanted, self._node)

    def hear(self, event: Event) -> None:
        """Keep what the fallback says for the next `progress`."""
        if isinstance(event, Noted):
            self._said.add(event.message)
            with self._lock:
                self._notes.append(self._with_node(event.message))

    def _with_node(self, note: str) -> str:
        return f"{note} (on {self._node})" if note in self._said else note

    def _count(self, frames: float) -> None:
        with self._lock:
            self._frames += frames

    def _set_threads(self) -> None:
        # Every call may be on another thread of this process, and OpenMP counts for each thread.
        if self._spec.threads is not None:
            torch.set_num_threads(self._spec.threads)


def _wait_for(token: Path, secret: str) -> None:
    """Wait for a file that the driver has written.

    Raises:
        ResourceError: it does not appear, or is another one.
    """
    deadline = time.monotonic() + (_SIGHT_SECONDS if token.parent.is_dir() else 0)
    while not token.is_file() or token.read_text(encoding="utf-8") != secret:
        if time.monotonic() >= deadline:
            raise ResourceError(f"a worker cannot see the work folder {token.parent}: {_REMEDY}")
        time.sleep(0.5)


def _check_sight(task: SegmentTask, source: JobSource) -> None:
    """Look at the source and at the folder for the segments.

    Raises:
        ResourceError: one of them is not there, or is not what the driver sees.
    """
    try:
        is_same = source.is_untouched()
    except VsrError as error:
        raise ResourceError(f"a worker cannot see the source {source.path}: {_REMEDY}") from error
    if not is_same:
        raise ResourceError(
            f"a worker sees another {source.path} than the driver, by its size or time: {_REMEDY}; or was it changed?"
        )
    if not task.folder.is_dir():
        raise ResourceError(f"a worker cannot see the work folder {task.folder}: {_REMEDY}")


def _device_of(spec: ModelSpec) -> str:
    if spec.device is not None and spec.device.type == "cuda":
        return torch.cuda.get_device_name(spec.device)
    return spec.device.type if spec.device is not None else "cpu"
