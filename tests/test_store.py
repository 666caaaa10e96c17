"""The ledger keeps what it has confirmed, whatever ends the program, and says so when it cannot."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsr_pipeline.errors import ChangedError, LockedError, OutputError, ResourceError, UsageError
from vsr_pipeline.jobs.ledger import SCHEMA_VERSION, Attempts, FinishedRow, JoinedRow, Ledger, SegmentRow
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.timeline import Analysis, Decision, Timeline, Tint

DECISION = Decision({"cleaning_passes": 3}, "cleaned three times")


def segment(start, stop, **changes):
    values = {"file_name": f"{start}.mp4", "size_bytes": 1000, "sha256": "c" * 64, "computed_seconds": 1.25}
    return SegmentRow(start=start, stop=stop, **values | changes)


def quick_check(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA quick_check").fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job" / "ledger.sqlite"


@contextlib.contextmanager
def child(code, *arguments):
    """Run a program that uses a ledger; it is killed at the latest when the block ends."""
    program = "import sys, time\nfrom vsr_pipeline.jobs.ledger import *\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_new_ledger_knows_nothing(path):
    with Ledger(path) as ledger:
        assert ledger.fingerprint() is None
        assert ledger.analysis() is None
        assert ledger.joined() is None
        assert ledger.finished() is None
        assert ledger.segments() == {}
        assert ledger.attempts() == {}
        assert ledger.decisions() == {}
        assert ledger.events() == ()


def test_everything_is_there_when_it_is_opened_again(path):
    rows = [segment(300, 310, notes=("shorter windows", "fp32 für „NaN“")), segment(0, 300)]
    finished = FinishedRow("out.mp4", FileIdentity(5, 2**62), "2026-01-01T06:00:00+01:00", "{}")
    with Ledger(path) as ledger:
        ledger.start({"z": "1", "a": "2"})
        ledger.save_decision(300, DECISION)
        for row in rows:
            ledger.save_segment(row)
        ledger.save_joined(JoinedRow("track.mp4", 2**40, "d"))
        ledger.save_finished(finished)
        ledger.note("warning", "first")
        ledger.note("info", "second")
    with Ledger(path) as ledger:
        assert list(ledger.fingerprint().items()) == [("z", "1"), ("a", "2")]
        assert ledger.decisions() == {300: DECISION}
        assert list(ledger.segments().items()) == [((0, 300), rows[1]), ((300, 310), rows[0])]
        assert ledger.joined() == JoinedRow("track.mp4", 2**40, "d")
        assert ledger.finished() == finished
        assert [(e.kind, e.message) for e in ledger.events()] == [("warning", "first"), ("info", "second")]
    # Closed properly, it is a single file.
    assert [p.name for p in path.parent.iterdir()] == ["ledger.sqlite"]


def test_it_is_as_durable_as_sqlite_can_be(path):
    with Ledger(path) as ledger:
        pragma = {
            name: ledger._database.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
        }
    assert pragma == {"journal_mode": "truncate", "synchronous": 2, "foreign_keys": 1, "user_version": SCHEMA_VERSION}


def test_saving_again_replaces(path):
    with Ledger(path) as ledger:
        ledger.start({"a": "1", "b": "2"})
        ledger.start({"b": "3"})
        ledger.save_segment(segment(0, 5))
        ledger.save_segment(segment(0, 5, sha256="e"))
        ledger.save_analysis(Analysis(Timeline.constant_rate(3, Fraction(25))))
        ledger.save_analysis(Analysis(Timeline.constant_rate(4, Fraction(25))))
        assert ledger.fingerprint() == {"b": "3"}
        assert ledger.segments() == {(0, 5): segment(0, 5, sha256="e")}
        assert ledger.analysis().timeline.frame_count == 4


def test_attempts_tell_whether_something_was_computed_twice(path):
    with Ledger(path) as ledger:
        assert ledger.count_attempt(0, 300) == 1
        assert ledger.count_attempt(0, 300) == 2
        assert ledger.count_attempt(300, 400) == 1
        ledger.save_segment(segment(0, 300))
        assert ledger.attempts() == {(0, 300): Attempts(2, 1), (300, 400): Attempts(1, 0)}
        ledger.forget_segment(0, 300)
        assert ledger.segments() == {}
        ledger.count_attempt(0, 300)
        ledger.save_segment(segment(0, 300))
        assert ledger.attempts()[0, 300] == Attempts(3, 2)


@st.composite
def timelines(draw):
    first = draw(st.integers(-(2**62), 2**62))
    steps = draw(st.lists(st.integers(1, 2**40), max_size=40))
    pts = [first]
    for step in steps:
        pts.append(pts[-1] + step)
    cuts = draw(st.sets(st.integers(1, len(pts) - 1))) if len(pts) > 1 else set()
    time_base = draw(st.fractions(min_value=Fraction(1, 10**12), max_value=10**6).filter(lambda f: f > 0))
    parts = st.floats(-1, 1)
    tints = draw(
        st.lists(st.none() | st.builds(Tint, parts, parts, parts), min_size=len(cuts) + 1, max_size=len(cuts) + 1)
    )
    last_duration = draw(st.integers(1, 2**62))
    timeline = Timeline(
        time_base, tuple(pts), last_duration, tuple(sorted(cuts)), tints=draw(st.sampled_from([(), tuple(tints)]))
    )
    return timeline.with_repeats(range(1, len(pts), 3)) if draw(st.booleans()) else timeline


def test_timelines_come_back_exactly(path):
    with Ledger(path) as ledger:

        @settings(max_examples=60, deadline=None)
        @given(timelines())
        def check(timeline):
            ledger.save_analysis(Analysis(timeline))
            assert ledger.analysis() == Analysis(timeline)

        check()


def test_a_million_frames(path):
    timeline = Timeline(Fraction(1, 90000), tuple(range(-7, 3003 * 10**6 - 7, 3003)), 3003, (5, 999_999))
    with Ledger(path) as ledger:
        ledger.save_analysis(Analysis(timeline))
        assert ledger.analysis() == Analysis(timeline)
    assert path.stat().st_size < 20 * 10**6


def test_a_second_connection_sees_what_is_committed(path):
    with Ledger(path) as writer, Ledger(path) as reader:
        writer.save_segment(segment(0, 5))
        assert list(reader.segments()) == [(0, 5)]
        writer.save_joined(JoinedRow("track.mp4", 1, "d"))
        assert reader.joined() == JoinedRow("track.mp4", 1, "d")


def test_a_reader_is_not_held_up_by_a_writer(path):
    with Ledger(path) as ledger, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        ledger.save_segment(segment(0, 5))
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM segments")
        assert list(ledger.segments()) == [(0, 5)]
        other.execute("ROLLBACK")


def test_a_ledger_that_stays_locked_is_said(path, monkeypatch):
    monkeypatch.setattr("vsr_pipeline.runtime.database._BUSY_SECONDS", 0.1)
    with Ledger(path) as ledger, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="locked"):
            ledger.note("info", "late")
        other.execute("ROLLBACK")
        ledger.note("info", "now")
        assert [e.message for e in ledger.events()] == ["now"]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_confirmed_survives_a_kill(path, seed):
    """The program is killed right after a commit that it reported, while it goes on with the next."""
    wanted = random.Random(seed).randrange(1, 60)
    with child(
        """
        with Ledger(Path(sys.argv[1])) as ledger:
            for i in range(10_000):
                ledger.count_attempt(10 * i, 10 * i + 10)
                ledger.save_segment(SegmentRow(10 * i, 10 * i + 10, f"{i}.mp4", i, "c", 0.5, ("note",)))
                print(i, flush=True)
        """,
        path,
    ) as process:
        confirmed = [int(process.stdout.readline()) for _ in range(wanted)]
        process.send_signal(signal.SIGKILL)
        confirmed += map(int, process.stdout.read().split())
    assert process.returncode == -signal.SIGKILL
    with Ledger(path) as ledger:
        found = list(ledger.segments())
        assert found == [(10 * i, 10 * i + 10) for i in range(len(found))]
        # One more may have been committed that the program had no time to report.
        assert len(found) - len(confirmed) in (0, 1)
        assert all(ledger.attempts()[key].finished == 1 for key in found)
    assert quick_check(path) == [("ok",)]


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_inside_a_transaction_leaves_the_old_state(path, seed):
    """The transaction is larger than SQLite's cache, so a part of it is in the file already."""
    before = {f"field {n}": str(n) for n in range(20)}
    with Ledger(path) as ledger:
        ledger.start(before)
    with child(
        """
        class Slow(dict):
            def items(self):
                for n in range(int(sys.argv[2])):
                    yield f"new {n}", "x" * 4000
                print("inside", flush=True)
                time.sleep(60)
        Ledger(Path(sys.argv[1])).start(Slow())
        """,
        path,
        random.Random(seed).randrange(1500, 4000),
    ) as process:
        assert process.stdout.readline() == "inside\n", process.stderr.read()
        assert path.stat().st_size > 1_000_000
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Ledger(path) as ledger:
        assert ledger.fingerprint() == before
        ledger.start({"new": "state"})
    assert quick_check(path) == [("ok",)]


