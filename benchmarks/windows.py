"""Exact windows against the whole clip at once and against the official hard cuts: how near, and at what cost.

    python benchmarks/windows.py [--size 160x90] [--precision fp32] [--frames 31] [--max-seq-len 10 30] [FOLDER]

Prints, for each length of window, the lowest and mean PSNR over all frames against the whole clip in one window, for
exact and for official windows, and the time of exact over that of official windows (medians, taken alternately).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.media.images import Pixels, list_frames, read_image
from vsr_pipeline.metrics import psnr


def upscale(frames: list[Pixels], settings: UpscaleConfig) -> tuple[list[Pixels], float]:
    """Return the clip's HR frames and the seconds that they took, without loading the model."""
    spec = open_model(settings)
    upscaler = spec.variants[0].build()
    started = time.perf_counter()
    decision = decide_in_memory(upscaler, spec.context, frames, spec.scale)
    outputs = enhance_in_memory(upscaler, spec.context, frames, decision, spec.scale)
    return outputs, time.perf_counter() - started


def compare(
    frames: list[Pixels],
    whole: list[Pixels],
    settings: Callable[[str, int], UpscaleConfig],
    length: int,
    repeats: int,
) -> None:
    """Print the rows of one length of window."""
    seconds: dict[str, list[float]] = {"exact": [], "official": []}
    for repeat in range(repeats):
        for windows in seconds:
            outputs, taken = upscale(frames, settings(windows, length))
            seconds[windows].append(taken)
            if repeat == 0:
                near = [psnr(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(whole, outputs, strict=True)]
                print(
                    f"  {windows:<8} min {min(near):6.2f} dB, mean {np.mean(np.minimum(near, 100)):6.2f} dB", flush=True
                )
    medians = {windows: statistics.median(values) for windows, values in seconds.items()}
    ratio = medians["exact"] / medians["official"]
    print(
        f"  cost     exact / official = {ratio:.3f} ({medians['exact']:.1f} s / {medians['official']:.1f} s)",
        flush=True,
    )


def main() -> None:
    """Run the comparison."""
    clips = Path(os.environ.get("VSR_TEST_DATA", "../shared")) / "data" / "clips"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=clips / "realbasicvsr_demo")
    parser.add_argument("--model", default="basicvsr-reds4-wheel")
    parser.add_argument("--size", default=None, help="crop from the middle, such as 160x90; default: full frames")
    parser.add_argument("--frames", type=int, default=None)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--lookahead", type=int, default=12)
    parser.add_argument("--max-seq-len", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    frames = [read_image(path) for path in list_frames(options.folder)[: options.frames]]
    if options.size:
        width, height = map(int, options.size.split("x"))
        top, left = ((frames[0].shape[i] - (height, width)[i]) // 2 for i in (0, 1))
        frames = [frame[top : top + height, left : left + width] for frame in frames]

    def settings(windows: str, length: int) -> UpscaleConfig:
        return UpscaleConfig(
            model=options.model,
            precision=options.precision,
            windows=windows,
            max_seq_len=length,
            lookahead=options.lookahead,
        )

    print(f"{len(frames)} frames of {frames[0].shape[1]}x{frames[0].shape[0]}, {options.model}, {options.precision}")
    whole, _ = upscale(frames, settings("exact", len(frames)))
    for length in options.max_seq_len:
        print(f"windows of {length}, lookahead {options.lookahead}:", flush=True)
        compare(frames, whole, settings, length, options.repeats)


if __name__ == "__main__":
    main()
