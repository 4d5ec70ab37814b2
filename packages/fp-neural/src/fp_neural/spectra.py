r"""
Spectra: the directions in which a matrix only stretches.

An embedding is a table of thousands of points with hundreds of coordinates. Which directions of it matter, and how much
of it survives on a plane? Seen along the right directions every matrix is diagonal, and the numbers on the diagonal
answer. This section finds those directions, proves that they exist, and proves that nothing simpler comes closer.

You need: `fp_autograd.linear_algebra` for vectors, matrices, the transpose and the trace; completeness, bisection and
continuity from `fp_markov.mathematics`.

## Right angles

Two vectors are **orthogonal** if $u \cdot v = 0$. A list of vectors is **orthonormal** if any two of them are
orthogonal and each has length one; as the columns of a matrix $Q$ this reads $Q^\top Q = I$. The **span** of a list is
the set of all its combinations $\sum_i a_i v_i$. A **subspace** is a set of vectors, not empty, that contains every
combination of its members.

**Claim** `neural.pythagoras`. $|u + v|^2 = |u|^2 + |v|^2$ exactly if $u \cdot v = 0$. For an orthonormal list
$\big| \sum_i a_i q_i \big|^2 = \sum_i a_i^2$, so only the combination with $a = 0$ is the zero vector.

**Proof.** $|u + v|^2 = |u|^2 + 2\, (u \cdot v) + |v|^2$. And $\big( \sum_i a_i q_i \big) \cdot \big( \sum_j a_j q_j
\big) = \sum_i \sum_j a_i a_j\, (q_i \cdot q_j)$, where only the terms with $i = j$ remain, and $q_i \cdot q_i = 1$.
$\blacksquare$

**Claim** `neural.projection`. Let $S$ be the span of the orthonormal $q_1, \dots, q_r$, and

$$P x = \sum_{i=1}^r (q_i \cdot x)\, q_i = Q Q^\top x. \qquad \text{(E1)}$$

Then $x - Px$ is orthogonal to every vector of $S$; $Px$ is the point of $S$ nearest to $x$, and no other is as near;
$|Px|^2 = \sum_i (q_i \cdot x)^2 = |x|^2 - |x - Px|^2 \le |x|^2$; and $P^\top = P = P^2$.

**Proof.** $q_j \cdot (x - Px) = q_j \cdot x - \sum_i (q_i \cdot x)(q_j \cdot q_i) = 0$; so $x - Px$ is orthogonal to
the combinations of the $q_j$ too. For $s$ in $S$, $Px - s$ is in $S$, and by `neural.pythagoras`
$|x - s|^2 = |x - Px|^2 + |Px - s|^2$, which is larger than $|x - Px|^2$ unless $s = Px$. With $s = 0$ it is
$|x|^2 = |x - Px|^2 + |Px|^2$, and $|Px|^2 = \sum_i (q_i \cdot x)^2$ by `neural.pythagoras`. Last,
$(QQ^\top)^\top = QQ^\top$ and $QQ^\top QQ^\top = Q I Q^\top$. $\blacksquare$

**Claim** `neural.gram-schmidt`. Go through any vectors $v_1, \dots, v_k$. Let $P_{j-1}$ be the projection onto the span
of the vectors found before $v_j$ (zero if there are none), and

$$w_j = v_j - P_{j-1} v_j. \qquad \text{(E2)}$$

If $w_j \ne 0$, add $w_j / |w_j|$ to the vectors found. These are orthonormal, and after each $j$ they span the same as
$v_1, \dots, v_j$.

**Proof.** By `neural.projection` $w_j$ is orthogonal to all vectors found before, and so is $w_j / |w_j|$, of length
one. Suppose that the vectors found before span the same as $v_1, \dots, v_{j-1}$. Then $P_{j-1} v_j$ is a combination
of $v_1, \dots, v_{j-1}$, so $w_j$ is one of $v_1, \dots, v_j$; and conversely $v_j = P_{j-1} v_j + w_j$ is a
combination of the vectors found, with the new one or, if $w_j = 0$, without it. $\blacksquare$

**Claim** `neural.orthonormal-basis`. An orthonormal list in $\mathbb{R}^n$ has at most $n$ vectors. If it has fewer,
some vector of length one is orthogonal to all of them; so it can be extended to $n$. If it has $n$, it spans
$\mathbb{R}^n$, and $QQ^\top = I$. Every subspace of $\mathbb{R}^n$ is the span of an orthonormal list, and all such
lists of one subspace have the same number of vectors, its **dimension**.

**Proof.** Fewer than $n$ equations $v_j \cdot w = 0$ for $w \in \mathbb{R}^n$ have a solution $w \ne 0$; elimination
shows it, below `autograd.vjp-chain`. Were there $k > n$ orthonormal vectors, $\sum_i a_i q_i = 0$ would be $n$
equations, one for each coordinate, in $k$ unknowns: a solution $a \ne 0$ would contradict `neural.pythagoras`. If
$k < n$, the $k$ equations $q_i \cdot w = 0$ have a solution $w \ne 0$; divide it by its length. If $k = n$ and some
$x - Px$ were not zero, divided by its length it would be the vector $n + 1$ of an orthonormal list. So $x = Px =
QQ^\top x$ for every $x$.

In a subspace $S$, take an orthonormal list with as many vectors as possible. If $x \in S$ were not in its span,
$x - Px$, divided by its length, could be added. Last, let $q_1, \dots, q_r$ and $p_1, \dots, p_s$ be orthonormal with
one span. Then $p_j = Q c_j$ with $c_j \in \mathbb{R}^r$, and $c_i \cdot c_j = (Q^\top Q c_i) \cdot c_j = p_i \cdot
p_j$: the $c_j$ are orthonormal, and $s \le r$. By the same argument $r \le s$. $\blacksquare$

The dimension of the span of the columns of $A$, which are all the $Ax$, is the **rank** of $A$.

**Claim** `neural.orthogonal-matrix`. For a square matrix $Q$ these say the same: $Q^\top Q = I$; $QQ^\top = I$;
$|Qx| = |x|$ for every $x$. Such a matrix is called **orthogonal**. It keeps dot products, $Qx \cdot Qy = x \cdot y$,
and norms: $\|QA\| = \|A\|$ and $\|AQ\| = \|A\|$.

**Proof.** If $Q^\top Q = I$, the columns are orthonormal, so $QQ^\top = I$ by `neural.orthonormal-basis`. The other way
is the same for $Q^\top$. From $Q^\top Q = I$ follows $Qx \cdot Qy = (Q^\top Q x) \cdot y = x \cdot y$, and with $y = x$
the third. From the third,

$$
Qx \cdot Qy = \tfrac14 \big( |Q(x + y)|^2 - |Q(x - y)|^2 \big) = \tfrac14 \big( |x + y|^2 - |x - y|^2 \big) = x \cdot y,
$$

and $x = e_i$, $y = e_j$ give the entries of $Q^\top Q = I$. The columns of $QA$ are as long as those of $A$, and the
rows of $AQ$, which are $Q^\top$ times those of $A$, as long as those of $A$. $\blacksquare$

## A largest value exists

A set $K$ of vectors is **closed** if it contains every point to which its points come as near as anyone asks, and
**bounded** if it lies in some cube. A function is continuous at $c$ if $f(x)$ is as near to $f(c)$ as anyone asks, once
$|x - c|$ is small enough.

**Claim** `neural.maximum`. A function that is continuous at every point of a closed bounded set $K \subset
\mathbb{R}^n$, not empty, takes a largest value on $K$.

**Proof.** Say that a part of $K$ *reaches up* if for every $x$ in $K$ it has a point $y$ with $f(y) \ge f(x)$. All of
$K$ does. If $K$'s part in a cube does, cut the cube into $2^n$ closed cubes of half the side: the part in one of them
reaches up. For otherwise each of them, number $i$, has an $x_i$ in $K$ above all its values, and the largest of the
$f(x_i)$ is above all values in the whole cube. Bisect on, always into such a cube. In each coordinate exactly one
number lies in all of the intervals; together they are a point $c$. Each cube holds a point of $K$, so $c$ is in $K$.
Suppose that $f(x) > f(c)$ for some $x$ in $K$. By continuity, all points of $K$ near enough to $c$ have values below
$f(x)$; a late cube holds no others, and its part does not reach up: a contradiction. $\blacksquare$

## Eigenvalues

Let $S$ be a square matrix. If $Sv = \lambda v$ and $v \ne 0$, then $v$ is an **eigenvector** of $S$ and $\lambda$ its
**eigenvalue**. Let $S$ be **symmetric**, $S^\top = S$, in all of what follows. How much it stretches along $v \ne 0$ is
the **Rayleigh quotient**

$$R(v) = \frac{v \cdot S v}{v \cdot v}. \qquad \text{(E3)}$$

**Claim** `neural.rayleigh`. Let $S$ be symmetric, and $W \ne \{0\}$ a subspace of $\mathbb{R}^n$ with $Sw$ in $W$ for
every $w$ in $W$. Then $R$ takes a largest value $\lambda$ on the nonzero vectors of $W$, and every $v$ at which it does
is an eigenvector with the eigenvalue $\lambda$.

**Proof.** *There is a largest value.* As $R(av) = R(v)$, vectors of length one are enough. In $W$ they form a bounded
set, not empty, which is closed: if $w$ of it comes near $c$, then $|w| = 1$ comes near $|c|$ by
`autograd.cauchy-schwarz`; and with $P$ the projection onto $W$ (`neural.orthonormal-basis`), $c - Pc = (c - w) -
P(c - w)$ is at most $|c - w|$ long by `neural.projection`, as near to $0$ as anyone asks. On it $R(v) = v \cdot Sv$ is
continuous, for $S$ is symmetric and by (E4) of `fp_autograd.linear_algebra`

$$|v \cdot Sv - u \cdot Su| = |(v - u) \cdot S (v + u)| \le |v - u|\, \|S\|\, |v + u|.$$

So `neural.maximum` applies.

*It is an eigenvalue.* Let $|v| = 1$ and $R(v) = \lambda$, and let $w$ be in $W$ with $w \cdot v = 0$. For every $t$,

$$
(v + tw) \cdot S (v + tw) = \lambda + 2t\, (w \cdot Sv) + t^2\, (w \cdot Sw) \le \lambda\, |v + tw|^2 = \lambda +
  \lambda t^2 |w|^2.
$$

So $2t\, (w \cdot Sv) \le t^2 (\lambda |w|^2 - w \cdot Sw)$. Divide by $t > 0$ and let $t \to 0$: $w \cdot Sv \le 0$.
From $t < 0$, $w \cdot Sv \ge 0$. Now take $w = Sv - \lambda v$. It is in $W$, and $w \cdot v = \lambda - \lambda = 0$.
Hence $|w|^2 = w \cdot Sv - \lambda\, (w \cdot v) = 0$, which is $Sv = \lambda v$. $\blacksquare$

**Claim** `neural.spectral-theorem`. A symmetric matrix $S \in \mathbb{R}^{n \times n}$ has $n$ orthonormal eigenvectors
$q_1, \dots, q_n$, with eigenvalues $\lambda_1 \ge \dots \ge \lambda_n$. With $Q$ for the matrix of the $q_i$ and
$\Lambda$ for the diagonal matrix of the $\lambda_i$,

$$S = Q \Lambda Q^\top = \sum_{i=1}^n \lambda_i\, q_i q_i^\top. \qquad \text{(E4)}$$

The list of the $\lambda_i$ is determined by $S$, and an eigenvector of $\lambda$ is a combination of the $q_i$ with
$\lambda_i = \lambda$.

**Proof.** Suppose that $q_1, \dots, q_k$ are found and $k < n$. The vectors orthogonal to all of them are a subspace
$W$, by `neural.orthonormal-basis` not $\{0\}$. For $w$ in $W$, $q_i \cdot Sw = S q_i \cdot w = \lambda_i\, (q_i \cdot
w) = 0$, so $Sw$ is in $W$. Take for $q_{k+1}$ a vector of length one at which $R$ is largest on $W$, an eigenvector by
`neural.rayleigh`. Its $\lambda_{k+1}$ is not above $\lambda_k$, the largest value on a set that contains $W$. After $n$
steps, $SQ = Q\Lambda$ column by column, and $QQ^\top = I$ gives $S = Q \Lambda Q^\top$.

If $Sv = \lambda v$ with $v = \sum_i c_i q_i$, then $0 = Sv - \lambda v = \sum_i (\lambda_i - \lambda)\, c_i q_i$, and
by `neural.pythagoras` $c_i = 0$ unless $\lambda_i = \lambda$. So any other $n$ orthonormal eigenvectors have, for each
$\lambda$, at most as many as there are $q_i$ with $\lambda_i = \lambda$, by `neural.orthonormal-basis`. As both have
$n$ in all, they have equally many. $\blacksquare$

In the coordinates $c = Q^\top v$ the form has no mixed terms: $v \cdot Sv = \sum_i \lambda_i c_i^2$.

**Claim** `neural.eigenvalue-sums`. $\operatorname{tr} S = \sum_i \lambda_i$ and $\|S\|^2 = \sum_i \lambda_i^2$ for a
symmetric $S$.

**Proof.** By `autograd.trace-gradient` $\operatorname{tr} (Q \Lambda Q^\top) = \operatorname{tr} (\Lambda Q^\top Q) =
\operatorname{tr} \Lambda$. By `neural.orthogonal-matrix` $\|Q \Lambda Q^\top\| = \|\Lambda\|$. $\blacksquare$

**Claim** `neural.semidefinite`. For a symmetric $S$ these say the same: $v \cdot Sv \ge 0$ for every $v$; all
$\lambda_i \ge 0$; $S = A^\top A$ for some matrix $A$. Such an $S$ is called **positive semidefinite**.

**Proof.** From the first, $\lambda_i = q_i \cdot S q_i \ge 0$. From the second, take for $A$ the matrix whose row $i$
is $\sqrt{\lambda_i}\, q_i^\top$; by (E4) $A^\top A = \sum_i \lambda_i q_i q_i^\top = S$. From the third,
$v \cdot A^\top A v = |Av|^2 \ge 0$. $\blacksquare$

**Claim** `neural.top-eigenvalues`. For any orthonormal $u_1, \dots, u_k$ in $\mathbb{R}^n$ and symmetric $S$,

$$\sum_{j=1}^k u_j \cdot S u_j \le \lambda_1 + \dots + \lambda_k, \qquad \text{(E5)}$$

with equality for $u_j = q_j$.

**Proof.** By (E4) the left side is $\sum_i \lambda_i m_i$ with $m_i = \sum_j (q_i \cdot u_j)^2$. By `neural.projection`
$m_i$ is the squared length of the projection of $q_i$ onto the span of the $u_j$, so $0 \le m_i \le 1$; and since
$\sum_i (q_i \cdot u_j)^2 = |u_j|^2 = 1$, the $m_i$ sum to $k$. Therefore

$$
\begin{aligned}
\sum_{i \le k} \lambda_i - \sum_i \lambda_i m_i
  &= \sum_{i \le k} \lambda_i (1 - m_i) - \sum_{i > k} \lambda_i m_i \\
  &\ge \lambda_k \Big( \sum_{i \le k} (1 - m_i) - \sum_{i > k} m_i \Big) = \lambda_k \Big( k - \sum_i m_i \Big) = 0.
\end{aligned}
$$

For $u_j = q_j$ the left side of (E5) is $\lambda_1 + \dots + \lambda_k$. $\blacksquare$

**Claim** `neural.weyl`. If $S$ and $S + E$ are symmetric, their sorted eigenvalues differ, one by one, by at most
$\|E\|$.

**Proof.** Let $\lambda_i, q_i$ belong to $S$ and $\mu_i, p_i$ to $S + E$. The conditions to be orthogonal to
$q_1, \dots, q_{i-1}$ and to $p_{i+1}, \dots, p_n$ are $n - 1$ equations, so some $v$ of length one meets them. It is a
combination of $q_i, \dots, q_n$, so $v \cdot Sv \le \lambda_i$, and of $p_1, \dots, p_i$, so
$\mu_i \le v \cdot (S + E) v$. As $|v \cdot Ev| \le |v|\, |Ev| \le \|E\|$, $\mu_i \le \lambda_i + \|E\|$. Exchange the
roles of $S$ and $S + E$. $\blacksquare$

## Singular values

**Claim** `neural.svd`. Every $A \in \mathbb{R}^{m \times n}$ is, with $r$ its rank,

$$A = \sum_{i=1}^r \sigma_i\, u_i v_i^\top, \qquad \sigma_1 \ge \dots \ge \sigma_r > 0, \qquad \text{(E6)}$$

where $u_1, \dots, u_r \in \mathbb{R}^m$ are orthonormal and so are $v_1, \dots, v_r \in \mathbb{R}^n$. The **singular
values** $\sigma_i$ are determined by $A$: their squares are the nonzero eigenvalues of $A^\top A$, and also those of
$AA^\top$. If $A \ne 0$, $\sigma_1$ is the largest of all $|Av| / |v|$; and $\|A\|^2 = \sum_i \sigma_i^2$.

**Proof.** $A^\top A$ is positive semidefinite. By `neural.spectral-theorem` and `neural.semidefinite` it has
orthonormal eigenvectors $v_1, \dots, v_n$ with eigenvalues $\sigma_1^2 \ge \dots \ge \sigma_n^2 \ge 0$. Let $s$ be the
number of those above $0$, and $u_i = A v_i / \sigma_i$ for $i \le s$. For $i, j \le s$ and for $l > s$,

$$
u_i \cdot u_j = \frac{v_i \cdot A^\top A v_j}{\sigma_i \sigma_j}
  = \frac{\sigma_j^2\, (v_i \cdot v_j)}{\sigma_i \sigma_j}
  = \begin{cases} 1 & i = j \\ 0 & i \ne j, \end{cases}
\qquad |A v_l|^2 = v_l \cdot A^\top A v_l = 0.
$$

Every $x$ is $\sum_i (v_i \cdot x)\, v_i$, so $Ax = \sum_{i \le s} \sigma_i u_i (v_i \cdot x)$, which is (E6). The $u_i$
are images and span all images, so $s = r$. Conversely, whenever (E6) holds, $A^\top A = \sum_i \sigma_i^2 v_i
v_i^\top$; extend the $v_i$ to $n$ orthonormal vectors, and they are eigenvectors with the eigenvalues $\sigma_i^2$ and
$0$, which are determined by $A^\top A$. Likewise $AA^\top = \sum_i \sigma_i^2 u_i u_i^\top$. Last, $|Av|^2 / |v|^2$ is
the Rayleigh quotient of $A^\top A$, whose largest value is the first eigenvalue $\sigma_1^2$: the proof of
`neural.spectral-theorem` begins with it. And $\|A\|^2 = \operatorname{tr} (A^\top A) = \sum_i \sigma_i^2$ by
`neural.eigenvalue-sums`. $\blacksquare$

Programs return $k = \min(m, n)$ terms, the last of them with $\sigma_i = 0$ if $r < k$, and any $u_i$ and $v_i$ that
keep the lists orthonormal: $A = U \Sigma V^\top$. Cut the sum short, and a matrix of small rank is left.

**Claim** `neural.eckart-young`. Let $k \le r$ and $A_k = \sum_{i \le k} \sigma_i u_i v_i^\top$. Among all matrices $B$
of rank at most $k$, $A_k$ has the smallest $\|A - B\|$, and

$$\|A - A_k\|^2 = \sum_{i > k} \sigma_i^2. \qquad \text{(E7)}$$

**Proof.** $A - A_k$ has the form (E6) with the remaining terms, so (E7) is `neural.svd`. Let $B$ have rank at most $k$.
Its columns lie in the span of some orthonormal $p_1, \dots, p_k$ of $\mathbb{R}^m$, extended if there are fewer. Let
$P$ be the projection onto it. By `neural.projection`, column by column $|a_j - b_j|^2 \ge |a_j - P a_j|^2$, which is
$|a_j|^2 - |P a_j|^2$. Their sum is

$$
\|A - B\|^2 \ge \|A\|^2 - \sum_j |P a_j|^2 = \|A\|^2 - \sum_j \sum_{l \le k} (p_l \cdot a_j)^2
  = \|A\|^2 - \sum_{l \le k} p_l \cdot A A^\top p_l.
$$

By `neural.top-eigenvalues`, used for $AA^\top$, the last sum is at most $\sigma_1^2 + \dots + \sigma_k^2$.
$\blacksquare$

Four rows that nearly are multiples of one:

>>> A = np.array([[3.0, 1.0, 2.0], [6.0, 2.1, 4.0], [9.0, 3.0, 5.9], [-3.0, -1.0, -2.0]])
>>> U, sigma, V = svd(A)
>>> sigma.round(3)
array([14.464,  0.086,  0.034])
>>> B = sigma[0] * np.outer(U[:, 0], V[:, 0])
>>> round(float(np.linalg.norm(A - B)), 9) == round(float(np.hypot(sigma[1], sigma[2])), 9)
True

## Variance along a direction

Let $x_1, \dots, x_N \in \mathbb{R}^D$ be points with the mean $\bar x$, and $Y$ the matrix whose row $i$ is
$x_i - \bar x$. Along a direction $u$ of length one, the points have the coordinates $u \cdot x_i$.

**Claim** `neural.principal-directions`. The variance of the coordinates along $u$ is $u \cdot Cu$ with
$C = \frac1N Y^\top Y$. The sum of the variances along $k$ orthonormal directions is largest along the first $k$
eigenvectors of $C$, and is the sum of their eigenvalues there. The coordinates along two of these eigenvectors are
uncorrelated. With the singular values and vectors of $Y$, $C$ has the eigenvalues $\sigma_i^2 / N$ and the eigenvectors
$v_i$, and the coordinates of $Y$ along $v_i$ are $\sigma_i u_i$.

**Proof.** The coordinates have the mean $u \cdot \bar x$ and the deviations $Yu$, so their variance is
$\frac1N |Yu|^2 = u \cdot Cu$. The second is `neural.top-eigenvalues`. The mean product of the deviations along $q_i$
and $q_j$ is $\frac1N\, Y q_i \cdot Y q_j = q_i \cdot C q_j = \lambda_j\, (q_i \cdot q_j) = 0$ for $i \ne j$. The last
is `neural.svd`: $Y^\top Y$ has the eigenvalues $\sigma_i^2$ (and zeros), and $Y v_i = \sigma_i u_i$. $\blacksquare$

## Finding them by rotations

To make a symmetric $S$ diagonal, turn two coordinates at a time. Let $J$ be the identity but for $J_{pp} = J_{qq} = c$,
$J_{pq} = s$, $J_{qp} = -s$, with $c^2 + s^2 = 1$: an orthogonal matrix. Let $\operatorname{off}(S)^2$ be the sum of the
squares of the entries of $S$ off its diagonal.

**Claim** `neural.jacobi-rotation`. Let $S$ be symmetric and $S_{pq} \ne 0$. For $t = s/c$ with

$$
t = \frac{\pm 2 S_{pq}}{|d| + \sqrt{d^2 + 4 S_{pq}^2}}, \qquad d = S_{qq} - S_{pp}, \quad \text{the sign that of } d
\text{ (either if } d = 0), \qquad \text{(E8)}
$$

$S' = J^\top S J$ has $S'_{pq} = 0$ and $\operatorname{off}(S')^2 = \operatorname{off}(S)^2 - 2 S_{pq}^2$.

**Proof.** The columns of $J$ are $c e_p - s e_q$ and $s e_p + c e_q$, so $S'_{pq} = cs\, S_{pp} + (c^2 - s^2) S_{pq} -
cs\, S_{qq}$. Divided by $-c^2$ it is $S_{pq} t^2 + d\, t - S_{pq}$, with the roots
$\big( -d \pm \sqrt{d^2 + 4 S_{pq}^2} \big) / (2 S_{pq})$. The one with the sign of $d$ for $\pm$ is smaller in size;
multiplied above and below by $|d| + \sqrt{d^2 + 4 S_{pq}^2}$ it is (E8). Of the diagonal, $J$ changes $S_{pp}$ and
$S_{qq}$ only, and the block of $p$ and $q$ is itself turned by a rotation of the plane, which keeps its norm:
${S'_{pp}}^2 + {S'_{qq}}^2 = S_{pp}^2 + S_{qq}^2 + 2 S_{pq}^2$. The diagonal gains $2 S_{pq}^2$ in squares; all of $S$
gains nothing, by `neural.orthogonal-matrix`. $\blacksquare$

A rotation spoils zeros that an earlier one made, but never as much as it gains. To do many at once, number the
coordinates from $0$ and let **round** $k$ hold the pairs with $p + q \equiv k$ modulo $n$. No two of them share a
coordinate, because $p$ determines its partner, and each pair is in exactly one of the $n$ rounds.

**Claim** `neural.jacobi`. Turn all pairs of each round by (E8), in the order of the sum of squares that the rounds hold
at the start, the heaviest first. This sweep leaves $S' = Q^\top S Q$ with $\operatorname{off}(S')^2 \le \big( 1 -
\frac1n \big) \operatorname{off}(S)^2$, and the sorted diagonal of $S'$ differs from the eigenvalues of $S$, one by one,
by at most $\operatorname{off}(S')$.

**Proof.** A rotation in one pair leaves the entry $S_{pq}$ of another pair of its round as it is, for it changes only
entries with one of its own coordinates. By `neural.jacobi-rotation` a round takes from $\operatorname{off}(S)^2$ all
that its pairs hold. The $n$ rounds hold all of it, so the heaviest holds $\frac1n$ at least; the later ones add
nothing. $S'$ has the eigenvalues of $S$, with the eigenvectors $Q^\top q_i$. Without what is off its diagonal it is a
diagonal matrix, with its entries for eigenvalues, and by `neural.weyl` the two lists are no farther apart than
$\operatorname{off}(S')$. $\blacksquare$

The bound promises that it ends. In practice a handful of sweeps is enough, because near the end each sweep squares the
relative size of what is left: `eigh_jacobi` has no setting for it.

Singular values could be had from $A^\top A$, but squaring loses half of the digits. Better turn the *columns* of $A$:
$(AJ)^\top (AJ) = J^\top (A^\top A) J$, so making two columns orthogonal is the rotation (E8) of $A^\top A$, which is
never formed. When all columns are orthogonal, their lengths are the singular values.

**Claim** `neural.one-sided-jacobi`. Let $\delta, \varepsilon > 0$. Call two columns $a_p, a_q$, both longer than
$\delta$, *crooked* if $|a_p \cdot a_q| > \varepsilon\, |a_p|\, |a_q|$. As long as there are such, turn the crooked
pairs of each round by (E8) for $A^\top A$, first the round with the largest sum of the squares of
$a_p \cdot a_q / (|a_p|\, |a_q|)$ over its crooked pairs. This ends after at most
$\operatorname{off}(A^\top A)^2 / (2 \delta^4 \varepsilon^2)$ sweeps.

**Proof.** In a sweep with a crooked pair, the sum of the first round is above $\varepsilon^2$. Its pairs are longer
than $\delta$, so their $(a_p \cdot a_q)^2$ sum to more than $\delta^4 \varepsilon^2$. By `neural.jacobi-rotation` the
round takes twice that from $\operatorname{off}(A^\top A)^2$. Later ones add nothing, and it never falls below $0$.
$\blacksquare$

The count is no estimate, only a proof that there is an end. `svd` takes for $\delta$ and $\varepsilon$ what rounding
leaves undecided, and counts columns no longer than $\delta$ as zero.

## In practice

LAPACK, which NumPy calls, first brings a matrix to a band of two or three diagonals by orthogonal matrices and goes on
from there, far faster than this page; `numpy.linalg.eigh` returns eigenvalues in rising order, and
`numpy.linalg.svd` returns $V^\top$. Jacobi's method (1846) needs no more than this page and finds small singular values
to more digits. For the few largest of a matrix too big to turn, one multiplies a handful of random vectors by it and
orthonormalizes them, again and again.

The Gram-Schmidt process in one pass loses the right angles where $w_j$ is much shorter than $v_j$: what is left of
rounding is scaled up with it. Projecting $w_j$ once more repairs it (Kahan's "twice is enough"), and so does
`orthonormalize`. A rank is not a property that floating point can see: all three functions decide it up to rounding.
This page leaves out matrices that are not symmetric, whose eigenvalues may be complex. Eckart and Young, "The
approximation of one matrix by another of lower rank" (1936); Golub and Van Loan, *Matrix Computations*.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["orthonormalize", "eigh_jacobi", "svd"]

EPSILON = float(np.finfo(np.float64).eps)
SWEEPS = 100  # ten times what was ever seen


def orthonormalize(A: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n r"]:
    """
    An orthonormal list with the span of the columns of A, by `neural.gram-schmidt`, each column projected twice.

    Parameters
    ----------
    A
        Vectors as columns, finite.

    Returns
    -------
    ndarray
        The r orthonormal columns, float64; r is the rank. A column of which the vectors before it leave no more than
        rounding adds none.

    Raises
    ------
    ValueError
        If an entry is not finite.

    Examples
    --------
    The second column is twice the first:

    >>> orthonormalize(np.array([[3.0, 6.0, 5.0], [4.0, 8.0, 0.0]]))
    array([[ 0.6,  0.8],
           [ 0.8, -0.6]])
    """
    A = _finite(A)
    n, k = A.shape
    Q = np.empty((n, min(n, k)))
    r = 0
    for v in A.T:
        size = np.abs(v).max(initial=0.0)
        if r == n or size == 0:
            continue
        v = v / size  # squares that neither overflow nor vanish
        w = v - Q[:, :r] @ (Q[:, :r].T @ v)  # (E2)
        w -= Q[:, :r] @ (Q[:, :r].T @ w)
        if np.linalg.norm(w) > 16 * max(n, k) * EPSILON * np.linalg.norm(v):  # more than rounding leaves
            Q[:, r] = w / np.linalg.norm(w)
            r += 1
    return Q[:, :r]


def eigh_jacobi(S: Float[np.ndarray, "n n"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """
    Eigenvalues and eigenvectors of a symmetric matrix, by sweeps of rotations (`neural.jacobi`).

    Parameters
    ----------
    S
        Symmetric up to the rounding of its dtype, finite.

    Returns
    -------
    eigenvalues : ndarray
        Falling, float64, with an error of a few roundings of the largest.
    Q : ndarray
        Their orthonormal eigenvectors as columns; of each, the entry of the largest size is positive.

    Raises
    ------
    ValueError
        If S is not square, not symmetric or not finite.

    Examples
    --------
    >>> eigenvalues, Q = eigh_jacobi(np.array([[1.0, 2.0], [2.0, 1.0]]))
    >>> eigenvalues.round(12), Q.round(3)
    (array([ 3., -1.]), array([[ 0.707,  0.707],
           [ 0.707, -0.707]]))
    """
    rounding = float(np.finfo(S.dtype).eps)
    S = _finite(S)
    n = len(S)
    if S.shape != (n, n):
        raise ValueError(f"eigenvalues belong to a square matrix, got the shape {S.shape}. For others there is svd(A).")
    scale = float(np.abs(S).max(initial=0.0)) or 1.0
    A = S / scale
    gap = float(np.abs(A - A.T).max(initial=0.0))
    if gap > 16 * n * rounding:
        raise ValueError(
            f"the matrix must be symmetric, got entries that differ from their mirror images by up to {gap * scale:g}. "
            "Its symmetric part is (S + S.T) / 2; S.T @ S has the squared singular values of S."
        )
    A = (A + A.T) / 2
    Q, i = np.eye(n), np.arange(n)
    partner = (i[:, None] - i) % max(n, 1)  # of each coordinate, round by round
    for _ in range(SWEEPS):
        off = A - np.diag(np.diag(A))
        if np.linalg.norm(off) <= EPSILON * np.linalg.norm(A):
            break
        for k in np.argsort(-(off[i, partner] ** 2).sum(1)):  # the heaviest round first
            p = i[(i < partner[k]) & (A[i, partner[k]] != 0)]
            q = partner[k][p]
            c, s = _rotation(A[q, q] - A[p, p], A[p, q])
            for M in (A, A.T, Q):  # columns, rows, and the product of all rotations
                M[:, p], M[:, q] = c * M[:, p] - s * M[:, q], s * M[:, p] + c * M[:, q]
            A[p, q] = A[q, p] = 0.0
    else:
        raise AssertionError(f"rotations did not end after {SWEEPS} sweeps")
    order = np.argsort(-np.diag(A), kind="stable")
    Q = Q[:, order]
    return np.diag(A)[order] * scale, Q * _signs(Q)


def svd(
    A: Float[np.ndarray, "m n"],
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """
    Singular values and vectors, by rotations of the columns (`neural.one-sided-jacobi`).

    Parameters
    ----------
    A
        Any finite matrix.

    Returns
    -------
    U : ndarray
        Orthonormal columns, k = min(m, n) of them; float64.
    sigma : ndarray
        Singular values, falling; those that rounding cannot tell from zero are zero.
    V : ndarray
        Orthonormal columns, V and not its transpose: `A = (U * sigma) @ V.T`. Of each, the entry of the largest size is
        positive.

    Raises
    ------
    ValueError
        If an entry is not finite.

    Examples
    --------
    >>> U, sigma, V = svd(np.array([[3.0, 0.0], [4.0, 5.0]]))
    >>> (sigma**2).round(9), ((U * sigma) @ V.T).round(9)
    (array([45.,  5.]), array([[3., 0.],
           [4., 5.]]))
    """
    A = _finite(A)
    m, n = A.shape
    if m < n:
        V, sigma, U = svd(A.T)
        signs = _signs(V)
        return U * signs, sigma, V * signs
    scale = float(np.abs(A).max(initial=0.0)) or 1.0
    W, V, i = A / scale, np.eye(n), np.arange(n)
    partner = (i[:, None] - i) % max(n, 1)
    epsilon = 4 * m * EPSILON  # a sum of m products is off by m roundings
    delta = epsilon * float(np.linalg.norm(W))
    for _ in range(SWEEPS):
        lengths = np.linalg.norm(W, axis=0)
        unit = W / np.where(lengths > delta, lengths, np.inf)  # short columns count as zero
        cosines = unit.T @ unit - np.diag((unit**2).sum(0))
        cosines[np.abs(cosines) <= epsilon] = 0
        turned = False
        for k in np.argsort(-(cosines[i, partner] ** 2).sum(1)):
            p = i[i < partner[k]]
            q = partner[k][p]
            a, b, dot = (W[:, p] ** 2).sum(0), (W[:, q] ** 2).sum(0), (W[:, p] * W[:, q]).sum(0)
            crooked = (np.minimum(a, b) > delta**2) & (np.abs(dot) > epsilon * np.sqrt(a) * np.sqrt(b))
            p, q, turned = p[crooked], q[crooked], turned or bool(crooked.any())
            c, s = _rotation((b - a)[crooked], dot[crooked])
            for M in (W, V):
                M[:, p], M[:, q] = c * M[:, p] - s * M[:, q], s * M[:, p] + c * M[:, q]
        if not turned:
            break
    else:
        raise AssertionError(f"rotations did not end after {SWEEPS} sweeps")
    lengths[lengths <= delta] = 0
    order = np.argsort(-lengths, kind="stable")
    lengths, W, V = lengths[order], W[:, order], V[:, order]
    r = int((lengths > 0).sum())
    U = W[:, :r] / lengths[:r]
    if r < n:
        U = orthonormalize(np.hstack([U, np.eye(m)]))[:, :n]
    signs = _signs(V)
    return U * signs, lengths * scale, V * signs


def _finite(A: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m n"]:
    A = np.asarray(A, np.float64)
    if A.ndim != 2:
        raise ValueError(f"a matrix has rows and columns, got the shape {A.shape}. Use v[:, None] for one column.")
    if not np.isfinite(A).all():
        i, j = np.argwhere(~np.isfinite(A))[0]
        raise ValueError(f"the entries must be finite, got {A[i, j]} in row {i}, column {j}. Remove such rows first.")
    return A


def _rotation(
    d: Float[np.ndarray, " j"], b: Float[np.ndarray, " j"]
) -> tuple[Float[np.ndarray, " j"], Float[np.ndarray, " j"]]:
    """Cosines and sines of the rotations (E8) for nonzero entries b."""
    t = np.where(d < 0, -2.0, 2.0) * b / (np.abs(d) + np.hypot(d, 2 * b))
    c = 1 / np.hypot(1, t)
    return c, c * t


def _signs(Q: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """The sign of the largest entry of each column."""
    if not Q.size:
        return np.ones(Q.shape[1])
    return np.where(Q[np.abs(Q).argmax(axis=0), np.arange(Q.shape[1])] < 0, -1.0, 1.0)
