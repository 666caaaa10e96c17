"""What `probe` says about real files, and how it refuses what is no video."""

import csv
import os
import random
import shutil
import struct
import sys
import time
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.clips import analyse, ffmpeg
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError, ResourceError
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.runtime import memory
from vsr_pipeline.timeline import VideoInfo

# Files of the catalogue that are no video, and what the one line says.
REFUSED = {
    "fate__Owner-iTunes_9.0.3.15.mp4": "only a cover picture",
    "moviepy__result.webm": "is empty",
    "fate__mov-tenc-only-encrypted.mp4": "no frame of",
}
# (clockwise degrees, mirrored); every other file is upright.
TURNED = {
    "androidx__sample_edit_list.mp4": (90, False),
    "androidx__portrait_4k60.mp4": (90, False),
    "androidx__internal_emulator_transformer_output_180_rotated.mp4": (180, False),
    "androidx__mv_with_2_top_shots.mp4": (270, False),
    "decord__video_270.mov": (270, False),
    "decord__video_180.mov": (180, False),
    "fate__displaymatrix.mp4": (90, False),
    "androidx__sample_rotate_and_reflect.mp4": (90, True),
}


def catalogue(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "data/media/CATALOGUE.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def differences(info: VideoInfo, row: dict[str, str]) -> list[str]:
    """What `probe` and the catalogue (made by ffprobe) see differently."""
    name = Path(row["file"]).name
    sar = Fraction(row["sar"].replace(":", "/")) if row["sar"] else Fraction(1)
    expected = {
        "codec": row["vcodec"],
        "size": tuple(int(n) for n in row["size"].split("x")),
        "pixel_format": row["pix_fmt"],
        "sar": sar,
        "orientation": TURNED.get(name, (0, False)),
        "transfer": row["transfer"] or None,
        "audio": len([a for a in row["audio"].split(",") if a]),
        "subtitles": len([s for s in row["subs"].split(",") if s]),
    }
    found = {
        "codec": info.codec,
        "size": (info.width, info.height),
        "pixel_format": info.pixel_format,
        "sar": info.sample_aspect_ratio,
        "orientation": (info.rotation_degrees, info.mirrored),
        "transfer": info.colour.transfer,
        "audio": info.audio_streams,
        "subtitles": info.subtitle_streams,
    }
    return [f"{name}: {key} {found[key]}, not {expected[key]}" for key in expected if found[key] != expected[key]]


def test_all_files_of_the_catalogue(shared_data):
    wrong = []
    for row in catalogue(shared_data):
        path = shared_data / "data/media" / row["file"]
        if path.name in REFUSED:
            with pytest.raises(InputError, match=REFUSED[path.name]) as caught:
                probe(path)
            assert "\n" not in str(caught.value)
        else:
            wrong += differences(probe(path), row)
    assert not wrong, "\n".join(wrong)


def test_details_of_a_phone_clip(shared_data):
    info = probe(shared_data / "data/media/large_phone/androidx__sample_edit_list.mp4")
    assert info.display_size == (1080, 1920)
    assert (info.bit_depth, info.time_base) == (10, Fraction(1, 600))
    assert (info.colour.matrix, info.colour.range, info.colour.primaries) == ("bt2020nc", "tv", "bt2020")
    assert info.frame_count_from_header == 86
    assert info.average_frame_rate == Fraction(51600, 1841)
    assert info.duration_seconds_from_header == Fraction(1529, 600)


def test_the_first_default_video_stream_is_chosen_and_no_cover(shared_data):
    assert probe(shared_data / "data/media/multi_stream/torchcodec__nasa_13013.mp4").stream_index == 0
    assert probe(shared_data / "data/media/multi_stream/fate__law-and-order-partial.wtv").stream_index == 2


def test_another_video_stream_can_be_chosen(shared_data):
    path = shared_data / "data/media/multi_stream/torchcodec__nasa_13013.mp4"
    first, second = probe(path, InputConfig(video_stream=0)), probe(path, InputConfig(video_stream=1))
    assert (first.video_streams, first.video_stream, first.width) == (2, 0, 320)
    assert (second.video_streams, second.video_stream, second.width) == (2, 1, 480)
    with pytest.raises(InputError, match=r"no video stream 2 in .*: it has 2, counted from 0"):
        probe(path, InputConfig(video_stream=2))
    with VideoReader(path, InputConfig(video_stream=1)) as reader:
        assert next(iter(reader)).pixels.shape == (270, 480, 3)
    assert "video stream 1 (h264 480x270) is not enhanced and left out" in analyse(path).notes


def test_the_rotation_can_be_kept(shared_data):
    path = shared_data / "data/media/rotated/fate__displaymatrix.mp4"
    turned, kept = probe(path), probe(path, InputConfig(keep_rotation=True))
    assert (turned.display_size, kept.display_size) == ((240, 160), (160, 240))
    assert (turned.display_aspect_ratio_of_pixels, kept.display_aspect_ratio_of_pixels) == (2, Fraction(1, 2))
    assert kept.rotation_degrees == turned.rotation_degrees == 90
    with VideoReader(path) as upright, VideoReader(path, InputConfig(keep_rotation=True)) as as_coded:
        pixels = next(iter(as_coded)).pixels
        assert pixels.shape == (240, 160, 3)
        assert np.array_equal(np.rot90(pixels, -1), next(iter(upright)).pixels)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("broken/decord__corrupted.mp4", Fraction(1, 10)),
        ("rotated/fate__displaymatrix.mp4", 22.5),  # cut off after 33 frames of 708
        ("broken/fate__mp4-init-nonkeyframe.mp4", 3.1),
        ("multi_stream/fate__law-and-order-partial.wtv", 152.4),
        ("multi_stream/fate__mov_stream_shorter_than_movie.mp4", 0),  # an edit list hides half of it
        ("subtitles/androidx__sample_with_ass_subtitles.mkv", 0),  # its sound is longer
        ("interlaced/fate__scte20.ts", 0),
    ],
)
def test_what_is_announced_and_missing(name, seconds, shared_data):
    found = analyse(shared_data / "data/media" / name).missing_seconds
    assert float(found) == pytest.approx(float(seconds), abs=0.1 if seconds else 0)


