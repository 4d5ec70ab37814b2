"""Mirrors src/fp_capstone/ladder.py: five rungs, one step; and the bounds."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from fp_capstone import ladder, parallel
from fp_capstone.ladder import RUNGS, Arrays, Cache, Loops, einsum_product, ladder_gradients, rung_step
from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_transformer.config import TransformerConfig

CONFIG = TransformerConfig.gpt2(vocab_size=11, context_length=7, n_layers=2, n_heads=3, d_model=6, d_ff=13)
LOWER = {"loops": Loops(), "vectorised": Arrays(einsum_product), "BLAS": Arrays(np.matmul)}


@pytest.fixture(autouse=True)
def every_share_is_worthwhile(monkeypatch):
    monkeypatch.setattr(parallel, "WORTHWHILE", 1, raising=False)


def make(dtype=np.float64, config=CONFIG):
    """A model whose parameters are far from the values that would hide a mistake."""
    model = Model(config, np.random.default_rng(0), dtype)
    for name, a in model.parameters().items():
        a += 0.3 * np.random.default_rng(len(name)).normal(size=a.shape).astype(dtype)
    return model


def tokens(shape=(3, 5)):
    rng = np.random.default_rng(2)
    return rng.integers(0, 11, shape), rng.integers(0, 11, shape)


@pytest.mark.parametrize("rung", LOWER)
def test_a_lower_rung_has_the_engines_loss_and_gradients(rung):
    model, (ids, targets) = make(), tokens()
    expected_loss, expected = model.loss_and_grads(ids, targets)
    loss, grads = ladder_gradients(LOWER[rung], model, ids, targets)
    assert loss == pytest.approx(expected_loss, rel=1e-12)  # another order of some hundred additions
    assert list(grads) == list(expected)
    for name, g in grads.items():
        # 1e-10: rounding of float64 in sums of some hundred terms of order one is below 1e-13
        np.testing.assert_allclose(np.array(g), expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_threads_have_the_loops_loss_and_gradients():
    model, (ids, targets) = make(), tokens()
    expected_loss, expected = ladder_gradients(Loops(), model, ids, targets)
    loss, grads = ThreadedGradients(model, 2)(ids, targets)
    assert loss == pytest.approx(expected_loss, rel=1e-12)  # another order of some hundred additions
    for name, g in grads.items():
        np.testing.assert_allclose(g, np.array(expected[name]), rtol=1e-10, atol=1e-12, err_msg=name)  # as above


def test_the_loops_gradient_is_the_slope_of_the_loops_loss():
    model, (ids, targets) = make(), tokens((2, 3))
    _, grads = ladder_gradients(Loops(), model, ids, targets)
    rng = np.random.default_rng(4)
    for name, a in model.parameters().items():
        direction, kept = rng.normal(size=a.shape), a.copy()
        losses = []
        for h in (1e-5, -1e-5):
            a[:] = kept + h * direction
            losses.append(ladder_gradients(Loops(), model, ids, targets)[0])
        a[:] = kept
        slope = (losses[0] - losses[1]) / 2e-5
        # truncation h^2 |f'''| / 6 of some 1e-9 and rounding eps |f| / h of some 1e-11
        assert np.vdot(np.array(grads[name]), direction) == pytest.approx(slope, rel=1e-6, abs=1e-8), name


def test_steps_on_all_rungs_lead_to_the_same_parameters():
    ids, targets = tokens()
    ends = {}
    for rung in RUNGS:
        model = make()
        step = rung_step(rung, model, lr=0.01, weight_decay=0.5)
        losses = [step(ids, targets) for _ in range(3)]
        ends[rung] = losses, {name: a.copy() for name, a in model.parameters().items()}
    losses, parameters = ends.pop("loops")
    assert losses[0] > losses[1] > losses[2]
    for rung, (others, found) in ends.items():
        assert others == pytest.approx(losses, rel=1e-9), rung  # see below
        for name, a in found.items():
            # Adam divides by the gradient's size: 1e-13 of a gradient of 1e-4 moves a step of 0.01 by 1e-11
            np.testing.assert_allclose(a, parameters[name], atol=1e-10, err_msg=f"{rung} {name}")


def test_arrays_stay_in_float32():
    model, (ids, targets) = make(np.float32), tokens()
    loss, grads = ladder_gradients(Arrays(einsum_product), model, ids, targets)
    assert {g.dtype for g in grads.values()} == {np.dtype("float32")}
    assert loss == pytest.approx(
        ladder_gradients(Loops(), model, ids, targets)[0], rel=1e-5
    )  # 24 bits, some hundred sums


def test_a_step_on_a_lower_rung_leaves_data_types_and_updates_in_place():
    model, (ids, targets) = make(np.float32), tokens()
    arrays = model.parameters()
    before = {name: a.copy() for name, a in arrays.items()}
    rung_step("loops", model)(ids, targets)
    assert all(a.dtype == np.float32 and not np.array_equal(a, before[name]) for name, a in arrays.items())


def test_bad_input(own_errors):
    ids, targets = tokens()
    llama = Model(
        TransformerConfig.llama(vocab_size=11, context_length=7, n_layers=1, n_heads=1, d_model=4),
        np.random.default_rng(0),
    )
    with pytest.raises(ValueError, match=r"GPT-2 with a tied output.*got llama.*Use Model"):
        ladder_gradients(Loops(), llama, ids, targets)
    with pytest.raises(ValueError, match=r"rung must be one of loops, .*; got 'stairs'"):
        rung_step("stairs", make())
    with pytest.raises(ValueError, match=r"must divide 6, 4 and 2.*got 4"):
        ladder.blocked_product(np.ones((6, 4)), np.ones((4, 2)), 4)
    with pytest.raises(ValueError, match=r"at least one core; got 1.5 and 2"):
        ladder.amdahl(1.5, 2)


def test_flops_of_a_step_are_counted_by_the_loops_multiplications():
    """An ndarray that counts: every product of the array rung, with half of attention's square taken off."""
    counted = [0]

    def product(A, B):
        counted[0] += (
            2
            * math.prod(np.broadcast_shapes(A.shape[:-2], B.shape[:-2]))
            * A.shape[-2]
            * B.size
            // (math.prod(B.shape[:-2]))
        )
        return A @ B

    (B, T), (ids, targets) = (3, 5), tokens()
    ladder_gradients(Arrays(product), make(), ids, targets)
    attention = 6 * 2 * CONFIG.n_layers * B * T * CONFIG.d_model  # six products of T rows, for each column
    assert counted[0] - attention * T + attention * (T + 1) // 2 == ladder.step_flops(CONFIG, B, T)


