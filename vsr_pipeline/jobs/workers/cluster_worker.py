"""The driver's side of a worker: the process that it has now, what that answers, and what it has done."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vsr_pipeline import __version__
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.enhance.spec import Identity
from vsr_pipeline.errors import ResourceError, UsageError, VsrError
from vsr_pipeline.jobs.report.outcome import WorkerOutcome
from vsr_pipeline.jobs.segment import SegmentResult
from vsr_pipeline.jobs.workers.cluster import Cluster, WorkerDied, WorkerProcess
from vsr_pipeline.jobs.workers.spec import Node, Ready, WorkerSpec, refuse_other_pixels, with_absolute_paths
from vsr_pipeline.jobs.workers.task_queue import Assignment, Progress
from vsr_pipeline.jobs.workers.worker import Failure
from vsr_pipeline.runtime.files import write_text

POLL_SECONDS = 1.0
# A process has to be started, and to load torch from wherever it lies; then the weights.
_START_SECONDS = 300.0
_PREPARE_SECONDS = 600.0
# The others wait no longer than this for the one that chooses: it may be a machine that never answers.
_CHOICE_SECONDS = 60.0
# A worker answers at any time, also while it computes.
_ANSWER_SECONDS = 300.0


class CommonSpec:
    """What all workers are told: as configured, then with what the first one has chosen. For many threads."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.now = spec
        self._is_settled = False
        self._choosing = threading.Lock()

    def lent_to(self, prepare: Callable[[WorkerSpec], Ready]) -> Ready:
        """Let a worker load the model. The first one chooses what the settings leave open, and the others follow it.

        Args:
            prepare: returns what the worker is, or raises where it cannot be used.
        """
        if not self._is_settled and self._choosing.acquire(timeout=_CHOICE_SECONDS):
            try:
                if not self._is_settled:
                    ready = prepare(self.now)
                    self.settle(ready.identity)
                    return ready
            finally:
                self._choosing.release()
        return prepare(self.now)

    def settle(self, identity: Identity) -> None:
        """Let all workers from now on compute in the precision of this one, unless that is settled."""
        if not self._is_settled:
            self.now = replace(self.now, settings=as_recorded(self.now.settings, identity))
            self._is_settled = True


@dataclass(eq=False, slots=True)
class ClusterWorker:
    """A worker on a machine: a process that dies is replaced. Written by its own thread alone.

    Args:
        node: the machine.
        cluster: which it belongs to.
        gpus: whether it gets a GPU.
        cpus: how many cores it gets.
        closing: set when the run ends, so that nothing is waited for any more.
    """

    node: Node
    cluster: Cluster
    gpus: bool
    cpus: int
    closing: threading.Event
    process: WorkerProcess | None = None
    """None: not started yet."""
    ready: Ready | None = None
    error: Exception | None = None
    """Why no worker is there, or is there any more."""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    segments: int = 0
    frames: int = 0
    busy_seconds: float = 0.0
    deaths: int = 0

    def start(self, spec: CommonSpec, expected: Identity) -> None:
        """Start a process, in place of the one before, and let it load the model.

        Raises:
            ResourceError: it cannot be started, or does not see the work folder, or its GPU does not compute.
            UsageError, ModelError: it is not what the others are.
            PrecisionError: it cannot compute in the precision of the others.
        """
        node = self.node
        self.kill()
        self.refuse_when_closing()
        try:
            self.process = self.cluster.start(node, gpus=self.gpus, cpus=self.cpus)
            version, name, _ = self._answer("about", seconds=_START_SECONDS)
            if version != __version__:
                raise UsageError(f"{name} has vsr {version}, this is {__version__}: install the same on all machines")
            write_text(spec.now.token, spec.now.secret)
            self.ready = spec.lent_to(partial(self._prepared, expected, name))
        except TimeoutError as error:
            raise ResourceError(
                f"{node.name} has started no worker ({error}): are its GPUs or cores another job's?"
            ) from error
        except WorkerDied as error:
            raise ResourceError(f"no worker could be started on {node.name}: {error}") from error

    def _prepared(self, expected: Identity, name: str, spec: WorkerSpec) -> Ready:
        self.refuse_when_closing()
        ready: Ready | Failure = self._answer("prepare", spec, seconds=_PREPARE_SECONDS)
        if isinstance(ready, Failure):
            failure = ready.exception()
            raise failure if isinstance(failure, VsrError) else ResourceError(f"no worker on {name}: {failure}")
        refuse_other_pixels(ready.identity, expected, name)
        return ready

    def compute(self, assignment: Assignment, tell: Callable[[Progress], None]) -> SegmentResult | Failure:
        """Let the worker make a segment, and report its progress.

        Raises:
            WorkerDied, TimeoutError: the worker died, or does not answer.
        """
        assert self.process is not None
        process = self.process
        told = 0.0
        answer: SegmentResult | Failure | None = None
        try:
            call = process.begin("compute", with_absolute_paths(assignment.task), assignment.source)
            while answer is None:
                with suppress(TimeoutError):
                    answer = process.result(call, POLL_SECONDS)
                self.refuse_when_closing()
                progress = self._answer("progress", seconds=_ANSWER_SECONDS)
                if answer is None:  # else what is left is known
                    told += progress.frames
                    tell(progress)
        except Exception:
            tell(Progress(-told))
            raise
        task = assignment.task
        done = len(task.segment) - task.kept_frames if isinstance(answer, SegmentResult) else 0
        tell(Progress(done - told))
        return answer

    def kill(self) -> None:
        """End its process, if it has one."""
        if self.process is not None:
            self.process.kill()

    def refuse_when_closing(self) -> None:
        """Raise ResourceError where the run ends."""
        if self.closing.is_set():
            raise ResourceError("the run ends")

    def outcome(self) -> WorkerOutcome:
        """Return what was done there."""
        wall_seconds = (self.ended or time.monotonic()) - self.started
        return WorkerOutcome(
            node=self.node.name,
            device=self.ready.device if self.ready else "",
            segments=self.segments,
            frames=self.frames,
            busy_seconds=self.busy_seconds,
            wall_seconds=wall_seconds,
            fps=self.frames / self.busy_seconds if self.busy_seconds else 0.0,
            utilisation=self.busy_seconds / wall_seconds if wall_seconds else 0.0,
            deaths=self.deaths,
        )

    def _answer(self, method: str, *arguments: object, seconds: float) -> Any:  # noqa: ANN401 - any value
        """Wait for what a worker answers.

        Raises:
            WorkerDied: the worker died.
            TimeoutError: it took longer than so many seconds.
            ResourceError: the run ends meanwhile.
        """
        assert self.process is not None
        call = self.process.begin(method, *arguments)
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.process.result(call, POLL_SECONDS)
            except TimeoutError:
                self.refuse_when_closing()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer for {seconds:.0f} s") from None
