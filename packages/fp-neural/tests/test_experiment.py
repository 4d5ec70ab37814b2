"""Mirrors src/fp_neural/experiment.py."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fp_markov.experiment import split
from fp_markov.ngram import NGramModel
from fp_markov.vocabulary import Vocabulary
from fp_neural import experiment
from fp_neural.experiment import Settings, build, falling, learn, run
from fp_neural.normalization import BatchNorm1d

TEXT = "".join(f"line {n} of {n * n % 7} {'abcde'[n % 5]}\n" for n in range(120))
TRAINING, REST = split(TEXT)
MODELS = ["mlp", "rnn", "lstm"]
TINY = {
    "mlp": Settings("mlp", context=3, dim=5, hidden=23, steps=60, batch_size=32, rate=0.5),
    "rnn": Settings("rnn", dim=5, hidden=13, steps=30, batch_size=8, length=11, rate=0.5),
    "lstm": Settings("lstm", dim=5, hidden=13, steps=30, batch_size=8, length=11, rate=2.0),
}


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_the_losses_are_those_of_each_token_given_what_came_before_it(model, lines):
    trial = run(TRAINING, REST, TINY[model], lines=lines)
    encode = trial.vocabulary.encode_sentences if lines else trial.vocabulary.encode
    ids = encode(REST)
    np.testing.assert_array_equal(trial.held_out, ids)
    np.testing.assert_array_equal(trial.training, encode(TRAINING))
    expected = [
        -np.log(trial.model.next_distribution(ids[:t])[token])
        for t, token in enumerate(ids)
        if token != trial.vocabulary.bos
    ]
    assert len(expected) == (len(REST) if not lines else len(REST.replace("\n", "")) + REST.count("\n"))
    # 1e-4: single precision, computed for all tokens together and one by one
    np.testing.assert_allclose(trial.losses, expected, rtol=1e-4, atol=1e-5)
    assert trial.loss == pytest.approx(np.mean(expected), rel=1e-5)
    assert trial.loss == pytest.approx(trial.model.cross_entropy(ids), rel=1e-12)


@pytest.mark.parametrize("lines", [False, True])
def test_the_tables_count_the_same_text_and_are_scored_on_the_same_tokens(lines):
    trial = run(TRAINING, REST, TINY["mlp"], lines=lines)
    vocabulary = Vocabulary.from_text(TRAINING, unknown=True, sentences=lines)
    assert trial.vocabulary == vocabulary
    training, rest = ((vocabulary.encode_sentences if lines else vocabulary.encode)(t) for t in (TRAINING, REST))
    against = trial.against(range(1, 5))
    assert list(against) == [1, 2, 3, 4]
    for order, losses in against.items():
        model = NGramModel(order, len(vocabulary), "modified_kneser_ney", bos=vocabulary.bos).fit(training)
        assert losses.shape == trial.losses.shape
        assert losses.mean() == pytest.approx(model.cross_entropy(rest), rel=1e-12)
        t = 17  # any one: the order of the tokens is that of the network's losses
        place = t if not lines else np.flatnonzero(rest != vocabulary.bos)[t]
        assert losses[t] == pytest.approx(-np.log(model.next_distribution(rest[:place])[rest[place]]), rel=1e-10)


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_training_helps_and_repeats_to_the_bit(model, lines):
    settings = replace(TINY[model], dropout=0.1)
    trial, again = (run(TRAINING, REST, settings, lines=lines) for _ in range(2))
    np.testing.assert_array_equal(trial.losses, again.losses)
    assert trial.history.losses == again.history.losses
    other = run(TRAINING, REST, replace(settings, seed=1), lines=lines)
    assert other.loss != trial.loss
    assert trial.loss < np.log(len(trial.vocabulary)) - 0.3
    assert len(trial.history.losses) == settings.steps


@pytest.mark.parametrize("model", MODELS)
def test_nothing_that_is_learned_depends_on_what_was_held_out(model):
    ours = run(TRAINING, REST, TINY[model])
    theirs = run(TRAINING, "é" * len(REST), TINY[model], watch=lambda n, loss: None, every=7)  # watched, too
    assert ours.vocabulary == theirs.vocabulary
    state = theirs.model.state_dict()
    for name, numbers in ours.model.state_dict().items():
        np.testing.assert_array_equal(numbers, state[name])
    assert theirs.loss > ours.loss


def test_watching_tells_the_steps_and_the_loss_on_the_rest():
    seen = []
    trial = run(TRAINING, REST, replace(TINY["mlp"], steps=25), every=10, watch=lambda n, loss: seen.append((n, loss)))
    assert [n for n, _ in seen] == [10, 20, 25]
    assert seen == trial.history.held_out
    assert seen[-1][1] == pytest.approx(trial.loss, rel=1e-12)
    assert 0 < trial.seconds < trial.history.seconds + 1  # building the model is in the one, measuring in the other
    even = []
    run(TRAINING, REST, replace(TINY["mlp"], steps=20), every=10, watch=lambda n, _: even.append(n))
    assert even == [10, 20]


def test_what_was_measured_on_the_way_takes_none_of_the_seconds(monkeypatch):
    clock = map(float, range(10**6))
    monkeypatch.setattr(experiment.time, "perf_counter", lambda: next(clock))  # each look at it is a second
    settings = replace(TINY["mlp"], steps=25)
    unwatched = run(TRAINING, REST, settings).seconds
    watched = run(TRAINING, REST, settings, every=5, watch=lambda n, loss: None).seconds
    assert watched == unwatched + 5  # five times two looks, and the second between them taken off


def passes(settings, vocabulary, ids):
    """The chunks of `_chunks`, those of one pass together."""
    rng = np.random.default_rng(3)
    gathered = []
    for x, y, anew in experiment._chunks(ids, vocabulary.bos, settings, rng):
        if anew:
            gathered.append([])
        gathered[-1].append((x, y))
    return gathered


def test_sentences_are_shuffled_whole():
    names = [f"{a}{b}{'xyz'[: n % 4]}" for n, (a, b) in enumerate((a, b) for a in "abcdefg" for b in "hijklmn")]
    vocabulary = Vocabulary.from_text("\n".join(names), sentences=True)
    ids = vocabulary.encode_sentences("\n".join(names))
    assert ids[0] == vocabulary.bos
    B, T, orders = 3, 7, []
    n_chunks = (len(ids) - 1) // B // T
    settings = Settings("lstm", batch_size=B, length=T, steps=3 * n_chunks + 1)
    for chunks in passes(settings, vocabulary, ids):
        x, y = (np.concatenate(part, axis=1) for part in zip(*chunks, strict=True))
        assert x.shape == (B, T * len(chunks))
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        whole = []
        for row in x:
            pieces = np.split(row, np.flatnonzero(row == vocabulary.bos))[1:]
            whole += [vocabulary.decode(piece).strip() for piece in pieces if piece[-1] == vocabulary.eos]
        assert not Counter(whole) - Counter(names)  # none is made of two, none is there twice
        orders.append(whole)
    assert [len(order) > 0.8 * len(names) for order in orders] == [True] * 3 + [False]
    assert len({tuple(order) for order in orders}) == 4


def test_no_sentence_of_a_chunk_sees_another():
    """One row, so that all begins with a sentence: the losses are those of the sentences by themselves."""
    names = ["ab", "bab", "a", "bbba", "aba", "baab"]
    vocabulary = Vocabulary.from_text("\n".join(names), sentences=True)
    bos, ids = vocabulary.bos, vocabulary.encode_sentences("\n".join(names * 5))
    settings = Settings("lstm", dim=3, hidden=7, batch_size=1, length=9, steps=30, rate=2.0)
    model, _ = learn(settings, vocabulary, ids)
    n_anew = 0
    for chunks in passes(settings, vocabulary, ids):
        text = np.append(bos, np.concatenate([y[0] for _, y in chunks]))
        alone = np.concatenate([-model.log_prob(piece) for piece in np.split(text, np.flatnonzero(text == bos))[1:]])
        for i, (x, y) in enumerate(chunks):
            there = slice(1 + 9 * i, 10 + 9 * i)
            expected = alone[there][text[there] != bos].mean()
            # 1e-5: a mean of nine numbers in single precision
            assert model.training_loss(x, y, i == 0).item() == pytest.approx(expected, rel=1e-5)
        n_anew += 1
    assert n_anew == 2


def test_a_text_without_sentences_is_a_circle_opened_anywhere():
    vocabulary = Vocabulary.from_text("abcdefghijklmnopqrstuvw")
    ids = np.arange(len(vocabulary))
    begins = set()
    for chunks in passes(Settings("rnn", batch_size=2, length=5, steps=40), vocabulary, ids):
        x, y = (np.concatenate(part, axis=1) for part in zip(*chunks, strict=True))
        assert x.shape == (2, 10)
        np.testing.assert_array_equal((x + 1) % len(ids), y)
        assert (x[0, 0] + 11) % len(ids) == x[1, 0]
        begins.add(x[0, 0])
    assert len(begins) > 10


def test_the_perceptron_learns_from_every_token_but_the_begin():
    vocabulary = Vocabulary.from_text(TRAINING, sentences=True)
    ids = vocabulary.encode_sentences(TRAINING)
    settings = Settings("mlp", context=2, steps=800, batch_size=50)
    rng = np.random.default_rng(0)
    model = build(settings, vocabulary, rng)
    triples = {(*row, target) for x, y in experiment._examples(model, ids, settings, rng)
               for row, target in zip(x.tolist(), y.tolist(), strict=True)}  # fmt: skip
    padded = [(ids[t - 2] if ids[t - 1] != vocabulary.bos else vocabulary.bos, ids[t - 1], ids[t])
              for t in range(1, len(ids)) if ids[t] != vocabulary.bos]  # fmt: skip
    assert triples == set(padded)  # 40,000 draws of less than two thousand places


def test_the_settings_reach_the_model():
    vocabulary = Vocabulary.from_text("abc")
    sizes = {}
    for settings in (
        Settings("mlp", context=3, dim=5, hidden=7),
        Settings("mlp", context=3, dim=5, hidden=7, normalize=True),
        Settings("rnn", dim=5, hidden=7),
        Settings("lstm", dim=5, hidden=7),
        Settings("rnn", dim=5, hidden=7, layers=2),
    ):
        model = build(settings, vocabulary, np.random.default_rng(0))
        sizes[settings] = model.n_parameters
        assert any(isinstance(part, BatchNorm1d) for part in model.modules()) == settings.normalize
    embedding, output = 4 * 5, 7 * 3 + 3
    assert list(sizes.values()) == [
        embedding + 15 * 7 + 7 + output,
        embedding + 15 * 7 + 2 * 7 + output,  # scale and shift stand in for the bias
        embedding + 12 * 7 + 7 + output,
        embedding + 4 * (12 * 7 + 7) + output,
        embedding + (12 * 7 + 7) + (14 * 7 + 7) + output,
    ]
    ids = vocabulary.encode("abcabcbac" * 20)
    for model in MODELS:
        settings = Settings(model, dim=3, hidden=5, context=2, steps=4, batch_size=4, length=5, rate=0.5)
        plain = learn(settings, vocabulary, ids)[1]
        assert learn(replace(settings, dropout=0.5), vocabulary, ids)[1].losses[0] != plain.losses[0]
        for change in ({"rate": 0.1}, {"falling": 1.0}, {"max_norm": 0.01}):
            assert learn(replace(settings, **change), vocabulary, ids)[1].losses[-1] != plain.losses[-1]


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_is_loaded_into_a_built_one(model, tmp_path):
    trial = run(TRAINING, REST, TINY[model])
    trial.model.save(tmp_path / "m")
    loaded = build(TINY[model], trial.vocabulary, np.random.default_rng(9)).load(tmp_path / "m")
    np.testing.assert_array_equal(-loaded.log_prob(trial.held_out), trial.losses)


@pytest.mark.parametrize(("n_steps", "share"), [(10, 0.4), (7, 1.0), (13, 0.5), (4, 0.0), (3, 0.1)])
def test_the_rate_is_constant_and_then_falls_in_a_line_to_zero(n_steps, share):
    rates = [falling(3, n_steps, share)(n) for n in range(n_steps)]
    first = n_steps * (1 - share)
    for n, rate in enumerate(rates):
        expected = 3 if n <= first else 3 * (n_steps - n) / (n_steps - first)
        assert rate == pytest.approx(expected, rel=1e-12)
    assert all(rate > 0 for rate in rates)
    if share:
        assert falling(3, n_steps, share)(n_steps) == 0  # where the next step would be


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be one or more, got 0"),
        ({"steps": -1, "model": "lstm"}, "steps must be one or more, got -1"),
        ({"batch_size": 0}, "batch_size must be one or more, got 0"),
        ({"length": 0, "model": "rnn"}, "length must be one or more, got 0"),
        ({"context": 0}, "context must be one or more, got 0"),
        ({"layers": 0, "model": "rnn"}, "layers must be one or more, got 0"),
        ({"falling": -0.1}, "lies between 0 and 1, got -0.1"),
        ({"falling": float("nan")}, "lies between 0 and 1, got nan"),
        ({"rate": -1.0}, "the rate must be zero or more and finite, got -1.0"),
        ({"max_norm": 0.0}, "the largest norm must be above zero, got 0.0"),
        ({"dropout": 1.0}, r"lies in \[0, 1\), got 1.0"),
        (
            {"batch_size": 1000, "model": "rnn"},
            "a batch is 1000 rows of 11 tokens and the token after, which a text of",
        ),
        ({"batch_size": 1, "normalize": True}, "at least two rows"),
    ],
)
def test_settings_out_of_range_are_refused(change, sentence):
    settings = TINY["mlp" if change.get("model", "mlp") == "mlp" else "rnn"]
    with pytest.raises(ValueError, match=sentence):
        run(TRAINING, REST, replace(settings, **change))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: run("", "ab", TINY["mlp"]), "got an empty one"),
        (lambda: run("abc", "", TINY["mlp"]), "held out has no token: hold out more"),
        (lambda: run("abc", "\n\n", TINY["mlp"], lines=True), "held out has no token: hold out more"),
        (lambda: run("\n\n", "abc", TINY["mlp"], lines=True), "learn from has no token: hold out less"),
        (lambda: run("ab" * 9, "ab", TINY["mlp"], every=0, watch=lambda n, loss: None), "every must be one or more"),
        (lambda: run("ab" * 90, "ab", TINY["mlp"]).against([0]), "1 or more, got 0"),
    ],
)
def test_texts_without_tokens_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_an_unknown_model_is_refused(shapes_unchecked):
    with pytest.raises(ValueError, match='the model is "mlp", "rnn" or "lstm", got \'gru\''):
        run(TRAINING, REST, Settings("gru"))


def test_a_loss_that_is_no_number_ends_the_run():
    settings = replace(TINY["mlp"], rate=1e38, max_norm=1e38)
    with np.errstate(all="ignore"), pytest.raises((FloatingPointError, ValueError), match=r"not (finite|a number)"):
        run(TRAINING, REST, settings)


def test_chunks_that_predict_nothing_are_left_out():
    settings = Settings("rnn", dim=2, hidden=3, batch_size=1, length=1, steps=60)
    trial = run("a\nb\n" * 9, "a\n", settings, lines=True)
    assert len(trial.history.losses) == 60 and np.isfinite(trial.loss)


def test_a_text_that_fills_no_batch_is_told_what_to_lower():
    with pytest.raises(ValueError, match=r"64 rows of 64 tokens .* a text of 300 tokens .* lower the batch size or"):
        run("abc" * 100, "abc", Settings("lstm", dim=2, hidden=2))
