"""The command bp-torch."""

import os
import signal
import sys


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and status 2."""
    # Until torch is there, which takes a second or two, there is nothing to end in good order.
    before = signal.signal(signal.SIGINT, _leave)
    from bp_torch.cli import app

    signal.signal(signal.SIGINT, before)
    app.main()


def _leave(number: int, frame: object) -> None:
    print("bp-torch: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + number)
