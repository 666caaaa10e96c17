"""Who retries what: what becomes of a clip when the work on it ends, as one function of plain values."""

from dataclasses import dataclass
from typing import Literal

from vsr_pipeline.jobs.batch.rows import Request, State

Ending = Literal["done", "failed", "machine failed", "stopped", "died", "died after a segment", "died with others"]
"""failed: for a reason that may be the clip's own; machine failed: too little disk, memory or GPU, or a source whose
disk failed; stopped: in order, by a signal, a time or a request; died: the run ended without a word, and had finished
no segment of this clip, while it was the only one that was open; died with others: others were open, too, or the
machine was started anew since."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a clip."""

    state: State
    tries: int
    suspected: bool = False
    """Whether it has to be made alone, after the others."""


def after(ending: Ending, *, tries: int, retries: int, suspected: bool = False, request: Request = "") -> Verdict:
    """Decide what becomes of a clip.

    Who asked for it to be cancelled does not want it tried again, however it ended; only one that is done is done.

    Args:
        ending: how the work on it ended.
        tries: runs in which it has failed before.
        retries: runs in which it may fail.
        suspected: whether it was made alone because it may have ended an earlier run.
        request: what somebody has asked of it meanwhile.
    """
    if ending == "died with others" and suspected:
        ending = "died"
    tries += ending in ("failed", "died")
    if ending == "done":
        return Verdict("done", 0)
    if request:
        return Verdict("cancelled", tries)
    match ending:
        case "failed" | "died":
            return Verdict("given up" if tries >= retries else "failed", tries, suspected)
        case "machine failed":
            return Verdict("failed", tries, suspected)
        case "died with others":
            return Verdict("stopped", tries, suspected=True)
        case "stopped" | "died after a segment":
            return Verdict("stopped", tries, suspected)
