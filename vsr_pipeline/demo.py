"""The slide-wipe video: the input and the result in one picture, parted by a line that moves.

What is left of the line is BEFORE (the input, enlarged), what is right of it is AFTER (the result). The video

1. plays BEFORE alone, the line at the right edge, until `start_frame`;
2. slides the line to the left by `slide_step` pixels per frame while the clip plays on;
3. freezes at `pause_frame` and sweeps the line to the left edge and back to the right one, `repeats` times, resting a
   moment at each edge;
4. plays the clip to its end while the line goes to the middle and stays there. A clip of which too little is left
   for judging motion is played again from its start until 3 seconds of it have been seen.

Frames stream through: memory does not grow with the length. Each input is decoded once to count its frames and once,
or once per replay, to show them.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.files import published
from vsr_pipeline.media.frames import Pixels, list_frames, read_image
from vsr_pipeline.media.probe import probe
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.media.source import FolderSource
from vsr_pipeline.media.writer import EncodeSettings, VideoWriter
from vsr_pipeline.timeline import Colour, VideoInfo

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3), RGB, 8 bits."""

MAX_SIDE = 4096
MAX_PIXELS = 4096 * 2304  # the largest picture of H.264 level 5.2, the highest that browsers and their hardware promise
DEFAULT_FRAME_RATE = Fraction(25)  # of two folders, which have no rate of their own

_COLOUR = Colour(matrix="bt709", range="tv", primaries="bt709", transfer="bt709", chroma_location="left")
_INTERPOLATIONS = {"nearest": cv2.INTER_NEAREST, "bicubic": cv2.INTER_CUBIC}
_SWEEP_SECONDS = 2  # from edge to edge
_REST_SECONDS = Fraction(1, 2)  # at each edge, while the picture is frozen
_LEAD_SECONDS = 1  # at most, before the line starts and again before the pause
_MOTION_SECONDS = 3  # at least, with both sides in view at the end
_PLATE = 0.45  # how much of the picture shines through a label's plate
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITALS_HEIGHT = 22  # pixels at font scale 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How the demo video looks and moves; `None` chooses by the clip's length, size and rate.

    Frames are counted from 0. `slide_step` and `line_width` are pixels of the output; a line of width 0 is not drawn,
    nor is an empty label.

    Raises:
        UsageError: a value that no clip allows.
    """

    interpolation: Literal["nearest", "bicubic"] = "bicubic"
    start_frame: int | None = None
    pause_frame: int | None = None
    repeats: int = 2
    slide_step: int | None = None
    line_width: int | None = None
    frame_rate: Fraction | None = None
    label_before: str | None = None
    label_after: str = "enhanced"

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("start frame", self.start_frame, 0),
            ("pause frame", self.pause_frame, 0),
            ("number of repeats", self.repeats, 0),
            ("slide step", self.slide_step, 1),
            ("line width", self.line_width, 0),
        ):
            if value is not None and value < minimum:
                raise UsageError(f"the {name} is {value}: it must be at least {minimum}")
        if self.frame_rate is not None and self.frame_rate <= 0:
            raise UsageError(f"the frame rate is {self.frame_rate}: it must be above 0")
        if self.start_frame is not None and self.pause_frame is not None and self.start_frame > self.pause_frame:
            raise UsageError(f"the start frame ({self.start_frame}) comes after the pause frame ({self.pause_frame})")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The finished video. `scaled_down`: AFTER was larger than H.264 players take, so the demo is smaller than it."""

    path: Path
    frame_count: int
    width: int
    height: int
    frame_rate: Fraction
    scaled_down: bool


