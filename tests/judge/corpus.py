"""Mistakes planted in hand-written backward passes, each with the right version beside it.

What is known about a case before any gradient is checked: whether it is wrong, and how.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from base_functions import (
    Base,
    Formula,
    Function,
    Inputs,
    centring,
    evenly,
    flipped_neuron,
    flipped_sigmoid,
    hand_written,
    layer,
    layer_backward,
    layer_forward,
    leaky_relu,
    log_softmax,
    logsumexp,
    mean,
    network,
    neuron,
    product,
    quadratic_cost,
    residual_layer,
    sigmoid,
    softmax,
    softmax_backward,
    softplus,
    spread,
    square,
    square_layer,
    sum_of_squares,
    swish,
    tanh,
    through_cost,
    through_layer,
    through_neuron,
    trained_network,
)
from torch import Tensor

Change = Callable[[Tensor], Tensor]

CODES = {
    "sign": "the whole gradient is negated",
    "factor": "a gradient is off by a constant factor",
    "missing-factor": "a factor that depends on inputs or output is absent",
    "output-for-input": "a derivative is taken at the output instead of the input",
    "upstream-ignored": "the local derivative without g",
    "transposed": "a square gradient is transposed",
    "swapped": "the gradients of two inputs of the same shape change places",
    "reduction": "a sum over the wrong axis, or something else than the sum",
    "missing-term": "one term of a sum is absent",
    "region": "right except in some range of values, or at some indices",
    "overflow": "NaN or inf where the magnitude is large",
    "precision": "computed in fewer digits than the inputs have",
    "side-effect": "the result is right, but something is overwritten on the way",
    "storage-order": "wrong where the upstream gradient is not contiguous",
    "nondeterministic": "another result every time",
    "second-derivative": "right once, wrong where the gradient is differentiated again",
    "forward": "the gradient is right and the value is not",
    "updated-weights": "propagated through weights that have already taken their step",
}


@dataclass(frozen=True)
class Case:
    """One mistake: `wrong` is `right` but for it, and `reference` is for autograd.

    Every input is a float64 tensor on the CPU and has a gradient; `names` names them.
    """

    name: str
    family: str
    reference: Function
    right: Function
    wrong: Function
    inputs: Inputs
    mistake: str
    invisible_in: tuple[torch.dtype, ...] = ()
    names: tuple[str, ...] = ()


def plant(
    mistake: str,
    name: str,
    of: Base,
    backward: Formula | None = None,
    *,
    forward: Function | None = None,
    wrong: Function | None = None,
    inputs: Inputs | None = None,
    invisible_in: tuple[torch.dtype, ...] = (),
) -> Case:
    """The function `of` with another backward or forward pass, or another version altogether."""
    wrong = wrong or hand_written(forward or of.forward, backward or of.backward)
    inputs = inputs or of.inputs
    return Case(
        name, of.family, of.reference, of.right, wrong, inputs, mistake, invisible_in, of.names
    )


# Ways to spoil a formula.


def changed(of: Base, change: Change, only: str | None = None) -> Formula:
    """The right formula with its gradients changed, all or the one of the input `only`."""

    def backward(*arguments: Tensor) -> tuple[Tensor, ...]:
        gradients = of.backward(*arguments)
        gradients = (gradients,) if isinstance(gradients, Tensor) else gradients
        return tuple(
            change(gradient) if only in (None, name) else gradient
            for name, gradient in zip(of.names, gradients, strict=True)
        )

    return backward


def swapped(of: Base, one: str, other: str) -> Formula:
    """The right formula with the gradients of two inputs in each other's place."""

    def backward(*arguments: Tensor) -> tuple[Tensor, ...]:
        gradients = dict(zip(of.names, of.backward(*arguments), strict=True))
        gradients[one], gradients[other] = gradients[other], gradients[one]
        return tuple(gradients.values())

    return backward


def with_upstream(of: Base, change: Change) -> Formula:
    """The right formula, but for a changed g."""
    return lambda g, *rest: of.backward(change(g), *rest)


