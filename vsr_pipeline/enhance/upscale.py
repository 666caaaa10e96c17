"""Upscalers: an iterator of LQ frames in, an iterator of HR frames out, the same count in the same order.

`ExactUpscaler` is the product: a recurrent network over a stream, in windows whose joins do not show.
`OfficialUpscaler` cuts the stream as the official script does. `BicubicUpscaler` needs no network: it makes everything
around the network testable in seconds.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Protocol, TypeVar

import cv2
import torch
from torch import Tensor

from vsr_pipeline.enhance.cuda_graphs import GraphedStep, Record, Step
from vsr_pipeline.enhance.device import DTYPES, Precision
from vsr_pipeline.enhance.transfer import Download, check_finite, out_of_memory_as_error, to_pixels, to_tensor
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models import MAX_CLEANING_PASSES, BasicVSRNet, RealBasicVSRNet
from vsr_pipeline.models.basicvsr import pad_to_minimum
from vsr_pipeline.models.blocks import ResidualBlocks
from vsr_pipeline.models.spynet import FlowLevel
from vsr_pipeline.models.winograd import use_winograd
from vsr_pipeline.plan import plan_segments, plan_windows
from vsr_pipeline.timeline import Segment, Timeline

SCALE = 4

# On a GPU: LQ pixels that are cleaned, and whose flows are computed, at once. Fewer do not fill it; more gain nothing.
PIXELS_AT_ONCE = 2_000_000
FRAMES_AT_ONCE = 8
# On a GPU: HR frames that are on their way from it while the next ones are computed.
DOWNLOADS = 2
_FLOW_LEVELS_IN_16_BITS = ("spynet.basic_module.4.", "spynet.basic_module.5.")

T = TypeVar("T")

OnWork = Callable[[float], None]
"""Told how many frames' worth of work was just done; a segment's calls sum to its number of frames."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How a clip is cut for a recurrent network; all lengths in frames."""

    max_seq_len: int = 30
    lookahead: int = 12
    warm_up: int = 12
    segment_frames: int = 300


