"""A run in TensorBoard, as a person would see it."""

import re
import subprocess
import sys
import urllib.request

import pytest

from bp_torch.mistakes import MISTAKES
from bp_torch.training import loop
from bp_torch.training.config import Config
from bp_torch.training.tags import TAGS

PATIENCE = 30_000
"""Milliseconds until a page that shows nothing is given up."""


DRAWN_LINES = """() => {
    let lines = 0;
    const walk = (root) => { for (const e of root.querySelectorAll("*")) {
      if (e.tagName === "path" && e.getBoundingClientRect().width > 100) lines += 1;
      if (e.shadowRoot) walk(e.shadowRoot); } };
    walk(document);
    return lines >= 10;
}"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A right run, one with a mistake, a network."""
    folder = tmp_path_factory.mktemp("runs")
    loop.run(Config(runs=folder, epochs=60, name="right"))
    loop.run(Config(runs=folder, epochs=60, name="wrong-sign", mistake="wrong-sign"))
    loop.run(Config(runs=folder, dataset="digits", layers=(12,), epochs=5, name="network"))
    return folder


@pytest.fixture(scope="module")
def address(runs):
    """TensorBoard on loopback, at a free port."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--load_fast=false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        raise AssertionError("TensorBoard did not start")
    yield found.group()
    process.kill()
    process.communicate()


@pytest.fixture
def open_page(browser, address, screenshots):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})

    def open(name):
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/#{name}")
        return page

    yield open
    for page in context.pages:
        name = page.url.rpartition("#")[2].split("&")[0]
        page.wait_for_timeout(2000)  # until its charts have faded in
        page.screenshot(path=screenshots / f"tensorboard-{name}.png")
    context.close()


def test_it_reads_every_run(address, runs):
    with urllib.request.urlopen(f"{address}/data/runs") as answer:
        names = answer.read().decode()
    assert {run.name for run in runs.iterdir()} == set(re.findall(r'"([^"]+)"', names))


def test_time_series_has_the_charts_in_order(open_page):
    page = open_page("timeseries")
    page.get_by_text("chain/1_dC_dy_hat").first.wait_for()
    groups = page.locator("metrics-card-group-toolbar, .group-name").all_inner_texts()
    shown = " ".join(groups)
    assert "accuracy" in shown
    assert "chain" in shown
    page.locator("svg path, canvas").first.wait_for(state="attached")


def test_custom_scalars_has_each_factor_and_the_product_on_one_chart(open_page):
    page = open_page("custom_scalars")
    page.get_by_text("each factor and their product δ").first.wait_for()
    page.get_by_text("saturated outputs: wrong and right").first.wait_for()
    # Three factors of each neuron, four of the network.
    page.get_by_text("Matches (10)").first.wait_for()
    page.wait_for_function(DRAWN_LINES)


def test_images_are_drawn(open_page):
    page = open_page("images")
    page.get_by_text("pictures/sigma_prime").first.wait_for()
    page.wait_for_function(
        """() => {
            const all = [];
            const walk = (root) => { for (const e of root.querySelectorAll("*")) {
              if (e.tagName === "IMG") all.push(e); if (e.shadowRoot) walk(e.shadowRoot); } };
            walk(document);
            const drawn = all.filter((i) => i.src.includes("individualImage"));
            return drawn.length >= 3 && drawn.every((i) => i.complete && i.naturalWidth > 300);
        }"""
    )


def test_a_description_is_shown_beside_its_chart(open_page):
    page = open_page("histograms")
    page.get_by_text("sigmoid_prime/layer_1").first.wait_for()
    page.locator("tf-card-heading paper-icon-button, tf-card-heading [icon='info']").first.click()
    meaning = TAGS["sigmoid_prime/layer_N"].split(".")[0]
    page.get_by_text(meaning, exact=False).first.wait_for()


def test_text_has_the_first_step_in_numbers_and_the_mistake(open_page):
    page = open_page("text")
    page.get_by_text("the weighted sum of the inputs").first.wait_for()
    page.get_by_text("This run makes a mistake on purpose").first.wait_for()
    page.get_by_text(MISTAKES["wrong-sign"].sentence, exact=False).first.wait_for()


def test_precision_over_recall_is_drawn_for_two_classes(open_page):
    page = open_page("pr_curves")
    page.get_by_text("classes/precision_recall").first.wait_for()
    page.get_by_text("right is at").first.wait_for()
    assert page.get_by_text("network is at").count() == 0


def test_hparams_shows_what_differs_and_the_results(open_page):
    page = open_page("hparams")
    page.get_by_text("Trial ID").first.wait_for()
    page.get_by_text("wrong-sign").first.wait_for()
    for name in ("learning_rate", "seed", "layers", "mistake", "cost"):
        box = page.locator("tf-hparams-query-pane paper-checkbox", has_text=name).first
        assert box.get_attribute("aria-checked") == "true", name
    box = page.locator("tf-hparams-query-pane paper-checkbox", has_text="batch_size").first
    assert box.get_attribute("aria-checked") == "false"
