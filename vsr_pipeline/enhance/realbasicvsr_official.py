"""RealBasicVSR and BasicVSR as the official script runs them, for comparison: the joins between windows show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.spec import Carry, Frame, OnWork
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.plan import plan_windows, take
from vsr_pipeline.timeline import Decision, Segment


class OfficialUpscaler:
    """Whole windows through a network, cut every `max_seq_len` frames, propagation restarted from zeros each time.

    Args:
        net: maps (1, T, 3, H, W) to (1, T, 3, 4H, 4W), float32. It decides on cleaning for each window by itself.
        refine_threshold: of dynamic refinement, for a `RealBasicVSRNet`.
        device: where it wants its input.
        max_seq_len: length of a window.
    """

    def __init__(
        self, net: Callable[[Tensor], Tensor], refine_threshold: float, *, device: torch.device, max_seq_len: int
    ) -> None:
        self._net = partial(net, refine_threshold=refine_threshold) if isinstance(net, RealBasicVSRNet) else net
        self._device = device
        self._max_seq_len = max_seq_len

    def decide(self, samples: Sequence[Pixels], **about: object) -> Decision:  # noqa: ARG002
        """Return that there is nothing to decide: each window does by itself."""
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
        del decision, geometry, carry
        frames = iter(frames)
        for window in plan_windows(segment, max_seq_len=self._max_seq_len, lookahead=0):
            with out_of_memory_as_error():
                pixels = list(take(frames, window.stop - window.start))
                window_NCHW = torch.cat([to_tensor(p, self._device) for p in pixels])
                outputs = self._net(window_NCHW[None])[0]
                on_work(float(len(pixels)))
                yield from torch.split(outputs, 1)

    def take_notes(self) -> tuple[str, ...]:
        """Return nothing: it does all that it is told."""
        return ()

    def free_caches(self) -> None:
        """Do nothing: nothing is kept."""
