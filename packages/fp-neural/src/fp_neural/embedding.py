r"""
Embeddings: a vector for each token, learned.

A network computes with numbers, and token 17 is not more than token 16. How does a token enter a network without an
order that it does not have, and what does the gradient of a table look like of which a text reads a few rows, some of
them many times?

You need: `fp_autograd.rules` for indexing and its transpose (`autograd.index-rule`), `fp_neural.layers`.

## One-hot vectors

Give each of $V$ tokens an axis of its own: token $i$ is the **one-hot** vector $e_i$, with a one at $i$ and zeros
elsewhere. No two are nearer to each other than any other two. A linear layer without bias takes them to vectors of
length $D$, and multiplies almost always by zero. Let $E \in \mathbb{R}^{V \times D}$ be its weights, transposed.

**Claim** `neural.embedding-one-hot`. Let $H \in \mathbb{R}^{T \times V}$ have the one-hot vectors of the tokens
$i_1, \dots, i_T$ as rows. Row $t$ of $H E$ is row $i_t$ of $E$: multiplying is looking up.

**Proof.** $(H E)_{tc} = \sum_j H_{tj} E_{jc}$, and $H_{tj}$ is $1$ for $j = i_t$ and $0$ for every other $j$.
$\blacksquare$

So $E$ is a table with a row for each token, its **embedding**. The product takes $T V D$ multiplications, the look-up
none.

>>> rng = np.random.default_rng(0)
>>> table = Embedding(5, 3, rng=rng)
>>> ids = np.array([4, 0, 4])
>>> bool((table(ids).data == np.eye(5, dtype=np.float32)[ids] @ table.weight.data).all())
True

## The gradient adds

**Claim** `neural.embedding-gradient`. Let $G$ be the cotangent of the $T$ rows that were looked up. The cotangent of
row $i$ of $E$ is the sum of those rows of $G$ whose token is $i$,

$$\bar E_i = \sum_{t :\, i_t = i} G_t, \qquad \bar E = H^\top G. \qquad \text{(E1)}$$

A token that does not occur has the gradient zero.

**Proof.** By `autograd.matmul-rule`, for the product $H E$ with the fixed $H$, $\bar E = H^\top G$. Its entry $(i, c)$
is $\sum_t H_{ti} G_{tc}$, and $H_{ti}$ is $1$ where $i_t = i$ and $0$ elsewhere. If there is no such $t$, the sum is
empty. $\blacksquare$

This is the scatter of `autograd.index-rule`. *Adds* is the word that is forgotten: `gradient[ids] = G` and
`gradient[ids] += G` in NumPy both keep only the last of the rows of a token.

>>> table(ids).backward(np.ones((3, 3), np.float32))
>>> table.weight.grad[:, 0]  # token 4 was read twice
array([1., 0., 0., 0., 2.], dtype=float32)

So in a step of gradient descent only the rows that were read move, and how far in total a row moves depends on how
frequent its token is. Rare tokens stay near where they began.

## A context of several tokens

Put the embeddings of $k$ tokens side by side, a vector of length $k D$, and let a linear layer with weights $W \in
\mathbb{R}^{m \times k D}$ follow.

**Claim** `neural.embedding-context`. Cut $W = (W_1 \mid \dots \mid W_k)$ into matrices of $D$ columns. The layer
computes $\sum_{j=1}^k W_j E^\top e_{i_j}$: each place $j$ has a table $E W_j^\top$ of its own, all of rank at most $D$,
and the rows that are read are added.

**Proof.** The entries $(j - 1)\, D + 1$ to $j D$ of the joined vector are row $i_j$ of $E$, which is $E^\top e_{i_j}$
as a column, and in the product with $W$ they meet the columns of $W_j$. So the product is the sum of the $W_j E^\top
e_{i_j}$. The matrix $W_j E^\top$ is a product through $D$ units, so its rank is at most $D$ (`neural.narrow-layer`).
$\blacksquare$

A network that had a free table of $V \times m$ numbers for each place would learn nothing about a token in one place
from seeing it in another. Through the shared $E$ it does. And the order is kept by the places alone: a program that
joins the vectors in another order in training and in use has exchanged the $W_j$.

## In practice

PyTorch's `Embedding` has the same table and draws it from the normal distribution with deviation one too. For tables of
a hundred thousand rows the gradient, all zeros but a few thousand rows, is the largest array in a small model;
frameworks offer sparse gradients for that, at the price of optimizers that must know about them. Large models use one
table for both ends, as $E$ here and as the weights of the last layer (O. Press and L. Wolf, 2017), which
`neural.tied-gradient` allows. Learned tables for tokens with a neural language model behind are from Y. Bengio and
others, 2003.
"""

from typing import Any

import numpy as np
from jaxtyping import Integer

from fp_neural.module import Module, Parameter

__all__ = ["Embedding"]


class Embedding(Module):
    """
    A table with a row for each token.

    Parameters
    ----------
    n
        How many tokens.
    dim
        The length of a row.
    rng
        Draws the table, from the normal distribution; None leaves it at zero, for one that will be loaded.
    std
        Its deviation.
    dtype
        Of the table.

    Attributes
    ----------
    weight : Parameter
        Of shape `(n, dim)`.

    Raises
    ------
    ValueError
        If a size is not positive; when called, if an id is not one of `0, ..., n - 1`.
    TypeError
        When called, if the ids are not whole numbers.
    """

    def __init__(
        self, n: int, dim: int, *, rng: np.random.Generator | None, std: float | int = 1.0, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        if n < 1 or dim < 1:
            raise ValueError(f"a table has at least one row and one column, got {n} and {dim}")
        drawn = np.zeros((n, dim), dtype) if rng is None else rng.normal(size=(n, dim)) * std
        self.weight = Parameter(drawn.astype(dtype, copy=False))

    def forward(self, ids: Integer[np.ndarray, "..."]) -> Any:
        """
        Look up.

        Parameters
        ----------
        ids
            Tokens, of any shape.

        Returns
        -------
        Tensor
            Of shape `(*ids.shape, dim)`.
        """
        ids = np.asarray(ids)
        n = self.weight.shape[0]
        if ids.dtype.kind not in "iu":
            raise TypeError(f"ids are whole numbers that say which row to read, got {ids.dtype}: convert with .astype")
        if ids.size and (ids.min() < 0 or ids.max() >= n):
            wrong = ids[(ids < 0) | (ids >= n)][0]
            raise ValueError(
                f"the table has the rows 0 to {n - 1}, got the id {wrong}: encode the text with the vocabulary that "
                "the model was made for"
            )
        return self.weight[ids]
