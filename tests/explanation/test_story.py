"""A step as a story: the numbers in it are the step's, and it fits any terminal."""

import re

import pytest
import torch
from tolerances import PUBLISHED

import bp_torch as bp
from bp_torch.explanation import example, explain
from bp_torch.explanation.document import Formula, Sentences, Table
from bp_torch.explanation.examples import EXAMPLES
from bp_torch.explanation.notation import number
from bp_torch.explanation.text import as_text


def neuron(weights, bias):
    module = bp.Neuron(len(weights), dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weights))
        module.bias.fill_(bias)
    return module


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def table_below(story, heading):
    (section,) = [s for s in story.sections if s.heading == heading]
    return next(part for part in section.parts if isinstance(part, Table))


def drawn(sizes, samples, cost="quadratic", **options):
    """A story of a module with weights at random, or of one neuron where sizes are a number."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(sizes, int):
        module = bp.Neuron(sizes, generator=generator, dtype=torch.float64)
        y = torch.rand(samples, generator=generator).double()
    else:
        module = bp.Network(sizes, generator=generator, dtype=torch.float64)
        y = torch.rand(samples, sizes[-1], generator=generator).double()
    x = torch.randn(samples, module.layers[0].weight.shape[-1], generator=generator).double()
    return explain(module, x, y, cost=cost, **options)


SHAPES = [
    pytest.param(2, 1, id="neuron"),
    pytest.param(2, 5, id="neuron, 5 samples"),
    pytest.param(30, 9, id="neuron of 30"),
    pytest.param([2, 2, 2], 1, id="2-2-2"),
    pytest.param([3, 1], 1, id="one output"),
    pytest.param([3, 1], 2, id="one output, 2 samples"),
    pytest.param([2, 3, 2, 1], 3, id="2-3-2-1"),
    pytest.param([12, 10, 10], 2, id="12-10-10"),
]
COSTS = pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])


@COSTS
@pytest.mark.parametrize(("sizes", "samples"), SHAPES)
def test_by_hand_autograd_and_fifty_digits_stand_side_by_side(sizes, samples, cost):
    story = drawn(sizes, samples, cost, decimals=9)
    table = table_below(story, "Their product: the gradient")
    hand, autograd = table.columns.index("by hand"), table.columns.index("autograd")
    truth = table.columns.index("50 digits")
    for row in table.rows:
        assert row[hand] == row[autograd] == row[truth]


def test_a_wrong_gradient_by_hand_is_seen_in_the_table(monkeypatch):
    from bp_torch.explanation import step

    def wrong(*arguments, **options):
        chain = bp.backprop(*arguments, **options)
        for gradient in chain.gradients.values():
            gradient.mul_(1.001)
        return chain

    monkeypatch.setattr(step, "backprop", wrong)
    rows = table_below(drawn(2, 1), "Their product: the gradient").rows
    assert all(row[-3] != row[-2] == row[-1] for row in rows)


@COSTS
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize(("sizes", "samples"), SHAPES)
def test_fits_into_80_columns_in_every_terminal(sizes, samples, cost, encoding):
    text = as_text(drawn(sizes, samples, cost, decimals=9).sections, encoding)
    assert max(map(len, text.split("\n"))) <= 80
    text.encode(encoding)
    assert text.count("?") == 1  # "How does the cost answer to a weight?", and no symbol unknown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_fit_into_80_columns(name, encoding):
    text = as_text(example(name).sections, encoding)
    assert max(map(len, text.split("\n"))) <= 80
    text.encode(encoding)


def test_without_greek_the_columns_of_a_table_stay_columns():
    lines = as_text(example("mazur").sections, "ascii").split("\n")
    start = next(i for i, line in enumerate(lines) if "delta * what it meets" in line)
    ends = {len(line) for line in lines[start : start + 13]}
    assert len(ends) == 1


def test_the_update_is_that_of_descent():
    story = explain(neuron([2.0, -3.0], -3.0), tensor([-1.0, -2.0]), tensor(0.0), learning_rate=0.5)
    rows = {row[0]: row[3] for row in table_below(story, "The update").rows}
    gradient = 0.7310585786300049 * 0.19661193324148185
    assert rows == {
        "w₁": number(2 + 0.5 * gradient),
        "w₂": number(-3 + 0.5 * 2 * gradient),
        "b": number(-3 - 0.5 * gradient),
    }


def test_what_does_not_require_a_gradient_is_held():
    module = neuron([2.0], 1.0)
    module.bias.requires_grad_(False)
    story = explain(module, tensor([1.0]), tensor(0.0))
    assert [row[0] for row in table_below(story, "The update").rows] == ["w₁"]
    assert story.step.updated.bias.item() == 1.0
    assert "The biases are held" in str(story)


def test_the_module_stays_as_it_is():
    module = bp.Neuron(2)  # float32
    before = module.weight.detach().clone()
    explain(module, torch.ones(2), torch.tensor(1.0))
    assert torch.equal(module.weight, before)
    assert module.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("z", "said"),
    [(0.0, "here it is 100% of that"), (6.0, "the neuron is saturated"), (40.0, "It is 0")],
)
def test_how_steep_the_sigmoid_is_there_is_said(z, said):
    text = " ".join(str(explain(neuron([1.0], z), tensor([0.0]), tensor(0.0))).split())
    assert said in text
    others = {"here it is 100% of that", "the neuron is saturated", "It is 0"} - {said}
    assert not any(other in text for other in others)


def test_a_step_that_was_too_long_is_said_to_be_so():
    text = str(explain(neuron([1.0], 0.0), tensor([1.0]), tensor(0.7), learning_rate=300.0))
    assert "the step was too long" in text
    assert "the step was too long" not in str(
        explain(neuron([1.0], 0.0), tensor([1.0]), tensor(0.0))
    )


# What others have published.


def numbers_in(text):
    return [float(v.replace("−", "-")) for v in re.findall(r"−?\d+\.\d+", text)]


@pytest.mark.parametrize(
    "published",
    [
        *(0.593269992, 0.596884378, 0.751365070, 0.772928465, 0.298371109),
        *(0.082167041, 0.000438568),
        *(0.149780716, 0.19956143, 0.24975114, 0.29950229),
        *(0.35891648, 0.408666186, 0.511301270, 0.561370121),
    ],
)
def test_mazur_has_the_articles_numbers(published):
    # Weights of the hidden layer are given to eight decimals, cut off and not rounded.
    tolerance = 1e-8 if len(str(published)) == 10 else PUBLISHED[9]
    found = numbers_in(str(example("mazur")))
    assert min(abs(value - published) for value in found) <= tolerance


def test_mazur_says_where_the_later_figures_went_wrong():
    last = as_text(example("mazur").sections[-1:])
    assert "0.291027924" in last.split("Its run")[0]  # the article's
    assert "0.29102777369" in last
    row = next(line for line in last.split("\n") if "C after the step" in line)
    assert row.split()[-2:] == ["0.291027774", "0.291027924"]


def test_mazur_finds_another_figure_with_another_mistake(monkeypatch):
    from bp_torch.explanation import examples

    right = examples.descend_with
    monkeypatch.setattr(
        examples, "descend_with", lambda name, step, **o: right("without-x", step, **o)
    )
    row = next(r for r in str(example("mazur")).split("\n") if "C after the step" in r)
    assert row.split()[-1] != "0.291027924"


def test_nielsen_has_the_books_numbers():
    *_, table = example("nielsen").sections[-1].parts
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["w = 0.6, b = 0.9"] == ("0.8175745", "0.0939557")
    assert rows["w = b = 2: saturated"] == ("0.9820138", "0.2028484")


def test_nielsen_draws_the_slow_start():
    text = as_text(example("nielsen").sections[-1:])
    chart = text[text.index("the output over the steps") : text.index("start  ")]
    rows = [line.partition("|")[2] for line in chart.split("\n") if "|" in line]
    top = rows[0]
    assert top.count("o") > 20  # saturated: flat for some hundred of the 300 steps
    assert top.count("*") == top.count("+") - 1 == 0  # the two others have left at once


def test_cs231n_has_the_courses_numbers():
    found = numbers_in(as_text(example("cs231n").sections[-1:]))
    for published in (-0.1966119332, -0.3932238665, 0.1966119332, 0.3932238665, -0.5898357997):
        assert min(abs(value - published) for value in found) <= PUBLISHED[10]


def test_seed_walks_through_four_slips():
    slips = example("seed").sections[-4:]
    ratios = []
    for section in slips:
        table = next(part for part in section.parts if isinstance(part, Table))
        ratios.append([row[3] for row in table.rows[:2]])
    assert ratios[0] == ["−1", "−1"]  # the sign
    assert ratios[1] not in (["1", "1"],)
    assert ratios[3] == ["4", "4"]  # N
    gradients = example("seed").step.chain.gradients
    without_x = [row[2] for row in slips[1].parts[1].rows[:2]]
    assert without_x == [number(float(gradients["bias"]))] * 2


# Views.


def test_markdown_escapes_what_it_would_take_for_its_own():
    text = explain(neuron([2.0], 1.0), tensor([1.0]), tensor(0.0)).to_markdown()
    assert text.startswith("### What goes forward")
    table = text[text.index("| w₁") :].split("\n")[0]
    assert table.count("|") == 6


def test_a_formula_too_long_is_broken_below_what_it_equals():
    from bp_torch.explanation.document import Section

    long = "z = " + " + ".join(["0.123456·0.123456"] * 8)
    lines = as_text(
        (
            Section(
                "h",
                (Formula((long,)), Sentences("s")),
            ),
        )
    ).split("\n")[2:]
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("        0.1") or lines[1].startswith("        +")


# Numbers.


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.7310585786, 6, "0.731059"),
        (2.0, 6, "2"),
        (-3.0, 6, "−3"),
        (0.0, 6, "0"),
        (4.13993738e-8, 6, "4.14·10⁻⁸"),
        (1e-5, 6, "0.00001"),
        (0.000438568, 9, "0.000438568"),
        (-1e-9, 6, "−10⁻⁹"),
        (123456789.0, 6, "1.235·10⁸"),
        (float("inf"), 6, "∞"),
        (float("nan"), 6, "NaN"),
        (0.9999999, 6, "1"),
    ],
)
def test_number(value, decimals, text):
    assert number(value, decimals) == text


@pytest.mark.parametrize("value", [0.1234567, 12.5, 4.1e-8, 7e5, -0.02, 3.3e9, 0.00123456])
def test_a_number_keeps_four_digits_at_least(value):
    text = number(value).replace("−", "-")
    mantissa, _, power = text.partition("·10")
    superscripts = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
    read = float(mantissa) * 10.0 ** int(power.translate(superscripts) or 0)
    assert read == pytest.approx(value, rel=5.1e-4)
    assert read != pytest.approx(value * 1.01, rel=5.1e-4)


# A user's mistakes.


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: explain(torch.nn.Linear(2, 1), torch.ones(2), torch.ones(())),
            "Neuron or Network",
        ),
        (lambda: explain(bp.Neuron(2), torch.ones(3), torch.ones(())), "one column per feature"),
        (lambda: explain(bp.Neuron(2), torch.ones(2), torch.tensor(2.0)), "must lie in [0, 1]"),
        (lambda: explain(bp.Neuron(2), [1, 2], torch.ones(())), "must be a floating-point tensor"),
        (
            lambda: explain(bp.Neuron(2), torch.ones(2), torch.ones(()), learning_rate=-1),
            "must be a positive number",
        ),
        (
            lambda: explain(bp.Neuron(2), torch.ones(2), torch.ones(()), cost="mse"),
            "must be one of quadratic, cross-entropy",
        ),
        (lambda: example("mazzur"), "must be one of mazur"),
        (
            lambda: explain(bp.Neuron(2), torch.ones(2), torch.ones(())).why("y"),
            "must be one of sigma-prime",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(call, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)) as raised:
        call()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("z", [5.0, 40.0, 200.0, 700.0, -700.0])
def test_the_truth_is_the_truth_however_saturated(z):
    """σ′(z)² y-free: C = ½ŷ², so ∂C/∂b = ŷ σ′(z) ≈ e^{−|z|}, of which float64 has all digits."""
    story = explain(neuron([1.0], z), tensor([0.0]), tensor(0.0))
    (truth,) = story.step.truth("bias", [0])
    e = torch.exp(-torch.tensor(abs(z)).double())
    prime = e / (1 + e) ** 2
    expected = (prime / (1 + e) if z > 0 else prime * e / (1 + e)).item()
    assert truth == pytest.approx(expected, rel=1e-14)
    assert ("They do not agree" in str(story)) == (z > 30)


def test_the_accurate_form_agrees_with_the_truth():
    module = bp.Neuron(1, "accurate", dtype=torch.float64)
    with torch.no_grad():
        module.weight.fill_(1.0)
    story = explain(module, tensor([60.0]), tensor(0.0))
    row = table_below(story, "Their product: the gradient").rows[0]
    assert row[-3] == row[-1] != "0"
    assert "They do not agree" not in str(story)
