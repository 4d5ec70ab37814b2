r"""
Preferences: pairs of answers, and how probable a model finds an answer.

People can seldom write the perfect answer; they can say which of two is better. A data set of alignment is a list of
such verdicts. What do they say about a reward, and what does a language model need in order to learn from them? Chiefly
one number: the logarithm of the probability that it gives a response, given its prompt.

You need: `fp_transformer.model` with `transformer.causal`, `markov.chain-rule`, `fp_align.exact`.

## The probability of a response

A model scores the token after each position. Write prompt and response one after the other, $t_0, \dots, t_{n-1}$ the
prompt's tokens and $t_n, \dots, t_{T-1}$ the response's, and let $m_s$ be $1$ where $t_s$ is a token of the response
and else $0$. With $p_s$ the softmax of the scores at position $s$,

$$\ln \pi(y \mid x) = \sum_{s=1}^{T-1} m_s \ln p_{s-1}(t_s). \qquad \text{(E1)}$$

Note the shift: the token at $s$ is predicted at $s - 1$. The prompt is read and not scored: nobody asks how probable a
question is. A batch holds texts of different lengths, so short ones are filled up on the right with any token, for
which $m_s = 0$.

**Claim** `align.masked-sum`. (E1) is the logarithm of the probability that the model, having read the prompt, writes
the response token by token. It does not depend on what fills up the text on the right.

**Proof.** By `transformer.causal` $p_{s-1}$ is a distribution that is fixed by $t_0, \dots, t_{s-1}$: the model's for
the token after these. The probability of the response given the prompt is the product of those of its tokens, each
given all before it (`markov.chain-rule`, with the prompt as a condition throughout), and (E1) is its logarithm. The
terms with $m_s = 1$ use $p_{s-1}$ and $t_s$ for places up to the response's last token, and no $p_{s-1}$ of these
depends on anything behind its position. $\blacksquare$

So padding on the right needs no attention mask. Padding on the left would, and would move positions too.

>>> from fp_align.exact import all_responses
>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> config = TransformerConfig.llama(vocab_size=3, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> model = Transformer(config, rng=np.random.default_rng(0), dtype=np.float64)
>>> table = response_table(model, [(1, 2)], all_responses(3, 2))
>>> table.shape, round(float(np.exp(table).sum()), 6)
((1, 9), 1.0)

## A judge

Suppose that a judge feels the reward of each of two answers with a random error, and prefers what feels better. Bradley
and Terry's model says how often $y$ wins against $y'$:

$$P(y \succ y' \mid x) = \sigma \big( r(x, y) - r(x, y') \big), \qquad \sigma(u) = \frac{1}{1 + e^{-u}}.
\qquad \text{(E2)}$$

**Claim** `align.bradley-terry-choice`. A judge who adds independent numbers of the Gumbel distribution to the rewards
and takes the larger sum prefers $y$ to $y'$ with the probability (E2).

**Proof.** By `markov.gumbel-max` with the two rewards as scores the first wins with probability
$e^{r} / (e^{r} + e^{r'})$. Divide both by $e^{r}$: it is $1 / (1 + e^{r' - r}) = \sigma(r - r')$. $\blacksquare$

Only the difference counts, so comparisons never tell a reward from the same reward plus a number for each prompt. A
difference of one nat wins

>>> round(float(preference_probability(np.array(1.0), np.array(0.0))), 3)
0.731

of the time. `sample_preferences` asks this judge in a listed world.

## In practice

Data sets such as Anthropic's HH or UltraFeedback hold a prompt, a chosen and a rejected answer. What judges disagree
about is lost in one winner a pair; long answers win more often than good ones, and (E2) makes preferences transitive,
which people's are not. TRL computes (E1) with the same shift and mask. Some methods divide it by the length of the
response (SimPO); then it is no longer a probability. Bradley and Terry (1952); that their model is a choice among noisy
utilities is due to L. Thurstone (1927), with normal errors, and R. D. Luce (1959).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from fp_align.exact import World
from fp_autograd.rules import where
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_markov.sampling import sample
from fp_neural.losses import cross_entropy
from fp_transformer.generation import generate_batch
from fp_transformer.model import Transformer

__all__ = [
    "Preference",
    "padded",
    "token_log_probabilities",
    "sequence_log_probabilities",
    "response_table",
    "preference_probability",
    "sample_preferences",
    "sample_responses",
]  # the order of the page

Ids = Sequence[int]


@dataclass(frozen=True)
class Preference:
    """
    One verdict: of two responses to a prompt, which was preferred.

    Parameters
    ----------
    prompt
        Token ids, at least one.
    chosen, rejected
        Token ids of the responses, at least one each. A stop token belongs to the response.

    Raises
    ------
    ValueError
        If one of them is empty, or both responses are the same.

    Examples
    --------
    >>> Preference((1, 2), (3,), (4, 5)).chosen
    (3,)
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("prompt", "chosen", "rejected"):
            ids = tuple(int(i) for i in getattr(self, name))
            if not ids:
                raise ValueError(f"a preference needs at least one token in its {name}, got none")
            object.__setattr__(self, name, ids)
        if self.chosen == self.rejected:
            raise ValueError(f"chosen and rejected differ, got the same response twice: {self.chosen}. Leave it out.")


