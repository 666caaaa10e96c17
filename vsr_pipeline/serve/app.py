"""The application: all routes, in one place. Every one of them is behind the `Guard`; none is open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vsr_pipeline import __version__
from vsr_pipeline.errors import VsrError
from vsr_pipeline.jobs.batch.rows import WAITING
from vsr_pipeline.runtime.http import Access, Application, Guard
from vsr_pipeline.serve.answers import Answers
from vsr_pipeline.serve.api_routes import ApiRoutes
from vsr_pipeline.serve.bodies import BodyLimits
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.live import Live
from vsr_pipeline.serve.machine_page import Machine
from vsr_pipeline.serve.page_routes import PageRoutes, takes_form
from vsr_pipeline.serve.pictures import MAX_BYTES, Pictures
from vsr_pipeline.serve.site import Site, is_time
from vsr_pipeline.serve.task_routes import TaskRoutes
from vsr_pipeline.serve.tus import Tus

Route = Callable[[Request], Any]
"""Answers a request, now or when it is awaited."""

_WATCH_SECONDS = 3.0
_FORM_BYTES = 64 * 1024
_INTRODUCTION = "The queue, models and pictures of one `vsr serve`. Uploads speak tus 1.0 at /api/uploads."


def guarded(site: Site, access: Access) -> Application:
    """Return the application behind its guard, with limits of bodies; nothing of it is reached in another way."""
    picture = min(MAX_BYTES, site.options.max_upload_bytes) + _FORM_BYTES
    larger = {"/api/uploads": None, "/add/files": None, "/api/enhance": picture, "/picture": picture}
    return Guard(BodyLimits(application(site), larger), access, root_path=site.options.root_path)


def application(site: Site) -> FastAPI:
    """Return the application without its guard."""
    answers = Answers(site)
    machine = Machine(site.helper, site.options.folder, site.store.shown)
    pictures = Pictures(
        site.options.work / "pictures", site.helper, site.options.config, lambda: site.batch.state().is_running
    )
    pages = PageRoutes(site, answers, machine, pictures)
    live = Live(site)
    tus = Tus(site.uploads, site.urls.uploads(), site.checks.begin)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch(site))
        try:
            yield
        finally:
            live.close()
            watch.cancel()
            machine.close()

    app = FastAPI(
        title="vsr serve",
        version=__version__,
        description=_INTRODUCTION,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )

    def api_page(request: Request) -> Response:
        return answers.page(request, "api", app.openapi())

    for path, method, route in _routes(pages, TaskRoutes(site, answers), live, tus, api_page):
        app.add_route(path, route, methods=[method], include_in_schema=False)
    app.include_router(ApiRoutes(site, machine, pictures).router())

    _add_failures(app, answers)
    return app


def _routes(
    pages: PageRoutes, tasks: TaskRoutes, live: Live, tus: Tus, api_page: Route
) -> tuple[tuple[str, str, Route], ...]:
    """Return the routes besides those of the API: path, method, and what answers."""
    return (
        ("/", "GET", pages.queue),
        ("/batch", "POST", takes_form(pages.batch)),
        ("/add", "GET", pages.add),
        ("/add", "POST", takes_form(pages.queue_uploads)),
        ("/add/files", "POST", pages.take_files),
        ("/upload/{upload_id}/delete", "POST", takes_form(pages.delete_upload)),
        ("/clips/{clip_id}", "GET", pages.clip),
        ("/clips/{clip_id}", "POST", takes_form(pages.act)),
        ("/clips/{clip_id}/again", "POST", takes_form(pages.again)),
        ("/clips/{clip_id}/{which}", "GET", pages.clip_file),
        ("/previews", "POST", takes_form(tasks.begin_preview)),
        ("/previews/{task_id}", "GET", tasks.preview),
        ("/previews/{task_id}/{which}", "GET", tasks.preview_file),
        ("/compare", "GET", tasks.compare),
        ("/compare", "POST", tasks.begin_comparison),
        ("/compare/{task_id}", "GET", tasks.comparison),
        ("/compare/{task_id}/delete", "POST", takes_form(tasks.delete_comparison)),
        ("/report", "GET", pages.report),
        ("/log", "GET", pages.log),
        ("/machine", "GET", pages.machine),
        ("/machine", "POST", takes_form(pages.check)),
        ("/machine/models/{name}", "POST", takes_form(pages.pull)),
        ("/picture", "GET", pages.picture),
        ("/picture", "POST", pages.enlarge),
        ("/picture/{picture_id}/{which}", "GET", pages.picture_file),
        ("/language", "POST", takes_form(pages.language)),
        ("/events", "GET", live.stream),
        ("/static/{name}", "GET", pages.static),
        ("/api", "GET", api_page),
        ("/api/uploads", "OPTIONS", tus.options),
        ("/api/uploads", "POST", tus.create),
        ("/api/uploads/{upload_id}", "OPTIONS", tus.options),
        ("/api/uploads/{upload_id}", "HEAD", tus.head),
        ("/api/uploads/{upload_id}", "PATCH", tus.patch),
        ("/api/uploads/{upload_id}", "DELETE", tus.delete),
        ("/api/uploads/{upload_id}", "POST", tus.post),
    )


def _add_failures(app: FastAPI, answers: Answers) -> None:
    """Say how failures are answered."""

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, VsrError)
        return await run_in_threadpool(answers.failure, request, error)

    async def not_found(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return await failed(request, NotThereError("there is no such page"))
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:])) or "body"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    async def gone(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "the body did not come"}, 400)

    app.add_exception_handler(VsrError, failed)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, not_found)
    app.add_exception_handler(RequestValidationError, invalid)


async def _watch(site: Site) -> None:
    """Look after the batch, after uploads that nobody went on with, and after a model that nobody uses."""
    while True:
        with suppress(VsrError):  # the next time may be better, and pages say what is wrong
            await asyncio.to_thread(_look_after, site)
        await asyncio.sleep(_WATCH_SECONDS)


def _look_after(site: Site) -> None:
    site.checks.begin()
    site.uploads.delete_expired()
    site.previews.delete_old()
    site.comparisons.delete_old()
    site.helper.end_if_unused(site.options.keep_model_seconds)
    rows, hours, sequence = site.store.ask(lambda queue: (queue.list(), queue.hours, queue.last_sequence))
    waits = any(row.state in WAITING for row in rows)
    site.batch.continue_if_wanted(waits=waits, is_time=is_time(hours), sequence=sequence)
