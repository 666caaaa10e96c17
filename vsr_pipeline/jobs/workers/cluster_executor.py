"""Segments in processes: a long-lived worker per GPU, or per so many cores, on this machine or on all of a cluster.

Each worker is a process, and has a thread here that gives it one segment after the other and replaces it on the same
machine when it dies. Machines that join later get workers, too. A machine that cannot be used is left out.
"""

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import MEASURED
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import INT8, Identity, ModelSpec
from vsr_pipeline.errors import Interrupted, ResourceError, VsrError
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.report.outcome import WorkerOutcome
from vsr_pipeline.jobs.segment import Executor, SegmentResult
from vsr_pipeline.jobs.workers.cluster import Cluster, WorkerDied
from vsr_pipeline.jobs.workers.cluster_worker import POLL_SECONDS, ClusterWorker, CommonSpec
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.jobs.workers.spec import (
    Node,
    for_planning,
    most_common,
    refuse_other_pixels,
    spec_of,
    wants_gpus,
    without_device,
)
from vsr_pipeline.jobs.workers.task_queue import Assignment, Dispatch, DispatchExecutor
from vsr_pipeline.jobs.workers.worker import Failure
from vsr_pipeline.runtime.progress import Reporter, counted

_NODES_POLL_SECONDS = 5.0
# Once one worker is ready, the others are waited for no longer than this; they join when they are.
_OTHERS_SECONDS = 120.0
# Nodes may still be on their way when the driver begins, and the last one may be replaced when it is gone.
_PATIENCE_SECONDS = 60.0
_CLOSE_SECONDS = 60.0


@contextmanager
def cluster_workers(
    settings: UpscaleConfig,
    options: WorkerOptions,
    *,
    devices: Sequence[str],
    folder: Path,
    allow_cpu: bool,
    retries: int,
    reporter: Reporter,
) -> Iterator["ClusterWorkers"]:
    """Yield the workers of a cluster; see `workers_for`. With several `devices`, it is those of this machine."""
    with _cluster(options, devices) as cluster:
        workers = ClusterWorkers(
            cluster, settings, options, folder, allow_cpu=allow_cpu, retries=retries, reporter=reporter
        )
        try:
            workers.start()
            yield workers
        finally:
            workers.close()


def _cluster(options: WorkerOptions, devices: Sequence[str]) -> AbstractContextManager[Cluster]:
    if len(devices) > 1:
        from vsr_pipeline.jobs.workers.local_cluster import LocalCluster

        return nullcontext(LocalCluster(devices))
    from vsr_pipeline.jobs.workers.ray_cluster import connected

    return connected(options.ray_address)


