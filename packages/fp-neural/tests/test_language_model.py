"""The model against its formula written out, as a distribution over texts, and as a scorer and writer."""

import itertools
import math

import numpy as np
import pytest

from fp_autograd import gradcheck
from fp_neural.activations import ReLU, Tanh
from fp_neural.language_model import LanguageModel, MLPLanguageModel
from fp_neural.training import train

V, K, D, H = 5, 3, 2, 7


def make(seed=0, vocab_size=V, context=K, dim=D, hidden=H, **settings):
    settings = {"dtype": np.float64} | settings
    return MLPLanguageModel(vocab_size, context, dim, hidden, rng=np.random.default_rng(seed), **settings)


def loosened(model, seed=1):
    """Parameters large enough to make distributions that differ."""
    rng = np.random.default_rng(seed)
    model.load_state_dict({n: rng.normal(size=p.shape) for n, p in model.named_parameters().items()}, strict=False)
    return model


def test_the_logits_are_the_formula():
    model = loosened(make())
    state = model.state_dict()
    C, W1, b1, W2, b2 = (
        state[n] for n in ("embedding.weight", "layers.layers.0.weight", "layers.layers.0.bias",
                           "layers.layers.2.weight", "layers.layers.2.bias")
    )  # fmt: skip
    for row in itertools.product(range(V + 1), repeat=K):
        e = np.concatenate([C[i] for i in row])
        z = W2 @ np.tanh(W1 @ e + b1) + b2
        np.testing.assert_allclose(model(np.array([row])).data[0], z, rtol=1e-12, atol=1e-12)  # sums in another order


def test_every_parameter_has_the_right_gradient():
    model = loosened(make(hidden=[3, 2], activation=Tanh, context=2))
    x, _ = model.examples([0, 3, 1, 4, 4, 2])
    state = {n: p.data for n, p in model.named_parameters().items()}

    def f(*arrays):
        lent = dict(zip(state, arrays, strict=True))
        e = model.functional(lent, x)  # the logits; the loss is checked by itself
        return (e * e).mean()

    gradcheck(f, *state.values())


@pytest.mark.claim("neural.equal-footing")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_probabilities_of_all_texts_sum_to_one(n):
    model = loosened(make(vocab_size=3))
    total = sum(math.exp(model.log_prob(text).sum()) for text in itertools.product(range(3), repeat=n))
    assert total == pytest.approx(1, rel=1e-13)
    with_bos = loosened(make(vocab_size=3, bos=2))
    total = sum(math.exp(with_bos.log_prob([2, *text]).sum()) for text in itertools.product(range(2), repeat=n))
    assert 0 < total < 0.99  # what bos would have had is lost


@pytest.mark.claim("neural.context-moves-together")
def test_tokens_with_close_vectors_are_predicted_alike():
    rng = np.random.default_rng(2)
    closest = 1.0
    for seed in range(30):
        model = loosened(make(activation=[Tanh, ReLU][seed % 2]), seed)
        state = model.state_dict()
        W1, W2 = state["layers.layers.0.weight"], state["layers.layers.2.weight"]
        C, place = state["embedding.weight"], seed % K
        one, other = (rng.integers(0, V, K) for _ in range(2))
        other = np.where(np.arange(K) == place, (one + 1) % V, one)
        s = np.linalg.norm(W1[:, place * D : (place + 1) * D])
        bound = np.linalg.norm(W2, axis=1) * s * np.linalg.norm(C[one[place]] - C[other[place]])
        difference = np.abs(model(one[None]).data - model(other[None]).data)[0]
        assert (difference <= bound).all()
        closest = min(closest, float((1 - difference / bound).min()))
    assert closest < 0.8  # the bound is not idle

    model = loosened(make())
    model.embedding.weight.data[1] = model.embedding.weight.data[3]
    assert model.log_prob([0, 1, 2])[2] == model.log_prob([0, 3, 2])[2]


def test_scores_agree_with_the_distributions():
    model = loosened(make())
    ids = np.random.default_rng(0).integers(0, V, 40)
    one_by_one = [math.log(model.next_distribution(ids[:t])[ids[t]]) for t in range(len(ids))]
    np.testing.assert_allclose(model.log_prob(ids), one_by_one, rtol=1e-12)
    assert model.cross_entropy(ids) == pytest.approx(-np.mean(one_by_one), rel=1e-12)
    assert model.perplexity(ids) == pytest.approx(math.exp(-np.mean(one_by_one)), rel=1e-12)
    assert model.next_distribution([]).sum() == pytest.approx(1, rel=1e-15)
    for dtype in (np.uint8, np.int16, np.uint64):
        np.testing.assert_array_equal(model.log_prob(ids.astype(dtype)), model.log_prob(ids))


def test_long_texts_are_scored_in_blocks(monkeypatch):
    model = loosened(make())
    ids = np.random.default_rng(0).integers(0, V, 25)
    whole = model.log_prob(ids)
    monkeypatch.setattr("fp_neural.language_model.BLOCK", 7)
    np.testing.assert_allclose(model.log_prob(ids), whole, rtol=1e-12)


def test_bos_is_not_predicted_and_hides_what_was_before():
    model = loosened(make(bos=0))
    ids = np.array([0, 1, 2, 0, 3, 4])
    log_p = model.log_prob(ids)
    assert log_p[0] == log_p[3] == 0
    np.testing.assert_allclose(log_p[4:], model.log_prob([0, 3, 4])[1:], rtol=1e-12)
    assert model.cross_entropy(ids) == pytest.approx(-log_p.sum() / 4, rel=1e-14)
    x, y = model.examples(ids)
    assert y.tolist() == [1, 2, 3, 4]
    assert x.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 3]]
    assert model.loss(x, y).item() == pytest.approx(model.cross_entropy(ids), rel=1e-12)
    assert model.embedding.weight.shape == (V, D)
    written = model.generate([0], 200, np.random.default_rng(0))
    assert 0 not in written
    with pytest.raises(ValueError, match="needs a token to predict, got none but bos"):
        model.cross_entropy([0, 0])