def test_a_cut_off_matroska_file_misses_its_end(shared_data, tmp_path):
    whole = (shared_data / "data/media/plain_av/moviepy__big_buck_bunny_432_433.webm").read_bytes()
    (tmp_path / "short.webm").write_bytes(whole[: len(whole) // 2])
    assert 0.3 < analyse(tmp_path / "short.webm").missing_seconds < 1


def uncompressed_avi(width: int, height: int) -> bytes:
    """AVI whose header claims a size, with one frame of a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    main = struct.pack("<10I16x", 40_000, 0, 0, 0x10, 1, 0, 1, 0, width, height)
    stream = b"vidsI420" + struct.pack("<3I5I2i4h", 0, 0, 0, 1, 25, 0, 1, 0, -1, 0, 0, 0, 0, 0)
    picture = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 12, b"I420", 0, 0, 0, 0, 0)
    streams = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", picture))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + streams)
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi" + chunk(b"00dc", bytes(256))))


def test_absurd_sizes_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 2**30)
    for size, error, reason in (
        ((65_000, 65_000), InputError, "damaged or encrypted"),
        ((16_000, 16_000), ResourceError, "need 12.2 GiB of memory, 1.0 GiB are free"),
    ):
        path = tmp_path / "absurd.avi"
        path.write_bytes(uncompressed_avi(*size))
        started = time.monotonic()
        with pytest.raises(error, match=reason):
            probe(path)
        assert time.monotonic() - started < 5


def test_an_encrypted_film_is_refused_at_once(tmp_path):
    path = tmp_path / "film.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=50:duration=60", "-c:v", "libx264", "-preset", "ultrafast",
        "-movflags", "+faststart", path,
    )  # fmt: skip
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    path.write_bytes(data[:begin] + random.Random(0).randbytes(len(data) - begin))
    started = time.monotonic()
    with pytest.raises(InputError, match="damaged or encrypted"):
        probe(path)
    assert time.monotonic() - started < 10


def test_what_is_no_video_file(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    noise = tmp_path / "noise.mkv"
    noise.write_bytes(bytes(range(256)) * 64)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path, reason in (
        (tmp_path / "missing.mp4", "no such file"),
        (text / "inside.mp4", "no such file"),
        (Path("https://example.org/clip.mp4"), "no such file"),
        (Path("nul\0.mp4"), "cannot read"),
        (tmp_path, "is a folder"),
        (empty, r"is empty \(0 bytes\)"),
        (text, "not a video file"),
        (noise, "not a video file"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            probe(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="no regular file"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unreadable for this user")
def test_a_file_without_permission(tmp_path):
    locked = tmp_path / "locked.mp4"
    locked.write_bytes(b"x")
    locked.chmod(0)
    with pytest.raises(InputError, match="cannot read"):
        probe(locked)


def test_an_audio_file(tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    with pytest.raises(InputError, match="found only audio"):
        probe(tmp_path / "tone.wav")


NAMES = [
    "-i.mov",
    "a%03d.mov",
    "c:d.mov",
    "http:x.mov",
    " two  words '\".mov",
    "ünï–ço∂é 影.mov",
    "line\nbreak.mov",
    "[x]*?.mov",
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not allow these names")
@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"latin-\xe9.mov")])
def test_any_name_is_only_a_name(name, shared_data, tmp_path, monkeypatch):
    source = shared_data / "data/media/rotated/decord__video_270.mov"
    try:
        shutil.copy(source, tmp_path / name)
    except OSError:
        pytest.skip("this file system does not allow the name")
    assert probe(tmp_path / name).width == 568
    monkeypatch.chdir(tmp_path)
    assert probe(Path(name)).width == 568


def test_no_other_file_is_read(shared_data, tmp_path):
    source = shared_data / "data/media/interlaced/fate__mpeg2_field_encoding.ts"
    shutil.copy(source, tmp_path / "part.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n"
    for name, text in (
        ("list.m3u8", playlist),
        ("list.mp4", playlist),
        ("list.ffconcat", "ffconcat version 1.0\nfile part.ts\n"),
        ("session.sdp", "v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="not a video file"):
            probe(tmp_path / name)
