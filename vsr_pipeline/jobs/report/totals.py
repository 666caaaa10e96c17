"""An outcome in one sentence and in sums."""

from dataclasses import dataclass

from vsr_pipeline.jobs.report.outcome import BatchOutcome, Status

_IN_A_SENTENCE: dict[Status, str] = {
    "failed": "failed",
    "given up": "given up",
    "stopped": "not finished",
    "cancelled": "cancelled",
}
_OF_ONE: dict[Status, str] = {
    "done": "The clip is done.",
    "unchanged": "The clip was done earlier and has not changed.",
    "failed": "The clip failed.",
    "stopped": "The clip is not finished; the same command continues it.",
    "given up": "The clip has failed too often and was left alone.",
    "cancelled": "The clip was cancelled; `vsr queue retry` takes it up again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the clips of a run."""

    clips: int
    done: int
    unchanged: int
    failed: int
    stopped: int
    given_up: int
    cancelled: int
    frames: int
    """Frames of all outputs that are there."""
    video_seconds: float
    """How long it takes to watch them."""
    computed_frames: int
    """Frames that this run has computed."""
    fps: float
    """`computed_frames` by the time of the clips that were worked on; 0 where nothing was computed."""
    peak_memory_bytes: int
    peak_gpu_memory_bytes: int


def totals_of(outcome: BatchOutcome) -> Totals:
    """Sum up a run. What a clip was in an earlier run counts where its output is concerned, and nowhere else."""
    clips = outcome.clips
    there = [clip for clip in clips if clip.status in ("done", "unchanged")]
    worked_on = [clip for clip in clips if clip.status != "unchanged"]
    seconds = sum(clip.elapsed_seconds for clip in worked_on if clip.computed_frames)
    if outcome.workers:  # they work on several clips at the same time
        seconds = min(seconds, outcome.elapsed_seconds)
    computed_frames = sum(clip.computed_frames for clip in worked_on)
    return Totals(
        clips=len(clips),
        done=sum(clip.status == "done" for clip in clips),
        unchanged=sum(clip.status == "unchanged" for clip in clips),
        failed=sum(clip.status == "failed" for clip in clips),
        stopped=sum(clip.status == "stopped" for clip in clips),
        given_up=sum(clip.status == "given up" for clip in clips),
        cancelled=sum(clip.status == "cancelled" for clip in clips),
        frames=sum(clip.frame_count for clip in there),
        video_seconds=sum(clip.duration_seconds for clip in there),
        computed_frames=computed_frames,
        fps=computed_frames / seconds if seconds else 0.0,
        peak_memory_bytes=max((clip.peak_memory_bytes for clip in worked_on), default=0),
        peak_gpu_memory_bytes=max((clip.peak_gpu_memory_bytes for clip in worked_on), default=0),
    )


def headline(outcome: BatchOutcome) -> str:
    """Say in one sentence what happened, such as "6 of 8 clips done, 2 failed."."""
    if not outcome.clips:
        return "There were no clips."
    if len(outcome.clips) == 1:
        return _OF_ONE[outcome.clips[0].status]
    totals = totals_of(outcome)
    sentence = f"{totals.done + totals.unchanged:,} of {totals.clips:,} clips done"
    if totals.unchanged:
        sentence += f" ({totals.unchanged:,} of them earlier)"
    counts: dict[Status, int] = {"failed": totals.failed, "given up": totals.given_up, "stopped": totals.stopped}
    counts |= {"cancelled": totals.cancelled}
    return ", ".join([sentence, *(f"{n:,} {_IN_A_SENTENCE[status]}" for status, n in counts.items() if n)]) + "."
