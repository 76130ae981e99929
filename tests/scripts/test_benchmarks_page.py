"""scripts/benchmarks/README.md: a section for each benchmark, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
from benchmarks.command import BENCHMARKS

FOLDER = Path(__file__).parents[2] / "scripts/benchmarks"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_its_command(name):
    assert re.search(rf"python scripts/benchmarks (\w+ )*{name}\b", PAGE)


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)]+)\)", PAGE)
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link
