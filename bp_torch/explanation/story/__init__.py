"""A step as a story: forward, how wrong, factor by factor, the product, the update."""

from bp_torch.explanation.document import Section
from bp_torch.explanation.step import Step
from bp_torch.explanation.story.backward import (
    factors,
    hidden,
    where_the_formula_comes_from,
)
from bp_torch.explanation.story.forward import cost, forward
from bp_torch.explanation.story.update import after, gradient, update
from bp_torch.explanation.story.writing import Writer


def story(step: Step, decimals: int) -> tuple[Section, ...]:
    """The sections of the story, in the order in which a step happens."""
    writer = Writer(step, decimals)
    return (
        *forward(writer),
        cost(writer),
        factors(writer),
        where_the_formula_comes_from(writer),
        *hidden(writer),
        gradient(writer),
        update(writer),
        after(writer),
    )
