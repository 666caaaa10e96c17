"""The queue of a batch, which others change while it is at work: nothing is lost, and what is asked for is done."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.clips import make_video, same_pictures, times
from tests.support.listening import ActsAfter
from vsr_pipeline import api, cli
from vsr_pipeline.config import Config
from vsr_pipeline.errors import ConfigError, InputError, ModelError, UsageError
from vsr_pipeline.jobs.batch.chosen import config_for
from vsr_pipeline.jobs.batch.hours import Hours
from vsr_pipeline.jobs.batch.live import progress_of
from vsr_pipeline.jobs.batch.queue import open_queue
from vsr_pipeline.jobs.batch.rules import Verdict, after
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.runtime.progress import Reporter

REPOSITORY = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "batch_queue_1.sql"
CONFIG = Config().override(model="bicubic-x4", segment_frames=4, preset="ultrafast")
SETTINGS = ["--model", "bicubic-x4", "--segment-frames", "4", "--encoder-preset", "ultrafast"]
LOOK_SECONDS = 0.6
"""A batch looks at what it is asked a little more often than that."""


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "walk.mp4", frames=12, cut=8, audio=False)


@pytest.fixture
def output(workspace):
    (workspace / "in").mkdir()
    return workspace / "out"


@pytest.fixture
def put(output, video):
    """Put clips into the batch's folder."""

    def put(*names):
        for name in names:
            shutil.copyfile(video, output.parent / "in" / name)

    return put


def run(output, reporter=None, config=CONFIG, **options):
    options = api.BatchOptions(**options)
    return api.batch(output.parent / "in", output, config, options=options, reporter=reporter or Reporter())


def become(outcome):
    return {clip.input.name: clip.status for clip in outcome.clips}


def states(output):
    return {row.clip: row.state for row in api.batch_status(output)}


def order(queue):
    return [row.clip for row in queue.list()]


# The rule of who retries what.


@pytest.mark.parametrize(
    ("ending", "before", "becomes"),
    [
        ("done", {"tries": 1}, Verdict("done", 0)),
        ("done", {"tries": 1, "request": "cancel"}, Verdict("done", 0)),
        ("failed", {"tries": 0}, Verdict("failed", 1)),
        ("failed", {"tries": 1}, Verdict("given up", 2)),
        ("failed", {"tries": 0, "suspected": True}, Verdict("failed", 1, suspected=True)),
        ("failed", {"tries": 0, "request": "cancel now"}, Verdict("cancelled", 1)),
        ("machine failed", {"tries": 1}, Verdict("failed", 1)),
        ("machine failed", {"tries": 1, "request": "cancel"}, Verdict("cancelled", 1)),
        ("stopped", {"tries": 1}, Verdict("stopped", 1)),
        ("stopped", {"tries": 1, "request": "cancel"}, Verdict("cancelled", 1)),
        ("died", {"tries": 0}, Verdict("failed", 1)),
        ("died", {"tries": 1}, Verdict("given up", 2)),
        ("died", {"tries": 0, "request": "cancel"}, Verdict("cancelled", 1)),
        ("died after a segment", {"tries": 1}, Verdict("stopped", 1)),
        ("died after a segment", {"tries": 0, "request": "cancel"}, Verdict("cancelled", 0)),
        ("died with others", {"tries": 1}, Verdict("stopped", 1, suspected=True)),
        ("died with others", {"tries": 1, "suspected": True}, Verdict("given up", 2, suspected=True)),
    ],
)
def test_who_is_tried_again(ending, before, becomes):
    assert after(ending, retries=2, **before) == becomes


# What can be asked for, and what is refused.


