"""The page in a real browser: its numbers, what can be moved, and how it looks."""

import itertools
import json

import pytest
import torch
from tolerances import PAGE_RELATIVE

import bp_torch as bp
from bp_torch.explanation import example, explain
from bp_torch.explanation.step import descend
from bp_torch.explanation.why import TOPICS
from bp_torch.mistakes import gradients_with

SWITCHES = {
    None: None,
    "withoutSigmaPrime": "without-sigma-prime",
    "wrongSign": "wrong-sign",
    "updatedWeights": "updated-weights",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of a neuron, of Mazur's network, of a neuron with the cross-entropy, of one too large
    to be drawn."""
    folder = tmp_path_factory.mktemp("pages")
    neuron = bp.Neuron(2, dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([2.0, -3.0]))
        neuron.bias.fill_(-3.0)
    x, y = torch.tensor([-1.0, -2.0]).double(), torch.tensor(0.25).double()
    stories = {
        "neuron": explain(neuron, x, y, learning_rate=0.7),
        "network": example("mazur"),
        "cross-entropy": explain(neuron, x, y, cost="cross-entropy", learning_rate=0.7),
        "large": explain(bp.Network([9, 8, 7]), torch.ones(3, 9), torch.zeros(3, 7)),
    }
    for name, story in stories.items():
        story.to_html(folder / f"{name}.html")
    return folder, stories


@pytest.fixture
def open_page(browser, pages):
    """Open a page; whatever it says on the console is a failure."""
    opened, said = [], []

    def open(name, width=1000, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((pages[0] / f"{name}.html").as_uri())
        return page

    yield open
    for context in opened:
        context.close()
    assert said == []


def numbers_of(page):
    return page.evaluate("window.page.state.layers")


def after(step, steps, mistake=None, learning_rate=None):
    """The module after so many steps by `backprop`, or with a mistake, in float64."""
    rate = step.learning_rate if learning_rate is None else learning_rate
    for parameter in step.module.parameters():
        parameter.requires_grad_()  # the page updates biases too
    gradients = None
    if mistake:

        def gradients(module):
            return gradients_with(
                mistake, module, step.x, step.y, cost=step.cost, learning_rate=rate
            )[1]

    return descend(
        step.module,
        step.x,
        step.y,
        cost=step.cost,
        learning_rate=rate,
        steps=steps,
        gradients=gradients,
    )


def flat(layers):
    rows = [[*itertools.chain(*layer["weight"]), *layer["bias"]] for layer in layers]
    return list(itertools.chain(*rows))


def parameters(module):
    return [
        value for p in module.parameters() for value in p.detach().double().reshape(-1).tolist()
    ]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("name", ["neuron", "network", "cross-entropy"])
def test_after_100_steps_its_numbers_are_backprops(open_page, pages, name, switch):
    step = pages[1][name].step
    if switch == "updatedWeights" and len(step.module.layers) == 1:
        pytest.skip("one neuron has no weights to update too early, and no such switch")
    page = open_page(name)
    if switch:
        page.click(f"#{switch}")
    page.click("#steps")
    module, costs = after(step, 100, SWITCHES[switch])
    assert flat(numbers_of(page)) == pytest.approx(parameters(module), rel=PAGE_RELATIVE)
    (curve,) = page.evaluate("Object.values(window.page.state.curves)")
    assert curve["values"] == pytest.approx(costs, rel=PAGE_RELATIVE)


def test_the_comparison_itself_can_fail(open_page, pages):
    page = open_page("neuron")
    page.click("#step")
    module, _ = after(pages[1]["neuron"].step, 1)
    assert flat(numbers_of(page)) == pytest.approx(parameters(module), rel=PAGE_RELATIVE)
    module, _ = after(pages[1]["neuron"].step, 1, learning_rate=0.7 * (1 + 1e-9))
    assert flat(numbers_of(page)) != pytest.approx(parameters(module), rel=PAGE_RELATIVE)


def test_a_slider_moves_the_numbers_and_the_formulas(open_page):
    page = open_page("neuron")
    chain, circuit = page.inner_text("#chain"), page.inner_text("#circuit")
    slider = page.get_by_label("weight w₁", exact=True)
    slider.focus()
    page.keyboard.press("End")
    assert numbers_of(page)[0]["weight"][0][0] == 6  # twice the largest number
    assert page.inner_text("#chain") != chain
    assert page.inner_text("#circuit") != circuit
    field = page.get_by_label("target 1, exactly")
    field.fill("1")
    field.press("Enter")
    assert page.evaluate("window.page.state.y") == [1]
    field.fill("7")  # no target of a sigmoid
    field.press("Enter")
    assert page.evaluate("window.page.state.y") == [1]


def test_the_chain_rule_shows_the_steps_numbers(open_page):
    text = open_page("neuron").inner_text("#chain").replace("\n", " ")
    for number in ("0.7311", "0.4811", "0.1966", "0.0946"):  # ŷ, ŷ − ¼, σ′, δ
        assert number in text


def test_curves_stay_side_by_side_and_begin_at_one_place(open_page):
    page = open_page("network")
    page.click("#steps")
    for switch in ("withoutSigmaPrime", "updatedWeights"):
        page.click(f"#{switch}")
        page.click("#step")
        page.click("#steps")
        page.click(f"#{switch}")
    curves = page.evaluate("window.page.state.curves")
    assert list(curves) == ["the right gradient", "without σ′", "updated weights"]
    assert len({curve["values"][0] for curve in curves.values()}) == 1
    assert [len(curve["values"]) for curve in curves.values()] == [101, 102, 102]
    assert page.locator("#legend li").count() == page.locator("#curves polyline").count() == 3
    dashes = page.locator("#curves polyline").evaluate_all(
        "lines => lines.map((line) => line.getAttribute('stroke-dasharray'))"
    )
    assert len(set(dashes)) == 3  # told apart without colours
    page.click("#clear")
    assert page.locator("#curves polyline").count() == 0


def test_saturated_learns_slowly_and_the_cross_entropy_does_not(open_page):
    page = open_page("neuron")
    page.click("#saturated")
    z = page.evaluate("window.page.state.layers[0].bias[0]")
    page.click("#steps")
    page.click("#crossEntropy")
    assert page.evaluate("window.page.state.layers[0].bias[0]") == z  # begins there again
    page.click("#steps")
    slow, quick = page.evaluate("Object.values(window.page.state.curves).map((c) => c.values)")
    ten = {name: values[10] / values[0] for name, values in (("slow", slow), ("quick", quick))}
    assert ten["slow"] > 0.9 > ten["quick"]


def test_reset_brings_back_what_the_page_came_with(open_page):
    page = open_page("network")
    before = numbers_of(page)
    page.click("#steps")
    assert numbers_of(page) != before
    page.click("#reset")
    assert numbers_of(page) == before


def test_a_step_is_said_aloud(open_page):
    page = open_page("neuron")
    page.click("#step")
    assert page.locator("#said").get_attribute("aria-live") == "polite"
    assert page.inner_text("#said").startswith("One step, the right gradient: the cost is ")


def test_every_question_is_answered_on_it(open_page):
    page = open_page("network")
    for topic in TOPICS:
        details = page.locator(f"details#{topic}")
        assert not details.locator("p").first.is_visible()
        details.locator("summary").click()
        assert details.locator("p").first.is_visible()


def test_all_that_can_be_used_is_reached_by_the_keyboard_and_has_a_name(open_page):
    page = open_page("network")
    unnamed = page.locator("input, button, summary").evaluate_all(
        """all => all.filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() ||
           e.labels?.[0]?.textContent.trim())).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    count = page.locator("input, button, summary").count()
    page.locator("body").click(position={"x": 2, "y": 2})
    for _ in range(count + page.locator("[tabindex='0']").count()):
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement.dataset.reached = 1")
    assert page.locator(":is(input, button, summary)[data-reached]").count() == count
    titles = page.locator("#circuit svg title, #sigmoid svg title, #curves svg title")
    assert all(len(text) > 10 for text in titles.all_text_contents())


