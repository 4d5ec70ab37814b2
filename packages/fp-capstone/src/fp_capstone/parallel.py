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

The unweighted mean is wrong as soon as the shares differ in size.

## In practice

This is data parallelism, which also connects machines: there the sum of gradients travels over a network. The sum is
taken in the order of the shares, so the result has the same bits from run to run with the same number of threads.
Dropout draws from one generator a share, seeded in order from the caller's.
"""

from concurrent.futures import ThreadPoolExecutor

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

    def __init__(self, model: Model, n_threads: int) -> None:
        if n_threads < 1:
            raise ValueError(f"n_threads must be at least 1, got {n_threads}")
        self._model = model
        self._grads = [Parameters(model.config, model.dtype) for _ in range(n_threads)]
        self._arenas = [Arena() for _ in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
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
        """
        if self._pool is None:
            return self._share(0, ids, targets, rng, ids.size)
        work = ids.size * self._model.config.n_parameters
        n_shares = max(1, min(len(self._grads), len(ids), work // WORTHWHILE))
        rngs = (
            [None] * n_shares if rng is None else [np.random.default_rng(s) for s in rng.integers(2**63, size=n_shares)]
        )
        shares = zip(np.array_split(ids, n_shares), np.array_split(targets, n_shares), rngs, strict=True)
        with self._blas.limit(limits=1, user_api="blas"):
            if n_shares == 1:
                return self._share(0, *next(shares), ids.size)
            losses = self._all([(self._share, i, *share, ids.size) for i, share in enumerate(shares)])
            self._all([(self._add, i, n_shares) for i in range(n_shares)])
        return sum(loss for loss, _ in losses), self._grads[0].named

    def _all(self, calls):
        return [future.result() for future in [self._pool.submit(*call) for call in calls]]

    def _share(self, i, ids, targets, rng, n_total):
        return self._model.loss_and_grads(ids, targets, rng, self._grads[i], self._arenas[i], n_total)

    def _add(self, i, n):
        """Add up the shares' gradients in the i-th of n parts."""
        total = np.array_split(self._grads[0].flat, n)[i]
        for grads in self._grads[1:n]:
            total += np.array_split(grads.flat, n)[i]
