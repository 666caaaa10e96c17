"""Reading a file that was never decoded in a process of its own: a decoder that crashes ends only that.

A child process serves one call after the other. It imports what the calls need, which is never torch. On Linux, each
call is made in a fork of it, which no other file has damaged and whose memory is free afterwards; elsewhere, where
libraries do not survive a fork, a child serves one call. A child ends with its parent, however that ends.
"""

import gc
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar

from vsr_pipeline.errors import InputError, ResourceError, VsrError
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.runtime.signals import uninterrupted

T = TypeVar("T")
OnFrame = Callable[[], None]

# How often progress is sent at most: each message wakes the parent.
_PROGRESS_SECONDS = 0.1
_STDERR_BYTES_KEPT = 2_000
_FORKS = sys.platform == "linux"
_PROGRAM = "from vsr_pipeline.runtime.process import serve; serve(in_forks={in_forks})"


class Call(Protocol):
    """A way to call a function that reads a file: in this process, or in another one."""

    def __call__(self, path: Path, function: Callable[..., T], on_frame: OnFrame | None = None) -> T:
        """Return what `function` returns.

        Args:
            path: the file that it reads, for messages.
            function: can be pickled, and so can its result.
            on_frame: given to it under this name, unless it is None.
        """
        ...


def here(path: Path, function: Callable[..., T], on_frame: OnFrame | None = None) -> T:  # noqa: ARG001
    """Call a function in this process; see `Call`."""
    return function() if on_frame is None else function(on_frame=on_frame)


