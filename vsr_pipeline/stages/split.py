"""`vsr split`: a video to a folder of PNGs and a `clip.json`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vsr_pipeline.clip.footage import Footage, footage_of, look_at
from vsr_pipeline.clip.inspect import analysed, damage_of, refuse_damage
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.images import Pixels, frame_name, png_size, read_image, remove_frames_from, write_png
from vsr_pipeline.runtime.files import FileIdentity, make_folder
from vsr_pipeline.runtime.prefetch import WriteBehind
from vsr_pipeline.runtime.progress import Reporter, counted, one_line, reported
from vsr_pipeline.stages.workspace import CLIP_FILE, FRAMES, Clip


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Where the frames of a video are, and how many of them were written this time."""

    video: Path
    frames: Path
    frame_count: int
    written_frames: int

    def __str__(self) -> str:
        return one_line(f"{self.frames}: {counted(self.frame_count, 'frame')}, {self.written_frames} written now")


def split(video: Path, results: Path, config: Config, *, strict: bool = False, reporter: Reporter) -> SplitResult:
    """Write the frames of `video` to `results/<stem>/frames/`, then `results/<stem>/clip.json`.

    `clip.json` is written last: where it is, all frames are. Frames that are there already and right are kept.

    Args:
        video: the file.
        results: the workspace.
        config: which frames, and how they are read.
        strict: refuse a video of which something cannot be decoded.
        reporter: is told about progress.

    Raises:
        InputError: the video is missing or cannot be decoded.
        UsageError: no frame is in the part that is asked for.
        OutputError: the folder holds the frames of another video, or cannot be written.
        ResourceError: the disk is full.
    """
    header = look_at(video, config.input)
    if header.images:
        raise InputError(f"{video} is images already: give them to `vsr enhance`, or to `vsr run`")
    folder = results / video.stem
    frames = folder / FRAMES
    _refuse_other_clip(folder, video)
    done = _load_or_none(folder)
    is_same = done is not None and done.is_of(video) and done.footage.header.settings == config.input
    if done and is_same and _is_complete(done, frames):
        reporter.note(f"{frames}: {counted(done.timeline.frame_count, 'frame is', 'frames are')} there already")
        return SplitResult(video, frames, done.timeline.frame_count, 0)

    source = FileIdentity.of(video)
    analysis = analysed(header, reporter)
    if strict:
        refuse_damage(header, analysis)
    footage = footage_of(header, analysis, every_frame=True)  # a person may edit one of them
    for sentence in damage_of(header, analysis):  # it has the name
        reporter.note(sentence)
    for note in analysis.notes:
        reporter.note(f"{video.name}: {note}")
    make_folder(frames)
    (folder / CLIP_FILE).unlink(missing_ok=True)
    written = _write(footage, frames, reporter)
    remove_frames_from(frames, footage.timeline.frame_count)
    Clip.of(source, footage, analysis).save(folder)
    return SplitResult(video, frames, footage.timeline.frame_count, written)


def _write(footage: Footage, frames: Path, reporter: Reporter) -> int:
    """Write the frames that are not there; return how many that were."""
    written = 0
    count = footage.timeline.frame_count
    with (
        reported(reporter, f"split {footage.header.path.name}", count),
        footage.open() as source,
        WriteBehind(threads=2, depth=4) as writes,
    ):
        for index, pixels in enumerate(source.read(0, count)):
            path = frames / frame_name(index)
            if not _holds(path, pixels):
                writes.call(partial(write_png, path, pixels))
                written += 1
            reporter.worked(1.0)
    return written


def _load_or_none(folder: Path) -> Clip | None:
    try:
        return Clip.load(folder)
    except InputError:
        return None  # a damaged clip.json is what splitting again is for


def _refuse_other_clip(folder: Path, video: Path) -> None:
    clip = _load_or_none(folder)
    if clip and clip.path != video.resolve() and clip.path.exists():
        raise OutputError(f"{folder} holds the frames of {clip.path}: give {video} another place by --results")


def _is_complete(clip: Clip, frames: Path) -> bool:
    size = clip.info.display_size
    return all(png_size(frames / frame_name(i)) == size for i in range(clip.timeline.frame_count))


def _holds(path: Path, pixels: Pixels) -> bool:
    """Whether an image is there and is exactly this frame. Reading is cheaper than compressing."""
    return png_size(path) == (pixels.shape[1], pixels.shape[0]) and np.array_equal(read_image(path), pixels)
