"""Mirrors src/fp_attention/kv_cache.py."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.kv_cache import KVCache, cache_bytes, generation_work
from fp_attention.masks import Causal, First, SlidingWindow
from fp_attention.multihead import MultiHeadAttention
from fp_attention.rotary import RoPE
from fp_attention.scaled_dot import scaled_dot_product_attention
from fp_autograd import Tensor, no_grad

B, HKV, D, DV = 2, 3, 5, 7


def numbered(t, salt=0):
    """Keys and values that tell every text, head, entry and position apart; exact in float32."""
    t = np.asarray(t).reshape(1, 1, -1, 1)
    text, head = np.arange(B).reshape(-1, 1, 1, 1), np.arange(HKV).reshape(-1, 1, 1)
    k = salt * 2**12 + ((t * B + text) * HKV + head) * 16 + np.arange(D)
    v = salt * 2**12 + ((t * B + text) * HKV + head) * 16 + 8 + np.arange(DV)
    return k.astype(np.float32), v.astype(np.float32)


def cache_of(capacity=64, **kwargs):
    return KVCache(B, HKV, D, capacity, d_value=DV, **kwargs)


class Oracle:
    """All tokens in a list, and the mask asked about each of them."""

    def __init__(self, window=None, sinks=0):
        self.mask = Causal() if window is None else SlidingWindow(window) | (Causal() & First(sinks))
        self.k, self.v = [], []

    def append(self, k, v):
        n, new = len(self.k), k.shape[2]
        self.k += list(np.moveaxis(k, 2, 0))
        self.v += list(np.moveaxis(v, 2, 0))
        t, j = np.arange(n, n + new), np.arange(n + new)
        seen = np.flatnonzero(self.mask.allowed(t[:, None], j[None, :]).any(0))
        return np.stack([self.k[j] for j in seen], 2), np.stack([self.v[j] for j in seen], 2), seen

    def truncate(self, n):
        del self.k[n:], self.v[n:]


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)  # copied, so to the last bit


# --- the store against a list


@pytest.mark.claim("attention.cache-window")
@settings(max_examples=25)
@given(st.data())
def test_append_gives_what_a_new_query_may_look_at(data):
    window = data.draw(st.none() | st.integers(1, 6))
    sinks = 0 if window is None else data.draw(st.integers(0, 4))
    capacity = 40 if window is None else data.draw(st.integers(1, 25))
    cache, oracle = cache_of(capacity, window=window, sinks=sinks), Oracle(window, sinks)
    while cache.length < 30:
        chunk = data.draw(st.integers(1, 9))
        k, v = numbered(np.arange(cache.length, cache.length + chunk))
        got = cache.append(k, v)
        assert_same(got, oracle.append(k, v))
        assert got[2].tolist() == sorted(set(got[2].tolist()))
        assert cache.length == len(oracle.k)


@pytest.mark.claim("attention.cache-truncate")
@settings(max_examples=25)
@given(st.data())
def test_after_truncating_it_is_as_if_the_rest_had_not_been_seen(data):
    """A list that was cut is the oracle, and so is a new cache that is given the first tokens only."""
    window = data.draw(st.none() | st.integers(1, 6))
    sinks = 0 if window is None else data.draw(st.integers(0, 4))
    settings = {"window": window, "sinks": sinks}
    cache, oracle = cache_of(200, **settings), Oracle(**settings)
    accepted = 0
    for salt in range(15):
        chunk = data.draw(st.integers(1, 9))
        before = cache.length
        k, v = numbered(np.arange(before, before + chunk), salt)  # other numbers each time
        assert_same(cache.append(k, v), oracle.append(k, v))
        n = data.draw(st.integers(0, cache.length))
        needed = [] if window is None else range(max(sinks, n - window + 1), n)
        kept = range(max(sinks, before - window + 1) if window else 0, before + chunk)
        if n < before and any(j not in kept for j in needed):
            with pytest.raises(ValueError, match=r"has been dropped; clear the cache and give it the first \d+ tokens"):
                cache.truncate(n)
            assert cache.length == before + chunk
            continue
        accepted += 1
        cache.truncate(n)
        oracle.truncate(n)
        fresh = cache_of(200, **settings)
        if n:
            fresh.append(np.stack(oracle.k, 2), np.stack(oracle.v, 2))
        new = numbered(np.arange(n, n + 2), salt + 20)
        assert_same(cache.append(*new), fresh.append(*new))
        cache.truncate(n)
        assert_same(cache.append(*new), oracle.append(*new))
    assert accepted


def test_what_the_last_append_brought_can_always_be_taken_back():
    for window, sinks, chunk, back in itertools.product((1, 2, 3, 5), (0, 1, 3), (1, 2, 7), (1, 2, 7)):
        if back > chunk:
            continue
        cache, oracle = cache_of(window=window, sinks=sinks), Oracle(window, sinks)
        for salt in range(9):
            kv = numbered(np.arange(cache.length, cache.length + chunk), salt)
            assert_same(cache.append(*kv), oracle.append(*kv))
            cache.truncate(cache.length - back)
            oracle.truncate(len(oracle.k) - back)
            kv = numbered(np.arange(cache.length, cache.length + 3), salt + 10)
            assert_same(cache.append(*kv), oracle.append(*kv))


@pytest.mark.claim("attention.cache-moves")
@pytest.mark.parametrize("sinks", [0, 3])
@pytest.mark.parametrize("window", [1, 2, 5, 11])
@pytest.mark.parametrize("capacity", [1, 8, 1000])
def test_few_rows_are_moved(window, sinks, capacity):
    """Every chunk size, and random ones; what is kept is counted at each move."""

    class Counting(KVCache):
        moved = moves = 0

        def _make_room(self, T):
            kept = self._end() - self._begin - min(self.sinks, self.length)
            assert kept <= window - 1 or self.window is None
            self.moved += kept
            self.moves += 1
            super()._make_room(T)

    rng = np.random.default_rng(3)
    for sizes in [*([c] * 60 for c in range(1, 3 * window + 2)), rng.integers(1, 3 * window, 200).tolist()]:
        cache = Counting(1, 1, 1, capacity, window=window, sinks=sinks)
        for i, c in enumerate(sizes):
            x = np.zeros((1, 1, c, 1), np.float32)
            cache.append(x, x)
            assert cache.moved < 2 * cache.length
            slots = max(sinks + window - 1 + max(sizes[: i + 1]), sinks + 2 * window)
            assert cache.nbytes <= 2 * 4 * slots
        assert cache.moves > 1  # or nothing was measured
    cache = Counting(1, 1, 1, capacity, window=window, sinks=sinks)
    for c in (1, 100 * window, 1):  # a long prompt takes its room, and gives it back
        cache.append(*np.zeros((2, 1, 1, c, 1), np.float32))
    assert cache.nbytes <= 2 * 4 * (sinks + 2 * window)


@pytest.mark.parametrize("settings", [{}, {"window": 4, "sinks": 2}, {"window": 3}])
def test_zero_tokens_change_nothing(settings):
    cache = cache_of(**settings)
    empty = cache.append(*numbered([]))
    assert [x.shape for x in empty] == [(B, HKV, 0, D), (B, HKV, 0, DV), (0,)]
    for t in range(11):
        given_back = [x.copy() for x in cache.append(*numbered([t]))]
        assert_same(cache.append(*numbered([])), given_back)
        assert_same(cache.append(*numbered([])), given_back)
    cache.truncate(10)  # nothing was dropped meanwhile


@pytest.mark.parametrize("settings", [{}, {"window": 4, "sinks": 2}])
@pytest.mark.parametrize("rows", [[1, 0], [1, 1], [0, 1], [0], [1, 0, 1, 1, 0]])
def test_rows_are_reordered(settings, rows):
    cache, tokens = cache_of(**settings), np.arange(13)
    cache.append(*numbered(tokens[:5]))
    for t in tokens[5:12]:
        cache.append(*numbered([t]))
    cache.reorder(rows)
    k, v = (x[rows] for x in numbered([12]))
    keys, values, positions = cache.append(k, v)
    all_keys, all_values = numbered(positions)
    assert_same((keys, values), (all_keys[rows], all_values[rows]))
    assert positions.tolist() == ([*range(13)] if not settings else [0, 1, 9, 10, 11, 12])


@pytest.mark.parametrize("settings", [{}, {"window": 4, "sinks": 2}])
def test_a_cleared_cache_is_as_new(settings):
    cache, new = cache_of(**settings), cache_of(**settings)
    for t in range(20):
        cache.append(*numbered([t], salt=1))
    before = cache.nbytes
    cache.clear()
    assert cache.length == 0
    assert cache.nbytes == before
    for t in range(20):
        assert_same(cache.append(*numbered([t])), new.append(*numbered([t])))


def test_what_comes_back_is_a_view_of_the_memory():
    cache = cache_of()
    keys = cache.append(*numbered([0, 1]))[0]
    again, values, positions = cache.append(*numbered([2]))
    assert np.shares_memory(keys, again)  # nothing was copied
    for x in (again, values, positions):
        with pytest.raises(ValueError, match="read-only"):
            x[...] = 0
    assert again.dtype == values.dtype == np.float32
    assert cache.nbytes == 4 * B * HKV * 64 * (D + DV)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_are_kept_in_the_type_asked_for(dtype):
    cache = cache_of(dtype=dtype)
    k, v = numbered([0, 1])
    keys, values, _ = cache.append(k.astype(np.float64) / 3, v.astype(np.float64) / 3)
    assert keys.dtype == values.dtype == dtype
    np.testing.assert_array_equal(keys, (k.astype(np.float64) / 3).astype(dtype))


def test_views_of_other_strides_are_taken():
    k, v = numbered(np.arange(4))
    turned = np.ascontiguousarray(k.swapaxes(1, 2)).swapaxes(1, 2)  # as heads are split
    assert_same(cache_of().append(turned, v)[:2], (k, v))


# --- networks with a cache


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def counted(scores):
    """No softmax at all: integers stay integers, and every sum is exact."""
    return np.where(np.isinf(scores), 0, scores)


class Network:
    """
    Attention layers with two key heads of two query heads each, and a bend between them.

    `mixing` turns scores into weights. `positions` enter at the input and into the keys.
    """

    def __init__(self, layers, mixing, mask, rng, integers):
        draw = (lambda *s: rng.integers(-1, 2, s).astype(float)) if integers else (lambda *s: rng.normal(size=s))
        self.mixing, self.mask = mixing, mask
        self.bend = (lambda h: h % 101) if integers else np.tanh  # rests stay small, so every sum is exact
        self.weights = [[draw(3, 4, 2), draw(3, 2, 2), draw(3, 2, 2), draw(4, 2, 3)] for _ in range(layers)]
        self.embedding = draw(5, 3)

    def caches(self, capacity, **kwargs):
        return [KVCache(1, 2, 2, capacity, dtype=np.float64, **kwargs) for _ in self.weights]

    def rows(self, tokens, caches=None, counts=None):
        """The rows behind every layer; `counts` adds up rows and allowed pairs of one layer."""
        start = 0 if caches is None else caches[0].length
        t = np.arange(start, start + len(tokens))
        h = self.embedding[tokens] + (t % 3)[:, None]
        found = []
        for layer, (wq, wk, wv, wo) in enumerate(self.weights):
            q = np.einsum("tc,chd->htd", h, wq)
            k = np.einsum("tc,chd->htd", h, wk) + t[:, None] % 2
            v = np.einsum("tc,chd->htd", h, wv)
            j = t
            if caches is not None:
                k, v, j = (x[0] if x.ndim > 1 else x for x in caches[layer].append(k[None], v[None]))
            k, v = np.repeat(k, 2, 0), np.repeat(v, 2, 0)
            allowed = self.mask.allowed(t[:, None], j[None, :])
            p = self.mixing(np.where(allowed, q @ k.swapaxes(1, 2), -np.inf))
            h = self.bend(h + np.einsum("htd,hdc->tc", p @ v, wo))
            found.append(h)
            if counts is not None and layer == 0:
                counts += (len(t), allowed.sum())
        return np.stack(found)


MASKS = {"causal": (Causal(), {}), "window": (SlidingWindow(3) | (Causal() & First(2)), {"window": 3, "sinks": 2})}


def compositions(n):
    """Every way to cut `n` tokens into chunks."""
    for cuts in itertools.product((False, True), repeat=n - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        yield [slice(a, b) for a, b in itertools.pairwise(edges)]


@pytest.mark.claim("attention.cache-exact")
@pytest.mark.claim("attention.cache-window")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("exact", [True, False], ids=["integers", "softmax"])
def test_cached_generation_is_generation_from_scratch(kind, exact):
    """All 64 ways to cut seven tokens, rows of all layers; and the rows of every shorter text, recomputed."""
    mask, settings = MASKS[kind]
    rng = np.random.default_rng(5)
    network = Network(3, counted if exact else softmax, mask, rng, exact)
    tokens = np.array([3, 0, 2, 2, 4, 1, 3])
    whole = network.rows(tokens)
    assert len(np.unique(whole[-1], axis=0)) > 4  # rows differ, or nothing is compared
    for chunks in compositions(7):
        for kept in [{}, settings]:  # all of it, or what the mask lets anybody see
            caches = network.caches(7, **kept)
            got = np.concatenate([network.rows(tokens[chunk], caches) for chunk in chunks], axis=1)
            # float64 sums of up to seven terms in another order, over three layers
            np.testing.assert_allclose(got, whole, rtol=0 if exact else 1e-11, atol=0 if exact else 1e-11)
    for n in range(1, 7):
        np.testing.assert_allclose(network.rows(tokens[:n]), whole[:, :n], rtol=0 if exact else 1e-11, atol=1e-12)


@pytest.mark.claim("attention.cache-truncate")
@pytest.mark.parametrize("kind", MASKS)
def test_tokens_taken_back_leave_no_trace(kind):
    """Guess three tokens, take two back, go on with others: exactly the text without them."""
    mask, settings = MASKS[kind]
    network = Network(2, counted, mask, np.random.default_rng(6), integers=True)
    caches = network.caches(12, **settings)
    text, rows = np.array([1, 4, 0, 2, 3, 3]), []
    for t, token in enumerate(text):
        guessed = network.rows(np.array([token, (token + 1) % 5, (token + 3) % 5]), caches)
        rows.append(guessed[:, :1])
        for cache in caches:
            cache.truncate(t + 1)
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), network.rows(text))


@pytest.mark.claim("attention.cache-exact")
def test_a_mask_that_looks_ahead_is_not_exact():
    """The hypothesis is needed: under a prefix mask it depends on the chunks."""
    network = Network(2, softmax, Causal() | First(3), np.random.default_rng(5), integers=False)
    tokens = np.array([3, 0, 2, 1])
    whole = network.rows(tokens)

    def cached(*chunks):
        caches = network.caches(4)
        return np.concatenate([network.rows(tokens[c], caches) for c in chunks], axis=1)

    assert np.abs(cached(slice(0, 2), slice(2, 4)) - whole).max() > 0.01
    # rounding alone
    np.testing.assert_allclose(cached(slice(0, 3), slice(3, 4)), whole, rtol=1e-11, atol=1e-12)


# --- work and memory


@pytest.mark.claim("attention.cache-work")
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 12])
def test_work_is_counted(n):
    network = Network(1, softmax, Causal(), np.random.default_rng(0), integers=False)
    tokens = np.zeros(n, int)
    scratch, cached, chunked = np.zeros((3, 2), int)
    caches, others = network.caches(max(n, 1)), network.caches(max(n, 1))
    for t in range(1, n + 1):
        network.rows(tokens[:t], counts=scratch)
        network.rows(tokens[t - 1 : t], caches, cached)
    for i in range(0, n, 5):
        network.rows(tokens[i : i + 5], others, chunked)
    assert generation_work(n, cached=False) == tuple(scratch)
    assert generation_work(n, cached=True) == tuple(cached) == tuple(chunked)


@pytest.mark.claim("attention.cache-work")
def test_work_adds_up_for_every_length():
    sympy = pytest.importorskip("sympy")
    n, t, a, d = sympy.symbols("n t a d", positive=True, integer=True)
    scratch = sympy.summation(a * t + 2 * d * t * (t + 1) / 2, (t, 1, n))
    assert sympy.expand(scratch - a * n * (n + 1) / 2 - d * n * (n + 1) * (n + 2) / 3) == 0
    cached = sympy.summation(a + 2 * d * t, (t, 1, n))
    assert sympy.expand(cached - a * n - d * n * (n + 1)) == 0


@pytest.mark.claim("attention.cache-memory")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_memory_is_what_the_arrays_take(dtype):
    layers, T = 3, 11
    for heads in (1, 2, 5):
        caches = [KVCache(B, heads, D, T, dtype=dtype) for _ in range(layers)]
        item = np.dtype(dtype).itemsize
        assert sum(c.nbytes for c in caches) == cache_bytes(layers, heads, D, T, batch=B, itemsize=item)
        keys = np.zeros((B, heads, T, D), dtype)
        given_back = [c.append(keys, keys) for c in caches]
        assert sum(k.nbytes + v.nbytes for k, v, _ in given_back) == sum(c.nbytes for c in caches)
    assert cache_bytes(7, 12, 5, 11) == 4 * cache_bytes(7, 3, 5, 11)  # G = 4
    assert cache_bytes(7, 3, 5, 0) == 0


# --- a shift of positions


def powers_of_e(scores):
    """Weights up to a common factor, as exponents above the first."""
    return [s - scores[0] for s in scores]


@pytest.mark.claim("attention.cache-shift")
def test_positions_added_to_the_input_do_not_survive_a_shift():
    """The example of the proof, in integers: query and key are the position."""
    full, short = KVCache(1, 1, 1, 8, window=3), KVCache(1, 1, 1, 8)

    def weights(cache, position):
        x = np.full((1, 1, 1, 1), position, np.float32)
        return powers_of_e((position * cache.append(x, x)[0].ravel()).tolist())

    for position in range(3):
        weights(full, position)
    for position in range(2):
        weights(short, position)
    right = weights(short, 2)
    assert right == [0, 2, 4]
    assert weights(full, 2) == [0, 2, 2]  # renumbered
    full.truncate(3)
    assert weights(full, 3) == [0, 3, 6]  # counted on


def layer_of(dim, positions, mask, seed=0):
    """One key head for two query heads, in float64."""
    rng = np.random.default_rng(seed)
    return MultiHeadAttention(dim, 2, n_kv_heads=1, positions=positions, mask=mask, rng=rng, dtype=np.float64)


def after_dropping(layer, cache, dropped, x, position):
    """The output at one more token `x`, when the oldest tokens of a cache of all have been dropped."""
    n, D = cache.length, layer.d_head

    def heads(projection, at):
        rows = projection(x).reshape((1, 1, -1, D)).swapaxes(1, 2)
        return rows if projection is layer.v_proj else layer.positions.on_heads(rows, np.array([at]))

    k, v = heads(layer.k_proj, position), heads(layer.v_proj, position)
    keys, values, _ = cache.append(k, v)
    left = slice(dropped, None)
    kept = np.arange(n + 1)[left]
    y = scaled_dot_product_attention(
        heads(layer.q_proj, position), keys[:, :, left], values[:, :, left], mask=Causal(), start=n, key_positions=kept
    )
    return layer.o_proj(y.swapaxes(1, 2).reshape((1, 1, 2 * D)))


@pytest.mark.claim("attention.cache-shift")
def test_rotary_scores_survive_a_shift_in_one_layer():
    x = np.random.default_rng(1).normal(size=(1, 9, 8))
    causal, window = (layer_of(8, RoPE(4), mask) for mask in (Causal(), SlidingWindow(4)))
    with no_grad():
        for n, m in itertools.combinations(range(1, 9), 2):  # m tokens seen, the oldest n of them dropped
            shortened = causal(x[:, n : m + 1]).data[:, -1:]
            for position in (m, m - n):
                cache = causal.new_cache(1, 9)
                causal(x[:, :m], cache=cache)
                got = after_dropping(causal, cache, n, x[:, m : m + 1], position).data
                # turns by other angles round differently; renumbered, it is another result
                assert np.allclose(got, shortened, rtol=1e-12, atol=1e-13) == (position == m)
        # a cache that drops by itself, and every shortened text that holds the windows
        cache = window.new_cache(1, 9, window=4)
        counted_on = [window(x[:, t : t + 1], cache=cache).data for t in range(9)]
        for first in range(1, 6):
            for t, y in enumerate(np.moveaxis(window(x[:, first:]).data, 1, 0)[3:], first + 3):
                np.testing.assert_allclose(y[None], counted_on[t], rtol=1e-12, atol=1e-13)
    # values are not turned; if they were, the shift would show
    rope, at = RoPE(8), counted_on[5][0]
    assert np.abs(rope.on_heads(at, np.array([5])) - rope.on_heads(at, np.array([4]))).max() > 0.01


@pytest.mark.claim("attention.cache-shift")
@pytest.mark.parametrize("positions", [None, RoPE(2)], ids=["no positions", "RoPE"])
def test_two_layers_remember_what_was_dropped(positions):
    """The example of the proof in two layers: scores are zero, so results are means, and these numbers are exact."""
    x = np.array([[[6.0, 0], [0, 0], [0, 0]]])

    def network(mask):
        layers = []
        for _ in range(2):
            layer = MultiHeadAttention(
                2, 1, positions=positions, mask=mask, rng=np.random.default_rng(0), dtype=np.float64
            )
            for name, weight in (("q_proj", 0), ("k_proj", 0), ("v_proj", 1), ("o_proj", 1)):
                getattr(layer, name).weight.data[...] = weight * np.eye(2)
            layers.append(layer)
        return layers

    def rows(layers, x, caches=(None, None)):
        for layer, cache in zip(layers, caches, strict=True):
            x = layer(x, cache=cache)
        return x.data[0, -1].tolist()

    with no_grad():
        layers = network(Causal())
        assert rows(layers, x[:, 1:]) == [0, 0]  # the shortened text
        full = [layer.new_cache(1, 3) for layer in layers]
        rows(layers, x[:, :2], full)
        left = [layer.new_cache(1, 3) for layer in layers]
        for old, new in zip(full, left, strict=True):  # renumbered
            keys, values, _ = old.append(*np.zeros((2, 1, 1, 0, 2)))
            new.append(keys[:, :, 1:], values[:, :, 1:])
        assert rows(layers, x[:, 2:], left) == [1.5, 0]
        # counted on, by caches that drop by themselves
        layers = network(SlidingWindow(2))
        windows = [layer.new_cache(1, 3, window=2) for layer in layers]
        assert [rows(layers, x[:, t : t + 1], windows) for t in range(3)] == [[6, 0], [4.5, 0], [1.5, 0]]


@pytest.mark.claim("attention.cache-shift")
def test_two_layers_with_any_weights_do_not_give_the_shortened_text():
    x = np.random.default_rng(2).normal(size=(1, 9, 8))
    first, second = (layer_of(8, RoPE(4), Causal(), seed) for seed in (3, 4))
    with no_grad():
        caches = [layer.new_cache(1, 9) for layer in (first, second)]
        second(first(x[:, :8], cache=caches[0]), cache=caches[1])
        h = after_dropping(first, caches[0], 3, x[:, 8:], 8)
        np.testing.assert_allclose(h.data, first(x[:, 3:]).data[:, -1:], rtol=1e-12, atol=1e-13)  # one layer does
        y = after_dropping(second, caches[1], 3, h, 8)
        assert np.abs(y.data - second(first(x[:, 3:])).data[:, -1:]).max() > 1e-3


# --- bad input


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("name", ["batch", "n_kv_heads", "d_head", "capacity", "d_value", "window", "sinks"])
def test_sizes_are_positive_integers(name):
    sizes = {"batch": 1, "n_kv_heads": 1, "d_head": 2, "capacity": 3, "d_value": 2, "window": 2, "sinks": 0}
    wrong = -1 if name == "sinks" else 0
    with pytest.raises(ValueError, match=rf"{name} is (positive|not negative), got {wrong}"):
        KVCache(**{**sizes, name: wrong})
    for wrong in (2.0, True, "2"):
        with pytest.raises(TypeError, match=rf"{name} is an integer, got {wrong!r}"):
            KVCache(**{**sizes, name: wrong})


def test_sinks_need_a_window():
    with pytest.raises(ValueError, match="without a window every token is kept, got sinks=2; give a window too"):
        cache_of(sinks=2)


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64])
def test_a_type_that_is_not_of_floats(dtype):
    with pytest.raises(TypeError, match="kept as floating-point numbers, got dtype="):
        cache_of(dtype=dtype)


@pytest.mark.parametrize("settings", [{}, {"window": 2}])
@pytest.mark.parametrize(
    ("k", "v"),
    [
        ((B, HKV, 1, D + 1), (B, HKV, 1, DV)),
        ((B, HKV, 1, D), (B, HKV, 1, D)),
        ((B, HKV + 1, 1, D), (B, HKV + 1, 1, DV)),
        ((B + 1, HKV, 1, D), (B + 1, HKV, 1, DV)),
        ((1, HKV, 1, D), (1, HKV, 1, DV)),  # would broadcast
        ((1, HKV, 1, D), (B, HKV, 1, DV)),  # would broadcast too
        ((B, HKV, 1, D), (B, HKV, 2, DV)),
        ((B, HKV, 2, D), (B, HKV, 1, DV)),  # would broadcast
        ((HKV, 1, D), (HKV, 1, DV)),
        ((B, HKV, D), (B, HKV, DV)),
        ((), ()),
    ],
)
def test_keys_of_another_model(k, v, settings):
    cache = cache_of(**settings)
    cache.append(*numbered([0]))
    with pytest.raises(ValueError, match=r"takes keys of shape \(2, 3, T, 5\) and values of shape \(2, 3, T, 7\).*Got"):
        cache.append(np.zeros(k, np.float32), np.zeros(v, np.float32))
    assert cache.length == 1


def test_keys_that_are_no_floats():
    k, v = numbered([0])
    with pytest.raises(TypeError, match="are floating-point numbers, got int64 and float32"):
        cache_of().append(k.astype(np.int64), v)
    with pytest.raises(TypeError, match="are floating-point numbers, got float32 and bool"):
        cache_of().append(k, v > 0)
    with pytest.raises(TypeError, match=r"keys are an array, got list; np\.asarray makes one"):
        cache_of().append(k.tolist(), v)


def test_a_full_cache():
    cache = cache_of(3)
    cache.append(*numbered([0, 1]))
    with pytest.raises(ValueError, match="room for 3 tokens and holds 2, got 2 more; make one of a larger"):
        cache.append(*numbered([2, 3]))
    assert cache.length == 2
    assert_same(cache.append(*numbered([2])), (*numbered([0, 1, 2]), [0, 1, 2]))
    assert_same(cache.append(*numbered([])), (*numbered([0, 1, 2]), [0, 1, 2]))


def test_a_gradient_would_be_lost():
    k, v = numbered([0])
    for pair, name in (((Tensor(k, requires_grad=True), v), "keys"), ((k, Tensor(v, requires_grad=True)), "values")):
        with pytest.raises(ValueError, match=f"got {name} that require a gradient, which would end here; generate"):
            cache_of().append(*pair)
    inner = Tensor(Tensor(k, requires_grad=True), level=1)
    with pytest.raises(ValueError, match="got keys that require a gradient"):
        cache_of().append(inner, v)
    assert_same(cache_of().append(Tensor(k), Tensor(v))[:2], (k, v))
    weight = Tensor(np.float32(2), requires_grad=True)
    with no_grad():
        assert_same(cache_of().append(k * weight, v * weight)[:2], (2 * k, 2 * v))


def test_truncating_to_what_is_not_there():
    cache = cache_of()
    cache.append(*numbered([0, 1]))
    with pytest.raises(ValueError, match="to truncate to 3 tokens takes as many, got a cache of 2"):
        cache.truncate(3)
    with pytest.raises(ValueError, match="length is not negative, got -1"):
        cache.truncate(-1)
    cache.truncate(2)
    assert cache.length == 2


@pytest.mark.parametrize(
    ("rows", "error", "sentence"),
    [
        ([0, 2], ValueError, r"rows lie from 0 to 1, as the cache holds 2 texts, got \[0, 2\]"),
        ([-1, 0], ValueError, "rows lie from 0 to 1"),
        ([], ValueError, r"one row or more, got an array of shape \(0,\)"),
        ([[0, 1]], ValueError, r"one row or more, got an array of shape \(1, 2\)"),
        ([True, False], TypeError, r"rows are integers, got bool; np\.flatnonzero"),
        ([0.0, 1.0], TypeError, "rows are integers, got float64"),
    ],
)
def test_rows_that_are_not_there(rows, error, sentence):
    with pytest.raises(error, match=sentence):
        cache_of().reorder(rows)


def test_a_cache_belongs_to_one_layer():
    class Layer:
        pass

    one, other = Layer(), Layer()
    cache = cache_of(owner=one)
    cache.check(one)
    with pytest.raises(ValueError, match="keys of one layer of one model, and this one was made for another Layer"):
        cache.check(other)
    cache_of().check(other)


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_sizes_of_the_formulas():
    with pytest.raises(ValueError, match="layers is positive, got 0"):
        cache_bytes(0, 1, 1, 1)
    with pytest.raises(ValueError, match="length is not negative, got -1"):
        cache_bytes(1, 1, 1, -1)
    with pytest.raises(ValueError, match="n is not negative, got -1"):
        generation_work(-1, cached=True)
    with pytest.raises(TypeError, match=r"n is an integer, got 2\.0"):
        generation_work(2.0, cached=True)


def test_positions_are_read_only_too_and_of_an_integer_type():
    positions = cache_of(window=2).append(*numbered(np.arange(5)))[2]
    assert positions.dtype.kind == "i"
    assert math.prod(positions.shape) == 5
