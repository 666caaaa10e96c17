"""What all steps of the check of a GPU share: device, sizes, models, clips."""

import gc
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from tests.support.networks import fill
from vsr_pipeline.bench_network import moving_picture, product, synchronize
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import Precision
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

OPEN_MODEL = Path(__file__).parents[2] / "checkpoints" / "realbasicvsr-open-x4.safetensors"


@dataclass(frozen=True)
class Setting:
    """One run of the check.

    Args:
        device: where it runs.
        is_tiny: whether sizes only prove that the script runs.
        folder: for what is written in between.
    """

    device: torch.device
    is_tiny: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to be measured."""
        return self.device.type == "cuda"

    @property
    def halves(self) -> tuple[Precision, ...]:
        """The precisions of 16 bits; a CPU, which only proves that the script runs, may emulate them slowly."""
        return ("bf16", "fp16") if self.on_gpu else ()

    @cached_property
    def checkpoint(self) -> Path:
        """RealBasicVSR's weights: those that ship, or a tiny network."""
        if not self.is_tiny:
            return OPEN_MODEL
        path = self.folder / "tiny.pth"
        torch.save(fill(RealBasicVSRNet(8, 2, 2), 0.7).state_dict(), path)
        return path

    def settings(self, precision: Precision, checkpoint: Path | None = None, **others: object) -> UpscaleConfig:
        """Return settings of the product on this device."""
        values = {"precision": precision, "device": str(self.device), "convolutions": "direct"}
        return UpscaleConfig(checkpoint=checkpoint or self.checkpoint, **values, **others)

    def clip(self, width: int, height: int, frames: int, *, tiny_frames: int = 3) -> list[Pixels]:
        """Return a moving picture; of a tiny run, a few frames of 64x64."""
        return moving_picture(64, 64, tiny_frames) if self.is_tiny else moving_picture(width, height, frames)

    def opened(self, precision: Precision, **others: object) -> tuple[ModelSpec, SegmentUpscaler]:
        """Return the product, with its weights on the device."""
        spec = open_model(self.settings(precision, **others))
        upscaler = spec.variants[0].build()
        assert isinstance(upscaler, SegmentUpscaler)
        return spec, upscaler

    def upscaled(self, clip: list[Pixels], precision: Precision, **others: object) -> list[Pixels]:
        """Return what the product makes of a clip."""
        spec, upscaler = self.opened(precision, **others)
        return product(upscaler, spec, clip)

    def free(self) -> None:
        """Give back what earlier work has left in the device's memory."""
        gc.collect()
        if self.on_gpu:
            synchronize(self.device)
            torch.cuda.empty_cache()
