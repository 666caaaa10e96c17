"""About three seconds of a clip, before and after, by the settings that the whole clip would be made with.

Packets around the moment are copied to a small file, so that nothing before them is decoded. A crop of its frames goes
the way of `vsr run`: shots, decisions, segments, steps. How large the crop is follows from the time that it may take.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import ffmpeg

from vsr_pipeline.clip.footage import Footage, Header, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry, Size
from vsr_pipeline.clip.inspect import analysed
from vsr_pipeline.compare.making import cut, without_margin
from vsr_pipeline.compare.moments import LARGEST_CROP, most_detail
from vsr_pipeline.config import Config, EncodeConfig, InputConfig
from vsr_pipeline.enhance.frames import decide, enhance_frames
from vsr_pipeline.enhance.memory import allowed_bytes, first_that_fits
from vsr_pipeline.enhance.spec import ModelSpec, Upscaler, Variant
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.estimate import pixel_ratio, seconds_a_frame
from vsr_pipeline.media.ffmpeg import input_file, output_file, run_ffmpeg
from vsr_pipeline.media.images import Pixels, eight_bits
from vsr_pipeline.media.tint import with_tint
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.runtime.progress import Reporter, reported
from vsr_pipeline.timeline import Colour, Decision, Shot, Timeline

SECONDS = Fraction(3)
"""How much of a clip is shown; of a shorter one all of it."""
BEFORE, AFTER = "before.mp4", "after.mp4"
_MAY_TAKE_SECONDS = 20.0
_MOST_OUTPUT_PIXELS = 1_500_000
_FEWEST_FRAMES = 8
_MARGIN = 8
_TIMED_FRAMES, _TIMED_SIZE = 2, (64, 48)
_ENCODE = EncodeConfig(codec="h264", quality=85, preset="veryfast")
"""What every browser plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What was made: `before.mp4` and `after.mp4`, of the same frames."""

    at_seconds: float = 0.0
    """Where it begins in the clip, about: streams are cut at key frames."""
    frame_count: int
    before_size: Size
    after_size: Size
    clip_size: Size
    """Of the whole frame, after."""
    shape: float
    """Width / height as it is shown."""
    seconds_a_frame: float
    """Of the whole frame, about."""
    elapsed_seconds: float = 0.0
    device: str


def preview(
    source: Path, folder: Path, config: Config, spec: ModelSpec, *, at: Fraction | None, reporter: Reporter
) -> Preview:
    """Make a preview.

    Args:
        source: the clip, a video.
        folder: where the two files go, and a small one meanwhile.
        config: the settings of the whole clip.
        spec: the model that they name.
        at: around which second, as a player counts; None: the middle.
        reporter: is told how far the work is.

    Raises:
        InputError: the clip cannot be read, or has no frame there.
        UsageError: the size makes no sense.
        ModelError, ResourceError, OutputError, DiskFullError: as `enhance_frames` and `VideoWriter`.
    """
    started = time.monotonic()
    whole = look_at(source, config.input)
    part = folder / ("part.mov" if whole.contents and whole.contents.is_quicktime else "part.mkv")
    try:
        begin = _copy_part(whole, part, at)
        footage = _last_seconds(part, config.input, reporter)
        geometry = Geometry.of(footage.header.info, spec.sizing, config.upscale, even=True)
        made = _Maker(footage, spec, geometry, config).make(folder, reporter)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return replace(made, at_seconds=float(begin), elapsed_seconds=time.monotonic() - started)


def _copy_part(whole: Header, part: Path, at: Fraction | None) -> Fraction:
    """Copy the packets around a moment to a file; return where it is to begin, in seconds of the clip."""
    settings, length = whole.settings, whole.info.duration_seconds_from_header
    first = settings.start_seconds or Fraction(0)
    last = min((end for end in (settings.end_seconds, length) if end is not None), default=first)
    middle = at if at is not None else (first + last) / 2
    if length is not None and middle >= length:
        raise InputError(f"there is no frame at {float(middle):g} s: the clip is {float(length):.2f} s long")
    begin = max(Fraction(0), min(middle - SECONDS / 2, (length or middle + SECONDS) - SECONDS))
    begin = Fraction(math.floor(begin * 1000), 1000)
    options = {"ss": f"{float(begin):.3f}"} if begin > 0 else {}
    stream = input_file(whole.path, t=f"{float(SECONDS):g}", **options)[str(whole.info.stream_index)]
    run_ffmpeg(ffmpeg.output(stream, output_file(part), c="copy", map_metadata="-1"), what="cutting out the preview")
    return begin


def _last_seconds(part: Path, settings: InputConfig, reporter: Reporter) -> Footage:
    """Analyse a part, which begins with a key frame somewhere before the moment, and choose its last seconds."""
    own = InputConfig(**{**settings.model_dump(), "start": None, "end": None, "max_frames": None, "video_stream": None})
    header = look_at(part, own)
    analysis = analysed(header, reporter)
    timeline = footage_of(header, analysis).timeline
    begin = timeline.duration_seconds - SECONDS
    if begin > 0:
        own = own.model_copy(update={"start": f"{float(begin):.3f}"})
    return footage_of(replace(header, settings=own), analysis)


class _Maker:
    """Makes a crop of a footage, before and after."""

    def __init__(self, footage: Footage, spec: ModelSpec, geometry: Geometry, config: Config) -> None:
        self._footage = footage
        self._clip: Timeline = footage.timeline.without_repeats
        self._spec = spec
        self._geometry = geometry
        self._config = config

    def make(self, folder: Path, reporter: Reporter) -> Preview:
        with self._footage.open() as source:
            index = self._clip.frame_count // 2
            middle = next(iter(source.read(index, index + 1)))
            seconds = self._seconds_a_frame(cut(middle, most_detail(middle, _TIMED_SIZE)))
            # Where even the smallest crop takes long, fewer frames are shown.
            smallest = math.prod(side + 2 * _MARGIN for side in LARGEST_CROP) / math.prod(middle.shape[:2])
            in_time = _MAY_TAKE_SECONDS / (seconds * smallest)
            clip = _first_frames(self._clip, max(_FEWEST_FRAMES, int(in_time)))
            crop = most_detail(middle, self._crop_size(seconds, clip.frame_count))
            region = crop.grown(_MARGIN, self._geometry.input_size).aligned()
            read = [cut(pixels, region) for pixels in source.read(0, clip.frame_count)]
        variant = self._fitting((region.width, region.height))
        sizes = self._geometry.scaled_to((region.width, region.height))
        aspect = self._geometry.sample_aspect_ratio
        with reported(reporter, "preview", clip.frame_count):
            outputs = self._outputs(variant.build(), clip, read, sizes, reporter)
            after = (without_margin(pixels, crop, region, sizes) for pixels in outputs)
            before = (cut(pixels, crop.within(region)) for pixels in read)
            after_size = _encode(folder / AFTER, after, clip, aspect)
            before_size = _encode(folder / BEFORE, before, clip, aspect)
        return Preview(
            frame_count=clip.frame_count,
            before_size=before_size,
            after_size=after_size,
            clip_size=self._geometry.output_size,
            shape=float(crop.width * aspect / crop.height),
            seconds_a_frame=seconds,
            device=str(variant.device or "cpu"),
        )

    def _fitting(self, size: Size) -> Variant:
        """Return the first variant that has memory enough for frames of a size."""
        clip = self._geometry.scaled_to(size).of_model(replace(self._footage.clip_size, width=size[0], height=size[1]))
        needs = [variant.memory_bytes(clip) for variant in self._spec.variants]
        level = first_that_fits(needs, allowed_bytes(self._config.upscale.memory_limit_bytes, self._spec.device))
        return self._spec.variants[-1 if level is None else level]

    def _seconds_a_frame(self, small: Pixels) -> float:
        """Return how long a whole frame takes, measured on a part of one."""
        frames = [small] * _TIMED_FRAMES
        size = (small.shape[1], small.shape[0])
        sizes = self._geometry.scaled_to(size)
        upscaler = self._fitting(size).build()
        decision = Decision() if self._spec.context.decides_slowly else decide(upscaler, frames, sizes)
        seconds = seconds_a_frame(upscaler, frames, decision, sizes, self._config, context=1.0, on_work=lambda _: None)
        return max(seconds * pixel_ratio(self._geometry, sizes), 1e-6)

    def _crop_size(self, seconds: float, frames: int) -> Size:
        """Return how much of a frame is shown: as much as can be made in time."""
        width, height = self._geometry.input_size
        output = self._geometry.output_size[0] * self._geometry.output_size[1]
        share = min(1.0, _MAY_TAKE_SECONDS / (seconds * frames), _MOST_OUTPUT_PIXELS / output)
        wide, high = (int(side * math.sqrt(share)) // 2 * 2 for side in (width, height))
        return min(max(wide, LARGEST_CROP[0]), width), min(max(high, LARGEST_CROP[1]), height)

    def _outputs(
        self, upscaler: Upscaler, clip: Timeline, frames: Sequence[Pixels], sizes: Geometry, reporter: Reporter
    ) -> Iterator[Pixels]:
        context = self._spec.context
        steps = steps_for(sizes, self._config.upscale)
        decisions: dict[Shot, Decision] = {}
        for segment in context.segments(clip):
            shot = segment.shot
            if shot not in decisions:
                samples = [frames[i] for i in sample_indices(shot, max(1, context.decision_frames))]
                decisions[shot] = decide(upscaler, samples, sizes)
            around = frames[segment.context_start : segment.context_stop]
            coming = enhance_frames(
                upscaler, around, segment, decisions[shot], geometry=sizes, on_work=reporter.worked, steps=steps
            )
            tint = clip.tint_at(segment.start)
            yield from (with_tint(pixels, tint) for pixels in coming)


def _first_frames(clip: Timeline, count: int) -> Timeline:
    """Return the beginning of a timeline."""
    if count >= clip.frame_count:
        return clip
    cuts = tuple(cut for cut in clip.cuts if cut < count)
    return Timeline(
        clip.time_base,
        clip.pts[:count],
        clip.pts[count] - clip.pts[count - 1],
        cuts=cuts,
        tints=clip.tints[: len(cuts) + 1],
    )


def _encode(path: Path, frames: Iterator[Pixels], clip: Timeline, aspect: Fraction) -> Size:
    """Write frames as a browser plays them; return their size."""
    first = eight_bits(next(frames))
    height, width = first.shape[:2]
    ends = [b - a for a, b in pairwise(clip.pts)] + [clip.last_duration]
    with VideoWriter(
        path,
        width=width,
        height=height,
        time_base=clip.time_base,
        frame_rate=None,
        colour=Colour(matrix="bt709", range="tv"),
        sample_aspect_ratio=aspect,
        settings=_ENCODE,
    ) as writer:
        for pts, duration, pixels in zip(clip.pts, ends, chain([first], frames), strict=True):
            writer.write(pts - clip.pts[0], eight_bits(pixels), duration=duration)
    return width, height
