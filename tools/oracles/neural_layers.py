"""
Freeze what PyTorch makes of the layers, losses and first weights of `fp_neural`, in float64.

    python -m tools.oracles.neural_layers

writes packages/fp-neural/tests/fixtures/torch.json, which the default tests read.

A layer's or a loss's outcome is made a number, L = sum(c out + out^2 / 2) with a fixed c: quadratic, so that what is
linear has a second derivative too. Frozen are `out`, the gradient of L in every input and parameter, and the product of
the Hessian of L, in all of them at once, with a fixed vector. Sizes are primes and inputs short decimals, so that the
file is small; infinities are written as Python writes them. Apart from these: the running statistics of a batch
normalization over three batches, three steps of gradient descent of the perceptron language model and of a recurrent
one that carries its state along, a clipped gradient, and the deviation or bound of the numbers that initializations
draw, which are taken from their calls of the generator.

Conventions that differ, PyTorch's beside ours:

- Where tokens or features stand: axis 1 in its `cross_entropy`, `nll_loss` and `BatchNorm1d`, the last axis in ours.
- Biases of a recurrent layer: two, which are added, beside one.
- `clip_grad_norm_` multiplies by m / (norm + 1e-6), we by m / norm.
- `calculate_gain("tanh")` is 5/3, ours makes the mean square one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tools.oracles.autograd_rules import INF, derivatives

FIXTURE = Path(__file__).parents[2] / "packages/fp-neural/tests/fixtures/torch.json"


# --- layers and losses: what goes in


def cases() -> list[dict]:
    """Each on a few inputs: several axes, edges, all settings."""
    rng = np.random.default_rng(37)

    def some(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
        return rng.uniform(low, high, shape).round(2).tolist()

    found: list[dict] = []

    def case(of: str, variables: dict, constants: dict | None = None, **settings: Any) -> None:
        found.append({"of": of, "settings": settings, "variables": variables, "constants": constants or {}})

    for shape in ((7, 5), (2, 3, 5), (5,), (2, 1, 3, 5)):
        case("linear", {"x": some(*shape), "weight": some(3, 5), "bias": some(3)})
    case("linear", {"x": some(7, 5), "weight": some(3, 5)})
    case("linear", {"x": some(2, 3, 5), "weight": some(1, 5)})
    for ids in ([4, 0, 4, 2, 4], [[1, 1, 0], [3, 1, 0]], 2):
        case("embedding", {"weight": some(5, 3)}, {"ids": ids})

    edges = [0.0, -0.0, 1e-9, -1e-4, 0.7517915246935645, 4.0, -6.0, 11.0, -13.0, 40.0, -40.0]
    for name in ("relu", "tanh", "sigmoid", "silu", "gelu"):
        for approximate in [{"approximate": "none"}, {"approximate": "tanh"}] if name == "gelu" else [{}]:
            case(name, {"x": some(2, 3, low=-4.0, high=4.0)}, **approximate)
            case(name, {"x": edges}, **approximate)

    for shape, eps in (((7, 3), 1e-5), ((2, 5, 3), 1e-5), ((2, 3), 1e-5), ((7, 3), 0.25)):
        case("batch_norm", {"x": some(*shape), "weight": some(3), "bias": some(3)}, eps=eps, training=True)
        running = {"running_mean": some(3), "running_var": some(3, low=0.2, high=3.0)}
        case("batch_norm", {"x": some(*shape), "weight": some(3), "bias": some(3)}, running, eps=eps, training=False)

    targets = {(7, 5): [4, 0, 2, 2, 1, 4, 3], (2, 3, 5): [[1, 4, 1], [0, 3, 2]], (5,): 3}
    for shape, y in targets.items():
        for reduction in ("mean", "sum", "none"):
            for smoothing in (0.0, 0.1, 0.75):
                case(
                    "cross_entropy",
                    {"logits": some(*shape)},
                    {"targets": y},
                    label_smoothing=smoothing,
                    reduction=reduction,
                )
            if shape != (5,):
                for smoothing in (0.0, 0.1):
                    case(
                        "cross_entropy",
                        {"logits": some(*shape)},
                        {"targets": y},
                        label_smoothing=smoothing,
                        ignore=1,
                        reduction=reduction,
                    )
            case("nll", {"logits": some(*shape)}, {"targets": y}, reduction=reduction)
            if shape != (5,):
                case("nll", {"logits": some(*shape)}, {"targets": y}, ignore=1, reduction=reduction)
    case("cross_entropy", {"logits": some(3, 5)}, {"targets": [-1, 4, -1]}, ignore=-1, reduction="mean")
    case("cross_entropy", {"logits": some(3, 1)}, {"targets": [0, 0, 0]}, reduction="sum")
    far = [[700.0, 701.0, -800.0], [-900.0, -901.0, -900.5], [0.25, -700.0, 0.5]]
    for smoothing in (0.0, 0.1):
        case("cross_entropy", {"logits": far}, {"targets": [0, 1, 1]}, label_smoothing=smoothing, reduction="none")
    masked = [[0.5, -INF, 0.25], [-INF, 1.0, -INF]]
    case("cross_entropy", {"logits": masked}, {"targets": [2, 1]}, reduction="none")
    for reduction in ("mean", "sum", "none"):
        case("mse", {"x": some(3, 5), "y": some(3, 5)}, reduction=reduction)

    for B, T, D, H in ((2, 5, 7, 3), (3, 1, 2, 5), (1, 11, 1, 2)):
        for of, blocks in (("rnn", 1), ("lstm", 4)):
            G = blocks * H
            case(
                of,
                {"x": some(B, T, D), "h_0": some(B, H, low=-1, high=1)}
                | ({"c_0": some(B, H)} if of == "lstm" else {})
                | {"weight_ih": some(G, D, low=-1, high=1), "weight_hh": some(G, H, low=-1, high=1)}
                | {"bias_ih": some(G, low=-1, high=1), "bias_hh": some(G, low=-1, high=1)},
            )

    V, k, D, H = 5, 3, 2, 7
    case(
        "mlp_language_model",
        {"C": some(V + 1, D), "W1": some(H, k * D), "b1": some(H), "W2": some(V, H), "b2": some(V)},
        {"x": [[5, 5, 0], [5, 0, 3], [0, 3, 3], [3, 3, 1]], "y": [3, 3, 1, 4]},
    )

    for one in found:
        shape = tuple(outcome(one).shape)
        one["c"] = rng.uniform(-1, 1, shape).round(2).tolist()
        one["v"] = {name: rng.uniform(-1, 1, np.shape(x)).round(2).tolist() for name, x in one["variables"].items()}
    return found


# --- in PyTorch


def functions() -> dict[str, Callable[..., Any]]:
    """By name: PyTorch's layer or loss, of the variables, the constants and the settings."""
    import torch
    from torch.nn import functional as F

    def axis_1(x: Any) -> Any:
        return x if x.ndim < 2 else x.movedim(-1, 1)

    def index(ignore: int | None) -> int:
        return -100 if ignore is None else ignore

    def batch_norm(p, c, eps, training):
        y = F.batch_norm(
            axis_1(p["x"]), c.get("running_mean"), c.get("running_var"), p["weight"], p["bias"], training, eps=eps
        )
        return y.movedim(1, -1)

    def cross_entropy(p, c, label_smoothing=0.0, ignore=None, reduction="mean"):
        return F.cross_entropy(
            axis_1(p["logits"]),
            c["targets"],
            ignore_index=index(ignore),
            label_smoothing=label_smoothing,
            reduction=reduction,
        )

    def nll(p, c, ignore=None, reduction="mean"):
        log_p = F.log_softmax(p["logits"], -1)
        return F.nll_loss(axis_1(log_p), c["targets"], ignore_index=index(ignore), reduction=reduction)

    def rnn(p, c):
        return _recurrent(torch.nn.RNN, p, p["h_0"][None])[0]

    def lstm(p, c):
        y, (_, cell) = _recurrent(torch.nn.LSTM, p, (p["h_0"][None], p["c_0"][None]))
        return torch.cat([y, cell[0][:, None]], 1)  # and the last cell

    def mlp_language_model(p, c):
        e = F.embedding(c["x"], p["C"]).flatten(1)
        z = F.linear(torch.tanh(F.linear(e, p["W1"], p["b1"])), p["W2"], p["b2"])
        return F.cross_entropy(z, c["y"])

    return {
        "linear": lambda p, c: F.linear(p["x"], p["weight"], p.get("bias")),
        "embedding": lambda p, c: F.embedding(c["ids"], p["weight"]),
        **{name: _activation(getattr(torch, name)) for name in ("relu", "tanh", "sigmoid")},
        "silu": _activation(F.silu),
        "gelu": lambda p, c, approximate: F.gelu(p["x"], approximate=approximate),
        "batch_norm": batch_norm,
        "cross_entropy": cross_entropy,
        "nll": nll,
        "mse": lambda p, c, reduction: F.mse_loss(p["x"], p["y"], reduction=reduction),
        "rnn": rnn,
        "lstm": lstm,
        "mlp_language_model": mlp_language_model,
    }


