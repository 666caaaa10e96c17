"""Reporters that keep what they hear, or do something at a moment of the work."""

from vsr_pipeline.runtime.progress import Advanced, Noted, Reporter, Saved, Started, Warned


class Listener(Reporter):
    """Keeps the notes; a subclass may do something at any event."""

    def __init__(self):
        super().__init__(self._hear)
        self.notes = []

    def _hear(self, event):
        match event:
            case Noted(message) | Warned(message):
                self.notes.append(message)
                self.heard_note(message)
            case Started(what):
                self.heard_start(what)
            case Advanced(amount):
                self.heard_work(amount)
            case Saved():
                self.heard_saved()

    def heard_note(self, message):
        """A message came."""

    def heard_start(self, what):
        """A piece of work begins."""

    def heard_work(self, amount):
        """So much was done."""

    def heard_saved(self):
        """A part is safe."""


class ActsAfter(Listener):
    """Does something once, when more than so many frames have been enhanced."""

    def __init__(self, frames, action):
        super().__init__()
        self._left = frames
        self._action = action
        self._is_enhancing = False

    def heard_start(self, what):
        self._is_enhancing = what.startswith("enhance")

    def heard_work(self, amount):
        self._left -= amount if self._is_enhancing else 0
        if self._left < 0:
            self._left = float("inf")
            self._action()
