"""ZSSR as a model: a network for each shot, trained on the shot itself; any scale, any way of reduction.

"Zero-Shot" Super-Resolution using Deep Internal Learning, Shocher, Cohen and Irani, CVPR 2018.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import numpy as np
import torch

from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.config_zssr import ZssrConfig
from vsr_pipeline.enhance.device import describe
from vsr_pipeline.enhance.memory import around_model_bytes, out_of_memory_as_error
from vsr_pipeline.enhance.precision import direct_candidates
from vsr_pipeline.enhance.spec import (
    CHECKPOINT_FRAMES,
    Carry,
    Checkpoints,
    Context,
    Frame,
    ModelSpec,
    OnWork,
    Say,
    Variant,
)
from vsr_pipeline.enhance.tiles import upscale_in_tiles
from vsr_pipeline.enhance.tiling import automatic_tile, plan_tiles
from vsr_pipeline.enhance.zssr_pictures import (
    Reduction,
    back_projected,
    read_kernel,
    steps_between,
    turn,
    turn_back,
)
from vsr_pipeline.enhance.zssr_train import Pairs, Trained, train
from vsr_pipeline.enhance.zssr_weights import decision_with, load_networks, sha256_in
from vsr_pipeline.media.antialias import FloatFrame
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.models.zssr import ZSSRNet
from vsr_pipeline.plan import take
from vsr_pipeline.timeline import ClipSize, Decision, Segment

DEFAULT_SCALE = 2
"""What sides are multiplied by where no size is asked for."""

SMALLEST_SIDE = 3
"""Of a frame, in pixels: there is nothing to learn from smaller ones."""

_AUTOMATIC_BYTES = 2_000_000_000
"""What a tile may take where nothing else is asked for, as of frame models."""
_CAPS = (512, 128, 32)
# The frame, interpolated, enlarged, the sum over orientations, one turned; what back-projection holds.
_FRAMES_HELD = 8
_VALUE_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Way:
    """How frames are enlarged; all workers have the same."""

    settings: ZssrConfig
    reduction: Reduction
    max_steps: int
    device: torch.device
    tile: int | None
    """Largest side of a tile in pixels of the output; 0: whole frames; None: what fits."""
    cap: int | None = None
    """The largest side that is taken all the same."""

    def network(self) -> ZSSRNet:
        """Return an untrained network, on the CPU."""
        own = self.settings
        return ZSSRNet(width=own.width, depth=own.depth, kernel_size=own.kernel_size, seed=own.seed)

    def sizes(self, lq: tuple[int, int], hr: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return heights and widths on the way; a kernel is that of the whole factor, which then is one step."""
        return (hr,) if self.reduction.kernel is not None else steps_between(lq, hr, self.settings.largest_factor)

    def tile_for(self, net: ZSSRNet, height: int, width: int) -> int:
        """Return the side of a tile: the same for all workers."""
        tile = self.tile
        if tile is None:
            radius = net.receptive_radius()
            tile = automatic_tile(net.memory_bytes, height, width, radius=radius, limit_bytes=_AUTOMATIC_BYTES)
        if self.cap is None or 0 < tile <= self.cap:
            return tile
        return self.cap if max(height, width) > self.cap else tile

    def memory_bytes(self, clip: ClipSize) -> int:
        """Return what training or enlarging takes at most, whichever is more."""
        net = self.network()
        width, height = clip.output_size or (DEFAULT_SCALE * clip.width, DEFAULT_SCALE * clip.height)
        tiling = plan_tiles(height, width, tile=self.tile_for(net, height, width), radius=net.receptive_radius())
        frames = _FRAMES_HELD * 3 * _VALUE_BYTES * height * width
        own = self.settings
        # Of each layer, what it gives and its gradient; of the pictures, all sizes on the way.
        steps = 2 * own.width * own.depth * own.crop**2 * _VALUE_BYTES
        learnt_from = 2 * own.frames * 3 * _VALUE_BYTES * height * width
        needed = max(net.memory_bytes(*tiling.tile_size) + frames, steps + learnt_from + frames)
        return needed if self.device.type != "cpu" else needed + around_model_bytes(clip, DEFAULT_SCALE)


