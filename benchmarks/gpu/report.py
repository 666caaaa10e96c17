"""What the check of a GPU found: written as it goes, as JSON and as Markdown."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

JSON_NAME, MARKDOWN_NAME = "gpu.json", "gpu.md"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Check(_Part):
    """One thing that has to hold."""

    name: str
    found: float | str | bool
    allowed: str = Field(description="what `found` has to be, for people")
    passed: bool
    is_goal: bool = Field(False, description="wanted, and not needed: the exit code does not depend on it")


class Found(_Part):
    """What a step found."""

    facts: dict[str, JsonValue] = Field(default_factory=dict, description="names carry their units")
    checks: list[Check] = []


class Answer(Found):
    """What the process that runs steps says of one."""

    reason: str = Field("", description="why it failed, in a line; empty where it did not")


class Step(Answer):
    """One step of the check."""

    name: str
    status: Literal["done", "failed", "timed out", "skipped"]
    seconds: float = 0.0
    limit_seconds: float


class Report(_Part):
    """All steps, in the order in which they ran."""

    version: Literal[1] = 1
    device: str = Field(description="as asked for: cuda, cuda:1, cpu")
    is_tiny: bool = Field(description="sizes that only prove that the script runs")
    minutes: float
    started_at: str = Field(description="UTC, ISO 8601")
    seconds: float = 0.0
    steps: list[Step] = []

    @property
    def has_failed(self) -> bool:
        """Whether something that has to hold does not, or could not be found out in its time."""
        statuses = {step.status for step in self.steps}
        if statuses & {"failed", "timed out"} or "done" not in statuses:
            return True
        return any(not (c.passed or c.is_goal) for step in self.steps for c in step.checks)

    def write(self, folder: Path) -> None:
        """Write both files, each whole or not at all."""
        for name, text in ((JSON_NAME, self.model_dump_json(indent=1)), (MARKDOWN_NAME, self.markdown())):
            temporary = folder / f"{name}.tmp"
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(folder / name)

    def markdown(self) -> str:
        """Return the report for people."""
        what = " (tiny sizes: only proves that the script runs)" if self.is_tiny else ""
        lines = [f"# GPU check, {self.device}, {self.started_at}{what}", ""]
        for step in self.steps:
            took = f"{step.seconds:.1f} s of {step.limit_seconds:.0f}"
            lines.append(f"## {step.name}: {step.status}" + (f" ({took})" if step.status != "skipped" else ""))
            lines += ["", *([step.reason, ""] if step.reason else [])]
            for check in step.checks:
                said = "ok" if check.passed else "short of the goal" if check.is_goal else "FAILED"
                lines.append(f"- {said}: {check.name}: {_shown(check.found)} ({check.allowed})")
            lines += [f"- {name}: {_shown(value)}" for name, value in step.facts.items()] + [""]
        return "\n".join(lines)


def at_most(name: str, found: float, limit: float, *, is_goal: bool = False) -> Check:
    """Return the check that a number is small enough; one that is none is not."""
    return Check(name=name, found=found, allowed=f"at most {limit:g}", passed=found <= limit, is_goal=is_goal)


def at_least(name: str, found: float, limit: float, *, is_goal: bool = False) -> Check:
    """Return the check that a number is large enough; one that is none is not."""
    return Check(name=name, found=found, allowed=f"at least {limit:g}", passed=found >= limit, is_goal=is_goal)


def holds(name: str, found: bool) -> Check:
    """Return the check that something is so."""
    return Check(name=name, found=found, allowed="true", passed=found)


def _shown(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(one) for one in value) or "none"
    return str(value)
