"""Mirrors src/fp_attention/cost.py."""

import math
from collections import Counter

import numpy as np
import pytest

from fp_attention import _strips, scaled_dot, tiled
from fp_attention.cost import (
    attention_flops,
    attention_memory,
    crossover,
    decode_intensity,
    mlp_flops,
)
from fp_attention.masks import Causal, First, Padding, SlidingWindow
from fp_autograd import Tensor

STACKED = _strips.stacked
VIEWS = [None, Causal(), SlidingWindow(1), SlidingWindow(2), SlidingWindow(9), Causal() | First(3)]


# --- counting


class Counted:
    """A number that counts what is done with it, under the name of the part that is being computed."""

    part, done = "", Counter()

    def __init__(self, x):
        self.x = float(x)

    def _made(self, x):
        Counted.done[Counted.part] += 1
        return Counted(x)

    def __add__(self, other):
        return self._made(self.x + other.x)

    def __sub__(self, other):
        return self._made(self.x - other.x)

    def __mul__(self, other):
        return self._made(self.x * other.x)

    def __truediv__(self, other):
        return self._made(self.x / other.x)

    def __gt__(self, other):
        Counted.done[Counted.part] += 1
        return self.x > other.x

    def exp(self):
        return self._made(math.exp(self.x))


def counted(x):
    return [[Counted(a) for a in row] for row in x]


def numbers(x):
    return np.array([[a.x for a in row] for row in x])


def dot(u, v):
    total = Counted(0)
    for a, b in zip(u, v, strict=True):
        total = total + a * b
    return total


def times_transposed(X, W):
    return [[dot(row, w) for w in W] for row in X]


def softmax(z, scale):
    z = [a * scale for a in z]
    largest = z[0]
    for a in z[1:]:
        if a > largest:
            largest = a
    e = [(a - largest).exp() for a in z]
    total = e[0]
    for a in e[1:]:
        total = total + a
    return [a / total for a in e]


