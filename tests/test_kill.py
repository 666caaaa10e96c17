"""SIGKILL at any moment: the same command continues, nothing is lost, nothing is made twice, nothing is left behind."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.clips import audio_packets, make_video, same_pictures
from tests.support.forks import Forks
from vsr_pipeline.jobs.ledger import Ledger

FRAMES = 160
OPTIONS = ("--model", "bicubic-x4", "--segment-frames", "5", "--encoder-preset", "ultrafast")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    make_video(folder / "walk.mp4", frames=FRAMES, cut=70, width=160, height=120)
    return folder


def command(name):
    return ("run", "walk.mp4", "--output", f"{name}/out.mp4", *OPTIONS)


def wait_until(condition, process, seconds=60):
    """Poll as fast as possible until the condition holds or the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and Path(f"/proc/{process}").exists():
        with suppress(FileNotFoundError):  # a folder was deleted while it was looked into
            if condition():
                return
        time.sleep(0.0005)


def finished_segments(job):
    return len(list(job.glob("segments/0*.mp4")))


def moments(job, seed, kills):
    """What to wait for before each kill: every phase of a run, and some more moments of its longest one."""
    rng = random.Random(seed)
    book = job / "ledger.sqlite"
    output = job.parent.parent / "out.mp4"
    named = [
        lambda: book.exists(),  # the ledger is being set up
        lambda: (job / "ledger.sqlite-journal").exists(),  # analysis
        lambda: (job / "segments").exists(),  # the first segment
        lambda: any(job.glob("segments/.*.tmp.mp4")),  # a segment that is being encoded
    ]
    for _ in range(kills - 8):
        more = rng.randint(1, 2)
        named.append(lambda more=more, seen=[None]: _grown(seen, finished_segments(job), more))
    return [
        *named,
        lambda: any(job.glob(".track*.tmp.mp4")) or (job / "track.mp4").exists(),  # join
        lambda: (job / "track.mp4").exists(),  # the join's record
        lambda: any(job.glob(".out*.tmp.mp4")),  # mux
        lambda: output.exists(),  # tidying up
    ]


def _grown(seen, count, more):
    """Whether `more` segments have been finished since the first look; the moment in between is up to chance."""
    seen[0] = count if seen[0] is None else seen[0]
    return count >= seen[0] + more


@pytest.mark.parametrize("kills", [8, pytest.param(20, marks=pytest.mark.nightly)])
def test_killed_again_and_again(folder, kills):
    shutil.rmtree(folder / "killed", ignore_errors=True)
    job = folder / "killed" / ".vsr" / "out.mp4"
    rng = random.Random(1)
    killed = 0
    with Forks(folder) as forks:
        forks.run(*command("undisturbed"))
        for condition in moments(job, seed=0, kills=kills):
            process = forks.start(*command("killed"))
            wait_until(condition, process)
            time.sleep(rng.random() * 0.02)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            killed += forks.code() == -signal.SIGKILL
        assert killed >= kills - 3, "the run was over before it was killed: make the clip longer"
        forks.run(*command("killed"))
    output = folder / "killed" / "out.mp4"
    assert same_pictures(output, folder / "undisturbed" / "out.mp4")
    assert audio_packets(output) == audio_packets(folder / "walk.mp4")
    with Ledger(job / "ledger.sqlite") as book:
        twice = {place: count for place, count in book.attempts().items() if count.finished != 1}
        assert twice == {}
        # A kill meets a segment that is computed and, beside it, the one before that is still being verified.
        assert sum(count.begun for count in book.attempts().values()) <= FRAMES // 5 + 2 * kills
    left = {p.name for p in [*job.iterdir(), *output.parent.iterdir()]}
    stills = {f"{name}{ending}.jpg" for name in ("before", "after") for ending in ("", "_10", "_90")}
    reports = {"report.json", "report.html", "run.log"}
    allowed = {"ledger.sqlite", "lock", "out.mp4", ".vsr"} | stills | reports
    assert left <= allowed
