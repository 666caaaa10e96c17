"""The official networks: those of mmedit 0.16.1, behind the interface of ours.

They live in an environment of their own, because mmedit needs a NumPy and an OpenCV of its time and a compiled
mmcv-full: `make reference` builds it. Nothing of mmedit is imported before it is asked for.

Shape suffixes on tensors: N clips, T frames, C channels, H and W rows and columns of the low-quality frames.
"""

import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.clip.geometry import Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import describe
from vsr_pipeline.enhance.realbasicvsr import context_of, identity_of
from vsr_pipeline.enhance.realbasicvsr_memory import NetworkSizes, peak_bytes
from vsr_pipeline.enhance.realbasicvsr_official import OfficialUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import SCALE
from vsr_pipeline.enhance.spec import ModelSpec, Upscaler, Variant
from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.models.basicvsr import pad_to_minimum

_HOW_TO_GET = "run `make reference`, then `.venv-reference/bin/vsr enhance --backend mmedit`"


@dataclass(frozen=True, slots=True)
class OfficialNetworks:
    """The official network classes."""

    realbasicvsr: type[nn.Module]
    basicvsr: type[nn.Module]


def mmedit_spec(name: str, checkpoint: Checkpoint, settings: UpscaleConfig, device: torch.device) -> ModelSpec:
    """Return the official network with the weights of a checkpoint.

    Raises:
        UsageError: mmedit is not installed here, or another precision is asked for.
        ModelError: the weights do not fit the official network.
    """
    if settings.convolutions == "winograd":
        raise UsageError("--backend mmedit computes convolutions by PyTorch: leave out --convolutions winograd")
    if settings.precision not in ("auto", "fp32"):
        raise UsageError(f"--backend mmedit computes in fp32, not in {settings.precision}")
    official_networks()
    sizes = NetworkSizes.of(checkpoint)

    def build() -> Upscaler:
        net = OfficialNet(checkpoint, refine_threshold=settings.refine_threshold, device=device)
        return OfficialUpscaler(net, settings.refine_threshold, device=device, max_seq_len=settings.max_seq_len)

    return ModelSpec(
        name=name,
        sizing=Sizing(scale=SCALE),
        description=f"{name} by mmedit on {describe(device)}, official windows of {settings.max_seq_len} frames",
        identity=identity_of(settings, checkpoint, "fp32", device, "direct"),
        context=context_of(settings),
        variants=(
            Variant(
                description=f"windows of {settings.max_seq_len}",
                device=device,
                memory_bytes=lambda clip: peak_bytes(
                    settings, clip, sizes, on_gpu=device.type != "cpu", sample_bytes=4, band_rows=None
                ),
                build=build,
            ),
        ),
    )


def official_networks() -> OfficialNetworks:
    """Import mmedit.

    Raises:
        UsageError: mmedit, or something that it imports, is not installed here.
    """
    if importlib.util.find_spec("mmedit") is None:
        raise UsageError(f"--backend mmedit: mmedit is not installed in this environment: {_HOW_TO_GET}")
    _define_missing_torchvision_operators()
    # What packages of 2023 warn about at import is nothing that a user of this program could change.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from mmedit.models.backbones.sr_backbones.basicvsr_net import BasicVSRNet
            from mmedit.models.backbones.sr_backbones.real_basicvsr_net import RealBasicVSRNet
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"--backend mmedit: importing mmedit failed ({reason}): {_HOW_TO_GET}") from error
    return OfficialNetworks(realbasicvsr=RealBasicVSRNet, basicvsr=BasicVSRNet)


def _define_missing_torchvision_operators() -> None:
    """Let a torchvision that was built for CUDA be imported beside a torch that was built for the CPU.

    mmedit imports torchvision (for losses that are not used here), and importing it describes the shapes of operators
    that only its compiled library defines. Where that library cannot be loaded, they are declared here, without code.
    """
    torchvision = importlib.util.find_spec("torchvision")
    if torchvision is None or torchvision.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        for library in Path(torchvision.origin).parent.glob("_C*"):
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError:
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class OfficialNet:
    """An official network with the weights of a checkpoint; called like ours, on whole windows.

    Args:
        checkpoint: weights under their official names, and the sizes of the network.
        refine_threshold: cleaning is repeated while the mean absolute residue of a window, in units of 1/255, is at or
            above this, three times at most; a BasicVSR has no cleaning and ignores it.
        device: where the network runs and wants its input.

    Raises:
        UsageError: mmedit is not installed here.
        ModelError: the weights do not fit the official network.
    """

    def __init__(self, checkpoint: Checkpoint, *, refine_threshold: float, device: torch.device) -> None:
        networks = official_networks()
        if checkpoint.family == "realbasicvsr":
            if checkpoint.cleaning_channels != checkpoint.mid_channels:
                raise ModelError(
                    f"the official network cleans as wide as it propagates ({checkpoint.mid_channels} channels), "
                    f"this one has {checkpoint.cleaning_channels}: use --backend torch"
                )
            net = networks.realbasicvsr(
                mid_channels=checkpoint.mid_channels,
                num_propagation_blocks=checkpoint.num_propagation_blocks,
                num_cleaning_blocks=checkpoint.num_cleaning_blocks,
                dynamic_refine_thres=refine_threshold,
            )
        else:
            net = networks.basicvsr(mid_channels=checkpoint.mid_channels, num_blocks=checkpoint.num_propagation_blocks)
        try:
            net.load_state_dict(dict(checkpoint.state_dict), strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"the checkpoint does not fit the official network: {reason}") from error
        self._net = net.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def __call__(self, frames_NTCHW: Tensor) -> Tensor:
        """Clean and upscale a window.

        Args:
            frames_NTCHW: (N, T, 3, H, W), RGB in [0, 1], float32, any T, H and W of at least 1.

        Returns:
            (N, T, 3, 4H, 4W), not clipped.
        """
        height, width = frames_NTCHW.shape[-2:]
        with warnings.catch_warnings():
            # About how flow_warp calls it: the result is the same.
            warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
            output: Tensor = self._net(pad_to_minimum(frames_NTCHW))
        return output[..., : 4 * height, : 4 * width]
