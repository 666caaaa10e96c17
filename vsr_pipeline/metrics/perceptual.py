"""How far a clip looks from its reference to a network that knows photographs, on a sample of its frames."""

import torch
from torch import Tensor

from vsr_pipeline.metrics.fidelity import FloatArray
from vsr_pipeline.metrics.sample import Sample
from vsr_pipeline.models.efficientnet_lite import EfficientNetLite0Features, feature_distance


class PerceptualMeter:
    """Scores the frames of a `Sample` by `feature_distance`.

    Args:
        network: with its weights, in evaluation mode.
        frame_count: how long the clip is likely to be; 0 where that is not known.
    """

    def __init__(self, network: EfficientNetLite0Features, frame_count: int = 0) -> None:
        self._network = network
        self._sample: Sample[float] = Sample(frame_count)

    @property
    def scores(self) -> dict[int, float]:
        """Distances of the sample, by the index of the frame."""
        return dict(self._sample.scores)

    def wants(self, index: int) -> bool:
        """Whether a frame is in the sample, as far as that is known."""
        return self._sample.wants(index)

    def feed(self, index: int, reference: FloatArray, distorted: FloatArray) -> None:
        """Compare two frames (H, W, 3) in [0, 255] that are wanted; they come in their order."""
        with torch.inference_mode():
            a, b = self._network(_frames(reference)), self._network(_frames(distorted))
            self._sample.add(index, float(feature_distance(a, b)))


def _frames(rgb: FloatArray) -> Tensor:
    # Channels last: depthwise convolutions of a CPU are twice as fast.
    frames = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    return frames.contiguous(memory_format=torch.channels_last)
