"""Mirrors src/fp_neural/recurrent_model.py."""

import itertools

import jaxtyping
import numpy as np
import pytest

from fp_autograd.checking import gradcheck
from fp_autograd.rules import log_softmax, tanh
from fp_neural.batches import streams
from fp_neural.recurrent_model import ROWS, RecurrentLanguageModel, _rows
from fp_neural.training import train

V, D, H = 5, 3, 7
CLOSE = {"rtol": 1e-11, "atol": 1e-12}  # float64: a few hundred roundings of numbers of magnitude one
variants = pytest.mark.parametrize(
    "settings", [{}, {"cell": "rnn"}, {"layers": 2}, {"tied": True, "dim": H}], ids=["lstm", "rnn", "two", "tied"]
)


@pytest.fixture
def _unchecked_shapes():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def made(seed=0, **settings):
    settings = {"dim": D, "hidden": H, "dtype": np.float64, "rng": np.random.default_rng(seed), **settings}
    model = RecurrentLanguageModel(V, **settings)
    for p in model.parameters():  # far from the even scores of the beginning, biases too
        p.data[...] = 0.7 * np.random.default_rng(p.size).normal(size=p.shape)
    return model


def text(n, seed=1, bos=None):
    ids = np.random.default_rng(seed).integers(0, V, n)
    if bos is not None:
        ids[::4] = bos
    return ids


def test_the_scores_of_a_plain_layer_by_hand():
    model = made(cell="rnn")
    p = {name: q.data for name, q in model.named_parameters().items()}
    h, total = np.zeros(H), []
    for before, token in itertools.pairwise([V, 2, 0, 3, 3]):
        e = p["embedding.weight"][before]
        h = tanh(p["layers.0.weight_ih"] @ e + p["layers.0.weight_hh"] @ h + p["layers.0.bias"])
        total.append(log_softmax(p["output.weight"] @ h + p["output.bias"])[token])
    np.testing.assert_allclose(model.log_prob([2, 0, 3, 3]), total, **CLOSE)


@variants
@pytest.mark.claim("neural.carried-state")
def test_a_text_in_pieces_has_the_scores_of_the_text(settings):
    model, ids = made(**settings), text(2 * 13).reshape(2, 13)
    whole, end = model(ids)
    for cuts in ([4], [1, 2, 9], list(range(1, 13))):
        state, parts = None, []
        for piece in np.split(ids, cuts, axis=1):
            logits, state = model(piece, state)
            parts.append(logits.data)
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole.data, **CLOSE)
        for a, b in zip(state, end, strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), **CLOSE)


@variants
@pytest.mark.claim("neural.carried-state")
def test_sentences_side_by_side_have_the_scores_of_each_alone(settings):
    model = made(bos=2, **settings)
    sentences = [[2, 1, 0, 3], [2, 4], [2], [2, 0, 0, 1, 3, 3, 1], [2, 1]]
    alone = np.concatenate([model.log_prob(s) for s in sentences])
    for order in ([0, 1, 2, 3, 4], [4, 2, 3, 1, 0]):
        ends = np.cumsum([len(s) for s in sentences])
        parts = [alone[ends[i] - len(sentences[i]) : ends[i]] for i in order]
        ids = np.concatenate([sentences[i] for i in order])
        np.testing.assert_allclose(model.log_prob(ids), np.concatenate(parts), **CLOSE)


@pytest.mark.claim("neural.carried-state")
def test_many_sentences_and_a_long_text(monkeypatch):
    monkeypatch.setattr("fp_neural.recurrent_model.BLOCK", 10)  # several blocks
    model = made(bos=0)
    ids = np.where(np.random.default_rng(3).random(700) < 0.2, 0, text(700))
    by_token, state = [], None
    for before in np.append(0, ids[:-1]):
        logits, state = model(np.array([[before]]), state)
        by_token.append(log_softmax(logits.data[0, -1]))
    expected = np.array(by_token)[np.arange(700), ids]
    expected[ids == 0] = 0
    np.testing.assert_allclose(model.log_prob(ids), expected, **CLOSE)
    model, ids = made(), text(37)
    pieces = [model.start(ids[:t])[0] for t in range(37)]
    expected = log_softmax(np.array(pieces))[np.arange(37), ids]
    np.testing.assert_allclose(model.log_prob(ids), expected, **CLOSE)


