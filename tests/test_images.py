"""Images as input and as output: folders, patterns, single ones, of 8 and 16 bits."""

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from tests.support.clips import make_video, times
from vsr_pipeline import cli
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.images import ImageTarget, image_losses, image_target, images_of, read_image, write_image

QUICK = ("--model", "bicubic-x4")


def picture(index=0, deep=False, height=12, width=16):
    ramp = np.arange(height * width * 3).reshape(height, width, 3) + 7 * index
    return (ramp * 97 % 65536).astype(np.uint16) if deep else (ramp % 256).astype(np.uint8)


def shots(folder, numbers=range(4), suffix=".png", deep=False):
    for number in numbers:
        write_image(folder / f"frame_{number:05d}{suffix}", picture(number, deep))
    return folder


def run(*arguments, code=0):
    assert cli.run(["run", *map(str, arguments), *QUICK]) == code


def test_a_folder_becomes_a_video(workspace, capsys):
    shots(workspace / "shots")
    run("shots", "--output", "out.mp4")
    assert "25 frames per second" in capsys.readouterr().err
    assert times(workspace / "out.mp4") == [Fraction(k, 25) for k in range(4)]
    run("shots", "--output", "slow.mkv", "--fps", "2", "--start", "0.5", "--max-frames", "2")
    assert times(workspace / "slow.mkv") == [0, Fraction(1, 2)]


