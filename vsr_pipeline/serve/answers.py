"""Answers that routes share: pages, files, errors, and the language of the reader."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from vsr_pipeline.errors import DiskFullError, LockedError, ResourceError, UsageError, VsrError
from vsr_pipeline.jobs.report.template import page_environment
from vsr_pipeline.runtime.progress import clock_text, size_text
from vsr_pipeline.serve.errors import FullError, NotThereError, TooLargeError, TooManyError
from vsr_pipeline.serve.site import Site
from vsr_pipeline.serve.texts import language_for, languages, texts_in

LANGUAGE_COOKIE = "vsr_language"
# A page that we have written ourselves, with style and script in it, must not reach ours.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
FILE_POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".jpg": "image/jpeg",
}
_STATUS_OF: tuple[tuple[type[VsrError], int], ...] = (
    (NotThereError, 404),
    (FullError, 503),
    (TooLargeError, 413),
    (TooManyError, 429),
    (DiskFullError, 507),
    (LockedError, 503),
    (ResourceError, 500),
    (UsageError, 400),
)
_RETRY_SECONDS = "30"


def status_of(error: VsrError) -> int:
    """Return the HTTP status of a failure: inputs and models that cannot be used are 422."""
    return next((status for kind, status in _STATUS_OF if isinstance(error, kind)), 422)


class Answers:
    """Makes answers for one server."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._environment: Environment = page_environment("vsr_pipeline.serve", "templates")
        self._environment.filters |= {"clock": clock_text, "bytes": size_text}

    def page(self, request: Request, name: str, page: object, *, status: int = 200) -> Response:
        """Return a page: the template `name` with a frozen value."""
        language = language_for(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
        html = self._environment.get_template(f"{name}.html.jinja").render(
            page=page,
            t=texts_in(language),
            urls=self._site.urls,
            here=name,
            language=language,
            languages={code: catalogue["language"] for code, catalogue in languages().items()},
        )
        return HTMLResponse(html, status)

    def failure(self, request: Request, error: VsrError) -> Response:
        """Return why something failed: as a page, as JSON for programs."""
        status, reason = status_of(error), self._site.store.shown(str(error))
        headers = {"Retry-After": _RETRY_SECONDS} if status == 503 else {}
        if "text/html" not in request.headers.get("accept", "") or "/api/" in request.url.path:
            return JSONResponse({"error": reason}, status, headers)
        answer = self.page(request, "error", ErrorPage(reason, status), status=status)
        answer.headers.update(headers)
        return answer

    def back(self, to: str) -> Response:
        """Return where a form leads after its work."""
        return RedirectResponse(to, 303)

    def file(self, path: Path, name: str, *, download: bool) -> Response:
        """Return a file, or the range of it that is asked for."""
        kind = "attachment" if download else "inline"
        headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": "private, no-cache"}
        headers["Content-Disposition"] = f"{kind}; filename*=utf-8''{quote(name, safe='', errors='replace')}"
        return FileResponse(
            path, media_type=_TYPES.get(path.suffix.lower(), "application/octet-stream"), headers=headers
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorPage:
    """What went wrong."""

    reason: str
    status: int


def fields_of(form: Mapping[str, object]) -> dict[str, str]:
    """Return the texts of a form; files are left out, and of several values the last one counts."""
    return {name: value for name, value in form.items() if isinstance(value, str)}
