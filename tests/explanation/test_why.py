"""Every answer's claim, on numbers that readers bring; and that it fails when planted wrong."""

import math

import pytest
import torch

import bp_torch as bp
from bp_torch.derivative import sigmoid_prime
from bp_torch.explanation import explain
from bp_torch.explanation.examples import EXAMPLES
from bp_torch.explanation.notation import number
from bp_torch.explanation.text import as_text
from bp_torch.explanation.why import TOPICS, answer
from bp_torch.explanation.why.experiment import Answer

CLOSE = 1e-6
"""A difference quotient with h = 10⁻⁵ is off by some h²C‴/6 ≈ 10⁻¹¹ and ε·C/h ≈ 10⁻¹¹."""


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def draw(module, samples, seed, cost="quadratic"):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    features = module.layers[0].weight.shape[-1]
    outputs = module.layers[-1].bias.shape
    return explain(
        module,
        torch.randn(samples, features, generator=generator).double(),
        torch.rand(samples, *outputs, generator=generator).double(),
        cost=cost,
        learning_rate=0.7,
    ).step


STEPS = {
    "cs231n": EXAMPLES["cs231n"].step,
    "mazur": EXAMPLES["mazur"].step,
    "nielsen": EXAMPLES["nielsen"].step,
    "seed": EXAMPLES["seed"].step,
    "neuron, 3 samples": lambda: draw(bp.Neuron(4, dtype=torch.float64), 3, 1),
    "2-3-2, 4 samples": lambda: draw(bp.Network([2, 3, 2], dtype=torch.float64), 4, 2),
    "2-3-2, cross-entropy": lambda: draw(
        bp.Network([2, 3, 2], dtype=torch.float64), 4, 2, "cross-entropy"
    ),
    "1-1-1": lambda: draw(bp.Network([1, 1, 1], dtype=torch.float64), 1, 3),
    "target ½": lambda: explain(bp.Neuron(2), torch.ones(2), torch.tensor(0.5)).step,
    "right already": lambda: explain(bp.Neuron(1), torch.zeros(1), torch.tensor(0.5)).step,
    "saturated": lambda: (
        explain(bp.Neuron(1, "accurate"), torch.full((1,), 3e3), torch.tensor(0.0)).step
    ),
}


@pytest.fixture(params=STEPS)
def step(request):
    return STEPS[request.param]()


def numbers(topic, step):
    return TOPICS[topic].experiment(step).numbers


def close(one, other):
    return one == pytest.approx(other, abs=CLOSE)


def autograd(step, cost=None):
    """∂C/∂w of the last layer, by torch alone: F.mse_loss and F.binary_cross_entropy."""
    parameters = [p.detach().requires_grad_() for p in step.module.parameters()]
    a = step.x
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        a = torch.sigmoid(a @ weight.t() + bias)
    if (cost or step.cost) == "quadratic":
        value = torch.nn.functional.mse_loss(a, step.y, reduction="sum") / 2 / len(a)
    else:
        value = torch.nn.functional.binary_cross_entropy(a, step.y, reduction="sum") / len(a)
    gradients = torch.autograd.grad(value, parameters)
    return gradients[-2].reshape(-1), gradients


def largest(gradient):
    return int(gradient.abs().argmax())


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("topic", TOPICS)
def test_every_answer_can_be_read_on_every_step(topic, step, encoding):
    text = as_text((answer(topic, step),), encoding)
    assert max(map(len, text.split("\n"))) <= 80
    text.encode(encoding)
    assert "NaN" not in text
    assert "None" not in text


# One test for each topic: what the answer says, held against torch alone.


def claim_sigma_prime(step):
    found = numbers("sigma-prime", step)
    by_torch, _ = autograd(step)
    assert close(found["measured"], found["with"])
    assert close(found["with"], by_torch[largest(by_torch)].item())
    # Where ŷ rounds to 1 torch's own cross-entropy has lost its slope, and clamps it to 0.
    if step.cost == "quadratic" and step.chain.y_hat.max() < 1:
        other, _ = autograd(step, "cross-entropy")
        assert close(found["without"], other[largest(by_torch)].item())
        assert close(found["without"], found["cross-entropy"])


