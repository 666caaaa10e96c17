"""The clips of a batch: which videos of a folder, and what their outputs are called."""

import os
import string
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.isolation import Call, here
from vsr_pipeline.jobs.intake import default_suffix
from vsr_pipeline.media.source import look_at
from vsr_pipeline.workspace import VIDEO_SUFFIXES

_FIELDS = ("stem", "name")


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
    folder: Path, *, output: Path, recursive: bool, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> tuple[Path, ...]:
    """Return the videos of a folder, by their suffix, in the order of their names; no file is opened.

    Hidden files and folders are left out, and so is everything in `output`. Links to files are followed, links to
    folders are not. A folder that cannot be read is no error where all that is in it is excluded.

    Args:
        folder: where to look.
        output: the batch's output folder, which may lie in `folder`.
        recursive: look into its folders, too.
        include: globs on the path relative to `folder`, with `/`, of which one must match; `*` matches `/`, too.
        exclude: globs of which none may match.

    Raises:
        InputError: a folder cannot be read.
    """

    def is_wanted(path: Path) -> bool:
        name = path.relative_to(folder).as_posix()
        return (not include or any(fnmatchcase(name, glob) for glob in include)) and not any(
            fnmatchcase(name, glob) for glob in exclude
        )

    def refuse(error: OSError) -> None:
        inside = f"{Path(error.filename).relative_to(folder).as_posix()}/"
        if not any(fnmatchcase(inside, glob) for glob in exclude):
            raise InputError(
                f"cannot read the folder {error.filename}: {error.strerror}; make it readable, or --exclude '{inside}*'"
            ) from error

    suffixes = VIDEO_SUFFIXES.split()
    files = (path for path in _files_in(folder, output.resolve(), recursive, refuse) if path.suffix.lower() in suffixes)
    return tuple(sorted(path for path in files if is_wanted(path) and path.is_file()))


def _files_in(folder: Path, output: Path, recursive: bool, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, onerror=on_error):
        here = Path(root)
        yield from (here / name for name in names if not name.startswith("."))
        folders[:] = (
            [name for name in folders if not name.startswith(".") and (here / name).resolve() != output]
            if recursive
            else []
        )


def check_template(template: str) -> None:
    """Refuse a name template that cannot be meant.

    Raises:
        UsageError: it has an unknown field, or makes something else than a file's name.
    """
    allowed = f"fields are {' and '.join(f'{{{field}}}' for field in _FIELDS)}, such as in '{{stem}}_x4'"
    try:
        fields = [field[1:] for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise UsageError(f"--name '{template}' cannot be read ({error}): {allowed}") from error
    for name, *details in fields:
        if name not in _FIELDS or any(details):
            raise UsageError(f"--name '{template}' has the unknown field {{{name}}}: {allowed}")
    example = template.format(stem="holiday", name="holiday.mov")
    if not example or Path(example).name != example or example.startswith("."):
        raise UsageError(f"--name '{template}' is no name of a file that shows: {allowed}")


def output_for(source: Path, template: str, config: Config, call: Call = here) -> Path:
    """Return the name of the output of a source; opens it to choose the container.

    Of a file that cannot be read, the name is a guess: it is found unreadable again when its turn comes.
    """
    try:
        suffix = default_suffix(call(source, partial(look_at, source, config.input)), config, call)
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
        same[unicodedata.normalize("NFC", str(output)).casefold()].append(source)
    for sources in same.values():
        if len(sources) > 1:
            names = ", ".join(str(source) for source in sources)
            raise UsageError(
                f"{names} would all become {outputs[sources[0]]}: rename them, --exclude some, "
                "or keep their suffixes with --name '{name}_x4'"
            )
