"""Ray itself: the connection to a cluster, its machines, worker processes. The only module that imports ray.

What goes wrong in Ray leaves this module as `WorkerDied` or `ResourceError`: not all of it has a class of Ray's own.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vsr_pipeline.errors import ResourceError
from vsr_pipeline.jobs.workers.cluster import WorkerDied
from vsr_pipeline.jobs.workers.spec import Node, nodes_of
from vsr_pipeline.jobs.workers.worker import SegmentWorker

_RAY_FAILURES = (RayError, ConnectionError, RuntimeError, ValueError, ImportError, OSError)
# Segments go through files: nothing but tasks and results is ever in Ray's memory, of which this is about the least.
_OBJECT_STORE_BYTES = 100 * 1024**2


@contextmanager
def connected(address: str | None) -> Iterator["RayCluster"]:
    """Connect to a cluster, or start one of our own, which ends with the block or with this process.

    Where Ray is connected in this process already, that cluster is taken, and stays connected.

    Raises:
        ResourceError: there is none at the address, or it cannot be started.
    """
    if ray.is_initialized():
        yield RayCluster()
        return
    # Ray prints on stdout when a node or a worker dies, where our JSON goes, and has no other switch for that.
    ray._private.worker._worker_logs_enabled = False
    with tempfile.TemporaryDirectory(prefix="vsr-ray-", ignore_cleanup_errors=True) as folder:
        try:
            _connect(address, folder)
            yield RayCluster()
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
    except Exception as error:  # Ray itself raises just that where a machine is too slow
        where = f"connect to Ray at {address}" if address else "start Ray on this machine"
        remedy = "; is it the right address, and RAY_AUTH_MODE=token where it wants a token?" if address else ""
        raise ResourceError(f"cannot {where}: {_last_line(error)}{remedy}") from error
    finally:
        # Ray replaces the handler that ends the program in order.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class RayCluster:
    """The cluster that this process is connected to; see `Cluster`."""

    def has_gpu(self) -> bool:
        """Whether any machine has a GPU."""
        return bool(ray.cluster_resources().get("GPU", 0) >= 1)  # type: ignore[no-untyped-call]

    def nodes(self, *, gpus: bool, cpus_per_worker: int) -> tuple[Node, ...]:
        """Return the machines that are there now.

        Raises:
            WorkerDied: the cluster does not say.
        """
        with _failures_as_deaths():
            listed = ray.nodes()  # type: ignore[no-untyped-call]
        return nodes_of(listed, gpus=gpus, cpus_per_worker=cpus_per_worker)

    def start(self, node: Node, *, gpus: bool, cpus: int) -> "RayProcess":
        """Begin to start a worker process on a machine.

        Raises:
            WorkerDied: it cannot be started.
        """
        with _failures_as_deaths():
            actor = ray.remote(SegmentWorker).options(
                num_cpus=cpus,
                num_gpus=1 if gpus else 0,
                max_concurrency=2,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            return RayProcess(actor.remote())


class RayProcess:
    """A process with a `SegmentWorker`: an actor of Ray; see `WorkerProcess`."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - ray's own
        self._actor = actor

    def begin(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - ray's own
        """Call a method of the worker; returns what `result` takes.

        Raises:
            WorkerDied: the process is gone.
        """
        with _failures_as_deaths():
            return getattr(self._actor, method).remote(*arguments)

    def result(self, call: Any, seconds: float) -> Any:  # noqa: ANN401 - ray's own
        """Return what a call gave.

        Raises:
            TimeoutError: it needs more than so many seconds.
            WorkerDied: the process is gone.
        """
        with _failures_as_deaths():
            if not ray.wait([call], timeout=seconds)[0]:
                raise TimeoutError
            return ray.get(call)

    def kill(self) -> None:
        """End the process, if it is there."""
        with suppress(*_RAY_FAILURES):
            ray.kill(self._actor)


@contextmanager
def _failures_as_deaths() -> Iterator[None]:
    try:
        yield
    except GetTimeoutError as error:
        raise TimeoutError from error
    except TimeoutError:
        raise
    except _RAY_FAILURES as error:
        raise WorkerDied(_last_line(error)) from error


def _last_line(error: BaseException) -> str:
    """Return what of Ray's long messages says most."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(error, RayActorError):
        return next((line for line in reversed(lines) if line.startswith("The actor")), lines[-1] if lines else "died")
    return lines[-1] if lines else type(error).__name__
