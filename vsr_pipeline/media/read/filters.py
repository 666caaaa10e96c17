"""libavfilter for single frames: a chain of filters that is built anew when the frames change their size or format."""

from collections.abc import Iterator
from fractions import Fraction

import av.error
from av.filter import Graph
from av.video.frame import VideoFrame

# Filters see no times: whoever calls keeps them.
_ANY_TIME_BASE = Fraction(1, 25)


class FilterChain:
    """Filters one after the other, each a (name, options), for frames that come one by one."""

    def __init__(self, *filters: tuple[str, str]) -> None:
        self._filters = filters
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take a frame and yield what the filters have ready; at a change of size or format all that they hold."""
        kind = (frame.width, frame.height, frame.format.name)
        if kind != self._kind:
            yield from self.end()
            self._graph, self._kind = self._build(frame), kind
        assert self._graph is not None
        self._graph.vpush(frame)
        yield from _ready(self._graph)

    def end(self) -> Iterator[VideoFrame]:
        """Yield the frames that the filters still hold; then the chain is as new."""
        graph, self._graph, self._kind = self._graph, None, None
        if graph is not None:
            graph.vpush(None)
            yield from _ready(graph)

    def _build(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        first = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME_BASE)
        graph.link_nodes(first, *(graph.add(name, options) for name, options in self._filters), graph.add("buffersink"))
        graph.configure()
        return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield frame
