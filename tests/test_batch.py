"""`vsr batch`: night after night, only what there is to do; one bad clip stops no other."""

import contextlib
import dataclasses
import datetime
import json
import os
import shutil
import signal
import sqlite3
import time

import pytest
from filelock import FileLock

from tests.support.clips import make_video, same_pictures, times
from tests.support.listening import ActsAfter
from vsr_pipeline import api, cli
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, Interrupted
from vsr_pipeline.jobs import job
from vsr_pipeline.jobs.batch.batch import run_batch
from vsr_pipeline.jobs.batch.discovery import check_template, find_videos
from vsr_pipeline.jobs.batch.hours import next_occurrence
from vsr_pipeline.jobs.batch.queue import open_queue
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.runtime.signals import stoppable

SETTINGS = ["--model", "bicubic-x4", "--segment-frames", "4", "--encoder-preset", "ultrafast"]
CONFIG = Config().override(model="bicubic-x4", segment_frames=4, preset="ultrafast")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


@pytest.fixture
def inbox(workspace):
    return workspace / "in"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "walk.mp4", frames=12, cut=8, audio=False)


@pytest.fixture
def batch(workspace, capsys):
    """Run `vsr batch in --output out` and return its JSON."""

    def run(*options, code=0):
        capsys.readouterr()
        assert cli.run(["batch", "in", "--output", "out", *SETTINGS, *options, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def add(video, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, path)


def become(outcome):
    """Name of each clip to its status."""
    return {os.path.basename(clip["input"]): clip["status"] for clip in outcome["clips"]}  # noqa: PTH119


def computed(outcome):
    return {os.path.basename(clip["input"]): clip["computed_frames"] for clip in outcome["clips"]}  # noqa: PTH119


def outputs(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*_x4.*") if ".vsr" not in p.parts)


def begun(outcome):
    """Names of the clips in the order in which they were worked on."""
    return [name for name, status in become(outcome).items() if status == "done"]


def test_eight_clips_of_which_two_are_broken(workspace, inbox, video, batch):
    good = [inbox / f"good{i}.mp4" for i in range(6)]
    add(video, *good)
    (inbox / "text.mp4").write_text("no video")
    (inbox / "cut.mp4").write_bytes(video.read_bytes()[:900])
    first = batch(code=7)
    assert become(first) == {**{p.name: "done" for p in good}, "text.mp4": "failed", "cut.mp4": "failed"}
    assert outputs(workspace / "out") == [f"good{i}_x4.mp4" for i in range(6)]
    for clip in good:
        assert times(workspace / "out" / f"{clip.stem}_x4.mp4") == times(clip)
    report = (workspace / "out" / "report.json").read_text()
    assert "text.mp4" in report
    assert "cut.mp4" in report
    assert (workspace / "out" / "report.html").exists()

    made = {p: p.stat() for p in (workspace / "out").glob("*.mp4")}
    again = batch(code=7)
    assert sorted(become(again).values()) == ["failed"] * 2 + ["unchanged"] * 6
    assert {p: p.stat() for p in made} == made

    os.utime(good[2])
    touched = batch(code=7)
    assert become(touched)["good2.mp4"] == "unchanged"
    assert sum(computed(touched).values()) == 0
    assert {p: p.stat() for p in made} == made


def copied(folder):
    """Give every file another time, as a copy of an archive does."""
    for path in folder.rglob("*.mp4"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_a_copied_archive_is_not_made_again(workspace, inbox, video, batch, capsys):
    add(video, inbox / "a.mp4", inbox / "b.mp4", inbox / "c.mp4")
    batch()
    copied(workspace)
    (inbox / "b.mp4").write_bytes(video.read_bytes()[:-1] + b"?")
    os.utime(inbox / "b.mp4", (1_700_000_001, 1_700_000_001))
    capsys.readouterr()
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("touched") == 3
    assert computed(batch()) == {"a.mp4": 0, "b.mp4": 12, "c.mp4": 0}
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("unchanged") == 3


def test_what_was_only_touched_stays_when_settings_change(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    copied(workspace)
    assert become(batch("--quality", "40")) == {"a.mp4": "unchanged"}
    copied(inbox)
    assert computed(batch("--quality", "40", "--redo-outdated")) == {"a.mp4": 12}


def test_an_output_that_was_only_touched_is_still_ours(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    copied(workspace / "out")
    assert become(batch()) == {"a.mp4": "unchanged"}
    copied(workspace / "out")
    os.utime(workspace / "out" / "a_x4.mp4")
    assert cli.run(["run", "in/a.mp4", "--output", "out/a_x4.mp4", *SETTINGS]) == 0
    made = workspace / "out" / "a_x4.mp4"
    made.write_bytes(made.read_bytes()[:-1] + b"?")
    assert "--overwrite" in batch(code=7)["clips"][0]["reason"]


def begun_with_others(workspace, names, **changes):
    """Leave clips open, as a run with several workers does that is killed."""
    with open_queue(workspace / "out") as queue:
        for name in names:
            row = dataclasses.replace(queue.row(name), state="working", published=None, outcome=None, **changes)
            assert queue.table.update(row, "state", "published", "outcome", *changes, only_if=("done",))
            for path in [workspace / "out" / row.output, *(workspace / "out" / ".vsr" / row.output).glob("ledger*")]:
                path.unlink(missing_ok=True)


@pytest.mark.nightly
def test_of_several_open_clips_none_is_blamed_until_it_was_alone(workspace, inbox, video, batch):
    names = [f"{letter}.mp4" for letter in "abc"]
    add(video, *(inbox / name for name in names))
    batch()
    begun_with_others(workspace, names, frames_before=0, tries=0)
    add(video, inbox / "d.mp4")
    kill_a_run(workspace, inbox, after=13)  # after d.mp4, while a.mp4 is alone
    rows = {row.clip: (row.state, row.tries) for row in api.batch_status(workspace / "out")}
    assert rows == {"a.mp4": ("working", 0), "b.mp4": ("stopped", 0), "c.mp4": ("stopped", 0), "d.mp4": ("done", 0)}
    outcome = batch("--retries", "1", code=7)
    assert become(outcome) == {"a.mp4": "given up", "b.mp4": "done", "c.mp4": "done", "d.mp4": "unchanged"}
    assert become(batch()) == {"a.mp4": "done", "b.mp4": "unchanged", "c.mp4": "unchanged", "d.mp4": "unchanged"}


def test_a_power_cut_blames_no_clip(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    begun_with_others(workspace, ["a.mp4"], frames_before=0, boot_id="before the power cut")
    add(video, inbox / "b.mp4")
    outcome = batch()
    assert begun(outcome) == ["b.mp4", "a.mp4"]
    assert [row.tries for row in api.batch_status(workspace / "out")] == [0, 0]


def test_a_locked_clip_does_not_hide_a_failed_one(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    (inbox / "bad.mp4").write_text("no video")
    job = workspace / "out" / ".vsr" / "a_x4.mp4"
    job.mkdir(parents=True)
    with FileLock(job / "lock"):
        assert become(batch(code=7)) == {"a.mp4": "stopped", "bad.mp4": "failed"}


def test_what_is_done_is_neither_read_nor_is_the_model_loaded(workspace, inbox, video):
    add(video, inbox / "a.mp4", inbox / "b.mp4")
    options = api.BatchOptions()
    api.batch(inbox, workspace / "out", CONFIG, options=options, reporter=Reporter())
    before = (inbox / "a.mp4").stat()
    (inbox / "a.mp4").write_bytes(bytes(before.st_size))
    os.utime(inbox / "a.mp4", ns=(before.st_atime_ns, before.st_mtime_ns))
    outcome = run_batch(
        inbox,
        workspace / "out",
        CONFIG,
        options=options,
        open_model=lambda _: pytest.fail("the model was loaded"),
        reporter=Reporter(),
    )
    assert [clip.status for clip in outcome.clips] == ["unchanged", "unchanged"]
    assert [clip.computed_frames for clip in outcome.clips] == [0, 0]


def test_rows_without_hashes_are_read(workspace, inbox, video, batch):
    """As they were written before one type said by what any file is known again."""
    add(video, inbox / "a.mp4")
    batch()
    with contextlib.closing(sqlite3.connect(workspace / "out" / ".vsr" / "batch.sqlite")) as queue, queue:
        for name, text in zip(
            ("source", "published"), *queue.execute("SELECT source, published FROM clips"), strict=True
        ):
            identity = json.loads(text)
            del identity["sha256"]
            assert identity.keys() == {"size_bytes", "modified_ns"}
            queue.execute(f"UPDATE clips SET {name} = ?", [json.dumps(identity)])
    assert become(batch()) == {"a.mp4": "unchanged"}


def test_new_clips_come_in_and_lost_outputs_are_made_again(workspace, inbox, video, batch):
    assert batch()["clips"] == []
    add(video, inbox / "a.mp4", inbox / "b.mp4")
    batch()
    add(video, inbox / "c.mp4")
    (workspace / "out" / "a_x4.mp4").rename(workspace / "kept.mp4")
    assert become(batch()) == {"a.mp4": "done", "b.mp4": "unchanged", "c.mp4": "done"}
    assert same_pictures(workspace / "out" / "a_x4.mp4", workspace / "kept.mp4")


def test_a_clip_that_was_replaced_is_done_again(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    make_video(inbox / "a.mp4", frames=9, audio=False)
    assert computed(batch()) == {"a.mp4": 9}
    assert len(times(workspace / "out" / "a_x4.mp4")) == 9


def test_an_output_that_was_altered_is_kept(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    (workspace / "out" / "a_x4.mp4").write_text("precious")
    assert "--overwrite" in batch(code=7)["clips"][0]["reason"]
    assert (workspace / "out" / "a_x4.mp4").read_text() == "precious"
    assert become(batch("--overwrite")) == {"a.mp4": "done"}
    assert len(times(workspace / "out" / "a_x4.mp4")) == 12


def test_other_settings_leave_what_is_done(workspace, inbox, video, batch, capsys):
    add(video, inbox / "a.mp4", inbox / "b.mp4")
    batch("--max-clips", "1")
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS, "--quality", "40"]) == 0
    assert "1 clip was made with other settings (encode.quality: 72 -> 40)" in capsys.readouterr().err
    assert become(batch("--quality", "40")) == {"a.mp4": "unchanged", "b.mp4": "unchanged"}
    assert computed(batch("--quality", "40", "--redo-outdated")) == {"a.mp4": 12, "b.mp4": 0}
    assert become(batch("--quality", "40", "--redo-outdated")) == {"a.mp4": "unchanged", "b.mp4": "unchanged"}


def test_a_clip_that_fails_is_given_up_until_it_changes(inbox, video, batch):
    (inbox / "bad.mp4").write_text("no video")
    assert become(batch(code=7)) == {"bad.mp4": "failed"}
    assert become(batch(code=7)) == {"bad.mp4": "failed"}
    given_up = batch(code=7)
    assert become(given_up) == {"bad.mp4": "given up"}
    assert "--retry-failed" in given_up["clips"][0]["reason"]
    assert become(batch("--retries", "3", code=7)) == {"bad.mp4": "failed"}
    assert become(batch("--retries", "3", code=7)) == {"bad.mp4": "given up"}
    assert become(batch("--retry-failed", code=7)) == {"bad.mp4": "failed"}
    add(video, inbox / "bad.mp4")
    assert become(batch()) == {"bad.mp4": "done"}


def test_a_bug_stops_no_other_clip(workspace, inbox, video, batch, monkeypatch):
    add(video, inbox / "a.mp4", inbox / "b.mp4", inbox / "c.mp4")

    def breaks(segments, *rest, original=job.join_segments):
        if "b_x4.mp4" in str(segments[0]):
            raise KeyError("oops")
        return original(segments, *rest)

    monkeypatch.setattr(job, "join_segments", breaks)
    outcome = batch(code=7)
    assert become(outcome) == {"a.mp4": "done", "b.mp4": "failed", "c.mp4": "done"}
    assert outcome["clips"][1]["exit_code"] == 1
    log = (workspace / "out" / ".vsr" / "batch.log").read_text()
    assert "Traceback" in log
    assert "KeyError: 'oops'" in log


def test_until_stops_at_a_segment_and_the_next_night_goes_on(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4", inbox / "b.mp4")
    moment = datetime.datetime.now() + datetime.timedelta(seconds=6)
    reporter = ActsAfter(0, lambda: time.sleep(max(0.0, (moment - datetime.datetime.now()).total_seconds())))
    options = api.BatchOptions(until=moment.time())
    stopped = api.batch(inbox, workspace / "out", CONFIG, options=options, reporter=reporter)
    assert stopped.exit_code == 75
    assert [clip.status for clip in stopped.clips] == ["stopped", "stopped"]
    assert "4 frames are done" in stopped.clips[0].reason
    assert "not begun" in stopped.clips[1].reason
    assert outputs(workspace / "out") == []
    assert (workspace / "out" / "report.json").exists()
    assert computed(batch()) == {"a.mp4": 8, "b.mp4": 12}
    add(video, workspace / "in" / "undisturbed.mp4")
    batch()
    assert same_pictures(workspace / "out" / "a_x4.mp4", workspace / "out" / "undisturbed_x4.mp4")


@pytest.mark.parametrize(("until", "day"), [("06:00", 2), ("23:30", 1), ("22:00", 2)])
def test_until_is_the_next_such_time(until, day):
    start = datetime.datetime(2024, 5, 1, 22, 0).astimezone()
    moment = datetime.time.fromisoformat(until)
    assert next_occurrence(moment, start) == datetime.datetime.combine(datetime.date(2024, 5, day), moment).astimezone()


def test_max_clips_and_order(inbox, video, batch):
    for i, (name, size) in enumerate([("b.mp4", 300), ("c.mp4", 100), ("a.mp4", 200)]):
        add(video, inbox / name)
        with (inbox / name).open("ab") as file:
            file.write(bytes(size))
        os.utime(inbox / name, (1_000_000 + i, 1_000_000 + i))

    def order(name):
        (inbox.parent / "out" / ".vsr").mkdir(parents=True, exist_ok=True)
        rows = api.preview_batch(inbox, inbox.parent / "out", CONFIG, api.BatchOptions(order=name))
        return [row.clip[0] for row in rows]

    assert order("name") == ["a", "b", "c"]
    assert order("size") == ["c", "a", "b"]
    assert order("newest") == ["a", "c", "b"]
    assert order("oldest") == ["b", "c", "a"]
    assert begun(batch("--max-clips", "2", "--order", "size")) == ["c.mp4", "a.mp4"]
    assert become(batch("--max-clips", "2")) == {"a.mp4": "unchanged", "b.mp4": "done", "c.mp4": "unchanged"}


@pytest.mark.parametrize("names", [("a.avi", "a.mkv"), ("Holiday.mp4", "holiday.mp4"), ("\u00e9.mp4", "e\u0301.mp4")])
def test_two_sources_of_one_output_are_refused_before_any_work(workspace, inbox, video, capsys, names):
    add(video, inbox / "0.mp4", *(inbox / name for name in names))
    if len(list(inbox.iterdir())) < 3:
        pytest.skip("this file system does not tell the names apart")
    assert cli.run(["batch", "in", "--output", "out", *SETTINGS]) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in names)
    assert outputs(workspace / "out") == []
    if names[0].endswith(".avi"):
        assert cli.run(["batch", "in", "--output", "out", "--name", "{name}_x4", *SETTINGS]) == 0


@pytest.mark.parametrize(
    "template", ["{stm}_x4", "{stem", "{}", "{stem!r}", "{stem:>9}", "{stem.x}", "a/{stem}", ".{stem}"]
)
def test_templates_that_make_no_name(workspace, inbox, capsys, template):
    assert cli.run(["batch", "in", "--output", "out", "--name", template, *SETTINGS]) == 2
    assert "{stem}" in capsys.readouterr().err
    assert not (workspace / "out").exists()
    check_template("{name} 4x")


def test_folders_and_globs(inbox, video):
    names = ["a.mp4", "B.MOV", ".hidden.mp4", "notes.txt", "x/c.mkv", "x/y/d.mp4", ".git/e.mp4", "x/out/f.mp4"]
    add(video, *(inbox / name for name in names))

    def found(**options):
        videos = find_videos(inbox, output=inbox / "x" / "out", **({"recursive": True} | options))
        return [path.relative_to(inbox).as_posix() for path in videos]

    assert found() == ["B.MOV", "a.mp4", "x/c.mkv", "x/y/d.mp4"]
    assert found(recursive=False) == ["B.MOV", "a.mp4"]
    assert found(include=("*.mp4",)) == ["a.mp4", "x/y/d.mp4"]
    assert found(exclude=("x/*",)) == ["B.MOV", "a.mp4"]
    assert found(include=("*.mp4", "*.mkv"), exclude=("*/y/*",)) == ["a.mp4", "x/c.mkv"]


@pytest.mark.skipif(os.name == "nt", reason="links want a privilege there")
def test_links_to_folders_are_followed_when_asked_for_and_said_when_not(workspace, inbox, video, capsys):
    add(video, inbox / "x" / "a.mp4", workspace / "elsewhere" / "b.mp4", workspace / "elsewhere" / "y" / "c.mp4")
    (inbox / "far").symlink_to(workspace / "elsewhere")
    (inbox / "a_loop").symlink_to(inbox)
    (workspace / "elsewhere" / "back").symlink_to(inbox)
    (inbox / "again").symlink_to(inbox / "x")
    (inbox / "nowhere").symlink_to(workspace / "missing")

    def found(**options):
        videos = find_videos(inbox, output=workspace / "out", recursive=True, **options)
        return [path.relative_to(inbox).as_posix() for path in videos]

    assert found() == ["x/a.mp4"]
    assert found(follow_links=True) == ["far/b.mp4", "far/y/c.mp4", "x/a.mp4"]
    run = ["batch", "in", "--output", "out", "--recursive", *SETTINGS]
    for options in (["--dry-run"], []):
        assert cli.run([*run, *options]) == 0
        assert "not looked into: far; --follow-links does" in capsys.readouterr().err
    assert cli.run([*run, "--dry-run", "--follow-links"]) == 0
    said = capsys.readouterr()
    assert "far/b.mp4" in said.out
    assert "not looked into" not in said.err
    assert cli.run([*run, "--dry-run", "--exclude", "far/*"]) == 0
    assert "not looked into" not in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read every folder")
def test_a_folder_that_cannot_be_read_is_said_or_excluded(inbox, video):
    add(video, inbox / "a.mp4")
    (inbox / "lost+found").mkdir(mode=0)
    with pytest.raises(InputError, match=r"--exclude 'lost\+found/\*'"):
        find_videos(inbox, output=inbox / "out", recursive=True)
    found = find_videos(inbox, output=inbox / "out", recursive=True, exclude=("lost+found/*",))
    assert [path.name for path in found] == ["a.mp4"]


def test_recursive_keeps_folders_and_an_output_folder_inside_is_no_input(workspace, inbox, video, capsys):
    add(video, inbox / "a.mp4", inbox / "x" / "a.mp4")
    run = ["batch", "in", "--output", "in/enhanced", "--recursive", *SETTINGS]
    for _ in range(2):
        assert cli.run(run) == 0
        assert outputs(inbox / "enhanced") == ["a_x4.mp4", "x/a_x4.mp4"]
    assert "2 unchanged" in capsys.readouterr().out
    assert cli.run(["batch", "in", "--output", "in", *SETTINGS]) == 2
    assert cli.run(["batch", "nowhere", "--output", "out", *SETTINGS]) == 3


def test_a_second_batch_is_one_line_and_exit_75(workspace, inbox, video, capsys):
    add(video, inbox / "a.mp4")
    (workspace / "out" / ".vsr").mkdir(parents=True)
    with FileLock(workspace / "out" / ".vsr" / "lock"):
        assert cli.run(["batch", "in", "--output", "out", *SETTINGS]) == 75
    error = capsys.readouterr().err
    assert "another batch is at work" in error
    assert error.count("\n") == 1


def test_a_clip_that_somebody_else_works_on_is_left_to_him(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4", inbox / "b.mp4")
    job = workspace / "out" / ".vsr" / "a_x4.mp4"
    job.mkdir(parents=True)
    with FileLock(job / "lock"):
        assert become(batch(code=75)) == {"a.mp4": "stopped", "b.mp4": "done"}
    assert become(batch()) == {"a.mp4": "done", "b.mp4": "unchanged"}


def test_interrupted_in_the_middle_and_continued(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4", inbox / "b.mp4", inbox / "c.mp4")
    reporter = ActsAfter(18, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with stoppable(), pytest.raises(Interrupted) as stopped:
        api.batch(inbox, workspace / "out", CONFIG, options=api.BatchOptions(), reporter=reporter)
    assert stopped.value.exit_code == 143
    states = {row.clip: row.state for row in api.batch_status(workspace / "out")}
    assert states == {"a.mp4": "done", "b.mp4": "stopped", "c.mp4": "queued"}
    assert (workspace / "out" / "report.json").exists()
    assert list((workspace / "out").rglob("*.tmp*")) == []
    assert computed(batch()) == {"b.mp4": 8, "c.mp4": 12, "a.mp4": 0}
    assert same_pictures(workspace / "out" / "b_x4.mp4", workspace / "out" / "c_x4.mp4")


class Killed(BaseException):
    """Ends the program as if it were killed: nothing of ours looks at it."""


def kill_a_run(workspace, inbox, after):
    def die():
        raise Killed

    with pytest.raises(Killed):
        reporter = ActsAfter(after, die)
        api.batch(inbox, workspace / "out", CONFIG, options=api.BatchOptions(), reporter=reporter)


def test_a_killed_run_continues_its_clip_first(workspace, inbox, video, batch):
    add(video, inbox / "b.mp4")
    kill_a_run(workspace, inbox, after=8)  # in the third segment: then the first one is recorded for certain
    add(video, inbox / "a.mp4")
    outcome = batch()
    assert begun(outcome) == ["b.mp4", "a.mp4"]
    assert computed(outcome) == {"b.mp4": 8, "a.mp4": 12}


def test_a_clip_that_kills_the_run_lets_the_others_go_first_and_is_given_up(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    kill_a_run(workspace, inbox, after=1)
    add(video, inbox / "b.mp4")
    preview = api.preview_batch(inbox, workspace / "out", CONFIG, api.BatchOptions())
    assert len(preview) == 2
    assert begun(batch("--max-clips", "1")) == ["b.mp4"]
    kill_a_run(workspace, inbox, after=1)
    outcome = batch(code=7)
    assert become(outcome) == {"a.mp4": "given up", "b.mp4": "unchanged"}
    assert "without a word" in outcome["clips"][0]["reason"]


@pytest.mark.skipif(os.name == "nt", reason="no limits of file sizes")
def test_a_full_disk_ends_the_batch_and_costs_no_try(workspace, inbox, batch):
    """A limit of the size of files stands for the disk: writing fails at the same places."""
    add(make_video(workspace / "large.mp4", width=240, height=160, audio=False), inbox / "a.mp4", inbox / "b.mp4")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        outcome = batch("--quality", "100", code=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert become(outcome) == {"a.mp4": "failed", "b.mp4": "stopped"}
    assert "no space left" in outcome["clips"][0]["reason"]
    assert [(row.state, row.tries) for row in api.batch_status(workspace / "out")] == [("failed", 0), ("queued", 0)]
    assert become(batch("--quality", "100")) == {"b.mp4": "done", "a.mp4": "done"}


def test_a_lost_queue_is_made_up_from_the_ledgers(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    batch()
    for path in (workspace / "out" / ".vsr").glob("batch.sqlite*"):
        path.unlink()
    assert become(batch()) == {"a.mp4": "unchanged"}


def test_status_shows_the_queue(workspace, inbox, video, batch, capsys):
    assert cli.run(["batch", "--status", "--output", "out"]) == 3
    add(video, inbox / "a.mp4")
    (inbox / "bad.mp4").write_text("no video")
    batch(code=7)
    assert cli.run(["batch", "--status", "--output", "out"]) == 0
    _, failed, done = capsys.readouterr().out.splitlines()
    assert done.split()[:4] == ["a.mp4", "done", "0", "12"]
    assert failed.split()[:3] == ["bad.mp4", "failed", "1"]
    assert "bad.mp4" in failed.split(maxsplit=6)[-1]


def test_dry_run_writes_nothing(workspace, inbox, video, capsys):
    add(video, inbox / "a.mp4")
    assert cli.run(["batch", "in", "--output", "out", "--dry-run", *SETTINGS]) == 0
    assert "new" in capsys.readouterr().out
    assert not (workspace / "out").exists()


def test_quiet_prints_only_what_a_mail_should_say(workspace, inbox, video, capsys):
    add(video, inbox / "a.mp4")
    (inbox / "bad.mp4").write_text("no video")
    assert cli.run(["batch", "in", "--output", "out", "--quiet", *SETTINGS]) == 7
    said = capsys.readouterr()
    assert said.err == ""
    failure, summary = said.out.splitlines()
    assert "bad" in failure
    assert summary == "in: 1 done, 1 failed"
    assert "enhance a.mp4" in (workspace / "out" / ".vsr" / "batch.log").read_text()


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are always Unicode here")
def test_a_name_that_is_no_unicode_is_a_failure_of_its_own(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4", inbox / os.fsdecode(b"caf\xe9.mp4"))
    outcome = batch(code=7)
    assert become(outcome) == {"a.mp4": "done", "caf?.mp4": "failed"}


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are always Unicode here")
def test_folders_whose_names_are_no_unicode(workspace, inbox, video, capfd):
    add(video, inbox / "a.mp4")
    here = workspace / os.fsdecode(b"caf\xe9")
    inbox.rename(here)
    command = ["batch", str(here), "--output", str(here / "out"), *SETTINGS]
    assert cli.run([*command, "--json"]) == 0
    assert cli.run([*command, "--json"]) == 0
    assert "1 unchanged" in capfd.readouterr().err
    assert "caf\\udce9/out/a_x4.mp4: 12 frames" in (here / "out" / ".vsr" / "batch.log").read_text()
    assert cli.run(["batch", "--status", "--output", str(here / "out"), "--json"]) == 0


def test_a_name_that_is_too_long_for_an_output_stops_no_other_clip(workspace, inbox, video, batch):
    long = "x" * 250 + ".mp4"
    add(video, inbox / "a.mp4", inbox / long)
    outcome = batch(code=7)
    assert become(outcome) == {"a.mp4": "done", long: "failed"}
    assert outcome["clips"][1]["exit_code"] == 6


def test_a_row_that_is_not_ours_is_one_line(workspace, inbox, video, batch, capsys):
    add(video, inbox / "a.mp4")
    batch()
    with contextlib.closing(sqlite3.connect(workspace / "out" / ".vsr" / "batch.sqlite")) as queue, queue:
        queue.execute("UPDATE clips SET source = '{}'")
    assert cli.run(["batch", "--status", "--output", "out"]) == 6
    assert "delete it" in capsys.readouterr().err


def test_a_job_begun_by_somebody_else_is_not_started_over(workspace, inbox, video, batch):
    add(video, inbox / "a.mp4")
    assert cli.run(["run", "in/a.mp4", "--output", "out/a_x4.mp4", *SETTINGS, "--quality", "60"]) == 0
    made = (workspace / "out" / "a_x4.mp4").stat()
    assert "encode.quality: 60 -> 72" in batch(code=7)["clips"][0]["reason"]
    assert (workspace / "out" / "a_x4.mp4").stat() == made
    with Ledger(workspace / "out" / ".vsr" / "a_x4.mp4" / "ledger.sqlite") as ledger:
        assert ledger.finished() is not None


STRANGE = "a\nb\x1b[31m\u2028 影.mp4"
ESCAPED = "a\\nb\\x1b[31m\\u2028 影"


@pytest.mark.skipif(os.name == "nt", reason="no such names")
def test_a_name_with_line_breaks_is_one_line_everywhere(workspace, inbox, video, capsys):
    add(video, inbox / STRANGE)
    (inbox / "c\nd.mp4").write_text("no video")
    command = ["batch", "in", "--output", "out", *SETTINGS]
    assert cli.run([*command, "--dry-run"]) == 0
    preview = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in preview] == ["new", "new"]
    assert cli.run(command) == 7
    said = capsys.readouterr()
    failure, summary = said.out.splitlines()
    assert failure.startswith("out/c\\nd_x4")
    assert summary == "in: 1 done, 1 failed"
    assert "\x1b" not in said.err
    assert not any(line.startswith(("b", "d")) for line in said.err.splitlines())
    assert cli.run(["batch", "--status", "--output", "out"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.startswith("clip")
    assert first.startswith("c\\nd.mp4")  # it is tried again
    assert second.startswith(f"{ESCAPED}.mp4")
    log = (workspace / "out" / ".vsr" / "batch.log").read_text().splitlines()
    assert all(line[:2] == "20" for line in log)
    assert cli.run(["run", f"in/{STRANGE}", "--output", "out/x\ny.mp4", *SETTINGS]) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert "\x1b" not in said.err
    assert cli.run(["run", "in/c\nd\x1b.mp4", "--output", "out/z.mp4", *SETTINGS]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error
