"""What a batch has to do: for each clip, what the queue knows of it against what is on the disk now."""

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vsr_pipeline.errors import VsrError
from vsr_pipeline.jobs.batch.discovery import find_videos, name_key, output_for, refuse_equal_outputs, same_output
from vsr_pipeline.jobs.batch.hours import Hours
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.jobs.batch.settings import NAME, BatchSettings, ClipSettings, changed_settings
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.runner import recorded_source_sha256
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.runtime.process import Call
from vsr_pipeline.runtime.progress import one_line

Todo = Literal[
    "new",
    "changed",
    "touched",
    "gone",
    "altered",
    "outdated",
    "continue",
    "retry",
    "unchanged",
    "given up",
    "cancelled",
    "misnamed",
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
    added_only: bool = False
    """Only clips that somebody has added to the queue; else also all that are found in the folder."""
    name_template: str = "{stem}_{size}"
    """Name of an output without its suffix; `{name}` is the source's name with its suffix."""
    until: datetime.time | None = None
    """Local time, the next after the start, at which the batch stops before it begins another segment."""
    between: Hours | None = None
    """When it may work; else it stops likewise. None: what the queue says."""
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
    """Of the source; of size 0 where it is not there."""
    row: QueueRow | None
    settings: ClipSettings
    refusal: VsrError | None = None
    """Why it cannot be made, which is known before the work."""

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return self.todo not in ("unchanged", "given up", "cancelled", "misnamed")

    def __str__(self) -> str:
        return one_line(f"{self.todo:<9} {self.clip} -> {self.output}")


class Planner:
    """Decides what to do with each clip. No clip is decoded, and one that is known and unchanged is not even opened.

    Args:
        folder: where the videos are.
        output: where the outputs go.
        settings: what they are made with.
        options: how the batch was called.
        call: in which process a clip is looked at, to choose the name of its output.
    """

    def __init__(self, folder: Path, output: Path, settings: BatchSettings, options: BatchOptions, call: Call) -> None:
        self._folder = folder
        self._output = output
        self._settings = settings
        self._options = options
        self._call = call

    def plan(self, rows: Mapping[str, QueueRow], note: Callable[[str], None] | None = None) -> tuple[BatchClip, ...]:
        """Decide what to do with each clip of the folder, and each that was added, in the order of their turns.

        Args:
            rows: the queue.
            note: told about links to folders that are not followed.

        Raises:
            InputError: the folder cannot be read.
            UsageError: the name template gives two sources of the folder the same output.
        """
        found = () if self._options.added_only else self._find(note)
        sources = {source.relative_to(self._folder).as_posix(): source for source in found}
        sources |= {name: self._folder / name for name, row in rows.items() if row.is_added and name not in sources}
        clips = [clip for name, source in sources.items() if (clip := self.clip(name, source, rows.get(name)))]
        refuse_equal_outputs({clip.source: clip.output for clip in clips if not _is_added(clip)})
        return tuple(sorted(self.without_clashes(clips), key=self.turn))

    def clip(self, name: str, source: Path, row: QueueRow | None) -> BatchClip | None:
        """Decide what to do with one clip; None: it is not there, and nobody asked for it, or it was done before.

        Args:
            name: its path under the folder.
            source: its file.
            row: what the queue knows.
        """
        identity = seen(source)
        if identity is None:
            if row is None or not row.is_added or row.state == "done":
                return None
            identity = FileIdentity(0, 0)  # its turn will say what is wrong
        readable = name.encode("utf-8", "replace").decode()
        settings, refusal = self._settings.common, None
        try:
            settings = self._settings.of(row.chosen if row is not None else {})
        except VsrError as error:
            refusal = error
        todo = "misnamed" if readable != name else self._todo(row, identity, settings)
        target = self._output / self._name_for(source, Path(readable), row, todo, settings)
        return BatchClip(
            clip=readable,
            source=source,
            output=target,
            todo=todo,
            identity=identity,
            row=row,
            settings=settings,
            refusal=refusal,
        )

    def without_clashes(self, clips: Iterable[BatchClip]) -> list[BatchClip]:
        """Return clips of which those are refused that would get the output of another one."""
        clips = tuple(clips)
        # The output is that of the clip that was found, or begun; of others, the first one's.
        by_right = sorted(clips, key=lambda clip: (_is_added(clip), clip.row is None or clip.row.source is None))
        owners: dict[str, Path] = {}
        for clip in by_right:
            owners.setdefault(name_key(clip.output), clip.source)
        refused = {clip.source: owner for clip in clips if (owner := owners[name_key(clip.output)]) != clip.source}
        return [
            replace(clip, refusal=clip.refusal or same_output([refused[clip.source], clip.source], clip.output))
            if clip.source in refused
            else clip
            for clip in clips
        ]

    def compared(self, clip: BatchClip) -> BatchClip:
        """Read source and output of a clip that is done and was touched since, and decide what there is to do.

        The row of the result has the new times of what is the same, so that it need not be read again.

        Args:
            clip: with the row of the queue; its `todo` is "touched".

        Raises:
            InputError: the source cannot be read, or is being written.
            OSError: the output cannot be read.
        """
        row = clip.row
        assert row is not None
        made = self._output / row.output
        if row.source != clip.identity and JobSource.of(clip.source).identity.sha256 == recorded_source_sha256(made):
            row = replace(row, source=clip.identity)
        published = seen(made)
        if published is not None and published != row.published and _may_be_touched(row, published):
            assert row.outcome is not None
            is_same = replace(published, sha256=row.outcome.output_sha256).is_same_content(made)
            row = replace(row, published=published) if is_same else row
        todo = self._todo(row, clip.identity, clip.settings)
        if todo == "touched":  # its content is another one
            todo = "changed" if row.source != clip.identity else "altered"
        target = self._output / self._name_for(clip.source, Path(clip.clip), row, todo, clip.settings)
        return replace(clip, row=row, todo=todo, output=target)

    def turn(self, clip: BatchClip) -> tuple[int, int]:
        """Return by what clips are sorted into the order of their turns.

        Clips that somebody has given a place come first. Of the others, what was stopped goes on first, so that at most
        one clip lies half done; what has failed before, and then what has to be compared, comes last, so that it takes
        no time from the others; `BatchOptions.order` is for the rest.
        """
        if clip.row is not None and clip.row.place is not None and clip.has_work:
            return -1, clip.row.place
        group = {"continue": 0, "retry": 2, "touched": 3}.get(clip.todo, 1)
        by = {
            "name": 0,  # they are found in this order
            "size": clip.identity.size_bytes,
            "newest": -clip.identity.modified_ns,
            "oldest": clip.identity.modified_ns,
        }
        return group, by[self._options.order]

    def _find(self, note: Callable[[str], None] | None) -> tuple[Path, ...]:
        skipped: list[Path] = []
        found = find_videos(
            self._folder,
            output=self._output,
            recursive=self._options.recursive,
            include=self._options.include,
            exclude=self._options.exclude,
            follow_links=self._options.follow_links,
            on_skipped_link=skipped.append,
        )
        if skipped and note is not None:
            names = ", ".join(path.relative_to(self._folder).as_posix() for path in skipped)
            note(f"links to folders that are not looked into: {names}; --follow-links does")
        return found

    def _name_for(self, source: Path, name: Path, row: QueueRow | None, todo: Todo, settings: ClipSettings) -> Path:
        """Return a clip's output, relative to the output folder: the one that it has, or the one that it would get."""
        if row is not None and row.output:
            is_kept = todo in ("gone", "altered", "continue") and row.settings.get(NAME) == settings.name_template
            if is_kept or todo in ("unchanged", "given up", "cancelled", "touched"):
                return Path(row.output)
        return name.parent / output_for(source, settings.name_template, settings.config, self._call)

    def _todo(self, row: QueueRow | None, identity: FileIdentity, settings: ClipSettings) -> Todo:
        if row is None:
            return "new"
        if row.state == "cancelled":
            return "cancelled"
        if row.source is None:
            return "new"
        if row.source != identity:
            is_touched = row.state == "done" and row.source.size_bytes == identity.size_bytes
            return "touched" if is_touched else "changed"
        has_other_settings = bool(changed_settings(row, settings.recorded))
        if row.state == "done":
            published = seen(self._output / row.output)
            if published != row.published:
                return "touched" if _may_be_touched(row, published) else "altered" if published else "gone"
            return "outdated" if self._options.redo_outdated and has_other_settings else "unchanged"
        if row.suspected and row.state in ("stopped", "queued"):
            return "retry"
        if row.state in ("failed", "given up"):
            is_alone = row.tries >= self._options.retries and not self._options.retry_failed and not has_other_settings
            return "given up" if is_alone else "retry"
        return "outdated" if row.state == "queued" and row.published is not None and has_other_settings else "continue"


def seen(path: Path) -> FileIdentity | None:
    """Look at a file; None where there is none that can be looked at."""
    try:
        return FileIdentity.of(path)
    except OSError:
        return None


def _is_added(clip: BatchClip) -> bool:
    """Whether somebody has asked for it, or for something about it: then the others need not wait until it is right."""
    return clip.row is not None and (clip.row.is_added or bool(clip.row.chosen))


def _may_be_touched(row: QueueRow, published: FileIdentity | None) -> bool:
    """Whether an output that has another time may still be what was published, and its content can tell."""
    if published is None or row.published is None or row.outcome is None or not row.outcome.output_sha256:
        return False
    return published.size_bytes == row.published.size_bytes
