"""`vsr split`: a video to a folder of PNGs and a `clip.json`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.files import make_folder
from vsr_pipeline.media.analyse import analyse
from vsr_pipeline.media.frames import Pixels, frame_name, png_size, read_image, write_png
from vsr_pipeline.media.probe import probe
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.overlap import WriteBehind
from vsr_pipeline.reporting import Reporter, reported
from vsr_pipeline.workspace import CLIP_FILE, FRAMES, Clip, SourceFile


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Where the frames of a video are, and how many of them were written this time."""

    video: Path
    frames: Path
    frame_count: int
    written_frames: int

    def __str__(self) -> str:
        return f"{self.frames}: {self.frame_count} frames, {self.written_frames} written now"


def split(video: Path, results: Path, *, reporter: Reporter) -> SplitResult:
    """Write every frame of `video`, upright, to `results/<stem>/frames/`, then `results/<stem>/clip.json`.

    `clip.json` is written last: where it is, all frames are. Frames that are there already and right are kept.

    Raises:
        InputError: the video is missing or cannot be decoded.
        OutputError: the folder holds the frames of another video, or cannot be written.
        ResourceError: the disk is full.
    """
    info = probe(video)
    folder = results / video.stem
    frames = folder / FRAMES
    _refuse_other_clip(folder, video)
    done = _load_or_none(folder)
    if done and done.source.is_unchanged(video) and _is_complete(done, frames):
        reporter.note(f"{frames}: {done.timeline.frame_count} frames are there already")
        return SplitResult(video, frames, done.timeline.frame_count, 0)

    make_folder(frames)
    (folder / CLIP_FILE).unlink(missing_ok=True)
    source = SourceFile.of(video)
    with reported(reporter, f"analyse {video.name}", info.frame_count_from_header or 0):
        timeline = analyse(video, on_frame=partial(reporter.worked, 1.0))
    written = 0
    with (
        reported(reporter, f"split {video.name}", timeline.frame_count),
        VideoReader(video) as reader,
        WriteBehind(threads=2, depth=4) as writes,
    ):
        for index, frame in enumerate(reader.read(timeline, 0, timeline.frame_count)):
            path = frames / frame_name(index)
            if not _holds(path, frame.pixels):
                writes.call(partial(write_png, path, frame.pixels))
                written += 1
            reporter.worked(1.0)
    _remove_frames_from(frames, timeline.frame_count)
    Clip(source, info, timeline).save(folder)
    return SplitResult(video, frames, timeline.frame_count, written)


def _load_or_none(folder: Path) -> Clip | None:
    try:
        return Clip.load(folder)
    except InputError:
        return None  # a damaged clip.json is what splitting again is for


def _refuse_other_clip(folder: Path, video: Path) -> None:
    clip = _load_or_none(folder)
    if clip and clip.source.path != video.resolve() and clip.source.path.exists():
        raise OutputError(f"{folder} holds the frames of {clip.source.path}: give {video} another place by --results")


def _is_complete(clip: Clip, frames: Path) -> bool:
    size = clip.info.display_size
    return all(png_size(frames / frame_name(i)) == size for i in range(clip.timeline.frame_count))


def _holds(path: Path, pixels: Pixels) -> bool:
    """Whether an image is there and is exactly this frame. Reading is cheaper than compressing."""
    return png_size(path) == (pixels.shape[1], pixels.shape[0]) and np.array_equal(read_image(path), pixels)


def _remove_frames_from(frames: Path, count: int) -> None:
    """Delete frames that an earlier, longer version of the clip left."""
    while (path := frames / frame_name(count)).exists():
        path.unlink()
        count += 1
