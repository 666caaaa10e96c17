"""A run takes no more than it needs: memory, disk, open files, processes; and it ends soon when it is asked to."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.support.clips import audio_packets, make_video, same_pictures, times
from tests.support.networks import fill
from vsr_pipeline import cli
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

REPOSITORY = Path(__file__).parent.parent
BICUBIC = ("--model", "bicubic-x4", "--segment-frames", "5", "--encoder-preset", "ultrafast")
NETWORK = (
    "--checkpoint",
    "tiny.pth",
    "--config",
    "tiny.toml",
    "--segment-frames",
    "5",
    "--encoder-preset",
    "ultrafast",
)
MIB = 1024**2

# A process counts as its own what its parent had in memory when it was started: so a small one stands in between.
MEASURED = """
import json, os, sys
child = os.posix_spawn(sys.executable, [sys.executable, "-m", "vsr_pipeline", *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]))
"""


@pytest.fixture
def network(workspace):
    """A recurrent network that is small enough for a test."""
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, workspace / "tiny.pth")
    settings = "[upscale]\nmax_seq_len = 5\nwarm_up = 0\nlookahead = 0\nprecision = 'fp32'\n"
    (workspace / "tiny.toml").write_text(settings)


def environment():
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def peak_mib(folder, clip, output, options):
    command = [sys.executable, "-c", MEASURED, "run", clip, "--output", output, *options]
    ended = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    code, peak_kib = json.loads(ended.stdout.splitlines()[-1])
    assert code == 0, ended.stderr
    return peak_kib / 1024


@pytest.mark.parametrize(
    ("options", "frames"),
    [pytest.param(BICUBIC, 30, marks=pytest.mark.nightly, id="bicubic"), pytest.param(NETWORK, 5, id="network")],
)
def test_memory_does_not_depend_on_length(workspace, network, options, frames, record_property):
    """A clip 20 times as long takes the same memory, within 10 %."""
    peaks = []
    for name, count in (("short", frames), ("long", 20 * frames)):
        make_video(workspace / f"{name}.mp4", frames=count, cut=count // 2)
        peaks.append(peak_mib(workspace, f"{name}.mp4", f"{name}_x4.mp4", options))
        assert len(times(workspace / f"{name}_x4.mp4")) == count
    record_property("peak_mib", peaks)
    print("peaks:", peaks)
    assert peaks[1] < 1.1 * peaks[0]


class Watch:
    """Looks at a folder as often as possible while a run works in it."""

    def __init__(self, folder):
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks = 0
        self.peak_bytes = {}
        self.most_temporaries = 0
        self.suffixes = set()

    def _look(self):
        while not self._stop.wait(0.001):
            sizes = {}
            # `os.walk` does not mind a folder that is deleted meanwhile.
            for path in [Path(folder, name) for folder, _, names in os.walk(self._folder) for name in names]:
                try:
                    sizes[path] = path.stat().st_size
                except FileNotFoundError:  # it was published or deleted in this moment
                    continue
            self.looks += 1
            self.suffixes |= {path.suffix for path in sizes}
            self.most_temporaries = max(self.most_temporaries, sum(".tmp" in path.name for path in sizes))
            kinds = {"video": {".mp4"}, "ledger": {".sqlite", ".sqlite-journal"}}
            for kind, suffixes in kinds.items():
                held = sum(size for path, size in sizes.items() if path.suffix in suffixes)
                self.peak_bytes[kind] = max(self.peak_bytes.get(kind, 0), held)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_the_disk_holds_the_encoded_picture_twice_at_most(workspace):
    """No frames as images: the encoded segments, one file in work, and at the end the track or the output."""
    make_video(workspace / "walk.mp4", frames=200, cut=90)
    with Watch(workspace / "results") as watch:
        assert cli.run(["run", "walk.mp4", "--output", "results/out.mp4", *BICUBIC]) == 0
    size = (workspace / "results" / "out.mp4").stat().st_size
    print("looks", watch.looks, "output", size, "peak", watch.peak_bytes, "temporaries", watch.most_temporaries)
    assert watch.looks > 100
    assert watch.peak_bytes["video"] < 2.2 * size
    assert watch.peak_bytes["ledger"] < 5 * MIB
    assert watch.most_temporaries <= 3  # a segment, the one before it that is checked, and a still for the report
    allowed = {"", ".mp4", ".sqlite", ".sqlite-journal", ".jpg", ".json", ".html", ".log"}
    assert watch.suffixes <= allowed


def held_by_process():
    """Open files, child processes and threads of this process."""
    tasks = list(Path("/proc/self/task").iterdir())
    children = []
    for task in tasks:
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended in this moment
            children += (task / "children").read_text().split()
    files = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this very list
            files[descriptor.name] = str(descriptor.readlink())
    return {
        "files": files,
        "children": children,
        "python threads": sorted(thread.name for thread in threading.enumerate()),
        "threads": len(tasks),
    }


def check_held(before):
    """Native threads that were joined may still be listed for a moment, before the run, too: fewer are no fault."""
    gc.collect()  # an error that ended a run, and the encoders in its traceback, refer to each other
    allowed = before["threads"]
    deadline = time.monotonic() + 2
    while (held := held_by_process())["threads"] > allowed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert held["threads"] <= allowed
    # What a test before this one left open may be closed meanwhile.
    assert {number: name for number, name in held["files"].items() if number not in before["files"]} == {}
    assert [held[kind] for kind in ("children", "python threads")] == [
        before[kind] for kind in ("children", "python threads")
    ]


# Ctrl-C may come between the opening of a file and the block that closes it: then the file object closes itself, with
# this warning. Whether anything stays open is what the test looks at.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_nothing_is_held_after_a_run(workspace, network):
    """Done, failed, interrupted: open files, processes and threads are as before."""
    make_video(workspace / "walk.mp4", frames=10, cut=6)
    make_video(workspace / "long.mp4", frames=300, cut=130)

    def done(name, options):
        assert cli.run(["run", "walk.mp4", "--output", f"{name}.mp4", *options]) == 0

    def failed(name, options):
        # A still of the report cannot be written, in the middle of a segment that is read, enhanced and encoded.
        (workspace / ".vsr" / f"{name}.mp4" / "before.jpg" / "occupied").mkdir(parents=True)
        assert cli.run(["run", "walk.mp4", "--output", f"{name}.mp4", *options]) == 6

    def interrupted(name, options):
        job = workspace / ".vsr" / f"{name}.mp4"
        timer = threading.Thread(target=interrupt_when, args=(lambda: any(job.glob("segments/0*")),))
        timer.start()
        assert cli.run(["run", "long.mp4", "--output", f"{name}.mp4", *options]) == 130
        timer.join()

    for options in (BICUBIC, NETWORK):
        kind = "network" if options is NETWORK else "bicubic"
        done(f"{kind}-first", options)  # libraries keep what they need for themselves
        gc.collect()
        before = held_by_process()
        for run in (done, failed, interrupted):
            run(f"{kind}-{run.__name__}", options)
            check_held(before)
            assert list(workspace.rglob(".*.tmp*")) == []


def interrupt_when(condition, seconds=60):
    """Send this process what Ctrl-C sends it."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.nightly
