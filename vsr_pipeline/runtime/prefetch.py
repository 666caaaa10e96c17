"""Reading ahead and writing behind: decoding, the model and encoding at the same time, with bounded memory."""

import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from vsr_pipeline.runtime.signals import uninterrupted

T = TypeVar("T")
_END = object()


@contextmanager
def read_ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items` that a thread fills, at most `depth` of them in advance.

    An exception of `items` is raised where its item would have come. On leaving, the thread is stopped and joined, and
    `items` is closed, however many of them were taken.
    """
    filled: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                filled.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that takes
            put(_Failure(error))

    def take() -> Iterator[T]:
        while (item := filled.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=fill, name="read-ahead", daemon=True)
    try:
        with uninterrupted():
            thread.start()
        yield take()
    finally:
        with uninterrupted():
            stop.set()
            if thread.ident is not None:
                thread.join()
            close = getattr(items, "close", None)
            if close:
                close()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class WriteBehind:
    """Runs calls in threads, at most `depth` unfinished at a time. A context manager.

    The first failure is raised by the next `call`, or at the latest on leaving the block.
    """

    def __init__(self, *, threads: int, depth: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write-behind")
        self._depth = depth
        self._pending: deque[Future[None]] = deque()

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` soon; waits while `depth` calls are unfinished."""
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        with uninterrupted():
            self._pending.append(self._pool.submit(_call, function))

    def flush(self) -> None:
        """Wait until all calls are finished, and raise the first failure."""
        while self._pending:
            self._pending.popleft().result()

    def wait(self, seconds: float) -> None:
        """Wait until all calls are finished, but not longer than so."""
        wait(self._pending, seconds)

    @property
    def is_done(self) -> bool:
        """Whether `flush` would not have to wait."""
        return all(future.done() for future in self._pending)

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            with uninterrupted():
                self._pool.shutdown(wait=True, cancel_futures=True)
                self._pending.clear()  # failures that nobody asked for refer to the calls, which refer to this


def _call(function: Callable[[], None]) -> None:
    try:
        function()
    except BaseException as error:
        # Its frames may refer to itself (`ExitStack` does that): codecs would keep their threads until Python collects.
        traceback.clear_frames(error.__traceback__)
        raise
