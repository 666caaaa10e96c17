"""CUDA graphs: a step of the network is recorded once for each size of frames, and from then on replayed as a whole.

A step of propagation is some 200 kernels. A fast GPU is through with those of a small frame sooner than Python can
launch them one by one, and waits; a graph is one launch. Recording computes the step twice, once for each size of
frames, and nothing is compiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor

GRAPH_PIXELS = 600_000
"""LQ pixels up to which steps are recorded. By arithmetic, the kernels of larger frames outlast their launches on any
GPU of today; and a graph keeps the memory of its step for itself."""

Step = Callable[..., Tensor]
Replay = Callable[[], None]
Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Replay]]
"""Records a function; returns its result, and what computes that again, in place, from what its inputs then hold."""


class GraphedStep:
    """A step of a network, recorded for the shapes that it was last called with.

    Args:
        step: (N, C, H, W) tensors to a tensor, a function of nothing else. It is called as it is for frames of more
            than `GRAPH_PIXELS`, and where one of its inputs is None.
        record: what records it; `cuda_recorder`.
        on_note: told where it cannot be recorded.
    """

    def __init__(self, step: Step, record: Record, on_note: Callable[[str], None]) -> None:
        self._step = step
        self._record: Record | None = record
        self._on_note = on_note
        self._inputs: tuple[Tensor, ...] = ()
        self._output: Tensor | None = None
        self._replay: Replay | None = None

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Return what the step gives, in memory of its own."""
        given = tuple(x for x in inputs if x is not None)
        height, width = given[0].shape[-2:]
        if self._record is None or len(given) < len(inputs) or height * width > GRAPH_PIXELS:
            if height * width > GRAPH_PIXELS:
                self.release()  # it is of an earlier clip: what it keeps is missing here
            return self._step(*inputs)
        if _kinds(given) != _kinds(self._inputs):
            self._make(given, self._record)
            if self._replay is None:
                return self._step(*inputs)
        for held, x in zip(self._inputs, given, strict=True):
            held.copy_(x)
        assert self._replay is not None
        assert self._output is not None
        self._replay()
        return self._output.clone()

    def release(self) -> None:
        """Let go of the graph and its memory; the next call records it anew."""
        self._inputs, self._output, self._replay = (), None, None

    def _make(self, given: tuple[Tensor, ...], record: Record) -> None:
        self.release()  # both together may be too much
        held = tuple(x.clone() for x in given)
        try:
            self._output, self._replay = record(lambda: self._step(*held))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if _has_run_out(error):
                raise torch.OutOfMemoryError(str(error)) from error
            self._record = None
            reason = str(error).partition("\n")[0]
            self._on_note(f"CUDA graphs cannot be recorded here, computed without them: {reason}")
        else:
            self._inputs = held


def cuda_recorder(device: torch.device) -> Record:
    """Return what records CUDA graphs on a device."""

    def record(function: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        with torch.cuda.device(device):
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                function()  # libraries set themselves up in a first call, which cannot be recorded
            graph = torch.cuda.CUDAGraph()
            # Other threads, which decode and encode, may go on using the GPU.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                output = function()
            torch.cuda.current_stream(device).wait_stream(stream)
        return output, graph.replay

    return record


def _has_run_out(error: BaseException | None) -> bool:
    """Whether memory ran out while a graph was recorded: ending the recording then fails, too, and hides that."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False


def _kinds(tensors: tuple[Tensor, ...]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(x.shape, x.dtype) for x in tensors]
