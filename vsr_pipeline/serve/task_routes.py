"""What the routes of previews and comparisons do; as `page_routes.py`."""

from collections.abc import Mapping, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from vsr_pipeline.serve.answers import REPORT_POLICY, Answers, fields_of
from vsr_pipeline.serve.compare_page import PAGE, begin_comparison, compare_page
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.preview_page import begin_preview, preview_page
from vsr_pipeline.serve.site import Site


class TaskRoutes:
    """The routes of one server that begin and show what takes a while."""

    def __init__(self, site: Site, answers: Answers) -> None:
        self._site = site
        self._answers = answers

    def begin_preview(self, _request: Request, form: Mapping[str, str], ticked: Sequence[str]) -> Response:
        """Begin a preview."""
        return self._answers.back(self._site.urls.preview(begin_preview(self._site, form, ticked)))

    def preview(self, request: Request) -> Response:
        """Show a preview, or how far it is."""
        return self._answers.page(request, "preview", preview_page(self._site, request.path_params["task_id"]))

    def preview_file(self, request: Request) -> Response:
        """Send a video of a preview."""
        which = request.path_params["which"]
        if which not in ("before", "after"):
            raise NotThereError("there is no such file")
        path = self._site.previews.file(request.path_params["task_id"], f"{which}.mp4")
        return self._answers.file(path, path.name, download=False)

    def compare(self, request: Request) -> Response:
        """Show the comparisons, and what can be compared."""
        return self._answers.page(request, "compare", compare_page(self._site, fields_of(request.query_params)))

    async def begin_comparison(self, request: Request) -> Response:
        """Begin a comparison."""
        async with request.form() as form:
            models, results = ([str(one) for one in form.getlist(name)] for name in ("model", "result"))
            await run_in_threadpool(begin_comparison, self._site, fields_of(form), models, results)
        return self._answers.back(self._site.urls.compare())

    def comparison(self, request: Request) -> Response:
        """Send the page that `vsr compare` has written."""
        path = self._site.comparisons.file(request.path_params["task_id"], PAGE)
        return HTMLResponse(path.read_bytes(), headers={"Content-Security-Policy": REPORT_POLICY})

    def delete_comparison(self, request: Request, _form: Mapping[str, str], _ticked: Sequence[str]) -> Response:
        """Delete a comparison; one that is made now is ended."""
        self._site.comparisons.delete(request.path_params["task_id"])
        return self._answers.back(self._site.urls.compare())
