"""Mirrors src/fp_transformer/encoder.py. Sizes are distinct primes where the heads allow it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import gradcheck
from fp_neural.losses import cross_entropy
from fp_transformer import Transformer
from fp_transformer.config import TransformerConfig
from fp_transformer.encoder import CrossAttention, Encoder, EncoderDecoder

B, S, T, V = 3, 7, 5, 13
FAMILIES = {
    "gpt2": TransformerConfig.gpt2(vocab_size=V, context_length=11, n_layers=2, n_heads=2, d_model=12, d_ff=17),
    "llama": TransformerConfig.llama(
        vocab_size=V, context_length=11, n_layers=2, n_heads=4, n_kv_heads=2, d_model=24, d_ff=17
    ),
}
both = pytest.mark.parametrize("family", FAMILIES)


def made(family, kind=EncoderDecoder, seed=0):
    return kind(FAMILIES[family], rng=np.random.default_rng(seed), dtype=np.float64).freeze()


def texts(seed=0):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, V, (B, S)), rng.integers(0, V, (B, T))
    valid = np.arange(S) < np.array([S, 3, 1])[:, None]
    return source, target, valid


def numbers(x):
    return np.asarray(x)


# --- the encoder


@both
@pytest.mark.claim("transformer.encoder-padding")
def test_padding_is_never_read(family):
    encoder, (source, _, valid) = made(family, Encoder), texts()
    out = numbers(encoder(source, valid))
    other = np.where(valid, source, (source + 5) % V)
    np.testing.assert_array_equal(numbers(encoder(other, valid))[valid], out[valid])
    for b, n in enumerate(valid.sum(axis=1)):  # alone and without padding
        np.testing.assert_allclose(numbers(encoder(source[b : b + 1, :n]))[0], out[b, :n], rtol=1e-10, atol=1e-12)
    assert np.abs(numbers(encoder(other))[valid] - out[valid]).max() > 1e-3  # unless nobody says what is padding


@both
def test_every_position_reads_every_other(family):
    encoder, (source, _, _) = made(family, Encoder), texts()
    out = numbers(encoder(source))
    for s in range(S):
        other = source.copy()
        other[:, s] = (other[:, s] + 1) % V
        assert (np.abs(numbers(encoder(other)) - out).max(axis=2) > 1e-9).all()


# --- the decoder


@both
@pytest.mark.claim("transformer.decoder-causal")
def test_scores_depend_on_the_whole_source_and_the_target_so_far(family):
    model, (source, target, valid) = made(family), texts()
    out = numbers(model(source, target, valid))
    assert out.shape == (B, T, V)
    for t in range(T):
        other = target.copy()
        other[:, t] = (other[:, t] + 1) % V
        moved = np.abs(numbers(model(source, other, valid)) - out).max(axis=2) > 1e-9
        np.testing.assert_array_equal(moved, np.broadcast_to(np.arange(T) >= t, (B, T)))
    for s in range(S):
        other = source.copy()
        other[:, s] = (other[:, s] + 1) % V
        moved = np.abs(numbers(model(other, target, valid)) - out).max(axis=2) > 1e-9
        np.testing.assert_array_equal(moved, np.broadcast_to(valid[:, s, None], (B, T)))


@both
@pytest.mark.claim("transformer.source-once")
def test_a_source_read_once_serves_every_step(family):
    model, (source, target, valid) = made(family), texts()
    whole = numbers(model(source, target, valid))
    read, caches = model.read(source, valid), model.new_caches(B, T)
    for t in range(T):
        step = numbers(model.decode(target[:, t : t + 1], read, caches))
        np.testing.assert_allclose(step[:, 0], whole[:, t], rtol=1e-10, atol=1e-12)
    config = model.config
    for keys, values in read.remembered:
        assert keys.shape == values.shape == (B, config.n_kv_heads, S, config.d_head)
        per_number = config.d_model  # multiplications
        once = (keys.size + values.size) // B * per_number
        assert once == 2 * S * config.d_model**2 * config.n_kv_heads // config.n_heads


def test_recalling_is_attending():
    rng = np.random.default_rng(0)
    cross = CrossAttention(12, 2, n_kv_heads=1, context_dim=5, rng=rng, dtype=np.float64).freeze()
    x, source = rng.normal(size=(B, T, 12)), rng.normal(size=(B, S, 5))
    remembered = cross.remember(source)
    np.testing.assert_allclose(numbers(cross.recall(x, remembered)), numbers(cross(x, source)), rtol=1e-12)


@both
def test_writing_is_the_likeliest_token_by_the_whole_model(family):
    model, (source, _, valid) = made(family), texts()
    written = model.write(source, start=1, length=6, valid=valid)
    target = np.ones((B, 1), int)
    for _ in range(6):
        nearest = numbers(model(source, target, valid))[:, -1].argmax(axis=-1)
        target = np.concatenate([target, nearest[:, None]], axis=1)
    np.testing.assert_array_equal(written, target[:, 1:])


@both
def test_loss_is_that_of_the_scores(family):
    model, (source, target, valid) = made(family), texts()
    target[1, 3:] = 0
    z = numbers(model(source, target[:, :-1], valid))
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    y = target[:, 1:]
    nats = -np.log(np.take_along_axis(p, y[:, :, None], axis=2)[:, :, 0])
    got = model.loss(source, target, valid=valid, ignore=0)
    assert float(numbers(got)) == pytest.approx(nats[y != 0].mean(), rel=1e-12)


@both
def test_gradients_of_every_parameter(family):
    config = (
        TransformerConfig.gpt2(vocab_size=3, context_length=3, n_layers=1, n_heads=1, d_model=2, d_ff=3)
        if family == "gpt2"
        else TransformerConfig.llama(vocab_size=3, context_length=3, n_layers=1, n_heads=1, d_model=2, d_ff=3)
    )
    model = EncoderDecoder(config, rng=np.random.default_rng(1), dtype=np.float64).freeze()
    source, target = np.array([[0, 1, 2], [2, 0, 0]]), np.array([[1, 2], [0, 1]])
    valid = np.array([[True, True, True], [True, True, False]])

    def scores(state):
        return model.functional(state, source, target, valid)

    gradcheck(scores, model.state_dict(), order=1)


def reversals(rng, n):
    """Strings of 3 to 7 letters and the same backwards; 0 fills up, 1 starts, 2 ends."""
    lengths = rng.integers(3, 8, n)
    source, target = np.zeros((n, 7), int), np.zeros((n, 9), int)
    for b, size in enumerate(lengths):
        source[b, :size] = rng.integers(3, V, size)
        target[b, : size + 2] = [1, *source[b, :size][::-1], 2]
    return source, target, source > 0


def test_it_learns_to_write_backwards(shapes_unchecked):
    """
    300 new strings, of 11 million possible ones, are nearly all right to the last letter. The checks of shapes are off:
    they take longer than the training, which takes about one second.
    """
    rng = np.random.default_rng(0)
    config = TransformerConfig.gpt2(vocab_size=V, context_length=9, n_layers=1, n_heads=4, d_model=32)
    model = EncoderDecoder(config, rng=rng)
    parameters, steps = model.parameters(), 240
    first, second = ([np.zeros_like(p.data) for p in parameters] for _ in range(2))
    for i in range(1, steps + 1):
        source, target, valid = reversals(rng, 32)
        model.zero_grad()
        model.loss(source, target, valid=valid, ignore=0).backward()
        rate = 1e-2 * min(1, i / 50, 2 * (1 - i / (steps + 1)))
        for p, m, v in zip(parameters, first, second, strict=True):  # Adam
            m += 0.1 * (p.grad - m)
            v += 0.02 * (p.grad**2 - v)
            p.data -= rate * (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.98**i)) + 1e-8)
    source, target, valid = reversals(np.random.default_rng(99), 300)
    written = model.write(source, start=1, length=8, valid=valid)
    right = ((written == target[:, 1:]) | (target[:, 1:] == 0)).all(axis=1)
    assert right.mean() > 0.95
    blind = model.write(np.where(valid, 3, 0), start=1, length=8, valid=valid)  # it does read the source
    assert ((blind == target[:, 1:]) | (target[:, 1:] == 0)).all(axis=1).mean() < 0.05


# --- what is lost


@pytest.mark.claim("transformer.leak")
def test_a_model_that_sees_the_next_token_need_not_know_the_language():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, (B, 29))  # any text
    losses = []
    for c in (0.0, 5.0, 10.0, 30.0):
        scores = c * np.eye(V)[ids[:, 1:]]  # row t is a function of token t + 1
        loss = float(cross_entropy(scores, ids[:, 1:]))
        assert loss == pytest.approx(math.log1p((V - 1) * math.exp(-c)), rel=1e-9, abs=1e-12)
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-9
    blind = Transformer(FAMILIES["gpt2"], rng=rng)  # a causal model cannot: its row is the same whatever comes
    ids = np.array([[1, 2], [1, 3]])
    rows = numbers(blind(ids).detach())[:, 0]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)  # products of float32


probability = st.floats(0.01, 0.99)


@pytest.mark.claim("transformer.masked-odds")
@settings(max_examples=25)
@given(probability, probability, probability, probability)
def test_conditionals_fit_exactly_if_their_odds_do(a10, a11, b10, b11):
    a = np.array([[1 - a10, 1 - a11], [a10, a11]])  # a[i, j]: the first is i, given that the second is j
    b = np.array([[1 - b10, 1 - b11], [b10, b11]])  # b[j, i]
    ratio_a, ratio_b = (m[1, 1] * m[0, 0] / (m[0, 1] * m[1, 0]) for m in (a, b))
    # p(i, j) = a(i | j) p(., j) and p(i, j) = b(j | i) p(i, .) for all i, j, with sum 1: least squares
    rows = []
    for i in range(2):
        for j in range(2):
            by_a, by_b = np.zeros((2, 2)), np.zeros((2, 2))
            by_a[i, j] = by_b[i, j] = 1
            by_a[:, j] -= a[i, j]
            by_b[i, :] -= b[j, i]
            rows += [by_a.ravel(), by_b.ravel()]
    matrix = np.array([*rows, np.ones(4)])
    p, *_ = np.linalg.lstsq(matrix, np.array([0.0] * 8 + [1.0]), rcond=None)
    misfit = np.abs(matrix @ p - np.array([0.0] * 8 + [1.0])).max()
    if abs(math.log(ratio_a / ratio_b)) > 1e-2:
        assert misfit > 1e-7
    # the same with b(. | 1) changed so that (E3) holds: the distribution of the proof
    odds = ratio_a * b[1, 0] / b[0, 0]
    b[:, 1] = [1 / (1 + odds), odds / (1 + odds)]
    q = np.array([1.0, b[1, 0] / b[0, 0] * a[0, 0] / a[0, 1]])
    joint = a * q / q.sum()
    np.testing.assert_allclose(joint / joint.sum(axis=0), a, rtol=1e-12)
    np.testing.assert_allclose((joint / joint.sum(axis=1, keepdims=True)).T, b, rtol=1e-10)


@pytest.mark.claim("transformer.masked-odds")
def test_two_masked_predictions_that_no_text_has():
    """The first repeats the second, and the second is the opposite of the first: odds 81 and 1/81."""
    a = np.array([[0.9, 0.1], [0.1, 0.9]])
    b = 1 - a
    for p in np.random.default_rng(0).dirichlet(np.ones(4), size=2000).reshape(-1, 2, 2):
        off = max(np.abs(p / p.sum(axis=0) - a).max(), np.abs((p / p.sum(axis=1, keepdims=True)).T - b).max())
        assert off > 0.2  # the ratios would have to differ by 81^2


# --- the modules


def test_the_table_of_tokens_is_shared():
    model = EncoderDecoder(FAMILIES["gpt2"], rng=np.random.default_rng(0))
    tables = [n for n, p in model.named_parameters().items() if p.shape == (V, 12)]
    assert tables == ["encoder.embedding.weight"]
    C, F = 12, 17
    block = 4 * C * C + 2 * C * F + 9 * C + F
    more = 4 * C * C + 4 * C + 2 * C  # cross-attention and its norm
    assert model.n_parameters == V * C + 2 * 11 * C + 2 * (2 * block + more) + 2 * 2 * C


@both
def test_unset_and_in_float32(family):
    model = EncoderDecoder(FAMILIES[family], rng=None)
    assert not any(p.data.any() for n, p in model.named_parameters().items() if "norm" not in n)
    source, target, valid = texts()
    model = EncoderDecoder(FAMILIES[family], rng=np.random.default_rng(0))
    assert model(source, target, valid).dtype == np.float32
    assert model.write(source, start=0, length=2).shape == (B, 2)


def test_bad_input(shapes_unchecked):
    model, (source, target, valid) = made("gpt2"), texts()
    with pytest.raises(ValueError, match=r"shape of the ids, \(3, 7\), got \(3, 6\)"):
        model(source, target, valid[:, :-1])
    with pytest.raises(ValueError, match=r"at least one.*\[7, 3, 0\] real tokens"):
        model(source, target, valid & (np.arange(B) < 2)[:, None])
    with pytest.raises(ValueError, match=r"ids have the shape \(batch, time\), got \(7,\)"):
        model.read(source[0])
    for length in (0, 12):
        with pytest.raises(ValueError, match=f"at least one token and at most context_length=11, got length={length}"):
            model.write(source, start=0, length=length)
    with pytest.raises(ValueError, match="positions 0 to 10, but the text takes 0 to 11"):
        model.read(np.zeros((1, 12), int))


def test_chance_is_for_training_alone(shapes_unchecked):
    sizes = {"vocab_size": 11, "context_length": 8, "n_layers": 2, "n_heads": 2, "d_model": 8}
    model = EncoderDecoder(TransformerConfig.gpt2(**sizes, dropout=0.5), rng=np.random.default_rng(0))
    source = np.array([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        model.write(source, start=0, length=2)
    model.eval()
    assert (model.write(source, start=0, length=4) == model.write(source, start=0, length=4)).all()
    with pytest.raises(ValueError, match="tied=True"):
        EncoderDecoder(TransformerConfig.gpt2(**sizes, tied=False), rng=None)
