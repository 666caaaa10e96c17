"""What it costs that a killed run loses one window at most: `vsr run` with its checkpoints and without, in turns.

    python benchmarks/checkpoints.py [--model auto] [--size 96x64] [--frames 120] [--repeats 3]

Prints medians of the time and of the processor time of the segments alone, and how large the outputs are. On a machine
that others use, too, the processor time is the one to look at; waiting for the disk shows in the time alone.
"""

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

from vsr_pipeline import api
from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.runtime.progress import Event, Finished, Started
from vsr_pipeline.timeline import Colour


class Stopwatch(api.Reporter):
    """Times the piece of work that is called "enhance ..."."""

    def __init__(self) -> None:
        super().__init__(self._hear)
        self.seconds = self.processor_seconds = 0.0
        self._is_on = False

    def _hear(self, event: Event) -> None:
        sign = 0
        if isinstance(event, Started) and event.what.startswith("enhance"):
            self._is_on, sign = True, -1
        elif isinstance(event, Finished) and self._is_on:
            self._is_on, sign = False, 1
        self.seconds += sign * time.perf_counter()
        self.processor_seconds += sign * time.process_time()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--size", default="96x64")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    config = api.Config().override(model=options.model, refine_threshold=255.0)
    taken: dict[str, list[Stopwatch]] = {"with": [], "without": []}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        time_base, colour = Fraction(1, 25), Colour(matrix="bt709", range="tv")
        with VideoWriter(
            clip, width=width, height=height, time_base=time_base, frame_rate=1 / time_base, colour=colour
        ) as writer:
            for pts, pixels in enumerate(moving_picture(width, height, options.frames)):
                writer.write(pts, pixels, duration=1)
        for turn in range(options.repeats):
            for way, watches in taken.items():
                watches.append(Stopwatch())
                output = Path(folder) / f"{way}{turn}.mp4"
                keep = Fallback.checkpoints if way == "with" else lambda *_: None
                with patch.object(Fallback, "checkpoints", keep):
                    api.run(clip, output, config, options=api.RunOptions(), reporter=watches[-1])
                sizes[way] = output.stat().st_size
    for what in ("seconds", "processor_seconds"):
        medians = {way: statistics.median(getattr(watch, what) for watch in watches) for way, watches in taken.items()}
        cost = medians["with"] / medians["without"] - 1
        print(f"{what:<18} with {medians['with']:8.2f}, without {medians['without']:8.2f}: {100 * cost:+.1f} %")
    print(
        f"{'bytes':<18} with {sizes['with']}, without {sizes['without']}: {sizes['with'] / sizes['without'] - 1:+.1%}"
    )


if __name__ == "__main__":
    main()
