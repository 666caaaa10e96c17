"""The ffmpeg program: the only module that starts another process.

The program comes with imageio-ffmpeg; the environment variable `VSR_FFMPEG` names another one. Jobs are described with
ffmpeg-python and run here, so that no child process outlives its job and every failure is one line.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

from vsr_pipeline.errors import DiskFullError, InputError, OutputError, ReadError, ResourceError, UsageError, VsrError
from vsr_pipeline.runtime.files import read_failure

_STDERR_BYTES_KEPT = 32_768
_BYTES = "bytes:"
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_NO_MEMORY = re.compile(r"Cannot allocate memory")
_READ_ERROR = re.compile(
    r"^\[in#\d+/(\S+) @ .*Error during demuxing: "
    r"(Input/output error|Connection timed out|Stale file handle|Host is down|No such device)",
    re.MULTILINE,
)
# Their demuxers say "Input/output error" of the disk or the network only, never of damaged data.
_PLAIN_SPOKEN = re.compile(r"mov,|matroska,|mpegts$|mpeg$|avi$|flv$|asf$|ogg$|mxf$|rm$")
_CHUNK_BYTES = 1 << 20
_BAD_INPUT = re.compile(r"Invalid data found when processing input|Error opening input|moov atom not found")
# What ffmpeg says after the line that tells the cause.
_EMPTY_WORDS = re.compile(
    r"^(Conversion failed!|Exiting .*|Error opening (input|output) files?: .*|Error opening (input|output) file .*"
    r"|Could not write header .*|Error selecting an encoder|Task finished with error code: .*"
    r"|Terminating thread with return code .*|Error (muxing|writing) .*|)$"
)
_SPEAKER = re.compile(r"^(\[[^]]* @ 0x[0-9a-f]+\] )+")


def ffmpeg_binary() -> Path:
    """Return the ffmpeg program that is used.

    Raises:
        UsageError: `VSR_FFMPEG` names no program that can be run, or there is no ffmpeg at all.
    """
    named = os.environ.get("VSR_FFMPEG")
    if named:
        found = shutil.which(named)
        if found is None:
            raise UsageError(f"VSR_FFMPEG is {named!r}, which is no program that can be run: correct or unset it")
        return Path(found)
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UsageError("no ffmpeg program found: install imageio-ffmpeg or set VSR_FFMPEG to one") from error


def file_url(path: Path) -> str:
    """Name of a file for ffmpeg and PyAV: whatever is in it, a file is meant, not an option, a protocol or a pipe."""
    return f"file:{path}"


def input_file(path: Path, **options: str | int | None) -> Any:  # noqa: ANN401 (ffmpeg-python has no types)
    """ffmpeg-python's input node for a file. `options` are ffmpeg's, as in `ffmpeg.input`.

    The demuxer may open this file only: a crafted input cannot make ffmpeg read another one, or from a network.
    """
    from vsr_pipeline.media.input import allowed_formats  # loads av, which those who only look for ffmpeg need not

    safe = {"protocol_whitelist": "file", "format_whitelist": allowed_formats()}
    return ffmpeg.input(_as_text(file_url(path)), **safe, **options)


def output_file(path: Path) -> str:
    """Name of a file for ffmpeg-python's `output`."""
    return _as_text(file_url(path))


def _as_text(url: str) -> str:
    """A name for ffmpeg-python, which wants Unicode, as file names need not be: their bytes, each as one character."""
    return _BYTES + os.fsencode(url).decode("latin-1")


def _as_argument(word: str) -> str:
    """Undo `_as_text`; every other word is left alone."""
    return os.fsdecode(word.removeprefix(_BYTES).encode("latin-1")) if word.startswith(_BYTES) else word


