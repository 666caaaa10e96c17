"""One slot between two threads: the newest item wins, and what it replaced is told."""

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds one item at most.

    Args:
        waits: whether `put` waits until the slot is empty, so that nothing is ever replaced.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> T | None:
        """Put an item in. Return what it replaced, or the item itself where the mailbox is closed."""
        with self._changed:
            while self._waits and self._item is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                return item
            replaced, self._item = self._item, item
            self._changed.notify_all()
            return replaced

    def take(self, timeout_seconds: float | None = None) -> T | None:
        """Take the item out, when it comes. None: it is closed and empty, or nothing came in that time."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with self._changed:
            while self._item is None and not self._closed:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def peek(self, timeout_seconds: float) -> T | None:
        """Look at the item, when it comes, and leave it there. None: as `take`."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_seconds)
            return self._item

    def close(self) -> None:
        """Let nothing more in, and nobody wait; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing will come out any more."""
        with self._changed:
            return self._closed and self._item is None
