"""Mirrors src/fp_transformer/generation.py."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.kv_cache import KVCache
from fp_transformer.config import TransformerConfig
from fp_transformer.decoding import choose
from fp_transformer.generation import Cache, generate, generate_batch, window_start
from fp_transformer.model import Transformer


class TableModel:
    """Scores that are drawn anew for each text; it knows the text from its cache alone, and notes what it computes."""

    def __init__(self, vocab_size=5, context_length=7, seed=0):
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.seed, self.rows, self.passes, self.seen = seed, 0, 0, []

    def new_cache(self, batch=1, capacity=None):
        return Cache([KVCache(batch, 1, 1, capacity or self.config.context_length, owner=self) for _ in range(2)])

    def forward(self, ids, *, cache, last=False):
        assert last
        assert cache.length + ids.shape[1] <= self.config.context_length
        self.rows, self.passes = self.rows + ids.shape[1], self.passes + 1
        column = ids[:, None, :, None].astype(np.float64)
        texts, other = (layer.append(column, column)[0][:, 0, :, 0].astype(int).tolist() for layer in cache.layers)
        assert texts == other
        self.seen += [tuple(text) for text in texts]
        return np.array([[self.scores(text)] for text in texts])

    def scores(self, text):
        return np.random.default_rng([self.seed, len(text), *text]).normal(size=self.config.vocab_size)


def alone(model, prompt, N, rng, stop=None, **settings):
    """What the page promises, without a cache: each token from what (E1) lets the model see."""
    text = list(prompt)
    for _ in range(N):
        token = choose(model.scores(text[window_start(len(text), model.config.context_length) :]), rng, **settings)
        if token == stop:
            break
        text.append(token)
    return text[len(prompt) :]


def tiny(family, context_length=32, seed=0):
    make = getattr(TransformerConfig, family)
    config = make(vocab_size=11, context_length=context_length, n_layers=2, n_heads=2, d_model=8, dropout=0.1)
    return Transformer(config, rng=np.random.default_rng(seed), dtype=np.float64).eval()


families = pytest.mark.parametrize("family", ["llama", "gpt2"])


# --- the loop


@families
@pytest.mark.parametrize(
    ("prefill_chunk", "settings"),
    [(None, {"temperature": 0}), (2, {"temperature": 1.3}), (1, {"temperature": 0.7, "top_k": 5})],
)
def test_with_the_cache_it_writes_what_whole_passes_write(family, settings, prefill_chunk):
    model, text, rng = tiny(family), [1, 2, 3, 4, 5], np.random.default_rng(7)
    got = list(
        generate(
            model, text, 8, rng=np.random.default_rng(7), prefill_chunk=prefill_chunk, on_overflow="error", **settings
        )
    )
    for _ in range(8):
        text.append(choose(model.forward(np.array([text])).data[0, -1], rng, **settings))
    assert got == text[5:]  # in float64, where no two tokens here are as near as rounding


def test_the_same_generator_gives_the_same_text_and_one_number_is_taken_a_token():
    model, rng = tiny("llama"), np.random.default_rng(3)
    first = list(generate(model, [1], 9, rng=rng))
    assert first == list(generate(model, [1], 9, rng=np.random.default_rng(3)))
    assert first != list(generate(model, [1], 9, rng=np.random.default_rng(4)))
    expected = np.random.default_rng(3)
    expected.random(9)
    assert rng.random() == expected.random()
    assert model.generate([1], 9, rng=np.random.default_rng(3)).__next__() == first[0]


def test_it_streams_and_does_no_more_than_it_is_asked_for():
    model = TableModel(context_length=20)
    stream = generate(model, np.array([1, 2, 3]), 10, temperature=0)
    assert model.rows == 0
    next(stream)
    assert model.rows == 3
    next(stream)
    assert model.rows == 4
    list(stream)
    assert model.rows == 3 + 10 - 1  # the last token is not looked at
    assert all(isinstance(token, int) for token in generate(model, [1], 3, temperature=0))


def test_no_new_tokens_take_no_work():
    model = TableModel()
    assert list(generate(model, [1, 2], 0, temperature=0)) == [] and model.rows == 0
    assert generate_batch(model, [[1], [2, 3]], 0, temperature=0) == [[], []] and model.rows == 0


def test_stops_end_the_text_and_are_not_shown():
    model = TableModel(vocab_size=3, context_length=50)
    whole = list(generate(model, [0], 30, rng=np.random.default_rng(0)))
    for stop in ([1], [(2, 0)], [(0, 1), (2, 2, 1)], [7]):
        got = list(generate(model, [0], 30, rng=np.random.default_rng(0), stop=stop))
        sequences = [(s,) if isinstance(s, int) else s for s in stop]
        ends = [n for n in range(31) for s in sequences if tuple(whole[:n])[-len(s) :] == s]
        if not ends:
            assert got == whole
            continue
        longest = max(len(s) for s in sequences if tuple(whole[: min(ends)])[-len(s) :] == s)
        assert got == whole[: min(ends) - longest]


def test_what_waits_for_a_stop_comes_when_the_text_ends_without():
    model = TableModel(vocab_size=2, context_length=50)
    model.scores = lambda text: np.array([0.0, 1.0])
    assert list(generate(model, [0], 3, temperature=0, stop=[(1, 1, 1, 1)])) == [1, 1, 1]
    assert list(generate(model, [0], 4, temperature=0, stop=[(1, 1, 1, 1)])) == []


# --- when the text outgrows the context


@pytest.mark.claim("transformer.slide")
def test_what_is_seen_and_when_it_changes_for_all_short_contexts():
    for T in range(1, 12):
        for r in range(1, T + 1):
            starts = [0 if n <= T else r * -((T - n) // r) for n in range(1, 6 * T)]
            if r == -(-T // 2):
                assert starts == [window_start(n, T) for n in range(1, 6 * T)]
                assert all(n - s > T // 2 for n, s in enumerate(starts, 1) if n > T)
            assert all(T - r < n - s <= T for n, s in enumerate(starts, 1) if n > T)
            changes = [n for n in range(2, 6 * T) if starts[n - 1] != starts[n - 2]]
            assert changes == list(range(T + 1, 6 * T, r))
            for n in changes[:-1]:  # from one change to the next
                seen = [m - starts[m - 1] for m in range(n, n + r)]
                rows = seen[0] + r - 1
                pairs = seen[0] * (seen[0] + 1) // 2 + sum(seen[1:])
                assert rows == T and 2 * pairs == T * (T + 1)
                if r == -(-T // 2):
                    assert rows <= 2 * r and pairs <= (T + 1) * r


@pytest.mark.claim("transformer.slide")
@pytest.mark.parametrize("T", [1, 2, 5, 8])
def test_the_loop_computes_those_rows_and_sees_those_tokens(T):
    model, N, r = TableModel(context_length=T), 5 * T + 3, -(-T // 2)
    text = [1]
    stream, rows = generate(model, text, N, temperature=0), []
    for token in stream:
        assert model.seen[-1] == tuple(text[window_start(len(text), T) :])
        text.append(token)
        rows.append(model.rows)
    # the token chosen after n tokens stands at rows[n - 1]
    for n in range(T + 1, N - r + 1, r):
        assert rows[n + r - 2] - rows[n - 2] == T


@families
def test_real_models_slide_as_if_the_text_seen_were_all(family):
    model, text = tiny(family, context_length=9), [1, 2, 3]
    got = list(generate(model, text, 13, temperature=0))
    for _ in range(13):
        seen = text[window_start(len(text), 9) :]
        text.append(int(model.forward(np.array([seen])).data[0, -1].argmax()))
    assert got == text[3:]


@pytest.mark.parametrize("length", [1, 7, 8, 11, 23])
def test_one_call_or_two_and_prompts_longer_than_the_context(length):
    model, prompt = TableModel(context_length=7), np.random.default_rng(0).integers(5, size=length).tolist()
    whole = list(generate(model, prompt, 20, temperature=0))
    assert whole == alone(model, prompt, 20, None, temperature=0)
    first = list(generate(model, prompt, 8, temperature=0, prefill_chunk=3))
    assert whole == first + list(generate(model, prompt + first, 12, temperature=0))


def test_an_overrun_can_be_refused_before_any_work():
    model = TableModel(context_length=7)
    with pytest.raises(ValueError, match="prompt of 3 tokens and 6 new ones do not fit into the context of 7: shorten"):
        generate(model, [1, 2, 3], 6, temperature=0, on_overflow="error")
    with pytest.raises(ValueError, match="prompt of 4 tokens and 5 new ones"):
        generate_batch(model, [[1], [1, 2, 3, 4]], 5, temperature=0, on_overflow="error")
    with pytest.raises(ValueError, match="prompt of 8 tokens and 0 new"):
        generate(model, [1] * 8, 0, temperature=0, on_overflow="error")
    assert model.passes == 0
    assert len(list(generate(model, [1, 2, 3], 5, temperature=0, on_overflow="error"))) == 5


# --- several texts


@pytest.mark.claim("transformer.batch-exact")
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=17), min_size=1, max_size=5),
    st.integers(1, 12),
    st.sampled_from([{"temperature": 0}, {"temperature": 1.5}, {"top_p": 0.7}]),
    st.sampled_from([(), (3,), (0, (1, 2))]),
    st.sampled_from([7, 40]),
)
@settings(max_examples=60)
def test_a_batch_writes_what_each_text_writes_alone(prompts, N, settings, stop, T):
    model = TableModel(context_length=T)
    rngs = [[np.random.default_rng(b) for b in range(len(prompts))] for _ in range(2)]
    separate = [
        list(generate(model, p, N, rng=r, stop=stop, **settings)) for p, r in zip(prompts, rngs[0], strict=True)
    ]
    model.passes = 0
    assert generate_batch(model, prompts, N, rng=rngs[1], stop=stop, **settings) == separate
    assert [r.bit_generator.state for r in rngs[1]] == [r.bit_generator.state for r in rngs[0]]
    if T == 40:
        assert model.passes <= max(len(p) + N for p in prompts) - min(map(len, prompts))
    if not stop:
        expected = [alone(model, p, N, np.random.default_rng(b), **settings) for b, p in enumerate(prompts)]
        assert separate == expected


@pytest.mark.claim("transformer.batch-exact")
@families
def test_a_batch_on_a_real_model(family):
    model = tiny(family, context_length=9)
    prompts = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10], [3] * 11]
    rngs = [np.random.default_rng(b) for b in range(4)]
    separate = [list(generate(model, p, 7, rng=r)) for p, r in zip(prompts, rngs, strict=True)]
    assert generate_batch(model, prompts, 7, rng=[np.random.default_rng(b) for b in range(4)]) == separate


def test_finished_texts_leave_and_prompts_that_are_left_alone_come_in_one_chunk():
    model = TableModel(vocab_size=2, context_length=60)
    model.scores = lambda text: np.array([1.0, 0.0])
    generate_batch(model, [[1], [1] * 40], 5, temperature=0)
    assert model.passes == 5 + 5  # 1 to 5 together, then 35 tokens of the longer in one pass, and 4 more
    assert model.rows == 5 + 35 + 4


def test_one_generator_serves_a_batch_by_its_children():
    model, prompts = TableModel(), [[1], [1], [2, 3]]
    got = generate_batch(model, prompts, 6, rng=np.random.default_rng(5))
    assert got == generate_batch(model, prompts, 6, rng=np.random.default_rng(5).spawn(3))
    assert got[0] != got[1]


# --- a conversation


def test_only_what_is_new_is_computed():
    model = TableModel(context_length=40)
    cache = model.new_cache()
    said = [1, 2, 3]
    said += generate(model, said, 5, temperature=0, cache=cache)
    assert cache.ids == said[:-1] and cache.length == 7
    model.rows = 0
    turn = [*said, 4, 4]
    reply = list(generate(model, turn, 3, temperature=0, cache=cache))
    assert model.rows == 3 + 2  # the last token of the reply, two of the turn, and two new ones
    assert reply == alone(model, turn, 3, None, temperature=0)
    model.rows = 0
    edited = [1, 2, 0, 4]  # the third token differs
    assert list(generate(model, edited, 2, temperature=0, cache=cache)) == alone(model, edited, 2, None, temperature=0)
    assert model.rows == 2 + 1
    model.rows = 0
    assert list(generate(model, edited, 1, temperature=0, cache=cache)) == alone(model, edited, 1, None, temperature=0)
    assert model.rows == 1  # all is known, but the scores after it are not


@families
def test_a_kept_cache_on_real_models_and_past_the_context(family):
    model = tiny(family, context_length=10)
    cache, text = model.new_cache(), [1, 2]
    for turn in ([], [3, 4, 5], [7] * 12, [8]):
        text += turn
        reply = list(generate(model, text, 4, temperature=0, cache=cache))
        assert reply == list(generate(model, text, 4, temperature=0))
        text += reply


def test_a_stream_that_is_left_early_or_fails_leaves_a_cache_that_serves():
    model = TableModel(context_length=30)
    cache, prompt = model.new_cache(), [1, 2, 3]
    stream = generate(model, prompt, 9, temperature=0, cache=cache)
    first = [next(stream), next(stream)]
    stream.close()
    whole = alone(model, prompt, 9, None, temperature=0)
    assert first + list(generate(model, prompt + first, 7, temperature=0, cache=cache)) == whole
    # a pass that breaks between two layers: one cache is longer than the other
    cache.layers[0].append(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)))
    assert list(generate(model, prompt, 9, temperature=0, cache=cache)) == whole
    cache.truncate(0)
    cache.layers[1].append(np.zeros((1, 1, 2, 1)), np.zeros((1, 1, 2, 1)))
    assert list(generate(model, prompt, 9, temperature=0, cache=cache)) == whole
    cache.layers[1].truncate(1)  # behind the cache's back
    assert list(generate(model, prompt, 9, temperature=0, cache=cache)) == whole


def test_a_cache_of_all_layers():
    cache = Cache([KVCache(2, 1, 2, 8), KVCache(2, 1, 2, 6)])
    x = np.arange(12, dtype=np.float32).reshape(2, 1, 3, 2)
    for layer in cache.layers:
        layer.append(x, x)
    assert (cache.length, cache.capacity, cache.nbytes) == (3, 6, 2 * 4 * 2 * 2 * (8 + 6))
    cache.ids = [5, 6, 7]
    assert [cache.common(ids) for ids in ([], [5], [5, 6, 7, 8], [5, 0], [0])] == [0, 1, 3, 1, 0]
    cache.truncate(2)
    assert cache.ids == [5, 6] and [layer.length for layer in cache.layers] == [2, 2]
    cache.reorder([1])
    assert cache.ids == []  # whose text it is, nobody says
    for layer in cache.layers:
        keys = layer.append(x[:1, :, :0], x[:1, :, :0])[0]
        np.testing.assert_array_equal(keys, x[1:, :, :2])
    cache.clear()
    assert cache.length == 0
    with pytest.raises(ValueError, match="got none"):
        Cache([])


# --- bad input


def test_a_cache_that_does_not_fit_is_refused():
    model, other = TableModel(context_length=20), TableModel(context_length=20)
    with pytest.raises(ValueError, match="this one was made by another: use"):
        generate(model, [1], 3, temperature=0, cache=other.new_cache())
    real = [tiny("llama", seed=s) for s in (0, 1)]
    with pytest.raises(ValueError, match="this one was made by another"):
        generate(real[0], [1], 3, temperature=0, cache=real[1].new_cache())
    with pytest.raises(ValueError, match="needs a cache with room for 8 tokens, got one for 7"):
        generate(model, [1, 2, 3], 6, temperature=0, cache=model.new_cache(1, 7))
    list(generate(model, [1, 2, 3], 6, temperature=0, cache=model.new_cache(1, 8)))
    list(generate(model, [1, 2, 3], 60, temperature=0, cache=model.new_cache()))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"prompt_ids": []}, ValueError, "generate needs at least one token"),
        ({"prompt_ids": [5]}, ValueError, r"must lie in \[0, 5\)"),
        ({"prompt_ids": [0.5]}, TypeError, "must be integers"),
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens is zero or more, got -1"),
        ({"max_new_tokens": 2.5}, TypeError, "max_new_tokens must be an integer"),
        ({"temperature": 1.0}, TypeError, "takes a generator"),
        ({"temperature": -1}, TypeError, "takes a generator"),
        ({"top_k": 0}, ValueError, "top_k must lie between"),
        ({"stop": "."}, TypeError, "stop lists ids"),
        ({"on_overflow": "crop"}, ValueError, "on_overflow is 'slide' or 'error', got 'crop'"),
        ({"prefill_chunk": 0}, ValueError, "prefill_chunk is the number of tokens"),
    ],
)
def test_bad_input_is_refused_at_the_call(shapes_unchecked, change, error, message):
    model = TableModel()
    arguments = {"prompt_ids": [1], "max_new_tokens": 3, "temperature": 0, **change}
    with pytest.raises(error, match=message):
        generate(model, **arguments)
    assert model.passes == 0


def test_bad_batches_are_refused(shapes_unchecked):
    model = TableModel()
    with pytest.raises(ValueError, match="one prompt or more, got none"):
        generate_batch(model, [], 3, temperature=0)
    with pytest.raises(ValueError, match="generate_batch needs at least one token"):
        generate_batch(model, [[1], []], 3, temperature=0)
    with pytest.raises(ValueError, match="generator of its own, got 1 for 2 prompts"):
        generate_batch(model, [[1], [2]], 3, rng=[np.random.default_rng(0)])
    with pytest.raises(TypeError, match="takes a generator"):
        generate_batch(model, [[1], [2]], 3)
    assert model.passes == 0


def test_dropout_would_make_the_cache_wrong():
    model = tiny("gpt2").train()
    with pytest.raises(ValueError, match=r"would drop 10% of its activations: call model.eval\(\)"):
        generate(model, [1], 3, temperature=0)
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        generate_batch(model, [[1]], 3, temperature=0)
