"""Ten minutes of `vsr live`: order, counts, and memory that does not grow."""

import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import psutil
import pytest

from tests.support.live import CameraServer, number_in, y4m_frames

_SECONDS = 600
_SETTLED_SECONDS = 60
_GROWTH_BYTES = 30_000_000


@pytest.mark.nightly
def test_ten_minutes_without_growth(tmp_path):
    command = [sys.executable, "-m", "vsr_pipeline", "live"]
    options = ["--to", "y4m", "--to", "null", "--to", str(tmp_path / "a.mkv"), "--model", "bicubic", "--scale", "2"]
    with (
        CameraServer() as camera,
        subprocess.Popen([*command, camera.url, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as live,
    ):
        sizes, seen = [], []
        start = None
        for luma, at in y4m_frames(live.stdout):
            if start is None:
                start = at
                threading.Thread(target=watch, args=(live, sizes), daemon=True).start()
            seen.append(number_in(luma))
            if at > start + _SECONDS and live.poll() is None:
                live.send_signal(signal.SIGINT)
        assert live.wait(20) == 130
    settled = [size for at, size in sizes if at > _SETTLED_SECONDS]
    print(f"{len(set(seen))} frames, memory from {settled[0] / 1e6:.1f} to {settled[-1] / 1e6:.1f} MB")
    assert settled[-1] < settled[0] + _GROWTH_BYTES
    assert None not in seen
    assert all(a <= b for a, b in pairwise(seen))
    assert len(set(seen)) > 0.5 * _SECONDS * 30


def watch(live, sizes):
    start = time.monotonic()
    process = psutil.Process(live.pid)
    while live.poll() is None:
        sizes.append((time.monotonic() - start, process.memory_info().rss))
        time.sleep(5)
