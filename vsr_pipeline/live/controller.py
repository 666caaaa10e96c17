"""Which level to compute at: a pure function of what was measured.

Down when the age misses its budget for 2 s. Up after 10 s of slack; a step up that has to be taken back makes the next
one wait twice as long, up to 5 minutes, so that a machine between two levels does not change all the time.
"""

import math
from dataclasses import dataclass

MISSED_SECONDS = 2.0
SLACK_SECONDS = 10.0
LONGEST_PATIENCE_SECONDS = 300.0
SLACK = 0.5
"""Of the budget: the next level up takes about twice the time."""
_TAKEN_BACK_SECONDS = 20.0
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Control:
    """Where the controller stands."""

    level: int = 0
    """0 is the best one."""
    missed_seconds: float = 0.0
    """How long the budget has been missed without a break."""
    slack_seconds: float = 0.0
    """Likewise, how long there has been slack."""
    patience_seconds: float = SLACK_SECONDS
    """How much slack a step up needs."""
    since_up_seconds: float = math.inf
    """Since the last step up, where no step down came after it."""


def controlled(
    before: Control, *, seconds: float, p95_age_seconds: float | None, budget_seconds: float, last_level: int
) -> Control:
    """Return where the controller stands after another measurement.

    Args:
        before: where it stood.
        seconds: how long was measured.
        p95_age_seconds: what 95 % of the frames were not older than; where frames came in and none was made, how long
            there has been none; None where none came in.
        budget_seconds: what it may be.
        last_level: the cheapest one.
    """
    since_up = before.since_up_seconds + seconds
    patience = SLACK_SECONDS if _SETTLED_SECONDS <= since_up < math.inf else before.patience_seconds
    if p95_age_seconds is None:
        return Control(before.level, patience_seconds=patience, since_up_seconds=since_up)
    missed = before.missed_seconds + seconds if p95_age_seconds > budget_seconds else 0.0
    slack = before.slack_seconds + seconds if p95_age_seconds <= SLACK * budget_seconds else 0.0
    if missed >= MISSED_SECONDS and before.level < last_level:
        if since_up < _TAKEN_BACK_SECONDS:
            patience = min(2 * patience, LONGEST_PATIENCE_SECONDS)
        return Control(before.level + 1, patience_seconds=patience)
    if slack >= patience and before.level > 0:
        return Control(before.level - 1, patience_seconds=patience, since_up_seconds=0.0)
    return Control(before.level, missed, slack, patience, since_up)