def test_clips_are_added_moved_and_removed(output):
    with open_queue(output) as queue:
        assert queue.list() == ()
        assert queue.folder is None
        rows = queue.add(["a.mp4", "x/b.mp4", "c.mp4", "a.mp4"], {"height": 96, "drop": ["audio"]})
        assert [(row.clip, row.state, dict(row.chosen)) for row in rows] == [
            (name, "queued", {"height": 96, "drop": ["audio"]}) for name in ("a.mp4", "x/b.mp4", "c.mp4")
        ]
        queue.move("c.mp4", first=True)
        assert order(queue) == ["c.mp4", "a.mp4", "x/b.mp4"]
        queue.move("c.mp4", before="x/b.mp4")
        assert order(queue) == ["a.mp4", "c.mp4", "x/b.mp4"]
        queue.move("a.mp4")
        assert order(queue) == ["c.mp4", "x/b.mp4", "a.mp4"]
        queue.remove("x/b.mp4")
        assert queue.cancel("a.mp4").state == "cancelled"
        assert order(queue) == ["c.mp4", "a.mp4"]
        assert queue.retry("a.mp4", {}).chosen == {}
        assert queue.change("a.mp4", {"denoise": 0.5}).chosen == {"denoise": 0.5}
        said = [(event.sequence, event.clip, event.message) for event in queue.events_after(3)]
        assert said[:2] == [(4, "c.mp4", "moved"), (5, "c.mp4", "moved")]
        assert queue.events_after(queue.last_sequence) == ()
        for name in ("nowhere.mp4", "x/b.mp4"):
            with pytest.raises(UsageError, match=f"no clip '{name}'"):
                queue.cancel(name)


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"colour": "red"}, UsageError, "'colour' is no setting"),
        ({"device": "cpu"}, UsageError, "'device' is for a whole batch"),
        ({"quality": 200}, ConfigError, "--quality"),
        ({"model": "no-such-model"}, ModelError, "no-such-model"),
        ({"codec": "no-such-codec"}, UsageError, "no-such-codec"),
        ({"scale": 2, "height": 96}, ConfigError, "--scale"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_once(output, chosen, error, message):
    with open_queue(output) as queue:
        with pytest.raises(error, match=message):
            queue.add(["a.mp4"], chosen)
        assert queue.list() == ()


@pytest.mark.parametrize(
    "clip", ["", "/etc/passwd", "../a.mp4", "x/../../a.mp4", "x//a.mp4", "./a.mp4", "caf\udce9.mp4"]
)
def test_paths_that_lead_out_of_the_folder_are_refused(output, clip):
    with open_queue(output) as queue, pytest.raises(UsageError):
        queue.add([clip])


def test_what_is_chosen_for_a_clip_takes_the_place_of_what_the_batch_says():
    batch = Config().override(height=480, checkpoint=Path("x.pth"), quality=50)
    clip = config_for(batch, {"scale": 2, "model": "bicubic-x4", "start": "1", "encoder_options": {"tune": "grain"}})
    assert (clip.upscale.scale, clip.upscale.height, clip.upscale.checkpoint) == (2, None, None)
    assert (clip.encode.quality, clip.encode.encoder_options, clip.input.start) == (50, {"tune": "grain"}, "1")
    assert config_for(batch, {}) is batch


def test_events_are_bounded_and_a_gap_shows(output, monkeypatch):
    monkeypatch.setattr("vsr_pipeline.jobs.batch.table.EVENTS_KEPT", 50)
    with open_queue(output) as queue:
        with queue.table.transaction():
            for number in range(1, 203):
                queue.table.note("noted", "", str(number))
        events = queue.events_after(0)
        assert 50 <= len(events) <= 56
        assert events[-1].sequence == queue.last_sequence == 202
        assert events[0].sequence == 203 - len(events)
        assert [event.sequence for event in queue.events_after(200)] == [201, 202]
        assert queue.table.has_changed(0, but_for=())


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("09:30-17:00", ["09:30", "16:59"], ["09:29", "17:00", "00:00"]),
    ],
)
def test_hours(hours, inside, outside):
    hours = Hours.parse(hours)
    assert Hours.parse(str(hours)) == hours

    def at(text):
        return datetime.datetime.combine(datetime.date(2024, 5, 1), datetime.time.fromisoformat(text)).astimezone()

    assert [text for text in inside + outside if hours.contains(at(text))] == inside


