"""The batch as a child process: started, stopped and watched. It may be killed, and may outlive the server."""

import os
import platform
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vsr_pipeline.errors import VsrError
from vsr_pipeline.jobs.batch.live import BatchProgress, progress_of
from vsr_pipeline.runtime.files import make_folder, write_text
from vsr_pipeline.runtime.process import Program
from vsr_pipeline.serve.options import ServeOptions

_LOG = "batch.txt"
_WANTED = "batch.on"
_RETRY_SECONDS = {0: 10.0, 75: 30.0, 7: 300.0}
"""After an exit code, how soon the batch is started again if clips wait."""
_RETRY_SECONDS_ELSE = 120.0


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do for a batch."""

    waits: bool
    """Whether clips wait."""
    is_time: bool
    """Whether it is between the hours of the queue."""
    is_new: bool
    """Whether something has happened to the queue since the last batch ended."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """How the batch is."""

    is_running: bool
    is_wanted: bool
    """Whether somebody has started it and nobody has stopped it."""
    progress: BatchProgress | None
    exit_code: int | None = None
    """Of the last one that this server has started; None: there was none, or it runs."""
    message: str = ""
    """The last line that it said, where it ended with an error."""


def should_start(state: BatchState, work: Work, *, seconds_since_end: float) -> bool:
    """Whether the batch is to be started, without anybody asking now.

    It is, while clips wait and nobody has stopped it. One that has failed as a whole gets time until the next try; one
    that has ended well has left nothing that it could do, until something changes.
    """
    if state.is_running or not state.is_wanted or not work.waits or not work.is_time:
        return False
    if state.exit_code == 0 and not work.is_new:
        return False
    return state.exit_code is None or seconds_since_end >= _RETRY_SECONDS.get(state.exit_code, _RETRY_SECONDS_ELSE)


class BatchProcess:
    """Starts and stops the batch of one folder. Any thread may call.

    That it is wanted is a file, so that a server that was killed starts it again.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._program: Program | None = None
        self._ended = 0.0
        self._sequence = -1
        self._lock = threading.Lock()

    def state(self) -> BatchState:
        """Return how the batch is now, whoever has started it."""
        progress = progress_of(self._options.results)
        program = self._program
        code = program.exit_code if program is not None else None
        is_running = progress is not None or (program is not None and code is None)
        if not is_running and code is not None and not self._ended:
            self._ended = time.monotonic()
        message = self._last_line() if code not in (None, 0, 7, 75) and not is_running else ""
        return BatchState(is_running, self._wanted.exists(), progress, None if is_running else code, message)

    @property
    def seconds_since_end(self) -> float:
        """How long ago the last one ended."""
        return time.monotonic() - self._ended

    def start(self, *, is_time: bool) -> None:
        """Start it, unless it runs; where it is not time for that, it is started then.

        Raises:
            OutputError, ResourceError: it cannot be started.
        """
        make_folder(self._options.work)
        write_text(self._wanted, "")
        with self._lock:
            if self.state().is_running or not is_time:
                return
            words = ["batch", str(self._options.inbox), "--output", str(self._options.results), "--recursive"]
            if self._options.config is not None:
                words += ["--config", str(self._options.config)]
            self._program = Program([*words, *self._options.batch_words], self._options.work / _LOG)
            self._ended, self._sequence = 0.0, -1

    def stop(self) -> None:
        """Ask it to stop after what it can finish within moments; what is finished is kept."""
        self._wanted.unlink(missing_ok=True)
        self.interrupt()

    def interrupt(self) -> None:
        """Let it end, without saying that it is not wanted any more."""
        progress = progress_of(self._options.results)
        if self._program is not None and self._program.exit_code is None:
            pid = self._program.pid
        elif progress is not None and progress.machine == platform.node() and _is_batch(progress.pid):
            pid = progress.pid
        else:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)

    def continue_if_wanted(self, *, waits: bool, is_time: bool, sequence: int) -> None:
        """Start it where it should be at work and is not.

        Args:
            waits: whether clips wait.
            is_time: whether it is between the hours of the queue.
            sequence: of the newest event of the queue.
        """
        state = self.state()
        if not state.is_running and self._sequence < 0:
            self._sequence = sequence
        work = Work(waits, is_time, is_new=sequence != self._sequence)
        if should_start(state, work, seconds_since_end=self.seconds_since_end):
            with suppress(VsrError):  # the page shows that it does not run; it is tried again
                self.start(is_time=True)

    def leave(self) -> None:
        """Let it go on without this server."""
        if self._program is not None:
            self._program.forget()

    @property
    def _wanted(self) -> Path:
        return self._options.work / _WANTED

    def _last_line(self) -> str:
        try:
            lines = (self._options.work / _LOG).read_bytes()[-4000:].decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.removeprefix("vsr: ") for line in reversed(lines) if line.strip()), "")


def _is_batch(pid: int) -> bool:
    """Whether a process is a batch: after a kill, its number may be another program's."""
    try:
        return "batch" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