@pytest.mark.claim("capstone.call-overhead")
def test_a_call_reaches_half_of_its_rate_where_overhead_is_half_of_its_time():
    for c, r in itertools.product((Fraction(1, 10**6), Fraction(3, 7)), (Fraction(10**9), Fraction(5))):
        for n, calls in itertools.product((1, 2, 30, 1000), (1, 7)):
            seconds = calls * (c + n / r)
            assert calls * n / seconds == r * n / (n + c * r)
            # exact but for two roundings
            assert ladder.call_efficiency(n, float(c), float(r)) == pytest.approx(float(calls * n / seconds / r))
        assert (c * r) / (c + c * r / r) == r / 2


@pytest.mark.claim("capstone.roofline")
def test_no_schedule_beats_the_roof_and_one_after_the_other_reaches_half():
    rng = np.random.default_rng(0)
    for _ in range(200):
        R, beta = (Fraction(int(x)) for x in rng.integers(1, 100, 2))
        flops, moved = rng.integers(1, 100, (2, 4)).tolist()
        F, Q = sum(flops), sum(moved)
        roof = min(R, Fraction(F, Q) * beta)
        # some phases do both at once, the others one after the other
        together = rng.integers(0, 2, 4).astype(bool).tolist()
        time = sum(
            max(f / R, q / beta) if both else f / R + q / beta
            for f, q, both in zip(flops, moved, together, strict=True)
        )
        assert F / time <= roof
        assert F / max(F / R, Q / beta) == roof
        apart = F / (F / R + Q / beta)
        assert apart == 1 / (1 / R + 1 / (Fraction(F, Q) * beta))
        assert roof / 2 <= apart < roof
        assert ladder.attainable(F / Q, float(R), float(beta)) == pytest.approx(float(roof))  # rounding