# An older program's file.


def test_a_queue_of_the_first_version_is_read_and_converted(output, capsys):
    path = output / ".vsr" / "batch.sqlite"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(GOLDEN.read_text())
        rows = [json.loads(text) for (text,) in old.execute("SELECT row FROM clips ORDER BY clip")]
    before = path.read_bytes()
    read = api.batch_status(output)
    assert path.read_bytes() == before  # its program may be at work
    with open_queue(output) as queue:
        assert queue.list() == read
        assert [(row.clip, row.state, row.tries, row.reason) for row in read] == [
            (row["clip"], row["state"], row["tries"], row["reason"]) for row in rows
        ]
        assert [dict(row.settings) for row in read] == [row["settings"] for row in rows]
        assert read[0].outcome.frame_count == 4
    for place, size, modified_ns in [
        *((Path("in") / row["clip"], row["source"]["size_bytes"], row["source"]["modified_ns"]) for row in rows),
        (Path("out/a_x4.mp4"), rows[0]["published"]["size_bytes"], rows[0]["published"]["modified_ns"]),
    ]:
        place.write_bytes(bytes(size))
        os.utime(place, ns=(modified_ns, modified_ns))
    outcome = run(output, config=Config().override(model="bicubic-x4", preset="ultrafast", cleaning=1.0))
    assert become(outcome) == {"a.mp4": "unchanged", "bad.mp4": "given up"}
    with open_queue(output) as queue:
        assert queue.retry("bad.mp4").state == "queued"


def test_a_damaged_row_of_the_first_version_is_one_line(output, capsys):
    path = output / ".vsr" / "batch.sqlite"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript(GOLDEN.read_text())
        old.execute("UPDATE clips SET row = '{}'")
    assert cli.run(["queue", "hours", "always", "--output", "out"]) == 6
    assert "row that is not ours" in capsys.readouterr().err


# Several programs at once.

ADDS = """
import sys
from pathlib import Path
from vsr_pipeline.jobs.batch.queue import open_queue

name, output = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with open_queue(Path(output)) as queue:
    for number in range(12):
        queue.add([f"{name}{number}.mp4"], {"quality": number})
        queue.move(f"{name}{number}.mp4", first=True)
        if number % 3 == 0:
            queue.cancel(f"{name}{number}.mp4")
"""


def test_two_programs_that_write_at_once_lose_nothing(output):
    command = [sys.executable, "-c", textwrap.dedent(ADDS)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    programs = [
        subprocess.Popen([*command, name, str(output)], stdin=pipe, stdout=pipe, text=True, env=environment)
        for name in "ab"
    ]
    for program in programs:
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    for program in programs:
        program.communicate()
        assert program.returncode == 0
    with open_queue(output) as queue:
        rows = queue.rows()
        assert rows.keys() == {f"{name}{number}.mp4" for name in "ab" for number in range(12)}
        for clip, row in rows.items():
            number = int(clip[1:-4])
            assert row.chosen == {"quality": number}
            assert row.state == ("cancelled" if number % 3 == 0 else "queued")
        # Each was put before all that were there.
        for name in "ab":
            waiting = [clip for clip in order(queue) if clip[0] == name and rows[clip].state == "queued"]
            assert waiting == [f"{name}{number}.mp4" for number in range(11, 0, -1) if number % 3]
        events = queue.events_after(0)
        assert [event.sequence for event in events] == list(range(1, 2 * (12 + 12 + 4) + 1))


def test_a_queue_that_several_create_at_once_is_one(output):
    def add(number):
        with open_queue(output / str(number % 3)) as queue:
            queue.add([f"{number}.mp4"])

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(add, range(12)))
    for number in range(3):
        with open_queue(output / str(number), only_read=True) as queue:
            assert queue.rows().keys() == {f"{n}.mp4" for n in range(number, 12, 3)}


