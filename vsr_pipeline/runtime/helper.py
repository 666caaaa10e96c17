"""A child process that computes for a server: it may die, and takes nothing along."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from vsr_pipeline.errors import ResourceError
from vsr_pipeline.runtime.process import Child, LostError

T = TypeVar("T")


class Helper:
    """A child process that answers calls one after the other, and is replaced when it has died; for any thread.

    Unlike those of `Isolation`, it is kept: what a function loads (a model, PyTorch) is there for the next one.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._used = time.monotonic()

    def call(self, function: Callable[[], T], *, what: str, seconds: float) -> T:
        """Return what a function returns, which can be pickled, as its result can.

        Args:
            function: what to do.
            what: named in messages.
            seconds: it may take; then the child is ended.

        Raises:
            ResourceError: the child cannot be started, has died, or took longer; and whatever `function` raises.
        """
        with self._lock:
            # What a process did before may have damaged it: where it is lost, a new one decides.
            if self._child is not None and self._child.is_alive():
                with suppress(LostError):
                    return self._answer(function, what, seconds)
            try:
                return self._answer(function, what, seconds)
            except LostError as lost:
                raise ResourceError(f"{what} ended the process that computed it: try something smaller") from lost

    def _answer(self, function: Callable[[], T], what: str, seconds: float) -> T:
        if self._child is None or not self._child.is_alive():
            self.end()
            try:
                self._child = Child()
            except OSError as error:
                raise ResourceError(f"cannot start a process ({error.strerror or error})") from error
        late = threading.Timer(seconds, self._child.kill)
        late.start()
        try:
            result, raised = self._child.answer(function, None)
        except LostError as lost:
            is_late = not late.is_alive()
            self.end()
            if is_late:
                raise ResourceError(f"{what} took longer than {seconds:.0f} s: try something smaller") from lost
            raise
        finally:
            late.cancel()
            self._used = time.monotonic()
        if raised is not None:
            raise raised
        return result  # type: ignore[no-any-return]

    def end_if_unused(self, seconds: float) -> None:
        """End the child if nobody has called for so long."""
        if time.monotonic() - self._used > seconds and self._lock.acquire(blocking=False):
            try:
                self.end()
            finally:
                self._lock.release()

    def end(self) -> None:
        """End the child, if there is one; what it has loaded is gone."""
        child, self._child = self._child, None
        if child is not None:
            child.end()
