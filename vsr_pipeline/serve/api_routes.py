"""The HTTP API for programs: the queue, models, and pictures that are enlarged at once."""

import base64
import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from vsr_pipeline.errors import UsageError
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.serve.machine_page import Machine
from vsr_pipeline.serve.picture_page import chosen_for_picture
from vsr_pipeline.serve.pictures import MAX_BYTES, TYPES, Pictures
from vsr_pipeline.serve.queue_page import act_on_clip
from vsr_pipeline.serve.settings_form import refuse_others
from vsr_pipeline.serve.site import Site, start_batch
from vsr_pipeline.serve.store import id_of

Action = Literal["first", "up", "down", "last", "cancel", "cancel-now", "retry"]
_SUFFIX_TYPES = {suffix: kind for suffix, kind in TYPES.items() if suffix != ".bmp"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Addition(_Body):
    """Clips for the queue."""

    uploads: list[str] = Field([], description="ids of complete uploads")
    clips: list[str] = Field([], description="paths under the folder `in`")
    settings: dict[str, Any] = Field({}, description="such as model, scale, height, codec, quality, start, end")
    start: bool = Field(True, description="start the batch")


class Change(_Body):
    """What is to be done with a clip."""

    action: Action | None = None
    settings: dict[str, Any] | None = Field(None, description="other settings for a clip that waits")


class BatchAction(_Body):
    """What is to be done with the batch."""

    action: Literal["start", "stop"]


class ApiRoutes:
    """What programs may ask one server."""

    def __init__(self, site: Site, machine: Machine, pictures: Pictures) -> None:
        self._site = site
        self._machine = machine
        self._pictures = pictures

    def router(self) -> APIRouter:
        """Return the routes under /api, but for uploads."""
        router = APIRouter(prefix="/api")
        kinds: dict[str, Any] = {kind: {} for kind in (*_SUFFIX_TYPES.values(), "application/json")}
        router.get("/queue", summary="The clips of the queue, in its order")(self.queue)
        router.post("/queue", status_code=201, summary="Put clips at the end of the queue")(self.add)
        router.patch("/queue/{clip_id}", summary="Move, cancel, retry a clip, or give it other settings")(self.change)
        router.delete("/queue/{clip_id}", status_code=204, summary="Forget a clip; no file is deleted")(self.remove)
        router.post("/batch", summary="Start or stop the batch")(self.batch)
        router.get("/models", summary="The models, and which are here")(self.models)
        router.post(
            "/enhance", summary="Enlarge a picture", response_class=Response, responses={200: {"content": kinds}}
        )(self.enhance)
        return router

    def queue(self) -> dict[str, Any]:
        """List the clips."""
        site = self._site
        rows = site.store.ask(lambda queue: queue.list())
        state = site.batch.state()
        new = [{"id": id_of(clip), "clip": clip} for clip in site.store.new_clips()]
        return {"batch_is_running": state.is_running, "clips": [_row(site, row) for row in rows], "new": new}

    def add(self, addition: Addition) -> dict[str, Any]:
        """Queue uploads, and clips of the folder."""
        site = self._site
        if not addition.uploads and not addition.clips:
            raise UsageError("nothing to add: give uploads or clips")
        refuse_others(addition.settings)
        known = set(site.store.new_clips()) | set(site.store.ask(lambda queue: queue.rows()))
        if unknown := [clip for clip in addition.clips if clip not in known]:
            raise UsageError(f"there is no clip {unknown[0]!r} in the folder `in`")
        names = list(addition.clips)
        for upload_id in addition.uploads:
            names.append(site.uploads.publish(upload_id, site.options.inbox).name)
        rows = site.store.ask(lambda queue: queue.add(names, addition.settings))
        if addition.start:
            start_batch(site)
        return {"clips": [_row(site, row) for row in rows]}

    def change(self, clip_id: str, change: Change) -> dict[str, Any]:
        """Do something with a clip."""
        site = self._site
        clip = site.store.clip_of(clip_id)
        settings = change.settings
        if settings is not None:
            refuse_others(settings)
            if change.action == "retry":
                return _row(site, site.store.ask(lambda queue: queue.retry(clip, settings)))
            site.store.ask(lambda queue: queue.change(clip, settings))
        if change.action is not None:
            act_on_clip(site, clip_id, change.action)
        row = site.store.row_of(clip_id)
        return _row(site, row) if row is not None else {}

    def remove(self, clip_id: str) -> Response:
        """Forget a clip."""
        act_on_clip(self._site, clip_id, "remove")
        return Response(status_code=204)

    def batch(self, body: BatchAction) -> dict[str, Any]:
        """Start or stop the batch."""
        if body.action == "start":
            start_batch(self._site)
        else:
            self._site.batch.stop()
        return {"batch_is_running": self._site.batch.state().is_running}

    def models(self) -> list[dict[str, Any]]:
        """List the models."""
        return [dataclasses.asdict(model) for model in self._machine.models()]

    async def enhance(
        self,
        request: Request,
        image: Annotated[UploadFile, File(description="a PNG, JPEG, WebP, TIFF or BMP")],
        model: Annotated[str, Form(description="a name of GET /api/models, or auto")] = "auto",
        scale: Annotated[float | None, Form(gt=0, le=8, description="how much larger; else as the model")] = None,
        faces: Annotated[Literal["off", "gfpgan"], Form(description="gfpgan: restore them, which is a guess")] = "off",
    ) -> Response:
        """Answer with the enlarged picture, of the type that is accepted; as JSON, it is in base64."""
        accept = request.headers.get("accept", "")
        wanted = next((kind for kind in _SUFFIX_TYPES.values() if kind in accept), "image/png")
        content = await image.read(MAX_BYTES + 1)
        chosen = chosen_for_picture(model, scale, faces)
        made = await run_in_threadpool(self._pictures.enlarge, content, chosen, wanted=wanted)
        try:
            result = await run_in_threadpool(made.path.read_bytes)
        finally:
            self._pictures.delete(made.id)
        if "application/json" in accept:
            encoded = base64.b64encode(result).decode()
            return JSONResponse({"image": encoded, "type": wanted, "width": made.width, "height": made.height})
        return Response(result, media_type=wanted)


def _row(site: Site, row: QueueRow) -> dict[str, Any]:
    """Return what a program is told about a clip."""
    return {
        "id": id_of(row.clip),
        "clip": row.clip,
        "state": row.state,
        "request": row.request,
        "settings": dict(row.chosen),
        "reason": site.store.shown(row.reason),
        "output": row.output,
        "frames": row.frame_count,
        "fps": row.fps,
        "changed_at": row.changed_at,
        "result": site.urls.file(id_of(row.clip), "result") if row.outcome is not None else None,
    }
