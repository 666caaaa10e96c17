"""`enhance.json`: what is known of images that were made, so that a second run makes only what is missing."""

import json
from collections.abc import Iterable
from pathlib import Path

from vsr_pipeline import __version__
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.recorded import as_recorded_here
from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.images import ImageTarget
from vsr_pipeline.runtime.files import WORK_FOLDER, make_folder, write_text
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import Segment

RECORD_FILE = "enhance.json"


def record_file_of(target: ImageTarget) -> Path:
    """Return where it is recorded what was made: with the images, unless their folder may hold others, too."""
    folder = target.folder if target.is_frames_folder else target.folder / WORK_FOLDER / target.name
    return folder / RECORD_FILE


def as_begun(settings: UpscaleConfig, record_file: Path) -> UpscaleConfig:
    """Return the settings with what was chosen for `auto` when the images were begun, with this program."""
    try:
        known = dict(json.loads(record_file.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return settings  # it is new; or damaged, as `Record` will say
    is_ours = known.get("program") == __version__
    return as_recorded_here(settings, known) if is_ours else settings


def model_of_frames(folder: Path) -> str | None:
    """Return the name of the model that made a folder of frames; None where that is not recorded."""
    try:
        return str(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Record:
    """`enhance.json`: the model's name, the settings, and for each finished segment the identity of its input."""

    def __init__(self, path: Path, model: str, settings: dict[str, str | int | float], reporter: Reporter) -> None:
        self._path = path
        self._model = model
        self._settings = settings
        self._segments: dict[str, str] = {}
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                self._segments = known["segments"] if known["settings"] == settings else {}
                changed = [k for k in settings if known["settings"].get(k) != settings[k]]
            except (OSError, ValueError, KeyError, AttributeError) as error:
                raise OutputError(f"{path} is damaged: delete it to make all frames again") from error
            if changed:
                old = ", ".join(f"{k} {known['settings'].get(k)} -> {settings[k]}" for k in changed)
                reporter.note(f"{path.parent}: settings have changed ({old}); all frames are made again")
        self._save()

    def has(self, segment: Segment, identity: str) -> bool:
        """Whether the segment was made from this input."""
        return self._segments.get(f"{segment.start}-{segment.stop}") == identity

    def forget_all_but(self, segments: Iterable[Segment]) -> None:
        """Forget segments that were planned otherwise: what is made now takes the place of their images."""
        known = self._segments
        self._segments = {key: known[key] for s in segments if (key := f"{s.start}-{s.stop}") in known}
        self._save()

    def add(self, segment: Segment, identity: str) -> None:
        """Record a finished segment."""
        self._segments[f"{segment.start}-{segment.stop}"] = identity
        self._save()

    def _save(self) -> None:
        make_folder(self._path.parent)
        known = {"model": self._model, "settings": self._settings, "segments": self._segments}
        write_text(self._path, json.dumps(known, indent=1) + "\n")
