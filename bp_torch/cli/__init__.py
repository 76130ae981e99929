"""The command bp-torch."""

import os
import signal
import sys

STARTED_AS = os.getpid()


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and status 2."""
    # Until torch is there, which takes a second or two, there is nothing to end in good order.
    before = signal.signal(signal.SIGINT, _leave)
    from bp_torch.cli import app

    _interrupt.is_replaceable = True  # type: ignore[attr-defined]  # by whoever can do better
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app.main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: object) -> None:
    if os.getpid() == STARTED_AS:  # and not in its children, which hear it too
        print("bp-torch: interrupted", file=sys.stderr, flush=True)
    raise KeyboardInterrupt


def _leave(number: int, frame: object) -> None:
    print("bp-torch: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + number)
