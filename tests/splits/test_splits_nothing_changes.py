"""The module comes back as it was lent, and so does the world around it."""

import random

import loops
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from problems import PROBLEMS, parameters_to_spare
from test_splits_right import compared
from torch import nn

import bp_torch as bp


def state_of(module):
    found = {name: (id(t), t.clone()) for name, t in module.named_parameters()}
    found |= {name: (id(t), t.clone()) for name, t in module.named_buffers()}
    found |= {
        f"{n}.grad": (id(p.grad), p.grad.clone())
        for n, p in module.named_parameters()
        if p.grad is not None
    }
    return found


def same(one, other):
    return one.keys() == other.keys() and all(
        a[0] == b[0] and a[1].dtype == b[1].dtype and torch.equal(a[1], b[1])
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def generators():
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def disturbing(module, cost, parts):
    """Leaves nothing as it was."""
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    torch.set_default_dtype(torch.float64)
    loops.right(module, cost, parts)
    module.train(not module.training)
    module.calls += 100
    module.seen, module.new = -1, 1
    module.scale.zero_()
    module.scale = torch.zeros(1)
    module.register_buffer("newer", torch.ones(1))
    module.second.bias.requires_grad_(True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def test_the_module_and_the_world_are_as_before():
    problem = parameters_to_spare()
    module = problem.module.train()
    for parameter in module.parameters():
        parameter.grad = torch.rand_like(parameter)
    before, around, keys = state_of(module), generators(), set(vars(module))
    scale = module.scale
    report = compared(problem, accumulate=disturbing)
    assert report.verdict == "right", report
    assert same(state_of(module), before)
    assert set(vars(module)) == keys
    assert module.scale is scale
    assert module.scale.item() == 1.5
    assert (module.seen, module.training, module.second.bias.requires_grad) == (0, True, False)
    assert torch.get_default_dtype() == torch.float32
    for one, other in zip(generators(), around, strict=True):
        assert str(one) == str(other)


def test_a_hook_can_be_removed_afterwards():
    """Its handle knows the dictionary that the hook is in, and no copy of it."""
    module, seen = nn.Linear(3, 1), []
    module.history = [1]
    handle = module.register_forward_hook(lambda *_: seen.append(1))

    def loop(module, cost, parts):
        module.history.append(2)
        module.register_forward_hook(lambda *_: None)
        loops.right(module, cost, parts)

    problem = (module, torch.randn(6, 3), torch.randn(6, 1), F.mse_loss)
    assert bp.compare_splits(*problem, accumulate=loop).ok
    assert module.history == [1]
    assert len(module._forward_hooks) == 1
    handle.remove()
    before = len(seen)
    module(torch.ones(1, 3))
    assert len(seen) == before


def test_an_error_gives_it_back_as_well():
    problem = parameters_to_spare()
    before = state_of(problem.module)

    def failing(module, cost, parts):
        disturbing(module, cost, parts)
        raise ArithmeticError("of my own")

    with pytest.raises(ArithmeticError, match="of my own") as caught:
        compared(problem, accumulate=failing)
    assert any("raised by accumulate, with micro-batches of" in n for n in caught.value.__notes__)
    assert same(state_of(problem.module), before)


def test_a_comparison_that_did_not_give_back_would_be_seen():
    problem = parameters_to_spare()
    before = state_of(problem.module)
    disturbing(problem.module, problem.cost, [(problem.x, problem.y)])
    torch.set_default_dtype(torch.float32)
    assert not same(state_of(problem.module), before)


def test_gradients_are_taken_where_they_are_switched_off():
    problem = PROBLEMS["neuron"]()
    with torch.no_grad():
        assert compared(problem, ranks=()).ok
        assert not torch.is_grad_enabled()


def test_an_optimizer_outside_still_knows_the_parameters():
    module = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    bp.compare_splits(module, torch.randn(6, 3), torch.randn(6, 1), F.mse_loss, ranks=())
    before = module.weight.detach().clone()
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(module.weight, before)
