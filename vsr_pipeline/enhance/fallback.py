"""What happens when a segment does not fit into memory, or comes out as NaN: it is made again with less, or in fp32.

The rungs, each of which needs less memory than the one before: windows as configured, half as long, half of that...
down to a few frames; then direct convolutions, where Winograd's were in use; then frames in bands, high to low ones;
then, where that is allowed, the CPU. What is left of a failed attempt is dropped before the next one. A rung that
worked stays for the segments after it.

`Ladder.fit` begins on the first rung that is expected to fit, so that nothing has to fail first.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.build import BuiltUpscaler, build_upscaler, refuse_changed_weights, winograd_for
from vsr_pipeline.enhance.device import choose_precision
from vsr_pipeline.enhance.memory import ClipSize, amount, peak_bytes
from vsr_pipeline.enhance.transfer import out_of_memory_as_error
from vsr_pipeline.enhance.upscale import Upscaler
from vsr_pipeline.errors import ModelError, NotFiniteError, OutOfMemoryError, ResourceError
from vsr_pipeline.runtime.memory import available_memory_bytes, how_to_reduce, resident_memory_bytes
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import Segment

# Each window runs backward through its lookahead again, so shorter ones would save little and cost much.
_SHORTEST_WINDOW = 5
# Rows that neighbouring bands both compute (30 residual blocks reach 61 rows) make the lowest cost three times as much.
_BANDS = (512, 256, 128, 64)
# Of the memory that is free. The rest is for what an allocator cannot use, and for other programs.
_SHARE_OF_FREE = 0.9

T = TypeVar("T")
Build = Callable[[UpscaleConfig, int | None], BuiltUpscaler]


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to make a segment."""

    settings: UpscaleConfig
    band_rows: int | None
    """Largest height of a band in LQ pixels; None: whole frames."""
    description: str


