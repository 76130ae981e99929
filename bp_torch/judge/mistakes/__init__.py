"""From everything that was found wrong to one sentence that says what the mistake is.

`diagnosis` chooses among hypotheses: mistakes that show in the numbers (`simple`, `substitutes`,
`upstream`, `constants`), and mistakes planted in the reference (what it saves: `saved`; its masks:
`masks`; its graph: `nodes`, seen through `in_parts`). Where none fits, `where` describes a region.

A further mistake is a generator of hypotheses in one of these, and its place in
`diagnosis.FAMILIES`.
"""