def _activation(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda p, c: function(p["x"])


def _recurrent(layer: Any, p: dict, state: Any) -> Any:
    import torch

    H, D = p["weight_hh"].shape[1], p["weight_ih"].shape[1]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    module = layer(D, H, batch_first=True, dtype=torch.float64)
    return torch.func.functional_call(module, {f"{name}_l0": p[name] for name in names}, (p["x"], state))


def _tensor(x: Any) -> Any:
    """Whole numbers as ids, all else in float64."""
    import torch

    array = np.asarray(x)
    return torch.tensor(x, dtype=torch.int64 if array.dtype.kind == "i" else torch.float64)


def outcome(case: dict) -> Any:
    """What the layer or loss makes of it, without derivatives."""
    p, c = ({name: _tensor(x) for name, x in case[key].items()} for key in ("variables", "constants"))
    return functions()[case["of"]](p, c, **case["settings"])


def torch_case(case: dict) -> dict:
    """Outcome, gradients, products with the Hessian, the last two by variable."""
    leaves = {name: _tensor(x).requires_grad_() for name, x in case["variables"].items()}
    constants = {name: _tensor(x) for name, x in case["constants"].items()}
    out = functions()[case["of"]](leaves, constants, **case["settings"])
    g, products = derivatives(
        (_tensor(case["c"]) * out + out * out / 2).sum(), list(leaves.values()), list(case["v"].values())
    )
    return {
        "out": out.tolist(),
        "gradient": dict(zip(leaves, g, strict=True)),
        "product": dict(zip(leaves, products, strict=True)),
    }


# --- what is no function of its inputs


def running() -> list[dict]:
    """`BatchNorm1d` over three batches: outcomes in training, statistics after each, and an outcome in use."""
    import torch

    rng = np.random.default_rng(41)
    frozen = []
    for shape, momentum in (((7, 3), 0.1), ((2, 5, 3), 0.1), ((2, 3), 0.75), ((5, 3), 1.0)):
        layer = torch.nn.BatchNorm1d(3, momentum=momentum, dtype=torch.float64)
        batches = [rng.uniform(-3, 5, shape).round(2).tolist() for _ in range(4)]

        def apply(x: list, layer: Any = layer) -> list:
            with torch.no_grad():
                return layer(_tensor(x).movedim(-1, 1)).movedim(1, -1).tolist()

        steps = []
        for x in batches[:3]:
            steps.append({"x": x, "out": apply(x)})
            steps[-1] |= {name: getattr(layer, name).tolist() for name in ("running_mean", "running_var")}
        layer.eval()
        in_use = {"x": batches[3], "out": apply(batches[3])}
        frozen.append({"momentum": momentum, "steps": steps, "in use": in_use})
    return frozen


def descent() -> dict[str, dict]:
    """Three plain steps of two language models, as one would write them in PyTorch: losses, and what comes out."""
    import torch
    from torch import nn

    rng = np.random.default_rng(43)
    V, k, D, H, B, T, rate = 5, 3, 2, 7, 11, 3, 0.5

    def number(module: nn.Module) -> dict[str, list]:
        start = {}
        for name, p in module.named_parameters():
            start[name] = rng.uniform(-1, 1, p.shape).round(2).tolist()
            p.data[...] = _tensor(start[name])
        return start

    def steps(module: nn.Module, losses: Callable[[], Any]) -> dict:
        optimizer = torch.optim.SGD(module.parameters(), lr=rate)
        frozen = []
        for loss in losses():
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            frozen.append(loss.item())
        return {"losses": frozen, "after": {name: p.tolist() for name, p in module.named_parameters()}, "rate": rate}

    double = {"dtype": torch.float64}
    mlp = nn.Sequential(
        nn.Embedding(V + 1, D, **double),
        nn.Flatten(),
        nn.Linear(k * D, H, **double),
        nn.Tanh(),
        nn.Linear(H, V, **double),
    )
    x, y = rng.integers(0, V + 1, (3, B, k)), rng.integers(0, V, (3, B))
    found = {"mlp": {"x": x.tolist(), "y": y.tolist(), "before": number(mlp)}}
    entropy = nn.CrossEntropyLoss()
    pairs = list(zip(map(_tensor, x), map(_tensor, y), strict=True))
    found["mlp"] |= steps(mlp, lambda: (entropy(mlp(a), b) for a, b in pairs))

    recurrent = nn.ModuleDict(
        {
            "embedding": nn.Embedding(V, D, **double),
            "lstm": nn.LSTM(D, H, batch_first=True, **double),
            "output": nn.Linear(H, V, **double),
        }
    )
    text = rng.integers(0, V, (2, 3 * T + 1))  # two rows, three chunks that continue each other
    found["lstm"] = {"text": text.tolist(), "chunk": T, "before": number(recurrent)}

    def chunks() -> Any:
        state = None
        for t in range(0, 3 * T, T):
            h, state = recurrent["lstm"](recurrent["embedding"](_tensor(text[:, t : t + T])), state)
            state = tuple(part.detach() for part in state)
            z = recurrent["output"](h)
            yield entropy(z.movedim(-1, 1), _tensor(text[:, t + 1 : t + T + 1]))

    found["lstm"] |= steps(recurrent, chunks)
    return found


def clipped() -> list[dict]:
    """`clip_grad_norm_` of two gradients together, longer and shorter than the largest norm."""
    import torch

    rng = np.random.default_rng(47)
    frozen = []
    for max_norm in (0.5, 1.0, 100.0):
        given = [rng.uniform(-2, 2, shape).round(2).tolist() for shape in ((3, 5), (7,))]
        parameters = [torch.nn.Parameter(torch.zeros_like(_tensor(g))) for g in given]
        for p, g in zip(parameters, given, strict=True):
            p.grad = _tensor(g)
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm).item()
        frozen.append(
            {"given": given, "max_norm": max_norm, "norm": norm, "clipped": [p.grad.tolist() for p in parameters]}
        )
    return frozen


