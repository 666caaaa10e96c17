"""Frames per second and ages of `vsr live`, by model: a file of 30 fps, paced, into the null sink.

python benchmarks/live.py --width 300 --seconds 20 --models bicubic,fsrcnn-x3,espcn-x4
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import psutil


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="bicubic,fsrcnn-small-x3,fsrcnn-x3,espcn-x4")
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    print("| model | input | fps in | fps out | age p50 | p95 | max | load of the machine |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mp4"
        height = arguments.width * 3 // 4
        lavfi = f"testsrc2=size=640x480:rate=30:duration={arguments.seconds + 60}"
        encoding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(source)]
        quiet = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
        subprocess.run([*quiet, "-f", "lavfi", "-i", lavfi, *encoding], check=True)
        for model in arguments.models.split(","):
            result = measured(source, model, arguments.width, arguments.seconds)
            ages = result["ages_seconds"]
            p50, p95, most = (1000 * ages[min(len(ages) - 1, int(share * len(ages)))] for share in (0.5, 0.95, 1))
            rates = (result[name] / result["seconds"] for name in ("frames_in", "frames_out"))
            fps = " | ".join(f"{rate:.1f}" for rate in rates)
            ages_ms = f"{p50:.0f} ms | {p95:.0f} | {most:.0f}"
            load = psutil.getloadavg()[0]
            print(f"| `{model}` | {arguments.width}x{height} | {fps} | {ages_ms} | {load:.1f} |", flush=True)


def measured(source, model, width, seconds):
    """What was measured in a whole run at level 0."""
    command = [sys.executable, "-m", "vsr_pipeline", "live", str(source), "--to", "null", "--model", model, "--json"]
    options = ["--input-width", str(width), "--level", "0", "--max-age", "3600s", "--seconds", str(seconds)]
    scale = ["--scale", "1.40625"] if model in ("bicubic", "nearest") and width == 300 else []
    done = subprocess.run([*command, *options, *scale], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)["measured"]


if __name__ == "__main__":
    main()
