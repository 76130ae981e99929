import logging
import random
import warnings

import pytest
import torch
from torch.autograd.function import once_differentiable

import bp_torch as bp
from bp_torch.judge.cases import make_case
from bp_torch.judge.passes import Refused
from bp_torch.judge.transforms.marks import marked
from bp_torch.judge.transforms.table import transform_table

EAGER = [
    *("vmap", "func.grad", "jvp", "jacfwd", "jacrev", "hessian", "per-sample gradients"),
    *("double backward", "checkpoint", "autocast"),
]
COMPILED = ["compile", "compile(func.grad)", "compile(vmap(grad))", "export"]


class Sigmoid(torch.autograd.Function):
    """Without jvp; torch derives its vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z):
        return torch.sigmoid(z)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, upstream):
        (y,) = ctx.saved_tensors
        return upstream * y * (1 - y)


class WithoutVmap(Sigmoid):
    generate_vmap_rule = False


class DifferentiatesItsVmap(Sigmoid):
    """A vmap written with plain operations: under it, backward is never asked."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info, in_dims, z):
        return torch.sigmoid(z), in_dims[0]


class OldStyle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        y = torch.sigmoid(z)
        ctx.save_for_backward(y)
        return y

    backward = Sigmoid.backward


class OnlyVjp(OldStyle):
    backward = torch.autograd.Function.backward
    vjp = Sigmoid.backward


class WrongBackward(Sigmoid):
    @staticmethod
    def backward(ctx, upstream):
        (y,) = ctx.saved_tensors
        return upstream * y * (1 + y)


class WithJvp(Sigmoid):
    @staticmethod
    def jvp(ctx, tangent):
        (y,) = ctx.saved_tensors
        return tangent * y * (1 - y)


class WrongJvp(Sigmoid):
    @staticmethod
    def jvp(ctx, tangent):
        (y,) = ctx.saved_tensors
        return tangent * y * (1 + y)


class Detached(Sigmoid):
    """The gradient is right and constant."""

    @staticmethod
    def backward(ctx, upstream):
        y = ctx.saved_tensors[0].detach()
        return upstream * y * (1 - y)


class Once(Sigmoid):
    backward = staticmethod(once_differentiable(Sigmoid.backward))


