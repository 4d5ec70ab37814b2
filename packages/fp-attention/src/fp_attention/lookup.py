r"""
Lookup: a dictionary that has a gradient.

A dictionary holds pairs of a key and a value. Ask for a key that it has, and it returns that key's value; ask for any
other, and it fails. A network should be able to look things up too: which earlier token is this pronoun about? But it
learns by small changes, and no small change of a question changes what a dictionary answers. What would a dictionary
look like whose answers move when the question moves?

You need: `fp_autograd.linear_algebra` for dot products, `fp_autograd.rules` for the derivative of softmax,
`markov.temperature-limits`, `fp_neural.tables` for what scores mean.

## Query, key and value

Three vectors play three parts. The **query** $q$ is what one asks for. A **key** $k_j$ is what entry $j$ is found by,
and its **value** $v_j$ is what it hands over. Key and value are different things for the same reason as in a printed
dictionary: what a word is found by, its spelling, is not what one wants to know about it.

How well an entry fits is a number, its **score** $s_j = q \cdot k_j$, the sum of what query and key have in common,
coordinate by coordinate. The usual dictionary returns the value with the best score and ignores the rest. The soft one
lets every entry answer, the better the louder. The scores are divided by a **temperature** $\tau > 0$ and turned into
weights that are positive and sum to one, and the answer is the mean of the values with these weights:

$$
s_j = q \cdot k_j, \qquad
p_j = \frac{e^{s_j / \tau}}{\sum_{l=1}^n e^{s_l / \tau}}, \qquad
y = \sum_{j=1}^n p_j\, v_j. \qquad \text{(E1)}
$$

**By hand.** In "cat sat mat it", what is *it*? Say that keys have two coordinates: is the word a noun, and is it
alive? The word *it* asks for both, and values tell about fur and about straw.

| word | key: noun, alive | score with $q = (1, 1)$ | $2^{s}$ | weight | value: fur, straw |
| --- | --- | --- | --- | --- | --- |
| cat | $(1, 1)$ | $1 + 1 = 2$ | $4$ | $4/7$ | $(7, 0)$ |
| sat | $(0, 0)$ | $0 + 0 = 0$ | $1$ | $1/7$ | $(0, 0)$ |
| mat | $(1, 0)$ | $1 + 0 = 1$ | $2$ | $2/7$ | $(0, 7)$ |

The temperature is $\tau = 1 / \ln 2$, so that $e^{s / \tau} = 2^s$ and a pencil is enough. The answer is
$\frac47 (7, 0) + \frac17 (0, 0) + \frac27 (0, 7) = (4, 2)$: mostly cat, and some mat.

>>> q = np.array([1.0, 1.0])
>>> keys = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
>>> values = np.array([[7.0, 0.0], [0.0, 0.0], [0.0, 7.0]])
>>> soft_lookup(q, keys, values, 1 / np.log(2)).round(10)
array([4., 2.])

Ask with more emphasis, or at a lower temperature, and the mat fades:

>>> for temperature in (10.0, 1.0, 0.3, 0.1):
...     print(temperature, soft_lookup(q, keys, values, temperature).round(3))
10.0 [2.57  2.326]
1.0 [4.657 1.713]
0.3 [6.751 0.241]
0.1 [7. 0.]
>>> hard_lookup(q, keys, values)
array([7., 0.])

**Claim** `attention.hard-lookup-limit`. As $\tau \to 0$, $y$ tends to the mean of the values of those entries whose
score is the largest; as $\tau \to \infty$, to the mean of all values. If one score alone is the largest, $s_m$, and
every other one is lower by at least $\gamma > 0$, then

$$
1 - p_m \le (n - 1)\, e^{-\gamma / \tau}, \qquad
|y - v_m| \le (n - 1)\, e^{-\gamma / \tau} \max_j |v_j - v_m|. \qquad \text{(E2)}
$$

**Proof.** The limits of the weights are `markov.temperature-limits`, and $y$ is a sum of $n$ terms, each a weight times
a fixed vector, so its limit has the weights' limits in place of the weights. For (E2), divide two weights of (E1):

$$
\frac{p_j}{p_m} = e^{(s_j - s_m) / \tau} \le e^{-\gamma / \tau} \text{ for } j \ne m, \qquad
1 - p_m = \sum_{j \ne m} p_j \le (n - 1)\, e^{-\gamma / \tau}\, p_m \le (n - 1)\, e^{-\gamma / \tau},
$$

as $p_m \le 1$. Since the weights sum to one, $y - v_m = \sum_j p_j (v_j - v_m)$, where the term of $m$ is zero. So
by `autograd.cauchy-schwarz` $|y - v_m| \le \sum_{j \ne m} p_j |v_j - v_m| \le (1 - p_m) \max_j |v_j - v_m|$.
$\blacksquare$

So nothing is lost: the hard dictionary is the cold end of the soft one. What is gained is a slope.

## It has a gradient

The hard answer does not move when the query moves a little, except where the winner changes, and there it jumps: its
derivative is zero or does not exist. Nothing can be learned from that.

**Claim** `attention.lookup-gradient`. Let $g$ be the cotangent of $y$, that is, the loss grows by $g \cdot t$ when $y$
moves by a small $t$. Then the cotangents of values, scores, query and keys in (E1) are

$$
dv_j = p_j\, g, \qquad ds_j = \frac{p_j}{\tau}\, g \cdot (v_j - y), \qquad
dq = \sum_j ds_j\, k_j, \qquad dk_j = ds_j\, q. \qquad \text{(E3)}
$$

**Proof.** The sum $y = \sum_j p_j v_j$ is linear in each $v_j$, with the factor $p_j$: $dv_j = p_j\, g$. It is linear
in each $p_j$ too, so its cotangent is $dp_j = g \cdot v_j$. By `autograd.softmax-rule` the cotangent of
$z_j = s_j / \tau$ is $dz_j = p_j \big( dp_j - \sum_l p_l\, dp_l \big)$. The sum is $g \cdot \sum_l p_l v_l = g \cdot
y$, hence $dz_j = p_j\, g \cdot (v_j - y)$, and dividing by $\tau$ on the way in divides the cotangent on the way back:
$ds_j = dz_j / \tau$. Last, $s_j = q \cdot k_j$ is linear in $q$ with the factor $k_j$ and in $k_j$ with the factor
$q$; $q$ occurs in all scores, so its cotangents add. $\blacksquare$

In words: descent raises the score of an entry whose value is a better answer than the present one, in the sense
$g \cdot v_j < g \cdot y$, and lowers that of a worse one, each in proportion to its weight. An entry with the weight
zero learns nothing. The next section is about that.

## It is a mean, and no more

**Claim** `attention.weighted-mean`. Let $p_j > 0$ sum to one and $y = \sum_j p_j v_j$. (1) For every $u$

$$\sum_j p_j\, |v_j - u|^2 = \sum_j p_j\, |v_j - y|^2 + |u - y|^2, \qquad \text{(E4)}$$

so $y$ is the one $u$ with the least weighted squared error. (2) If $a \cdot v_j \le b$ for all $j$, then
$a \cdot y \le b$. So every coordinate of $y$ lies between the least and the largest of that coordinate in the values,
and $|y| \le \max_j |v_j|$. (3) Conversely every mean of the values with positive weights is an answer for some scores.

**Proof.** (1) Write $v_j - u = (v_j - y) + (y - u)$ and square:

$$
\sum_j p_j |v_j - u|^2 = \sum_j p_j |v_j - y|^2 + 2 \Big( \sum_j p_j (v_j - y) \Big) \cdot (y - u)
  + \sum_j p_j\, |y - u|^2.
$$

The bracket is $y - y = 0$, and the last sum is $|y - u|^2$, which is zero for $u = y$ alone. (2) $a \cdot y = \sum_j
p_j\, a \cdot v_j \le \sum_j p_j\, b = b$. With $a = \pm e_i$ this bounds coordinate $i$ from above and from below. If
$y \ne 0$, take $a = y$: by `autograd.cauchy-schwarz` $y \cdot v_j \le |y| \max_l |v_l|$ for all $j$, so
$|y|^2 \le |y| \max_l |v_l|$. (3) The scores $s_j = \tau \ln p_j$ have these weights (`neural.softmax-classes`).
$\blacksquare$

By (2), any half-space that holds all values holds the answer: it lies in their **convex hull**. Attention chooses and
blends; it cannot add up, count or go beyond what it is given. Twice the same entries give the same answer as once
(`attention.proportions`). In a transformer the other layers do that.

## It is kernel regression

The same formula is older than networks. Given points $x_j$ with measured $y_j$, what is the curve's height at a new
$x$? E. Nadaraya and G. Watson (1964) answered with a mean of the measured heights, in which near points count more:

$$
\hat f(x) = \frac{\sum_j K(x, x_j)\, y_j}{\sum_j K(x, x_j)}, \qquad
K(x, x') = e^{-|x - x'|^2 / (2 h^2)}. \qquad \text{(E5)}
$$

$K > 0$ is the **kernel**, here the Gaussian one; the **bandwidth** $h$ says what counts as near.

**Claim** `attention.nadaraya-watson`. (1) Soft lookup is (E5) with queries for $x$, keys for $x_j$, values for $y_j$
and the kernel $e^{q \cdot k / \tau}$. Its weights are those of the Gaussian kernel with $h = \sqrt \tau$, each times
a factor that depends on the key alone, and made to sum to one again:

$$p_j \propto e^{|k_j|^2 / (2 \tau)}\, e^{-|q - k_j|^2 / (2 \tau)}. \qquad \text{(E6)}$$

(2) For a given query the two kernels have the same weights if and only if all keys have the same length. (3) With one
more coordinate, $q' = (q, 1)$ and $k_j' = \big( k_j, -\frac12 |k_j|^2 \big)$, soft lookup has exactly the weights of
the Gaussian kernel between $q$ and $k_j$, with $h = \sqrt \tau$, whatever the lengths.

**Proof.** (1) Put $e^{q \cdot k_j / \tau}$ for $K$ in (E5): the quotient is $\sum_j p_j v_j$ of (E1). Next, from
$|q - k_j|^2 = |q|^2 - 2\, q \cdot k_j + |k_j|^2$,

$$
\frac{q \cdot k_j}{\tau} = \frac{|q|^2}{2 \tau} + \frac{|k_j|^2}{2 \tau} - \frac{|q - k_j|^2}{2 \tau}.
\qquad \text{(E7)}
$$

The first term is the same number for all $j$ and changes no weight (`neural.softmax-classes`). The others are the
exponents in (E6), and $2 \tau = 2 h^2$. (2) By `neural.softmax-classes` two lists of scores have the same weights
exactly if they differ by one number for all $j$. By (E7) they differ by $\frac{|q|^2 + |k_j|^2}{2 \tau}$. (3) $q' \cdot
k_j' = q \cdot k_j - \frac12 |k_j|^2$. Divided by $\tau$ it differs from the Gaussian exponent by
$\frac{|q|^2}{2 \tau}$, by (E7), the same for all $j$. $\blacksquare$

So a long key is a loud one: it is heard from farther away. The claim also says what the division by $\sqrt d$ in the
next section means: it is $\tau = \sqrt d$, a bandwidth of $d^{1/4}$ in the space of queries and keys.

>>> rng = np.random.default_rng(0)
>>> keys, q = rng.normal(size=(5, 3)), rng.normal(size=3)
>>> longer = np.column_stack([keys, -(keys**2).sum(axis=1) / 2])
>>> y = rng.normal(size=(5, 1))
>>> bool(np.allclose(soft_lookup(np.append(q, 1.0), longer, y, 0.49), nadaraya_watson(q, keys, y, bandwidth=0.7)))
True

## Soft beats hard even without a gradient

Take noisy heights of a curve. The nearest neighbour, the hard lookup, repeats one point's noise; a mean of several
cancels some of it, and blurs the curve.

**Claim** `attention.regression-error`. Let $y_j = f(x_j) + \varepsilon_j$ with independent $\varepsilon_j$ of mean zero
and variance $\sigma^2$, and let the weights $p_j$ depend on $x$ and the $x_j$ alone. Then $\hat y = \sum_j p_j y_j$ has

$$
\mathbb{E} \big( \hat y - f(x) \big)^2
  = \Big( \sum_j p_j\, \big( f(x_j) - f(x) \big) \Big)^2 + \sigma^2 \sum_j p_j^2. \qquad \text{(E8)}
$$

If moreover $|f(x) - f(x')| \le L\, |x - x'|$, the first term is at most $L^2 \big( \sum_j p_j |x_j - x| \big)^2$. And
$\frac1n \le \sum_j p_j^2 \le 1$.

**Proof.** As the weights sum to one, $\hat y - f(x) = b + \sum_j p_j \varepsilon_j$ with $b = \sum_j p_j \big( f(x_j) -
f(x) \big)$, a number that is not random. Square it and take means: $b^2$, then $2 b \sum_j p_j \mathbb{E}\,
\varepsilon_j = 0$, then $\sum_j \sum_l p_j p_l\, \mathbb{E}\, \varepsilon_j \varepsilon_l$, of which by
`markov.expectation-linear` the terms with $j \ne l$ are zero and the others are $p_j^2 \sigma^2$. With the Lipschitz
bound $|b| \le \sum_j p_j L\, |x_j - x|$. Last, $p_j^2 \le p_j$, so the squares sum to at most one, and by
`autograd.cauchy-schwarz` with the vector of $n$ ones $1 = \big( \sum_j p_j \cdot 1 \big)^2 \le n \sum_j p_j^2$.
$\blacksquare$

The first term is the blur, squared, which a small bandwidth keeps small. The second is what is left of the noise: the
hard lookup keeps all of it, $n'$ equal weights keep one part in $n'$. Sixty points on a sine, with noise of deviation
$0.3$, and the mean over many draws of the root of the mean squared error on a fine grid:

>>> x, grid = np.linspace(0, 6, 60)[:, None], np.linspace(0, 6, 121)[:, None]
>>> heights = np.sin(x) + 0.3 * np.random.default_rng(1).normal(size=(200, 60, 1))
>>> def error(f):
...     return round(float(np.mean([np.sqrt(np.mean((f(y) - np.sin(grid)) ** 2)) for y in heights])), 3)
>>> for h in (0.02, 0.1, 0.3, 1.0, 10.0):
...     print(h, error(lambda y: nadaraya_watson(grid, x, y, bandwidth=h)))
0.02 0.286
0.1 0.158
0.3 0.104
1.0 0.261
10.0 0.707
>>> nearest = np.abs(grid - x.T).argmin(axis=1)
>>> error(lambda y: y[nearest])
0.298

Too narrow is the nearest neighbour, too wide is the mean of everything.

## What learning adds

In (E5) the statistician has chosen what near means. Attention learns it. Queries and keys are linear maps of the
tokens' vectors, $q = W_q x$ and $k = W_k x'$, with matrices of $d$ rows, and so are the values.

**Claim** `attention.bilinear-score`. $q \cdot k = x \cdot A x'$ with $A = W_q^\top W_k$. The rank of $A$ is at most
$d$, and every matrix of rank at most $d$ is such a product. $q \cdot k$ is the same with $x$ and $x'$ exchanged, for
all $x$ and $x'$, exactly if $A$ is symmetric.

**Proof.** By `autograd.transpose` $W_q x \cdot W_k x' = x \cdot W_q^\top W_k x'$. The rank of a product through $d$
numbers is at most $d$ (`neural.narrow-layer`). Conversely let $A$ have rank $r \le d$. By `neural.svd` $A =
\sum_{i=1}^r \sigma_i u_i w_i^\top$. Let the rows of $W_q$ be $\sigma_1 u_1^\top, \dots, \sigma_r u_r^\top$, those of
$W_k$ $w_1^\top, \dots, w_r^\top$, and fill both up to $d$ rows with zeros: then $W_q^\top W_k = A$. Last, $x' \cdot
A x = x \cdot A^\top x'$, and $x \cdot A x' = x \cdot A^\top x'$ for $x = e_i$, $x' = e_j$ says $A_{ij} = A_{ji}$;
conversely, equal matrices give equal numbers. $\blacksquare$

A kernel of distances is symmetric; this need not be. A pronoun can look for nouns without nouns looking for pronouns.
And directions that do not matter are unlearned. Below, only the first of two coordinates has to do with the answer. The
kernel begins as one that counts both alike, and descent stretches the first and shrinks the second:

>>> from fp_autograd import grad
>>> rng = np.random.default_rng(2)
>>> x, asked, unseen = (rng.uniform(-1, 1, size=(n, 2)) for n in (100, 50, 500))
>>> f = lambda x: np.sin(4 * x[:, :1])
>>> def loss(w, x_new):  # w stretches the coordinates; the heights are f's
...     return ((nadaraya_watson(x_new * w, x * w, f(x), bandwidth=0.3) - f(x_new)) ** 2).mean()
>>> w = np.ones(2)
>>> f"{float(loss(w, unseen)):.3f}"
'0.162'
>>> for step in range(200):
...     w = w - grad(loss)(w, asked)
>>> f"{float(loss(w, unseen)):.3f}", w.round(1)
('0.005', array([4. , 0.3]))

The last piece that self-attention adds: the entries of the dictionary are the tokens of the text itself, so that it is
written anew for each text, and each token asks it.

## In practice

(E1) with $\tau = \sqrt d$ is the attention of A. Vaswani et al. (2017). D. Bahdanau et al. (2014) scored with a small
network, $a \cdot \tanh(W_q q + W_k k)$; the product won because it is a matrix product. Y.-H. Tsai et al. (2019) read
attention as kernel regression and tried other kernels. Where the kernel is a dot product of features, $K(q, k) =
\phi(q) \cdot \phi(k)$, the sums of (E5) over keys can be kept up to date and no score is ever stored: linear attention
(A. Katharopoulos et al., 2020), which pays with weights that are less sharp. Databases of vectors use the hard lookup,
over millions of keys, and find the nearest nearly always. Learned associative memories with many stored patterns lead
to the same formula (H. Ramsauer et al., 2020: a modern Hopfield network takes one step of (E1)).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.rules import softmax
from fp_autograd.tracing import Operand, value_of

__all__ = ["soft_lookup", "hard_lookup", "nadaraya_watson"]  # the order of the page

Real = float | int


def soft_lookup(q: Operand, keys: Operand, values: Operand, temperature: Real = 1.0) -> Any:
    r"""
    The mean of the values, weighted by how well their keys fit the query (E1).

    Parameters
    ----------
    q
        One query `(D,)` or several `(..., D)`; array or tensor, as are the others.
    keys
        `(n, D)`, a row for each entry.
    values
        `(n, Dv)`.
    temperature
        $\tau$, positive: the scores are divided by it.

    Returns
    -------
    ndarray or Tensor
        `(..., Dv)`, a mean of the values for each query.

    Raises
    ------
    ValueError
        If the temperature is not positive, there is no entry, or the shapes do not fit.

    Examples
    --------
    Two keys that fit equally well:

    >>> soft_lookup(np.array([1.0, 1.0]), np.eye(2), np.array([[2.0], [4.0]]))
    array([3.])
    """
    _check(q, keys, values)
    _check_positive("temperature", temperature, "hard_lookup is the limit at zero")
    return softmax(q @ keys.T / temperature) @ values


def hard_lookup(
    q: Float[np.ndarray, "*batch D"], keys: Float[np.ndarray, "n D"], values: Float[np.ndarray, "n Dv"]
) -> Float[np.ndarray, "*batch Dv"]:
    """
    The value of the key with the best score, of the first one at a tie.

    Parameters
    ----------
    q
        One query or several.
    keys, values
        The entries, a row each.

    Returns
    -------
    ndarray
        A row of `values` for each query.

    Raises
    ------
    ValueError
        If there is no entry, or the shapes do not fit.

    Examples
    --------
    >>> hard_lookup(np.array([1.0, 1.5]), np.eye(2), np.array([[2.0], [4.0]]))
    array([4.])
    """
    _check(q, keys, values)
    return values[(q @ keys.T).argmax(axis=-1)]


def nadaraya_watson(x: Operand, xs: Operand, ys: Operand, bandwidth: Real) -> Any:
    """
    A mean of the measured heights, in which near points count more: (E5) with the Gaussian kernel.

    Parameters
    ----------
    x
        Where to estimate, `(D,)` or `(..., D)`; array or tensor, as are the others.
    xs
        Where it was measured, `(n, D)`.
    ys
        What was measured there, `(n, Dv)`.
    bandwidth
        $h$, positive, in the unit of `x`: the deviation of the Gaussian.

    Returns
    -------
    ndarray or Tensor
        `(..., Dv)`.

    Raises
    ------
    ValueError
        If the bandwidth is not positive, there is no point, or the shapes do not fit.

    Examples
    --------
    In the middle between two points, and nearer to one of them:

    >>> xs, ys = np.array([[0.0], [1.0]]), np.array([[10.0], [20.0]])
    >>> nadaraya_watson(np.array([[0.5], [0.75]]), xs, ys, bandwidth=0.5).round(2)
    array([[15.  ],
           [17.31]])
    """
    _check(x, xs, ys)
    _check_positive("bandwidth", bandwidth, "the nearest neighbour is the limit at zero")
    steps = x[..., None, :] - xs
    return softmax((steps * steps).sum(axis=-1) / (-2 * bandwidth**2)) @ ys


def _check(q: Operand, keys: Operand, values: Operand) -> None:
    q, keys, values = np.shape(value_of(q)), np.shape(value_of(keys)), np.shape(value_of(values))
    if not (len(q) >= 1 and len(keys) == len(values) == 2 and keys[0] == values[0] > 0 and q[-1] == keys[1]):
        raise ValueError(
            "a lookup needs queries (..., D), keys (n, D) and values (n, Dv) with n >= 1, "
            f"got {q}, {keys} and {values}; a single number a key or value is a column: x[:, None]"
        )


def _check_positive(name: str, number: Real, at_zero: str) -> None:
    if not 0 < number < np.inf:
        raise ValueError(f"the {name} must be positive and finite, got {number}; {at_zero}")
