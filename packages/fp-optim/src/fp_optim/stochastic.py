r"""
Stochastic gradient descent: what noise costs, and how large a batch should be.

The gradient of a batch is the gradient of all the data plus an error. How far can steps along it come? What must the
rate do, how large should the batch be, what changes when it grows, and what is gained by averaging the weights?

You need: `fp_optim.norms` for smooth and convex functions, means and variances (`fp_markov.probability`).

## Noise

$f$ has a smallest value $f^\star$, and $w_0$ and the rates $\eta_t > 0$ are chosen beforehand. The steps are

$$w_{t+1} = w_t - \eta_t\, g_t, \qquad g_t = \nabla f(w_t) + \xi_t, \qquad t = 0, 1, \dots \qquad \text{(E1)}$$

The errors $\xi_0, \dots, \xi_{t-1}$ are the **past**; they determine $w_t$. Each takes finitely many values, as with
batches of finitely many examples. Whatever the past was, let the gradient be **unbiased** and its variance bounded:

$$
\mathbb{E}(\xi_t \mid \text{past}) = 0, \qquad \mathbb{E}(|\xi_t|^2 \mid \text{past}) \le \sigma^2. \qquad \text{(E2)}
$$

A batch of $B$ examples, drawn evenly and independently of each other and of the past, has (E2) with
$\sigma^2 = \sigma_1^2 / B$ by `neural.minibatch-gradient`, if $\sigma_1^2$ bounds the variance of a single example's
gradient at every point.

**Claim** `optim.noise-split`. Let (E2) hold, let the vector $u$ depend on the past only, and let $c$ be a number. Then
$\mathbb{E}\, u \cdot \xi_t = 0$ and
$\mathbb{E} |u + c\, \xi_t|^2 = \mathbb{E} |u|^2 + c^2\, \mathbb{E} |\xi_t|^2 \le \mathbb{E} |u|^2 + c^2 \sigma^2$.

**Proof.** Given a past, $u$ is a fixed vector, and by `markov.expectation-linear`
$\mathbb{E}(u \cdot \xi_t \mid \text{past}) = u \cdot \mathbb{E}(\xi_t \mid \text{past}) = 0$. The mean over everything
is the mean of these means, weighted by the probabilities of the pasts (`markov.total-probability` for the event of each
value), so it is zero; in the same way $\mathbb{E} |\xi_t|^2 \le \sigma^2$. Expand:
$|u + c\, \xi_t|^2 = |u|^2 + 2 c\, u \cdot \xi_t + c^2 |\xi_t|^2$. $\blacksquare$

## One step

Write $D_t = \mathbb{E} |w_t - w^\star|^2$ and $F_t = \mathbb{E} f(w_t) - f^\star$ for a minimiser $w^\star$, and
$r = |w_0 - w^\star|$.

**Claim** `optim.sgd-step`. Let $f$ be smooth with the constant $L > 0$ and convex, with a minimiser $w^\star$, or
strongly convex with the constant $\mu$; in the first case put $\mu = 0$. Under (E2)

$$D_{t+1} \le (1 - \eta_t \mu)\, D_t - 2 \eta_t\, (1 - \eta_t L)\, F_t + \eta_t^2 \sigma^2. \qquad \text{(E3)}$$

**Proof.** Let $u = w_t - w^\star - \eta_t \nabla f(w_t)$, so that $w_{t+1} - w^\star = u - \eta_t \xi_t$ and, by
`optim.noise-split`, $D_{t+1} \le \mathbb{E} |u|^2 + \eta_t^2 \sigma^2$. Here

$$|u|^2 = |w_t - w^\star|^2 - 2 \eta_t\, \nabla f(w_t) \cdot (w_t - w^\star) + \eta_t^2\, |\nabla f(w_t)|^2.$$

`optim.convex-gradient`, or `optim.strong-convexity`, with $x = w_t$ and $y = w^\star$ says
$\nabla f(w_t) \cdot (w_t - w^\star) \ge f(w_t) - f^\star + \frac{\mu}{2} |w_t - w^\star|^2$, and `optim.gradient-gap`
that $|\nabla f(w_t)|^2 \le 2 L\, (f(w_t) - f^\star)$. Insert both and take the mean. $\blacksquare$

So the noise adds $\eta^2 \sigma^2$ to a squared distance that the gradient shortens by something of order $\eta$. A
small rate makes the first negligible beside the second. All that follows is made of this.

## Convex functions

**Claim** `optim.sgd-convex`. Let $f$ be convex and smooth with the constant $L > 0$, with a minimiser, and (E2) hold.
With a constant $\eta < 1 / L$ the average $\bar w = \frac1T \sum_{t < T} w_t$ has

$$\mathbb{E} f(\bar w) - f^\star \le \frac{1}{2 (1 - \eta L)} \Big( \frac{r^2}{\eta T} + \eta \sigma^2 \Big).
\qquad \text{(E4)}$$

If $r, \sigma > 0$, then with $\eta = \min \big( \frac{1}{2L}, \frac{r}{\sigma \sqrt T} \big)$ it is at most
$\frac{2 L r^2}{T} + \frac{2 r \sigma}{\sqrt T}$.

**Proof.** Sum (E3) with $\mu = 0$ over $t < T$. The $D_t$ in between cancel:
$2 \eta (1 - \eta L) \sum_{t < T} F_t \le D_0 - D_T + T \eta^2 \sigma^2 \le r^2 + T \eta^2 \sigma^2$. Divide by
$2 \eta (1 - \eta L)\, T > 0$. By `markov.jensen` for $-f$, $f(\bar w) \le \frac1T \sum_t f(w_t)$, whose mean is
$f^\star + \frac1T \sum_t F_t$. For the second part, $2 (1 - \eta L) \ge 1$. Of two positive numbers the larger is at
most the sum, so $\frac1\eta \le 2L + \frac{\sigma \sqrt T}{r}$ and
$\frac{r^2}{\eta T} \le \frac{2 L r^2}{T} + \frac{r \sigma}{\sqrt T}$; and $\eta \sigma^2 \le \frac{r \sigma}{\sqrt T}$.
$\blacksquare$

Without noise $1 / T$ is left, as in `fp_optim.descent`; with it, ten times the precision takes a hundred times as many
steps. And the rate has to know $T$.

**Claim** `optim.sgd-stationary`. Let $f$ be smooth with the constant $L > 0$ and $f \ge m$, convex or not, and (E2)
hold. With a constant $\eta \le 1 / L$

$$
\frac1T \sum_{t < T} \mathbb{E} |\nabla f(w_t)|^2 \le \frac{2\, (f(w_0) - m)}{\eta T} + L \eta \sigma^2.
\qquad \text{(E5)}
$$

**Proof.** By `optim.smooth-bound`
$f(w_{t+1}) \le f(w_t) - \eta\, \nabla f(w_t) \cdot g_t + \frac{L}{2} \eta^2 |g_t|^2$. Write
$\Gamma_t = \mathbb{E} |\nabla f(w_t)|^2$. By `optim.noise-split` with $u = \nabla f(w_t)$,
$\mathbb{E}\, \nabla f(w_t) \cdot g_t = \Gamma_t$ and $\mathbb{E} |g_t|^2 \le \Gamma_t + \sigma^2$. As
$\frac{L}{2} \eta^2 \le \frac{\eta}{2}$,

$$\tfrac{\eta}{2}\, \Gamma_t \le \mathbb{E} f(w_t) - \mathbb{E} f(w_{t+1}) + \tfrac{L}{2} \eta^2 \sigma^2.$$

Sum over $t < T$, use $\mathbb{E} f(w_T) \ge m$, and multiply by $\frac{2}{\eta T}$. $\blacksquare$

For a network this is all that is left: gradients become small on average.

## Strongly convex functions

From here on $\mu > 0$. Then $\mu \le L$: (E12) and (E7) of `fp_optim.norms` give $\mu |v|^2 \le L |v|^2$.

**Claim** `optim.sgd-floor`. Let $f$ be strongly convex with the constant $\mu$, smooth with the constant $L$, and (E2)
hold. With a constant $\eta \le 1 / L$

$$D_T \le (1 - \eta \mu)^T r^2 + \frac{\eta \sigma^2}{\mu}. \qquad \text{(E6)}$$

**Proof.** In (E3) the term with $F_t \ge 0$ is not positive and may go. Let $c = \eta \sigma^2 / \mu$: then
$D_{t+1} - c \le (1 - \eta \mu) D_t + \eta \mu c - c = (1 - \eta \mu) (D_t - c)$, with a factor in $[0, 1)$. So
$D_T - c \le (1 - \eta \mu)^T (r^2 - c) \le (1 - \eta \mu)^T r^2$. $\blacksquare$

It arrives quickly, but only at a **noise floor**. The floor is no weakness of the proof:

**Claim** `optim.sgd-floor-exact`. Let $f(w) = \frac{\lambda}{2} w^2$ in one variable, and let
$\mathbb{E}(\xi_t \mid \text{past}) = 0$ and $\mathbb{E}(\xi_t^2 \mid \text{past}) = s^2$. With a constant
$0 < \eta < 2 / \lambda$ and $\rho = 1 - \eta \lambda$

$$
\mathbb{E} w_t^2 = \rho^{2t} w_0^2 + (1 - \rho^{2t})\, v, \qquad v = \frac{\eta s^2}{\lambda (2 - \eta \lambda)}.
\qquad \text{(E7)}
$$

**Proof.** $w_{t+1} = \rho w_t - \eta \xi_t$, and `optim.noise-split` with $u = \rho w_t$ gives
$\mathbb{E} w_{t+1}^2 = \rho^2\, \mathbb{E} w_t^2 + \eta^2 s^2$. As
$1 - \rho^2 = (1 - \rho)(1 + \rho) = \eta \lambda (2 - \eta \lambda)$, $v = \rho^2 v + \eta^2 s^2$, and subtracting,
$\mathbb{E} w_{t+1}^2 - v = \rho^2\, (\mathbb{E} w_t^2 - v)$. $\blacksquare$

The loss stays $\frac{\lambda}{2} v \approx \frac14 \eta s^2$ above its minimum. Half the rate halves that, and so does
twice the batch. To come nearer than any floor, the rate must fall, but not so fast that the steps end before the goal:

**Claim** `optim.robbins-monro`. Let $f$ be strongly convex with the constant $\mu$, smooth with the constant $L$, and
(E2) hold. If $\eta_t \le 1 / L$, $\eta_t \to 0$ and $\sum_t \eta_t$ grows without bound, then $D_t \to 0$.

**Proof.** Let $\varepsilon > 0$. From some $k$ on, $\eta_t \sigma^2 / \mu \le \varepsilon$, and (E3) gives
$D_{t+1} \le (1 - \eta_t \mu) D_t + \eta_t \mu\, \varepsilon$, that is,
$D_{t+1} - \varepsilon \le (1 - \eta_t \mu)(D_t - \varepsilon)$ with a factor in $[0, 1)$. If one of these $D_t$ is at
most $\varepsilon$, all later ones are. Otherwise, with $1 - x \le e^{-x}$ (`markov.log-tangent` at $e^{-x}$),

$$D_T - \varepsilon \le (D_k - \varepsilon)\, \exp \Big( {-\mu} \sum_{t=k}^{T-1} \eta_t \Big) \to 0.$$

Either way $D_T \le 2 \varepsilon$ from some $T$ on. $\blacksquare$

**Claim** `optim.sgd-strongly-convex`. Under the same hypotheses on $f$ and the noise let $k \ge 2 L / \mu$ and

$$\eta_t = \frac{2}{\mu\, (t + k)}. \qquad \text{(E8)}$$

Then for $T \ge 1$

$$
D_T \le \frac{(k - 1)(k - 2)\, r^2 + 4 T \sigma^2 / \mu^2}{(T + k - 1)(T + k - 2)}, \qquad
F_T \le \frac{L}{2}\, D_T. \qquad \text{(E9)}
$$

**Proof.** $\eta_t \le \frac{2}{\mu k} \le \frac1L$, so the term with $F_t$ in (E3) may go. With $s = t + k$,

$$
\begin{aligned}
D_{t+1} &\le \Big( 1 - \frac2s \Big) D_t + \frac{4 \sigma^2}{\mu^2 s^2}, \\
s (s - 1)\, D_{t+1} &\le (s - 1)(s - 2)\, D_t + \frac{4 \sigma^2}{\mu^2} \cdot \frac{s - 1}{s}
  \le (s - 1)(s - 2)\, D_t + \frac{4 \sigma^2}{\mu^2}.
\end{aligned}
$$

The left side is $A_{t+1}$ if $A_t = (t + k - 1)(t + k - 2)\, D_t$, and the right side is $A_t + 4 \sigma^2 / \mu^2$. So
$A_T \le A_0 + 4 T \sigma^2 / \mu^2$, and $T + k - 2 \ge 2 L / \mu - 1 > 0$. The second part is `optim.smooth-bound` at
$x = w^\star$, where the gradient vanishes (`optim.convex-minimum`). $\blacksquare$

The start is forgotten like $1 / T^2$, the noise like $4 \sigma^2 / (\mu^2 T)$. But $\mu$ has to be known. At rates that
are twenty times smaller a million steps get nowhere on $\frac{\mu}{2} w^2$, even without noise; $w$ has been multiplied
by

>>> [float(np.prod(1 - c / np.arange(4, 10**6)).round(3)) for c in (2, 0.1)]
[0.0, 0.284]

<!-- figure: sgd_rates -->

## How large a batch

Let $f(w + u) = f(w) + g \cdot u + \frac12\, u \cdot H u$ be quadratic and $g = \nabla f(w)$. Let $\Sigma$ hold the
covariances of the entries of a single example's gradient at $w$. The step is $-\eta\, (g + \xi)$ for a batch of $B$
independent examples.

**Claim** `optim.critical-batch`. If $g \cdot H g > 0$ and $\operatorname{tr}(H \Sigma) \ge 0$, the mean of
$f(w) - f(w - \eta (g + \xi))$ is largest, of all $\eta$, for $\eta_B$, where it is $\Delta_B$:

$$
\eta_B = \frac{\eta_\infty}{1 + b / B}, \quad \Delta_B = \frac{\Delta_\infty}{1 + b / B}, \quad
\eta_\infty = \frac{|g|^2}{g \cdot H g}, \quad \Delta_\infty = \frac{|g|^4}{2\, g \cdot H g}, \quad
b = \frac{\operatorname{tr}(H \Sigma)}{g \cdot H g}. \qquad \text{(E10)}
$$

**Proof.** Let $a_1, \dots, a_B$ be the errors of the examples, $\xi = \frac1B \sum_k a_k$. Independent errors of mean
zero have $\mathbb{E}\, a_{k,i}\, a_{l,j} = 0$ for $k \ne l$ (`markov.expectation-linear`), so
$\mathbb{E}\, \xi_i \xi_j = \frac{1}{B^2} \cdot B\, \Sigma_{ij}$ and
$\mathbb{E}\, \xi \cdot H \xi = \sum_{i,j} H_{ij} \Sigma_{ij} / B = \operatorname{tr}(H \Sigma) / B$. Terms with one
$\xi$ have mean zero. So the mean gain is

$$\eta\, |g|^2 - \tfrac12 \eta^2\, \big( g \cdot H g + \operatorname{tr}(H \Sigma) / B \big)
  = \eta\, |g|^2 - \tfrac12 \eta^2\, (1 + b / B)\, g \cdot H g,$$

a parabola in $\eta$ that opens downwards. With $p = |g|^2$ and $q = (1 + b / B)\, g \cdot H g > 0$ it is
$p \eta - \frac12 q \eta^2 = \frac{p^2}{2 q} - \frac{q}{2} (\eta - p / q)^2$, largest at $p / q$. $\blacksquare$

$b$ is the **critical batch size**. A batch far below it gains in proportion to its size; far above it, next to nothing
is gained by a larger one.

**Claim** `optim.steps-and-examples`. Let every step gain $\Delta_B = \Delta_\infty / (1 + b / B)$ with the same
$\Delta_\infty$ and $b > 0$. A gain of $G$ then takes $S = \frac{G}{\Delta_\infty} (1 + b / B)$ steps and $E = B S$
examples. With $S_{\min} = G / \Delta_\infty$ and $E_{\min} = b\, S_{\min}$

$$\Big( \frac{S}{S_{\min}} - 1 \Big) \Big( \frac{E}{E_{\min}} - 1 \Big) = 1. \qquad \text{(E11)}$$

**Proof.** $\frac{S}{S_{\min}} - 1 = \frac{b}{B}$, and
$\frac{E}{E_{\min}} = \frac{B}{b} \big( 1 + \frac{b}{B} \big) = \frac{B}{b} + 1$. $\blacksquare$

At $B = b$ a run takes twice the fewest steps and twice the fewest examples: the fair exchange between time and cost.
$H$ is not at hand, but if it is near a multiple of the identity, it cancels, and $b$ becomes the **noise scale**
$\operatorname{tr} \Sigma / |g|^2$, which can be measured, though $|g|^2$ is not known either:

**Claim** `optim.noise-scale`. Let $G_1$ and $G_2$ be gradients of batches of $B_1 < B_2$ independent examples. Then

$$
\mathcal{G} = \frac{B_2 |G_2|^2 - B_1 |G_1|^2}{B_2 - B_1}, \qquad
\mathcal{S} = \frac{|G_1|^2 - |G_2|^2}{1 / B_1 - 1 / B_2} \qquad \text{(E12)}
$$

have the means $|g|^2$ and $\operatorname{tr} \Sigma$. It does not matter whether the two batches share examples.

**Proof.** As in the proof of `optim.critical-batch`, with the identity for $H$,
$\mathbb{E} |G_i|^2 = |g|^2 + \operatorname{tr} \Sigma / B_i$. The mean is linear, so the two numerators have the means
$(B_2 - B_1)\, |g|^2$ and $(1 / B_1 - 1 / B_2) \operatorname{tr} \Sigma$. $\blacksquare$

Accumulated micro-batches give both for nothing: each is a small batch, their mean the large one.
$\mathcal{S} / \mathcal{G}$ is not unbiased, so average both over many steps first and divide then.

## A larger batch, a larger rate

**Claim** `optim.linear-scaling`. Let $g_0, \dots, g_{K-1}$ be the gradients of $K$ batches of one size, as functions of
$w$, with $|g_k(x) - g_k(y)| \le L\, |x - y|$ and $|g_k| \le G$. The $K$ steps $w_{k+1} = w_k - \eta\, g_k(w_k)$ and the
single step $w' = w_0 - K \eta \cdot \frac1K \sum_k g_k(w_0)$ on all examples, at the $K$-fold rate, end at most
$\frac12 K (K - 1)\, \eta^2 L G$ apart.

**Proof.** $|w_k - w_0| \le k \eta G$, so $|g_k(w_k) - g_k(w_0)| \le L k \eta G$. The difference of the two ends is
$\eta \sum_{k < K} \big( g_k(w_k) - g_k(w_0) \big)$, at most $\eta \cdot L \eta G \sum_{k < K} k$, and the sum is
$\frac12 K (K - 1)$. $\blacksquare$

So while $K \eta L$ is small, $K$ times the batch wants $K$ times the rate: the **linear rule**, for steps that are
proportional to the gradient. It also keeps the floor (E6), with $\sigma^2 = \sigma_1^2 / B$. Steps that are divided by
the gradient's own size behave otherwise. Let one coordinate of one example's gradient have the mean $m$ and the
variance $s^2$. A batch of $B$ has $\mathbb{E} \hat g^2 = m^2 + s^2 / B$, and the normalised step is
$-\eta\, \hat g / \sqrt{\mathbb{E} \hat g^2}$, what Adam's step is if its memory is long.

**Claim** `optim.root-scaling`. Let $a = \frac{m^2}{m^2 + s^2 / B}$, the share of the signal. If $m \ne 0$, one
normalised step with the batch $K B$ and the rate $\eta'$ moves the coordinate in the mean as far as $K$ such steps with
$B$ and $\eta$, from gradients of the same $m$ and $s^2$, exactly if

$$\eta' = \eta\, \sqrt{K^2 a + K (1 - a)}. \qquad \text{(E13)}$$

If $m = 0 < s$, both moves have the mean zero, and the same variance exactly if $\eta' = \eta \sqrt K$.

**Proof.** $K$ steps move it by $-K \eta\, m / \sqrt{m^2 + s^2 / B}$, the single one by
$-\eta' m / \sqrt{m^2 + s^2 / (K B)}$. For $m \ne 0$ these agree exactly if

$$
\frac{\eta'^2}{\eta^2} = K^2\, \frac{m^2 + s^2 / (K B)}{m^2 + s^2 / B} = \frac{K^2 m^2 + K s^2 / B}{m^2 + s^2 / B}
  = K^2 a + K (1 - a).
$$

If $m = 0$, a normalised step has the mean square $\eta^2\, \mathbb{E} \hat g^2 / \mathbb{E} \hat g^2 = \eta^2$ whatever
the batch; the variances of independent steps add up to $K \eta^2$ (`markov.variance-of-mean`), against $\eta'^2$.
$\blacksquare$

Between noise ($a = 0$: $\sqrt K$, the **square-root rule**) and signal ($a = 1$: $K$) lies everything:

>>> [round(scaled_rate(1.0, 4, signal=a), 2) for a in (0.0, 0.1, 0.5, 1.0)]
[2.0, 2.28, 3.16, 4.0]

## The average of the weights

Instead of lowering the rate one can average. With $0 \le \beta < 1$, for $t = 1, 2, \dots$

$$a_t = a_{t-1} + c_t\, (w_t - a_{t-1}), \qquad c_t = \frac{1 - \beta}{1 - \beta^t}. \qquad \text{(E14)}$$

**Claim** `optim.weight-average`. Whatever $a_0$ is, $a_t = \frac{1 - \beta}{1 - \beta^t} \sum_{s=1}^t \beta^{t-s} w_s$,
and these weights sum to one.

**Proof.** $c_1 = 1$, so $a_1 = w_1$, as stated. Let $N_t = 1 - \beta^t$ and multiply (E14) by it: since
$N_t - (1 - \beta) = \beta - \beta^t = \beta N_{t-1}$, $N_t a_t = \beta\, N_{t-1} a_{t-1} + (1 - \beta)\, w_t$. If the
statement holds for $t - 1$, the right side is $(1 - \beta) \sum_{s < t} \beta^{t-s} w_s + (1 - \beta)\, w_t$. The sum
of the weights is $\frac{1 - \beta}{1 - \beta^t} \sum_{j < t} \beta^j = 1$. $\blacksquare$

So it never leans towards the weights at the start, as a plain mean $\beta a_{t-1} + (1 - \beta) w_t$ from $a_0 = 0$ or
$a_0 = w_0$ does.

**Claim** `optim.average-noise`. In the situation of `optim.sgd-floor-exact`,

$$
\mathbb{E} a_t^2 \to v\; \frac{1 - \beta}{1 + \beta} \cdot \frac{1 + \beta \rho}{1 - \beta \rho} \quad \text{as } t \to
\infty. \qquad \text{(E15)}
$$

**Proof.** First, if $e_{t+1} = q\, e_t + d_t$ with $|q| < 1$ and $d_t \to d$, then $e_t \to e = \frac{d}{1 - q}$: as
$e = q e + d$, $|e_{t+1} - e| \le |q|\, |e_t - e| + |d_t - d|$, and as in the proof of `optim.robbins-monro`, for every
$\varepsilon$ from some $t$ on $|d_t - d| \le (1 - |q|)\, \varepsilon$ and
$|e_{t+1} - e| - \varepsilon \le |q|\, (|e_t - e| - \varepsilon)$. Now let $b_t = N_t a_t$, so that
$b_{t+1} = \beta b_t + (1 - \beta)\, w_{t+1}$, and $w_{t+1} = \rho w_t - \eta \xi_t$, where $b_t$ depends on the past of
$\xi_t$ only. Write $V_t = \mathbb{E} w_t^2 \to v$, by (E7). By `optim.noise-split`
$\mathbb{E}\, b_t w_{t+1} = \rho\, \mathbb{E}\, b_t w_t$, and so

$$
\begin{aligned}
\mathbb{E}\, b_{t+1} w_{t+1} &= \beta \rho\, \mathbb{E}\, b_t w_t + (1 - \beta)\, V_{t+1}, \\
\mathbb{E}\, b_{t+1}^2 &= \beta^2\, \mathbb{E}\, b_t^2 + 2 \beta (1 - \beta) \rho\, \mathbb{E}\, b_t w_t
  + (1 - \beta)^2\, V_{t+1}.
\end{aligned}
$$

The first tends to $\frac{(1 - \beta) v}{1 - \beta \rho}$, and then the second to

$$
\frac{(1 - \beta)^2 v}{1 - \beta^2} \Big( \frac{2 \beta \rho}{1 - \beta \rho} + 1 \Big)
  = v\; \frac{1 - \beta}{1 + \beta} \cdot \frac{1 + \beta \rho}{1 - \beta \rho},
$$

and $a_t = b_t / N_t$ with $N_t \to 1$. $\blacksquare$

For $\rho \ge 0$ this is at most $(1 - \beta)\, \frac{1 + \rho}{1 - \rho}\, v$: averaging over many more than
$\frac{1}{\eta \lambda}$ steps does away with the floor that a constant rate leaves, at no cost but memory. At
$\eta \lambda = 0.01$, averages over about $\frac{1}{1 - \beta} = 10$, 100, 1000 and 10,000 steps leave of it

>>> [round(average_floor(beta, rho=0.99), 2) for beta in (0.9, 0.99, 0.999, 0.9999)]
[0.91, 0.5, 0.09, 0.01]

## In practice

Language models are trained with batches of a million tokens and more, near the noise scale, which grows as the loss
falls; so batches are made larger during a run. Noise is not what (E2) says: examples are drawn without replacement
(`neural.minibatch-without-replacement`: less noise in a batch, and batches that are not independent), and the variance
is not bounded on all of space, only where the run goes. Decay to zero and averaging do the same work, and whoever
averages can stop at any time. The average is kept in float32 or better: in bfloat16 $(1 - \beta)(w - a)$ is rounded
away. Running statistics of batch normalisation do not belong to averaged weights and must be measured again.

References: Robbins and Monro, 1951; Bottou, Curtis and Nocedal, *Optimization Methods for Large-Scale Machine Learning*
(arXiv 1606.04838); McCandlish et al., *An Empirical Model of Large-Batch Training* (arXiv 1812.06162); Goyal et al. on
the linear rule (arXiv 1706.02677); Malladi et al. on the square-root rule (arXiv 2205.10287); Polyak and Juditsky on
averaging, 1992.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fp_optim._named import CHUNK, check_parameters, copy_state, pieces

__all__ = [  # the order of the page
    "sgd_path",
    "sgd_convex_rate",
    "sgd_convex_bound",
    "sgd_floor_bound",
    "robbins_monro_rate",
    "sgd_strong_bound",
    "NoiseScale",
    "noise_scale",
    "scaled_rate",
    "WeightAverage",
    "average_floor",
]


def sgd_path(
    noisy: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    w_0: Float[np.ndarray, "*shape"],
    rates: Sequence[float] | Float[np.ndarray, " T"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "steps *shape"]:
    """
    The points of (E1). With a leading axis of runs, and a `noisy` that draws for each its own noise, many at once.

    Parameters
    ----------
    noisy
        `noisy(w, rng)` returns the gradient with its error.
    w_0
        Where to start; not changed.
    rates
        One for each of the T steps.
    rng
        Where the noise comes from.

    Returns
    -------
    ndarray
        T + 1 points, the first of which is `w_0`.

    Examples
    --------
    >>> coin = lambda w, rng: w + rng.choice([-1.0, 1.0], size=w.shape)
    >>> sgd_path(coin, np.array([8.0]), [0.5, 0.5], np.random.default_rng(0)).ravel().tolist()
    [8.0, 3.5, 1.25]
    """
    path = np.empty((len(rates) + 1, *w_0.shape))
    path[0] = w_0
    for t, rate in enumerate(rates):
        path[t + 1] = path[t] - rate * noisy(path[t], rng)
    return path


def sgd_convex_rate(*, L: float, r: float | int, sigma: float | int, n_steps: int) -> float:
    """The constant rate of `optim.sgd-convex` for a run of that many steps. `L` is positive."""
    return min(0.5 / L, r / (sigma * math.sqrt(n_steps)) if sigma else math.inf)


def sgd_convex_bound(*, L: float, r: float | int, sigma: float | int, lr: float, n_steps: int) -> float:
    """
    The bound (E4) on the mean gap in the value at the average of the points.

    Parameters
    ----------
    L
        The constant with which the function is smooth.
    r
        The distance from the start to a minimiser.
    sigma
        The root of the bound on the variance of the gradient.
    lr
        The rate, in `(0, 1 / L)`.
    n_steps
        At least 1.

    Raises
    ------
    ValueError
        If the rate lies outside.

    Examples
    --------
    >>> sgd_convex_bound(L=1.0, r=2.0, sigma=1.0, lr=0.5, n_steps=16)
    1.0
    """
    if not 0 < lr < 1 / L:
        raise ValueError(f"the bound holds for rates in (0, 1 / L) = (0, {1 / L:g}), got lr={lr}")
    return (r**2 / (lr * n_steps) + lr * sigma**2) / (2 * (1 - lr * L))


def sgd_floor_bound(*, mu: float, L: float, r: float | int, sigma: float | int, lr: float, n_steps: int) -> float:
    """
    The bound (E6) on the mean squared distance after that many steps at a constant rate in `(0, 1 / L]`.

    Raises
    ------
    ValueError
        If the rate lies outside.

    Examples
    --------
    >>> constants = {"mu": 1.0, "L": 2.0, "r": 1.0, "sigma": 1.0}
    >>> [sgd_floor_bound(**constants, lr=0.5, n_steps=T) for T in (0, 1, 100)]
    [1.5, 1.0, 0.5]
    """
    if not 0 < lr <= 1 / L:
        raise ValueError(f"the bound holds for rates in (0, 1 / L] = (0, {1 / L:g}], got lr={lr}")
    return (1 - lr * mu) ** n_steps * r**2 + lr * sigma**2 / mu


def robbins_monro_rate(step: int, *, mu: float, L: float) -> float:
    """
    The rate (E8) of a step, with the smallest whole number for `k`.

    Examples
    --------
    >>> [robbins_monro_rate(t, mu=1.0, L=2.0) for t in (0, 1, 4)]
    [0.5, 0.4, 0.25]
    """
    return 2 / (mu * (step + math.ceil(2 * L / mu)))


def sgd_strong_bound(*, mu: float, L: float, r: float | int, sigma: float | int, n_steps: int) -> float:
    """
    The bound (E9) on the mean squared distance after at least one step at the rates `robbins_monro_rate`.

    Examples
    --------
    >>> round(sgd_strong_bound(mu=1.0, L=2.0, r=1.0, sigma=1.0, n_steps=1000), 5)
    0.00399
    """
    if n_steps < 1:
        raise ValueError(f"the bound holds after at least 1 step, got n_steps={n_steps}")
    k, T = math.ceil(2 * L / mu), n_steps
    return ((k - 1) * (k - 2) * r**2 + 4 * T * sigma**2 / mu**2) / ((T + k - 1) * (T + k - 2))


@dataclass(frozen=True)
class NoiseScale:
    """
    Estimates of a gradient and its noise (E12). Either may come out negative; average them before `critical_batch`.

    Attributes
    ----------
    signal
        Of $|g|^2$.
    noise
        Of the trace of the covariance of one example's gradient.
    """

    signal: float
    noise: float

    @property
    def critical_batch(self) -> float:
        """Their ratio, in examples; infinite if no signal was found."""
        return self.noise / self.signal if self.signal > 0 else math.inf


def noise_scale(small: float, large: float, n_small: float | int, n_large: float | int) -> NoiseScale:
    """
    Signal and noise from the squared norms of the gradients of two batches (E12).

    Parameters
    ----------
    small, large
        The squared norms, or means of them over several batches of one size.
    n_small, n_large
        The sizes of the batches, in examples or tokens; the second is larger.

    Returns
    -------
    NoiseScale
        In units of the squared gradient; noise per example or token.

    Raises
    ------
    ValueError
        If the sizes are not positive and rising, or a squared norm is negative.

    Examples
    --------
    Four gradients of single examples, and their mean:

    >>> G = np.array([[3.0, 0.0], [1.0, 2.0], [1.0, -2.0], [3.0, 0.0]])
    >>> small, large = (G**2).sum(axis=1).mean(), (G.mean(axis=0) ** 2).sum()
    >>> noise_scale(float(small), float(large), n_small=1, n_large=4)
    NoiseScale(signal=3.0, noise=4.0)
    """
    if not 0 < n_small < n_large:
        raise ValueError(f"the sizes must satisfy 0 < n_small < n_large, got n_small={n_small}, n_large={n_large}")
    if small < 0 or large < 0:
        raise ValueError(f"squared norms are not negative, got small={small}, large={large}")
    return NoiseScale(
        signal=(n_large * large - n_small * small) / (n_large - n_small),
        noise=(small - large) / (1 / n_small - 1 / n_large),
    )


def scaled_rate(lr: float | int, factor: float | int, signal: float | int = 1.0) -> float:
    """
    The rate for a batch that many times as large (E13).

    Parameters
    ----------
    lr
        The rate for the batch as it is.
    factor
        How many times larger the batch becomes; below 1 if it becomes smaller.
    signal
        The share $a$ of the signal in the mean squared gradient of the batch as it is: 1 for the linear rule (SGD), 0
        for the square-root rule (Adam, where noise dominates).

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if not (factor > 0 and 0 <= signal <= 1):
        raise ValueError(f"factor must be positive and signal lie in [0, 1], got factor={factor}, signal={signal}")
    return lr * math.sqrt(factor**2 * signal + factor * (1 - signal))


