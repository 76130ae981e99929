"""The command line: arguments in, calls out, no mathematics."""

from bp_torch.cli.app import main

__all__ = ["main"]
