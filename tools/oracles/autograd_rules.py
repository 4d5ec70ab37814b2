"""
Freeze what PyTorch makes of every rule of `fp_autograd.rules.RULES`, and of ten programs composed of them, in float64.

    python -m tools.oracles.autograd_rules

writes packages/fp-autograd/tests/fixtures/torch.json, which the default tests read.

A rule's operation is applied to its operands, and the outcome made a number, L = sum(c out + out^2 / 2) with a fixed c:
quadratic, so that an operation that is linear has a second derivative too. Frozen are `out`, the gradient of L in every
operand that is an array of floating-point numbers, and the product of the Hessian of L, in all of them at once, with a
fixed vector. A program returns a number itself. An operand that is a plain number, or an array of truth values, is a
constant. Inputs are short decimals, so that the file is small; infinities and NaN are written as Python writes them.

Conventions where a derivative does not exist, PyTorch's beside ours:

- `max` and `min` over axes, several equal: `torch.amax` and `amin` share equally, as we do, and are what is frozen.
  `torch.max(x, dim)` gives all to the one whose index it returns.
- `maximum` and `minimum` of equals: a half each, in both. `relu` and `absolute` at 0: the slope 0, in both.
- `power`: the slope of x^y in x at x = y = 0 is 0, and in y at x = 0 <= y is 0, in both; at x < 0 the slope in y does
  not exist, and is NaN in both. Second derivatives at x = 0 are not frozen: PyTorch multiplies 0 by infinity for some
  exponents.
- `softplus`: `torch.nn.functional.softplus` returns x itself above 20. What is frozen is `torch.logaddexp(x, 0)`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[2] / "packages/fp-autograd/tests/fixtures/torch.json"
INF = float("inf")


# --- the rules: operands and settings


def cases() -> list[dict]:
    """Each rule on a few operands: broadcast, several axes, equals, edges."""
    rng = np.random.default_rng(23)

    def some(*shape: int, low: float = -2.0, high: float = 2.0) -> list:
        return rng.uniform(low, high, shape).round(2).tolist()

    def positive(*shape: int) -> list:
        return some(*shape, low=0.2, high=3.0)

    found: list[dict] = []

    def case(rule: str, *operands: Any, **settings: Any) -> None:
        found.append({"rule": rule, "operands": operands, "settings": settings})

    broadcast = [((2, 3), (2, 3)), ((5, 3), (3,)), ((3,), (5, 3)), ((2, 1, 5), (3, 1)), ((1, 3), (5, 1))]
    for rule in ("add", "subtract", "multiply", "maximum", "minimum"):
        for x, y in broadcast:
            case(rule, some(*x), some(*y))
        case(rule, some(3), 0.5)
        case(rule, 0.5, some(3))
    for x, y in broadcast:
        case("divide", some(*x), positive(*y))
        case("power", positive(*x), some(*y))
    case("divide", some(3), -4.0)
    case("divide", 2.0, positive(3))
    for exponent in (3, 2, 1, 0, -1, 0.5, -1.5):
        case("power", positive(3), exponent)
    case("power", 1.5, some(3))
    for exponent in (3, 2, -2):
        case("power", [-1.5, -0.5, 0.25], exponent)  # negative bases, whole exponents
    for exponent in (4, 3, 2, 1, 0):
        case("power", [0.0, -0.5, 0.0], exponent)
    for rule in ("maximum", "minimum"):
        case(rule, [1.0, -2.0, 0.0, 3.0], [1.0, 2.0, 0.0, 3.0])  # equals
        case(rule, [[1.0, 2.0], [2.0, 0.0], [0.5, 2.0]], [1.0, 2.0])
    truth = [[True, False, True], [False, False, True]]
    case("where", truth, some(2, 3), some(2, 3))
    case("where", truth, some(3), some(2, 1))
    case("where", truth[0], some(2, 3), 0.0)
    case("where", truth, 1.5, some(3))

    for rule in ("negative", "exp", "expm1", "sin", "cos", "tanh", "sigmoid", "softplus", "relu", "absolute"):
        case(rule, some(2, 3))
    for rule in ("log", "log1p", "sqrt"):
        case(rule, positive(2, 3))
    for rule in ("relu", "absolute"):
        case(rule, [0.0, -0.0, 1.5, -1.5])
    case("expm1", [1e-12, -1e-9, 0.0])
    case("log1p", [1e-12, -1e-9, 0.0])
    for rule in ("sigmoid", "softplus", "tanh"):
        case(rule, [-700.0, -40.0, -1e-9, 0.0, 30.0, 700.0])

    axes = [(None, False), (None, True), (0, False), (-1, True), (1, False), ((0, 2), False), ((-1, 0), True)]
    for axis, keepdims in axes:
        for rule in ("sum", "mean", "max", "min", "logsumexp"):
            case(rule, some(2, 3, 5), axis=axis, keepdims=keepdims)
    for rule in ("max", "min"):
        for axis in (None, 0, 1, (0, 1)):  # equals, within and across
            case(rule, [[1.0, 3.0, 3.0], [3.0, 1.0, 1.0], [1.0, 1.0, 1.0]], axis=axis, keepdims=False)
    case("logsumexp", [[700.0, 701.0, -800.0], [-900.0, -901.0, -900.5]], axis=1, keepdims=False)
    case("logsumexp", [[0.5, -INF, 0.25], [1.0, 2.0, -INF]], axis=1, keepdims=False)
    for rule in ("softmax", "log_softmax", "cumsum"):
        for axis in (1, -1):
            case(rule, some(2, 3, 5), axis=axis)
    case("softmax", [[700.0, 701.0, -800.0], [0.5, -INF, 0.25]], axis=1)  # what a mask does
    case("log_softmax", [[700.0, 701.0, 640.0], [-900.0, -901.0, -900.5]], axis=1)

    for x, y in [((2, 3), (3, 5)), ((7, 2, 3), (3, 5)), ((2, 3), (7, 3, 5)), ((7, 2, 3), (7, 3, 5))]:
        case("matmul", some(*x), some(*y))
    case("matmul", some(5, 1, 2, 3), some(7, 3, 2))

    case("broadcast_to", some(3), shape=[5, 3])
    case("broadcast_to", some(2, 1, 3), shape=[2, 5, 3])
    case("reshape", some(2, 3, 5), shape=[5, 6])
    case("reshape", some(2, 3), shape=[-1])
    case("transpose", some(2, 3), axes=[1, 0])
    case("transpose", some(2, 3, 5), axes=[2, 0, 1])
    for index in INDICES:
        case("index", some(5, 3, 2), index=index)
    for index, g in [([1], (3,)), ([{"array": [4, 1, 4, 4]}], (4, 3)), ([{"slice": [1, 5, 2]}], (2, 3))]:
        case("scatter", some(*g), index=index, shape=[5, 3])
    case("concatenate", some(2, 3), some(5, 3), some(1, 3), axis=0)
    case("concatenate", some(2, 3), some(2, 5), axis=-1)

    for one in found:
        arrays = [np.array(x) for x in differentiated(one["operands"])]
        one["c"] = rng.uniform(-1, 1, plain(one).shape).round(2).tolist()
        one["v"] = [rng.uniform(-1, 1, x.shape).round(2).tolist() for x in arrays]
    return found


# a number, a slice, an array of numbers, of truth values, a new axis, an ellipsis: what stands between the brackets
INDICES = [
    [3],
    [-1, {"slice": [None, None, None]}, 0],
    [{"slice": [1, None, 2]}],
    [{"slice": [None, -1, None]}, "...", {"slice": [1, None, None]}],
    ["new", 2, "...", "new"],
    [{"array": [4, 0, 4, 2, 4]}],
    [{"array": [[1, 0], [1, 1]]}],
    [{"array": [3, 1, 3]}, {"array": [0, 2, 0]}],
    [{"slice": [None, None, None]}, {"array": [2, 2]}],
    [{"array": [3, 3]}, {"slice": [None, None, None]}, 1],
    [{"mask": [True, False, True, True, False]}],
]


def decoded(index: list) -> tuple:
    """An index as NumPy takes it."""
    words = {"new": None, "...": Ellipsis}

    def part(x: Any) -> Any:
        if isinstance(x, dict):
            (kind, value), *_ = x.items()
            return slice(*value) if kind == "slice" else np.array(value)
        return words[x] if isinstance(x, str) else x

    return tuple(map(part, index))


def differentiated(operands: Any) -> list:
    """Those that are arrays of floating-point numbers."""
    return [x for x in operands if isinstance(x, list) and np.array(x).dtype == float]


# --- in PyTorch


def counterparts() -> dict[str, Callable[..., Any]]:
    """PyTorch's function for each rule."""
    import torch

    def reduced(function: Callable[..., Any]) -> Callable[..., Any]:
        def of(x: Any, axis: Any, keepdims: bool) -> Any:
            return function(x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)

        return of

    def index(x: Any, index: Any) -> Any:
        return x[tuple(torch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in decoded(index))]

    def scatter(g: Any, index: Any, shape: Any) -> Any:
        at = np.arange(np.prod(shape)).reshape(shape)[decoded(index)]  # which entries are written to
        flat = torch.zeros(int(np.prod(shape)), dtype=g.dtype)
        return flat.index_add(0, torch.from_numpy(at.reshape(-1)), g.reshape(-1)).reshape(shape)

    def equals(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, y: function(torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64))

    functions: dict[str, Callable[..., Any]] = {
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "multiply": lambda x, y: x * y,
        "divide": lambda x, y: x / y,
        "power": lambda x, y: x**y,
        "maximum": equals(torch.maximum),
        "minimum": equals(torch.minimum),
        "absolute": torch.abs,
        "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        "sum": reduced(torch.sum),
        "mean": reduced(torch.mean),
        "max": reduced(torch.amax),
        "min": reduced(torch.amin),
        "logsumexp": reduced(torch.logsumexp),
        "softmax": lambda x, axis: torch.softmax(x, axis),
        "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
        "cumsum": lambda x, axis: torch.cumsum(x, axis),
        "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
        "reshape": lambda x, shape: x.reshape(shape),
        "transpose": lambda x, axes: x.permute(axes),
        "index": index,
        "scatter": scatter,
        "concatenate": lambda *parts, axis: torch.cat(parts, axis),
    }
    same = (
        "negative",
        "exp",
        "expm1",
        "log",
        "log1p",
        "sqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "relu",
        "where",
        "matmul",
    )
    return functions | {name: getattr(torch, name) for name in same}