def rungs_of(settings: UpscaleConfig, device: torch.device | None, *, allow_cpu: bool) -> tuple[Rung, ...]:
    """Return the rungs, from the one that was configured to the last resort.

    The official script's windows are for comparison with it, so they are not shortened, and their frames are not cut.

    Args:
        settings: as configured.
        device: where they run; None where no network does.
        allow_cpu: whether the CPU may be the last resort.
    """
    rungs = [Rung(settings, None, f"windows of {settings.max_seq_len}")]
    if device is None:
        return tuple(rungs)
    band_rows = None
    is_exact = settings.windows == "exact" and settings.backend == "torch"
    if is_exact:
        while settings.max_seq_len // 2 >= _SHORTEST_WINDOW:
            settings = settings.model_copy(update={"max_seq_len": settings.max_seq_len // 2})
            rungs.append(Rung(settings, None, f"windows of {settings.max_seq_len}"))
    if device.type == "cpu" and winograd_for(settings, device, choose_precision(settings.precision, device)):
        settings = settings.model_copy(update={"convolutions": "direct"})
        rungs.append(Rung(settings, None, f"direct convolutions in windows of {settings.max_seq_len}"))
    if is_exact:
        rungs += [Rung(settings, rows, f"bands of {rows} rows") for rows in _BANDS]
        band_rows = _BANDS[0]  # how much memory a CPU has is not known, and running out of it ends the process
    if allow_cpu and device.type != "cpu":
        # fp16 is for GPUs only.
        precision = "fp32" if settings.precision == "fp32" else "auto"
        on_cpu = settings.model_copy(update={"device": "cpu", "precision": precision})
        rungs.append(Rung(on_cpu, band_rows, "the CPU"))
    return tuple(rungs)


def needs_of(rungs: Sequence[Rung], clip: ClipSize, *, on_gpu: bool, precision: str) -> list[int]:
    """Return how many bytes each rung is expected to take on its device."""
    return [
        peak_bytes(
            rung.settings,
            clip,
            on_gpu=on_gpu,
            sample_bytes=4 if precision == "fp32" else 2,
            band_rows=rung.band_rows,
            winograd=not on_gpu and winograd_for(rung.settings, torch.device("cpu"), precision) is not None,
        )
        for rung in rungs
    ]


def first_that_fits(needs: Sequence[int], allowed_bytes: int | None) -> int | None:
    """Return the first rung that needs no more than is allowed, None: none does. Where nobody knows, all do."""
    return next((level for level, needed in enumerate(needs) if allowed_bytes is None or needed <= allowed_bytes), None)


def allowed_bytes(settings: UpscaleConfig, device: torch.device) -> int | None:
    """Return how much memory of a device may be taken: the limit, else nine tenths of what is free; None: unknown.

    What this process already has in use of it (the weights) counts as free: it is in the rungs' needs. What it only
    keeps, for reuse or as CUDA graphs, counts as free only when the device gets it back.
    """
    if settings.memory_limit_bytes is not None:
        return settings.memory_limit_bytes
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return round(_SHARE_OF_FREE * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device)))
    free = available_memory_bytes()
    return None if free is None else round(_SHARE_OF_FREE * (free + resident_memory_bytes()))


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
        self._is_fitted = False
        self._first = built
        self._lower: BuiltUpscaler | None = None
        self._reporter = reporter
        self._may_allow_cpu = not allow_cpu and built.device is not None and built.device.type != "cpu"
        self._build = build
        self._computes_in_fp32 = built.identity.get("precision") == "fp32"

    def fit(self, clip: ClipSize) -> tuple[str, ...]:
        """Go to the first rung that is expected to fit into memory, once, before the first segment.

        Args:
            clip: what all segments are of.

        Returns:
            A line where that is not the rung that was configured.

        Raises:
            ResourceError: no rung fits into the limit that was set.
        """
        device = self._first.device
        if self._is_fitted or device is None:
            return ()
        self._is_fitted = True
        precision = str(self._first.identity["precision"])
        rungs = [rung for rung in self._rungs if rung.settings.device == self._rungs[0].settings.device]
        needs = needs_of(rungs, clip, on_gpu=device.type != "cpu", precision=precision)
        self._first.release_graphs()  # of an earlier clip
        allowed = allowed_bytes(self._rungs[0].settings, device)
        level = first_that_fits(needs, allowed)
        if level == 0 or allowed is None:
            return ()
        has_limit = self._rungs[0].settings.memory_limit is not None
        if level is None and has_limit:
            raise ResourceError(
                f"{clip} in {precision} needs about {amount(min(needs))} of {self._memory} with "
                f"{rungs[-1].description}, --memory-limit allows {amount(allowed)}: allow more, or "
                f"reduce the video first, such as by half: {how_to_reduce('INPUT', clip.width // 4 * 2)}"
            )
        # Without a limit, what is said not to fit is tried all the same, with as little as possible.
        self._level = len(rungs) - 1 if level is None else level
        if self._level == 0:
            return ()
        self._release()
        note = (
            f"{rungs[self._level].description} instead of {rungs[0].description}: {clip} in {precision} needs about "
            f"{amount(needs[0])} of {self._memory} with {rungs[0].description}, {amount(allowed)} are "
            f"{'allowed' if has_limit else 'free'}"
        )
        self._reporter.note(note)
        return (note,)

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
                return self._attempted(attempt, in_fp32, notes), tuple(notes)
            except OutOfMemoryError as error:
                before = self._rungs[self._level].description
                if self._level + 1 == len(self._rungs):
                    raise self._exhausted(name) from error
                self._level += 1
                message = f"{self._memory} ran out with {before}, went on with {self._rungs[self._level].description}"
            except NotFiniteError as error:
                if in_fp32 or self._computes_in_fp32:
                    raise ModelError(
                        f"{name}: the network gave NaN or infinity in fp32: check its checkpoint"
                    ) from error
                in_fp32 = True
                message = "the network gave NaN or infinity, made again in fp32"
            # Only here, where the exception is gone, is nothing left that holds the failed attempt's tensors.
            self._release()
            notes.append(f"{name}: {message}")
            self._reporter.note(notes[-1])

    def _attempted(self, attempt: Callable[[Upscaler], T], in_fp32: bool, notes: list[str]) -> T:
        """Attempt it with the upscaler of the current rung. One in fp32 is for one segment and is not kept."""
        built = self._made(self._rungs[self._level], in_fp32=in_fp32) if in_fp32 or self._level else self._first
        try:
            return attempt(built.upscaler)
        finally:
            for note in built.take_notes():
                notes.append(note)
                self._reporter.note(note)

    def _made(self, rung: Rung, *, in_fp32: bool) -> BuiltUpscaler:
        if self._lower is not None and not in_fp32:
            return self._lower
        settings = rung.settings.model_copy(update={"precision": "fp32"}) if in_fp32 else rung.settings
        with out_of_memory_as_error():
            built = self._build(settings, rung.band_rows)
        refuse_changed_weights(self._first, built)
        if not in_fp32:
            self._computes_in_fp32 = built.identity.get("precision") == "fp32"
            self._lower = built
        return built

    def _release(self) -> None:
        """Let go of the upscaler before the next one is built: two do not fit where memory has run out."""
        self._first.release()
        self._lower = None
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
