"""`vsr doctor`: what people see, and what they put into an issue."""

import getpass
import json
import platform
import re
from pathlib import Path

import pytest

from vsr_pipeline import cli
from vsr_pipeline.doctor import Finding


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A machine on which every folder tells who somebody is and for whom they work."""
    home = tmp_path / "Anna Secret"
    work = home / "customer-x films"
    work.mkdir(parents=True)
    weights = home / "weights of customer-x"
    weights.mkdir()
    (weights / "RealBasicVSR_x4.pth").write_bytes(b"not weights")
    (home / "bin").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("VSR_CHECKPOINTS", str(weights))
    monkeypatch.chdir(work)
    return home


@pytest.mark.parametrize("ffmpeg", [None, "missing", "broken"])
def test_what_goes_into_an_issue_has_no_path_and_no_name(private, monkeypatch, capsys, ffmpeg):
    if ffmpeg is not None:
        program = private / "bin" / "my ffmpeg"
        if ffmpeg == "broken":
            program.write_text("#!/bin/sh\nexit 0\n")
            program.chmod(0o755)
        monkeypatch.setenv("VSR_FFMPEG", str(program))
    assert cli.run(["doctor", "--json"]) in (0, 1)
    text = capsys.readouterr().out
    found = {finding["subject"]: finding for finding in json.loads(text)}
    assert {"python", "torch", "device", "codecs", "disk", "model auto"} <= set(found)
    assert found["ffmpeg"]["status"] == ("ok" if ffmpeg is None else "error")
    secrets = {"Secret", "customer-x", str(private), platform.node(), getpass.getuser(), str(Path(cli.__file__).parent)}
    assert [secret for secret in secrets if re.search(rf"\b{re.escape(secret)}\b", text)] == []
    assert not re.search(r"[\s\"'](/|[A-Z]:\\)\w", text)


def test_people_are_told_where(private, capsys):
    cli.run(["doctor"])
    assert str(private / "customer-x films") in capsys.readouterr().out


@pytest.mark.parametrize(("found", "shared"), [
    ("/srv/films of/a.pth is damaged: pull it", "films of/a.pth is damaged: pull it"),
    ("C:\\Users\\anna\\a.pth is damaged", "a.pth is damaged"),
    ("'/opt/x/ffmpeg' lacks libx264", "'ffmpeg' lacks libx264"),
    ("3.11.2 on Linux x86_64, 12 MB/s, http://a.org/b/c", "3.11.2 on Linux x86_64, 12 MB/s, http://a.org/b/c"),
])  # fmt: skip
def test_paths_are_shortened_and_nothing_else(found, shared):
    assert Finding("a", "ok", found).to_share()["found"] == shared
