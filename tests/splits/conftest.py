import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The tensors are small: a second thread would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
