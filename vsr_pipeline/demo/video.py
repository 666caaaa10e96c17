"""Writes the slide-wipe video."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.demo.canvas import Canvas, Picture
from vsr_pipeline.demo.choreography import Choreography, DemoOptions, Moment
from vsr_pipeline.demo.side import Side
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.media.streams.join import check_finished
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.runtime.files import published
from vsr_pipeline.runtime.progress import counted
from vsr_pipeline.timeline import Colour

DEFAULT_FRAME_RATE = Fraction(25)  # of two folders, which have no rate of their own
_COLOUR = Colour(matrix="bt709", range="tv", primaries="bt709", transfer="bt709", chroma_location="left")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The finished video. `scaled_down`: AFTER was larger than H.264 players take, so the demo is smaller than it."""

    path: Path
    frame_count: int
    width: int
    height: int
    frame_rate: Fraction
    scaled_down: bool

    def __str__(self) -> str:
        reduced = ", scaled down to what players take" if self.scaled_down else ""
        return f"{self.path}: {counted(self.frame_count, 'frame')} of {self.width}x{self.height}{reduced}"


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
        OutputError, ResourceError: the output cannot be written, or was written with other frames.
    """
    if output.suffix.lower() != ".mp4":
        raise UsageError(f"the demo video must be an .mp4 file (H.264 that browsers play), not {output.name}")
    if output.resolve() in (before.resolve(), after.resolve()):
        raise UsageError(f"the demo would replace its own input {output}: choose another name")
    sources = Side.open(before), Side.open(after)
    clip_frames = _common_frame_count(*sources)
    frame_rate = options.frame_rate or sources[0].frame_rate or sources[1].frame_rate or DEFAULT_FRAME_RATE
    canvas = Canvas.choose(options, *sources)
    moves = Choreography.choose(options, clip_frames=clip_frames, width=canvas.width, frame_rate=frame_rate)
    frame_count = sum(1 for _ in moves.moments())
    if on_total is not None:
        on_total(frame_count)
    with published(output) as temporary:
        with (
            closing(_pictures(canvas, *sources)) as pictures,
            _writer(temporary, canvas, frame_rate) as writer,
        ):
            for pts, picture in enumerate(_composed(canvas, pictures, moves.moments())):
                writer.write(pts, picture, duration=1)
                if on_frame is not None:
                    on_frame()
        check_finished(temporary, [index / frame_rate for index in range(frame_count)], name=output)
    # The writer makes odd sizes even.
    width, height = canvas.width + canvas.width % 2, canvas.height + canvas.height % 2
    return DemoResult(output, frame_count, width, height, frame_rate, canvas.scaled_down)


def _common_frame_count(before: Side, after: Side) -> int:
    count, after_count = before.count_frames(), after.count_frames()
    if count != after_count:
        counts = f"{before.path} has {counted(count, 'frame')}, {after.path} has {after_count}"
        raise InputError(f"{counts}: give two versions of the same clip")
    return count


def _writer(path: Path, canvas: Canvas, frame_rate: Fraction) -> VideoWriter:
    return VideoWriter(
        path,
        width=canvas.width,
        height=canvas.height,
        time_base=1 / frame_rate,
        frame_rate=frame_rate,
        colour=_COLOUR,
        settings=EncodeConfig(quality=64),
    )


def _composed(
    canvas: Canvas, pictures: Iterator[tuple[Picture, Picture]], moments: Iterator[Moment]
) -> Iterator[Picture]:
    """Yield the frames of the demo; `pictures` is asked for the next pair whenever the clip's frame changes."""
    left, right = next(pictures)
    shown = 0
    for moment in moments:
        if moment.clip_frame != shown:
            left, right = next(pictures)
            shown = moment.clip_frame
        yield canvas.wipe(left, right, moment.line_x)


def _pictures(canvas: Canvas, before: Side, after: Side) -> Generator[tuple[Picture, Picture], None, None]:
    """Yield both pictures of every frame of the clip, from first to last, again and again."""
    while True:
        with closing(before.frames()) as lefts, closing(after.frames()) as rights:
            for left, right in zip(lefts, rights, strict=True):
                yield canvas.fit(left, canvas.label_before), canvas.fit(right, canvas.label_after)
