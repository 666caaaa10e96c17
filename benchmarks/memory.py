"""Peak memory of whole runs against what `vsr_pipeline.enhance.memory` says of them, over frame size and over length.

    python benchmarks/memory.py [CASE ...]

A case is WIDTHxHEIGHT:PRECISION:WINDOW:FRAMES[:LIMIT], such as 320x180:bf16:5:10 or 320x180:bf16:30:10:1GB; without
any, a table of cases. Each is a `vsr run` in a process of its own, with a network of the real width (64 channels) and
two residual blocks where real ones have twenty or more: memory hardly depends on their number, time does.
"""

import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from vsr_pipeline.config import Config, EncodeConfig, UpscaleConfig
from vsr_pipeline.enhance.device import choose_device, describe
from vsr_pipeline.enhance.memory import allowed_bytes, first_that_fits
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.timeline import ClipSize, Colour

SIZES = ("160x90", "320x180", "640x180")
CASES = (
    *(f"{size}:{precision}:5:10" for precision in ("bf16", "fp32") for size in SIZES),
    "160x90:bf16:5:40",
    "160x90:bf16:30:40",
    "160x90:bf16:30:80",
)
_MB = 1e6

# A process counts as its own what its parent had in memory when it was started: so a small one stands in between.
_MEASURED = """
import json, os, sys
child = os.posix_spawn(sys.executable, [sys.executable, "-m", "vsr_pipeline", *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024]))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The peaks of one run in bytes; `gpu` is 0 without a CUDA GPU."""

    main: int
    gpu: int


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Write a clip of 8 bits whose frames all differ."""
    with VideoWriter(
        path,
        width=width,
        height=height,
        time_base=Fraction(1, 25),
        frame_rate=Fraction(25),
        colour=Colour(matrix="bt709", range="tv"),
        settings=EncodeConfig(codec="h264", preset="ultrafast"),
    ) as writer:
        slope = np.add.outer(np.arange(height), 3 * np.arange(width)) % 256
        picture = np.stack((slope, slope.T.reshape(height, width), 255 - slope), axis=2).astype(np.uint8)
        for pts in range(frames):
            writer.write(pts, np.roll(picture, 4 * pts, axis=1), duration=1)


def measure(folder: Path, clip: Path, settings: UpscaleConfig) -> Measured:
    """Enhance a clip in a process of its own.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    config = folder / "settings.toml"
    config.write_text(Config(upscale=settings).to_toml(), encoding="utf-8")
    arguments = ["run", str(clip), "--output", str(folder / "out.mp4"), "--config", str(config), "--json"]
    command = [sys.executable, "-c", _MEASURED, *arguments, "--fresh", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    *lines, last = done.stdout.splitlines()
    code, peak = json.loads(last)
    if code != 0:
        raise RuntimeError(done.stderr)
    return Measured(peak, json.loads("\n".join(lines))[0]["peak_gpu_memory_bytes"])


def show(case: str, folder: Path) -> None:
    """Run a case and print its row."""
    size, precision, window, frames, *limit = case.split(":")
    width, height = map(int, size.split("x"))
    settings = UpscaleConfig(
        checkpoint=folder / "net.pth",
        precision=precision,
        max_seq_len=int(window),
        memory_limit=limit[0] if limit else None,
    )
    device = choose_device(settings.device)
    make_clip(folder / "clip.mp4", width, height, int(frames))
    variants = open_model(settings).variants
    needs = [variant.memory_bytes(ClipSize(width, height, int(frames))) for variant in variants]
    level = first_that_fits(needs, allowed_bytes(settings.memory_limit_bytes, device)) or 0
    measured = measure(folder, folder / "clip.mp4", settings)
    taken = measured.gpu or measured.main
    print(
        f"{size:>9} {precision:>5} {frames:>6} {variants[level].description:>17} {measured.main / _MB:8.0f} MB main "
        f"{measured.gpu / _MB:8.0f} MB GPU {needs[level] / _MB:8.0f} MB predicted  {needs[level] / taken:5.2f}",
        flush=True,
    )


def main() -> None:
    """Run the cases."""
    print(f"{platform.machine()}, torch {torch.__version__}, {describe(choose_device('auto'))}")
    print("     size        frames                    measured                             predicted / measured")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save({"state_dict": RealBasicVSRNet(64, 2, 2).state_dict()}, folder / "net.pth")
        for case in sys.argv[1:] or CASES:
            show(case, folder)


if __name__ == "__main__":
    main()
