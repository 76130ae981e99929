"""The caller's world as it was: after a comparison nothing global has changed."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gradients on, and afterwards torch's generators and switches as before."""
    dtype, deterministic = torch.get_default_dtype(), _deterministic()
    try:
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        if _deterministic() != deterministic:  # to set it imports torch's compiler: a second
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


def _deterministic() -> tuple[bool, bool]:
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings and logs off, and what is printed: compilers and transforms warn of themselves, and
    print the program that they fail at."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        nowhere = io.StringIO()
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
