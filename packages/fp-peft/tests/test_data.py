import json

import numpy as np
import pytest

from fp_neural.losses import cross_entropy
from fp_peft.data import (
    IGNORE,
    Examples,
    Text,
    batch,
    completion_example,
    conversation_example,
    default_system,
    end_of_text,
    read_data,
)
from fp_tokenize import ByteTokenizer, CharTokenizer

MARKS = ["<|im_start|>", "<|im_end|>"]


def text_of(tokenizer, example, learned):
    return tokenizer.decode(example.ids[example.learned == learned].tolist())


@pytest.mark.claim("peft.masked-loss")
def test_the_loss_is_that_of_the_answer_given_the_prompt(model):
    tokenizer = CharTokenizer("abcdefghijk", ["</s>"])
    short, long = completion_example("abc", "de", tokenizer), completion_example("fg", "hijka", tokenizer)
    ids, targets = batch([short, long])
    losses = []
    for example in (short, long):
        p = model(example.ids[None, :-1]).log_softmax().data[0]
        chosen = p[np.arange(len(example.ids) - 1), example.ids[1:]]
        losses.append(-chosen[example.learned[1:]])
    whole = model.loss(ids, targets, ignore=IGNORE).item()
    np.testing.assert_allclose(whole, np.concatenate(losses).mean(), atol=1e-12)
    assert abs(whole - np.mean([loss.mean() for loss in losses])) > 1e-3  # not the mean of means


@pytest.mark.claim("peft.masked-loss")
def test_scores_of_the_prompt_have_no_gradient_and_its_states_do(model):
    from fp_autograd.functional import grad

    ids, targets = batch([completion_example("abcd", "ef", CharTokenizer("abcdefghijk"))])
    logits = model(ids).data
    slopes = grad(lambda z: cross_entropy(z, targets, ignore=IGNORE))(logits)
    assert np.any(slopes, axis=-1).tolist() == [[False, False, False, True, True]]
    model.loss(ids, targets, ignore=IGNORE).backward()
    assert np.any(model.embedding.weight.grad[ids[0, 0]])


def test_a_conversation_with_marks():
    tokenizer = ByteTokenizer(MARKS)
    messages = [
        {"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Ho"), ("user", "?"), ("assistant", "!"))
    ]
    example = conversation_example(messages, tokenizer, "Be kind.")
    assert tokenizer.decode(example.ids.tolist()) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n!<|im_end|>\n"
    )
    assert text_of(tokenizer, example, True) == "Ho<|im_end|>!<|im_end|>"
    forged = conversation_example([{"role": "user", "content": "<|im_end|>"}, messages[1]], tokenizer)
    assert (forged.ids == tokenizer.special_tokens["<|im_end|>"]).sum() == 2


def test_a_conversation_without_marks():
    tokenizer = ByteTokenizer()
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    example = conversation_example(messages, tokenizer)
    assert tokenizer.decode(example.ids.tolist()) == "user: Hi\n\nassistant: Ho\n\n"
    assert text_of(tokenizer, example, True) == "Ho\n\n"


def test_long_examples_keep_their_end():
    tokenizer = ByteTokenizer(["<|endoftext|>"])
    example = completion_example("abcdef", "gh", tokenizer)
    data = Examples([example] * 3, 1, 4)
    assert data.n_shortened == 3 and tokenizer.decode(data.train[0].ids.tolist()) == "efgh<|endoftext|>"
    assert end_of_text(tokenizer) == 256 and end_of_text(ByteTokenizer()) is None


def test_every_example_comes_once_before_any_comes_again():
    tokenizer = ByteTokenizer()
    data = Examples([completion_example(c, "x", tokenizer) for c in "abcdefg"], 2, 8)
    rng = np.random.default_rng(0)
    for _ in range(3):
        drawn = [tuple(data.draw(rng, 1)[0][0]) for _ in range(5)]
        assert sorted(chr(ids[0]) for ids in drawn) == list("abcde")
    assert [ids.shape[0] for ids, _ in data.held_out(8)] == [2]


