"""When a batch may work: until a local time, or between two of them."""

import datetime
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Hours:
    """Local times between which a batch may work; over midnight where the end is the earlier one of them."""

    start: datetime.time
    end: datetime.time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hours such as 22:00-06:00.

        Raises:
            ValueError: they are none.
        """
        start, _, end = text.partition("-")
        try:
            hours = cls(*(datetime.datetime.strptime(time.strip(), "%H:%M").time() for time in (start, end)))
        except ValueError as error:
            raise ValueError("must be two local times, such as 22:00-06:00") from error
        if hours.start == hours.end:
            raise ValueError("must be two different local times, such as 22:00-06:00")
        return hours

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def contains(self, moment: datetime.datetime) -> bool:
        """Whether work may be done at a moment, which has a zone; the end is no longer in it."""
        time = moment.astimezone().time()
        if self.start < self.end:
            return self.start <= time < self.end
        return time >= self.start or time < self.end


def next_occurrence(moment: datetime.time, after: datetime.datetime) -> datetime.datetime:
    """Return when the clock shows a local time next, as a time with its zone; `after` has one, too."""
    day = after.astimezone().date()
    coming = datetime.datetime.combine(day, moment).astimezone()
    if coming <= after:
        coming = datetime.datetime.combine(day + datetime.timedelta(days=1), moment).astimezone()
    return coming
