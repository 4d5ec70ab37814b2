"""Mirrors src/fp_attention/masks.py."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.masks import (
    EMPTY,
    FULL,
    PARTIAL,
    Both,
    Causal,
    Dense,
    Documents,
    Either,
    First,
    Itself,
    Mask,
    Padding,
    SlidingWindow,
    as_mask,
    tiles,
)
from fp_autograd.rules import softmax

RNG = np.random.default_rng(5)
T, B, H = 7, 3, 2
VALID = np.array([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool)
IDS = np.array([[0, 0, 0, 1, 1, 2, 2], [4, 4, 6, 6, 6, 6, 7], [1, 2, 3, 4, 5, 6, 7]])
MIXED = np.array([0, 5, 0, 5, 5, 2, 2])
ANY = RNG.random((T, T)) < 0.6
PER_HEAD = RNG.random((B, H, T, T)) < 0.8
PREFIXES = np.array([3, 0, 5])

RULES = {  # a mask, and what it means for text b, head h, query i, key j
    "causal": (Causal(), lambda b, h, i, j: j <= i),
    "window": (SlidingWindow(3), lambda b, h, i, j: i - 3 < j <= i),
    "itself": (Itself(), lambda b, h, i, j: i == j),
    "first": (First(2), lambda b, h, i, j: j < 2),
    "first of each": (First(PREFIXES), lambda b, h, i, j: j < PREFIXES[b]),
    "padding": (Padding(VALID), lambda b, h, i, j: VALID[b, j]),
    "documents": (Documents(IDS), lambda b, h, i, j: IDS[b, i] == IDS[b, j]),
    "documents, one row": (Documents(MIXED), lambda b, h, i, j: MIXED[i] == MIXED[j]),
    "dense": (Dense(ANY), lambda b, h, i, j: ANY[i, j]),
    "dense, heads": (Dense(PER_HEAD), lambda b, h, i, j: PER_HEAD[b, h, i, j]),
}
MASKS = {name: mask for name, (mask, _) in RULES.items()}
PAIRS = list(itertools.combinations(RULES, 2))
RECTANGLES = [(*rows, *columns) for rows in itertools.combinations(range(T + 1), 2) for columns in
              itertools.combinations(range(T + 1), 2)]  # fmt: skip


def everywhere(array):
    return np.broadcast_to(array, (B, H, T, T))


def by_definition(rule):
    places = itertools.product(range(B), range(H), range(T), range(T))
    return np.array([rule(*place) for place in places], bool).reshape(B, H, T, T)


def combined():
    for a, b in PAIRS:
        yield MASKS[a] & MASKS[b]
        yield MASKS[a] | MASKS[b]
    yield SlidingWindow(2) | (Causal() & First(1))
    yield (Causal() & Padding(VALID)) | Itself()


@pytest.mark.parametrize("name", RULES)
def test_what_each_mask_allows(name):
    mask, rule = RULES[name]
    wanted = by_definition(rule)
    np.testing.assert_array_equal(everywhere(mask.dense(T, T)), wanted)
    assert mask.dense(T, T).shape in {(T, T), (B, 1, T, T), (B, H, T, T)}
    i, j = np.array([1, 4, 6]), np.array([0, 3, 4, 5, 6])
    part = mask.allowed(i[:, None], j[None, :])
    assert part.dtype == bool and part.shape[-2:] == (3, 5)
    np.testing.assert_array_equal(np.broadcast_to(part, (B, H, 3, 5)), wanted[:, :, i[:, None], j])


def test_combined_masks_are_and_and_or():
    for a, b in PAIRS:
        A, B_ = MASKS[a].dense(T, T), MASKS[b].dense(T, T)
        np.testing.assert_array_equal((MASKS[a] & MASKS[b]).dense(T, T), A & B_)
        np.testing.assert_array_equal((MASKS[a] | MASKS[b]).dense(T, T), A | B_)
    for mask in (Causal() & ANY, ANY & Causal()):
        assert isinstance(mask, Both)
        np.testing.assert_array_equal(mask.dense(T, T), np.tril(ANY))
    for mask in (Causal() | ANY, ANY | Causal()):
        assert isinstance(mask, Either)
        np.testing.assert_array_equal(mask.dense(T, T), np.tri(T, dtype=bool) | ANY)


def test_the_last_query_stands_beside_the_last_key():
    np.testing.assert_array_equal(Causal().dense(2, 5), [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(Causal().dense(2, 5, start=1), [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(Causal().dense(3, 2), [[1, 0], [1, 1], [1, 1]])
    rows = RNG.random((2, 5)) < 0.5
    np.testing.assert_array_equal(Dense(rows).dense(2, 5), rows)
    np.testing.assert_array_equal((Dense(rows) & Causal()).dense(2, 5), rows & Causal().dense(2, 5))


def test_causal_is_true_only_if_no_later_key_is_seen():
    known = {"causal", "window", "itself"}
    later = ~np.tri(T, dtype=bool)
    masks = [*MASKS.items(), *((None, mask) for mask in combined())]
    for name, mask in masks:
        assert mask.causal <= (not (everywhere(mask.dense(T, T)) & later).any())
        assert name is None or mask.causal == (name in known)
    assert Dense(np.tri(T, dtype=bool)).causal and (Dense(ANY) & Causal()).causal and (Itself() | Causal()).causal
    assert not Dense(~np.tri(2, 3, k=0, dtype=bool)).causal and Dense(np.tri(2, 3, k=1, dtype=bool)).causal
    assert not (Causal() | First(1)).causal


@pytest.mark.claim("attention.tiles-sound")
def test_every_rectangle_is_classified_soundly_and_simple_masks_exactly():
    """Exhaustive over all 784 rectangles of seven positions; all at once agrees with one at a time."""
    edges = np.array(RECTANGLES).T
    exact = {name for name in RULES if name != "documents, one row"}
    for name, mask in [*MASKS.items(), *((None, mask) for mask in combined())]:
        allowed = everywhere(mask.dense(T, T))
        full = np.array([allowed[:, :, a:b, c:d].all() for a, b, c, d in RECTANGLES])
        empty = np.array([not allowed[:, :, a:b, c:d].any() for a, b, c, d in RECTANGLES])
        said_full, said_empty = mask.full(*edges), mask.empty(*edges)
        assert said_full.dtype == said_empty.dtype == bool
        assert (said_full <= full).all() and (said_empty <= empty).all()
        if name is not None:
            np.testing.assert_array_equal(said_full, full)  # also where documents are mixed
        if name in exact:
            np.testing.assert_array_equal(said_empty, empty)
        for n in range(0, len(RECTANGLES), 31):
            a, b, c, d = RECTANGLES[n]
            assert bool(mask.full(a, b, c, d)) == said_full[n] and bool(mask.empty(a, b, c, d)) == said_empty[n]
    assert not Mask().full(0, 1, 0, 1) and not Mask().empty(0, 1, 0, 1)


@pytest.mark.claim("attention.tiles-sound")
def test_the_rules_for_combined_masks_say_all_that_they_may():
    """A combined mask is full or empty as soon as the rule of the claim says so: yes is not lost."""
    edges = np.array(RECTANGLES).T
    for a, b in PAIRS:
        m, n = MASKS[a], MASKS[b]
        np.testing.assert_array_equal((m & n).full(*edges), m.full(*edges) & n.full(*edges))
        np.testing.assert_array_equal((m & n).empty(*edges), m.empty(*edges) | n.empty(*edges))
        np.testing.assert_array_equal((m | n).full(*edges), m.full(*edges) | n.full(*edges))
        np.testing.assert_array_equal((m | n).empty(*edges), m.empty(*edges) & n.empty(*edges))


@pytest.mark.claim("attention.tiles-sound")
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(0, 9), st.data())
@settings(max_examples=25)
def test_tiles_agree_with_the_pairs_in_them(Tq, Tk, rows, columns, gap, data):
    positions = np.cumsum(data.draw(st.lists(st.sampled_from([0, 1, 1, 1, gap]), min_size=Tk, max_size=Tk)))
    n = int(positions[-1]) + 1
    start = data.draw(st.integers(0, 6))
    ids = np.sort(np.array(data.draw(st.lists(st.integers(0, 3), min_size=n + 13, max_size=n + 13))))
    masks = [Causal(), SlidingWindow(2) | (Causal() & First(1)), Documents(ids) & Causal(), Padding(ids[None] > 0)]
    for mask in masks:
        for keys, given_keys in ((np.arange(Tk), None), (positions, positions)):
            found = tiles(mask, Tq, Tk, start, rows, columns, given_keys)
            assert found.dtype == np.int8 and found.shape == (-(-Tq // rows), -(-Tk // columns))
            allowed = mask.allowed(start + np.arange(Tq)[:, None], keys[None, :])
            for r, c in np.ndindex(found.shape):
                tile = allowed[..., r * rows : (r + 1) * rows, c * columns : (c + 1) * columns]
                assert {EMPTY: not tile.any(), FULL: tile.all(), PARTIAL: True}[found[r, c]]
                if given_keys is None and mask is not masks[2]:  # here exact
                    assert found[r, c] != PARTIAL or (tile.any() and not tile.all())


def test_tiles_of_a_long_text():
    """Their number, by hand, in memory for the tiles and not for the pairs; a second call finds them."""
    tracemalloc.start()
    found = tiles(Causal(), 16_384, 16_384, None, 64, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 256**2  # bytes: 32 a tile; the pairs would take 2**28
    assert np.bincount(found.ravel()).tolist() == [255 * 128, 256, 255 * 128]
    assert tiles(Causal(), 16_384, 16_384, 0, 64, 64) is found
    assert (tiles(None, 5, 5, None, 2, 2) == FULL).all()
    padded = Padding(VALID)
    assert tiles(padded, T, T, None, 2, 2) is not tiles(padded, T, T, None, 2, 2), "its arrays are not kept"
    long = Dense(np.tri(640, dtype=bool))
    np.testing.assert_array_equal(tiles(long, 640, 640, None, 64, 64), tiles(Causal(), 640, 640, None, 64, 64))


@pytest.mark.claim("attention.mask-is-conditioning")
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=8), st.data())
@settings(max_examples=25)
def test_a_mask_is_conditioning(scores, data):
    s = np.array(scores)
    A = np.array(data.draw(st.lists(st.booleans(), min_size=len(s), max_size=len(s)).filter(any)))
    masked = softmax(np.where(A, s, -np.inf))
    assert (masked[~A] == 0).all()
    # 1e-12: ten roundings in exponentials of at most 20 in size
    np.testing.assert_allclose(masked[A], softmax(s[A]), rtol=1e-12)
    p = softmax(s)
    np.testing.assert_allclose(masked, np.where(A, p, 0) / p[A].sum(), rtol=1e-12)
    a, b = np.exp(s[A]).sum(), np.exp(s[~A]).sum()
    for c in (0.5, 3.0, 30.0):
        q, w = softmax(np.where(A, s, s - c)), b / (a * np.exp(c) + b)
        np.testing.assert_allclose(q[A], a / (a + b * np.exp(-c)) * masked[A], rtol=1e-12)  # 1 - w would cancel
        np.testing.assert_allclose(q[~A].sum(), w, rtol=1e-11)
        assert w <= b / a * np.exp(-c)


@pytest.mark.claim("attention.empty-row")
def test_a_row_without_a_key():
    s = RNG.normal(size=5)
    for c in (1.0, 50.0, 1e4):
        # 1e-10: scores of 1e4 are rounded to 1e-12
        np.testing.assert_allclose(softmax(s - c), softmax(s), rtol=1e-10)
    with np.errstate(invalid="ignore"):
        nowhere = np.full(5, -np.inf)
        shifted = np.exp(nowhere - nowhere.max())
        assert np.isnan(shifted / shifted.sum()).all() and np.isnan(softmax(nowhere)).all()
    assert not (Causal() & Padding(VALID)).dense(T, T)[0, 0, 1].any()
    assert ((Causal() & Padding(VALID)) | Itself()).dense(T, T).any(-1).all()


C = 5
WEIGHTS = RNG.normal(size=(2, 5, C, C)) / 2


def attend(x, allowed, W, positions):
    """One attention layer whose scores know the positions; with a residual sum and a positionwise layer after it."""
    q, k, v, out = (x @ w for w in W[:4])
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(C) + np.cos(positions[:, None] - 2.0 * positions)
    P = softmax(np.where(allowed, scores, -np.inf))
    x = x + P @ v
    return x + np.tanh(x @ W[4]) + 0 * out


def stack(x, allowed, positions=None):
    positions = np.arange(len(x)) if positions is None else positions
    for W in WEIGHTS:
        x = attend(x, allowed, W, positions)
    return x


def closed(R, allowed):
    return all(allowed[i, j] <= (j in R) for i in R for j in range(len(allowed)))


def unchanged(R, allowed, rng):
    """Whether outputs at R stay when everything else is drawn anew, and when it is deleted."""
    R = sorted(R)
    x = rng.normal(size=(len(allowed), C))
    other = rng.normal(size=x.shape)
    other[R] = x[R]
    before, after = stack(x, allowed)[R], stack(other, allowed)[R]
    alone = stack(x[R], allowed[np.ix_(R, R)], np.array(R)) if allowed[np.ix_(R, R)].any(-1).all() else None
    same = np.allclose(before, after, rtol=0, atol=1e-12)  # outputs of size 10, sums of seven terms
    return same, same and alone is not None and np.allclose(before, alone, rtol=0, atol=1e-12)


@pytest.mark.claim("attention.closed-set")
@pytest.mark.parametrize("mask", [Causal(), SlidingWindow(3), Causal() | First(3), Documents(MIXED) & Causal(),
                                  Documents(MIXED), Dense(ANY) | Itself()], ids=repr)  # fmt: skip
def test_what_is_closed_depends_on_nothing_else(mask):
    """Exhaustive over the 127 sets of seven positions: two layers deep, exactly the closed ones are untouched."""
    allowed, rng = mask.dense(T, T), np.random.default_rng(3)
    for n in range(1, T + 1):
        for R in itertools.combinations(range(T), n):
            same, deleted = unchanged(R, allowed, rng)
            assert same == closed(R, allowed) and deleted == same


@pytest.mark.claim("attention.closed-set")
def test_what_may_be_looked_at_is_seen():
    """Y is linear in V, so that a difference is the slope."""
    allowed = (Dense(ANY) | Itself()).dense(T, T)
    P = softmax(np.where(allowed, RNG.normal(size=(T, T)), -np.inf))
    V = RNG.normal(size=(T, C))
    for j, d in np.ndindex(V.shape):
        more = V.copy()
        more[j, d] += 1
        slopes = P @ more - P @ V
        np.testing.assert_allclose(slopes[:, d], P[:, j], atol=1e-14)
        assert ((slopes[:, d] > 1e-9) == allowed[:, j]).all()


@pytest.mark.claim("attention.causal-independence")
@pytest.mark.parametrize("mask", [Causal(), SlidingWindow(2), SlidingWindow(2) | (Causal() & First(1))], ids=repr)
def test_nothing_comes_from_the_future(mask):
    x = RNG.normal(size=(T, C))
    y = stack(x, mask.dense(T, T))
    for t in range(T):
        other = np.concatenate((x[: t + 1], RNG.normal(size=(T - t - 1, C))))
        np.testing.assert_allclose(stack(other, mask.dense(T, T))[: t + 1], y[: t + 1], atol=1e-12)
        cut = stack(x[: t + 1], mask.dense(t + 1, t + 1))
        np.testing.assert_allclose(cut, y[: t + 1], atol=1e-12)
    shifted = np.tri(T, k=1, dtype=bool)  # a mask that is off by one lets the next token in
    other = np.concatenate((x[:3], RNG.normal(size=(T - 3, C))))
    assert np.abs(stack(other, shifted)[2] - stack(x, shifted)[2]).max() > 1e-3


@pytest.mark.claim("attention.causal-independence")
def test_a_single_layer_uses_one_query():
    """Exact: the row of scores of another query does not enter."""
    q, k, v = RNG.normal(size=(3, T, C))
    P = softmax(np.where(Causal().dense(T, T), q @ k.T, -np.inf))
    for t in range(T):
        other = RNG.normal(size=(T, C))
        other[t] = q[t]
        again = softmax(np.where(Causal().dense(T, T), other @ k.T, -np.inf))
        np.testing.assert_allclose(again[t] @ v, P[t] @ v, atol=1e-13)


@pytest.mark.claim("attention.prefix")
@pytest.mark.parametrize("n", range(1, T + 1))
def test_prefix(n):
    allowed, rng = (Causal() | First(n)).dense(T, T), np.random.default_rng(n)
    for i in range(T):
        assert np.flatnonzero(allowed[i]).tolist() == list(range(max(i, n - 1) + 1))
    for t in range(T):
        R = range(t + 1)
        assert closed(R, allowed) == (t >= n - 1)
        assert unchanged(R, allowed, rng)[0] == (t >= n - 1)
    of_each = (Causal() | First(np.array([n, T]))).dense(T, T)
    np.testing.assert_array_equal(of_each[0, 0], allowed)
    assert of_each[1].all()


@pytest.mark.claim("attention.padding-independence")
@pytest.mark.parametrize("other", [Causal(), Dense(np.ones((T, T), bool)), SlidingWindow(2)], ids=repr)
def test_real_tokens_do_not_see_padding(other):
    mask = (Padding(VALID) & other) | Itself()
    allowed = mask.dense(T, T)[:, 0]
    x = RNG.normal(size=(B, T, C))
    for b in range(B):
        R = np.flatnonzero(VALID[b])
        y = stack(x[b], allowed[b])[R]
        changed = np.where(VALID[b][:, None], x[b], 1e3)
        np.testing.assert_allclose(stack(changed, allowed[b])[R], y, atol=1e-12)
        alone = stack(x[b][R], (other | Itself()).allowed(R[:, None], R[None, :]), R)
        np.testing.assert_allclose(alone, y, atol=1e-12)


@pytest.mark.claim("attention.documents")
@pytest.mark.parametrize("other", [Causal(), Dense(np.ones((T, T), bool))], ids=repr)
def test_documents_do_not_see_each_other(other):
    x = RNG.normal(size=(T, C))
    y = stack(x, (Documents(MIXED) & other).dense(T, T))
    for document in np.unique(MIXED):
        R = np.flatnonzero(document == MIXED)
        np.testing.assert_allclose(stack(x[R], other.allowed(R[:, None], R[None, :]), R), y[R], atol=1e-12)


@pytest.mark.claim("attention.mask-after-leaks")
def test_the_slope_of_the_leak_exactly():
    """Symbols for scores, values, the query and the forbidden key; keys 0 and 1 are allowed, 2 and 3 are not."""
    s, v = sympy.symbols("s:4", real=True), sympy.symbols("v:4", real=True)
    q, k = sympy.symbols("q:2", real=True), sympy.symbols("k:2", real=True)
    Z = sum(sympy.exp(score) for score in s)
    p = [sympy.exp(score) / Z for score in s]
    late = p[0] * v[0] + p[1] * v[1]
    for f in (2, 3):
        assert sympy.simplify(sympy.diff(late, s[f]) + p[f] * late) == 0
        dot = (q[0] * k[0] + q[1] * k[1]) / sympy.sqrt(2)
        slope = sympy.diff(late.subs(s[f], dot), k[1])
        assert sympy.simplify(slope + (p[f] * q[1] * late).subs(s[f], dot) / sympy.sqrt(2)) == 0
    total = p[0] + p[1]
    assert sympy.simplify(1 - total - p[2] - p[3]) == 0  # less than one by what is positive
    early = sympy.exp(s[0]) / (sympy.exp(s[0]) + sympy.exp(s[1]))
    assert sympy.simplify(p[0] / total - early) == 0


@pytest.mark.claim("attention.mask-after-leaks")
def test_masked_late_the_future_is_seen_and_normalised_again_it_is_not():
    allowed = Causal().dense(T, T)
    q, k, v = RNG.normal(size=(3, T, C))
    later = k.copy()
    later[4:] += 1.0

    def late(keys):
        return np.where(allowed, softmax(q @ keys.T / np.sqrt(C)), 0)

    assert (late(k).sum(-1)[:-1] < 1).all() and late(k).sum(-1)[-1] == pytest.approx(1, rel=1e-14)
    assert np.abs(late(later)[:4] @ v - late(k)[:4] @ v).max() > 1e-3
    early = softmax(np.where(allowed, q @ k.T / np.sqrt(C), -np.inf))
    again = late(later)[:4] / late(later)[:4].sum(-1, keepdims=True)
    np.testing.assert_allclose(again, early[:4], rtol=1e-12)


def test_masks_are_values():
    assert SlidingWindow(3) == SlidingWindow(3) != SlidingWindow(4) and len({Causal(), Causal()}) == 1
    assert First(np.array([1, 2])) == First([1, 2]) and hash(Causal() & First(2)) == hash(Causal() & First(2))
    assert (Causal() & First(2)) != (Causal() | First(2))
    assert Dense(ANY) != Dense(ANY) and hash(Dense(ANY)) is not None
    for mask, name in ((Dense(ANY), "array"), (Padding(VALID), "valid"), (Documents(IDS), "ids")):
        array = getattr(mask, name)
        assert not array.flags.writeable and not np.shares_memory(array, {"array": ANY, "valid": VALID}.get(name, IDS))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(mask, name, array)


def test_as_mask():
    assert as_mask(None) is None
    mask = Causal()
    assert as_mask(mask) is mask
    assert isinstance(as_mask(ANY), Dense)


def test_masks_that_fit_pass():
    for mask in [*MASKS.values(), *combined()]:
        mask.check((B,), T, T, n_heads=H)
        mask.check(None, T, T)
    for shape in [(T, T), (1, T, T), (H, T, T), (B, 1, T, T), (1, 1, T, T), (1, H, T, T)]:
        Dense(np.ones(shape, bool)).check((B,), T, T, n_heads=H)
    Dense(ANY).check((B,), T, T, start=0)
    Padding(VALID[:1]).check((B,), 2, T)
    Documents(IDS).check((B,), 2, T)
    Documents(IDS).check((4, B), 5, 3, start=2)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: SlidingWindow(0), ValueError, "a window holds at least the query's own position, got width 0"),
        (lambda: SlidingWindow(2.5), TypeError, "the width of a window is an integer, got 2.5"),
        (lambda: First(-1), ValueError, "the number of first positions is 0 or more, got -1"),
        (lambda: First(1.0), TypeError, "the number of first positions is an integer"),
        (lambda: First(np.array([1.5])), TypeError, "the number of first positions is an integer"),
        (lambda: First(np.ones((2, 2), int)), ValueError, r"one for each text, got an array of the shape \(2, 2\)"),
        (lambda: Padding(VALID.astype(int)), TypeError, r"array, got int64: pass `Padding\(attention_mask != 0"),
        (lambda: Padding(VALID[0]), ValueError, r"shape \(B, Tk\), got the shape \(7,\); .* `valid\[None\]`"),
        (lambda: Documents(IDS * 1.0), TypeError, "Documents takes an integer array, .*, got float64"),
        (lambda: Documents([0, 1]), TypeError, "Documents takes an integer array, .*, got list"),
        (lambda: Documents(IDS[None]), ValueError, r"\(T,\) or \(B, T\), got \(1, 3, 7\)"),
        (lambda: Dense(ANY.astype(np.int8)), TypeError, "a mask takes a Boolean array, got int8: pass True where"),
        (lambda: Dense(ANY[0]), ValueError, r"shape \(..., Tq, Tk\), got \(7,\); for padding see `Padding`"),
        (lambda: as_mask(np.where(ANY, 0.0, -np.inf)), TypeError, "-inf that is to be .* `array == 0`, .* `bias`"),
        (lambda: as_mask("causal"), TypeError, "a mask is a Mask, a Boolean array or None, got str"),
        (lambda: Causal() & None, TypeError, "masks combine with masks and Boolean arrays, got None"),
        (lambda: Causal() | 1, TypeError, "a mask is a Mask, a Boolean array or None, got int"),
        (lambda: Dense(ANY).allowed(np.array([[7]]), np.array([[0]])), ValueError, "positions 0 to 6, got .* at 7"),
        (lambda: Dense(ANY[:2]).full(4, 6, 0, 1), ValueError, "positions 5 to 6, got queries at 4 to 4"),
    ],
)  # fmt: skip
def test_bad_masks(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("mask", "sizes", "sentence"),
    [
        (Padding(VALID), ((B,), 7, 8), r"says of 7 keys .* \(shape \(3, 7\)\), but there are 8; its shape is"),
        (Padding(VALID), ((4,), 7, 7), r"Padding holds a row for each of 3 texts, but the axes before .* are \(4,\)"),
        (Padding(VALID), ((), 7, 7), r"a row for each of 3 texts, but the axes before the heads are \(\)"),
        (First([1, 2]), ((B,), 7, 7), "First holds a row for each of 2 texts"),
        (Documents(IDS), ((B,), 7, 8), r"numbers 7 tokens \(shape \(3, 7\)\), but there are 8 positions"),
        (Documents(IDS), ((2,), 7, 7), "Documents holds a row for each of 3 texts"),
        (Dense(ANY), ((B,), 7, 8), r"7 queries and 8 keys, so a mask has the shape \(..., 7, 8\), got \(7, 7\)"),
        (Dense(ANY[:2]), ((B,), 7, 2), r"7 queries and 2 keys, .* got \(2, 7\); rows are queries"),
        (Dense(np.ones((B, T, T), bool)), ((B,), 7, 7), r"heads last, got \(3,\) of .* a text is `mask\[:, None"),
        (Dense(np.ones((4, 1, T, T), bool)), ((B,), 7, 7), r"of the scores, \(3, 2\), the heads last, got \(4, 1\)"),
        (Dense(PER_HEAD), ((), 7, 7), r"\(2\), the heads last, got \(3, 2\)"),
        (Causal() & Dense(ANY), ((B,), 7, 8), "7 queries and 8 keys"),
        (Causal() | Padding(VALID), ((B,), 7, 8), "says of 7 keys"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit(mask, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        mask.check(*sizes, n_heads=H)


def test_an_array_has_its_own_positions():
    with pytest.raises(ValueError, match=r"first row of a mask of the shape \(7, 7\) is the position 0, .* position 3"):
        Dense(ANY).dense(T, T, start=3)


def test_the_base_class_allows_nothing_by_itself():
    with pytest.raises(NotImplementedError):
        Mask().allowed(0, 0)
