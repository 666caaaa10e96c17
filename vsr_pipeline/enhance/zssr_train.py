"""ZSSR's training: pairs made of the pictures themselves, and a rate that falls when the error no longer does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from time import monotonic

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.config_zssr import ZssrConfig
from vsr_pipeline.enhance.zssr_pictures import ORIENTATIONS, Reduction, turn
from vsr_pipeline.errors import NotFiniteError
from vsr_pipeline.media.antialias import FloatFrame, antialiased_bicubic
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.models.zssr import ZSSRNet

Say = Callable[[str], None]

_RATE_DIVISOR = 10
_CHECKED_PAIRS = 4
_SAY_SECONDS = 15.0
# Sides of a father that are tried, from the largest one down, for one whose son has nearly the right factor.
_TRIED_SIDES = 8


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went.

    Attributes:
        steps: how many there were.
        error_before: mean absolute error of the interpolation, 0 to 1.
        error_after: that of the network.
    """

    steps: int
    error_before: float
    error_after: float


class Pairs:
    """Pairs of an interpolated picture and what it should be, made of pictures and their reductions.

    Args:
        pictures: (H, W, 3), 0 to 1, float32.
        factor: what the network enlarges sides by.
        reduction: how the pictures were made from larger ones.
        settings: crop and sizes.
    """

    def __init__(
        self, pictures: Sequence[FloatFrame], factor: float, reduction: Reduction, settings: ZssrConfig
    ) -> None:
        self._factor = factor
        self._reduction = reduction
        self._crop = settings.crop
        shares = np.geomspace(1, settings.smallest, settings.sizes)
        self._fathers = [(picture, _scaled(picture.shape[:2], share)) for picture in pictures for share in shares]
        areas = np.array([size[0] * size[1] for _, size in self._fathers], np.float64)
        self._weights = areas / areas.sum()

    def draw(self, rng: np.random.Generator) -> tuple[FloatFrame, FloatFrame]:
        """Return the interpolated son and its father, both (h, w, 3)."""
        picture, size = self._fathers[rng.choice(len(self._fathers), p=self._weights)]
        sides = [_side_for(min(self._crop, length), self._factor) for length in size]
        # The part of the picture that becomes a crop of the smaller one.
        spans = [
            min(whole, round(side * whole / length))
            for side, whole, length in zip(sides, picture.shape, size, strict=False)
        ]
        top, left = (rng.integers(whole - span + 1) for whole, span in zip(picture.shape, spans, strict=False))
        part = picture[top : top + spans[0], left : left + spans[1]]
        father = turn(antialiased_bicubic(part, (sides[0], sides[1])), int(rng.integers(len(ORIENTATIONS))))
        height, width = father.shape[:2]
        son = self._reduction(father, _scaled((height, width), 1 / self._factor)).clip(0, 1)
        return interpolate(son, (height, width), "bicubic"), father


def train(
    net: ZSSRNet,
    pairs: Pairs,
    settings: ZssrConfig,
    *,
    max_steps: int,
    device: torch.device,
    say: Say,
) -> Trained:
    """Train a network in place. The same arguments give the same weights on the same kind of machine.

    Args:
        net: in float32, on `device`.
        pairs: what it learns from.
        settings: rates and so on.
        max_steps: the most steps.
        device: where it computes.
        say: is told the error every so many seconds.

    Raises:
        NotFiniteError: the error became NaN or infinite.
    """
    rng = np.random.default_rng(settings.seed)
    checked = [pairs.draw(rng) for _ in range(_CHECKED_PAIRS)]
    before = float(np.mean([np.abs(son - father).mean() for son, father in checked]))
    rate = settings.first_rate
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    points: list[tuple[int, float]] = []
    said = monotonic()
    step = 0
    error = before
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False),
    ):
        for step in range(1, max_steps + 1):
            son, father = (_tensor(picture, device) for picture in pairs.draw(rng))
            loss = F.l1_loss(net(son), father)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if step % settings.measure_every and step < max_steps:
                continue
            error = _error(net, checked, device)
            points.append((step, error))
            if monotonic() - said > _SAY_SECONDS:
                said = monotonic()
                say(f"training: step {step} of {max_steps} at most, error {error:.5f}, rate {rate:.0e}")
            if len(points) >= settings.fitted_points and is_flat(
                points[-settings.fitted_points :], settings.slope_factor
            ):
                rate /= _RATE_DIVISOR
                points.clear()
                if rate < settings.last_rate * 0.999:
                    break
                for group in optimiser.param_groups:
                    group["lr"] = rate
    return Trained(step, before, error)


def is_flat(points: Sequence[tuple[int, float]], factor: float) -> bool:
    """Whether an error no longer falls: the deviation of its slope exceeds the slope by a factor.

    A line error = a + slope * step is fitted by least squares. Its slope's standard error comes from how far the points
    lie from the line.

    Args:
        points: at least 3 of (step, error).
        factor: see above.
    """
    steps, errors = np.array(points, np.float64).T
    centred = steps - steps.mean()
    spread = (centred**2).sum()
    slope = (centred * errors).sum() / spread
    rest = errors - errors.mean() - slope * centred
    deviation = sqrt((rest**2).sum() / (len(points) - 2) / spread)
    return bool(deviation > -factor * slope)


@torch.inference_mode()
def _error(net: ZSSRNet, pairs: Sequence[tuple[FloatFrame, FloatFrame]], device: torch.device) -> float:
    errors = [F.l1_loss(net(_tensor(son, device)), _tensor(father, device)).item() for son, father in pairs]
    error = float(np.mean(errors))
    if not np.isfinite(error):
        raise NotFiniteError("the training of the network gave NaN or infinity: give a smaller first_rate")
    return error


def _tensor(picture_HW3: FloatFrame, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture_HW3)).to(device).permute(2, 0, 1)[None]


def _scaled(size: Sequence[int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _side_for(length: int, factor: float) -> int:
    """Return a side of at most `length` pixels that divided by the factor is nearly an integer."""

    def fault(side: int) -> float:
        return abs(side / max(1, round(side / factor)) - factor)

    return min(range(length, max(0, length - _TRIED_SIDES), -1), key=fault)