def tensors(operands: Any) -> list:
    """Operands as PyTorch takes them: lists as tensors, numbers as they are."""
    import torch

    return [torch.tensor(x) if isinstance(x, list) and np.array(x).dtype == bool else _tensor(x) for x in operands]


def _tensor(x: Any) -> Any:
    import torch

    return torch.tensor(x, dtype=torch.float64) if isinstance(x, list) else x


def plain(case: dict) -> Any:
    """The operation's outcome, without derivatives."""
    return counterparts()[case["rule"]](*tensors(case["operands"]), **case["settings"])


def torch_case(case: dict) -> dict:
    """Outcome, gradients, products with the Hessian."""
    import torch

    operands = tensors(case["operands"])
    leaves = [x.requires_grad_() for x in operands if isinstance(x, torch.Tensor) and x.dtype == torch.float64]
    out = counterparts()[case["rule"]](*operands, **case["settings"])
    edge = case["rule"] == "power" and any(0.0 in np.array(x) for x in differentiated(case["operands"]))
    g, products = derivatives((_tensor(case["c"]) * out + out * out / 2).sum(), leaves, case["v"], not edge)
    return {"out": out.tolist(), "gradient": g} | ({"product": products} if products else {})


def derivatives(L: Any, leaves: list, v: list, second: bool = True) -> tuple[list, list]:
    """The gradient of a number, and its Hessian times `v`."""
    import torch

    g = torch.autograd.grad(L, leaves, create_graph=second)
    products = []
    if second:
        slope = sum((a * _tensor(b)).sum() for a, b in zip(g, v, strict=True))
        if not slope.requires_grad:  # x^0: the gradient is zero, and depends on nothing
            return [a.tolist() for a in g], [torch.zeros_like(x).tolist() for x in leaves]
        products = [p.tolist() for p in torch.autograd.grad(slope, leaves, materialize_grads=True)]
    return [a.tolist() for a in g], products


