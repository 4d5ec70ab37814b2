r"""
An engine that learns XOR.

Level: project. You need `fp_autograd.value`, and the exercise on topological order.

Two inputs, each $-1$ or $1$; the output is $1$ where they differ and $-1$ where they are alike. By `autograd.xor` no
weighted sum of the inputs has that sign in all four cases, so one neuron cannot learn it; two layers can, if somebody
tells every weight which way to go. Build the machine that tells them.

You get a function `loss` and the parameters to begin with. `loss` is ordinary Python: it takes a list of numbers of
*your own class* and combines them and ordinary numbers by

$$u + v, \qquad u - v, \qquad u \, v, \qquad -u, \qquad u\text{.tanh()},$$

with your number on the left, on the right or on both sides, and it returns one of your numbers. Your class remembers
how each number was made. When `loss` has returned, walk back through what was remembered and give every number the
slope of the loss in it; then take a step of gradient descent, $p \leftarrow p - \text{rate} \cdot \partial
L / \partial p$ for all parameters at once, and begin again.

Everything that makes engines go wrong is in the tests. A number may be used many times, also twice in one product, and
its slope is the sum over its uses. It may pass its own slope on only when all of its users have given theirs: the order
of the visit matters. A parameter may be unused, or be the loss itself. A chain may be 20,000 operations long, more than
Python lets functions nest. After sixty doublings $u + u$ there are $2^{60}$ paths, so do not walk path by path. At last
a network of two inputs, four hidden neurons and one output begins at random weights and must know XOR after your 400
steps.

This is the whole of an autodiff engine. `fp_autograd.tensor`, PyTorch and JAX put arrays where you have numbers and
have many more operations; on the way back they do what you do here.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "A number holds its value, its slope (0 at first), the numbers it was made from, and the local slope in each: for "
    "u v these are v and u, for u - v they are 1 and -1, for h = tanh u it is 1 - h^2. Turn an ordinary number into "
    "one of yours without inputs, then every operation has one case. `__radd__`, `__rsub__` and `__rmul__` answer when "
    "yours stands on the right.",
    "Back: the loss has slope 1. Visit the numbers so that each comes after all that were made from it, and for each "
    "input add (+=) own slope times local slope. A number is made after its inputs, so if each new number is put on a "
    "list, that list from its end is such an order: no search and no recursion.",
    "For every step make new numbers from the parameters' values, or set their slopes to zero first: slopes left over "
    "from the step before would be added to. Keep the losses as you go; they are those before each step.",
)


def descend(
    loss: Callable[[list[Any]], Any], parameters: list[float], rate: float, n_steps: int
) -> tuple[list[float], list[float]]:
    """
    Gradient descent, with slopes from an engine of your own.

    Write the class of numbers that `loss` is called with beside this function, in the same file.

    Parameters
    ----------
    loss
        Takes a list of your numbers, as many as there are parameters, and returns one of your numbers. It uses `+`,
        `-`, `*` between two of them or one of them and an int or float, the sign `-`, and the method `.tanh()`.
    parameters
        Where to begin; at least one.
    rate
        What the slopes are multiplied by in a step. All parameters move at once.
    n_steps
        How many steps to take, at least one.

    Returns
    -------
    (list of float, list of float)
        The parameters after the last step, and the loss before each step, `n_steps` values.

    Examples
    --------
    The loss (p - 3)^2 has the slope 2 (p - 3), so a rate of one half lands on its minimum at once:

    >>> descend(lambda p: (p[0] - 3) * (p[0] - 3), [5.0], rate=0.5, n_steps=2)
    ([3.0], [4.0, 0.0])
    """
    losses = []
    for _ in range(n_steps):
        tape: list[_Number] = []
        p = [_Number(value, tape) for value in parameters]
        L = loss(p)
        losses.append(L.value)
        L.slope = 1.0
        for node in reversed(tape):  # made last, visited first: all users come before what they use
            for u, factor in zip(node.inputs, node.factors, strict=True):
                u.slope += node.slope * factor
        parameters = [u.value - rate * u.slope for u in p]
    return parameters, losses


class _Number:
    """A number on a tape, which knows the numbers it was made from and the slope of itself in each."""

    def __init__(
        self, value: float, tape: "list[_Number]", inputs: "tuple[_Number, ...]" = (), factors: tuple[float, ...] = ()
    ) -> None:
        self.value, self.slope, self.inputs, self.factors, self.tape = value, 0.0, inputs, factors, tape
        tape.append(self)

    def _of(self, v: "_Number | float") -> "_Number":
        return v if isinstance(v, _Number) else type(self)(float(v), self.tape)

    def __add__(self, v: "_Number | float") -> "_Number":
        v = self._of(v)
        return type(self)(self.value + v.value, self.tape, (self, v), (1.0, 1.0))

    def __mul__(self, v: "_Number | float") -> "_Number":
        v = self._of(v)
        return type(self)(self.value * v.value, self.tape, (self, v), (v.value, self.value))

    def tanh(self) -> "_Number":
        h = math.tanh(self.value)
        return type(self)(h, self.tape, (self,), (1 - h**2,))

    def __neg__(self) -> "_Number":
        return self * -1.0

    def __sub__(self, v: "_Number | float") -> "_Number":
        return self + -self._of(v)

    def __rsub__(self, v: float) -> "_Number":
        return self._of(v) - self

    __radd__, __rmul__ = __add__, __mul__


def _same_factor_twice(p: list[Any]) -> Any:
    return p[0] * p[0]


def _number_on_the_left(p: list[Any]) -> Any:
    return 2 - 3 * p[0] + (1 + p[1])


def _signs(p: list[Any]) -> Any:
    return -(p[0] - p[1]) - p[2]


def _number_on_the_right(p: list[Any]) -> Any:
    return (p[0] * 3 - 2 + p[1] * 0.5) * 1


def _through_tanh(p: list[Any]) -> Any:
    return (p[0] * p[1]).tanh() * 3


def _used_by_three(p: list[Any]) -> Any:
    u = p[0] * p[1]
    return u * p[0] + (u + p[1]) + u.tanh()


def _short_way(p: list[Any]) -> Any:
    u = p[0] * p[0]
    v = u * p[1]
    return u * v


def _long_way(p: list[Any]) -> Any:
    u = p[0] * p[0]
    v = u * p[1]
    return v * u


def _short_way_and_long_way(p: list[Any]) -> Any:
    u = p[0] * p[0]
    v = u * p[1]
    w = v * p[1]
    return u * 2 + (v + (w + u * w) * v)


def _long_way_and_short_way(p: list[Any]) -> Any:
    u = p[0] * p[0]
    v = u * p[1]
    w = v * p[1]
    return ((u * w + w) * v + v) + 2 * u


def _sum_of_a_list(p: list[Any]) -> Any:
    return sum(u * u for u in p)


def _leaves_one_out(p: list[Any]) -> Any:
    p[1].tanh()  # made and not used
    return p[0] * p[2] - p[2]


def _parameter_itself(p: list[Any]) -> Any:
    return p[1]


def _deep(p: list[Any]) -> Any:
    u = p[0]
    for _ in range(10_000):
        u = u * 0.9999 + p[1]
    return u


def _doublings(p: list[Any]) -> Any:
    u = p[0]
    for _ in range(60):
        u = u + u
    return u * 2.0**-60 * p[1]


_XOR = ((-1.0, -1.0, -1.0), (-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0))
_HIDDEN = 4
_START = np.random.default_rng(11).normal(size=4 * _HIDDEN + 1).tolist()


def _xor_loss(p: list[Any]) -> Any:
    """Mean squared error of a network of two inputs, four hidden neurons and one output over the four cases."""
    total = 0
    for a, b, wanted in _XOR:
        out = p[4 * _HIDDEN]
        for k in range(_HIDDEN):
            out = out + p[4 * k] * (p[4 * k + 1] * a + p[4 * k + 2] * b + p[4 * k + 3]).tanh()
        error = out.tanh() - wanted
        total = total + error * error
    return total * 0.25


_Case = tuple[str, Callable[[list[Any]], Any], list[float], float, int]
_CASES: tuple[_Case, ...] = (
    ("p0 * p0", _same_factor_twice, [3.0], 0.25, 1),
    ("2 - 3 * p0 + (1 + p1)", _number_on_the_left, [0.5, 2.0], 1.0, 1),
    ("-(p0 - p1) - p2", _signs, [0.5, 2.0, 7.0], 1.0, 1),
    ("(p0 * 3 - 2 + p1 * 0.5) * 1", _number_on_the_right, [0.5, 2.0], 1.0, 1),
    ("tanh(p0 * p1) * 3", _through_tanh, [0.5, 1.5], 1.0, 1),
    ("u * v, where u = p0 * p0, v = u * p1", _short_way, [0.5, 1.5], 1.0, 1),
    ("v * u, where u = p0 * p0, v = u * p1", _long_way, [0.5, 1.5], 1.0, 1),
    ("u * p0 + (u + p1) + tanh(u), where u = p0 * p1", _used_by_three, [0.5, 1.5], 1.0, 1),
    (
        "u * 2 + (v + (w + u * w) * v), where u = p0 * p0, v = u * p1, w = v * p1",
        _short_way_and_long_way,
        [0.5, 1.5],
        1.0,
        1,
    ),
    (
        "((u * w + w) * v + v) + 2 * u, where u = p0 * p0, v = u * p1, w = v * p1",
        _long_way_and_short_way,
        [0.5, 1.5],
        1.0,
        1,
    ),
    ("sum(u * u for u in p)", _sum_of_a_list, [1.0, -2.0, 3.0], 0.25, 1),
    ("p0 * p2 - p2, without p1", _leaves_one_out, [0.5, 2.0, 7.0], 1.0, 1),
    ("p1", _parameter_itself, [0.5, 2.0], 1.0, 1),
    ("sum(u * u for u in p)", _sum_of_a_list, [1.0, -2.0, 3.0], 0.25, 3),
    ("u * p0 + (u + p1) + tanh(u), where u = p0 * p1", _used_by_three, [0.5, 1.5], 0.1, 4),
    ("u * p1 after sixty times u = u + u", _doublings, [0.5, 1.5], 1.0, 1),
    ("a chain of 20,000 operations, u = u * 0.9999 + p1", _deep, [0.5, 1e-4], 1e-6, 1),
    ("the XOR network", _xor_loss, _START, 0.5, 3),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, loss, start, rate, n_steps in _CASES:
        try:
            answer = learner.descend(loss, list(start), rate, n_steps)
        except RecursionError as error:
            raise AssertionError(
                f"{name}: the engine calls itself once for every operation, and Python ends that after about a "
                "thousand. Keep the numbers that are still to visit in a list."
            ) from error
        parameters, losses = _checked(name, answer, len(start), n_steps)
        at = list(start)
        for step in range(n_steps):
            value, slopes = _slopes(loss, at)
            where = f"L = {name} at p = {_shown(at)}"
            assert abs(losses[step] - value) <= 1e-9 * max(1, abs(value)), (
                f"{where}: expected a loss of {value:.6g} before step {step + 1}, got {losses[step]:.6g}"
                + (". Do the slopes of the step before still count?" if step else "")
            )
            at = [u - rate * slope for u, slope in zip(at, slopes, strict=True)]
        for i, (expected, got) in enumerate(zip(at, parameters, strict=True)):
            moved = f"a slope of {slopes[i]:.6g}" if n_steps == 1 else f"{n_steps} steps of rate {rate:g}"
            assert abs(got - expected) <= 1e-9 * max(1, abs(expected)), (
                f"L = {name} from p = {_shown(start)}: with {moved}, p{i} comes to {expected:.6g}; yours to {got:.6g}"
                + (f", as with a slope of {(start[i] - got) / rate:.6g}" if n_steps == 1 else "")
            )
    n_steps = 400
    parameters, losses = _checked(
        "the XOR network", learner.descend(_xor_loss, list(_START), 0.5, n_steps), len(_START), n_steps
    )
    final = _xor_loss([_Forward(u, 0.0) for u in parameters]).value
    assert final <= 0.01, (  # every output is then within 0.2 of -1 or 1
        f"the XOR network: after {n_steps} steps its loss must be at most 0.01, from {losses[0]:.4f}; with your "
        f"parameters it is {final:.4f}. Its first three steps were right: what changes after them?"
    )


def _checked(name: str, answer: Any, n_parameters: int, n_steps: int) -> tuple[list[float], list[float]]:
    """The learner's answer, after everything that is asked of its form."""
    assert isinstance(answer, (tuple, list)) and len(answer) == 2, (
        f"{name}: expected a tuple of two lists, the parameters and the losses, got {answer!r:.80}"
    )
    for what, values, n in (("parameters", answer[0], n_parameters), ("losses", answer[1], n_steps)):
        assert isinstance(values, (list, tuple)) and len(values) == n, (
            f"{name}: expected a list of {n} {what}, got {values!r:.80}"
        )
        for value in values:
            assert isinstance(value, Real) and math.isfinite(value), (
                f"{name}: expected finite floats as {what}, got {value!r:.80}"
            )
    return [float(u) for u in answer[0]], [float(u) for u in answer[1]]


