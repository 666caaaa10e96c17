"""Ten small videos, one per container, made by ffmpeg, and ways to damage them."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vsr_pipeline.media.ffmpeg import ffmpeg_binary

_H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "4", "-bf", "1")
_KINDS = {
    "mp4": (*_H264, "-c:a", "aac", "-c:s", "mov_text"),
    "mov": ("-c:v", "prores_ks", "-c:a", "pcm_s16le", "-timecode", "01:00:00:00"),
    "mkv": (*_H264, "-c:a", "ac3", "-c:s", "ass"),
    "webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus", "-c:s", "webvtt"),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "ts": ("-c:v", "mpeg2video", "-g", "4", "-c:a", "mp2"),
    "mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "ivf": ("-c:v", "libvpx", "-deadline", "realtime", "-an"),
    "flv": ("-c:v", "flv1", "-c:a", "libmp3lame", "-ar", "22050"),
    "ogg": ("-c:v", "libtheora", "-b:v", "2M", "-g", "1", "-c:a", "libvorbis", "-page_duration", "20000"),
}
_WITH_SUBTITLES = ("mp4", "mkv", "webm")

# Boxes that hold boxes, and elements of Matroska that hold elements or that a demuxer believes without looking.
_NESTING_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf")
_ELEMENTS = (
    *(b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"),
    *(b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\xa3", b"\xa0", b"\xa1", b"\xae", b"\xe0", b"\x63\xa2", b"\xe7"),
)  # fmt: skip


def make_files(folder: Path) -> list[Path]:
    """Write the ten files; 8 frames of 48x32 (24 fps), sound, and subtitles where the container takes text."""
    folder.mkdir(parents=True, exist_ok=True)
    subtitles = folder / "text.srt"
    subtitles.write_text("1\n00:00:00,050 --> 00:00:00,200\nHello\n")
    for kind, options in _KINDS.items():
        picture = ["-f", "lavfi", "-i", "testsrc2=size=48x32:rate=24:duration=0.334"]
        sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=0.3"]
        text = ["-i", str(subtitles), "-map", "0", "-map", "1", "-map", "2"] if kind in _WITH_SUBTITLES else []
        command = [str(ffmpeg_binary()), "-nostdin", "-v", "error", "-y", *picture, *sound, *text, *options]
        subprocess.run([*command, "-fflags", "+bitexact", str(folder / f"clip.{kind}")], check=True)
    return [folder / f"clip.{kind}" for kind in _KINDS]


def damaged(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a copy with one or a few injuries, and their names."""
    ways = [_flip_bits, _zero_a_run, _truncate, _move_a_part, _set_a_number]
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        ways += [_swap_boxes, _repeat_a_box, _resize_a_box]
    if data[:4] == _ELEMENTS[0]:
        ways += [_resize_an_element, _resize_an_element]
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        way = rng.choice(ways)
        data = way(data, rng)
        names.append(way.__name__.strip("_").replace("_", " "))
    return data, ", ".join(names)


def _flip_bits(data: bytes, rng: random.Random) -> bytes:
    hurt = bytearray(data)
    # Half of them near the start, where headers are: there they do the most.
    reach = len(hurt) if rng.random() < 0.5 else min(len(hurt), 1500)
    for _ in range(rng.choice((1, 4, 20, 100))):
        hurt[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(hurt)


def _zero_a_run(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice((2, 16, 200, 4000))
    stop = min(len(data), start + length)
    return data[:start] + rng.choice((b"\0", b"\xff")) * (stop - start) + data[stop:]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def _move_a_part(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + (data[a:b] if rng.random() < 0.5 else b"") + data[c:]


def _set_a_number(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(max(1, min(len(data), 3000) - 4))
    number = rng.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
    return data[:place] + number.to_bytes(4, rng.choice(("big", "little"))) + data[place + 4 :]


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the boxes of an mp4 or mov, and of those inside them."""
    while start + 8 <= stop:
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8 or start + size > stop:
            return
        yield start, start + size
        if data[start + 4 : start + 8] in _NESTING_BOXES:
            yield from _boxes(data, start + 8, start + size)
        start += size


def _swap_boxes(data: bytes, rng: random.Random) -> bytes:
    pairs = [(a, b, c) for a, b in _boxes(data, 0, len(data)) for x, c in _boxes(data, 0, len(data)) if x == b]
    if not pairs:
        return _flip_bits(data, rng)
    a, b, c = rng.choice(pairs)
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _repeat_a_box(data: bytes, rng: random.Random) -> bytes:
    boxes = list(_boxes(data, 0, len(data)))
    if not boxes:
        return _flip_bits(data, rng)
    start, stop = rng.choice(boxes)
    return data[:stop] + data[start:stop] * rng.choice((1, 3)) + data[stop:]


def _resize_a_box(data: bytes, rng: random.Random) -> bytes:
    boxes = list(_boxes(data, 0, len(data)))
    if not boxes:
        return _flip_bits(data, rng)
    start, stop = rng.choice(boxes)
    size = max(0, rng.choice((0, 1, 7, 9, stop - start - 1, stop - start + 8, 1 << 31, (1 << 32) - 1)))
    return data[:start] + size.to_bytes(4, "big") + data[start + 4 :]


def _resize_an_element(data: bytes, rng: random.Random) -> bytes:
    element = rng.choice(_ELEMENTS)
    places = [i for i in range(len(data) - 9) if data.startswith(element, i)]
    if not places:
        return _flip_bits(data, rng)
    place = rng.choice(places) + len(element)
    sizes = (b"\x80", b"\x81", b"\xff", b"\x01\xff\xff\xff\xff\xff\xff\xff", b"\x01\0\0\0\x7f\xff\xff\xff", b"\x40\x00")
    size = rng.choice(sizes)
    return data[:place] + size + data[place + len(size) :]
