"""`POST /api/enhance`: each kind of picture, and what is none. One worker computes them all."""

import io
import struct
import zlib

import cv2
import pytest
from PIL import Image

from tests.support.album import HEIGHT, KINDS, WIDTH, colours, make_album
from tests.support.serving import served
from vsr_pipeline.media.picture_facts import facts_of


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("site")) as (site, client):
        yield site, client


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    return make_album(tmp_path_factory.mktemp("album") / "pictures")


def enhance(client, content, name="picture", accept="image/png"):
    fields = {"model": "bicubic", "scale": "2"}
    return client.post("/api/enhance", files={"image": (name, content)}, data=fields, headers={"Accept": accept})


NINE = ("grey.jpg", "grey16.tif", "grey_alpha.png", "rgba.webp", "rgba16.png", "palette_clear.png", "cmyk.jpg")
NINE += ("turned.jpg", "p3.png")


@pytest.mark.parametrize("name", NINE)
def test_each_kind_stays_what_it_is(server, album, tmp_path, name):
    mode, bits, _ = KINDS[name]
    reply = enhance(server[1], (album / name).read_bytes(), name)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png"), reply.text
    (tmp_path / "large.png").write_bytes(reply.content)
    with Image.open(tmp_path / "large.png") as image:
        assert image.mode == mode
        wide, high = 2 * WIDTH, 2 * HEIGHT
        assert image.size == ((high, wide) if name.startswith("turned") else (wide, high))
    assert 8 * cv2.imread(str(tmp_path / "large.png"), cv2.IMREAD_UNCHANGED).itemsize == bits
    assert facts_of(tmp_path / "large.png").orientation == 1


RGB = Image.fromarray(colours())


def encoded(kind, image=RGB, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width, height, depth=8, colour=2, rows=b""):
    """A PNG whose header says what it likes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def animated(kind, size=(16, 16), frames=3):
    images = [Image.new("RGB", size, (number * 100 % 256, 0, 0)) for number in range(frames)]
    return encoded(kind, images[0], save_all=True, append_images=images[1:])


PNG, JPEG, WEBP, TIFF, BMP = (encoded(kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"))
BAD = {
    "empty": (b"", "no picture"),
    "one byte": (b"\x89", "no picture"),
    "text": (b"hello, this is a text\n" * 50, "no picture"),
    "html": (b"<!doctype html><script>alert(1)</script>", "no picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>", "no picture"),
    "svg behind a mark": (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "no picture"),
    "postscript": (b"%!PS-Adobe-3.0\n(/etc/passwd) run", "no picture"),
    "pdf": (b"%PDF-1.7\n", "no picture"),
    "imagemagick's script": (b"push graphic-context\nfill 'url(https://a.example/x)'", "no picture"),
    "zip": (b"PK\x03\x04" + bytes(60), "no picture"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(60), "no picture"),
    "gif": (encoded("GIF", RGB.convert("P")), "no picture"),
    "gif of many frames": (animated("GIF", frames=200), "no picture"),
    "icon": (encoded("ICO", RGB.resize((16, 16))), "no picture"),
    "targa": (encoded("TGA"), "no picture"),
    "png signature alone": (PNG[:8], "header is damaged"),
    "png cut off in its header": (PNG[:20], "header is damaged"),
    "png cut off in its pixels": (PNG[: len(PNG) // 2], "cut off"),
    "png of no width": (png_of(0, 8), ""),
    "png of a negative size": (png_of(2**31 + 5, 8), ""),
    "png of 60,000 x 60,000": (png_of(60_000, 60_000), "at most 32 million"),
    "png of 1 x 2,000,000,000": (png_of(1, 2_000_000_000), "at most 32 million"),
    "png without pixels": (png_of(64, 64), ""),
    "png with rows of an unknown filter": (png_of(8, 8, rows=(b"\x09" + bytes(24)) * 8), ""),
    "png of an unknown colour type": (png_of(8, 8, colour=5, rows=bytes(200)), ""),
    "png with a damaged sum": (PNG[:29] + bytes(4) + PNG[33:], ""),
    "animated png": (animated("PNG"), "several pictures"),
    "animated webp": (animated("WEBP"), "several pictures"),
    "jpeg cut off": (JPEG[: len(JPEG) // 2], ""),
    "jpeg without tables": (JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :], ""),
    "jpeg of 65,535 x 65,535": (
        JPEG.replace(struct.pack(">HH", HEIGHT, WIDTH), b"\xff\xff\xff\xff", 1),
        "at most 32 million",
    ),
    "webp cut off": (WEBP[: len(WEBP) // 2], ""),
    "webp without pixels": (b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0", "header is damaged"),
    "tiff of two pages": (encoded("TIFF", save_all=True, append_images=[RGB]), "several pictures"),
    "tiff without a directory": (TIFF[:4] + b"\xff\xff\xff\x7f" + TIFF[8:], ""),
    "bmp cut off": (BMP[:40], ""),
    "bmp that lies about its place": (BMP[:10] + b"\xff\xff\xff\x7f" + BMP[14:], ""),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("what", BAD)
def test_bad_pictures_are_refused_in_one_line(server, what):
    content, reason = BAD[what]
    site, client = server
    worker = site.helper._child or (enhance(client, PNG), site.helper._child)[1]
    reply = enhance(client, content, "picture.png")
    said = reply.json()["error"] if reply.headers["content-type"] == "application/json" else reply.status_code
    assert reply.status_code in (413, 422), said
    assert reason in said
    assert "\n" not in said
    assert str(site.options.folder) not in said
    assert site.helper._child is worker  # no worker was lost
    assert worker.is_alive()


def test_a_picture_that_unpacks_to_far_too_much_is_not_unpacked(server):
    site, client = server
    reply = enhance(client, png_of(4, 4, rows=bytes(10_000_000)))
    assert reply.status_code == 200  # of its 10 MB, 52 bytes are its rows
    assert len(reply.content) < 1000
    assert site.helper._child.is_alive()


def test_names_and_types_of_clients_mean_nothing(server):
    for name in ("../../a.txt", "a" * 300):
        assert enhance(server[1], JPEG, name).status_code == 200
