"""A clip as numbered frames, whether it is a video or images."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from vsr_pipeline.clip.analyse import analyse
from vsr_pipeline.clip.folder import FolderSource
from vsr_pipeline.clip.shots import detect_cuts
from vsr_pipeline.config import InputConfig
from vsr_pipeline.media.animation import AnimationSource, is_animation, read_animation
from vsr_pipeline.media.contents import Contents
from vsr_pipeline.media.images import Pixels, image_losses, images_of, numbers_of, read_image
from vsr_pipeline.media.picture_facts import facts_of, picture_losses
from vsr_pipeline.media.read.pixels import ALPHA_NOTE
from vsr_pipeline.media.read.probe import look_into
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.media.streams.mux import origin_ticks
from vsr_pipeline.media.tint import tint_note, tint_of_pixels, tints_of_shots
from vsr_pipeline.plan import Part, part_of
from vsr_pipeline.runtime.progress import counted
from vsr_pipeline.timeline import Analysis, ClipSize, Colour, Timeline, Tint, VideoInfo

USUAL_FRAME_RATE = Fraction(25)
_IMAGES = "images"


class FrameSource(Protocol):
    """Random access to the distinct frames of a clip, by index: repeats are left out, and not counted."""

    @property
    def notes(self) -> Sequence[str]:
        """What was assumed, changed or dropped so far."""
        ...

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield the frames `[start, stop)`, each (H, W, 3) RGB.

        Raises:
            InputError: one of them cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a clip before it is decoded. `images` are its files by number; none: it is a video.

    `animation_ticks` says how long each frame of an animated image is shown, in ticks of its time base; all its frames
    are in one file. None: it is no animated image. With `keeps_pictures`, its images become images that have all that
    they have: alpha, grey, profiles; else they become RGB frames.
    """

    path: Path
    images: tuple[tuple[int, Path], ...]
    info: VideoInfo
    settings: InputConfig
    animation_ticks: tuple[int, ...] = ()
    keeps_pictures: bool = False
    contents: Contents | None = None
    """What the file holds besides; None: it is images."""

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        if self.contents is not None:
            return self.contents.identity.size_bytes
        return sum(path.stat().st_size for path in {path for _, path in self.images})

    @property
    def frames_of_part(self) -> int:
        """How many frames the part has, as far as the header tells; 0: it does not."""
        first, stop = self._part_by_rate()
        return max(0, stop - first)

    def clip_size(self, frame_count: int) -> ClipSize:
        """Return what of the clip its memory depends on, if so many frames are computed."""
        width, height = self.info.display_size
        return ClipSize(width, height, frame_count, bytes_per_value=2 if self.info.bit_depth > 8 else 1)

    @property
    def frames_to_analyse(self) -> int:
        """How many frames the analysis will decode, as far as the header tells; 0: it does not.

        A video is decoded from its first frame on, of images only the part is.
        """
        return self.frames_of_part if self.images else self._part_by_rate()[1]

    def _part_by_rate(self) -> tuple[int, int]:
        """Return the frames [first, stop) of the part by the average rate; of uneven times, that is about right."""
        known = self.info.frame_count_from_header or 0
        rate = self.info.average_frame_rate or USUAL_FRAME_RATE
        start, end, limit = self.settings.start_seconds, self.settings.end_seconds, self.settings.max_frames
        first = math.ceil(start * rate) if start is not None else 0
        ends = [known]
        if end is not None:
            ends.append(math.ceil(end * rate))
        if limit is not None:
            ends.append(first + limit)
        return first, min(ends)


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip that was analysed, and the part of it that is enhanced: plain data that opens its frames anywhere."""

    header: Header
    file_timeline: Timeline
    """The whole file, or its frames up to one more than the part has."""
    part: Part

    @property
    def timeline(self) -> Timeline:
        """The part's; frames are counted in it, in its distinct ones where they are read, planned and computed."""
        return self.part.timeline

    @property
    def clip_size(self) -> ClipSize:
        """What of the part its memory depends on."""
        return self.header.clip_size(len(self.timeline.distinct))

    @property
    def average_frame_rate(self) -> Fraction | None:
        """Frames per second, as the header says, and twice that where each field becomes one; None: it does not say."""
        rate = self.header.info.average_frame_rate
        return None if rate is None else rate * self.file_timeline.fields_per_frame

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        all_frames = self.part.timeline.frame_count == self.file_timeline.frame_count
        return all_frames and self.header.settings.end is None

    @property
    def span(self) -> tuple[Fraction, Fraction | None] | None:
        """Seconds of the source that are kept of sound and the like; None: everything."""
        if self.is_whole or self.header.images:
            return None
        timeline = self.timeline
        end = (timeline.pts[-1] + timeline.last_duration) * timeline.time_base
        is_to_the_end = self.part.stop == self.file_timeline.frame_count and self.header.settings.end is None
        return timeline.pts[0] * timeline.time_base, None if is_to_the_end else end

    @property
    def images(self) -> tuple[Path, ...]:
        """Files of the distinct frames of the part; none: it is a video."""
        images = self.header.images
        return tuple(images[self.part.first + index][1] for index in self.timeline.distinct) if images else ()

    def origin_ticks(self, drop: Sequence[str] = ()) -> int:
        """Return the tick of the source that is 0 in the output: a part begins there, a whole clip where it did."""
        if not self.is_whole:
            return self.timeline.pts[0]
        return _start_ticks(self.header, self.timeline, drop)

    @contextmanager
    def open(self) -> "Iterator[FrameSource]":
        """Open the distinct frames of the part.

        Raises:
            InputError: images cannot be read. Those of a video are opened when they are read.
        """
        if self.header.images:
            yield _pictures(self.header, [self.part.first + index for index in self.timeline.distinct])
        else:
            contents = self.header.contents
            known = (self.header.info, contents) if contents is not None else None
            with VideoReader(self.header.path, self.header.settings, known) as reader:
                yield _VideoPart(reader, self)


