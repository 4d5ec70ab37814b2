"""Mirrors src/fp_attention/experiment.py."""

import itertools
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from fp_attention.experiment import (
    AttentionReader,
    Kind,
    Settings,
    Trial,
    accuracy,
    answer_scores,
    build,
    constructed_heads,
    constructed_recall,
    recall_texts,
    run,
)
from fp_attention.relative import RelativeBias
from fp_neural.language_model import MLPLanguageModel
from fp_neural.recurrent_model import RecurrentLanguageModel
from fp_neural.training import History

TINY = Settings(dim=32, pairs=3, n_keys=5, n_values=7, steps=100)
KINDS = get_args(Kind)


def all_texts(n, n_keys, n_values):
    """Every text of n pairs and one question, and its answer."""
    found = []
    for keys in itertools.permutations(range(1, n_keys + 1), n):
        for values in itertools.permutations(range(n_keys + 1, n_keys + n_values + 1), n):
            pairs = [token for pair in zip(keys, values, strict=True) for token in pair]
            found += [([0, *pairs, keys[i]], [values[i]]) for i in range(n)]
    ids, answers = zip(*found, strict=True)
    return np.array(ids), np.array(answers)


def wild(settings, seed, scale=3.0):
    """An attention model with large weights, in double precision."""
    rng = np.random.default_rng(seed)
    model = build(settings, rng).astype(np.float64)
    for parameter in model.parameters():
        parameter.data[...] = scale * rng.normal(size=parameter.shape) / math.sqrt(parameter.shape[-1])
    return model


# --- texts


def test_a_text_names_asks_and_does_not_tell():
    n, Q, B = 4, 3, 50
    ids, answers = recall_texts(n, B, np.random.default_rng(0), n_keys=6, n_values=5, n_questions=Q)
    assert ids.shape == (B, 1 + 2 * n + Q) and answers.shape == (B, Q)
    for text, right in zip(ids.tolist(), answers.tolist(), strict=True):
        keys, values, questions = text[1:9:2], text[2:9:2], text[9:]
        assert text[0] == 0
        assert all(1 <= key <= 6 for key in keys) and all(7 <= value <= 11 for value in values)
        assert len(set(keys)) == len(set(values)) == n and len(set(questions)) == Q
        assert right == [dict(zip(keys, values, strict=True))[question] for question in questions]


def test_every_text_is_as_likely_as_every_other():
    ids, _ = recall_texts(2, 24_000, np.random.default_rng(1), n_keys=2, n_values=3, n_questions=1)
    counts = np.unique(ids, axis=0, return_counts=True)[1]
    assert len(counts) == len(all_texts(2, 2, 3)[0]) == 24
    # the sum of the squared standard scores has the mean 23 and the deviation sqrt(46): five of them above
    assert ((counts - 1000) ** 2 / 1000).sum() < 23 + 5 * math.sqrt(46)


def test_the_last_questions_are_all_keys_by_default():
    ids, _ = recall_texts(3, 20, np.random.default_rng(2), n_keys=4, n_values=4)
    np.testing.assert_array_equal(np.sort(ids[:, 7:]), np.sort(ids[:, 1:7:2]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_pairs": 5}, "4 keys and 6 values make 1 to 4 pairs, got 5"),
        ({"n_pairs": 0}, "make 1 to 4 pairs, got 0"),
        ({"n_pairs": 3, "n_questions": 4}, "3 pairs allow 1 to 3, got 4"),
        ({"n_pairs": 3, "n_questions": 0}, "3 pairs allow 1 to 3, got 0"),
        ({"n_pairs": 3, "batch": 0}, "one text or more, got 0"),
    ],
)
def test_texts_that_cannot_be_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        recall_texts(**{"batch": 2, "n_keys": 4, "n_values": 6, "rng": np.random.default_rng(0)} | arguments)


# --- what two layers can do


def scaled(V, beta, gamma, s):
    """(E2) with scales of our own."""
    model = constructed_recall(V, 2, 0.1)
    first, second = model.layers
    first.positions.weight.data[1] = beta
    second.q_proj.weight.data[...] *= gamma * math.sqrt(V) / second.q_proj.weight.data.max()
    model.output.weight.data[...] *= s / model.output.weight.data.max()
    return model


