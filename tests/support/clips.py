"""Small real videos for the tests, and how to look at them with another eye than the program's own."""

import subprocess
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from vsr_pipeline.clip import analyse as analysis
from vsr_pipeline.config import InputConfig
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.media.images import write_png
from vsr_pipeline.media.read.probe import look_into
from vsr_pipeline.media.read.reader import Frame


def make_video(path, *, frames=20, cut=12, width=64, height=48, gop=6, audio=True):
    """A picture that moves, with one cut, with sound, at uneven times (every second frame comes 7 ms late)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "2", "g": str(gop)})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        rng = np.random.RandomState(3)
        blocks = (height // 8 + 1, width // 8 + 1, 3)
        scenes = [rng.randint(0, 256, blocks).repeat(8, 0).repeat(8, 1).astype(np.uint8) for _ in range(2)]
        for i in range(frames):
            pixels = np.roll(scenes[int(i >= cut)], 2 * i, axis=1)[:height, :width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = 40 * i + (7 if i % 2 else 0), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            tone = np.sin(np.arange(320 * frames) / 5).astype(np.float32)[None] / 2
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate = 8000
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path


def decoded(path):
    """Every frame of a file: (seconds, RGB pixels)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(f.pts * stream.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(stream)]


def times(path):
    """When each frame is shown, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


def audio_packets(path):
    """The coded sound, packet by packet."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


def stills_of(output):
    """The stills that a run kept for its report, by their names."""
    return {path.name: path.read_bytes() for path in (output.parent / ".vsr" / output.name).glob("*.jpg")}


def same_pictures(a, b):
    """Whether two files decode to the same frames, bit for bit, at the same times."""
    one, other = decoded(a), decoded(b)
    return len(one) == len(other) and all(
        t == u and np.array_equal(x, y) for (t, x), (u, y) in zip(one, other, strict=True)
    )


def images(folder, count=2, width=16, height=12):
    for i in range(count):
        write_png(folder / f"{i:08d}.png", np.full((height, width, 3), i % 250, np.uint8))
    return folder


def ffmpeg(*arguments: str | Path, data: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=check, timeout=60)


def checksums(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    return [(frame.pts, zlib.crc32(frame.pixels)) for frame in frames]


def ledger(output="out.mp4"):
    return Ledger(output.parent / ".vsr" / output.name / "ledger.sqlite")


def analyse(path, settings=InputConfig(), **options):
    """Look into a video and analyse it."""
    return analysis.analyse(*look_into(path, settings), settings, **options)
