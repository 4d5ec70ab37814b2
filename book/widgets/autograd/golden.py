"""
What stage 2 makes of expressions, for the page beside this file to be tested against.

`python book/widgets/autograd/golden.py` writes golden.json: every node of every expression below, in the order of
making, with its operation, value, local derivatives and gradient; the sentences of the errors; and numbers as Python
writes them. JSON has no infinities, so numbers stand there as Python's `repr`.
"""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fp_autograd import value
from fp_autograd.value import Value

GOLDEN = Path(__file__).with_name("golden.json")

NETWORK = """\
h1 = tanh(dot([a1, a2], [x1, x2], a0))
h2 = tanh(dot([b1, b2], [x1, x2], b0))
p = dot([c1, c2], [h1, h2], c0)
(p - y)**2"""
LARGE = """\
a = tanh(w1*x1 + w2*x2 + b1)
c = sigmoid(w3*x1 + w4*x2 + b2)
d = relu(w1*w4 - w2*w3)
s = exp(a*c) + exp(c*d) + exp(a*d)
L = log(s) - (a*a + c*c + d*d)/2 + (x1 - x2)**2
L*L"""

CASES: list[tuple[str, dict[str, float]]] = [
    ("x", {"x": 3}),
    ("-x", {"x": 3}),
    ("x + y", {"x": 0.1, "y": 0.2}),
    ("x - y - x", {"x": 0.1, "y": 0.7}),
    ("x*x + x", {"x": 3}),
    ("x*x*x", {"x": -1.1}),
    ("x / y", {"x": 1, "y": 3}),
    ("a = x*x\na/x + a", {"x": 0.3}),
    ("2*x + x*3 - 4 - x", {"x": 1.7}),
    ("1 - x", {"x": 0.3}),
    ("1/x", {"x": 0.3}),
    ("x/7", {"x": 0.3}),
    ("-x**2", {"x": 3}),
    ("(-x)**2", {"x": 3}),
    ("2**-x", {"x": 1.5}),
    ("x**-1", {"x": -4}),
    ("x**3", {"x": -2}),
    ("x**0", {"x": 0}),
    ("x**1", {"x": 0}),
    ("x**0.5", {"x": 0}),
    ("x**0.5", {"x": 2}),
    ("x**y", {"x": 2, "y": 3}),
    ("x**y**2", {"x": 1.5, "y": -0.5}),
    ("1**x", {"x": 5}),
    ("x**1000", {"x": -10}),
    ("exp(x)", {"x": 1000}),
    ("exp(x)", {"x": -1000}),
    ("exp(x) - exp(x)", {"x": 1000}),
    ("relu(exp(x) - exp(x))", {"x": 1000}),
    ("relu(x)", {"x": 0}),
    ("relu(x) - 0.1*relu(-x)", {"x": -2}),
    ("log(x)", {"x": 5e-324}),
    ("tanh(x)", {"x": 25}),
    ("tanh(x) * tanh(x)", {"x": -400}),
    ("sigmoid(x)", {"x": 800}),
    ("sigmoid(x)", {"x": -800}),
    ("x.tanh().exp() * (x + 1).log()", {"x": 0.5}),
    ("tanh(w1*x1 + w2*x2 + b)", {"w1": -3, "x1": 2, "w2": 1, "x2": 0, "b": 6.881373587019543}),
    ("p = sigmoid(w*x + b)\n-(y*log(p) + (1 - y)*log(1 - p))", {"w": 0.8, "x": 1.5, "b": -0.2, "y": 1}),
    ("a = exp(z1)\nb = exp(z2)\n-log(a / (a + b))", {"z1": 1, "z2": 2}),
    (
        "h1 = tanh(w*x)\nh2 = tanh(w*h1)\nh3 = tanh(w*h2)\nh4 = tanh(w*h3)\ntanh(w*h4)",
        {"w": 0.5, "x": 1},
    ),
    (
        NETWORK,
        {"a1": 0.5, "a2": -1, "x1": 1, "x2": 2, "a0": 0.1}
        | {"b1": -0.7, "b2": 0.3, "b0": 0, "c1": 1.2, "c2": -0.8, "c0": 0.2, "y": 1},
    ),
    (
        LARGE,
        {"w1": 0.5, "x1": 1, "w2": -0.3, "x2": 0.7, "b1": 0.1, "w3": 0.2, "w4": 1.1, "b2": -0.4},
    ),
    ("Value.dot([x, 2, x], [y, y, 3], 1)", {"x": 2, "y": -3}),
    ("dot([], [], x)", {"x": 2}),
    ("c = 2**3/16\nk = -c\nx*k*(1 + 2)", {"x": 0.1}),
    ("a = x\nunused = a*a*a\na + (\n  a\n)", {"x": 0.1}),
    ("y = x; z = y + y; z*z", {"x": 0.1}),
    ("\n".join(["y0 = x", *(f"y{k + 1} = y{k} + y{k}" for k in range(20)), "y20"]), {"x": 1}),
    ("a = x*0.1\nb = x*0.7\nc = x/3\n(a*b - c)*(b*c + a) + x*0.3", {"x": 1.3}),
    (".5*x + 1e-3*x + 2.*x", {"x": 1e300}),
]

