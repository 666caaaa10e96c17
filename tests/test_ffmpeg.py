"""The ffmpeg program: what is said when it fails, and that no child outlives its job."""

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import ffmpeg
import pytest

from vsr_pipeline.errors import DiskFullError, InputError, OutputError, ResourceError, UsageError
from vsr_pipeline.media.ffmpeg import encoders, ffmpeg_binary, file_url, input_file, run_ffmpeg

AWKWARD_NAMES = ["a%d%03d.mp4", "-y.mp4", "http:--x.mp4", "bär 影 .mp4", "line\nbreak.mp4", 'it\'s "q" [0:v],;.mp4']


def make_clip(path, *, seconds=0.2, **options):
    source = ffmpeg.input(f"testsrc2=size=64x48:rate=25:duration={seconds}", f="lavfi")
    run_ffmpeg(ffmpeg.output(source, file_url(path), vcodec="libx264", **options), what="making a clip")


def no_child_left():
    """Whether no ffmpeg is a child of this process, alive or not waited for; other tests may have left others."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a process that has just ended
            if re.search(rf"^Name:\tffmpeg.*^PPid:\t{os.getpid()}$", status.read_text(), re.M | re.S):
                return False
    return True


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_file_name_is_a_file_name_whatever_is_in_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(Path(name))
    run_ffmpeg(ffmpeg.output(input_file(Path(name)), "file:copy.mkv", c="copy"), what="copying")
    assert {path.name for path in tmp_path.iterdir()} == {name, "copy.mkv"}


def test_the_program_can_be_named(monkeypatch, tmp_path):
    usual = ffmpeg_binary()
    named = tmp_path / "my ffmpeg"
    named.symlink_to(usual)
    monkeypatch.setenv("VSR_FFMPEG", str(named))
    assert ffmpeg_binary() == named
    make_clip(tmp_path / "a.mp4")
    monkeypatch.setenv("VSR_FFMPEG", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"VSR_FFMPEG is .*missing.*: correct or unset it"):
        ffmpeg_binary()


def test_encoders_are_listed():
    assert {"libx264", "ffv1", "aac", "mov_text"} <= encoders()


def one_line(error):
    assert "\n" not in str(error.value)
    assert re.search(r"@ 0x|Conversion failed|Exiting", str(error.value)) is None
    return str(error.value)


def test_failures_are_one_line_of_the_right_kind(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(InputError) as error:
        run_ffmpeg(ffmpeg.output(input_file(text), file_url(tmp_path / "o.mp4")), what="reading text")
    assert one_line(error).startswith("reading text failed: ffmpeg cannot read the input")

    make_clip(tmp_path / "a.mp4")
    clip = input_file(tmp_path / "a.mp4")
    with pytest.raises(OutputError) as error:
        run_ffmpeg(ffmpeg.output(clip, file_url(tmp_path / "o.mp4"), vcodec="no_such"), what="encoding")
    assert "Unknown encoder 'no_such'" in one_line(error)
    with pytest.raises(OutputError) as error:
        run_ffmpeg(ffmpeg.output(clip, file_url(tmp_path / "no" / "o.mp4")), what="encoding")
    assert "No such file or directory" in one_line(error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_a_resource_error(tmp_path):
    full = tmp_path / "full.mkv"
    full.symlink_to("/dev/full")
    with pytest.raises(ResourceError) as error:
        make_clip(full, seconds=5)
    assert one_line(error) == "no space left while making a clip: free some and run the same command again"
    assert no_child_left()


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX shells")
def test_too_little_memory_is_no_full_disk(tmp_path, monkeypatch):
    """A full disk ends a whole batch; a file that asks for too much memory must not."""
    make_clip(tmp_path / "a.mp4")
    limited = tmp_path / "ffmpeg"
    limited.write_text(f'#!/bin/sh\nulimit -v 1000000\nexec {ffmpeg_binary()} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setenv("VSR_FFMPEG", str(limited))
    huge = input_file(tmp_path / "a.mp4").filter("scale", 16000, 16000).filter("format", "rgb48")
    with pytest.raises(ResourceError, match="memory ran out while enlarging") as error:
        run_ffmpeg(ffmpeg.output(huge, file_url(tmp_path / "o.mkv"), vcodec="ffv1"), what="enlarging")
    assert not isinstance(error.value, DiskFullError)
    one_line(error)


def test_an_input_cannot_make_ffmpeg_use_the_network(tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        run_ffmpeg(ffmpeg.output(input_file(playlist), file_url(tmp_path / "o.mp4")), what="reading a playlist")


def test_an_input_cannot_make_ffmpeg_read_another_file(tmp_path):
    make_clip(tmp_path / "a.mp4")
    crafted = tmp_path / "crafted.mp4"
    crafted.write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(InputError):
        run_ffmpeg(ffmpeg.output(input_file(crafted), file_url(tmp_path / "o.mp4")), what="reading a list")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_leaves_no_child():
    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    endless = ffmpeg.output(ffmpeg.input("testsrc2=size=64x48", f="lavfi", re=None), "pipe:", format="null")
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_ffmpeg(endless, what="running for ever")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5
    assert no_child_left()
