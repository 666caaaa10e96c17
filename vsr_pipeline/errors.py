"""Every failure that a user can foresee, each with the exit code that the command line documents.

    VsrError
    ├── UsageError       2   an option or a combination of options that cannot be meant
    │   └── ConfigError      a configuration file with an unknown key or a value out of range
    ├── InputError       3   input that is missing, is not a video, or cannot be decoded
    ├── ModelError       4   a model or its weights: unknown, missing, damaged, of another kind
    ├── ResourceError    5   not enough disk, memory or GPU
    ├── OutputError      6   output that exists already or cannot be written
    ├── LockedError     75   another run is at work in the same place; run again later
    └── Interrupted    130   Ctrl-C (143: SIGTERM)

A message is one line and says what failed, where, what was found, what is allowed and how to go on.
Anything that is not a `VsrError` is a bug and ends with exit code 1 and a traceback.
"""


class VsrError(Exception):
    """A failure that was foreseen: one line for the user and an exit code."""

    exit_code: int = 1


class UsageError(VsrError):
    """The command cannot be meant as it was given."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file has an unknown key or a value that is not allowed."""


class InputError(VsrError):
    """The input is missing, is no video, or cannot be decoded."""

    exit_code = 3


class ModelError(VsrError):
    """The model or its weights are unknown, missing, damaged or of another kind."""

    exit_code = 4


class ResourceError(VsrError):
    """There is not enough disk, memory or GPU."""

    exit_code = 5


class OutputError(VsrError):
    """The output exists already or cannot be written."""

    exit_code = 6


class LockedError(VsrError):
    """Another run holds the lock; running again later continues."""

    exit_code = 75


class Interrupted(VsrError):  # noqa: N818 - it is no error that the user asks the program to stop
    """The user or the system asked the program to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped as asked; the same command continues")
        self.exit_code = 128 + signal_number
