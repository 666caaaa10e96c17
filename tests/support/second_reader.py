"""Looks at media files with other eyes than those that wrote them.

What a header says comes from MediaInfo, which has its own parsers. Packets and decoded times come from the ffmpeg
program's `framehash`, chapters from its `ffmetadata`.
"""

import functools
import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pymediainfo import MediaInfo, Track

from vsr_pipeline.media.ffmpeg import ffmpeg_binary

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, or one decoded frame: when it is shown and for how long, in seconds, and what is in it."""

    shown: Fraction
    size: int
    digest: str
    duration: Fraction = field(default=Fraction(0), compare=False)


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream with its packets in the order of the file."""

    kind: str
    codec: str
    sample_aspect_ratio: Fraction | None
    packets: tuple[Packet, ...]

    @property
    def times(self) -> list[Fraction]:
        """When the packets are shown, in seconds, in order."""
        return sorted(packet.shown for packet in self.packets)

    @property
    def digests(self) -> list[str]:
        """What the packets hold, in the order of the file."""
        return [packet.digest for packet in self.packets]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter; times in seconds."""

    start: Fraction
    end: Fraction
    title: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """What MediaInfo says of the video; `colour` is (matrix, range, primaries, transfer)."""

    codec: str
    frames: int
    size: tuple[int, int]
    rotation: float
    depth: int
    chroma: str | None
    colour: tuple[str | None, str | None, str | None, str | None]
    scan: str | None
    mastering: str | None
    max_light: str | None


@dataclass(frozen=True, slots=True)
class Label:
    """What MediaInfo says of a sound or subtitle stream."""

    codec: str
    language: str | None
    title: str | None
    default: bool
    forced: bool
    delay_seconds: Fraction | None


@dataclass(frozen=True, slots=True)
class Header:
    """What MediaInfo says of a file."""

    container: str
    pictures: tuple[Picture, ...]
    sounds: tuple[Label, ...]
    subtitles: tuple[Label, ...]
    others: tuple[str, ...]
    attachments: tuple[str, ...]
    chapters: int
    title: str | None


def header(path: Path) -> Header:
    """Read a file's header by MediaInfo."""
    tracks = MediaInfo.parse(path).tracks
    general = tracks[0]
    of_kind = {kind: [t for t in tracks if t.track_type == kind] for kind in ("Video", "Audio", "Text", "Other")}
    return Header(
        container=general.format,
        pictures=tuple(_picture(track) for track in of_kind["Video"]),
        sounds=tuple(_label(track) for track in of_kind["Audio"]),
        subtitles=tuple(_label(track) for track in of_kind["Text"]),
        others=tuple(f"{t.type or t.format} {t.time_code_of_first_frame or ''}".strip() for t in of_kind["Other"]),
        attachments=tuple((general.attachments or "").split(" / ")) if general.attachments else (),
        chapters=sum(
            bool(re.fullmatch(r"\d\d_\d\d_\d\d\d+", name))
            for track in tracks
            if track.track_type == "Menu"
            for name in track.to_data()
        ),
        title=general.title,
    )


def _picture(track: Track) -> Picture:
    transfer, matrix = track.transfer_characteristics, track.matrix_coefficients
    return Picture(
        codec=track.format,
        frames=int(track.frame_count or 0),
        size=(track.width, track.height),
        rotation=float(track.rotation or 0),
        depth=track.bit_depth or 8,
        chroma=track.chroma_subsampling,
        colour=(matrix, track.color_range, track.color_primaries, transfer),
        scan=track.scan_type,
        mastering=track.mastering_display_luminance,
        max_light=track.maximum_content_light_level,
    )


def _label(track: Track) -> Label:
    return Label(
        codec=track.format,
        language=track.language,
        title=track.title,
        default=track.default == "Yes",
        forced=track.forced == "Yes",
        delay_seconds=Fraction(str(track.delay)) / 1000 if track.delay is not None else None,
    )


def packets(path: Path, *kinds: str) -> tuple[Stream, ...]:
    """Read all packets, as coded, of the streams of these kinds, or of all; but not covers and attached files."""
    everything = _every_packet(path, path.stat().st_mtime_ns)
    return tuple(stream for stream in everything if not kinds or stream.kind in kinds)


@functools.lru_cache(maxsize=4)
def _every_packet(path: Path, _written_at: int) -> tuple[Stream, ...]:
    mapped = [word for kind in ("V", "a", "s", "d") for word in ("-map", f"0:{kind}?")]
    return _framehash(path, [*mapped, "-c", "copy"])


