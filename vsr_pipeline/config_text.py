"""How times, frame rates and amounts of memory are written in settings."""

import re
from fractions import Fraction

_FINEST_RATE = 1_000_000
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])(i?)B", re.IGNORECASE)
_TIME = re.compile(r"(?:(?:([0-9]+):)?([0-5]?[0-9]):)?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


def seconds_from(text: str) -> Fraction:
    """Read a time, exactly: seconds (`90.5`), or `[HH:]MM:SS[.sss]`.

    Raises:
        ValueError: it is neither.
    """
    found = _TIME.fullmatch(text.strip())
    seconds = Fraction(found[3]) if found else Fraction(0)
    if found is None or (found[2] is not None and seconds >= 60):
        raise ValueError("must be seconds, such as 90.5, or a time, such as 1:30.5 or 00:01:30.5")
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + seconds


def frame_rate_from(text: str) -> Fraction:
    """Read a frame rate, exactly: a number or a fraction.

    Raises:
        ValueError: it is neither, is not positive, or is one that no video has.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise ValueError("must be a positive number or fraction, such as 25, 29.97 or 30000/1001, at most 1000")
    # 29.970029970029970 is meant to be 30000/1001.
    return rate if max(rate.numerator, rate.denominator) <= _FINEST_RATE else rate.limit_denominator(1001)


def memory_bytes_from(text: str) -> int:
    """Read an amount of memory: `800MB`, `6 GB`, and `24 GiB` in units of 1024.

    Raises:
        ValueError: it is none, or nothing.
    """
    found = _SIZE.fullmatch(text.strip())
    base = 1024 if found and found[3] else 1000
    count = round(Fraction(found[1]) * base ** ("KMGT".index(found[2].upper()) + 1)) if found else 0
    if count == 0:
        raise ValueError("must be a number with its unit, such as 800MB, 6GB or 24GiB")
    return count