@pytest.mark.claim("attention.recall-two-layers")
@pytest.mark.parametrize(("beta", "gamma", "s"), [(3.0, 8.0, 4.0), (5.0, 2.5, 1.0), (2.0, 20.0, 10.0)])
def test_what_followed_follows_again_in_every_text_over_three_tokens(beta, gamma, s):
    V, n_held = 3, 0
    model = scaled(V, beta, gamma, s)
    for T in range(2, 7):
        ids = np.array(list(itertools.product(range(V), repeat=T)))
        z, (first, second) = model(ids).data, [P[:, 0] for P in model.maps(ids)]
        delta = (T - 1) / (math.exp(beta) + T - 1)
        epsilon = (T - 1) * math.exp(-gamma * (1 - 2 * delta))
        j = np.arange(1, T)
        # 1e-12: double precision
        before = np.tile(math.exp(beta) / (math.exp(beta) + j), (len(ids), 1))
        np.testing.assert_allclose(first[:, j, j - 1], before, rtol=1e-12)
        for text, scores, weights in zip(ids.tolist(), z, second, strict=True):
            for i in range(1, T):
                M = [j for j in range(1, i + 1) if text[j - 1] == text[i]]
                if text[0] == text[i] or not M or len({text[j] for j in M}) > 1:
                    continue
                n_held += 1
                assert weights[i, M].sum() >= 1 - epsilon - 1e-12
                if epsilon < 0.5:
                    y = text[M[0]]
                    assert scores[i].argmax() == y
                    loss = math.log(np.exp(scores[i]).sum()) - scores[i, y]
                    assert loss <= (V - 1) * math.exp(-s * (1 - 2 * epsilon)) + 1e-12
    assert n_held > 200


@pytest.mark.claim("attention.recall-two-layers")
def test_the_constructed_model_is_right_on_every_small_text():
    for n, K, W in ((2, 3, 3), (3, 3, 3)):
        ids, answers = all_texts(n, K, W)
        model = constructed_recall(1 + K + W, ids.shape[1], 0.4)
        assert accuracy(model, ids, answers) == 1.0
        # and with all questions in a row
        ids, answers = recall_texts(n, 100, np.random.default_rng(0), n_keys=K, n_values=W)
        assert accuracy(constructed_recall(1 + K + W, ids.shape[1], 0.4), ids, answers) == 1.0


@pytest.mark.claim("attention.recall-two-layers")
def test_the_scales_suffice_for_the_error_and_not_for_much_longer_texts():
    rng = np.random.default_rng(3)
    ids, answers = recall_texts(40, 5, rng, n_keys=50, n_values=50)
    for error in (0.3, 0.01):
        model = constructed_recall(101, ids.shape[1], error, sharpness=1.0)
        share = np.take_along_axis(answer_scores(model, ids, 40).data, answers[..., None], axis=-1)
        assert (share >= 1 - error).all()
        short = constructed_recall(101, 4, error, sharpness=1.0)
        assert np.take_along_axis(answer_scores(short, ids, 40).data, answers[..., None], axis=-1).max() < 1 - error


@pytest.mark.parametrize(("longest", "error"), [(1, 0.1), (5, 0.0), (5, 0.5), (5, float("nan"))])
def test_a_length_or_an_error_out_of_range_is_refused(longest, error):
    with pytest.raises(ValueError, match=f"got longest={longest} and error={error}"):
        constructed_recall(5, longest, error)


# --- what one layer cannot


@pytest.mark.claim("attention.recall-order-free")
@pytest.mark.parametrize("heads", [1, 4])
def test_without_positions_one_layer_gives_all_orders_of_the_values_one_answer(heads):
    n = 4
    orders = np.array(list(itertools.permutations(range(5, 9))))
    ids = np.zeros((len(orders), 2 * n + 2), int)
    ids[:, 1:-1:2], ids[:, 2:-1:2], ids[:, -1] = (2, 4, 1, 3), orders, 1
    answers = orders[:, 2:3]
    rights = set()
    for seed in range(20):
        model = wild(Settings(layers=1, heads=heads, dim=16, positions="none", n_keys=4, n_values=4), seed)
        z = answer_scores(model, ids, 1).data
        np.testing.assert_allclose(z, np.broadcast_to(z[:1], z.shape), rtol=0, atol=1e-10)  # sums in another order
        rights.add(round(accuracy(model, ids, answers) * math.factorial(n)))
    assert rights <= {0, math.factorial(n - 1)} and max(rights) > 0
    for layers, positions in ((2, "none"), (1, "rope")):  # it takes both hypotheses
        settings = Settings(layers=layers, dim=16, positions=positions, n_keys=4, n_values=4)
        assert np.ptp(answer_scores(wild(settings, 0), ids, 1).data, axis=0).max() > 1e-3


