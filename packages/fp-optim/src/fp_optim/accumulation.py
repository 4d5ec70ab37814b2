r"""
Accumulation: a large batch on a small machine.

A batch that does not fit in memory is cut into micro-batches, whose gradients are added up before one step is taken.
Text makes this easy to get wrong: micro-batches hold different numbers of tokens, because padding and prompts carry no
loss. This section shows which mean of the gradients is the right one.

You need: the gradient of a sum is the sum of the gradients (stage 2).

## The right mean

Let the batch have $N$ tokens with losses $\ell_1, \dots, \ell_N$ as functions of the parameters, and be cut into
micro-batches $b = 1, \dots, B$ of $n_b \ge 1$ tokens each. The batch's loss and the micro-batches' losses are means
over their tokens:

$$
\mathcal{L} = \frac1N \sum_{i=1}^{N} \ell_i, \qquad \mathcal{L}_b = \frac{1}{n_b} \sum_{i \in b} \ell_i.
\qquad \text{(E1)}
$$

**Claim** `optim.accumulation`. $\nabla \mathcal{L} = \sum_b \frac{n_b}{N} \nabla \mathcal{L}_b$.

**Proof.** Every token is in exactly one micro-batch, so

$$
\nabla \mathcal{L} = \frac1N \sum_b \sum_{i \in b} \nabla \ell_i = \frac1N \sum_b n_b \nabla \mathcal{L}_b.
\qquad \text{(E2)} \quad \blacksquare
$$

The plain mean $\frac1B \sum_b \nabla \mathcal{L}_b$ is the same if all $n_b$ are equal. If not, it weighs a token by
$1 / (B n_b)$: a token in a short micro-batch counts for more than one in a long one.

>>> tokens = [np.array([1.0]), np.array([5.0, 5.0, 5.0])]  # gradients of two micro-batches, token by token
>>> float(np.concatenate(tokens).mean()), float(np.mean([t.mean() for t in tokens]))
(4.0, 3.0)

## In practice

This is not a subtlety: in 2024 widely used trainers were found to have taken the plain mean for years. The same
weights serve when several processes each work on their part of a batch. Losses are averaged like the gradients.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from fp_optim._named import CHUNK, check_gradients, check_parameters, pieces

__all__ = ["Accumulator"]


class Accumulator:
    """
    The token-weighted mean (E2) of gradients that come one micro-batch at a time.

    Parameters
    ----------
    parameters
        Name to array; only their shapes and types are used.

    Examples
    --------
    >>> accumulator = Accumulator({"w": np.zeros(2)})
    >>> accumulator.add({"w": np.array([1.0, 0.0])}, n_tokens=1)
    >>> accumulator.add({"w": np.array([5.0, 4.0])}, n_tokens=3)
    >>> accumulator.mean()["w"].tolist()
    [4.0, 3.0]
    """

    def __init__(self, parameters: Mapping[str, Float[np.ndarray, "..."]]) -> None:
        check_parameters(parameters)
        self._sums = {name: np.zeros_like(array) for name, array in parameters.items()}
        self._scratch = {array.dtype: np.empty(CHUNK, dtype=array.dtype) for array in parameters.values()}
        self._tokens = 0
        self._finished = False

    @property
    def n_tokens(self) -> int:
        """Tokens added since the last mean, or in it if nothing has been added after it."""
        return self._tokens

    def add(self, grads: Mapping[str, Float[np.ndarray, "..."]], n_tokens: int) -> None:
        """
        Add the mean gradient of one micro-batch; the first one after `mean` begins a new batch.

        Parameters
        ----------
        grads
            Name to gradient of the micro-batch's mean loss, one per parameter. They are only read.
        n_tokens
            The tokens that carry loss in it, at least 1.

        Raises
        ------
        ValueError
            If a gradient is missing, unexpected or misshapen, or there is no token.
        """
        if n_tokens < 1:
            raise ValueError(f"n_tokens must be at least 1, got {n_tokens}; a micro-batch without loss has no gradient")
        check_gradients(self._sums, grads)
        if self._finished:
            self.clear()
        first = self._tokens == 0
        self._tokens += n_tokens
        for name, total in self._sums.items():
            if first:
                np.multiply(grads[name], n_tokens, out=total)
                continue
            scratch = self._scratch[total.dtype]
            for sums, g in pieces(total, grads[name]):
                sums += np.multiply(g, n_tokens, out=scratch[: g.size])

    def clear(self) -> None:
        """Forget what was added: the next `add` begins a new batch."""
        self._tokens, self._finished = 0, False

    def mean(self) -> dict[str, Float[np.ndarray, "..."]]:
        """
        The gradient of the whole batch's mean loss.

        Returns
        -------
        dict
            Name to gradient, in the accumulator's own arrays: use or change them before the next `add`.

        Raises
        ------
        ValueError
            If nothing was added.
        """
        if self._tokens == 0:
            raise ValueError("there is no mean of no micro-batch; call add first")
        if not self._finished:
            for total in self._sums.values():
                total /= self._tokens
            self._finished = True
        return dict(self._sums)
