"""The status that a command ends with, by what it means."""

DIVERGED = WRONG = 1
BAD_INPUT = 2
INCONCLUSIVE = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
