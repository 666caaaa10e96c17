"""Segments on Ray: a long-lived worker per GPU, or per so many cores, on this machine or on all of a cluster.

This is the only module that imports ray. Each worker is an actor, and has a thread here that gives it one segment after
the other and hires another one on the same node when it dies. Nodes that join later get workers, too.
"""

import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vsr_pipeline import __version__
from vsr_pipeline.build import BICUBIC, BuiltUpscaler, build_upscaler
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.errors import ResourceError, UsageError, VsrError
from vsr_pipeline.files import write_text
from vsr_pipeline.jobs.dispatch import Assignment, Dispatch, DispatchExecutor, Progress
from vsr_pipeline.jobs.fingerprint import SourceIdentity
from vsr_pipeline.jobs.hiring import (
    Node,
    Post,
    for_planning,
    nodes_of,
    refuse_other_pixels,
    spec_of,
    with_absolute_paths,
    without_device,
)
from vsr_pipeline.jobs.outcome import WorkerOutcome
from vsr_pipeline.jobs.segments import Executor, SegmentResult
from vsr_pipeline.jobs.worker import Failure, SegmentWorker
from vsr_pipeline.jobs.workers import WorkerOptions
from vsr_pipeline.reporting import Reporter

_POLL_SECONDS = 1.0
_NODES_POLL_SECONDS = 5.0
# A process has to be started, and to load torch from wherever it lies.
_START_SECONDS = 300.0
# Nodes may still be on their way when the driver begins, and the last one may be replaced when it is gone.
_PATIENCE_SECONDS = 60.0
# Not all that can go wrong on the way to a worker is an error of Ray's own kind.
_RAY_FAILURES = (RayError, ConnectionError, RuntimeError, ValueError, ImportError, OSError)
# Segments go through files: nothing but tasks and results is ever in Ray's memory, of which this is about the least.
_OBJECT_STORE_BYTES = 100 * 1024**2


@contextmanager
def ray_workers(
    settings: UpscaleConfig,
    options: WorkerOptions,
    *,
    folder: Path,
    allow_cpu: bool,
    retries: int,
    reporter: Reporter,
) -> Iterator["RayWorkers"]:
    """Yield the workers of a cluster; see `workers_for`.

    Where Ray is connected in this process already, that cluster is taken, and stays connected.
    """
    with _connected(options.ray_address):
        workers = RayWorkers(settings, options, folder, allow_cpu=allow_cpu, retries=retries, reporter=reporter)
        try:
            workers.start()
            yield workers
        finally:
            workers.close()


