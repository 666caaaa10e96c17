"""Inside a segment: what is finished of it, so that a run that is killed goes on from there.

Each part of a segment is a file of its own, a closed group of pictures. When it is verified and on disk, and with it
the state by which the model goes on, a small JSON file says so. They lie beside the segments, where every worker sees
them, and only the driver deletes the folder, once the ledger has the segment.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vsr_pipeline.enhance.spec import State
from vsr_pipeline.enhance.state import load_state, save_state
from vsr_pipeline.runtime.files import file_sha256, make_folder, published, write_text
from vsr_pipeline.timeline import Decision, Segment, Shot

_FOLDER = "parts-"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A part of a segment that is verified and on disk: frames `[start, stop)`."""

    start: int
    stop: int
    file_name: str
    size_bytes: int
    sha256: str
    state_name: str
    """File of the state by which frame `stop` is made; empty: it needs none."""
    state_sha256: str
    way: str
    """What made it; parts that were made in different ways are not put together."""
    decision: Decision
    seconds: float
    """How long its frames took."""


class CheckpointFolder:
    """The parts of one segment.

    Args:
        segments: the folder of all segments.
        segment: which one.
    """

    def __init__(self, segments: Path, segment: Segment) -> None:
        self.path = segments / f"{_FOLDER}{_name(range(segment.start, segment.stop))}"
        self._segment = segment

    def part_path(self, frames: range, suffix: str) -> Path:
        """Return the file of a part."""
        return self.path / f"{_name(frames)}{suffix}"

    def save(self, frames: range, file: Path, state: State, *, way: str, decision: Decision, seconds: float) -> None:
        """Record a part whose file is verified and on disk, and then delete the state before it.

        Raises:
            OutputError, ResourceError: it cannot be written.
        """
        state_path = self.path / f"{_name(frames)}.{_STATE}"
        if state:
            with published(state_path) as temporary:
                save_state(state, temporary)
        checkpoint = Checkpoint(
            start=frames.start,
            stop=frames.stop,
            file_name=file.name,
            size_bytes=file.stat().st_size,
            sha256=file_sha256(file),
            state_name=state_path.name if state else "",
            state_sha256=file_sha256(state_path) if state else "",
            way=way,
            decision=decision,
            seconds=seconds,
        )
        write_text(self.path / f"{_name(frames)}.json", json.dumps(asdict(checkpoint)))
        for other in self.path.glob(f"*.{_STATE}"):
            if other != state_path:
                other.unlink(missing_ok=True)

    def recorded(self) -> tuple[Checkpoint, ...]:
        """Return what is recorded, from the segment's start on without a gap, in one way and by one decision."""
        found: list[Checkpoint] = []
        for path in sorted(self.path.glob("[0-9]*.json")):
            try:
                one = TypeAdapter(Checkpoint).validate_json(path.read_bytes())
            except (OSError, ValidationError):
                break
            first = found[0] if found else one
            is_next = one.start == (found[-1].stop if found else self._segment.start)
            if not is_next or (one.way, one.decision) != (first.way, first.decision):
                break
            found.append(one)
        return tuple(found)

    def verified(self) -> tuple[Checkpoint, ...]:
        """Return what is recorded and still as recorded, up to the last part by which the segment can go on."""
        whole: list[Checkpoint] = []
        for one in self.recorded():
            if not _is_file(self.path / one.file_name, one.sha256):
                break
            whole.append(one)
        while whole and whole[-1].state_name and not _is_file(self.path / whole[-1].state_name, whole[-1].state_sha256):
            whole.pop()
        return tuple(whole)

    def state_after(self, checkpoints: Sequence[Checkpoint]) -> State:
        """Read the state by which the frame after verified parts is made."""
        name = checkpoints[-1].state_name if checkpoints else ""
        return load_state(self.path / name) if name else {}

    def keep_only(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Delete the records of all parts but these; what they name is written over."""
        kept = {f"{_name(range(one.start, one.stop))}.json" for one in checkpoints}
        for path in self.path.glob("[0-9]*.json"):
            if path.name not in kept:
                path.unlink()
        make_folder(self.path)

    def delete(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.path, ignore_errors=True)


def frames_in_parts(segments: Path) -> int:
    """Return how many frames are recorded in parts of any segment; nothing is verified."""
    total = 0
    for folder in segments.glob(f"{_FOLDER}*"):
        start, stop = map(int, folder.name.removeprefix(_FOLDER).split("-"))
        total += kept_frames(
            CheckpointFolder(segments, Segment(start, stop, start, stop, Shot(start, stop))).recorded()
        )
    return total


def delete_other_parts(segments: Path, todo: Iterable[Segment]) -> None:
    """Delete the parts of segments that are finished: a run may have died before it did."""
    wanted = {CheckpointFolder(segments, segment).path for segment in todo}
    for folder in segments.glob(f"{_FOLDER}*"):
        if folder not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


def kept_frames(checkpoints: Sequence[Checkpoint]) -> int:
    """Return how many frames are in parts."""
    return sum(one.stop - one.start for one in checkpoints)


def _name(frames: range) -> str:
    return f"{frames.start:08d}-{frames.stop:08d}"


def _is_file(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256
