r"""
Scaling: how large a model, how many tokens, for a given budget.

Somebody gives you a number of flops. A large model sees few tokens then, a small one many, and neither extreme is good.
Where is the best middle, how does it move as budgets grow, and how is it learned from runs that cost a thousandth of
the budget? And when do such runs not say?

You need: `fp_transformer.counting` for 6 flops a parameter and token, Lagrange's condition (`fp_markov.mathematics`),
log-sum-exp and its gradient (`fp_autograd.rules`), Huber's function (`fp_optim.problems`), the line of least squares
(`fp_markov.growth`). Here $N$ counts parameters and $D$ the tokens of training.

## Two power laws and a floor

J. Kaplan and others (2020) trained models of many sizes and saw straight lines: on logarithmic axes the loss falls with
parameters, and with tokens, like $N^{-\alpha}$ and $D^{-\beta}$, over many powers of ten. J. Hoffmann and others (2022)
added what no model gets below:

$$L(N, D) = E + A\, N^{-\alpha} + B\, D^{-\beta}, \qquad A, B, \alpha, \beta > 0, \quad E \ge 0, \qquad \text{(E1)}$$

in nats per token. $E$ is the loss of a model without limit that has seen text without end. It cannot be less than the
entropy of the text (`markov.cross-entropy-split`, `markov.gibbs`), and not all of it need be entropy: what this family
of models never learns is in it too. The second term is what a finite model adds, the third a finite text. (E1) is a
summary of measurements and not a theorem. What follows from it is.

## The best use of a budget

Training costs $C = 6 N D$ flops (`transformer.training-flops`).

**Claim** `transformer.compute-optimal`. Among all $N, D > 0$ with $6 N D = C$, (E1) is smallest at exactly one point:

$$
\begin{aligned}
N^* &= G \Big( \frac C6 \Big)^{\frac{\beta}{\alpha + \beta}}, \qquad
D^* = \frac1G \Big( \frac C6 \Big)^{\frac{\alpha}{\alpha + \beta}}, \qquad
G = \Big( \frac{\alpha A}{\beta B} \Big)^{\frac{1}{\alpha + \beta}}, \\
L^* &= E + \Big( 1 + \frac{\alpha}{\beta} \Big) A\, G^{-\alpha}
  \Big( \frac C6 \Big)^{-\frac{\alpha \beta}{\alpha + \beta}}.
\end{aligned}
\qquad \text{(E2)}
$$

**Proof.** Let $x = \ln N$, $y = \ln D$ and $c = \ln \frac C6$. Then $x$ and $y$ are any numbers, the condition reads
$x + y - c = 0$, and we look for the largest value of

$$f(x, y) = -E - A e^{-\alpha x} - B e^{-\beta y}.$$

The second slopes of its two terms, $-\alpha^2 A e^{-\alpha x}$ and $-\beta^2 B e^{-\beta y}$, are negative, so each is
strictly concave (`markov.concave-second-derivative`), and so is their sum. The Lagrangian
$f(x, y) - \lambda (x + y - c)$ differs from it by a linear function, for which (E7) of `fp_markov.mathematics` is an
equality, and is strictly concave too. Its partial derivatives are

$$\alpha A e^{-\alpha x} - \lambda \quad \text{and} \quad \beta B e^{-\beta y} - \lambda.$$

They vanish together where

$$\alpha A e^{-\alpha x} = \lambda = \beta B e^{-\beta y}. \qquad \text{(E3)}$$

Take logarithms of the outer sides, $\ln (\alpha A) - \alpha x = \ln (\beta B) - \beta y$, and insert $y = c - x$:

$$
\begin{aligned}
\ln (\alpha A) - \ln (\beta B) &= \alpha x - \beta (c - x) = (\alpha + \beta)\, x - \beta c, \\
x &= \frac{1}{\alpha + \beta} \ln \frac{\alpha A}{\beta B} + \frac{\beta}{\alpha + \beta}\, c
  = \ln G + \frac{\beta}{\alpha + \beta}\, c.
\end{aligned}
$$

So with this $x$, $y = c - x = -\ln G + \frac{\alpha}{\alpha + \beta}\, c$, and $\lambda = \alpha A e^{-\alpha x} > 0$
all partial derivatives vanish and the condition holds. By `markov.concave-maximum` the point is the only maximiser of
the Lagrangian, and by `markov.lagrange-sufficient` the only one of $f$ under the condition. Exponentials of $x$ and $y$
are $N^*$ and $D^*$. Last, by (E3) $B D^{*-\beta} = \frac{\alpha}{\beta} A N^{*-\alpha}$, so
$L^* - E = \big( 1 + \frac{\alpha}{\beta} \big) A N^{*-\alpha}$, and
$N^{*-\alpha} = G^{-\alpha} (C / 6)^{-\alpha \beta / (\alpha + \beta)}$. $\blacksquare$

(E3) in words: at the best point one percent more parameters and one percent more tokens, which cost the same, also gain
the same. It is the slopes that are equal and not the terms: the size has the part $s$ of the excess $L^* - E$,

$$s = \frac{A N^{*-\alpha}}{L^* - E} = \frac{\beta}{\alpha + \beta}, \qquad \text{(E4)}$$

the term with the smaller exponent has the larger part, at every budget. The floor has no influence on the best size,
and all on what it is worth: the excess falls like a power of $C$, the loss does not.

**Claim** `transformer.tokens-per-parameter`. $D^* / N^* = G^{-2}\, (C/6)^{(\alpha - \beta)/(\alpha + \beta)}$. It is
the same at all budgets exactly if $\alpha = \beta$, and is $(B/A)^{1/\alpha}$ then; it grows with the budget exactly if
$\alpha > \beta$.

**Proof.** Divide the two halves of (E2). The exponent of $C$ is zero, or positive, exactly as said. If
$\alpha = \beta$, $G = (A/B)^{1/(2\alpha)}$. $\blacksquare$

"Twenty tokens a parameter" is a statement about nearly equal exponents. Hoffmann and others found it in two ways, by
the lowest points of curves; the fit of (E1) that they published says otherwise, and T. Besiroglu and others (2024), who
read the runs off the figures and fitted them again, found that it had not been carried to its end:

>>> for name, law in (("Hoffmann", HOFFMANN), ("Besiroglu", BESIROGLU)):
...     best = [law.optimal(C) for C in (1e18, 5.76e23, 1e26)]
...     print(f"{name:9} N* ~ C^{law.exponents[0]:.2f}", *(f"{x.tokens / x.parameters:6.1f}" for x in best))
Hoffmann  N* ~ C^0.46   18.6   59.1   92.5
Besiroglu N* ~ C^0.51   25.7   18.4   16.1

(5.76e23 flops were the budget of Chinchilla, with 70 billion parameters and 1.4 trillion tokens.) Rounding alone does
much: with the two digits that the paper prints, 0.34 and 0.28, a budget of 1e26 gets

>>> rounded = ParametricLoss(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
>>> f"{rounded.optimal(1e26).tokens / HOFFMANN.optimal(1e26).tokens - 1:+.0%} tokens"
'+28% tokens'

## Not the best size

**Claim** `transformer.size-price`. Let $(N^*, D^*)$ be best for some budget. A model of $r N^*$ parameters reaches
$L^*$ exactly if $s\, r^{-\alpha} < 1$, with $d\, D^*$ tokens and $r d$ times the flops, where

$$d = \Big( \frac{1 - s\, r^{-\alpha}}{1 - s} \Big)^{-1/\beta}, \qquad \text{(E5)}$$

and $r d \ge 1$ with equality only for $r = 1$. The budget does not occur.

**Proof.** By (E4) the terms at the best point are $s K$ and $(1 - s) K$ with $K = L^* - E$. With $r N^*$ and $d D^*$
they are $s K r^{-\alpha}$ and $(1 - s) K d^{-\beta}$, and sum to $K$ exactly if

$$d^{-\beta} = \frac{1 - s\, r^{-\alpha}}{1 - s},$$

which some $d > 0$ fulfils exactly if the right side is positive. Last, suppose $r d \le 1$. The budget $r d\, C \le C$
reaches $L^*$ with $(r N^*, d D^*)$, and cannot go below the smallest loss of that budget, which by (E2) falls strictly
as budgets grow and is $L^*$ at $C$. So $r d = 1$, and as the best point of $C$ is the only one, $r = 1$. $\blacksquare$

>>> for r in (0.25, 0.5, 1, 2):
...     d, rd = BESIROGLU.price(r)
...     print(f"{r:5} of the size: {d:5.2f} of the tokens, {rd:.2f} of the flops")
 0.25 of the size: 17.86 of the tokens, 4.47 of the flops
  0.5 of the size:  2.52 of the tokens, 1.26 of the flops
    1 of the size:  1.00 of the tokens, 1.00 of the flops
    2 of the size:  0.57 of the tokens, 1.15 of the flops

Half the size for so few flops more is cheap if the model is to be used: each token that it reads or writes costs $2 N$
flops (`transformer.flops`).

**Claim** `transformer.inference-smaller`. Of all models that reach a loss $L^* > E$, let $N^*$ be the size of the one
that is cheapest to train. If $M > 0$ tokens are to be processed afterwards, the sum $6 N D + 2 N M$ is smaller for some
$N < N^*$ than for every $N \ge N^*$.

**Proof.** With $N = r N^*$ the sum is $g(r) = 6 N^* D^* h(r) + 2 N^* M r$, $h(r) = r d$ from (E5). $h(1) = 1$ is its
smallest value. So quotients of differences at $1$ are not positive on the left, not negative on the right, and
$h'(1) = 0$. For $r \ge 1$, $g(r) \ge g(1)$. The slope $g'(1) = 2 N^* M$ is positive, so $g(r) < g(1)$ for some
$r < 1$. $\blacksquare$

So models that many people use are trained **past** the best point, on hundreds or thousands of tokens a parameter. How
far is a matter of $M$; `tokens_for` gives $D$ for any size and loss.

## Curves of equal budget

Without trust in (E1) one can train, for each of several budgets, models of several sizes, draw the loss over $\ln N$,
and put a parabola through each curve. Its lowest point estimates $N^*$.

**Claim** `transformer.isoflop`. Along $6 N D = C$ let $u = \ln (N / N^*)$, $\lambda = \alpha A N^{*-\alpha}$ and
$m = \max(\alpha, \beta)$. Then

$$
L = L^* + \frac{(\alpha + \beta) \lambda}{2}\, u^2 + R, \qquad |R| \le \frac{\lambda m^2}{6}\, e^{m |u|}\, |u|^3.
\qquad \text{(E6)}
$$

If $\alpha = \beta$, the parabola of least squares through any sizes that lie symmetrically about $\ln N^*$, three or
more, has its lowest point at $N^*$ exactly.

**Proof.** $N = N^* e^u$ and $D = D^* e^{-u}$. So $L(u) = E + P e^{-\alpha u} + Q e^{\beta u}$ with
$P = A N^{*-\alpha}$ and $Q = B D^{*-\beta}$, and by (E3) $\alpha P = \lambda = \beta Q$. The slopes are

$$
L' = \lambda (e^{\beta u} - e^{-\alpha u}), \qquad L'' = \lambda (\beta e^{\beta u} + \alpha e^{-\alpha u}), \qquad
L''' = \lambda (\beta^2 e^{\beta u} - \alpha^2 e^{-\alpha u}),
$$

at $u = 0$: $0$ and $(\alpha + \beta) \lambda$. A difference of two positive numbers is no larger than the larger one,
so $|L'''| \le \lambda m^2 e^{m |u|}$; `autograd.taylor` gives (E6).

Let $\alpha = \beta$; then $P = Q$ and $L(-u) = L(u)$. The parabola $c_0 + c_1 u + c_2 u^2$ of least squares is unique,
since the difference of two of them would have three zeros (their mean would do better unless they agree at all points).
Turned round, $c_0 - c_1 u + c_2 u^2$ has the same sum of squares, as the points turned round are the same points: so
$c_1 = 0$. What remains is the line of least squares in $q = u^2$, and by `markov.least-squares` $c_2$ has the sign of
$\sum_i (q_i - \bar q)(L_i - \bar L)$. This is $\sum_i (q_i - \bar q)(L_i - \ell)$ for any number $\ell$, as
$\sum_i (q_i - \bar q) = 0$; take for $\ell$ the loss at $q = \bar q$. For $u > 0$, $L' > 0$, so $L$ strictly increases
in $q$: no product is negative, and not all are zero. Hence $c_2 > 0$, and the lowest point is at $u = 0$.
$\blacksquare$

With unequal exponents the curve is steeper on one side, and the lowest point of the parabola is off, the more the wider
the sizes are spread:

>>> law = ParametricLoss(E=1.5, A=20.0, B=4000.0, alpha=0.2, beta=0.4)
>>> best = law.optimal(1e20)
>>> for width in (2.0, 8.0, 32.0):
...     N = best.parameters * np.geomspace(1 / width, width, 9)
...     print(f"{width:4} {isoflop_minimum(N, law(N, 1e20 / (6 * N))) / best.parameters - 1:+.1%}")
 2.0 -1.2%
 8.0 -10.0%
32.0 -25.1%

## Why the floor has to be fitted

**Claim** `transformer.line-without-floor`. Let $\ell(x) = E + A x^{-\alpha}$ with $E, A, \alpha > 0$. The straight line
of least squares through $(\ln x_i, \ln \ell(x_i))$, not all $x_i$ equal, has a slope strictly between $-\alpha$ and
$0$; and for all large $x$ it predicts a loss below $E$.

**Proof.** With $t = \ln x$ let $f(t) = \ln (E + A e^{-\alpha t})$. Its slope is

$$f'(t) = -\alpha\, \frac{A e^{-\alpha t}}{E + A e^{-\alpha t}}, \qquad \text{(E7)}$$

strictly between $-\alpha$ and $0$. On the interval of the data it is at least its value at the left end, as the
fraction falls with $t$, and at most that at the right end. By `markov.slope-bound` the quotients
$q_{ij} = \frac{f(t_i) - f(t_j)}{t_i - t_j}$ lie between these two, so strictly between $-\alpha$ and $0$. The slope of
least squares is a weighted mean of them. For, with $f_i = f(t_i)$,

$$
\sum_{i, j} (t_i - t_j)(f_i - f_j) = 2 n \sum_i t_i f_i - 2 n^2\, \bar t \bar f
  = 2 n \sum_i (t_i - \bar t)(f_i - \bar f),
$$

and the same with $t$ for $f$, so that by `markov.least-squares` the slope is
$\frac{\sum (t_i - t_j)^2 q_{ij}}{\sum (t_i - t_j)^2}$, sums over pairs with $t_i \ne t_j$. Last, the slope being
negative, the line falls below $\ln E$ for large $t$. $\blacksquare$

>>> N = np.geomspace(1e6, 1e9, 7)
>>> loss = BESIROGLU(N, np.inf)
>>> exponent = log_log_exponent(N, loss)
>>> predicted = loss[-1] * (1e15 / 1e9) ** -exponent
>>> print(f"exponent {exponent:.3f} for 0.348; at 1e15 parameters {predicted:.2f}, floor {BESIROGLU.E}")
exponent 0.140 for 0.348; at 1e15 parameters 0.31, floor 1.8172

A floor that is guessed is no better: too small, it bends the points as above; too large, it bends them the other way,
and one above the smallest loss leaves logarithms of negative numbers. It has to be fitted with the rest.

## The fit

Errors of losses are relative: a seed moves a loss by some thousandths of itself. So compare logarithms. With $A = e^a$,
$B = e^b$ and $E = e^e$, positive whatever $a$, $b$, $e$ are, the logarithm of (E1) is a log-sum-exp, and
$\theta = (a, b, e, \alpha, \beta)$ is chosen to minimise

$$
\sum_i h(r_i), \qquad r_i = \operatorname{LSE} (a - \alpha \ln N_i,\; b - \beta \ln D_i,\; e) - \ln L_i, \qquad
\text{(E8)}
$$

with Huber's function $h$ (`optim.huber`, $L = 1$): a run whose relative error exceeds $w$ counts by its size and not by
its square, so that one failed run does not decide.

**Claim** `transformer.log-loss-gradient`. Let $p_i$ be the softmax of the three numbers in (E8), the shares that the
three terms have in the loss. $r_i$ has the gradient
$J_i = \big( p_{i1},\; p_{i2},\; p_{i3},\; -p_{i1} \ln N_i,\; -p_{i2} \ln D_i \big)$ in $\theta$, and (E8) has the
gradient $\sum_i \omega_i r_i J_i$ with $\omega_i = \min(1, w / |r_i|)$.

**Proof.** LSE has the gradient $p_i$ (`autograd.logsumexp-rule`) and its three arguments are linear in $\theta$: by
`autograd.jacobian-chain` multiply. The slope of $h$ is $\min(w, \max(-w, r)) = \omega r$. $\blacksquare$

Near $\theta$, with $\omega$ held fixed, (E8) changes nearly like half the sum of the squares
$\omega_i (r_i + J_i \cdot d)^2$. Its smallest value is a linear problem, and a multiple $\mu$ of the diagonal keeps the
step short while that is not to be trusted (K. Levenberg, 1944; D. Marquardt, 1963):

$$(H + \mu S)\, d = -g, \qquad g = \sum_i \omega_i r_i J_i, \quad H = \sum_i \omega_i J_i J_i^\top, \quad \mu > 0,
\qquad \text{(E9)}$$

with $S$ the diagonal of $H$. If the sum falls, the step is taken and $\mu$ divided by 5; if not, $\mu$ grows by 5.

**Claim** `transformer.damped-step`. If $g \ne 0$ and $S$ has a positive diagonal, (E9) has one solution, and
$g \cdot d < 0$: (E8) falls along $d$ at first. For $\mu$ large enough the whole step lowers it.

**Proof.** $v \cdot (H + \mu S) v = \sum_i \omega_i (J_i \cdot v)^2 + \mu\, v \cdot S v > 0$ for $v \ne 0$. So only
$v = 0$ is mapped to $0$, and there is one solution. $d \ne 0$ as $g \ne 0$, and
$g \cdot d = -d \cdot (H + \mu S)\, d < 0$, which is the slope of (E8) along $d$ (`markov.slope-along-line`). For the
last, $\mu d = -(\tfrac1\mu H + S)^{-1} g$ tends to $-S^{-1} g$ as $\mu$ grows, so that $d \to 0$ and
$\frac{g \cdot d}{|d|} \to -\frac{g \cdot S^{-1} g}{|S^{-1} g|} < 0$. (E8) is differentiable, its gradient being
continuous (`autograd.jacobian`): its change is $g \cdot d + o(|d|)$, negative once $d$ is small. $\blacksquare$

(E8) can have several valleys, so descents start from a grid of exponents. For given exponents (E1) is linear in $E$,
$A$ and $B$, and least squares gives them: the starts are good already.

## When the runs do not say

**Claim** `transformer.exponents-identified`. If runs without errors include three different $N$ with one $D$, and three
different $D$ with one $N$, only one $(E, A, B, \alpha, \beta)$ fits them.

**Proof.** Along the runs with one $D$ the loss is $c + A N^{-\alpha}$ with $c = E + B D^{-\beta}$. Let
$N_1 < N_2 < N_3$ with losses $L_1, L_2, L_3$, $u = \ln (N_2 / N_1)$ and $v = \ln (N_3 / N_2)$. Then

$$\frac{L_1 - L_2}{L_2 - L_3} = \frac{N_1^{-\alpha} - N_2^{-\alpha}}{N_2^{-\alpha} - N_3^{-\alpha}}
  = \frac{e^{\alpha u} - 1}{1 - e^{-\alpha v}},$$

whose logarithm has in $\alpha$ the slope $\frac{u}{1 - e^{-\alpha u}} - \frac{v}{e^{\alpha v} - 1}$. As
$1 - e^{-z} < z < e^z - 1$ for $z > 0$ (`markov.log-tangent` for $x = e^{-z}$ and $x = e^z$, neither of which is $1$),
the first fraction is larger than $\frac1\alpha$ and the second smaller. The quotient strictly increases, and only one
$\alpha$ fits. Then $L_1 - L_2$ gives $A$. The same along the runs with one $N$ gives $\beta$ and $B$, and any run gives
$E$. $\blacksquare$

**Claim** `transformer.exponents-hidden`. Let runs without errors follow (E1) with $E > 0$. (a) If they have at most two
different $D$, then for every $\beta'$ near $\beta$ some $B'$ and $E'$ fit them as well; the same for sizes, $\alpha$
and $A$. (b) If $D = \rho N^\gamma$ in all runs, with $\rho, \gamma > 0$, then
$\alpha' = \gamma \beta$, $\beta' = \alpha / \gamma$, $A' = B \rho^{-\beta}$, $B' = A \rho^{\alpha / \gamma}$ and the
same $E$ fit them as well. (c) If moreover $\gamma = \alpha / \beta$, the exponents of (b) are the same as before; all
$A', B' > 0$ with $A' + B' \rho^{-\beta} = A + B \rho^{-\beta}$ fit, with $\alpha$, $\beta$ and $E$ as they are; and if
there are at least four different $N$, nothing else fits.

**Proof.** (a) With one $D$, keep $B$ and let $E' = E + B D^{-\beta} - B D^{-\beta'}$. With two, let
$B' = B\, \frac{D_1^{-\beta} - D_2^{-\beta}}{D_1^{-\beta'} - D_2^{-\beta'}} > 0$ and
$E' = E + B D_1^{-\beta} - B' D_1^{-\beta'}$: the losses agree at $D_1$, and their difference between $D_1$ and $D_2$
does. $E'$ is continuous in $\beta'$, so it is positive near $\beta$. (b) Insert:
$B D^{-\beta} = B \rho^{-\beta} N^{-\gamma \beta} = A' N^{-\alpha'}$, and
$B' D^{-\beta'} = A \rho^{\alpha/\gamma} \rho^{-\alpha/\gamma} N^{-\alpha} = A N^{-\alpha}$.

(c) Here $\gamma \beta = \alpha$ and $\alpha / \gamma = \beta$. The losses are $E + K N^{-\alpha}$ with
$K = A + B \rho^{-\beta}$, so all such $A'$, $B'$ fit. Let any law fit, and let $t = \ln N$. The difference

$$E' - E + A' e^{-\alpha' t} + B' \rho^{-\beta'} e^{-\gamma \beta' t} - K e^{-\alpha t}$$

vanishes for four different $t$. Put terms of one rate together and leave out those with the factor zero; $k \le 4$
exponentials of different rates remain. If $k \ge 1$, such a sum has at most $k - 1$ zeros. For $k = 1$ it has none. For
larger $k$ multiply it by an exponential that makes one term constant, which keeps the zeros. Its slope is a sum of
$k - 1$ such terms, with at most $k - 2$ zeros by induction; and between two zeros of a function its slope has one, or
it would have one sign there and the function strictly rise or fall (`markov.slope-bound`). So $k = 0$: all factors are
zero. A rate $\alpha' \ne \alpha$ would have a positive factor, as $A', B' > 0$, and so would
$\gamma \beta' \ne \alpha$. Hence $\alpha' = \alpha$, $\beta' = \alpha / \gamma = \beta$, and then $E' = E$ and
$A' + B' \rho^{-\beta} = K$. $\blacksquare$

So runs with $D = \rho N^\gamma$ do not say which term is which. If they all lie on the frontier, which by (E2) is a
line of this kind with $\gamma = \alpha / \beta$, they do give both exponents; what they hide is how their one power of
$N$ splits into the two terms, and so $G$, where the frontier lies. Nobody who does not know the law knows that his runs
are there, so `fit` trusts no exponent from such a line. And one budget's worth of models does not say how budgets
compare. Between the two claims lie designs that determine everything in principle and nothing in practice. Curvature
tells:

**Claim** `transformer.least-squares-error`. Let $r(\theta) = J (\theta - \theta^0) - \varepsilon$ with an $n \times k$
matrix $J$, $J v = 0$ only for $v = 0$, and errors $\varepsilon_i$ that are uncorrelated, of mean 0 and variance
$\sigma^2$. The $\hat\theta$ of least squares has the mean $\theta^0$, and

$$\operatorname{Var} \hat\theta_j = \sigma^2\, \big( (J^\top J)^{-1} \big)_{jj}
  = \sigma^2 \sum_l \frac{v_{lj}^2}{\sigma_l^2}, \qquad \text{(E10)}$$

with the singular values $\sigma_l$ of $J$ and its right singular vectors $v_l$.

**Proof.** $|r|^2$ is convex in $\theta$, and its gradient $2 J^\top \big( J (\theta - \theta^0) - \varepsilon \big)$
vanishes where $\hat\theta - \theta^0 = M \varepsilon$, $M = (J^\top J)^{-1} J^\top$; the inverse exists as
$v \cdot J^\top J v = |J v|^2 > 0$ for $v \ne 0$. Its mean is $M \cdot 0 = 0$. As
$\mathbb{E} \varepsilon_i \varepsilon_l$ is $\sigma^2$ for $i = l$ and else $0$, the mean of
$(\hat\theta - \theta^0)(\hat\theta - \theta^0)^\top$ is
$\sigma^2 M M^\top = \sigma^2 (J^\top J)^{-1} J^\top J (J^\top J)^{-1} = \sigma^2 (J^\top J)^{-1}$. With $J = U \Sigma
V^\top$ (`neural.svd`) it is $\sigma^2\, V \Sigma^{-2} V^\top$, whose entry $jj$ is the sum. $\blacksquare$

Near the best fit (E8) is of this kind, with the $J$ of `transformer.log-loss-gradient`. A small singular value is a
direction in which the parameters can move and the losses hardly do, and whatever has a part in it is uncertain.
`fit` calls an exponent, or the floor, **not identified** if the design hides it by the claims above, if twice its
standard error (E10) exceeds it, if the search ended at the edge of its range, or if another start found a fit that is
as good with quite another exponent. It says so instead of printing a number, and refuses to compute a best size from
it.

>>> rng = np.random.default_rng(0)
>>> N = np.geomspace(1e6, 1e9, 12)
>>> print(fit(N, 20 * N, BESIROGLU(N, 20 * N) * np.exp(0.003 * rng.normal(size=12))))
alpha: not identified: N is a power of D in all runs, which does not tell the two terms apart
beta: not identified: N is a power of D in all runs, which does not tell the two terms apart
E = 1.807 +- 0.059

**The bootstrap** (B. Efron, 1979) asks without linear approximations: draw as many runs as there are, with repetition,
fit again, and again; where most of the results lie is an interval. It takes each run for an independent one of its
kind, and needs enough of them: how often such intervals hold the truth is measured in the tests.

>>> N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e10, 5)))
>>> found = fit(N, D, BESIROGLU(N, D) * np.exp(0.003 * rng.normal(size=35)))
>>> print(bootstrap(found, 200, rng=rng, compute=1e20))
90% intervals
alpha: 0.344 to 0.3536
beta: 0.3588 to 0.3753
E: 1.798 to 1.867
a: 0.5075 to 0.5186
parameters: 8.235e+08 to 8.965e+08
tokens: 1.859e+10 to 2.024e+10
loss: 2.551 to 2.572

## In practice

Kaplan and others fitted lines without a floor, and found $N^* \sim C^{0.73}$, much larger models and fewer tokens than
Hoffmann and others, $C^{0.5}$. The latter explain the difference by learning rates that had not been lowered at the end
of the shorter runs; T. Pearce and J. Song (2024) by parameters that were counted without the embedding, in small
models; T. Porian and others (2024) by the flops of the last layer, which were not counted, and by warm-ups and settings
that did not suit the small ones. None of it is in (E1). Kaplan's own form
$L = \big( (N_c / N)^{\alpha_N / \alpha_D} + D_c / D \big)^{\alpha_D}$ is an increasing function of two power laws, so
`transformer.compute-optimal` applies to what is in the brackets.

Besiroglu and others show how the fit itself can go wrong: an average in place of a sum in (E8), which let the optimizer
stop too early, digits lost in print, and intervals so narrow that they would take hundreds of thousands of runs. Their
own exponents have standard errors of 0.02, coefficients like $B$ of more than half of themselves: these are losses of a
model of one parameter, far outside all data, so `Fit` gives none for them. Left out: data that is seen several times
(N. Muennighoff and others, 2023), the shape of the model, the price of memory, losses after fine-tuning, and whether
any of it holds a thousand times beyond the last run.

References: J. Kaplan et al., *Scaling Laws for Neural Language Models* (arXiv 2001.08361); J. Hoffmann et al.,
*Training Compute-Optimal Large Language Models* (arXiv 2203.15556), their third approach and table A3; T. Besiroglu et
al., *Chinchilla Scaling: A replication attempt* (arXiv 2404.10102).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

__all__ = [  # the order of the page
    "ParametricLoss",
    "Allocation",
    "HOFFMANN",
    "BESIROGLU",
    "from_records",
    "log_log_exponent",
    "isoflop_minimum",
    "fit",
    "Fit",
    "bootstrap",
    "Bootstrap",
]

Real = float | int
EXPONENTS = (0.01, 4.0)  # where they are looked for; ending there counts as not found
FLOPS = 6  # of training, for each parameter and token


@dataclass(frozen=True)
class Allocation:
    """
    A model and its training.

    Attributes
    ----------
    parameters, tokens : float
        $N$ and $D$.
    loss : float
        What is predicted, in nats per token.
    """

    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class ParametricLoss:
    r"""
    The loss (E1) as a function of parameters and tokens.

    Parameters
    ----------
    E
        The floor, in nats per token, at least 0.
    A, B
        Coefficients, positive, in nats times a power of parameters and tokens.
    alpha, beta
        Exponents, positive.

    Raises
    ------
    ValueError
        If a number is not as said.

    Examples
    --------
    >>> law = ParametricLoss(E=1.5, A=400.0, B=400.0, alpha=0.5, beta=0.5)
    >>> law(1e6, 1e8)
    1.94
    >>> best = law.optimal(6e12)
    >>> round(best.parameters), round(best.tokens), round(best.loss, 6)
    (1000000, 1000000, 2.3)
    """

    E: float | int
    A: float | int
    B: float | int
    alpha: float | int
    beta: float | int

    def __post_init__(self) -> None:
        for name in ("E", "A", "B", "alpha", "beta"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0 and (value > 0 or name == "E")):
                kind = "not negative" if name == "E" else "positive"
                raise ValueError(f"{name} of a parametric loss is finite and {kind}, got {value}")

    def __call__(self, parameters: Any, tokens: Any) -> Any:
        """
        The predicted loss (E1).

        Parameters
        ----------
        parameters, tokens
            Positive numbers, or arrays of one shape.

        Returns
        -------
        float or ndarray
            In nats per token.

        Raises
        ------
        ValueError
            If a number is not positive.
        """
        N, D = np.asarray(parameters, np.float64), np.asarray(tokens, np.float64)
        if not ((N > 0).all() and (D > 0).all()):
            raise ValueError(f"parameters and tokens are positive, got {parameters} and {tokens}")
        loss = np.asarray(self.E + self.A * N**-self.alpha + self.B * D**-self.beta)
        return loss if loss.ndim else float(loss)

    @property
    def exponents(self) -> tuple[float, float]:
        """With which powers of the budget $N^*$ and $D^*$ grow (E2)."""
        return self.beta / (self.alpha + self.beta), self.alpha / (self.alpha + self.beta)

    @property
    def share(self) -> float:
        r"""$s = \frac{\beta}{\alpha + \beta}$, which part of the excess over $E$ the size has on the frontier."""
        return self.exponents[0]

    def optimal(self, compute: Real) -> Allocation:
        """
        The best use of a budget (E2).

        Parameters
        ----------
        compute
            $C$, in flops of training, positive.

        Returns
        -------
        Allocation
            $N^*$, $D^*$ and $L^*$; no whole numbers.

        Raises
        ------
        ValueError
            If the budget is not positive and finite.
        """
        _check_positive("a budget in flops", compute)
        a, b = self.exponents
        G = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        N, D = G * (compute / FLOPS) ** a, (compute / FLOPS) ** b / G
        return Allocation(N, D, self(N, D))

    def tokens_for(self, parameters: Real, loss: Real) -> float:
        """
        How many tokens a model of this size needs for this loss.

        Parameters
        ----------
        parameters
            $N$, positive.
        loss
            In nats per token.

        Returns
        -------
        float
            $D$ with $L(N, D)$ as asked; infinity if no number of tokens is enough.

        Raises
        ------
        ValueError
            If a number is not positive and finite.
        """
        _check_positive("a number of parameters", parameters)
        _check_positive("a loss", loss)
        left = loss - self.E - self.A * parameters**-self.alpha
        return (self.B / left) ** (1 / self.beta) if left > 0 else math.inf

    def price(self, size: Real) -> tuple[float, float]:
        """
        What another size than the best costs, at the same loss (E5).

        Parameters
        ----------
        size
            $r$, in units of the best size, positive.

        Returns
        -------
        (float, float)
            $d$ and $r d$: tokens and flops of training in units of the best; infinity where the loss is out of reach.

        Raises
        ------
        ValueError
            If the size is not positive and finite.

        Examples
        --------
        >>> BESIROGLU.price(1)
        (1.0, 1.0)
        """
        _check_positive("a size in units of the best", size)
        left = 1 - self.share * size**-self.alpha
        d = (left / (1 - self.share)) ** (-1 / self.beta) if left > 0 else math.inf
        return d, size * d


HOFFMANN = ParametricLoss(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
BESIROGLU = ParametricLoss(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)


def from_records(records: Iterable[Any]) -> tuple[Float[np.ndarray, " n"], ...]:
    """
    Arrays from a list of runs, in the order in which `fit` takes them.

    Parameters
    ----------
    records
        Mappings with the keys `parameters`, `tokens`, `loss`, or objects with such attributes.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        Parameters, tokens and loss, of shape (n,).

    Raises
    ------
    ValueError
        If a record lacks one of the three.

    Examples
    --------
    >>> from_records([{"parameters": 1000, "tokens": 20000, "loss": 3.5, "seed": 1}])
    (array([1000.]), array([20000.]), array([3.5]))
    """
    names = ("parameters", "tokens", "loss")
    rows = []
    for i, record in enumerate(records):
        found = record if isinstance(record, Mapping) else {n: getattr(record, n) for n in names if hasattr(record, n)}
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"a run has parameters, tokens and loss; record {i} has no {' and no '.join(missing)}")
        rows.append([float(found[name]) for name in names])
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def log_log_exponent(x: Num[np.ndarray, " n"], loss: Num[np.ndarray, " n"]) -> float:
    """
    The exponent of a straight line through the logarithms, which knows no floor (`transformer.line-without-floor`).

    Parameters
    ----------
    x
        Sizes, tokens or flops, positive, not all equal.
    loss
        In nats per token, positive.

    Returns
    -------
    float
        Minus the slope of the line of least squares.

    Raises
    ------
    ValueError
        If the numbers are not as said.
    """
    _check_columns(x=x, loss=loss)
    u = np.log(x) - np.log(x).mean()
    if not np.ptp(x):
        raise ValueError(f"a line needs two different sizes, got {x[0]} alone: add runs of another size")
    return -float(u @ np.log(loss) / (u @ u))


def isoflop_minimum(parameters: Num[np.ndarray, " n"], loss: Num[np.ndarray, " n"]) -> float:
    r"""
    Where the parabola of least squares in $\ln N$ is lowest, for runs of one budget (`transformer.isoflop`).

    Parameters
    ----------
    parameters
        Sizes $N$, at least three different ones.
    loss
        In nats per token.

    Returns
    -------
    float
        $N$ at the lowest point.

    Raises
    ------
    ValueError
        If there are fewer than three sizes, or the parabola has no lowest point.

    Examples
    --------
    >>> isoflop_minimum(np.array([1e6, 2e6, 4e6]), np.array([3.1, 3.0, 3.1])).__round__()
    2000000
    """
    _check_columns(parameters=parameters, loss=loss)
    if len(np.unique(parameters)) < 3:
        raise ValueError(f"a parabola needs three different sizes, got {len(np.unique(parameters))}: add runs")
    x = np.log(parameters)
    c2, c1, _ = np.polyfit(x - x.mean(), loss, 2)
    if c2 * np.ptp(x) ** 2 <= 1e-9 * np.abs(loss).max():  # less than rounding, or downwards
        raise ValueError("the losses do not bend upwards, so there is no lowest point: add sizes around the best")
    return math.exp(x.mean() - c1 / (2 * c2))


# --- fitting


@dataclass(frozen=True, eq=False)
class Fit:
    """
    What a set of runs says about the law.

    `str` shows it, and says of what the runs do not identify only that and why.

    Attributes
    ----------
    law : ParametricLoss
        That fits best. Inside the range of the runs it predicts losses, whatever is identified.
    objective : float
        The sum (E8).
    standard_errors : dict
        Of `alpha`, `beta` and `E`, by (E10); infinite along a direction that does not matter.
    not_identified : dict
        Of these names, those that the runs do not determine, with the reason.
    parameters, tokens, loss : ndarray
        The runs, of shape (n,).
    huber : float
        $w$ of (E8).
    """

    law: ParametricLoss
    objective: float
    standard_errors: dict[str, float]
    not_identified: dict[str, str]
    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    huber: float

    def optimal(self, compute: Real) -> Allocation:
        """
        The best use of a budget, if the exponents are identified.

        Parameters
        ----------
        compute
            In flops of training.

        Returns
        -------
        Allocation
            As `ParametricLoss.optimal`.

        Raises
        ------
        ValueError
            If an exponent is not identified, with the reason; or as `ParametricLoss.optimal`.
        """
        _refuse_unidentified(self.not_identified)
        return self.law.optimal(compute)

    def __str__(self) -> str:
        lines = []
        for name in ("alpha", "beta", "E"):
            value, error = getattr(self.law, name), self.standard_errors[name]
            why = self.not_identified.get(name)
            lines.append(f"{name}: not identified: {why}" if why else f"{name} = {value:.4g} +- {error:.2g}")
        if not {"alpha", "beta"} & set(self.not_identified):
            lines.append("N* ~ C^{:.3f}, D* ~ C^{:.3f}".format(*self.law.exponents))
        return "\n".join(lines)


def fit(
    parameters: Num[np.ndarray, " n"],
    tokens: Num[np.ndarray, " n"],
    loss: Num[np.ndarray, " n"],
    *,
    huber: Real = 1e-3,
) -> Fit:
    """
    The law that fits runs best: the smallest (E8) that descents (E9) from many starts find.

    Parameters
    ----------
    parameters, tokens
        $N$ and $D$ of each run, positive.
    loss
        What it ended with, in nats per token, positive.
    huber
        $w$: relative errors above it count by their size and no longer by their square.

    Returns
    -------
    Fit
        The law, and what of it is not identified.

    Raises
    ------
    ValueError
        If there are fewer than six runs, the arrays differ in length, or a number is not positive and finite.

    Examples
    --------
    >>> N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e10, 4)))
    >>> found = fit(N, D, BESIROGLU(N, D))
    >>> round(found.law.alpha, 4), round(found.law.beta, 4), found.not_identified
    (0.3478, 0.3658, {})
    """
    _check_columns(parameters=parameters, tokens=tokens, loss=loss)
    _check_positive("huber", huber)
    if len(loss) < 6:
        raise ValueError(f"five numbers and their errors need at least six runs, got {len(loss)}: add runs")
    x, y = np.log(parameters), np.log(tokens)
    x0, y0 = float(x.mean()), float(y.mean())
    data = x - x0, y - y0, np.log(loss)
    ends, objectives = _descend(_starts(*data, loss), *data, np.ones((1, len(loss))), huber)
    best = int(objectives.argmin())
    law = _law(ends[best], x0, y0)
    errors = _standard_errors(ends[best], *data)
    near = ends[objectives <= objectives[best] * (1 + 4 / len(loss)) + 1e-18 * len(loss)]
    hidden = _hidden_by_design(x, y) or _hidden_by_curvature(law, errors) | _hidden_by_rivals(near)
    return Fit(law, float(objectives[best]), errors, hidden, parameters, tokens, loss, float(huber))


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """
    Intervals from fits to runs drawn again.

    `str` shows them, and says of what the runs do not identify only that and why.

    Attributes
    ----------
    level : float
        Which part of the fits lies in an interval.
    intervals : dict
        From `alpha`, `beta`, `E`, `a` (the exponent of $N^*$), and with a budget `parameters`, `tokens` and `loss` of
        its best use, to `(low, high)`; of what is identified.
    not_identified : dict
        The names left out, with the reason.
    """

    level: float
    intervals: dict[str, tuple[float, float]]
    not_identified: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.level:.0%} intervals"]
        lines += [f"{name}: {low:.4g} to {high:.4g}" for name, (low, high) in self.intervals.items()]
        return "\n".join(lines + [f"{name}: not identified: {why}" for name, why in self.not_identified.items()])


def bootstrap(
    found: Fit,
    replicates: int = 200,
    *,
    rng: np.random.Generator,
    compute: Real | None = None,
    level: float = 0.9,
) -> Bootstrap:
    """
    Intervals for the exponents, the floor, and the best use of a budget.

    Parameters
    ----------
    found
        What `fit` returned.
    replicates
        How many times to draw runs, at least 20.
    rng
        Draws them.
    compute
        A budget in flops of training, or None.
    level
        Which part of the fits an interval shall hold, in (0, 1).

    Returns
    -------
    Bootstrap
        Intervals between two quantiles. An exponent whose interval touches the edge of its range, 0.01 or 4, or a floor
        whose interval goes below a hundredth of the smallest loss, is not identified.

    Raises
    ------
    ValueError
        If a number is not as said.
    """
    if replicates < 20:
        raise ValueError(f"quantiles of the fits need at least 20 replicates, got {replicates}")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, such as 0.9, got {level}")
    if compute is not None:
        _check_positive("a budget in flops", compute)
    x, y, n = np.log(found.parameters), np.log(found.tokens), len(found.loss)
    x0, y0 = float(x.mean()), float(y.mean())
    law = found.law
    best = [math.log(law.A) - law.alpha * x0, math.log(law.B) - law.beta * y0, math.log(law.E), law.alpha, law.beta]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)
    starts = np.tile(best, (replicates, 1))
    ends, _ = _descend(starts, x - x0, y - y0, np.log(found.loss), counts, found.huber, gain=1e-5)

    values = {"alpha": ends[:, 3], "beta": ends[:, 4], "E": np.exp(ends[:, 2])}
    values["a"] = values["beta"] / (values["alpha"] + values["beta"])
    if compute is not None:
        best_uses = [_law(end, x0, y0).optimal(compute) for end in ends]
        for name in ("parameters", "tokens", "loss"):
            values[name] = np.array([getattr(use, name) for use in best_uses])
    low, high = (1 - level) / 2, (1 + level) / 2
    intervals = {name: (float(np.quantile(v, low)), float(np.quantile(v, high))) for name, v in values.items()}
    hidden = dict(found.not_identified)
    for name in ("alpha", "beta"):
        if _at_edge(intervals[name][0]) or _at_edge(intervals[name][1]):
            hidden.setdefault(name, "its interval touches the edge of the range {:g} to {:g}".format(*EXPONENTS))
    if intervals["E"][0] < 0.01 * found.loss.min():
        hidden.setdefault("E", "its interval reaches 0")
    for name in ("a", "parameters", "tokens", "loss"):
        if name in values and {"alpha", "beta"} & set(hidden):
            hidden[name] = "it needs both exponents"
    return Bootstrap(level, {name: ends for name, ends in intervals.items() if name not in hidden}, hidden)


Rows = Float[np.ndarray, "S 5"]
Line = Float[np.ndarray, " n"]


def _predict(theta: Rows, x: Line, y: Line) -> tuple[Float[np.ndarray, "S n"], Float[np.ndarray, "S n 3"]]:
    """Log-sum-exp and softmax of (E8), for each of S parameter vectors and n runs."""
    a, b, e, alpha, beta = (theta[:, i : i + 1] for i in range(5))
    z = np.stack([a - alpha * x, b - beta * y, np.broadcast_to(e, (len(theta), len(x)))], axis=-1)
    largest = z.max(axis=-1, keepdims=True)
    p = np.exp(z - largest)
    total = p.sum(axis=-1, keepdims=True)
    return (largest + np.log(total))[..., 0], p / total


def _jacobian(p: Float[np.ndarray, "S n 3"], x: Line, y: Line) -> Float[np.ndarray, "S n 5"]:
    """`transformer.log-loss-gradient`."""
    return np.stack([p[..., 0], p[..., 1], p[..., 2], -p[..., 0] * x, -p[..., 1] * y], axis=-1)


def _objective(r: Float[np.ndarray, "S n"], counts: Float[np.ndarray, "_ n"], w: Real) -> Float[np.ndarray, " S"]:
    """(E8), each run counted as often as it was drawn."""
    size = np.abs(r)
    return (counts * np.where(size <= w, r * r / 2, w * (size - w / 2))).sum(axis=1)


def _descend(
    theta: Rows,
    x: Line,
    y: Line,
    log_loss: Line,
    counts: Float[np.ndarray, "_ n"],
    w: Real,
    gain: float = 1e-9,
) -> tuple[Rows, Float[np.ndarray, " S"]]:
    """Steps (E9) from S starts at once, each with its own damping, until three in a row gain next to nothing."""
    theta, mu, calm = theta.copy(), np.full(len(theta), 1e-2), np.zeros(len(theta), int)
    objective = _objective(_predict(theta, x, y)[0] - log_loss, counts, w)
    for _ in range(300):
        k = np.flatnonzero((calm < 3) & (objective > 1e-26))  # below that is rounding
        if not len(k):
            break
        c = counts[k] if len(counts) > 1 else counts
        f, p = _predict(theta[k], x, y)
        r = f - log_loss
        J = _jacobian(p, x, y)
        weighted = (c * np.minimum(1, w / np.maximum(np.abs(r), 1e-300)))[..., None] * J
        g = np.einsum("sni,sn->si", weighted, r)
        H = weighted.swapaxes(1, 2) @ J
        S = np.einsum("sii->si", H)
        S = S + 1e-9 * S.mean(axis=1, keepdims=True) + 1e-300  # a column of zeros has no diagonal of its own
        d = -np.linalg.solve(H + np.eye(5) * (mu[k, None] * S)[:, :, None], g[..., None])[..., 0]
        d *= np.minimum(1, 2 / np.maximum(np.abs(d).max(axis=1, keepdims=True), 1e-300))
        new = theta[k] + d
        new[:, 3:] = new[:, 3:].clip(*EXPONENTS)
        reached = _objective(_predict(new, x, y)[0] - log_loss, c, w)
        better = reached < objective[k]
        gains = better & (objective[k] - reached > gain * objective[k])
        stuck = (better & ~gains) | (~better & (mu[k] > 1e6))
        calm[k] = np.where(gains, 0, calm[k] + stuck)
        theta[k[better]], objective[k[better]] = new[better], reached[better]
        mu[k] = np.where(better, mu[k] / 5, mu[k] * 5).clip(1e-12, 1e12)
    return theta, objective


def _starts(x: Line, y: Line, log_loss: Line, loss: Num[np.ndarray, " n"]) -> Rows:
    """For each pair of exponents the coefficients of least squares of the relative error, kept positive."""
    starts = []
    for alpha in (0.1, 0.25, 0.5, 1.0):
        for beta in (0.1, 0.25, 0.5, 1.0):
            terms = np.stack([np.exp(-alpha * x), np.exp(-beta * y), np.ones_like(x)], axis=1)
            found = np.linalg.lstsq(terms / loss[:, None], np.ones_like(x), rcond=None)[0]
            starts.append([*np.log(np.maximum(found, 0.01 * loss.mean())), alpha, beta])
    return np.array(starts)


def _law(theta: Float[np.ndarray, "5"], x0: float, y0: float) -> ParametricLoss:
    """From logarithms, about the means of ln N and ln D, which keeps the steps well scaled."""
    a, b, e, alpha, beta = theta.tolist()
    return ParametricLoss(math.exp(e), math.exp(a + alpha * x0), math.exp(b + beta * y0), alpha, beta)


def _standard_errors(theta: Float[np.ndarray, "5"], x: Line, y: Line, log_loss: Line) -> dict[str, float]:
    """(E10), where singular values of rounding size count as zero."""
    f, p = _predict(theta[None], x, y)
    r = f[0] - log_loss
    scatter = math.sqrt(float(r @ r) / (len(r) - 5))
    _, sigma, v = np.linalg.svd(_jacobian(p, x, y)[0], full_matrices=False)
    flat = sigma <= 1e-9 * sigma[0]
    spread = np.sqrt(((v[~flat] / sigma[~flat, None]) ** 2).sum(axis=0)) * scatter
    spread[(np.abs(v[flat]) > 1e-3).any(axis=0)] = math.inf
    return {"alpha": float(spread[3]), "beta": float(spread[4]), "E": math.exp(theta[2]) * float(spread[2])}


def _hidden_by_design(x: Line, y: Line) -> dict[str, str]:
    """`transformer.exponents-hidden`."""
    hidden = {}
    for logs, exponent, what in ((y, "beta", "numbers of tokens"), (x, "alpha", "sizes")):
        different = len(np.unique(logs.round(9)))
        if different < 3:
            hidden[exponent] = hidden["E"] = f"the runs have {different} different {what}, at least 3 are needed"
    if not hidden and abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9:
        hidden["alpha"] = hidden["beta"] = "N is a power of D in all runs, which does not tell the two terms apart"
    return hidden


def _hidden_by_curvature(law: ParametricLoss, errors: dict[str, float]) -> dict[str, str]:
    hidden = {}
    for name, error in errors.items():
        value = getattr(law, name)
        if name != "E" and _at_edge(value):
            hidden[name] = f"the search ended at the edge of its range, {value:g}"
        elif 2 * error > value:
            hidden[name] = f"its standard error is {error / value:.1f} times the value found"
    return hidden


def _hidden_by_rivals(near: Rows) -> dict[str, str]:
    """Exponents that differ by half among fits that are as good as the best."""
    hidden = {}
    for name, column in (("alpha", near[:, 3]), ("beta", near[:, 4])):
        if column.max() > 1.5 * column.min():
            hidden[name] = f"fits as good as the best have it from {column.min():.2g} to {column.max():.2g}"
    return hidden


def _at_edge(exponent: float) -> bool:
    return not EXPONENTS[0] * 1.001 < exponent < EXPONENTS[1] * 0.999


def _refuse_unidentified(hidden: dict[str, str]) -> None:
    for name in ("alpha", "beta"):
        if name in hidden:
            raise ValueError(
                f"a best size needs both exponents, and these runs do not identify {name}: {hidden[name]}. Add runs "
                "that vary parameters and tokens independently of each other"
            )


def _check_positive(what: str, value: Real) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{what} is positive and finite, got {value}")


def _check_columns(**columns: np.ndarray) -> None:
    shapes = {name: np.shape(column) for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"runs are arrays of one axis and one length, at least 1; got the shapes {shapes}")
    for name, column in columns.items():
        good = np.isfinite(column) & (np.asarray(column) > 0)
        if not good.all():
            i = int(np.flatnonzero(~good)[0])
            raise ValueError(f"{name} of every run is positive and finite, got {column[i]} for run {i}: leave it out")
