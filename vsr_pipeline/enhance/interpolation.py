"""Interpolation: no network, no weights, any size. It makes everything around a network testable in seconds."""

from collections.abc import Iterable, Iterator, Sequence

from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.enhance.memory import around_model_bytes
from vsr_pipeline.enhance.spec import Carry, Context, Frame, ModelSpec, OnWork, Variant
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.interpolation import METHODS, Method, interpolate
from vsr_pipeline.plan import take
from vsr_pipeline.timeline import Decision, Segment


class Interpolation:
    """Enlarges frame by frame, to the size that is written.

    Args:
        method: see `interpolate`.
    """

    def __init__(self, method: Method) -> None:
        self._method = method

    def decide(self, samples: Sequence[Pixels], **about: object) -> Decision:  # noqa: ARG002
        """Return that there is nothing to decide."""
        return Decision()

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
        """Yield each frame enlarged, of the input's type; see `Upscaler`."""
        del decision, carry
        for pixels in take(iter(frames), len(segment)):
            enlarged = interpolate(pixels, geometry.model_size[::-1], self._method)
            on_work(1.0)
            yield enlarged

    def take_notes(self) -> tuple[str, ...]:
        """Return nothing: it does all that it is told."""
        return ()

    def free_caches(self) -> None:
        """Do nothing: nothing is kept."""


def interpolation_spec(name: str, architecture: str, sizing: Sizing, segment_frames: int) -> ModelSpec:
    """Return an interpolation model.

    Args:
        name: as in the manifest.
        architecture: which method.
        sizing: what it makes.
        segment_frames: longest segment.
    """
    method = next(method for method in METHODS if method == architecture)
    return ModelSpec(
        name=name,
        sizing=sizing,
        description=name,
        identity={"model": name, "segment_frames": segment_frames},
        context=Context(segment_frames=segment_frames),
        variants=(
            Variant(
                description=name,
                device=None,
                memory_bytes=lambda clip: around_model_bytes(clip, sizing.scale),
                build=lambda: Interpolation(method),
            ),
        ),
    )