class ClusterWorkers:
    """The workers of a cluster; see `Workers`."""

    def __init__(
        self,
        cluster: Cluster,
        settings: UpscaleConfig,
        options: WorkerOptions,
        folder: Path,
        *,
        allow_cpu: bool,
        retries: int,
        reporter: Reporter,
    ) -> None:
        self._cluster = cluster
        self._gpus = wants_gpus(settings, cluster.has_gpu())
        self._cpus = options.cpus_per_worker or (1 if self._gpus else torch.get_num_threads())
        spec = spec_of(settings, folder, gpus=self._gpus, cpus=self._cpus, allow_cpu=allow_cpu)
        self._spec = CommonSpec(spec)
        self._driver = open_model(for_planning(settings))
        self.spec = self._driver
        self._retries = retries
        self._reporter = reporter
        self._dispatch = Dispatch()
        self._all: list[ClusterWorker] = []
        self._threads: list[threading.Thread] = []
        self._expected: Identity = without_device(self._driver.identity)
        """What the identity of every worker has to hold."""
        self._begun = threading.Event()
        """Set when `_expected` is complete."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._lost: ResourceError | None = None

    def start(self) -> None:
        """Start workers on every machine, and wait until they are ready; those that cannot be started are left out.

        Raises:
            ResourceError, ModelError, UsageError: none can be started, or there is no machine to work on.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (nodes := self._nodes()):
            if time.monotonic() > deadline:
                raise ResourceError(self._nobody())
            time.sleep(1.0)
        for node in nodes:
            self._start_workers_on(node)
        self._wait_for_workers()
        with self._lock:  # an error after this is told by the worker's own thread
            errors = [worker.error for worker in self._all if worker.error is not None]
            ready = [worker.ready for worker in self._all if worker.ready is not None and worker.error is None]
            if not ready:
                raise errors[0]
            first = most_common(ready)
            self._expected = first.identity
            self._spec.settle(first.identity)  # for those that come later
            self._begun.set()
        for reason, count in Counter(map(_reason, errors)).items():
            self._reporter.note(f"{_workers(count)} less: {reason}")
        if late := sum(worker.ready is None and worker.error is None for worker in self._all):
            self._reporter.note(f"{_workers(late)} not ready after {_OTHERS_SECONDS:.0f} s: the run begins without")
        alike = sum(one.identity == first.identity for one in ready)
        description = f"{first.description}, {counted(alike, 'worker')}"
        self.spec = replace(self._driver, description=description, identity=first.identity, choice=first.choice)
        self._start_thread(self._watch_nodes, "nodes")

    def spec_for(self, settings: UpscaleConfig, identity: Mapping[str, str]) -> ModelSpec:
        """Return what the clip was begun with; a worker that cannot compute in that gets nothing of the clip."""
        chosen = {
            name: identity[name]
            for name in ("precision", "convolutions")
            if name in self.spec.identity
            and getattr(settings, name) in MEASURED
            and identity.get(name, "auto") != "auto"
        }
        changed = {name: value for name, value in chosen.items() if self.spec.identity[name] != value}
        if not changed:
            return self.spec
        said = " and ".join(f"{name} {value}" for name, value in changed.items())
        description = f"{self.spec.description}, with {said} for a clip that was begun so"
        others = {name: value for name, value in self.spec.identity.items() if name != INT8}
        kept = {INT8: identity[INT8]} if INT8 in identity else {}
        return replace(self.spec, identity={**others, **chosen, **kept}, description=description, choice="")

    def executor(self, source: JobSource, reporter: Reporter) -> Executor:
        """Return an executor that shares the workers with all others."""
        source = replace(source, path=source.path.absolute())
        return DispatchExecutor(self._dispatch, source, self._reporter, reporter)

    def wants_another_clip(self, preparing: int) -> bool:
        """Whether less than two clips have something for the workers, or will have; or a worker is idle, and a core."""
        is_short = self._dispatch.feeding + preparing < 2
        return is_short or (self._dispatch.idle > 0 and preparing < (os.cpu_count() or 1))

    def stop(self, error: VsrError | Interrupted) -> None:
        """Let all clips end with this error, at once."""
        self._dispatch.stop(error)

    def are_lost(self) -> bool:
        """Whether no worker is left."""
        return self._lost is not None

    def outcomes(self) -> tuple[WorkerOutcome, ...]:
        """Return what each has done, by nodes."""
        return tuple(sorted((worker.outcome() for worker in self._all), key=lambda worker: worker.node))

    def close(self) -> None:
        """Kill all workers, and wait for the threads that are in touch with them."""
        self._closing.set()
        self._dispatch.close()
        for worker in self._all:
            worker.kill()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._spec.now.token.unlink(missing_ok=True)

    def _nodes(self) -> tuple[Node, ...]:
        """Return the machines that are there; none where the cluster does not say."""
        with suppress(WorkerDied, TimeoutError):
            return self._cluster.nodes(gpus=self._gpus, cpus_per_worker=self._cpus)
        return ()

    def _start_workers_on(self, node: Node) -> None:
        for _ in range(node.workers):
            worker = ClusterWorker(node, self._cluster, gpus=self._gpus, cpus=self._cpus, closing=self._closing)
            self._all.append(worker)
            self._start_thread(partial(self._serve, worker), f"worker-{node.name}")

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _wait_for_workers(self) -> None:
        first_ready = math.inf
        while any(worker.ready is None and worker.error is None for worker in self._all):
            now = time.monotonic()
            if any(worker.ready is not None for worker in self._all):
                first_ready = min(first_ready, now)
            if now > first_ready + _OTHERS_SECONDS:
                return
            time.sleep(0.02)

    def _watch_nodes(self) -> None:
        """Start workers on machines that join, and notice when no worker is left."""
        last_seen = time.monotonic()
        while not self._closing.wait(_NODES_POLL_SECONDS):
            known = {worker.node.id for worker in self._all}
            with suppress(Exception):  # asked again soon: without this thread, nobody would notice that all are gone
                for node in self._nodes():
                    if node.id not in known:
                        self._start_workers_on(node)
                        self._reporter.note(f"{node.name} has joined: {counted(node.workers, 'more worker')}")
            if any(worker.error is None for worker in self._all):
                last_seen = time.monotonic()
            elif time.monotonic() > last_seen + _PATIENCE_SECONDS:
                error = self._all[-1].error
                assert error is not None
                self._lost = ResourceError(f"no worker is left; the last one: {_reason(error)}")
                self._dispatch.stop(self._lost)
                return

    def _serve(self, worker: ClusterWorker) -> None:
        """Start a worker, and give it work until there is no more or it can do no more."""
        try:
            worker.start(self._spec, self._expected)
            while not self._begun.wait(POLL_SECONDS):
                worker.refuse_when_closing()
            assert worker.ready is not None
            refuse_other_pixels(worker.ready.identity, self._expected, worker.node.name)
            while (assignment := self._dispatch.take(worker)) is not None:
                self._work(worker, assignment)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for a worker that is gone
            self._end(worker, error)

    def _end(self, worker: ClusterWorker, error: Exception) -> None:
        with self._lock:
            worker.ended = time.monotonic()
            worker.error = error
            is_told = self._begun.is_set() and not self._closing.is_set()  # else `start` tells it
        self._dispatch.forget_refusals()
        worker.kill()
        if is_told:
            self._reporter.note(f"{_workers(1)} less: {_reason(error)}")

    def _work(self, worker: ClusterWorker, assignment: Assignment) -> None:
        """Let a worker make a segment, and see to what becomes of it, whatever happens."""
        started = time.monotonic()
        try:
            answer = worker.compute(assignment, partial(self._dispatch.tell, assignment))
        except (WorkerDied, TimeoutError) as error:
            worker.deaths += 1
            self._give_to_another(assignment, worker, str(error))
            worker.start(self._spec, self._expected)
            return
        except Exception as bug:  # noqa: BLE001 - the clip's thread raises it
            self._dispatch.tell(assignment, bug)
            worker.start(self._spec, self._expected)  # the process may still be at it
            return
        finally:
            worker.busy_seconds += time.monotonic() - started
        if isinstance(answer, SegmentResult):
            worker.segments += 1
            worker.frames += len(answer.segment)
            self._dispatch.tell(assignment, answer)
        elif answer.cause == "device":
            self._replace_broken(worker, assignment, answer)
        elif answer.cause in ("files", "precision") and self._dispatch.refuse(assignment, worker, self._living):
            self._reporter.note(f"a worker gets no more of {assignment.source.path.name}: {answer.message}")
        else:
            self._dispatch.tell(assignment, answer.exception())

    def _replace_broken(self, worker: ClusterWorker, assignment: Assignment, failure: Failure) -> None:
        """Start a new process where a GPU no longer computes.

        Where that cannot compute either, the GPU is broken, and the segment is not to blame. Else the segment may have
        been the cause, and may be the cause again.
        """
        worker.deaths += 1
        try:
            worker.start(self._spec, self._expected)
        except Exception:
            self._dispatch.give_back(assignment)
            raise
        self._give_to_another(assignment, worker, failure.message)

    def _give_to_another(self, assignment: Assignment, worker: ClusterWorker, reason: str) -> None:
        if self._closing.is_set():
            return
        segment = assignment.task.segment
        what = f"segment {segment.start}-{segment.stop} of {assignment.source.path.name}"
        assignment.deaths += 1
        if assignment.deaths <= self._retries:
            self._dispatch.give_back(assignment)
            self._reporter.note(f"the worker on {worker.node.name} died at {what} ({reason}): another one makes it")
            return
        remedy = "see that machine's memory and log; --retries is how often a segment is given to another"
        died = f"{counted(assignment.deaths, 'worker')} died at {what}, the last on {worker.node.name} ({reason})"
        self._dispatch.tell(assignment, ResourceError(f"{died}: {remedy}"))

    def _living(self) -> list[ClusterWorker]:
        return [worker for worker in self._all if worker.error is None]

    def _nobody(self) -> str:
        wanted = f"a GPU and {self._cpus} CPUs" if self._gpus else f"{self._cpus} CPUs"
        return (
            f"no machine of the Ray cluster has {wanted} for a worker: see `ray status`, lower --cpus-per-worker, or "
            "choose another --device"
        )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, VsrError) else f"a bug: {type(error).__name__}: {error}"


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"
