import numpy as np
import pytest

from fp_peft.data import Text
from fp_peft.finetune import METHODS, Settings, fine_tune, held_out_loss


@pytest.fixture
def text():
    return Text(np.arange(400) % 11, 8)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_the_loss_and_only_full_tuning_changes_the_base(small, text, method):
    model = small("llama", np.float32)
    before = model.state_dict()
    result = fine_tune(model, text, Settings(method=method, rank=3, steps=10, batch_size=4, lr=0.03))
    assert result.after < result.before - 0.02
    assert len(result.history) == 10 and result.history[-1]["tokens"] == 32
    assert all(np.array_equal(a, before[n]) for n, a in model.state_dict().items()) == (method != "full")
    assert result.n_trainable == sum(p.size for p in result.model.parameters() if p.requires_grad)


def test_the_same_seed_gives_the_same_numbers(small, text):
    runs = [
        fine_tune(small("gpt2", np.float32), text, Settings(steps=3, batch_size=2, seed=seed)).history
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_the_held_out_loss_is_one_mean_over_all_tokens(small, text):
    model = small("llama").train()
    whole = held_out_loss(model, text, 1)
    np.testing.assert_allclose(held_out_loss(model, text, 3), whole, atol=1e-12)
    assert model.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "one of full, lora"),
        ({"rank": 0}, "rank is at least 1, got 0"),
        ({"steps": 0}, "steps is at least 1"),
        ({"lr": 0.0}, "a rate is a positive number"),
        ({"seed": -1}, "a seed is at least 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)