class WeightAverage:
    """
    The exponential average (E14) of parameters, corrected for its start.

    Parameters
    ----------
    parameters
        Name to array, the live ones; they are read at each `update`.
    decay
        $\\beta$ in `[0, 1)`. The last $1 / (1 - \\beta)$ points or so are what counts.

    Attributes
    ----------
    arrays : dict
        Name to average, in arrays of its own; the parameters as they were, before the first `update`.

    Raises
    ------
    ValueError
        If the decay is out of range, or a parameter is no contiguous array of floating-point numbers.

    Examples
    --------
    >>> w = np.array([4.0])
    >>> average = WeightAverage({"w": w}, decay=0.5)
    >>> average.update()
    >>> w[:] = 1.0
    >>> average.update()  # weights 1/3 and 2/3
    >>> average.arrays["w"].tolist()
    [2.0]
    >>> with average.applied():
    ...     print(w)
    [2.]
    >>> w.tolist()
    [1.0]
    """

    def __init__(self, parameters: Mapping[str, Float[np.ndarray, "..."]], decay: float | int = 0.999) -> None:
        check_parameters(parameters)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.parameters, self.decay = dict(parameters), decay
        self.arrays = {name: array.copy() for name, array in parameters.items()}
        self._scratch = {array.dtype: np.empty(CHUNK, dtype=array.dtype) for array in parameters.values()}
        self._updates = np.zeros((), dtype=np.int64)
        self._applied = False

    @property
    def n_updates(self) -> int:
        return int(self._updates)

    def update(self) -> None:
        """
        Take in the parameters as they are now.

        Raises
        ------
        ValueError
            Inside `applied`, where the parameters are the average.
        """
        self._check_not_applied("update it")
        self._updates += 1
        share = (1 - self.decay) / (1 - self.decay ** int(self._updates))
        for name, array in self.parameters.items():
            scratch = self._scratch[array.dtype]
            for a, w in pieces(self.arrays[name], array):
                if share == 1:  # the start has no weight, and may be no number
                    np.copyto(a, w)
                    continue
                s = np.subtract(w, a, out=scratch[: a.size])
                s *= share
                a += s

    @contextmanager
    def applied(self) -> Iterator[None]:
        """
        Exchange parameters and averages, in place, until the end of the block.

        Raises
        ------
        ValueError
            Inside another such block.
        """
        if self._applied:
            raise ValueError("the average is applied already; leave that block first")
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _check_not_applied(self, then: str) -> None:
        if self._applied:
            raise ValueError(f"the parameters are the average now; {then} after the block that applies it")

    def _exchange(self) -> None:
        self._applied = not self._applied
        for name, array in self.parameters.items():
            scratch = self._scratch[array.dtype]
            for a, w in pieces(self.arrays[name], array):
                np.copyto(scratch[: a.size], a)
                np.copyto(a, w)
                np.copyto(w, scratch[: a.size])

    def state_dict(self) -> dict[str, np.ndarray]:
        """
        What the next update depends on: `updates`, and `average.NAME` for each array. Not copies.

        Raises
        ------
        ValueError
            Inside `applied`, where the arrays hold the parameters.
        """
        self._check_not_applied("save or load its state")
        return {"updates": self._updates, **{f"average.{name}": array for name, array in self.arrays.items()}}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """
        Continue from a state of `state_dict`, whose arrays are copied.

        Raises
        ------
        ValueError
            If it is not the state of an average of the same parameters; all differences are listed. Inside `applied`.
        """
        copy_state(self.state_dict(), state)


def average_floor(decay: float, rho: float) -> float:
    """The factor by which the average's mean square is below the floor in (E15); both numbers lie in (-1, 1)."""
    return (1 - decay) / (1 + decay) * (1 + decay * rho) / (1 - decay * rho)
