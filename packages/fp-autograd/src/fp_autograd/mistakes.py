r"""
Common mistakes: thirteen wrong gradients, and what sees them.

A wrong gradient seldom crashes. Training goes on, the loss often falls, only more slowly and not as far, and there is
always something else to blame. Each example below makes one mistake on purpose and shows the check that sees it. They
run as tests.

You need: all the sections up to `fp_autograd.trace`.

>>> import numpy as np
>>> from fp_autograd.checking import gradcheck
>>> from fp_autograd.drawing import recorded
>>> from fp_autograd.floating_point import best_step, central
>>> from fp_autograd.functional import grad
>>> from fp_autograd.rules import log, log_softmax, softmax
>>> from fp_autograd.tensor import Tensor, no_grad
>>> from fp_autograd.tracing import Rule, apply
>>> from fp_autograd.value import Value

The first three need a sweep that can be done wrong: it takes the nodes in a given order and collects shares in a given
way.

>>> def slope(result, order, collect):
...     nodes = recorded(result)
...     g = [0.0] * (len(nodes) - 1) + [1.0]
...     for k in order:
...         for s, j in enumerate(nodes[k].operands):
...             g[j] = collect(g[j], nodes[k].share(s, g[k]))
...     return g[0]
>>> def add(old, new):
...     return old + new

**1. Overwritten instead of accumulated.** A number that is used twice gets two shares (`autograd.path-sum`). With `=`
in place of `+=` the last one wins. Every test in which each number is used once passes; use one twice, and compare with
a difference.

>>> x = Value(3.0)
>>> y = x * x + x
>>> slope(y, [2, 1], lambda old, new: new), slope(y, [2, 1], add), round(central(lambda x: x * x + x, 3.0, 1e-5), 6)
(3.0, 7.0, 7.0)

**2. Stale gradients.** Sweeps add up, so that a batch can be split. Whoever does not forget the gradients between two
steps walks along the sum of all so far, which turns too late, like a ball with no friction. The check: the same
gradient at the same point, asked for twice, is the same.

>>> w = Value(1.0)
>>> for step in range(2):
...     ((w - 3) ** 2).backward()
...     print(w.grad)
-4.0
-8.0
>>> w.zero_grad()
>>> ((w - 3) ** 2).backward()
>>> w.grad
-4.0

**3. Wrong order of visit.** Breadth first from the result looks like an order from users to operands. But below, the
square $v_2$ is used by the result $v_4$ directly and by $v_3$ on a detour: taken second, it hands on before the detour
has delivered. Whole paths are lost (`autograd.topological`); chains and trees do not show it, a diamond does.

>>> x = Value(0.5)
>>> square = x * x
>>> y = square * square.tanh()
>>> wrong, right = slope(y, [3, 1, 2], add), slope(y, [3, 2, 1], add)
>>> near = central(lambda x: x**2 * np.tanh(x**2).item(), 0.5, 1e-5)
>>> abs(right - near) < 1e-8, abs(wrong - near) < 0.1
(True, False)

**4. Unsummed broadcasting.** A bias that was added to every row of a batch gets the sum over the rows
(`autograd.broadcast-rule`). Without the sum its gradient has the shape of the batch, and NumPy broadcasts once more:
the update turns the bias into a matrix, without complaint. The engine compares the shape of every cotangent with that
of its operand.

>>> bias, g = np.zeros(3), np.ones((2, 3))
>>> (bias - 0.1 * g).shape, (bias - 0.1 * g.sum(axis=0)).shape
((2, 3), (3,))
>>> unsummed = Rule("add_bias", lambda x, b: x + b, (lambda g, out, x, b: g,) * 2, (lambda t, out, x, b: t,) * 2)
>>> apply(unsummed, np.ones((2, 3)), Tensor(bias, requires_grad=True)).sum().backward()
Traceback (most recent call last):
    ...
ValueError: the rule of add_bias returned a cotangent of shape (2, 3) for operand 1, whose shape is (3,)

**5. A factor that is not transposed.** The cotangent of $x$ in $x w$ is $g w^\top$. For a square $w$ the shapes of
$g w$ are right as well and the numbers are wrong. Test with sizes that are distinct primes, and the mistake cannot even
run; or with $g \cdot (J t) = (J^\top g) \cdot t$ (`autograd.transpose`).

>>> rng = np.random.default_rng(0)
>>> x, w, t, g = rng.normal(size=(4, 3, 3))
>>> jvp = t @ w
>>> bool(np.isclose((g * jvp).sum(), (g @ w.T * t).sum())), bool(np.isclose((g * jvp).sum(), (g @ w * t).sum()))
(True, False)
>>> np.ones((2, 5)) @ np.ones((3, 5))
Traceback (most recent call last):
    ...
ValueError: matmul: Input operand 1 has a mismatch in its core dimension 0...

**6. Whole numbers.** `np.array([1, 2])` holds integers, and what is written into it is cut off. A weight then never
moves, and a difference with a small step is always zero. Tensors that are to be differentiated refuse integers.

>>> w = np.array([1, 2])
>>> w[0] = w[0] + 0.4
>>> w.tolist()
[1, 2]
>>> Tensor(w, requires_grad=True)
Traceback (most recent call last):
    ...
TypeError: a tensor that requires a gradient holds real floating-point numbers, got int64. Convert the array with ...

**7. Written into what the sweep still needs.** $w^2$ remembers $w$, not a copy of it. Written to after the forward pass
and before `backward`, it makes the gradient that of another point. A write through the tensor is noticed. One through
NumPy is not: there the check is to compute the gradient by a function, which does not outlive its graph.

>>> w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
>>> loss = (w * w).sum()
>>> with no_grad():
...     w -= 1.0
>>> loss.backward()
Traceback (most recent call last):
    ...
ValueError: an array of shape (2,) that multiply remembers was written to before backward: write after it, or ...
>>> w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
>>> loss = (w * w).sum()
>>> w.data[:] = 0.0
>>> loss.backward()
>>> w.grad, grad(lambda w: (w * w).sum())(np.array([1.0, 2.0]))
(array([0., 0.]), array([2., 4.]))

**8. A gradient check in single precision, or with a step that is too small.** Below half the spacing of the numbers
around $1$ the step is rounded away, and the difference is zero whatever the function. With the step that
`fp_autograd.floating_point` derives for central differences in double precision, nine digits are right. `gradcheck`
refuses float32.

>>> def differences(x, h):
...     return float(((x + h) ** 2 - (x - h) ** 2) / (2 * h))
>>> differences(np.float32(1), np.float32(1e-8)), differences(1.0, 1e-17)
(0.0, 0.0)
>>> abs(central(lambda x: x**3, 1.0, best_step(2.0**-53, 2)) - 3) < 1e-9
True
>>> gradcheck(lambda x: (x * x).sum(), np.ones(3, np.float32))
Traceback (most recent call last):
    ...
ValueError: argument 0 of f is float32, in which rounding hides errors of a hundredth. Convert it with ...

**9. A graph kept alive by a sum.** Losses are added up for the log, as tensors. Then the sum remembers every loss, each
loss its graph, and memory grows with every batch until there is none. Add numbers. The check is the length of the
record.

>>> w, total, logged = Tensor(1.0, requires_grad=True), 0.0, 0.0
>>> for batch in range(100):
...     loss = w * float(batch)
...     total = total + loss
...     logged += loss.item()
>>> len(recorded(total)), type(logged).__name__, total.item() == logged
(201, 'float', True)

**10. A path cut off.** `detach`, `no_grad`, `float(x)` and `x.data` all make constants of what depends on a weight. If
every path is cut, `backward` says so. If only one of them is, the rest of the gradient looks healthy. A difference sees
it, because it moves everything.

>>> def squares(x):
...     return (x * (x.detach() if isinstance(x, Tensor) else x)).sum()
>>> x = np.array([1.0, 2.0])
>>> grad(squares)(x)
array([1., 2.])
>>> gradcheck(squares, x)
Traceback (most recent call last):
    ...
fp_autograd.checking.GradientMismatch: reverse mode: the slope in argument 0, entry ... differences say ...
>>> with no_grad():
...     loss = (Tensor(x, requires_grad=True) ** 2).sum()
>>> loss.backward()
Traceback (most recent call last):
    ...
ValueError: nothing that this tensor was made from requires a gradient. Was it made under no_grad?

**11. Compared with `==`.** Two right ways to the same gradient round differently. A test for equality fails on some
machine, and a tolerance of $10^{-2}$, chosen after that, hides real mistakes. The tolerance follows from the
computation: a unit of rounding for each term that was added.

>>> x = Value(3.0)
>>> sum(0.1 * x for _ in range(10)).backward()
>>> x.grad == 1.0, abs(x.grad - 1.0) <= 10 * 2.0**-53
(False, True)

**12. The logarithm of a softmax.** A probability below the smallest number is $0$, its logarithm $-\infty$, and
$0 \cdot \infty$ in the sweep is no number. In one step, `log_softmax`, neither happens. The check is a logit of
$\pm 1000$; `fp_autograd.debugging.anomaly` names the line.

>>> x = np.array([0.0, 1000.0])
>>> with np.errstate(all="ignore"):
...     grad(lambda x: -log(softmax(x))[0])(x)
array([nan, nan])
>>> grad(lambda x: -log_softmax(x)[0])(x)
array([-1.,  1.])

**13. A weight that became a result.** `w = w - 0.1 * w.grad` makes a new tensor, which remembers the step. Gradients go
past it to the old one, its own stays `None`, and the graph of every step hangs on the next. Update in place, under
`no_grad`.

>>> w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
>>> (w * w).sum().backward()
>>> moved = w - 0.1 * w.grad
>>> (moved * moved).sum().backward()
>>> moved.grad is None, w.grad
(True, array([3.6, 7.2]))

## In practice

Four checks find nearly all of these. Compare with differences in double precision, at a random point, every input used
at least twice. Give all sizes distinct primes. Ask for the same gradient twice. And overfit one small batch: a model
that cannot bring the loss of ten examples to zero has a wrong gradient more often than a wrong idea.
"""

__all__: list[str] = []