def padded(
    prompts: Sequence[Ids], responses: Sequence[Ids], pad: int = 0
) -> tuple[Integer[np.ndarray, "B T"], Bool[np.ndarray, "B T"]]:
    """
    Prompts with their responses as one array, filled up on the right, and where the responses' tokens are.

    Parameters
    ----------
    prompts, responses
        Token ids, as many of the one as of the other, none empty.
    pad
        The token that fills up; which one is the same to everything here.

    Returns
    -------
    ids, mask : ndarray
        int64 and bool; the mask is True at tokens of the response.

    Raises
    ------
    ValueError
        If there are none, the numbers differ, or a prompt or a response is empty.

    Examples
    --------
    >>> ids, mask = padded([[5], [6, 7]], [[1, 2], [3]])
    >>> ids.tolist(), mask.astype(int).tolist()
    ([[5, 1, 2], [6, 7, 3]], [[0, 1, 1], [0, 0, 1]])
    """
    if len(prompts) != len(responses) or not len(prompts):
        raise ValueError(f"each prompt needs a response, got {len(prompts)} prompts and {len(responses)} responses")
    for name, many in (("prompt", prompts), ("response", responses)):
        for i, one in enumerate(many):
            if len(one) == 0:
                raise ValueError(
                    f"{name} {i} is empty: give it at least one token, such as the stop or the begin of a text"
                )
    longest = max(len(x) + len(y) for x, y in zip(prompts, responses, strict=True))
    ids = np.full((len(prompts), longest), pad, np.int64)
    mask = np.zeros(ids.shape, bool)
    for row, (x, y) in enumerate(zip(prompts, responses, strict=True)):
        end = len(x) + len(y)
        ids[row, : len(x)], ids[row, len(x) : end] = x, y
        mask[row, len(x) : end] = True
    return ids, mask


def token_log_probabilities(model: Any, ids: Integer[np.ndarray, "B T"], **settings: Any) -> Any:
    """
    How probable a model finds each token after the first, given those before it.

    Parameters
    ----------
    model
        Called with ids, it returns logits of shape (B, T, V).
    ids
        Token ids, at least two columns.
    **settings
        For the model's call, such as `mask`.

    Returns
    -------
    Tensor
        Nats, of shape (B, T - 1): entry `[b, s]` belongs to the token `ids[b, s + 1]`.

    Raises
    ------
    ValueError
        If there are fewer than two columns.
    """
    if ids.ndim != 2 or ids.shape[1] < 2:
        raise ValueError(f"ids have the shape (batch, time) with two positions or more, got {ids.shape}")
    return -cross_entropy(model(ids[:, :-1], **settings), ids[:, 1:], reduction="none")


