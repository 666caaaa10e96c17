"""How many frames went where, and how old they were: for the line of every second, and for the end."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_REMEMBERED_AGES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was counted in some time."""

    seconds: float
    frames_in: int
    """Captured."""
    frames_made: int
    """Made larger, whether or not a sink took them."""
    frames_out: int
    """Given out by the sink that gave out most."""
    ages_seconds: tuple[float, ...] = ()
    """Of these, sorted."""
    out_by_sink: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By cause."""

    @property
    def fps_in(self) -> float:
        """Captured frames per second."""
        return self.frames_in / self.seconds if self.seconds else 0.0

    @property
    def fps_out(self) -> float:
        """Frames per second of the sink that gave out most."""
        return self.frames_out / self.seconds if self.seconds else 0.0

    def age_seconds(self, share: float) -> float | None:
        """Return the age that this share of the frames is not older than; None: there were none."""
        if not self.ages_seconds:
            return None
        return self.ages_seconds[min(len(self.ages_seconds) - 1, int(share * len(self.ages_seconds)))]


class Meter:
    """Counts; all threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = _Counts()
        self._all = _Counts()

    def captured(self) -> None:
        """A frame came in."""
        with self._lock:
            for counts in (self._since, self._all):
                counts.frames_in += 1

    def made(self) -> None:
        """A frame was made larger."""
        with self._lock:
            for counts in (self._since, self._all):
                counts.frames_made += 1

    def dropped(self, cause: str, count: int = 1) -> None:
        """So many frames will not be seen, and why."""
        if count:
            with self._lock:
                for counts in (self._since, self._all):
                    counts.dropped[cause] += count

    def shown(self, sink: str, age_seconds: float) -> None:
        """A sink gave out a frame of this age."""
        with self._lock:
            for counts in (self._since, self._all):
                counts.out[sink] += 1
                ages = counts.ages.setdefault(sink, [])
                ages.append(age_seconds)
                if len(ages) > _REMEMBERED_AGES:  # of a long run: every second one stands for two
                    del ages[::2]

    def take(self, seconds: float) -> Measured:
        """Return what was counted since the last call, which is so long ago."""
        with self._lock:
            counts, self._since = self._since, _Counts()
            return counts.measured(seconds)

    def total(self, seconds: float) -> Measured:
        """Return what was counted in the whole run, which has lasted so long."""
        with self._lock:
            return self._all.measured(seconds)


class _Counts:
    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_made = 0
        self.out: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.ages: dict[str, list[float]] = {}

    def measured(self, seconds: float) -> Measured:
        fastest = max(self.out, key=lambda sink: self.out[sink], default="")
        ages: Sequence[float] = self.ages.get(fastest, ())
        return Measured(
            seconds=seconds,
            frames_in=self.frames_in,
            frames_made=self.frames_made,
            frames_out=self.out[fastest] if fastest else 0,
            ages_seconds=tuple(sorted(ages)),
            out_by_sink=dict(self.out),
            dropped=dict(self.dropped),
        )
