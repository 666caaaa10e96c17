"""Ctrl-C, SIGTERM, a closed terminal: stop soon, leave nothing half done, whatever the main thread is busy with."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vsr_pipeline.errors import Interrupted
from vsr_pipeline.runtime.files import delete_scratch

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
_PATIENCE_SECONDS = 3.0


class _Delay:
    """How many `uninterrupted` blocks the main thread is in, and the signal that came meanwhile."""

    blocks = 0
    signal_number: int | None = None


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block, SIGINT, SIGTERM and SIGHUP raise `Interrupted` in the main thread, which must be the caller.

    What the caller was told to ignore stays ignored (`nohup`), except SIGINT, which shells ignore in the background.

    Python runs its handlers between two of its own instructions, and one convolution of a large frame may take a
    minute. So a thread watches, too: when the block has not ended 3 seconds after a signal, it deletes temporaries,
    kills ffmpeg and ends the process. Nothing is lost by that, because outputs and the ledger are durable at any time.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(receiver, ended), name="stop-watch", daemon=True)
    wanted = [number for number in _SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, _interrupt) for number in wanted}
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


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside the block, which must be short, a signal waits: `Interrupted` is raised at its end.

    For starting and ending threads: nobody would wait for one that is started while its starter is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    _Delay.blocks += 1
    try:
        yield
    finally:
        _Delay.blocks -= 1
        if not _Delay.blocks and _Delay.signal_number is not None:
            number, _Delay.signal_number = _Delay.signal_number, None
            raise Interrupted(number)


def _interrupt(signal_number: int, _frame: object) -> None:
    if _Delay.blocks:
        _Delay.signal_number = signal_number
    else:
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
