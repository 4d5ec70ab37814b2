r"""
Threads over the batch: the same gradient from several cores.

BLAS spreads a single matrix product over the cores, but between the products stand norms, bends and softmaxes, which
NumPy computes on one core. Splitting the *batch* instead keeps every core busy with all of it: each thread runs the
whole forward and backward pass on its share of the sequences (NumPy lets go of the interpreter's lock inside its
loops), and the shares' gradients are averaged.

You need: `fp_capstone.model`.

## Derivation

**Claim** `capstone.shards`. Let a batch of $N$ tokens be split in shares of $N_1, \dots, N_S$ tokens, with mean losses
$\ell_s$. Then the mean loss of the batch is $\ell = \sum_s \frac{N_s}{N} \ell_s$, and its gradient is the same weighted
mean of the shares' gradients.

**Proof.** The share's mean loss is $\ell_s = \frac{1}{N_s} \sum_{n \in s} \ell(n)$, so
$\sum_s \frac{N_s}{N} \ell_s = \frac{1}{N} \sum_s \sum_{n \in s} \ell(n) = \ell$: the loss of a token depends on its own
sequence only, so it is the same number in either batch. Differentiation is linear, so the weights carry over to the
gradients. $\blacksquare$

The unweighted mean is wrong as soon as the shares differ in size. So every share divides the sum over its tokens by
$N$, the number of all tokens, in the first line of its backward pass (`fp_capstone.cross_entropy`), and what comes out
at the end is its part $\frac{N_s}{N} \nabla \ell_s$: the parts need only be added.

What waits in vain is the interpreter: its lock is held between two operations of NumPy, and whoever finds it taken is
put to sleep and woken again, which takes as long as a small operation. So pieces are larger here than a cache would
ask for, and a small model on a small batch is not split at all.

## In practice

This is data parallelism, which also connects machines: there the sum of gradients travels over a network. The sum is
taken in the order of the shares, so the result has the same bits from run to run with the same number of threads.
Dropout draws from one generator a share, seeded in order from the caller's.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

import numpy as np
from jaxtyping import Int
from threadpoolctl import ThreadpoolController

from fp_capstone.memory import Arena
from fp_capstone.model import Model
from fp_capstone.parameters import Parameters

__all__ = ["ThreadedGradients"]

# parameters times tokens of the smallest share that is worth a thread: below it the interpreter, of which there is
# one, is what a step waits for
WORTHWHILE = 20_000_000


class ThreadedGradients:
    """
    `Model.loss_and_grads`, with the batch split over threads.

    Parameters
    ----------
    model
        Its parameters are read, not changed.
    n_threads
        Largest number of shares; a small batch of a small model has fewer. With one thread, BLAS uses the cores as it
        likes.
    recompute
        Keep less and compute more (`fp_capstone.recomputation`).

    Raises
    ------
    ValueError
        If there is not at least one thread.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=4, n_layers=1, n_heads=1, d_model=8)
    >>> model = Model(config, np.random.default_rng(0))
    >>> ids = np.array([[0, 1, 2], [3, 4, 5], [6, 0, 1]])
    >>> loss, grads = ThreadedGradients(model, 2)(ids, ids)
    >>> bool(abs(loss - model.loss(ids, ids)) < 1e-6)
    True
    """

    def __init__(self, model: Model, n_threads: int, recompute: bool = False) -> None:
        if n_threads < 1:
            raise ValueError(f"n_threads must be at least 1, got {n_threads}")
        self._model, self._recompute = model, recompute
        self._grads = [Parameters(model.config, model.dtype) for _ in range(n_threads)]
        self._arenas = [Arena() for _ in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads)
        self._blas = ThreadpoolController()

    def __call__(
        self,
        ids: Int[np.ndarray, "B T"],
        targets: Int[np.ndarray, "B T"],
        rng: np.random.Generator | None = None,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """
        Mean loss in nats per token, and its gradients.

        Parameters
        ----------
        ids, targets, rng
            As for `Model.loss_and_grads`.

        Returns
        -------
        loss : float
            Nats per token.
        grads : dict
            Gradients under the parameters' names, in memory that the next call reuses.

        Raises
        ------
        ValueError
            As `Model.loss_and_grads`. An error or an interrupt ends the call when no thread is at work any more.
        """
        if len(self._grads) == 1:
            return self._share(0, ids, targets, rng, None), self._grads[0].named
        work = np.size(ids) * self._model.config.n_parameters
        n_shares = max(1, min(len(self._grads), len(ids), work // WORTHWHILE))
        if n_shares == 1:
            with self._blas.limit(limits=1, user_api="blas"):
                return self._share(0, ids, targets, rng, None), self._grads[0].named
        self._model._check(ids, 0, targets)  # as a whole, of which a message may speak
        seeds = [None] * n_shares if rng is None else rng.integers(2**63, size=n_shares)
        rngs = [None if seed is None else np.random.default_rng(seed) for seed in seeds]
        parts = np.array_split(ids, n_shares), np.array_split(targets, n_shares), rngs
        with self._blas.limit(limits=1, user_api="blas"):
            losses = self._in_threads(self._share, range(n_shares), *parts, [ids.size] * n_shares)
            self._in_threads(self._add, range(n_shares), [n_shares] * n_shares)
        return sum(losses), self._grads[0].named

    def _in_threads(self, do: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a function returns for each of several arguments, a thread for each."""
        # in copies of the caller's context, where NumPy keeps what is to become of an overflow
        work = [self._pool.submit(copy_context().run, do, *each) for each in zip(*arguments, strict=True)]
        try:
            return [share.result() for share in work]
        finally:  # after an error, too: the next call uses the same memory
            wait(work)

    def _share(
        self,
        i: int,
        ids: Int[np.ndarray, "b T"],
        targets: Int[np.ndarray, "b T"],
        rng: np.random.Generator | None,
        n_total: int | None,
    ) -> float:
        """The loss of the i-th share, whose gradient is left in its buffer."""
        arena = self._arenas[i]
        arena.release(0)  # of a step that an error has ended
        return self._model.loss_and_grads(ids, targets, rng, self._grads[i], arena, n_total, self._recompute)[0]

    def _add(self, i: int, n: int) -> None:
        """Add up the gradients of all n shares, in the i-th of n parts of the buffer."""
        total, *others = (np.array_split(grads.flat, n)[i] for grads in self._grads[:n])
        for other in others:
            total += other