def claim_z_or_output(step):
    found = numbers("z-or-output", step)
    z = step.chain.z.reshape(-1)[0].clone().requires_grad_()
    slope = torch.autograd.grad(torch.sigmoid(z), z)[0].item()
    assert close(found["measured"], slope)
    assert close(found["at z"], slope)
    assert not close(found["at the output"], slope)


def claim_reuse_output(step):
    found = numbers("reuse-output", step)
    assert found["least"] > 0.1966
    z = step.chain.z.reshape(-1)[0].clone().requires_grad_()
    assert close(found["right"], torch.autograd.grad(torch.sigmoid(z), z)[0].item())
    assert 0.1966 < found["twice"] <= 0.25


def claim_by_what(step):
    found = numbers("by-what", step)
    assert close(found["measured"], found["∂C/∂w"])
    assert close(found["measured ∂ŷ/∂z"], found["∂ŷ/∂z"])
    if abs(found["∂C/∂ŷ"]) < 100:  # the cross-entropy's is not, next to 0 and 1
        assert close(found["measured ∂C/∂ŷ"], found["∂C/∂ŷ"])
    if step.samples == 1:
        assert close(found["∂C/∂ŷ"] * found["∂ŷ/∂z"] * found["∂z/∂w"], found["∂C/∂w"])


def claim_x(step):
    found = numbers("x", step)
    places = [int(key.split()[1]) for key in found if key.startswith("with ")]
    for j in places:
        assert close(found[f"measured {j}"], found[f"with {j}"])
        # Left out, in the last layer, every weight has the bias's gradient.
        assert close(found[f"without {j}"], found["bias"])


def claim_sign(step):
    found = numbers("sign", step)
    assert found["down"] <= found["start"] <= found["up"]
    assert found["down end"] <= found["start"] <= found["up end"]


def claim_one_half(step):
    found = numbers("one-half", step)
    assert found["first"] == pytest.approx(found["last"], rel=1e-9)


def claim_bias(step):
    found = numbers("bias", step)
    _, gradients = autograd(step)
    assert close(found["by hand"], gradients[-1].reshape(-1)[0].item())
    assert close(found["measured"], found["by hand"])


def claim_updated_weights(step):
    found = numbers("updated-weights", step)
    assert close(found["measured"], found["right"])
    assert found["right"] != found["updated"] or found["right"] == 0


def claim_paths(step):
    found = numbers("paths", step)
    assert close(found["sum"], found["total"])
    assert close(found["measured"], found["total"])


def claim_slow(step):
    found = numbers("slow", step)
    assert abs(found["δ at 8"]) < abs(found["δ at 4"]) < abs(found["δ at 2"])
    assert found["cross-entropy steps"] < found["quadratic steps"] / 10


def claim_cross_entropy(step):
    found = numbers("cross-entropy", step)
    # Where ŷ rounds to 1 nothing cancels any more: the logarithm is kept finite there.
    if 1 - step.chain.y_hat.reshape(-1)[0] > 1e-12:
        assert close(found["δ"], found["error"])
    assert abs(found["quadratic δ"]) <= abs(found["error"]) / 4


def claim_vanishing(step):
    found = numbers("vanishing", step)
    assert all(0 <= found[f"σ′ {layer}"] <= 0.25 for layer in range(1, 6))
    assert found["left"] < 0.1
    assert found["δ 1"] <= found["δ 5"] * 0.1


def claim_descent(step):
    found = numbers("descent", step)
    assert found["passes"] == 2 * sum(p.numel() for p in step.module.parameters())
    assert close(found["by hand"], found["autograd"])


def claim_differences(step):
    found = numbers("differences", step)
    by_torch, _ = autograd(step)
    assert close(found["truth"], by_torch[largest(by_torch)].item())
    if found["central 1"] > 1e-6:  # a curve that can be seen
        assert found["central 13"] > found["central 5"] < found["central 1"]
        assert found["one-sided 13"] > found["one-sided 8"] < found["one-sided 1"]
        assert 3 <= found["best"] <= 8


