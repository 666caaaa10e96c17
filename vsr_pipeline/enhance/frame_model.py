"""A network for single frames as a model: tiles that fit into memory, no context, every architecture alike.

OpenCV's networks load no torch, unless a step comes after them, or tiles that are blended.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import Precision, describe
from vsr_pipeline.enhance.memory import around_model_bytes, out_of_memory_as_error
from vsr_pipeline.enhance.spec import CHECKPOINT_FRAMES, Carry, Checkpoints, Context, Frame, ModelSpec, OnWork, Variant
from vsr_pipeline.enhance.tiling import MemoryBytes, Tiling, automatic_tile, plan_tiles, smaller_tile
from vsr_pipeline.errors import OutOfMemoryError, UsageError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.opencv_net import OpenCVNet
from vsr_pipeline.plan import take
from vsr_pipeline.timeline import ClipSize, Decision, Segment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vsr_pipeline.models.frame import FrameNet

T = TypeVar("T")

_AUTOMATIC_BYTES = 2_000_000_000
"""What a tile may take where nothing else is asked for: the same on every machine, since seams may depend on it."""
# Smaller tiles that are tried, where the memory that may be taken is known to be too little.
_CAPS = (512, 256, 128, 64, 32)
_CHECKED_SIZE = (24, 24)
_TILE = "tile"
# Multiplications of the frames between two checkpoints, in units of one for each weight and pixel. Networks that are
# faster than a minute or so for these are made in longer parts.
_CHECKPOINT_WORK = 2e12


class Tiles:
    """The tiles of frames of one size; they are halved when memory runs out.

    Args:
        net: what is given tiles.
        size: height and width of a frame, in LQ pixels.
        tile: the largest side; 0 is the whole frame.
        can_tile: whether the network may be given tiles.
    """

    def __init__(self, net: FrameNet, size: tuple[int, int], tile: int, *, can_tile: bool = True) -> None:
        self._net = net
        self.size = size
        self.tile = tile
        self._can_tile = can_tile
        self.notes: list[str] = []

    def run(self, attempt: Callable[[Tiling], T]) -> T:
        """Make something of a frame; begin again with smaller tiles as often as memory runs out.

        Raises:
            OutOfMemoryError: it ran out with the smallest ones, too.
        """
        while True:
            try:
                with out_of_memory_as_error():
                    return attempt(self.of(self.tile))
            except OutOfMemoryError:
                smaller = smaller_tile(self.tile, *self.size) if self._can_tile else None
                if smaller is None:
                    raise
                self.notes.append(f"memory ran out, went on with tiles of {smaller}, {_seams(self._net)}")
                self.tile = smaller
                free_gpu_memory()

    def of(self, tile: int) -> Tiling:
        """Return tiles of a side."""
        return _tiling(self._net, *self.size, tile)


class FrameUpscaler:
    """Enlarges frame by frame, in tiles where the whole frame does not fit.

    Where memory runs out, the tile is halved, the same frame is made again, and the rest of the segment with it.

    Args:
        net: prepared, on its device.
        device: where it is; None: OpenCV computes it.
        tile_for: gives the largest side of a tile for a frame of a height and width; 0 is the whole frame.
        can_tile: whether the network may be given tiles.
    """

    def __init__(
        self, net: FrameNet, device: torch.device | None, tile_for: Callable[[int, int], int], *, can_tile: bool = True
    ) -> None:
        self._net = net
        self._can_tile = can_tile
        self._device = device
        self._tile_for = tile_for
        self._notes: list[str] = []

    def decide(self, samples: Sequence[Pixels], **about: object) -> Decision:  # noqa: ARG002
        """Return that there is nothing to decide."""
        return Decision()

    def upscale(
        self,
        frames: Iterable[Pixels],
        segment: Segment,
        decision: Decision,
        *,
        geometry: Geometry,
        on_work: OnWork,
        carry: Carry | None = None,
    ) -> Iterator[Frame]:
        """Yield the HR frame of each frame; see `Upscaler`."""
        del decision
        width, height = geometry.reduced_size
        planned = self._tile_for(height, width)
        first = int(carry.state.get(_TILE, planned)) if carry else planned
        tiles = Tiles(self._net, (height, width), first, can_tile=self._can_tile)
        is_final = geometry.model_size == geometry.output_size
        try:
            for index, pixels in enumerate(take(iter(frames), len(segment)), start=segment.start):
                enlarged = tiles.run(partial(self._enlarged, pixels, in_integers=is_final))
                on_work(1.0)
                if carry and tiles.tile != planned:
                    carry.keep(index + 1, {_TILE: tiles.tile})
                yield enlarged
                del enlarged  # it would stay on the device while the next one is computed
        finally:
            self._notes += tiles.notes

    def take_notes(self) -> tuple[str, ...]:
        """Return which tiles were too large."""
        notes = tuple(dict.fromkeys(self._notes))
        self._notes.clear()
        return notes

    def free_caches(self) -> None:
        """Give back what PyTorch keeps for frames of one size."""
        free_gpu_memory()

    def _enlarged(self, pixels: Pixels, tiling: Tiling, *, in_integers: bool) -> Frame:
        # OpenCV's networks round inside; only so are they the same as in its own module.
        if isinstance(self._net, OpenCVNet) and tiling.is_exact and in_integers:
            return _in_exact_tiles(self._net, pixels, tiling)
        import torch

        from vsr_pipeline.enhance.tiles import upscale_pixels

        return upscale_pixels(self._net, pixels, self._device or torch.device("cpu"), tiling)


def _in_exact_tiles(net: OpenCVNet, pixels: Pixels, tiling: Tiling) -> Pixels:
    """Enlarge a frame tile by tile, in integers; but for rounding, it is the picture of the whole frame."""
    if len(tiling.rows) == len(tiling.columns) == 1:
        return net.upscale(pixels)
    scale = net.scale
    whole = np.empty((scale * tiling.height, scale * tiling.width, 3), pixels.dtype)
    for row in tiling.rows:
        for column in tiling.columns:
            tile = net.upscale(np.ascontiguousarray(pixels[row.start : row.stop, column.start : column.stop]))
            top, left = scale * (row.core_start - row.start), scale * (column.core_start - column.start)
            height, width = scale * (row.core_stop - row.core_start), scale * (column.core_stop - column.core_start)
            there = whole[scale * row.core_start :, scale * column.core_start :]
            there[:height, :width] = tile[top : top + height, left : left + width]
    return whole


def free_gpu_memory() -> None:
    """Give back what PyTorch keeps for reuse."""
    torch = sys.modules.get("torch")  # what is not loaded keeps nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the network; variants are made of these."""

    checkpoint: FrameCheckpoint
    device: torch.device | None
    """None: OpenCV computes it, on the CPU."""
    precision: Precision
    tile: int | None
    """As asked for; None: what fits."""
    cap: int | None = None
    """The largest side that is taken all the same."""

    @property
    def memory(self) -> MemoryBytes:
        """Bytes for a height and width in LQ pixels."""
        return partial(self.checkpoint.net.memory_bytes, bytes_per_value=4 if self.precision == "fp32" else 2)

    def tile_for(self, height: int, width: int) -> int:
        """Return the side of a tile: a function of the network and the frame, so that all workers choose alike."""
        net = self.checkpoint.net
        tile = self.tile
        if not self.checkpoint.can_tile:
            return 0
        if tile is None:
            tile = automatic_tile(
                self.memory,
                height,
                width,
                radius=net.receptive_radius(),
                multiple_of=net.multiple_of,
                limit_bytes=_AUTOMATIC_BYTES,
            )
        if self.cap is None or (0 < tile <= self.cap):
            return tile
        return self.cap if max(height, width) > self.cap else tile

    def checkpoints(self, clip: ClipSize) -> Checkpoints:
        """Return that a segment may go on at any frame, but not after so little work that files outweigh it."""
        weights = self.checkpoint.weights_bytes // 4
        work = max(1, weights) * clip.width * clip.height
        return Checkpoints(max(CHECKPOINT_FRAMES, ceil(_CHECKPOINT_WORK / work)))

    def tile_bytes(self, height: int, width: int) -> int:
        """Return what a tile of a frame takes."""
        return self.memory(*_tiling(self.checkpoint.net, height, width, self.tile_for(height, width)).tile_size)

    def memory_bytes(self, clip: ClipSize) -> int:
        """Return what a clip takes at most."""
        scale = self.checkpoint.net.scale
        # The whole HR frame twice, in float32; weights in float32.
        frames = 2 * 3 * 4 * clip.width * clip.height * scale**2
        own = self.tile_bytes(clip.height, clip.width) + frames + self.checkpoint.weights_bytes
        is_on_gpu = self.device is not None and self.device.type != "cpu"
        return own if is_on_gpu else own + around_model_bytes(clip, scale)


