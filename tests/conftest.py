"""What every test shares: one thread in each process, and properties without a clock."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine, and about the first import in it, than about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the cores to the test processes: more threads in each would only fight."""
    torch.set_num_threads(1)
