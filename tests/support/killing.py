"""The same pixels whether a run is left alone, killed and continued, or made by Ray."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.clips import same_pictures
from tests.support.packages import needed

REPOSITORY = Path(__file__).parent.parent.parent


def check_killed_twice_and_by_ray(folder, arguments, *, code=REPOSITORY):
    """Run `vsr run ARGUMENTS` in a folder in three ways; leave `whole.mp4` there.

    Args:
        folder: the working folder.
        arguments: of the command, without the output; segments short enough for two kills between them.
        code: the checkout that runs.
    """
    needed("ray")
    command = [sys.executable, "-m", "vsr_pipeline", "run", *arguments]
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}

    def start(output, *options):
        return subprocess.Popen([*command, "--output", output, *options], cwd=folder, env=environment)

    assert start("whole.mp4").wait() == 0
    segments = folder / ".vsr" / "killed.mp4" / "segments"
    for _ in range(2):
        before = len(list(segments.glob("0*")))
        process = start("killed.mp4")
        while process.poll() is None and len(list(segments.glob("0*"))) <= before:
            time.sleep(0.002)
        process.kill()
        assert process.wait() != 0, "the run was over before it was killed: make the clip longer"
    assert start("killed.mp4").wait() == 0
    assert same_pictures(folder / "whole.mp4", folder / "killed.mp4")
    assert start("ray.mp4", "--executor", "ray", "--cpus-per-worker", "1").wait() == 0
    assert same_pictures(folder / "whole.mp4", folder / "ray.mp4")
