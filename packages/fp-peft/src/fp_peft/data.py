r"""
Data: which tokens are to be learned.

An example of what a model should do has two parts: what it will be given, and what it should answer. Only the second is
to be learned; a model that is also trained to predict the question learns to ask. How are examples written as tokens,
and what exactly is minimised if some tokens do not count?

You need: `fp_neural.losses`, `fp_transformer.model`, special tokens from `fp_tokenize.special`.

## Two kinds of examples, and plain text

A file whose name ends in `.jsonl` has an object on each line, of one of two forms:

```
{"prompt": "The capital of France is", "completion": " Paris."}
{"messages": [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "Paris."}]}
```

Of the first, the completion is learned, and the mark that ends a text, if the tokenizer has one. Of the second, every
answer of the assistant is, and the mark that ends it. Any other file is text, and all of it is learned.

## The loss

Let $t_0, \dots, t_n$ be the tokens and $c_i = 1$ if token $i$ is to be learned, else $0$; $t_0$ never is.

**Claim** `peft.masked-loss`. Let $N = \sum_i c_i > 0$, and let the tokens to be learned be those from $m \ge 1$ on.
Then

$$
\begin{aligned}
\ell &= \frac1N \sum_{i=1}^n c_i \big( - \ln p(t_i \mid t_0, \dots, t_{i-1}) \big) \\
     &= - \frac1N \ln p(t_m, \dots, t_n \mid t_0, \dots, t_{m-1}), \qquad \text{(E1)}
\end{aligned}
$$

and the gradient of $\ell$ in the scores at every position before $m - 1$ is zero. For several examples with $N_k$
tokens and losses $\ell_k$, the mean over all tokens of a batch is $\sum_k N_k \ell_k / \sum_k N_k$, not the mean of the
$\ell_k$.

**Proof.** With $c_i = 1$ exactly for $i \ge m$ the sum is that of the logarithms of conditional probabilities, by
`markov.chain-rule` the logarithm of their product $p(t_m, \dots, t_n \mid t_0, \dots, t_{m-1})$. The scores at position
$j$ are those for token $j + 1$ and occur in the term $i = j + 1$ alone, which is left out for $j + 1 < m$. The sum of
all terms of a batch is $\sum_k N_k \ell_k$, and there are $\sum_k N_k$. $\blacksquare$

The prompt is not lost: the *states* at its positions are read by later ones through attention, and the gradient passes
through them. Only its predictions do not count.

Texts of a batch differ in length. Short ones are filled up at the end, and what stands there does not count. No mask is
needed: a causal model does not look ahead (`transformer.causal`).

>>> from fp_tokenize import ByteTokenizer
>>> tokenizer = ByteTokenizer(["<|endoftext|>"])
>>> one = completion_example("Hi", " you", tokenizer)
>>> one.ids.tolist(), one.learned.astype(int).tolist()
([72, 105, 32, 121, 111, 117, 256], [0, 0, 1, 1, 1, 1, 1])
>>> ids, targets = batch([one, completion_example("A", "B", tokenizer)])
>>> targets
array([[ -1,  32, 121, 111, 117, 256],
       [ 66, 256,  -1,  -1,  -1,  -1]])

## Where the parts meet

Prompt and completion are encoded apart. Encoded as one text, a token could straddle the seam, and the first token of
the answer would be one that the model is never asked for in use, when the prompt is encoded alone.

Messages are written as the model was taught to read them: with the marks `<|im_start|>` and `<|im_end|>`, if the
tokenizer has them, and else as plain paragraphs with the role in front. If a model's own template begins conversations
without a system message by one of its own, so does this.

## In practice

Libraries take the chat template itself, a program in Jinja, and ask it to mark the answers; few templates do. Here two
fixed forms are enough for the models that this book runs, and `fp_capstone.chat_template` runs templates. For short
examples several are packed into one row, with a mask that keeps documents apart (`fp_attention.masks.Documents`), so
that no work goes into padding.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Integer

from fp_markov._files import read_text
from fp_tokenize.frame import Frame

__all__ = [  # the order of the page
    "Example",
    "completion_example",
    "conversation_example",
    "batch",
    "Data",
    "Examples",
    "Text",
    "read_data",
    "default_system",
    "end_of_text",
    "IGNORE",
]

IGNORE = -1
"""A target that does not count."""
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<|im_end|>", "<|eot_id|>")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Example:
    """Tokens, and which of them are to be learned."""

    ids: Integer[np.ndarray, " n"]
    learned: Bool[np.ndarray, " n"]

    def shortened(self, length: int) -> "Example":
        """The last tokens of it, at most `length`: an answer needs the end of its prompt most."""
        return self if len(self.ids) <= length else Example(self.ids[-length:], self.learned[-length:])

    @property
    def n_learned(self) -> int:
        """How many tokens count; the first is predicted by nobody."""
        return int(self.learned[1:].sum())


def end_of_text(tokenizer: Frame) -> int | None:
    """
    The token that ends a text.

    Parameters
    ----------
    tokenizer
        Of the model.

    Returns
    -------
    int or None
        None if it has none of the usual names.
    """
    special = tokenizer.special_tokens
    return next((special[name] for name in _ENDS if name in special), None)


def _joined(parts: Sequence[tuple[Sequence[int], bool]]) -> Example:
    ids = np.concatenate([np.asarray(part, np.int64) for part, _ in parts])
    learned = np.concatenate([np.full(len(part), flag) for part, flag in parts])
    return Example(ids, learned)


def _front(tokenizer: Frame) -> list[int]:
    """What the tokenizer puts in front of every text."""
    found = [tokenizer.token_to_id(name) for name in tokenizer.template.before]
    return [i for i in found if i is not None]


def completion_example(prompt: str, completion: str, tokenizer: Frame) -> Example:
    """
    A prompt, and how it should go on.

    Parameters
    ----------
    prompt
        Given; may be empty.
    completion
        To be learned.
    tokenizer
        Of the model.

    Returns
    -------
    Example
        With the mark that ends a text, if there is one.

    Raises
    ------
    ValueError
        If the completion is empty.
    """
    if not completion:
        raise ValueError("an example with an empty completion teaches nothing: leave it out")
    end = end_of_text(tokenizer)
    return _joined(
        [
            (_front(tokenizer), False),
            (tokenizer.encode(prompt) if prompt else [], False),
            (tokenizer.encode(completion), True),
            ([] if end is None else [end], True),
        ]
    )


def conversation_example(messages: Sequence[Any], tokenizer: Frame, system: str | None = None) -> Example:
    """
    A conversation, of which the assistant's answers are to be learned.

    Parameters
    ----------
    messages
        Each with `role` and `content`.
    tokenizer
        Of the model.
    system
        What a conversation begins with that has no system message.

    Returns
    -------
    Example
        Written with marks, if the tokenizer has them, else as paragraphs.

    Raises
    ------
    ValueError
        If a role is unknown or the assistant says nothing.
    """
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError(f"a message has the texts role and content, got {message!r:.80}")
        if message["role"] not in _ROLES:
            raise ValueError(f"roles are {', '.join(_ROLES)}, got {message['role']!r}")
    if not any(message["role"] == "assistant" for message in messages):
        raise ValueError("a conversation in which the assistant says nothing teaches nothing: leave it out")
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    special = tokenizer.special_tokens
    marked = "<|im_start|>" in special and "<|im_end|>" in special
    parts: list[tuple[Sequence[int], bool]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        answer = role == "assistant"
        head = f"{role}\n" if marked else f"{role}: "
        if marked:
            parts.append(([special["<|im_start|>"]], False))
        # what the model is given is one text, as at use; an answer begins at a seam
        parts.append((tokenizer.encode(head if answer else head + content), False))
        if answer and content:
            parts.append((tokenizer.encode(content), True))
        if marked:
            parts += [([special["<|im_end|>"]], answer), (tokenizer.encode("\n"), False)]
        else:
            parts.append((tokenizer.encode("\n\n"), answer))
    return _joined(parts)


def default_system(template: str | None) -> str | None:
    """
    The system message that a chat template begins with of its own accord.

    Parameters
    ----------
    template
        In Jinja; None if there is none.

    Returns
    -------
    str or None
        None unless the template has one written out between the marks of ChatML.

    Examples
    --------
    >>> default_system(r"{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}")
    'Be kind.'
    """
    found = re.search(r"<\|im_start\|>system(?:\\n|\n)([^{}<>]*?)<\|im_end\|>", template or "")
    return found[1] if found else None


def batch(examples: Sequence[Example]) -> tuple[Integer[np.ndarray, "B T"], Integer[np.ndarray, "B T"]]:
    """
    Examples side by side, filled up at the end.

    Parameters
    ----------
    examples
        At least one, each with two tokens or more.

    Returns
    -------
    ids, targets : ndarray
        The tokens read, and those to be predicted, `IGNORE` where it does not count.
    """
    T = max(len(example.ids) for example in examples) - 1
    ids = np.zeros((len(examples), T), np.int64)
    targets = np.full((len(examples), T), IGNORE, np.int64)
    for i, example in enumerate(examples):
        n = len(example.ids) - 1
        ids[i, :n] = example.ids[:-1]
        targets[i, :n] = np.where(example.learned[1:], example.ids[1:], IGNORE)
    return ids, targets


@runtime_checkable
class Data(Protocol):
    """What fine-tuning draws from."""

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch for training: ids and targets."""

    def held_out(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What is not trained on, once, in batches."""


class Examples:
    """
    Examples, some of them held out.

    Parameters
    ----------
    examples
        In the order of the file.
    held_out
        How many of the last are held out, or other examples for it.
    length
        At most how many tokens of an example are used, the last ones.

    Attributes
    ----------
    n_shortened : int
        How many examples were longer.

    Raises
    ------
    ValueError
        If nothing is left to train or to hold out, or a shortened example has nothing to learn.
    """

    def __init__(self, examples: Sequence[Example], held_out: int | Sequence[Example], length: int) -> None:
        if isinstance(held_out, int):
            train, kept = examples[: len(examples) - held_out], examples[len(examples) - held_out :]
        else:
            train, kept = examples, held_out
        if not train or not kept:
            raise ValueError(
                f"{len(examples)} examples are too few to train on some and hold others out: give two at least"
            )
        silent = [i for i, e in enumerate((*train, *kept), 1) if e.shortened(length + 1).n_learned == 0]
        if silent:
            raise ValueError(
                f"of an example the last {length + 1} tokens are used, and example {silent[0]} has nothing to learn "
                f"among them ({len(silent)} such examples): let it end with an answer, or give a larger length"
            )
        self.n_shortened = sum(len(e.ids) > length + 1 for e in (*train, *kept))
        self.train = [e.shortened(length + 1) for e in train]
        self.kept = [e.shortened(length + 1) for e in kept]
        self._order: list[int] = []

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The next examples of a random order; each comes once before any comes again."""
        while len(self._order) < size:
            self._order += rng.permutation(len(self.train)).tolist()
        chosen, self._order = self._order[:size], self._order[size:]
        return batch([self.train[i] for i in chosen])

    def held_out(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All held-out examples, in order."""
        for i in range(0, len(self.kept), size):
            yield batch(self.kept[i : i + size])


class Text:
    """
    A text, whose end is held out.

    Parameters
    ----------
    ids
        Its tokens.
    length
        How many tokens are read at once.
    share
        Which share of it is held out.
    limit
        At most how many held-out tokens are used.

    Raises
    ------
    ValueError
        If the text is too short.
    """

    def __init__(
        self, ids: Integer[np.ndarray, " n"], length: int, share: float = 0.1, limit: int | None = None
    ) -> None:
        cut = len(ids) - int(len(ids) * share)
        self.train, self.kept, self.length = ids[:cut], ids[cut:], length
        if limit is not None:
            self.kept = self.kept[: limit + 1]
        if len(self.train) < length + 1 or len(self.kept) < 2:
            raise ValueError(
                f"a text of {len(ids)} tokens is too short to train on pieces of {length} and hold {share:.0%} out: "
                "give more text, or a smaller context length"
            )

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Pieces from random places."""
        starts = rng.integers(0, len(self.train) - self.length, size)
        rows = self.train[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def held_out(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All of the held-out part, piece by piece; the last may be shorter."""
        n, T = len(self.kept) - 1, self.length
        whole = n // T
        rows = self.kept[: whole * T].reshape(whole, T).astype(np.int64)
        after = self.kept[1 : whole * T + 1].reshape(whole, T).astype(np.int64)
        for i in range(0, whole, size):
            yield rows[i : i + size], after[i : i + size]
        if n > whole * T:
            rest = self.kept[whole * T :].astype(np.int64)
            yield rest[None, :-1], rest[None, 1:]


def read_data(
    path: Path | str,
    tokenizer: Frame,
    *,
    length: int,
    held_out: Path | str | None = None,
    share: float = 0.1,
    limit: int | None = None,
    system: str | None = None,
) -> Examples | Text:
    """
    Read what a model is to be tuned on.

    Parameters
    ----------
    path
        A `.jsonl` file of examples, or a text in UTF-8.
    tokenizer
        Of the model.
    length
        At most how many tokens are read at once.
    held_out
        Another file of the same kind to hold out; by default the last part of this one is.
    share
        Which share, at least one example.
    limit
        At most how many tokens of a held-out text are used.
    system
        For conversations without a system message.

    Returns
    -------
    Examples or Text
        What to train on and what to hold out.

    Raises
    ------
    ValueError
        If a file cannot be read or a line is no example; it names the line.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share that is held out lies between 0 and 1, got {share}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit counts held-out tokens and is at least 1, got {limit}")
    lines = str(path).endswith(".jsonl")
    if held_out is not None and str(held_out).endswith(".jsonl") != lines:
        raise ValueError(
            f"{held_out} is held out of {path}: both are .jsonl files of examples, or both are texts. Losses on "
            "the two kinds do not compare"
        )
    if lines:
        examples = _examples(path, tokenizer, system)
        kept: Any = max(1, round(len(examples) * share)) if held_out is None else _examples(held_out, tokenizer, system)
        return Examples(examples, kept, length)
    ids = np.asarray(tokenizer.encode_array(read_text(str(path))))
    if held_out is None:
        return Text(ids, length, share, limit)
    text = Text(ids, length, min(share, 0.5), limit)
    other = np.asarray(tokenizer.encode_array(read_text(str(held_out))))
    if len(other) < 2:
        raise ValueError(f"{held_out} is too short: nothing can be predicted in {len(other)} tokens")
    text.train, text.kept = ids, other if limit is None else other[: limit + 1]
    return text


def _examples(path: Path | str, tokenizer: Frame, system: str | None) -> list[Example]:
    found = []
    # not splitlines: within a text JSON allows characters, such as U+2028, that it takes for the end of a line
    for number, line in enumerate(read_text(str(path)).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"an example is an object, got {type(record).__name__}")
            if isinstance(record.get("messages"), list) and record["messages"]:
                found.append(conversation_example(record["messages"], tokenizer, system))
            elif isinstance(record.get("prompt"), str) and isinstance(record.get("completion"), str):
                found.append(completion_example(record["prompt"], record["completion"], tokenizer))
            else:
                given = ", ".join(f"{key!r}: {value!r:.20}" for key, value in list(record.items())[:4])
                raise ValueError(
                    'an example has the texts "prompt" and "completion", or a list of "messages" that is not empty; '
                    f"this one is {{{given}}}"
                )
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no example")
    return found