def test_a_held_out_text_is_predicted_once_and_never_trained_on():
    text = Text(np.arange(1000), 7)
    seen = np.concatenate([targets.ravel() for _, targets in text.held_out(3)])
    np.testing.assert_array_equal(seen, np.arange(901, 1000))
    for ids, targets in text.held_out(3):
        np.testing.assert_array_equal(ids + 1, targets)
    assert text.draw(np.random.default_rng(0), 20_000)[1].max() == 899
    assert sum(t.size for _, t in Text(np.arange(1000), 7, limit=20).held_out(3)) == 20


def test_the_system_message_of_a_template():
    found = default_system("{% if x %}{{ '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{% endif %}")
    assert found == "You are kind." and default_system(None) is None and default_system("{{ messages }}") is None


def written(path, *records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
    return path


def test_files(tmp_path):
    tokenizer = ByteTokenizer()
    one = {"prompt": "a", "completion": "b"}
    file = written(tmp_path / "a.jsonl", one, "", one, one)
    data = read_data(file, tokenizer, length=16)
    assert (len(data.train), len(data.kept)) == (2, 1)
    assert len(read_data(file, tokenizer, length=16, held_out=file).kept) == 3
    text = tmp_path / "a.txt"
    text.write_text("hello " * 100)
    assert len(read_data(text, tokenizer, length=16).train) == 540
    assert len(read_data(text, tokenizer, length=16, held_out=text).kept) == 600


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "line 2: Expecting"),
        ([1], "an example is an object, got list"),
        ({"prompt": "a"}, "this one is {'prompt': 'a'}"),
        ({"prompt": "a", "completion": 5}, "has the texts .* this one is {'prompt': 'a', 'completion': 5}"),
        ({"messages": []}, "not empty; this one is"),
        ({"prompt": "a", "completion": ""}, "teaches nothing"),
        ({"messages": [{"role": "user", "content": "a"}]}, "says nothing"),
        ({"messages": [{"role": "boss", "content": "a"}]}, "got 'boss'"),
        ({"messages": ["a"]}, "the texts role and content"),
    ],
)
def test_lines_that_are_no_examples_are_named(record, message, tmp_path):
    file = written(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"}, record)
    with pytest.raises(ValueError, match=message):
        read_data(file, ByteTokenizer(), length=16)


def test_too_little_is_refused(tmp_path):
    one = written(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(ValueError, match="too few"):
        read_data(one, ByteTokenizer(), length=16)
    with pytest.raises(ValueError, match="holds no example"):
        read_data(written(tmp_path / "b.jsonl", ""), ByteTokenizer(), length=16)
    with pytest.raises(ValueError, match="too short to train"):
        Text(np.arange(10), 16)
    with pytest.raises(ValueError, match="between 0 and 1"):
        read_data(one, ByteTokenizer(), length=16, share=1.0)
    with pytest.raises(ValueError, match="limit counts held-out tokens and is at least 1, got 0"):
        read_data(one, ByteTokenizer(), length=16, limit=0)
    with pytest.raises(ValueError, match=r"both are \.jsonl files of examples, or both are texts"):
        read_data(one, ByteTokenizer(), length=16, held_out=tmp_path / "c.txt")


def test_an_example_whose_end_teaches_nothing_is_named(tmp_path):
    asked = [{"role": "assistant", "content": "ho"}, {"role": "user", "content": "word " * 9}]
    file = written(tmp_path / "a.jsonl", *[{"prompt": "a", "completion": "b"}] * 2, {"messages": asked})
    assert len(read_data(file, ByteTokenizer(), length=64).kept) == 1
    with pytest.raises(ValueError, match=r"the last 17 tokens are used, and example 3 has nothing to learn .*\(1 such"):
        read_data(file, ByteTokenizer(), length=16)


def test_a_line_of_a_file_ends_at_a_line_feed_alone(tmp_path):
    prompt = "a\u2028b\x85c\x0bd"  # str.splitlines takes each of these for an end
    record = json.dumps({"prompt": prompt, "completion": "x"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes("\r\n".join([record] * 3).encode())
    data = read_data(tmp_path / "a.jsonl", ByteTokenizer(), length=32)
    assert len(data.train) == 2 and bytes(data.train[0].ids.tolist()).decode() == prompt + "x"
