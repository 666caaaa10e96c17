"""`vsr queue`: what a batch has to do, and in which order; also while it is at work."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    ENCODING,
    PART,
    RATE,
    READING,
    REPEATS,
    UPSCALE,
    Given,
    Json,
    help_without_command,
    options_from,
    print_json,
    takes_settings,
)
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.runtime.progress import clock_text, one_line

if TYPE_CHECKING:
    from vsr_pipeline.jobs.batch.live import BatchProgress
    from vsr_pipeline.jobs.batch.queue import Queue
    from vsr_pipeline.jobs.batch.rows import QueueRow
    from vsr_pipeline.jobs.report.outcome import WorkerOutcome

app = typer.Typer(
    help="Add, order, cancel and retry clips of a batch, also while it is at work.", rich_markup_mode=None
)
app.callback(invoke_without_command=True)(help_without_command)

_OF_CLIPS = {name: option for name, option in UPSCALE.items() if name not in ("device", "memory_limit")}

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the batch's outputs.")]
Clips = Annotated[list[str], typer.Argument(metavar="CLIP", help="As `vsr queue list` names them, or files.")]


@app.command("list", epilog="Example: vsr queue list --output /media/enhanced")
def list_clips(output: Output, as_json: Json = False) -> None:
    """Show all clips in their order, and how far the batch is."""
    from vsr_pipeline.jobs.batch.live import progress_of, workers_of
    from vsr_pipeline.jobs.batch.queue import open_queue

    with open_queue(output, only_read=True) as queue:
        rows = queue.list()
    print_queue(rows, workers_of(output), progress_of(output), as_json)


@app.command(
    "add", cls=GroupedCommand, epilog="Example: vsr queue add holiday.mp4 --output /media/enhanced --height 1080"
)
@takes_settings(_OF_CLIPS, READING, REPEATS, PART, ENCODING, RATE)
def add(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP", help="Videos in the batch's folder.")],
    output: Output,
    given: Given,
    folder: Annotated[
        Path | None, typer.Option(help="The batch's folder of videos. [default: as the last batch]")
    ] = None,
    as_json: Json = False,
) -> int:
    """Add clips, with settings of their own.

    All other settings are the batch's. Added clips come before what the batch finds in its folder by itself.
    """
    from vsr_pipeline.jobs.batch.queue import open_queue

    chosen = _chosen(given)
    with open_queue(output) as queue:
        if folder is not None:
            if not folder.is_dir():
                raise InputError(f"no such folder: {folder}; give the folder that the videos are in")
            queue.set_folder(folder)
        place = queue.folder
        if place is None:
            raise UsageError(f"no batch has been run in {output}: say where its videos are with --folder DIR")
        names = [_file_in(place, clip) for clip in clips]
        _print_rows(queue.add(names, chosen or None), as_json)
    return 0


@app.command(
    "retry", cls=GroupedCommand, epilog="Example: vsr queue retry holiday.mp4 --output /media/enhanced --denoise 0.5"
)
@takes_settings(_OF_CLIPS, READING, REPEATS, PART, ENCODING, RATE)
def retry(clips: Clips, output: Output, given: Given, as_json: Json = False) -> int:
    """Make clips that failed or were cancelled.

    Also ones that are done, with other settings. Settings given here take the place of all that the clips had for
    themselves.
    """
    from vsr_pipeline.jobs.batch.queue import open_queue

    chosen = _chosen(given)
    with open_queue(output) as queue:
        _print_rows([queue.retry(name, chosen or None) for name in _names_in(queue, clips)], as_json)
    return 0


@app.command("move", epilog="Example: vsr queue move holiday.mp4 --first --output /media/enhanced")
def move(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="As `vsr queue list` names it, or its file.")],
    output: Output,
    before: Annotated[str | None, typer.Option(metavar="CLIP", help="Put it before this one.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Put it before all others that wait.")] = False,
    last: Annotated[bool, typer.Option("--last", help="Put it after all others that wait.")] = False,
) -> None:
    """Put a clip somewhere else in the order."""
    from vsr_pipeline.jobs.batch.queue import open_queue

    if (before is not None) + first + last != 1:
        raise UsageError("vsr queue move needs one of --first, --last and --before CLIP")
    with open_queue(output) as queue:
        name, *others = _names_in(queue, [clip] if before is None else [clip, before])
        queue.move(name, before=others[0] if others else None, first=first)


@app.command("cancel", epilog="Example: vsr queue cancel holiday.mp4 --now --output /media/enhanced")
def cancel(
    clips: Clips,
    output: Output,
    at_once: Annotated[
        bool, typer.Option("--now", help="Drop the segment in work; else it is finished first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let no batch work on clips until they are retried. Finished segments are kept."""
    from vsr_pipeline.jobs.batch.queue import open_queue

    with open_queue(output) as queue:
        _print_rows([queue.cancel(name, now=at_once) for name in _names_in(queue, clips)], as_json)


@app.command("remove", epilog="Example: vsr queue remove holiday.mp4 --output /media/enhanced")
def remove(clips: Clips, output: Output) -> None:
    """Forget clips; no file is deleted.

    A batch of the folder finds them again as new ones; `vsr queue cancel` keeps them out.
    """
    from vsr_pipeline.jobs.batch.queue import open_queue

    with open_queue(output) as queue:
        for name in _names_in(queue, clips):
            queue.remove(name)


