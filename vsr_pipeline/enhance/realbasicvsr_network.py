"""The network of a checkpoint, on its device; and which precision it is computed in."""

from functools import partial

import torch
from torch import Tensor

from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.checkpoints.ranges import Calibration
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.choice import fastest
from vsr_pipeline.enhance.device import MEASURED, Precision
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.precision import Candidate, accuracy_of, candidates_for, int8_candidate, psnr_db
from vsr_pipeline.enhance.transfer import DTYPES
from vsr_pipeline.errors import ModelError, PrecisionError
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.blocks import ResidualBlocks
from vsr_pipeline.models.int8 import Outside, Ranges, use_int8
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.spynet import FlowLevel
from vsr_pipeline.models.winograd import use_winograd

Net = BasicVSRNet | RealBasicVSRNet

_FLOW_LEVELS_IN_16_BITS = ("spynet.basic_module.4.", "spynet.basic_module.5.")
_CHECKED_SIZE = (16, 16)


def net_for(checkpoint: Checkpoint) -> Net:
    """Build the network of a checkpoint, with its weights.

    Raises:
        ModelError: a tensor has another shape than its name says.
    """
    net = _without_weights(checkpoint)
    _load(net, checkpoint)
    return net


def refuse_other_shapes(checkpoint: Checkpoint) -> None:
    """Compare shapes with those of the network, of which nothing is allocated.

    Raises:
        ModelError: a tensor has another shape than its name says.
    """
    with torch.device("meta"):
        net = _without_weights(checkpoint)
    _load(net, checkpoint, assign=True)


def _without_weights(checkpoint: Checkpoint) -> Net:
    if checkpoint.family != "realbasicvsr":
        return BasicVSRNet(
            checkpoint.mid_channels,
            checkpoint.num_propagation_blocks,
            checkpoint.reconstruction_channels,
            checkpoint.flow_levels,
        )
    assert checkpoint.num_cleaning_blocks is not None
    return RealBasicVSRNet(
        checkpoint.mid_channels,
        checkpoint.num_propagation_blocks,
        checkpoint.num_cleaning_blocks,
        checkpoint.cleaning_channels,
        checkpoint.reconstruction_channels,
        checkpoint.flow_levels,
    )


def _load(net: Net, checkpoint: Checkpoint, *, assign: bool = False) -> None:
    try:
        net.load_state_dict(dict(checkpoint.state_dict), strict=True, assign=assign)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the checkpoint does not fit its own network: {reason}") from error


def prepare(
    net: Net,
    *,
    device: torch.device,
    precision: Precision,
    band_rows: int | None = None,
    winograd: bool = False,
    ranges: Ranges | None = None,
) -> Outside | None:
    """Put a network on its device for inference, in the layout that convolutions are fastest in.

    Args:
        net: it is changed.
        device: where it goes.
        precision: of features. Flow is a sum of corrections over a pyramid and stays in float32, and so does what
            computes those of the small levels; the two large levels add at most a few pixels.
        band_rows: features are computed in bands of at most so many rows: less memory, the same result.
        winograd: for float32 on a CPU: see `vsr_pipeline.models.winograd`, whose library must be there.
        ranges: of its features, for int8.

    Returns:
        What counts features outside of their ranges, for int8.
    """
    net.eval().requires_grad_(False).to(device)
    if device.type == "cuda":
        # By default PyTorch rounds the factors of float32 convolutions to 10 bits there.
        torch.backends.cudnn.allow_tf32 = False
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in net.named_parameters():
        if "spynet." not in name or any(level in name for level in _FLOW_LEVELS_IN_16_BITS):
            parameter.data = parameter.data.to(DTYPES[precision])
    for module in net.modules():
        if isinstance(module, ResidualBlocks | FlowLevel):
            module.band_rows = band_rows
    if winograd:
        use_winograd(net)
    if precision != "int8":
        return None
    assert ranges is not None
    return use_int8(net, ranges)


def choose(settings: UpscaleConfig, checkpoint: Checkpoint, device: torch.device) -> tuple[Candidate, str]:
    """Return the precision and convolutions that the settings mean for a network, and why."""
    calibration = _calibration(settings, checkpoint, device)

    def psnr_of(candidate: Candidate) -> float:
        weights = checkpoint.sha256 + (calibration.sha256 if calibration and candidate.precision == "int8" else "")
        return accuracy_of(candidate, device, weights, partial(_psnr_of, candidate, checkpoint, device))

    candidates = list(candidates_for(device))
    if calibration is not None and (in_int8 := int8_candidate(device)) is not None:
        candidates.append(in_int8)
    with out_of_memory_as_error():
        return fastest(settings, device, checkpoint.mid_channels, psnr_of, candidates)


def _calibration(settings: UpscaleConfig, checkpoint: Checkpoint, device: torch.device) -> Calibration | None:
    """Return what int8 needs; None: it is not among what the settings may mean.

    Raises:
        PrecisionError: they name int8, and it is not there.
    """
    is_named = settings.precision == "int8"
    may_be_taken = settings.precision in (*MEASURED, "int8") and settings.windows == "exact"
    if int8_candidate(device) is None or not may_be_taken:
        if is_named:
            raise PrecisionError(
                "--precision int8 is for x86 CPUs with AVX2, and not for --windows official: use auto, or fp32"
            )
        return None
    if checkpoint.ranges is None and is_named:
        raise PrecisionError(
            "--precision int8: the ranges of this checkpoint's features are not known: run vsr models quantize"
        )
    return checkpoint.calibration


@torch.inference_mode()
def _psnr_of(candidate: Candidate, checkpoint: Checkpoint, device: torch.device) -> float:
    """Return the PSNR in dB of a small frame from the network in a candidate, against float32."""
    frame = torch.rand(1, 3, *_CHECKED_SIZE, generator=torch.Generator().manual_seed(0))
    # Detail at several scales, as pictures have.
    frame = (frame + 3 * torch.nn.functional.interpolate(frame[..., ::4, ::4], scale_factor=4, mode="bilinear")) / 4
    outputs = []
    for way in (candidates_for(device)[0], candidate):
        net = net_for(checkpoint)
        calibration = checkpoint.calibration if way.precision == "int8" else None
        ranges = calibration.ranges if calibration else None
        prepare(net, device=device, precision=way.precision, winograd=way.convolutions == "winograd", ranges=ranges)
        outputs.append(_two_steps(net, frame.to(device)).cpu())
    return psnr_db(outputs[1], outputs[0])


def _two_steps(net: BasicVSRNet | RealBasicVSRNet, frame: Tensor) -> Tensor:
    """Return the HR frame of the second of two equal frames, (1, 3, 4H, 4W), without the network for flow."""
    frame = frame.contiguous(memory_format=torch.channels_last)
    if isinstance(net, RealBasicVSRNet):
        frame = net.clean(frame, 1)
        net = net.basicvsr
    flow = frame.new_zeros((1, 2, *frame.shape[-2:]))
    backward = net.backward_step(frame, None, None)
    forward = net.forward_step(frame, net.forward_step(frame, None, None), flow)
    return net.reconstruct(frame, backward, forward)
