"""From a timeline to segments and windows. Pure functions: the same clip always gives the same plan."""

from vsr_pipeline.timeline import Segment, Shot, Timeline, Window

CLEANING_SAMPLES = 5
"""Frames of a shot by which its number of cleaning passes is decided."""


def plan_segments(
    timeline: Timeline, *, segment_frames: int, warm_up: int, lookahead: int, follow_shots: bool = True
) -> tuple[Segment, ...]:
    """Cut a clip into segments: every frame is in exactly one, none crosses a scene cut.

    Args:
        timeline: the clip.
        segment_frames: longest segment. A longer shot is cut into parts of nearly equal length.
        warm_up: context frames before a segment that starts inside a shot.
        lookahead: context frames after a segment that ends inside a shot.
        follow_shots: False takes the whole clip as one shot and cuts every `segment_frames` exactly, for
            `--windows official`, whose windows must start at multiples of their length.
    """
    shots = timeline.shots if follow_shots else (Shot(0, timeline.frame_count),)
    segments = []
    for shot in shots:
        count = -(-len(shot) // segment_frames)
        for k in range(count):
            if follow_shots:
                start, stop = (shot.start + len(shot) * i // count for i in (k, k + 1))
            else:
                start, stop = (min(i * segment_frames, shot.stop) for i in (k, k + 1))
            segments.append(
                Segment(
                    start=start,
                    stop=stop,
                    context_start=max(shot.start, start - warm_up),
                    context_stop=min(shot.stop, stop + lookahead),
                    shot=shot,
                )
            )
    return tuple(segments)


def plan_windows(segment: Segment, *, max_seq_len: int, lookahead: int) -> tuple[Window, ...]:
    """Cut a segment into windows of at most `max_seq_len` frames, each with its lookahead inside the context."""
    windows = []
    for start in range(segment.start, segment.stop, max_seq_len):
        stop = min(start + max_seq_len, segment.stop)
        windows.append(Window(start, stop, lookahead_stop=min(stop + lookahead, segment.context_stop)))
    return tuple(windows)


def sample_indices(shot: Shot, count: int) -> tuple[int, ...]:
    """Return at most `count` different frame indices, evenly spread over a shot."""
    count = min(count, len(shot))
    return tuple(shot.start + (2 * k + 1) * len(shot) // (2 * count) for k in range(count))
