"""BasicVSR and RealBasicVSR over a stream, as if a whole shot were one window.

Forward propagation is causal: its state is carried from window to window. Backward propagation needs the future: it
starts `lookahead` frames after the window. A frame is cleaned, and the flows to its neighbours are computed, once, when
it is read; both are kept while a window needs them, so memory is bounded by `max_seq_len + lookahead` frames.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vsr_pipeline.enhance.cuda_graphs import Step
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.basicvsr import pad_to_minimum

SCALE = 4

# On a GPU: LQ pixels that are cleaned, and whose flows are computed, at once. Fewer do not fill it; more gain nothing.
PIXELS_AT_ONCE = 2_000_000
FRAMES_AT_ONCE = 8


def frames_at_once(pixels: int, device: torch.device) -> int:
    """Return how many frames of so many pixels are cleaned, and their flows computed, in one batch."""
    if device.type == "cpu":
        return 1  # its cores are busy with one, and the caches hold it
    return max(1, min(FRAMES_AT_ONCE, PIXELS_AT_ONCE // pixels))


@dataclass(frozen=True, slots=True)
class Windows:
    """How a clip is cut for a recurrent network; all lengths in frames."""

    max_seq_len: int = 30
    lookahead: int = 12
    warm_up: int = 12
    segment_frames: int = 300


@dataclass(slots=True)
class Steps:
    """The steps of a network; see `BasicVSRNet` for what they take and give."""

    clean: Step | None
    """None: the network has no cleaning module."""
    compute_flow: Step
    backward: Step
    forward: Step
    reconstruct: Step


@dataclass(slots=True)
class _StreamFrame:
    """A cleaned frame (1, 3, H, W) and the flows to its neighbours, as far as those have been read."""

    lq: Tensor
    flow_to_previous: Tensor | None = None
    flow_to_next: Tensor | None = None


class RecurrentStream:
    """Takes LQ frames one by one and gives HR frames, `max_seq_len` at a time, in order.

    On a GPU, frames are read several at a time. Run it under `torch.inference_mode`.

    Args:
        steps: of the network.
        device: where it is.
        windows: `max_seq_len` and `lookahead` count.
        cleaning_passes: how often each frame is cleaned.
        warm_up: how many frames only prepare the forward state; no HR frame is given for them.
        did: is told the name of each step that was done for a frame: read, propagate, reconstruct.
        state: the forward state after the frames of the warm-up; with it, they are only read. None: it is computed.
        at_border: is told, before the last HR frame of a window is given, how many HR frames that makes, and the
            forward state after them.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        device: torch.device,
        windows: Windows,
        cleaning_passes: int,
        warm_up: int = 0,
        did: Callable[[str], None] = lambda _: None,
        state: Tensor | None = None,
        at_border: Callable[[int, Tensor], None] = lambda *_: None,
    ) -> None:
        self._steps = steps
        self._device = device
        self._window = windows.max_seq_len
        self._lookahead = windows.lookahead
        self._cleaning_passes = cleaning_passes
        self._warm_up = warm_up
        self._did = did
        self._unread: list[Pixels] = []
        self._last_read: list[_StreamFrame] = []
        self._held: deque[_StreamFrame] = deque()
        self._state = state
        self._is_resumed = state is not None
        self._given = 0
        self._at_border = at_border

    def push(self, pixels: Pixels) -> Iterator[Tensor]:
        """Take the next LQ frame (H, W, 3); yield the HR frames (1, 3, 4H, 4W) that are complete by it."""
        self._unread.append(pixels)
        if len(self._unread) == frames_at_once(pixels.size // 3, self._device):
            self._read()
        while len(self._held) >= self._window + self._lookahead:
            yield from self._propagate(self._window)

    def finish(self, context: int = 0) -> Iterator[Tensor]:
        """Yield what is left, but for the last `context` frames, which only feed backward propagation."""
        if self._unread:
            self._read()
        while (left := len(self._held) - context) > 0:
            yield from self._propagate(min(self._window, left))

    def _read(self) -> None:
        """Clean the frames that have come and compute the flows between neighbours, both ways in one batch."""
        self._size = self._unread[-1].shape[:2]
        lq_NCHW = torch.cat([pad_to_minimum(to_tensor(pixels, self._device)) for pixels in self._unread])
        self._unread = []
        if self._steps.clean is not None:
            lq_NCHW = self._steps.clean(lq_NCHW, self._cleaning_passes)
        # In the layout of the features; else the two together would be copied for every convolution.
        lq_NCHW = lq_NCHW.contiguous(memory_format=torch.channels_last)
        read = [_StreamFrame(lq) for lq in torch.split(lq_NCHW, 1)]
        known = self._last_read + read
        if len(known) > 1:
            earlier, later = (torch.cat([frame.lq for frame in part]) for part in (known[:-1], known[1:]))
            both_ways = self._steps.compute_flow(torch.cat((earlier, later)), torch.cat((later, earlier)))
            flows = torch.split(both_ways, 1)
            for k, (before, after) in enumerate(pairwise(known)):
                before.flow_to_next = flows[k]
                after.flow_to_previous = flows[len(known) - 1 + k]
        for frame in read:
            self._did("read")
            if self._warm_up:
                self._warm_up -= 1
                if self._is_resumed:
                    continue
                self._state = self._steps.forward(frame.lq, self._state, frame.flow_to_previous)
                self._did("propagate")
            else:
                self._held.append(frame)
        self._last_read = read[-1:]

    def _propagate(self, count: int) -> Iterator[Tensor]:
        """Yield the HR frames of the first `count` frames that are held, and let go of these."""
        height, width = self._size
        backward_features = self._backward_features(count)
        while backward_features:
            frame = self._held.popleft()
            self._state = self._steps.forward(frame.lq, self._state, frame.flow_to_previous)
            self._given += 1
            if len(backward_features) == 1:
                self._at_border(self._given, self._state)
            # Not kept in a variable: it would stay on the device while the frame is written.
            yield self._reconstructed(frame.lq, backward_features.pop())[..., : SCALE * height, : SCALE * width]

    def _reconstructed(self, lq: Tensor, backward_feature: Tensor) -> Tensor:
        frame = self._steps.reconstruct(lq, backward_feature, self._state)
        self._did("propagate")
        self._did("reconstruct")
        return frame

    def _backward_features(self, count: int) -> list[Tensor]:
        """Return the backward features of the first `count` frames that are held, last frame first."""
        features: list[Tensor] = []
        feature = None
        for position in reversed(range(min(len(self._held), count + self._lookahead))):
            frame = self._held[position]
            feature = self._steps.backward(frame.lq, feature, frame.flow_to_next)
            self._did("propagate")
            if position < count:
                features.append(feature)
        return features
