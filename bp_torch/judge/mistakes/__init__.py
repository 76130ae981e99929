"""From everything that was found wrong to one sentence that says what the mistake is.

A further mistake is a generator of hypotheses in `simple` (from the numbers) or in `planted` (in
the reference's graph), and its place in `diagnosis.FAMILIES`.
"""
