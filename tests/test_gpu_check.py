"""`python -m benchmarks.gpu` on a CPU, in tiny sizes, with nothing but what it says that it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import LIMITS
from benchmarks.gpu.report import Report

ROOT = Path(__file__).parent.parent
# What a machine with a GPU may lack: all that the program needs beyond torch, numpy, OpenCV, pydantic and safetensors.
MISSING = ("av", "ffmpeg", "imageio_ffmpeg", "PIL", "psutil", "platformdirs", "typer", "rich", "requests")
BLOCK = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*MISSING, "scenedetect", "ray", "ncnn")}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


# What only the large sizes and a compiler add is what takes longest.
OFTEN = [name for name in LIMITS if name not in ("speed_320x180", "speed_1280x720", "compiled")]


@pytest.mark.parametrize("steps", [OFTEN, pytest.param(list(LIMITS), marks=pytest.mark.nightly)], ids=["often", "all"])
def test_steps_run_on_a_cpu_without_pyav_and_ffmpeg(tmp_path, steps):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--tiny",
        "--minutes",
        "9",
        "--only",
        ",".join(steps),
    ]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [step.name for step in report.steps] == steps
    assert {step.status for step in report.steps} == {"done"}
    assert all(check.passed for step in report.steps for check in step.checks)
    notes = next(step for step in report.steps if step.name == "memory").facts["100%_notes"]
    assert notes[0].endswith("memory ran out with windows of 20, went on with windows of 10")
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8").count("\n## ") == len(steps)


def test_a_gpu_that_is_not_there_is_said_and_written(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cuda:77", "--tiny", "--minutes", "0.01"]
    done = subprocess.run([*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    report = Report.model_validate_json((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {step.status for step in report.steps} == {"skipped"}
    assert done.returncode == 1


def test_the_schema_in_the_docs_is_that_of_the_file():
    written = json.loads((ROOT / "docs" / "gpu-check.schema.json").read_text(encoding="utf-8"))
    assert written == Report.model_json_schema()
