"""What is said about a run: the claims of its beginning, and the measures that the story is told with."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_capstone.model import Model
from fp_capstone.story import (
    KINDS,
    divergences,
    even_share,
    first_gradient,
    first_loss,
    kinds_of_characters,
    known_phrases,
    lengths,
    look_back,
    look_inside,
    mean_distance,
    neighbours,
    part_of,
    position_means,
)
from fp_transformer.config import TransformerConfig


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def small(family: str = "llama", **sizes) -> Model:
    common = {"vocab_size": 11, "context_length": 17, "n_layers": 2, "n_heads": 3, "d_model": 24}
    config = TransformerConfig.llama(**(common | sizes)) if family == "llama" else TransformerConfig.gpt2(**common)
    return Model(config, np.random.default_rng(5), np.float64)


@pytest.mark.claim("capstone.first-loss")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=9), st.integers(0, 2**32 - 1))
def test_first_loss_is_log_v_plus_half_the_variance_but_for_luck_and_a_bounded_rest(z, seed):
    z, V = np.array(z), len(z)
    f = np.random.default_rng(seed).dirichlet(np.ones(V))
    d = z - z.mean()
    loss = np.log(np.exp(z).sum()) - f @ z
    rest = loss - (math.log(V) + np.mean(d**2) / 2 - f @ d)
    # 1e-12: rounding of sums of a few numbers of size one
    assert abs(rest) <= np.abs(d).max() ** 3 / 3 + 1e-12


@pytest.mark.claim("capstone.first-loss")
def test_the_rest_is_of_third_order_so_the_half_is_the_right_factor():
    z, f = np.array([2.0, -0.5, -0.4, -0.6, -0.5]), np.array([0.5, 0.1, 0.2, 0.15, 0.05])
    rests = []
    for scale in (1e-1, 1e-2):
        y = np.repeat(np.arange(5), (1000 * f).astype(int))
        terms = first_loss(np.repeat(scale * z[None], y.size, axis=0), y)
        rests.append(terms["loss"] - terms["log V"] - terms["half variance"] - terms["luck"])
    # a tenth of the scale leaves a thousandth of the rest; the fourth order shifts that by less than a third
    assert rests[0] / rests[1] == pytest.approx(1000, rel=0.3)


@pytest.mark.claim("capstone.first-loss")
def test_luck_has_mean_zero_over_models_and_the_terms_add_up():
    rng = np.random.default_rng(0)
    text = rng.choice(11, size=(7, 18), p=rng.dirichlet(np.ones(11)))
    lucks = []
    for seed in range(24):
        config = TransformerConfig.llama(
            vocab_size=11, context_length=17, n_layers=1, n_heads=1, d_model=16, d_ff=16, tied=False
        )
        z = Model(config, np.random.default_rng(seed)).forward(text[:, :-1]).reshape(-1, 11)
        terms = first_loss(z, text[:, 1:].reshape(-1))
        lucks.append(terms["luck"])
        largest = np.abs(z - z.mean(axis=1, keepdims=True)).max()
        rest = terms["loss"] - terms["log V"] - terms["half variance"] - terms["luck"]
        assert abs(rest) <= float(largest) ** 3 / 3 + 1e-6  # float32 logits
    error = np.std(lucks) / math.sqrt(len(lucks))
    assert abs(np.mean(lucks)) < 4 * error  # four standard errors, the seed is fixed


@pytest.mark.claim("capstone.context-free")
def test_the_gradient_of_a_model_without_context_is_belief_minus_frequency(numeric):
    y = np.array([0, 2, 2, 1, 2, 3, 0])
    b, f = np.array([0.3, -0.2, 0.5, 0.1]), np.bincount(y, minlength=4) / y.size

    def loss() -> float:
        return float(np.mean([np.log(np.exp(b).sum()) - b[i] for i in y]))

    # 1e-8: central differences, see `numeric`
    np.testing.assert_allclose(numeric(loss, b), softmax(b) - f, atol=1e-8)


@pytest.mark.claim("capstone.context-free")
@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.floats(0.05, 2.0), st.integers(0, 2**32 - 1))
def test_descent_without_context_ends_at_the_entropy_of_the_frequencies_within_the_bound(V, rate, seed):
    f = np.random.default_rng(seed).dirichlet(np.ones(V)) * 0.98 + 0.02 / V
    entropy = -float(f @ np.log(f))
    best = np.log(f) - np.log(f).mean()
    b = np.zeros(V)
    for T in range(1, 40):
        b -= rate * (softmax(b) - f)
        loss = float(np.log(np.exp(b).sum()) - f @ b)
        # 1e-12: rounding where the gap is zero
        assert -1e-12 <= loss - entropy <= best @ best / (2 * rate * T) + 1e-12
    np.testing.assert_allclose(softmax(best), f, rtol=1e-12)


@pytest.mark.claim("capstone.first-direction")
def test_the_first_gradient_is_what_is_common_minus_what_depends_on_the_context():
    rng = np.random.default_rng(2)
    V, C, N = 5, 3, 41
    h, y, p = rng.normal(size=(N, C)) + 0.7, rng.integers(V, size=N), rng.dirichlet(np.ones(V))
    direct = sum(np.outer(p - np.eye(V)[y[n]], h[n]) for n in range(N)) / N
    common, context = first_gradient(p, h, y)
    # 1e-13: sums of 41 products in another order
    np.testing.assert_allclose(common + context, direct, atol=1e-13)
    f = np.bincount(y, minlength=V) / N
    K = sum(np.outer(np.eye(V)[y[n]] - f, h[n] - h.mean(axis=0)) for n in range(N)) / N
    np.testing.assert_allclose(-context, K, atol=1e-13)


@pytest.mark.claim("capstone.first-direction")
def test_if_only_the_last_token_is_known_the_second_part_is_the_table_of_pairs():
    rng = np.random.default_rng(3)
    V, C, N = 5, 4, 300
    c, y, H = rng.integers(V, size=N), rng.integers(V, size=N), rng.normal(size=(V, C))
    _, context = first_gradient(np.full(V, 1 / V), H[c], y)
    counts = np.zeros((V, V))
    np.add.at(counts, (c, y), 1)
    w, f = counts.sum(axis=1) / N, counts.sum(axis=0) / N
    P = counts / counts.sum(axis=1, keepdims=True)
    K = sum(w[k] * np.outer(P[k] - f, H[k] - w @ H) for k in range(V))
    np.testing.assert_allclose(-context, K, atol=1e-13)  # sums of 300 products


@pytest.mark.claim("capstone.first-direction")
def test_a_model_with_a_zero_output_layer_has_exactly_that_gradient():
    model = small(tied=False)
    model.parameters()["lm_head.weight"][:] = 0  # all predictions are uniform
    ids = np.random.default_rng(4).integers(11, size=(3, 18))
    _, grads = model.loss_and_grads(ids[:, :-1], ids[:, 1:])
    _, h = look_inside(model, ids[:, :-1])
    common, context = first_gradient(np.full(11, 1 / 11), h.reshape(-1, 24), ids[:, 1:].reshape(-1))
    np.testing.assert_allclose(grads["lm_head.weight"], common + context, atol=1e-12)  # float64


@pytest.mark.claim("capstone.rare-contexts")
def test_a_context_learns_from_its_own_share_and_what_is_common_from_all(numeric):
    rng = np.random.default_rng(6)
    V, K, N = 4, 3, 50
    c, y = rng.choice(K, size=N, p=[0.7, 0.2, 0.1]), rng.integers(V, size=N)
    b, U = rng.normal(size=V), rng.normal(size=(K, V))

    def loss() -> float:
        z = b + U[c]
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), y]))

    w = np.bincount(c, minlength=K) / N
    P = np.array([np.bincount(y[c == k], minlength=V) / (c == k).sum() for k in range(K)])
    parts = w[:, None] * (softmax(b + U) - P)
    np.testing.assert_allclose(numeric(loss, U), parts, atol=1e-8)  # central differences, see `numeric`
    np.testing.assert_allclose(numeric(loss, b), parts.sum(axis=0), atol=1e-8)


@pytest.mark.claim("capstone.rare-contexts")
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30.0))
def test_a_rare_context_moves_no_farther_than_its_share_allows(seed, rate):
    rng = np.random.default_rng(seed)
    V, w = 3, rng.dirichlet(np.ones(4))
    P = np.eye(V)[rng.integers(V, size=4)]  # certain successors pull hardest
    b, U = rng.normal(size=V) * 5, np.zeros((4, V))
    for T in range(1, 12):
        parts = w[:, None] * (softmax(b + U) - P)
        U, b = U - rate * parts, b - rate * parts.sum(axis=0)
        # 1e-9 of the bound for rounding
        assert (np.linalg.norm(U, axis=1) <= math.sqrt(2) * rate * T * w * (1 + 1e-9)).all()


@pytest.mark.claim("capstone.token-alone")
def test_blocks_that_exchange_nothing_cannot_get_below_the_table_of_pairs():
    model, rng = small(tied=False), np.random.default_rng(9)
    for name, array in model.parameters().items():
        if "v_proj" in name:
            array[:] = 0  # whatever is looked at, nothing comes of it
    ids = rng.integers(11, size=(1, 18))
    counts = np.zeros((11, 11))
    np.add.at(counts, (ids[0, :-1], ids[0, 1:]), 1)
    rows = counts[counts.any(axis=1)]
    P = rows / rows.sum(axis=1, keepdims=True)
    floor = -float(np.sum(rows * np.log(np.where(P > 0, P, 1.0)))) / rows.sum()
    inputs, targets = ids[:, :-1], ids[:, 1:]
    z = model.forward(inputs)[0]
    alone = np.array([model.forward(token[None, None])[0, 0] for token in inputs[0]])
    np.testing.assert_allclose(z, alone, atol=1e-12)  # float64
    parameters = model.parameters()
    for _ in range(150):
        loss, grads = model.loss_and_grads(inputs, targets)
        assert loss >= floor - 1e-12
        for name in ("lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
            parameters[name] -= 1.0 * grads[name]
    assert loss < floor + 0.2  # the floor is reached, not only respected


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_seen_inside_is_what_the_model_computes(family):
    model = small(family)
    ids = np.random.default_rng(7).integers(11, size=(2, 13))  # more tokens than a head is wide: two rounds of values
    weights, h = look_inside(model, ids)
    p = model.parameters()
    output = p["model.embed_tokens.weight"] if family == "llama" else p["transformer.wte.weight"]
    np.testing.assert_allclose(h @ output.T, model.forward(ids), atol=1e-12)  # float64
    for P in weights:
        assert P.shape == (2, 3, 13, 13)
        np.testing.assert_allclose(P.sum(axis=-1), 1, atol=1e-12)
        assert not np.triu(P, 1).any()
    if family == "gpt2":
        return
    # the first layer, from the formula: rotated queries and keys of the normalised embedding
    x = p["model.embed_tokens.weight"][ids]
    n = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + model.config.norm_eps)
    q, k = ((n @ p[f"model.layers.0.self_attn.{m}_proj.weight"].T).reshape(2, 13, 3, 8) for m in "qk")
    theta = model.config.rope_base ** (-np.arange(0, 8, 2) / 8)
    turn = np.exp(1j * np.arange(13)[:, None] * theta)[:, None]
    q, k = ((a[..., :4] + 1j * a[..., 4:]) * turn for a in (q, k))
    scores = np.einsum("bihd,bjhd->bhij", q, k.conj()).real / math.sqrt(8)
    scores[:, :, ~np.tri(13, dtype=bool)] = -np.inf
    np.testing.assert_allclose(weights[0], softmax(scores), atol=1e-12)


def test_a_head_that_copies_is_found_by_its_distance_and_others_are_not():
    R, T = 7, 14
    induction = np.zeros((1, 1, T, T))
    for i in range(T):
        induction[0, 0, i, i - R + 1 if i >= R else 0] = 1
    assert look_back(induction, R - 1, R) == 1
    assert look_back(induction, 1)[0] == pytest.approx(1 / 13)  # of 13 queries the second one looks at the first token
    even = np.tril(np.ones((1, 1, T, T))) / np.arange(1, T + 1)[:, None]
    assert look_back(even, R - 1, R)[0] == pytest.approx(even_share(T, R - 1, R))
    assert mean_distance(even)[0] == pytest.approx(np.mean(np.arange(T) / 2))
    assert even_share(T, R - 1, R) == pytest.approx(np.mean([1 / (i + 1) for i in range(R, T)]))


def test_divergence_is_zero_from_itself_only_and_agrees_with_the_sum():
    rng = np.random.default_rng(8)
    q, z = rng.dirichlet(np.ones(5), size=9), rng.normal(size=(9, 5))
    p = softmax(z)
    found = divergences({2: q, 7: p}, z)
    assert found[7] == pytest.approx(0, abs=1e-15)
    assert found[2] == pytest.approx(float(np.mean(np.sum(q * np.log(q / p), axis=1))))


def test_positions_are_means_over_full_windows_only():
    losses = np.arange(11.0)
    assert position_means(losses, window=4, edges=[1, 2, 3, 5]) == [2.0, 3.0, 4.5]
    for edges in ([0, 2], [1, 1, 3], [1, 6]):
        with pytest.raises(ValueError, match="edges must rise from 1 or more to at most 5"):
            position_means(losses, window=4, edges=edges)
    with pytest.raises(ValueError, match="fill a window of 12"):
        position_means(losses, window=12, edges=[1, 2])


def test_kinds_of_characters():
    text = 'A (b1) "é" 2\ncab'
    kinds = kinds_of_characters(text, text.replace("é", "") * 9)
    first, inside, space, line, digit, other, rare = KINDS
    assert kinds == [
        space, other, first, digit, other, space, other, rare, other, space, digit, line, first, inside, inside
    ]  # fmt: skip


def test_known_phrases_counts_whole_words_in_their_order():
    text = "to be or not to be"
    assert known_phrases("x be to or not y", text, longest=3) == [1.0, 1 / 3, 0.0]
    assert math.isnan(known_phrases("x be y", text, longest=2)[1])


def test_neighbours_leaves_out_the_row_itself_and_what_all_have_in_common():
    common = np.array([100.0, 0.0, 0.0])
    table = common + np.array([[0, 1, 0], [0, 0.9, 0.1], [0, -1, 0], [0, 0, 1], [50, 50, 50]])
    found = neighbours(table, 0, [0, 1, 2, 3], n=3)
    assert [row for row, _ in found] == [1, 3, 2]
    assert found[0][1] > 0.9 and found[2][1] < 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_parameter_has_a_part_and_the_parts_have_its_length(family):
    arrays = small(family).parameters()
    parts = [f"block {n}, {what}" for n in (1, 2) for what in ("attention", "feed-forward")]
    assert list(lengths(arrays)) == ["embedding", *parts, "output"]
    total = sum(float((array**2).sum()) for array in arrays.values())
    assert sum(length**2 for length in lengths(arrays).values()) == pytest.approx(total)
    assert part_of("transformer.h.1.mlp.c_fc.weight") == "block 2, feed-forward"


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(("distance", "start"), [(3, 0), (-1, 0), (0, 3)])
def test_look_back_needs_a_query(distance, start):
    with pytest.raises(ValueError, match="of 3 tokens at least one"):
        look_back(np.eye(3)[None, None], distance, start)
