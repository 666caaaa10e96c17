"""Settings of steps after the model that have a network of their own."""

import re

_SHARE = 0.5
_REFINE = re.compile(r"([^:\s]+)(?::([0-9]*\.?[0-9]+))?")


def refine_from(text: str) -> tuple[str, float] | None:
    """Read `MODEL` or `MODEL:SHARE`; None: `none`.

    Raises:
        ValueError: it is neither, or the share is not in 0 to 1.
    """
    if text == "none":
        return None
    found = _REFINE.fullmatch(text)
    share = float(found[2]) if found and found[2] else _SHARE
    if found is None or found[1] == "none" or not 0 <= share <= 1:
        raise ValueError("must be none, or a model with a share of 0 to 1, such as realesr-animevideov3:0.5")
    return found[1], share
