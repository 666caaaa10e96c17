"""Damaged copies of small videos, made from seeds, and what `vsr run` makes of them.

Every run happens in a forked child with limits on memory and time, so that a crash or a hang is caught and belongs to
one copy. `python -m tests.support.fuzz --count 500` runs them all and prints a table; `--only ts:17` runs one again,
and keeps its files.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.fuzz_files import damaged, make_files
from tests.support.second_reader import shown

DOCUMENTED = frozenset({0, 2, 3, 4, 5, 6, 75})
"""Exit codes that the command line documents for one clip; 1, a bug, is not among them."""

_SECONDS = 30.0
_MEMORY_BYTES = 6 << 30
_OPTIONS = ("--model", "bicubic-x4", "--encoder-preset", "ultrafast", "--json")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one damaged copy; `problem` is empty where all is as it must be."""

    file: str
    seed: int
    damage: str
    code: int | None
    seconds: float
    problem: str = ""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.seed} ({self.damage}): exit {self.code}, {self.seconds:.1f} s. {self.problem}"


def run_one(file: Path, seed: int, folder: Path) -> Outcome:
    """Damage `file` by `seed`, run it in a child, and look at what came of it."""
    data, damage = damaged(file.read_bytes(), random.Random(f"{file.name}:{seed}"))
    copy, output = folder / file.name, folder / "out.mkv"
    copy.write_bytes(data)
    started = time.monotonic()
    status, report = _in_child(lambda: _enhance(copy, output), folder / "report.json")
    seconds = time.monotonic() - started
    code, message, problem = None, "", ""
    if status is None:
        problem = f"did not end within {_SECONDS:.0f} s"
    elif os.WIFSIGNALED(status):
        problem = f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        code, message = report["code"], report["stderr"]
        problem = _short(report["traceback"]) or _judge(code, message, report["stdout"], output)
    return Outcome(file.suffix[1:], seed, damage, code, seconds, problem, message)


def _enhance(source: Path, output: Path) -> int:
    from vsr_pipeline.cli import run

    return run(["run", str(source), "--output", str(output), *_OPTIONS])


def _in_child(work: Callable[[], int], report: Path) -> tuple[int | None, dict]:
    """Do the work in a forked child with limits; (its wait status, None where it had to be killed; what it said)."""
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        said = {"code": None, "stdout": "", "stderr": "", "traceback": ""}
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                said["code"] = work()
        except BaseException:  # noqa: BLE001 (whatever it is, the parent tells)
            said["traceback"] = traceback.format_exc()
        said["stdout"], said["stderr"] = out.getvalue(), err.getvalue()
        report.write_text(json.dumps(said))
        os._exit(0)
    deadline = time.monotonic() + _SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, json.loads(report.read_text()) if report.exists() else {}
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, {}
        time.sleep(0.01)


def _short(text: str) -> str:
    """The exception and the last two places of a traceback."""
    return "\n  ".join(line.strip() for line in text.splitlines() if "^^^" not in line and line.strip()[-5:])[-700:]


def _judge(code: int | None, stderr: str, stdout: str, output: Path) -> str:
    """Say what is wrong with a run that ended by itself; nothing where all is right."""
    if code not in DOCUMENTED:
        return f"exit code {code} is not documented"
    if code != 0:
        reasons = [line for line in stderr.splitlines() if line.startswith("vsr: ")]
        if len(reasons) != 1:
            return f"{len(reasons)} reasons on stderr instead of one: {stderr!r}"
        return "left an output behind" if output.exists() else ""
    reported = json.loads(stdout)[0]["frame_count"]
    found = len(shown(output).packets)
    return "" if found == reported else f"reported {reported} frames, {found} can be decoded"


def run_all(count: int, folder: Path, *, tell: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """Run `count` damaged copies, the ten files in turn."""
    files = make_files(folder / "whole")
    outcomes = []
    for number in range(count):
        file, seed = files[number % len(files)], number // len(files)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            outcomes.append(run_one(file, seed, Path(place)))
        tell(outcomes[-1])
    return outcomes


def preload() -> None:
    """Import what a run needs, so that each child starts with it. Nothing is computed: threads survive no fork."""
    import av  # noqa: F401
    import cv2  # noqa: F401
    import torch  # noqa: F401

    from vsr_pipeline import api  # noqa: F401
    from vsr_pipeline.media.write import writer  # noqa: F401


def table(outcomes: list[Outcome]) -> str:
    """Exit codes by file."""
    codes = sorted({str(outcome.code) for outcome in outcomes})
    rows = [f"{'file':<6}" + "".join(f"{code:>6}" for code in codes) + "  problems"]
    for file in dict.fromkeys(outcome.file for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.file == file]
        counts = Counter(str(outcome.code) for outcome in mine)
        problems = sum(bool(outcome.problem) for outcome in mine)
        rows.append(f"{file:<6}" + "".join(f"{counts[code]:>6}" for code in codes) + f"  {problems}")
    return "\n".join(rows)


def main() -> int:
    """Run them all and print a table; 1 when something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--only", help="one copy: FILE:SEED, such as ts:17")
    arguments = parser.parse_args()
    preload()
    if arguments.only:
        suffix, seed = arguments.only.split(":")
        folder = Path(tempfile.mkdtemp(prefix="vsr-fuzz-"))
        file = next(file for file in make_files(folder / "whole") if file.suffix == f".{suffix}")
        outcome = run_one(file, int(seed), folder)
        print(f"{outcome}\n{outcome.message}\nfiles are in {folder}")
        return int(bool(outcome.problem))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vsr-fuzz-") as folder:
        outcomes = run_all(arguments.count, Path(folder), tell=_tell)
    bad = [outcome for outcome in outcomes if outcome.problem]
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(table(outcomes))
    took = f"{len(outcomes)} runs in {time.monotonic() - started:.0f} s, the slowest {slowest.seconds:.1f} s"
    print(f"{took}; {len(bad)} bad")
    return int(bool(bad))


def _tell(outcome: Outcome) -> None:
    if outcome.problem:
        print(outcome, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