def sequence_log_probabilities(
    model: Any, ids: Integer[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"], **settings: Any
) -> Any:
    r"""
    $\ln \pi(y \mid x)$ (E1) of each text of a batch.

    Parameters
    ----------
    model
        Called with ids, it returns logits of shape (B, T, V).
    ids
        Prompts with their responses, filled up on the right (`padded`).
    mask
        True at the tokens that count: those of the response.
    **settings
        For the model's call.

    Returns
    -------
    Tensor
        Nats, of shape (B,); at most 0.

    Raises
    ------
    ValueError
        If the shapes differ, a text has no token that counts, or its first token counts, which nothing predicts.
    TypeError
        If the mask is not Boolean.

    Examples
    --------
    A model that finds all of five tokens equally probable:

    >>> ids, mask = padded([[1, 2]], [[3, 4]])
    >>> even = lambda ids: np.zeros((*ids.shape, 5))
    >>> sequence_log_probabilities(even, ids, mask).round(4), round(2 * float(np.log(1 / 5)), 4)
    (array([-3.2189]), -3.2189)
    """
    check_mask(ids, mask)
    each = token_log_probabilities(model, ids, **settings)
    return where(mask[:, 1:], each, np.zeros_like(value_of(each))).sum(axis=1)  # a product would make 0 times -inf


def check_mask(ids: Integer[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> None:
    """`ValueError` or `TypeError` for a mask that marks no responses."""
    if mask.dtype != bool:
        raise TypeError(f"the mask is Boolean, True at the tokens that count, got {mask.dtype}: pass mask != 0")
    if mask.shape != ids.shape:
        raise ValueError(f"the mask has the shape of the ids, {ids.shape}, got {mask.shape}")
    if mask[:, 0].any():
        raise ValueError(
            f"the first token of text {int(mask[:, 0].argmax())} counts, but nothing stands before it to predict it "
            "from: begin the prompt with a token"
        )
    if not mask.any(axis=1).all():
        raise ValueError(f"text {int(mask.any(axis=1).argmin())} has no token that counts: leave it out of the batch")


def response_table(model: Any, prompts: Sequence[Ids], responses: Sequence[Ids]) -> Float[np.ndarray, "X Y"]:
    """
    The logarithm of the probability of every response to every prompt; nothing is recorded for a gradient.

    Parameters
    ----------
    model
        Called with ids, it returns logits.
    prompts, responses
        Token ids; for a complete list of responses see `all_responses`.

    Returns
    -------
    ndarray
        Nats, float64; a row for each prompt.
    """
    ids, mask = padded([x for x in prompts for _ in responses], [y for _ in prompts for y in responses])
    with no_grad():
        flat = value_of(sequence_log_probabilities(model, ids, mask))
    return flat.reshape(len(prompts), len(responses)).astype(np.float64)


def preference_probability(one: Float[np.ndarray, "*n"], other: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """
    How often the first of two responses wins, by their rewards (E2).

    Parameters
    ----------
    one, other
        Rewards.

    Returns
    -------
    ndarray
        Probabilities.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, other - one)))


def sample_preferences(
    world: World,
    prompts: Sequence[Ids],
    responses: Sequence[Ids],
    n: int,
    rng: np.random.Generator,
) -> list[Preference]:
    """
    Verdicts of a Bradley-Terry judge on pairs that the reference of a world answers.

    Parameters
    ----------
    world
        Whose prompts are drawn by their weights, whose reference draws two different responses, and whose rewards the
        judge feels.
    prompts, responses
        The token ids that its rows and columns stand for.
    n
        How many verdicts.
    rng
        Source of randomness.

    Returns
    -------
    list of Preference
        `n` of them.

    Raises
    ------
    ValueError
        If the lists do not fit the world, there are fewer than two responses, or `n` is below 1.

    Examples
    --------
    >>> world = World(np.array([[0.5, 0.5]]), np.array([[0.0, 5.0]]))
    >>> verdicts = sample_preferences(world, [(1,)], [(2,), (3,)], 100, np.random.default_rng(0))
    >>> sum(v.chosen == (3,) for v in verdicts)
    100
    """
    if (len(prompts), len(responses)) != world.rewards.shape or len(responses) < 2 or n < 1:
        raise ValueError(
            f"a world of {world.rewards.shape[0]} prompts and {world.rewards.shape[1]} responses, two or more, is "
            f"asked for one verdict or more; got {len(prompts)} prompts, {len(responses)} responses and n = {n}"
        )
    found = []
    for x in rng.choice(len(prompts), size=n, p=world.prompt_weights):
        a, b = rng.choice(len(responses), size=2, replace=False, p=world.reference[x])
        felt = world.rewards[x, [a, b]] + rng.gumbel(size=2)
        if felt[1] > felt[0]:
            a, b = b, a
        found.append(Preference(tuple(prompts[x]), tuple(responses[a]), tuple(responses[b])))
    return found


def sample_responses(
    model: Any,
    prompts: Sequence[Ids],
    max_new_tokens: int,
    rng: np.random.Generator,
    *,
    stop: int | None = None,
) -> list[list[int]]:
    """
    A response to each prompt, drawn from the model as it is: no temperature, nothing cut.

    Parameters
    ----------
    model
        A `Transformer` in eval mode, or anything that returns logits when called with ids.
    prompts
        Token ids, none empty.
    max_new_tokens
        The longest response.
    rng
        Source of randomness.
    stop
        The token that ends a response, of which it is the last token then.

    Returns
    -------
    list of list of int
        One for each prompt, of at least one token.

    Raises
    ------
    ValueError
        If `max_new_tokens` is below 1, or a prompt is empty.

    Examples
    --------
    >>> sure = lambda ids: np.where(np.arange(3) == 2, 50.0, 0.0) + np.zeros((*ids.shape, 1))
    >>> sample_responses(sure, [[0], [1, 1]], 4, np.random.default_rng(0), stop=2)
    [[2], [2]]
    """
    if max_new_tokens < 1 or any(len(x) == 0 for x in prompts):
        raise ValueError(
            f"each prompt has a token and each response room for one, got max_new_tokens = {max_new_tokens} and "
            f"prompts of {sorted({len(x) for x in prompts})} tokens"
        )
    if isinstance(model, Transformer):
        new = generate_batch(
            model, prompts, max_new_tokens, rng=rng, stop=() if stop is None else (stop,), on_overflow="error"
        )
        return [y if stop is None or len(y) == max_new_tokens else [*y, stop] for y in new]
    responses: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        texts = [[*prompts[b], *responses[b]] for b in going]
        ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
        with no_grad():
            logits = value_of(model(ids))[np.arange(len(texts)), [len(text) - 1 for text in texts]]
        for b, token in zip(going, sample(logits, rng), strict=True):
            responses[b].append(int(token))
        going = [b for b in going if responses[b][-1] != stop]
        if not going:
            break
    return responses