def test_sixteen_bits_become_ten(workspace):
    shots(workspace / "shots", deep=True)
    run("shots/frame_%05d.png", "--output", "out.mp4")
    with av.open(str(workspace / "out.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p10le"
        assert sum(1 for _ in container.decode(video=0)) == 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_pattern_keeps_numbers_and_depth(workspace, suffix, capsys):
    shots(workspace / "shots", numbers=(7, 8, 11), suffix=suffix, deep=True)
    run(f"shots/frame_%05d{suffix}", "--output", f"large/out_%03d{suffix}")
    assert "2 numbers have no image" in capsys.readouterr().err
    large = sorted(p.name for p in (workspace / "large").glob("*.*") if p.is_file())
    assert large == [f"out_{n:03d}{suffix}" for n in (7, 8, 11)]
    assert read_image(workspace / "large" / large[0]).dtype == np.uint16
    assert read_image(workspace / "large" / large[0]).shape == (48, 64, 3)


def test_one_image(workspace, capsys):
    write_image(workspace / "one.jpg", picture())
    run("one.jpg", "--output", "large.webp")
    assert read_image(workspace / "large.webp").shape == (48, 64, 3)
    run("one.jpg", "--output", "large.webp")
    assert "1 of 1 frame is there already" in capsys.readouterr().err
    (workspace / "mine.png").write_bytes(b"precious")
    run("one.jpg", "--output", "mine.png", code=6)
    assert (workspace / "mine.png").read_bytes() == b"precious"
    run("one.jpg", "--output", "mine.png", "--overwrite")
    assert read_image(workspace / "mine.png").shape == (48, 64, 3)


def test_a_video_becomes_images(workspace, capsys):
    clip = make_video(workspace / "walk.mp4", frames=4)
    run(clip, "--output", "frames/")
    assert sorted(p.name for p in (workspace / "frames").glob("*.png")) == [f"0000000{k}.png" for k in range(4)]
    run(clip, "--output", "still.png", "--start", "0.04", "--max-frames", "1")
    assert np.array_equal(read_image(workspace / "still.png"), read_image(workspace / "frames" / "00000001.png"))
    run(clip, "--output", "many.png", code=2)
    assert "4 frames" in capsys.readouterr().err
    assert cli.run(["merge", "frames", "--output", "again.mp4"]) == 0
    assert times(workspace / "again.mp4") == times(clip)


def test_images_through_the_stages(workspace):
    shots(workspace / "shots")
    assert cli.run(["enhance", "shots/frame_%05d.png", "--output", "large/", *QUICK]) == 0
    assert cli.run(["merge", "large/%08d.png", "--fps", "10", "--output", "out.mkv"]) == 0
    assert times(workspace / "out.mkv") == [Fraction(k, 10) for k in range(4)]
    assert cli.run(["split", "shots"]) == 3


@pytest.mark.parametrize(
    ("source", "output"),
    [("shots", "shots"), ("shots/frame_%05d.png", "shots/frame_%05d.png"), ("shots/frame_00000.png",) * 2],
)
def test_images_are_never_made_in_the_place_of_their_own(workspace, source, output, capsys):
    first = shots(workspace / "shots") / "frame_00000.png"
    run(source, "--output", output, "--overwrite", code=6)
    assert "would replace its own source" in capsys.readouterr().err
    assert read_image(first).shape == (12, 16, 3)
    assert len(list(first.parent.iterdir())) == 4


def test_the_first_image_counts_in_a_part_without_it(workspace, capsys):
    folder = shots(workspace / "shots")
    write_image(folder / "frame_00000.png", picture(height=20))
    run("shots", "--output", "out.mp4", "--start", "0.04", code=3)
    assert "all frames of a clip have one size" in capsys.readouterr().err


def test_changed_images_are_noticed(workspace, capsys):
    shots(workspace / "shots")
    run("shots/frame_%05d.png", "--output", "out.mp4")
    write_image(workspace / "shots" / "frame_00002.png", picture(9))
    run("shots/frame_%05d.png", "--output", "out.mp4", code=2)
    assert "source.sha256" in capsys.readouterr().err


def test_names(workspace):
    (workspace / "deep").mkdir()
    assert image_target("deep") == ImageTarget(workspace.__class__("deep"))
    assert image_target("new/").folder.name == "new"
    assert image_target("new") is None
    assert image_target("new.mkv") is None
    assert image_target("a/out_%d.png").file(12).as_posix() == "a/out_12.png"
    assert image_target("a/out_%03d.tif").file(7).as_posix() == "a/out_007.tif"
    assert images_of(workspace / "film.mp4") is None
    with pytest.raises(InputError, match=r"no images .*x_%04d\.png"):
        images_of(workspace / "x_%04d.png")
    write_image(workspace / "x_%04d.png", picture())
    write_image(workspace / "x_0001.png", picture())
    assert images_of(workspace / "x_%04d.png") == {0: workspace / "x_%04d.png"}


def jpeg(pixels, *, orientation):
    """A JPEG with an EXIF orientation."""
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def test_jpegs_are_read_upright(tmp_path):
    grey = np.zeros((8, 16, 3), np.uint8)
    grey[:, :8] = 200
    (tmp_path / "a.jpg").write_bytes(jpeg(grey, orientation=6))
    upright = read_image(tmp_path / "a.jpg")
    assert upright.shape == (16, 8, 3)
    assert upright[:7].mean() > 190
    assert upright[9:].mean() < 10


def test_what_rgb_does_not_have_is_said(tmp_path):
    write = {
        "grey.png": np.full((4, 4), 90, np.uint8),
        "alpha.png": np.dstack([np.full((4, 4, 3), 90, np.uint8), np.zeros((4, 4), np.uint8)]),
        "plain.png": np.full((4, 4, 3), 90, np.uint8),
    }
    for name, pixels in write.items():
        cv2.imwrite(str(tmp_path / name), pixels)
        assert np.array_equal(read_image(tmp_path / name), np.full((4, 4, 3), 90))
    assert [len(image_losses(tmp_path / name)) for name in write] == [1, 1, 0]
    assert "transparency" in image_losses(tmp_path / "alpha.png")[0]


def animated_webp():
    frame = cv2.imencode(".webp", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0, 7, 0, 0, 7, 0, 0]) + frame[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def two_pages():
    entries = struct.pack("<HHHIII", 1, 256, 4, 1, 8, 26) + struct.pack("<HHHIII", 1, 256, 4, 1, 8, 0)
    return b"II*\0" + struct.pack("<I", 8) + entries


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.webp", animated_webp(), "not an image"),
        ("a.tif", two_pages(), "several pictures"),
        ("a.png", cv2.imencode(".png", picture())[1].tobytes()[:-40], "cut off"),
        ("a.jpg", cv2.imencode(".jpg", picture())[1].tobytes()[:-40], "cut off"),
        ("a.png", b"", "is empty (0 bytes)"),
        ("a.tif", cv2.imencode(".tif", np.zeros((4, 4, 3), np.float32))[1].tobytes(), "float32 samples"),
    ],
)
def test_bad_images_are_one_line(workspace, name, data, message, capsys):
    (workspace / name).write_bytes(data)
    run(name, "--output", "out.png", code=3)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: ")]
    assert message in line
    assert [p.name for p in workspace.iterdir()] == [name]


