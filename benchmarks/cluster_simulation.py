"""How long a thousand hours of video would take on 8, 64 and 512 GPUs, and what is in the way. A simulation.

    python benchmarks/cluster_simulation.py --measure
    python benchmarks/cluster_simulation.py [--fps-per-gpu 10] [--driver-cores 16] [--hours 1000] [--clip-minutes 30]

`--measure` takes the costs below on this machine, as CPU seconds, so that they mean something on a busy one, and prints
them; nothing of a network is measured. The simulation replays what the program does: the driver analyses clips on its
cores, hands out segments one after the other in the order of the clips, and joins each clip; workers load the model
once and then make segments. It knows no contention for the shared file system.
"""

import argparse
import hashlib
import heapq
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

FRAME_RATE = 25
SEGMENT_FRAMES = 300
CONTEXT_FRAMES = 24
"""Warm-up and lookahead of a segment inside a shot."""
CONTEXT_COST = 0.33
"""Of a context frame against a frame that is made: cleaning, flow and one of two propagations, no reconstruction."""


BYTES_PER_FRAME = 132_000
"""Of ordinary footage, enlarged to 2880x2304, at the default quality: 0.16 bits for each pixel."""


@dataclass(frozen=True)
class Costs:
    """Seconds. Those that were measured are for 720x576, medians of CPU time on a busy machine with 2 cores."""

    analysis_per_frame: float = 0.0051
    """Decode, scale down, look for cuts: on a core of the driver."""
    lead_in: float = 0.11
    """Open the source, seek, and decode up to the first frame of a segment: on the worker."""
    verify_per_frame: float = 0.016
    """Decode what was encoded, and hash it: on the worker, after the GPU's part; here as if it had one core."""
    dispatch: float = 0.009
    """Between a worker's result and its next segment: the ledger's three transactions and Ray's two calls, one core."""
    join_per_frame: float = 0.0003
    """Copy, hash and check the joined track and the output: on a core of the driver."""
    model_load: float = 5.0
    """Start a worker's process and let it load torch and the weights."""


@dataclass(frozen=True)
class Archive:
    """What is to be done."""

    clips: int
    frames_per_clip: int

    @property
    def frames(self) -> int:
        """All of them."""
        return self.clips * self.frames_per_clip


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    seconds: float
    busy_gpu_seconds: float
    useful_gpu_seconds: float
    idle_for_analysis_seconds: float
    """Of all GPUs together, before the last clip was analysed."""


def segment_seconds(costs: Costs, frames: int, fps_per_gpu: float) -> tuple[float, float]:
    """Return how long a worker has a segment, and for how long of that its GPU makes frames that are kept."""
    useful = frames / fps_per_gpu
    context = CONTEXT_FRAMES * CONTEXT_COST / fps_per_gpu
    return costs.lead_in + context + useful + costs.verify_per_frame * frames, useful


