"""Every failure that a user can foresee, each with the exit code that the command line documents.

    VsrError
    ├── UsageError       2   an option or a combination of options that cannot be meant
    │   ├── ConfigError      a configuration file with an unknown key or a value out of range
    │   ├── ChangedError     a job that was begun with other settings or another source
    │   └── PrecisionError   a precision, or a method of convolution, that the machine cannot compute in
    ├── InputError       3   input that is missing, is not a video, or cannot be decoded
    │   └── ReadError            its disk or network failed: reading it again may help
    ├── ModelError       4   a model or its weights: unknown, missing, damaged, of another kind
    │   └── NotFiniteError       its output has a NaN or an infinity
    │       └── OutOfRangeError  its features leave the ranges of int8
    ├── ResourceError    5   not enough disk, memory or GPU
    │   ├── OutOfMemoryError     the device's memory ran out while computing
    │   ├── BrokenDeviceError    the GPU no longer computes, in this process at least
    │   └── DiskFullError    a file could not be written because the disk is full
    ├── OutputError      6   output that exists already or cannot be written
    ├── LockedError     75   another run is at work in the same place; run again later
    └── StoppedForNow   75   `--until` came before the work ended; run again later

    BaseException
    └── Interrupted    130   Ctrl-C (143: SIGTERM, 129: SIGHUP)

`Interrupted` is no `Exception`, as `KeyboardInterrupt` is none: code that handles failures must not stop a signal.
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


class ChangedError(UsageError):
    """A job was begun with other settings or with another source than now."""


class PrecisionError(UsageError):
    """A precision, or a method of convolution, is asked for that the machine cannot compute in."""


class InputError(VsrError):
    """The input is missing, is no video, or cannot be decoded."""

    exit_code = 3


class ReadError(InputError):
    """The disk or the network that the input is on failed while it was read; the input may be well."""


class ModelError(VsrError):
    """The model or its weights are unknown, missing, damaged or of another kind."""

    exit_code = 4


class NotFiniteError(ModelError):
    """A network's output has a NaN or an infinity; more precision may help."""


class OutOfRangeError(NotFiniteError):
    """More of a network's features than may be left the ranges that int8 has for them."""


class ResourceError(VsrError):
    """There is not enough disk, memory or GPU."""

    exit_code = 5


class OutOfMemoryError(ResourceError):
    """The device's memory ran out while computing; computing less at once may help."""


class BrokenDeviceError(ResourceError):
    """The GPU no longer computes: after some errors, nothing does in the process that had them."""


class DiskFullError(ResourceError):
    """A file could not be written because the disk is full; nothing that was finished is lost."""


class OutputError(VsrError):
    """The output exists already or cannot be written."""

    exit_code = 6


class LockedError(VsrError):
    """Another run holds the lock; running again later continues."""

    exit_code = 75


class StoppedForNow(VsrError):  # noqa: N818 - it is no error that the time is up
    """The time that was given is over before the work was; running again continues."""

    exit_code = 75


class Interrupted(BaseException):
    """The user or the system asked the program to stop. It has a message and an exit code, as a `VsrError` has."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped as asked; the same command continues")
        self.exit_code = 128 + signal_number