def run_ffmpeg(node: Any, *, what: str, repeated_options: Sequence[str] = ()) -> None:  # noqa: ANN401
    """Run one ffmpeg job to its end.

    Args:
        node: an output node of ffmpeg-python, for one file, which is overwritten if it exists.
        what: what is being done, for the error message ("joining sound and picture of a.mp4").
        repeated_options: output options that ffmpeg-python cannot express, because they are given several times.

    Raises:
        InputError: ffmpeg cannot read an input, or the disk or the network that it is on failed meanwhile.
        DiskFullError: the disk is full.
        ResourceError: ffmpeg got no memory; a damaged file may ask for an absurd amount.
        OutputError: any other failure.
    """
    *arguments, output = map(_as_argument, ffmpeg.get_args(node))
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    command = [str(ffmpeg_binary()), *quiet, *arguments, *repeated_options, output]
    returncode, stderr = _run(command)
    if _READ_ERROR.search(stderr):
        # ffmpeg ends there as if the input did, with status 0. A few demuxers say the same of damaged data.
        for option, url in pairwise(arguments):
            if option == "-i":
                _read_all(Path(url.removeprefix("file:")))
        returncode, stderr = _run(command)
        error = _READ_ERROR.search(stderr)
        if error and (error[2] != "Input/output error" or _PLAIN_SPOKEN.match(error[1])):
            raise ReadError(
                f"{what} failed: the input cannot be read: {error[2]}; see that its disk or "
                "network works, and run again"
            )
    if returncode != 0:
        raise _failure(what, returncode, stderr)


def encoders() -> frozenset[str]:
    """Names of all encoders that the ffmpeg program was built with."""
    command = [str(ffmpeg_binary()), "-nostdin", "-hide_banner", "-loglevel", "error", "-encoders"]
    listing = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout  # noqa: S603
    return frozenset(re.findall(r"^ [VAS][A-Z.]{5} (\w\S*)", listing.decode(errors="replace"), flags=re.MULTILINE))


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command; return its exit status and the end of what it said on stderr."""
    try:
        # Signals are not restored so that a file over its limit is an error that ffmpeg reports, not its sudden death.
        child = subprocess.Popen(  # noqa: S603 (no shell, and every file name has a "file:" in front)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            restore_signals=False,
        )
    except OSError as error:
        raise UsageError(f"cannot start {command[0]}: {error.strerror or error}; set VSR_FFMPEG to another") from error
    said = b""
    assert child.stderr is not None
    _LIVE.add(child)
    try:
        while chunk := os.read(child.stderr.fileno(), 65_536):
            said = (said + chunk)[-_STDERR_BYTES_KEPT:]
        return child.wait(), said.decode(errors="replace")
    finally:
        # Ctrl-C, or anything else that interrupts the reading, must not leave ffmpeg behind.
        child.stderr.close()
        if child.poll() is None:
            child.kill()
            child.wait()
        _LIVE.discard(child)


def kill_children() -> None:
    """Kill all ffmpeg processes of this process: for its last breath, when the calls that own them cannot end."""
    for child in tuple(_LIVE):
        child.kill()


_LIVE: set[subprocess.Popen[bytes]] = set()


def _failure(what: str, returncode: int, stderr: str) -> VsrError:
    """Make one line of what ffmpeg said, and choose the error by it."""
    reason = _reason(returncode, stderr)
    if _NO_SPACE.search(stderr):
        return DiskFullError(f"no space left while {what}: free some and run the same command again")
    if _NO_MEMORY.search(stderr):
        return ResourceError(f"memory ran out while {what}: close other programs; a damaged input may ask for too much")
    if _BAD_INPUT.search(stderr):
        return InputError(f"{what} failed: ffmpeg cannot read the input: {reason}")
    return OutputError(f"{what} failed: {reason}")


def _reason(returncode: int, stderr: str) -> str:
    """Return the line that tells the cause."""
    lines = [_SPEAKER.sub("", line.strip()) for line in stderr.splitlines()]
    telling = [line for line in lines if not _EMPTY_WORDS.match(line)] or [line for line in lines if line]
    return telling[-1] if telling else f"ffmpeg ended with status {returncode} and said nothing"


def _read_all(path: Path) -> None:
    """Read a file to its end.

    Raises:
        InputError: that fails.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK_BYTES):
                pass
    except OSError as error:
        raise read_failure(path, error) from error
