"""Side data, stream groups and boxes: nothing that a source has is lost in silence."""

import struct
from pathlib import Path
from typing import get_args

import av
import cv2
import ffmpeg
import numpy as np
import pytest
from av.packet import PktSideDataT
from av.sidedata.sidedata import Type

from tests.support.clips import analyse
from tests.support.streams import lavfi, make
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.ffmpeg import file_url, run_ffmpeg
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.media.read.side_data import NEWER, SideDataReader, crop_of
from vsr_pipeline.media.read.side_data_table import (
    APPLIED,
    FRAME_FATES,
    KEPT,
    PACKET_FATES,
    REPLACED,
    FrameLosses,
    is_profile_5,
)
from vsr_pipeline.timeline import Crop

_PATH_TO_SAMPLE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"")


def with_box(data, box, path=_PATH_TO_SAMPLE_ENTRY):
    """A file, or a box, with another box at the end of what `path` leads to; the picture's data must lie before it."""
    if not path:
        return struct.pack(">I", len(data) + len(box)) + data[4:] + box
    is_file = path[0] == b"moov"
    at = 0 if is_file else 16 if data[4:8] == b"stsd" else 8
    while True:
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind.startswith(path[0]):
            changed = data[:at] + with_box(data[at : at + size], box, path[1:]) + data[at + size :]
            return changed if is_file else struct.pack(">I", len(changed)) + changed[4:]
        at += size


def box(kind, *contents):
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), kind) + body


SPHERICAL = box(
    b"sv3d",
    box(b"svhd", bytes(4), b"maker\0"),
    box(b"proj", box(b"prhd", bytes(16)), box(b"equi", bytes(20))),
)
STEREO = box(b"st3d", bytes(4), b"\x02")


def dolby_vision(profile, compatibility):
    flags = (profile << 9) | (1 << 3) | 0b101
    return box(
        b"dvcC" if profile < 8 else b"dvvC", bytes([1, 0]), struct.pack(">HB", flags, compatibility << 4), bytes(19)
    )


def video(folder, name="clip.mp4", *, boxes=b"", **options):
    plain = make(folder / f"plain_{name}", lavfi("testsrc2=size=64x48:rate=25:duration=0.2"), **options)
    path = folder / name
    path.write_bytes(with_box(plain.read_bytes(), boxes) if boxes else plain.read_bytes())
    return path


def remuxed(source, path):
    run_ffmpeg(ffmpeg.output(ffmpeg.input(file_url(source)), file_url(path), c="copy", strict=-1), what="remuxing")
    return path


def notes(path, **settings):
    return "\n".join(analyse(path, InputConfig(**settings)).notes)


def test_every_kind_of_side_data_has_a_fate():
    assert {kind.name for kind in Type} | set(NEWER.values()) == set(FRAME_FATES)
    assert set(get_args(PktSideDataT)) <= set(PACKET_FATES)
    for fate in (*FRAME_FATES.values(), *PACKET_FATES.values()):
        assert fate in (KEPT, APPLIED, REPLACED) or len(fate.split()) > 4, fate


def test_side_data_that_is_not_known_is_said():
    losses = FrameLosses(64, 48)
    losses.feed([("number 47", None), ("DISPLAYMATRIX", None)])
    assert losses.sentences == ("side data of a kind that is not known here (number 47) is left out",)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("pngv.mov", (64, 48), "colour profile"),
        ("dv8.mp4", (64, 48), "Dolby Vision metadata is left out, the base layer is enhanced (profile 8)"),
        ("hdr10plus.mkv", (64, 48), "HDR10+"),
        ("crop.mkv", (88, 48), "crops the picture of 96x64 to 88x48"),
        ("clap.mov", (64, 40), "crops the picture of 72x48 to 64x40"),
        ("sbs.mkv", (64, 48), "stereo 3D picture is left out, both views are enhanced as one picture (side by side"),
        ("sbs.mp4", (64, 48), "stereo 3D"),
    ],
)
def test_what_went_wrong(faults, name, size, says):
    assert probe(faults / name).display_size == size
    said = analyse(faults / name).notes
    assert sum(says in note for note in said) == 1, said
    with VideoReader(faults / name) as reader:
        assert {frame.pixels.shape for frame in reader} == {(size[1], size[0], 3)}


@pytest.mark.parametrize("name", ["vp9.webm", "h264.mp4", "mpeg4.avi", "ffv1.mkv"])
def test_an_ordinary_file_loses_nothing(tmp_path, name):
    codecs = {"vp9.webm": "libvpx-vp9", "h264.mp4": "libx264", "mpeg4.avi": "mpeg4", "ffv1.mkv": "ffv1"}
    path = make(tmp_path / name, lavfi("testsrc2=size=64x48:rate=25:duration=0.2"), vcodec=codecs[name])
    assert "left out" not in notes(path)


def test_a_frame_with_a_profile_can_be_read(faults):
    """PyAV frees the tags of such side data twice, which ends the process, at this frame or a later one."""
    with av.open(str(faults / "pngv.mov")) as container:
        read = SideDataReader()
        frames = list(container.decode(video=0))
        found = [dict(read(frame)) for _ in range(50) for frame in frames]
    assert all(set(kinds) == {"ICC_PROFILE"} for kinds in found)