def frame_spec(
    checkpoint: FrameCheckpoint, settings: UpscaleConfig, device: torch.device | None, *, allow_cpu: bool
) -> ModelSpec:
    """Return a network for single frames.

    Args:
        checkpoint: the network, with its weights.
        settings: how it runs.
        device: where it runs; None: OpenCV computes it, in float32.
        allow_cpu: whether the CPU may be the last resort.

    Raises:
        PrecisionError: the network or the device cannot compute in the precision.
        UsageError: the network cannot be given tiles.
    """
    name = checkpoint.name
    if not (checkpoint.can_tile or settings.tile in ("auto", 0)):
        raise UsageError(f"--tile {settings.tile}: {name} cuts its frames itself: leave it out")
    precision, choice = _precision_of(checkpoint, settings, device)
    tile = None if settings.tile == "auto" else settings.tile
    first = Way(checkpoint, device, precision, tile)
    ways = [("the largest tiles" if tile is None else f"tiles of {tile}", first)]
    if checkpoint.can_tile:
        ways += [(f"tiles of {cap} at most", Way(checkpoint, device, precision, tile, cap)) for cap in _CAPS]
    if allow_cpu and device is not None and device.type != "cpu":
        import torch

        ways.append(("the CPU", Way(checkpoint, torch.device("cpu"), "fp32", tile)))
    tiles = {None: "", 0: ", whole frames"}.get(tile, f", tiles of {tile}")
    return ModelSpec(
        name=name,
        sizing=Sizing(scale=checkpoint.net.scale),
        description=f"{name} in {precision} on {describe(device) if device else 'cpu (OpenCV)'}{tiles}",
        identity={
            "model": name,
            "weights_sha256": checkpoint.sha256,
            "precision": precision,
            "convolutions": "direct",
            "device": device.type if device else "cpu",
            "segment_frames": settings.segment_frames,
            "tile": str(settings.tile),
        },
        context=Context(segment_frames=settings.segment_frames),
        variants=tuple(_variant(description, way) for description, way in ways),
        choice=choice,
    )


