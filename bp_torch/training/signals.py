"""Signals that end a run: before there is anything to save they stop it, later they are waited for.

A run that ends by a signal is one that was long enough to be stopped, so what it learnt is saved.
A second signal changes nothing, and a third ends the process at once: what has been saved is whole.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


PATIENCE = 3
"""Signals after which nothing is waited for."""


class Interrupted(KeyboardInterrupt):
    """A signal came; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name} came before anything was learnt")
        self.number = number


class Signals:
    """Hears the signals that end a process, while it is entered, in the main thread.

    One that is ignored, as SIGHUP under nohup, or that the program handles itself, is left alone.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        """The first one that came."""
        self._waits = False
        self._heard = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                handler = signal.getsignal(number)
                default = handler in (signal.SIG_DFL, signal.default_int_handler)
                if default or getattr(handler, "is_replaceable", False):
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def wait(self) -> None:
        """From now on signals are only noted: whoever works looks at `came` now and then."""
        self._waits = True

    @contextmanager
    def noting_interrupts(self) -> Iterator[None]:
        """Take a KeyboardInterrupt, which someone else has raised, for Ctrl-C."""
        try:
            yield
        except KeyboardInterrupt:
            self.came = self.came or signal.SIGINT

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.came = self.came or number
        self._heard += 1
        if self._heard == PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not self._waits:
            raise Interrupted(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
