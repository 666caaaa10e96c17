"""Frames that no variant of a model has the memory for: refused before the work, with what would help."""

from dataclasses import replace

from vsr_pipeline.clip.footage import Header
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.memory import amount, around_model_bytes
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import ResourceError
from vsr_pipeline.runtime.memory import available_memory_bytes, how_to_reduce, resident_memory_bytes
from vsr_pipeline.timeline import ClipSize

# Options that save main memory, from the one that costs least to the one that costs most.
_SAVING: dict[str, dict[str, int]] = {
    "--max-seq-len 2": {"max_seq_len": 2},
    "--max-seq-len 2 --lookahead 2": {"max_seq_len": 2, "lookahead": 2},
}


def refuse_too_large(
    spec: ModelSpec, header: Header, geometry: Geometry, config: Config, frame_count: int | None = None
) -> None:
    """Refuse frames that need more main memory than may be taken, however they are made, before one is computed.

    On a GPU, `Fallback.begin` looks after the GPU's memory.

    Args:
        spec: the model.
        header: the clip.
        geometry: its sizes.
        config: the settings.
        frame_count: how many frames are computed; None: what the header says, and at least one.

    Raises:
        ResourceError: they do.
    """
    clip = geometry.of_model(header.clip_size(frame_count or header.frames_of_part or 1))
    needed = _least_bytes(clip, spec)
    limit = config.upscale.memory_limit_bytes
    what = f"frames of {clip} need about {amount(needed)} of memory at least"
    if limit is not None and needed > limit and not spec.variants[0].is_on_gpu:
        ways = ["allow more", *_ways_to_fit(header, clip, spec, config.upscale, limit)]
        raise ResourceError(f"{what}, --memory-limit allows {amount(limit)}: {', or '.join(ways)}")
    free = available_memory_bytes()
    if free is not None and needed > free + resident_memory_bytes():
        ways = _ways_to_fit(header, clip, spec, config.upscale, free + resident_memory_bytes())
        ways = ways or ["close other programs"]
        raise ResourceError(f"{what}, {amount(free)} are free: {', or '.join(ways)}")


def _least_bytes(clip: ClipSize, spec: ModelSpec) -> int:
    """Return the main memory that a run takes with whatever saves memory."""
    if spec.variants[0].is_on_gpu:
        return around_model_bytes(clip, spec.scale)
    return min(variant.memory_bytes(clip) for variant in spec.variants)


def _ways_to_fit(header: Header, clip: ClipSize, spec: ModelSpec, settings: UpscaleConfig, allowed: int) -> list[str]:
    """Say what makes a clip fit into `allowed` bytes: options, if there are any, a GPU, and a size that fits."""
    ways = []
    if spec.device is not None and spec.device.type == "cpu":
        ways += [f"give {option}" for option in _options_that_fit(clip, settings, allowed)]
        ways.append("use a GPU")
    for share in range(95, 0, -5):
        smaller = _reduced(clip, share, keeps_output=settings.height is not None or settings.width is not None)
        if _least_bytes(smaller, spec) <= allowed:
            to = (
                f"images first, to {smaller}"
                if header.images
                else f"video: {how_to_reduce(header.path, smaller.width)}"
            )
            ways.append(f"reduce the {to}")
            break
    return ways


def _reduced(clip: ClipSize, share: int, *, keeps_output: bool) -> ClipSize:
    """Return a clip with so many hundredths of its sides, and of the output's where that follows from them."""
    output = clip.output_size
    if output is not None and not keeps_output:
        output = (output[0] * share // 100, output[1] * share // 100)
    width, height = max(2, clip.width * share // 200 * 2), max(1, clip.height * share // 100)
    return replace(clip, width=width, height=height, output_size=output)


def _options_that_fit(clip: ClipSize, settings: UpscaleConfig, allowed: int) -> list[str]:
    """Return the first options that save enough memory; none where no options do."""
    for options, change in _SAVING.items():
        if _least_bytes(clip, open_model(settings.model_copy(update=change))) <= allowed:
            return [options]
    return []
