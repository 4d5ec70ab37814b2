r"""
A conversation: turns, what is remembered of them, and what is not.

The chat template makes one text of all turns (`fp_capstone.chat_template`); the model continues it until it closes its
turn. What is left is to do this again and again without doing the same work again, and to notice when the conversation
no longer fits.

You need: `fp_capstone.chat_template`, `fp_transformer.generation`.

## What a turn costs

The text of turn $j$ begins, in general, with the text of turn $j - 1$ and the answer to it. The cache holds the keys
and values of those, so only the new part is computed: the end mark of the answer, the question, the opening of the next
turn. `generate` compares ids and keeps what agrees; it does not trust that texts begin alike, since a template may
change an earlier turn (some drop the model's reasoning), and an answer that was written as tokens may have other tokens
when it is read as text. A conversation of $n$ tokens in all costs about $n$ rows (`attention.cache-work`), however many
turns it has.

## When it no longer fits

Let the context have $T$ positions. When the conversation with the new question leaves less than a fair share for the
answer, the oldest turns are forgotten, the system message never, until it fills at most half of the context: like
`transformer.slide`, a cut that is rare, since everything behind it has to be computed again. Turns are forgotten whole,
because half a turn has no mark where it begins. A single question that is too long is an error, and the conversation
stays as it was. The answer ends where the context does.

## Stops

An answer ends with the token that closes a turn, or with any of the stop strings given. Strings may lie across tokens,
so they are looked for in the characters: `StopText` is `fp_transformer.decoding.StopMatcher` on characters in place of
tokens, and `transformer.stop-incremental` says what may be shown when.

>>> stops = StopText(["\nUser:"])
>>> [stops.push(part) for part in ("Paris.\n", "Use", "d to", "\nUser", ": no")], stops.stopped
(['Paris.', '', '\nUsed to', '', ''], True)

## In practice

An answer is drawn at a low temperature, as the model's makers advise. Programs with long conversations ask the model
for a summary of the turns that they drop.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fp_capstone.chat_template import ChatTemplate, Message
from fp_capstone.pretrained import Pretrained

__all__ = ["Sampling", "Conversation", "StopText", "continuation"]

Real = float | int
CHUNK = 512  # tokens of a prompt that are computed at a time: more take memory and no less time


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, as for `fp_transformer.decoding.choose`, and when to stop."""

    temperature: Real = 1.0
    top_k: int | None = None
    top_p: Real | None = None
    min_p: Real | None = None
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Those of one token."""
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p")}


class StopText:
    """
    Looks for stop strings in a text that arrives in parts.

    Parameters
    ----------
    stops
        Strings, none empty.

    Attributes
    ----------
    stopped : bool
        Whether one has ended.

    Raises
    ------
    ValueError
        If one is empty.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        strings = list(stops)
        if "" in strings:
            raise ValueError("a stop string has at least one character: an empty one would stop everything")
        self._matcher: Any = None
        if strings:
            from fp_transformer.decoding import StopMatcher

            self._matcher = StopMatcher([tuple(map(ord, string)) for string in strings])

    @property
    def stopped(self) -> bool:
        return self._matcher is not None and self._matcher.stopped

    def push(self, text: str) -> str:
        """Take a part; give what can be shown."""
        if self._matcher is None:
            return text
        shown: list[int] = []
        for character in text:
            shown += self._matcher.push(ord(character))
            if self._matcher.stopped:
                break
        return "".join(map(chr, shown))

    def filter(self, parts: Iterable[str]) -> Iterator[str]:
        """The parts of a text up to the first stop, none empty; no part is taken once a stop has ended."""
        for part in parts:
            shown = self.push(part)
            if shown:
                yield shown
            if self.stopped:
                return
        if self._matcher is not None and self._matcher.held:
            yield "".join(map(chr, self._matcher.held))


def continuation(
    pretrained: Pretrained, prompt_ids: list[int], sampling: Sampling, rng: np.random.Generator
) -> Iterator[str]:
    """
    The text with which a model continues a prompt, in parts, each as soon as it can be shown.

    Parameters
    ----------
    pretrained
        The model.
    prompt_ids
        At least one.
    sampling
        Settings.
    rng
        Draws the tokens.

    Raises
    ------
    ValueError
        If a setting lies outside its range.
    """
    from fp_tokenize.streaming import decode_pieces

    stops = StopText(sampling.stop)
    tokens = pretrained.model.generate(
        prompt_ids, sampling.max_new_tokens, rng=rng, stop=pretrained.ends, prefill_chunk=CHUNK, **sampling.options()
    )
    tokenizer = pretrained.tokenizer
    hidden = set(tokenizer.special_tokens.values()) - {tokenizer.unknown}
    # not `decode_stream`: the first space belongs to the text, as this is not its beginning
    return stops.filter(decode_pieces(tokenizer.id_to_bytes(i) for i in tokens if i not in hidden))