def attention(x, Wq, Wk, Wv, Wo, H, Hkv, mask):
    """A layer, number by number."""
    T, D = len(x), len(Wq) // H
    Counted.part = "projections"
    q, k, v = (times_transposed(x, W) for W in (Wq, Wk, Wv))
    out = [[] for _ in range(T)]
    for h in range(H):
        mine, shared = slice(h * D, (h + 1) * D), slice(h // (H // Hkv) * D, (h // (H // Hkv) + 1) * D)
        for i in range(T):
            seen = [j for j in range(T) if mask[i, j]]
            Counted.part = "scores"
            z = [dot(q[i][mine], k[j][shared]) for j in seen]
            Counted.part = "softmax"
            p = softmax(z, Counted(D**-0.5))
            Counted.part = "values"
            columns = zip(*(v[j][shared] for j in seen), strict=True)
            out[i] += [dot(p, column) for column in columns]
    Counted.part = "projections"
    return times_transposed(out, Wo)


@pytest.mark.claim("attention.flops")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("H", "Hkv"), [(1, 1), (2, 2), (2, 1)])
def test_every_operation_is_counted(view, H, Hkv):
    T, C, D = 5, 7, 3
    rng = np.random.default_rng(0)
    x, Wq, Wo = rng.normal(size=(T, C)), rng.normal(size=(H * D, C)), rng.normal(size=(C, H * D))
    Wk, Wv = rng.normal(size=(2, Hkv * D, C))
    Counted.done = Counter()
    mask = np.ones((T, T), bool) if view is None else view.dense(T, T)
    y = numbers(attention(*map(counted, (x, Wq, Wk, Wv, Wo)), H, Hkv, mask))
    flops = attention_flops(T, C, H, Hkv, D, mask=view)
    assert Counted.done == {part: getattr(flops, part) for part in ("projections", "scores", "softmax", "values")}
    assert flops.total == Counted.done.total()
    # and what was counted is attention
    q, k, v = ((x @ W.T).reshape(T, -1, D).swapaxes(0, 1) for W in (Wq, Wk, Wv))
    S = np.where(mask, q @ np.repeat(k, H // Hkv, axis=0).swapaxes(1, 2) / math.sqrt(D), -np.inf)
    P = np.exp(S) / np.exp(S).sum(axis=2, keepdims=True)
    Y = (P @ np.repeat(v, H // Hkv, axis=0)).swapaxes(0, 1).reshape(T, -1) @ Wo.T
    np.testing.assert_allclose(y, Y, rtol=1e-10)  # scores up to 50, sums of a few numbers


def test_the_network():
    x, W1, W2 = (counted(np.ones(shape)) for shape in ((3, 5), (7, 5), (5, 7)))
    Counted.part, Counted.done = "network", Counter()
    times_transposed(times_transposed(x, W1), W2)
    assert Counted.done["network"] == mlp_flops(3, 5, 7)
    assert mlp_flops(3, 5, 7, matrices=3) * 2 == mlp_flops(3, 5, 7) * 3


# --- the crossing


@pytest.mark.claim("attention.crossover")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("hidden", [0, 1])
@pytest.mark.parametrize(("C", "H", "Hkv"), [(1, 1, 1), (6, 2, 1), (6, 2, 2), (12, 6, 2), (12, 6, 1), (20, 4, 4)])
def test_the_least_length_by_trying_all(C, H, Hkv, hidden, causal):
    """The formulas of the claim in whole numbers, and the function, against counts at every length."""

    def square_is_more(T):
        f = attention_flops(T, C, H, Hkv, mask=Causal() if causal else None)
        return f.scores + f.values > f.projections + (mlp_flops(T, C, 4 * C) if hidden else 0)

    G = H // Hkv
    for T in range(1, 14 * C):
        bound = C * ((5 if hidden else 1) * G + 1)  # G times C (1 + 1/G), or C (5 + 1/G)
        assert square_is_more(T) == (2 * bound < (T + 1) * G if causal else bound < T * G)
    least = next(T for T in range(1, 20 * C) if square_is_more(T))
    assert crossover(C, H, Hkv, hidden=4 * C * hidden, causal=causal) == least


@pytest.mark.claim("attention.crossover")
def test_heads_that_do_not_fill_the_width_and_gated_networks():
    for D, hidden, matrices in ((2, 5, 3), (5, 0, 2), (3, 11, 2)):
        for causal in (False, True):
            least = next(
                T
                for T in range(1, 1000)
                if (f := attention_flops(T, 7, 4, 2, D, mask=Causal() if causal else None)).scores + f.values
                > f.projections + (mlp_flops(T, 7, hidden, matrices) if hidden else 0)
            )
            assert crossover(7, 4, 2, D, hidden=hidden, matrices=matrices, causal=causal) == least


class Products(np.ndarray):
    """An array that counts the flops of the products that it or anything made of it is a factor of."""

    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [x.view(np.ndarray) if isinstance(x, Products) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, Products) else x for x in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Products.flops += 2 * result.size * plain[0].shape[-1]
        if out is not None:
            return out[0]
        return result.view(Products) if isinstance(result, np.ndarray) else result


@pytest.mark.claim("attention.backward-flops")
@pytest.mark.parametrize(("kernel", "again"), [(scaled_dot, False), (tiled, True)], ids=["kept", "computed again"])
@pytest.mark.parametrize("view", [None, Causal()])
def test_backward_is_four_products_or_five(kernel, again, view, monkeypatch):
    """The kernels at work: their products are of what the function that stacks heads returns, which is patched."""
    for module in (_strips, kernel):
        monkeypatch.setattr(module, "stacked", lambda *x, **options: STACKED(*x, **options).view(Products))
    # strips of one query, so that nothing is computed but what the mask allows
    if kernel is scaled_dot:
        monkeypatch.setattr(kernel, "_rows", lambda *sizes: 1)
    else:
        monkeypatch.setattr(kernel, "ROWS", 1)
    attend = tiled.tiled_attention if again else scaled_dot.scaled_dot_product_attention
    H, T, D = 2, 7, 3
    q, k, v = (Tensor(x, requires_grad=True) for x in np.random.default_rng(1).normal(size=(3, 1, H, T, D)))
    f = attention_flops(T, H * D, H, mask=view)
    Products.flops = 0
    y = attend(q, k, v, mask=view)
    once = Products.flops
    y.backward(np.ones(y.shape))
    assert once == f.scores + f.values
    assert Products.flops - once == (2.5 if again else 2) * once
    assert all(type(x.grad) is np.ndarray for x in (q, k, v))


# --- memory and intensity


@pytest.mark.claim("attention.weights-memory")
@pytest.mark.parametrize(("H", "Hkv", "D"), [(1, 1, 3), (4, 2, 3), (6, 1, 5)])
def test_weights_outgrow_the_heads(H, Hkv, D):
    for T in range(1, 40):
        q, k = np.zeros((H, T, D), np.float32), np.zeros((Hkv, T, D), np.float32)
        P = q @ np.repeat(k, H // Hkv, axis=0).swapaxes(1, 2)
        m = attention_memory(T, H, Hkv, D)
        assert (m.heads, m.weights, m.row_sums) == (2 * q.nbytes + 2 * k.nbytes, P.nbytes, P[..., 0].nbytes)
        assert (m.weights > m.heads) == (2 * D * (H + Hkv) < T * H)  # T > 2 D (1 + 1 / G), times H


@pytest.mark.claim("attention.decode-intensity")
@pytest.mark.parametrize(("H", "Hkv"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_flops_for_each_byte_of_one_token(H, Hkv, batch):
    D, G = 5, H // Hkv
    last = 0.0
    for T in (1, 2, 7, 50, 1000):
        q, k, v = (np.zeros((batch, heads, n, D), np.float16) for heads, n in ((H, 1), (Hkv, T), (Hkv, T)))
        k, v = k[:, :, None], v[:, :, None]  # one for each of G queries
        P = q.reshape(batch, Hkv, G, 1, D) @ k.swapaxes(-1, -2)
        y = P @ v
        flops = 2 * P.size * D + 2 * y.size * T
        got = decode_intensity(T, H, n_kv_heads=Hkv, batch=batch).attention
        assert got == pytest.approx(flops / (q.nbytes + k.nbytes + v.nbytes + y.nbytes), rel=1e-15)
        assert got == pytest.approx(2 * G / 2 / (1 + G / T), rel=1e-15)
        assert last < got < 2 * G / 2
        last = got
    assert last == pytest.approx(G, rel=G / 1000)  # the bound is approached
    W, x = np.zeros((7, 11), np.float16), np.zeros((11, batch))
    assert decode_intensity(1, H, n_kv_heads=Hkv, batch=batch).projections == 2 * W.size * batch / W.nbytes
    assert (W @ x).shape == (7, batch)


def test_the_total_is_printed():
    text = str(attention_flops(2, 4, 2, 1))
    assert [line.split() for line in text.splitlines()] == [
        ["projections", "192"], ["scores", "32"], ["softmax", "40"], ["values", "32"], ["total", "296"],
    ]  # fmt: skip


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match=r"one for all texts and heads, got one that allows \[3 5\] pairs"):
        attention_flops(3, 4, 2, mask=Causal() & Padding(np.array([[True, False, False], [True, True, False]])))
    for call in (
        lambda: attention_flops(0, 4, 2),
        lambda: attention_flops(3, 4, 0),
        lambda: mlp_flops(3, 4, 0),
        lambda: crossover(4, 2, hidden=-1),
        lambda: attention_memory(3, 2, 2, 0),
        lambda: decode_intensity(3, 2, n_kv_heads=2, batch=0),
    ):
        with pytest.raises(ValueError, match=r"must be at least 1, got (0|-1); an empty layer or text has no cost"):
            call()
    with pytest.raises(ValueError, match="must divide the heads, got 2 and 3; each serves equally many"):
        attention_flops(3, 6, 3, 2)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4; give d_head"):
        crossover(4, 3)
