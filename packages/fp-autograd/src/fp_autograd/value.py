r"""
Values: numbers that remember how they were made, and one sweep back that finds every slope.

A loss is the last of some thousand numbers, each made from one or two before it. Nobody could write it as one formula
and differentiate that. But each single step is an addition, a product or a function whose slope we know. This section
lets the computation write down its own steps, and from them finds the slopes of the last number in all the first ones,
at once, for a few times the price of computing it.

You need: `fp_autograd.calculus` for the slopes of single operations, `fp_autograd.linear_algebra` for the chain rule in
several variables.

## A computation is a graph

Number the values of a computation in the order in which they are made: the inputs $v_1, \dots, v_n$, then

$$v_k = \varphi_k \big( v_{a(k, 1)}, \dots, v_{a(k, m_k)} \big), \qquad \text{every } a(k, s) < k, \qquad
k = n + 1, \dots, N. \qquad \text{(E1)}$$

Draw an **edge** from each argument to the result that uses it; $v_1 v_1$ uses $v_1$ twice and gets two. A value is a
**parent** of those that use it. On the edge of the $s$-th argument of $v_k$ write the **local derivative**

$$d_{k, s} = \partial_s \varphi_k \quad \text{at the present arguments,} \qquad \text{(E2)}$$

a number that is known as soon as $v_k$ is. A **path** from $v_i$ to $v_k$ is a sequence of edges, each beginning where
the one before ends, the first at $v_i$, the last in $v_k$. From $v_i$ to itself there is one path, with no edges.

**Claim** `autograd.path-sum`. Let every $\varphi_k$ have continuous partial derivatives near its present arguments.
Then every value has a partial derivative in every input, and it is the sum over all paths of the product of the local
derivatives along each:

$$\frac{\partial v_k}{\partial v_i} = \sum_{\text{paths } v_i \to v_k} \;\; \prod_{\text{edges}} d. \qquad \text{(E3)}$$

**Proof.** By induction on $k$. If $v_k$ is an input, its slope in $v_i$ is $1$ for $k = i$ and $0$ otherwise; no edge
ends in it, so the sum has one term, the empty product $1$, for $k = i$ and none otherwise. If $v_k$ is not an input,
move $v_i$ and hold the other inputs: by the induction hypothesis the arguments of $\varphi_k$ have slopes, given by
(E3). By `autograd.jacobian` $\varphi_k$ is differentiable, and `autograd.jacobian-chain`, with one row and one column,
says

$$
\frac{\partial v_k}{\partial v_i} = \sum_s d_{k, s} \frac{\partial v_{a(k, s)}}{\partial v_i}
  = \sum_s d_{k, s} \sum_{\text{paths } v_i \to v_{a(k, s)}} \;\; \prod_{\text{edges}} d.
$$

A path from $v_i$ to $v_k$ has at least one edge, because $v_k$ is no input, and its last edge belongs to exactly one
$s$; what is left of it is a path to $v_{a(k, s)}$. So the double sum lists every path once. $\blacksquare$

The sum must not be taken path by path, for there can be very many. Here each step doubles their number:

>>> x = Value(1.0)
>>> y = x
>>> for _ in range(50):
...     y = y + y
>>> y.backward()
>>> x.grad == 2**50
True

## One sweep back

What is the slope of the last value, the **root**, in one from the middle? Count the middle one as an input, so that the
edges into it are gone, and (E3) answers: let $g_j$ be the sum over the paths from $v_j$ to $v_N$. The proof above split
a path at its last edge. Split it at its first instead: it leads from $v_j$ to one that uses it, and then on.

$$g_N = 1, \qquad g_j = \sum_{(k, s):\; a(k, s) = j} d_{k, s}\, g_k \quad (j \ne N). \qquad \text{(E4)}$$

Only the values count that the root can be traced back to; they are the root's **graph**. Now one number for each value
is enough, if each is complete before it is handed on. The sweep:

1. Go from the root back along the edges, and count for every value found the edges to values that use it.
2. Give the root the gradient 1, all others 0. Call the root ready.
3. While any value is ready, take one, $v_k$. For each of its edges, with parent $v_j$, add $d\, g_k$ to the gradient
   of $v_j$ and lower the count of $v_j$ by one; if that makes it zero, $v_j$ is ready. (E5)

**Claim** `autograd.topological`. The sweep takes every value of the root's graph exactly once, after all values of the
graph that use it, and ends. When it takes $v_j$, the gradient of $v_j$ is $g_j$ of (E4).

**Proof.** *At most once, and after its users.* By induction from the root down, in the order of falling numbers. The
root is used by no value of its graph, whose numbers are smaller, and becomes ready once, at the start. Let $j < N$, and
let all values with larger numbers be taken at most once. Those that use $v_j$ are among them, so each edge lowers the
count of $v_j$ at most once. The count began as the number of these edges. It reaches zero at most once, and only
when all who use $v_j$ were taken.

*At least once.* Suppose some value is never taken, and let $v_j$ be the one of these with the largest number. It is not
the root. All that use it have larger numbers, so they were taken, and every edge lowered the count. It reached zero,
$v_j$ became ready, and step 3 goes on while any value is ready: $v_j$ was taken, a contradiction. Since each value is
taken once and the graph is finite, the sweep ends.

*The gradient.* By induction in the order of taking. The root's is $1$. When $v_j$ is taken, exactly the edges of (E4)
have added to it, each once, and each added $d\, g_k$ with the final $g_k$, because an edge is followed when $v_k$ is
taken. $\blacksquare$

An input that is used by several graphs, as a weight is by one graph for each example, collects from all of them: its
gradient is added to and never overwritten, until `Value.zero_grad`. A value in the middle starts each sweep at zero;
otherwise a second sweep would hand on the first one's gradients again.

## The local derivatives

$$
\begin{array}{lll}
\text{value} & \text{local derivatives} & \text{why} \\
u + v, \; u - v & 1 \text{ and } 1, \; 1 \text{ and } -1 & \text{slope of a sum} \\
u v & v \text{ and } u & \text{the other factor is held} \\
u / v = y & 1 / v \text{ and } -y / v & \text{quotient rule} \\
u^c & c\, u^{c - 1} & \text{power rule} \\
u^v = e^{v \ln u} & v\, u^{v - 1} \text{ and } u^v \ln u & \text{chain rule, in each variable} \\
e^u, \; \ln u & e^u, \; 1 / u & \text{slopes of stage 1} \\
\tanh u, \; \sigma(u) & 1 - \tanh^2 u, \; \sigma(u) (1 - \sigma(u)) & \text{calculus} \\
\max(u, 0) & 1 \text{ if } u > 0, \text{ else } 0 & \text{at } 0 \text{ a choice} \\
\sum_i w_i x_i + b & x_i, \; w_i \text{ and } 1 & \text{below}
\end{array}
\qquad \text{(E6)}
$$

The proofs are those of `markov.slope-rules` and `markov.log-slope`, `autograd.quotient-rule`, `autograd.power-rule`,
`autograd.tanh-slope`, `autograd.sigmoid-slope`. The functions stand with their slopes beside `fp_autograd.dual.Dual`,
because forward mode needs the same ones, in forms that stay exact where they are flat (`autograd.saturated-slopes`).
With both variable, a power needs $u > 0$: its slope in $v$ has the factor $\ln u$. The rectifier $\max(u, 0)$ has no
slope at $0$; there (E3) does not apply, and the engine takes $0$, one of the values that `autograd.relu-subgradient`
allows.

**Claim** `autograd.fused-dot`. Made as one value, $\sum_i w_i x_i + b$ gives every $w_i$, $x_i$ and $b$ the same
gradient as made by multiplications and additions one after the other.

**Proof.** One after the other, each product is added to a running sum. From the place of $w_i$ to the end leads one
path: through its product, with local derivative $x_i$, and through additions, all with $1$. Its product is $x_i$, the
number that the single edge from $w_i$ carries. The same holds for $x_i$ with $w_i$, and for $b$ with $1$. So in (E3)
each path of the one graph has its counterpart of equal product in the other, also where one value stands in several
places. $\blacksquare$

A neuron with $n$ inputs is then one object instead of $2n$.

## What it costs

Count additions, subtractions, multiplications, divisions, changes of sign, absolute values, calls of `exp log tanh pow`
and the comparison in the rectifier, one each.

**Claim** `autograd.cheap-gradient-scalar`. Let a computation use the operations of this section. The gradient of its
last value in all inputs, the computation itself included, takes at most ten times the operations of the computation
alone, however many inputs there are. The sweep by itself takes at most four times as many. (A sum of products has at
least one product.)

**Proof.** Let an operation cost $p$ alone, $l$ for its local derivatives, and have $e$ edges. The sweep takes each
value once (`autograd.topological`) and does one multiplication and one addition for each edge: $2e$. Operation by
operation, as they are written below, with a constant $c$:

| operation | $p$ | $l$ | $2e$ | sum |
| --- | --- | --- | --- | --- |
| $u + v$, $u - v$, $u v$ | 1 | 0 | 4 | 5 |
| $u + c$, $u - c$, $c - u$, $cu$, $-u$ | 1 | 0 | 2 | 3 |
| $u / v$ | 1 | 3 | 4 | 8 |
| $u / c$ | 1 | 1 | 2 | 4 |
| $c / u$ | 1 | 2 | 2 | 5 |
| $u^c$ | 1 | 3 | 2 | 6 |
| $u^v$ | 1 | 5 | 4 | 10 |
| $c^u$ | 1 | 5 | 2 | 8 |
| $e^u$ | 1 | 0 | 2 | 3 |
| $\ln u$ | 1 | 1 | 2 | 4 |
| $\tanh u$ | 1 | 7 | 2 | 10 |
| $\sigma(u)$ | 5 | 2 | 2 | 9 |
| $\max(u, 0)$ | 1 | 0 | 2 | 3 |
| $\sum_{i \le n} w_i x_i + b$, all variable | $2n$ | 0 | $4n + 2$ | $6n + 2$ |

In every row the sum is at most $10 p$ and $2e \le 4p$; in the last because $n \ge 1$ makes $6n + 2 \le 8n$ and
$4n + 2 \le 6n$. Add the rows over the computation: if every number is at most ten times another, so is the sum of the
ones at most ten times the sum of the others. $\blacksquare$

The bound says nothing about the bookkeeping around each operation, which in an interpreted language outweighs it; that
too is a constant for each value and each edge, because the sweep handles both a fixed number of times and never sorts.

## In practice

A. Karpathy's micrograd is the best known engine of this kind: it keeps a closure in each value and orders them by a
recursion that remembers in a set where it was. Here the local derivatives are plain numbers on the edges, the sweep
counts users in place, and a neuron is one value; the benchmark of this section compares the two. Production engines do
the same on arrays (`fp_autograd.tensor`), where one edge carries a million numbers and its bookkeeping vanishes. They
free a graph as they sweep, because the arrays it holds fill the memory; here a graph is kept to be looked at and drawn,
and goes when the last name for it goes. C++ engines for scalar programs write the edges on a tape, one long array.

Numbers are Python floats, IEEE double precision. What overflows becomes infinite and no error: $e^{1000}$ is
`inf`, and so is its slope. Where an operation has no value, as the logarithm of zero or division by it, it raises an
error that says so, as Python's own numbers do.

References: S. Linnainmaa, 1970, for the sweep; W. Baur and V. Strassen, 1983, for the constant; A. Griewank and
A. Walther, *Evaluating Derivatives*, 2008, for everything.
"""

