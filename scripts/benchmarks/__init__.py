"""How long things take and how right they are, ours beside others': a file for each subject."""