@pytest.mark.claim("capstone.fusion")
def test_a_fused_chain_moves_its_kth_part():
    for n, Z, k in itertools.product(range(2, 13), range(1, 9), range(1, 5)):
        if n <= Z:
            continue
        cache = Cache(Z)
        for _ in range(k):
            cache.use(range(n), write=True)
        assert cache.flush() == 2 * k * n
        for piece in range(1, Z + 2):
            cache = Cache(Z)
            for start in range(0, n, piece):
                for _ in range(k):
                    cache.use(range(start, min(start + piece, n)), write=True)
            if piece <= Z:
                assert cache.flush() == 2 * n
            elif k > 1 and n >= piece:
                assert cache.flush() > 2 * n  # a piece that does not fit


def accesses(m, k, n, order):
    for i, j, p in order:
        yield ("A", i, p), False
        yield ("B", p, j), False
        yield ("C", i, j), True


def traffic(m, k, n, Z, order):
    """What a cache of the numbers used last moves; a sum begins in the cache, at zero."""
    cache, begun = Cache(Z), set()
    for name, write in accesses(m, k, n, order):
        cache.use([name], write=write, load=not write or name in begun)
        if write:
            begun.add(name)
    return cache.flush()


@pytest.mark.claim("capstone.product-intensity")
def test_a_products_intensity_is_attained_by_a_cache_that_holds_it_and_by_no_other():
    rng = np.random.default_rng(1)
    for m, k, n in itertools.product(range(1, 5), repeat=3):
        bound = Fraction(2, 4) / (Fraction(1, m) + Fraction(1, k) + Fraction(1, n))
        d = min(m, k, n)
        assert Fraction(2 * d, 12) <= bound < Fraction(2 * d, 4)
        assert ladder.product_intensity(m, k, n) == pytest.approx(float(bound))  # rounding
        order = list(itertools.product(range(m), range(n), range(k)))
        rng.shuffle(order)
        assert Fraction(2 * m * k * n, 4 * traffic(m, k, n, 100, order)) == bound
        assert Fraction(2 * m * k * n, 4 * traffic(m, k, n, 4, order)) <= bound


@pytest.mark.claim("capstone.blocked-product")
def test_blocks_move_what_is_promised_and_the_intensity_grows_with_their_side():
    rng = np.random.default_rng(2)
    for m, k, n in ((4, 4, 4), (6, 12, 18), (12, 6, 24), (5, 10, 15)):
        A, B = rng.normal(size=(m, k)), rng.normal(size=(k, n))
        for b in (b for b in range(1, 7) if not (m % b or k % b or n % b)):
            C, moved = ladder.blocked_product(A, B, b)
            np.testing.assert_allclose(C, A @ B, atol=1e-13)  # sums of a few numbers in another order
            assert moved == 2 * m * k * n // b + m * n
            intensity = Fraction(2 * m * k * n, 4 * moved)
            assert intensity == Fraction(b, 4) / (1 + Fraction(b, 2 * k)) >= Fraction(2 * b, 12)
            assert moved >= ladder.least_traffic(m, k, n, 3 * b * b)


