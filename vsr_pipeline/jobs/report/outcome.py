"""What became of a clip and of a batch: plain values, written as JSON and shown as a page."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsr_pipeline.runtime.progress import clock_text, counted, one_line, size_text

Status = Literal["done", "unchanged", "failed", "stopped", "given up", "cancelled"]
"""done: made now; unchanged: made earlier and still right; failed: `reason` says why; stopped: goes on next time;
given up: failed in `--retries` runs and left alone until `--retry-failed`; cancelled: left alone because somebody
said so, which is no failure."""


@dataclass(frozen=True, slots=True)
class ShotOutcome:
    """Frames `[start, stop)` without a scene cut, and what was decided for them, such as "cleaned once"."""

    start: int
    stop: int
    decision: str = ""


@dataclass(frozen=True, slots=True)
class Still:
    """JPEGs of one frame, with square pixels."""

    seconds: float
    """When the output shows it."""
    before: Path
    """As it went into the model."""
    after: Path
    """Enhanced, at most 960 pixels wide."""
    full: Path
    """Enhanced, in the output's size; the same file as `after` where that is not wider than 960 pixels."""

    @property
    def is_there(self) -> bool:
        """Whether all its files are."""
        return self.before.exists() and self.after.exists() and self.full.exists()

    def moved_to(self, folder: Path) -> "Still":
        """Return the still as it lies in another folder."""
        return Still(self.seconds, *(folder / path.name for path in (self.before, self.after, self.full)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOutcome:
    """What became of one clip. Sizes in pixels, times in seconds; `fps` counts the frames computed in this run."""

    input: Path
    output: Path
    status: Status
    reason: str = ""
    exit_code: int = 0
    model: str = ""
    frame_count: int = 0
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    duration_seconds: float = 0.0
    started_at: str = ""
    """ISO 8601 with the offset from UTC."""
    elapsed_seconds: float = 0.0
    computed_frames: int = 0
    reused_frames: int = 0
    fps: float = 0.0
    peak_memory_bytes: int = 0
    peak_gpu_memory_bytes: int = 0
    output_bytes: int = 0
    output_sha256: str = ""
    """Of the output as it was published; empty: an older version made it."""
    shots: tuple[ShotOutcome, ...] = ()
    decode_errors: int = 0
    """What the decoder could not read: lost packets, damaged frames, an unreadable rest."""
    missing_seconds: float = 0.0
    """How much shorter the picture is than the file announces."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What was guessed, measured, chosen or left out, without anything being wrong."""
    before_still: Path | None = None
    """JPEG of an LQ frame, as it went into the model; `after_still` is the same frame, enhanced."""
    after_still: Path | None = None
    stills: tuple[Still, ...] = ()
    """Of up to three moments, the middle first, which the two above are of; none of what an older version made."""

    def __str__(self) -> str:
        if self.status in ("done", "unchanged"):
            width, height = self.output_size or (0, 0)
            frames = counted(self.frame_count, "frame")
            done = f"{self.output}: {frames} of {width}x{height}, {self.computed_frames} computed now"
            if self.status == "done":
                done += f", {size_text(self.output_bytes)}, {clock_text(self.elapsed_seconds)} elapsed"
            return one_line(done)
        return one_line(f"{self.output}: {self.status}, {self.reason}")

    @property
    def how_to_compare(self) -> str:
        """The command that makes a video of before and after."""
        wipe = self.output.with_name(f"{self.output.stem}_wipe.mp4")
        paths = " ".join(shlex.quote(str(path)) for path in (self.input, self.output))
        return one_line(f"vsr demo {paths} --output {shlex.quote(str(wipe))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutcome:
    """What one of several workers did. `fps` is that of its busy time, `utilisation` that time's share."""

    node: str
    """Name of its machine."""
    device: str
    segments: int
    frames: int
    busy_seconds: float
    wall_seconds: float
    """From its first start until now, or until it was gone."""
    fps: float
    utilisation: float
    deaths: int = 0
    """How often its process died and was replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What became of a run of one or many clips."""

    program: str
    title: str
    started_at: str
    elapsed_seconds: float
    exit_code: int
    clips: tuple[ClipOutcome, ...]
    config_toml: str = ""
    machine: str = ""
    log_file: Path | None = None
    workers: tuple[WorkerOutcome, ...] = ()
    """Of a run with several; none where one process did it all."""
