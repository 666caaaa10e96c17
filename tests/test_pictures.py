"""Pictures that become pictures: what each kind has beside RGB is in the output, as other readers say."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.album import DPI, HEIGHT, KINDS, WIDTH, colours, make_album, soft_disc
from tests.support.icc import display_p3, grey_gamma, grey_inks
from vsr_pipeline import cli
from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.alpha import divided, on_white, premultiplied, straight, within_neighbours
from vsr_pipeline.media.images import read_image
from vsr_pipeline.media.picture_facts import PictureFacts, facts_of, picture_size
from vsr_pipeline.media.picture_files import read_with_alpha, refuse_too_large_for, write_picture

SCALES = {"bicubic": 2, "fsrcnn-x3": 3}


def run(*arguments, model="bicubic", code=0):
    size = ("--scale", "2") if model == "bicubic" else ()
    assert cli.run(["run", *map(str, arguments), "--model", model, *size]) == code


@pytest.fixture(scope="module", params=SCALES)
def album(request, tmp_path_factory):
    """The folder of pictures, and what a model makes of it."""
    folder = tmp_path_factory.mktemp(request.param)
    source, output = make_album(folder / "album"), folder / "large"
    # A bitmap and a PNG of one name would both become one PNG.
    (source / "rgb.bmp").rename(source / "bitmap.bmp")
    run(source, "--each", "--output", f"{output}/", model=request.param)
    return source, output, request.param


def output_of(name, folder):
    return folder / ("bitmap.png" if name == "rgb.bmp" else name)


def bits_of(path):
    return 8 * cv2.imread(str(path), cv2.IMREAD_UNCHANGED).itemsize


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_stays_what_it_is(album, name):
    _, folder, model = album
    mode, bits, keeps_profile = KINDS[name]
    path = output_of(name, folder)
    scale = SCALES[model]
    with Image.open(path) as image:
        assert image.mode == mode
        turned = name.startswith("turned")
        assert image.size == ((scale * HEIGHT, scale * WIDTH) if turned else (scale * WIDTH, scale * HEIGHT))
        assert image.getexif().get(0x112, 1) == 1
        profile = (grey_gamma() if mode in ("L", "LA", "I;16") else display_p3()) if keeps_profile else None
        assert image.info.get("icc_profile") == profile
        assert facts_of(path).profile == (profile or b"")
    assert bits_of(path) == bits
    if name in ("rgb.png", "rgb16.png", "rgba16.png", "turned.webp", "rgb.webp", "rgba.webp"):
        assert facts_of(path).dpi is None  # Pillow gave these none
    else:
        assert facts_of(path).dpi == pytest.approx(DPI, abs=0.02)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("cmyk.jpg",)])
def test_the_picture_is_the_same_one(album, name):
    """What is seen on white is near an enlarged source, in the same place and the same way up."""
    source, folder, _ = album
    with (
        Image.open(output_of(name, folder)) as image,
        Image.open(source / output_of(name, source).name if name != "rgb.bmp" else source / "bitmap.bmp") as before,
    ):
        upright = Image.fromarray(as_seen(before, turned=name.startswith("turned")))
        expected = np.asarray(upright.resize(image.size, Image.Resampling.BICUBIC)).astype(int)
        found = as_seen(image).astype(int)
    assert np.abs(found - expected).mean() < (6 if "clear" in name else 3)


def as_seen(image, turned=False):
    pixels = image
    if image.mode == "I;16":
        pixels = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    rgba = np.asarray(pixels.convert("RGBA"))
    seen = on_white(np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]))
    return np.ascontiguousarray(np.rot90(seen, -1)) if turned else seen


def test_what_is_finished_is_not_made_again(album, capsys):
    source, folder, model = album
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    run(source, "--each", "--output", f"{folder}/", "--json", model=model)
    assert capsys.readouterr().out.count('"computed_frames": 0') == len(KINDS)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()} == before
    assert list(folder.rglob(".alpha")) == []


@pytest.mark.parametrize("alpha", ["net", "bicubic"])
@pytest.mark.parametrize("model", SCALES)
def test_hidden_colours_give_no_fringe(workspace, model, alpha):
    """A red disc on a ground that is transparent, and green where nobody sees it."""
    opacity = soft_disc()
    red, green = (200, 10, 10), (0, 255, 0)
    pixels = np.where(opacity[..., None] > 0, np.array(red, np.uint8), np.array(green, np.uint8))
    Image.fromarray(np.dstack([pixels, opacity])).save(workspace / "disc.png")
    run("disc.png", "--output", "large.png", "--alpha", alpha, model=model)
    large = np.asarray(Image.open(workspace / "large.png")).astype(int)
    shown = large[large[..., 3] > 0]
    assert np.abs(shown[:, :3] - red).max() <= 2
    scale = SCALES[model]
    assert large[scale * 15 - 1, scale * 20 - 1, 3] == 255
    assert (large[: 3 * scale, :, 3] == 0).all()
    area = large[..., 3].sum() / 255 / scale**2
    assert area == pytest.approx(opacity.sum() / 255, rel=0.03)


def test_the_model_makes_alpha_unless_it_is_told_not_to(workspace):
    make_album(workspace / "album")
    made = {}
    for alpha in ("net", "bicubic"):
        run("album/rgba.png", "--output", f"{alpha}.png", "--alpha", alpha, model="fsrcnn-x3")
        made[alpha] = np.asarray(Image.open(workspace / f"{alpha}.png"))[..., 3].astype(int)
    assert 2 < np.abs(made["net"] - made["bicubic"]).max() < 100
    run("album/rgba.png", "--output", "net.png", "--alpha", "other", code=2)


def test_a_picture_that_hides_nothing_has_the_pixels_of_one_without_alpha(workspace):
    Image.fromarray(colours()).save(workspace / "plain.png")
    Image.fromarray(np.dstack([colours(), np.full((HEIGHT, WIDTH), 255, np.uint8)])).save(workspace / "opaque.png")
    for name in ("plain", "opaque"):
        run(f"{name}.png", "--output", f"{name}_x3.png", model="fsrcnn-x3")
    plain, opaque = (np.asarray(Image.open(workspace / f"{name}_x3.png")) for name in ("plain", "opaque"))
    assert (opaque[..., 3] == 255).all()
    assert np.array_equal(opaque[..., :3], plain)


def test_frames_with_alpha_keep_it(workspace):
    """Equal colours are no repeat where their alpha differs, nor are plain frames between them touched."""
    (workspace / "shots").mkdir()
    for number, radius in enumerate((4, 8, 8, 12)):
        alpha = soft_disc(radius=radius)
        Image.fromarray(np.dstack([colours(), alpha])).save(workspace / "shots" / f"f_{number}.png")
    Image.fromarray(colours()).save(workspace / "shots" / "f_4.png")
    run("shots/f_%d.png", "--output", "large/f_%d.png", model="fsrcnn-x3")
    large = [workspace / "large" / f"f_{number}.png" for number in range(5)]
    assert [facts_of(path).alpha for path in large] == [*4 * ["straight"], "none"]
    areas = [read_with_alpha(path)[1].sum() / 255 / 9 for path in large[:4]]
    assert areas == [pytest.approx(soft_disc(radius=r).sum() / 255, rel=0.08) for r in (4, 8, 8, 12)]


def test_plain_frames_are_made_as_ever(workspace):
    """The very bytes that OpenCV writes, of bicubic pixels that OpenCV makes."""
    Image.fromarray(colours()).save(workspace / "plain.png")
    run("plain.png", "--output", "large.png")
    larger = cv2.resize(colours()[..., ::-1], (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    expected = cv2.imencode(".png", larger, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1].tobytes()
    assert (workspace / "large.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("source", "output", "says", "mode"),
    [
        ("rgba.png", "out.jpg", "it is laid on white, because JPEG has no transparency", "RGB"),
        ("rgba16.png", "out.jpg", "laid on white, because JPEG has no transparency; 16 bits become 8", "RGB"),
        ("rgb16.png", "out.webp", "16 bits become 8, which is what WEBP has", "RGB"),
        ("grey_alpha.png", "out.webp", "grey becomes RGB, as WEBP has it", "RGBA"),
        ("grey_alpha.png", "out.jpg", "laid on white", "L"),
        ("rgba16.png", "out.tif", "", "RGBA"),
        ("palette_clear.png", "out.tif", "", "RGBA"),
    ],
)
def test_what_a_format_cannot_hold_is_one_note(workspace, source, output, says, mode, capsys):
    make_album(workspace / "album")
    run(f"album/{source}", "--output", output)
    notes = [line for line in capsys.readouterr().err.splitlines() if "(PNG keeps all)" in line]
    assert len(notes) == bool(says)
    assert says in "".join(notes)
    with Image.open(workspace / output) as image:
        assert image.mode == mode
        found = as_seen(image).astype(int)
    run(f"album/{source}", "--output", "whole.png")
    with Image.open(workspace / "whole.png") as whole:
        assert np.abs(found - as_seen(whole)).mean() < 2.5


def test_a_format_that_is_too_small_is_refused_before_the_work(workspace, capsys):
    Image.new("RGB", (20, 1000)).save(workspace / "tall.png")
    assert cli.run(["run", "tall.png", "--output", "tall.webp", "--model", "bicubic", "--height", "16400"]) == 6
    assert "a side of WEBP has 16383 pixels at most" in capsys.readouterr().err
    refuse_too_large_for(workspace / "a.png", (70000, 70000))
    with pytest.raises(OutputError, match="65500"):
        refuse_too_large_for(workspace / "a.jpeg", (65501, 3))


def test_grey_with_alpha_of_sixteen_bits(workspace):
    """Pillow reads 8 bits of it, OpenCV makes it RGBA: the header says what it is."""
    grey = np.repeat(colours()[..., :1].astype(np.uint16) * 257 + 5, 3, axis=2)
    alpha = soft_disc().astype(np.uint16) * 257
    write_picture(workspace / "deep.png", grey, alpha, PictureFacts(is_grey=True, alpha="straight", dpi=(72, 72)))
    run("deep.png", "--output", "large.png")
    data = (workspace / "large.png").read_bytes()
    assert data[24:26] == bytes([16, 4])
    pixels, large_alpha = read_with_alpha(workspace / "large.png")
    assert pixels.dtype == large_alpha.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    run("deep.png", "--output", "large.tif")
    assert cv2.imread(str(workspace / "large.tif"), cv2.IMREAD_UNCHANGED).shape == (2 * HEIGHT, 2 * WIDTH, 4)


def test_cmyk_becomes_what_its_profile_says(workspace):
    """With a profile whose inks are grey, cyan is grey; without one it is cyan. OpenCV knows neither."""
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    cyan.save(workspace / "by_profile.jpg", icc_profile=grey_inks(), quality=100)
    cyan.save(workspace / "plain.jpg", quality=100)
    by_profile, plain = (read_image(workspace / f"{name}.jpg")[8, 8].astype(int) for name in ("by_profile", "plain"))
    assert np.ptp(by_profile) <= 2
    assert 140 < by_profile[0] < 175
    assert np.abs(plain - (0, 255, 255)).max() <= 3
    (workspace / "by_profile.jpg").rename(workspace / "a.jpg")
    run("a.jpg", "--output", "a.png")
    with Image.open(workspace / "a.png") as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_of_sixteen_bits_is_upright(workspace, orientation, suffix):
    """OpenCV, which reads 16 bits, does not turn all of what it decodes with its alpha."""
    pixels = colours().astype(np.uint16) * 257
    alpha = (np.arange(HEIGHT * WIDTH) * 50).astype(np.uint16).reshape(HEIGHT, WIDTH)
    exif = Image.Exif()
    exif[0x112] = orientation
    # Pillow turns this one, which has the same pixels in 8 bits.
    eight = np.dstack([pixels // 257, alpha // 257]).astype(np.uint8)
    Image.fromarray(eight).save(workspace / f"eight{suffix}", exif=exif)
    tagged = io.BytesIO()
    Image.fromarray(eight).save(tagged, "PNG", exif=exif)
    path = workspace / f"deep{suffix}"
    cv2.imwrite(str(path), np.dstack([pixels[..., ::-1], alpha]))
    data = path.read_bytes()
    if suffix == ".png":
        chunk = tagged.getvalue()
        start = chunk.index(b"eXIf") - 4
        length = 12 + int.from_bytes(chunk[start : start + 4], "big")
        path.write_bytes(data[:33] + chunk[start : start + length] + data[33:])
    else:
        path.write_bytes(with_tiff_orientation(data, orientation))
    for found, expected in zip(read_with_alpha(path), read_with_alpha(workspace / f"eight{suffix}"), strict=True):
        assert np.array_equal(found // 257, expected)


def with_tiff_orientation(data, orientation):
    """Append a directory of tags that has one more."""
    offset = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[offset : offset + 2], "little")
    entries = [data[offset + 2 + 12 * i : offset + 14 + 12 * i] for i in range(count)]
    entries = [entry for entry in entries if entry[:2] != b"\x12\x01"]
    entries.append(b"\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([orientation, 0, 0, 0]))
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    data += bytes(len(data) % 2)
    table = len(entries).to_bytes(2, "little") + b"".join(entries) + bytes(4)
    return data[:4] + len(data).to_bytes(4, "little") + data[8:] + table


def test_names_of_each(workspace, capsys):
    source = workspace / "photos"
    for name in ("a.jpg", "b.png", "trip/c.png", "trip/day 2/d.webp", ".hidden/e.png", "out/f.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours(16, 16)).save(source / name)
    run(source, "--each", "--output", "flat/", "--suffix", "_x2")
    assert names(workspace / "flat") == ["a_x2.jpg", "b_x2.png"]
    run(source, "--each", "--recursive", "--output", f"{source / 'out'}/", "--suffix", "_x2.png")
    expected = ["a_x2.png", "b_x2.png", "f.png", "trip/c_x2.png", "trip/day 2/d_x2.png"]
    assert names(source / "out") == expected
    # Into the same folder, twice: what the first run made is no picture of the second.
    for _ in range(2):
        run(source, "--each", "--output", f"{source}/", "--suffix", "_x2")
    assert sorted(p.name for p in source.glob("*.*") if p.is_file()) == ["a.jpg", "a_x2.jpg", "b.png", "b_x2.png"]
    run(source, "--each", "--output", "flat/", "--suffix", "/x", code=2)
    run(source / "a.jpg", "--output", "out.png", "--suffix", "_x2", code=2)
    run(source / "a.jpg", "--output", "out.png", "--recursive", code=2)
    (workspace / "none" / "deeper").mkdir(parents=True)
    run("none", "--each", "--recursive", "--output", "flat/", code=3)
    assert "no images in none or its folders" in capsys.readouterr().err


def names(folder):
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if not any(part.startswith(".") for part in path.parts))


def test_a_video_of_pictures_says_what_it_drops(workspace, capsys):
    make_album(workspace / "album")
    run("album/palette_clear.png", "--output", "out.mkv")
    said = capsys.readouterr().err
    assert "its transparency is dropped" in said
    assert "its colour profile is not applied" in said


def test_premultiplied_and_back():
    pixels, alpha = colours(), soft_disc()
    again = straight(premultiplied(pixels, alpha), alpha)
    shown = alpha > 8
    assert np.abs(again[shown] / 257 - pixels[shown]).max() < 0.2
    assert again[alpha == 0].max() == 0
    deep, deep_alpha = pixels.astype(np.uint16) * 257, alpha.astype(np.uint16) * 257
    assert np.array_equal(premultiplied(deep, deep_alpha), premultiplied(pixels, alpha))


def test_enlarged_alpha_stays_within_its_neighbours():
    alpha = np.zeros((8, 8), np.uint8)
    alpha[:, 4:] = 255
    wavering = np.full((16, 16), 128, np.uint8)
    bounded = within_neighbours(wavering, alpha, 1)
    assert (bounded[:, :6] == 0).all()
    assert (bounded[:, 6:10] == 128).all()
    assert (bounded[:, 10:] == 255).all()


def test_colours_stay_within_those_that_are_seen():
    """A network that makes colours darker than their alpha: no dark line is left."""
    source = np.full((8, 8, 3), 100, np.uint8)
    alpha = np.tile(np.array([0, 0, 0, 128, 255, 255, 255, 255], np.uint8), (8, 1))
    large = cv2.resize(alpha, (16, 16), interpolation=cv2.INTER_LINEAR)
    dark = (premultiplied(np.full((16, 16, 3), 100, np.uint8), large) * 0.8).astype(np.uint16)
    colour = divided(dark, large, source, alpha, 1)
    assert (colour[:, :14][large[:, :14] > 0] == 100 * 257).all()
    assert (colour[:, 14:] < 90 * 257).all()  # far from the edge, it is the network's


def test_what_is_no_picture_has_plain_facts(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert facts_of(tmp_path / "a.png") == PictureFacts()
    assert picture_size(b"no picture") is None


def test_the_profiles_of_these_tests_are_profiles():
    for data in (display_p3(), grey_gamma(), grey_inks()):
        assert ImageCms.ImageCmsProfile(io.BytesIO(data)).profile.xcolor_space.strip() in ("RGB", "GRAY", "CMYK")
