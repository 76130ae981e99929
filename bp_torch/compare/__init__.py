"""Proving a gradient. Nothing here imports the rest of bp_torch: the judge stays independent of
what it judges."""
