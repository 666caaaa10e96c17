"""The steps of the check, the most telling first, and the process that runs them."""

import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import correct, speed
from benchmarks.gpu.report import Answer, Found
from benchmarks.gpu.setting import Setting
from vsr_pipeline.enhance.device import choose_device


def run_steps(names: Sequence[str], device: str, *, is_tiny: bool) -> None:
    """Run steps, each when a line with its limit in seconds comes; what it found goes to stdout, a line of JSON each.

    After one that fails, the process ends: on a GPU, what comes after some errors fails, too.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    with tempfile.TemporaryDirectory() as scratch:
        setting = None
        for name in names:
            line = sys.stdin.readline()
            if not line:
                return
            deadline = time.monotonic() + float(line)
            try:
                setting = setting or Setting(choose_device(device), is_tiny, Path(scratch))
                setting.free()
                answer = Answer(**dict(_found(name, setting, deadline)))
            except Exception as error:  # noqa: BLE001 - the other process records it
                traceback.print_exc()
                answer = Answer(reason=" ".join(f"{type(error).__name__}: {error}".split()))
                print(answer.model_dump_json(), file=answers, flush=True)
                return
            print(answer.model_dump_json(), file=answers, flush=True)


def _found(name: str, setting: Setting, deadline: float) -> Found:
    kind, _, size = name.partition("_")
    if kind == "speed":
        width, height = map(int, size.split("x"))
        frames = {180: 30, 360: 24, 720: 10}[height]
        return speed.size(setting, deadline, width=width, height=height, frames=frames)
    if hasattr(correct, name):
        return getattr(correct, name)(setting)
    return getattr(speed, name)(setting, deadline)
