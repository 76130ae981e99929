"""Torch's global settings as they are where nobody has changed them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """What happens inside does not depend on the settings around it, and leaves them as they are.

    Gradients on, neither inference mode nor autocast, new tensors in float32 and on the CPU.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                settings.enter_context(torch.autocast(device, enabled=False))
        # Only where it is another: torch looks a default device up in every call, which takes as
        # long as a small call itself.
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        settings.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        yield
