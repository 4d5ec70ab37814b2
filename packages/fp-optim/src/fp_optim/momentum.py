r"""
Momentum: a memory of earlier steps, and the square root of the condition number.

In a narrow valley gradient descent zigzags between the walls and creeps along the floor: the step that the walls allow
is too short for the floor, and on a quadratic the number of steps is proportional to the condition number $\kappa$
(`fp_optim.descent`). A ball would roll. What does a memory of earlier steps buy, how should it be set, and which of the
methods called Nesterov's does a library run?

You need: `neural.spectral-theorem` (a quadratic falls apart into coordinates), `optim.smooth-bound`,
`optim.convex-gradient` and `optim.strong-convexity` of the section on norms, complex roots of a quadratic equation.

## A buffer

The **heavy ball** adds to a gradient step a part of the step before, with $w_{-1} = w_0$ and $0 \le \beta < 1$:

$$w_{k+1} = w_k - \eta \nabla f(w_k) + \beta\, (w_k - w_{k-1}). \qquad \text{(E1)}$$

Libraries keep a buffer of gradients instead, $b_0 = 0$:

$$b_{k+1} = \beta b_k + \nabla f(w_k), \qquad w_{k+1} = w_k - \eta b_{k+1}. \qquad \text{(E2)}$$

For a constant $\eta$ it is the same: (E2) says $w_k - w_{k-1} = -\eta b_k$ (for $k = 0$ both are zero), so
$-\eta b_{k+1} = \beta\, (w_k - w_{k-1}) - \eta \nabla f(w_k)$. When $\eta$ changes they differ: (E2) applies the new
rate to all of the memory.

Some libraries weigh what enters the buffer by $1 - \tau$, where $\tau$ is called **dampening**, but not the first
gradient:

$$b_1 = g_1, \qquad b_t = \beta b_{t-1} + (1 - \tau)\, g_t \quad \text{for } t \ge 2. \qquad \text{(E3)}$$

**Claim** `optim.momentum-gain`. Let all gradients be $g$. Under (E3) with $0 \le \beta < 1$

$$b_t = \Big( \beta^{t-1} + (1 - \tau) \frac{1 - \beta^{t-1}}{1 - \beta} \Big)\, g.$$

So without dampening $b_t = \frac{1 - \beta^t}{1 - \beta}\, g$, which tends to $\frac{1}{1 - \beta}\, g$; with
$\tau = \beta$, $b_t = g$ for every $t$.

**Proof.** For $t = 1$ the bracket is $1$. If the formula holds for $t - 1$, then

$$
\begin{aligned}
\beta b_{t-1} + (1 - \tau)\, g
  &= \Big( \beta^{t-1} + (1 - \tau) \Big( \frac{\beta - \beta^{t-1}}{1 - \beta} + 1 \Big) \Big)\, g \\
  &= \Big( \beta^{t-1} + (1 - \tau) \frac{1 - \beta^{t-1}}{1 - \beta} \Big)\, g .
\end{aligned}
$$

For $\tau = 0$ multiply out: $\beta^{t-1} (1 - \beta) + 1 - \beta^{t-1} = 1 - \beta^t$. For $\tau = \beta$ the bracket
is $\beta^{t-1} + 1 - \beta^{t-1}$. $\blacksquare$

Where gradients agree, momentum $0.9$ therefore learns ten times as fast as its rate says; and the first gradient enters
in full so that with $\tau = \beta$ the buffer is a mean from the first step on.

## One coordinate of a quadratic

Let $f(w) = \frac12 (w - w^\star) \cdot A\, (w - w^\star)$, where $A$ is symmetric with eigenvalues in $[\mu, L]$,
$0 < \mu \le L$, both of them eigenvalues, and $\kappa = L / \mu$. In the orthonormal basis of `neural.spectral-theorem`
the coordinates $z$ of $w - w^\star$ do not mix: the gradient of the one with eigenvalue $\lambda$ is $\lambda z$, and
(E1) is

$$z_{k+1} = s\, z_k - \beta z_{k-1}, \qquad s = 1 + \beta - \eta \lambda. \qquad \text{(E4)}$$

A sequence $r^k$ with $r \ne 0$ obeys it exactly if $r^2 - s r + \beta = 0$, and if there are two such roots
$r_1 \ne r_2$, $a r_1^k + b r_2^k$ can be fitted to any two starting values. The modulus of the larger root is the
factor by which the coordinate shrinks per step in the long run.

**Claim** `optim.heavy-ball-roots`. Let $0 \le \beta < 1$, $\eta > 0$, $\lambda > 0$, and let $\rho$ be the larger
modulus of the two roots. If $(1 - \sqrt\beta)^2 \le \eta \lambda \le (1 + \sqrt\beta)^2$, both have modulus
$\rho = \sqrt\beta$. Otherwise both are real and $\rho > \sqrt\beta$. And $\rho < 1$ exactly if
$\eta \lambda < 2 (1 + \beta)$.

**Proof.** The condition on $\eta \lambda$ says $|1 + \beta - \eta \lambda| \le 2 \sqrt\beta$, that is
$s^2 \le 4 \beta$. Then the roots are $\frac12 s \pm i \sqrt{\beta - \frac14 s^2}$ and their squared modulus is
$\frac14 s^2 + \beta - \frac14 s^2 = \beta < 1$. Here $|s| < 1 + \beta$, because
$1 + \beta - 2 \sqrt\beta = (1 - \sqrt\beta)^2 > 0$.

Otherwise $s^2 > 4 \beta$: the roots are real and different, their product is $\beta \ge 0$ and their sum is not $0$, so
their moduli differ too (equal ones would need opposite signs and sum to $0$); as the moduli have the product $\beta$,
the larger exceeds $\sqrt\beta$. It is $\rho = \frac12 \big( |s| + \sqrt{s^2 - 4 \beta} \big)$. So $\rho < 1$ exactly if
$\sqrt{s^2 - 4 \beta} < 2 - |s|$, that is if $|s| < 2$ and $s^2 - 4 \beta < 4 - 4 |s| + s^2$; the second says
$|s| < 1 + \beta$ and implies the first.

In both cases $\rho < 1$ exactly if $|s| < 1 + \beta$, that is $-1 - \beta < 1 + \beta - \eta \lambda < 1 + \beta$. The
right half holds as $\eta \lambda > 0$, the left half is $\eta \lambda < 2 (1 + \beta)$. $\blacksquare$

So momentum is stable for rates up to $2 (1 + \beta) / L$, nearly twice those of gradient descent, and over a whole band
of curvatures the rate of learning does not depend on the curvature. The best settings stretch this band over all of
them.

**Claim** `optim.heavy-ball-optimal`. Let $\rho(\eta, \beta)$ be the larger of the values of $\rho$ for $\lambda = \mu$
and $\lambda = L$. Over all $\eta > 0$ and $0 \le \beta < 1$ its smallest value is

$$
\rho = \sqrt\beta = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad
\text{attained for} \quad \eta = \frac{4}{(\sqrt L + \sqrt\mu)^2}. \qquad \text{(E5)}
$$

**Proof.** Let $\rho = \rho(\eta, \beta)$. If $\rho \ge 1$ it is above (E5); if $\rho = 0$, all roots are $0$, so
$\beta = 0$, $\eta \mu = \eta L = 1$ and $\kappa = 1$, where (E5) is $0$ too. Let $0 < \rho < 1$. The product of the
roots is $\beta$, so $\beta \le \rho^2$. The parabola $r^2 - s r + \beta$ is nowhere negative if its roots are not real,
and not negative outside the interval between them if they are; so at $r = \pm \rho$ it is not negative:
$\rho^2 \mp s \rho + \beta \ge 0$, which is $|s| \le \rho + \beta / \rho$. For $\lambda = L$ use
$-s \le \rho + \beta / \rho$, for $\lambda = \mu$ use $s \le \rho + \beta / \rho$:

$$
\begin{aligned}
\eta L &\le 1 + \beta + \rho + \beta / \rho = (1 + \rho) (1 + \beta / \rho) \le (1 + \rho)^2, \\
\eta \mu &\ge 1 + \beta - \rho - \beta / \rho = (1 - \rho) (1 - \beta / \rho) \ge (1 - \rho)^2,
\end{aligned}
$$

the last steps because $\beta / \rho \le \rho < 1$. Divide: $\kappa \le \big( \frac{1 + \rho}{1 - \rho} \big)^2$. So
$\sqrt\kappa\, (1 - \rho) \le 1 + \rho$, which is $\rho \ge \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}$.

With (E5), $1 - \sqrt\beta = \frac{2 \sqrt\mu}{\sqrt L + \sqrt\mu}$ and
$1 + \sqrt\beta = \frac{2 \sqrt L}{\sqrt L + \sqrt\mu}$, so $\eta \mu = (1 - \sqrt\beta)^2$ and
$\eta L = (1 + \sqrt\beta)^2$: by `optim.heavy-ball-roots` all curvatures in $[\mu, L]$ have roots of modulus
$\sqrt\beta$. $\blacksquare$

At both ends of the band the two roots coincide, and there the powers of the root come with a factor $k$:

**Claim** `optim.heavy-ball-bound`. Let $0 < \beta < 1$, $q = \sqrt\beta$, and
$(1 - q)^2 \le \eta \lambda \le (1 + q)^2$ for every eigenvalue $\lambda$ of $A$. Then (E1), started with
$w_{-1} = w_0$, has

$$|w_k - w^\star| \le \big( 1 + k\, (1 + q) \big)\, q^k\, |w_0 - w^\star|, \qquad \text{(E6)}$$

with equality for every $k$ if $\eta L = (1 + q)^2$ and $w_0 - w^\star$ is an eigenvector of $L$.

**Proof.** By `optim.heavy-ball-roots`, $s = 2 q c$ with $|c| \le 1$. Let $U_{-2} = -1$, $U_{-1} = 0$ and
$U_{k+1} = 2 c\, U_k - U_{k-1}$, so that $U_0 = 1$. Then

$$z_k = z_0\, q^k\, (U_k - q\, U_{k-1}) :$$

for $k = 0$ and $k = -1$ the right side is $z_0$, and multiplying the recursion of $U$ by $q^{k+1}$ gives that of (E4),
$q^{k+1} U_{k+1} = s\, q^k U_k - \beta\, q^{k-1} U_{k-1}$. It remains that $|U_k| \le k + 1$ for $k \ge -1$, because
then $|U_k - q\, U_{k-1}| \le k + 1 + q k$, and (E6) follows by summing $z_k^2$ over the coordinates.

For $c = \pm 1$, $U_k = (\pm 1)^k (k + 1)$, by induction: $2 (k + 1) - k = k + 2$. For $|c| < 1$ let $c = \cos \theta$
with $0 < \theta < \pi$. Then $U_k = \frac{\sin (k + 1) \theta}{\sin \theta}$: it holds for $k = -1$ and $0$, and the
recursion is $\sin (k + 2) \theta + \sin k \theta = 2 \cos \theta \sin (k + 1) \theta$. Since
$|\sin (k + 1) \theta| = |\sin k \theta \cos \theta + \cos k \theta \sin \theta| \le |\sin k \theta| + \sin \theta$,
induction gives $|\sin (k + 1) \theta| \le (k + 1) \sin \theta$.

If $\eta \lambda = (1 + q)^2$, then $s = 1 + q^2 - (1 + q)^2 = -2 q$ and $c = -1$:
$U_k - q U_{k-1} = (-1)^k (k + 1 + q k)$, which is equality. $\blacksquare$

What the square root is worth, in steps that the bounds need to come a million times closer to the minimum:

>>> kappa = 1000.0
>>> _, beta = heavy_ball_settings(1.0, kappa)
>>> plain = math.ceil(math.log(1e-6) / math.log((kappa - 1) / (kappa + 1)))
>>> rolling = next(k for k in range(plain) if heavy_ball_bound(beta, k) <= 1e-6)
>>> plain, rolling
(6908, 321)

## Beyond quadratics it may never arrive

**Claim** `optim.heavy-ball-cycle`. Let $f'(w) = 25 w$ for $w < 1$, $w + 24$ for $1 \le w < 2$, and $25 w - 24$ for
$w \ge 2$: an $f$ with $\mu = 1$, $L = 25$ and its minimum at $0$. With the settings (E5), $\eta = \frac19$ and
$\beta = \frac49$, the heavy ball runs through $\frac{2592}{1225}, \frac{792}{1225}, -\frac{2208}{1225}$ and again from
the first, for ever, once two successive points are two successive ones of these.

**Proof.** The pieces of $f'$ meet at $1$ (both $25$) and at $2$ (both $26$), and their slopes are $25$, $1$ and $25$.
Where $w < 1$, (E1) is $w_{k+1} = -\frac43 w_k - \frac49 w_{k-1}$; where $w \ge 2$ it is this plus $\frac83$. Multiply
by $1225$; of the three points only $2592$ is at $2 \cdot 1225 = 2450$ or above, and the others are below $1225$:

$$
\begin{aligned}
-\tfrac43 \cdot 2592 + \tfrac49 \cdot 2208 + \tfrac83 \cdot 1225 &= \tfrac19 (-31104 + 8832 + 29400) = 792, \\
-\tfrac43 \cdot 792 - \tfrac49 \cdot 2592 &= \tfrac19 (-9504 - 10368) = -2208, \\
\tfrac43 \cdot 2208 - \tfrac49 \cdot 792 &= \tfrac19 (26496 - 3168) = 2592. \qquad \blacksquare
\end{aligned}
$$

All three lie where the slope of $f'$ is $25$, so a small error is multiplied as in (E4) with the double root $-\frac23$
and dies out: nearby starts are drawn into the cycle. One that stands still at $3.3$ is:

>>> ball = {"w": np.array([3.3])}
>>> optimizer = Momentum(ball, lr=1 / 9, momentum=4 / 9)
>>> for _ in range(300):
...     w = ball["w"]
...     optimizer.step({"w": np.where(w < 1, 25 * w, np.where(w < 2, w + 24, 25 * w - 24))})
>>> round(1225 * ball["w"].item(), 6) in (2592, 792, -2208)
True

## Nesterov: look where the momentum leads

Nesterov takes the gradient where the momentum has carried the point, not where it stands. With a sequence of momenta
that grows towards $1$ this is safe for every smooth convex function, and faster than gradient descent's $1/k$. Let
$t_0 = 1$, $y_0 = w_0$, and

$$
\begin{aligned}
t_{k+1} &= \tfrac12 \Big( 1 + \sqrt{1 + 4 t_k^2} \Big), & w_{k+1} &= y_k - \tfrac1L \nabla f(y_k), \\
&& y_{k+1} &= w_{k+1} + \frac{t_k - 1}{t_{k+1}} (w_{k+1} - w_k).
\end{aligned}
\qquad \text{(E7)}
$$

So $t_{k+1}$ is the root of $t_{k+1} (t_{k+1} - 1) = t_k^2$ that is positive.

**Claim** `optim.nesterov-rate`. Let $f$ on $\mathbb{R}^n$ be convex and smooth with the constant $L > 0$
(`fp_optim.norms`), and let $w^\star$ minimise it. Then (E7) has, for $k \ge 1$,

$$
f(w_k) - f(w^\star) \le \frac{L\, |w_0 - w^\star|^2}{2\, t_{k-1}^2} \le \frac{2 L\, |w_0 - w^\star|^2}{(k + 1)^2}.
\qquad \text{(E8)}
$$

**Proof.** Let $g = \nabla f(y_k)$ and $v_k = f(w_k) - f(w^\star)$. For any $x$, first by `optim.smooth-bound` for the
step $-g / L$, then by `optim.convex-gradient`,

$$
f(w_{k+1}) \le f(y_k) - \frac{|g|^2}{2 L} \le f(x) + g \cdot (y_k - x) - \frac{|g|^2}{2 L}. \qquad \text{(E9)}
$$

Take (E9) $t_k - 1 \ge 0$ times for $x = w_k$ and once for $x = w^\star$, add, and subtract $t_k f(w^\star)$:

$$
t_k v_{k+1} \le (t_k - 1)\, v_k + g \cdot u_k - \frac{t_k}{2 L} |g|^2, \qquad
u_k = t_k y_k - (t_k - 1)\, w_k - w^\star.
$$

Multiply by $t_k$ and complete the square:

$$
t_k^2 v_{k+1} - t_k (t_k - 1)\, v_k \le t_k\, g \cdot u_k - \frac{t_k^2}{2 L} |g|^2
  = \frac L2 \Big( |u_k|^2 - \Big| u_k - \frac{t_k}{L} g \Big|^2 \Big). \qquad \text{(E10)}
$$

The vector in the last square is $u_{k+1}$. Indeed $y_k - g / L = w_{k+1}$ makes it
$t_k w_{k+1} - (t_k - 1)\, w_k - w^\star$, and by (E7) $t_{k+1} y_{k+1} = t_{k+1} w_{k+1} + (t_k - 1) (w_{k+1} - w_k)$,
so that

$$
\begin{aligned}
u_{k+1} &= t_{k+1} y_{k+1} - (t_{k+1} - 1)\, w_{k+1} - w^\star \\
  &= w_{k+1} + (t_k - 1) (w_{k+1} - w_k) - w^\star \\
  &= t_k w_{k+1} - (t_k - 1)\, w_k - w^\star.
\end{aligned}
$$

For $k \ge 1$, $t_k (t_k - 1) = t_{k-1}^2$, so (E10) says that $t_{k-1}^2 v_k + \frac L2 |u_k|^2$ never grows. For
$k = 0$ it says, as $t_0 - 1 = 0$ and $u_0 = w_0 - w^\star$, that
$t_0^2 v_1 + \frac L2 |u_1|^2 \le \frac L2 |w_0 - w^\star|^2$. So $t_{k-1}^2 v_k \le \frac L2 |w_0 - w^\star|^2$, the
first half of (E8). For the second, $t_{k+1} \ge \frac12 (1 + 2 t_k) = t_k + \frac12$, so
$t_{k-1} \ge 1 + \frac12 (k - 1) = \frac12 (k + 1)$. $\blacksquare$

## A constant momentum

Where the function is strongly convex, and one knows how much, the momentum may stay constant, and the number of steps
is again proportional to $\sqrt\kappa$: not only on quadratics.

**Claim** `optim.nesterov-strong`. Let $f$ on $\mathbb{R}^n$ be smooth with the constant $L$ and strongly convex with
the constant $\mu > 0$, let $w^\star$ be its minimiser, and $q = \sqrt{\mu / L}$. Let $y_0 = w_0$ and

$$
w_{k+1} = y_k - \tfrac1L \nabla f(y_k), \qquad y_{k+1} = w_{k+1} + \beta\, (w_{k+1} - w_k), \qquad
\beta = \frac{1 - q}{1 + q}. \qquad \text{(E11)}
$$

Then $f(w_k) - f(w^\star) \le (1 - q)^k \big( f(w_0) - f(w^\star) + \frac\mu2 |w_0 - w^\star|^2 \big)$.

**Proof.** Let $z_k = \frac1q \big( (1 + q)\, y_k - w_k \big)$, so $z_0 = w_0$, and $g = \nabla f(y_k)$. First, (E11)
makes

$$
q z_{k+1} = (1 + q)\, w_{k+1} + (1 - q) (w_{k+1} - w_k) - w_{k+1} = w_{k+1} - (1 - q)\, w_k,
$$

and with $w_{k+1} = y_k - \frac1L g$, $\frac1L = \frac{q^2}{\mu}$ and $w_k = (1 + q)\, y_k - q z_k$ this is

$$
q z_{k+1} = y_k - \tfrac{q^2}{\mu} g - (1 - q^2)\, y_k + q (1 - q)\, z_k
  = q \big( (1 - q)\, z_k + q\, y_k - \tfrac q\mu g \big).
$$

Let $a = (1 - q) (z_k - w^\star) + q\, (y_k - w^\star)$; then $z_{k+1} - w^\star = a - \frac q\mu g$. The square of a
norm is convex, so $|a|^2 \le (1 - q) |z_k - w^\star|^2 + q\, |y_k - w^\star|^2$, and

$$
\frac\mu2 |z_{k+1} - w^\star|^2 = \frac\mu2 |a|^2 - q\, g \cdot a + \frac{|g|^2}{2 L}
  \le (1 - q) \frac\mu2 |z_k - w^\star|^2 + \frac{q \mu}{2} |y_k - w^\star|^2 - q\, g \cdot a + \frac{|g|^2}{2 L}.
$$

By the definition of $z_k$, $q\, (z_k - w^\star) = (y_k - w_k) + q\, (y_k - w^\star)$, so
$q a = (1 - q) (y_k - w_k) + q\, (y_k - w^\star)$. With `optim.convex-gradient` for $w_k$ and `optim.strong-convexity`
for $w^\star$,

$$
\begin{aligned}
-q\, g \cdot a &= (1 - q)\, g \cdot (w_k - y_k) + q\, g \cdot (w^\star - y_k) \\
  &\le (1 - q) \big( f(w_k) - f(y_k) \big) + q \Big( f(w^\star) - f(y_k) - \frac\mu2 |y_k - w^\star|^2 \Big).
\end{aligned}
$$

Add the last two lines and the first half of (E9), $f(w_{k+1}) \le f(y_k) - \frac{1}{2 L} |g|^2$. The terms with $|g|^2$
and with $|y_k - w^\star|^2$ cancel, and $f(y_k)$ does, as $1 - (1 - q) - q = 0$:

$$
f(w_{k+1}) - f(w^\star) + \frac\mu2 |z_{k+1} - w^\star|^2
  \le (1 - q) \Big( f(w_k) - f(w^\star) + \frac\mu2 |z_k - w^\star|^2 \Big).
$$

Apply this $k$ times, with $z_0 = w_0$, and drop the square on the left. $\blacksquare$

Without strong convexity a constant momentum does not give the rate of (E8), whichever of the two methods it is in:

**Claim** `optim.constant-momentum`. Let $0 \le \beta < 1$, $\eta > 0$, $r > 0$ and $k \ge 1$. For
$f(w) = \frac12 \lambda w^2$ with $\lambda = \frac{1 - \beta}{2 \eta k} < \frac1\eta$, started at $w_0 = r$, the heavy
ball (E1) and Nesterov's method with the constants $\eta$ in place of $\frac1L$ and $\beta$ in (E11) both have

$$f(w_k) - f(0) \ge \frac{1 - \beta}{16}\, \frac{r^2}{\eta k}.$$

**Proof.** Both are $b_{j+1} = \beta b_j + \lambda x_j$ with $b_0 = 0$, $x_0 = r$, and a step $x_{j+1} = x_j - \eta d_j$
where $d_j = b_{j+1}$ or $d_j = \lambda x_j + \beta b_{j+1}$: for the heavy ball by (E2), with $x_j = w_j$, for Nesterov
by `optim.nesterov-library` below, with $x_j = y_j$. Let $i \le k$ and suppose that $0 \le x_j \le r$ for all $j < i$.
Then $0 \le b_{j+1} \le \lambda r (1 + \beta + \beta^2 + \dots) = \frac{\lambda r}{1 - \beta}$, and
$0 \le d_j \le \frac{\lambda r}{1 - \beta}$ in either case, as $1 + \frac{\beta}{1 - \beta} = \frac{1}{1 - \beta}$. So
each of the $i$ steps goes down by at most $\frac{\eta \lambda r}{1 - \beta} = \frac{r}{2 k}$, and
$\frac r2 \le x_i \le r$. By induction this holds for all $i \le k$. For Nesterov $w_k = x_k + \eta \beta b_k \ge x_k$.
So $w_k \ge \frac r2$ and $f(w_k) \ge \frac18 \lambda r^2$, as claimed. $\blacksquare$

With $\eta = 1 / L$ that is $L r^2 / k$ times a constant. What makes (E7) fast on every convex function is that its
momentum does not stay constant: $\frac{t_k - 1}{t_{k+1}}$ is about $1 - 3 / k$.

>>> t = nesterov_sequence(1000)
>>> [round(k * (1 - (t[k] - 1) / t[k + 1]).item(), 2) for k in (10, 100, 999)]
[2.18, 2.86, 2.98]

## The form that libraries use

Evaluating the gradient at $y$ while keeping the parameters at $w$ is awkward: a model computes gradients where its
parameters are. So libraries let the parameters be $y$.

**Claim** `optim.nesterov-library`. Let $w_{k+1} = y_k - \eta g_k$ with $g_k = \nabla f(y_k)$, and
$y_{k+1} = w_{k+1} + \beta\, (w_{k+1} - w_k)$, $y_0 = w_0$, with constant $\eta$ and $\beta$. Then with $b_0 = 0$

$$b_{k+1} = \beta b_k + g_k, \qquad y_{k+1} = y_k - \eta\, (g_k + \beta b_{k+1}), \qquad \text{(E12)}$$

and $w_k = y_k + \eta \beta b_k$ for all $k$.

**Proof.** Let $b_k = -\frac1\eta (w_k - w_{k-1})$ with $w_{-1} = w_0$, so $b_0 = 0$ and $y_k = w_k - \eta \beta b_k$
for every $k$, which is the last statement. Then
$-\eta b_{k+1} = w_{k+1} - w_k = y_k - \eta g_k - w_k = -\eta \beta b_k - \eta g_k$, which is the first half of (E12).
And $y_{k+1} = w_{k+1} - \eta \beta b_{k+1} = y_k - \eta g_k - \eta \beta b_{k+1}$. $\blacksquare$

So `Nesterov` below and in the libraries is Nesterov's method with a constant momentum, in the shifted variable: what it
leaves in the parameters is $y_k$, and $w_k$, to which `optim.nesterov-strong` applies, is one momentum step behind.
Rate and momentum must be constant for this: the shift $\eta \beta b$ is made with the old ones and undone with the new.

## Measured

A quadratic function with 50 eigenvalues from $10^{-4}$ to $1$ in equal ratios, and logistic regression with 7 weights
and a penalty of $10^{-4}$. On the left, distances from the minimum: gradient descent with its best rate (the bound is
`optim.contraction`) and the heavy ball with (E5) and its bound (E6). In the other two panels, gaps at the rate
$\frac1L$: gradient descent under the smaller of its two bounds, (E7) under (E8), and (E11) under
`optim.nesterov-strong`. No measured line is above its bound.

<!-- figure: momentum_rates -->

The heavy ball first runs away from the minimum: that is the factor $k$ of (E6) and not looseness of the proof. On
logistic regression it is not drawn, since nothing is proven about it there. Nesterov's methods swing, and the gap need
not fall in every step; the bounds do not say that it does.

## In practice

`Momentum` and `Nesterov` compute what PyTorch's `SGD` does with `momentum`, `dampening` and `nesterov`, decay inside
the gradient included. Nobody knows $\mu$ and $L$ of a network; $0.9$ is the custom, and the rate is found by trial.
With noisy gradients the proofs above do not hold: what momentum gains is in directions where gradients agree. The
varying momentum of (E7) is seldom used in training.

References: Polyak, *Some methods of speeding up the convergence of iteration methods* (1964); Nesterov, *A method of
solving a convex programming problem with convergence rate $O(1/k^2)$* (1983); Beck and Teboulle, *A fast iterative
shrinkage-thresholding algorithm* (2009), whose proof (E7) follows; Lessard, Recht and Packard, *Analysis and design of
optimization algorithms via integral quadratic constraints* (arXiv 1408.3595), for the cycle; Sutskever et al., *On the
importance of initialization and momentum in deep learning* (2013).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_optim.optimizer import Array, Optimizer

__all__ = [
    "Momentum",
    "Nesterov",
    "accelerated",
    "nesterov_sequence",
    "accelerated_bound",
    "heavy_ball_settings",
    "heavy_ball_factor",
    "heavy_ball_bound",
    "nesterov_settings",
    "nesterov_factor",
]  # the order of the page


class Momentum(Optimizer):
    r"""
    The heavy ball with a buffer (E3): $b \leftarrow \beta b + (1 - \tau) g$, $w \leftarrow w - \eta b$.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`.
    momentum
        $\beta$, in `[0, 1)`.
    dampening
        $\tau$, in `[0, 1]`; the first gradient is not dampened. Needs a momentum that is not zero.
    weight_decay
        The strength $\lambda$ of a penalty $\frac12 \lambda |w|^2$, whose gradient goes into the buffer too.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> parameters = {"w": np.array([1.0])}
    >>> optimizer = Momentum(parameters, lr=0.1, momentum=0.5)
    >>> for _ in range(3):
    ...     optimizer.step({"w": np.array([1.0])})
    ...     print(parameters["w"].round(3).item())
    0.9
    0.75
    0.575
    """

    PENALTY = True
    STATE = ("buffer",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int,
        momentum: float | int = 0.9,
        *,
        dampening: float | int = 0.0,
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, **common)

    def check(self, momentum: float | int, dampening: float | int) -> None:  # type: ignore[override]
        check_momentum(momentum)
        if not 0 <= dampening <= 1:
            raise ValueError(f"dampening must lie in [0, 1], got {dampening}")
        if dampening and not momentum:
            raise ValueError(
                f"dampening scales what is added to a buffer, got {dampening} with momentum 0; set a momentum"
            )

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, buffer: np.ndarray,
        *, momentum: float | int, dampening: float | int,
    ) -> None:  # fmt: skip
        if t == 1:
            buffer[...] = g
        else:
            buffer *= momentum
            if dampening:
                np.multiply(g, 1 - dampening, out=s)
                g = s
            buffer += g
        np.multiply(buffer, lr, out=s)
        p -= s


class Nesterov(Optimizer):
    r"""
    Nesterov's method with a constant momentum, in the libraries' form (E12); the parameters hold $y$.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`.
    momentum
        $\beta$, in `[0, 1)`.
    weight_decay
        The strength $\lambda$ of a penalty $\frac12 \lambda |w|^2$, whose gradient goes into the buffer too.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> parameters = {"w": np.array([1.0])}
    >>> optimizer = Nesterov(parameters, lr=0.1, momentum=0.5)
    >>> optimizer.step({"w": np.array([1.0])})
    >>> parameters["w"].round(3).item()
    0.85
    """

    PENALTY = True
    STATE = ("buffer",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int,
        momentum: float | int = 0.9,
        *,
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, momentum=momentum, weight_decay=weight_decay, **common)

    def check(self, momentum: float | int) -> None:  # type: ignore[override]
        check_momentum(momentum)

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, buffer: np.ndarray,
        *, momentum: float | int,
    ) -> None:  # fmt: skip
        buffer *= momentum
        buffer += g
        np.multiply(buffer, momentum, out=s)
        s += g
        s *= lr
        p -= s


def check_momentum(momentum: float | int) -> None:
    """Refuse a fading factor outside `[0, 1)`."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")


