"""Live: PyTorch's gradients of every row of `fp_capstone.gradient_checks`. Run in the oracles environment."""

import numpy as np
import pytest
from safetensors.numpy import load_file

pytest.importorskip("torch")

from tools.oracles import capstone_gradients


def test_the_gradients_fixture_is_what_torch_says_today():
    frozen, now = load_file(capstone_gradients.FIXTURE), capstone_gradients.compute()
    assert frozen.keys() == now.keys()
    for name, array in frozen.items():
        # float64; another version may order sums of some hundred terms, up to 25 in size, otherwise
        np.testing.assert_allclose(now[name], array, rtol=1e-10, atol=1e-12, err_msg=name)
