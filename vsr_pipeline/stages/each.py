"""`vsr run --each`: which pictures of a folder are enhanced, and what becomes of their names."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.media.images import WRITTEN_SUFFIXES, ImageTarget, images_in, list_frames
from vsr_pipeline.runtime.files import read_failure
from vsr_pipeline.stages.record import record_file_of


def each_picture(
    folder: Path, output: Path, *, suffix: str = "", recursive: bool = False
) -> tuple[tuple[Path, ImageTarget], ...]:
    """Return the images of a folder, each with the target that has its name in another folder.

    An image of a kind that is not written becomes a PNG. What an earlier run has made in `folder` itself is left out.

    Args:
        folder: where the images are.
        output: the folder for what is made of them; it may lie in `folder`, and nothing in it is taken then.
        suffix: added to the names, before `.png` and the like; with an ending of its own, that is the format.
        recursive: take the images of folders in it, too; the folders are kept. Hidden ones and links are left out.

    Raises:
        InputError: the folder is missing, cannot be read or has no images.
        UsageError: two would get the same name, or a name would mean numbered images, or the suffix is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: --each is for a folder of images")
    if re.search(r"[/\\\0]", suffix):
        raise UsageError(f"--suffix {suffix!r} would name another folder: give a part of a name, such as _x4")
    pairs: dict[Path, Path] = {}
    for path in _images_below(folder, output) if recursive else _images_of(folder):
        target = output / path.parent.relative_to(folder) / _name(path, suffix)
        if target in pairs:
            raise UsageError(f"{pairs[target]} and {path} would both become {target}: rename one of them")
        if not ImageTarget(target.parent, target.name).is_single:
            raise UsageError(f"{path} would become {target}, whose % means numbered images: give it another name")
        if not _is_ours(path, target.parent):
            pairs[target] = path
    return tuple((path, ImageTarget(target.parent, target.name)) for target, path in pairs.items())


def _name(path: Path, suffix: str) -> str:
    if Path(f"name{suffix}").suffix.lower() in WRITTEN_SUFFIXES:
        return path.stem + suffix
    return path.stem + suffix + (path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".png")


def _is_ours(path: Path, output: Path) -> bool:
    """Whether a picture was made by a run like this one, into the folder that it read."""
    is_there = os.path.realpath(path.parent) == os.path.realpath(output)
    return is_there and record_file_of(ImageTarget(path.parent, path.name)).exists()


def _images_of(folder: Path) -> tuple[Path, ...]:
    try:
        return list_frames(folder)
    except OSError as error:
        raise read_failure(folder, error) from error


def _images_below(folder: Path, output: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise read_failure(Path(error.filename), error) from error

    left_out = os.path.realpath(output)
    is_empty = True
    for root, folders, _ in os.walk(folder, onerror=refuse):
        here = Path(root)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and os.path.realpath(here / n) != left_out)
        for path in images_in(here):
            is_empty = False
            yield path
    if is_empty:
        raise InputError(f"no images in {folder} or its folders")
