"""Calibration for int8: what ranges the features of a network have, seen on spoiled frames of ordinary pictures."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.checkpoints.load import Checkpoint, load_checkpoint
from vsr_pipeline.checkpoints.ranges import ranges_in_cache, save_ranges
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.models.int8 import Range, Ranges, quantised_convolutions
from vsr_pipeline.runtime.progress import Reporter, reported
from vsr_pipeline.train.config import RunConfig
from vsr_pipeline.train.data import Sequences
from vsr_pipeline.train.sources import find_sources

_SEQUENCES = 16
_FRAMES = 3
_TRUTH_SIZE = 256
_KEPT = 2000
"""Of the features of each call, drawn at random; the least and the largest are kept as well."""
_FACTORS = np.linspace(0.3, 1.0, 29)


def quantize(name: str, folder: Path | None, reporter: Reporter) -> Path:
    """Write the ranges of a checkpoint to the user's cache.

    Args:
        name: of a model, or of a checkpoint's file.
        folder: of pictures and videos like those that are to be enlarged; None: the pictures that ship.
        reporter: is told of the progress.

    Returns:
        The file.

    Raises:
        UsageError: the model is no RealBasicVSR or BasicVSR.
        ModelError: the weights are missing or damaged.
        InputError: the folder has nothing that is fit.
        OutputError, DiskFullError: the file cannot be written.
    """
    checkpoint = load_checkpoint(_weights(name))
    config = RunConfig.model_validate(
        {
            "data": {
                "folders": [str(folder or manifest.calibration_pictures())],
                "truth_size": _TRUTH_SIZE,
                "frames": _FRAMES,
                "mirror": False,
                "still_shrink": [1.0, 2.0],
            },
            "losses": {"sharpen": False},
        }
    )
    sources = find_sources(config.data.folders, _TRUTH_SIZE, reporter.note)
    sequences = Sequences(sources, config, seed=0, with_truth=False)
    with reported(reporter, "calibrate", _SEQUENCES, "sequences"):
        ranges = calibrated(checkpoint, (sequences[k]["lq"] for k in range(_SEQUENCES)), reporter)
    path = ranges_in_cache(checkpoint.sha256)
    save_ranges(path, ranges, checkpoint.sha256)
    return path


def _weights(name: str) -> Path:
    entry = next((entry for entry in manifest.load_manifest() if entry.name == name), None)
    if entry is None and (Path(name).suffix or Path(name).is_file()):
        return Path(name)
    entry = entry or manifest.find(name)
    if entry.architecture not in ("realbasicvsr", "basicvsr"):
        raise UsageError(f"int8 is for RealBasicVSR and BasicVSR, not for {name}")
    return manifest.verified_path(name)


def calibrated(checkpoint: Checkpoint, sequences: Iterable[Tensor], reporter: Reporter) -> Ranges:
    """Return the ranges that sequences of LQ frames (T, 3, H, W), uint8, have in a network."""
    net = net_for(checkpoint).eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = {name: _Seen() for name, _ in quantised_convolutions(net)}
    with ExitStack() as hooks:
        for name, conv in quantised_convolutions(net):
            handle = conv.register_forward_pre_hook(seen[name])
            hooks.callback(handle.remove)
        # Where gradients may be asked for, every convolution is called by itself, and its hook with it.
        with torch.enable_grad():
            for lq_TCHW in sequences:
                net(lq_TCHW[None].float() / 255)
                reporter.worked(1)
    return {name: one.range() for name, one in seen.items()}


class _Seen:
    """What comes into a convolution: a hook that is called before it."""

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._kept: list[Tensor] = []
        self._sum_C = torch.zeros(())
        self._places = 0

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x_NCHW = inputs[0].detach()
        flat = x_NCHW.reshape(-1)
        drawn = torch.randint(flat.numel(), (min(_KEPT, flat.numel()),), generator=self._random)
        self._kept.append(torch.cat((flat[drawn], flat.min()[None], flat.max()[None])))
        self._sum_C = self._sum_C + x_NCHW.sum((0, 2, 3))
        self._places += x_NCHW.numel() // x_NCHW.shape[1]

    def range(self) -> Range:
        """Return the part of the whole range that has the least mean squared error, ends and rounding together."""
        values = torch.cat(self._kept)
        if not torch.isfinite(values).all():  # as integers they would look like features
            raise ModelError("the network gives NaN or infinity on pictures: check the checkpoint")
        low, high = min(0.0, values.min().item()), max(0.0, values.max().item())
        means = self._sum_C / self._places
        ranges = [Range(low * factor, high * factor, means) for factor in _FACTORS]
        return min(ranges, key=lambda one: _squared_error(values, one))


def _squared_error(values: Tensor, seen: Range) -> float:
    integers = (values / seen.scale + seen.zero).round().clamp(0, 255)
    return ((integers - seen.zero) * seen.scale - values).square().mean().item()
