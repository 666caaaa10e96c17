"""`--refine`: HR frames at half their size through a network that enlarges four times, and back.

A recurrent network gives a clean and steady picture that is soft; a network for stills that sees it at half its size
makes edges crisp, with hardly any texture of its own that could flicker.

Where a shot shows nothing but smooth surfaces, there is nothing to make crisp: tiles without detail are left out. That
is decided by frames from all over the shot, once, so that no place is refined in one frame and not in the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.choice import fastest_direct
from vsr_pipeline.enhance.device import Precision
from vsr_pipeline.enhance.frame_model import Tiles, Way, prepared, small_output
from vsr_pipeline.enhance.net_steps import Change, NetStepSpec
from vsr_pipeline.enhance.precision import LEAST_PSNR_DB, accuracy_of, candidates_for, psnr_db
from vsr_pipeline.enhance.spec import REFINE, ModelSpec, Say
from vsr_pipeline.enhance.tiles import tiles_for, upscale_in_tiles
from vsr_pipeline.enhance.tiling import AUTOMATIC_SIDES
from vsr_pipeline.errors import UsageError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.frame import FrameNet
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.timeline import Decision, Shot

NETWORK_SCALE = 4
"""What the network multiplies sides by; it sees frames of half their size, which so get twice their size."""

_CAPS = (None, 256, 128, 64)
# HR frames that are held at once: the frame, clipped, halved, doubled (4), back, mixed.
_FRAMES_HELD = 9
_CELL = 16
"""Side of the squares that are looked at for detail, in LQ pixels."""
_SAMPLES = 16
_LEAST_DETAIL = 1.0
"""Of 255: mean difference between neighbours in a square, of the frame that has most."""

Cells = npt.NDArray[np.bool_]
"""Which squares of the LQ frame have detail, (rows, columns)."""


class Refiner:
    """Refines HR frames; see `NetStep`.

    Args:
        net: on its device.
        way: how frames are cut.
        share: of the refined picture, 0 to 1; the rest is the picture as it was.
    """

    def __init__(self, net: FrameNet, way: Way, share: float) -> None:
        self._net = net
        self._way = way
        self._share = share
        self._notes: list[str] = []

    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Look for squares without detail."""
        del say, geometry
        indices = sample_indices(Shot(0, len(samples)), _SAMPLES) if len(samples) else ()
        details = [detail_of(samples[index]) for index in indices]
        if not details:
            return Decision()
        cells = np.maximum.reduce(details) >= _LEAST_DETAIL
        covered = round(100 * float(_widened(cells).mean()))
        return Decision({REFINE: _written(cells)}, f"refined on {covered} % of the frame")

    def begin(self, decided: str, geometry: Geometry) -> Change:
        """Return the refinement of the frames of a segment."""
        cells = _read(decided)
        plan: _Plan | None = None

        def change(hr: Tensor, place: int) -> Tensor:
            nonlocal plan
            del place
            plan = plan or self._planned(cells, geometry, hr)
            return hr if plan.is_empty else self._refined(hr, plan)

        return change

    def _planned(self, cells: Cells | None, geometry: Geometry, hr: Tensor) -> "_Plan":
        """Work out what is refined of frames like this one, and in which tiles that costs least."""
        size = (hr.shape[-2], hr.shape[-1])
        half = (size[0] + 1) // 2, (size[1] + 1) // 2
        largest = self._way.tile_for(*half)
        can_tile = self._way.checkpoint.can_tile
        if cells is None:
            return _Plan(Tiles(self._net, half, largest, can_tile=can_tile))
        mask = _mask(cells, geometry, size)
        needed = F.adaptive_max_pool2d(mask, half)[0, 0] > 0

        def computed_pixels(side: int) -> int:
            tiling = Tiles(self._net, half, side).of(side)
            return len(tiles_for(tiling, needed)) * tiling.tile_size[0] * tiling.tile_size[1]

        sides = [side for side in AUTOMATIC_SIDES if side < (largest or max(half))] if can_tile else []
        cheapest = min([largest, *sides], key=computed_pixels)
        return _Plan(Tiles(self._net, half, cheapest, can_tile=can_tile), mask.to(hr.device), needed)

    def _refined(self, hr: Tensor, plan: "_Plan") -> Tensor:
        clipped = hr.clamp(0, 1)
        half = F.interpolate(clipped, plan.tiles.size, mode="area").contiguous(memory_format=torch.channels_last)
        needed = plan.needed
        doubled = plan.tiles.run(lambda tiling: upscale_in_tiles(self._net, half, tiling, needed_HW=needed))
        self._notes += (f"{REFINE}: {note}" for note in plan.tiles.notes)
        plan.tiles.notes.clear()
        refined = F.interpolate(doubled, tuple(hr.shape[-2:]), mode="area").clamp_(0, 1)
        return torch.lerp(clipped, refined, self._share if plan.mask is None else self._share * plan.mask)

    def take_notes(self) -> tuple[str, ...]:
        """Return which tiles were too large."""
        notes = tuple(dict.fromkeys(self._notes))
        self._notes.clear()
        return notes


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the frames of a segment are refined.

    Attributes:
        tiles: of frames of half the size.
        mask: how much each HR pixel is refined, (1, 1, H, W); None: all alike.
        needed: which pixels of the halved frame that takes, (H, W), on the CPU; None: all.
    """

    tiles: Tiles
    mask: Tensor | None = None
    needed: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is refined."""
        return self.needed is not None and not self.needed.any()


