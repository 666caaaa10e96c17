"""Server-sent events: what happens to the queue, and how far the work is. One stream for each tab that is looked at."""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from vsr_pipeline.serve.batch_process import BatchState
from vsr_pipeline.serve.site import Site
from vsr_pipeline.serve.store import id_of

STREAMS_OF_A_CLIENT = 60
"""Tabs that are hidden close theirs, so that these are windows side by side."""
STREAMS = 120
_SECONDS = 1.0
_SILENT_SECONDS = 15.0
_EVENTS_AT_ONCE = 200


class Live:
    """The streams that are open."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams: the server stops."""
        self._closing.set()

    async def stream(self, request: Request) -> Response:
        """Answer with events after `Last-Event-ID`, or after `?after=`; without either, from now on."""
        client = request.client.host if request.client is not None else ""
        if self._open[client] >= STREAMS_OF_A_CLIENT or self._open.total() >= STREAMS:
            return PlainTextResponse("too many pages are open\n", 503, {"Retry-After": "30"})
        asked = request.headers.get("last-event-id") or request.query_params.get("after", "")
        if asked and not (asked.isascii() and asked.isdigit() and len(asked) < 16):
            return PlainTextResponse("Last-Event-ID is no number of an event\n", 400)
        after = int(asked) if asked else await asyncio.to_thread(self._site.store.ask, lambda q: q.last_sequence)
        headers = {"X-Accel-Buffering": "no"}  # nginx would keep them back
        return StreamingResponse(self._events(client, after), media_type="text/event-stream", headers=headers)

    async def _events(self, client: str, after: int) -> AsyncIterator[str]:
        self._open[client] += 1
        loop = asyncio.get_running_loop()
        try:
            yield "retry: 3000\n\n"
            said, at = "", loop.time()
            while not self._closing.is_set():
                texts, after, now = await asyncio.to_thread(self._news, after)
                if now != said:
                    said = now
                    texts.append(f"event: progress\ndata: {now}\n\n")
                if texts:
                    yield "".join(texts)
                    at = loop.time()
                elif loop.time() - at > _SILENT_SECONDS:
                    yield ": still here\n\n"
                    at = loop.time()
                try:
                    await asyncio.wait_for(self._closing.wait(), _SECONDS)
                except TimeoutError:
                    continue
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def _news(self, after: int) -> tuple[list[str], int, str]:
        """Return events as texts, the number of the last one, and how far the work is."""
        events = self._site.store.ask(lambda queue: queue.events_after(after, limit=_EVENTS_AT_ONCE))
        texts = []
        for event in events:
            message = {"kind": event.kind, "clip": id_of(event.clip) if event.clip else "", "at": event.at}
            message["message"] = self._site.store.shown(event.message)
            texts.append(f"id: {event.sequence}\nevent: queue\ndata: {json.dumps(message)}\n\n")
        return texts, events[-1].sequence if events else after, progress_json(self._site.batch.state())


def progress_json(state: BatchState) -> str:
    """Return how far the work is, with the ids of clips in the place of their names."""
    progress = state.progress
    if progress is None:  # it begins, it ends, or there is none
        return json.dumps({"running": state.is_running, "clips": []})
    clips = [{**dataclasses.asdict(clip), "clip": id_of(clip.clip), "what": ""} for clip in progress.clips]
    return json.dumps({"running": True, "done": progress.clips_done, "total": progress.clips_total, "clips": clips})