CLAIMS = {
    "sigma-prime": claim_sigma_prime,
    "z-or-output": claim_z_or_output,
    "reuse-output": claim_reuse_output,
    "by-what": claim_by_what,
    "x": claim_x,
    "sign": claim_sign,
    "one-half": claim_one_half,
    "bias": claim_bias,
    "updated-weights": claim_updated_weights,
    "paths": claim_paths,
    "slow": claim_slow,
    "cross-entropy": claim_cross_entropy,
    "vanishing": claim_vanishing,
    "descent": claim_descent,
    "differences": claim_differences,
}


def test_there_is_a_claim_for_every_question():
    assert CLAIMS.keys() == TOPICS.keys()


@pytest.mark.parametrize("topic", TOPICS)
def test_the_claim_holds(topic, step):
    CLAIMS[topic](step)


PLANTED = {
    "sigma-prime": ("without", lambda v: v * 1.01 + 1e-3),
    "z-or-output": ("at z", lambda v: v + 0.01),
    "reuse-output": ("least", lambda v: 0.1),
    "by-what": ("∂C/∂w", lambda v: -v),
    "x": ("without 0", lambda v: v * 2),
    "sign": ("up end", lambda v: 0.0),
    "one-half": ("last", lambda v: v * 1.001),
    "bias": ("by hand", lambda v: 0.0),
    "updated-weights": ("right", lambda v: v * 1.05),
    "paths": ("total", lambda v: v * 1.1),
    "slow": ("δ at 8", lambda v: 1.0),
    "cross-entropy": ("δ", lambda v: v / 4),
    "vanishing": ("left", lambda v: 1.0),
    "descent": ("passes", lambda v: 1.0),
    "differences": ("central 13", lambda v: 0.0),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_claim_planted_wrong_is_caught(topic, monkeypatch):
    step = (
        EXAMPLES["mazur"].step()
        if topic in ("updated-weights", "paths")
        else EXAMPLES["seed"].step()
    )
    CLAIMS[topic](step)
    name, wrong = PLANTED[topic]
    right = TOPICS[topic]

    def experiment(step):
        found = right.experiment(step)
        return Answer(found.parts, found.numbers | {name: wrong(found.numbers[name])})

    monkeypatch.setitem(TOPICS, topic, right._replace(experiment=experiment))
    with pytest.raises(AssertionError):
        CLAIMS[topic](step)


def test_a_wrong_chain_rule_is_seen_by_the_measured_slope(monkeypatch):
    """The experiments measure: with a wrong σ′ in the chain the claims no longer hold."""
    from bp_torch import chain_rule, forms

    def wrong(z, y_hat):
        return sigmoid_prime(y_hat) * 1.05

    form = forms.FORMS["textbook"]
    planted = forms.Form(sigmoid=form.sigmoid, prime=wrong, apply=form.apply)
    monkeypatch.setitem(chain_rule.FORMS, "textbook", planted)
    for topic in ("sigma-prime", "by-what", "x", "bias", "updated-weights", "paths"):
        step = EXAMPLES["mazur"].step()
        with pytest.raises(AssertionError):
            CLAIMS[topic](step)


def test_the_numbers_are_in_the_words():
    step = EXAMPLES["cs231n"].step()
    for topic, names in {
        "sigma-prime": ("measured", "with", "without", "cost with", "cost without"),
        "z-or-output": ("measured", "at z", "at the output"),
        "sign": ("start", "down", "up", "down end", "up end"),
        "bias": ("by hand", "measured", "learning", "held"),
        "descent": ("passes",),
    }.items():
        text = as_text((answer(topic, step),))
        found = numbers(topic, step)
        for name in names:
            assert number(found[name]) in text, (topic, name)


def test_nielsens_saturated_neuron_needs_as_long_as_his_figure_shows():
    """Chapter 3: "the first 150 or so learning epochs" hardly change anything."""
    found = numbers("slow", EXAMPLES["cs231n"].step())
    assert 150 < found["quadratic steps"] < 300
    assert math.isfinite(found["cross-entropy steps"])
