"""What FFmpeg says while something is done: the only way to learn some things that PyAV does not show."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging

_LISTENER = threading.Lock()


@contextmanager
def listening(level: int = av.logging.WARNING) -> Iterator[list[tuple[int, str, str]]]:
    """Collect what FFmpeg says at this level and above, as (level, speaker, text), instead of saying it on stderr."""
    # The level is the process's: of two threads that listened at once, the later one would leave it raised.
    with _LISTENER:
        before, skipping = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(level)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture(local=False) as said:
                yield said
        finally:
            av.logging.set_level(before)
            av.logging.set_skip_repeated(skipping)