def test_side_data_that_pyav_does_not_know_hides_no_other(tmp_path):
    """A JPEG with EXIF gives side data that is newer than PyAV's list, and a display matrix."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + tiff
    plain = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    picture = tmp_path / "turned.jpg"
    picture.write_bytes(plain[:2] + struct.pack(">2sH", b"\xff\xe1", len(exif) + 2) + exif + plain[2:])
    path = tmp_path / "turned.mov"
    run_ffmpeg(ffmpeg.output(ffmpeg.input(file_url(picture)), file_url(path), c="copy"), what="making a source")
    info = probe(path)
    assert (info.rotation_degrees, info.display_size) == (90, (48, 64))
    assert "EXIF" in notes(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_spherical_and_stereo_boxes_are_said(tmp_path, suffix):
    path = video(tmp_path, boxes=STEREO + SPHERICAL)
    if suffix != ".mp4":
        path = remuxed(path, tmp_path / f"clip{suffix}")
    assert "360 degrees" in notes(path)
    assert "side by side" in notes(path)


@pytest.mark.parametrize(("profile", "compatibility", "is_refused"), [(5, 0, True), (8, 1, False), (8, 4, False)])
def test_dolby_vision_with_colours_of_its_own_is_refused(tmp_path, profile, compatibility, is_refused):
    path = video(tmp_path, boxes=dolby_vision(profile, compatibility), vcodec="libx265", **{"tag:v": "hvc1"})
    if is_refused:
        with pytest.raises(InputError, match=f"profile {profile}.*--dolby-vision ignore"):
            probe(path)
    assert f"Dolby Vision metadata is left out, the base layer is enhanced (profile {profile})" in notes(
        path, dolby_vision="ignore" if is_refused else "refuse"
    )


def test_dolby_vision_is_told_from_a_frame_where_no_record_says_it(shared_data):
    """The header of a real one, of profile 8, with what profile 5 says in two places."""
    path = shared_data / "data/media/large_phone/androidx__sample_edit_list.mp4"
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        metadata = bytearray(memoryview(dict(SideDataReader()(frame))["DOVI_METADATA"]))
    assert not is_profile_5(bytes(metadata))
    (offset,) = struct.unpack_from("=Q", metadata)
    metadata[offset + 4], metadata[offset + 10] = 0, 1
    assert is_profile_5(bytes(metadata))
    assert not is_profile_5(bytes(metadata[: offset + 5]))


def matroska_with_crop(faults, path, **edges):
    """The file of the table, cropped otherwise: each edge is one byte of its header."""
    data = bytearray((faults / "crop.mkv").read_bytes())
    for name, element in {"bottom": b"\x54\xaa", "top": b"\x54\xbb", "left": b"\x54\xcc", "right": b"\x54\xdd"}.items():
        data[data.index(element) + 3] = edges.get(name, 0)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_the_crop_is_that_of_players(faults, tmp_path, turned):
    path = matroska_with_crop(faults, tmp_path / "crop.mkv", left=6, right=14, top=10, bottom=2)
    if turned:
        run_ffmpeg(
            ffmpeg.output(
                ffmpeg.input(file_url(path), **{"display_rotation:v:0": 90}),
                file_url(tmp_path / "turned.mkv"),
                c="copy",
            ),
            what="turning a source",
        )
        path = tmp_path / "turned.mkv"
    assert probe(path).crop == Crop(left=6, right=14, top=10, bottom=2)
    run_ffmpeg(
        ffmpeg.output(ffmpeg.input(file_url(path)), file_url(tmp_path / "player.png"), vframes=1, pix_fmt="gray"),
        what="playing it",
    )
    shown = cv2.imread(str(tmp_path / "player.png"), cv2.IMREAD_GRAYSCALE).astype(int)
    with VideoReader(path) as reader:
        ours = cv2.cvtColor(next(iter(reader)).pixels, cv2.COLOR_RGB2GRAY).astype(int)
    assert ours.shape == shown.shape == ((76, 52) if turned else (52, 76))
    moved = min(abs(np.roll(ours, step, axis) - shown).mean() for axis in (0, 1) for step in (-1, 1))
    assert abs(ours - shown).mean() < moved / 4


def test_a_crop_that_leaves_nothing_is_not_applied():
    assert crop_of({"framecropping": "48/48/0/0"}, 96, 64) == Crop()
    assert crop_of({"framecropping": "48/47/0/0"}, 96, 64) == Crop(left=48, right=47)


def test_tiles_are_refused(faults):
    with pytest.raises(InputError, match="made of tiles"):
        probe(faults / "grid.avif")


def test_one_tile_is_a_picture(tmp_path):
    path: Path = tmp_path / "one.avif"
    cv2.imwrite(str(path), np.full((48, 64, 3), 128, np.uint8))
    assert probe(path).display_size == (64, 48)


def test_captions_and_bars_inside_the_picture_are_said(shared_data):
    said = notes(shared_data / "data/media/interlaced/fate__scte20.ts")
    assert "closed captions" in said
    assert "active format description" in said
