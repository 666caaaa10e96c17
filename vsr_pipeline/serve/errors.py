"""What a server refuses besides what the command line does; each has a status of HTTP in `answers.py`."""

from vsr_pipeline.errors import VsrError


class NotThereError(VsrError):
    """There is no such page, clip, upload or file."""


class TooLargeError(VsrError):
    """It has more bytes or pixels than this server takes."""


class TooManyError(VsrError):
    """There are as many as may be."""


class FullError(VsrError):
    """As many wait as may; later there is room."""
