"""Questions that people ask about backpropagation, each answered by an experiment that runs on the
reader's own numbers."""

from collections.abc import Callable

from bp_torch import checks
from bp_torch.explanation.step import Step
from bp_torch.explanation.why import factors, learning, networks
from bp_torch.explanation.why.answer import Answer

TOPICS: dict[str, Callable[[Step], Answer]] = {
    "sigma-prime": factors.sigma_prime,
    "z-or-output": factors.z_or_output,
    "reuse-output": factors.reuse_output,
    "by-what": factors.by_what,
    "x": factors.where_x_went,
    "sign": factors.sign,
    "one-half": factors.one_half,
    "bias": factors.bias,
    "updated-weights": networks.updated_weights,
    "paths": networks.paths,
    "slow": learning.slow,
    "cross-entropy": learning.cross_entropy,
    "vanishing": learning.vanishing,
    "descent": learning.descent,
    "differences": learning.differences,
}
"""Each question by its topic, in the order in which they come up."""


def answer(topic: str, step: Step) -> Answer:
    """The answer on that step's numbers; raises ValueError for a topic that there is not."""
    return checks.require_one_of("the topic of a why", topic, TOPICS)(step)
