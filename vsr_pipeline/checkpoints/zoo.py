"""Checkpoints of architectures that are not ours, by the library spandrel (extra `zoo`), which knows about forty."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsr_pipeline.checkpoints.state_dicts import read_tensors
from vsr_pipeline.errors import ModelError

HOW_TO_GET = "run `pip install 'vsr-pipeline[zoo]'`"

_USABLE_PURPOSES = ("SR", "Restoration")
_VALUES_FOR_EACH_CHANNEL = 24


class ZooNet:
    """A network for single frames whose architecture spandrel knows.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`, loaded.

    Attributes:
        architecture: spandrel's name of it, such as `SwinIR`.
        scale: what it multiplies sides by.
        multiple_of: tiles must begin at multiples of it; frames of any size are extended and the output is cut.
        can_tile: whether frames may be cut into tiles; otherwise the network cuts them itself.
        dtypes: what it may compute in, float32 first.

    Raises:
        ModelError: the network does not make frames from frames.
    """

    def __init__(self, descriptor: Any) -> None:  # noqa: ANN401 - spandrel is not always installed
        self._descriptor = descriptor
        self._channels = int(descriptor.input_channels)
        self.architecture = str(descriptor.architecture.name)
        self.scale = int(descriptor.scale)
        self.multiple_of = int(descriptor.size_requirements.multiple_of)
        self.can_tile = descriptor.tiling.name != "INTERNAL"
        self.dtypes = (
            torch.float32,
            *((torch.float16,) if descriptor.supports_half else ()),
            *((torch.bfloat16,) if descriptor.supports_bfloat16 else ()),
        )
        if descriptor.purpose not in _USABLE_PURPOSES:
            raise ModelError(f"it is a {self.architecture} for {descriptor.purpose}; usable are SR and Restoration")
        if self._channels not in (1, 3) or descriptor.output_channels != self._channels:
            raise ModelError(
                f"it is a {self.architecture} from {self._channels} to {descriptor.output_channels} channels; "
                "usable are 3 to 3 and 1 to 1"
            )

    @property
    def network(self) -> nn.Module:
        """The network itself, to be moved to a device or to one of `dtypes`."""
        module: nn.Module = self._descriptor.model
        return module

    def __call__(self, frames_NCHW: Tensor) -> Tensor:
        """Return frames (N, 3, scale * H, scale * W), float32, clipped to [0, 1], of frames (N, 3, H, W), float32.

        A network for grey pictures is applied to each colour.
        """
        count, channels, height, width = frames_NCHW.shape
        dtype = next(self.network.parameters()).dtype
        pictures = frames_NCHW.reshape(-1, self._channels, height, width).to(dtype)
        outputs = torch.cat([self._descriptor(picture[None]) for picture in pictures])
        return outputs.view(count, channels, self.scale * height, self.scale * width).float()

    def receptive_radius(self) -> int | None:
        """Return None: how far it sees is not known."""
        return None

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Guess the peak of the memory for one frame or tile, in LQ pixels, without the weights.

        A guess from the widest layer: what an unknown architecture holds can only be measured.
        """
        widest = max((p.shape[0] for p in self.network.parameters() if p.ndim > 1), default=1)
        output = 3 * self.scale**2
        return height * width * (bytes_per_value * (_VALUES_FOR_EACH_CHANNEL * widest + 4 * output) + 8 * output)


def load_zoo_net(path: Path) -> ZooNet:
    """Read a checkpoint (`.safetensors`, or `.pth` without running code in it) of any architecture that spandrel knows.

    Raises:
        ModelError: spandrel is not here, the file is damaged or wants to run code, or its architecture is unknown or of
            another use.
    """
    descriptor = _described(path)
    try:
        return ZooNet(descriptor)
    except ModelError as error:
        raise ModelError(f"{path} cannot be used for frames: {error}") from error


class FaceNet(nn.Module):
    """GFPGAN (Wang et al., 2021), which restores a face of 512x512 pixels.

    Args:
        network: spandrel's, which takes and gives values of -1 to 1.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, face_13HW: Tensor) -> Tensor:
        """Map a face in [0, 1] to the restored one; always the same: the noise is that of the checkpoint."""
        restored: Tensor = self.network(face_13HW * 2 - 1, return_rgb=False, randomize_noise=False)[0]
        return (restored + 1) / 2


def load_face_net(path: Path) -> FaceNet:
    """Read a checkpoint of GFPGAN.

    Raises:
        ModelError: spandrel is not here, or the file is damaged or something else.
    """
    descriptor = _described(path)
    if descriptor.architecture.id != "GFPGAN":
        raise ModelError(f"{path} is a {descriptor.architecture.name}: GFPGAN is what restores faces")
    return FaceNet(descriptor.model)


def _described(path: Path) -> Any:  # noqa: ANN401 - spandrel is not always installed
    """Return spandrel's descriptor of a checkpoint; raises as `load_zoo_net`."""
    spandrel = _import_spandrel(path)
    try:
        tensors = read_tensors(path)
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    try:
        # What the library's networks warn about when they are built is nothing that a user could change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as error:
        raise ModelError(
            f"{path} has an architecture that neither this program nor spandrel {spandrel.__version__} knows "
            f"(its {len(tensors)} tensors begin with {next(iter(tensors))})"
        ) from error
    except Exception as error:  # each architecture reads its sizes in its own way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path} cannot be loaded by spandrel {spandrel.__version__}: {reason}") from error
    descriptor.model.eval().requires_grad_(False)
    return descriptor


def _import_spandrel(path: Path) -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import spandrel
    except (ImportError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "spandrel":
            raise ModelError(
                f"{path} is no checkpoint of this program's own networks, and the library for other architectures, "
                f"spandrel, is not installed: {HOW_TO_GET}"
            ) from error
        # torchvision, which spandrel wants, does not load beside a torch that it was not built for.
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} needs spandrel, which cannot be imported ({reason}): install the build of torchvision that fits "
            f"torch {torch.__version__}"
        ) from error
    return spandrel