def _pictures(header: Header, places: Sequence[int]) -> FolderSource | AnimationSource:
    """Open some of the images of a clip, by their places in it."""
    if header.animation_ticks:
        frames = read_animation(header.path).frames
        return AnimationSource([frames[place] for place in places])
    files = [header.images[place][1] for place in places]
    return FolderSource(files, header.info, multiplies_alpha=header.keeps_pictures)


class _VideoPart:
    """The distinct frames of a part of a video, found by the timestamps of the file's timeline."""

    def __init__(self, reader: VideoReader, footage: Footage) -> None:
        self._reader = reader
        self._file_timeline = footage.file_timeline
        self._places = [footage.part.first + index for index in footage.timeline.distinct]
        self._repeats = frozenset(footage.part.first + index for index in footage.timeline.repeats)

    @property
    def notes(self) -> Sequence[str]:
        return self._reader.notes

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        first, end = self._places[start], self._places[stop - 1] + 1
        for frame in self._reader.read(self._file_timeline, first, end, without=self._repeats):
            yield frame.pixels


def look_at(
    path: Path, settings: InputConfig, *, frame_rate: Fraction | None = None, keeps_pictures: bool = False
) -> Header:
    """Find out what a clip is, from a video's header or from the first of its images.

    Args:
        path: a video, a folder of images, one image, or a pattern: see `images_of`.
        settings: what of it is meant.
        frame_rate: how fast images are shown; None: an animated image as it says, others at the usual rate.
        keeps_pictures: whether images become images again.

    Raises:
        InputError: it cannot be read.
        ResourceError: its frames do not fit into memory.
    """
    images = images_of(path)
    if images is None:
        info, contents = look_into(path, settings)
        return Header(path, (), info, settings, contents=contents)
    file = next(iter(images.values()))
    animation = read_animation(file) if len(images) == 1 and is_animation(file) else None
    first = animation.frames[0] if animation else read_image(file)
    rate = frame_rate or USUAL_FRAME_RATE
    time_base = 1 / rate
    ticks: tuple[int, ...] = ()
    if animation:
        images = dict.fromkeys(range(len(animation.frames)), file)
        ticks = animation.milliseconds if frame_rate is None else (1,) * len(images)
        time_base = Fraction(1, 1000) if frame_rate is None else time_base
        rate = 1 / (Fraction(sum(ticks), len(ticks)) * time_base)
    info = VideoInfo(
        path=path,
        container=_IMAGES,
        codec=file.suffix[1:].lower(),
        stream_index=0,
        width=first.shape[1],
        height=first.shape[0],
        pixel_format="rgb24" if first.itemsize == 1 else "rgb48",
        bit_depth=8 * first.itemsize,
        time_base=time_base,
        average_frame_rate=rate,
        colour=Colour(matrix="bt709", range="tv"),
        frame_count_from_header=len(images),
        video_streams=0,
        field_order="progressive",
        has_alpha=animation is not None and animation.has_alpha,
    )
    return Header(path, tuple(images.items()), info, settings, ticks, keeps_pictures and animation is None)