def simulate(archive: Archive, gpus: int, *, fps_per_gpu: float, driver_cores: int, costs: Costs) -> Outcome:
    """Replay a batch, event by event; every clip is opened as early as the driver's cores allow."""
    analysis = archive.frames_per_clip * costs.analysis_per_frame
    join = archive.frames_per_clip * costs.join_per_frame
    segments_per_clip = -(-archive.frames_per_clip // SEGMENT_FRAMES)
    duration, useful = segment_seconds(costs, SEGMENT_FRAMES, fps_per_gpu)

    # One core hands out segments; the others analyse, and join what is finished.
    cores = [0.0] * max(1, driver_cores - 1)
    ready = deque[float]()
    for _ in range(archive.clips):
        done = heapq.heappop(cores) + analysis + join
        heapq.heappush(cores, done)
        ready.extend([done] * segments_per_clip)

    workers = [costs.model_load] * gpus
    heapq.heapify(workers)
    hand_out = end = busy = waited = 0.0
    for available in ready:
        free = heapq.heappop(workers)
        hand_out = max(hand_out, free, available) + costs.dispatch
        waited += max(0.0, available - free)
        heapq.heappush(workers, hand_out + duration)
        end = max(end, hand_out + duration)
        busy += duration
    return Outcome(end + join, busy, useful * len(ready), waited)


def table(archive: Archive, sizes: list[int], *, fps_per_gpu: float, driver_cores: int, costs: Costs) -> None:
    """Print a row for each size of the cluster."""
    print(f"{archive.frames:,} frames, {fps_per_gpu:g} fps per GPU, a driver with {driver_cores} cores")
    print("| GPUs | hours | frames per second | of the ideal | context, decode, verify | waiting for the driver |")
    print("|---|---|---|---|---|---|")
    for gpus in sizes:
        done = simulate(archive, gpus, fps_per_gpu=fps_per_gpu, driver_cores=driver_cores, costs=costs)
        total = done.seconds * gpus
        print(
            f"| {gpus} | {done.seconds / 3600:,.1f} | {archive.frames / done.seconds:,.0f} "
            f"| {archive.frames / fps_per_gpu / total:.0%} "
            f"| {(done.busy_gpu_seconds - done.useful_gpu_seconds) / total:.0%} "
            f"| {1 - done.busy_gpu_seconds / total:.0%} |"
        )


def measure() -> Costs:
    """Take the costs of everything but the network, of a clip of 720x576 with a key frame every 10 seconds."""
    from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
    from vsr_pipeline.config import InputConfig
    from vsr_pipeline.jobs.ledger import Ledger, SegmentRow
    from vsr_pipeline.media.streams.join import check_frames
    from vsr_pipeline.runtime.files import file_sha256
    from vsr_pipeline.timeline import Decision

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = _clip(folder / "clip.mp4", 720, 576, frames=500)
        header = look_at(clip, InputConfig())
        analysis = analyse_clip(header)
        footage = footage_of(header, analysis)
        enlarged = _clip(folder / "enlarged.mp4", 2880, 2304, frames=50)
        times = [Fraction(i, FRAME_RATE) for i in range(50)]

        def lead_in() -> None:
            with footage.open() as source:
                next(iter(source.read(288, 290)))

        def verify() -> None:
            check_frames(enlarged, times, decode=True)
            file_sha256(enlarged)

        def look_at_packets() -> None:
            check_frames(clip, [p * analysis.timeline.time_base for p in analysis.timeline.pts], decode=False)

        def hash_bytes() -> None:
            hashlib.sha256(bytes(100 * BYTES_PER_FRAME)).hexdigest()

        def record() -> None:
            ledger.count_attempt(0, 300)
            ledger.save_decision(0, Decision({"cleaning_passes": 1}, "cleaned once"))
            ledger.save_segment(SegmentRow(0, 300, "x", 1, "0" * 64, 1.0))

        with Ledger(folder / "ledger.sqlite") as ledger:
            return replace(
                Costs(),
                analysis_per_frame=_cpu_seconds(lambda: analyse_clip(header)) / 500,
                lead_in=_cpu_seconds(lead_in),
                verify_per_frame=_cpu_seconds(verify) / 50,
                # The track and the output are both read once for their packets and once for their hash.
                join_per_frame=2 * (_cpu_seconds(look_at_packets) / 500 + _cpu_seconds(hash_bytes) / 100),
                dispatch=_wall_seconds(record),
            )


def _clip(path: Path, width: int, height: int, *, frames: int) -> Path:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "18", "preset": "fast", "g": "250"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        noise = np.random.RandomState(1).randint(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
        picture = noise.repeat(4, 0).repeat(4, 1)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture, 3 * i, axis=1)), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def _cpu_seconds(action: Callable[[], object]) -> float:
    return _median(action, time.process_time)


def _wall_seconds(action: Callable[[], object]) -> float:
    return _median(action, time.perf_counter)


def _median(action: Callable[[], object], clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(3):
        started = clock()
        action()
        taken.append(clock() - started)
    return statistics.median(taken)


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--hours", type=float, default=1000)
    parser.add_argument("--clip-minutes", type=float, default=30)
    parser.add_argument("--fps-per-gpu", type=float, default=10)
    parser.add_argument("--driver-cores", type=int, default=16)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512])
    options = parser.parse_args()
    if options.measure:
        print(measure())
        return
    clips = round(options.hours * 60 / options.clip_minutes)
    archive = Archive(clips, round(options.clip_minutes * 60 * FRAME_RATE))
    table(archive, options.gpus, fps_per_gpu=options.fps_per_gpu, driver_cores=options.driver_cores, costs=Costs())


if __name__ == "__main__":
    main()