def _precision_of(
    checkpoint: FrameCheckpoint, settings: UpscaleConfig, device: torch.device | None
) -> tuple[Precision, str]:
    """Return what the settings mean for a network, and why; raises as `frame_spec`."""
    if device is None:
        return "fp32", ""
    from vsr_pipeline.enhance.choice import fastest_direct

    taken, choice = fastest_direct(
        checkpoint.name,
        checkpoint.sha256,
        settings,
        device,
        partial(small_output, checkpoint, device),
        channels=checkpoint.channels,
        precisions=checkpoint.precisions,
    )
    return taken.precision, choice


def _variant(description: str, way: Way) -> Variant:
    def build(precision: Precision) -> FrameUpscaler:
        with out_of_memory_as_error():
            net = prepared(way.checkpoint, way.device, precision)
            return FrameUpscaler(net, way.device, way.tile_for, can_tile=way.checkpoint.can_tile)

    return Variant(
        description=description,
        device=way.device,
        memory_bytes=way.memory_bytes,
        build=partial(build, way.precision),
        build_in_fp32=None if way.precision == "fp32" else partial(build, "fp32"),
        checkpoints=way.checkpoints,
    )


def prepared(checkpoint: FrameCheckpoint, device: torch.device | None, precision: Precision) -> FrameNet:
    """Return the network on its device, in a precision."""
    if device is None:
        return checkpoint.net
    from vsr_pipeline.enhance.choice import put_on

    own = copy.deepcopy(checkpoint)
    assert own.module is not None
    put_on(own.module, device, precision)
    return own.net


def small_output(checkpoint: FrameCheckpoint, device: torch.device, precision: Precision) -> Tensor:
    """Return what the network makes of a small frame."""
    import torch

    with torch.inference_mode():
        frame = torch.rand(1, 3, *_CHECKED_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
        return prepared(checkpoint, device, precision)(frame)


def _tiling(net: FrameNet, height: int, width: int, tile: int) -> Tiling:
    return plan_tiles(height, width, tile=tile, radius=net.receptive_radius(), multiple_of=net.multiple_of)


def _seams(net: FrameNet) -> str:
    return "blended at their seams" if net.receptive_radius() is None else "which gives the same picture"