def accelerated(
    grad: Callable[[np.ndarray], np.ndarray], x0: Float[np.ndarray, "..."], L: float | int, n_steps: int
) -> Float[np.ndarray, "steps ..."]:
    """
    Nesterov's method with varying momentum (E7).

    Parameters
    ----------
    grad
        The gradient of a convex function at a point of the shape of `x0`.
    x0
        The start $w_0$; it is not changed.
    L
        A Lipschitz constant of the gradient, positive.
    n_steps
        How often the gradient is taken.

    Returns
    -------
    ndarray
        $w_0, w_1, \\dots$, one more than steps, along the first axis.

    Raises
    ------
    ValueError
        If `L` is not positive and finite or `n_steps` is negative.

    Examples
    --------
    >>> curvature = np.array([0.01, 1.0])
    >>> path = accelerated(lambda w: curvature * w, np.ones(2), 1.0, 100)
    >>> losses = 0.5 * (curvature * path**2).sum(axis=1)
    >>> bool(losses[100] < accelerated_bound(1.0, 2**0.5, 100))
    True
    """
    if not (L > 0 and math.isfinite(L)):
        raise ValueError(f"L must be positive and finite, got {L}")
    t = nesterov_sequence(n_steps)
    path = np.empty((n_steps + 1, *x0.shape))
    path[0] = y = x0
    for k in range(n_steps):
        path[k + 1] = y - grad(y) / L
        y = path[k + 1] + (t[k] - 1) / t[k + 1] * (path[k + 1] - path[k])
    return path


