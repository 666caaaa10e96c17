"""Inside a segment: what is finished is kept, and where a run was stopped shows in no pixel."""

import copy
import signal
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clips import make_video, same_pictures
from tests.support.listening import Listener
from tests.support.networks import fill
from tests.support.upscaling import CPU, exact, frames_of, geometry_of
from vsr_pipeline import api
from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import Config
from vsr_pipeline.enhance.animesr import AnimeSRUpscaler
from vsr_pipeline.enhance.frames import enhance_frames
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.spec import Carry
from vsr_pipeline.enhance.state import copy_of_state, load_state, save_state
from vsr_pipeline.errors import Interrupted
from vsr_pipeline.jobs.estimate import Estimate
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.segment import SegmentTask
from vsr_pipeline.jobs.workers.spec import Ready, spec_of
from vsr_pipeline.jobs.workers.worker import SegmentWorker
from vsr_pipeline.models.animesr import AnimeSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.plan import Schedule, plan_parts, rest_of, schedule_of
from vsr_pipeline.runtime.files import make_folder
from vsr_pipeline.timeline import Decision, Segment, Shot


def segment_of(start, stop, context_start, context_stop, length=1000):
    return Segment(start, stop, context_start, context_stop, Shot(0, length))


def enhanced(upscaler, frames, segment, decision, state, keep=lambda *_: None):
    """Return the HR frames of a segment, or of the rest of one."""
    work = []
    around = frames[segment.context_start : segment.context_stop]
    options = {"geometry": geometry_of(frames), "on_work": work.append, "carry": Carry(state, keep)}
    outputs = list(enhance_frames(upscaler, around, segment, decision, **options))
    assert sum(work) == pytest.approx(len(segment))
    return outputs


def check_that_it_goes_on(upscaler, decision, tmp_path, *, segment, every, read_at_once):
    frames = frames_of(segment.context_stop, 64, 64)
    states = {}

    def keep(index, state):
        if (index - segment.start) % every == 0 and index < segment.stop:
            states[index] = copy_of_state(state)

    whole = enhanced(upscaler, frames, segment, decision, {}, keep)
    assert sorted(states) == list(range(segment.start + every, segment.stop, every))
    for start, state in states.items():
        save_state(state, tmp_path / "state")
        rest = rest_of(segment, start, read_at_once)
        outputs = enhanced(upscaler, frames, rest, decision, load_state(tmp_path / "state"))
        assert all(np.array_equal(a, b) for a, b in zip(whole[start - segment.start :], outputs, strict=True))


@pytest.mark.parametrize("read_at_once", [1, 4])
def test_a_recurrent_network_goes_on_to_the_same_pixels(tmp_path, monkeypatch, read_at_once):
    """Also where frames are read several at once, as on a GPU."""
    monkeypatch.setattr("vsr_pipeline.enhance.realbasicvsr_stream.frames_at_once", lambda *_: read_at_once)
    upscaler = exact(fill(RealBasicVSRNet(8, 1, 1), 0.5), max_seq_len=3, lookahead=2, warm_up=3).upscaler
    segment = segment_of(4, 15, 1, 17)
    check_that_it_goes_on(upscaler, cleaned(1), tmp_path, segment=segment, every=3, read_at_once=read_at_once)


def test_animesr_goes_on_to_the_same_pixels(tmp_path):
    net = AnimeSRNet(channels=8, num_blocks=(1, 1, 1))
    upscaler = AnimeSRUpscaler(copy.deepcopy(fill(net, 0.5)).eval(), CPU)
    check_that_it_goes_on(upscaler, Decision(), tmp_path, segment=segment_of(2, 9, 0, 9), every=3, read_at_once=1)


@given(
    start=st.integers(0, 50),
    length=st.integers(1, 200),
    every=st.integers(1, 70),
    shown=st.lists(st.integers(0, 249), min_size=1, max_size=100, unique=True),
)
def test_parts_hold_every_frame_once_and_each_shows_something(start, length, every, shown):
    frames = tuple(sorted(shown))
    schedule = Schedule(1, tuple(range(len(frames))), 1, frames)
    segment = Segment(start, start + length, start, start + length, Shot(0, 1000))
    parts = plan_parts(segment, schedule, every)
    assert [index for part in parts for index in part] == list(range(segment.start, segment.stop))
    assert all((b.start - segment.start) % every == 0 for _, b in pairwise(parts))
    if schedule.shows(segment):
        assert all(schedule.shows(part) for part in parts)


@given(context=st.integers(0, 20), warm_up=st.integers(0, 20), done=st.integers(1, 90), at_once=st.integers(0, 9))
def test_what_is_read_again_is_whole_steps(context, warm_up, done, at_once):
    segment = segment_of(context + warm_up, context + warm_up + 100, context, context + warm_up + 105)
    start = segment.start + done
    rest = rest_of(segment, start, at_once)
    assert (rest.start, rest.stop, rest.context_stop) == (start, segment.stop, segment.context_stop)
    if not at_once:
        assert rest.warm_up == 0
        return
    assert context <= rest.context_start < start
    assert (rest.context_start - context) % at_once == 0
    # Whole steps as in one piece: the one that `start` is in has the step before it, if there is one.
    assert (
        rest.context_start == context or (start - context) // at_once - (rest.context_start - context) // at_once == 1
    )


class StopsInside(Listener):
    """Ctrl-C when two parts of the only segment are kept, and the third one is begun."""

    def __init__(self, parts):
        super().__init__()
        self._parts = parts
        self._worked = 0.0

    def heard_start(self, what):
        self._worked = 0.0 if what.startswith("enhance") else -1e9

    def heard_work(self, amount):
        self._worked += amount
        deadline = time.monotonic() + 60
        while self._worked >= 10 and time.monotonic() < deadline:
            if len(list(self._parts.glob("*.json"))) == 2:
                raise Interrupted(signal.SIGINT)
            time.sleep(0.01)