def run_program(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a program and wait for it; its output goes where this program's goes.

    Args:
        words: the program and its arguments.
        environment: added to this process's.

    Returns:
        What went wrong, in a few words; empty: it ended with 0.
    """
    try:
        # Its output is no result of this program's: it goes to stderr.
        code = subprocess.run(words, env=os.environ | environment, stdout=2, check=False).returncode  # noqa: S603
    except OSError as error:
        return f"cannot be started: {error.strerror or error}"
    return f"ended with exit code {code}" if code else ""


class Program:
    """A command of ours as a process that goes on when this one ends: `vsr WORDS...`, in a session of its own.

    Args:
        words: the command and its options.
        log: what it prints goes here, in the place of what an earlier one printed.

    Raises:
        ResourceError: it cannot be started.
        OutputError: the log cannot be written.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        program = "import sys; sys.path.append(sys.argv.pop(1)); from vsr_pipeline.cli import main; main()"
        root = str(Path(__file__).parent.parent.parent)
        try:
            file = log.open("wb")
        except OSError as error:
            raise write_failure(log, error) from error
        with file:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-P", "-c", program, root, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            except OSError as error:
                reason = error.strerror or error
                raise ResourceError(f"cannot start vsr {words[0]} ({reason}): close other programs") from error

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, as Python says it: -9 after SIGKILL; None: it runs."""
        return self._process.poll()

    def forget(self) -> None:
        """Let it go on without us; without this, Python warns when the object is gone and the process is not."""
        self._process.returncode = self._process.returncode or 0


def start_python(
    program: str, environment: Mapping[str, str], stderr: IO[bytes] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a child that runs a line of Python, with pipes for its input and its output.

    Args:
        program: imports from this package, wherever that lies.
        environment: added to this process's.
        stderr: where its errors go; None: where this program's go.

    Raises:
        OSError: it cannot be started.
    """
    package = str(Path(__file__).parent.parent.parent)
    # A session of its own: Ctrl-C in the terminal is for the parent, which ends its children.
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", f"import sys; sys.path.append(sys.argv[1]); {program}", package],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def ignore_signals() -> None:
    """Ignore what ends programs: whoever signals all processes of a service means the parent."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)


class Isolation:
    """Calls functions in child processes; a context manager that leaves none. Any thread may call.

    Each call raises what the function raises, and:

    Raises:
        InputError: the child crashed; the message has the signal's name.
        ResourceError: the child cannot be started, or was killed, as the system does when memory runs out.
    """

    def __init__(self) -> None:
        self._idle: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().end()

    def __call__(self, path: Path, function: Callable[..., T], on_frame: OnFrame | None = None) -> T:
        """Call a function in a child; see `Call`."""
        child = self._take(path)
        try:
            result, error = child.answer(function, on_frame)
        except LostError as lost:
            raise child.death(path) from lost
        except BaseException:
            child.end()  # it is in the middle of its work
            raise
        if _FORKS:
            self._idle.append(child)
        else:
            child.end()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _take(self, path: Path) -> "Child":
        """Return an idle child, or a new one where there is none."""
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        try:
            with uninterrupted():
                return Child(in_forks=_FORKS)
        except OSError as error:
            reason = error.strerror or error
            raise ResourceError(f"cannot start a process that reads {path} ({reason}): close other programs") from error


class LostError(Exception):
    """A child no longer answers."""


class Child:
    """One child process; with `in_forks`, a call leaves nothing in it but what was imported for it."""

    def __init__(self, *, in_forks: bool = False) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = start_python(_PROGRAM.format(in_forks=in_forks), {}, self._stderr)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def answer(self, function: Callable[..., Any], on_frame: OnFrame | None) -> tuple[Any, Exception | None]:
        """Return the result of a call, or what it raised."""
        requests = self._process.stdin
        assert requests is not None
        request = pickle.dumps((function, on_frame is not None))
        try:
            requests.write(request)
            requests.flush()
        except OSError as error:
            raise LostError from error
        while isinstance(message := self._received(), int):
            for _ in range(message):
                assert on_frame is not None
                on_frame()
        return message  # type: ignore[no-any-return]

    def _received(self) -> Any:  # noqa: ANN401 - whatever it is
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise LostError from error

    def death(self, path: Path) -> Exception:
        """Wait for the end of a child that no longer answers; say how it ended."""
        code = self._process.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_BYTES_KEPT))
        said = self._stderr.read().decode(errors="replace")
        self.end()
        if code == -signal.SIGTERM or code == 0:
            return RuntimeError(f"the process that read {path} was ended from outside")
        if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
            return ResourceError(
                f"the process that read {path} was killed (SIGKILL), as the system does when memory runs out: close "
                "other programs, or leave the file out"
            )
        if code < 0 or code > 0xFF:  # on Windows, the number of an exception
            name = signal.Signals(-code).name if code < 0 else f"{code:#x}"
            return InputError(
                f"the decoder crashed ({name}) on {path}: encode it anew with another program, or leave it out"
            )
        return RuntimeError(f"the process that read {path} ended with status {code}: {' '.join(said.split())}")

    def kill(self) -> None:
        """Let whoever waits for its answer wait no longer."""
        if _FORKS:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # a fork of it, too: the session is its own
        else:
            self._process.kill()

    def end(self) -> None:
        """End it at once; nothing of it is needed any more."""
        if self._process.returncode is None:
            self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with suppress(OSError):  # what was buffered for it cannot be sent
                if stream is not None:
                    stream.close()


def serve(*, in_forks: bool) -> None:
    """Be a child: answer calls until the parent closes its end."""
    ignore_signals()
    _leave_no_core()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what C libraries print must not get between the answers
    if in_forks:
        with os.fdopen(os.dup(0), "rb") as stream, suppress(EOFError):
            while True:
                _answer_in_fork(answers, *pickle.load(stream))  # noqa: S301 - from our own parent
        return
    requests: queue.Queue[tuple[Callable[..., Any], bool]] = queue.Queue()
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    while True:
        _answer(answers, *requests.get())


def _receive(requests: "queue.Queue[tuple[Callable[..., Any], bool]]") -> None:
    with os.fdopen(os.dup(0), "rb") as stream:
        try:
            while True:
                requests.put(pickle.load(stream))  # noqa: S301 - from our own parent
        except BaseException as error:  # noqa: BLE001 - without a parent there is nothing to do, whatever it is
            if not isinstance(error, EOFError):
                traceback.print_exc()
            os._exit(0 if isinstance(error, EOFError) else 1)


def _answer_in_fork(answers: IO[bytes], function: Callable[..., Any], wants_progress: bool) -> None:
    """Answer a call in a fork; end as the fork ended, where that was no good end."""
    fork = os.fork()
    if fork == 0:
        try:
            threading.Thread(target=_end_with_parent, daemon=True).start()
            _answer(answers, function, wants_progress)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of this process may go on in its fork
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    if code < 0:
        with suppress(OSError):  # SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code:
        os._exit(code)


def _end_with_parent() -> None:
    end = select.poll()
    end.register(0, 0)  # for POLLHUP alone: what can be read is the next call
    end.poll()
    os._exit(0)


def _answer(answers: IO[bytes], function: Callable[..., Any], wants_progress: bool) -> None:
    _send(answers, _outcome(function, _counter(answers) if wants_progress else None))


def _outcome(function: Callable[..., Any], on_frame: OnFrame | None) -> tuple[Any, Exception | None]:
    try:
        result = function() if on_frame is None else function(on_frame=on_frame)
        gc.collect()  # what a decoder has damaged may show when its frames are freed: now, not with another file
        return result, None
    except Exception as error:  # noqa: BLE001 - the parent raises it
        if not isinstance(error, VsrError):
            error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:  # noqa: BLE001 - exceptions of libraries may want other arguments than they keep
            bug = RuntimeError(f"{type(error).__name__}: {error}")
            bug.add_note("".join(traceback.format_exception(error)))
            return None, bug
        return None, error


def _counter(answers: IO[bytes]) -> OnFrame:
    """Return a function that counts frames, and sends the count now and then."""
    count = 0
    sent = time.monotonic()

    def on_frame() -> None:
        nonlocal count, sent
        count += 1
        if time.monotonic() - sent >= _PROGRESS_SECONDS:
            _send(answers, count)
            count, sent = 0, time.monotonic()

    return on_frame


def _send(answers: IO[bytes], message: object) -> None:
    pickle.dump(message, answers)
    answers.flush()


def _leave_no_core() -> None:
    """Let a crash write no memory image: hundreds of them would fill the disk."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