class Upscaler(Protocol):
    """Makes the frames of a segment four times larger."""

    def plan(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut a clip into segments with the context that this upscaler wants."""
        ...

    def cleaning_passes(self, samples: Iterable[Pixels]) -> int:
        """Decide from sample frames of a shot how often its frames are cleaned."""
        ...

    def upscale(
        self, frames: Iterable[Pixels], segment: Segment, *, cleaning_passes: int, on_work: OnWork
    ) -> Iterator[Pixels]:
        """Yield the HR frames of `[segment.start, segment.stop)`.

        Args:
            frames: LQ frames (H, W, 3) of `[segment.context_start, segment.context_stop)`.
            segment: one of `plan`.
            cleaning_passes: the decision for the segment's shot.
            on_work: told about progress.

        Yields:
            (4H, 4W, 3), of the input's type.

        Raises:
            InputError: `frames` ends too early.
            ResourceError: the memory does not suffice.
            ModelError: the network gave NaN or infinity.
        """
        ...


class BicubicUpscaler:
    """Bicubic interpolation, frame by frame."""

    def __init__(self, segment_frames: int = 300) -> None:
        self._segment_frames = segment_frames

    def plan(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut without context: frames do not depend on each other."""
        return plan_segments(timeline, segment_frames=self._segment_frames, warm_up=0, lookahead=0)

    def cleaning_passes(self, samples: Iterable[Pixels]) -> int:  # noqa: ARG002
        """Return 0: there is no cleaning."""
        return 0

    def upscale(
        self, frames: Iterable[Pixels], segment: Segment, *, cleaning_passes: int, on_work: OnWork
    ) -> Iterator[Pixels]:
        """Yield each frame enlarged; see `Upscaler`."""
        del cleaning_passes
        for pixels in _take(iter(frames), len(segment)):
            height, width = pixels.shape[:2]
            enlarged = cv2.resize(pixels, (SCALE * width, SCALE * height), interpolation=cv2.INTER_CUBIC)
            on_work(1.0)
            yield enlarged  # type: ignore[misc]


@dataclass(slots=True)
class _StreamFrame:
    """A cleaned frame (1, 3, H, W) and the flows to its neighbours, as far as those have been read."""

    lq: Tensor
    flow_to_previous: Tensor | None = None
    flow_to_next: Tensor | None = None


@dataclass(slots=True)
class Steps:
    """The steps of a network, as `ExactUpscaler` calls them; see `BasicVSRNet` for what they take and give."""

    clean: Step | None
    """None: the network has no cleaning module."""
    compute_flow: Step
    backward: Step
    forward: Step
    reconstruct: Step


class ExactUpscaler:
    """BasicVSR or RealBasicVSR over a stream, as if the whole shot were one window.

    Forward propagation is causal: its state is carried from window to window. Backward propagation needs the future:
    it starts `lookahead` frames after the window. Frames are cleaned and flows are computed once, when a frame is read,
    and kept while a window needs them, so memory is bounded by `max_seq_len + lookahead` frames. On a GPU, frames are
    read several at a time, and the next one is computed while the last ones are still on their way from it.

    Args:
        net: prepared; see `prepare`.
        device: where it is.
        windows: how clips are cut.
        refine_threshold: of dynamic refinement.
        record: what records propagation and reconstruction, which are computed frame by frame, as graphs; None: they
            are not recorded. Reading needs none on a GPU: it computes several frames at once.
        on_note: told where they cannot be recorded.

    Attributes:
        steps: what it calls, for measurements to wrap.
    """

    def __init__(
        self,
        net: BasicVSRNet | RealBasicVSRNet,
        *,
        device: torch.device,
        windows: Windows,
        refine_threshold: float,
        record: Record | None = None,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cleaner = net if isinstance(net, RealBasicVSRNet) else None
        self._net = net.basicvsr if isinstance(net, RealBasicVSRNet) else net

        def by_frame(step: Step) -> Step:
            return GraphedStep(step, record, on_note) if record else step

        self.steps = Steps(
            clean=self._cleaner.clean if self._cleaner else None,
            compute_flow=self._net.compute_flow,
            backward=by_frame(self._net.backward_step),
            forward=by_frame(self._net.forward_step),
            reconstruct=by_frame(self._net.reconstruct),
        )
        self._device = device
        self._windows = windows
        self._refine_threshold = refine_threshold
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def release_graphs(self) -> None:
        """Let go of recorded graphs; they are recorded again for the next frames."""
        for step in (self.steps.backward, self.steps.forward, self.steps.reconstruct):
            if isinstance(step, GraphedStep):
                step.release()

    def plan(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut at scene cuts and every `segment_frames`, with warm-up and lookahead inside a shot."""
        w = self._windows
        return plan_segments(timeline, segment_frames=w.segment_frames, warm_up=w.warm_up, lookahead=w.lookahead)

    @torch.inference_mode()
    def cleaning_passes(self, samples: Iterable[Pixels]) -> int:
        """Apply dynamic refinement to the sample frames; 0 for a network without cleaning."""
        if self._cleaner is None:
            return 0
        with out_of_memory_as_error():
            frames_NCHW = torch.cat([pad_to_minimum(to_tensor(pixels, self._device)) for pixels in samples])
            cleaned, passes = self._cleaner.clean_until(frames_NCHW[None], self._refine_threshold)
            check_finite(cleaned)
            return passes

    @torch.inference_mode()
    def upscale(
        self, frames: Iterable[Pixels], segment: Segment, *, cleaning_passes: int, on_work: OnWork
    ) -> Iterator[Pixels]:
        """Yield the HR frames of a segment; see `Upscaler`."""
        frames = iter(frames)
        first = next(_take(frames, 1))
        height, width = first.shape[:2]
        windows = plan_windows(segment, max_seq_len=self._windows.max_seq_len, lookahead=self._windows.lookahead)
        did = self._work_of(segment, cleaning_passes, sum(w.lookahead_stop - w.start for w in windows), on_work)
        with out_of_memory_as_error():
            stream = self._read(chain([first], frames), cleaning_passes, did)
            state = None
            for frame in _take(stream, segment.warm_up):
                state = self.steps.forward(frame.lq, state, frame.flow_to_previous)
                did("propagate")
            held: deque[_StreamFrame] = deque()
            downloads: deque[Download] = deque()
            for window in windows:
                held.extend(_take(stream, window.lookahead_stop - window.start - len(held)))
                backward_features = self._propagate_backward(held, window.stop - window.start, did)
                while backward_features:
                    frame = held.popleft()
                    state = self.steps.forward(frame.lq, state, frame.flow_to_previous)
                    # Not kept in a variable: it would stay on the device while the frame is written.
                    downloads.append(
                        Download(
                            self.steps.reconstruct(frame.lq, backward_features.pop(), state)[
                                ..., : SCALE * height, : SCALE * width
                            ],
                            first.dtype,
                            self._copies,
                        )
                    )
                    did("propagate")
                    did("reconstruct")
                    if self._copies is None or len(downloads) > DOWNLOADS:
                        yield downloads.popleft().pixels()
            while downloads:
                yield downloads.popleft().pixels()

    def _read(
        self, frames: Iterator[Pixels], cleaning_passes: int, did: Callable[[str], None]
    ) -> Iterator[_StreamFrame]:
        """Clean frames and compute the flows between neighbours, both ways in one batch."""
        previous: list[_StreamFrame] = []
        while pixels := list(islice(frames, 1)):
            count = self._frames_at_once(pixels[0]) - 1
            pixels += islice(frames, count)
            lq_NCHW = torch.cat([pad_to_minimum(to_tensor(p, self._device)) for p in pixels])
            if self.steps.clean is not None:
                lq_NCHW = self.steps.clean(lq_NCHW, cleaning_passes)
            # Beside features in this layout; else the two together would be copied for every convolution.
            lq_NCHW = lq_NCHW.contiguous(memory_format=torch.channels_last)
            read = [_StreamFrame(lq) for lq in torch.split(lq_NCHW, 1)]
            known = previous + read
            if len(known) > 1:
                earlier, later = (torch.cat([frame.lq for frame in part]) for part in (known[:-1], known[1:]))
                both_ways = self.steps.compute_flow(torch.cat((earlier, later)), torch.cat((later, earlier)))
                flows = torch.split(both_ways, 1)
                for k, (before, after) in enumerate(pairwise(known)):
                    before.flow_to_next = flows[k]
                    after.flow_to_previous = flows[len(known) - 1 + k]
            for frame in read:
                did("read")
                yield frame
            previous = read[-1:]

    def _frames_at_once(self, pixels: Pixels) -> int:
        """Return how many frames are cleaned, and their flows computed, in one batch."""
        if self._device.type == "cpu":
            return 1  # its cores are busy with one, and the caches hold it
        return max(1, min(FRAMES_AT_ONCE, PIXELS_AT_ONCE // (pixels.size // 3)))

    def _propagate_backward(
        self, held: deque[_StreamFrame], kept_frames: int, did: Callable[[str], None]
    ) -> list[Tensor]:
        """Return the backward features of the first `kept_frames` of the held ones, last frame first."""
        features: list[Tensor] = []
        feature = None
        for position in reversed(range(len(held))):
            feature = self.steps.backward(held[position].lq, feature, held[position].flow_to_next)
            did("propagate")
            if position < kept_frames:
                features.append(feature)
        return features

    def _work_of(
        self, segment: Segment, cleaning_passes: int, backward_steps: int, on_work: OnWork
    ) -> Callable[[str], None]:
        """Weigh each step by its arithmetic, scaled so that the segment's steps sum to its number of frames."""
        # MFLOP per LQ pixel of a network with 64 channels.
        block = 0.148
        cleaning = 0.0
        if self._cleaner:
            cleaning = block * self._cleaner.num_cleaning_blocks * (self._cleaner.cleaning_channels / 64) ** 2
        costs = {
            "read": 1.3 + cleaning_passes * cleaning,
            "propagate": 0.1 + block * self._net.num_blocks,
            "reconstruct": 2.7,
        }
        total = (
            (segment.context_stop - segment.context_start) * costs["read"]
            + (segment.warm_up + backward_steps + len(segment)) * costs["propagate"]
            + len(segment) * costs["reconstruct"]
        )
        return lambda step: on_work(costs[step] * len(segment) / total)


class OfficialUpscaler:
    """Whole windows through a network, cut every `max_seq_len` frames, propagation restarted from zeros each time.

    This is what the official script does, for comparison: the joins between windows show.

    Args:
        net: maps (1, T, 3, H, W) to (1, T, 3, 4H, 4W), float32; it decides on cleaning for each window by itself.
        device: where it wants its input.
        max_seq_len: length of a window.
        segment_frames: longest segment; rounded to a multiple of `max_seq_len`.
    """

    def __init__(
        self, net: Callable[[Tensor], Tensor], *, device: torch.device, max_seq_len: int, segment_frames: int
    ) -> None:
        self._net = net
        self._device = device
        self._max_seq_len = max_seq_len
        self._segment_frames = max(1, segment_frames // max_seq_len) * max_seq_len

    def plan(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut every `segment_frames`, scene cuts or not."""
        return plan_segments(timeline, segment_frames=self._segment_frames, warm_up=0, lookahead=0, follow_shots=False)

    def cleaning_passes(self, samples: Iterable[Pixels]) -> int:  # noqa: ARG002
        """Return the most that a window may decide on."""
        return MAX_CLEANING_PASSES

    @torch.inference_mode()
    def upscale(
        self, frames: Iterable[Pixels], segment: Segment, *, cleaning_passes: int, on_work: OnWork
    ) -> Iterator[Pixels]:
        """Yield the HR frames of a segment; see `Upscaler`."""
        del cleaning_passes
        frames = iter(frames)
        for window in plan_windows(segment, max_seq_len=self._max_seq_len, lookahead=0):
            with out_of_memory_as_error():
                pixels = list(_take(frames, window.stop - window.start))
                window_NCHW = torch.cat([to_tensor(p, self._device) for p in pixels])
                outputs = self._net(window_NCHW[None])[0]
                on_work(float(len(pixels)))
                for output, source in zip(outputs, pixels, strict=True):
                    yield to_pixels(output[None], source.dtype)


def prepare(
    net: BasicVSRNet | RealBasicVSRNet,
    *,
    device: torch.device,
    precision: Precision,
    band_rows: int | None = None,
    winograd: bool = False,
) -> None:
    """Put a network on its device for inference, in the layout that convolutions are fastest in.

    Args:
        net: it is changed.
        device: where it goes.
        precision: of features. Flow is a sum of corrections over a pyramid and stays in float32, and so does what
            computes those of the small levels; the two large levels add at most a few pixels.
        band_rows: features are computed in bands of at most so many rows: less memory, the same result.
        winograd: for float32 on a CPU: see `vsr_pipeline.models.winograd`, whose library must be there.
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


def _take(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield exactly `count` items."""
    taken = 0
    for item in islice(items, count):
        taken += 1
        yield item
    if taken < count:
        raise InputError(f"the input ended {count - taken} frames before its timeline says: was it changed meanwhile?")
