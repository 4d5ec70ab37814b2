"""Mirrors src/fp_align/directories.py."""

import numpy as np
import pytest

from fp_align import directories
from fp_align.reward import RewardModel
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.characters import CharTokenizer
from fp_transformer.checkpoint import save_tensors
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

TOKENIZER = CharTokenizer("abc \n")
CONFIG = TransformerConfig.gpt2(vocab_size=6, context_length=8, n_layers=1, n_heads=2, d_model=8)


def made(seed=0):
    return Transformer(CONFIG, rng=np.random.default_rng(seed)).eval()


def test_a_model_comes_back_as_it_was_also_from_a_run(tmp_path):
    model = made()
    directories.save_model(model, TOKENIZER, tmp_path / "run" / "model")
    for path in (tmp_path / "run", tmp_path / "run" / "model"):
        found, tokenizer = directories.open_model(path)
        assert not found.training and tokenizer.encode("ab\n") == TOKENIZER.encode("ab\n")
        assert all((found.state_dict()[name] == value).all() for name, value in model.state_dict().items())


def test_a_reward_model_comes_back_as_it_was(tmp_path):
    reward = RewardModel(made())
    reward.head.weight.data[...] = np.random.default_rng(1).normal(size=(1, 8))
    directories.save_reward(reward, TOKENIZER, tmp_path / "reward")
    found, _ = directories.open_reward(tmp_path / "reward")
    texts = [[1, 2], [3]], [[4], [5, 1]]
    assert (found.scores(*texts) == reward.scores(*texts)).all() and np.ptp(found.scores(*texts)) > 0


def test_a_copy_shares_nothing():
    model = made()
    copy = directories.copy_of(model)
    copy.embedding.weight.data += 1
    assert not np.isclose(copy.embedding.weight.data, model.embedding.weight.data).any()


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no directory; a model is a directory"):
        directories.open_model(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        directories.open_model(tmp_path)
    made().save(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"no tokenizer\.json"):
        directories.open_model(tmp_path / "bare")
    made().save(tmp_path / "other", CharTokenizer("ab"))
    with pytest.raises(ValueError, match="tokenizer of 3 tokens and a model of 6"):
        directories.open_model(tmp_path / "other")
    directories.save_model(made(), TOKENIZER, tmp_path / "model")
    with pytest.raises(ValueError, match="no reward model"):
        directories.open_reward(tmp_path / "model")
    save_tensors(tmp_path / "model" / "score.safetensors", {"score.weight": np.zeros((1, 3), np.float32)})
    with pytest.raises(ValueError, match=r"of the shape \(1, 8\), got \(1, 3\)"):
        directories.open_reward(tmp_path / "model")


def test_nothing_is_overwritten(tmp_path):
    assert directories.check_new(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "there").mkdir()
    directories.check_new(tmp_path / "there")
    (tmp_path / "there" / "file").touch()
    for path in (tmp_path / "there", tmp_path / "there" / "file"):
        with pytest.raises(ValueError, match="nothing is overwritten"):
            directories.check_new(path)


def test_a_directory_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"because .*file is a file"):
        directories.check_new(tmp_path / "file" / "below" / "out")


def test_vocabularies_are_the_same_if_their_ids_are():
    assert directories.same_vocabulary(TOKENIZER, CharTokenizer("\n abc"))
    assert not directories.same_vocabulary(TOKENIZER, CharTokenizer("abd \n"))  # as many
    assert not directories.same_vocabulary(TOKENIZER, CharTokenizer("ab"))


def test_text_that_the_tokenizer_cannot_write_is_refused():
    assert directories.encode(TOKENIZER, "a\n") == [3, 1] and directories.stop_token(TOKENIZER) == 1
    with pytest.raises(ValueError, match="cannot write a prompt, 'axe'"):
        directories.encode(TOKENIZER, "axe", "a prompt")
    with pytest.raises(ValueError, match="the newline that ends a response"):
        directories.stop_token(CharTokenizer("ab"))
    assert directories.stop_token(BPETokenizer.train(["a b\n"] * 3, vocab_size=257)) >= 0