def nesterov_sequence(n_steps: int) -> Float[np.ndarray, "steps"]:
    """
    $t_0, \\dots, t_n$ of (E7).

    Examples
    --------
    >>> nesterov_sequence(3).round(3).tolist()
    [1.0, 1.618, 2.194, 2.75]
    """
    if n_steps < 0:
        raise ValueError(f"n_steps must not be negative, got {n_steps}")
    t = np.ones(n_steps + 1)
    for k in range(n_steps):
        t[k + 1] = (1 + math.sqrt(1 + 4 * t[k] ** 2)) / 2
    return t


def accelerated_bound(L: float | int, distance: float | int, k: int) -> float:
    """
    The right side of (E8), $2 L |w_0 - w^\\star|^2 / (k + 1)^2$.

    Parameters
    ----------
    L
        As for `accelerated`.
    distance
        $|w_0 - w^\\star|$.
    k
        Steps, at least 1.

    Raises
    ------
    ValueError
        If `k` is less than 1.

    Examples
    --------
    >>> accelerated_bound(1.0, 2.0, 3)
    0.5
    """
    if k < 1:
        raise ValueError(f"the bound is for k >= 1 steps, got {k}")
    return 2 * L * distance**2 / (k + 1) ** 2


def heavy_ball_settings(mu: float | int, L: float | int) -> tuple[float, float]:
    """
    The rate and the momentum of (E5), the best for quadratics with curvatures in $[\\mu, L]$.

    Examples
    --------
    >>> lr, momentum = heavy_ball_settings(1.0, 25.0)
    >>> round(lr * 9, 12), round(momentum * 9, 12)
    (1.0, 4.0)
    """
    check_curvatures(mu, L)
    total = math.sqrt(L) + math.sqrt(mu)
    return 4 / total**2, ((math.sqrt(L) - math.sqrt(mu)) / total) ** 2


