"""AnimeSR as a model: recurrent and forward only, so that windows need no overlap and memory is that of one frame."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from vsr_pipeline.checkpoints.load import AnimeSRCheckpoint
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.choice import fastest_direct, put_on
from vsr_pipeline.enhance.device import Precision, describe
from vsr_pipeline.enhance.memory import around_model_bytes, out_of_memory_as_error
from vsr_pipeline.enhance.spec import (
    CHECKPOINT_FRAMES,
    Carry,
    Checkpoints,
    Context,
    Frame,
    ModelSpec,
    OnWork,
    State,
    Variant,
)
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.animesr import AnimeSRNet, extended
from vsr_pipeline.plan import take
from vsr_pipeline.timeline import ClipSize, Decision, Segment

_LOOKAHEAD = 1
_CHECKED_SIZE = (16, 16)
_WEIGHTS_BYTES = 6_000_000
_CARRIED = ("output", "features")


class AnimeSRStream:
    """Takes LQ frames one by one and gives HR frames in order, one frame later: each is made with its next one.

    Run it under `torch.inference_mode`.

    Args:
        net: on its device.
        device: where that is.
        state: of an earlier stream; the first LQ frame then is the last one that it gave an HR frame for.
    """

    def __init__(self, net: AnimeSRNet, device: torch.device, state: State | None = None) -> None:
        self._net = net
        self._device = device
        self._previous: Tensor | None = None
        self._current: Tensor | None = None
        self._carried: tuple[Tensor, Tensor] | None = None
        if state:
            output, features = (torch.as_tensor(state[name]).to(device) for name in _CARRIED)
            self._carried = (output, features)
        self._is_known = bool(state)

    @property
    def state(self) -> State:
        """What the HR frames to come depend on, beside the LQ frames from the last one on that has an HR frame."""
        assert self._carried is not None
        return dict(zip(_CARRIED, self._carried, strict=True))

    def push(self, pixels: Pixels) -> Iterator[Tensor]:
        """Take the next LQ frame (H, W, 3); yield the HR frame (1, 3, scale * H, scale * W) of the one before it."""
        self._size = pixels.shape[:2]
        following = extended(to_tensor(pixels, self._device))
        if self._is_known and self._current is not None:
            self._is_known = False  # its HR frame is there
        elif self._current is not None:
            yield self._step(self._current, following)
        self._previous, self._current = self._current, following

    def finish(self) -> Iterator[Tensor]:
        """Yield the HR frame of the last LQ frame, which has no next one."""
        if self._current is not None:
            yield self._step(self._current, self._current)
            self._current = None

    def _step(self, current: Tensor, following: Tensor) -> Tensor:
        previous = current if self._previous is None else self._previous
        carried = self._net.start(current) if self._carried is None else self._carried
        self._carried = self._net(torch.stack((previous, current, following), dim=1), *carried)
        height, width = self._size
        return self._carried[0][..., : self._net.scale * height, : self._net.scale * width]


class AnimeSRUpscaler:
    """Segments of a shot by `AnimeSRStream`, with warm-up and one frame of lookahead.

    Args:
        net: on its device.
        device: where that is.
    """

    def __init__(self, net: AnimeSRNet, device: torch.device) -> None:
        self._net = net
        self._device = device

    def decide(self, samples: Sequence[Pixels], **about: object) -> Decision:  # noqa: ARG002
        """Return that there is nothing to decide."""
        return Decision()

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
        """Yield the HR frames of a segment; see `Upscaler`."""
        del decision, geometry
        count = segment.context_stop - segment.context_start
        stream = AnimeSRStream(self._net, self._device, carry.state if carry else None)
        first = segment.start if carry and carry.state else segment.context_start

        def outputs() -> Iterator[Tensor]:
            for pixels in take(iter(frames), count):
                yield from stream.push(pixels)
                on_work(len(segment) / count)
            # The frames of the lookahead only feed the one before them.
            if not segment.lookahead:
                yield from stream.finish()

        with out_of_memory_as_error():
            for index, frame in enumerate(outputs(), start=first):
                if segment.start <= index < segment.stop:
                    if carry:
                        carry.keep(index + 1, stream.state)
                    yield frame

    def take_notes(self) -> tuple[str, ...]:
        """Return nothing: it does all that it is told."""
        return ()

    def free_caches(self) -> None:
        """Do nothing: nothing is kept."""


def animesr_spec(
    checkpoint: AnimeSRCheckpoint, settings: UpscaleConfig, device: torch.device, *, allow_cpu: bool
) -> ModelSpec:
    """Return AnimeSR with the weights of a checkpoint.

    Args:
        checkpoint: the network, with its weights.
        settings: how it runs.
        device: where it runs.
        allow_cpu: whether the CPU may be the last resort.

    Raises:
        PrecisionError: the device cannot compute in the precision.
    """
    taken, choice = fastest_direct(
        checkpoint.name,
        checkpoint.sha256,
        settings,
        device,
        partial(_small_output, checkpoint, device),
        channels=checkpoint.net.channels,
    )
    precision = taken.precision
    places = [(device, precision)]
    if allow_cpu and device.type != "cpu":
        places.append((torch.device("cpu"), "fp32"))
    return ModelSpec(
        name=checkpoint.name,
        sizing=Sizing(scale=checkpoint.net.scale),
        description=f"{checkpoint.name} in {precision} on {describe(device)}",
        identity={
            "model": checkpoint.name,
            "weights_sha256": checkpoint.sha256,
            "precision": precision,
            "convolutions": "direct",
            "device": device.type,
            "segment_frames": settings.segment_frames,
            "warm_up": settings.warm_up,
        },
        context=Context(segment_frames=settings.segment_frames, warm_up=settings.warm_up, lookahead=_LOOKAHEAD),
        variants=tuple(_variant(checkpoint, *place) for place in places),
        choice=choice,
    )


def _variant(checkpoint: AnimeSRCheckpoint, device: torch.device, precision: Precision) -> Variant:
    net = checkpoint.net

    def memory_bytes(clip: ClipSize) -> int:
        bytes_per_value = 4 if precision == "fp32" else 2
        own = net.memory_bytes(clip.height, clip.width, bytes_per_value=bytes_per_value) + _WEIGHTS_BYTES
        return own if device.type != "cpu" else own + around_model_bytes(clip, net.scale)

    def checkpoints(clip: ClipSize) -> Checkpoints:
        values = (3 * net.scale**2 + net.channels) * clip.width * clip.height
        return Checkpoints(CHECKPOINT_FRAMES, values * (4 if precision == "fp32" else 2), read_at_once=1)

    def build(dtype: Precision) -> AnimeSRUpscaler:
        with out_of_memory_as_error():
            return AnimeSRUpscaler(_prepared(checkpoint, device, dtype), device)

    return Variant(
        description="whole frames" if device.type != "cpu" else "the CPU",
        device=device,
        memory_bytes=memory_bytes,
        build=partial(build, precision),
        build_in_fp32=None if precision == "fp32" else partial(build, "fp32"),
        checkpoints=checkpoints,
    )


def _prepared(checkpoint: AnimeSRCheckpoint, device: torch.device, precision: Precision) -> AnimeSRNet:
    net = copy.deepcopy(checkpoint.net)
    put_on(net, device, precision)
    return net


@torch.inference_mode()
def _small_output(checkpoint: AnimeSRCheckpoint, device: torch.device, precision: Precision) -> Tensor:
    """Return what the network makes of the second of two equal small frames."""
    frame = torch.rand(1, 3, *_CHECKED_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    frames = frame[:, None].repeat(1, 3, 1, 1, 1)
    net = _prepared(checkpoint, device, precision)
    output: Tensor = net(frames, *net(frames, *net.start(frame)))[0]
    return output
