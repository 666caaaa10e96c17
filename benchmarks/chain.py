"""The whole chain next to its slowest part: `vsr run` on a file, and the model alone on the same frames in memory.

    python benchmarks/chain.py [--size 160x90] [--frames 40] [--segment-frames 300] [--repeats 3] [--model auto]

Prints the fps of both, in turns, and their ratio: what is missing to 1 is the share of the time in which the slowest
part is idle. What `vsr run` needs to start (imports, the model, the analysis) and to end is taken away by running it on
a clip of a third of the length, too. For interpolation, such as `--model nearest`, which costs next to nothing,
decoding the source alone and encoding the result alone are timed, too.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.timeline import Colour

RATE = Fraction(25)


def encode(path: Path, frames: list[Pixels]) -> float:
    """Write a clip; returns the seconds."""
    started = time.perf_counter()
    height, width = frames[0].shape[:2]
    colour = Colour(matrix="bt709", range="tv")
    with VideoWriter(path, width=width, height=height, time_base=1 / RATE, frame_rate=RATE, colour=colour) as writer:
        for pts, pixels in enumerate(frames):
            writer.write(pts, pixels, duration=1)
    return time.perf_counter() - started


def decode(path: Path) -> tuple[float, list[Pixels]]:
    """Read a clip; returns the seconds, and its frames."""
    started = time.perf_counter()
    with VideoReader(path) as reader:
        frames = [frame.pixels for frame in reader]
    return time.perf_counter() - started, frames


def chain(source: Path, output: Path, model: str, segment_frames: int) -> float:
    """Run `vsr run`; returns the seconds."""
    command = [sys.executable, "-m", "vsr_pipeline", "run", str(source), "--output", str(output), "--model", model]
    options = ["--segment-frames", str(segment_frames), "--refine-threshold", "255", "--fresh", "--overwrite"]
    started = time.perf_counter()
    subprocess.run([*command, *options], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--segment-frames", type=int, default=300)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    frames = moving_picture(width, height, options.frames)
    short = frames[: options.frames // 3]
    settings = UpscaleConfig(model=options.model, refine_threshold=255, segment_frames=options.segment_frames)
    spec = open_model(settings)
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames, spec.scale)

    def alone() -> tuple[float, list[Pixels]]:
        started = time.perf_counter()
        outputs = enhance_in_memory(upscaler, spec.context, frames, decision, spec.scale)
        return time.perf_counter() - started, outputs

    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        long_clip, short_clip, output = (Path(folder) / name for name in ("long.mp4", "short.mp4", "out.mp4"))
        encode(long_clip, frames)
        encode(short_clip, short)
        _, frames = decode(long_clip)  # what an encoder has left in them is work for the next one
        for _ in range(options.repeats):
            model_seconds, outputs = alone()
            parts = {"model": model_seconds}
            if spec.device is None:
                parts |= {"decoder": decode(long_clip)[0], "encoder": encode(output, outputs)}
            whole, start = (
                chain(clip, output, options.model, options.segment_frames) for clip in (long_clip, short_clip)
            )
            parts["chain"] = (whole - start) * len(frames) / (len(frames) - len(short))
            for name, value in parts.items():
                seconds.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<8} {options.frames / value:8.2f} fps")
    slowest = max((name for name in medians if name != "chain"), key=medians.__getitem__)
    print(f"chain / {slowest} = {medians[slowest] / medians['chain']:.2f}")


if __name__ == "__main__":
    main()
