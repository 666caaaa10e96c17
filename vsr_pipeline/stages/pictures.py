"""Images that become images: what they have beside RGB goes along, and alpha takes a way of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import Samples, decide, enhance_frames
from vsr_pipeline.enhance.spec import ModelSpec, OnWork, Upscaler, model_alone
from vsr_pipeline.enhance.steps import Step
from vsr_pipeline.media.alpha import Plane, divided, is_opaque, within_neighbours
from vsr_pipeline.media.images import ImageTarget, Pixels, eight_bits, read_image, write_image
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.media.picture_facts import facts_of
from vsr_pipeline.media.picture_files import is_translucent, losses_as, read_with_alpha, write_picture
from vsr_pipeline.media.tint import GREY, with_tint
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.runtime.files import make_folder
from vsr_pipeline.runtime.progress import Reporter, retracted_on_failure
from vsr_pipeline.timeline import Segment


def note_losses(footage: Footage, target: ImageTarget, reporter: Reporter) -> tuple[str, ...]:
    """Say what of the first image the target's format cannot hold, in one note; return that."""
    if not footage.header.keeps_pictures:
        return ()
    first = footage.images[0]
    losses = losses_as(facts_of(first), footage.header.info.bit_depth, target.file(0))
    for loss in losses:
        reporter.note(f"{first.name}: {loss}")
    return losses


class PictureWriter:
    """Writes the HR frames of images as pictures of the kind that each of them is.

    Args:
        footage: the images.
        geometry: all sizes.
        spec: the model.
        steps: what is done to HR frames; to alpha as well.
        settings: whether the model enlarges alpha, as a grey picture; else it is interpolated.
        folder: for alpha that waits for its colours; it is deleted again.
    """

    def __init__(
        self,
        footage: Footage,
        geometry: Geometry,
        spec: ModelSpec,
        steps: tuple[Step, ...],
        settings: UpscaleConfig,
        folder: Path,
    ) -> None:
        self._files = footage.images
        self._bit_depth = footage.header.info.bit_depth
        self._geometry = geometry
        self._decision_frames = spec.context.decision_frames
        self._steps = steps
        self._by_network = settings.alpha == "net"
        self._folder = folder
        self._reach = ceil(geometry.input_size[0] / geometry.reduced_size[0])

    def needs_network(self, segment: Segment) -> bool:
        """Whether the model has to enlarge the alpha of a segment: not where nothing is transparent."""
        files = self._files[segment.start : segment.stop]
        return self._by_network and any(map(is_translucent, files))

    @contextmanager
    def enlarged_alpha(self, segment: Segment, fallback: Fallback, on_work: OnWork) -> Iterator[None]:
        """Let the model enlarge the alpha of a segment; inside the block, `write` finds it.

        Raises:
            InputError, ResourceError, ModelError: as `Upscaler.upscale`.
            OutputError: it cannot be written.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        make_folder(self._folder)

        def attempt(upscaler: Upscaler) -> None:
            indices = sample_indices(segment.shot, self._decision_frames)
            samples = Samples(lambda start, stop: map(self._alpha_as_frame, range(start, stop)), indices)
            decision = model_alone(decide(upscaler, samples, self._geometry))  # there are no faces in it
            frames = map(self._alpha_as_frame, range(segment.context_start, segment.context_stop))
            with retracted_on_failure(on_work) as counted:
                enlarged = enhance_frames(
                    upscaler, frames, segment, decision, geometry=self._geometry, on_work=counted, steps=self._steps
                )
                for index, frame in enumerate(enlarged, start=segment.start):
                    write_image(self._waiting(index), with_tint(frame, GREY))

        try:
            fallback.run(segment, attempt)
            yield
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, index: int, path: Path, pixels: Pixels) -> None:
        """Write the HR frame of an image, (H, W, 3).

        Raises:
            InputError: the image cannot be read again.
            OutputError, ResourceError: it cannot be written.
        """
        facts = facts_of(self._files[index])
        alpha: Plane | None = None
        if facts.has_alpha:
            source, source_alpha = read_with_alpha(self._files[index])
            alpha = self._alpha(index, source_alpha, pixels.shape[:2])
            if not is_opaque(source_alpha):
                pixels = divided(pixels, alpha, source, source_alpha, self._reach)
        if self._bit_depth == 8:
            pixels = eight_bits(pixels)
        write_picture(path, with_tint(pixels, GREY) if facts.is_grey else pixels, alpha, facts)

    def _alpha(self, index: int, source: Plane, shape: tuple[int, ...]) -> Plane:
        height, width = shape
        if is_opaque(source):
            return np.full((height, width), np.iinfo(source.dtype).max, source.dtype)
        waiting = self._waiting(index)
        if waiting.exists():
            enlarged: Plane = read_image(waiting)[..., 0]
        else:
            enlarged = interpolate(source[..., None], (height, width), "bicubic")[..., 0]
        return within_neighbours(enlarged, source, self._reach)

    def _alpha_as_frame(self, index: int) -> Pixels:
        grey: Pixels = cv2.merge([read_with_alpha(self._files[index])[1]] * 3)  # type: ignore[assignment]
        return grey

    def _waiting(self, index: int) -> Path:
        return self._folder / f"{index}.png"
