"""A power cut at any moment: what a ledger has confirmed is there, and nothing of it is damaged.

The system calls of a program that writes a ledger are recorded with their data. From them the files are made up as a
disk may hold them after a cut between any two calls: all that was written, what was synced, or some part in between.
"""

import random
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from vsr_pipeline.jobs.ledger import Ledger

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace records the system calls")

PROGRAM = """
import sys
from pathlib import Path
from vsr_pipeline.jobs.ledger import Ledger, SegmentRow

for session in range(2):
    with Ledger(Path(sys.argv[1]) / "ledger.sqlite") as ledger:
        for i in range(6 * session, 6 * session + 6):
            ledger.count_attempt(10 * i, 10 * i + 10)
            ledger.save_segment(SegmentRow(10 * i, 10 * i + 10, f"{i}.mp4", i, "c" * 64, 0.5, ("note" * 900,)))
            sys.stdout.write(f"confirmed {i}\\n")
            sys.stdout.flush()
"""
CALLS = "write,pwrite64,ftruncate,fsync,fdatasync,unlink"
LINE = re.compile(r'(?:\d+ +)?(\w+)\((?:(\d+)<([^>]*)>|"([^"]*)")(?:, (.*))?\) += (\d+)')


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """What was done: (call, file name, data or size, offset), and ("confirmed", number) in between."""
    folder = tmp_path_factory.mktemp("power")
    (folder / "job").mkdir()
    record = folder / "record"
    strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-o", str(record)]
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder / "job")]
    run = subprocess.run([*strace, *command], capture_output=True, text=True)
    if "ptrace" in run.stderr or not record.exists():
        pytest.skip(f"strace may not record here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return [call for line in record.read_text().splitlines() if (call := parsed(line, folder / "job")) is not None]


def parsed(line, folder):
    match = LINE.match(line)
    if match is None:
        return None
    name, number, path, unlinked, rest, _ = match.groups()
    path = path if path is not None else text(unlinked).decode()
    path = text(path).decode() if path.startswith("\\x") else path
    if name == "write" and number == "1":
        return "confirmed", int(text(rest.split('"')[1]).split()[-1])
    if not path.startswith(str(folder)):
        return None
    file = path.removeprefix(str(folder)).strip("/")
    if name in ("fsync", "fdatasync"):
        return "sync", file
    if name == "ftruncate":
        return "truncate", file, int(rest)
    if name == "pwrite64":
        _, data, numbers = rest.split('"')
        return "write", file, text(data), int(numbers.split(",")[-1])
    assert name == "unlink", line
    return "unlink", file


def text(escaped):
    return bytes.fromhex(escaped.replace("\\x", ""))


def apply(files, call):
    kind, name, *values = call
    if kind == "unlink":
        files.pop(name, None)
        return
    content = files.setdefault(name, bytearray())
    if kind == "truncate":
        del content[values[0] :]
    else:
        data, offset = values
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def cuts(calls, how, seed=0):
    """Yield (files on the disk, how many segments were confirmed) for a cut after each call.

    Unsynced calls on a file are lost (synced), are all there (written), or some of them are (some). A deletion is there
    at once or is lost: nothing waits for it.
    """
    rng = random.Random(seed)
    durable, waiting, confirmed = {}, [], 0
    for call in calls:
        if call[0] == "confirmed":
            confirmed = call[1] + 1
        elif call[0] == "sync":
            done = [c for c in waiting if c[1] == call[1]]
            waiting = [c for c in waiting if c[1] != call[1]]
            for one in done:
                apply(durable, one)
        else:
            waiting.append(call)
        files = {name: bytearray(content) for name, content in durable.items()}
        for one in waiting:
            if how == "written" or (how == "some" and rng.random() < 0.5):
                apply(files, one)
        yield files, confirmed


@pytest.mark.parametrize("how", ["written", "synced", "some"])
def test_what_was_confirmed_survives_a_power_cut(calls, tmp_path, how):
    assert sum(call[0] == "confirmed" for call in calls) == 12
    assert sum(call[0] == "sync" for call in calls) > 60
    for place, (files, confirmed) in enumerate(cuts(calls, how)):
        folder = tmp_path / str(place)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        with Ledger(folder / "ledger.sqlite") as ledger:
            found = list(ledger.segments())
            begun = len(ledger.attempts())
        assert found == [(10 * i, 10 * i + 10) for i in range(len(found))], f"after call {place}: {calls[place][:2]}"
        assert len(found) - confirmed in (0, 1), f"after call {place}: {calls[place][:2]}"
        assert begun - len(found) in (0, 1)
        shutil.rmtree(folder)
