"""The commands that a page of the documentation shows, and the marks of those that cannot run in a test.

A mark is a comment before a block, which readers do not see: `<!-- not run: a camera is needed -->` is about all of the
block, `<!-- not run (--device cuda): four GPUs are needed -->` about the lines that have these words.
"""

import dataclasses
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "benchmarks/RESULTS.md")
    ),
    *sorted((ROOT / "checkpoints").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_FENCE = re.compile(r" *```(\w*)")
_MARK = re.compile(r" *<!-- not run(?: \((.+)\))?: (.+) -->$")
# A line of cron or of systemd begins the program, too.
_STARTED = re.compile(r"(?:(?:[\d*]+ ){5} *(?:nice -n \d+ )?|ExecStart=)\S*/(vsr .*)")
_NAMES = (
    "run|batch|queue|split|enhance|merge|demo|metrics|compare|degrade|live|train|models|probe|doctor|serve|report|bench"
)
_PROGRAM = re.compile(rf"^ *(?:\$ )?(?:\S*/)?vsr (?:{_NAMES})\b")


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a page, without its comment; `why_not_run` is empty where a test runs it."""

    line: int
    text: str
    why_not_run: str

    @property
    def words(self):
        return shlex.split(self.text)

    @property
    def is_ours(self):
        return self.text.startswith("vsr ")


@dataclasses.dataclass
class _Block:
    """Lines of code with the number of the first one, and the marks before them: (words, reason)."""

    language: str
    first: int
    lines: list[str]
    marks: list[tuple[str, str]]


def commands_of(page):
    """Every command in the blocks of code of a page, parts of `a && b` apart.

    Raises:
        AssertionError: a mark belongs to nothing, or a command of the program stands where it would be passed over.
    """
    return [command for block in _blocks(page.read_text(encoding="utf-8")) for command in _commands_in(block)]


def _commands_in(block):
    found = []
    for number, line in enumerate(block.lines, block.first):
        typed = line.strip()
        started = _STARTED.fullmatch(typed)
        if block.language == "console" and typed.startswith("$ "):
            typed = typed[2:].partition(" #")[0]
        elif started:
            typed = started[1]
        else:
            assert not _PROGRAM.search(line), f"line {number}: a command is '$ vsr ...' in a block ```console"
            continue
        for part in map(str.strip, typed.split("&&")):
            reason = next((reason for words, reason in block.marks if words in part), "")
            found.append(Command(number, part, reason))
    for words, reason in block.marks:
        assert any(words in command.text for command in found), f"line {block.first}: nothing for '{reason}'"
    return found


def _blocks(text):
    """Yield each block of code: between fences, or indented by four spaces after an empty line."""
    marks, block, before = [], None, ""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if fenced:
            if _FENCE.match(line):
                yield block
                block, fenced, marks = None, False, []
            else:
                block.lines.append(line)
        elif fence := _FENCE.match(line):
            block, fenced = _Block(fence[1], number + 1, [], marks), True
        elif mark := _MARK.match(line):
            marks.append((mark[1] or "", mark[2]))
        elif line.startswith("    ") and not before.strip():
            yield _Block("", number, [line], [])
        elif line.strip():
            assert not marks, f"line {number}: a mark stands before no block"
        before = "" if line.startswith("    ") else line
    assert not marks, "the last mark stands before no block"
