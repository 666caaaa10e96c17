"""What workers in processes of their own are started by: Ray, or this machine alone."""

from typing import Any, Protocol

from vsr_pipeline.jobs.workers.spec import Node


class WorkerDied(Exception):  # noqa: N818 - it is what happened, and the driver goes on
    """A worker's process is gone or cannot be reached; the message is one line."""


class WorkerProcess(Protocol):
    """A process with a `SegmentWorker`."""

    def begin(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - its own
        """Call a method of the worker; returns what `result` takes.

        Raises:
            WorkerDied: the process is gone.
        """
        ...

    def result(self, call: Any, seconds: float) -> Any:  # noqa: ANN401 - any value
        """Return what a call gave.

        Raises:
            TimeoutError: it needs more than so many seconds.
            WorkerDied: the process is gone.
        """
        ...

    def kill(self) -> None:
        """End the process, if it is there."""
        ...


class Cluster(Protocol):
    """Machines, or devices of one machine, on which workers can be started."""

    def has_gpu(self) -> bool:
        """Whether any of them has a GPU."""
        ...

    def nodes(self, *, gpus: bool, cpus_per_worker: int) -> tuple[Node, ...]:
        """Return those that are there now.

        Raises:
            WorkerDied: the cluster does not say.
        """
        ...

    def start(self, node: Node, *, gpus: bool, cpus: int) -> WorkerProcess:
        """Begin to start a worker process.

        Raises:
            WorkerDied: it cannot be started.
        """
        ...
