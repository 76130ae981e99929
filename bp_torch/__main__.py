"""python -m bp_torch: the same as the command bp-torch."""

from bp_torch.cli import main

main()