def shown(path: Path, count: int | None = None) -> Stream:
    """Decode the first `count` frames of a video, or all, with times that the decoder gives."""
    limit = ["-frames:v", str(count)] if count is not None else []
    as_coded = ["-map", "0:V:0", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    return _framehash(path, [*as_coded, *limit], before=["-noautorotate"])[0]


def pixels(path: Path, pixel_format: str | None = None, *options: str) -> bytes:
    """Decode the frames of the first video stream to raw pixels of that format, or as they are coded."""
    converted = ["-pix_fmt", pixel_format] if pixel_format else []
    return _ffmpeg(path, ["-map", "0:V:0", *options, *converted, "-f", "rawvideo"])


def luma(path: Path, width: int, height: int, frames: int, *, reduced: int = 1) -> npt.NDArray[np.float64]:
    """Coded luma of the first frames, upright, averaged to (frames, height, width), on the scale of 8 bits.

    `reduced`: by how much they are made smaller before, because ffmpeg averages many pixels inexactly.
    """
    scale = f"scale=iw/{reduced}:ih/{reduced}:flags=area,scale={width}:{height}:flags=area"
    small = ["-vf", scale, "-frames:v", str(frames), "-fps_mode", "passthrough"]
    planes = np.frombuffer(pixels(path, "yuv444p", *small), np.uint8).reshape(-1, 3, height, width)
    return planes[:, 0].astype(np.float64)


def chapters(path: Path) -> tuple[Chapter, ...]:
    """Read a file's chapters."""
    text = _ffmpeg(path, ["-map_chapters", "0", "-f", "ffmetadata"]).decode()
    found = []
    for part in text.split("[CHAPTER]\n")[1:]:
        fields = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
        base = Fraction(fields["TIMEBASE"])
        found.append(Chapter(int(fields["START"]) * base, int(fields["END"]) * base, fields.get("title")))
    return tuple(found)


def metadata(path: Path) -> dict[str, str]:
    """Read a file's own tags, without those that every writer makes anew."""
    text = _ffmpeg(path, ["-f", "ffmetadata"]).decode().split("[CHAPTER]")[0]
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    made_anew = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
    return {name.lower(): value for name, value in fields.items() if name.lower() not in made_anew}


def attached_files(path: Path, folder: Path) -> dict[str, str]:
    """Take the attached files out, to `folder`; returns their names and the SHA-256 of what is in them."""
    folder.mkdir(parents=True)
    names = header(path).attachments
    dumped = [word for i in range(len(names)) for word in (f"-dump_attachment:t:{i}", str(folder / str(i)))]
    # Without an output ffmpeg says so and fails, but then it has written them.
    command = [str(ffmpeg_binary()), "-nostdin", "-v", "error", *dumped, "-i", _url(path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return {name: hashlib.sha256((folder / str(i)).read_bytes()).hexdigest() for i, name in enumerate(names)}


def _framehash(path: Path, options: Sequence[str], before: Sequence[str] = ()) -> tuple[Stream, ...]:
    hashed = ["-f", "framehash", "-hash", "md5"]
    lines = _ffmpeg(path, [*options, *hashed], before=["-copyts", *before]).decode().splitlines()
    said: dict[tuple[str, int], str] = {}
    rows: dict[int, list[Packet]] = {}
    for line in lines:
        if match := re.match(r"#(\w+) (\d+): (.*)", line):
            said[match[1], int(match[2])] = match[3]
            rows.setdefault(int(match[2]), [])
        elif not line.startswith("#"):
            index, dts, pts, duration, size, digest = (word.strip() for word in line.split(",")[:6])
            tick = Fraction(said["tb", int(index)])
            time = tick * int(pts if _DIGITS.search(pts) else dts)
            rows[int(index)].append(Packet(time, int(size), digest, tick * int(duration)))
    return tuple(
        Stream(
            kind=said.get(("media_type", index), "unknown"),
            codec=said.get(("codec_id", index), "unknown"),
            sample_aspect_ratio=_ratio(said.get(("sar", index))),
            packets=tuple(rows[index]),
        )
        for index in sorted(rows)
    )


def _ratio(text: str | None) -> Fraction | None:
    if text is None:
        return None
    width, height = map(int, text.split("/"))
    return Fraction(width, height) if width and height else Fraction(1)


def _ffmpeg(path: Path, options: Sequence[str], before: Sequence[str] = ()) -> bytes:
    """Run ffmpeg from a file to stdout. A damaged file gives what could be read until then."""
    command = [str(ffmpeg_binary()), "-nostdin", "-v", "error", *before, "-i", _url(path), *options, "-"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout


def _url(path: Path) -> str:
    return f"file:{os.fspath(path)}"
