"""`compare` on the corpus: every mistake found and named, no right version rejected."""

from collections import Counter
from functools import cache

import pytest
import torch
import torch._dynamo  # which each child would import otherwise
from corpus import CASES, fresh_inputs, gradcheck_finds, gradgradcheck_finds

import bp_torch as bp

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
NAMED_AT_LEAST = 0.9

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])


@cache
def report(case, version, dtype):
    fn = case.wrong if version == "wrong" else case.right
    inputs = fresh_inputs(case, dtype)
    return bp.compare(
        fn,
        case.reference,
        inputs=inputs,
        order=2,
        transforms=False,
        isolate=dtype == torch.float32,  # as the command line does it
    )


@each_dtype
@each_case
def test_a_right_version_is_not_rejected(case, dtype):
    assert report(case, "right", dtype).ok, report(case, "right", dtype)


@each_dtype
@each_case
def test_a_mistake_is_found_where_the_dtype_can_show_it(case, dtype):
    if dtype not in case.invisible_in:
        assert not report(case, "wrong", dtype).ok


@each_dtype
@each_case
def test_a_mistake_is_named_rightly_or_not_at_all(case, dtype):
    found = report(case, "wrong", dtype)
    if not found.ok:
        assert found.diagnosis.mistake in (case.mistake, "not-explained"), found


def test_nine_in_ten_are_named_and_the_table_says_what_torch_finds(capsys):
    columns = {"gradcheck": gradcheck_finds}
    columns["gradcheck fast"] = lambda case: gradcheck_finds(case, fast_mode=True)
    columns["gradgradcheck"] = gradgradcheck_finds
    lines = [f"{'':18}{'mistakes':>10}{'found':>8}{'named':>8}{'misnamed':>10}{'false alarms':>14}"]
    for dtype in DTYPES:
        counts = Counter()
        for case in CASES:
            counts["false alarms"] += not report(case, "right", dtype).ok
            found = report(case, "wrong", dtype)
            if found.ok and dtype in case.invisible_in:
                continue
            counts["mistakes"] += 1
            counts["found"] += not found.ok
            if not found.ok:
                named = found.diagnosis.mistake
                counts["named"] += named == case.mistake
                counts["misnamed"] += named not in (case.mistake, "not-explained")
        lines.append(
            f"{'compare ' + str(dtype)[6:]:18}{counts['mistakes']:10}{counts['found']:8}"
            f"{counts['named']:8}{counts['misnamed']:10}{counts['false alarms']:14}"
        )
        assert counts["found"] == counts["mistakes"]
        assert counts["named"] >= NAMED_AT_LEAST * counts["mistakes"]
        assert counts["misnamed"] == counts["false alarms"] == 0
    for name, finds in columns.items():
        found = sum(finds(case) for case in CASES)
        lines.append(f"{name:18}{len(CASES):10}{found:8}{0:8}{0:10}{'float64 only':>14}")
        assert found < len(CASES)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