class Round(torch.autograd.Function):
    """A straight-through estimator: its backward is not what the forward would give."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z):
        return z.round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, upstream):
        return upstream


class Triple(Round):
    """Linear: whatever its rules give, the second derivative is zero."""

    @staticmethod
    def forward(z):
        return 3 * z

    @staticmethod
    def backward(ctx, upstream):
        return 3 * upstream

    jvp = backward


class Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return x @ weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        return upstream @ weight.mT, x.mT @ upstream


class WrongInTheWeight(Linear):
    @staticmethod
    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        return upstream @ weight.mT, -x.mT @ upstream


def inputs(*shapes, dtype=torch.float64):
    return tuple(torch.randn(shape, dtype=dtype) for shape in shapes)


def table(fn, reference=torch.sigmoid, given=None, *, compile=True):
    case = make_case(fn, reference, given or inputs((4, 3)), None)
    rows = transform_table(case, compile=compile, tell=lambda text: None)
    assert all(len(row.detail) <= 100 and "\n" not in row.detail for row in rows)
    assert all((row.detail == "") == (outcome(row) == "right") for row in rows)
    return {row.name: row for row in rows}


def outcome(row):
    return row.outcome.name.lower()


def verdicts(*arguments, **options):
    return {name: outcome(row) for name, row in table(*arguments, **options).items()}


def expected(names, **others):
    """Verdicts by name: right, but for the names given as verdict=[names]."""
    given = {name: verdict for verdict, listed in others.items() for name in listed}
    assert set(given) <= set(names)
    return {name: given.get(name, "right") for name in names}


@pytest.mark.parametrize("reference", [torch.sigmoid, None], ids=["reference", "alone"])
def test_a_plain_function_is_right_everywhere(reference):
    assert verdicts(torch.sigmoid, reference) == expected(EAGER + COMPILED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reference", [torch.sigmoid, None], ids=["reference", "alone"])
def test_right_is_right_in_every_dtype_and_wrong_is_wrong(dtype, reference):
    given = inputs((3, 2), dtype=dtype)
    assert verdicts(WithJvp.apply, reference, given, compile=False) == expected(EAGER)
    if dtype != torch.bfloat16:
        wrong = verdicts(WrongJvp.apply, reference, given, compile=False)
        assert (wrong["jvp"], wrong["jacfwd"]) == ("wrong", "wrong")


# What torch does to an autograd.Function in front of everything else, as of torch 2.13.
BYPASSED = ["compile(func.grad)", "compile(vmap(grad))", "export"]
FORWARD_MODE = ["jvp", "jacfwd", "hessian"]

# Behind another operation torch 2.13 compiles it, which 2.10 refuses.
REFUSED_BY_OLDER = ["compile(func.grad)"] * (torch.__version__ < "2.13")


@pytest.mark.parametrize("behind", [False, True], ids=["", "behind another operation"])
@pytest.mark.parametrize("form", ["textbook", "accurate"])
@pytest.mark.parametrize("reference", [torch.sigmoid, None], ids=["reference", "alone"])
def test_the_packages_sigmoid_is_refused_nowhere(reference, form, behind):
    def function(z):
        return bp.sigmoid(2 * z if behind else z, form)

    same = reference and (lambda z: reference(2 * z) if behind else reference(z))
    rows = table(function, same)
    actual = {name: outcome(row) for name, row in rows.items()}
    assert actual == expected(EAGER + COMPILED, bypassed=BYPASSED)
    assert "SigmoidFunction.backward did not run" in rows["export"].detail


def test_the_packages_neuron_is_refused_nowhere():
    neuron = bp.Neuron(3, dtype=torch.float64)
    rows = table(lambda x: neuron(x), lambda x: torch.sigmoid(x @ neuron.weight + neuron.bias))
    actual = {name: outcome(row) for name, row in rows.items()}
    assert actual == expected(EAGER + COMPILED, bypassed=BYPASSED)


def test_a_jvp_of_its_own_is_refused_by_the_compiler():
    row = table(WithJvp.apply)["compile"]
    assert (outcome(row), row.detail) == ("refused", "Unsupported: Unsupported custom jvp")


def test_without_jvp():
    rows = table(Sigmoid.apply)
    actual = {name: outcome(row) for name, row in rows.items()}
    assert actual == expected(EAGER + COMPILED, refused=FORWARD_MODE, bypassed=BYPASSED)
    assert "NotImplementedError: You must implement the jvp" in rows["jvp"].detail


def test_behind_another_operation_torch_asks_the_rule_or_refuses():
    """What is dropped is a Function on the very input of the transform."""
    actual = verdicts(lambda z: Sigmoid.apply(2 * z), lambda z: torch.sigmoid(2 * z))
    refused = [*FORWARD_MODE, "compile(vmap(grad))", *REFUSED_BY_OLDER]
    assert actual == expected(EAGER + COMPILED, refused=refused, bypassed=["export"])


def test_without_jvp_and_vmap():
    refused = [*FORWARD_MODE, "vmap", "per-sample gradients"]
    actual = verdicts(WithoutVmap.apply)
    assert actual == expected(EAGER + COMPILED, refused=refused, bypassed=BYPASSED)


@pytest.mark.parametrize("function", [OldStyle, OnlyVjp])
def test_without_setup_context(function):
    refused = [*FORWARD_MODE, "vmap", "func.grad", "jacrev", "per-sample gradients"]
    assert verdicts(function.apply, compile=False) == expected(EAGER, refused=refused)


def test_a_vmap_of_its_own_may_leave_backward_out():
    actual = verdicts(DifferentiatesItsVmap.apply, compile=False)
    assert actual == expected(EAGER, refused=FORWARD_MODE, bypassed=["vmap"])


def test_a_wrong_backward():
    rows = table(WrongBackward.apply)
    actual = {name: outcome(row) for name, row in rows.items()}
    wrong = ["vmap", "func.grad", "jacrev", "per-sample gradients", "double backward"]
    wrong += ["checkpoint", "autocast", "compile"]
    assert actual == expected(
        EAGER + COMPILED, wrong=wrong, refused=FORWARD_MODE, bypassed=BYPASSED
    )
    assert rows["func.grad"].detail.endswith(" in gradient[0]")


def test_a_wrong_jvp():
    actual = verdicts(WrongJvp.apply, compile=False)
    assert actual == expected(EAGER, wrong=["jvp", "jacfwd", "hessian"])


@pytest.mark.parametrize("reference", [torch.sigmoid, None], ids=["reference", "alone"])
def test_a_backward_without_a_graph_is_wrong_the_second_time(reference):
    assert verdicts(Detached.apply, reference, compile=False)["double backward"] == "wrong"
    assert verdicts(Sigmoid.apply, reference, compile=False)["double backward"] == "right"


def test_once_differentiable_is_refused_the_second_time():
    row = table(Once.apply, compile=False)["double backward"]
    assert outcome(row) == "refused"
    assert "once_differentiable" in row.detail


def test_where_the_bypass_changes_the_numbers_its_row_says_so():
    rows = table(Round.apply, lambda z: z + (z.round() - z).detach())
    for name in BYPASSED:
        assert outcome(rows[name]) == "bypassed"
        assert "Round.backward did not run" in rows[name].detail
    assert outcome(rows["func.grad"]) == outcome(rows["compile"]) == "right"


@pytest.mark.parametrize("reference", [lambda z: 3 * z, None], ids=["reference", "alone"])
def test_a_second_derivative_of_zero_does_not_look_bypassed(reference):
    assert verdicts(Triple.apply, reference, compile=False) == expected(EAGER)


def test_several_inputs():
    def with_reference(function):
        given = inputs((5, 3), (3, 2))
        return table(function.apply, torch.matmul, given, compile=False)

    right, wrong = with_reference(Linear), with_reference(WrongInTheWeight)
    assert outcome(right["func.grad"]) == outcome(right["jacrev"]) == "right"
    assert wrong["func.grad"].detail.endswith(" in gradient[1]")
    assert wrong["jacrev"].detail.endswith(" in jacobian[0][1]")


def test_per_sample_gradients_take_the_rows_of_inputs_as_long_as_the_first():
    def cost(x, y, weight):
        return (Sigmoid.apply(x @ weight) - y) ** 2

    def plain(x, y, weight):
        return (torch.sigmoid(x @ weight) - y) ** 2

    given = inputs((5, 3), 5, 3)
    assert verdicts(cost, plain, given, compile=False)["per-sample gradients"] == "right"
    row = table(Linear.apply, None, inputs((5, 3), (3, 2)), compile=False)["per-sample gradients"]
    assert outcome(row) == "refused"  # its backward wants matrices
    assert "mT" in row.detail
    row = table(torch.sigmoid, None, inputs(()), compile=False)["per-sample gradients"]
    assert (outcome(row), row.detail) == (
        "refused",
        "ValueError: the first input has no leading dimension",
    )


def test_integer_inputs_and_several_outputs_are_passed_through():
    def fn(index, weight):
        return index + 1, Sigmoid.apply(weight[index]), weight.sum(0)

    def reference(index, weight):
        return torch.sigmoid(weight[index]), weight.sum(0)

    actual = verdicts(fn, reference, (torch.tensor([1, 0, 1]), *inputs((2, 4))))
    # A sample of the index is a single integer, and vmap cannot index by one.
    refused = [*FORWARD_MODE, "per-sample gradients", "compile(vmap(grad))", *REFUSED_BY_OLDER]
    assert actual == expected(EAGER + COMPILED, refused=refused, bypassed=["export"])


def test_weights_of_one_dtype_inside_the_function_are_no_obstacle():
    weight = torch.randn(3, requires_grad=True)
    given = inputs((4, 3), dtype=torch.float32)
    for reference in (lambda x: torch.sigmoid(x @ weight), None):
        actual = verdicts(lambda x: WithJvp.apply(x @ weight), reference, given, compile=False)
        assert actual == expected(EAGER)
    assert weight.grad is None


def test_the_compilers_rows_may_be_left_out():
    assert list(verdicts(torch.sigmoid)) == EAGER + COMPILED
    assert list(verdicts(torch.sigmoid, compile=False)) == EAGER


def test_transposed_and_expanded_inputs():
    for z in (inputs((3, 4))[0].mT, inputs((1, 3))[0].expand(4, 3)):
        assert verdicts(WithJvp.apply, None, (z,), compile=False) == expected(EAGER)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(Refused, match=r"must return a floating-point tensor, .* got torch\.bool"):
        table(torch.isnan, None, inputs(3))
    rows = table(torch.sigmoid, lambda z: z.sum(), inputs(3), compile=False)
    assert outcome(rows["func.grad"]) == "refused"
    assert "where the reference gives" in rows["func.grad"].detail


def state():
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        logging.root.manager.disable,
        list(warnings.filters),
    )


def test_the_callers_state_is_untouched():
    z, with_gradient = inputs(3, 3)
    with_gradient.requires_grad_()
    before, copies = state(), (z.clone(), with_gradient.detach().clone())
    rules = {function: dict(vars(function)) for function in (WrongJvp, Once, Sigmoid)}

    def fn(a, b):
        return WrongJvp.apply(a) * Once.apply(b) + 0 * torch.rand(3)

    with torch.no_grad():
        table(fn, None, (z, with_gradient))
        assert not torch.is_grad_enabled()
    assert state() == before
    assert (z.requires_grad, with_gradient.requires_grad) == (False, True)
    assert z.grad is None
    assert with_gradient.grad is None
    assert torch.equal(z, copies[0])
    assert torch.equal(with_gradient, copies[1])
    assert rules == {function: dict(vars(function)) for function in rules}


def test_what_the_caller_compiled_stays_compiled():
    compilations = []

    def backend(graph, _):
        compilations.append(graph)
        return graph.forward

    compiled = torch.compile(torch.sigmoid, backend=backend)
    (z,) = inputs(3)
    compiled(z)
    table(torch.sigmoid)
    compiled(z)
    assert len(compilations) == 1


def test_a_mark_doubles_adds_one_and_goes_away():
    def gradient():
        z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(Once.apply(z).sum(), z)[0].tolist()

    def fail():
        with marked(Once, "backward") as calls:
            assert gradient() == [1.5, 1.5]
            assert calls == ["backward"]
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert gradient() == [0.25, 0.25]
    own = vars(Sigmoid)["backward"]
    with marked(WithoutVmap, "backward"):  # it has the rule from Sigmoid, as its sisters have
        assert vars(Sigmoid)["backward"] is not own
    assert vars(Sigmoid)["backward"] is own
    with marked(WithoutVmap, "jvp"):  # and none of its own to go forward
        assert "jvp" in vars(WithoutVmap)
    assert "jvp" not in vars(WithoutVmap)


def test_of_a_large_pointwise_function_few_elements_are_tried():
    """Whose values differ in the last place from those that a vector kernel gives: whole Jacobians
    of a million elements would take all memory."""
    report = bp.compare(torch.sigmoid, torch.sigmoid, inputs=torch.randn(1_000_003), compile=False)
    assert report.ok
    assert all(row.outcome.name != "REFUSED" for row in report.transforms)