# While a batch is at work.


def ask(output, frames, action):
    """A reporter that does something with the queue once so many frames are enhanced, as another program does."""

    def act():
        with open_queue(output) as queue:
            action(queue)
        time.sleep(LOOK_SECONDS)

    return ActsAfter(frames, act)


@pytest.mark.parametrize(("now", "finished"), [(False, 4), (True, 0)])
def test_a_clip_is_cancelled_in_the_middle_and_retried(output, put, now, finished):
    put("a.mp4", "b.mp4")
    said = []

    def cancel(queue):
        said.append(queue.cancel("a.mp4", now=now))
        said.append(progress_of(output))
        with pytest.raises(UsageError, match=r"a\.mp4 is worked on"):
            queue.remove("a.mp4")

    outcome = run(output, ask(output, 1, cancel))
    assert outcome.exit_code == 0
    assert become(outcome) == {"a.mp4": "cancelled", "b.mp4": "done"}
    assert f"cancelled; {finished} frames are done" in outcome.clips[0].reason
    assert said[0].request == ("cancel now" if now else "cancel")
    assert [(clip.clip, clip.unit, clip.total) for clip in said[1].clips] == [("a.mp4", "frames", 12)]
    assert (said[1].clips_done, said[1].clips_total, said[1].pid) == (0, 2, os.getpid())
    assert progress_of(output) is None
    report = json.loads((output / "report.json").read_text())
    assert report["exit_code"] == 0
    assert report["totals"]["cancelled"] == 1
    assert "1 cancelled" in (output / "report.html").read_text()
    if now:
        return
    assert become(run(output)) == {"a.mp4": "cancelled", "b.mp4": "unchanged"}  # until somebody wants it
    with open_queue(output) as queue:
        queue.retry("a.mp4")
    again = run(output)
    assert {clip.input.name: clip.computed_frames for clip in again.clips} == {"a.mp4": 12 - finished, "b.mp4": 0}
    assert same_pictures(output / "a_x4.mp4", output / "b_x4.mp4")


def test_a_request_can_be_taken_back(output, put):
    put("a.mp4")

    def regret(queue):
        queue.cancel("a.mp4")
        queue.retry("a.mp4")

    assert become(run(output, ask(output, 1, regret))) == {"a.mp4": "done"}


