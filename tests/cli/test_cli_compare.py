import json
import math
from types import SimpleNamespace

import pytest
import torch

from bp_torch import judge
from bp_torch.cli import compare, targets

QUICK = ("--no-compile", "--no-cost", "--dtype", "float32")


def test_compare_says_right_with_status_0(run):
    status, out, err = run(
        *("compare", "torch:sigmoid", "--reference", "torch:sigmoid", "--no-compile"),
    )
    assert (status, err) == (0, "")
    assert out.startswith("right: ")
    assert "in float32 autograd itself loses the derivative" in " ".join(out.split())


def test_compare_names_a_mistake_with_status_1(run, mine, tmp_path):
    status, out, err = run(
        *("compare", "mine:Negated", "--reference", "torch:sigmoid", *QUICK),
        *("--inputs", "mine:make_inputs", "--json", "report.json"),
    )
    assert (status, err) == (1, "")
    assert out.startswith("wrong: the gradient of z has the wrong sign")
    assert max(map(len, out.splitlines())) <= 80
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["diagnosis"]["mistake"] == "sign"


def test_compare_without_a_target_proves_the_packages_own(run):
    status, out, _ = run("compare", "--no-compile")
    assert status == 0
    sigmoids = ["sigmoid, textbook", "sigmoid, accurate"]
    subjects = [*sigmoids, "neuron", "network", "quadratic cost", "cross-entropy cost"]
    lines = out.splitlines()[2:]
    assert [line[:20].strip() for line in lines] == subjects
    assert all(line.endswith("right") for line in lines)
    for line in lines:  # the four witnesses agree with 50 digits, each as well as it can
        by_chain, by_function, by_autograd, by_differences = map(float, line[20:68].split())
        assert max(by_chain, by_function, by_autograd) < 50
        assert by_differences < 1e8


def test_a_wrong_derivative_of_the_packages_own_would_be_told(run, monkeypatch):
    def testimonies(*, compile):
        assert compile is False
        for ok in (False, True):
            report = SimpleNamespace(ok=ok, diagnosis="" if ok else "the sign is wrong")
            yield SimpleNamespace(
                subject=f"the {ok} one", errors=dict.fromkeys(compare.WITNESSES, 1.0), report=report
            )

    monkeypatch.setattr(compare, "testimonies", testimonies)
    status, out, err = run("compare", "--no-compile")
    assert (status, err) == (1, "")
    assert [line.split()[-1] for line in out.splitlines()[2:]] == ["wrong", "wrong", "right"]
    assert out.splitlines()[3] == "  the sign is wrong"


@pytest.fixture
def compared(monkeypatch):
    """What reaches the comparison, which says "right" at once."""

    def compare(fn, reference, **options):
        seen.update(options, fn=fn, reference=reference)
        return SimpleNamespace(ok=True, to_json=lambda indent: '"σ′"')

    seen = {}
    monkeypatch.setattr(judge, "compare", compare)
    return seen


def test_compare_hands_on_what_it_is_told(run, compared, tmp_path):
    status, _, err = run(
        *("compare", "torch:sigmoid", "--reference", "torch:tanh", "--shape", "1000,2x3,scalar"),
        *("--dtype", "float64,bfloat16", "--device", "cpu", "--seed", "5", "--no-compile"),
        *("--json", "report.json", "--domain", ":,0:1,-1:", "--order", "2", "--timeout", "7"),
        "--no-cost",
    )
    assert (status, err) == (0, "")
    inputs = compared.pop("inputs")
    assert compared == {
        "fn": torch.sigmoid,
        "reference": torch.tanh,
        "dtypes": [torch.float64, torch.bfloat16],
        "devices": [torch.device("cpu")],
        "compile": False,
        "seed": 5,
        "domain": [None, (0.0, 1.0), (-1.0, math.inf)],
        "order": 2,
        "cost": False,
        "isolate": True,
        "timeout": 7.0,
    }
    assert [tuple(tensor.shape) for tensor in inputs] == [(1000,), (2, 3), ()]
    assert 0 < inputs[1].min() < inputs[1].max() < 1
    assert inputs[2] > -1
    assert inputs[0].std().item() == pytest.approx(3, rel=0.1)  # where a sigmoid saturates as well
    assert (tmp_path / "report.json").read_bytes() == '"σ′"\n'.encode()