def four(rng, K=5, W=5, n=3):
    """A text and three others: keys exchanged, values exchanged, both; and the two values, the question being a key."""
    ids, _ = recall_texts(n, 1, rng, n_keys=K, n_values=W, n_questions=1)
    text = ids[0]
    p = int(np.flatnonzero(text[1:-1] == text[-1])[0]) + 1
    q = int(rng.choice([place for place in range(1, 2 * n, 2) if place != p]))
    texts = np.tile(text, (4, 1))
    texts[1::2, [p, q]] = text[[q, p]]
    texts[2:, [p + 1, q + 1]] = text[[q + 1, p + 1]]
    x, y = text[p + 1], text[q + 1]
    return texts, np.array([[x], [y], [y], [x]]), (x, y)


@pytest.mark.claim("attention.recall-one-head")
@pytest.mark.parametrize("positions", KINDS)
def test_one_head_adds_up_keys_and_values_and_is_right_on_three_of_four(positions):
    rng = np.random.default_rng(4)
    settings = Settings(layers=1, dim=12, positions=positions, pairs=3, n_keys=5, n_values=5)
    best = 0
    for seed in range(40):
        texts, answers, (x, y) = four(rng)
        model = wild(settings, seed)
        z = answer_scores(model, texts, 1).data[:, 0]
        (P,) = model.maps(texts)
        N = 1 / P[:, 0, -1, -1]  # in units of the weight of the question's own place, which is the same in all four
        d = N * (z[:, x] - z[:, y])
        # 1e-9: sums of numbers that are up to N times as large as the scores
        assert abs(d[0] - d[1] - d[2] + d[3]) < 1e-9 * np.abs(d).max() + 1e-12
        best = max(best, int((z.argmax(axis=-1) == answers[:, 0]).sum()))
    assert best <= 3
    if positions == "none":
        return  # `attention.recall-order-free`
    # two heads add two quotients, and the sum is no longer of that kind
    model = wild(replace(settings, heads=2), 0)
    z = answer_scores(model, texts, 1).data[:, 0]
    d = (z[:, x] - z[:, y]) / model.maps(texts)[0][:, 0, -1, -1]
    assert abs(d[0] - d[1] - d[2] + d[3]) > 1e-6 * np.abs(d).max()


@pytest.mark.claim("attention.recall-one-head")
@pytest.mark.parametrize("n", [2, 3])
def test_no_one_head_model_is_right_on_more_than_three_quarters_of_all_texts(n):
    ids, answers = all_texts(n, n, n)
    settings = Settings(layers=1, dim=16, positions="learned", pairs=n, n_keys=n, n_values=n)
    shares = [accuracy(wild(settings, seed), ids, answers) for seed in range(100)]
    assert 1 / (n + 1) < max(shares) <= 0.75


@pytest.mark.claim("attention.recall-many-heads")
@pytest.mark.parametrize(("n", "K", "W"), [(1, 2, 3), (2, 3, 2), (3, 3, 4)])
def test_one_layer_with_a_head_for_each_pair_is_right_on_every_text(n, K, W):
    ids, answers = all_texts(n, K, W)
    scale = math.log((n + 1) * (2 * n + 1)) + 0.01
    model = constructed_heads(n, K, W, scale)
    z, epsilon = answer_scores(model, ids, 1).data[:, 0], (2 * n + 1) * math.exp(-scale)
    right = np.take_along_axis(z, answers, axis=1)
    assert (right >= 1 - epsilon).all()
    np.put_along_axis(z, answers, 0, axis=1)
    assert (z <= n * epsilon).all()
    assert accuracy(model, ids, answers) == 1.0


# --- what is learned


@pytest.fixture(scope="module")
def learned():
    return run(TINY, lengths=(3, 5), n_texts=100)


def test_two_layers_learn_it_and_one_does_not(learned):
    assert learned.accuracy[3] > 0.95 and learned.accuracy[5] > 0.6
    one = run(replace(TINY, layers=1), lengths=(3,), n_texts=100)
    assert one.accuracy[3] < 0.55  # a guess among the values is right on a third
    assert learned.steps_to(0.9) <= TINY.steps and one.steps_to(0.9) is None


def test_the_heads_are_those_of_the_construction(learned):
    """The first layer looks back one place, the second at what stands after the key that is asked for."""
    ids, answers = recall_texts(3, 100, np.random.default_rng(5), n_keys=5, n_values=7)
    first, second = (P[:, 0] for P in learned.model.maps(ids))
    values = np.array([2, 4, 6])
    there = (ids[:, None, :] == answers[:, :, None]).argmax(axis=-1)
    # even weights would be a third and less, and a ninth
    assert first[:, values, values - 1].mean() > 0.5
    assert np.take_along_axis(second[:, 7:], there[..., None], axis=-1).mean() > 0.5


def test_a_run_repeats_to_the_bit_and_its_seed_matters():
    settings = replace(TINY, steps=8)
    one, again, other = (run(s, lengths=(3,), n_texts=20) for s in (settings, settings, replace(settings, seed=1)))
    assert one.history.losses == again.history.losses != other.history.losses
    assert one.accuracy == again.accuracy
    assert len(one.history.losses) == 8