class ZssrUpscaler:
    """Enlarges frames by the networks of their shot, one for each factor on the way.

    Args:
        way: how.
    """

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._device = way.device
        self._sha256 = ""
        self._nets: list[ZSSRNet] = []
        self._notes: list[str] = []

    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Train the networks of a shot on frames of it; see `Upscaler`."""
        lq, hr = geometry.reduced_size[::-1], geometry.model_size[::-1]
        reason = self._why_not(lq, hr)
        if reason:
            self._notes.append(f"zssr: {reason}: frames are only interpolated")
            return decision_with([], f"only interpolated: {reason}")
        with out_of_memory_as_error():
            nets, trainings = self._trained([_floats(pixels) for pixels in samples], lq, hr, say)
        steps = sum(training.steps for training in trainings)
        first = trainings[0]
        error = f"error {first.error_before:.4f} to {first.error_after:.4f}"
        return decision_with(nets, f"trained in {steps} steps, {error}")

    @torch.inference_mode()
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
        """Yield the HR frame of each frame; see `Upscaler`. An empty decision stands for untrained networks."""
        del carry  # frames are made one by one
        lq, hr = geometry.reduced_size[::-1], geometry.model_size[::-1]
        sizes = self._way.sizes(lq, hr)
        with out_of_memory_as_error():
            nets = self._networks(decision, len(sizes))
            for pixels in take(iter(frames), len(segment)):
                frame = _floats(pixels)
                for net, size in zip(nets, sizes, strict=False):
                    frame = self._enlarged(net, frame, size)
                if not nets:
                    frame = interpolate(frame, hr, "bicubic")
                on_work(1.0)
                yield torch.from_numpy(frame).permute(2, 0, 1)[None].to(self._device)

    def take_notes(self) -> tuple[str, ...]:
        """Return which frames were too small."""
        notes = tuple(dict.fromkeys(self._notes))
        self._notes.clear()
        return notes

    def free_caches(self) -> None:
        """Let go of the networks of a shot."""
        self._sha256, self._nets = "", []

    def _why_not(self, lq: tuple[int, int], hr: tuple[int, int]) -> str:
        """Return why no network is trained; empty where one is."""
        if min(lq) < SMALLEST_SIDE:
            return f"{lq[1]}x{lq[0]} has a side under {SMALLEST_SIDE} pixels"
        if lq == hr and self._way.reduction.kernel is None:
            return "the size stays the same, and no kernel is given"
        return ""

    def _trained(
        self, samples: Sequence[FloatFrame], lq: tuple[int, int], hr: tuple[int, int], say: Say
    ) -> tuple[list[ZSSRNet], list[Trained]]:
        """Train a network for each factor; later ones begin with the weights before them and see larger pictures."""
        way = self._way
        net = way.network().to(self._device)
        nets: list[ZSSRNet] = []
        trainings: list[Trained] = []
        pictures, newest, before = list(samples), list(samples), lq
        for size in way.sizes(lq, hr):
            factor = sqrt(size[0] / before[0] * size[1] / before[1])
            pairs = Pairs(pictures, factor, way.reduction, way.settings)
            trained = train(net, pairs, way.settings, max_steps=way.max_steps, device=self._device, say=say)
            trainings.append(trained)
            # As they will be used: rounded.
            nets += load_networks(decision_with([net], ""), way.network())
            if size != hr:
                nets[-1].to(self._device)
                with torch.inference_mode():
                    newest = [self._enlarged(nets[-1], picture, size).clip(0, 1) for picture in newest]
                pictures += newest
                before = size
        return nets, trainings

    def _networks(self, decision: Decision, count: int) -> list[ZSSRNet]:
        """Return the networks of a decision, on the device; those of the last one are kept."""
        if not decision.values:
            return [self._way.network().to(self._device) for _ in range(count)]
        if not self._nets or self._sha256 != sha256_in(decision):
            self._nets = [net.to(self._device) for net in load_networks(decision, self._way.network())]
            self._sha256 = sha256_in(decision)
        return self._nets

    def _enlarged(self, net: ZSSRNet, frame: FloatFrame, size: tuple[int, int]) -> FloatFrame:
        """Return a frame (H, W, 3) in a larger size."""
        way = self._way
        interpolated = interpolate(frame, size, "bicubic")
        orientations = way.reduction.orientations if way.settings.orientations else (0,)
        total: FloatFrame | None = None
        for orientation in orientations:
            one = turn_back(self._by_network(net, turn(interpolated, orientation)), orientation)
            total = one if total is None else np.add(total, one, out=total)
        assert total is not None
        total /= len(orientations)
        return back_projected(total, frame, way.reduction, way.settings.back_projections)

    def _by_network(self, net: ZSSRNet, interpolated: FloatFrame) -> FloatFrame:
        height, width = interpolated.shape[:2]
        tiling = plan_tiles(height, width, tile=self._way.tile_for(net, height, width), radius=net.receptive_radius())
        frame = torch.from_numpy(interpolated).to(self._device).permute(2, 0, 1)[None]
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
            result = upscale_in_tiles(net, frame.contiguous(memory_format=torch.channels_last), tiling)
        return np.ascontiguousarray(result[0].permute(1, 2, 0).cpu().numpy())


def zssr_spec(
    name: str, settings: UpscaleConfig, sizing: Sizing, device: torch.device, *, allow_cpu: bool
) -> ModelSpec:
    """Return ZSSR; it has no weights of its own.

    Args:
        name: as in the manifest.
        settings: how it is trained and run.
        sizing: what it makes.
        device: where it runs.
        allow_cpu: whether the CPU may be the last resort.

    Raises:
        PrecisionError: another precision than fp32 is named.
        InputError: the kernel cannot be read.
        UsageError: it is no kernel.
    """
    direct_candidates(name, settings, device, ("fp32",))
    reduction = Reduction(None if settings.kernel is None else read_kernel(settings.kernel))
    tile = None if settings.tile == "auto" else settings.tile
    first = _Way(settings.zssr, reduction, settings.zssr_steps, device, tile)
    ways = [("the largest tiles" if tile is None else f"tiles of {tile}", first)]
    ways += [(f"tiles of {cap} at most", replace(first, cap=cap)) for cap in _CAPS]
    if allow_cpu and device.type != "cpu":
        ways.append(("the CPU", replace(first, device=torch.device("cpu"))))
    by = "MATLAB's bicubic" if settings.kernel is None else settings.kernel.name
    return ModelSpec(
        name=name,
        sizing=sizing,
        description=f"{name} in fp32 on {describe(device)}, trained on each shot, reduction by {by}",
        identity={
            "model": name,
            "precision": "fp32",
            "convolutions": "direct",
            "device": device.type,
            "segment_frames": settings.segment_frames,
            "tile": str(settings.tile),
            "zssr_steps": settings.zssr_steps,
            "zssr": settings.zssr.model_dump_json(),
            "kernel": reduction.identity,
        },
        context=Context(
            segment_frames=settings.segment_frames, decision_frames=settings.zssr.frames, decides_slowly=True
        ),
        variants=tuple(
            Variant(
                description=description,
                device=way.device,
                memory_bytes=way.memory_bytes,
                build=partial(ZssrUpscaler, way),
                checkpoints=lambda _: Checkpoints(CHECKPOINT_FRAMES),
            )
            for description, way in ways
        ),
    )


def _floats(pixels: Pixels) -> FloatFrame:
    """Return a frame as float32, 0 to 1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
