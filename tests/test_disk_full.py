"""A full disk at any place: exit code 5, nothing damaged, nothing half done left, and on it goes once there is room."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from tests.support.clips import audio_packets, make_video, same_pictures
from tests.support.listening import Listener
from vsr_pipeline import api, cli
from vsr_pipeline.errors import DiskFullError
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.media.ffmpeg import ffmpeg_binary

FRAMES = 30
CONFIG = {"upscale": {"model": "bicubic-x4", "segment_frames": 5}, "encode": {"preset": "ultrafast"}}
OPTIONS = ["--model", "bicubic-x4", "--segment-frames", "5", "--encoder-preset", "ultrafast"]
KIB = 1024


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip with uncompressed sound, so that the output is larger than its picture, and the muxing needs more room
    than the join."""
    folder = tmp_path_factory.mktemp("clip")
    picture = make_video(folder / "picture.mp4", frames=FRAMES, width=96, height=64)
    noise = ["-f", "lavfi", "-i", f"anoisesrc=d={FRAMES / 25}:r=48000:seed=1"]
    streams = ["-map", "0:v", "-map", "1:a", "-ac", "2", "-c:v", "copy", "-c:a", "pcm_s32le"]
    command = [ffmpeg_binary(), "-v", "error", "-i", picture, *noise, *streams, folder / "walk.mkv"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return folder / "walk.mkv"


@pytest.fixture(scope="module")
def undisturbed(clip):
    output = clip.parent / "undisturbed.mkv"
    assert cli.run(["run", str(clip), "--output", str(output), *OPTIONS]) == 0
    return output


class SmallDisk:
    """A file system of 8 MiB in memory, with a ballast that leaves as much room as is wanted."""

    def __init__(self, folder):
        self.folder = folder
        self.output = folder / "out.mkv"
        self.job = folder / ".vsr" / "out.mkv"
        self._ballast = folder / "ballast"

    def leave(self, room):
        # The next segment is written meanwhile: what was free may be taken already.
        for _ in range(100):
            self._ballast.unlink(missing_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free <= room:
                return
            with self._ballast.open("wb") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, free - room)
                return
        raise AssertionError("the disk could not be filled")

    def check_undamaged(self, tmp_path):
        """Nothing under the output's name, no temporary, and a ledger that SQLite finds in order."""
        assert not self.output.exists()
        assert list(self.folder.rglob(".*.tmp*")) == []
        for path in self.job.glob("ledger.sqlite*"):
            shutil.copy(path, tmp_path)
        connection = sqlite3.connect(tmp_path / "ledger.sqlite")
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        connection.close()

    def phase(self):
        """What was being written when the disk was full."""
        with Ledger(self.job / "ledger.sqlite") as book:
            if book.analysis() is None:
                return "ledger"
            if book.joined() is not None:
                return "output"
            return "segment" if len(book.segments()) < len(book.attempts()) else "track"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


def run(clip, disk, capsys, *options, code):
    """Run in this process; return the one line that says why it failed."""
    capsys.readouterr()
    assert cli.run(["run", str(clip), "--output", str(disk.output), *OPTIONS, *options]) == code
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    failures = [line for line in stderr.splitlines() if line.startswith("vsr:")]
    assert len(failures) == (code != 0)
    return stderr.splitlines()[-1]


def check_complete(disk, clip, undisturbed):
    assert same_pictures(disk.output, undisturbed)
    assert audio_packets(disk.output) == audio_packets(clip)
    assert list(disk.folder.rglob(".*.tmp*")) == []
    with Ledger(disk.job / "ledger.sqlite") as book:
        attempts = book.attempts()
    assert len(attempts) >= FRAMES // 5
    assert {count.finished for count in attempts.values()} == {1}


def bytes_kept_open(folder):
    """Bytes of the small disk that this process holds by files that are open, deleted or not.

    PyAV has no way to close a file whose very header could not be written; that file is empty.
    """
    total = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if descriptor.readlink().is_relative_to(folder):
                total += descriptor.stat().st_size
        except FileNotFoundError:  # that of the listing itself
            continue
    return total


def test_more_room_with_each_run(disk, clip, undisturbed, tmp_path, capsys):
    """From no room at all to enough: whatever stops the same job each time, nothing is damaged and it gets further."""
    rooms = chain((0, 4 * KIB, 16 * KIB, 48 * KIB), range(128 * KIB, 2048 * KIB, 48 * KIB))
    hit = []
    for room in rooms:
        disk.leave(room)
        capsys.readouterr()
        code = cli.run(["run", str(clip), "--output", str(disk.output), *OPTIONS])
        stderr = capsys.readouterr().err
        assert "Traceback" not in stderr
        if code == 0:
            break
        assert code == 5
        (line,) = [line for line in stderr.splitlines() if line.startswith("vsr:")]
        assert "space left" in line or "free, the job needs" in line
        disk.check_undamaged(tmp_path)
        assert bytes_kept_open(disk.folder) == 0
        disk.leave(1024 * KIB)  # looking at the ledger needs room, too
        hit.append(disk.phase())
    # The preflight refuses what would not fit later; the places in between have tests of their own.
    assert {"ledger", "output"} <= set(hit)
    check_complete(disk, clip, undisturbed)


class FillsTheDisk(Listener):
    """Another program that fills the disk once `after` segments are recorded."""

    def __init__(self, disk, after, room):
        super().__init__()
        self._disk = disk
        self._left = after
        self._room = room

    def heard_saved(self):
        self._left -= 1
        if self._left == 0:
            self._disk.leave(self._room)


def causes(error):
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("room", [0, 20 * KIB])
def test_full_between_two_segments(disk, clip, undisturbed, tmp_path, capsys, room):
    """The third segment's file does not fit, or the ledger cannot say that the next one begins."""
    config = api.Config.model_validate(CONFIG)
    with pytest.raises(DiskFullError) as failure:
        api.run(clip, disk.output, config, options=api.RunOptions(), reporter=FillsTheDisk(disk, 2, room))
    found = list(causes(failure.value))
    assert any("segments/" in cause or "ledger.sqlite" in cause for cause in found), found
    disk.check_undamaged(tmp_path)
    disk.leave(8192 * KIB)
    with Ledger(disk.job / "ledger.sqlite") as book:
        assert 2 <= len(book.segments()) <= 3  # one may be through with its check when the disk is full
    run(clip, disk, capsys, code=0)
    check_complete(disk, clip, undisturbed)


def test_full_when_the_segments_are_there(disk, clip, undisturbed, tmp_path, capsys):
    """The joined track does not fit beside the segments."""
    count = len(attempts_of(undisturbed))
    config = api.Config.model_validate(CONFIG)
    reporter = FillsTheDisk(disk, count, 32 * KIB)
    with pytest.raises(DiskFullError):
        api.run(clip, disk.output, config, options=api.RunOptions(), reporter=reporter)
    disk.check_undamaged(tmp_path)
    disk.leave(8192 * KIB)
    assert disk.phase() == "track"
    run(clip, disk, capsys, code=0)
    check_complete(disk, clip, undisturbed)


def attempts_of(output):
    with Ledger(output.parent / ".vsr" / output.name / "ledger.sqlite") as book:
        return book.attempts()


def test_what_cannot_fit_is_refused_before_any_segment(disk, clip, undisturbed, tmp_path, capsys):
    """Without loss, the estimate is higher than the room, so nothing is begun."""
    disk.leave(400 * KIB)
    said = run(clip, disk, capsys, "--quality", "100", code=5)
    assert "the job needs about" in said
    assert "free some" in said
    disk.check_undamaged(tmp_path)
    assert not (disk.job / "segments").exists()
    disk.leave(8192 * KIB)
    run(clip, disk, capsys, "--quality", "100", code=0)
    assert disk.output.exists()
    with Ledger(disk.job / "ledger.sqlite") as book:
        assert {(count.begun, count.finished) for count in book.attempts().values()} == {(1, 1)}