def test_clips_are_added_moved_cancelled_and_retried_while_others_are_worked_on(output, put):
    put("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (output.parent / "in" / "bad.mp4").write_text("no video")

    def meddle(queue):
        assert [(row.clip, row.state) for row in queue.list()] == [
            ("a.mp4", "working"),
            *((name, "queued") for name in ("b.mp4", "bad.mp4", "c.mp4", "d.mp4")),
        ]
        put("new.mp4")
        queue.add(["new.mp4"], {"height": 96, "max_frames": 6})
        queue.add(["missing.mp4"])
        queue.move("d.mp4", before="new.mp4")
        queue.cancel("b.mp4")

    outcome = run(output, ask(output, 1, meddle))
    assert outcome.exit_code == 7
    assert become(outcome) == {
        **{"a.mp4": "done", "d.mp4": "done", "new.mp4": "done", "missing.mp4": "failed", "bad.mp4": "failed"},
        **{"c.mp4": "done", "b.mp4": "cancelled"},
    }
    assert [clip.input.name for clip in outcome.clips] == [
        *("a.mp4", "d.mp4", "new.mp4", "missing.mp4", "bad.mp4", "c.mp4", "b.mp4"),
    ]
    assert "no such file" in outcome.clips[3].reason
    assert probe(output / "new_96p.mp4").height == 96
    assert len(times(output / "new_96p.mp4")) == 6
    with open_queue(output) as queue:
        kinds = {event.kind for event in queue.events_after(0)}
        assert kinds == {"changed", "started", "noted", "saved", "finished"}
        ends = [event.clip for event in queue.events_after(0) if event.message == "done"]
        assert ends == ["a.mp4", "d.mp4", "new.mp4", "c.mp4"]


def test_a_clip_that_failed_is_retried_in_the_same_run(output, put):
    put("b.mp4")
    (output.parent / "in" / "a.mp4").write_text("no video")

    def mend(queue):
        assert queue.row("a.mp4").state == "failed"
        put("a.mp4")
        queue.retry("a.mp4")

    outcome = run(output, ask(output, 1, mend))
    assert become(outcome) == {"b.mp4": "done", "a.mp4": "done"}
    assert outcome.exit_code == 0


def test_a_clip_that_is_done_is_made_again_with_other_settings_alone(output, put):
    put("a.mp4")
    run(output)
    with open_queue(output) as queue:
        with pytest.raises(UsageError, match="done: give other settings"):
            queue.retry("a.mp4")
        queue.retry("a.mp4", {"quality": 40})
    before = (output / "a_x4.mp4").read_bytes()
    assert run(output).clips[0].computed_frames == 12
    assert (output / "a_x4.mp4").read_bytes() != before
    assert become(run(output, redo_outdated=True)) == {"a.mp4": "unchanged"}


@pytest.mark.nightly
def test_only_what_was_added(output, put):
    put("a.mp4", "b.mp4")
    with open_queue(output) as queue:
        queue.add(["b.mp4"])
    assert become(run(output, added_only=True)) == {"b.mp4": "done"}
    assert states(output) == {"b.mp4": "done"}
    assert become(run(output)) == {"a.mp4": "done", "b.mp4": "unchanged"}


@pytest.mark.nightly
def test_an_added_clip_of_the_same_output_fails_alone(output, put):
    put("a.avi", "a.mkv", "b.mp4")
    with open_queue(output) as queue:
        queue.add(["a.mkv"])
    outcome = run(output)
    assert become(outcome) == {"a.mkv": "failed", "a.avi": "done", "b.mp4": "done"}
    assert "would all become" in outcome.clips[0].reason


def test_a_model_that_is_not_here_fails_its_clip_alone(output, put, monkeypatch, tmp_path):
    put("a.mp4", "b.mp4")
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path / "nothing"))
    with open_queue(output) as queue:
        queue.add(["a.mp4"], {"model": "realbasicvsr-x4"})
    outcome = run(output)
    assert become(outcome) == {"a.mp4": "failed", "b.mp4": "done"}
    assert outcome.clips[0].exit_code == 4


def test_hours_end_a_batch_and_begin_none(output, put):
    put("a.mp4", "b.mp4")
    now = datetime.datetime.now()
    away = Hours(*((now + datetime.timedelta(hours=h)).time().replace(second=0, microsecond=0) for h in (10, 11)))
    outcome = run(output, between=away)
    assert outcome.exit_code == 75
    assert become(outcome) == {"a.mp4": "stopped", "b.mp4": "stopped"}
    assert "not begun: it is not between" in outcome.clips[0].reason
    outcome = run(output, ask(output, 1, lambda queue: queue.set_hours(away)))
    assert (outcome.exit_code, become(outcome)) == (75, {"a.mp4": "stopped", "b.mp4": "stopped"})
    assert "4 frames are done" in outcome.clips[0].reason
    with open_queue(output) as queue:
        assert queue.hours == away
        queue.set_hours(None)
    assert become(run(output)) == {"a.mp4": "done", "b.mp4": "done"}


