"""Where the stages find and leave things when no path is given, and `clip.json`, which goes with a clip's frames."""

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.errors import InputError
from vsr_pipeline.runtime.files import FileIdentity, write_text
from vsr_pipeline.timeline import Analysis, Timeline, VideoInfo

DATA = Path("data")
RESULTS = Path("results")
FRAMES = "frames"
ENHANCED = "enhanced"
CLIP_FILE = "clip.json"

_CLIP_VERSION = 2

VIDEO_SUFFIXES = """
    .3gp .asf .avi .dv .f4v .flv .ivf .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm .ogv .pva .rm .rmvb
    .ts .vob .webm .wmv .wtv
"""


@dataclass(frozen=True, slots=True)
class Clip:
    """What is known of the video that frames come from, and the later stages need.

    Its file, which part of it the frames are, and when each of them is shown.
    """

    path: Path
    """Resolved: the later stages may run in another folder."""
    source: FileIdentity
    """The file as it was when it was read."""
    footage: Footage
    decode_errors: int = 0
    missing_seconds: Fraction = Fraction(0)
    notes: tuple[str, ...] = ()
    version: int = _CLIP_VERSION

    @classmethod
    def of(cls, source: FileIdentity, footage: Footage, analysis: Analysis) -> "Clip":
        """Put together what split and enhance find out; `source` is the file as it was before that."""
        path = footage.header.path.resolve()
        # Who needs the file's other streams reads them there.
        footage = replace(footage, header=replace(footage.header, path=path, contents=None))
        return cls(path, source, footage, analysis.decode_errors, analysis.missing_seconds, analysis.notes)

    def is_of(self, path: Path) -> bool:
        """Whether `path` is its file, as it was."""
        return path.resolve() == self.path and self.source.is_untouched(path)

    @property
    def timeline(self) -> Timeline:
        """The time of every frame."""
        return self.footage.timeline

    @property
    def info(self) -> VideoInfo:
        """The video's header."""
        return self.footage.header.info

    def save(self, folder: Path) -> None:
        """Write `clip.json`.

        Raises:
            OutputError, ResourceError: it cannot be written.
        """
        from pydantic import TypeAdapter

        # Through `json`, because file names need not be Unicode, and pydantic's own writer takes nothing else.
        write_text(folder / CLIP_FILE, json.dumps(TypeAdapter(Clip).dump_python(self, mode="json"), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Clip | None":
        """Read the `clip.json` of a folder; None where there is none.

        Raises:
            InputError: it is there and is damaged or of another version.
        """
        from pydantic import TypeAdapter

        path = folder / CLIP_FILE
        try:
            values = json.loads(path.read_bytes())
            if "path" not in values:
                values["path"] = values["source"]["path"]  # where it was written before
            clip: Clip = TypeAdapter(Clip).validate_python(values)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} cannot be used ({str(error).splitlines()[0]}): run `vsr split` again") from error
        if clip.version != _CLIP_VERSION:
            raise InputError(
                f"{path} has version {clip.version}, this program writes {_CLIP_VERSION}: run `vsr split` again"
            )
        return clip


def clip_folder_of(frames: Path) -> Path:
    """Return the folder that a frames folder belongs to: the parent of `frames/` and `enhanced/`, else its own."""
    return frames.parent if frames.name in (FRAMES, ENHANCED) else frames


def clip_name_of(path: Path) -> str:
    """Return what a person calls the clip: `holiday` for `results/holiday/frames`."""
    return clip_folder_of(path).name


def videos_in(folder: Path) -> tuple[Path, ...]:
    """Return the videos directly inside a folder, by their suffix, in order of their names.

    Raises:
        InputError: the folder is missing or has no videos.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; give the video's path, or put videos into ./{DATA}")
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES.split() and p.is_file())
    if not videos:
        raise InputError(f"no videos in {folder}: put some there, or give the video's path")
    return tuple(videos)


def frame_folders_in(results: Path, name: str) -> tuple[Path, ...]:
    """Return every `results/*/<name>` folder, in order.

    Raises:
        InputError: there is none.
    """
    folders = tuple(sorted(p for p in results.glob(f"*/{name}") if p.is_dir())) if results.is_dir() else ()
    if not folders:
        before = "split" if name == FRAMES else "enhance"
        raise InputError(f"no {results}/*/{name} folders: run `vsr {before}` first, or give a path")
    return folders
