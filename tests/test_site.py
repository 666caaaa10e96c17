"""The site: what it is made of, how long its pages are, and that it builds."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.support.packages import needed
from vsr_pipeline import cli
from vsr_pipeline.config import Config

ROOT = Path(__file__).parent.parent
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
GENERATED = ("docs/reference/commands.md", "docs/reference/settings.md", "docs/reference/python.md")


@pytest.fixture(scope="module")
def make_site():
    spec = importlib.util.spec_from_file_location("make_site", ROOT / "docs" / "make_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(part=NAVIGATION):
    return re.findall(r"(\S+\.md)$", part, re.MULTILINE)


def guides():
    return listed(NAVIGATION.partition("- Guides:")[2].partition("- Reference:")[0])


def words_of(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    return len(re.sub(r"<!--.*?-->", "", text).split())


def test_every_page_is_in_the_navigation_once():
    pages = {f"{folder}/{path.name}" for folder in ("docs", "checkpoints") for path in (ROOT / folder).glob("*.md")}
    assert sorted(listed()) == sorted(set(listed()))
    assert pages - set(listed()) == set(), "put the new page into the navigation of mkdocs.yml"
    assert [page for page in listed() if page not in GENERATED and not (ROOT / page).exists()] == []


def test_guides_and_the_readme_are_short():
    assert words_of("README.md") < 700
    assert len(guides()) >= 10
    assert {page: words_of(page) for page in guides() if words_of(page) >= 600} == {}


def test_the_reference_has_every_command_option_and_setting(make_site):
    page = make_site.commands_page()
    commands = typer.main.get_command(cli.app).commands
    assert {name for name, command in commands.items() if not hasattr(command, "commands")} <= set(
        re.findall(r"^## vsr (\S+)$", page, re.MULTILINE)
    )
    for name in ("run", "batch"):
        section = page.partition(f"## vsr {name}\n")[2].partition("\n## ")[0]
        options = {
            option for parameter in commands[name].params for option in parameter.opts if option.startswith("--")
        }
        assert [option for option in options - {"--help"} if option not in section] == []
    settings = make_site.settings_page()
    for section, field in Config.model_fields.items():
        assert f"\n## [{section}]\n" in settings
        for key in field.annotation.model_fields:
            assert f"\n| `{key}` | " in settings or f"\n## [{section}.{key}]\n" in settings
    assert "| `strength` | `1.0` | number from 0 to 1 |" in settings


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    needed("zensical")
    source, config = tmp_path / "build" / "site", tmp_path / "mkdocs.yml"
    subprocess.run([sys.executable, ROOT / "docs" / "make_site.py", source], check=True)
    config.write_text((ROOT / "mkdocs.yml").read_text().replace("paths: [.]", f"paths: [{ROOT}]"))
    subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict", "-f", config], check=True)
    pages = list((tmp_path / "build" / "html").rglob("*.html"))
    assert len(pages) > 30
    elsewhere = r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//[^\s\">]+|<link[^>]+stylesheet[^>]+//[^\s\">]+"
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.findall(elsewhere, text) == [], page.name
    assert "memory_limit" in (tmp_path / "build" / "html" / "docs" / "reference" / "python.html").read_text()