# --- ten programs, as one would write them in PyTorch


def programs() -> dict[str, tuple[Callable[..., Any], dict[str, tuple[int, ...]], dict[str, Any]]]:
    """By name: the function, the shapes of what it is differentiated in, and its constants."""
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(29)

    def some(*shape: int) -> list:
        return rng.uniform(-2, 2, shape).round(2).tolist()

    def mlp(W, b, U, a, x, y):
        return F.cross_entropy(torch.relu(x @ W + b).tanh() @ U + a, y)

    def layer_norm(x, gain, bias, target):
        return (F.layer_norm(x, (7,), gain, bias, eps=1e-5) - target).pow(2).mean()

    def attention(q, k, v, target):
        return (F.scaled_dot_product_attention(q, k, v, is_causal=True) * target).sum().sigmoid()

    def logistic_regression(w, b, x, y):
        return F.binary_cross_entropy_with_logits(x @ w + b, y) + 0.1 * w.square().sum()

    def mixture(logits, means, log_scales, x):
        normal = torch.distributions.Normal(means, log_scales.exp()[:, None])
        each = normal.log_prob(x[:, None, :]).sum(-1) + F.log_softmax(logits, 0)
        return -torch.logsumexp(each, 1).mean()

    def recurrent(W, U, b, start, x):
        h, states = start, []
        for t in range(5):
            h = torch.tanh(x[t] @ U + h @ W + b)
            states.append(h)
        return torch.stack(states).cumsum(0).square().mean()

    def language_model(E, P, ids, following):
        return F.cross_entropy((F.embedding(ids, E) + P) @ E.T, following)

    def convolution(kernel, bias, x, c):
        z = F.conv1d(x[None, None], kernel[:, None], bias)  # 11 - 3 + 1 = 9 places
        return (F.max_pool1d(F.softplus(z), 3)[0] * c).sum()

    def norms(x, p):
        return sum(torch.linalg.vector_norm(x, ord=float(q)) for q in (3, 1.5)) + (x.abs() ** p).sum() ** (1 / p)

    def particles(x, y):
        r2 = (x[:, None] - y).square().sum(-1) + 0.5
        return (r2**-6 - r2**-3).sum() + (-r2.sqrt()).exp().sum()

    labels = [2, 0, 1, 2, 2]
    return {
        "mlp": (mlp, {"W": (7, 3), "b": (3,), "U": (3, 5), "a": (5,)}, {"x": some(5, 7), "y": [2, 0, 1, 4, 2]}),
        "layer_norm": (layer_norm, {"x": (5, 7), "gain": (7,), "bias": (7,)}, {"target": some(5, 7)}),
        "attention": (attention, {"q": (2, 5, 3), "k": (2, 5, 3), "v": (2, 5, 7)}, {"target": some(2, 5, 7)}),
        "logistic_regression": (
            logistic_regression,
            {"w": (3,), "b": (1,)},
            {"x": some(11, 3), "y": [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]},
        ),
        "mixture": (mixture, {"logits": (3,), "means": (3, 2), "log_scales": (3,)}, {"x": some(7, 2)}),
        "recurrent": (recurrent, {"W": (3, 3), "U": (2, 3), "b": (3,), "start": (3,)}, {"x": some(5, 2)}),
        "language_model": (language_model, {"E": (3, 2), "P": (5, 2)}, {"ids": [0, 2, 0, 0, 1], "following": labels}),
        "convolution": (convolution, {"kernel": (2, 3), "bias": (2,)}, {"x": some(11), "c": some(2, 3)}),
        "norms": (norms, {"x": (7,), "p": (1,)}, {}),
        "particles": (particles, {"x": (5, 3), "y": (7, 3)}, {}),
    }


