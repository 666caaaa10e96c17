"""Runs that can be killed, each a fork of a process that has loaded everything: that saves seconds for each.

    python -m tests.support.forks

Reads a JSON list of arguments per line; writes the id of the process that runs them, and its exit code at its end.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class Forks:
    """The process, from the side of a test; a context manager."""

    def __init__(self, folder):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self._errors = (folder / "stderr.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate()
        self._errors.close()

    def start(self, *arguments):
        """Start a run; return its process's id."""
        self._process.stdin.write(f"{json.dumps(arguments)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def code(self):
        """Wait for the run's end, and return its exit code."""
        return int(self._process.stdout.readline())

    def run(self, *arguments):
        """Run to the end, which must be a good one."""
        self.start(*arguments)
        code = self.code()
        self._errors.seek(0)
        assert code == 0, self._errors.read()


def serve():
    """Fork for each line."""
    import torch

    from vsr_pipeline import api, cli  # noqa: F401 - loaded for the forks

    torch.set_num_threads(1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os._exit(cli.run(json.loads(line)))
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    os._exit(0)  # what torch does at its end takes seconds


if __name__ == "__main__":
    serve()
