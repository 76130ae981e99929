"""The status that a command ends with, by what it means."""

DIVERGED = WRONG = 1
BAD_INPUT = 2
INCONCLUSIVE = 3
LOST = 4
"""Contact with another process that trains the same model."""
SIGNALLED = 128
"""And the signal's number, as shells report it: 130 for Ctrl-C."""
