"""Workers on this machine without Ray: a process for each device that is named, such as `--device cuda:0,1`.

A process sees its own GPU alone, as device 0. It ends with this one, however that ends.
"""

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from itertools import count
from typing import IO, Any

from vsr_pipeline.jobs.workers.cluster import WorkerDied
from vsr_pipeline.jobs.workers.spec import Node
from vsr_pipeline.jobs.workers.worker import SegmentWorker
from vsr_pipeline.runtime.process import ignore_signals, start_python
from vsr_pipeline.runtime.signals import uninterrupted

_PROGRAM = "from vsr_pipeline.jobs.workers.local_cluster import serve; serve()"
# A segment is computed while its progress is asked for.
_CALLS_AT_ONCE = 2


class LocalCluster:
    """Devices of this machine, each with one worker; see `Cluster`.

    Args:
        devices: `cuda:N`, each once, or `cpu`, any number of times.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = {f"{place} {device}": device for place, device in enumerate(devices)}

    def has_gpu(self) -> bool:
        """Whether they are GPUs."""
        return "cpu" not in self._devices.values()

    def nodes(self, *, gpus: bool, cpus_per_worker: int) -> tuple[Node, ...]:  # noqa: ARG002 - as many as are named
        """Return the devices."""
        return tuple(Node(name, device, 1) for name, device in self._devices.items())

    def start(self, node: Node, *, gpus: bool, cpus: int) -> "LocalProcess":  # noqa: ARG002 - the worker counts cores
        """Start a worker process.

        Raises:
            WorkerDied: it cannot be started.
        """
        return LocalProcess(_environment_of(self._devices[node.id]))


def _environment_of(device: str) -> dict[str, str]:
    """Return what lets a process see one GPU alone, among those that this one sees."""
    if device == "cpu":
        return {}
    number = device.removeprefix("cuda:")
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": seen.split(",")[int(number)].strip() if seen else number}


class LocalProcess:
    """A process with a `SegmentWorker`; see `WorkerProcess`. Calls may come from any thread."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._numbers = count()
        self._calls: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._end: WorkerDied | None = None
        try:
            with uninterrupted():
                self._process = start_python(_PROGRAM, environment)
        except OSError as error:
            raise WorkerDied(f"no process can be started: {error.strerror or error}") from error
        threading.Thread(target=self._receive, name="worker-answers", daemon=True).start()

    def begin(self, method: str, *arguments: object) -> Future[Any]:
        """Call a method of the worker."""
        call: Future[Any] = Future()
        number = next(self._numbers)
        message = pickle.dumps((number, method, arguments))
        with self._lock:
            if self._end is not None:
                raise self._end
            self._calls[number] = call
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(message)
                self._process.stdin.flush()
            except OSError as error:
                raise WorkerDied(f"its process has ended: {error.strerror or error}") from error
        return call

    def result(self, call: Future[Any], seconds: float) -> Any:  # noqa: ANN401 - any value
        """Return what a call gave."""
        try:
            return call.result(seconds)
        except NotYet:
            raise TimeoutError from None

    def kill(self) -> None:
        """End the process, if it is there."""
        self._process.kill()
        self._process.wait()

    def _receive(self) -> None:
        """Hand answers to who waits for them; when there are no more, say how the process ended."""
        assert self._process.stdout is not None
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                number, answer = pickle.load(self._process.stdout)  # noqa: S301 - from our own child
                self._calls.pop(number).set_result(answer)
        self._process.kill()
        code = self._process.wait()
        how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        with self._lock:
            self._end = WorkerDied(f"its process {how}")
            for call in self._calls.values():
                call.set_exception(self._end)
            for stream in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if stream is not None:
                        stream.close()


def serve() -> None:
    """Be a worker process: answer calls until the parent closes its end."""
    ignore_signals()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    worker = SegmentWorker()
    lock = threading.Lock()
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as threads:
        while True:
            try:
                number, method, arguments = pickle.load(requests)  # noqa: S301 - from our own parent
            except EOFError:
                os._exit(0)  # at once: nobody waits for what is computed
            threads.submit(_answer, worker, number, method, arguments, answers, lock)


def _answer(
    worker: SegmentWorker,
    number: int,
    method: str,
    arguments: tuple[object, ...],
    answers: IO[bytes],
    lock: threading.Lock,
) -> None:
    try:
        message = pickle.dumps((number, getattr(worker, method)(*arguments)))
        with lock:
            answers.write(message)
            answers.flush()
    except BaseException:  # noqa: BLE001 - without its answer, the parent would wait for ever
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