def test_stops_soon_and_continues(workspace, network, record_property):
    """Stopped in the middle of a segment, once and again; then the same pixels as without."""
    make_video(workspace / "walk.mp4", frames=60, cut=30)  # long enough not to end before it is asked to
    assert cli.run(["run", "walk.mp4", "--output", "undisturbed.mp4", *NETWORK]) == 0
    arguments = ["run", "walk.mp4", "--output", "stopped.mp4", *NETWORK]
    job = workspace / ".vsr" / "stopped.mp4"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        done = len(list(job.glob("segments/0*")))
        process = subprocess.Popen(
            [sys.executable, "-m", "vsr_pipeline", *arguments], env=environment(), stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if len(list(job.glob("segments/0*"))) > done and any(job.glob("segments/.*.tmp.mp4")):
                break
            time.sleep(0.001)
        asked = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        seconds = time.monotonic() - asked
        record_property(f"seconds_{code}", seconds)
        print("stopped after", seconds)
        assert process.returncode == code, stderr
        assert seconds < 5
        assert stderr.splitlines()[-1] == "vsr: stopped as asked; the same command continues"
        assert list(workspace.rglob(".*.tmp*")) == []
        assert not (workspace / "stopped.mp4").exists()
    assert cli.run(arguments) == 0
    assert same_pictures(workspace / "stopped.mp4", workspace / "undisturbed.mp4")
    assert audio_packets(workspace / "stopped.mp4") == audio_packets(workspace / "walk.mp4")