class RayWorkers:
    """The workers of a cluster; see `Workers`."""

    def __init__(
        self,
        settings: UpscaleConfig,
        options: WorkerOptions,
        folder: Path,
        *,
        allow_cpu: bool,
        retries: int,
        reporter: Reporter,
    ) -> None:
        self._gpus = _wants_gpus(settings)
        self._cpus = options.cpus_per_worker or (1 if self._gpus else torch.get_num_threads())
        self._spec = spec_of(settings, folder, gpus=self._gpus, cpus=self._cpus, allow_cpu=allow_cpu)
        self._driver = build_upscaler(for_planning(settings))
        self.built = self._driver
        self._retries = retries
        self._reporter = reporter
        self._dispatch = Dispatch()
        self._posts: list[Post] = []
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._lost: ResourceError | None = None

    def start(self) -> None:
        """Hire for every node and wait until all are ready.

        Raises:
            ResourceError, ModelError, UsageError: one is not, or there is no node to work on.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (nodes := self._nodes()):
            if time.monotonic() > deadline:
                raise ResourceError(self._nobody())
            time.sleep(1.0)
        for node in nodes:
            self._hire_for(node)
        while not all(post.ready or post.error for post in self._posts):
            time.sleep(0.02)
        for post in self._posts:
            if post.error is not None:
                raise post.error
        first, *others = [(post.ready, post.node.name) for post in self._posts if post.ready]
        for ready, name in others:  # they were hired at the same time, and nobody was there yet to compare with
            refuse_other_pixels(ready.identity, first[0].identity, name)
        self.built = BuiltUpscaler(
            self._driver.upscaler,
            f"{first[0].description}, {len(self._posts)} Ray worker{'s' if len(self._posts) > 1 else ''}",
            first[0].identity,
        )
        self._start_thread(self._watch_nodes, "ray-nodes")

    def executor(self, settings: UpscaleConfig, source: SourceIdentity, reporter: Reporter) -> Executor:
        """Return an executor that shares the workers with all others."""
        del settings, reporter  # the workers were hired for the settings, and what they do is that of many clips
        return DispatchExecutor(self._dispatch, replace(source, path=source.path.absolute()), self._reporter)

    def wants_another_clip(self, preparing: int) -> bool:
        """Whether less than two clips have something for the workers, or will have; or a worker is idle, and a core."""
        is_short = self._dispatch.feeding + preparing < 2
        return is_short or (self._dispatch.idle > 0 and preparing < (os.cpu_count() or 1))

    def stop(self, error: VsrError) -> None:
        """Let all clips end with this error, at once."""
        self._dispatch.stop(error)

    def are_lost(self) -> bool:
        """Whether no worker is left."""
        return self._lost is not None

    def outcomes(self) -> tuple[WorkerOutcome, ...]:
        """Return what each has done, by nodes."""
        return tuple(sorted((post.outcome() for post in self._posts), key=lambda worker: worker.node))

    def close(self) -> None:
        """Kill all workers, and wait for the threads that are in touch with them."""
        self._closing.set()
        self._dispatch.close()
        for post in self._posts:
            _kill(post.actor)
        for thread in self._threads:
            thread.join()
        self._spec.token.unlink(missing_ok=True)

    def _nodes(self) -> tuple[Node, ...]:
        return nodes_of(
            ray.nodes(),  # type: ignore[no-untyped-call]
            gpus=self._gpus,
            cpus_per_worker=self._cpus,
        )

    def _hire_for(self, node: Node) -> None:
        for _ in range(node.workers):
            post = Post(node)
            self._posts.append(post)
            self._start_thread(partial(self._serve, post), f"ray-{node.name}")

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch_nodes(self) -> None:
        """Hire for nodes that join, and notice when nobody is left."""
        last_seen = time.monotonic()
        while not self._closing.wait(_NODES_POLL_SECONDS):
            known = {post.node.id for post in self._posts}
            with suppress(*_RAY_FAILURES):  # the cluster is in trouble: ask again
                for node in self._nodes():
                    if node.id not in known:
                        self._reporter.note(f"{node.name} has joined: {node.workers} workers more")
                        self._hire_for(node)
            if any(post.error is None for post in self._posts):
                last_seen = time.monotonic()
            elif time.monotonic() > last_seen + _PATIENCE_SECONDS:
                self._lost = ResourceError(f"no worker is left; the last one: {self._posts[-1].error}")
                self._dispatch.stop(self._lost)
                return

    def _serve(self, post: Post) -> None:
        """Work at a post until there is no more work, or nobody can work there."""
        try:
            self._hire(post)
            while (assignment := self._dispatch.take()) is not None:
                started = time.monotonic()
                try:
                    answer = self._computed(post, assignment)
                except _RAY_FAILURES as error:
                    post.deaths += 1
                    self._give_to_another(assignment, post, error)
                    self._hire(post)
                    continue
                except Exception as bug:  # noqa: BLE001 - the clip's thread raises it
                    answer = bug
                finally:
                    post.busy_seconds += time.monotonic() - started
                if isinstance(answer, SegmentResult):
                    post.segments += 1
                    post.frames += len(answer.segment)
                self._dispatch.tell(assignment, answer)
        except VsrError as error:
            post.error = error
            post.ended = time.monotonic()
            if self.built is not self._driver and not self._closing.is_set():  # else `start` says so
                self._reporter.note(f"one worker less: {error}")

    def _hire(self, post: Post) -> None:
        """Start a process and let it load the model.

        Raises:
            ResourceError: it cannot be started, or does not see the work folder.
            UsageError, ModelError: it is not what the others are.
        """
        node = post.node
        _kill(post.actor)
        self._refuse_when_closing()
        try:
            post.actor = _actor_class(node, cpus=self._cpus, gpus=self._gpus).remote()
            version, name, _ = self._answer(post.actor.about.remote(), patience_seconds=_START_SECONDS)
            if version != __version__:
                raise UsageError(f"{name} has vsr {version}, this is {__version__}: install the same on all machines")
            write_text(self._spec.token, self._spec.secret)
            ready = self._answer(post.actor.prepare.remote(self._spec))
        except GetTimeoutError as error:
            raise ResourceError(
                f"{node.name} has started no worker for {_START_SECONDS:.0f} s: are its GPUs or cores another job's?"
            ) from error
        except _RAY_FAILURES as error:
            raise ResourceError(f"no worker could be started on {node.name}: {_last_line(error)}") from error
        if isinstance(ready, Failure):
            failure = ready.exception()
            raise failure if isinstance(failure, VsrError) else ResourceError(f"no worker on {node.name}: {failure}")
        hired = next((post.ready.identity for post in self._posts if post.ready), without_device(self._driver.identity))
        refuse_other_pixels(ready.identity, hired, name)
        post.ready = ready

    def _computed(self, post: Post, assignment: Assignment) -> SegmentResult | Exception:
        """Let the worker make a segment, and report its progress.

        Raises:
            RayError: the worker died.
        """
        told = 0.0
        try:
            reference = post.actor.compute.remote(with_absolute_paths(assignment.task), assignment.source)
            while not ray.wait([reference], timeout=_POLL_SECONDS)[0]:
                self._refuse_when_closing()
                progress = self._answer(post.actor.progress.remote())
                told += progress.frames
                self._dispatch.tell(assignment, progress)
            answer: SegmentResult | Failure = ray.get(reference)
            self._answer(post.actor.progress.remote())  # the rest of it is known
        except _RAY_FAILURES:
            self._dispatch.tell(assignment, Progress(-told))
            raise
        done = len(assignment.task.segment) if isinstance(answer, SegmentResult) else 0
        self._dispatch.tell(assignment, Progress(done - told))
        return answer if isinstance(answer, SegmentResult) else answer.exception()

    def _give_to_another(self, assignment: Assignment, post: Post, error: Exception) -> None:
        if self._closing.is_set():
            return
        segment = assignment.task.segment
        what = f"segment {segment.start}-{segment.stop} of {assignment.source.path.name}"
        assignment.deaths += 1
        if assignment.deaths <= self._retries:
            self._reporter.note(f"the worker on {post.node.name} died at {what}: another one makes it")
            self._dispatch.give_back(assignment)
            return
        reason = f"{assignment.deaths} workers died at {what}, the last on {post.node.name} ({_last_line(error)})"
        remedy = "see that machine's memory and log; --retries is how often a segment is given to another"
        self._dispatch.tell(assignment, ResourceError(f"{reason}: {remedy}"))

    def _answer(self, reference: Any, patience_seconds: float = math.inf) -> Any:  # noqa: ANN401 - whatever it is
        """Wait for what a worker answers.

        Raises:
            RayError: the worker died.
            GetTimeoutError: it took too long.
            ResourceError: the run ends meanwhile.
        """
        deadline = time.monotonic() + patience_seconds
        while not ray.wait([reference], timeout=_POLL_SECONDS)[0]:
            self._refuse_when_closing()
            if time.monotonic() > deadline:
                raise GetTimeoutError
        return ray.get(reference)

    def _refuse_when_closing(self) -> None:
        if self._closing.is_set():
            raise ResourceError("the run ends")

    def _nobody(self) -> str:
        wanted = f"a GPU and {self._cpus} CPUs" if self._gpus else f"{self._cpus} CPUs"
        return (
            f"no machine of the Ray cluster has {wanted} for a worker: see `ray status`, lower --cpus-per-worker, or "
            "choose another --device"
        )


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one of our own, which ends with the block or with this process.

    Raises:
        ResourceError: there is none at the address, or it cannot be started.
    """
    if ray.is_initialized():
        yield
        return
    # Ray prints on stdout when a node or a worker dies, where our JSON goes, and has no other switch for that.
    ray._private.worker._worker_logs_enabled = False
    with tempfile.TemporaryDirectory(prefix="vsr-ray-", ignore_cleanup_errors=True) as folder:
        try:
            _connect(address, folder)
            yield
        finally:
            ray.shutdown()
            ray._private.worker._worker_logs_enabled = True


