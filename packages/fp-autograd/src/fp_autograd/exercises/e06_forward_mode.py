r"""
Forward mode: a slope that travels along.

Level: concept. You need `fp_autograd.dual`.

A dual number $a + a' \varepsilon$ carries a value and a slope. One calculates with it as with any sum, and at the end
drops every term with $\varepsilon^2$, because $\varepsilon$ is no small number but a symbol with $\varepsilon^2 = 0$.
So take two such numbers, $a + a' \varepsilon$ and $b + b' \varepsilon$, and predict before you compute: what are value
and slope of their product, their quotient, a square, an exponential? What is the slope of a plain constant that is
mixed in?

Then compare with a real step $h$ in place of $\varepsilon$. The difference quotient
$\bigl((a + a'h)(b + b'h) - ab\bigr) / h$ is not quite the slope of the product: by how much is it too large?

Last, the price. A pass of forward mode carries *one* direction through the program and gives the derivatives of all
outputs along it. A pass of reverse mode starts from *one* output, or one weighted sum of outputs, and gives its
derivatives in all inputs. For a program with given numbers of inputs and outputs, how many passes of each kind fill the
whole table of derivatives? Which kind would you choose? A loss has one output and a model has billions of inputs: do
you see why models are trained in reverse?

You learn the rules of dual numbers, and to choose a mode by counting before anything runs.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Multiply (a + a' ε)(b + b' ε) out: four terms. Which of them holds ε twice? For the quotient, look for the dual "
    "number c + c' ε whose product with b + b' ε is a + a' ε.",
    "A function f of a dual number is f(a) + f'(a) a' ε: the chain rule. What f' is for the exponential you know, and "
    "a constant does not change with anything. `excess` is the fourth term of the product, divided by h.",
    "A table of derivatives has a row for each output and a column for each input. A forward pass gives a column, a "
    "reverse pass a row. One direction is one column of a table that has been turned: one pass.",
)


def forward_mode(
    a: tuple[float, float], b: tuple[float, float], h: float, n_inputs: int, n_outputs: int
) -> dict[str, tuple[float, float] | float | int | str]:
    """
    Answer eleven questions on dual numbers and on what forward mode costs.

    Parameters
    ----------
    a
        A dual number: its value and its slope.
    b
        Another; its value is not 0.
    h
        A real step, above 0.
    n_inputs, n_outputs
        Numbers of inputs and of outputs of a program, at least 1 each.

    Returns
    -------
    dict
        One answer for each name. The first five are dual numbers, as tuples of value and slope:

        - `"product"`: `a * b`.
        - `"quotient"`: `a / b`.
        - `"square"`: `a * a`.
        - `"exp"`: the exponential of `a`.
        - `"shifted"`: `a + 3`, where 3 is a plain constant.
        - `"excess"`: the difference quotient of the product with step `h`, less the slope of the product.
        - `"forward"`: the least number of forward passes that gives the derivatives of all outputs in all inputs.
        - `"reverse"`: the least number of reverse passes that does.
        - `"cheaper"`: `"forward"`, `"reverse"` or `"either"`: the mode that needs fewer passes.
        - `"along"`: the least number of forward passes that gives how all outputs change along one direction, in which
          all inputs move at once.
        - `"loss"`: the least number of reverse passes that gives the gradient, in all inputs, of the sum of the squares
          of the outputs.

    Examples
    --------
    >>> answers = forward_mode((2.0, 1.0), (5.0, 0.0), h=0.5, n_inputs=1, n_outputs=1)
    >>> answers["product"], answers["cheaper"]
    ((10.0, 5.0), 'either')
    >>> sorted(answers)
    ['along', 'cheaper', 'excess', 'exp', 'forward', 'loss', 'product', 'quotient', 'reverse', 'shifted', 'square']
    """
    (u, du), (v, dv) = a, b
    return {
        "product": (u * v, du * v + u * dv),
        "quotient": (u / v, (du - u / v * dv) / v),
        "square": (u * u, 2 * u * du),
        "exp": (math.exp(u), math.exp(u) * du),
        "shifted": (u + 3, du),
        "excess": h * du * dv,
        "forward": n_inputs,
        "reverse": n_outputs,
        "cheaper": "either" if n_inputs == n_outputs else "forward" if n_inputs < n_outputs else "reverse",
        "along": 1,
        "loss": 1,
    }


_WHY = {
    "product": "Multiply out and drop the term with ε twice: the slope is a' b + a b'.",
    "quotient": "The slope c' solves c' b + c b' = a', with c = a / b.",
    "square": "It is a product whose factors are both a, and both contribute: a' a + a a'.",
    "exp": "The chain rule: the slope of exp at the value of a, times the slope that a carries.",
    "shifted": "A constant does not change, so it is 3 + 0 ε.",
    "excess": "With a real h the fourth term a' h b' h stays; divided by h it is what a finite difference gets wrong.",
    "forward": "A forward pass carries one direction: it gives one column of the table, that of one input.",
    "reverse": "A reverse pass starts from one output: it gives one row of the table.",
    "cheaper": "Compare the number of columns (inputs, forward) with the number of rows (outputs, reverse).",
    "along": "The slopes that the inputs start with may be any direction, not only one input at a time.",
    "loss": "The sum of squares is one number, so it is one output, whatever it is made of.",
}

PROBES = (
    ((2.0, 1.0), (5.0, 0.0), 0.5, 1, 1),
    ((0.5, -2.0), (4.0, 3.0), 0.25, 7, 2),
    ((-1.5, 0.75), (-0.5, 2.0), 0.1, 3, 11),
    ((0.0, 1.0), (2.0, 1.0), 0.01, 1_000_000, 1),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for a, b, h, n, m in PROBES:
        got = learner.forward_mode(a, b, h, n, m)
        assert isinstance(got, dict), f"expected a dict of eleven answers, got {got!r:.80}"
        for key, expected in forward_mode(a, b, h, n, m).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = (
                f"{_counted(n, 'input')} and {_counted(m, 'output')}"
                if isinstance(expected, int | str)
                else f"a = {_dual(a)}, b = {_dual(b)}" + (f", h = {h:g}" if key == "excess" else "")
            )
            assert _same(got[key], expected), (
                f"for {case}, {key!r} is {_short(expected)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return isinstance(got, tuple | list) and len(got) == 2 and all(map(_same, got, expected))
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and int(got) == expected
    try:
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _dual(x: tuple[float, float]) -> str:
    return f"{x[0]:g} {'-' if x[1] < 0 else '+'} {abs(x[1]):g} ε"


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _short(answer: Any) -> str:
    """An answer, ours or any other, with floats to nine digits: those that are compared."""
    if isinstance(answer, tuple | list):
        return f"({', '.join(map(_short, answer))})"[:80]
    return f"{answer:.9g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Dual = tuple[float, float]
_Answers = dict[str, tuple[float, float] | float | int | str]


def _slopes_multiply(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    answers = forward_mode(a, b, h, n_inputs, n_outputs)
    return {**answers, "product": (a[0] * b[0], a[1] * b[1]), "square": (a[0] ** 2, a[1] ** 2)}


def _one_factor_varies(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "square": (a[0] ** 2, a[0] * a[1])}


def _quotient_turned(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    (u, du), (v, dv) = a, b
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "quotient": (u / v, (u * dv - du * v) / v**2)}


def _slope_not_carried(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    answers = forward_mode(a, b, h, n_inputs, n_outputs)
    return {**answers, "square": (a[0] ** 2, 2 * a[0]), "exp": (math.exp(a[0]), math.exp(a[0]))}


def _constant_has_slope_one(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "shifted": (a[0] + 3, a[1] + 1)}


def _epsilon_is_a_small_step(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "excess": 0.0}


def _modes_exchanged(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    counts = forward_mode(a, b, h, n_outputs, n_inputs)
    return {**forward_mode(a, b, h, n_inputs, n_outputs), **{k: counts[k] for k in ("forward", "reverse", "cheaper")}}


def _one_input_at_a_time(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "along": n_inputs}


def _a_pass_for_each_square(a: _Dual, b: _Dual, h: float, n_inputs: int, n_outputs: int) -> _Answers:
    return {**forward_mode(a, b, h, n_inputs, n_outputs), "loss": n_outputs}


MISTAKES = (
    (
        _slopes_multiply,
        "You multiply the slopes. That is the term with ε twice, the one that is dropped; the slope of a product is "
        "a' b + a b'.",
    ),
    (
        _one_factor_varies,
        "You let one factor of a * a vary and keep the other. Both are a: their contributions add up to 2 a a'.",
    ),
    (
        _quotient_turned,
        "Your quotient rule is turned round. If the numerator grows, the quotient does: a' b comes first, and a b' is "
        "taken from it.",
    ),
    (
        _slope_not_carried,
        "You give the slope of the function itself and leave out the slope that its argument carries. The chain rule "
        "multiplies them.",
    ),
    (
        _constant_has_slope_one,
        "You give the constant 3 the slope 1, as if it were the variable. It does not change: its slope is 0.",
    ),
    (
        _epsilon_is_a_small_step,
        "You take ε for a small real step, so that a difference quotient would make no error. The square of h is small "
        "but it is not 0: a' b' h is left.",
    ),
    (
        _modes_exchanged,
        "You have the two modes exchanged. Forward starts from an input, so it counts inputs; reverse starts from an "
        "output.",
    ),
    (
        _one_input_at_a_time,
        "You build a direction from one pass for each input. A pass may start with any slopes at the inputs, so one "
        "pass does it.",
    ),
    (
        _a_pass_for_each_square,
        "You start a pass from each output. The sum of their squares is a single number, and reverse mode starts from "
        "there.",
    ),
)
