"""The page on which models and results of a clip are compared, side by side or blind, as `vsr compare` does it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from vsr_pipeline.compare.candidates import usual_candidates
from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import one_line
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.pages import ComparePage, ComparisonView, NewClip
from vsr_pipeline.serve.settings_form import models_here, moment_from
from vsr_pipeline.serve.site import Site
from vsr_pipeline.serve.store import id_of, inside
from vsr_pipeline.serve.tasks import Task
from vsr_pipeline.stages.workspace import VIDEO_SUFFIXES

PAGE = "compare.html"
_MOST = 12


def compare_page(site: Site, form: Mapping[str, str]) -> ComparePage:
    """Return what the page shows now: with `clip`, what of it can be compared."""
    clips = tuple(NewClip(id=id_of(clip), name=one_line(clip)) for clip in site.store.clips())
    chosen = next((clip for clip in clips if clip.id == form.get("clip")), None)
    tasks = site.comparisons.all()
    with suppress(NotThereError):
        for task in tasks:
            site.comparisons.get(task.id)  # what an earlier server has left
    return ComparePage(
        clips=clips,
        clip=chosen,
        models=models_here(),
        usual=frozenset(candidate.model for candidate in usual_candidates()[:3]),
        results=tuple(
            NewClip(id=id_of(path), name=one_line(path.removeprefix("out/"))) for path in _results_of(site, chosen)
        ),
        comparisons=tuple(_view(site, task) for task in tasks),
        is_pending=any(task.is_pending for task in tasks),
        batch_is_running=site.batch.state().is_running,
    )


def begin_comparison(site: Site, form: Mapping[str, str], models: list[str], results: list[str]) -> None:
    """Begin to compare.

    Args:
        site: the server.
        form: `clip`, `reference` and `at`, the ids of clips and a time, and `blind`.
        models: names of the manifest.
        results: ids of videos on the disk.

    Raises:
        NotThereError: there is no such clip or result.
        UsageError: fewer than two are named, or too many, or the moment cannot be meant.
        FullError, OutputError, DiskFullError: as `Tasks.begin`.
    """
    clip = site.store.clip_of(form.get("clip", ""))
    known = {id_of(path): path for path in _results_of(site, NewClip(id=id_of(clip), name=clip))}
    if unknown := [one for one in models if one not in models_here()] + [one for one in results if one not in known]:
        raise NotThereError(f"there is no model or result {unknown[0]!r} to compare")
    if not 2 <= len(models) + len(results) <= _MOST:
        raise UsageError(f"{len(models) + len(results)} are ticked: tick 2 to {_MOST} models or results")
    at = moment_from(form)
    reference = form.get("reference", "")
    site.comparisons.begin(
        {
            "clip": clip,
            "models": models,
            "results": [known[one] for one in results],
            "reference": site.store.clip_of(reference) if reference else "",
            "at": at,
            "blind": bool(form.get("blind")),
        }
    )


def _results_of(site: Site, clip: NewClip | None) -> list[str]:
    """Return the videos that are named after a clip, as paths under the folder, such as `out/a_x4.mp4`."""
    if clip is None:
        return []
    name = PurePosixPath(site.store.clip_of(clip.id))
    folder = site.options.results / name.parent
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.stem.startswith(name.stem) and path.suffix.lower() in VIDEO_SUFFIXES.split():
                with suppress(NotThereError):
                    inside(site.options.results, path)
                    found.append(path.relative_to(site.options.folder).as_posix())
    return found


def _view(site: Site, task: Task) -> ComparisonView:
    asked = task.asked
    has_page = False
    with suppress(NotThereError):
        has_page = bool(site.comparisons.file(task.id, PAGE))
    names = [*asked["models"], *(path.removeprefix("out/") for path in asked["results"])]
    return ComparisonView(
        id=task.id,
        name=one_line(asked["clip"]),
        what=one_line(", ".join(names)),
        is_pending=task.is_pending,
        now=one_line(str(task.progress.get("what", ""))),
        done=int(task.progress.get("done", 0)),
        total=int(task.progress.get("total", 0)),
        reason=task.reason,
        has_page=has_page,
    )
