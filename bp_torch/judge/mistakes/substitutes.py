"""Another gradient in the place of the right one: that of another input, of an earlier call, of a
smooth function where the value is a step."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bp_torch.judge.criteria import ALIKE
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis, changed
from bp_torch.judge.trials import Draw, trials


def copied(e: Evidence) -> Iterator[Hypothesis]:
    """The gradient of another input."""
    for name in e.bad:
        for other in e.truth.gradients:
            if other != name and e.exact(other).shape == e.exact(name).shape:
                text = f"the gradient of {name} is a copy of that of {other}"
                yield Hypothesis("copied", text, {name: e.exact(other)})


def stale(e: Evidence) -> Iterator[Hypothesis]:
    """The gradient at the inputs of an earlier trial."""
    if e.case.reference is None:  # the function itself would have to tell
        return
    shapes = {name: t.shape for name, t in e.point.inputs.items()}
    for earlier in trials(e.case, Draw(0)):
        if earlier.role is e.role:
            return
        if any(t.numel() != shapes[name].numel() for name, t in earlier.inputs.items()):
            continue
        inputs = {name: t.reshape(shapes[name]) for name, t in earlier.inputs.items()}
        before = replace(e.point, inputs=inputs).exact().run().gradients
        text = f"{e.the_gradient} is stale: that at the inputs of an earlier call"
        yield Hypothesis("stale-value", text, e.of_the_bad(before))


def surrogates(e: Evidence) -> Iterator[Hypothesis]:
    """Something on purpose in the place of the derivative: of a step, whose derivative is 0, or of
    the identity, whose gradient is reversed or scaled."""
    if len(e.point.upstream) != 1 or len(e.bad) != 1:
        return
    (name,), (g,) = e.bad, e.point.upstream
    exact, mine, x = e.exact(name), e.mine(name), e.point.inputs[name].double()
    known = exact.isfinite()
    if g.shape != exact.shape or not known.any():
        return
    g = g.double()
    if torch.equal(exact[known], g[known]):
        yield from _of_the_identity(e, name, mine / g)
    elif not exact[known].any():
        yield from _of_a_step(e, name, x, mine / g)


def _of_the_identity(e: Evidence, name: str, ratio: Tensor) -> Iterator[Hypothesis]:
    c = ratio.median().item()
    if not (ratio - c).abs().max().item() <= ALIKE * abs(c):
        return
    what = f"passes on {c:.3g} times the upstream gradient"
    if c < 0:
        what = f"reverses the upstream gradient{'' if c == -1 else f', times {-c:.3g}'}"
    text = f"the gradient of {name} is a surrogate: the value is the identity, and backward {what}"
    yield Hypothesis("surrogate", text, changed(e, lambda t: c * t))


def _of_a_step(e: Evidence, name: str, x: Tensor, slope: Tensor) -> Iterator[Hypothesis]:
    step = (
        f"the gradient of {name} is a surrogate: the value is a step, whose derivative is 0, and "
        f"backward passes on"
    )
    one, window = (slope - 1).abs() <= ALIKE, slope == 0
    if one.all():
        what = "the upstream gradient as it is (straight-through)"
    elif (one | window).all() and x[one].numel() and x[window].numel():
        end = x[one].abs().max().item()
        what = f"the upstream gradient where |{name}| is at most about {end:.3g} (straight-through)"
    else:
        where = x.reshape(-1)[int(slope.abs().argmax())].item()
        most = slope.reshape(-1)[int(slope.abs().argmax())].item()
        what = f"up to {most:.3g} of the upstream gradient, most at {name} = {where:.3g}"
    yield Hypothesis("surrogate", f"{step} {what}", {name: e.mine(name)})
