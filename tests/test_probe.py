"""What `probe` says about real files, and how it refuses what is no video."""

import csv
import os
import shutil
import sys
import wave
from fractions import Fraction
from pathlib import Path

import pytest

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.probe import probe
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
