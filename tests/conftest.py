"""What every test shares: one thread per process, and guards."""

from __future__ import annotations

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    # Two worker processes on two cores: more threads in each would only fight.
    torch.set_num_threads(1)