def test_a_model_too_large_to_be_drawn_says_so(open_page):
    page = open_page("large")
    assert "9-8-7 is too large to be drawn" in page.inner_text("figcaption >> nth=0")
    page.click("#step")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("name", ["neuron", "network", "large"])
def test_fits_every_width(open_page, screenshots, name, width, scheme):
    page = open_page(name, width, scheme)
    page.click("#steps")
    page.click("#withoutSigmaPrime")
    page.click("#steps")
    for summary in page.locator("summary").all():
        summary.click()
    page.screenshot(path=screenshots / f"page-{name}-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter((text) => {
            const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
            return box.x < -1 || box.y < -1 || box.x + box.width > view.width + 1 ||
                   box.y + box.height > view.height + 1;
        }).map((text) => text.textContent)"""
    )
    assert cut == []
    overlapping = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap((svg) => {
            const boxes = [...svg.querySelectorAll("text")]
              .map((text) => [text.textContent, text.getBBox()]);
            return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
              .filter(([, b]) => a.x + 1 < b.x + b.width && b.x + 1 < a.x + a.width &&
                                 a.y + 3 < b.y + b.height && b.y + 3 < a.y + a.height)
              .map(([other]) => `${one} | ${other}`));
        })"""
    )
    assert overlapping == []
    circuit = page.locator("#circuit")
    assert circuit.evaluate("e => e.scrollWidth <= e.clientWidth")  # seen whole
    empty = page.locator(".panel svg").evaluate_all("all => all.filter((s) => !s.children.length)")
    assert empty == []


def test_what_a_user_names_is_text_and_not_markup(browser, tmp_path):
    from bp_torch.explanation.page import write_page

    step = example("cs231n").step
    title = "</script><script>document.title = 'mine'</script> & <b>"
    write_page(
        tmp_path / "odd.html",
        module=step.module,
        x=step.x,
        y=step.y,
        cost=step.cost,
        learning_rate=1.0,
        title=title,
        sections=(),
        whys={},
    )
    page = browser.new_page()
    page.goto((tmp_path / "odd.html").as_uri())
    assert page.title() == title
    assert json.loads(page.locator("#start").text_content())["x"] == [-1, -2]
    page.close()