@dataclass
class Conversation:
    """
    Turns with a model, and the cache that goes with them.

    Parameters
    ----------
    pretrained
        A model with a chat template.
    sampling
        Settings; `max_new_tokens` is the most that an answer may have.
    rng
        Draws the tokens.
    system
        What the model is told before the first turn; the template's own message if not given.

    Attributes
    ----------
    messages : list of dict
        What has been said, beginning with the system message if there is one.
    forgotten : int
        How many messages the last question has pushed out of the context.
    full : bool
        Whether the last answer ended because the context did.

    Raises
    ------
    ValueError
        If the model has no chat template, or a setting lies outside its range.
    """

    pretrained: Pretrained
    sampling: Sampling
    rng: np.random.Generator
    system: str | None = None
    messages: list[Message] = field(default_factory=list, init=False)
    forgotten: int = field(default=0, init=False)
    full: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.pretrained.chat_template is None:
            raise ValueError(
                f"{self.pretrained.path} has no chat template: it is a base model, which continues texts and never saw "
                "a conversation. Let it write with  fp-capstone generate"
            )
        if self.sampling.max_new_tokens < 1:
            raise ValueError(f"an answer has at least one token, got max_new_tokens={self.sampling.max_new_tokens}")
        StopText(self.sampling.stop)
        self._template: ChatTemplate = self.pretrained.chat_template
        self._cache: Any = None
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        if self._cache is not None:
            self._cache.clear()

    def ask(self, question: str) -> Generator[str, None, None]:
        """
        The answer to a question, in parts.

        Parameters
        ----------
        question
            Plain text: marks that are spelled in it are characters (`capstone.template-injection`).

        Yields
        ------
        str
            Parts of the answer. If they are not read to the end, or the user interrupts, what has been read counts as
            the answer.

        Raises
        ------
        ValueError
            If the question does not fit into the context, or the template cannot be used. The conversation is as it
            was.
        """
        prompt, kept, room = self._fit(question)
        model, tokenizer = self.pretrained.model, self.pretrained.tokenizer
        if self._cache is None:
            self._cache = model.new_cache()
        stops = StopText(self.sampling.stop)
        chosen = 0

        def count(tokens: Iterable[int]) -> Iterator[int]:
            nonlocal chosen
            for token in tokens:
                chosen += 1
                yield token

        tokens = model.generate(
            prompt,
            room,
            rng=self.rng,
            stop=self.pretrained.ends,
            prefill_chunk=CHUNK,
            cache=self._cache,
            **self.sampling.options(),
        )
        self.forgotten, self.messages = len(self.messages) - (len(kept) - 1), kept
        said: list[str] = []
        whole = False
        try:
            for part in stops.filter(tokenizer.decode_stream(count(tokens), skip_special=True)):
                said.append(part)
                yield part
            whole = True
        finally:
            if not whole:
                self._cache.clear()  # an interruption may have left layers of unequal length
            self.full = whole and chosen == room < self.sampling.max_new_tokens
            self.messages.append({"role": "assistant", "content": "".join(said)})

    def _fit(self, question: str) -> tuple[list[int], list[Message], int]:
        """The prompt, the messages that it consists of, and how many tokens the answer may have."""
        T, most = self.pretrained.model.config.context_length, self.sampling.max_new_tokens
        first = 0 if self.system is None else 1
        kept = [*self.messages, {"role": "user", "content": question}]
        prompt = self._template.encode(kept, self.pretrained.tokenizer)
        share = min(most, T // 4)
        if len(prompt) + share > T:
            while len(prompt) > T // 2 and len(kept) > first + 1:
                kept = kept[:first] + kept[first + 2 :]  # a question and its answer
                prompt = self._template.encode(kept, self.pretrained.tokenizer)
        if len(prompt) + share > T:
            raise ValueError(
                f"the question makes a prompt of {len(prompt):,} tokens, and the model's context has {T:,}, of which "
                f"{share:,} are for the answer: shorten the question"
            )
        return prompt, kept, min(most, T - len(prompt) + 1)
