"""Into what pieces the rows of a batch are cut, by their width alone."""

CHUNK = 2**18
"""Numbers of x per chunk: 1 MiB of float32, some 100 µs for a thread. Less than that is not worth
a second one."""
LEAST_ROWS = 512
"""Rows per chunk at least, so that the chunks' sums take less than 1% of the memory of x."""


def rows_per_chunk(features: int) -> int:
    """The sums of such chunks are the same wherever they are taken, and added up in their order."""
    return max(LEAST_ROWS, CHUNK // max(features, 16) // 16 * 16)