def torch_programs() -> dict[str, dict]:
    """Value, gradients and products with the Hessian of each."""
    import torch

    rng = np.random.default_rng(31)
    frozen = {}
    for name, (program, shapes, constants) in programs().items():
        start = {key: rng.uniform(-1.5, 1.5, shape).round(2) for key, shape in shapes.items()}
        if "p" in start:
            start["p"] = np.array([2.5])
        v = [rng.uniform(-1, 1, shape).round(2).tolist() for shape in shapes.values()]
        leaves = [torch.tensor(x, requires_grad=True) for x in start.values()]
        fixed = [torch.tensor(x) if isinstance(x[0], int) else _tensor(x) for x in constants.values()]
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the one with second derivatives
            L = program(*leaves, *fixed).sum()
            g, products = derivatives(L, leaves, v)
        frozen[name] = {
            "variables": {key: x.tolist() for key, x in start.items()},
            "constants": constants,
            "v": v,
            "value": L.item(),
            "gradient": g,
            "product": products,
        }
    return frozen


def compute() -> dict:
    """All that is frozen."""
    return json.loads(
        json.dumps({"rules": [case | torch_case(case) for case in cases()], "programs": torch_programs()})
    )


def main() -> None:
    frozen = compute()
    written = json.JSONEncoder(separators=(",", ":")).encode
    lines = ",\n".join(written(case) for case in frozen["rules"])
    named = ",\n".join(f"{written(name)}: {written(one)}" for name, one in frozen["programs"].items())
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(f'{{"rules": [\n{lines}\n],\n"programs": {{\n{named}\n}}}}\n', encoding="utf-8")
    print(f"wrote {FIXTURE}")


if __name__ == "__main__":
    main()
