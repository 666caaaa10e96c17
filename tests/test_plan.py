"""Properties that every plan has, whatever the clip."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from vsr_pipeline.plan import count_backward_steps, plan_segments, plan_windows, sample_indices
from vsr_pipeline.timeline import Shot, Timeline


@st.composite
def timelines(draw):
    frame_count = draw(st.integers(1, 400))
    cuts = draw(st.sets(st.integers(1, frame_count - 1), max_size=6)) if frame_count > 1 else set()
    return Timeline.constant_rate(frame_count, Fraction(25), tuple(sorted(cuts)))


sizes = {"segment_frames": st.integers(1, 120), "warm_up": st.integers(0, 20), "lookahead": st.integers(0, 20)}


@given(timeline=timelines(), max_seq_len=st.integers(1, 50), **sizes)
def test_every_frame_once_and_no_context_over_a_cut(timeline, max_seq_len, segment_frames, warm_up, lookahead):
    segments = plan_segments(timeline, segment_frames=segment_frames, warm_up=warm_up, lookahead=lookahead)
    assert [i for s in segments for i in range(s.start, s.stop)] == list(range(timeline.frame_count))
    for segment in segments:
        assert segment.shot in timeline.shots
        assert len(segment) <= segment_frames
        assert segment.warm_up == min(warm_up, segment.start - segment.shot.start)
        assert segment.lookahead == min(lookahead, segment.shot.stop - segment.stop)
        windows = plan_windows(segment, max_seq_len=max_seq_len, lookahead=lookahead)
        assert [i for w in windows for i in range(w.start, w.stop)] == list(range(segment.start, segment.stop))
        for window in windows:
            assert window.stop - window.start <= max_seq_len
            assert window.lookahead_stop == min(window.stop + lookahead, segment.context_stop)
        steps = count_backward_steps(segment, max_seq_len=max_seq_len, lookahead=lookahead)
        assert steps == sum(window.lookahead_stop - window.start for window in windows)


@given(timeline=timelines(), **sizes)
def test_parts_of_a_long_shot_have_nearly_the_same_length(timeline, segment_frames, warm_up, lookahead):
    segments = plan_segments(timeline, segment_frames=segment_frames, warm_up=warm_up, lookahead=lookahead)
    for shot in timeline.shots:
        lengths = [len(s) for s in segments if s.shot == shot]
        assert max(lengths) - min(lengths) <= 1


@given(timeline=timelines(), windows=st.integers(1, 5), max_seq_len=st.integers(1, 50))
def test_official_windows_start_at_multiples_of_their_length(timeline, windows, max_seq_len):
    segments = plan_segments(timeline, segment_frames=windows * max_seq_len, warm_up=0, lookahead=0, follow_shots=False)
    starts = [w.start for s in segments for w in plan_windows(s, max_seq_len=max_seq_len, lookahead=0)]
    assert starts == list(range(0, timeline.frame_count, max_seq_len))


@given(start=st.integers(0, 50), length=st.integers(1, 300), count=st.integers(1, 9))
def test_samples_are_different_and_inside_the_shot(start, length, count):
    shot = Shot(start, start + length)
    indices = sample_indices(shot, count)
    assert len(set(indices)) == len(indices) == min(count, length)
    assert all(shot.start <= i < shot.stop for i in indices)