def analyse_clip(header: Header, *, on_frame: Callable[[], None] | None = None) -> Analysis:
    """Decode a clip once, as far as its part goes; the timeline is the file's, up to there.

    Raises:
        InputError: it cannot be read.
        UsageError: there is no frame in the part.
    """
    if header.contents is not None:
        is_enough = _end_of_part(header, header.contents)
        return analyse(header.info, header.contents, header.settings, on_frame=on_frame, is_enough=is_enough)
    whole = _timeline_of_images(header)
    part = part_of(whole, header.settings, start_seconds=Fraction(0))
    pictures = _pictures(replace(header, keeps_pictures=False), range(part.first, part.stop))
    if isinstance(pictures, FolderSource):
        pictures.check_headers()
    repeats: list[int] = []
    tints: list[Tint | None] = []

    def counted() -> Iterator[Pixels]:
        previous: Pixels | None = None
        for index, pixels in enumerate(pictures.read(0, part.stop - part.first), start=part.first):
            is_same = header.settings.skip_duplicates and previous is not None and np.array_equal(pixels, previous)
            if is_same and not (header.keeps_pictures and _have_alpha(header, index - 1, index)):
                repeats.append(index)
            previous = pixels
            tints.append(tint_of_pixels(pixels))
            yield pixels
            if on_frame is not None:
                on_frame()

    cuts = tuple(part.first + cut for cut in detect_cuts(counted()))
    timeline = replace(whole, cuts=cuts)
    # A shot may begin before the part, or end after it.
    known = [*tints[:1] * part.first, *tints, *tints[-1:] * (len(header.images) - part.stop)]
    timeline = replace(timeline, tints=tints_of_shots(known, cuts))
    return Analysis(timeline.with_repeats(repeats), notes=(*_notes_on(header), *tint_note(timeline.tints)))


def _have_alpha(header: Header, *places: int) -> bool:
    """Whether equal colours of some images may differ in their alpha."""
    return any(facts_of(header.images[place][1]).has_alpha for place in places)


def _timeline_of_images(header: Header) -> Timeline:
    if not header.animation_ticks:
        return Timeline.constant_rate(len(header.images), 1 / header.info.time_base)
    begins = tuple(accumulate(header.animation_ticks[:-1], initial=0))
    return Timeline(header.info.time_base, begins, header.animation_ticks[-1])


def _end_of_part(header: Header, contents: Contents) -> Callable[[int], bool] | None:
    """Return what tells, frame by frame, when no more of a file belongs to its part: one frame after its last."""
    settings, time_base = header.settings, header.info.time_base
    if settings.end is None and settings.max_frames is None:
        return None
    zero: int | None = None
    frames = 0

    def is_enough(pts: int) -> bool:
        nonlocal zero, frames
        if zero is None:
            zero = origin_ticks(contents, time_base, pts)
        seconds = (pts - zero) * time_base
        frames += settings.start_seconds is None or seconds >= settings.start_seconds
        is_after = settings.end_seconds is not None and seconds >= settings.end_seconds
        return is_after or (settings.max_frames is not None and frames > settings.max_frames)

    return is_enough


def footage_of(header: Header, analysis: Analysis, *, every_frame: bool = False) -> Footage:
    """Choose the part that the settings name.

    Args:
        header: the clip.
        analysis: what was found out about it.
        every_frame: read and compute repeats as any other frame.

    Raises:
        UsageError: no frame is in it.
    """
    timeline = replace(analysis.timeline, repeats=()) if every_frame else analysis.timeline
    start = _start_ticks(header, timeline, ()) if header.settings.is_part else 0
    part = part_of(timeline, header.settings, start_seconds=start * timeline.time_base)
    return Footage(header, timeline, part)


def _start_ticks(header: Header, timeline: Timeline, drop: Sequence[str]) -> int:
    """Return the tick at which the output of the whole clip would begin, and its player count from 0."""
    if header.contents is None:
        return 0
    return origin_ticks(header.contents, timeline.time_base, timeline.pts[0], drop=drop)


def _notes_on(header: Header) -> tuple[str, ...]:
    """Say what of the images is lost or missing, by their names and the first of them.

    Whoever shows a note says which clip it is about, so one image is not named again.
    """
    if header.animation_ticks:
        return (ALPHA_NOTE,) if header.info.has_alpha else ()
    numbers: Sequence[int] = [number for number, _ in header.images]
    if header.path.is_dir():
        numbers = numbers_of([path for _, path in header.images]) or numbers
    missing = numbers[-1] - numbers[0] + 1 - len(set(numbers))
    first = header.images[0][1]
    name = "" if first.name == header.path.name else f"{first.name}: "
    losses = picture_losses(facts_of(first)) if header.keeps_pictures else image_losses(first)
    notes = [f"{name}{loss}" for loss in losses]
    if missing:
        missing_numbers = counted(missing, "number has", "numbers have")
        notes.append(f"between {numbers[0]} and {numbers[-1]}, {missing_numbers} no image")
    return tuple(notes)
