"""Mirrors src/fp_dynamics/sanity.py."""

import numpy as np
import pytest

from fp_dynamics.recorder import named_arrays
from fp_dynamics.sanity import batch_floor, check_initialization, first_nonfinite, overfit_one_batch

# --- the first loss


@pytest.mark.claim("dynamics.initial-loss")
def test_equal_logits_cost_the_logarithm_exactly(small, batch):
    model = small(tied=False)
    model.output.weight.data[...] = 0
    found = check_initialization(model, *batch)
    assert found.loss == pytest.approx(np.log(11), rel=1e-14)  # rounding of one logarithm
    assert (found.logit_std, found.expected) == (0, pytest.approx(np.log(11), rel=1e-14))


@pytest.mark.claim("dynamics.initial-loss")
@pytest.mark.parametrize(("V", "sigma"), [(50, 0.5), (2000, 1.0), (2000, 2.0)])
def test_random_rows_cost_half_their_variance_more(V, sigma):
    rng, C, n = np.random.default_rng(V), 16, 600
    h = rng.uniform(-1, 1, C)
    s = sigma / np.linalg.norm(h)
    rows = rng.normal(0, s, size=(n, V, C))
    z = rows @ h
    lse = np.log(np.exp(z).sum(axis=1))
    losses = lse - z[np.arange(n), rng.integers(0, V, n)]
    error = 4 * losses.std() / np.sqrt(n)  # four standard errors
    assert np.log(V) - error <= losses.mean() <= np.log(V) + sigma**2 / 2 + error
    far = np.abs(lse - np.log(V) - sigma**2 / 2)
    for eps in (0.05, 0.2, 0.5):
        bound = min(1.0, np.expm1(sigma**2) / (V * (1 - np.exp(-eps)) ** 2))
        assert (far >= eps).mean() <= bound + 3 * np.sqrt(bound * (1 - bound) / n)  # three standard deviations
    if V == 2000 and sigma == 1.0:
        assert abs(lse.mean() - np.log(V) - 0.5) < 0.01