def test_pictures_of_a_folder_each_by_itself(workspace, capsys):
    album = workspace / "album"
    sizes = {"b.png": (12, 16), "A photo.jpg": (20, 14), "img10.png": (18, 18)}
    for index, (name, (height, width)) in enumerate(sizes.items()):
        write_image(album / name, picture(index, height=height, width=width))
    cv2.imwrite(str(album / "old.bmp"), picture(height=10, width=22))
    (album / "broken.png").write_bytes(b"no picture")
    run("album", "--output", "video.mp4", code=3)
    assert "--each" in capsys.readouterr().err
    run("album", "--each", "--output", "large/", code=7)
    assert "broken.png" in capsys.readouterr().err
    found = {path.name: read_image(path).shape[:2] for path in (workspace / "large").iterdir() if path.is_file()}
    assert found == {name: (4 * h, 4 * w) for name, (h, w) in sizes.items()} | {"old.png": (40, 88)}
    (album / "broken.png").unlink()
    run("album", "--each", "--output", "large/", "--json")
    assert capsys.readouterr().out.count('"computed_frames": 0') == 4


def test_each_is_refused_where_it_cannot_be_meant(workspace, capsys):
    write_image(workspace / "album" / "a.png", picture())
    run("album", "--each", "--output", "out.mp4", code=2)
    run("album/a.png", "--each", "--output", "large/", code=3)
    run("album", "--each", "--output", "album/", code=6)
    cv2.imwrite(str(workspace / "album" / "a.bmp"), picture())
    run("album", "--each", "--output", "large/", code=2)
    assert "would both become" in capsys.readouterr().err


def test_a_gap_in_the_numbers_of_a_folder_is_said(workspace, capsys):
    shots(workspace / "shots", numbers=(7, 8, 11))
    run("shots", "--output", "out.mp4")
    assert "shots: between 7 and 11, 2 numbers have no image" in capsys.readouterr().err
    write_image(workspace / "shots" / "last.png", picture())
    run("shots", "--output", "other.mp4")
    assert "have no image" not in capsys.readouterr().err


def animated(path, colours=(0, 60, 120), milliseconds=(40, 80, 120)):
    animation = cv2.Animation()
    shades = [np.full((24, 32, 3), (shade, 50, 200 - shade), np.uint8) for shade in colours]
    animation.frames = [np.dstack([shade, np.full((24, 32), 255, np.uint8)]) for shade in shades]
    animation.durations = np.array(milliseconds, np.int32)
    assert cv2.imwriteanimation(str(path), animation)


@pytest.mark.parametrize("name", ["move.webp", "move.png"])
def test_an_animated_image_is_a_clip_with_its_own_times(workspace, name):
    animated(workspace / name)
    run(name, "--output", "out.mp4")
    assert times(workspace / "out.mp4") == [0, Fraction(40, 1000), Fraction(120, 1000)]
    with av.open(str(workspace / "out.mp4")) as container:
        assert container.duration == 240_000
    run(name, "--output", "faster.mp4", "--fps", "50")
    assert times(workspace / "faster.mp4") == [0, Fraction(1, 50), Fraction(2, 50)]
    run(name, "--output", "large_%d.png", "--start", "0.1")
    (image,) = workspace.glob("large_*.png")
    pixels = read_image(image)
    assert image.name == "large_2.png"
    assert pixels.shape == (96, 128, 3)
    assert abs(pixels.astype(int) - (80, 50, 120)).max() <= 8


def test_an_animated_image_that_is_cut_off_is_one_line(workspace, capsys):
    animated(workspace / "move.webp")
    data = (workspace / "move.webp").read_bytes()
    (workspace / "cut.webp").write_bytes(data[:-30])
    run("cut.webp", "--output", "out.mp4", code=3)
    assert "is cut off" in capsys.readouterr().err


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_is_turned_upright_by_its_exif_tag(workspace, orientation):
    """A corner that is marked tells how; sideways ones have another size than the PNG's header says."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)
    chunk = struct.pack(">I", len(tiff)) + b"eXIf" + tiff + struct.pack(">I", zlib.crc32(b"eXIf" + tiff))
    data = cv2.imencode(".png", pixels)[1].tobytes()
    for number in range(2):
        (workspace / f"in_{number}.png").write_bytes(data[:33] + chunk + data[33:])
    run("in_%d.png", "--output", "out_%d.png")
    turned = read_image(workspace / "out_1.png")
    assert turned.shape == ((192, 256, 3) if orientation < 5 else (256, 192, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert turned[corner[orientation]].min() == 255
    assert (turned > 127).mean() < 0.1