@pytest.mark.parametrize("bos", [None, 2])
def test_the_model_is_a_distribution_over_texts(bos):
    model = made(bos=bos)
    tokens = [v for v in range(V) if v != bos]
    p = [np.exp(model.log_prob(ids)) for ids in itertools.product(range(V), repeat=3) if bos not in ids]
    total = sum(np.prod(q) for q in p)
    assert total == pytest.approx(1, rel=1e-12) if bos is None else total < 1  # its share is lost
    assert len(p) == len(tokens) ** 3


@variants
def test_writing_goes_on_where_the_context_ends(settings):
    model, ids = made(bos=2, **settings), [1, 2, 0, 3, 2, 4, 1]
    z, state = model.start(np.array(ids[:3]))
    for t in range(3, 7):
        expected = model.start(np.array(ids[: t + 1]))[0]
        z, state = model.advance(state, ids[t])
        np.testing.assert_allclose(z, expected, **CLOSE)
    np.testing.assert_allclose(np.log(model.next_distribution(ids)), log_softmax(z), **CLOSE)
    # bos begins anew, as an empty context does
    np.testing.assert_allclose(model.advance(state, 2)[0], model.start(np.array([], np.int64))[0], **CLOSE)
    assert 2 not in model.generate(ids, 50, np.random.default_rng(0))


def test_rows_of_sentences():
    ids = np.array([9, 1, 2, 9, 9, 3, 4, 5, 9, 6])
    rows, there = _rows(ids, np.flatnonzero(ids == 9), 9)
    assert rows[there].tolist() == ids.tolist()
    assert rows[:, 0].tolist() == [9] * len(rows)
    assert len(rows) == 4
    rows, there = _rows(ids, np.array([0]), 7)
    assert rows.tolist() == [ids.tolist()]
    assert there.all()
    many = np.tile([9, 1], 1000)
    rows, there = _rows(many, np.arange(0, 2000, 2), 9)
    assert rows.shape == (ROWS, 32)
    assert rows[there].tolist() == many.tolist()


# --- training


def test_the_loss_is_that_of_the_text():
    model, ids = made(), text(12)
    x, y = np.append(V, ids[:-1])[None], ids[None]
    assert float(model.loss(x, y)) == pytest.approx(model.cross_entropy(ids), rel=1e-12)
    model, ids = made(bos=2), text(12, bos=2)
    x, y = np.append(2, ids[:-1])[None], ids[None]
    assert float(model.loss(x, y)) == pytest.approx(model.cross_entropy(ids), rel=1e-12)


@variants
@pytest.mark.parametrize("bos", [None, 2])
def test_gradients_of_all_parameters(settings, bos):
    model = made(bos=bos, **{**settings, "hidden": 2, "dim": 2 if "dim" in settings else 3})
    ids = text(10, bos=bos).reshape(2, 5)

    def loss(state):
        return (log_softmax(model.functional(state, ids)[0]) ** 2).mean()

    gradcheck(loss, model.state_dict())


def test_chunks_continue_each_other_and_begin_anew_when_told():
    model, ids = made(), text(41)
    chunks = list(streams(ids, 2, 5))
    state = None
    for i, (x, y) in enumerate(chunks):
        expected, (_, state) = model.loss(x, y, state), model(x, state)
        assert float(model.training_loss(x, y, anew=i == 0)) == pytest.approx(float(expected), rel=1e-12)
    x, y = chunks[0]
    assert float(model.training_loss(x, y, anew=True)) == pytest.approx(float(model.loss(x, y)), rel=1e-12)
    assert abs(float(model.training_loss(x, y)) - float(model.loss(x, y))) > 1e-4
    assert all(name.split(".")[0] in ("embedding", "layers", "output") for name in model.state_dict())