@app.command("hours", epilog="Example: vsr queue hours 22:00-06:00 --output /media/enhanced")
def hours(
    between: Annotated[str, typer.Argument(metavar="HH:MM-HH:MM", help="Local times, or `always`.")], output: Output
) -> None:
    """Say when batches may work.

    It counts for those without --between, also the one that is at work.
    """
    from vsr_pipeline.jobs.batch.queue import open_queue

    wanted = None if between == "always" else hours_from("hours", between)
    with open_queue(output) as queue:
        queue.set_hours(wanted)


def hours_from(option: str, text: str) -> Any:  # noqa: ANN401 - `Hours`, which is not imported before it is needed
    """Read hours of the command line.

    Raises:
        UsageError: they are none.
    """
    from vsr_pipeline.jobs.batch.hours import Hours

    try:
        return Hours.parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from error


def print_queue(
    rows: "Sequence[QueueRow]", workers: "Sequence[WorkerOutcome]", progress: "BatchProgress | None", as_json: bool
) -> None:
    """Print what is known of each clip, and of the batch that is at work."""
    if as_json:
        clips = [dataclasses.asdict(row) for row in rows]
        now = dataclasses.asdict(progress) if progress is not None else None
        print_json({"clips": clips, "workers": [dataclasses.asdict(w) for w in workers], "progress": now})
        return
    _print_rows(rows, as_json=False)
    if workers:
        width = max(4, *(len(worker.node) for worker in workers))
        print(f"\n{'node':<{width}}  segments  frames    fps  busy  deaths  device")
    for worker in workers:
        numbers = f"{worker.segments:8d} {worker.frames:7d} {worker.fps:6.2f} {worker.utilisation:5.0%}"
        print(f"{worker.node:<{width}}  {numbers} {worker.deaths:7d}  {worker.device}")
    if progress is not None:
        print(f"\nat work: {progress.clips_done} of {progress.clips_total} clips, {progress.at}")
        for clip in progress.clips:
            left = f", {clock_text(clip.left_seconds)} left" if clip.left_seconds is not None else ""
            amount = f"{clip.done}/{clip.total or '?'} {clip.unit}"
            print(f"{one_line(clip.what)}: {amount}, {clip.per_second:.2f} per second{left}")


def _print_rows(rows: "Sequence[QueueRow]", as_json: bool) -> None:
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    names = [one_line(row.clip) for row in rows]
    width = max([4, *map(len, names)])
    print(f"{'clip':<{width}}  {'state':<9} tries  frames    fps  {'since':<25}  reason")
    for name, row in zip(names, rows, strict=True):
        numbers = f"{row.tries:5d} {row.frame_count:7d} {row.fps:6.2f}"
        said = [f"asked to {row.request}"] if row.request else []
        said += [one_line(row.reason)] if row.reason else []
        said += [f"[{_settings_text(row.chosen)}]"] if row.chosen else []
        print(f"{name:<{width}}  {row.state:<9} {numbers}  {row.changed_at or '-':<25}  {' '.join(said)}".rstrip())


def _settings_text(chosen: Mapping[str, Any]) -> str:
    return one_line(", ".join(f"{name} {value}" for name, value in chosen.items()))


def _chosen(given: Given) -> dict[str, Any]:
    """Return the settings of a clip: those of the file, if any, and over them those of the command line."""
    from vsr_pipeline.config import load_config
    from vsr_pipeline.presets import SIZES, settings_of

    options = {name: value for name, value in options_from(given).items() if value is not None}
    of_file: dict[str, Any] = {}
    if given["config"] is not None:
        for section in load_config(given["config"]).model_dump(mode="json", exclude_unset=True).values():
            of_file |= {name: value for name, value in section.items() if value is not None}
    if given["preset"] is not None:
        of_preset = settings_of(given["preset"], options)
        if SIZES & of_preset.keys():
            of_file = {name: value for name, value in of_file.items() if name not in SIZES}
        of_file |= of_preset
    return of_file | {name: _as_json(value) for name, value in options.items()}


def _as_json(value: Any) -> Any:  # noqa: ANN401
    """Return what JSON can hold; files by absolute paths, because the batch may run elsewhere."""
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _file_in(folder: Path, text: str) -> str:
    """Return the name of a clip that is given as a file, or as a path in the batch's folder.

    Raises:
        InputError: there is no such file.
        UsageError: it does not lie in the folder.
    """
    for path in (_absolute(text), folder / text):
        if path.is_file() and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    if Path(text).is_file():
        raise UsageError(f"{text} is not in the batch's folder {folder}: copy it there, or link it")
    raise InputError(f"no such file: {text}; give a video in the batch's folder {folder}")


def _names_in(queue: "Queue", texts: Sequence[str]) -> list[str]:
    """Return the names of clips in the queue that are given so, or as files."""
    known, folder = queue.rows(), queue.folder
    names = []
    for text in texts:
        path = _absolute(text)
        is_file = text not in known and folder is not None and path.is_relative_to(folder)
        names.append(path.relative_to(folder).as_posix() if is_file and folder is not None else text)
    return names


def _absolute(text: str) -> Path:
    return Path(os.path.normpath(Path(text).absolute()))  # links stay as they are
