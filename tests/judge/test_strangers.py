"""`compare` on code that others write: no right one convicted, no reported defect passed, and what
is named is named rightly."""

from collections import Counter

import pytest
import torch
import torch._dynamo  # which each child would import otherwise
from strangers import Stranger, as_judged
from strangers.reports import NOT_EXPLAINED, REPORTS
from strangers.right import FLOAT32_INSIDE, RIGHT

import bp_torch as bp

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SEEDS = range(10)
OF_THE_TABLE = range(3)


def report(stranger: Stranger, version: str, dtype: torch.dtype, seed: int) -> bp.Report:
    """As the command line compares it, but for the transforms."""
    generator = torch.Generator().manual_seed(seed)
    return bp.compare(
        getattr(stranger, version),
        stranger.reference,
        inputs=as_judged(stranger.inputs(generator), dtype),
        domain=stranger.domain,
        order=stranger.order if version == "wrong" else 1,
        transforms=False,
        seed=seed,
        isolate=True,
        timeout=300,
    )


def is_right(stranger: Stranger, dtype: torch.dtype) -> bool:
    """Whether it is right in that dtype: what computes in float32 inside is not in float64."""
    return not (stranger.name in FLOAT32_INSIDE and dtype == torch.float64)


def one_dtype_each(strangers):
    """Each in one of the dtypes and with a seed of its own, so that all of them occur."""
    return [
        pytest.param(s, DTYPES[n % 3], n % 10, id=f"{s.name}-{str(DTYPES[n % 3])[6:]}")
        for n, s in enumerate(strangers)
    ]


def all_of(strangers):
    return [
        pytest.param(s, dtype, seed, id=f"{s.name}-{str(dtype)[6:]}-{seed}")
        for s in strangers
        for dtype in DTYPES
        for seed in SEEDS
    ]


@pytest.mark.parametrize(("stranger", "dtype", "seed"), one_dtype_each([*RIGHT, *REPORTS]))
def test_a_right_one_is_not_convicted(stranger, dtype, seed):
    found = report(stranger, "right", dtype, seed)
    assert (found.verdict != "wrong") == is_right(stranger, dtype), found


@pytest.mark.parametrize(("stranger", "dtype", "seed"), one_dtype_each(REPORTS))
def test_a_reported_defect_is_found_and_named(stranger, dtype, seed):
    if dtype in stranger.invisible_in:
        dtype = torch.float64
    found = report(stranger, "wrong", dtype, seed)
    assert found.verdict == "wrong", found
    named = ("not-explained",) if stranger.name in NOT_EXPLAINED else stranger.mistake
    assert found.diagnosis.mistake in named, found


@pytest.mark.slow
@pytest.mark.parametrize(("stranger", "dtype", "seed"), all_of([*RIGHT, *REPORTS]))
def test_a_right_one_is_never_convicted(stranger, dtype, seed):
    test_a_right_one_is_not_convicted(stranger, dtype, seed)


def gradcheck_rejects(stranger: Stranger, version: str) -> bool:
    """Whether torch.autograd.gradcheck does, in float64 and with its own tolerances."""
    fn = getattr(stranger, version)
    fn = fn.apply if isinstance(fn, type) else fn
    arguments = as_judged(stranger.inputs(torch.Generator().manual_seed(0)), torch.float64)
    floating = [a for a in arguments if isinstance(a, torch.Tensor) and a.is_floating_point()]
    if not any(tensor.requires_grad for tensor in floating):
        for tensor in floating:
            tensor.requires_grad_()
    try:
        torch.autograd.gradcheck(fn, arguments)
    except Exception:
        return True
    return False


@pytest.mark.slow
def test_the_table(capsys):
    """What the README shows, over every dtype and three seeds."""
    lines = [
        "| | defects | found | named | misnamed | right ones convicted |",
        "|---|---|---|---|---|---|",
    ]
    total: Counter[str] = Counter()
    for dtype in DTYPES:
        counts = counted(dtype)
        total += counts
        lines.append(
            f"| compare, {str(dtype)[6:]} | {counts['defects']} | {counts['found']} | "
            f"{counts['named']} | {counts['misnamed']} | {counts['convicted']} of "
            f"{counts['right']} |"
        )
    found = sum(gradcheck_rejects(s, "wrong") for s in REPORTS)
    rejected = sum(gradcheck_rejects(s, "right") for s in [*RIGHT, *REPORTS])
    lines.append(
        f"| `gradcheck`, float64, one draw | {len(REPORTS)} | {found} | – | – | {rejected} of "
        f"{len(RIGHT) + len(REPORTS)} |"
    )
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert total["found"] == total["defects"]
    assert total["named"] >= 0.9 * total["defects"]
    assert total["misnamed"] == total["convicted"] == 0


def counted(dtype: torch.dtype) -> Counter[str]:
    """What becomes of every stranger in that dtype."""
    counts: Counter[str] = Counter()
    for stranger in [*RIGHT, *REPORTS]:
        for seed in OF_THE_TABLE:
            if is_right(stranger, dtype):
                counts["right"] += 1
                counts["convicted"] += report(stranger, "right", dtype, seed).verdict == "wrong"
            if stranger.wrong is None or dtype in stranger.invisible_in:
                continue
            counts["defects"] += 1
            found = report(stranger, "wrong", dtype, seed)
            if found.verdict == "wrong":
                counts["found"] += 1
                named = found.diagnosis.mistake
                counts["named"] += named in stranger.mistake
                counts["misnamed"] += named not in (*stranger.mistake, "not-explained")
    return counts