def _shown(p: list[float]) -> str:
    return "[" + ", ".join(f"{u:.6g}" for u in p[:4]) + (", ...]" if len(p) > 4 else "]")


class _Forward:
    """A value and its slope in one direction: the same derivatives by the other road, without any graph."""

    def __init__(self, value: float, slope: float) -> None:
        self.value, self.slope = value, slope

    def __add__(self, v: "_Forward | float") -> "_Forward":
        v = v if isinstance(v, _Forward) else _Forward(v, 0.0)
        return _Forward(self.value + v.value, self.slope + v.slope)

    def __mul__(self, v: "_Forward | float") -> "_Forward":
        v = v if isinstance(v, _Forward) else _Forward(v, 0.0)
        return _Forward(self.value * v.value, self.slope * v.value + self.value * v.slope)

    def tanh(self) -> "_Forward":
        h = math.tanh(self.value)
        return _Forward(h, (1 - h * h) * self.slope)

    def __neg__(self) -> "_Forward":
        return _Forward(-self.value, -self.slope)

    def __sub__(self, v: "_Forward | float") -> "_Forward":
        return self + -v

    def __rsub__(self, v: float) -> "_Forward":
        return -self + v

    __radd__, __rmul__ = __add__, __mul__


def _slopes(loss: Callable[[list[Any]], Any], p: list[float]) -> tuple[float, list[float]]:
    """Value of the loss and its slope in each parameter, one pass for each."""
    passes = [loss([_Forward(u, float(i == j)) for j, u in enumerate(p)]) for i in range(len(p))]
    return passes[0].value, [out.slope for out in passes]


