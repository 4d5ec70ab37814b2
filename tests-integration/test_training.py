"""A model of stage 3 trained by what stage 4 has, which knows nothing of it: they share arrays under names."""

import math

import numpy as np
import pytest

from fp_neural import MLPLanguageModel, RecurrentLanguageModel
from fp_neural.batches import streams
from fp_optim import AdamW, clip_by_global_norm

IDS = np.array([0, 1, 2, 0, 3, 4] * 60)  # after 0 comes 1 or 3, as two tokens before tell


def steps_of(model, chunks, optimizer):
    parameters = model.named_parameters()
    for chunk in chunks:
        model.zero_grad()
        loss = model.loss(*chunk)
        loss.backward()
        grads = {name: p.grad for name, p in parameters.items()}
        clip_by_global_norm(grads, 1.0)
        optimizer.step(grads)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_adamw_trains_a_neural_language_model(kind):
    rng = np.random.default_rng(0)
    if kind == "mlp":
        model = MLPLanguageModel(5, context=3, dim=4, hidden=16, rng=rng)
        chunks = [model.examples(IDS)] * 150
    else:
        model = RecurrentLanguageModel(5, dim=4, hidden=16, rng=rng)
        chunks = list(streams(IDS, 4, 30)) * 50
    start = model.cross_entropy(IDS)
    assert start == pytest.approx(math.log(5), abs=0.1)
    # the optimizer writes into these very arrays
    steps_of(model, chunks, AdamW({name: p.data for name, p in model.named_parameters().items()}, lr=0.02))
    assert model.cross_entropy(IDS) < 0.1
