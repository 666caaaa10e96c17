"""What a batch has to do: for each clip, what the queue knows of it against what is on the disk now."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vsr_pipeline.checkpoints.manifest import weights_identity
from vsr_pipeline.clip.geometry import size_label
from vsr_pipeline.config import MEANS, Config, UpscaleConfig
from vsr_pipeline.enhance.open_model import sizing_of
from vsr_pipeline.jobs.batch.discovery import check_template, find_videos, output_for, refuse_equal_outputs
from vsr_pipeline.jobs.batch.queue import QueueRow
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.runner import recorded_source_sha256
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.runtime.process import Call, here
from vsr_pipeline.runtime.progress import one_line

NAME = "name"

Todo = Literal[
    "new", "changed", "touched", "gone", "altered", "outdated", "continue", "retry", "unchanged", "given up", "misnamed"
]
"""changed: the source was; gone, altered: the output is; touched: source or output have another time, as copies do, and
are compared by their content when the clip's turn comes; outdated: made with other settings, and to be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Which clips a batch takes, and how it treats them. Sizes and times are those of the source files."""

    recursive: bool = False
    follow_links: bool = False
    """With `recursive`, look into folders that links lead to."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    name_template: str = "{stem}_{size}"
    """Name of an output without its suffix; `{name}` is the source's name with its suffix."""
    until: datetime.time | None = None
    """Local time, the next after the start, at which the batch stops before it begins another segment."""
    retries: int = 2
    """Runs in which a clip may fail before it is left alone; of `workers`, as in `RunOptions`."""
    retry_failed: bool = False
    """Take up what was left alone, too."""
    redo_outdated: bool = False
    """Make again what was made with other settings."""
    max_clips: int | None = None
    order: Literal["name", "size", "newest", "oldest"] = "name"
    overwrite: bool = False
    """Replace outputs that this batch has not made, or that were altered since."""
    strict: bool = False
    """Refuse sources of which something cannot be decoded."""
    allow_cpu: bool = False
    on_finish: str | None = None
    """A command that is run when the batch has ended; see `call_on_finish`."""
    log_format: Literal["text", "json"] = "text"
    workers: WorkerOptions = field(default_factory=WorkerOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchClip:
    """A clip, its output, and what there is to do."""

    clip: str
    """As `QueueRow.clip`."""
    source: Path
    output: Path
    todo: Todo
    identity: FileIdentity
    row: QueueRow | None

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return self.todo not in ("unchanged", "given up", "misnamed")

    def __str__(self) -> str:
        return one_line(f"{self.todo:<9} {self.clip} -> {self.output}")


def plan_batch(
    folder: Path,
    output: Path,
    config: Config,
    *,
    rows: Mapping[str, QueueRow],
    options: BatchOptions,
    call: Call = here,
    note: Callable[[str], None] | None = None,
) -> tuple[BatchClip, ...]:
    """Decide what to do with each clip, in the order in which they take their turns.

    What was stopped goes on first, so that at most one clip lies half done; what has failed before, and then what has
    to be compared, comes last, so that it takes no time from the others; `options.order` is for the rest. No clip is
    decoded, and one that is known and unchanged is not even opened.

    Args:
        folder: where the videos are.
        output: where the outputs go.
        config: the settings now.
        rows: the queue.
        options: how the batch was called.
        call: in which process a clip is looked at, to choose the name of its output.
        note: told about links to folders that are not followed.

    Raises:
        InputError: the folder cannot be read.
        UsageError: the name template gives two sources the same output.
    """
    skipped: list[Path] = []
    found = find_videos(
        folder,
        output=output,
        recursive=options.recursive,
        include=options.include,
        exclude=options.exclude,
        follow_links=options.follow_links,
        on_skipped_link=skipped.append,
    )
    if skipped and note is not None:
        names = ", ".join(path.relative_to(folder).as_posix() for path in skipped)
        note(f"links to folders that are not looked into: {names}; --follow-links does")
    settings = settings_of(config, options.name_template)
    clips = []
    for source in found:
        identity = seen(source)
        if identity is not None:  # else it was deleted in this moment
            name = source.relative_to(folder).as_posix()
            row = rows.get(name)
            readable = name.encode("utf-8", "replace").decode()
            todo = "misnamed" if readable != name else _todo(row, identity, output, settings, options)
            target = output / _name_for(source, Path(readable), row, todo, config, options, call)
            clips.append(BatchClip(clip=readable, source=source, output=target, todo=todo, identity=identity, row=row))
    refuse_equal_outputs({clip.source: clip.output for clip in clips})
    return tuple(sorted(clips, key=lambda clip: _turn(clip, options.order)))


def compared(clip: BatchClip, output: Path, config: Config, options: BatchOptions, call: Call) -> BatchClip:
    """Read source and output of a clip that is done and was touched since, and decide what there is to do.

    The row of the result has the new times of what is the same, so that it need not be read again.

    Args:
        clip: with the row of the queue; its `todo` is "touched".
        output: where the outputs go.
        config: the settings now.
        options: how the batch was called.
        call: as in `plan_batch`.

    Raises:
        InputError: the source cannot be read, or is being written.
        OSError: the output cannot be read.
    """
    row = clip.row
    assert row is not None
    settings = settings_of(config, options.name_template)
    made = output / row.output
    if row.source != clip.identity and JobSource.of(clip.source).identity.sha256 == recorded_source_sha256(made):
        row = replace(row, source=clip.identity)
    published = seen(made)
    if published is not None and published != row.published and _may_be_touched(row, published):
        assert row.outcome is not None
        is_same = replace(published, sha256=row.outcome.output_sha256).is_same_content(made)
        row = replace(row, published=published) if is_same else row
    todo = _todo(row, clip.identity, output, settings, options)
    if todo == "touched":  # its content is another one
        todo = "changed" if row.source != clip.identity else "altered"
    target = output / _name_for(clip.source, Path(clip.clip), row, todo, config, options, call)
    return replace(clip, row=row, todo=todo, output=target)


def with_size(options: BatchOptions, settings: UpscaleConfig) -> BatchOptions:
    """Return options in whose name template `{size}` is what the settings say: `x4`, `1080p`.

    Raises:
        UsageError: the template is no name of a file.
        ModelError: the model is unknown, or its file is missing or damaged.
    """
    check_template(options.name_template)
    label = size_label(settings, sizing_of(settings)) if "{size}" in options.name_template else ""
    return replace(options, name_template=options.name_template.replace("{size}", label))


def seen(path: Path) -> FileIdentity | None:
    """Look at a file; None where there is none that can be looked at."""
    try:
        return FileIdentity.of(path)
    except OSError:
        return None


def settings_of(config: Config, name_template: str) -> dict[str, str]:
    """Return what the outputs depend on besides their sources, under dotted names; torch is not loaded.

    The device is left out, so that a batch may move to another GPU, and so is the program's version, so that an update
    does not make a whole archive look old.

    Raises:
        ModelError: the model is unknown, or its weights are missing or damaged.
    """
    fields = {NAME: name_template, "weights": weights_identity(config.upscale.model, config.upscale.checkpoint)}
    for section, values in config.model_dump(mode="json").items():
        fields |= {f"{section}.{name}": str(value) for name, value in values.items()}
    for of_no_effect in ("upscale.model", "upscale.checkpoint", "upscale.device", *MEANS):  # the weights are named
        del fields[of_no_effect]
    return fields


def changed_settings(row: QueueRow, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the settings that a clip was begun with and that are others now, each as `encode.quality: 72 -> 80`."""
    # A setting that an older version did not have cannot have changed.
    both = [name for name in settings if name in row.settings]
    return tuple(f"{n}: {row.settings[n]} -> {settings[n]}" for n in both if row.settings[n] != settings[n])


def _name_for(
    source: Path, name: Path, row: QueueRow | None, todo: Todo, config: Config, options: BatchOptions, call: Call
) -> Path:
    """Return a clip's output, relative to the output folder: the one that it has, or the one that it would get now."""
    if row is not None and (todo in ("unchanged", "given up", "touched") or _may_keep_name(todo, row, options)):
        return Path(row.output)
    return name.parent / output_for(source, options.name_template, config, call)


def _may_keep_name(todo: Todo, row: QueueRow, options: BatchOptions) -> bool:
    return todo in ("gone", "altered", "continue") and row.settings.get(NAME) == options.name_template


def _todo(
    row: QueueRow | None, identity: FileIdentity, output: Path, settings: Mapping[str, str], options: BatchOptions
) -> Todo:
    if row is None:
        return "new"
    if row.source != identity:
        return "touched" if row.state == "done" and row.source.size_bytes == identity.size_bytes else "changed"
    if row.state == "done":
        published = seen(output / row.output)
        if published != row.published:
            return "touched" if _may_be_touched(row, published) else "altered" if published else "gone"
        return "outdated" if options.redo_outdated and changed_settings(row, settings) else "unchanged"
    if row.suspected and row.state == "stopped":
        return "retry"
    if row.state in ("failed", "given up"):
        is_alone = row.tries >= options.retries and not options.retry_failed and not changed_settings(row, settings)
        return "given up" if is_alone else "retry"
    return "continue"


def _may_be_touched(row: QueueRow, published: FileIdentity | None) -> bool:
    """Whether an output that has another time may still be what was published, and its content can tell."""
    if published is None or row.published is None or row.outcome is None or not row.outcome.output_sha256:
        return False
    return published.size_bytes == row.published.size_bytes


def _turn(clip: BatchClip, order: Literal["name", "size", "newest", "oldest"]) -> tuple[int, int]:
    group = {"continue": 0, "retry": 2, "touched": 3}.get(clip.todo, 1)
    by = {
        "name": 0,  # they are found in this order
        "size": clip.identity.size_bytes,
        "newest": -clip.identity.modified_ns,
        "oldest": clip.identity.modified_ns,
    }
    return group, by[order]


def next_occurrence(moment: datetime.time, after: datetime.datetime) -> datetime.datetime:
    """Return when the clock shows a local time next, as a time with its zone; `after` has one, too."""
    day = after.astimezone().date()
    coming = datetime.datetime.combine(day, moment).astimezone()
    if coming <= after:
        coming = datetime.datetime.combine(day + datetime.timedelta(days=1), moment).astimezone()
    return coming
