"""The report of a run of one or many clips: `report.json` for programs and `report.html` for people."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.report.outcome import BatchOutcome
from vsr_pipeline.jobs.report.page import report_page
from vsr_pipeline.jobs.report.totals import headline, totals_of
from vsr_pipeline.runtime.files import write_text

SCHEMA_VERSION = 1


REPORT_HTML = "report.html"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The two files of a report: the same facts for programs and for people."""

    json: Path
    html: Path


def write_report(outcome: BatchOutcome, folder: Path) -> ReportFiles:
    """Write `report.json` and `report.html` into `folder`, each in the place of an earlier one.

    Stills that are not given or cannot be read are left out of the page. The JSON is written first, so that programs
    learn what happened even where the disk has no room for the page with its pictures.

    Raises:
        OutputError: the folder cannot be written.
        DiskFullError: the disk is full.
    """
    files = ReportFiles(folder / "report.json", folder / REPORT_HTML)
    write_text(files.json, report_json(outcome))
    write_text(files.html, report_page(outcome, folder))
    return files


def report_json(outcome: BatchOutcome) -> str:
    """Return the text of `report.json`; docs/report.md says what is in it.

    It is pure ASCII: names that are no valid Unicode keep their bytes as escaped surrogates, as Python has them.
    """
    report = {
        "schema_version": SCHEMA_VERSION,
        "headline": headline(outcome),
        "totals": asdict(totals_of(outcome)),
        **_OUTCOME.dump_python(outcome, mode="json"),
    }
    return json.dumps(report, indent=2) + "\n"


def outcome_from_json(text: str) -> BatchOutcome:
    """Return the outcome that a `report.json` was written from.

    Raises:
        InputError: the text is no report, or one of another schema version.
    """
    try:
        report = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"this is no report.json: {error}; give a file that vsr wrote") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"this is no report.json that can be read: its schema_version is {version!r}, not {SCHEMA_VERSION}; "
            "read it with the version of vsr that wrote it"
        )
    try:
        return _OUTCOME.validate_python(report)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"this report.json was altered: {where}: {first['msg']}; let vsr write it again") from error


_OUTCOME = TypeAdapter(BatchOutcome)
