"""What a frame costs the CPU and the bus on its way to the encoder: as RGB that the writer converts, or as YUV already.

    python benchmarks/bus.py [--size 2560x1440] [--repeats 9] [--model-ms 2]

Each step is timed by the time that one thread computes, in turns, so that other programs hardly count. From that
follows how fast a chain is behind a model of so many milliseconds a frame, with a thread for the encoder's side.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.enhance.transfer import Download, to_pixels, to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.timeline import Colour


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="2560x1440", help="of the HR frames")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--model-ms", type=float, default=2.0, help="of the model that is stood in for")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{options.size}, one thread, {options.repeats} times in turns; a model of {options.model_ms:g} ms a frame")
    (pixels,) = moving_picture(width, height, 1)
    show("8 bits", "yuv420p", pixels, options)
    show("10 bits", "yuv420p10le", pixels.astype(np.uint16) * 257, options)


@torch.inference_mode()
def show(name: str, pixel_format: str, rgb: Pixels, options: argparse.Namespace) -> None:
    """Print what frames of one depth cost."""
    conversion = (to_yuv := RgbToYuv(Colour(matrix="bt709", range="tv"), pixel_format)).conversion
    frame = to_tensor(rgb, torch.device("cpu"))
    planes = Download(frame, rgb.dtype, conversion=conversion).arrived()
    ways: dict[str, Callable[[], object]] = {
        "RGB, the writer converts": lambda: to_yuv(rgb),
        "YUV, the writer copies": lambda: to_yuv(planes),
        "on a CPU: to RGB integers": lambda: to_pixels(frame, rgb.dtype),
        "the same, in whole frames": lambda: Download(frame, rgb.dtype).arrived(),
        "on a CPU: to YUV by torch": lambda: Download(frame, rgb.dtype, conversion=conversion).arrived(),
    }
    seconds = _in_turns(ways, options.repeats)
    sizes = [rgb.nbytes, sum(plane.nbytes for plane in planes.samples)]
    print(f"{name}: {sizes[0] / 1e6:.1f} MB a frame cross the bus as RGB, {sizes[1] / 1e6:.1f} MB as YUV")
    for way, taken in seconds.items():
        print(f"  {way:<28} {1000 * taken:7.2f} ms of a thread")
    for way in list(ways)[:2]:
        slowest = max(options.model_ms / 1000, seconds[way])
        print(f"  {way:<28} {1 / slowest:7.1f} frames per second at most, before the encoder")


def _in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            seconds[name].append(time.thread_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