from collections.abc import Callable, Iterable
from itertools import compress
from operator import mul
from typing import Any

from fp_autograd.dual import Number, Scalar, WithSlope, number, power, power_both, quotient

__all__ = ["Value"]  # the order of the page

FREED = "a part of this graph was freed by backward(retain_graph=False). Compute it again, or retain it."
new = object.__new__


class Value(Scalar):
    """
    A number that remembers how it was made.

    It adds, subtracts, multiplies, divides and raises to powers, with values and with plain numbers on either side. It
    compares by size and turns into a `float`; `==` asks whether two names mean one value, as for any object, so that
    values can be keys and members of sets.

    Parameters
    ----------
    data
        An `int` or `float`, or a NumPy scalar of these kinds.

    Attributes
    ----------
    data : float
        The number. Change it between computations, as an optimizer does; the slopes of a graph stay those of the
        numbers it was made with.
    grad : float
        What `backward` found: the slope of the root in this value. Values without edges collect, others are set anew.

    Raises
    ------
    TypeError
        If `data`, or a partner in an operation, is no number: a truth value, an array, a string.

    Examples
    --------
    >>> a, b = Value(2.0), Value(-3)
    >>> c = a * b + a**2
    >>> c.backward()
    >>> c.data, a.grad, b.grad
    (-2.0, 1.0, 2.0)
    >>> [(parent.data, slope) for parent, slope in (a * b).edges]
    [(2.0, -3.0), (-3.0, 2.0)]
    """

    __slots__ = ("_locals", "_op", "_parents", "_waiting", "data", "grad")

    def __init__(self, data: Number) -> None:
        self.data: float = number(data)
        self.grad: float = 0.0
        self._parents: tuple[Value, ...] = ()
        self._locals: tuple[float, ...] = ()
        self._op: str | tuple[str, float] = ""
        self._waiting: int = 0  # uses that the sweep has not followed yet; below zero once the edges are freed

    def __add__(self, other: "Value | Number") -> "Value":
        if isinstance(other, Value):
            return made(self.data + other.data, (self, other), (1.0, 1.0), "+")
        c = number(other)
        return made(self.data + c, (self,), (1.0,), ("+ {:g}", c))

    __radd__ = __add__

    def __sub__(self, other: "Value | Number") -> "Value":
        if isinstance(other, Value):
            return made(self.data - other.data, (self, other), (1.0, -1.0), "-")
        c = number(other)
        return made(self.data - c, (self,), (1.0,), ("- {:g}", c))

    def __rsub__(self, other: Number) -> "Value":
        c = number(other)
        return made(c - self.data, (self,), (-1.0,), ("{:g} -", c))

    def __neg__(self) -> "Value":
        return made(-self.data, (self,), (-1.0,), "-")

    def __mul__(self, other: "Value | Number") -> "Value":
        if isinstance(other, Value):
            return made(self.data * other.data, (self, other), (other.data, self.data), "*")
        c = number(other)
        return made(self.data * c, (self,), (c,), ("* {:g}", c))

    __rmul__ = __mul__

    def __truediv__(self, other: "Value | Number") -> "Value":
        if isinstance(other, Value):
            v = other.data
            y = quotient(self.data, v)
            return made(y, (self, other), (1.0 / v, -y / v), "/")
        c = number(other)
        return made(quotient(self.data, c), (self,), (1.0 / c,), ("/ {:g}", c))

    def __rtruediv__(self, other: Number) -> "Value":
        c = number(other)
        y = quotient(c, self.data)
        return made(y, (self,), (-y / self.data,), ("{:g} /", c))

    def __pow__(self, other: "Value | Number") -> "Value":
        if isinstance(other, Value):
            y, *slopes = power_both(self.data, other.data)
            return made(y, (self, other), tuple(slopes), "**")
        c = number(other)
        y, slope = power(self.data, c)
        return made(y, (self,), (slope,), ("** {:g}", c))

    def __rpow__(self, other: Number) -> "Value":
        c = number(other)
        y, _, slope = power_both(c, self.data)
        return made(y, (self,), (slope,), ("{:g} **", c))

    def apply(self, function: Callable[[float], WithSlope]) -> "Value":
        y, slope = function(self.data)
        return made(y, (self,), (slope,), function.__name__)

    @staticmethod
    def dot(ws: "Iterable[Value | Number]", xs: "Iterable[Value | Number]", bias: "Value | Number" = 0.0) -> "Value":
        """
        The sum of products `w_1 x_1 + … + w_n x_n + bias`, as one value (`autograd.fused-dot`).

        Parameters
        ----------
        ws, xs
            As many of the one as of the other; values and numbers, mixed at will.
        bias
            What the sum begins with.

        Returns
        -------
        Value
            With one edge for each value among the arguments.

        Raises
        ------
        ValueError
            If there are not as many factors on the one side as on the other.

        Examples
        --------
        >>> w, b = [Value(2), Value(3)], Value(1)
        >>> y = Value.dot(w, [10, 100], b)
        >>> y.backward()
        >>> y.data, w[0].grad, w[1].grad, b.grad
        (321.0, 10.0, 100.0, 1.0)
        """
        ws, xs = tuple(ws), tuple(xs)
        if len(ws) != len(xs):
            raise ValueError(f"dot needs as many factors on both sides, got {len(ws)} and {len(xs)}.")
        w = [v.data if isinstance(v, Value) else number(v) for v in ws]
        x = [v.data if isinstance(v, Value) else number(v) for v in xs]
        y = sum(map(mul, w, x), bias.data if isinstance(bias, Value) else number(bias))
        arguments = (*ws, *xs, bias)
        variable = [isinstance(v, Value) for v in arguments]
        parents: tuple[Any, ...] = tuple(compress(arguments, variable))
        return made(y, parents, tuple(compress((*x, *w, 1.0), variable)), "dot")

    def backward(self, seed: Number = 1.0, retain_graph: bool = True) -> None:
        """
        Find the slopes of this value, the root, in all values it was made from, by the sweep (E5).

        Gradients of values without edges are added to what is there; gradients of all others are replaced.

        Parameters
        ----------
        seed
            The root's own gradient; all others are proportional to it.
        retain_graph
            Keep the edges, for another sweep or a drawing. Without them a second sweep is refused.

        Raises
        ------
        ValueError
            If an earlier sweep freed a part of the graph.

        Examples
        --------
        >>> x = Value(3.0)
        >>> y = x * x
        >>> y.backward()
        >>> y.backward(seed=10)
        >>> x.grad
        66.0
        """
        seed, found = number(seed), [self]
        if self._waiting < 0:
            raise ValueError(FREED)
        try:
            for v in found:  # step 1 of (E5); the list grows while it is read
                for parent in v._parents:
                    if parent._parents:
                        if not parent._waiting:
                            found.append(parent)
                        parent._waiting += 1
                    elif parent._waiting < 0:
                        raise ValueError(FREED)
            for v in found[1:]:  # step 2
                v.grad = 0.0
            self.grad = seed if self._parents else self.grad + seed
            ready = [self]
            while ready:  # step 3, without recursion: a graph may be deeper than Python's stack
                v = ready.pop()
                g = v.grad
                for parent, slope in zip(v._parents, v._locals, strict=True):
                    parent.grad += slope * g
                    if parent._parents:  # one without edges has nobody to hand its gradient on to
                        parent._waiting -= 1
                        if not parent._waiting:
                            ready.append(parent)
        finally:  # whatever stopped the sweep, the next one counts from zero
            for v in found:
                v._waiting = 0
        if not retain_graph:
            for v in found:
                if v._parents:
                    v._parents, v._locals, v._waiting = (), (), -1

    def zero_grad(self) -> None:
        """Forget what `grad` has collected."""
        self.grad = 0.0

    @property
    def edges(self) -> "tuple[tuple[Value, float], ...]":
        """Each parent with the local derivative on the edge from it, in the order of the arguments."""
        return tuple(zip(self._parents, self._locals, strict=True))

    @property
    def op(self) -> str:
        """The operation that made this value, with the constant it used, if any: `*`, `+ 3`, `tanh`; else empty."""
        return self._op if isinstance(self._op, str) else self._op[0].format(self._op[1])

    def __float__(self) -> float:
        return self.data

    def _repr_svg_(self) -> str | None:
        """How notebooks show it: the graph; none if that was given up or is too large to draw."""
        from fp_autograd.drawing import draw

        try:
            return draw(self)
        except ValueError:
            return None

    def __repr__(self) -> str:
        return f"Value({self.data:g}, grad={self.grad:g})"


def made(data: float, parents: tuple[Value, ...], slopes: tuple[float, ...], op: str | tuple[str, float]) -> Value:
    """A value with edges. Not made by `Value.__init__`, which asks questions that are settled here."""
    v = new(Value)
    v.data, v.grad, v._parents, v._locals, v._op, v._waiting = data, 0.0, parents, slopes, op, 0
    return v
