r"""
Norms and convexity: how long a step is, and what the shape of a function promises.

A step of an optimizer is chosen by looking at one point. What it does depends on all the points around it. So nothing
can be proven about it without a promise that a function keeps everywhere: that its slope changes no faster than
something (it is smooth), that along a line it never falls (it is convex), or that it rises no slower than something (it
is strongly convex). This section says what these promises are worth, and begins with what the words long and fast refer
to.

You need: Cauchy-Schwarz and the gradient from `fp_autograd.linear_algebra`, slopes along a line and concave functions
from `fp_markov.mathematics`, eigenvalues and singular values from `fp_neural.spectra`.

## Norms

A **norm** gives every vector $x \in \mathbb{R}^n$ a number $\|x\|$ such that $\|x\| > 0$ for $x \ne 0$,
$\|a x\| = |a|\, \|x\|$ for every number $a$, and $\|x + y\| \le \|x\| + \|y\|$. Three of them are in daily use:

$$
|x|_1 = \sum_i |x_i|, \qquad |x| = |x|_2 = \Big( \sum_i x_i^2 \Big)^{1/2}, \qquad |x|_\infty = \max_i |x_i|.
\qquad \text{(E1)}
$$

**Claim** `optim.norms`. All three are norms on $\mathbb{R}^n$, and
$|x|_\infty \le |x|_2 \le |x|_1 \le \sqrt{n}\, |x|_2 \le n\, |x|_\infty$. Each of the four inequalities is an equality
for some $x \ne 0$.

**Proof.** $|x_i + y_i| \le |x_i| + |y_i|$ in each coordinate; sum, or take the largest, and the triangle inequality of
the first and the third are there. That of the second is `autograd.cauchy-schwarz`. The other two properties are read
off (E1). The largest square is one term of the sum of squares: $|x|_\infty \le |x|_2$. Multiplied out, $|x|_1^2$ is the
sum of the squares and of products that are not negative: $|x|_2 \le |x|_1$. With $s_i = 1$ where $x_i \ge 0$ and
$s_i = -1$ elsewhere, $|x|_1 = s \cdot x \le |s|_2\, |x|_2 = \sqrt{n}\, |x|_2$ by `autograd.cauchy-schwarz`. Last, $n$
squares are at most $n$ times the largest: $|x|_2 \le \sqrt{n}\, |x|_\infty$. The first two are equalities for
$x = e_1$, the last two for $x = (1, \dots, 1)$. $\blacksquare$

In a million dimensions a vector may be a thousand times as long by one norm as by the next. But no more than that: up
to factors there is only one norm.

**Claim** `optim.equivalent-norms`. For every norm on $\mathbb{R}^n$ there are numbers $c, C > 0$ with
$c\, |x| \le \|x\| \le C\, |x|$ for all $x$; and every norm is continuous.

**Proof.** Let $C = \big( \sum_i \|e_i\|^2 \big)^{1/2}$. By the triangle inequality and `autograd.cauchy-schwarz`

$$\|x\| = \Big\| \sum_i x_i e_i \Big\| \le \sum_i |x_i|\, \|e_i\| \le C\, |x|.$$

So $\|x\| \le \|y\| + \|x - y\| \le \|y\| + C\, |x - y|$, and the same with $x$ and $y$ exchanged: the norm is
continuous. The vectors with $|x| = 1$ are a closed bounded set, on which $-\|x\|$ takes a largest value by
`neural.maximum`; that is, $\|x\|$ takes a smallest value $c$ there, which is positive. For $x \ne 0$ then
$\|x\| = |x|\, \big\| x / |x| \big\| \ge c\, |x|$. $\blacksquare$

## Gradients are measured by another norm

A gradient $g$ is not a step. It says what steps do: a small step $d$ changes the function by $g \cdot d$. Its size is
the most that a step of length one can do, the **dual norm**

$$\|g\|_* = \max_{\|x\| \le 1} g \cdot x. \qquad \text{(E2)}$$

**Claim** `optim.dual-norm`. The maximum (E2) exists, $\|\cdot\|_*$ is a norm, and $g \cdot x \le \|g\|_*\, \|x\|$ for
all $g$ and $x$. The dual norms of $|\cdot|_1$, $|\cdot|_2$ and $|\cdot|_\infty$ are $|\cdot|_\infty$, $|\cdot|_2$ and
$|\cdot|_1$. Of all $d$ with $\|d\| \le 1$ the change $g \cdot d$ is smallest, $-\|g\|_*$, for $g \ne 0$ and

$$
\begin{aligned}
d &= -\operatorname{sign}(g_j)\, e_j, \quad |g_j| = |g|_\infty &&\text{under } |\cdot|_1, \\
d &= -g / |g| &&\text{under } |\cdot|_2, \\
d &= -\operatorname{sign}(g) &&\text{under } |\cdot|_\infty.
\end{aligned}
\qquad \text{(E3)}
$$

**Proof.** By `optim.equivalent-norms` the vectors with $\|x\| \le 1$ are bounded, $|x| \le 1 / c$, and closed, as the
norm is continuous; and $x \mapsto g \cdot x$ is continuous. So `neural.maximum` gives (E2). For $x \ne 0$ the vector
$x / \|x\|$ is allowed in (E2), hence $g \cdot x \le \|g\|_*\, \|x\|$; for $x = 0$ both sides are $0$.

It is a norm. If $g \ne 0$, $x = g / \|g\|$ gives $\|g\|_* \ge |g|^2 / \|g\| > 0$. As $-x$ is allowed whenever $x$ is,
$(ag) \cdot x = |a|\, (g \cdot (\pm x))$ has the maximum $|a|\, \|g\|_*$. And
$(g + h) \cdot x = g \cdot x + h \cdot x \le \|g\|_* + \|h\|_*$ for all allowed $x$.

If $|x|_1 \le 1$, then $g \cdot x \le \sum_i |g_i|\, |x_i| \le |g|_\infty \sum_i |x_i| \le |g|_\infty$, and
$x = \operatorname{sign}(g_j)\, e_j$ reaches it. If $|x|_2 \le 1$, then $g \cdot x \le |g|_2$ by
`autograd.cauchy-schwarz`, reached by $g / |g|$. If $|x|_\infty \le 1$, then $g \cdot x \le \sum_i |g_i| = |g|_1$,
reached by $\operatorname{sign}(g)$. In each case $d = -x$ has $g \cdot d = -\|g\|_*$, and no $d$ does better:
$g \cdot d = -\big( g \cdot (-d) \big) \ge -\|g\|_*$. $\blacksquare$

So steepest descent is not one method but one for each norm: gradient descent (`fp_optim.descent`), a step of the sign
(`fp_optim.adaptive` comes near it), a step in one coordinate. Matrices have two more norms: the Frobenius norm
$\|A\|_F$, which is $|\cdot|_2$ of all entries, and the **spectral norm**, the most by which $A$ stretches a vector:

$$\|A\|_2 = \max_{|x| \le 1} |A x|. \qquad \text{(E4)}$$

**Claim** `optim.spectral-norm`. For $A \ne 0$ of rank $r$, $\|A\|_2$ is the largest singular value $\sigma_1$. It is a
norm, with $|A x| \le \|A\|_2\, |x|$, $\|A B\|_2 \le \|A\|_2\, \|B\|_2$ and
$\|A\|_2 \le \|A\|_F \le \sqrt{r}\, \|A\|_2$. For a symmetric $S$ with the eigenvalues
$\lambda_1 \ge \dots \ge \lambda_n$, $\|S\|_2 = \max_i |\lambda_i|$ and
$\lambda_n |x|^2 \le x \cdot S x \le \lambda_1 |x|^2$.

**Proof.** $\sigma_1$ is the largest of all $|A x| / |x|$ by `neural.svd`. So $|A x| \le \sigma_1 |x|$, with equality
for some $x$ of length one: this is (E4) and the first inequality. $|A B x| \le \|A\|_2\, |B x| \le \|A\|_2\, \|B\|_2$
for $|x| \le 1$. The norm: $\sigma_1 > 0$ for $A \ne 0$; a factor $a$ multiplies all $|A x|$ by $|a|$; and
$|(A + B)\, x| \le |A x| + |B x| \le \|A\|_2 + \|B\|_2$ for $|x| \le 1$. By `neural.svd`
$\|A\|_F^2 = \sigma_1^2 + \dots + \sigma_r^2$, between $\sigma_1^2$ and $r \sigma_1^2$. Last, let $x = \sum_i c_i q_i$
with the orthonormal eigenvectors of `neural.spectral-theorem`: then $|S x|^2 = \sum_i \lambda_i^2 c_i^2$ is at most
$\max_i \lambda_i^2$ times $\sum_i c_i^2 = |x|^2$, with equality for the eigenvector of that $\lambda_i$; and
$x \cdot S x = \sum_i \lambda_i c_i^2$ lies between $\lambda_n |x|^2$ and $\lambda_1 |x|^2$. $\blacksquare$

The dual norm of the spectral norm is the sum of the singular values: this is `optim.muon-steepest`.

## Convex: above its tangents

A function is convex if it never lies above its chords (`fp_markov.mathematics`); `markov.jensen` says it for means of
many points. A set is **open** if it contains a ball around each of its points; for most uses the set is all of
$\mathbb{R}^n$.

**Claim** `optim.convex-gradient`. Let $f$ have continuous partial derivatives on an open convex set $U$. These say the
same, each for all $x$ and $y$ in $U$: $f$ is convex;

$$
\begin{aligned}
f(y) &\ge f(x) + \nabla f(x) \cdot (y - x); &\text{(E5)} \\
0 &\le \big( \nabla f(y) - \nabla f(x) \big) \cdot (y - x). &\text{(E6)}
\end{aligned}
$$

$f$ is strictly convex exactly if (E5) is strict whenever $x \ne y$.

**Proof.** Let $u = y - x$ and $\varphi(t) = f(x + t u)$ for $0 \le t \le 1$. By `markov.slope-along-line`
$\varphi'(t) = \nabla f(x + t u) \cdot u$.

*Convex gives (E5).* The chord from $0$ to $1$ says $\varphi(w) \le (1 - w)\, \varphi(0) + w\, \varphi(1)$, which is
$\frac1w \big( \varphi(w) - \varphi(0) \big) \le \varphi(1) - \varphi(0)$. As $w \to 0$ the left side tends to
$\varphi'(0)$. *(E5) gives (E6).* Add (E5) to itself with $x$ and $y$ exchanged. *(E6) gives (E5).* For $0 < t \le 1$,
(E6) for $x$ and $x + t u$ says
$\varphi'(t) - \varphi'(0) = \frac1t \big( \nabla f(x + t u) - \nabla f(x) \big) \cdot (t u) \ge 0$. So
$\varphi' \ge \varphi'(0)$ on $[0, 1]$, and $\varphi(1) - \varphi(0) \ge \varphi'(0)$ by `markov.slope-bound`. *(E5)
gives convex.* Let $z = (1 - w) x + w y$. By (E5)

$$f(x) \ge f(z) + \nabla f(z) \cdot (x - z), \qquad f(y) \ge f(z) + \nabla f(z) \cdot (y - z).$$

Take $1 - w$ times the first plus $w$ times the second. The gradient's terms cancel, as
$(1 - w)(x - z) + w (y - z) = z - z = 0$, and the chord is left. If $x \ne y$, $0 < w < 1$ and (E5) is strict, so is the
chord. Conversely, let $f$ be strictly convex and $z = x + \frac12 u$ the middle. Then $2 f(z) < f(x) + f(y)$, and by
(E5) $f(z) \ge f(x) + \frac12 \nabla f(x) \cdot u$; together $f(y) > f(x) + \nabla f(x) \cdot u$. $\blacksquare$

**Claim** `optim.convex-minimum`. Let $f$ be convex, with continuous partial derivatives, on an open convex set $U$, and
$x$ in $U$. Then $\nabla f(x) = 0$ exactly if $f(x) \le f(y)$ for all $y$ in $U$. It is enough that $f(x) \le f(y)$ for
the $y$ of a ball around $x$. The points where $f$ is smallest are a convex set (which may be empty), and if $f$ is
strictly convex there is at most one.

**Proof.** If $\nabla f(x) = 0$, (E5) is $f(y) \ge f(x)$. Conversely, let $x$ be smallest in a ball. The quotients
$\frac1t \big( f(x + t e_i) - f(x) \big)$ are at least $0$ for small $t > 0$ and at most $0$ for $t < 0$, so their limit
$\partial_i f(x)$ is $0$, for every $i$. If $f$ is smallest at $x$ and at $y$, the chord between them is level, and no
point under it can be lower. If $f$ is strictly convex and $x \ne y$, the middle would be lower: a contradiction.
$\blacksquare$

This is what convexity is wanted for: there are no valleys to be caught in, and at every point (E5) says how low the
function can still be. Whether there is a lowest point is another matter: $e^x$ has none.

## Smooth: between two parabolas

$f$ is **smooth** with the constant $L > 0$ if it has continuous partial derivatives on all of $\mathbb{R}^n$ and

$$|\nabla f(x) - \nabla f(y)| \le L\, |x - y| \quad \text{for all } x \text{ and } y. \qquad \text{(E7)}$$

**Claim** `optim.smooth-bound`. If $f$ is smooth with the constant $L$, then for all $x$ and $y$

$$\big| f(y) - f(x) - \nabla f(x) \cdot (y - x) \big| \le \tfrac{L}{2}\, |y - x|^2. \qquad \text{(E8)}$$

**Proof.** Let $u = y - x$ and $\psi(t) = f(x + t u) - f(x) - t\, \nabla f(x) \cdot u$. Its slope is
$\psi'(t) = \big( \nabla f(x + t u) - \nabla f(x) \big) \cdot u$ by `markov.slope-along-line`, and by
`autograd.cauchy-schwarz` and (E7) $|\psi'(t)| \le L\, |t u|\, |u| = L\, |u|^2\, t$ for $t \ge 0$. That is the slope of
$\frac{L}{2} |u|^2 t^2$. Both vanish at $t = 0$, so (E4) of `fp_markov.mathematics` gives
$|\psi(1)| \le \frac{L}{2} |u|^2$. $\blacksquare$

The upper half of (E8) is the **descent lemma**. Every rate for smooth functions in this chapter starts from it. A first
use: where the gradient is long, the function has far to fall.

**Claim** `optim.gradient-gap`. Let the upper half of (E8) hold with $L > 0$, and let $f(y) \ge m$ for all $y$. Then
$|\nabla f(x)|^2 \le 2 L\, (f(x) - m)$ for every $x$.

**Proof.** Put $y = x - \frac1L \nabla f(x)$ into (E8):
$m \le f(y) \le f(x) - \frac1L |\nabla f(x)|^2 + \frac{1}{2L} |\nabla f(x)|^2 = f(x) - \frac{1}{2L} |\nabla f(x)|^2$.
$\blacksquare$

**Claim** `optim.cocoercive`. Let $f$ be convex on $\mathbb{R}^n$, with continuous partial derivatives, and let the
upper half of (E8) hold with $L > 0$. Then for all $x$ and $y$

$$
\begin{aligned}
f(y) &\ge f(x) + \nabla f(x) \cdot (y - x) + \tfrac{1}{2L}\, |\nabla f(y) - \nabla f(x)|^2, &\text{(E9)} \\
\tfrac1L\, |\nabla f(y) - \nabla f(x)|^2 &\le \big( \nabla f(y) - \nabla f(x) \big) \cdot (y - x), &\text{(E10)}
\end{aligned}
$$

and $f$ is smooth with the constant $L$.

**Proof.** Fix $x$ and let $h(z) = f(z) - \nabla f(x) \cdot z$. A linear term changes neither side of (E5) against the
other, nor of (E8): $h$ is convex, and the upper half of (E8) holds for it. Its gradient
$\nabla h(z) = \nabla f(z) - \nabla f(x)$ vanishes at $x$, so $h \ge h(x)$ by `optim.convex-minimum`, and
`optim.gradient-gap` at the point $y$ with $m = h(x)$ says $|\nabla h(y)|^2 \le 2L\, (h(y) - h(x))$. Written out, this
is (E9). Add (E9) to itself with $x$ and $y$ exchanged: (E10). By `autograd.cauchy-schwarz` the right side of (E10) is
at most $|\nabla f(y) - \nabla f(x)|\, |y - x|$; divide by $\frac1L |\nabla f(y) - \nabla f(x)|$, if it is not zero, and
(E7) is left. $\blacksquare$

Without convexity (E9) fails: $f(x) = -\frac12 x^2$ is smooth with $L = 1$, and from $x = 0$ the inequality would read
$-\frac12 y^2 \ge \frac12 y^2$.

## Strongly convex: above a parabola

$f$ is **strongly convex** with the constant $\mu > 0$ if $f(x) - \frac{\mu}{2} |x|^2$ is convex.

**Claim** `optim.strong-convexity`. Let $f$ have continuous partial derivatives on $\mathbb{R}^n$ and be strongly convex
with the constant $\mu$. Then for all $x$ and $y$

$$
\begin{aligned}
f(y) &\ge f(x) + \nabla f(x) \cdot (y - x) + \tfrac{\mu}{2}\, |y - x|^2, &\text{(E11)} \\
\mu\, |y - x|^2 &\le \big( \nabla f(y) - \nabla f(x) \big) \cdot (y - x). &\text{(E12)}
\end{aligned}
$$

$f$ is smallest at exactly one point $x^\star$. With $f^\star = f(x^\star)$, for every $x$

$$
\tfrac{\mu}{2}\, |x - x^\star|^2 \le f(x) - f^\star \le \tfrac{1}{2\mu}\, |\nabla f(x)|^2, \qquad
\mu\, |x - x^\star| \le |\nabla f(x)|. \qquad \text{(E13)}
$$

If $f$ is smooth with the constant $L$ too, then $\mu \le L$. Conversely, (E11) for all $x$ and $y$ makes $f$ strongly
convex, and so does (E12).

**Proof.** Let $h(x) = f(x) - \frac{\mu}{2} |x|^2$, with $\nabla h(x) = \nabla f(x) - \mu x$. As
$\frac12 |y|^2 - \frac12 |x|^2 - x \cdot (y - x) = \frac12 |y - x|^2$, (E11) is (E5) for $h$; and (E12) is (E6) for $h$.
By `optim.convex-gradient` each says that $h$ is convex.

*There is a smallest value.* By (E11) from $x = 0$, $f(y) \ge f(0) - |\nabla f(0)|\, |y| + \frac{\mu}{2} |y|^2$, which
is above $f(0)$ for $|y| > R = 2\, |\nabla f(0)| / \mu$. On the closed bounded set $|y| \le R$ the continuous $-f$ takes
a largest value by `neural.maximum`; there $f$ is smallest, also against the points outside, where $f > f(0)$. *There is
one.* By (E11), (E5) is strict for $x \ne y$; apply `optim.convex-minimum`. It says that $\nabla f(x^\star) = 0$, too,
and (E11) from $x^\star$ is the first inequality of (E13). For the second complete the square in (E11):

$$
f(y) \ge f(x) + \tfrac{\mu}{2} \big| (y - x) + \tfrac1\mu \nabla f(x) \big|^2 - \tfrac{1}{2\mu} |\nabla f(x)|^2
  \ge f(x) - \tfrac{1}{2\mu} |\nabla f(x)|^2,
$$

and let $y = x^\star$. For the third, (E12) with $y = x^\star$ and `autograd.cauchy-schwarz` give
$\mu\, |x - x^\star|^2 \le \nabla f(x) \cdot (x - x^\star) \le |\nabla f(x)|\, |x - x^\star|$. Last, for $x \ne y$,
(E12), `autograd.cauchy-schwarz` and (E7) give $\mu\, |y - x|^2 \le L\, |y - x|^2$. $\blacksquare$

The middle of (E13), $|\nabla f(x)|^2 \ge 2 \mu\, (f(x) - f^\star)$, is the **Polyak-Łojasiewicz inequality**, PL for
short. It needs neither convexity nor a single minimum, and it is all that a linear rate asks for. The quotient
$\kappa = L / \mu$, at least $1$, is the **condition number**: how much steeper the steepest direction is than the
flattest.

**Claim** `optim.strong-cocoercive`. If $f$ is strongly convex with the constant $\mu$ and smooth with the constant $L$,
then for all $x$ and $y$, with $v = y - x$ and $w = \nabla f(y) - \nabla f(x)$,

$$|w|^2 + \mu L\, |v|^2 \le (L + \mu)\, (w \cdot v). \qquad \text{(E14)}$$

**Proof.** If $\mu = L$, add $L$ times (E10) and $L$ times (E12). Otherwise let $h(x) = f(x) - \frac{\mu}{2} |x|^2$,
which is convex. In (E8) for $f$, subtracting
$\frac{\mu}{2} |y|^2 - \frac{\mu}{2} |x|^2 - \mu\, x \cdot (y - x) = \frac{\mu}{2} |y - x|^2$ leaves the upper half of
(E8) for $h$ with the constant $L - \mu > 0$. So `optim.cocoercive` holds for $h$, whose gradients differ by
$w - \mu v$: multiplied by $L - \mu$, (E10) is

$$
\begin{aligned}
|w - \mu v|^2 &\le (L - \mu)\, (w - \mu v) \cdot v, \\
|w|^2 - 2 \mu\, (w \cdot v) + \mu^2 |v|^2 &\le (L - \mu)\, (w \cdot v) - \mu\, (L - \mu)\, |v|^2, \\
|w|^2 + \mu L\, |v|^2 &\le (L + \mu)\, (w \cdot v). \qquad \blacksquare
\end{aligned}
$$

## Where the constants come from

**Claim** `optim.hessian-bounds`. Let $f$ have continuous partial derivatives up to order two on $\mathbb{R}^n$, with
the Hessian $H(x)$. For any number $m$, $f(x) - \frac{m}{2} |x|^2$ is convex exactly if all eigenvalues of all $H(x)$
are at least $m$. (E7) holds exactly if they all lie in $[-L, L]$.

**Proof.** $H(x)$ is symmetric by `autograd.mixed-partials`. The Hessian of $h(x) = f(x) - \frac{m}{2} |x|^2$ is
$H(x) - m I$, with the eigenvalues $\lambda_i - m$. If none is negative anywhere, $h$ is convex by `neural.semidefinite`
and `neural.convex-hessian`. Conversely, if $h$ is convex, (E6) for $x$ and $x + t u$, divided by $t^2 > 0$, says
$\frac1t \big( \nabla h(x + t u) - \nabla h(x) \big) \cdot u \ge 0$. As $t \to 0$ the left side tends to
$u \cdot (H(x) - m I)\, u$ by `autograd.taylor-line`; so this is not negative, and with an eigenvector for $u$ no
eigenvalue is.

Let all eigenvalues lie in $[-L, L]$; then $\|H(x)\|_2 \le L$ by `optim.spectral-norm`. Let $u = y - x$ and $|v| = 1$.
The slope of $t \mapsto v \cdot \nabla f(x + t u)$ is $v \cdot H(x + t u)\, u$ by `markov.slope-along-line`, at most
$L\, |u|$ in size. So $|v \cdot (\nabla f(y) - \nabla f(x))| \le L\, |u|$ by `markov.slope-bound`, and for $v$ in the
direction of $\nabla f(y) - \nabla f(x)$ this is (E7). Conversely, let $H(x)\, q = \lambda q$ with $|q| = 1$. By (E7)
$\frac1t |\nabla f(x + t q) - \nabla f(x)| \le L$ for $t > 0$; as $t \to 0$ the left side tends to
$|H(x)\, q| = |\lambda|$. $\blacksquare$

So a quadratic function $\frac12 (x - x^\star) \cdot S (x - x^\star)$, whose Hessian is $S$ everywhere, is strongly
convex with the smallest eigenvalue of $S$, if it is positive, and smooth with the largest. `fp_optim.problems` has
functions of which the best constants are known exactly.

## In practice

The loss of a deep network keeps none of these promises: it is not convex in the weights, and with a relu not even
differentiable. Its gradient may change faster where it is longer, so that no single $L$ serves (J. Zhang and others,
"Why gradient clipping accelerates training", arXiv 1905.11881). The theorems are used the other way round: they name
what an optimizer depends on, and the curvature measured along a training run then says how large a step can be. In its
last layer the loss *is* convex (`neural.logsumexp-convex`).

Sources: S. Boyd and L. Vandenberghe, *Convex Optimization* (2004); Y. Nesterov, *Lectures on Convex Optimization*
(2018). (E10) is due to J.-B. Baillon and G. Haddad (1977), PL to B. Polyak and S. Łojasiewicz (1963).
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["vector_norm", "dual_norm", "steepest", "spectral_norm"]  # the order of the page

DUAL = {1: math.inf, 2: 2, math.inf: 1}


def vector_norm(x: Float[np.ndarray, " n"], p: float | int) -> float:
    """
    One of the three norms (E1).

    Parameters
    ----------
    x
        Any vector.
    p
        1, 2 or `math.inf`.

    Returns
    -------
    float
        Not negative; infinite or NaN if an entry is, 0 if there is none.

    Raises
    ------
    ValueError
        If `p` is another number.

    Examples
    --------
    >>> x = np.array([3.0, -4.0, 0.0])
    >>> vector_norm(x, 1), vector_norm(x, 2), vector_norm(x, math.inf)
    (7.0, 5.0, 4.0)
    """
    _check(p)
    sizes = np.abs(x)
    largest = float(sizes.max(initial=0.0))
    if p == math.inf or largest == 0 or not math.isfinite(largest):
        return largest
    if p == 1:
        return float(sizes.sum())
    return largest * math.sqrt(float(np.sum((sizes / largest) ** 2)))  # optim.norm-scaling: no square overflows


def dual_norm(g: Float[np.ndarray, " n"], p: float | int) -> float:
    """
    How much a step of length one under the norm `p` can change a function with the gradient g (E2).

    Parameters
    ----------
    g
        A gradient.
    p
        1, 2 or `math.inf`, the norm that measures the steps.

    Returns
    -------
    float
        The dual norm of g.

    Raises
    ------
    ValueError
        If `p` is another number.

    Examples
    --------
    >>> dual_norm(np.array([3.0, -4.0, 0.0]), math.inf)
    7.0
    """
    _check(p)
    return vector_norm(g, DUAL[p])


def steepest(g: Float[np.ndarray, " n"], p: float | int) -> Float[np.ndarray, " n"]:
    """
    The direction of steepest descent under a norm (E3).

    Parameters
    ----------
    g
        A gradient, not zero.
    p
        1, 2 or `math.inf`, the norm that measures the steps.

    Returns
    -------
    ndarray
        Of length one under `p`; the change g · d is minus `dual_norm(g, p)`. Under 1 it goes along the first of the
        coordinates with the largest entry, and a coordinate with the entry 0 is left alone under infinity.

    Raises
    ------
    ValueError
        If `p` is another number, or g is zero or not finite.

    Examples
    --------
    >>> g = np.array([3.0, -4.0, 0.0])
    >>> for p in (1, 2, math.inf):
    ...     print(steepest(g, p))
    [0. 1. 0.]
    [-0.6  0.8 -0. ]
    [-1.  1. -0.]
    """
    _check(p)
    if not (np.isfinite(g).all() and g.any()):
        raise ValueError(f"only a finite gradient other than zero has a direction, got {g}")
    if p == 2:
        g = g / np.abs(g).max()  # so that its length neither overflows nor vanishes
        return -g / vector_norm(g, 2)
    if p == math.inf:
        return -np.sign(g)
    d = np.zeros_like(g)
    j = int(np.abs(g).argmax())
    d[j] = -np.sign(g[j])
    return d


def spectral_norm(A: Float[np.ndarray, "m n"]) -> float:
    """
    The most by which a matrix stretches a vector (E4).

    Parameters
    ----------
    A
        Any matrix, finite.

    Returns
    -------
    float
        Its largest singular value, 0 if it has no entry.

    Raises
    ------
    ValueError
        If an entry is not finite.

    Examples
    --------
    >>> spectral_norm(np.array([[0.0, 2.0], [-1.0, 0.0]]))
    2.0
    """
    if not np.isfinite(A).all():
        raise ValueError("the spectral norm needs finite entries; got an infinity or a NaN")
    return float(np.linalg.svd(A, compute_uv=False).max(initial=0.0))


def _check(p: float | int) -> None:
    if p not in DUAL:
        raise ValueError(f"the norm is 1, 2 or math.inf, got {p}")
