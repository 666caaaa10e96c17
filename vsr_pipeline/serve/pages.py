"""What each page shows, as frozen values; the templates of the same names lay them out and compute nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from vsr_pipeline.serve.uploads import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A clip of the queue."""

    id: str
    name: str
    state: str
    request: str
    reason: str
    settings: str
    """What was chosen for it, in a line."""
    done: int = 0
    total: int = 0
    """Of frames, in the piece of work that is under way; 0: nothing is."""
    fps: float = 0.0
    left: str = ""
    """How long the work takes from now on; empty: not known."""
    is_waiting: bool
    can_cancel: bool
    can_retry: bool
    has_result: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClip:
    """A clip of the folder that the queue does not know."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """The first page."""

    rows: tuple[RowView, ...]
    new: tuple[NewClip, ...]
    uploaded: tuple[Upload, ...]
    is_running: bool
    is_wanted: bool
    clips_done: int
    clips_total: int
    exit_code: int | None
    error: str
    hours: str
    waits_for_hours: bool
    """Whether the batch is started when the hours begin."""
    free: str
    has_report: bool
    sequence: int
    """Of the newest event that the page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A form for the settings of clips: what may be chosen, and what is."""

    models: tuple[str, ...]
    auto_model: str
    """What `auto` means here; empty: no model is here."""
    scales: tuple[str, ...]
    heights: tuple[int, ...]
    codecs: tuple[str, ...]
    presets: tuple[str, ...]
    has_faces: bool
    values: Mapping[str, str]
    """What is chosen, by the names of the fields; what is missing is empty."""
    proposed_size: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEstimate:
    """What a clip will need. All zero and no reason: it is being worked out."""

    name: str
    seconds: float = 0.0
    size_bytes: int = 0
    width: int = 0
    height: int = 0
    reason: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether it is being worked out."""
        return not self.seconds and not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPage:
    """The page for new clips."""

    uploads: tuple[Upload, ...]
    ticked: frozenset[str]
    settings: Settings
    estimates: tuple[ClipEstimate, ...]
    is_pending: bool
    seconds: float
    size_bytes: int
    free: str
    batch_is_running: bool
    previews: tuple[tuple[str, str], ...]
    """Of the uploads: id, and what it is of."""
    piece_bytes: int
    """How much of a file the browser sends at once."""
    suffixes: str

    @property
    def is_checking(self) -> bool:
        """Whether uploads are looked at now."""
        return any(upload.is_complete and not upload.is_checked for upload in self.uploads)

    @property
    def ready(self) -> tuple[Upload, ...]:
        """Uploads that can go into the queue."""
        return tuple(upload for upload in self.uploads if upload.facts is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPage:
    """A preview of some seconds of a clip."""

    id: str
    name: str
    upload: str
    """The id of the upload that it is of; empty: it is of a clip of the folder."""
    clip: str
    """The id of the clip that it is of; empty: it is of an upload."""
    has_source: bool
    """Whether the clip is there still, so that something can be done with it."""
    is_in_queue: bool
    settings: Settings
    words: str
    """What was chosen, in a line."""
    at: str
    is_pending: bool
    done: int
    total: int
    """Of frames; 0: it is not begun."""
    reason: str
    begins_at: str = ""
    frame_count: int = 0
    before_size: tuple[int, int] = (0, 0)
    after_size: tuple[int, int] = (0, 0)
    clip_size: tuple[int, int] = (0, 0)
    """Of the whole frame."""
    shape: float = 1.0
    seconds: float = 0.0
    """What it took."""
    is_on_cpu: bool = False
    """Whether it was computed there because a batch used the device."""
    batch_is_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """A comparison that was asked for."""

    id: str
    name: str
    """Of the clip."""
    what: str
    """What is compared, in a line."""
    is_pending: bool
    now: str
    """What is done now; empty: it waits."""
    done: int
    total: int
    reason: str
    has_page: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """The page on which versions of a clip are compared."""

    clips: tuple[NewClip, ...]
    clip: NewClip | None
    """The one that is chosen."""
    models: tuple[str, ...]
    usual: frozenset[str]
    """Models that are ticked at first."""
    results: tuple[NewClip, ...]
    """Videos on the disk that may be made of it."""
    comparisons: tuple[ComparisonView, ...]
    is_pending: bool
    batch_is_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPage:
    """The page of one clip."""

    row: RowView
    facts: tuple[tuple[str, str], ...]
    """The key of a label, and a text."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    events: tuple[tuple[str, str], ...]
    """When, and what."""
    has_stills: bool
    has_source: bool
    has_result: bool
    shape: float
    """Width / height of the result."""
    width: int
    settings: Settings
    previews: tuple[tuple[str, str], ...]
    """Id, and what it is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """A model of the manifest."""

    name: str
    enlarges: str
    """Such as `x4`; empty: any size."""
    licence: str
    about: str
    is_here: bool
    size: str
    can_pull: bool
    how: str
    pulling: str = ""
    """How far its download is; empty: there is none."""
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePage:
    """The page about this machine."""

    findings: tuple[tuple[str, str, str, str], ...]
    """Subject, status, what was found, and the remedy."""
    is_checking: bool
    models: tuple[ModelView, ...]
    is_pulling: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePage:
    """The page that enlarges pictures."""

    models: tuple[str, ...]
    model: str
    scale: str
    picture_id: str
    """Of the result; empty: there is none."""
    width: int
    height: int
    name: str
    max_size: str
    max_megapixels: int
    batch_is_running: bool
