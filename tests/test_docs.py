"""What the documentation says can be typed."""

import re
from pathlib import Path

import pytest

from vsr_pipeline import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
COMMANDS = [
    *("run", "batch", "split", "enhance", "merge", "demo", "metrics"),
    *("degrade", "train", "models", "probe", "doctor"),
]


def typed(page):
    """Every command of the program on a page, comments removed, parts of `a && b` apart."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"^(\$ |    )(\S*/)?vsr |^0 .*/vsr |^ExecStart=\S*vsr ", line):
            for part in line.partition("#")[0].split("&&"):
                yield part[part.index("vsr ") + 4 :].split()


def helped(capsys, *words):
    assert cli.run([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_and_option_exists(page, capsys):
    for words in typed(page):
        command = words[:2] if words[0] == "models" else words[:1]
        text = helped(capsys, *command)
        for option in (w for w in words if w.startswith("--")):
            assert option in text, f"{page.name}: vsr {' '.join(words)}"


def test_the_pages_have_commands():
    assert sum(len(list(typed(page))) for page in PAGES) > 12


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command, capsys):
    assert f"vsr {command}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n  {command} " in helped(capsys)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
