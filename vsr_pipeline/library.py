"""The Python API: what `import vsr_pipeline as vsr` gives, loaded when it is first used."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vsr_pipeline import api
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import Config, UpscaleConfig, load_config
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import decide, enhance_frames
from vsr_pipeline.enhance.spec import Context, ModelSpec, Upscaler
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.runtime.progress import Event, Reporter
from vsr_pipeline.timeline import ClipSize, Decision, Segment, Shot

__all__ = ["ClipOutcome", "Model", "open_model", "run"]

FrameT = TypeVar("FrameT", npt.NDArray[np.uint8], npt.NDArray[np.uint16], Tensor)
"""RGB: (H, W, 3) integers over their whole range, or (3, H, W) numbers from 0 to 1."""

Precision = Literal["auto", "fast", "fp32", "bf16", "fp16", "int8"]

# Of a model that sees one frame at a time: so many are read before the first is made.
_FRAMES_AT_ONCE = 4
_DEEPEST = 65535


class Model:
    """A model, ready for frames. `open_model` makes one.

    One generator of `enhance` runs at a time.

    Attributes:
        name: as in `vsr models list`, or the checkpoint's file name.
        scale: how many times wider and higher frames get where no other size was asked for.
        description: name, precision, device and windows, in a line.
    """

    def __init__(self, spec: ModelSpec, settings: UpscaleConfig, reporter: Reporter) -> None:
        self.name = spec.name
        self.scale = spec.scale
        self.description = spec.description
        self._spec = spec
        self._settings = settings
        self._reporter = reporter
        self._fallback = Fallback(spec, limit_bytes=settings.memory_limit_bytes)

    def enhance(self, frames: Iterable[FrameT]) -> Iterator[FrameT]:
        """Yield each frame larger: as many as come in, in the same order, of the same kind.

        All frames are taken as one shot: call it once for each shot, as `run` does. A recurrent model reads up to 312
        frames ahead, one that sees single frames reads 4. Of one shot of at most 300 frames, the pixels are those of
        `run`, but that `run` does not compute a frame again that repeats the one before it.

        Args:
            frames: RGB, all of one size and kind: `uint8` or `uint16` arrays (H, W, 3), or floating-point tensors
                (3, H, W) from 0 to 1, which are clipped, and rounded to 16 bits.

        Yields:
            Arrays (H', W', 3), or tensors (3, H', W'), of the type, and on the device, of those that came in.

        Raises:
            UsageError: a frame has another shape, type or size than it may have.
            ResourceError: memory ran out, however little is computed at once.
            ModelError: the network gave NaN or infinity.
        """
        source = iter(frames)
        first = next(source, None)
        if first is None:
            return
        pixels = (_checked(frame, first, number) for number, frame in enumerate(chain([first], source)))
        if isinstance(first, Tensor):
            for made in self._made(pixels):
                yield _as_tensor(made, first)
        else:
            yield from self._made(pixels)  # type: ignore[misc]

    def _made(self, frames: Iterator[Pixels]) -> Iterator[Pixels]:
        """Yield the HR frames of a shot, part by part, each with the context that the model wants."""
        decision: Decision | None = None
        for held, segment in parts_of(frames, self._spec.context):
            geometry = self._geometry(held[0])
            if decision is None:
                self._fallback.begin(_clip_size(held, geometry), self._reporter)
                decision = self._decided(held, segment, geometry)
            attempt = partial(self._upscaled, held, segment, decision, geometry)
            yield from self._fallback.stream(segment, attempt)

    def _decided(self, held: list[Pixels], segment: Segment, geometry: Geometry) -> Decision:
        indices = sample_indices(segment.shot, self._spec.context.decision_frames)
        samples = [held[i] for i in indices]
        decision, _ = self._fallback.run(
            segment, lambda upscaler: decide(upscaler, samples, geometry, self._fallback.say)
        )
        return decision

    def _upscaled(
        self, held: list[Pixels], segment: Segment, decision: Decision, geometry: Geometry, upscaler: Upscaler
    ) -> Iterator[Pixels]:
        return enhance_frames(
            upscaler,
            held[segment.context_start : segment.context_stop],
            segment,
            decision,
            geometry=geometry,
            on_work=self._reporter.worked,
            steps=steps_for(geometry, self._settings),
        )

    def _geometry(self, pixels: Pixels) -> Geometry:
        return Geometry.of_frames((pixels.shape[1], pixels.shape[0]), self._spec.sizing, self._settings)


def open_model(
    model: str | None = None,
    *,
    checkpoint: Path | str | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    scale: float | None = None,
    strength: float | None = None,
    memory_limit: str | None = None,
    config: Path | str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Model:
    """Read a model's weights and check them. They go to the device with the first frame.

    Args:
        model: a name of `vsr models list`; None: as `config` says, else `auto`.
        checkpoint: a file with weights, in the place of a name.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: what it computes in; `auto` takes the fastest that is exact enough.
        scale: how many times wider and higher frames get; None: the model's own factor.
        strength: share of the model, 0 to 1; the rest is interpolation.
        memory_limit: the most memory to take, such as `6GB`; None: what is free.
        config: a TOML file with any other setting, as of `vsr run --config`; the arguments above go before it.
        on_event: is told of progress, and of what was done in another way than asked for; None: nobody is.

    Raises:
        ConfigError: a setting is unknown or has a value that is not allowed.
        UsageError: settings that contradict each other.
        ModelError: the model is unknown, or its weights are missing, damaged or of another kind.
        ResourceError: the device is not there.
    """
    settings = _settings(
        config,
        model=model,
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        scale=scale,
        strength=strength,
        memory_limit=memory_limit,
    )
    if settings.upscale.faces != "off":
        raise UsageError("faces is for run: of frames that come one by one, nobody knows where a face will go")
    return Model(api.open_model(settings.upscale), settings.upscale, _reporter(on_event))


def run(
    source: Path | str,
    output: Path | str | None = None,
    *,
    model: str | None = None,
    checkpoint: Path | str | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    scale: float | None = None,
    strength: float | None = None,
    memory_limit: str | None = None,
    config: Path | str | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> ClipOutcome:
    """Enhance a video from file to file, as `vsr run` does; the same call continues what was stopped.

    Args:
        source: a video, or a folder of images.
        output: a video; None: beside the source, with the size in its name.
        model: as of `open_model`, as are the next seven.
        checkpoint: a file with weights.
        device: where it computes.
        precision: what it computes in.
        scale: how many times wider and higher frames get.
        strength: share of the model.
        memory_limit: the most memory to take.
        config: a TOML file with any other setting.
        fresh: forget what an earlier run has done.
        overwrite: replace an output that no run made.
        on_event: is told of progress; None: nobody is.

    Returns:
        What became of the clip: `status`, `output`, `frame_count`, `warnings`, `notes` and more.

    Raises:
        VsrError: one of its kinds says what was wrong, and its `exit_code` is that of `vsr run`.
    """
    settings = _settings(
        config,
        model=model,
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        scale=scale,
        strength=strength,
        memory_limit=memory_limit,
    )
    target = output if output is not None else api.default_target(str(source), settings)
    if api.image_target(str(target)) is not None:
        raise UsageError(f"{target} is for images: give a video's name, or use `enhance` of a model")
    options = api.RunOptions(fresh=fresh, overwrite=overwrite)
    return api.run(Path(source), Path(target), settings, options=options, reporter=_reporter(on_event))


def parts_of(frames: Iterator[Pixels], context: Context) -> Iterator[tuple[list[Pixels], Segment]]:
    """Cut a shot of unknown length for a model.

    Args:
        frames: of the shot; read as far ahead as a part needs.
        context: what the model wants.

    Yields:
        The frames that are held, and which of them the part is; both are good until the next one.
    """
    around = context.warm_up + context.lookahead + context.decision_frames
    length = context.segment_frames if around or not context.follow_shots else _FRAMES_AT_ONCE
    held: list[Pixels] = []
    start = 0
    while True:
        held += islice(frames, start + length + context.lookahead - len(held))
        if start == len(held):
            return
        stop = min(start + length, len(held))
        context_start, context_stop = max(0, start - context.warm_up), min(stop + context.lookahead, len(held))
        yield held, Segment(start, stop, context_start, context_stop, Shot(0, len(held)))
        passed = max(0, stop - context.warm_up)
        del held[:passed]
        start = stop - passed


def _settings(config: Path | str | None, **arguments: object) -> Config:
    settings = load_config(Path(config)) if config is not None else Config()
    return settings.override(**arguments)


def _reporter(on_event: Callable[[Event], None] | None) -> Reporter:
    return Reporter() if on_event is None else Reporter(on_event)


def _clip_size(held: list[Pixels], geometry: Geometry) -> ClipSize:
    width, height = geometry.input_size
    return geometry.of_model(ClipSize(width, height, len(held), held[0].itemsize))


def _checked(frame: object, first: object, number: int) -> Pixels:
    """Return a frame as an array.

    Raises:
        UsageError: it is not what frames may be, or is unlike the first one.
    """
    if isinstance(frame, Tensor):
        is_frame = frame.ndim == 3 and frame.shape[0] == 3 and frame.is_floating_point()
    elif isinstance(frame, np.ndarray):
        is_frame = frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype in (np.uint8, np.uint16)
    else:
        is_frame = False
    if not is_frame or 0 in frame.shape:  # type: ignore[attr-defined]
        raise UsageError(
            f"frame {number} is {_described(frame)}: give uint8 or uint16 arrays (H, W, 3), or floating-point tensors "
            "(3, H, W) from 0 to 1"
        )
    if _described(frame) != _described(first):
        raise UsageError(
            f"frame {number} is {_described(frame)}, the first one {_described(first)}: give frames of another size or "
            "kind to another call"
        )
    if isinstance(frame, Tensor):
        deep = frame.detach().float().clamp(0, 1).mul(_DEEPEST).round().permute(1, 2, 0)
        return np.ascontiguousarray(deep.cpu().numpy().astype(np.uint16))
    return frame  # type: ignore[return-value]


def _as_tensor(pixels: Pixels, like: Tensor) -> Tensor:
    deep = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / _DEEPEST
    return deep.contiguous().to(device=like.device, dtype=like.dtype)


def _described(frame: object) -> str:
    if isinstance(frame, Tensor | np.ndarray):
        kind = "a tensor" if isinstance(frame, Tensor) else "an array"
        return f"{kind} {tuple(frame.shape)} of {str(frame.dtype).removeprefix('torch.')}"
    return f"a {type(frame).__name__}"
