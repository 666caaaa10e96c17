"""The clips of a batch: which videos of a folder, and what their outputs are called."""

import os
import string
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from vsr_pipeline.clip.footage import look_at
from vsr_pipeline.clip.inspect import default_suffix
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.runtime.process import Call, here
from vsr_pipeline.stages.workspace import VIDEO_SUFFIXES

_FIELDS = ("stem", "name", "size")


def check_folders(folder: Path, output: Path) -> None:
    """Refuse folders that cannot be meant.

    Raises:
        InputError: there is no such input folder.
        UsageError: `output` is `folder`: what is made would be input the next time.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; give the folder that the videos are in")
    if output.resolve() == folder.resolve():
        raise UsageError(f"--output {output} is the input folder: choose another one, such as {output / 'enhanced'}")


def find_videos(
    folder: Path,
    *,
    output: Path,
    recursive: bool,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    follow_links: bool = False,
    on_skipped_link: Callable[[Path], None] | None = None,
) -> tuple[Path, ...]:
    """Return the videos of a folder, by their suffix, in the order of their names; no file is opened.

    Hidden files and folders are left out, and so is everything in `output`. Links to files are followed, links to
    folders where that is asked for; each folder is looked into once, under its own name where it has one in `folder`. A
    folder that cannot be read is no error where all that is in it is excluded.

    Args:
        folder: where to look.
        output: the batch's output folder, which may lie in `folder`.
        recursive: look into its folders, too.
        include: globs on the path relative to `folder`, with `/`, of which one must match; `*` matches `/`, too.
        exclude: globs of which none may match.
        follow_links: with `recursive`, look into folders that links lead to, too.
        on_skipped_link: told about each link to a folder that is not followed.

    Raises:
        InputError: a folder cannot be read.
    """

    def is_wanted(path: Path) -> bool:
        name = path.relative_to(folder).as_posix()
        return (not include or any(fnmatchcase(name, glob) for glob in include)) and not any(
            fnmatchcase(name, glob) for glob in exclude
        )

    def is_excluded(inside: Path) -> bool:
        return any(fnmatchcase(f"{inside.relative_to(folder).as_posix()}/", glob) for glob in exclude)

    def refuse(error: OSError) -> None:
        if not is_excluded(Path(error.filename)):
            inside = f"{Path(error.filename).relative_to(folder).as_posix()}/"
            raise InputError(
                f"cannot read the folder {error.filename}: {error.strerror}; make it readable, or --exclude '{inside}*'"
            ) from error

    suffixes = VIDEO_SUFFIXES.split()
    found: list[Path] = []
    left = [folder]  # and then links, one after the other
    seen = {os.path.realpath(output)}
    for place in left:
        if place == folder or os.path.realpath(place) not in seen:
            files, links = _look_into(place, seen, recursive, refuse)
            found += (path for path in files if path.suffix.lower() in suffixes and is_wanted(path))
            if follow_links:
                left += sorted(links)
            elif on_skipped_link is not None:
                for link in sorted(links):
                    if os.path.realpath(link) not in seen and not is_excluded(link):
                        on_skipped_link(link)
    return tuple(sorted(path for path in found if path.is_file()))


def _look_into(
    folder: Path, seen: set[str], recursive: bool, on_error: Callable[[OSError], None]
) -> tuple[list[Path], list[Path]]:
    """Return the files in a folder and those below, but for the ones that were `seen`, and the links to folders."""
    files: list[Path] = []
    links: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=on_error):
        here = Path(root)
        seen.add(os.path.realpath(root))
        files += (here / name for name in names if not name.startswith("."))
        inside = [here / name for name in folders if recursive and not name.startswith(".")]
        links += (path for path in inside if path.is_symlink() and os.path.realpath(path) not in seen)
        folders[:] = [p.name for p in inside if not p.is_symlink() and os.path.realpath(p) not in seen]
    return files, links


def check_template(template: str) -> None:
    """Refuse a name template that cannot be meant.

    Raises:
        UsageError: it has an unknown field, or makes something else than a file's name.
    """
    allowed = f"fields are {', '.join(f'{{{field}}}' for field in _FIELDS)}, such as in '{{stem}}_{{size}}'"
    try:
        fields = [field[1:] for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise UsageError(f"--name '{template}' cannot be read ({error}): {allowed}") from error
    for name, *details in fields:
        if name not in _FIELDS or any(details):
            raise UsageError(f"--name '{template}' has the unknown field {{{name}}}: {allowed}")
    example = template.format(stem="holiday", name="holiday.mov", size="x4")
    if not example or Path(example).name != example or example.startswith("."):
        raise UsageError(f"--name '{template}' is no name of a file that shows: {allowed}")


def output_for(source: Path, template: str, config: Config, call: Call = here) -> Path:
    """Return the name of the output of a source; opens it to choose the container.

    Of a file that cannot be read, the name is a guess: it is found unreadable again when its turn comes.
    """
    try:
        suffix = default_suffix(call(source, partial(look_at, source, config.input)), config)
    except Exception:  # noqa: BLE001 - whatever it is, it must not end the batch before other clips were done
        suffix = ".mkv"
    return Path(template.format(stem=source.stem, name=source.name) + suffix)


def refuse_equal_outputs(outputs: Mapping[Path, Path]) -> None:
    """Refuse sources that would get the same output, or one that only some file systems tell from it.

    Args:
        outputs: source to output.

    Raises:
        UsageError: naming them.
    """
    same = defaultdict(list)
    for source, output in outputs.items():
        same[name_key(output)].append(source)
    for sources in same.values():
        if len(sources) > 1:
            raise same_output(sources, outputs[sources[0]])


def name_key(output: Path) -> str:
    """Return what is equal for names that some file system does not tell apart."""
    return unicodedata.normalize("NFC", str(output)).casefold()


def same_output(sources: Sequence[Path], output: Path) -> UsageError:
    """Say that sources would get the same output."""
    names = ", ".join(str(source) for source in sources)
    return UsageError(
        f"{names} would all become {output}: rename them, --exclude some, "
        "or keep their suffixes with --name '{name}_{size}'"
    )
