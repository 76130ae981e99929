import re

import pytest

from bp_torch.fused import backends


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    backends._module.cache_clear()
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    for device, library in (("cpu", "numba"), ("cuda", "triton")):
        with pytest.raises(ModuleNotFoundError, match=re.escape(f"pip install {library}")):
            backends._module(device)
    backends._module.cache_clear()