@dataclass(frozen=True, slots=True)
class _Refine:
    """The ways to refine; all workers have the same."""

    checkpoint: FrameCheckpoint
    precision: Precision
    share: float
    device: torch.device

    def way(self, level: int, device: torch.device, precision: Precision) -> Way:
        return Way(self.checkpoint, device, precision, None, _CAPS[level])

    def memory_bytes(self, level: int, height: int, width: int) -> int:
        """Return what it takes for HR frames, with its weights."""
        own = self.way(level, self.device, self.precision).tile_bytes((height + 1) // 2, (width + 1) // 2)
        return own + _FRAMES_HELD * 3 * 4 * height * width + self.checkpoint.weights_bytes

    def build(self, level: int, device: torch.device, in_fp32: bool) -> Refiner:
        """Put the network on a device."""
        precision: Precision = "fp32" if in_fp32 else self.precision
        net = prepared(self.checkpoint, device, precision)
        return Refiner(net, self.way(level, device, precision), self.share)


def refine_step(
    checkpoint: FrameCheckpoint, share: float, spec: ModelSpec, settings: UpscaleConfig, device: torch.device
) -> NetStepSpec:
    """Return the step.

    Args:
        checkpoint: the network.
        share: of the refined picture, 0 to 1.
        spec: the model before it, in whose precision it computes where it is exact enough in that.
        settings: the precision where the model has none.
        device: where it runs.

    Raises:
        UsageError: the network does not enlarge four times.
        PrecisionError: the device cannot compute in the precision.
    """
    name = checkpoint.name
    if checkpoint.net.scale != NETWORK_SCALE:
        raise UsageError(
            f"--refine {name} enlarges {checkpoint.net.scale} times: name a frame model that does {NETWORK_SCALE}"
        )
    precision = _precision(checkpoint, spec.precision, settings, device)
    refine = _Refine(checkpoint, precision, share, device)
    return NetStepSpec(
        name=REFINE,
        description=f"refined by {name} in {precision}, share {share:g}",
        identity={
            REFINE: f"{name}:{share:g}",
            "refine_weights_sha256": checkpoint.sha256,
            "refine_precision": precision,
            # Of a model that has none of its own.
            "precision": precision,
            "device": device.type,
        },
        device=device,
        levels=tuple("" if cap is None else f"tiles of {cap} at most" for cap in _CAPS),
        memory_bytes=refine.memory_bytes,
        build=refine.build,
    )


def _precision(checkpoint: FrameCheckpoint, of_model: str, settings: UpscaleConfig, device: torch.device) -> Precision:
    """Return the model's precision, or fp32 where the network is not exact enough in that."""
    output_in = partial(small_output, checkpoint, device)
    if not of_model:
        taken, _ = fastest_direct(
            checkpoint.name,
            checkpoint.sha256,
            settings.model_copy(update={"convolutions": "auto"}),
            device,
            output_in,
            channels=checkpoint.channels,
            precisions=checkpoint.precisions,
        )
        return taken.precision
    direct = [candidate for candidate in candidates_for(device) if candidate.convolutions == "direct"]
    candidate = next((one for one in direct if one.precision == of_model), direct[0])
    if candidate.precision == "fp32" or candidate.precision not in checkpoint.precisions:
        return "fp32"

    def measured() -> float:
        return psnr_db(output_in(candidate.precision).cpu(), output_in("fp32").cpu())

    decibels = accuracy_of(candidate, device, checkpoint.sha256, measured)
    return candidate.precision if decibels >= LEAST_PSNR_DB else "fp32"


def detail_of(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return how much neighbours differ on average in each square of an LQ frame, of 255: (rows, columns)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) * (255 / np.iinfo(pixels.dtype).max)
    below, right = -grey.shape[0] % _CELL, -grey.shape[1] % _CELL
    padded = cv2.copyMakeBorder(grey, 1, below + 1, 1, right + 1, cv2.BORDER_REPLICATE)
    across = np.abs(padded[1:-1, 2:] - padded[1:-1, 1:-1])
    down = np.abs(padded[2:, 1:-1] - padded[1:-1, 1:-1])
    rows, columns = across.shape[0] // _CELL, across.shape[1] // _CELL
    squares = (across + down).reshape(rows, _CELL, columns, _CELL)
    return np.asarray(squares.mean(axis=(1, 3)), np.float32)


def _mask(cells: Cells, geometry: Geometry, size: tuple[int, ...]) -> Tensor:
    """Return how much each HR pixel is refined, (1, 1, H, W): 1 on squares with detail, to 0 within the next square."""
    width, height = geometry.reduced_size
    wide = torch.from_numpy(_widened(cells)).float()[None, None]
    # Corners between squares: 1 where all squares around have detail or touch it.
    corners = -F.max_pool2d(F.pad(-wide, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
    y = (torch.arange(size[0]) + 0.5) * (height / size[0] / _CELL) / cells.shape[0] * 2 - 1
    x = (torch.arange(size[1]) + 0.5) * (width / size[1] / _CELL) / cells.shape[1] * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    return F.grid_sample(corners, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _widened(cells: Cells) -> Cells:
    """Return squares that have detail or touch one that has."""
    return cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _written(cells: Cells) -> str:
    return f"{cells.shape[0]}x{cells.shape[1]} {np.packbits(cells).tobytes().hex()}"


def _read(text: str) -> Cells | None:
    """Return squares as they were written; None: nothing was decided."""
    if not text:
        return None
    shape, bits = text.split(" ")
    rows, columns = map(int, shape.split("x"))
    flat = np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8), count=rows * columns)
    return flat.reshape(rows, columns).astype(bool)
