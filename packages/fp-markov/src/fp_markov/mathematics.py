r"""
Mathematics: logarithms, slopes, areas, and where a function is largest.

A model of counts is chosen because it makes a text as likely as possible, a smoothing because it is a mean over all
models, a loss because logarithms turn products into sums. This section builds what those sentences need, from school
algebra on.

You need: algebra, and that the numbers fill a line. The second is an axiom. **Completeness**: let $A$ and $B$ be sets
of numbers, neither empty, such that no number of $A$ exceeds any number of $B$; then some $c$ has $a \le c \le b$ for
all $a$ in $A$ and $b$ in $B$.

Three tools follow from it. A set that has an upper bound has a least one, its **supremum**: take for $B$ all its upper
bounds. A function that never falls and stays bounded has a limit, the supremum of its values. And **bisection**: if
each of the intervals $[a_k, b_k]$ is a closed half of the one before, exactly one point $c$ is in all of them: take the
left ends for $A$ and the right ends for $B$; two such points would be apart by no more than every length, and the
lengths $(b_0 - a_0) / 2^k$ fall below any distance.

We write $f(h) \to L$ as $h \to 0$ if $f(h)$ is as near to $L$ as anyone asks, once $h \ne 0$ is near enough to $0$;
and $f$ is **continuous** at $x$ if $f(x + h) \to f(x)$. If $u \to U$ and $v \to V$ then $u + v \to U + V$, $uv \to UV$,
and $1/v \to 1/V$ if $V \ne 0$, because

$$
|u + v - (U + V)| \le |u - U| + |v - V|, \qquad |uv - UV| \le |u|\,|v - V| + |V|\,|u - U|, \qquad
\Big| \frac1v - \frac1V \Big| = \frac{|v - V|}{|v|\,|V|},
$$

and near the limit $|u| < |U| + 1$ and $|v| > |V| / 2$.

## Areas

Cut $[a, b]$ into finitely many pieces. On each piece take the greatest number that $f$ never falls below, and the least
that it never exceeds, as heights of rectangles. The lower rectangles sum to a **lower sum**, the upper ones to an
**upper sum** (infinite if $f$ is unbounded there). A further cut can only raise a lower sum and lower an upper sum; cut
at the points of two partitions together, and it follows that no lower sum exceeds any upper sum. By completeness some
number lies between all of them. If only one does, that is, if some partition brings the two sums as near together as
anyone asks, it is the **area** $\int_a^b f(x)\, dx$.

**Claim** `markov.area-exists`. A function that is continuous at every point of $[a, b]$ has an area there.

**Proof.** Suppose it has none: for some $\varepsilon > 0$ no partition of $[a, b]$ brings the sums closer together than
$\varepsilon (b - a)$. Then one half of the interval has no partition that brings them closer than $\varepsilon$ times
its length, for otherwise two such partitions together would do for the whole. Bisect on, always into a half that fails;
let $c$ be the common point. As $f$ is continuous at $c$, on some interval around $c$ it differs from $f(c)$ by less
than $\varepsilon / 3$. A late half lies within that interval, and uncut its own sums differ by at most
$\frac23 \varepsilon$ times its length. It does not fail: a contradiction. $\blacksquare$

From the rectangles we read, for functions that have areas and numbers $u$, $v$ and $s > 0$,

$$
\begin{aligned}
\int_a^c f(x)\, dx &= \int_a^b f(x)\, dx + \int_b^c f(x)\, dx, \\
\int_a^b \big( u f(x) + v g(x) \big)\, dx &= u \int_a^b f(x)\, dx + v \int_a^b g(x)\, dx, \\
\int_{sa}^{sb} f(x)\, dx &= s \int_a^b f(s t)\, dt, \\
m\,(b - a) \le \int_a^b f(x)\, dx &\le M (b - a) \quad \text{where } m \le f \le M \text{ on } [a, b].
\end{aligned}
\qquad \text{(E1)}
$$

First line: cut at $b$. Second: on a piece, $f + g$ lies between the sums of the two lower and of the two upper bounds,
so the area of $f + g$ lies between sums of lower sums and sums of upper sums; a factor $u$ multiplies all heights, and
exchanges lower and upper if it is negative. Third: stretch every piece by $s$; the heights stay and the widths are
multiplied. Fourth: do not cut at all; used on $g - f \ge 0$, it says that a larger function has no smaller area. With
$\int_a^a f = 0$ and $\int_b^a f = -\int_a^b f$ the first three lines hold in whatever order the ends lie.

## The logarithm

For $x > 0$ let $\ln x = \int_1^x \frac{dt}{t}$. On $[x, y]$ with $0 < x < y$ the height lies between $1/y$ and $1/x$:

$$\frac{y - x}{y} \le \ln y - \ln x \le \frac{y - x}{x}, \qquad 0 < x < y. \qquad \text{(E2)}$$

The left bound is positive, so $\ln$ strictly increases; the bounds tend to $0$ as $y - x$ does, so it is continuous.
With one end at $1$ the bound from above is `markov.log-tangent` of the section on information.

**Claim** `markov.log-product`. $\ln (xy) = \ln x + \ln y$ for all $x, y > 0$.

**Proof.** By the first and the third line of (E1), stretching by $s = x$,

$$
\ln (xy) = \int_1^x \frac{dt}{t} + \int_x^{xy} \frac{dt}{t}
  = \ln x + x \int_1^y \frac{du}{x u} = \ln x + \ln y. \qquad \blacksquare
$$

So $\ln 1 = 0$, $\ln (1/x) = -\ln x$ and $\ln x^n = n \ln x$: products become sums, which is why the probability of a
long text is kept as a logarithm.

**Claim** `markov.exp-sum`. For every number $y$ there is exactly one $x > 0$ with $\ln x = y$. Call it $\exp y$; then
$\exp (y + z) = \exp y \cdot \exp z$.

**Proof.** By (E2) $\ln 2 \ge \frac12$, so $\ln 4^k = 2k \ln 2 \ge k$ and $\ln 4^{-k} \le -k$: for $k > |y|$ the number
$y$ lies between $\ln a$ and $\ln b$ where $a = 4^{-k}$, $b = 4^k$. Bisect $[a, b]$, always into a half between whose
ends' logarithms $y$ still lies. At the common point $c$ the logarithms of the left ends, all at most $y$, and of the
right ends, all at least $y$, both tend to $\ln c$ by continuity; so $\ln c = y$. There is no second one because $\ln$
strictly increases. Last, $\ln (\exp y \cdot \exp z) = y + z$ by `markov.log-product`. $\blacksquare$

The same bisection shows that any continuous function takes every value between two of its values.

Let $e = \exp 1$. The claim makes $\exp n = e^n$ for whole $n$ and $(\exp \frac{p}{q})^q = e^p$, so $\exp$ is the power
$e^y$, now for every real $y$; and for $x > 0$ we write $x^a = e^{a \ln x}$, so that $\ln x^a = a \ln x$ and
$x^a x^b = x^{a+b}$.

## Slopes

The **slope** (derivative) of $f$ at $x$ is the limit of its quotients of differences, where there is one:

$$\frac{f(x + h) - f(x)}{h} \to f'(x) \quad \text{as } h \to 0. \qquad \text{(E3)}$$

At the end of an interval $h$ has one sign only. Where a slope exists $f$ is continuous, as
$f(x + h) - f(x) = h \cdot \frac{f(x + h) - f(x)}{h} \to 0$.

**Claim** `markov.slope-rules`. Where $f$ and $g$ have slopes, $(uf + vg)' = uf' + vg'$ for numbers $u$, $v$, and
$(fg)' = f'g + fg'$. If $g$ has a slope at $x$ and $f$ has one at $g(x)$, then $f(g(x))$ has the slope
$f'(g(x))\, g'(x)$.

**Proof.** Write $\Delta f = f(x + h) - f(x)$, and $\Delta g$ alike. The quotient of $uf + vg$ is
$u \frac{\Delta f}{h} + v \frac{\Delta g}{h}$. For the product,
$f(x+h)\, g(x+h) - f(x)\, g(x) = \Delta f \cdot g(x + h) + f(x)\, \Delta g$; divide by $h$, and $g(x + h) \to g(x)$.
For the chain let $y = g(x)$, $r(k) = \frac{f(y + k) - f(y)}{k}$ for $k \ne 0$ and $r(0) = f'(y)$, which makes $r$
continuous at $0$. Then $f(y + k) - f(y) = r(k)\, k$ for all $k$, zero included; with $k = \Delta g \to 0$,
$\frac{1}{h} \big( f(g(x + h)) - f(g(x)) \big) = r(\Delta g) \frac{\Delta g}{h} \to f'(y)\, g'(x)$. $\blacksquare$

**Claim** `markov.log-slope`. For $x > 0$, $(\ln x)' = 1/x$ and $(x^a)' = a x^{a-1}$; and $(e^y)' = e^y$ for every $y$.

**Proof.** By (E2) the quotient $\frac1h (\ln (x + h) - \ln x)$ lies between $\frac1x$ and $\frac{1}{x + h}$, for either
sign of $h$. Let $x = e^y$, $x + k = e^{y+h}$, so $h = \ln (x + k) - \ln x$: then $k / h$ lies between $x$ and $x + k$,
and it remains that $k \to 0$ with $h$. For $0 < h < 1$, (E2) says $h \ge \frac{k}{x + k}$, which is
$0 < k \le \frac{hx}{1 - h}$; for $h < 0$ it says $-h \ge \frac{-k}{x}$, which is $0 > k \ge hx$. Last, $e^{a \ln x}$
has the slope $e^{a \ln x} \cdot \frac{a}{x}$ by the chain rule. $\blacksquare$

**Claim** `markov.slope-bound`. Let $a < b$. If $F$ has a slope at every point of $[a, b]$, and $m \le F' \le M$ there,
then $m\,(b - a) \le F(b) - F(a) \le M (b - a)$.

**Proof.** Let $Q = \frac{F(b) - F(a)}{b - a}$ and suppose $Q > M$. The quotient over an interval is the mean of those
over its halves, so one half has a quotient of at least $Q$. Bisect on, always into such a half, to the common point
$c$. The quotient over $[a_k, b_k]$ is a mean, weighted by lengths, of those over $[a_k, c]$ and $[c, b_k]$ (or is one
of them, if $c$ is an end). Both tend to $F'(c) \le M$, yet their mean stays at least $Q > M$: a contradiction. For $m$,
apply this to $-F$. $\blacksquare$

So a function with $F' \ge 0$ never falls, and one with $F' = 0$ is constant. One with $F' > 0$ strictly rises: it never
falls, and were two of its values equal, it would be constant between them, with slope zero. Applied to $v - u$ and
$v + u$ it compares two functions:

$$|u'| \le v' \text{ on } [0, h] \text{ and } u(0) = v(0) = 0 \quad \text{give} \quad |u(h)| \le v(h).
\qquad \text{(E4)}$$

**Claim** `markov.fundamental-theorem`. Let $f$ be continuous on $[a, b]$. The area $A(x) = \int_a^x f(t)\, dt$ has the
slope $f(x)$; and if $F$ has the slope $f$ on $[a, b]$, then $\int_a^b f(x)\, dx = F(b) - F(a)$.

**Proof.** $A(x + h) - A(x)$ is the area between $x$ and $x + h$. Near $x$, $f$ stays within $\varepsilon$ of $f(x)$, so
by (E1) that area divided by $h$ is within $\varepsilon$ of $f(x)$, however small $\varepsilon$. Second, $A - F$ has
slope $0$ and is constant, so $A(b) - F(b) = A(a) - F(a) = -F(a)$. $\blacksquare$

The rule for products, read backwards, is **integration by parts**: if $u$ and $v$ have continuous slopes,

$$
\int_a^b u(x)\, v'(x)\, dx = u(b)\, v(b) - u(a)\, v(a) - \int_a^b u'(x)\, v(x)\, dx. \qquad \text{(E5)}
$$

## Slopes and areas by computer

**Claim** `markov.central-difference`. If $|f'''| \le M$ on $[x - h, x + h]$, then
$\frac{f(x + h) - f(x - h)}{2h}$ differs from $f'(x)$ by at most $\frac{M h^2}{6}$.

**Proof.** Let $u(h) = f(x + h) - f(x - h) - 2h f'(x)$. Then $u'(h) = f'(x + h) + f'(x - h) - 2 f'(x)$ and
$u''(h) = f''(x + h) - f''(x - h)$, which by `markov.slope-bound` is at most $2hM$ in size. $u$ and $u'$ vanish at $0$,
so by (E4) $|u'(h)| \le M h^2$, and once more $|u(h)| \le M h^3 / 3$. Divide by $2h$. $\blacksquare$

Computed values of $f$ are off by about $\epsilon |f|$ with $\epsilon = 2^{-52}$, which puts an error near
$\epsilon |f| / h$ on top. The sum $\frac{M h^2}{6} + \frac{\epsilon |f|}{h}$ has slope zero at
$h = (3 \epsilon |f| / M)^{1/3}$. Not knowing $|f| / M$, `slope` takes $h = (3 \epsilon)^{1/3} \max(1, |x|)$; where
$f$ and its third slope are near one, ten digits remain. (E6)

**Claim** `markov.midpoint-area`. If $|f''| \le M$ on $[a, b]$, then $n$ rectangles of width $w = (b - a) / n$, each as
high as $f$ in its middle, sum to $\int_a^b f(x)\, dx$ up to an error of at most $\frac{M (b - a)^3}{24 n^2}$.

**Proof.** On a piece with middle $c$ and half width $h$ the error is $u(h) = \int_{c-h}^{c+h} f(x)\, dx - 2h f(c)$,
with $u(0) = 0$ and $u'(h) = f(c + h) + f(c - h) - 2 f(c) = y(h)$ by `markov.fundamental-theorem`. Here $y(0) = 0$ and
$|y'(h)| = |f'(c + h) - f'(c - h)| \le 2hM$ by `markov.slope-bound`, so by (E4) $|y(h)| \le M h^2$ and
$|u(h)| \le M h^3 / 3$. There are $n$ pieces with $h = \frac{b - a}{2n}$. $\blacksquare$

## Several variables

The **partial derivative** $\partial_i f(x)$ of a function of $x = (x_1, \dots, x_n)$ is its slope in $x_i$ with the
other variables held fixed. All of them together are the **gradient**.

**Claim** `markov.slope-along-line`. If the partial derivatives of $f$ exist near $x$ and are continuous at $x$, then
for every direction $u$ the function $t \mapsto f(x + tu)$ has at $t = 0$ the slope $\sum_i u_i\, \partial_i f(x)$.

**Proof.** Go from $x$ to $x + hu$ in $n$ steps, the $i$-th of which changes the $i$-th coordinate alone, by $h u_i$.
Near $x$ every $\partial_i f$ is within $\varepsilon$ of $\partial_i f(x)$, so by `markov.slope-bound`, used in that one
variable, the $i$-th step changes $f$ by $h u_i\, \partial_i f(x)$ up to $\varepsilon |h u_i|$. Add the steps and divide
by $h$: the quotient is within $\varepsilon \sum_i |u_i|$ of $\sum_i u_i\, \partial_i f(x)$. $\blacksquare$

## Concave functions

A set of points is **convex** if with $x$ and $y$ it contains every $(1 - w) x + w y$ with $0 \le w \le 1$. A function
on a convex set is **concave** if it never lies below its chords:

$$
f\big( (1 - w) x + w y \big) \ge (1 - w) f(x) + w f(y), \qquad 0 \le w \le 1. \qquad \text{(E7)}
$$

It is **strictly** concave if (E7) is strict whenever $x \ne y$ and $0 < w < 1$, and **convex** if $-f$ is concave. Add
(E7) for several functions: a sum of concave functions is concave, and so is a sum of functions of one coordinate each,
$\sum_i f_i(x_i)$, strictly if every $f_i$ is strictly concave, for $x \ne y$ differ in some coordinate.

**Claim** `markov.concave-second-derivative`. A function on an interval with $f'' \le 0$ everywhere is concave. If
$f'' < 0$ everywhere it is strictly concave.

**Proof.** Let $x < y$, $0 < w < 1$ and $z = (1 - w) x + w y$, so that $z - x = w (y - x)$ and
$y - z = (1 - w)(y - x)$. By `markov.slope-bound` $f'$ never rises. So $f' \ge f'(z)$ on $[x, z]$ and $f' \le f'(z)$ on
$[z, y]$, and by the same claim

$$f(z) - f(x) \ge f'(z)\, w\, (y - x), \qquad f(y) - f(z) \le f'(z)\, (1 - w)(y - x).$$

Take $1 - w$ times the first minus $w$ times the second: the right sides cancel, and what remains is
$f(z) - (1 - w) f(x) - w f(y) \ge 0$. If $f'' < 0$, then $f'$ strictly falls: were it equal at two points, it would be
constant between them and $f''$ zero there. With $m$ the middle of $[x, z]$,
$f(z) - f(m) \ge f'(z)(z - m)$ and $f(m) - f(x) \ge f'(m)(m - x) > f'(z)(m - x)$: the first inequality above is
strict. $\blacksquare$

So $\ln$ is strictly concave, its second slope being $-1/x^2$, and $e^y$ is strictly convex.

**Claim** `markov.concave-maximum`. Let $f$ be concave on a convex set $U$ and have continuous partial derivatives near
a point $x$ of $U$, around which $U$ contains a ball. If all partial derivatives vanish at $x$, then $f(y) \le f(x)$ for
every $y$ in $U$, and if $f$ is strictly concave, $f(y) < f(x)$ for $y \ne x$.

**Proof.** For $0 < t \le 1$ (E7) gives $f(x + t (y - x)) \ge (1 - t) f(x) + t f(y)$, which is

$$\frac{f(x + t (y - x)) - f(x)}{t} \ge f(y) - f(x).$$

As $t \to 0$ the left side tends to $0$ by `markov.slope-along-line`, so $f(y) \le f(x)$. If $f$ is strictly concave and
$f(y) = f(x)$ with $y \ne x$, halfway between them $f$ would be larger than $f(x)$, which was excluded. $\blacksquare$

**Claim** `markov.jensen`. Let $f$ be concave on a convex set, $x_1, \dots, x_n$ points of it, and let $w_i \ge 0$ with
$\sum_i w_i = 1$. Then $f \big( \sum_i w_i x_i \big) \ge \sum_i w_i f(x_i)$. If $f$ is strictly concave, equality holds
only if all $x_i$ with $w_i > 0$ are the same point.

**Proof.** Leave out the points of weight zero. By induction on $n$: for $n = 1$ there is nothing to prove. For $n > 1$
put $s = 1 - w_n > 0$ and $y = \sum_{i<n} \frac{w_i}{s} x_i$, a mean of $n - 1$ points with weights that sum to one and
so, by the same induction, in the set. By (E7), then by the induction hypothesis,

$$
f \Big( \sum_i w_i x_i \Big) = f(s y + w_n x_n) \ge s f(y) + w_n f(x_n)
  \ge s \sum_{i<n} \frac{w_i}{s} f(x_i) + w_n f(x_n) = \sum_i w_i f(x_i).
$$

Let $f$ be strictly concave and both inequalities be equalities. From the second, $x_1, \dots, x_{n-1}$ are one point,
which is $y$; from the first, as $0 < s < 1$, $x_n = y$. $\blacksquare$

## The largest value under a condition

To make $f(x)$ as large as possible among the $x$ with $g(x) = 0$, put a price $\lambda$ on breaking the condition and
look at the **Lagrangian** $f(x) - \lambda\, g(x)$, without condition.

**Claim** `markov.lagrange-sufficient`. Let $f$ and $g$ be any functions on a set $X$ and $\lambda$ a number. If $x^*$
maximises $f - \lambda g$ over all of $X$ and $g(x^*) = 0$, then $x^*$ maximises $f$ over the $x$ in $X$ with
$g(x) = 0$; and if it is the only maximiser of the first, it is the only one of the second.

**Proof.** Where $g(x) = 0$, $f(x) = f(x) - \lambda g(x) \le f(x^*) - \lambda g(x^*) = f(x^*)$, with strict inequality
for $x \ne x^*$ if $x^*$ is the only maximiser. $\blacksquare$

With several conditions, $\lambda g$ is a sum $\sum_j \lambda_j g_j$ and nothing else changes. The claim does not say
where $\lambda$ comes from. If $f$ is concave and $g$ linear, the Lagrangian is concave: set its partial derivatives to
zero, which by `markov.concave-maximum` is enough, and choose $\lambda$ so that the solution meets the condition. Is
there always such a $\lambda$? Where the largest value is inside the domain, yes:

**Claim** `markov.lagrange-necessary`. Let $c \ne 0$, let $f$ have continuous partial derivatives in a ball around
$x^*$, and let $x^*$ maximise $f$ among the points of the ball with $\sum_i c_i x_i = d$. Then for some $\lambda$,
$\partial_i f(x^*) = \lambda c_i$ for every $i$.

**Proof.** Pick $j$ with $c_j \ne 0$ and any $i \ne j$. Along the direction $u$ that has $u_i = c_j$, $u_j = -c_i$ and
zeros elsewhere the condition stays met, since $c_i c_j - c_j c_i = 0$. So $h(t) = f(x^* + tu)$ is largest at $t = 0$:
its quotients (E3) are at most $0$ for $t > 0$ and at least $0$ for $t < 0$, and its slope there is $0$. By
`markov.slope-along-line` $c_j\, \partial_i f(x^*) = c_i\, \partial_j f(x^*)$. Take
$\lambda = \partial_j f(x^*) / c_j$; for $i = j$ the equation is this definition. $\blacksquare$

On the simplex, where $\sum_i x_i = 1$, all $c_i$ are one: at a maximum with all $x_i > 0$, mass can be moved from one
coordinate to another without gain, so all partial derivatives are equal. For conditions that are curved the same holds
wherever the gradient of $g$ is not zero; this chapter needs linear ones only.

An example: which positive numbers with $\sum_i x_i = s$ have the largest product? Maximise the logarithm of the
product, $\sum_i \ln x_i$, which is strictly concave. The Lagrangian's partial derivatives are $1 / x_i - \lambda$. They
vanish where all $x_i = 1 / \lambda$, and $\lambda = n / s$ meets the condition: equal shares, and nothing else.

## Areas without end

Let $f \ge 0$ be continuous between two ends that it may not reach, one of which may be infinite. Its area is the limit
of $\int_\alpha^\beta f(x)\, dx$ as $\alpha$ falls to the left end and $\beta$ rises to the right end. These areas never
fall, so if they are bounded there is a limit, and (E1) passes on to it. For $a, b > 0$ let

$$
\Gamma(a) = \int_0^\infty x^{a-1} e^{-x}\, dx, \qquad B(a, b) = \int_0^1 x^{a-1} (1 - x)^{b-1}\, dx.
\qquad \text{(E8)}
$$

**Claim** `markov.beta-gamma`. For $a, b > 0$ both areas are finite; $\Gamma(a + 1) = a\, \Gamma(a)$, so that
$\Gamma(n + 1) = n!$ for $n = 0, 1, 2, \dots$; and

$$B(a, b) = \frac{\Gamma(a)\, \Gamma(b)}{\Gamma(a + b)}.$$

**Proof.** *They are finite.* $\int_\alpha^1 x^{a-1}\, dx = (1 - \alpha^a) / a < 1 / a$ by `markov.fundamental-theorem`,
and near $0$ the other factors of (E8), $e^{-x}$ and $(1 - x)^{b-1}$, are bounded; near $1$, $B$ is the same with
$1 - x$ in the place of $x$. For large $x$, (E2) from $1$ on says $\ln \frac{x}{c} \le \frac{x}{c} - 1$, so
$c \ln \frac{x}{c} \le x - c < x$ and

$$x^c e^{-x} \le c^c \quad \text{for every } c > 0 \text{ and } x \ge c. \qquad \text{(E9)}$$

With $c = a + 1$ the first integrand is at most $c^c x^{-2}$, whose area from $c$ to $\beta$ is
$c^c (1/c - 1/\beta) < c^{c-1}$.

*By parts.* With $u = x^a$ and $v = -e^{-x}$, (E5) reads

$$
\int_\alpha^\beta x^a e^{-x}\, dx
  = \alpha^a e^{-\alpha} - \beta^a e^{-\beta} + a \int_\alpha^\beta x^{a-1} e^{-x}\, dx.
$$

As $\alpha \to 0$, $\alpha^a = e^{a \ln \alpha} \to 0$; as $\beta$ grows, $\beta^a e^{-\beta} \le (a+1)^{a+1} / \beta$
by (E9) with $c = a + 1$. So $\Gamma(a + 1) = a\, \Gamma(a)$. As $\int_0^\beta e^{-x}\, dx = 1 - e^{-\beta}$,
$\Gamma(1) = 1 = 0!$, and induction gives $n!$. Likewise the slope of $x^a (1 - x)^b$, a function that tends to $0$ at
both ends, is $a x^{a-1} (1 - x)^b - b x^a (1 - x)^{b-1}$, so $a B(a, b + 1) = b B(a + 1, b)$. The sum of $B(a, b + 1)$
and $B(a + 1, b)$ is $B(a, b)$, since $(1 - x) + x = 1$. Together

$$B(a, b) = \frac{a + b}{b} B(a, b + 1). \qquad \text{(E10)}$$

*A limit.* Let $b \ge 1$. Stretching by $1/n$, $n^a B(a, n + b) = \int_0^n t^{a-1} (1 - t/n)^{n+b-1}\, dt$. By (E2),
$y \le -\ln (1 - y) \le \frac{y}{1 - y}$ for $0 \le y < 1$. With $y = t/n$ the left bound gives
$(1 - t/n)^{n+b-1} \le e^{-t (n+b-1)/n} \le e^{-t}$; the right one gives, for $0 \le t \le \tau < n$,

$$
\Big( 1 - \frac{t}{n} \Big)^{n+b-1} \ge e^{-t \frac{n+b-1}{n-t}} = e^{-t} e^{-t \frac{b-1+t}{n-t}}
  \ge e^{-t} e^{-\tau \frac{b-1+\tau}{n-\tau}}.
$$

So $n^a B(a, n + b)$ is at most $\Gamma(a)$ and at least $\int_0^\tau t^{a-1} e^{-t}\, dt$ times a factor that tends to
$1$ as $n$ grows. As $\tau$ may be any number and that area tends to $\Gamma(a)$, $n^a B(a, n + b) \to \Gamma(a)$.

*The formula.* Let $P_n(x) = n!\, n^{x-1} / \big( x (x + 1) \cdots (x + n - 1) \big)$. Use (E10) $n$ times and write the
products of $b, \dots, b + n - 1$ and of $a + b, \dots, a + b + n - 1$ by $P_n$:

$$
B(a, b) = \frac{(a + b) \cdots (a + b + n - 1)}{b \cdots (b + n - 1)}\, B(a, b + n)
  = \frac{P_n(b)}{P_n(a + b)}\, n^a B(a, n + b). \qquad \text{(E11)}
$$

For $b = 1$, $P_n(1) = 1$ and $B(a, 1) = 1/a$, so $P_n(a + 1) = a\, n^a B(a, n + 1) \to a\, \Gamma(a) = \Gamma(a + 1)$
for every $a > 0$: $P_n(x) \to \Gamma(x)$ for $x \ge 1$. So for $b \ge 1$ the right side of (E11) tends to
$\Gamma(b)\, \Gamma(a) / \Gamma(a + b)$, and the left side does not depend on $n$. For $b < 1$, (E10) leads back to
$b + 1$:

$$
B(a, b) = \frac{a + b}{b} \cdot \frac{\Gamma(a)\, \Gamma(b + 1)}{\Gamma(a + b + 1)}
  = \frac{a + b}{b} \cdot \frac{\Gamma(a)\; b\, \Gamma(b)}{(a + b)\, \Gamma(a + b)}
  = \frac{\Gamma(a)\, \Gamma(b)}{\Gamma(a + b)}. \qquad \blacksquare
$$

The distributions over $k$ tokens are the points with $x_i \ge 0$ and $\sum_i x_i = 1$. To integrate over this
**simplex** is to integrate over $x_1$ the integral over what $x_1$ leaves to the others. Write $S_k(s)$ for the points
with sum $s > 0$: the integral of $f$ over $S_1(s)$ is its value at the only point, and over $S_k(s)$ it is the area
from $0$ to $s$, in $x_1$, of the integral over the $(x_2, \dots, x_k)$ in $S_{k-1}(s - x_1)$.

**Claim** `markov.dirichlet-integral`. For $a_1, \dots, a_k > 0$ with sum $A$, the integral of
$\prod_i x_i^{a_i - 1}$ over the simplex is $\prod_i \Gamma(a_i) / \Gamma(A)$; over $S_k(s)$ it is $s^{A-1}$ times that.

**Proof.** By induction on $k$. For $k = 1$ both sides are $s^{a_1 - 1}$. Suppose it holds for $k - 1$ and let
$A' = a_2 + \dots + a_k$. The integral is

$$
\int_0^s x^{a_1 - 1}\, (s - x)^{A' - 1}\, \frac{\prod_{i \ge 2} \Gamma(a_i)}{\Gamma(A')}\, dx
  = \frac{\prod_{i \ge 2} \Gamma(a_i)}{\Gamma(A')}\, s^{a_1 + A' - 1} B(a_1, A'),
$$

stretching $x = st$. By `markov.beta-gamma` $B(a_1, A') = \Gamma(a_1)\, \Gamma(A') / \Gamma(A)$; the $\Gamma(A')$
cancels. $\blacksquare$

The result is the same in whatever order the coordinates are integrated.

## In practice

Networks compute slopes exactly, by the rules of `markov.slope-rules` applied to every operation; that is the subject of
the next stage, and (E6) is how its results are tested. Real losses of networks are not concave in their parameters, so
a point without slope need not be the best; for the models of this stage it is. Products of Gammas overflow float64 from
$\Gamma(172)$ on: programs keep their logarithms.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["slope", "gradient", "area", "log_dirichlet_integral"]  # the order of the page

Real = float | int
RELATIVE_STEP = (3 * 2.0**-52) ** (1 / 3)  # (E6)


def slope(f: Callable[[float], float], x: Real) -> float:
    """
    Slope of `f` at `x`, by a central difference with the step (E6).

    Parameters
    ----------
    f
        A function of one number, defined on both sides of `x`; its third slope bounded there.
    x
        Where.

    Returns
    -------
    float
        About ten digits are right, where `f` and its slopes are near one.

    Raises
    ------
    ValueError
        If `x` or a value of `f` is not finite.

    Examples
    --------
    >>> round(slope(math.log, 4), 8), round(slope(math.exp, 0), 8)
    (0.25, 1.0)
    """
    step = RELATIVE_STEP * max(1.0, abs(x))
    right, left = x + step, x - step
    rise = float(f(right)) - float(f(left))
    if not math.isfinite(rise):
        raise ValueError(f"the function must be finite on both sides of {x}, got {f(left)} and {f(right)}")
    return rise / (right - left)  # the distance that the rounded points have


def gradient(f: Callable[[np.ndarray], float], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """
    All partial derivatives of `f` at `x`, each by `slope`.

    Parameters
    ----------
    f
        A function of n numbers, given as one array.
    x
        Where.

    Returns
    -------
    ndarray
        The partial derivatives, float64.

    Raises
    ------
    ValueError
        If a value of `f` near `x` is not finite.

    Examples
    --------
    >>> gradient(lambda x: x[0] * x[1] ** 2, np.array([5.0, 3.0])).round(6)
    array([ 9., 30.])
    """
    x = x.astype(np.float64)

    def along(i: int) -> Callable[[float], float]:
        return lambda t: f(np.where(np.arange(len(x)) == i, t, x))

    return np.array([slope(along(i), float(x[i])) for i in range(len(x))], np.float64)


def area(f: Callable[[float], float], a: Real, b: Real, pieces: int = 1000) -> float:
    """
    Area under `f` between `a` and `b` by midpoints, with the error of `markov.midpoint-area`.

    Parameters
    ----------
    f
        A function of one number. It is not asked for its values at the ends.
    a, b
        Ends; if `b < a` the area counts negative.
    pieces
        How many rectangles; twice as many divide the bound on the error by four.

    Returns
    -------
    float
        The sum of the rectangles.

    Raises
    ------
    ValueError
        If there is no piece, or an end or a value of `f` is not finite.

    Examples
    --------
    The area under 1/t from 1 to 2 is ln 2; with a second slope of at most 2 the error is below 2 / (24 * 1000 ** 2):

    >>> abs(area(lambda t: 1 / t, 1, 2) - math.log(2)) < 2 / 24e6
    True
    """
    if pieces < 1:
        raise ValueError(f"an area needs at least one piece, got {pieces}")
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError(f"the ends must be finite, got {a} and {b}. Cut off the part that does not matter.")
    width = (b - a) / pieces
    heights = [float(f(a + (i + 0.5) * width)) for i in range(pieces)]
    for i, height in enumerate(heights):
        if not math.isfinite(height):
            raise ValueError(f"the function must be finite inside the ends, got {height} at {a + (i + 0.5) * width}")
    return math.fsum(heights) * width


def log_dirichlet_integral(a: Float[np.ndarray, " k"]) -> float:
    r"""
    Logarithm of the integral of $\prod_i x_i^{a_i - 1}$ over the simplex (`markov.dirichlet-integral`).

    Parameters
    ----------
    a
        Positive exponents, each one more than the power.

    Returns
    -------
    float
        $\sum_i \ln \Gamma(a_i) - \ln \Gamma(\sum_i a_i)$.

    Raises
    ------
    ValueError
        If there is no exponent, or one is not positive and finite.

    Examples
    --------
    The area of $x^2 (1 - x)$ between 0 and 1 is 1/3 - 1/4:

    >>> round(math.exp(log_dirichlet_integral(np.array([3.0, 2.0]))) * 12, 12)
    1.0
    """
    if not len(a) or not (np.isfinite(a) & (a > 0)).all():
        raise ValueError(f"the exponents must be positive and finite, and at least one, got {a}")
    return math.fsum(map(math.lgamma, a.tolist())) - math.lgamma(math.fsum(a.tolist()))
