r"""
Models as directories: what goes into a step, and what comes out.

Every step of alignment takes a model and leaves one. So that any of them can be repeated, exchanged or undone, a model
is a directory in Hugging Face's layout before and after: `config.json`, `model.safetensors`, `tokenizer.json`. A
reward model is one too, with its one row of weights beside it, in `score.safetensors` under the name `score.weight`
that Hugging Face's classes for sequences use; the output layer in `model.safetensors` is that of the model it came
from, and nobody asks it.

You need: `fp_transformer.checkpoint`, `fp_align.reward`.

>>> import tempfile
>>> import numpy as np
>>> from fp_tokenize.characters import CharTokenizer
>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> tokenizer = CharTokenizer("abc \n")
>>> config = TransformerConfig.llama(vocab_size=6, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> folder = Path(tempfile.mkdtemp())
>>> save_model(Transformer(config, rng=np.random.default_rng(0)), tokenizer, folder / "model")
>>> sorted(path.name for path in (folder / "model").iterdir())
['config.json', 'model.safetensors', 'tokenizer.json']
>>> reward = open_reward(folder / "model")
Traceback (most recent call last):
    ...
ValueError: .../model is no reward model: it has no score.safetensors; make one with `fp-align reward`
>>> model, tokenizer = open_model(folder / "model")
>>> save_reward(RewardModel(model), tokenizer, folder / "reward")
>>> open_reward(folder / "reward")[0].scores([[1]], [[2, 3]]).tolist()
[0.0]
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fp_align.reward import RewardModel
from fp_autograd.tensor import no_grad
from fp_tokenize import interchange
from fp_transformer.checkpoint import load, load_tensors, save, save_tensors
from fp_transformer.model import Transformer

__all__ = ["open_model", "save_model", "open_reward", "save_reward", "check_new", "encode", "stop_token"]

HEAD = "score.safetensors"


def open_model(path: str | Path) -> tuple[Transformer, Any]:
    """
    Read a model and its tokenizer.

    Parameters
    ----------
    path
        A directory with `config.json`, `model.safetensors` and `tokenizer.json`; or one that has such a directory in
        it under the name `model`, as runs of `fp-capstone train` do.

    Returns
    -------
    model, tokenizer
        The model in eval mode.

    Raises
    ------
    ValueError
        If something is missing or does not fit.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(
            f"{path} is no directory; a model is a directory with config.json, model.safetensors and tokenizer.json, "
            "such as a run of `fp-capstone train` holds"
        )
    if not (path / "config.json").exists() and (path / "model" / "config.json").exists():
        path = path / "model"
    model = load(path)
    if not (path / "tokenizer.json").exists():
        raise ValueError(f"{path} has no tokenizer.json, without which nobody knows what its ids mean")
    tokenizer = interchange.load(path)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{path} has a tokenizer of {tokenizer.vocab_size} tokens and a model of {model.config.vocab_size}: they "
            "do not belong together"
        )
    return model.eval(), tokenizer


def save_model(model: Transformer, tokenizer: Any, path: str | Path) -> None:
    """
    Write a model and its tokenizer.

    Parameters
    ----------
    model, tokenizer
        What is written.
    path
        A directory; made if absent.

    Raises
    ------
    ValueError
        If there is another model already.
    """
    save(model, Path(path), tokenizer)


def save_reward(reward: RewardModel, tokenizer: Any, path: str | Path) -> None:
    """
    Write a reward model: its body as a model, its head beside it.

    Parameters
    ----------
    reward, tokenizer
        What is written.
    path
        A directory; made if absent.
    """
    save_model(reward.transformer, tokenizer, path)
    save_tensors(Path(path) / HEAD, {"score.weight": reward.head.weight.data})


def open_reward(path: str | Path) -> tuple[RewardModel, Any]:
    """
    Read a reward model and its tokenizer.

    Parameters
    ----------
    path
        A directory that `save_reward` wrote.

    Returns
    -------
    reward, tokenizer
        The reward model in eval mode.

    Raises
    ------
    ValueError
        If it is another kind of directory, or the head does not fit the body.
    """
    if not (Path(path) / HEAD).exists():
        raise ValueError(f"{path} is no reward model: it has no {HEAD}; make one with `fp-align reward`")
    model, tokenizer = open_model(path)
    reward = RewardModel(model)
    head = load_tensors(Path(path) / HEAD).get("score.weight")
    if head is None or head.shape != reward.head.weight.shape:
        raise ValueError(
            f"{Path(path) / HEAD} must hold score.weight of the shape {reward.head.weight.shape}, got "
            f"{None if head is None else head.shape}"
        )
    with no_grad():
        reward.head.weight.data[...] = head
    return reward.eval(), tokenizer


def check_new(path: str | Path) -> Path:
    """
    See to it that nothing is overwritten, before any work is done.

    Parameters
    ----------
    path
        Where something is to be written.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ValueError
        If there is a file, or a directory with something in it, or the path leads through a file.
    """
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ValueError(f"{path} exists, and nothing is overwritten: name another directory with --out")
    for parent in path.absolute().parents:
        if parent.is_file():
            raise ValueError(f"{path} cannot be made, because {parent} is a file: name another directory with --out")
    return path


def encode(tokenizer: Any, text: str, what: str = "a text") -> list[int]:
    """
    Ids that stand for a text, all of it.

    Parameters
    ----------
    tokenizer
        The model's.
    text
        Not empty.
    what
        What the text is, for the error.

    Returns
    -------
    list of int
        Token ids.

    Raises
    ------
    ValueError
        If the tokenizer does not know a character.
    """
    ids = [int(i) for i in tokenizer.encode(text)]
    if tokenizer.decode(ids) != text:
        raise ValueError(
            f"the model's tokenizer cannot write {what}, {text[:40]!r}: it does not know all its characters"
        )
    return ids


def stop_token(tokenizer: Any) -> int:
    """
    The token of the newline, which ends a response.

    Parameters
    ----------
    tokenizer
        The model's.

    Returns
    -------
    int
        Its id.

    Raises
    ------
    ValueError
        If the newline is no single token.
    """
    ids = encode(tokenizer, "\n", "the newline that ends a response")
    if len(ids) != 1:
        raise ValueError(f"a response ends with the newline, which must be one token; this tokenizer has {len(ids)}")
    return ids[0]


def check_lengths(model: Transformer, lengths: Iterable[int], ahead: int = 0) -> None:
    """`ValueError` if a prompt with its response, `ahead` tokens of which are not read, is too long for a model."""
    context = model.config.context_length
    for number, length in enumerate(lengths, 1):
        if length - ahead > context:
            raise ValueError(
                f"example {number} has {length} tokens, prompt and response together, and the model takes "
                f"{context + ahead}: shorten it or leave it out"
            )


def same_vocabulary(one: Any, other: Any) -> bool:
    """Whether each id stands for the same text to both tokenizers."""
    if one.vocab_size != other.vocab_size:
        return False
    return all(one.id_to_bytes(i) == other.id_to_bytes(i) for i in range(one.vocab_size))


def copy_of(model: Transformer) -> Transformer:
    """Another model with the same numbers: a reference that stays when the policy moves, or a body for a reward."""
    other = Transformer(model.config, rng=None, dtype=model.dtype)
    other.load_state_dict(model.state_dict())
    other.draw_from(np.random.default_rng(0))
    return other.eval()
