"""What happens when a segment does not fit into memory, or comes out as NaN: it is made again with less, or in fp32.

The rungs, each of which needs less memory than the one before: windows as configured, half as long, half of that...
down to a few frames; then tiles, large to small; then, where that is allowed, the CPU. What is left of a failed attempt
is dropped before the next one. A rung that worked stays for the segments after it.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from vsr_pipeline.build import BuiltUpscaler, build_upscaler
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.errors import ModelError, NotFiniteError, OutOfMemoryError, ResourceError
from vsr_pipeline.reporting import Reporter
from vsr_pipeline.tensors import out_of_memory_as_error
from vsr_pipeline.tiles import TiledUpscaler
from vsr_pipeline.timeline import Segment
from vsr_pipeline.upscale import Upscaler

# A frame of a window costs 128 bytes per LQ pixel (in bf16), what is made once per frame 6,600: shorter windows would
# save little more, while each runs backward through its lookahead again.
_SHORTEST_WINDOW = 5
_TILES = (512, 256, 128)

T = TypeVar("T")
Build = Callable[[UpscaleConfig], BuiltUpscaler]


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to make a segment."""

    settings: UpscaleConfig
    tile: int | None
    """Largest side of a tile in LQ pixels; None: whole frames."""
    description: str


def rungs_of(settings: UpscaleConfig, device: torch.device | None, *, allow_cpu: bool) -> tuple[Rung, ...]:
    """Return the rungs, from the one that was configured to the last resort.

    The official script's windows are for comparison with it, so they are not shortened, and are not cut into tiles.

    Args:
        settings: as configured.
        device: where they run; None where no network does.
        allow_cpu: whether the CPU may be the last resort.
    """
    rungs = [Rung(settings, None, f"windows of {settings.max_seq_len}")]
    if device is None:
        return tuple(rungs)
    tile = None
    if settings.windows == "exact" and settings.backend == "torch":
        while settings.max_seq_len // 2 >= _SHORTEST_WINDOW:
            settings = settings.model_copy(update={"max_seq_len": settings.max_seq_len // 2})
            rungs.append(Rung(settings, None, f"windows of {settings.max_seq_len}"))
        rungs += [Rung(settings, tile, f"tiles of {tile} pixels") for tile in _TILES]
        tile = _TILES[0]  # how much memory a CPU has is not known, and running out of it ends the process
    if allow_cpu and device.type != "cpu":
        # fp16 is for GPUs only.
        precision = "fp32" if settings.precision == "fp32" else "auto"
        on_cpu = settings.model_copy(update={"device": "cpu", "precision": precision})
        rungs.append(Rung(on_cpu, tile, "the CPU"))
    return tuple(rungs)


class Ladder:
    """Makes segments, with whatever it takes.

    Args:
        settings: as configured.
        built: what `build` makes of them: the first rung.
        reporter: told about every step down.
        allow_cpu: whether the CPU may be the last resort.
        build: makes the upscalers of the other rungs.
    """

    def __init__(
        self,
        settings: UpscaleConfig,
        built: BuiltUpscaler,
        reporter: Reporter,
        *,
        allow_cpu: bool = False,
        build: Build = build_upscaler,
    ) -> None:
        self._rungs = rungs_of(settings, built.device, allow_cpu=allow_cpu)
        self._level = 0
        self._first = built
        self._reporter = reporter
        self._may_allow_cpu = not allow_cpu and built.device is not None and built.device.type != "cpu"
        self._build = build
        self._upscaler: Upscaler | None = built.upscaler
        self._computes_in_fp32 = built.identity.get("precision") == "fp32"

    def run(self, segment: Segment, attempt: Callable[[Upscaler], T]) -> tuple[T, tuple[str, ...]]:
        """Make something of a segment; step down and begin again as often as memory runs out.

        Args:
            segment: for the messages.
            attempt: makes it from its start, with the upscaler that it is given and must not keep. It may be called
                several times; what an attempt that raised has made is for itself to discard.

        Returns:
            What `attempt` returned, and a line for each failed attempt.

        Raises:
            ResourceError: memory ran out on the last rung, too.
            ModelError: there is a NaN or an infinity in fp32, too, or the weights were changed meanwhile.
        """
        name = f"segment {segment.start}-{segment.stop}"
        notes: list[str] = []
        in_fp32 = False
        while True:
            try:
                return attempt(self._upscaler_for(in_fp32)), tuple(notes)
            except OutOfMemoryError as error:
                before = self._rungs[self._level].description
                if self._level + 1 == len(self._rungs):
                    raise self._exhausted(name) from error
                self._level += 1
                self._upscaler = None
                message = f"{self._memory} ran out with {before}, went on with {self._rungs[self._level].description}"
            except NotFiniteError as error:
                if in_fp32 or self._computes_in_fp32:
                    raise ModelError(
                        f"{name}: the network gave NaN or infinity in fp32: check its checkpoint"
                    ) from error
                in_fp32 = True
                message = "the network gave NaN or infinity, made again in fp32"
            # Only here, where the exception is gone, is nothing left that holds the failed attempt's tensors.
            self._free_memory()
            notes.append(f"{name}: {message}")
            self._reporter.note(notes[-1])

    def _upscaler_for(self, in_fp32: bool) -> Upscaler:
        """Return the upscaler of the current rung. One in fp32 is for one segment and is not kept."""
        if in_fp32:
            return self._made(self._rungs[self._level], in_fp32=True)
        if self._upscaler is None:
            self._upscaler = self._made(self._rungs[self._level], in_fp32=False)
        return self._upscaler

    def _made(self, rung: Rung, *, in_fp32: bool) -> Upscaler:
        settings = rung.settings.model_copy(update={"precision": "fp32"}) if in_fp32 else rung.settings
        with out_of_memory_as_error():
            built = self._build(settings)
        if built.identity.get("weights_sha256") != self._first.identity.get("weights_sha256"):
            raise ModelError(
                f"the weights of {self._first.description} have changed since the run began: start it again"
            )
        if not in_fp32:
            self._computes_in_fp32 = built.identity.get("precision") == "fp32"
        if rung.tile is None:
            return built.upscaler
        return TiledUpscaler(built.upscaler, tile=rung.tile, window_frames=settings.max_seq_len)

    def _free_memory(self) -> None:
        gc.collect()
        if self._first.device is not None and self._first.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def _memory(self) -> str:
        on_gpu = self._first.device is not None and self._first.device.type != "cpu"
        return "GPU memory" if on_gpu else "memory"

    def _exhausted(self, name: str) -> ResourceError:
        tried = ", ".join(rung.description for rung in self._rungs)
        remedy = "close other programs that use it" + (", or give --allow-cpu" if self._may_allow_cpu else "")
        return ResourceError(f"{name}: {self._memory} ran out with all of {tried}: {remedy}")
