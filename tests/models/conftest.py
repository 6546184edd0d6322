from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_draws():
    """Start weights come from torch's global generator: fix it, so that a test is the same every time."""
    torch.manual_seed(2024)
