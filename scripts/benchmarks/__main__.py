"""Lets `python scripts/benchmarks` find what it measures and what it measures with."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[0] = str(root / "scripts")  # not this folder, whose modules have everyday names
    sys.path.insert(1, str(root))  # what is measured is what lies here
    sys.path.append(str(root / "tests"))  # the one truth, and the one measure of errors

    from benchmarks.command import main

    main()