def computed_in(of: Base, dtype: torch.dtype) -> Formula:
    """The right formula with every number in another dtype, and its result in the first again."""

    def backward(g: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        gradients = of.backward(g.to(dtype), *(tensor.to(dtype) for tensor in rest))
        gradients = (gradients,) if isinstance(gradients, Tensor) else gradients
        return tuple(gradient.to(g.dtype) for gradient in gradients)

    return backward


def by(factor: float) -> Change:
    return lambda gradient: factor * gradient


def times_at(index: int, factor: float) -> Change:
    """One entry (or row) times `factor`."""

    def change(gradient: Tensor) -> Tensor:
        factors = torch.ones_like(gradient)
        factors[index] = factor
        return factors * gradient

    return change


def has_memory_of_its_own(tensor: Tensor) -> bool:
    """Whether each entry has its place: not where it is expanded, nor batched by vmap."""
    try:
        tensor.untyped_storage()
    except NotImplementedError:  # writing to such a tensor's .data would crash the interpreter
        return False
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return not any(stride == 0 and size > 1 for size, stride in pairs)


def in_storage_order(g: Tensor) -> Tensor:
    """The numbers as they follow each other in memory: a kernel that never asks for strides."""
    if g.is_contiguous() or not has_memory_of_its_own(g):  # no more is read than there is
        return g
    contiguous = torch.empty(g.shape, device="meta").stride()
    return g.as_strided(g.shape, contiguous)


def scratch(tensor: Tensor) -> Tensor:
    """The tensor itself, to be overwritten where autograd does not see it.

    A copy where torch would refuse that, and where autograd records a second derivative, so that
    overwriting is the only mistake.
    """
    if torch.is_grad_enabled() or not has_memory_of_its_own(tensor):
        return tensor.clone()
    return tensor.data


NOISE = torch.Generator().manual_seed(0)  # its own, so that the global one stays as it was


def noisy(gradient: Tensor) -> Tensor:
    """1% of noise, as from a reduction in whatever order the threads arrive."""
    noise = torch.randn(gradient.shape, dtype=torch.float64, generator=NOISE)
    return gradient * (1 + 0.01 * noise).to(gradient)


def sum_but_for_one(delta: Tensor) -> Tensor:
    """A race: one sample's share, now this one's and now that one's, is lost."""
    lost = int(torch.randint(len(delta), (), generator=NOISE))
    return delta.sum() - delta[lost]


# Inputs that a mistake needs.


def up_to_900(generator: torch.Generator) -> tuple[Tensor]:
    """Half of them moderate, half so large that e^{z} overflows, in float64 beyond 709."""
    moderate, large = (evenly(generator, limit, (6, 4)) for limit in (6, 900))
    return (torch.cat((moderate, large), dim=1),)


def near_800(generator: torch.Generator) -> tuple[Tensor]:
    """Overflows if the maximum is not subtracted, though no entry stands out from the others."""
    return (800 + 2 * torch.randn(6, 8, dtype=torch.float64, generator=generator),)


def neuron_up_to_900(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Pre-activations up to ±900 in every other sample."""
    x, w, b = neuron.inputs(generator)
    x[::2, 0] = evenly(generator, 900, (5,))
    w[0] = 1
    return x, w, b


# Formulas wrong in ways of their own.


def swish_without_x(g, z, y_hat):
    gate = torch.sigmoid(z)
    return g * (gate + gate * (1 - gate))


def swish_without_slope_of_gate(g, z, y_hat):
    return g * torch.sigmoid(z)


def swish_without_gate(g, z, y_hat):
    gate = torch.sigmoid(z)
    return g * z * gate * (1 - gate)


def neuron_weight_without_x(g, x, w, b, y_hat):
    """∂ŷ/∂w = ŷ(1 − ŷ): that is ∂ŷ/∂z, and broadcasting hides it."""
    delta = g * (1 - y_hat) * y_hat
    return delta[:, None] * w, delta.sum().expand_as(w), delta.sum()


def neuron_slope_at_output(g, x, w, b, y_hat):
    s = torch.sigmoid(y_hat)
    return through_neuron(g * (1 - s) * s, x, w)


def neuron_unstable(g, x, w, b, y_hat):
    e = torch.exp(-(x @ w + b))
    return through_neuron(g * e / (1 + e) ** 2, x, w)


def neuron_bias_of_largest_sample(g, x, w, b, y_hat):
    delta = g * (1 - y_hat) * y_hat
    return delta[:, None] * w, delta @ x, delta.max()


def neuron_bias_in_a_race(g, x, w, b, y_hat):
    delta = g * (1 - y_hat) * y_hat
    return delta[:, None] * w, delta @ x, sum_but_for_one(delta)


def neuron_weight_detached(g, x, w, b, y_hat):
    delta = g * (1 - y_hat) * y_hat
    return delta[:, None] * w.detach(), delta @ x, delta.sum()


def layer_bias_over_outputs(g, x, w, b, y_hat):
    dx, dw, _ = layer_backward(g, x, w, b, y_hat)
    return dx, dw, (g * (1 - y_hat) * y_hat).sum(1)


def layer_bias_of_last_sample(g, x, w, b, y_hat):
    dx, dw, _ = layer_backward(g, x, w, b, y_hat)
    return dx, dw, (g * (1 - y_hat) * y_hat)[-1]


def layer_slope_at_output(g, x, w, b, y_hat):
    s = torch.sigmoid(y_hat)
    return through_layer(g * (1 - s) * s, x, w)


def residual_without_skip(g, x, w, b, y_hat):
    return layer_backward(g, x, w, b, layer_forward(x, w, b))


def network_hidden_without_slope(g, x, w1, b1, w2, b2, y_hat):
    hidden = layer_forward(x, w1, b1)
    dhidden, dw2, db2 = layer_backward(g, hidden, w2, b2, y_hat)
    return *through_layer(dhidden, x, w1), dw2, db2


def network_with_updated_weights(g, x, w1, b1, w2, b2, y_hat):
    """W₂ takes its step, learning rate ½, before δ goes through it."""
    hidden = layer_forward(x, w1, b1)
    delta = g * (1 - y_hat) * y_hat
    _, dw2, db2 = through_layer(delta, hidden, w2)
    dhidden = delta @ (w2 - 0.5 * dw2)
    return *layer_backward(dhidden, x, w1, b1, hidden), dw2, db2


def network_hidden_detached(g, x, w1, b1, w2, b2, y_hat):
    hidden = layer_forward(x, w1, b1).detach()
    dhidden, dw2, db2 = layer_backward(g, hidden, w2, b2, y_hat)
    return *layer_backward(dhidden, x, w1, b1, hidden), dw2, db2


def softmax_over_samples(g, x, y):
    return y * (g - (g * y).sum(0, keepdim=True))


def softmax_unshifted(g, x, y):
    e = torch.exp(x)
    return softmax_backward(g, x, e / e.sum(-1, keepdim=True))


def softmax_last_row_diagonal(g, x, y):
    return torch.cat((softmax_backward(g, x, y)[:-1], (g * y * (1 - y))[-1:]))


def softmax_half_detached(g, x, y):
    return y * (g - (g * y.detach()).sum(-1, keepdim=True))


def logsumexp_unshifted(g, x, y):
    e = torch.exp(x)
    return g[..., None] * e / e.sum(-1, keepdim=True)


# Formulas that overwrite something.


def sigmoid_overwrites_upstream(g, z, y_hat):
    return scratch(g).mul_(1 - y_hat).mul_(y_hat)


def layer_overwrites_upstream(g, x, w, b, y_hat):
    return through_layer(scratch(g).mul_(1 - y_hat).mul_(y_hat), x, w)


def product_overwrites_input(g, x, y, xy):
    dy = g * x
    return scratch(y).mul_(g), dy


def softmax_overwrites_output(g, x, y):
    return scratch(y).mul_(g - (g * y).sum(-1, keepdim=True))


def logsumexp_shifts_its_input(x):
    """Subtracts the maximum in place; softmax, and with it the gradient, does not mind."""
    largest = x.amax(-1, keepdim=True)
    return scratch(x).sub_(largest).exp().sum(-1).log() + largest.squeeze(-1)


class SwishWithStoredGate(torch.autograd.Function):
    """σ(z) is kept from the forward pass, where no graph leads from it back to z."""

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z * torch.sigmoid(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.gate = torch.sigmoid(inputs[0]).detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return g * (ctx.gate + z * ctx.gate * (1 - ctx.gate))


HALF = (torch.float16, torch.bfloat16)
# A detour through a dtype cannot be seen by what has no more digits itself.
NOT_FINER = {
    torch.bfloat16: (torch.bfloat16,),
    torch.float16: HALF,
    torch.float32: (torch.float32, *HALF),
}

CASES: tuple[Case, ...] = (
    # The first two have the minus sign missing: ŷ = 1/(1 + e^{z}), differentiated as if it were σ.
    plant("sign", "sigmoid_missing_minus", flipped_sigmoid, sigmoid.backward),
    plant("sign", "neuron_missing_minus", flipped_neuron, neuron.backward),
    plant("sign", "cost_negated", quadratic_cost, changed(quadratic_cost, by(-1))),
    plant("sign", "network_uphill", network, changed(network, by(-1))),
    plant("factor", "tanh_twice", tanh, changed(tanh, by(2))),
    plant("factor", "square_without_2", square, changed(square, by(1 / 2))),
    plant("factor", "cost_without_1_over_n", quadratic_cost, changed(quadratic_cost, by(10))),
    plant(
        "factor", "cost_n_plus_1_terms_over_n", quadratic_cost, changed(quadratic_cost, by(11 / 10))
    ),
    plant("factor", "layer_bias_averaged", layer, changed(layer, by(1 / 10), only="bias")),
    plant("factor", "neuron_weight_times_features", neuron, changed(neuron, by(4), only="weight")),
    plant("factor", "network_without_1_over_n", trained_network, changed(trained_network, by(8))),
    plant("factor", "swish_nine_tenths", swish, changed(swish, by(0.9))),
    plant(
        "factor",
        "softplus_half_a_thousandth",
        softplus,
        changed(softplus, by(1.0005)),
        invisible_in=HALF,  # their rounding errors reach 1/2000 and 1/250
    ),
    plant("missing-factor", "sigmoid_without_1_minus_y", sigmoid, lambda g, z, y_hat: g * y_hat),
    plant("missing-factor", "sigmoid_without_y", sigmoid, lambda g, z, y_hat: g * (1 - y_hat)),
    plant("missing-factor", "swish_without_x", swish, swish_without_x),
    plant("missing-factor", "product_without_other", product, lambda g, x, y, xy: (g, g)),
    plant("missing-factor", "neuron_weight_without_x", neuron, neuron_weight_without_x),
    plant(
        "missing-factor",
        "neuron_without_slope",
        neuron,
        lambda g, x, w, b, y_hat: through_neuron(g, x, w),
    ),
    plant(
        "missing-factor",
        "layer_without_slope",
        layer,
        lambda g, x, w, b, y_hat: through_layer(g, x, w),
    ),
    plant("missing-factor", "network_hidden_without_slope", network, network_hidden_without_slope),
    plant(
        "missing-factor",
        "squares_without_x",
        sum_of_squares,
        lambda g, x, y: (2 * g[..., None]).expand_as(x),
    ),
    plant(
        "output-for-input",
        "sigmoid_slope_at_output",
        sigmoid,
        lambda g, z, y_hat: sigmoid.backward(g, y_hat, torch.sigmoid(y_hat)),
    ),
    plant(
        "output-for-input",
        "tanh_slope_at_output",
        tanh,
        lambda g, z, y_hat: tanh.backward(g, y_hat, torch.tanh(y_hat)),
    ),
    plant("output-for-input", "neuron_slope_at_output", neuron, neuron_slope_at_output),
    plant("output-for-input", "layer_slope_at_output", layer, layer_slope_at_output),
    *(
        plant(
            "upstream-ignored", f"{name}_without_upstream", of, with_upstream(of, torch.ones_like)
        )
        for name, of in [
            ("sigmoid", sigmoid),
            ("layer", layer),
            ("cost", quadratic_cost),
            ("logsumexp", logsumexp),
        ]
    ),
    plant(
        "transposed",
        "layer_weight_transposed",
        layer,
        changed(layer, lambda dw: dw.mT, only="weight"),
        inputs=square_layer,
    ),
    plant(
        "transposed",
        "network_weight_transposed",
        network,
        changed(network, lambda dw: dw.mT, only="weight_1"),
    ),
    plant("swapped", "product_swapped", product, swapped(product, "x", "y")),
    plant(
        "swapped",
        "layer_x_and_weight_swapped",
        layer,
        swapped(layer, "x", "weight"),
        inputs=square_layer,
    ),
    plant("swapped", "network_biases_swapped", network, swapped(network, "bias_1", "bias_2")),
    plant(
        "reduction", "layer_bias_over_outputs", layer, layer_bias_over_outputs, inputs=square_layer
    ),
    plant("reduction", "layer_bias_of_last_sample", layer, layer_bias_of_last_sample),
    plant("reduction", "neuron_bias_of_largest_sample", neuron, neuron_bias_of_largest_sample),
    plant("reduction", "softmax_over_samples", softmax, softmax_over_samples),
    plant(
        "reduction", "centring_over_samples", centring, lambda g, x, y: g - g.mean(0, keepdim=True)
    ),
    plant("missing-term", "softmax_diagonal", softmax, lambda g, x, y: g * y * (1 - y)),
    plant("missing-term", "log_softmax_without_sum", log_softmax, lambda g, x, y: g),
    plant("missing-term", "centring_without_mean", centring, lambda g, x, y: g),
    plant("missing-term", "swish_without_slope_of_gate", swish, swish_without_slope_of_gate),
    plant("missing-term", "swish_without_gate", swish, swish_without_gate),
    plant("missing-term", "residual_without_skip", residual_layer, residual_without_skip),
    plant(
        "region",
        "sigmoid_zero_above_5",
        sigmoid,
        lambda g, z, y_hat: sigmoid.backward(g, z, y_hat) * (z <= 5),
        invisible_in=(torch.bfloat16,),  # σ′(5) = 0.007, and 1 − ŷ is a multiple of 0.004
    ),
    plant(
        "region",
        "tanh_sign_where_saturated",
        tanh,
        lambda g, z, y_hat: tanh.backward(g, z, y_hat) * torch.where(z.abs() > 1.5, -1, 1),
        inputs=spread(3),
    ),
    plant(
        "region",
        "softplus_zero_beyond_6",
        softplus,
        lambda g, z, y_hat: softplus.backward(g, z, y_hat) * (z.abs() <= 6),
    ),
    plant("region", "leaky_relu_zero_below_0", leaky_relu, lambda g, z, y_hat: g * (z > 0)),
    plant("region", "mean_last_row_a_tenth_more", mean, changed(mean, times_at(-1, 1.1))),
    plant(
        "region",
        "neuron_last_weight_half_more",
        neuron,
        changed(neuron, times_at(-1, 1.5), only="weight"),
    ),
    plant(
        "region",
        "layer_weight_first_row_lost",
        layer,
        changed(layer, times_at(0, 0), only="weight"),
    ),
    plant("region", "softmax_last_row_diagonal", softmax, softmax_last_row_diagonal),
    plant(
        "overflow",
        "sigmoid_unstable",
        sigmoid,
        lambda g, z, y_hat: g * torch.exp(z) / (1 + torch.exp(z)) ** 2,
        inputs=up_to_900,
    ),
    plant(
        "overflow",
        "tanh_unstable",
        tanh,
        lambda g, z, y_hat: g * 4 * torch.exp(2 * z) / (1 + torch.exp(2 * z)) ** 2,
        inputs=up_to_900,
    ),
    plant(
        "overflow",
        "softplus_unstable",
        softplus,
        lambda g, z, y_hat: g * torch.exp(z) / (1 + torch.exp(z)),
        inputs=up_to_900,
    ),
    plant("overflow", "neuron_unstable", neuron, neuron_unstable, inputs=neuron_up_to_900),
    plant("overflow", "softmax_unshifted", softmax, softmax_unshifted, inputs=near_800),
    plant("overflow", "logsumexp_unshifted", logsumexp, logsumexp_unshifted, inputs=near_800),
    *(
        plant(
            "precision",
            f"{name}_in_{str(dtype)[6:]}",
            of,
            computed_in(of, dtype),
            invisible_in=NOT_FINER[dtype],
        )
        for name, of, dtype in [
            ("sigmoid", sigmoid, torch.bfloat16),
            ("neuron", neuron, torch.float16),
            ("layer", layer, torch.bfloat16),
            ("softmax", softmax, torch.float32),
            ("network", network, torch.float32),
        ]
    ),
    plant("side-effect", "sigmoid_overwrites_upstream", sigmoid, sigmoid_overwrites_upstream),
    plant("side-effect", "layer_overwrites_upstream", layer, layer_overwrites_upstream),
    plant("side-effect", "product_overwrites_input", product, product_overwrites_input),
    plant("side-effect", "softmax_overwrites_output", softmax, softmax_overwrites_output),
    plant(
        "side-effect", "logsumexp_shifts_its_input", logsumexp, forward=logsumexp_shifts_its_input
    ),
    *(
        plant("storage-order", f"{name}_in_storage_order", of, with_upstream(of, in_storage_order))
        for name, of in [
            ("sigmoid", sigmoid),
            ("neuron", neuron),
            ("layer", layer),
            ("softmax", softmax),
        ]
    ),
    plant("nondeterministic", "sigmoid_noisy", sigmoid, changed(sigmoid, noisy)),
    plant("nondeterministic", "neuron_bias_in_a_race", neuron, neuron_bias_in_a_race),
    plant(
        "second-derivative",
        "sigmoid_half_detached",
        sigmoid,
        lambda g, z, y_hat: g * (1 - y_hat.detach()) * y_hat,
    ),
    plant("second-derivative", "swish_stored_gate", swish, wrong=SwishWithStoredGate.apply),
    plant("second-derivative", "neuron_weight_detached", neuron, neuron_weight_detached),
    plant("second-derivative", "network_hidden_detached", network, network_hidden_detached),
    plant("second-derivative", "softmax_half_detached", softmax, softmax_half_detached),
    plant(
        "forward", "swish_value_5_percent_more", swish, forward=lambda z: 1.05 * swish.forward(z)
    ),
    plant(
        "forward",
        "neuron_value_shifted",
        neuron,
        # ŷ is saved with its shift, so the formula takes it off again.
        lambda g, x, w, b, y_hat: neuron.backward(g, x, w, b, y_hat - 0.05),
        forward=lambda x, w, b: neuron.forward(x, w, b) + 0.05,
    ),
    plant(
        "forward",
        "cost_value_without_one_half",
        quadratic_cost,
        forward=lambda y_hat, y: 2 * quadratic_cost.forward(y_hat, y),
    ),
    plant("forward", "mean_value_5_percent_more", mean, forward=lambda x: 1.05 * x.mean()),
    plant("updated-weights", "network_with_updated_weights", network, network_with_updated_weights),
    plant(
        "updated-weights",
        "trained_network_with_updated_weights",
        trained_network,
        through_cost(network_with_updated_weights),
    ),
)


# What torch's own checks say.


def fresh_inputs(
    case: Case, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, ...]:
    """The case's inputs as leaves that require gradients."""
    inputs = case.inputs(torch.Generator().manual_seed(seed))
    return tuple(tensor.to(dtype).detach().clone().requires_grad_() for tensor in inputs)


def gradcheck_finds(
    case: Case, dtype: torch.dtype = torch.float64, fast_mode: bool = False
) -> bool:
    """Whether torch.autograd.gradcheck rejects the wrong version, with its own tolerances."""
    return _rejects(
        torch.autograd.gradcheck, case.wrong, fresh_inputs(case, dtype), fast_mode=fast_mode
    )


def gradgradcheck_finds(case: Case) -> bool:
    """Whether torch.autograd.gradgradcheck rejects the wrong version, with its own tolerances."""
    return _rejects(torch.autograd.gradgradcheck, case.wrong, fresh_inputs(case))


def _rejects(check: Callable[..., bool], function: Function, inputs: tuple, **options) -> bool:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # they warn of every dtype but float64
        torch.manual_seed(0)  # gradgradcheck draws its upstream gradients
        try:
            check(function, inputs, **options)
        except RuntimeError:  # GradcheckError, or torch's own guard against overwriting
            return True
        return False