def test_what_is_held_out_has_no_part_in_training():
    settings = replace(TINY, steps=10)
    losses = [run(settings, lengths=lengths, n_texts=n, every=every).history.losses
              for lengths, n, every in (((3,), 20, 50), ((2, 4), 7, 3))]  # fmt: skip
    assert losses[0] == losses[1]


def test_the_steps_to_a_share_are_the_first():
    history = History(held_out=[(10, 0.5), (20, 0.1), (30, 0.2), (40, 0.0)])  # shares of wrong answers
    trial = Trial(build(TINY, np.random.default_rng(0)), history, {})
    assert [trial.steps_to(share) for share in (0.4, 0.9, 0.95, 1.1)] == [10, 20, 40, None]


@pytest.mark.parametrize("positions", KINDS)
def test_every_kind_of_positions_is_trained_and_examined(positions):
    settings = replace(TINY, positions=positions, heads=2, steps=3)
    trial = run(settings, lengths=(2, 3, 5), n_texts=5)
    assert [n for n, share in trial.accuracy.items() if share is None] == ([5] if positions == "learned" else [])
    fresh = build(settings, np.random.default_rng(settings.seed)).state_dict()
    for name, numbers in trial.model.state_dict().items():
        assert not np.array_equal(numbers, fresh[name]), name


@pytest.mark.parametrize("kind", ["lstm", "mlp"])
def test_the_others_are_trained_and_asked_at_the_same_places(kind):
    settings = replace(TINY, model=kind, hidden=16, context=4, steps=30, positions="learned")
    trial = run(settings, lengths=(3, 5), n_texts=20)
    assert None not in trial.accuracy.values() and trial.history.losses[-1] < trial.history.losses[0]
    ids, _ = recall_texts(3, 2, np.random.default_rng(0), n_keys=5, n_values=7)
    z = answer_scores(trial.model, ids, 3).data
    assert z.shape == (2, 3, 13)
    for b, i in itertools.product(range(2), range(3)):
        end = 8 + i
        if isinstance(trial.model, MLPLanguageModel):
            alone = trial.model(ids[b : b + 1, end - 4 : end]).data[0]
        else:
            assert isinstance(trial.model, RecurrentLanguageModel)
            alone = trial.model(ids[b : b + 1, :end])[0].data[0, -1]
        np.testing.assert_allclose(z[b, i], alone, rtol=0, atol=1e-5)  # single precision, other shapes
    assert accuracy(trial.model, ids, z.argmax(axis=-1)) == 1.0


def test_a_perceptron_that_looks_back_beyond_the_text_sees_nothing_there():
    model = build(replace(TINY, model="mlp", context=30, hidden=8), np.random.default_rng(0))
    ids, _ = recall_texts(2, 1, np.random.default_rng(0), n_keys=5, n_values=7, n_questions=1)
    window = np.concatenate([np.full((1, 24), model.fill), ids], axis=1)
    np.testing.assert_allclose(answer_scores(model, ids, 1).data[:, 0], model(window).data, rtol=0, atol=1e-6)


def test_the_reader_is_its_layers_added_up():
    rng = np.random.default_rng(6)
    model = AttentionReader(7, 8, [RelativeBias(2, 4, 16, rng=rng), None], n_heads=2, rng=rng)
    ids = rng.integers(0, 7, (2, 5))
    x0 = model.embedding(ids)
    x1 = x0 + model.layers[0](x0)
    x2 = x1 + model.layers[1](x1)
    np.testing.assert_array_equal(model(ids).data, (x2.data @ model.output.weight.data.T))
    for P, layer, x in zip(model.maps(ids), model.layers, (x0, x1), strict=True):
        np.testing.assert_array_equal(P, layer.weights(x))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be one or more, got 0"),
        ({"batch_size": -1}, "batch_size must be one or more, got -1"),
        ({"layers": 0}, "one layer or more"),
        ({"pairs": 6}, "make 1 to 5 pairs, got 6"),
        ({"heads": 5}, "5 heads do not divide"),
        ({"rate": -1.0}, "zero or more and finite"),
    ],
)
def test_settings_out_of_range_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(replace(TINY, **change), lengths=(3,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "gru"}, 'the model is "attention", "lstm" or "mlp", got \'gru\''),
        ({"positions": "absolute"}, "none, learned, sinusoidal, rope, alibi, relative, got 'absolute'"),
    ],
)
def test_unknown_models_and_positions_are_refused(shapes_unchecked, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(Settings(**change), np.random.default_rng(0))