def test_an_exception_inside_a_transaction_leaves_the_old_state(path):
    class Failing(dict):
        def items(self):
            yield "a", "new"
            raise KeyboardInterrupt

    with Ledger(path) as ledger:
        ledger.start({"a": "old"})
        with pytest.raises(KeyboardInterrupt):
            ledger.start(Failing())
        assert ledger.fingerprint() == {"a": "old"}
        ledger.start({"a": "new"})


@pytest.mark.parametrize("mode", ["PERSIST", "WAL"])
def test_a_journal_without_its_file_is_not_taken_for_ours(path, tmp_path, mode):
    """As when a program is killed while it starts over; the one before had a write-ahead log."""
    with Ledger(path) as ledger:
        ledger.save_segment(segment(0, 5))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as before:
        before.execute(f"PRAGMA journal_mode = {mode}")
        before.execute("PRAGMA cache_size = 1")
        before.execute("BEGIN IMMEDIATE")
        for n in range(200):  # more than the cache holds: the journal is on disk before the transaction ends
            before.execute("INSERT INTO events (at, kind, message) VALUES (?, '', ?)", (str(n), "x" * 2000))
        left = [file for file in path.parent.iterdir() if file != path]
        assert any(file.stat().st_size > 500 for file in left)
        for file in left:
            shutil.copy(file, tmp_path / file.name)
        before.execute("ROLLBACK")
    path.unlink()
    for file in left:
        shutil.copy(tmp_path / file.name, file)
    with Ledger(path) as ledger:
        assert ledger.segments() == {}
        ledger.save_segment(segment(5, 10))
    with Ledger(path) as ledger:
        assert list(ledger.segments()) == [(5, 10)]