def heavy_ball_factor(lr: float | int, momentum: float | int, curvature: float | int) -> float:
    """
    The larger modulus of the roots of $r^2 - (1 + \\beta - \\eta \\lambda) r + \\beta$ (`optim.heavy-ball-roots`).

    Examples
    --------
    >>> [round(heavy_ball_factor(0.1, 0.25, curvature), 3) for curvature in (1.0, 10.0, 25.0, 26.0)]
    [0.859, 0.5, 1.0, 1.128]
    """
    s = 1 + momentum - lr * curvature
    inside = s * s - 4 * momentum
    return math.sqrt(momentum) if inside <= 0 else (abs(s) + math.sqrt(inside)) / 2


def heavy_ball_bound(momentum: float | int, k: int) -> float:
    """
    The factor $(1 + k (1 + q)) q^k$ of (E6), $q = \\sqrt\\beta$.

    Examples
    --------
    >>> [heavy_ball_bound(0.25, k) for k in range(4)]
    [1.0, 1.25, 1.0, 0.6875]
    """
    q = math.sqrt(momentum)
    return (1 + k * (1 + q)) * q**k


def nesterov_settings(mu: float | int, L: float | int) -> tuple[float, float]:
    """
    The rate $1 / L$ and the momentum of (E11).

    Examples
    --------
    >>> nesterov_settings(1.0, 4.0)
    (0.25, 0.3333333333333333)
    """
    check_curvatures(mu, L)
    q = math.sqrt(mu / L)
    return 1 / L, (1 - q) / (1 + q)


def nesterov_factor(mu: float | int, L: float | int, k: int) -> float:
    """
    The factor $(1 - \\sqrt{\\mu / L})^k$ of `optim.nesterov-strong`.

    Examples
    --------
    >>> nesterov_factor(1.0, 4.0, 3)
    0.125
    """
    check_curvatures(mu, L)
    return (1 - math.sqrt(mu / L)) ** k


def check_curvatures(mu: float | int, L: float | int) -> None:
    """Refuse what cannot be the least and the largest curvature."""
    if not (0 < mu <= L and math.isfinite(L)):
        raise ValueError(f"the curvatures must be finite with 0 < mu <= L, got mu={mu}, L={L}")