def _connect(address: str | None, folder: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            ray.init(address=address, **quiet)
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
            **quiet,
        )
    except VsrError:
        raise  # a signal's
    except Exception as error:  # Ray itself raises just that where a machine is too slow
        where = f"connect to Ray at {address}" if address else "start Ray on this machine"
        remedy = "; is it the right address, and RAY_AUTH_MODE=token where it wants a token?" if address else ""
        raise ResourceError(f"cannot {where}: {_last_line(error)}{remedy}") from error
    finally:
        # Ray puts its own in the place of the one that ends the program in order.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _wants_gpus(settings: UpscaleConfig) -> bool:
    """Whether workers compute on GPUs: where one is asked for, or any machine of the cluster has one.

    Raises:
        ResourceError: one is asked for, and none is there.
    """
    if settings.device == "cpu" or (settings.model == BICUBIC and settings.checkpoint is None):
        return False
    there = ray.cluster_resources().get("GPU", 0) >= 1  # type: ignore[no-untyped-call]
    if settings.device == "cuda" and not there:
        raise ResourceError("no machine of the Ray cluster has a GPU: see `ray status`, or give --device cpu")
    return bool(there)


def _actor_class(node: Node, *, cpus: int, gpus: bool) -> Any:  # noqa: ANN401 - ray's own
    return ray.remote(SegmentWorker).options(
        num_cpus=cpus,
        num_gpus=1 if gpus else 0,
        max_concurrency=2,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
    )


def _kill(actor: Any) -> None:  # noqa: ANN401 - ray's own
    if actor is not None:
        with suppress(*_RAY_FAILURES):
            ray.kill(actor)


def _last_line(error: BaseException) -> str:
    """Return what of Ray's long messages says most."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(error, RayActorError):
        return next((line for line in reversed(lines) if line.startswith("The actor")), lines[-1] if lines else "died")
    return lines[-1] if lines else type(error).__name__
