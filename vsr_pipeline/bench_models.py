"""How long models take: for a frame, beside bicubic interpolation to the same size, and for a minute of video."""

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.checkpoints.manifest import ModelEntry, find, is_here, load_manifest
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import DIALS, open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.report.page import duration
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.runtime.memory import resident_memory_bytes
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import Decision

_COST_FRAMES = 3
"""Of a recurrent network, for what a minute of video takes; of one that sees each frame by itself, one is enough."""
_LONG_SECONDS = 2.0
"""Of a first run, in which preparing does not count any more."""
_SAMPLE_SECONDS = 0.005
_FRAMES_A_MINUTE = 60 * 25
_VIDEO_SIZES = {"360p": (640, 360), "480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
"""Width and height of the source."""


@dataclass(frozen=True, slots=True)
class ModelAt:
    """A model by its name, and the width and height of the frames that it is timed on."""

    name: str
    size: tuple[int, int]

    @classmethod
    def parse(cls, text: str, size: tuple[int, int]) -> "ModelAt":
        """Read `fsrcnn-x3` or `fsrcnn-x3@350x197`.

        Args:
            text: what a person wrote.
            size: taken where the text has none.

        Raises:
            UsageError: what follows the @ is no size.
        """
        name, at, own = text.partition("@")
        width, _, height = own.partition("x")
        if at and not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            raise UsageError(f"--models {text}: give width and height after the @, such as fsrcnn-x3@350x197")
        return cls(name, (int(width), int(height)) if at else size)


@dataclass(frozen=True, slots=True)
class ModelTime:
    """What was measured of a model; times are medians."""

    model: str
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    seconds_per_frame: float
    bicubic_seconds: float
    """Of one frame, to the same size."""
    memory_bytes: int
    """Most main memory of the process while the model ran, less what it had before."""

    @property
    def times_bicubic(self) -> float:
        """How many times as long as bicubic interpolation it takes."""
        return self.seconds_per_frame / self.bicubic_seconds

    def seconds_for(self, width: int, height: int) -> float:
        """Return how long one minute of video of a size takes, if time grows with the number of pixels."""
        pixels = self.input_size[0] * self.input_size[1]
        return self.seconds_per_frame * _FRAMES_A_MINUTE * width * height / pixels


@dataclass(frozen=True, slots=True)
class ModelTimes:
    """All models of a run."""

    models: tuple[ModelTime, ...]

    def __str__(self) -> str:
        rows = [("model", "input -> output", "s a frame", "bicubic", "times bicubic", "memory")]
        for one in self.models:
            sizes = " -> ".join(f"{width}x{height}" for width, height in (one.input_size, one.output_size))
            seconds = (f"{one.seconds_per_frame:.6f}", f"{one.bicubic_seconds:.6f}", f"{one.times_bicubic:.1f}")
            rows.append((one.model, sizes, *seconds, f"{one.memory_bytes / 1024**2:.0f} MiB"))
        return "\n".join([*_table(rows, texts=2), "", self.costs])

    @property
    def costs(self) -> str:
        """What a minute of video takes in four usual sizes, as a table."""
        costs = [("model", *_VIDEO_SIZES)]
        for one in self.models:
            costs.append((one.model, *(duration(one.seconds_for(*size)) for size in _VIDEO_SIZES.values())))
        title = "One minute of video, 25 frames a second, takes about (decoding and encoding not counted):"
        return "\n".join([title, *_table(costs, texts=1)])


def _table(rows: Sequence[Sequence[str]], *, texts: int) -> list[str]:
    """Return lines with the columns below each other: so many texts at the left, then numbers."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(c.ljust(w) if k < texts else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def bench_models(
    models: Sequence[ModelAt], settings: UpscaleConfig, *, frames: int, repeats: int, reporter: Reporter
) -> ModelTimes:
    """Time models on synthetic frames in memory: no decoding, no encoding. Each is timed in turns with bicubic.

    Args:
        models: which, and on which size.
        settings: how they run; the model and the size that they name do not count.
        frames: length of the clip that each makes.
        repeats: how often each runs.
        reporter: told which one is under way.

    Raises:
        UsageError, ModelError, ResourceError: as `open_model`.
    """
    timed = []
    for one in models:
        spec = open_model(settings.model_copy(update={"model": one.name, "checkpoint": None}))
        timed.append(_timed(spec, one, frames, repeats, reporter))
    return ModelTimes(tuple(timed))


def bench_costs(size: tuple[int, int], settings: UpscaleConfig, *, reporter: Reporter) -> ModelTimes:
    """Time every network that is here, and bicubic interpolation, on one to three frames each.

    Args:
        size: width and height of the LQ frames.
        settings: how they run; the model and the size that they name do not count, nor what a model does not have,
            such as a dial or a precision.
        reporter: told which one is under way.

    Raises:
        ModelError, ResourceError: as `open_model`.
    """
    here = [entry for entry in load_manifest() if entry.kind in ("recurrent", "frame") and is_here(entry)]
    timed = []
    for number, entry in enumerate([*here, find("bicubic-x4")], start=1):
        reporter.note(f"what a minute of video takes: model {number} of {len(here) + 1}")
        frames = _COST_FRAMES if entry.kind == "recurrent" else 1
        timed.append(_timed(_opened(entry, settings), ModelAt(entry.name, size), frames, 1, reporter))
    return ModelTimes(tuple(timed))


def _opened(entry: ModelEntry, settings: UpscaleConfig) -> ModelSpec:
    """Open a model with the settings, or as many of them as it has: without dials, without precision, without any."""
    own = settings.model_copy(update={"model": entry.name, "checkpoint": None})
    without_dials = own.model_copy(update={name: getattr(UpscaleConfig(), name) for name in DIALS})
    without_precision = without_dials.model_copy(update={"precision": "auto", "convolutions": "auto"})
    for fewer in (own, without_dials, without_precision):
        with suppress(UsageError):
            return open_model(fewer)
    return open_model(UpscaleConfig(model=entry.name))


def _timed(spec: ModelSpec, model: ModelAt, frames: int, repeats: int, reporter: Reporter) -> ModelTime:
    clip = moving_picture(*model.size, frames)
    width, height = (spec.scale * side for side in model.size)
    before = resident_memory_bytes()
    upscaler = spec.variants[0].build()
    decides = spec.context.decision_frames and not spec.context.decides_slowly
    decision = decide_in_memory(upscaler, spec.context, clip, spec.scale) if decides else Decision()

    def enhance() -> list[Pixels]:
        return enhance_in_memory(upscaler, spec.context, clip, decision, spec.scale)

    def bicubic() -> None:
        for pixels in clip:
            interpolate(pixels, (height, width), "bicubic")

    reporter.note(f"{spec.description}, {model.size[0]}x{model.size[1]} to {width}x{height}")
    with _PeakMemory() as memory:
        first = _seconds(enhance)  # libraries prepare themselves
        own, plain = [], []
        for _ in range(repeats):
            plain.append(_seconds(bicubic))
            own.append(first if repeats == 1 and first > _LONG_SECONDS else _seconds(enhance))
    return ModelTime(
        model=model.name,
        input_size=model.size,
        output_size=(width, height),
        seconds_per_frame=statistics.median(own) / frames,
        bicubic_seconds=statistics.median(plain) / frames,
        memory_bytes=max(0, memory.peak_bytes - before),
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return max(time.perf_counter() - started, math.ulp(1.0))


class _PeakMemory:
    """The most memory that this process has inside a `with` block, looked at 200 times a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, resident_memory_bytes())
            if self._ended.wait(_SAMPLE_SECONDS):
                return