ERRORS: list[tuple[str, dict[str, float]]] = [
    ("1 + log(x)", {"x": 0}),
    ("log(x - y)", {"x": 1e-7, "y": 1}),
    ("y / x", {"x": 0, "y": 1e16}),
    ("x / 0", {"x": 2.5}),
    ("1 / x", {"x": 0}),
    ("x**0.5", {"x": -1}),
    ("x**-2", {"x": 0}),
    ("x**y", {"x": -1, "y": 2}),
    ("(-2)**x", {"x": 3}),
    ("dot([x, x], [1])", {"x": 1}),
]

NUMBERS = """
    0 1 -1 0.30000000000000004 1.0625 -1.1875 2.5 12345 99995 99985 123456 1e15 1e16 1e22 1e100 1e-4 1e-5 9.9995e-5
    1.5e-7 5e-324 1.7976931348623157e308 inf -inf nan 0.3333333333333333 -0.00012344999 0.099995 999999.5
"""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: lambda u, name=name: getattr(u, name)() for name in ("exp", "log", "tanh", "sigmoid", "relu")},
    "dot": Value.dot,
    "Value": Value,
}


def compute(text: str, at: dict[str, float]) -> list[dict[str, Any]]:
    """The nodes of the last line's graph in the order of making, gradients included; inputs come first."""
    inputs = {name: Value(x) for name, x in at.items()}
    nodes, made = list(inputs.values()), value.made

    def noted(*args: Any) -> Value:
        nodes.append(made(*args))
        return nodes[-1]

    names = {id(v): name for name, v in inputs.items()}
    scope: dict[str, Any] = FUNCTIONS | inputs
    result: Any = None
    with patch.object(value, "made", noted):
        for line in ast.parse(text).body:
            assert isinstance(line, ast.Expr | ast.Assign)
            result = eval(compile(ast.Expression(line.value), text, "eval"), scope)
            if isinstance(line, ast.Assign):
                name = ast.unparse(line.targets[0])
                scope[name] = result
                if isinstance(result, Value):
                    names.setdefault(id(result), name)
    result.backward()
    kept, waiting = {id(result)}, [result]
    for v in waiting:  # the list grows while it is read
        for parent, _ in v.edges:
            if id(parent) not in kept:
                kept.add(id(parent))
                waiting.append(parent)
    nodes = [v for v in nodes if id(v) in kept]
    place = {id(v): k for k, v in enumerate(nodes)}
    return [
        {
            "name": names.get(id(v), ""),
            "op": v.op,
            "operands": [place[id(parent)] for parent, _ in v.edges],
            "locals": [repr(slope) for _, slope in v.edges],
            "value": repr(v.data),
            "grad": repr(v.grad),
        }
        for v in nodes
    ]


def refusal(text: str, at: dict[str, float]) -> str:
    """The sentence of the error that an expression ends in."""
    try:
        compute(text, at)
    except (ValueError, ZeroDivisionError) as error:
        return str(error)
    raise AssertionError(f"{text} at {at} has a value")


def golden() -> dict[str, list[Any]]:
    return {
        "cases": [{"text": text, "at": at, "nodes": compute(text, at)} for text, at in CASES],
        "errors": [{"text": text, "at": at, "message": refusal(text, at)} for text, at in ERRORS],
        "numbers": [{"repr": repr(x), "4": f"{x:.4g}", "6": f"{x:.6g}"} for x in map(float, NUMBERS.split())],
    }


if __name__ == "__main__":
    parts = (f'"{key}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for key, rows in golden().items())
    GOLDEN.write_text("{" + ",\n".join(parts) + "}\n", "utf8")
