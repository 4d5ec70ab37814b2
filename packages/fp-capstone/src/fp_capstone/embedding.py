r"""
The embedding: from the number of a token to a vector.

Token ids are names, not quantities: 17 is not "more" than 16. So the model keeps a table
$E \in \mathbb{R}^{V \times C}$, a learned row for each token of the vocabulary, and looks rows up.

You need: the linear map (`fp_capstone.linear`).

## Derivation

For the ids $t_1, \dots, t_N$,

$$Y_{nc} = E_{t_n, c}. \qquad \text{(E1)}$$

The lookup is a linear map in disguise. Let $H \in \{0, 1\}^{N \times V}$ be the **one-hot** matrix
$H_{nv} = [t_n = v]$. Then $(H E)_{nc} = \sum_v [t_n = v] E_{vc} = E_{t_n, c}$: exactly one term of the sum is not zero.

**Claim** `capstone.embedding-scatter`. With the cotangent $G$, each row of the table receives the sum of the cotangents
of the places where its token stood:

$$\frac{\partial \ell}{\partial E_{vc}} = \sum_{n \,:\, t_n = v} G_{nc}. \qquad \text{(E2)}$$

**Proof.** $Y = HE$ is linear in $E$, so by `capstone.linear-backward` its gradient is $H^\top G$, whose entry is
$\sum_n [t_n = v]\, G_{nc}$. The bracket keeps the terms with $t_n = v$. $\blacksquare$

A token that stands twice receives both cotangents: the rows are *added*. Indexed assignment in NumPy,
`dE[ids] += g`, keeps only the last of them: the classic mistake.

**Cost.** As a matrix product (E2) would take $2NVC$ operations, nearly all of them multiplications by zero. Sorted by
token, equal ids stand side by side, and each run is summed in one sweep: $NC$ additions and a sort of $N$ integers.

## In practice

The sum's order is fixed by a stable sort, so the same batch gives the same bits. Libraries for GPUs add with atomic
operations, in whatever order the threads arrive, which is one of the reasons why their runs differ in the last bits.
"""

import numpy as np
from jaxtyping import Float, Int

from fp_capstone.memory import HEAP, Memory

__all__ = ["embedding", "embedding_backward"]


def embedding(
    ids: Int[np.ndarray, " N"], E: Float[np.ndarray, "V C"], memory: Memory = HEAP
) -> Float[np.ndarray, "N C"]:
    """
    Look up a row for each id (E1).

    Parameters
    ----------
    ids
        Token ids, each in `[0, V)`.
    E
        The table, shape `V C`.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        A copy of the rows, shape `N C`.

    Examples
    --------
    >>> embedding(np.array([1, 0, 1]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [1., 2.],
           [3., 4.]])
    """
    y = memory.empty((len(ids), E.shape[1]), E.dtype)
    np.take(E, ids, axis=0, out=y, mode="clip")  # the ids lie in [0, V): nothing is clipped, and nothing buffered
    return y


def embedding_backward(g: Float[np.ndarray, "N C"], ids: Int[np.ndarray, " N"], dE: Float[np.ndarray, "V C"]) -> None:
    """
    Add the gradient (E2) to `dE`, in place.

    It adds, where the other backward passes overwrite, because a tied table has a second use whose gradient may
    already be there (`fp_capstone.model`).

    Parameters
    ----------
    g
        Gradient of the loss with respect to the rows that were looked up, shape `N C`.
    ids
        What the forward pass was given.
    dE
        The gradient of the table, added to.

    Examples
    --------
    >>> dE = np.zeros((3, 1))
    >>> embedding_backward(np.array([[1.0], [10.0], [100.0]]), np.array([2, 0, 2]), dE)
    >>> dE.ravel()
    array([ 10.,   0., 101.])
    """
    order = np.argsort(ids.astype(np.uint16) if len(dE) <= 2**16 else ids, kind="stable")  # few bits: by counting
    ordered = ids[order]
    new = np.empty(len(ids), np.bool_)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = new.nonzero()[0]
    dE[ordered[starts]] += np.add.reduceat(g[order], starts, axis=0)
