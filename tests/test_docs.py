"""What the documentation names is there: commands, options, models, links, exit codes."""

import itertools
import re

import pytest

from tests.support.page_commands import PAGES, ROOT, commands_of
from vsr_pipeline import cli, errors
from vsr_pipeline.checkpoints.manifest import load_manifest

COMMANDS = [
    *("run", "batch", "queue", "split", "enhance", "merge", "demo", "metrics"),
    *("compare", "degrade", "live", "train", "models", "probe", "doctor", "serve", "report"),
]


def helped(capsys, *words):
    assert cli.run([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_option_and_model_exists(page, capsys):
    models = {entry.name for entry in load_manifest()}
    for command in commands_of(page):
        if not command.is_ours:
            continue
        words = command.words[1:]
        text = helped(capsys, *words[: 2 if words[0] in ("models", "queue") else 1])
        for option in (w for w in words if w.startswith("--")):
            assert option in text, f"{page.name}: {command.text}"
        for option, value in itertools.pairwise(words):
            assert option != "--model" or value in models, f"{page.name}: {command.text}"


def test_every_command_is_run_or_says_why_not():
    commands = [(page, command) for page in PAGES for command in commands_of(page)]
    assert len([command for _, command in commands if command.is_ours]) > 100
    # What is not marked is run by tests/test_docs_commands.py, which knows this program only.
    others = [f"{page.name}, line {c.line}: {c.text}" for page, c in commands if not c.is_ours and not c.why_not_run]
    assert others == [], "put <!-- not run: REASON --> before the block"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command, capsys):
    assert f"vsr {command}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n  {command} " in helped(capsys)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_exit_codes_are_those_of_the_errors():
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    for code, names in re.findall(r"^\| (\d+) \|.*\| (`.*`) \|$", page, re.MULTILINE):
        assert {getattr(errors, name).exit_code for name in re.findall(r"`(\w+)`", names)} == {int(code)}
    documented = set(re.findall(r"`(\w+Error|StoppedForNow)`", page))
    # Those of the web page become HTTP's own numbers.
    own = [error for error in errors.VsrError.__subclasses__() if error.__module__ == errors.__name__]
    assert documented >= {error.__name__ for error in own}
