"""The page of one clip: before and after, what is known of it, and the way to make it again."""

from collections.abc import Iterator, Mapping

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.runtime.progress import clock_text, one_line, size_text
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.pages import ClipPage
from vsr_pipeline.serve.preview_page import previews_of
from vsr_pipeline.serve.queue_page import row_view
from vsr_pipeline.serve.settings_form import (
    as_words,
    chosen_from,
    form_from,
    kept_settings,
    refuse_others,
    settings_form,
)
from vsr_pipeline.serve.site import Site, start_batch

_EVENTS_READ = 2000
_EVENTS_SHOWN = 30


def clip_page(site: Site, clip_id: str) -> ClipPage:
    """Return what the page shows now.

    Raises:
        NotThereError: there is no such clip in the queue.
    """
    row = site.store.row_of(clip_id)
    if row is None:
        raise NotThereError("there is no such clip")
    progress = site.batch.state().progress
    working = next((clip for clip in progress.clips if clip.clip == row.clip), None) if progress is not None else None
    outcome = row.outcome
    width, height = (outcome.output_size if outcome is not None else None) or (16, 9)
    shown = site.store.shown
    return ClipPage(
        row=row_view(site, row, working),
        facts=tuple(_facts(row, outcome)),
        warnings=tuple(shown(text) for text in (outcome.warnings if outcome is not None else ())),
        notes=tuple(shown(text) for text in (outcome.notes if outcome is not None else ())),
        events=_events(site, row.clip),
        has_stills=site.store.has(clip_id, "before") and site.store.has(clip_id, "after"),
        has_source=site.store.has(clip_id, "source"),
        has_result=site.store.has(clip_id, "result"),
        shape=width / height,
        width=width,
        settings=settings_form(form_from(row.chosen)),
        previews=previews_of(site, clip_id=clip_id),
    )


def make_again(site: Site, clip_id: str, form: Mapping[str, str]) -> None:
    """Queue a clip with other settings.

    Raises:
        NotThereError: there is no such clip in the queue.
        UsageError, ConfigError, ModelError: a setting cannot be meant, or the clip is worked on.
        OutputError, ResourceError: the batch cannot be started.
    """
    row = site.store.row_of(clip_id)
    if row is None:
        raise NotThereError("there is no such clip")
    if row.state == "working":
        raise UsageError(f"{row.clip} is worked on: cancel it first")
    chosen = chosen_from(form)
    refuse_others(chosen)
    chosen = kept_settings(row.chosen, chosen)
    site.store.ask(lambda queue: queue.retry(row.clip, chosen))
    if form.get("start_now"):
        start_batch(site)


def _facts(row: QueueRow, outcome: ClipOutcome | None) -> Iterator[tuple[str, str]]:
    if row.chosen:
        yield "clip.settings", as_words(row.chosen)
    if outcome is None:
        return
    if outcome.input_size and outcome.output_size:
        before, after = ("×".join(map(str, size)) for size in (outcome.input_size, outcome.output_size))
        yield "clip.size", f"{before} → {after}"
    if outcome.duration_seconds:
        yield "clip.length", clock_text(outcome.duration_seconds)
    yield "clip.frames", f"{outcome.frame_count:,}"
    yield "clip.time", clock_text(outcome.elapsed_seconds)
    if outcome.fps:
        yield "clip.speed", f"{outcome.fps:.2f} fps"
    yield "clip.file", size_text(outcome.output_bytes)
    if outcome.model:
        yield "clip.model", one_line(outcome.model)


def _events(site: Site, clip: str) -> tuple[tuple[str, str], ...]:
    def ask_for(sequence: int) -> tuple[tuple[str, str], ...]:
        events = site.store.ask(lambda queue: queue.events_after(sequence, limit=_EVENTS_READ))
        return tuple(
            (event.at, site.store.shown(one_line(f"{event.kind} {event.message}".strip())))
            for event in events
            if event.clip == clip and event.kind != "saved"
        )

    last = site.store.ask(lambda queue: queue.last_sequence)
    return ask_for(max(0, last - _EVENTS_READ))[-_EVENTS_SHOWN:]
