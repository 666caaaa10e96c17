"""A decoder that crashes costs one clip: files that were never decoded are read in a process of their own."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.clips import make_video
from tests.support.listening import Listener
from vsr_pipeline import api, cli
from vsr_pipeline.clip.footage import analyse_clip, look_at
from vsr_pipeline.errors import InputError, ResourceError, UsageError
from vsr_pipeline.jobs.batch.discovery import check_template
from vsr_pipeline.runtime.process import Isolation

SETTINGS = ["--model", "bicubic-x4", "--segment-frames", "4", "--encoder-preset", "ultrafast"]
CONFIG = api.Config().override(model="bicubic-x4", segment_frames=4, preset="ultrafast")
FILE = Path("some.mov")
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def call():
    with Isolation() as call:
        yield call


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "walk.mp4", frames=12, cut=8, audio=False)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


def readers_of(parent):
    """Processes that read files for `parent`: its children, and the forks of them that are at work."""
    found, parents = [], {parent}
    for status in sorted(Path("/proc").glob("[0-9]*/status"), key=lambda path: int(path.parent.name)):
        try:
            above = int(re.search(r"^PPid:\t(\d+)$", status.read_text(), re.M)[1])
            if above in parents and b"runtime.process" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
                parents.add(found[-1])
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def test_results_and_progress_come_back(call, video):
    header = call(video, partial(look_at, video, CONFIG.input))
    assert header == look_at(video, CONFIG.input)
    frames = []
    assert call(video, partial(analyse_clip, header), lambda: frames.append(1)) == analyse_clip(header)
    assert len(frames) <= 12


def test_failures_come_back_as_what_they_were(call):
    with pytest.raises(UsageError, match="unknown field"):
        call(FILE, partial(check_template, "{no}"))
    with pytest.raises(ZeroDivisionError) as bug:
        call(FILE, partial(divmod, 1, 0))
    assert "Traceback" in bug.value.__notes__[0]
    with pytest.raises(FileNotFoundError) as missing:
        call(FILE, partial(os.stat, "missing"))
    assert missing.value.filename == "missing"


@linux
def test_a_process_is_started_once_and_forks_for_each_call(call):
    assert len({call(FILE, os.getppid) for _ in range(5)}) == 1
    assert len({call(FILE, os.getpid) for _ in range(5)} | {call(FILE, os.getppid), os.getpid()}) == 7
    call(FILE, partial(os.chdir, "/"))
    assert call(FILE, Path.cwd) == Path.cwd()  # nothing of a call is left for the next


@posix
@pytest.mark.parametrize(
    ("crash", "name"), [(partial(ctypes.string_at, 0), "SIGSEGV"), (partial(signal.raise_signal, 6), "SIGABRT")]
)
def test_a_crash_is_a_failure_with_the_name_of_the_signal(call, crash, name):
    with pytest.raises(InputError, match=rf"the decoder crashed \({name}\) on some.mov"):
        call(FILE, crash)
    assert call(FILE, partial(divmod, 7, 2)) == (3, 1)


@posix
def test_a_process_that_was_killed_is_the_machines_fault(call):
    with pytest.raises(ResourceError, match="SIGKILL"):
        call(FILE, partial(signal.raise_signal, signal.SIGKILL))


@posix
def test_signals_for_a_whole_service_are_the_parents(call):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert call(FILE, partial(signal.raise_signal, number)) is None


@linux
def test_an_exception_of_whoever_waits_leaves_no_process(call, video):
    header = call(video, partial(look_at, video, CONFIG.input))

    def stop(_number, _frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            call(FILE, partial(time.sleep, 60))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert readers_of(os.getpid()) == []
    assert call(video, partial(analyse_clip, header)).timeline.frame_count == 12


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_leaves_no_process(number):
    code = """
import time
from functools import partial
from pathlib import Path
from vsr_pipeline.runtime.process import Isolation
with Isolation() as call:
    print(call(Path("x"), __import__("os").getpid), flush=True)
    call(Path("x"), partial(time.sleep, 60))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.send_signal(number)
        parent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def test_a_batch_with_a_file_that_crashes_the_decoder(workspace, video, shared_data, capsys):
    """A PNG-coded video with an ICC profile, which ended the process when its side data was read."""
    crashing = shared_data / "data" / "faults" / "pngv.mov"
    if not crashing.exists():
        pytest.skip("no such test data")
    shutil.copyfile(crashing, workspace / "in" / "a.mov")
    shutil.copyfile(video, workspace / "in" / "b.mp4")
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS, "--dry-run"]) == 0
    capsys.readouterr()
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS]) in (0, 7)
    rows = {row.clip: row for row in api.batch_status(workspace / "out")}
    assert rows["b.mp4"].state == "done"
    assert rows["a.mov"].state == "done" or "the decoder crashed (SIG" in rows["a.mov"].reason


class Crashes(Listener):
    """Lets the process that decodes a clip crash while it is at work: a real signal for a real process."""

    def __init__(self, name, number):
        super().__init__()
        self._what = f"analyse {name}"
        self._number = number
        self._is_at_it = False

    def heard_start(self, what):
        self._is_at_it = what == self._what

    def heard_work(self, _amount):
        if self._is_at_it:
            self._is_at_it = False
            _, fork = readers_of(os.getpid())
            os.kill(fork, self._number)


@linux
def test_a_crash_in_the_analysis_costs_one_clip(workspace, video, capsys):
    for name in ("a.mp4", "c.mp4"):
        shutil.copyfile(video, workspace / "in" / name)
    make_video(workspace / "in" / "b.mp4", frames=1000, audio=False)
    for state in ("failed", "given up"):
        reporter = Crashes("b.mp4", signal.SIGSEGV)
        outcome = api.batch(workspace / "in", workspace / "out", CONFIG, options=api.BatchOptions(), reporter=reporter)
        assert outcome.exit_code == 7
        rows = {row.clip: row for row in api.batch_status(workspace / "out")}
        assert [rows[name].state for name in ("a.mp4", "b.mp4", "c.mp4")] == ["done", state, "done"]
        assert "the decoder crashed (SIGSEGV)" in rows["b.mp4"].reason
        assert rows["b.mp4"].exit_code == 3
    assert readers_of(os.getpid()) == []
    assert cli.run(["batch", "--status", "--output", "out"]) == 0
    assert "the decoder crashed (SIGSEGV)" in capsys.readouterr().out
    assert "the decoder crashed (SIGSEGV)" in (workspace / "out" / "report.html").read_text()


@linux
def test_a_killed_analysis_costs_no_try(workspace):
    make_video(workspace / "in" / "a.mp4", frames=1000, audio=False)
    reporter = Crashes("a.mp4", signal.SIGKILL)
    api.batch(workspace / "in", workspace / "out", CONFIG, options=api.BatchOptions(), reporter=reporter)
    (row,) = api.batch_status(workspace / "out")
    assert (row.state, row.tries, row.exit_code) == ("failed", 0, 5)