def left_by_a_version_before(path, into):
    """Leave the files of a ledger with a write-ahead log as a kill does: what it holds is not in the ledger yet."""
    with Ledger(path) as ledger:
        ledger.save_segment(segment(0, 5))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as before:
        before.execute("PRAGMA journal_mode = WAL")
        before.execute("INSERT INTO decisions VALUES (0, ?)", [json.dumps(dataclasses.asdict(DECISION))])
        into.mkdir()
        for file in path.parent.iterdir():
            shutil.copy(file, into / file.name)
    assert (into / "ledger.sqlite-wal").stat().st_size > 0
    return into / "ledger.sqlite"


def test_a_ledger_of_a_version_before_is_read_and_converted(path, tmp_path):
    old = left_by_a_version_before(path, tmp_path / "old")
    with Ledger(old) as ledger:
        assert list(ledger.segments()) == [(0, 5)]
        assert ledger.decisions() == {0: DECISION}
        ledger.save_segment(segment(5, 10))
    assert [file.name for file in old.parent.iterdir()] == ["ledger.sqlite"]
    with Ledger(old) as ledger:
        assert list(ledger.segments()) == [(0, 5), (5, 10)]
        assert ledger.decisions() == {0: DECISION}


def test_a_reader_leaves_the_journal_of_a_version_before_alone(path, tmp_path):
    """`--status` while such a version is at work."""
    old = left_by_a_version_before(path, tmp_path / "old")
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as writer:
        writer.execute("INSERT INTO decisions SELECT 5, decision FROM decisions")
        with Ledger(old, only_read=True) as ledger:
            assert set(ledger.decisions()) == {0, 5}
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("INSERT INTO decisions SELECT 7, decision FROM decisions WHERE shot_start = 0")