_Loss = Callable[[list[Any]], Any]
_Sweep = Callable[[_Number, list[_Number]], None]


def _tape_backwards(L: _Number, tape: list[_Number]) -> None:
    for node in reversed(tape):
        for u, factor in zip(node.inputs, node.factors, strict=True):
            u.slope += node.slope * factor


def _engine(
    loss: _Loss,
    parameters: list[float],
    rate: float,
    n_steps: int,
    sweep: _Sweep = _tape_backwards,
    number: type[_Number] = _Number,
    kept: float = 0.0,
) -> tuple[list[float], list[float]]:
    """The reference with a part exchanged; `kept` is the share of a slope that stays for the next step."""
    losses, left = [], [0.0] * len(parameters)
    for _ in range(n_steps):
        tape: list[_Number] = []
        p = [number(value, tape) for value in parameters]
        for u, slope in zip(p, left, strict=True):
            u.slope = kept * slope
        L = loss(p)
        losses.append(L.value)
        L.slope = 1.0
        sweep(L, tape)
        parameters = [u.value - rate * u.slope for u in p]
        left = [u.slope for u in p]
    return parameters, losses


def _overwrites(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    def sweep(L: _Number, tape: list[_Number]) -> None:
        for node in reversed(tape):
            for u, factor in zip(node.inputs, node.factors, strict=True):
                u.slope = node.slope * factor

    return _engine(loss, parameters, rate, n_steps, sweep)


def _stale_slopes(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, kept=1.0)


def _on_first_arrival(
    loss: _Loss, parameters: list[float], rate: float, n_steps: int
) -> tuple[list[float], list[float]]:
    def sweep(L: _Number, tape: list[_Number]) -> None:
        pending, seen = [L], {id(L)}
        while pending:
            node = pending.pop()
            for u, factor in zip(node.inputs, node.factors, strict=True):
                u.slope += node.slope * factor
                if id(u) not in seen:
                    seen.add(id(u))
                    pending.append(u)

    return _engine(loss, parameters, rate, n_steps, sweep)


def _on_every_arrival(
    loss: _Loss, parameters: list[float], rate: float, n_steps: int
) -> tuple[list[float], list[float]]:
    def sweep(L: _Number, tape: list[_Number]) -> None:
        pending = [L]
        for node in pending:
            for u, factor in zip(node.inputs, node.factors, strict=True):
                u.slope += node.slope * factor
                if u.inputs:
                    pending.append(u)

    return _engine(loss, parameters, rate, n_steps, sweep)


def _oldest_first(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, lambda L, tape: _tape_backwards(L, tape[::-1]))


def _calls_itself(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    def sweep(L: _Number, tape: list[_Number]) -> None:
        order: list[_Number] = []
        seen: set[int] = set()

        def visit(node: _Number) -> None:
            if id(node) not in seen:
                seen.add(id(node))
                for u in node.inputs:
                    visit(u)
                order.append(node)

        visit(L)
        _tape_backwards(L, order)

    return _engine(loss, parameters, rate, n_steps, sweep)


class _OwnFactor(_Number):
    def __mul__(self, v: _Number | float) -> _Number:
        v = self._of(v)
        return _OwnFactor(self.value * v.value, self.tape, (self, v), (self.value, v.value))

    __rmul__ = __mul__


def _own_factor(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, number=_OwnFactor)


class _LostSign(_Number):
    def __sub__(self, v: _Number | float) -> _Number:
        v = self._of(v)
        return _LostSign(self.value - v.value, self.tape, (self, v), (1.0, 1.0))


def _lost_sign(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, number=_LostSign)


class _SidesSwapped(_Number):
    def __rsub__(self, v: float) -> _Number:
        return self - v


def _sides_swapped(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, number=_SidesSwapped)


class _InputOfTanh(_Number):
    def tanh(self) -> _Number:
        return _InputOfTanh(math.tanh(self.value), self.tape, (self,), (1 - self.value**2,))


def _input_of_tanh(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, rate, n_steps, number=_InputOfTanh)


def _uphill(loss: _Loss, parameters: list[float], rate: float, n_steps: int) -> tuple[list[float], list[float]]:
    return _engine(loss, parameters, -rate, n_steps)


MISTAKES = (
    (
        _overwrites,
        "You overwrite a slope where another arrives: the last use of a number is then the only one that counts. Add "
        "them, with +=.",
    ),
    (
        _stale_slopes,
        "You keep the slopes of the step before and add to them. Every step needs slopes that begin at zero.",
    ),
    (
        _on_first_arrival,
        "You let a number pass its slope on when it is first reached. Some of its users have not given their part by "
        "then: visit it after all of them.",
    ),
    (
        _on_every_arrival,
        "You let a number pass on all of its slope each time that it is reached, so what came first goes through "
        "again and again. Visit it once, after all of its users.",
    ),
    (
        _oldest_first,
        "You visit the numbers in the order in which they were made. The slope starts at the loss: go from the last to "
        "the first.",
    ),
    (
        _calls_itself,
        "Your search calls itself once for every operation in a row, and Python ends that after about a thousand. Keep "
        "the numbers that are still to visit in a list, or the order in which they were made.",
    ),
    (
        _own_factor,
        "In a product you give each factor its own value as slope. The slope of u v in u is v, the other one.",
    ),
    (
        _lost_sign,
        "You forget a sign: the slope of u - v in v is minus one.",
    ),
    (
        _sides_swapped,
        "You compute 2 - u as u - 2. Where your number stands on the right, Python calls __rsub__, and the sides "
        "are swapped.",
    ),
    (
        _input_of_tanh,
        "You put the input of tanh into 1 - h^2. The slope of tanh is one minus the square of its output.",
    ),
    (
        _uphill,
        "You add the slope and climb. The loss grows along its slope, so subtract.",
    ),
)

# graphs that have one order only, so that engines with the same mistake agree whichever input they visit first; none
# with many paths, which the mistakes that walk path by path would never finish
_TELLING = (
    _same_factor_twice,
    _number_on_the_left,
    _signs,
    _through_tanh,
    _long_way,
    _short_way,
    _sum_of_a_list,
    _deep,
)
PROBES = tuple((loss, start, rate, n_steps) for _, loss, start, rate, n_steps in _CASES if loss in _TELLING)