def test_it_writes_from_its_own_distributions():
    model = loosened(make())
    rng, written = np.random.default_rng(3), [2]
    for _ in range(20):
        z = np.log(model.next_distribution(written))
        z[4] = -np.inf
        written.append(int(z.argmax()))
    assert model.generate([2], 20, rng, temperature=0, exclude=[4]).tolist() == written[1:]
    texts = model.generate([2], 200, np.random.default_rng(4), top_k=2)
    for t in range(5, 200):
        p = model.next_distribution(texts[:t])
        assert p[texts[t]] >= np.sort(p)[-2]
    stop = int(texts[0])
    assert model.generate([2], 100, np.random.default_rng(4), top_k=2, stop=stop).tolist() == [stop]
    assert model.generate([], 0, rng).tolist() == []


def test_drawn_tokens_have_the_frequencies_of_the_distribution():
    model = loosened(make())
    n, p = 1000, make().next_distribution([1, 2])
    model = make()
    rng = np.random.default_rng(0)
    counts = np.bincount([model.generate([1, 2], 1, rng)[0] for _ in range(n)], minlength=V)
    # each count has a standard deviation below sqrt(n) / 2
    assert (np.abs(counts - n * p) < 4 * math.sqrt(n) / 2).all()


def test_use_leaves_training_as_it_was():
    model = make(dropout=0.5, normalize=True, hidden=[8, 4])
    frozen_part = model.layers
    frozen_part.eval()
    before = model.state_dict()
    first = model.log_prob([0, 1, 2, 3])
    np.testing.assert_array_equal(model.log_prob([0, 1, 2, 3]), first)  # nothing is dropped
    assert model.training and not frozen_part.training
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert model(np.array([[0, 1, 2]])).requires_grad


def test_an_untrained_model_knows_nothing():
    model = make(vocab_size=50, dim=10, hidden=100, context=3)
    ids = np.random.default_rng(0).integers(0, 50, 2000)
    assert model.cross_entropy(ids) == pytest.approx(math.log(50), abs=0.02)  # logits have variance about 0.01


@pytest.mark.parametrize("settings", [{}, {"normalize": True}, {"hidden": [16, 16]}, {"dropout": 0.2}])
def test_it_learns_a_pattern(settings):
    model = make(hidden=16) if not settings else make(**({"hidden": 16} | settings))
    ids = np.array([0, 1, 2, 0, 3, 4] * 40)  # after 0 comes 1 or 3, as two tokens before tell
    x, y = model.examples(ids)
    train(model, model.loss, [(x, y)] * 400, rate=0.5)
    assert model.cross_entropy(ids) < 0.05
    assert model.generate([4, 0], 6, np.random.default_rng(0), temperature=0).tolist() == [1, 2, 0, 3, 4, 0]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: m.log_prob([]), ValueError, "at least one token"),
        (lambda m: m.log_prob([0, 5]), ValueError, r"token ids must lie in \[0, 5\), got 0 to 5"),
        (lambda m: m.log_prob([0.5]), TypeError, "integer"),
        (lambda m: m.next_distribution([-1]), ValueError, r"token ids must lie in \[0, 5\)"),
        (lambda m: m.generate([0], -1, np.random.default_rng(0)), ValueError, "n_tokens must be zero or more"),
        (lambda m: m.generate([0], 1, 0), TypeError, "rng must be a generator"),
        (lambda m: m.generate([0], 1, np.random.default_rng(0), exclude=[9]), ValueError, "token ids must lie"),
        (lambda m: m.generate([0], 1, np.random.default_rng(0), temperature=-1), ValueError, "temperature"),
        (lambda m: make(context=0), ValueError, "context must be one or more, got 0"),
        (lambda m: make(hidden=[4, 0]), ValueError, "hidden must be one or more, got 0"),
        (lambda m: make(vocab_size=0), ValueError, "vocab_size = 0"),
        (lambda m: make(bos=5), ValueError, "bos is a token between 0 and 4, got 5"),
        (lambda m: m.loss(np.zeros((1, 3), int), np.array([5])), ValueError, "5"),
        (lambda m: m(np.zeros((2, 4), int)), ValueError, r"rows of 3 tokens, of shape \(B, 3\), got \(2, 4\)"),
        (lambda m: m(np.zeros(3, int)), ValueError, r"rows of 3 tokens, of shape \(B, 3\), got \(3,\)"),
        (lambda m: make(hidden=2.5), TypeError, "hidden must be an integer, got 2.5"),
    ],
)
def test_bad_input(call, error, sentence, shapes_unchecked):
    with pytest.raises(error, match=sentence):
        call(make())


def test_no_rows_give_no_logits_and_sizes_may_be_numpy_s(shapes_unchecked):
    assert make(hidden=np.int64(4))(np.zeros((0, 3), int)).shape == (0, 5)


def test_a_model_that_diverged_has_no_distribution():
    model = make()
    model.embedding.weight.data[:] = np.nan
    with pytest.raises(ValueError, match="the largest logit is nan: has the model diverged"):
        model.next_distribution([0])


def test_a_model_without_a_way_to_predict_says_so():
    with pytest.raises(NotImplementedError):
        LanguageModel(3).log_prob([0])