def test_the_inputs_are_the_same_for_one_seed_and_others_for_another(run, compared):
    drawn = []
    for seed in ("1", "1", "2"):
        run("compare", "torch:sigmoid", "--seed", seed)
        drawn.append(compared["inputs"][0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torch.sigmoid"], "expected package.module:function"),
        (["torch:"], "expected package.module:function"),
        ([":sigmoid"], "expected package.module:function"),
        ([""], "expected package.module:function"),
        (["mine.py:right"], "expected package.module:function, as torch:sigmoid, or mine:f for"),
        (["./mine:right"], "expected package.module:function"),
        ([".mine:right"], "expected package.module:function"),
        (["nowhere:f"], "cannot import 'nowhere'"),
        (["fails:f"], "cannot import 'fails': RuntimeError: no licence"),
        (["quits:f"], "cannot import 'quits': it calls sys.exit(0)"),
        (["misspelt:f"], "cannot import 'misspelt': SyntaxError: "),
        (["torch:nothing"], "'torch' has no 'nothing'"),
        (["mine:lazy"], "cannot look up 'mine:lazy': RuntimeError: no such kernel"),
        (["mine:lazy.sigmoid"], "cannot look up 'mine:lazy.sigmoid': RuntimeError"),
        (["torch:pi"], "must be callable, got float"),
        (["torch.nn:Linear"], "torch.nn:Linear must be made first, as layer = Linear(…) in mine"),
        (["torch:sigmoid", "--shape", "3xy"], "sizes of at least 1 joined by x"),
        (["torch:sigmoid", "--shape", "-3"], "sizes of at least 1 joined by x"),
        (["torch:sigmoid", "--shape", "0x3"], "sizes of at least 1 joined by x"),
        (["torch:sigmoid", "--shape", ""], "sizes of at least 1 joined by x"),
        (["torch:sigmoid", "--shape", "1000000x1000000"], "would take some 372,530 GiB of memory"),
        (["torch:sigmoid", "--shape", "1" + 400 * "0"], "GiB here; choose a smaller one"),
        (["torch:sigmoid", "--dtype", "int8"], "any of float64, float32, bfloat16, float16"),
        (["torch:sigmoid", "--dtype", ""], "any of float64, float32, bfloat16, float16"),
        (["torch:sigmoid", "--device", "tpu"], "one of auto, cpu, cuda"),
        (["torch:sigmoid", "--seed", "7.5"], "'--seed': expected a whole number, got '7.5'"),
        (["torch:sigmoid", "--seed", "-1"], "seed must be a whole number of at least 0"),
        (["torch:sigmoid", "--seed", "18446744073709551616"], "seed must be less than 2^64"),
        (["torch:sigmoid", "--reference", ""], "expected package.module:function"),
        (["torch:sigmoid", "--inputs", ""], "expected package.module:function"),
        (["mine:right", "--inputs", "mine:number"], "'mine:number' must be callable, got int"),
        (["mine:right", "--inputs", "mine:make_nothing"], "made no inputs: TypeError: expected a"),
        (["mine:right", "--inputs", "mine:make_numbers"], "got (1.0, 2.0)"),
        (["mine:right", "--inputs", "mine:make_of_nothing"], "takes 0 positional arguments"),
        (["mine:right", "--inputs", "mine:make_one", "--shape", "3"], "choose one of them"),
        (
            ["mine:broken"],
            "could not be tried: RuntimeError: no such kernel (raised by fn; raised in",
        ),
        (["mine:ends"], "mine:ends could not be tried: it calls sys.exit(0)"),
        (["mine:skips"], "mine:skips could not be tried: Skipped: no such kernel"),
        (["--reference", "torch:sigmoid"], "--reference is for a target, and there is none; name"),
        (["--json", "report.json"], "--json is for a target, and there is none"),
        (["--shape", "3"], "--shape is for a target, and there is none"),
        (["--seed", "0"], "--seed is for a target, and there is none"),
        (["mine:right", "--domain", "0-1"], "domain must be an interval for each input, two ends"),
        (["mine:right", "--domain", "1:0"], "domain must be an interval for each input, two ends"),
        (["mine:right", "--domain", "0:1,:"], "an interval for each of the 1 inputs of shape 64x3"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_cannot_be_tried_is_one_line_and_status_2(run, mine, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    status, out, err = run("compare", *arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert sorted(path for path in tmp_path.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere/report.json", "must name a file in a folder that exists, got nowhere/report"),
        ("taken/report.json", "must name a file in a folder that exists"),
        (".", "must name a file, got the folder"),
        ("", "must name a file, got the folder"),
    ],
)
def test_where_no_report_can_be_written_is_said_before_anything_is_compared(
    run, compared, tmp_path, place, message
):
    (tmp_path / "taken").touch()
    status, out, err = run("compare", "torch:sigmoid", "--json", place)
    assert (status, out) == (2, "")
    assert f"bp-torch: --json {message}" in err
    assert compared == {}


def test_what_the_users_code_prints_is_not_mixed_with_the_verdict(run, mine):
    targets = ("talks:right", "--reference", "mine:talks", "--no-isolate")
    status, out, err = run("compare", *targets, *QUICK)
    assert status == 0
    assert out.startswith("right: ")
    assert "while importing" not in out
    assert "in the function" not in out
    assert err.startswith("while importing\n")
    assert "in the function\n" in err


@pytest.mark.parametrize("target", ["mine:layer", "torch.nn:Sigmoid", "mine:right"])
def test_functions_classes_and_what_has_been_made_of_them_can_be_compared(run, mine, target):
    status, out, err = run("compare", target, "--shape", "5x3", *QUICK)
    assert (status, err) == (0, "")
    assert out.startswith("right: ")


def test_what_it_costs_is_shown_beside_autograd_unless_it_is_not_wanted(run):
    command = ("compare", "torch:sigmoid", "--reference", "torch:sigmoid", *QUICK)
    assert "what it costs" not in run(*command)[1]
    _, out, _ = run(*(word for word in command if word != "--no-cost"))
    assert "saved besides the inputs                     768 B     768 B" in out


def test_a_single_tensor_is_one_input(run, mine):
    one = run("compare", "mine:right", "--inputs", "mine:make_one", *QUICK)
    assert one == run("compare", "mine:right", "--inputs", "mine:make_inputs", *QUICK)
    assert one[0] == 0


@pytest.mark.parametrize("shape", ["2x3,3,scalar", "2×3, 3, scalar", " 2x3,3,scalar"])
def test_shapes_may_be_written_as_they_are_read(shape):
    assert targets.shapes(shape) == [(2, 3), (3,), ()]


def test_a_dtype_that_is_named_twice_is_tried_once():
    assert targets.dtypes("float32, float64,float32") == targets.dtypes("float32,float64")
    assert len(targets.devices("cpu,cpu")) == 1


def test_inputs_of_a_generator_and_a_size_are_drawn_at_every_size(run, mine, tmp_path):
    status, _, err = run(
        *("compare", "mine:right", "--inputs", "mine:make_many", "--dtype", "float32"),
        *("--no-compile", "--json", "report.json"),
    )
    assert (status, err) == (0, "")
    rows = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["rows"]
    assert {"n = 1", "n = 33", "n = 1000"} <= {row["draw"] for row in rows}


def test_a_function_that_kills_the_process_is_inconclusive_with_status_3(run, mine):
    status, out, err = run("compare", "mine:dies", "--dtype", "float32", "--no-compile")
    assert (status, err) == (3, "")
    assert out.startswith("inconclusive: the process was killed by SIGABRT")
