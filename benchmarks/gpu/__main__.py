"""Everything worth knowing about the product on one GPU, in a few minutes, by one command.

    python -m benchmarks.gpu [--minutes 4] [--device cuda] [--output FOLDER] [--only STEP,STEP]

Run it from the top of a checkout; it needs torch, numpy, OpenCV, pydantic and safetensors, and nothing else. Steps run
in a process of their own, the most telling first; one that crashes, or takes longer than its limit, costs itself alone.
After each, FOLDER/gpu.json (docs/gpu-check.schema.json says what is in it) and FOLDER/gpu.md are written. The exit code
is 1 where something that has to hold does not.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

from benchmarks.gpu.report import JSON_NAME, Answer, Report, Step

LIMITS = {
    "device": 10.0,
    "goldens": 20.0,
    "speed_640x360": 50.0,
    "precisions": 25.0,
    "memory": 25.0,
    "stream": 20.0,
    "speed_320x180": 20.0,
    "speed_1280x720": 40.0,
    "other_models": 20.0,
    "training": 30.0,
    "compiled": 60.0,
}
"""Seconds that each may take at `--minutes 4`. They sum to more: what is faster leaves its time to the last ones."""

_MOST_MINUTES = 9.0
# Importing torch and setting up CUDA, before the first step of a process.
_START_SECONDS = 60.0
_LEAST_SECONDS = 4.0
_DESIGNED_FOR_MINUTES = 4.0


def main() -> int:
    """Run the steps and return the exit code."""
    options = _options()
    if options.schema:
        print(json.dumps(Report.model_json_schema(), indent=1))
        return 0
    if options.steps:
        from benchmarks.gpu.steps import run_steps  # torch

        run_steps(options.steps.split(","), options.device, is_tiny=options.tiny)
        return 0
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    minutes = min(options.minutes, _MOST_MINUTES)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    report = Report(device=options.device, is_tiny=options.tiny, minutes=minutes, started_at=started_at)
    _Check(report, folder).run(options.only)
    print(report.markdown())
    print(f"written to {folder / JSON_NAME}")
    return int(report.has_failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=_DESIGNED_FOR_MINUTES, help="in all, 9 at most (default 4)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default cuda)")
    parser.add_argument("--output", default="results/gpu", help="folder for both files (default results/gpu)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: only proves that the script runs")
    parser.add_argument("--only", type=_names, default=list(LIMITS), help="steps, with commas between them")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of gpu.json")
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(LIMITS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(LIMITS)}")
    return names


class _Check:
    """The steps, in processes of their own, under a watch."""

    def __init__(self, report: Report, folder: Path) -> None:
        self._report = report
        self._folder = folder
        self._began = time.monotonic()
        self._ends = self._began + 60 * report.minutes

    def run(self, left: list[str]) -> None:
        """Run these steps, and write after each."""
        while left:
            process = self._started(left)
            lines: Queue[str | None] = Queue()
            assert process.stdout is not None
            Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
            start_seconds = _START_SECONDS
            try:
                while left and self._step(left, process, lines, start_seconds):
                    start_seconds = 0.0
            finally:
                process.kill()
                process.wait()

    def _started(self, left: list[str]) -> "subprocess.Popen[str]":
        report = self._report
        command = [sys.executable, "-m", "benchmarks.gpu", "--steps", ",".join(left), "--device", report.device]
        command += ["--output", str(self._folder), *(["--tiny"] if report.is_tiny else [])]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _step(
        self, left: list[str], process: "subprocess.Popen[str]", lines: "Queue[str | None]", start_seconds: float
    ) -> bool:
        """Take the next step; False: its process is of no more use."""
        name = left.pop(0)
        started = time.monotonic()
        remaining = self._ends - started
        limit = min(LIMITS[name] * max(1.0, self._report.minutes / _DESIGNED_FOR_MINUTES), remaining)
        if limit < _LEAST_SECONDS:
            self._add(Step(name=name, status="skipped", reason="no time was left", limit_seconds=0))
            return True
        assert process.stdin is not None
        answer, status = Answer(), "done"
        try:
            process.stdin.write(f"{limit}\n")
            process.stdin.flush()
            line = lines.get(timeout=limit + start_seconds)
        except Empty:
            status, answer.reason = "timed out", f"not through after {limit + start_seconds:.0f} s, and ended"
        except OSError:  # it is gone already
            line = None
        if status == "done":
            answer = Answer.model_validate_json(line) if line else Answer(reason=f"its process ended: {process.wait()}")
            status = "failed" if answer.reason else "done"
        seconds = time.monotonic() - started
        self._add(Step(name=name, status=status, seconds=seconds, limit_seconds=limit, **dict(answer)))
        return status == "done"

    def _add(self, step: Step) -> None:
        self._report.steps.append(step)
        self._report.seconds = time.monotonic() - self._began
        self._report.write(self._folder)
        print(
            f"{step.name}: {step.status} after {step.seconds:.1f} s {step.reason}".rstrip(), file=sys.stderr, flush=True
        )


def _read(stream: "IO[str]", lines: "Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    sys.exit(main())