def initialization() -> dict[str, Any]:
    """The deviation or bound with which each initialization asks for numbers, and gains."""
    import torch
    from torch.nn import init

    def asked(draw: str, fill: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        with patch.object(init, draw) as generator:
            fill(*args, **kwargs)
        return generator.call_args.args[2]  # of (tensor, mean, deviation) or (tensor, low, high)

    shapes = ((3, 5), (7, 2), (1, 11), (300, 500))
    numbers = []
    for shape in shapes:
        w = torch.empty(shape)
        for gain in (1.0, 1.5):
            numbers.append(
                {
                    "shape": shape,
                    "gain": gain,
                    "xavier_normal": asked("_no_grad_normal_", init.xavier_normal_, w, gain),
                    "xavier_uniform": asked("_no_grad_uniform_", init.xavier_uniform_, w, gain),
                }
            )
        with patch.object(torch.Tensor, "normal_") as generator:
            init.kaiming_normal_(w, nonlinearity="relu")
        numbers[-1]["he_normal"] = generator.call_args.args[1]
    return {
        "numbers": numbers,
        "gain": {name: init.calculate_gain(name) for name in ("linear", "relu", "tanh")},
        "dropout": {
            str(p): torch.nn.Dropout(p)(torch.ones(997, dtype=torch.float64)).max().item() for p in (0.25, 0.5)
        },
    }


def compute() -> dict:
    """All that is frozen."""
    return json.loads(
        json.dumps(
            {
                "cases": [case | torch_case(case) for case in cases()],
                "running": running(),
                "descent": descent(),
                "clipped": clipped(),
                "initialization": initialization(),
            }
        )
    )


def main() -> None:
    frozen = compute()
    written = json.JSONEncoder(separators=(",", ":")).encode
    lines = ",\n".join(written(case) for case in frozen.pop("cases"))
    rest = ",\n".join(f"{written(name)}: {written(one)}" for name, one in frozen.items())
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(f'{{"cases": [\n{lines}\n],\n{rest}}}\n', encoding="utf-8")
    print(f"wrote {FIXTURE}")


if __name__ == "__main__":
    main()
