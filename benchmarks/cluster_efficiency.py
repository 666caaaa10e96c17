"""How much faster two Ray workers of one thread are than one, on a machine with two cores or more.

    python benchmarks/cluster_efficiency.py [--model auto] [--size 96x64] [--frames 160] [--repeats 3]

One and two workers take turns. Times are those of a whole clip, from its analysis to the published file, without the
start of Ray and of the workers. The last line is the ratio of the medians; nothing else should run meanwhile.
"""

import argparse
import os
import statistics
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import ray

from vsr_pipeline import api


def make_clip(path: Path, width: int, height: int, frames: int) -> Path:
    """Write a picture that moves, without a cut."""
    picture = np.random.RandomState(1).randint(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    picture = picture.repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture, i, axis=1)), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def seconds_with(workers: int, clip: Path, folder: Path, config: api.Config) -> float:
    """Return how long a clip takes a number of workers with one thread each."""
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        options = api.RunOptions(workers=api.WorkerOptions(executor="ray", cpus_per_worker=1))
        output = folder / f"{workers}.mp4"
        outcome = api.run(clip, output, config, options=options, reporter=api.Reporter())
        output.unlink()  # the next run makes it again
        return outcome.elapsed_seconds
    finally:
        ray.shutdown()


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="auto")
    parser.add_argument("--size", default="96x64")
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--segment-frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    config = api.Config().override(model=options.model, segment_frames=options.segment_frames, device="cpu")
    width, height = map(int, options.size.split("x"))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        clip = make_clip(Path(name) / "clip.mp4", width, height, options.frames)
        for _ in range(options.repeats):
            for workers, taken in seconds.items():
                taken.append(seconds_with(workers, clip, Path(name), config))
                print(f"{workers} workers: {taken[-1]:.1f} s", flush=True)
    one, two = (statistics.median(taken) for taken in seconds.values())
    print(f"two workers are {one / two:.2f} times as fast as one ({one:.1f} s / {two:.1f} s)")


if __name__ == "__main__":
    main()
