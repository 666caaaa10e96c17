"""Ctrl-C and SIGTERM: stop soon, leave nothing half done, whatever the main thread is busy with."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vsr_pipeline.errors import Interrupted
from vsr_pipeline.files import delete_scratch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS = 3.0


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block, SIGINT and SIGTERM raise `Interrupted` in the main thread, which must be the caller.

    Python runs its handlers between two of its own instructions, and one convolution of a large frame may take a
    minute. So a thread watches, too: when the block has not ended 3 seconds after a signal, it deletes temporaries,
    kills ffmpeg and ends the process. Nothing is lost by that, because outputs and the ledger are durable at any time.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(receiver, ended), name="stop-watch", daemon=True)
    handlers = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sender.close()
        watcher.join()
        receiver.close()


def _interrupt(signal_number: int, _frame: object) -> None:
    raise Interrupted(signal_number)


def _watch(receiver: socket.socket, ended: threading.Event) -> None:
    # The runtime writes the number of every signal here, at once, even while native code runs.
    while data := receiver.recv(1):
        if data[0] in _SIGNALS and not ended.wait(_PATIENCE_SECONDS):
            _leave(data[0])


def _leave(signal_number: int) -> None:
    ffmpeg = sys.modules.get("vsr_pipeline.media.ffmpeg")
    if ffmpeg is not None:
        ffmpeg.kill_children()
    delete_scratch()
    stopped = Interrupted(signal_number)
    print(f"vsr: {stopped}", file=sys.stderr, flush=True)
    os._exit(stopped.exit_code)
