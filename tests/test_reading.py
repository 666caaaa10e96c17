"""What is read of a source, how often, and what becomes of a read error."""

import errno
import io
import os
import re
import shutil
import stat
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.clips import make_video
from vsr_pipeline import cli
from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError, ReadError
from vsr_pipeline.media.contents import read_contents
from vsr_pipeline.media.images import write_image
from vsr_pipeline.media.read.cutoff import missing_bytes
from vsr_pipeline.media.source_bytes import SourceBytes
from vsr_pipeline.media.streams.mux import mux

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="no strace: apt-get install strace")
QUICK = ("--model", "bicubic-x4", "--encoder-preset", "ultrafast")
SEGMENTS = 10


KINDS = {
    "mpg": ("vob", "mpeg2video", "ac3"),
    "ts": ("mpegts", "mpeg2video", "ac3"),
    "mkv": ("matroska", "mpeg4", "ac3"),
    "mp4": ("mp4", "mpeg4", "aac"),
    "avi": ("avi", "mpeg4", "mp2"),
    "wmv": ("asf", "wmv2", "mp2"),
}


def make_noise(path, *, frames=24, width=96, height=64):
    """Noise, so that little picture is many bytes, and sound, in the container that the suffix says."""
    path.parent.mkdir(exist_ok=True)
    container_format, codec, sound_codec = KINDS[path.suffix[1:]]
    rng = np.random.default_rng(5)
    with av.open(str(path), "w", format=container_format) as container:
        video = container.add_stream(codec, rate=25, options={"g": "12", "qmin": "1", "qmax": "1"})
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", 30_000_000
        sound = container.add_stream(sound_codec, rate=48000, layout="mono")
        sample_format = sound.codec_context.format.name
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (height, width, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
            silence = np.zeros((1, 1920), np.int16 if sample_format == "s16" else np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format=sample_format, layout="mono")
            samples.sample_rate = 48000
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


class Traffic:
    """What processes read of the files under a path, as the operating system counted it."""

    def __init__(self, log, path):
        self.bytes_read = self.opens = self.looks = 0
        begun = {}
        for line in log.read_text(errors="replace").splitlines():
            process, call = line.split(maxsplit=1)
            if call.endswith("<unfinished ...>"):
                begun[process] = call.removesuffix("<unfinished ...>")
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
                call = begun.pop(process, "") + resumed[1]
            name, result = call.split("(", 1)[0], re.search(r"\) = (\d+)", call)
            if result is None or str(path) not in call:
                continue
            self.bytes_read += int(result[1]) if "read" in name else 0
            self.opens += name == "openat"
            self.looks += name in ("newfstatat", "statx", "stat")


def traced(source, *options):
    """Run `vsr run` on a source in `SEGMENTS` segments and return the traffic."""
    log = source.parent / "trace.log"
    calls = "trace=openat,read,pread64,stat,newfstatat,statx"
    trace = [STRACE, "-f", "-y", "--seccomp-bpf", "-e", calls, "-o", str(log)]
    command = [sys.executable, "-m", "vsr_pipeline", "run", str(source), "--output", str(source.parent / "out.mp4")]
    subprocess.run([*trace, *command, *QUICK, *options], check=True, capture_output=True, timeout=600)
    return Traffic(log, source)


@needs_strace
def test_a_program_stream_is_read_four_times_whatever_the_number_of_segments(tmp_path):
    source = make_noise(tmp_path / "a.mpg", frames=120)
    traffic = traced(source, "--segment-frames", "12")
    group_of_pictures = source.stat().st_size / 10
    assert traffic.bytes_read <= 4 * source.stat().st_size + SEGMENTS * group_of_pictures
    assert traffic.opens <= 6  # one for each pass, and one by ffmpeg for the sound


@needs_strace
@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.nightly)])
def test_images_are_read_three_times_whatever_the_number_of_segments(tmp_path, count):
    rng = np.random.default_rng(6)
    folder = tmp_path / "pictures"
    for number in range(count):
        write_image(folder / f"{number:05d}.png", rng.integers(0, 256, (12, 16, 3), np.uint8))
    traffic = traced(folder, "--segment-frames", str(count // SEGMENTS))
    assert traffic.bytes_read <= 4 * sum(path.stat().st_size for path in folder.iterdir())
    assert traffic.opens <= 5 * count
    assert traffic.looks <= 15 * count


def test_frames_are_the_same_wherever_reading_begins_and_goes_on(tmp_path):
    source = make_noise(tmp_path / "a.mpg", frames=60)
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(source.read_bytes() * 2)  # the clock starts again in the middle: times name no place
    for path in (source, joined):
        header = look_at(path, InputConfig())
        footage = footage_of(header, analyse_clip(header))
        count = footage.timeline.frame_count
        with footage.open() as frames:
            right = [pixels.copy() for pixels in frames.read(0, count)]
        with footage.open() as frames:
            for start, stop in ((10, 30), (28, 40), (0, 3), (45, 60), (50, 52), (1, 60), (count - 1, count)):
                for index, pixels in enumerate(frames.read(start, stop), start):
                    assert np.array_equal(pixels, right[index])
            one, other = frames.read(5, 20), frames.read(7, 22)
            for index, (a, b) in enumerate(zip(one, other, strict=True)):
                assert np.array_equal(a, right[5 + index])
                assert np.array_equal(b, right[7 + index])


class FailingFile(io.FileIO):
    """A file whose disk, or network, fails from some byte on."""

    first_bad_byte = 0
    error = errno.EIO

    def read(self, count=-1):
        place = self.tell()
        if place + count > self.first_bad_byte:
            if place >= self.first_bad_byte:
                raise OSError(self.error, os.strerror(self.error))
            count = self.first_bad_byte - place
        return super().read(count)


@pytest.fixture
def fails(monkeypatch):
    """Let a file fail from a byte on."""
    opening = Path.open

    def let(path, first_bad_byte, error=errno.EIO):
        os.utime(path, (1, 1))  # what is known of it is forgotten

        def open_file(self, mode="r", buffering=-1, **options):
            if self != path or mode != "rb":
                return opening(self, mode, buffering, **options)
            file = FailingFile(self, "r")
            file.first_bad_byte, file.error = first_bad_byte, error
            return file

        monkeypatch.setattr(Path, "open", open_file)

    return let


@pytest.mark.parametrize("error", [errno.EIO, errno.ETIMEDOUT, errno.ESTALE])
@pytest.mark.parametrize("kind", KINDS)
def test_a_read_error_is_no_end_of_the_file_in_the_analysis(tmp_path, fails, kind, error):
    source = make_noise(tmp_path / f"a.{kind}")
    header = look_at(source, InputConfig())
    fails(source, source.stat().st_size // 2, error)
    with pytest.raises(ReadError, match=re.escape(os.strerror(error))):
        analyse_clip(header)


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_error_is_no_end_of_the_file_in_a_segment(tmp_path, fails, kind):
    source = make_noise(tmp_path / f"a.{kind}")
    header = look_at(source, InputConfig())
    footage = footage_of(header, analyse_clip(header))
    fails(source, source.stat().st_size // 2)
    with pytest.raises(ReadError, match="Input/output error"), footage.open() as frames:
        for _ in frames.read(0, footage.timeline.frame_count):
            pass


def test_a_file_that_becomes_shorter_while_it_is_read_is_no_shorter_film(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(300_000))
    with SourceBytes(path) as file:
        assert len(file.read(1000)) == 1000
        os.truncate(path, 200_000)
        file.seek(-10, os.SEEK_END)
        assert file.read(1000) == b""
        with pytest.raises(ReadError, match="ends earlier"):
            file.check()
        file.seek(0)
        assert file.read(1000) == b"", "nothing is given any more after a failure"


def test_the_end_of_a_file_is_no_failure(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 50_000)
    with SourceBytes(path) as file:
        found = b"".join(iter(lambda: file.read(32_768), b""))
        assert found == path.read_bytes()
        assert file.seek(-3, os.SEEK_END) == len(found) - 3
        assert file.read(10) == b"\xfd\xfe\xff"
        assert file.seek(2) == file.tell() == 2
        assert file.read(2) == b"\x02\x03"
        file.check()


def test_a_read_error_ends_a_run_with_exit_code_3_and_no_output(tmp_path, fails, capsys):
    source = make_noise(tmp_path / "a.mpg")
    fails(source, source.stat().st_size // 2, errno.ETIMEDOUT)
    assert cli.run(["run", str(source), "--output", str(tmp_path / "out.mp4"), *QUICK]) == 3
    assert "timed out" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_a_batch_does_not_give_up_a_clip_that_could_not_be_read(tmp_path, fails, capsys):
    source = make_noise(tmp_path / "in" / "a.mpg")
    fails(source, source.stat().st_size // 2)
    batch = ["batch", str(source.parent), "--output", str(tmp_path / "out"), "--retries", "1", *QUICK]
    for _ in range(3):
        assert cli.run(batch) == 7
        said = capsys.readouterr()
        assert "Input/output error" in said.err
        assert "given up" not in said.out


@needs_strace
@pytest.mark.parametrize("kind", ["mpg", "mp4", "mkv"])
def test_a_read_error_while_sound_is_copied_is_no_shorter_sound(tmp_path, monkeypatch, kind):
    source = make_noise(tmp_path / f"a.{kind}")
    track = make_video(tmp_path / "track.mp4", audio=False)
    mux(track, read_contents(source), tmp_path / "right.mkv")
    inject = f"{STRACE} -f -o /dev/null -P {source} -e trace=read -e inject=read:error=EIO:when=2+"
    use_ffmpeg(tmp_path, monkeypatch, f'exec {inject} {os.environ.get("VSR_FFMPEG") or ffmpeg()} "$@"')
    with pytest.raises(InputError, match=r"cannot (be )?read"):
        mux(track, read_contents(source), tmp_path / "out.mkv")


def test_a_network_that_times_out_while_sound_is_copied(tmp_path, monkeypatch):
    """A stand-in for ffmpeg says what ffmpeg says then, with the exit status that it has then."""
    source, track = make_noise(tmp_path / "a.mp4"), make_video(tmp_path / "track.mp4", audio=False)
    said = "[in#1/mov,mp4,m4a,3gp,3g2,mj2 @ 0x5642] Error during demuxing: Connection timed out"
    use_ffmpeg(tmp_path, monkeypatch, f"echo '{said}' >&2")
    with pytest.raises(ReadError, match="Connection timed out"):
        mux(track, read_contents(source), tmp_path / "out.mkv")


def ffmpeg():
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def use_ffmpeg(folder, monkeypatch, command):
    script = folder / "ffmpeg.sh"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VSR_FFMPEG", str(script))


def test_a_fragmented_file_that_is_cut_off_is_said_and_refused_when_strict(tmp_path, shared_data, capsys):
    source = shared_data / "data" / "faults" / "fragcut.mp4"
    if not source.is_file():
        pytest.skip(f"no {source}")
    run = ["run", str(source), "--output", str(tmp_path / "out.mp4"), *QUICK]
    assert cli.run([*run, "--strict"]) == 3
    assert "fragcut.mp4 is cut off: 17698 bytes are missing" in capsys.readouterr().err
    assert cli.run(run) == 0
    assert "fragcut.mp4 is cut off: 17698 bytes are missing" in capsys.readouterr().err


def missing_bytes_of(path):
    with SourceBytes(path) as file:
        file.seek(7)
        found = missing_bytes(file)
        assert file.tell() == 7
        return found


@pytest.mark.parametrize("kind", ["mkv", "avi", "mp4"])
def test_bytes_that_are_missing_at_the_end_are_counted(tmp_path, kind):
    whole = make_noise(tmp_path / f"a.{kind}")
    assert missing_bytes_of(whole) == 0
    data = whole.read_bytes()
    kept = data.index(b"mdat") + 1000 if kind == "mp4" else len(data) - 1000
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(data[:kept])
    assert missing_bytes_of(cut) > 0