class Moment(NamedTuple):
    """One frame of the demo: which frame of the clip is shown and where the line is (0 = left edge)."""

    clip_frame: int
    line_x: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choreography:
    """Every choice made: from it follow all moments of the demo. Pure; times in frames, lengths in pixels."""

    clip_frames: int
    width: int
    start_frame: int
    pause_frame: int
    repeats: int
    slide_step: int
    rest_frames: int
    motion_frames: int

    @classmethod
    def choose(cls, options: DemoOptions, *, clip_frames: int, width: int, frame_rate: Fraction) -> "Choreography":
        """Fill in what the options leave open.

        Raises:
            UsageError: the start or pause frame is not in the clip.
        """
        for name, frame in (("start", options.start_frame), ("pause", options.pause_frame)):
            if frame is not None and frame >= clip_frames:
                raise UsageError(f"{name} frame {frame} is not in the clip: it has frames 0 to {clip_frames - 1}")
        step = options.slide_step or max(1, round(width / (_SWEEP_SECONDS * frame_rate)))
        lead = math.ceil(_LEAD_SECONDS * frame_rate)
        start = options.start_frame
        if start is None:
            start = min(clip_frames // 4, lead, clip_frames if options.pause_frame is None else options.pause_frame)
        pause = options.pause_frame
        if pause is None:
            pause = max(start, min(clip_frames // 2, start + math.ceil(width / step) + lead))
        return cls(
            clip_frames=clip_frames,
            width=width,
            start_frame=start,
            pause_frame=pause,
            repeats=options.repeats,
            slide_step=step,
            rest_frames=math.ceil(_REST_SECONDS * frame_rate),
            motion_frames=math.ceil(_MOTION_SECONDS * frame_rate),
        )

    def moments(self) -> Iterator[Moment]:
        """Yield every frame of the demo in order; the clip's frames run from first to last, again and again."""
        line_x = self.width
        for index in range(self.pause_frame + 1):
            if index >= self.start_frame:
                line_x = self._towards(line_x, 0)
            yield Moment(index, line_x)
        for edge in (0, self.width) * self.repeats:
            while line_x != edge:
                line_x = self._towards(line_x, edge)
                yield Moment(self.pause_frame, line_x)
            for _ in range(self.rest_frames):
                yield Moment(self.pause_frame, line_x)
        left = self.clip_frames - self.pause_frame - 1
        replays = math.ceil(max(0, self.motion_frames - left) / self.clip_frames)
        for number in range(left + replays * self.clip_frames):
            line_x = self._towards(line_x, self.width // 2)
            yield Moment((self.pause_frame + 1 + number) % self.clip_frames, line_x)

    def _towards(self, line_x: int, target: int) -> int:
        return line_x + max(-self.slide_step, min(self.slide_step, target - line_x))


def make_demo(
    before: Path,
    after: Path,
    output: Path,
    options: DemoOptions = DemoOptions(),
    *,
    on_total: Callable[[int], None] | None = None,
    on_frame: Callable[[], None] | None = None,
) -> DemoResult:
    """Write the slide-wipe video of two versions of one clip.

    Args:
        before: the input, a video or a folder of images of any size; it is enlarged to the size of `after`.
        after: the result, likewise. Frame i of one belongs to frame i of the other.
        output: an .mp4 file; it is replaced when the new one is complete.
        options: how it looks; see `DemoOptions`.
        on_total: called once, before the first frame is written, with the number of frames that will be written.
        on_frame: called after each frame that was written.

    Raises:
        UsageError: an output that is no .mp4 or is one of the inputs; a start or pause frame outside the clip.
        InputError: an input cannot be read, or the two differ in their number of frames.
        OutputError, ResourceError: the output cannot be written.
    """
    if output.suffix.lower() != ".mp4":
        raise UsageError(f"the demo video must be an .mp4 file (H.264 that browsers play), not {output.name}")
    if output.resolve() in (before.resolve(), after.resolve()):
        raise UsageError(f"the demo would replace its own input {output}: choose another name")
    sources = _Source.open(before), _Source.open(after)
    clip_frames = _common_frame_count(*sources)
    frame_rate = options.frame_rate or sources[0].frame_rate or sources[1].frame_rate or DEFAULT_FRAME_RATE
    canvas = _Canvas.choose(options, *sources)
    moves = Choreography.choose(options, clip_frames=clip_frames, width=canvas.width, frame_rate=frame_rate)
    frame_count = sum(1 for _ in moves.moments())
    if on_total is not None:
        on_total(frame_count)
    with (
        published(output) as temporary,
        closing(_pictures(canvas, *sources)) as pictures,
        _writer(temporary, canvas, frame_rate) as writer,
    ):
        for pts, picture in enumerate(_composed(canvas, pictures, moves.moments())):
            writer.write(pts, picture, duration=1)
            if on_frame is not None:
                on_frame()
    # The writer makes odd sizes even.
    width, height = canvas.width + canvas.width % 2, canvas.height + canvas.height % 2
    return DemoResult(output, frame_count, width, height, frame_rate, canvas.scaled_down)


def _common_frame_count(before: "_Source", after: "_Source") -> int:
    count, after_count = before.count_frames(), after.count_frames()
    if count != after_count:
        counts = f"{before.path} has {count} frames, {after.path} {after_count}"
        raise InputError(f"{counts}: give two versions of the same clip")
    return count


def _writer(path: Path, canvas: "_Canvas", frame_rate: Fraction) -> VideoWriter:
    return VideoWriter(
        path,
        width=canvas.width,
        height=canvas.height,
        time_base=1 / frame_rate,
        frame_rate=frame_rate,
        colour=_COLOUR,
        settings=EncodeSettings(crf=18),
    )


def _composed(
    canvas: "_Canvas", pictures: Iterator[tuple[Picture, Picture]], moments: Iterator[Moment]
) -> Iterator[Picture]:
    """Yield the frames of the demo; `pictures` is asked for the next pair whenever the clip's frame changes."""
    left, right = next(pictures)
    shown = 0
    for moment in moments:
        if moment.clip_frame != shown:
            left, right = next(pictures)
            shown = moment.clip_frame
        yield canvas.wipe(left, right, moment.line_x)


@dataclass(frozen=True, slots=True)
class _Source:
    """One side of the comparison: a folder of images (`info` is None) or a video (`images` is empty)."""

    path: Path
    images: tuple[Path, ...]
    info: VideoInfo | None
    width: int
    height: int

    @classmethod
    def open(cls, path: Path) -> "_Source":
        """Raise InputError where the path is missing, or neither a folder of images nor a video."""
        if path.is_dir():
            images = list_frames(path)
            height, width = read_image(images[0]).shape[:2]
            return cls(path, images, None, width, height)
        info = probe(path)
        return cls(path, (), info, *info.display_size)

    @property
    def frame_rate(self) -> Fraction | None:
        return self.info.average_frame_rate if self.info else None

    def frames(self) -> Generator[Pixels, None, None]:
        """Yield all frames in order."""
        if self.info is None:
            yield from FolderSource(self.images).read(0, len(self.images))
        else:
            with VideoReader(self.path) as reader:
                for frame in reader:
                    yield frame.pixels

    def count_frames(self) -> int:
        """Count by decoding: what a video's header says is not always true."""
        return len(self.images) or sum(1 for _ in self.frames())


def _pictures(canvas: "_Canvas", before: _Source, after: _Source) -> Generator[tuple[Picture, Picture], None, None]:
    """Yield both pictures of every frame of the clip, from first to last, again and again."""
    while True:
        with closing(before.frames()) as lefts, closing(after.frames()) as rights:
            for left, right in zip(lefts, rights, strict=True):
                yield canvas.fit(left, canvas.label_before), canvas.fit(right, canvas.label_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canvas:
    """How one picture of the demo is composed; made once, used for every frame."""

    width: int
    height: int
    scaled_down: bool
    enlarge: int  # interpolation flag of OpenCV
    line_width: int
    label_before: "_Label"
    label_after: "_Label"

    @classmethod
    def choose(cls, options: DemoOptions, before: _Source, after: _Source) -> "_Canvas":
        """Take the size of `after`, with square pixels and not larger than H.264 players take."""
        # A folder of images has lost its pixels' aspect ratio; that of the other version holds for it as well.
        info = after.info or before.info
        full_width = after.width * float(info.display_aspect_ratio_of_pixels if info else 1)
        pixels = full_width * after.height
        scale = min(1.0, MAX_SIDE / max(full_width, after.height), math.sqrt(MAX_PIXELS / pixels))
        width, height = (max(2, int(side * scale)) for side in (full_width, after.height))
        factor = round(after.width / before.width, 1)
        described = f"input, {options.interpolation} x{factor:g}" if factor > 1 else "input"
        label_before = described if options.label_before is None else options.label_before
        text_scale = _text_scale((label_before, options.label_after), width, height)
        return cls(
            width=width,
            height=height,
            scaled_down=scale < 1,
            enlarge=_INTERPOLATIONS[options.interpolation],
            line_width=max(2, round(width / 320)) if options.line_width is None else options.line_width,
            label_before=_Label.draw(label_before, text_scale, width, height, at_right=False),
            label_after=_Label.draw(options.label_after, text_scale, width, height, at_right=True),
        )

    def fit(self, pixels: Pixels, label: "_Label") -> Picture:
        """Bring a frame of any size and depth to 8 bits and the canvas, with its label on it. Returns a new array."""
        height, width = pixels.shape[:2]
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.dtype == np.uint16 else pixels
        flag = cv2.INTER_AREA if width >= self.width and height >= self.height else self.enlarge
        picture = np.asarray(cv2.resize(eight_bit, (self.width, self.height), interpolation=flag), dtype=np.uint8)
        label.put_on(picture)
        return picture

    def wipe(self, left: Picture, right: Picture, line_x: int) -> Picture:
        """Compose what is left of `line_x` from `left`, the rest from `right`, with the line between them."""
        picture = right.copy()
        picture[:, :line_x] = left[:, :line_x]
        if self.line_width and 0 < line_x < self.width:
            first = max(0, line_x - self.line_width // 2)
            stop = first + self.line_width
            # A dark edge on either side, so that the white line is seen on snow as well.
            picture[:, max(0, first - 1) : stop + 1] //= 3
            picture[:, first:stop] = 255
        return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """White text on a translucent dark plate: pixels become `pixels * keep + add` inside `rows` and `columns`."""

    rows: slice
    columns: slice
    keep: npt.NDArray[np.float32]  # (h, w, 1), 0..1
    add: npt.NDArray[np.float32]  # (h, w, 1), 0..255

    @classmethod
    def draw(cls, text: str, scale: float, width: int, height: int, *, at_right: bool) -> "_Label":
        """Render the text once, for the top left or right corner of a picture of `width` x `height` pixels."""
        thickness = max(1, round(1.6 * scale))
        (text_width, _), descent = cv2.getTextSize(text, _FONT, scale, thickness)
        capitals = round(_CAPITALS_HEIGHT * scale)
        padding = max(2, round(0.4 * capitals))
        mask = np.zeros((capitals + descent + 2 * padding, text_width + 2 * padding), np.uint8)
        cv2.putText(mask, text, (padding, padding + capitals), _FONT, scale, 255, thickness, cv2.LINE_AA)
        mask = mask[: max(0, height - padding), : max(0, width - padding) if text else 0]
        ink = mask[:, :, np.newaxis] / 255
        left = width - padding - mask.shape[1] if at_right else padding
        return cls(
            rows=slice(padding, padding + mask.shape[0]),
            columns=slice(left, left + mask.shape[1]),
            keep=(_PLATE * (1 - ink)).astype(np.float32),
            add=(255 * ink).astype(np.float32),
        )

    def put_on(self, picture: Picture) -> None:
        """Blend the label into the picture."""
        area = picture[self.rows, self.columns]
        area[:] = np.rint(area * self.keep + self.add).astype(np.uint8)


def _text_scale(labels: tuple[str, str], width: int, height: int) -> float:
    """Font scale: capitals of a 20th of the shorter side, smaller so that both labels fit, never too small to read."""
    longest = max(cv2.getTextSize(text, _FONT, 1.0, 1)[0][0] for text in labels)
    wanted = min(width, height) / 20 / _CAPITALS_HEIGHT
    return max(min(wanted, 0.42 * width / max(1, longest)), 8 / _CAPITALS_HEIGHT)