def start(output, **options):
    command = [sys.executable, "-m", "vsr_pipeline", "batch", "in", "--output", "out", *SETTINGS]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=output.parent, env=environment, **options)


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.stderr.read() if process.stderr else "it has ended"


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("is_asked", "becomes"), [(True, "cancelled"), pytest.param(False, "done", marks=pytest.mark.nightly)]
)
def test_a_killed_batch_leaves_a_queue_that_goes_on(output, put, is_asked, becomes):
    put("b.mp4")
    make_video(output.parent / "in" / "a.mp4", frames=120, cut=70, audio=False, width=160, height=120)
    segments = output / ".vsr" / "a_x4.mp4" / "segments"
    process = start(output, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(segments.glob("0*"))) >= 2, process)
    assert progress_of(output).pid == process.pid
    if is_asked:
        process.send_signal(signal.SIGSTOP)  # it does not see any more what it is asked for
        with open_queue(output) as queue:
            queue.cancel("a.mp4")
            queue.add(["b.mp4"], {"max_frames": 4})
    process.kill()
    process.wait()
    assert progress_of(output) is None
    assert states(output) == {"a.mp4": "working", "b.mp4": "queued"}
    outcome = run(output)
    assert become(outcome) == {"b.mp4": "done", "a.mp4": becomes}
    assert len(times(output / "b_x4.mp4")) == (4 if is_asked else 12)
    assert all(clip.reused_frames > 0 for clip in outcome.clips if clip.input.name == "a.mp4" and not is_asked)


# The command line.


def test_the_command_line(output, put, capsys, tmp_path):
    put("a.mp4", "b.mp4", "c.mp4")

    def vsr(*words, code=0):
        capsys.readouterr()
        assert cli.run(["queue", *words, "--output", "out"]) == code
        return capsys.readouterr()

    assert "no batch has been run" in vsr("list", code=3).err
    assert "--folder DIR" in vsr("add", "in/a.mp4", code=2).err
    (tmp_path / "far.mp4").write_bytes(b"x")
    assert "is not in the batch's folder" in vsr("add", "far.mp4", "--folder", "in", code=2).err
    assert "no such file" in vsr("add", "d.mp4", code=3).err
    (tmp_path / "own.toml").write_text("[encode]\nquality = 40\n")
    rows = json.loads(vsr("add", "in/a.mp4", "b.mp4", "--scale", "2", "--config", "own.toml", "--json").out)
    assert [(row["clip"], row["chosen"]) for row in rows] == [
        (name, {"quality": 40, "scale": 2.0}) for name in ("a.mp4", "b.mp4")
    ]
    vsr("add", "in/c.mp4", "--fps", "10", "--drop", "audio,chapters", "--encoder-option", "tune=grain")
    vsr("move", "c.mp4", "--first")
    vsr("move", "in/a.mp4", "--last")
    vsr("cancel", "b.mp4")
    listed = vsr("list").out.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [
        *(["c.mp4", "queued"], ["a.mp4", "queued"], ["b.mp4", "cancelled"]),
    ]
    assert "[frame_rate 10, encoder_options {'tune': 'grain'}, drop ['audio', 'chapters']]" in listed[1]
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS, "--queued", "--max-clips", "1"]) == 0
    assert vsr("retry", "b.mp4", "--height", "48").out.splitlines()[1].endswith("[height 48]")
    vsr("remove", "a.mp4")
    status = json.loads(vsr("list", "--json").out)
    assert [(row["clip"], row["state"]) for row in status["clips"]] == [("b.mp4", "queued"), ("c.mp4", "done")]
    assert status["progress"] is None
    vsr("hours", "22:00-06:00")
    assert "such as 22:00-06:00" in vsr("hours", "late", code=2).err
    assert "needs one of --first" in vsr("move", "b.mp4", code=2).err
    assert "there is nothing to cancel" in vsr("cancel", "c.mp4", code=2).err
    assert cli.run(["batch", "in", "--output", "out", "--between", "6-7"]) == 2
    assert "--between 6-7: must be two local times" in capsys.readouterr().err


def test_a_queue_that_is_not_there_is_only_read_with_a_reason(output):
    with pytest.raises(InputError, match="no batch has been run"):
        open_queue(output, only_read=True)