@pytest.mark.claim("capstone.blocked-product")
def test_a_cache_that_knows_nothing_of_blocks_moves_less_in_their_order():
    m = k = n = 12
    plain = itertools.product(range(m), range(n), range(k))
    blocks = (
        (i + x, j + y, p + z)
        for i, j, p in itertools.product(range(0, m, 3), repeat=3)
        for x, y, z in itertools.product(range(3), repeat=3)
    )
    Z = 5 * 3**2  # room for the next pair of blocks while the last is still there
    assert traffic(m, k, n, Z, blocks) == 2 * m * k * n // 3 + m * n
    assert traffic(m, k, n, Z, plain) > m * k * n  # each entry of B again for each row of A


@pytest.mark.claim("capstone.loomis-whitney")
def test_triples_are_no_more_than_their_shadows_allow():
    corners = list(itertools.product(range(2), repeat=3))
    rng = np.random.default_rng(3)
    sets = [[c for c, bit in zip(corners, bits, strict=True) if bit] for bits in itertools.product((0, 1), repeat=8)]
    sets += [np.argwhere(rng.random((4, 3, 5)) < p).tolist() for p in np.linspace(0, 1, 40)]
    sets += [list(itertools.product(range(2), range(3), range(5)))]
    tight = 0
    for triples in sets:
        shadows = [{(t[x], t[y]) for t in triples} for x, y in ((0, 1), (1, 2), (0, 2))]
        limit = math.prod(map(len, shadows))
        assert len(triples) ** 2 <= limit
        tight += len(triples) ** 2 == limit > 0
    assert tight > 10  # boxes reach it


@pytest.mark.claim("capstone.product-traffic")
def test_no_order_of_the_multiplications_moves_less_than_the_bound():
    rng = np.random.default_rng(4)
    for m, k, n in ((6, 6, 6), (8, 4, 8), (12, 12, 12)):
        order = list(itertools.product(range(m), range(n), range(k)))
        for Z in (3, 4, 9, 16, 27):
            bound = ladder.least_traffic(m, k, n, Z)
            assert bound == max(0, m * k * n / math.sqrt(Z) - Z)
            for _ in range(3):
                rng.shuffle(order)
                assert traffic(m, k, n, Z, order) >= bound
            assert traffic(m, k, n, Z, sorted(order)) >= bound
    # a block of sums stays, a column and a row pass by: b^2 + 2 b numbers at a time, and near the bound
    m, b = 240, 12
    best, Z = 2 * m**3 / b + m * m, b * b + 2 * b
    assert 1 < best / ladder.least_traffic(m, m, m, Z) < 2.5


@pytest.mark.claim("capstone.amdahl")
def test_waiting_cores_limit_the_speed_up():
    for alone, shared, n in itertools.product(range(5), range(0, 13, 12), (1, 2, 3, 4, 6, 12)):
        if alone + shared == 0:
            continue
        # unit jobs: one at a time, then n at a time
        finish, jobs = alone, shared
        while jobs:
            finish, jobs = finish + 1, jobs - n
        f = Fraction(shared, alone + shared)
        assert ladder.amdahl(float(f), n) == pytest.approx(float(Fraction(alone + shared, finish)))  # rounding
        if 0 < f < 1:
            assert ladder.amdahl(float(f), n) < 1 / (1 - f)
    for n in (2, 5):
        speeds = [ladder.amdahl(f, n) for f in np.linspace(0, 1, 11).tolist()]
        assert speeds == sorted(set(speeds))
        assert (speeds[0], speeds[-1]) == (1, n)


@pytest.mark.claim("capstone.batch-threads")
def test_threads_over_the_batch_win_exactly_if_passes_are_longer_than_what_is_added():
    tenths = [Fraction(i, 10) for i in range(11)]
    won = set()
    for f, u, v, n in itertools.product(tenths, tenths, (Fraction(0), *tenths[1:4]), (2, 3, 8)):
        if f + u > 1:
            continue
        passes = 1 - f - u
        within = f / n + passes + u
        over = (f + passes) / n + u + v
        assert (over < within) == (passes > v * Fraction(n, n - 1))
        won.add(over < within)
    assert won == {True, False}
