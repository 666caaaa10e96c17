"""Ctrl-C and SIGTERM while training: finish the iteration, save, leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vsr_pipeline.errors import Interrupted


@dataclass(slots=True)
class StopRequest:
    """Which signal asked the run to stop, if one did."""

    signal_number: int | None = None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Inside the block, the first SIGINT or SIGTERM is only noted; a second one raises `Interrupted`.

    The usual handling (`vsr_pipeline.runtime.signals`) ends the process within 3 seconds, in the middle of whatever it
    does; an iteration and its checkpoint take longer, and are worth it. Outside the main thread nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(signal_number: int, _frame: object) -> None:
        if request.signal_number is not None:
            raise Interrupted(signal_number)
        request.signal_number = signal_number

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(-1)  # the thread that ends the process would hear of the signal by it
    try:
        yield request
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
