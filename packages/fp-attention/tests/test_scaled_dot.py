"""Attention as one operation, against the definition, differences, its reference, and hostile input."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention import scaled_dot
from fp_attention._strips import _cached_strips
from fp_attention.masks import Causal, Dense, Documents, First, Itself, Mask, Padding, SlidingWindow
from fp_attention.scaled_dot import attention_weights, reference_attention, scaled_dot_product_attention
from fp_attention.tiled import tiled_attention
from fp_autograd.checking import gradcheck
from fp_autograd.functional import grad, jvp, vjp
from fp_autograd.tensor import Tensor

KERNELS = pytest.mark.parametrize("attention", [scaled_dot_product_attention, tiled_attention])
EXACT = 1e-13  # sums of up to fifty products of numbers of size one in float64


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def by_definition(q, k, v, allowed=None, bias=None):
    """(E1) to (E3), one number at a time; q (Tq, D), k (Tk, D), v (Tk, Dv)."""
    (Tq, D), Tk, Dv = q.shape, len(k), v.shape[1]
    Y = np.zeros((Tq, Dv))
    for i in range(Tq):
        scores = {}
        for j in range(Tk):
            if allowed is None or allowed[i, j]:
                scores[j] = sum(q[i, d] * k[j, d] for d in range(D)) / math.sqrt(D)
                if bias is not None:
                    scores[j] += bias[j - i + Tq - 1]
        total = sum(math.exp(s) for s in scores.values())
        for d in range(Dv):
            Y[i, d] = sum(math.exp(s) / total * v[j, d] for j, s in scores.items())
    return Y


@KERNELS
def test_it_is_the_definition_for_every_head(attention):
    q, k, v, b = some(2, 6, 3, 5), some(2, 3, 7, 5, seed=1), some(2, 3, 7, 2, seed=2), some(6, 9, seed=3)
    allowed = Causal().dense(3, 7)
    Y = attention(q, k, v, mask=Causal(), bias=b)
    assert Y.shape == (2, 6, 3, 2)
    for text in range(2):
        for h in range(6):
            expected = by_definition(q[text, h], k[text, h // 2], v[text, h // 2], allowed, b[h])
            assert np.allclose(Y[text, h], expected, rtol=0, atol=EXACT)


@KERNELS
def test_by_hand(attention):
    # scores ln 1, ln 3 at the second query; the first sees itself alone
    q, k = np.array([[1.0], [1.0]]), np.array([[0.0], [math.log(3)]])
    Y = attention(q, k, np.array([[8.0], [4.0]]), mask=Causal())
    assert np.allclose(Y[:, 0], [8, 8 / 4 + 3 * 4 / 4], rtol=1e-15)


MASKS = {
    "none": None,
    "causal": Causal(),
    "window": SlidingWindow(2),
    "sinks": SlidingWindow(2) | (Causal() & First(1)),
    "prefix": Causal() | First(2),
    "prefixes": Causal() | First(np.array([0, 3])),
    "padding": Padding(np.array([[True] * 5 + [False] * 2, [False, True, True, False, True, True, True]])) | Itself(),
    "documents": Causal() & Documents(np.array([0, 0, 1, 1, 1, 2, 2])),
    "array": np.random.default_rng(5).random((7, 7)) < 0.5,
    "heads": np.random.default_rng(6).random((4, 7, 7)) < 0.5,
    "all": np.random.default_rng(7).random((2, 4, 7, 7)) < 0.5,
}
for _name in ("array", "heads", "all"):
    MASKS[_name] = MASKS[_name] | np.eye(7, dtype=bool)


@pytest.mark.claim("attention.backward")
@pytest.mark.claim("attention.tangent")
@pytest.mark.claim("attention.tiled-backward")
@KERNELS
@pytest.mark.parametrize("name", MASKS)
def test_derivatives_against_differences(attention, name, monkeypatch):
    small_tiles(monkeypatch)
    mask = MASKS[name]
    order = 2 if attention is scaled_dot_product_attention or name in ("none", "causal", "padding") else 1
    q, k, v, b = some(2, 4, 7, 3), some(2, 2, 7, 3, seed=1), some(2, 2, 7, 2, seed=2), some(4, 13, seed=3)
    gradcheck(lambda q, k, v, b: attention(q, k, v, mask=mask, bias=b), q, k, v, b, order=order)


@pytest.mark.claim("attention.dropout-backward")
@KERNELS
@pytest.mark.parametrize("biased", [False, True])
def test_derivatives_with_dropout(attention, biased, monkeypatch):
    small_tiles(monkeypatch)
    q, k, v, b = some(2, 4, 5, 3), some(2, 2, 7, 3, seed=1), some(2, 2, 7, 2, seed=2), some(4, 11, seed=3)

    def f(q, k, v, *b):
        bias = b[0] if b else None
        return attention(q, k, v, mask=Causal(), bias=bias, dropout=0.4, rng=np.random.default_rng(9))

    gradcheck(f, q, k, v, *([b] if biased else []))


def small_tiles(monkeypatch):
    """So small that every way through the kernels is taken."""
    monkeypatch.setattr("fp_attention.tiled.ROWS", 4)
    monkeypatch.setattr("fp_attention.tiled.COLUMNS", 3)
    monkeypatch.setattr(scaled_dot, "_rows", lambda G, Tk: 2)
    monkeypatch.setattr("fp_attention._strips.PART", 30)
    _cached_strips.cache_clear()


@pytest.mark.claim("attention.tiled-forward")
@KERNELS
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_kernels_are_the_reference(attention, name, dropout, monkeypatch):
    small_tiles(monkeypatch)
    q, k, v, b = some(2, 4, 7, 3), some(2, 2, 7, 3, seed=1), some(2, 2, 7, 2, seed=2), some(4, 13, seed=3)

    def run(f):
        source = np.random.default_rng(4)
        return vjp(lambda *x: f(*x[:3], mask=MASKS[name], bias=x[3], dropout=dropout, rng=source), q, k, v, b)

    (ours, back), (reference, its_back) = run(attention), run(reference_attention)
    assert np.allclose(ours, reference, rtol=0, atol=EXACT)
    g = some(*ours.shape, seed=8)
    for one, other in zip(back(g), its_back(g), strict=True):
        assert np.allclose(one, other, rtol=0, atol=10 * EXACT)


@given(st.data())
@settings(max_examples=25)
def test_any_shapes_layouts_and_tiles(data):
    B, Hkv, G, D, Dv = (data.draw(st.integers(1, 3)) for _ in range(5))
    Tq, Tk = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    lead = data.draw(st.sampled_from([(), (B,), (B, 2)]))

    def heads(H, T, width):  # the heads before the times or after them in memory
        if data.draw(st.booleans()):
            return rng.normal(size=(*lead, H, T, width))
        return rng.normal(size=(*lead, T, H, width)).swapaxes(-3, -2)

    q, k, v = heads(Hkv * G, Tq, D), heads(Hkv, Tk, D), heads(Hkv, Tk, Dv)
    mask = data.draw(st.sampled_from([None, Causal(), SlidingWindow(2), SlidingWindow(3) | First(1)]))
    if mask is not None and Tq > Tk:
        mask = mask | First(1)
    expected, pull = vjp(lambda *x: reference_attention(*x, mask=mask), q, k, v)
    g = rng.normal(size=expected.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fp_attention.tiled.ROWS", data.draw(st.integers(1, 5)))
        patch.setattr("fp_attention.tiled.COLUMNS", data.draw(st.integers(1, 5)))
        rows = data.draw(st.integers(1, 5))
        patch.setattr(scaled_dot, "_rows", lambda G, Tk: rows)
        patch.setattr("fp_attention._strips.PART", data.draw(st.integers(1, 60)))
        for attention in (scaled_dot_product_attention, tiled_attention):
            Y, back = vjp(lambda *x, f=attention: f(*x, mask=mask), q, k, v)
            assert np.allclose(Y, expected, rtol=0, atol=EXACT)
            for one, other in zip(back(g), pull(g), strict=True):
                assert np.allclose(one, other, rtol=0, atol=10 * EXACT)


@pytest.mark.claim("attention.backward")
@KERNELS
def test_what_the_proof_says_of_the_cotangent_of_the_scores(attention):
    # the bias has Z as its cotangent, summed along diagonals; one query shows Z itself
    q, k, v, b = some(1, 1, 3), some(1, 7, 3, seed=1), some(1, 7, 2, seed=2), some(1, 7, seed=3)
    allowed = np.array([[True, False, True, True, False, True, True]])
    Z = grad(lambda b: (attention(q, k, v, bias=b, mask=allowed) ** 3).sum())(b)
    assert abs(Z.sum()) < EXACT
    assert (Z[~allowed] == 0).all() and (Z[allowed] != 0).all()


@KERNELS
def test_no_gradient_crosses_a_mask_even_from_infinity(attention):
    q, k, v = some(2, 3), some(3, 3, seed=1), some(3, 2, seed=2)
    k[2] = 1e200  # forbidden, and its exponential is infinite
    dq, dk, dv = grad(lambda x: attention(*x, mask=np.tri(2, 3, 0, bool)).sum())((q, k, v))
    assert np.isfinite(dq).all() and (dk[2] == 0).all() and (dv[2] == 0).all()


@pytest.mark.claim("attention.unshifted")
@KERNELS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 30.0, 90.0, 1e4, -90.0, -1e4])
def test_scores_of_any_size(attention, dtype, level):
    q = some(1, 5, 3).astype(dtype)
    k, v = some(1, 7, 3, seed=1).astype(dtype), some(1, 7, 2, seed=2).astype(dtype)
    bias = (some(1, 11, seed=3) + level).astype(dtype)
    exact = reference_attention(*(x.astype(np.float64) for x in (q, k, v)), bias=bias.astype(np.float64))
    Y = attention(q, k, v, bias=bias)
    # adding a level of 1e4 rounds the scores to 1e4 times the unit roundoff, and the weights by that share
    assert np.allclose(Y, exact, rtol=0, atol=4 * np.finfo(dtype).eps * max(4, abs(level)))


@pytest.mark.claim("attention.unshifted")
def test_without_a_shift_what_is_lost_is_below_rounding():
    # the least sum that is taken as it is, and terms that single precision cannot hold
    v = np.concatenate([np.ones((1, 1)), np.full((999, 1), -1.0)]).astype(np.float32)
    scores = np.full(1000, -87.5, np.float32)  # below the least normal number, 2^-126
    scores[0] = math.log(scaled_dot.MODERATE) * -1 + 0.01
    q, k = np.ones((1, 1), np.float32), np.zeros((1000, 1), np.float32)
    bias = scores[None]
    Y = scaled_dot_product_attention(q, k, v, bias=bias)
    exact = reference_attention(*(x.astype(np.float64) for x in (q, k, v)), bias=bias.astype(np.float64))
    assert abs(Y.item() - exact.item()) <= 2 * 1000 * 1e-22 + np.finfo(np.float32).eps


@pytest.mark.claim("attention.causal-strips")
def test_how_many_scores_are_computed():
    T, r = 24, 4
    strips = _cached_strips(Causal(), T, T, 0, r)
    assert sum((s.stop - s.first) * s.width for s in strips) == T * (T + r) // 2
    # and the mask is looked up in the last r columns of each alone
    assert all([(p.first, p.stop) for p in s.partial] == [(s.first, s.stop)] for s in strips)


def test_windows_and_sinks_cost_what_they_hold():
    strips = _cached_strips(SlidingWindow(8) | (Causal() & First(2)), 256, 256, 0, 8)
    assert max(s.width for s in strips) <= 8 + 16 and len(strips[-1].runs) == 2


def test_dropout_keeps_the_mean_and_depends_on_the_seed_alone():
    q, k, v = some(3, 4, 2), some(3, 8, 2, seed=1), np.abs(some(3, 8, 1, seed=2))
    plain = scaled_dot_product_attention(q, k, v)
    rng = np.random.default_rng(0)
    draws = [scaled_dot_product_attention(q, k, v, dropout=0.25, rng=rng) for _ in range(2000)]
    # Var Y = p/(1-p) sum_j P^2 v^2; five standard errors of the mean of 2,000
    P = attention_weights(q, k)
    error = np.sqrt(1 / 3 * (P**2 @ v**2) / 2000)
    assert (np.abs(np.mean(draws, axis=0) - plain) < 5 * error).all()
    again = [scaled_dot_product_attention(q, k, v, dropout=0.25, rng=np.random.default_rng(1)) for _ in range(2)]
    assert (again[0] == again[1]).all() and (again[0] != plain).any()


def test_dropout_makes_draws_that_are_independent_across_rows_and_heads():
    from fp_attention._strips import Heads, Problem, Run, Strip, kept

    T = 1100  # more than two blocks of draws
    q, k = np.zeros((2, 3, T, 1)), np.zeros((2, 3, T, 1))
    given_ = {"scale": 1.0, "mask": None, "start": 0, "key_positions": None, "dropout": 0.5, "seed": 12}
    problem = Problem.of(q, k, k, **given_)
    whole = kept(problem, Heads(slice(0, 2), slice(0, 3)), Strip(0, 64, [Run(0, T, 0)], T, []))
    # a share of 0.5 within six deviations of 422,400 draws; no two rows alike, nor shifted by one
    assert abs(whole.mean() - 0.5) < 6 * 0.5 / math.sqrt(whole.size)
    rows = whole.reshape(-1, T)
    assert len({row.tobytes() for row in rows}) == len(rows)
    agreement = (rows[:, None, :] == rows[None, :, :]).mean(-1)[~np.eye(len(rows), dtype=bool)]
    assert np.abs(agreement - 0.5).max() < 7 * 0.5 / math.sqrt(T)


def test_memory_is_laid_out_as_the_queries_are():
    x = some(2, 5, 3, 4).astype(np.float32)  # B T H D
    heads = x.swapaxes(1, 2)
    for attention in (scaled_dot_product_attention, tiled_attention):
        Y = attention(heads, heads, heads)
        assert Y.swapaxes(1, 2).flags.c_contiguous and Y.dtype == np.float32


def test_nothing_of_the_table_is_kept_without_a_gradient():
    T = 1024
    q, k, v = (some(2, T, 8, seed=i).astype(np.float32) for i in range(3))
    peaks = []
    for watched in (False, True):
        x = Tensor(q, requires_grad=watched)
        scaled_dot_product_attention(x, k, v)  # once, for what is made only once
        tracemalloc.start()
        out = scaled_dot_product_attention(x, k, v)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del out
    table = 2 * T * T * 4
    assert peaks[1] > table and peaks[0] < table / 2


def test_many_threads_give_the_same_numbers():
    from concurrent.futures import ThreadPoolExecutor

    q, k, v = (some(2, 4, 300, 32, seed=i).astype(np.float32) for i in range(3))
    alone = scaled_dot_product_attention(q, k, v, mask=Causal())
    with ThreadPoolExecutor(4) as pool:
        for Y in pool.map(lambda _: scaled_dot_product_attention(q, k, v, mask=Causal()), range(8)):
            assert np.allclose(Y, alone, atol=1e-6)  # BLAS may cut its sums differently


def test_forward_mode_of_each_input():
    q, k, v, b = some(2, 3, 2), some(2, 5, 2, seed=1), some(2, 5, 3, seed=2), some(2, 7, seed=3)
    for i, x in enumerate((q, k, v, b)):
        t = some(*x.shape, seed=4)

        def f(moved, attention, i=i):
            inputs = [q, k, v, b]
            inputs[i] = moved
            return attention(*inputs[:3], bias=inputs[3], mask=Causal())

        ours = []
        for attention in (scaled_dot_product_attention, tiled_attention, reference_attention):
            ours.append(jvp(lambda moved, a=attention, f=f: f(moved, a), (x,), (t,))[1])
        assert np.allclose(ours[0], ours[2], atol=EXACT) and np.allclose(ours[1], ours[2], atol=EXACT)


def test_weights_sum_to_one_and_respect_the_mask():
    q, k = some(2, 4, 7, 3), some(2, 2, 7, 3, seed=1)
    for mask in MASKS.values():
        P = attention_weights(q, k, mask=mask)
        assert P.shape == (2, 4, 7, 7) and np.allclose(P.sum(-1), 1, rtol=0, atol=1e-14)
        if mask is not None:
            allowed = mask if isinstance(mask, np.ndarray) else mask.dense(7, 7)
            assert (P[~np.broadcast_to(allowed, P.shape)] == 0).all()


# --- positions of its own


def test_the_last_query_stands_beside_the_last_key():
    q, k, v = some(1, 7, 3), some(1, 7, 3, seed=1), some(1, 7, 2, seed=2)
    whole = scaled_dot_product_attention(q, k, v, mask=Causal())
    for first in range(7):
        assert np.allclose(
            scaled_dot_product_attention(q[:, first:], k, v, mask=Causal()), whole[:, first:], atol=EXACT
        )
        assert np.allclose(
            scaled_dot_product_attention(q[:, : first + 1], k, v, mask=Causal(), start=0),
            whole[:, : first + 1],
            atol=EXACT,
        )


@KERNELS
def test_keys_with_gaps(attention):
    q, k, v = some(1, 2, 3), some(1, 9, 3, seed=1), some(1, 9, 2, seed=2)
    mask = SlidingWindow(3) | (Causal() & First(2))
    kept = np.array([0, 1, 5, 6, 7, 8])
    whole = attention(q, k, v, mask=mask, start=7)
    assert np.allclose(attention(q, k[:, kept], v[:, kept], mask=mask, start=7, key_positions=kept), whole, atol=EXACT)


def test_no_queries_give_nothing():
    for attention in (scaled_dot_product_attention, tiled_attention):
        assert attention(np.zeros((2, 0, 3)), some(2, 5, 3), some(2, 5, 1)).shape == (2, 0, 1)


@KERNELS
def test_several_axes_of_texts_meet_masks_of_their_own(attention):
    q, k, v = some(2, 3, 4, 5, 2), some(2, 3, 2, 5, 2, seed=1), some(2, 3, 2, 5, 2, seed=2)
    rng = np.random.default_rng(3)
    for mask in (
        Padding(rng.random((3, 5)) < 0.5) | Itself(),
        Causal() & Documents(rng.integers(0, 2, (3, 5))),
        Causal() | First(np.array([0, 2, 4])),
        (rng.random((2, 1, 1, 5, 5)) < 0.5) | np.eye(5, dtype=bool),
        (rng.random((3, 4, 5, 5)) < 0.5) | np.eye(5, dtype=bool),
    ):
        expected, pull = vjp(lambda *x, m=mask: reference_attention(*x, mask=m), q, k, v)
        Y, back = vjp(lambda *x, m=mask: attention(*x, mask=m), q, k, v)
        assert np.allclose(Y, expected, rtol=0, atol=EXACT)
        for one, other in zip(back(Y), pull(Y), strict=True):
            assert np.allclose(one, other, rtol=0, atol=10 * EXACT)
    one = Padding(np.array([[True, True, False, True, True]]))
    assert np.allclose(attention(q[0, 0], k[0, 0], v[0, 0], mask=one), reference_attention(q, k, v, mask=one)[0, 0])


@KERNELS
def test_the_last_query_stands_at_the_last_position_of_the_keys(attention):
    q, k, v = some(1, 1, 2), some(1, 3, 2, seed=1), some(1, 3, 2, seed=2)
    at = np.array([0, 10, 11])
    late = attention(q, k, v, mask=Causal(), key_positions=at)
    assert np.allclose(late, attention(q, k, v), rtol=0, atol=EXACT)
    assert np.allclose(attention(q, k, v, mask=Causal(), key_positions=at, start=9), v[:, :1], rtol=0, atol=EXACT)


@KERNELS
def test_a_mask_of_your_own_may_change_between_calls(attention):
    class Chosen(Mask):
        def __init__(self):
            self.keys = np.array([0])

        def allowed(self, i, j):
            return np.isin(j, self.keys) & (i >= 0)

    mask, q = Chosen(), some(1, 3, 2)
    for key in (0, 2):
        mask.keys = np.array([key])
        assert np.allclose(attention(q, q, q, mask=mask), q[:, key : key + 1], rtol=0, atol=EXACT)


@KERNELS
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_scores_of_minus_infinity_are_not_called_a_mask(attention):
    q = np.full((1, 2, 1), 1e30, np.float32)
    for mask in (None, Causal()):
        assert np.isnan(attention(q, -q, q, mask=mask)).all()


# --- bad input


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"q": some(3, 5, 4)}, ValueError, "share"),
        ({"q": some(5, 5, 3)}, ValueError, "5 is no multiple of 2"),
        ({"v": some(2, 6, 3)}, ValueError, "share"),
        ({"k": some(7, 3)}, ValueError, "as many axes"),
        ({"q": some(4, 5, 3).astype(np.float32)}, TypeError, "float32 and float64"),
        ({"q": np.ones((4, 5, 3), int), "k": np.ones((2, 7, 3), int), "v": np.ones((2, 7, 3), int)}, TypeError, "int"),
        ({"bias": some(4, 12)}, ValueError, r"\(4, 11\)"),
        ({"mask": np.ones((6, 7), bool)}, ValueError, "7"),
        ({"mask": np.zeros((5, 7))}, TypeError, "True"),
        ({"dropout": 1.0}, ValueError, r"\[0, 1\)"),
        ({"dropout": 0.5}, ValueError, "rng="),
        ({"key_positions": np.arange(7)[::-1]}, ValueError, "rising"),
        ({"key_positions": np.arange(6)}, ValueError, "7 keys"),
        ({"key_positions": np.arange(7)[::-1].astype(np.uint8)}, ValueError, "rising"),
        ({"key_positions": np.arange(-1, 6)}, ValueError, "from 0 on"),
        ({"scale": Tensor(np.array(0.5))}, TypeError, "multiply the queries"),
        ({"scale": math.nan}, TypeError, "finite"),
        ({"dropout": 0.5, "rng": 3}, ValueError, "got 3"),
        ({"q": [[1.0]]}, TypeError, "got list"),
        ({"q": np.zeros((0, 5, 3))}, ValueError, "0 is no multiple of 2"),
        ({"k": some(2, 0, 3), "v": some(2, 0, 3)}, ValueError, "no keys"),
        ({"mask": np.tri(5, 7, -1, bool)}, ValueError, "row 0"),
        ({"mask": First(0)}, ValueError, "row 0"),
        ({"mask": Padding(np.zeros((1, 7), bool)), "q": some(1, 4, 5, 3), "k": some(1, 2, 7, 3), "v": some(1, 2, 7, 3)},
         ValueError, "no key"),
    ],
)  # fmt: skip
@KERNELS
def test_bad_input_is_named(attention, change, error, says, shapes_unchecked):
    inputs = {"q": some(4, 5, 3), "k": some(2, 7, 3), "v": some(2, 7, 3)} | change
    q, k, v = (inputs.pop(name) for name in "qkv")
    with pytest.raises(error, match=says):
        attention(q, k, v, **inputs)
    with pytest.raises(error, match=says):
        reference_attention(q, k, v, **inputs)


@KERNELS
def test_the_row_and_text_without_a_key_are_named(attention):
    valid = np.ones((3, 5), bool)
    valid[2, :2] = False  # left padding: the queries there see nothing
    q = some(3, 2, 5, 3)
    with pytest.raises(ValueError, match=r"row 0 \(position 0\) of text 2 .*mask \| Itself\(\)"):
        attention(q, q, q, mask=Causal() & Padding(valid))
    assert np.isfinite(attention(q, q, q, mask=(Causal() & Padding(valid)) | Itself())).all()


def test_dense_masks_of_one_head_or_text():
    q = some(2, 4, 3, 2)
    one = Dense(np.tri(3, dtype=bool))
    assert np.allclose(
        scaled_dot_product_attention(q, q, q, mask=one), scaled_dot_product_attention(q, q, q, mask=Causal())
    )