@variants
def test_training_lowers_the_loss(settings):
    rng = np.random.default_rng(0)
    model = RecurrentLanguageModel(V, **{"dim": H, "hidden": H, "rng": rng, **settings})
    ids = np.tile([0, 1, 2, 3, 4, 3, 2, 1], 600)
    assert model.cross_entropy(ids) == pytest.approx(np.log(V), abs=0.2)
    batches = ((x, y, i == 0) for i, (x, y) in enumerate(streams(ids, 4, 8)))
    train(model, model.training_loss, batches, rate=1.0, max_norm=1.0)
    assert model.cross_entropy(ids) < 0.9


def test_dropout_is_for_training_and_spares_the_recurrence():
    model, ids = made(dropout=0.5), text(6)[None]
    assert not np.allclose(model(ids)[0].data, model(ids)[0].data)
    state_a, state_b = (model(ids[:, :0:-1])[1] for _ in range(2))
    assert not np.allclose(state_a[0][0], state_b[0][0])  # through the embeddings
    model.embedding.weight.data[...] = 0  # nothing to drop there: the scores still vary, what is carried does not
    (logits_a, state_a), (logits_b, state_b) = (model(ids) for _ in range(2))
    assert not np.allclose(logits_a.data, logits_b.data)
    np.testing.assert_array_equal(state_a[0], state_b[0])
    model.eval()
    np.testing.assert_array_equal(model(ids)[0].data, model(ids)[0].data)
    assert np.isfinite(model.train().cross_entropy(ids[0]))
    assert model.training


def test_tied_weights_are_one_parameter():
    model = made(tied=True, dim=H)
    assert "output.weight" not in model.named_parameters()
    assert model.n_parameters == made(dim=H).n_parameters - V * H
    assert made(tied=True, dim=H)(np.array([[0]]))[0].shape == (1, 1, V)


@pytest.mark.usefixtures("_unchecked_shapes")
def test_lists_serve_as_rows():
    model = made(bos=0)
    np.testing.assert_array_equal(model([[1, 0, 2]])[0].data, model(np.array([[1, 0, 2]]))[0].data)


def test_single_precision_by_default():
    model = RecurrentLanguageModel(V, D, H, rng=np.random.default_rng(0))
    logits, ((h, c),) = model(text(4)[None])
    assert (logits.dtype, h.dtype, c.dtype) == (np.float32,) * 3
    assert model.embedding.weight.data[V].tolist() == [0] * D


# --- bad input


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 0}, "dim must be one or more, got 0"),
        ({"hidden": -1}, "hidden must be one or more, got -1"),
        ({"layers": 0}, "layers must be one or more, got 0"),
        ({"cell": "gru"}, 'the cell is "lstm" or "rnn", got \'gru\''),
        ({"tied": True}, "needs dim = hidden, got 3 and 7"),
        ({"bos": 5}, "bos is a token between 0 and 4, got 5"),
        ({"dropout": 1.0}, "lies in"),
    ],
)
@pytest.mark.usefixtures("_unchecked_shapes")
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(**settings)


@pytest.mark.usefixtures("_unchecked_shapes")
def test_ids_and_states_that_do_not_fit():
    model = made()
    with pytest.raises(ValueError, match=r"ids are rows of one token or more, of shape \(B, T\), got \(3,\)"):
        model(np.array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"got \(2, 0\)"):
        model(np.zeros((2, 0), np.int64))
    with pytest.raises(ValueError, match="the state of 1 layers has as many parts, got 2"):
        model(np.array([[0]]), made(layers=2)(np.array([[0]]))[1])
    with pytest.raises(ValueError, match="Begin with state=None when the number of texts changes"):
        model(np.zeros((3, 1), np.int64), model(np.zeros((2, 1), np.int64))[1])
    model.training_loss(np.zeros((2, 1), np.int64), np.zeros((2, 1), np.int64))
    with pytest.raises(ValueError, match="the chunk before had 2 rows, this one has 3: anew=True begins anew"):
        model.training_loss(np.zeros((3, 1), np.int64), np.zeros((3, 1), np.int64))
    with pytest.raises(ValueError, match="got the id 6"):
        model(np.array([[6]]))
    with pytest.raises(ValueError, match="got an empty text"):
        model.log_prob([])
