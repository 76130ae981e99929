"""Keeps the state of a run while it goes on, and notes what is in the way."""

from pathlib import Path

from bp_torch.training.checkpoints import Checkpoints, State
from bp_torch.training.course import Course
from bp_torch.training.observer import Observer


class Keeper:
    """Keeps a course's states.

    Args:
        begun: what the run was begun with.
    """

    def __init__(
        self, course: Course, observer: Observer, checkpoints: Checkpoints, begun: State
    ) -> None:
        self._course, self._observer = course, observer
        self._checkpoints, self._begun = checkpoints, begun
        self.trouble: list[str] = []
        """Why the run has to stop: its folder cannot be written to."""

    def keep_if_due(self) -> None:
        """Keep the state, if it is time to."""
        if self._observer.trouble and not self.trouble:
            # Without its log the state would not be whole.
            self.trouble = [*self._observer.trouble, self.way_on]
        elif self._checkpoints.is_due(self._course.position.steps):
            self.keep()

    def keep(self) -> None:
        """Keep the state."""
        if self.trouble or not self._checkpoints.wanted:
            return
        try:
            self._checkpoints.save(self._begun | self._course.state(), self._course.position.steps)
        except OSError as error:
            self.trouble = [str(error), self.way_on]

    def forget(self) -> None:
        """Remove all states: the run has diverged, and nothing can come of them."""
        self._checkpoints.clear()

    @property
    def last(self) -> Path | None:
        """The newest state that is kept."""
        return self._checkpoints.last

    @property
    def way_on(self) -> str:
        """How a run that stops here can go on."""
        if self.last is None:
            return "the run has stopped, before its first checkpoint, and is to be begun again"
        return f"the run has stopped, and can go on from {self.last}"
