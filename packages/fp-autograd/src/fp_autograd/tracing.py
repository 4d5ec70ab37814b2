r"""
Tracing: a program's derivative comes out of running it.

A model is a program, with loops and branches and calls. We want its derivative without writing it a second time, and
then the derivative of that. What has to be known about each operation, and who keeps the books when one
differentiation runs inside another?

You need: `fp_autograd.linear_algebra` for Jacobians (`autograd.jacobian-chain`), JVPs and VJPs (`autograd.vjp-chain`)
and the transpose (`autograd.transpose`).

## A program is the list of what it does

Run a program on given inputs. Loops are passed through and branches are decided; what was done in the end is a finite
list of operations on arrays,

$$z_k = F_k(z_i, z_j, \dots), \qquad i, j, \dots < k, \qquad \text{(E1)}$$

whose operands are inputs, constants and earlier results. There are a few dozen different $F_k$; `fp_autograd.rules`
lists them. As long as nearby inputs decide all branches alike, the list is the function, and to differentiate the
program is to differentiate the list.

Let $J_{k,i}$ be the Jacobian of $z_k$ in its operand $z_i$ while the other operands stay fixed. Move the inputs, and by
`autograd.jacobian-chain` a change $t_i$ of each operand makes the change

$$t_k = \sum_i J_{k,i}\, t_i \qquad \text{(E2)}$$

of the result: one **tangent** after the other, in the order of the list. In the other direction, let $g_k$ tell how
much each number of $z_k$ matters to the outcome. By `autograd.vjp-chain` operation $k$ passes on to its operand $z_i$

$$g_i \mathrel{+}= J_{k,i}^\top g_k, \qquad \text{(E3)}$$

one **cotangent** after the other, against the order of the list; `fp_autograd.graph` proves that the sums come out
right. So an operation needs two maps for each operand, $t \mapsto J t$ and $g \mapsto J^\top g$. Neither writes $J$
down: for $n$ numbers that are squared one by one $J$ has $n^2$ entries, all but $n$ of them zero. `Rule` holds the
operation and its pairs. By `autograd.transpose` each map of a pair determines the other, through
$g \cdot (J t) = (J^\top g) \cdot t$; that is how the table is tested, and no tolerance for step sizes enters.

## Boxes

To see the operations go by, hand the program a **box** in place of the array. `apply` does an operation on arrays at
once; if an operand is a box it leaves the operation to the box. A `fp_autograd.functional.Tangent` holds a value and a
tangent and does (E2) on the spot. A `fp_autograd.tensor.Tensor` takes notes and does (E3) later.

What is in a box may be a box again. Rules are therefore written with operators and functions that take both, so that
the derivative of a program is a program too, and the next transformation can watch it.

## Whose turn is it?

Differentiate $x \mapsto x \cdot D$ at $x = 1$, where $D$ is the slope of $y \mapsto x + y$ at $y = 1$. As $D = 1$
whatever $x$ is, the answer is the slope of $x$, which is $1$. Now let a machine move both: the outer differentiation
makes $x$ a value of $1$ with the tangent $1$, the inner one makes $y$ a value of $1$ with the tangent $1$. Adding both
gives $2$ with the tangent $2$. Whoever reads that off as $D$ has counted the motion of $x$ as motion of $y$, and finds
$x \cdot 2$ with the slope $2$. This is **perturbation confusion**. Here it does not happen:

>>> from fp_autograd.functional import grad, jvp
>>> def slope(f, x):
...     return jvp(f, (x,), (1.0,))[1]
>>> float(slope(lambda x: x * slope(lambda y: x + y, 1.0), 1.0))
1.0
>>> float(grad(lambda x: x * slope(lambda y: x + y, 1.0))(1.0))
1.0

Each transformation that is under way has a **level**, the inner one a higher level than the outer, and its boxes bear
it. An operation is done by the boxes of the highest level among the operands. They open their own level; a box of
another level is to them a number like any other. The order matters. If the outer level went first, $x + y$ would become
an outer box with the inner one inside it, the inner differentiation would look at an outer box, find nothing of its
own, and report that $D = 0$.

**Claim** `autograd.levels`. Let the rules hold, and let a transformation put the inputs of a program into boxes whose
level is above that of all other boxes around. Then it returns $f(x)$ and the tangent $J t$ or the cotangent
$J^\top g$, and they are made by a list (E1) from what was put into the boxes and from the other numbers of the program,
whether those are boxed or not. So transformations nest to any depth.

**Proof.** By induction on the number of transformations inside the program. Let there be none, and go through the
operations. If an operand is a box of our level, it is of the highest level around, so `apply` gives the operation to
us. We open our boxes, do the operation on the contents, and for (E2) the JVPs on the contents and tangents; all of
these are lists of operations on things that are not boxes of our level, and `apply` treats them as it would without
us. If no operand is a box of our level, no operand depends on our inputs, since from an input on every result that
depends on it was boxed; the result is a constant for us, and its tangent is zero, as (E2) says. In the end we open the
result. For (E3) the notes are gone through from the end, and each step does a VJP on contents and cotangents, which
again are not boxes of our level. So what we return is made by a list (E1), and by (E2) or (E3) it is what the claim
says.

Now let there be transformations inside, of higher levels. By the induction hypothesis each returns what some list (E1)
makes of the numbers around it, our boxes among them. Put that list in its place: the program is again a list, and the
first part applies. The same holds for whoever is around us: to them we are a list. $\blacksquare$

The proof asks for two things that a user can break. A box must not be kept and used after its transformation is over,
when its level may belong to another. And whatever takes the number out of a box, such as `float(x)` or a comparison,
makes a constant of it.

## In practice

The name perturbation confusion is from Siskind and Pearlmutter, who showed in 2005 that forward-mode systems of the
time returned $2$ for the example above. JAX numbers its transformations as we do, and so does `torch.func`. PyTorch's
`create_graph=True` needs no levels: its backward sweep is itself recorded, in the same graph, which serves reverse over
reverse and nothing else. JAX writes JVPs only: it transposes them by machine, operation by operation, which saves half
of the table and costs a second kind of rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["Rule", "Box", "apply", "value_of"]  # the order of the page

Operand = Any  # an array, a number, or a Box
Derivative = Callable[..., Any]


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Rule:
    r"""
    An operation $F$ with its derivatives, a pair of maps for each operand.

    The operands are arrays or boxes, the settings everything else, such as `axis`. An operation on a fixed number of
    operands gives a tuple of VJPs and one of JVPs. An operation on any number of operands gives one function of each
    kind, which is told the number of the operand as a first argument.

    An empty tuple says that the rule has no derivatives of that kind.

    Raises
    ------
    ValueError
        If there are VJPs and JVPs, but not as many of the one as of the other.

    Examples
    --------
    >>> cube = Rule("cube", lambda x: x**3, (lambda g, out, x: g * 3 * x**2,), (lambda t, out, x: 3 * x**2 * t,))
    >>> apply(cube, 2.0), cube.vjp(0)(1.0, 8.0, 2.0)
    (8.0, 12.0)
    """

    name: str
    """What errors, drawings and traces call it."""
    forward: Callable[..., Any]
    """From arrays and settings to an array."""
    vjps: tuple[Derivative | None, ...] | Derivative
    r"""For each operand $g \mapsto J^\top g$ as a function `(g, out, *operands, **settings)`, or `None` for zero."""
    jvps: tuple[Derivative | None, ...] | Derivative
    r"""For each operand $t \mapsto J t$ as a function `(t, out, *operands, **settings)`, or `None` for zero."""
    fresh: bool = True
    """Whether cotangents are new arrays, safe to add to in place; if not, they may be `g` itself or a part of it."""
    accumulate: Callable[..., None] | None = None
    """For an operation on one operand, `(into, g, **settings)`: add its cotangent to an array in place."""

    def __post_init__(self) -> None:
        many = [len(maps) for maps in (self.vjps, self.jvps) if isinstance(maps, tuple) and maps]
        if len(set(many)) > 1:
            raise ValueError(
                f"a rule has one VJP and one JVP for each operand, {self.name} has {many[0]} and {many[1]}. "
                "Write None for an operand without a derivative."
            )

    def __repr__(self) -> str:
        return f"Rule({self.name!r})"

    def vjp(self, i: int) -> Derivative | None:
        """The VJP of operand `i`; a `NotImplementedError` if there are none."""
        return self._of(self.vjps, "VJP", i)

    def jvp(self, i: int) -> Derivative | None:
        """The JVP of operand `i`; a `NotImplementedError` if there are none."""
        return self._of(self.jvps, "JVP", i)

    def _of(self, maps: tuple[Derivative | None, ...] | Derivative, kind: str, i: int) -> Derivative | None:
        if callable(maps):
            return partial(maps, i)
        if not maps:
            raise NotImplementedError(f"the rule of {self.name} has no {kind}: give it one for each operand")
        return maps[i]


class Box:
    """What stands for an array while a transformation watches."""

    __slots__ = ()
    __array_ufunc__ = None  # `array * box` is left to the box
    level: int
    """Which of the nested transformations it belongs to; inner ones have higher levels."""
    data: Any
    """What it stands for, an array or a box of a lower level."""

    def process(self, rule: Rule, operands: tuple[Operand, ...], settings: dict[str, Any]) -> "Box":
        """
        Do an operation on operands of this level and below.

        Parameters
        ----------
        rule
            The operation.
        operands
            Its operands, this box among them.
        settings
            Its settings.

        Returns
        -------
        Box
            The result, of this level.
        """
        raise NotImplementedError


def apply(rule: Rule, *operands: Operand, **settings: Any) -> Any:
    """
    Do an operation, as the innermost transformation wants it done (`autograd.levels`).

    Parameters
    ----------
    rule
        The operation.
    *operands
        Arrays, numbers or boxes.
    **settings
        What else the operation needs.

    Returns
    -------
    ndarray or Box
        A box if an operand is one.
    """
    top = None
    for operand in operands:
        if isinstance(operand, Box) and (top is None or operand.level > top.level):
            top = operand
    return rule.forward(*operands, **settings) if top is None else top.process(rule, operands, settings)


def value_of(x: Operand) -> Any:
    """
    What is inside all boxes: a constant, to every transformation.

    Parameters
    ----------
    x
        An array, a number or a box.

    Returns
    -------
    ndarray or number
        `x` itself if it is not a box.
    """
    while isinstance(x, Box):
        x = x.data
    return x
