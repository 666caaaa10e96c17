"""SIGKILL inside a segment, and while one is verified beside the next: what is recorded is right, pixels are equal."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.support.clips import make_video, same_pictures, stills_of
from tests.support.forks import Forks
from tests.support.networks import fill
from vsr_pipeline.jobs.checkpoint import CheckpointFolder
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.media.streams.join import check_frames
from vsr_pipeline.models.animesr import AnimeSRNet
from vsr_pipeline.runtime.files import file_sha256
from vsr_pipeline.timeline import Segment, Shot

FRAMES, PART = 240, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    make_video(folder / "walk.mp4", frames=FRAMES, cut=FRAMES, width=48, height=32, audio=False)
    torch.save(fill(AnimeSRNet(channels=8, num_blocks=(1, 1, 1)), 0.5).state_dict(), folder / "tiny.pth")
    return folder


@pytest.fixture(scope="module")
def forks(folder):
    with Forks(folder) as forks:
        yield forks


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        if not Path(f"/proc/{process}").exists():
            return
        time.sleep(0.0005)


def kill(forks, process):
    """Kill a run; return whether it was still there."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    return forks.code() == -signal.SIGKILL


def check_parts(job):
    """Every part that is recorded is whole; at most two more were begun: one is made, one is being checked."""
    segment = Segment(0, FRAMES, 0, FRAMES, Shot(0, FRAMES))
    folder = CheckpointFolder(job / "segments", segment)
    recorded = folder.recorded()
    assert folder.verified() == recorded
    for one in recorded:
        start, stop = one.start, one.stop
        assert stop - start == PART
        check_frames(folder.path / one.file_name, times_of(job, start, stop), decode=True)
    begun = {path.name.removeprefix(".").partition(".")[0] for path in folder.path.glob("*.mp4")}
    assert len(begun) <= len(recorded) + 2
    return len(recorded)


def times_of(job, start, stop):
    with Ledger(job / "ledger.sqlite") as ledger:
        timeline = ledger.analysis().timeline
    return [(timeline.pts[i] - timeline.pts[0]) * timeline.time_base for i in range(start, stop)]


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.nightly)])
def test_killed_inside_one_long_shot(folder, forks, kills):
    """Random moments: at most what one part holds is made again, beside one that was being checked."""
    options = ["--checkpoint", "tiny.pth", "--segment-frames", str(FRAMES), "--encoder-preset", "ultrafast"]
    forks.run("run", "walk.mp4", "--output", f"whole{kills}.mp4", *options)
    job = folder / ".vsr" / "out.mp4"
    parts = job / "segments" / f"parts-00000000-{FRAMES:08d}"
    rng = random.Random(kills)
    before, killed = 0, 0
    for _ in range(kills):
        process = forks.start("run", "walk.mp4", "--output", "out.mp4", *options)
        more = before + rng.choice([0, 0, 1])
        wait_for(lambda more=more: any(parts.glob(".*.mp4")) and len(list(parts.glob("0*.json"))) >= more, process)
        time.sleep(rng.random() * 0.1)
        killed += kill(forks, process)
        if parts.exists():
            now = check_parts(job)
            assert now >= before
            before = now
    assert killed >= kills - 2, "the run was over before it was killed: make the clip longer"
    forks.run("run", "walk.mp4", "--output", "out.mp4", *options)
    assert same_pictures(folder / "out.mp4", folder / f"whole{kills}.mp4")
    assert len(stills_of(folder / "out.mp4")) == 6
    assert stills_of(folder / "out.mp4") == stills_of(folder / f"whole{kills}.mp4")
    assert not (job / "segments").exists()
    for path in (folder / "out.mp4", job / "ledger.sqlite"):
        path.unlink()


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_killed_while_a_segment_is_verified_beside_the_next(folder, forks, kills):
    """Two files are being written: of one, the check or the end of the encoder is under way."""
    options = ["--model", "bicubic-x4", "--segment-frames", "6", "--encoder-preset", "ultrafast"]
    forks.run("run", "walk.mp4", "--output", f"beside{kills}.mp4", *options)
    job = folder / ".vsr" / "killed.mp4"
    rng = random.Random(kills)
    killed = 0
    for _ in range(kills):
        process = forks.start("run", "walk.mp4", "--output", "killed.mp4", *options)
        wait_for(lambda: len(list((job / "segments").glob(".*.mp4"))) > 1, process)
        time.sleep(rng.random() * 0.01)
        killed += kill(forks, process)
        with Ledger(job / "ledger.sqlite") as ledger:
            rows = ledger.segments().values()
        for row in rows:
            path = job / "segments" / row.file_name
            assert (path.stat().st_size, file_sha256(path)) == (row.size_bytes, row.sha256)
            check_frames(path, times_of(job, row.start, row.stop), decode=True)
    assert killed >= kills - 1, "the run was over before it was killed: make the clip longer"
    forks.run("run", "walk.mp4", "--output", "killed.mp4", *options)
    assert same_pictures(folder / "killed.mp4", folder / f"beside{kills}.mp4")
    for path in (folder / "killed.mp4", job / "ledger.sqlite"):
        path.unlink()