@pytest.mark.claim("dynamics.initial-loss")
def test_the_limit_in_the_vocabulary():
    """By area instead of by drawing: E ln(S / V) for V = 1 is 0, and grows with V towards half the variance."""
    rng, means = np.random.default_rng(1), []
    for V in (1, 4, 64, 4096):
        z = rng.normal(0, 1, size=(400_000 // V + 200, V))
        means.append(np.log(np.exp(z).mean(axis=1)).mean())
    assert abs(means[0]) < 0.01 and means[1] < means[2] < means[3] and abs(means[3] - 0.5) < 0.01


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_healthy_models_pass(small, family, tied):
    rng = np.random.default_rng(7)
    for seed in range(3):
        rows = rng.integers(0, 53, (8, 17))
        model = small(family, seed=seed, tied=tied, vocab_size=53, context_length=16, d_model=32, dtype=np.float32)
        found = check_initialization(model, rows[:, :-1], rows[:, 1:])
        assert found.ok, found.faults
        assert abs(found.loss - found.log_vocab) < 0.2


def faults(model, ids, targets):
    return " ".join(check_initialization(model, ids, targets).faults)


def test_each_fault_is_named(small):
    rows = np.random.default_rng(7).integers(0, 53, (8, 17))
    ids, targets = rows[:, :-1], rows[:, 1:]

    def model(**sizes):
        return small(**{"vocab_size": 53, "context_length": 16, "d_model": 32, **sizes})

    wide = model(tied=False)
    wide.output.weight.data *= 40
    assert "draw the output's weights smaller" in faults(wide, ids, targets)
    tied = small("gpt2", vocab_size=53, context_length=16, d_model=32)
    assert "the model sees its targets" in faults(tied, ids, ids)  # not shifted: it repeats what it reads
    summed = model()
    summed.loss = lambda ids, targets: type(summed).loss(summed, ids, targets) * 128.0
    assert "sum or mean" in faults(summed, ids, targets)
    equal = model()
    equal.blocks[0].feedforward.up_proj.weight.data[...] = 0.1
    assert "blocks.0.feedforward.up_proj.weight: 99% of its units are doubled" in faults(equal, ids, targets)
    frozen = model()
    frozen.blocks[1].norm1.freeze()
    assert "blocks.1.norm1.weight: no gradient reaches it" in faults(frozen, ids, targets)
    broken = model()
    broken.norm.weight.data[0] = np.inf
    assert "not finite" in faults(broken, ids, targets)
    wrong = model(tied=False)
    same, few = np.full_like(ids, 3), targets % 5 + 5
    hidden = wrong.norm(list(wrong.stream(same))[-1]).data[0, 0]
    wrong.output.weight.data[...] *= 0.1
    wrong.output.weight.data[5:10] -= 0.3 * hidden / np.linalg.norm(hidden)
    assert "has this model been trained, on other text?" in faults(wrong, same, few)


# --- the floor


@pytest.mark.claim("dynamics.batch-floor")
def test_no_causal_model_is_below_the_floor_and_the_best_one_is_on_it():
    """A model of one table for each prefix, driven to its optimum, and many random ones."""
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 2, (6, 4)), rng.integers(0, 3, (6, 4))
    floor = batch_floor(ids, targets)
    places = {}
    for b, t in np.ndindex(ids.shape):
        places.setdefault(tuple(ids[b, : t + 1]), []).append(targets[b, t])
    assert floor > 0.1

    def loss(q):
        return -sum(np.log(q[prefix][y]) for prefix, ys in places.items() for y in ys) / ids.size

    for _ in range(50):
        assert loss({prefix: rng.dirichlet(np.ones(3)) for prefix in places}) > floor
    best = {prefix: np.bincount(ys, minlength=3) / len(ys) for prefix, ys in places.items()}
    assert loss(best) == pytest.approx(floor, rel=1e-12)


@pytest.mark.claim("dynamics.batch-floor")
def test_a_transformer_learns_a_batch_down_to_its_floor_and_not_further(small, shapes_unchecked):
    rows = np.random.default_rng(3).integers(0, 5, (6, 5))
    rows[:, 0] = 1  # all texts begin alike: what follows cannot be known
    ids, targets = rows[:, :-1], rows[:, 1:]
    model = small("gpt2", vocab_size=5, n_layers=1, d_model=16)
    before = {name: a.copy() for name, a in named_arrays(model).items()}
    result = overfit_one_batch(model, ids, targets, lr=2e-2, n_steps=150)
    assert result.floor > 0.3 and result.reached and not result.leak
    assert min(result.losses) >= result.floor
    for name, a in named_arrays(model).items():
        np.testing.assert_array_equal(a, before[name])


@pytest.mark.claim("dynamics.batch-floor")
def test_a_model_without_a_mask_falls_through_the_floor(small, shapes_unchecked):
    rows = np.random.default_rng(3).integers(0, 5, (6, 5))
    rows[:, 0] = 1
    model = small("gpt2", vocab_size=5, n_layers=1, d_model=16)
    model.blocks[0].attention.mask = None
    result = overfit_one_batch(model, rows[:, :-1], rows[:, 1:], lr=2e-2, n_steps=150)
    assert result.leak and result.losses[-1] < result.floor


def test_a_model_that_cannot_learn_does_not_reach_it(small, batch):
    model = small().freeze()
    model.norm.unfreeze()
    result = overfit_one_batch(model, *batch, n_steps=5)
    assert not result.reached and len(result.losses) == 6


# --- the first number that is not one


def test_where_the_first_nonfinite_number_arises(small, batch):
    assert first_nonfinite(small(), *batch) is None
    model = small("gpt2")
    model.blocks[1].attention.k_proj.weight.data[2, 1] = np.nan
    found = first_nonfinite(model, *batch)
    assert str(found) == "weights: blocks.1.attention.k_proj.weight holds a NaN"
    model = small("gpt2")
    model.blocks[0].feedforward.up_proj.bias.data[:] = 1e200
    model.blocks[0].feedforward.down_proj.weight.data[:] = 1e200
    found = first_nonfinite(model, *batch)
    assert (found.phase, found.layer, found.what) == ("forward", "blocks.0.feedforward.down_proj", "an infinity")


def test_a_gradient_that_alone_is_not_finite_is_found_on_the_way_back(small, batch):
    model = small()
    plain = type(model).loss

    def loss(ids, targets):
        x = plain(model, ids, targets)
        return x + (x - x.detach()).sqrt()  # the root of zero: a value, but no slope

    model.loss = loss
    found = first_nonfinite(model, *batch)
    assert (found.phase, found.operation) == ("backward", "sqrt")
    assert str(found).startswith("backward: sqrt of Transformer sent back a")


def test_bad_input_is_refused(small, batch, shapes_unchecked):
    with pytest.raises(ValueError, match=r"one shape, with at least one token; got \(1, 2\), \(1, 3\)"):
        batch_floor(np.ones((1, 2), int), np.ones((1, 3), int))
    with pytest.raises(ValueError, match="n_steps is at least 1, got 0"):
        overfit_one_batch(small(), *batch, n_steps=0)
    with pytest.raises(TypeError, match="dict has no config that says which transformer"):
        first_nonfinite({"a": np.ones(2)}, *batch)
