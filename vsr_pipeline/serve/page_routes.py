"""What the routes of pages do: read a request, call a page's function, answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.batch.live import LOG
from vsr_pipeline.jobs.report.files import REPORT_HTML
from vsr_pipeline.runtime.files import WORK_FOLDER
from vsr_pipeline.serve.add_page import add_page, queue_uploads
from vsr_pipeline.serve.answers import LANGUAGE_COOKIE, REPORT_POLICY, Answers, fields_of
from vsr_pipeline.serve.clip_page import clip_page, make_again
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.form_uploads import FormUploads
from vsr_pipeline.serve.machine_page import Machine
from vsr_pipeline.serve.picture_page import chosen_for_picture, picture_page
from vsr_pipeline.serve.pictures import MAX_BYTES, TYPES, Pictures
from vsr_pipeline.serve.queue_page import act_on_batch, act_on_clip, queue_page
from vsr_pipeline.serve.site import Site
from vsr_pipeline.serve.store import inside
from vsr_pipeline.serve.texts import languages
from vsr_pipeline.serve.urls import STATIC

FormAction = Callable[[Request, Mapping[str, str], Sequence[str]], Response]

_LOG_BYTES = 64 * 1024
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LANGUAGE_SECONDS = 365 * 86_400


def takes_form(action: FormAction) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that reads a form and gives its texts, and the uploads that are ticked, to a function."""

    async def route(request: Request) -> Response:
        async with request.form() as form:
            fields, ticked = fields_of(form), [one for one in form.getlist("upload") if isinstance(one, str)]
            return await run_in_threadpool(action, request, fields, ticked)

    return route


class PageRoutes:
    """The routes of one server that answer with pages and files."""

    def __init__(self, site: Site, answers: Answers, machine: Machine, pictures: Pictures) -> None:
        self._site = site
        self._answers = answers
        self._machine = machine
        self._pictures = pictures

    def queue(self, request: Request) -> Response:
        """Show the first page."""
        return self._answers.page(request, "queue", queue_page(self._site))

    def batch(self, _request: Request, form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Start or stop the batch."""
        act_on_batch(self._site, form)
        return self._answers.back(self._site.urls.queue())

    def act(self, request: Request, form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Do something with a clip."""
        act_on_clip(self._site, request.path_params["clip_id"], form.get("action", ""))
        return self._answers.back(self._site.urls.queue())

    def add(self, request: Request) -> Response:
        """Show the page for new clips."""
        page = add_page(self._site, request.query_params.getlist("upload"), fields_of(request.query_params))
        return self._answers.page(request, "add", page)

    def queue_uploads(self, _request: Request, form: Mapping[str, str], ticked: Sequence[str]) -> Response:
        """Put uploads into the queue."""
        queue_uploads(self._site, ticked, form)
        return self._answers.back(self._site.urls.queue())

    async def take_files(self, request: Request) -> Response:
        """Take the videos of a plain form."""
        ids = await FormUploads(self._site.uploads, self._site.checks.begin).take(request)
        return self._answers.back(self._site.urls.add(ids))

    def delete_upload(self, request: Request, _form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Delete an upload."""
        self._site.uploads.delete(request.path_params["upload_id"])
        return self._answers.back(self._site.urls.add())

    def clip(self, request: Request) -> Response:
        """Show the page of a clip."""
        return self._answers.page(request, "clip", clip_page(self._site, request.path_params["clip_id"]))

    def again(self, request: Request, form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Queue a clip with other settings."""
        make_again(self._site, request.path_params["clip_id"], form)
        return self._answers.back(self._site.urls.clip(request.path_params["clip_id"]))

    def clip_file(self, request: Request) -> Response:
        """Send a file of a clip."""
        path = self._site.store.file_of(request.path_params["clip_id"], request.path_params["which"])
        return self._answers.file(path, path.name, download="download" in request.query_params)

    def report(self, _request: Request) -> Response:
        """Send the report of the last run."""
        path = inside(self._site.options.results, self._site.options.results / REPORT_HTML)
        return HTMLResponse(path.read_bytes(), headers={"Content-Security-Policy": REPORT_POLICY})

    def log(self, _request: Request) -> Response:
        """Show the end of the log."""
        path = inside(self._site.options.results, self._site.options.results / WORK_FOLDER / LOG)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read(_LOG_BYTES).decode(errors="replace")
        return PlainTextResponse("\n".join(map(self._site.store.shown, text.split("\n"))))

    def machine(self, request: Request) -> Response:
        """Show the page about this machine."""
        return self._answers.page(request, "machine", self._machine.page())

    def check(self, _request: Request, _form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Check the machine again."""
        self._machine.page(again=True)
        return self._answers.back(self._site.urls.machine())

    def pull(self, request: Request, _form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Begin to download a model."""
        self._machine.pull(request.path_params["name"])
        return self._answers.back(self._site.urls.machine())

    def picture(self, request: Request) -> Response:
        """Show the page that enlarges pictures."""
        page = picture_page(self._site, self._pictures, fields_of(request.query_params))
        return self._answers.page(request, "picture", page)

    async def enlarge(self, request: Request) -> Response:
        """Enlarge the picture of a form."""
        async with request.form(max_files=1) as form:
            fields, image = fields_of(form), form.get("image")
            content = await image.read(MAX_BYTES + 1) if isinstance(image, UploadFile) else b""
        chosen = chosen_for_picture(fields.get("model", ""), _number(fields.get("scale", "")))
        made = await run_in_threadpool(self._pictures.enlarge, content, chosen)
        return self._answers.back(self._site.urls.picture(made.id))

    def picture_file(self, request: Request) -> Response:
        """Send a picture."""
        path = self._pictures.file(request.path_params["picture_id"], request.path_params["which"])
        answer = self._answers.file(path, path.name, download="download" in request.query_params)
        answer.headers["Content-Type"] = TYPES[path.suffix]
        return answer

    def language(self, _request: Request, form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Remember the language of the reader."""
        answer = self._answers.back(self._site.urls.queue())
        if form.get("language") in languages():
            path = self._site.options.root_path or "/"
            answer.set_cookie(
                LANGUAGE_COOKIE, form["language"], _LANGUAGE_SECONDS, path=path, httponly=True, samesite="strict"
            )
        return answer

    def static(self, request: Request) -> Response:
        """Send a style sheet or a script of the pages."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise NotThereError("there is no such file")
        content = files("vsr_pipeline.serve").joinpath("static", name).read_bytes()
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


def _number(text: str) -> float | None:
    """Read a number of a form; empty: none.

    Raises:
        UsageError: it is none.
    """
    try:
        return float(text) if text else None
    except ValueError as error:
        raise UsageError(f"{text!r} is no number") from error