@pytest.fixture
def short_parts(monkeypatch):
    """Parts of 4 frames of a network for single frames, however fast it is."""
    monkeypatch.setattr("vsr_pipeline.enhance.frame_model._CHECKPOINT_WORK", 0)
    monkeypatch.setattr("vsr_pipeline.enhance.frame_model.CHECKPOINT_FRAMES", 4)


@pytest.fixture
def clip(workspace):
    return make_video(workspace / "walk.mp4", frames=14, cut=14, width=32, height=24)


CONFIG = Config().override(model="fsrcnn-x2", segment_frames=14, preset="ultrafast")


def run(clip, name, reporter):
    return api.run(clip, clip.parent / name, CONFIG, options=api.RunOptions(), reporter=reporter)


def stopped_inside(clip):
    """Stop a run when 8 of its 14 frames are kept; returns the folder of its parts."""
    parts = clip.parent / ".vsr" / "out.mp4" / "segments" / "parts-00000000-00000014"
    stopped = StopsInside(parts)
    with pytest.raises(Interrupted):
        run(clip, "out.mp4", stopped)
    assert stopped.notes[-1] == "walk.mp4: 8 of 14 frames are kept; 2 frames that were begun are made again"
    assert sorted(path.name for path in parts.iterdir()) == [
        f"{name}.{suffix}" for name in ("00000000-00000004", "00000004-00000008") for suffix in ("json", "mp4")
    ]
    return parts


@pytest.mark.parametrize("damage", ["nothing", "second part", "first part"])
def test_a_job_that_is_stopped_goes_on_from_its_parts(clip, short_parts, damage):
    run(clip, "whole.mp4", Listener())
    parts = stopped_inside(clip)
    kept = {"nothing": 8, "second part": 4, "first part": 0}[damage]
    if kept < 8:
        path = parts / f"{kept:08d}-{kept + 4:08d}.mp4"
        path.write_bytes(path.read_bytes()[:-9] + b"different")
    again = Listener()
    outcome = run(clip, "out.mp4", again)
    assert (outcome.computed_frames, outcome.reused_frames) == (14 - kept, kept)
    assert any("are made again" in note for note in again.notes) == (kept < 8)
    assert same_pictures(clip.parent / "out.mp4", clip.parent / "whole.mp4")
    assert not parts.exists()


class CountsParts(Listener):
    """Notes how many parts are kept at each frame."""

    def __init__(self, parts):
        super().__init__()
        self.found = []
        self._parts = parts

    def heard_start(self, what):
        if what.startswith("enhance"):
            self.found.clear()

    def heard_work(self, amount):
        if amount > 0:
            self.found.append(len(list(self._parts.glob("*.json"))))


def test_parts_are_made_in_turn_where_two_encoders_do_not_fit(clip, short_parts):
    run(clip, "whole.mp4", Listener())
    header = look_at(clip, CONFIG.input)
    needed = open_model(CONFIG.upscale).variants[0].memory_bytes(footage_of(header, analyse_clip(header)).clip_size)
    config = CONFIG.override(memory_limit=f"{needed / 1e6:.6f}MB")
    counted = CountsParts(clip.parent / ".vsr" / "out.mp4" / "segments" / "parts-00000000-00000014")
    api.run(clip, clip.parent / "out.mp4", config, options=api.RunOptions(), reporter=counted)
    assert counted.found == [index // 4 for index in range(14)]
    assert same_pictures(clip.parent / "out.mp4", clip.parent / "whole.mp4")


def test_another_worker_goes_on_from_the_parts_that_it_sees(clip, short_parts, tmp_path):
    """And its segment has the bytes of one that was made in one piece; the parts are the driver's to delete."""
    parts = stopped_inside(clip)
    made = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    header = look_at(clip, CONFIG.input)
    footage = footage_of(header, analyse_clip(header))
    worker = SegmentWorker()
    spec = spec_of(CONFIG.upscale, tmp_path, gpus=False, cpus=1, allow_cpu=False)
    spec.token.write_text(spec.secret)
    context = open_model(CONFIG.upscale).context
    assert isinstance(worker.prepare(spec), Ready)

    def computed(folder):
        task = SegmentTask(
            footage=footage,
            geometry=Geometry.of(header.info, Sizing(scale=2), CONFIG.upscale, even=True),
            schedule=schedule_of(footage.timeline, origin_ticks=0),
            segment=context.segments(footage.timeline)[0],
            encode=CONFIG.encode.model_copy(update={"codec": "h264"}),
            decision=None,
            decision_frames=0,
            folder=folder,
        )
        return worker.compute(task, JobSource.of(clip))

    gone_on, whole = computed(parts.parent), computed(make_folder(tmp_path / "whole"))
    assert gone_on.sha256 == whole.sha256
    assert {name: (parts / name).stat().st_mtime_ns for name in made} == made
    assert len(list(parts.glob("*.mp4"))) == 4


def test_the_plan_says_what_a_stop_costs():
    def said(seconds):
        sizes = {"input_size": (64, 48), "output_size": (256, 192), "memory_bytes": 1, "memory_available_bytes": 2}
        disk = {"disk_bytes": 3 << 20, "disk_free_bytes": 9 << 20, "checkpoint_bytes": 2 << 20}
        return str(
            Estimate(frame_count=300, shots=1, segments=1, checkpoint_frames=30, seconds=seconds, **sizes, **disk)
        )

    assert "3.0 MiB of 9.0 MiB, 2.0 MiB of it for checkpoints" in said(None)
    assert "costs up to 30 frames that are made again, about 6:00" in said(3600)
    assert "stopping" not in said(2900)