def test_a_ledger_of_a_version_before_that_is_in_use_is_said(path, tmp_path, monkeypatch):
    monkeypatch.setattr("vsr_pipeline.runtime.database._BUSY_SECONDS", 0.1)
    old = left_by_a_version_before(path, tmp_path / "old")
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as user:
        user.execute("BEGIN")
        user.execute("SELECT * FROM decisions").fetchall()
        with pytest.raises(LockedError, match="locked"):
            Ledger(old)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (sqlite3.SQLITE_PROTOCOL, OutputError, "does not lock files"),
        (sqlite3.SQLITE_BUSY, LockedError, "another program"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, LockedError, "another program"),
        (sqlite3.SQLITE_IOERR_LOCK, OutputError, "cannot use"),
    ],
)
def test_what_a_network_makes_of_locks_is_one_line(path, code, error, message):
    """A stand-in: no file system here fails so."""
    with Ledger(path) as ledger, pytest.raises(error, match=message) as failure, ledger._database.transaction():
        raised = sqlite3.OperationalError("locking protocol")
        raised.sqlite_errorcode = code
        raise raised
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_readers_and_a_writer_wait_for_each_other(path):
    """`--status` again and again, from another process, while a run writes: neither fails."""
    with Ledger(path) as ledger:
        ledger.save_segment(segment(0, 5))
    reading = """
        for _ in range(30):
            with Ledger(Path(sys.argv[1]), only_read=True) as ledger:
                assert (0, 5) in ledger.segments()
        print("read", flush=True)
        """
    with child(reading, path) as first, child(reading, path) as second, Ledger(path) as ledger:
        written = 0
        while first.poll() is None or second.poll() is None:
            ledger.note("info", f"{written}")
            written += 1
            time.sleep(0.02)
        assert [process.stdout.read() for process in (first, second)] == ["read\n"] * 2, first.stderr.read()
        assert len(ledger.events()) == written


def test_a_newer_ledger_is_left_alone(path):
    Ledger(path).__exit__(None, None, None)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        UsageError, match=rf"newer vsr .schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}.*--fresh"
    ):
        Ledger(path)
    assert path.read_bytes() == before


def test_an_older_ledger_is_left_alone(path):
    Ledger(path).__exit__(None, None, None)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    before = path.read_bytes()
    with pytest.raises(ChangedError, match=r"older vsr .*--fresh"):
        Ledger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "page", "half", "foreign"])
def test_a_damaged_ledger_is_said_and_left_alone(path, damage):
    with Ledger(path) as ledger:
        ledger.start({f"field {n}": "x" * 500 for n in range(100)})
    if damage == "text":
        path.write_text("no database, but longer than a header of one hundred bytes " * 10)
    elif damage == "page":
        data = bytearray(path.read_bytes())
        data[-4096:] = os.urandom(4096)
        path.write_bytes(data)
    elif damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE holidays (place)")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"ledger.sqlite is damaged or is no ledger .*--fresh starts over"):
        Ledger(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_ledger(path):
    """A power cut can leave one, before anything was done."""
    path.parent.mkdir()
    path.touch()
    with Ledger(path) as ledger:
        assert ledger.segments() == {}


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        Ledger(tmp_path / "file" / "ledger.sqlite")
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(OutputError, match=r"cannot use .*ledger.sqlite"):
        Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("a small file system is mounted on Linux only")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path):
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_full_disk_damages_nothing(small_disk):
    path = small_disk / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.save_segment(segment(0, 5))
        fill(small_disk / "filler")
        with pytest.raises(ResourceError, match=r"no space left while writing .*ledger.sqlite"):
            ledger.save_analysis(Analysis(Timeline.constant_rate(200_000, Fraction(25))))
        assert ledger.analysis() is None
        assert list(ledger.segments()) == [(0, 5)]
    with contextlib.suppress(ResourceError), Ledger(path) as ledger:
        assert list(ledger.segments()) == [(0, 5)]
    (small_disk / "filler").unlink()
    with Ledger(path) as ledger:
        assert list(ledger.segments()) == [(0, 5)]
        ledger.save_segment(segment(5, 10))
        assert list(ledger.segments()) == [(0, 5), (5, 10)]
    assert quick_check(path) == [("ok",)]


def test_a_disk_that_is_full_from_the_beginning(small_disk):
    fill(small_disk / "filler")
    with pytest.raises(ResourceError, match="no space left"):
        Ledger(small_disk / "ledger.sqlite")
    (small_disk / "filler").unlink()
    with Ledger(small_disk / "ledger.sqlite") as ledger:
        assert ledger.segments() == {}


def test_a_limit_that_only_a_write_can_find(path):
    """As with a quota: SQLite reports an I/O error, the disk itself has room."""
    resource = pytest.importorskip("resource", reason="no such limits on Windows")
    ledger = Ledger(path)
    ledger.save_segment(segment(0, 5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with ledger, pytest.raises(ResourceError, match="no space left") as failure:
            ledger.save_analysis(Analysis(Timeline.constant_rate(200_000, Fraction(25))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failure.value.exit_code == 5
    with Ledger(path) as ledger:
        assert ledger.analysis() is None
        assert list(ledger.segments()) == [(0, 5)]
