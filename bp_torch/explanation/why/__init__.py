"""Questions that people ask about backpropagation, each answered by an experiment that runs on the
reader's own numbers."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from bp_torch import checks
from bp_torch.explanation.document import Section
from bp_torch.explanation.step import Step
from bp_torch.explanation.why import factors, learning, networks
from bp_torch.explanation.why.experiment import Answer

Topic = Literal[
    "sigma-prime",
    "z-or-output",
    "reuse-output",
    "by-what",
    "x",
    "sign",
    "one-half",
    "bias",
    "updated-weights",
    "paths",
    "slow",
    "cross-entropy",
    "vanishing",
    "descent",
    "differences",
]


class Question(NamedTuple):
    """What people ask, and the experiment that answers it."""

    text: str
    experiment: Callable[[Step], Answer]


TOPICS: dict[Topic, Question] = {
    "sigma-prime": Question("Why ŷ(1 − ŷ), and not the error alone?", factors.sigma_prime),
    "z-or-output": Question("Is it σ′(z) or σ′(ŷ)?", factors.z_or_output),
    "reuse-output": Question("Do I apply σ once more, or reuse the output?", factors.reuse_output),
    "by-what": Question("The derivative of what, by what?", factors.by_what),
    "x": Question("Where did x go?", factors.where_x_went),
    "sign": Question("ŷ − y or y − ŷ, minus or plus?", factors.sign),
    "one-half": Question("½, 1/N or 2: which factor is right?", factors.one_half),
    "bias": Question("Is the bias updated as well?", factors.bias),
    "updated-weights": Question(
        "Are the output weights updated before the hidden δ, or after?", networks.updated_weights
    ),
    "paths": Question("Why is there a sum over paths?", networks.paths),
    "slow": Question("Why does a neuron that is badly wrong learn slowly?", learning.slow),
    "cross-entropy": Question("Why does σ′ cancel with the cross-entropy?", learning.cross_entropy),
    "vanishing": Question("Why do gradients vanish in a deep network?", learning.vanishing),
    "descent": Question("Is backpropagation the same as gradient descent?", learning.descent),
    "differences": Question("Why is a smaller h not better?", learning.differences),
}
"""Each question by its topic, in the order in which they come up."""


def answer(topic: str, step: Step) -> Section:
    """The question, and what an experiment on that step's numbers shows; raises ValueError for a
    topic that there is not."""
    question = checks.require_one_of("the topic of a why", topic, TOPICS)
    return Section(question.text, question.experiment(step).parts)
