"""Every test here also checks that the global generators are left alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def global_random_state_is_unchanged():
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    assert random.getstate() == before[0], "random's global state changed"
    after = np.random.get_state()
    assert after[0] == before[1][0], "NumPy's global generator changed"
    np.testing.assert_array_equal(after[1], before[1][1], err_msg="NumPy's global state changed")
    assert after[2:] == before[1][2:], "NumPy's global state changed"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's global state changed"
