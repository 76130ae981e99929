"""One step explained: what a user calls, and what comes back."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.explanation.document import Section
from bp_torch.explanation.examples import EXAMPLES
from bp_torch.explanation.markdown import as_markdown
from bp_torch.explanation.step import Step, descend, take_step
from bp_torch.explanation.story import story
from bp_torch.explanation.text import as_text
from bp_torch.explanation.why import TOPICS, answer
from bp_torch.neuron import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Picture = Literal["circuit", "sigma-prime", "cost"]

WAY = 100
"""Steps of the descent in the picture of the cost."""


def _circuit(step: Step) -> "Figure":
    from bp_torch import pictures

    return pictures.circuit_figure(step.module, step.chain)


def _sigma_prime(step: Step) -> "Figure":
    from bp_torch import pictures

    return pictures.sigma_prime_figure(step.chain.z.reshape(step.samples, -1)[:, 0])


def _cost(step: Step) -> "Figure":
    from bp_torch import pictures

    module, path = step.module, []
    for left in range(WAY, -1, -1):
        layer = module.layers[0]
        numbers = torch.cat([layer.weight.detach().flatten(), layer.bias.detach().flatten()])
        path.append((numbers[0].item(), numbers[1].item()))
        if left:
            module, _ = descend(
                module, step.x, step.y, cost=step.cost, learning_rate=step.learning_rate, steps=1
            )
    return pictures.cost_surface_figure(module, step.x, step.y, cost=step.cost, path=path)


PICTURES: dict[Picture, Callable[[Step], "Figure"]] = {
    "circuit": _circuit,
    "sigma-prime": _sigma_prime,
    "cost": _cost,
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """A step of gradient descent, explained. `print` it, or look at it in another way:"""

    title: str
    step: Step
    """The numbers behind the words."""
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        """For a terminal of 80 columns."""
        return as_text(self.sections)

    def why(self, topic: str) -> str:
        """A question, and what an experiment on this step's numbers shows.

        Raises ValueError, with the topics that there are, for another.
        """
        return as_text((answer(topic, self.step),))

    def to_markdown(self) -> str:
        """As TensorBoard shows it."""
        return as_markdown(self.sections)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained page on which the step can be played with, and every question
        stands answered. Raises OSError where it cannot be written."""
        from bp_torch.explanation.page import write_page

        write_page(
            path,
            module=self.step.module,
            x=self.step.x,
            y=self.step.y,
            cost=self.step.cost,
            learning_rate=self.step.learning_rate,
            title=self.title,
            sections=self.sections,
            whys={topic: answer(topic, self.step) for topic in TOPICS},
        )

    def figure(self, path: str | os.PathLike[str], picture: Picture = "circuit") -> None:
        """Draw the step, in SVG or PNG by the file's name.

        Args:
            picture: "circuit", values forward and gradients backward; "sigma-prime", σ with the
                samples on it, and σ′; "cost", the cost over two weights with the way of a hundred
                such steps.

        Raises:
            ValueError: another ending or picture, or a network too large for a circuit.
        """
        from bp_torch import pictures

        drawn = checks.require_one_of("picture", picture, PICTURES)
        pictures.save(drawn(self.step), path)


def explain(
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str = "quadratic",
    learning_rate: float = 1.0,
    decimals: int = 6,
) -> Explanation:
    """One step of backpropagation and descent, worked out with these numbers.

    Args:
        module: a `Neuron`, or a `Network` of any depth. It stays as it is; its numbers are taken to
            float64. Parameters that do not require a gradient are held.
        x: samples, (N, D), or one sample, (D,); floating point, finite.
        y: targets in [0, 1], (N,) for a neuron, (N, K) for a network; for one sample () or (K,).
        cost: "quadratic" or "cross-entropy".
        learning_rate: ν, positive.
        decimals: how many of them numbers show, 4 at least.

    Raises:
        TypeError, ValueError: what does not fit, as `backprop` says it.
    """
    rate = checks.require_positive("learning rate", learning_rate, "ν in w ← w − ν ∂C/∂w")
    digits = checks.require_whole("decimals", decimals, 4)
    step = take_step(module, x, y, cost=cost, learning_rate=rate)
    what = "a neuron" if step.layers[-1][2].alone else "a network"
    return Explanation(f"One step of {what}", step, story(step, digits))


def example(name: str, *, cost: str | None = None) -> Explanation:
    """A step that others have published: one of `EXAMPLES`, with what there is to say about it."""
    chosen = checks.require_one_of("example", name, EXAMPLES)
    step = chosen.step()
    if cost is not None:
        step = step.again(cost=cost)
    return Explanation(
        chosen.title[0].upper() + chosen.title[1:],
        step,
        (*story(step, chosen.decimals), *chosen.more(step)),
    )
