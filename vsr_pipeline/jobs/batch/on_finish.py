"""`--on-finish`: a program of the user's that is called when a batch has ended, however it ended."""

import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.runtime.process import run_program

_COUNTED = ("done", "unchanged", "failed", "given up", "stopped", "cancelled")


def program_of(command: str) -> tuple[str, ...]:
    """Return the program and its arguments. No shell reads them.

    Raises:
        UsageError: there is no such program.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--on-finish {command}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError(f"--on-finish {command}: there is no program of that name; give one, such as a script's path")
    return words


def call_on_finish(
    words: Sequence[str], exit_code: int, clips: Sequence[ClipOutcome], output: Path, report: Path
) -> str:
    """Run the program and wait for it. Returns what went wrong with it, in a line; empty: nothing.

    Its environment has `VSR_EXIT_CODE`, `VSR_OUTPUT`, `VSR_REPORT` (the HTML file; empty where none was written), and
    how many clips are `VSR_DONE`, `VSR_UNCHANGED`, `VSR_FAILED`, `VSR_GIVEN_UP`, `VSR_STOPPED`
    and `VSR_CANCELLED`.
    """
    counts = Counter(clip.status for clip in clips)
    environment = {f"VSR_{status.replace(' ', '_').upper()}": str(counts[status]) for status in _COUNTED}  # type: ignore[index]
    environment |= {
        "VSR_EXIT_CODE": str(exit_code),
        "VSR_OUTPUT": str(output.absolute()),
        "VSR_REPORT": str(report.absolute()) if report.is_file() else "",
    }
    failure = run_program(words, environment)
    return f"--on-finish {words[0]}: {failure}" if failure else ""
