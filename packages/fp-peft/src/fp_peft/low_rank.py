r"""
Low rank: what a product of two thin matrices can say.

Fine-tuning changes a matrix of $m \times n$ numbers by another of that size. Suppose that we may write down far fewer
numbers than $m n$. Which changes are within reach, and how near does the nearest of them come to the one we wanted?

You need: orthonormal lists, the rank and singular values from `fp_neural.spectra`.

## Thin factors

Let $B \in \mathbb{R}^{m \times r}$ and $A \in \mathbb{R}^{r \times n}$ with $r \le \min(m, n)$. Together they have
$r (m + n)$ numbers, and their product is a matrix of $m \times n$:

$$\Delta = B A = \sum_{i=1}^r b_i\, a_i^\top, \qquad \text{(E1)}$$

where $b_i$ is column $i$ of $B$ and $a_i^\top$ row $i$ of $A$.

**Claim** `peft.rank`. The matrices that (E1) reaches are exactly those of rank at most $r$.

**Proof.** Every $\Delta x = \sum_i (a_i \cdot x)\, b_i$ is a combination of $b_1, \dots, b_r$, so the rank of a product
is at most $r$: an orthonormal list that spans the images has no more vectors than the list of the $b_i$, by
`neural.gram-schmidt`. Conversely let $\Delta$ have rank $s \le r$. By `neural.svd` $\Delta = \sum_{i \le s} \sigma_i
u_i v_i^\top$. Take $b_i = \sigma_i u_i$ and $a_i = v_i$ for $i \le s$, and zeros for $s < i \le r$. $\blacksquare$

For a square matrix of width $n$ the share of numbers is $r (n + n) / n^2 = 2 r / n$:

>>> n, r = 576, 8
>>> 2 * r / n
0.027777777777777776

## The nearest of them

Two norms measure a miss. The **Frobenius norm** $\|E\| = \sqrt{\sum_{ij} E_{ij}^2}$ adds up all of it; the **spectral
norm** $\|E\|_2$ is the largest $|E v|$ over all $v$ of length one, the worst that can happen to one input. With
singular values $\tau_1 \ge \tau_2 \ge \dots$ they are $\sqrt{\sum_i \tau_i^2}$ and $\tau_1$ (`neural.svd`). Singular
values after the last are zero: $\tau_i = 0$ for $i$ above the rank.

For the Frobenius norm `neural.eckart-young` names the nearest matrix of rank $k$. The next claim compares singular
values one by one, and the answer to both norms, and to any other norm that is made of singular values and grows with
each of them, follows.

**Claim** `peft.singular-values-left`. Let $A, B \in \mathbb{R}^{m \times n}$, $B$ of rank at most $k$, and let
$\sigma_i$ and $\tau_i$ be the singular values of $A$ and of $A - B$. Then for every $i \ge 1$

$$\tau_i \ge \sigma_{i + k}. \qquad \text{(E2)}$$

**Proof.** If $\sigma_{i+k} = 0$ there is nothing to show; so let $i + k \le r$, the rank of $A$. Write $A = \sum_j
\sigma_j u_j v_j^\top$ and $A - B = \sum_j \tau_j p_j q_j^\top$ as in `neural.svd`. Look for

$$v = \sum_{j=1}^{i+k} c_j v_j, \qquad c \in \mathbb{R}^{i + k}, \ c \ne 0, \qquad \text{(E3)}$$

with two properties: $B v = 0$, and $q_j \cdot v = 0$ for $j < i$. As $B$ has rank at most $k$, $B = \sum_{j \le k} f_j
g_j^\top$ (`peft.rank`), and $B v = 0$ if $g_j \cdot v = 0$ for $j \le k$. Together these are at most $k + i - 1$
homogeneous equations in the $k + i$ unknowns $c_j$, so a solution $c \ne 0$ exists (below `autograd.vjp-chain`). Scale
it to $|c| = 1$; by `neural.pythagoras` $|v| = 1$. Now

$$
|A v|^2 = \Big| \sum_{j \le i+k} \sigma_j c_j u_j \Big|^2 = \sum_{j \le i + k} \sigma_j^2 c_j^2 \ge \sigma_{i+k}^2,
$$

since $\sigma_j \ge \sigma_{i+k}$ for these $j$ and the $c_j^2$ sum to one. On the other hand $A v = (A - B) v$, and of
its expansion only the terms with $j \ge i$ are left:

$$
|(A - B) v|^2 = \sum_{j \ge i} \tau_j^2\, (q_j \cdot v)^2 \le \tau_i^2 \sum_{j \ge i} (q_j \cdot v)^2 \le \tau_i^2,
$$

the last by `neural.projection`: the sum is the squared length of a projection of $v$. So $\sigma_{i+k}^2 \le
\tau_i^2$. $\blacksquare$

**Claim** `peft.eckart-young`. Let $A = \sum_{i \le r} \sigma_i u_i v_i^\top$ as in `neural.svd`, $0 \le k \le r$, and
$A_k = \sum_{i \le k} \sigma_i u_i v_i^\top$. Among all matrices $B$ of rank at most $k$, $A_k$ has the smallest
$\|A - B\|$ and the smallest $\|A - B\|_2$, and

$$\|A - A_k\| = \Big( \sum_{i > k} \sigma_i^2 \Big)^{1/2}, \qquad \|A - A_k\|_2 = \sigma_{k+1}. \qquad \text{(E4)}$$

In the Frobenius norm it is the only nearest one exactly if $\sigma_k > \sigma_{k+1}$ or $k = 0$ or $k = r$; in the
spectral norm others may be as near.

**Proof.** $A - A_k = \sum_{i > k} \sigma_i u_i v_i^\top$ is in the form of `neural.svd`, so its singular values are
$\sigma_{k+1}, \sigma_{k+2}, \dots$: that is (E4). For $B$ of rank at most $k$, (E2) gives $\|A - B\|^2 = \sum_i
\tau_i^2 \ge \sum_i \sigma_{i+k}^2 = \|A - A_k\|^2$ and $\|A - B\|_2 = \tau_1 \ge \sigma_{1+k} = \|A - A_k\|_2$.

*Only one.* For $k = 0$ the only matrix of rank $0$ is zero; for $k = r$ the smallest distance is $0$, which $B = A$
alone has. Let $0 < k < r$. If $\sigma_k = \sigma_{k+1}$, exchange $u_k, v_k$ for $u_{k+1}, v_{k+1}$ in $A_k$: as near,
and another matrix, since it takes $v_k$ to zero and $A_k$ does not. Let $\sigma_k > \sigma_{k+1}$ and let $B$ be
nearest. The proof of `neural.eckart-young` projects $A$ onto the span of orthonormal $p_1, \dots, p_k$ that contains
the columns of $B$, and finds $\|A - B\|^2 \ge \|A - P A\|^2 \ge \sum_{i > k} \sigma_i^2$. Both are equalities now. The
first says $B = P A$, column by column, as the nearest point of a span is unique (`neural.projection`). The second says
that $\sum_{l \le k} p_l \cdot A A^\top p_l = \sigma_1^2 + \dots + \sigma_k^2$; in the proof of `neural.top-eigenvalues`
that asks for $\sum_{i \le k} (\sigma_i^2 - \sigma_k^2)(1 - m_i) + \sum_{i > k} (\sigma_k^2 - \sigma_i^2)\, m_i = 0$, a
sum of numbers that are not negative, with $m_i$ the squared length of the projection of $u_i$ onto the span. As
$\sigma_k^2 > \sigma_i^2$ for $i > k$, those $m_i$ are zero; as the $m_i$ sum to $k$ and none is above one, $m_i = 1$
for $i \le k$. So $P u_i = u_i$ for $i \le k$ and $P u_i = 0$ after, and $B = P A = A_k$.

*In the spectral norm* for $A = I \in \mathbb{R}^{2 \times 2}$ and $k = 1$, the diagonal matrices with the entries
$(1, 0)$ and $(\frac12, 0)$ both have distance $1$. $\blacksquare$

So whether a change can be told in few numbers is a question about its singular values: if they fall fast, yes.

>>> rng = np.random.default_rng(0)
>>> change = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30)) + 0.05 * rng.normal(size=(40, 30))
>>> s = np.linalg.svd(change, compute_uv=False)
>>> s[:5].round(2)
array([39.86, 31.88, 22.77,  0.59,  0.48])
>>> near = truncate(change, 3)
>>> missed = change - near
>>> bool(np.isclose(np.linalg.norm(missed), np.sqrt((s[3:] ** 2).sum())))
True
>>> bool(np.isclose(np.linalg.norm(missed, 2), s[3]))
True

## In practice

What full fine-tuning does to a matrix is often, but not always, near to low rank; the paper that introduced LoRA (E. Hu
and others, 2021) found ranks as small as one or two sufficient for its tasks, and D. Biderman and others (2024) that
continued pretraining on code or mathematics changes weights by matrices of high rank, where low rank learns less and
forgets less. The claim says what the best matrix of rank $r$ would be, not that training finds it: gradient descent on
factors looks for a small loss, not for a small distance. PiSSA (F. Meng and others, 2024) starts $A$ and $B$ at the
largest singular vectors of the weights themselves.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["truncate", "factors", "distance"]  # the order of the page


def truncate(matrix: Float[np.ndarray, "m n"], rank: int) -> Float[np.ndarray, "m n"]:
    """
    The nearest matrix of at most a given rank (`peft.eckart-young`).

    Parameters
    ----------
    matrix
        float32 or float64.
    rank
        From 0 to `min(m, n)`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `matrix`.

    Raises
    ------
    ValueError
        If the rank is out of range.

    Examples
    --------
    >>> truncate(np.diag([3.0, 2.0, 1.0]), 1)
    array([[3., 0., 0.],
           [0., 0., 0.],
           [0., 0., 0.]])
    """
    B, A = factors(matrix, rank)
    return B @ A


def factors(matrix: Float[np.ndarray, "m n"], rank: int) -> tuple[Float[np.ndarray, "m r"], Float[np.ndarray, "r n"]]:
    r"""
    Two thin factors of `truncate`, with the singular values shared evenly between them.

    Parameters
    ----------
    matrix
        float32 or float64.
    rank
        $r$, from 0 to `min(m, n)`.

    Returns
    -------
    B, A : ndarray
        Column $i$ of $B$ is $\sqrt{\sigma_i}\, u_i$ and row $i$ of $A$ is $\sqrt{\sigma_i}\, v_i^\top$.

    Raises
    ------
    ValueError
        If the rank is out of range.
    """
    if not 0 <= rank <= min(matrix.shape):
        raise ValueError(f"a matrix of shape {matrix.shape} has ranks from 0 to {min(matrix.shape)}, got {rank}")
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    return U[:, :rank] * root, root[:, None] * Vt[:rank]


def distance(matrix: Float[np.ndarray, "m n"], rank: int) -> tuple[float, float]:
    """
    How far the nearest matrix of a rank is: (E4).

    Parameters
    ----------
    matrix
        float32 or float64.
    rank
        From 0 to `min(m, n)`.

    Returns
    -------
    frobenius, spectral : float
        In the unit of the entries.

    Raises
    ------
    ValueError
        If the rank is out of range.

    Examples
    --------
    >>> distance(np.diag([12.0, 4.0, 3.0]), 1)
    (5.0, 4.0)
    """
    if not 0 <= rank <= min(matrix.shape):
        raise ValueError(f"a matrix of shape {matrix.shape} has ranks from 0 to {min(matrix.shape)}, got {rank}")
    left = np.linalg.svd(matrix, compute_uv=False)[rank:]
    return float(np.sqrt((left**2).sum())), float(left.max(initial=0.0))
