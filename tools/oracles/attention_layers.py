"""
Freeze what PyTorch makes of attention, with every mask, kind of heads and kind of positions, in float64.

    python -m tools.oracles.attention_layers

writes packages/fp-attention/tests/fixtures/torch.json, which the default tests read.

`attention` are cases of its `scaled_dot_product_attention`: every mask with as many key heads as query heads, fewer,
and one; fewer and more queries than keys, values of another width, biases, positions of the keys. `layers` are cases of
a whole layer: written out in its functions, with every kind of positions, or, where it has none, by its
`MultiheadAttention`, and then with the weights of attention as well.

The outcome is made a number, L = sum(c out + out^2 / 2). Frozen are `out`, the gradient of L in each variable, and, for
a fixed direction v in all variables together, the slope of L along v and its second derivative. So that the file is
small, what goes in, c and v are read off one list of short decimals, `numbers`, each from where the one before ended
(parameters of a layer are halves of them), and of what comes out only products are kept, along the last axis, with the
cosines of 0, 1, 2, ...: whatever is wrong in one number or in several changes them, short of a coincidence.

Positions are written as others write them: turns as products of complex numbers, ALiBi as slopes from its authors' code
times the key's place alone (their form under a causal mask, which differs from the distance by a number a row), buckets
by the function of Hugging Face's T5. A mask is drawn on the square of all positions, and its rows and columns are cut
out.

Conventions that differ, PyTorch's beside ours:

- Which way a Boolean mask is read: in `scaled_dot_product_attention` True is allowed, as here; in `MultiheadAttention`
  True is forbidden.
- `is_causal` puts the first query beside the first key, we the last beside the last: it is used where both are equally
  many.
- A bias is a whole table there, one number for each distance here.
- Grouped heads are asked for by `enable_gqa`.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[2] / "packages/fp-attention/tests/fixtures/torch.json"


# --- what goes in


def decimals() -> list[float]:
    """A list that all inputs are read off: of prime length, without zeros, which would hide what they meet."""
    rng = np.random.default_rng(61)
    return (rng.integers(1, 16, 997) * rng.choice([-1, 1], 997) / 10).tolist()


def reader(at: int) -> Callable[[Any], np.ndarray]:
    """Arrays of given shapes, one after the other, from a place in the list on."""
    numbers = np.array(decimals())

    def read(shape: Any) -> np.ndarray:
        nonlocal at
        start, at = at, at + math.prod(shape)
        return np.resize(np.roll(numbers, -start), shape)

    return read


def variables(case: dict, read: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
    """By name; parameters of layers, whose names have a dot, are halved, so that scores are of moderate size."""
    return {name: read(shape) / (2 if "." in name else 1) for name, shape in case["variables"].items()}


def shortened(x: Any) -> list:
    """The products of a tensor's last axis with the cosines of 0, 1, 2, ..."""
    return (x @ _tensor(np.cos(np.arange(x.shape[-1])))).tolist()


B, T = 2, 5
HEADS = {"as many": (3, 3), "grouped": (4, 2), "one": (3, 1)}
EARLY = [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]  # padding at the end
LATE = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]  # and at the beginning
CAUSAL = ["causal"]
ITSELF = ["itself"]


def masks(H: int) -> dict[str, Any]:
    """Every kind for T queries and keys, as data: a name and what it takes, or a name and two masks."""
    rng = np.random.default_rng(67)

    def dense(*before: int) -> list:
        square = (rng.random((*before, T, T)) < 0.4) | np.eye(T, dtype=bool)  # no row without a key
        return ["dense", square.astype(int).tolist()]

    return {
        "none": None,
        "causal": CAUSAL,
        "window": ["window", 2],
        "itself": ITSELF,
        "first": ["first", 3],
        "prefix": ["or", CAUSAL, ["first", 2]],
        "prefix of each text": ["or", CAUSAL, ["first", [4, 1]]],
        "window and sinks": ["or", ["window", 2], ["and", CAUSAL, ["first", 1]]],
        "padding": ["padding", EARLY],
        "causal and padding": ["and", CAUSAL, ["padding", EARLY]],
        "padding before": ["or", ["and", CAUSAL, ["padding", LATE]], ITSELF],
        "documents": ["documents", [0, 0, 0, 1, 1]],
        "documents of each text": ["and", CAUSAL, ["documents", [[7, 7, 7, 3, 3], [1, 2, 2, 2, 1]]]],
        "dense": dense(),
        "dense of each head": dense(H),
        "dense of each text": dense(B, 1),
        "dense of each text and head": ["and", CAUSAL, dense(B, H)],
    }


def attention_cases() -> list[dict]:
    """Shapes of the variables, a mask, and settings."""
    found: list[dict] = []

    def case(title: str, q: Any, k: Any, v: Any, mask: Any = None, bias: Any = None, **settings: Any) -> None:
        shapes = {"q": q, "k": k, "v": v} | ({"bias": bias} if bias else {})
        at = 31 * len(found)
        found.append({"title": title, "mask": mask, "settings": settings, "variables": shapes, "at": at})

    def usual(Tq: int = T, Tk: int = T, heads: str = "grouped", D: int = 3, Dv: int = 2) -> tuple[Any, Any, Any]:
        H, G = HEADS[heads]
        return (B, H, Tq, D), (B, G, Tk, D), (B, G, Tk, Dv)

    for heads, (H, _) in HEADS.items():
        for name, mask in masks(H).items():
            case(f"{name}, {heads}", *usual(heads=heads), mask)
        case(f"bias, {heads}", *usual(heads=heads), None, (H, 2 * T - 1))
        case(f"bias and causal, {heads}", *usual(heads=heads), CAUSAL, (H, 2 * T - 1))
    sinks = ["or", ["window", 3], ["and", CAUSAL, ["first", 2]]]
    for Tq, Tk in ((3, 7), (1, 5), (5, 3)):
        case(f"{Tq} queries, {Tk} keys", *usual(Tq, Tk), None, (4, Tq + Tk - 1))
    for name, mask in {"causal": CAUSAL, "window": ["window", 2], "sinks": sinks}.items():
        case(f"3 queries, 7 keys, {name}", *usual(3, 7), mask, (4, 9))
    rows = [[0, 0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1, 1]]
    case("3 queries, 7 keys, dense", *usual(3, 7), ["dense", rows])
    case("starting elsewhere", *usual(2, 7), CAUSAL, start=3)
    case("keys with gaps", *usual(2, 5), sinks, (4, 6), start=8, key_positions=[0, 1, 7, 8, 9])
    case("widths of one", *usual(D=1, Dv=1), CAUSAL)
    case("wide values", *usual(T, 3, D=2, Dv=7), None)
    case("a scale", *usual(), CAUSAL, scale=0.3)
    case("a negative scale", *usual(), CAUSAL, (4, 9), scale=-1.0)
    case("scores far apart", *usual(), CAUSAL, scale=250.0)  # their exponentials overflow without a shift
    case("one head", (T, 3), (7, 3), (7, 2), CAUSAL)
    case("no texts", (4, T, 3), (2, T, 3), (2, T, 2), ["window", 3], (4, 9))
    case("texts of texts", (2, 3, 2, 3, 1), (2, 3, 1, 3, 1), (2, 3, 1, 3, 2), CAUSAL)
    return found


POSITIONS: dict[str, list] = {
    "none": ["none", {}],
    "sinusoidal": ["sinusoidal", {"base": 100.0}],
    "learned": ["learned", {"context": 7}],
    "rope, halves": ["rope", {"base": 100.0, "pairs": "halves"}],
    "rope, neighbours": ["rope", {"base": 10_000.0, "pairs": "neighbours"}],
    "rope, in part": ["rope", {"base": 100.0, "pairs": "halves", "rotary_dim": 2}],
    "rope, neighbours in part": ["rope", {"base": 50.0, "pairs": "neighbours", "rotary_dim": 2}],
    "rope, interpolated": ["rope", {"base": 100.0, "pairs": "halves", "factor": 2.5}],
    "alibi": ["alibi", {}],
    "relative": ["relative", {"n_buckets": 4, "max_distance": 5, "causal": True}],
    "relative, both ways": ["relative", {"n_buckets": 8, "max_distance": 4, "causal": False}],
}


def layer_cases() -> list[dict]:
    """Sizes, positions, a mask, and the shapes of inputs and parameters."""
    found: list[dict] = []
    sizes = {
        "as many": {"dim": 8, "n_heads": 2},
        "grouped": {"dim": 6, "n_heads": 4, "n_kv_heads": 2, "d_head": 4, "bias": True},
        "one": {"dim": 10, "n_heads": 3, "n_kv_heads": 1, "d_head": 6},
    }

    def case(title: str, size: dict, positions: Any = None, mask: Any = None, Tk: int = 0, by: str = "hand") -> None:
        positions = positions or ["none", {}]
        settings = {"n_kv_heads": size["n_heads"], "d_head": size["dim"] // size["n_heads"], "bias": False} | size
        C, H, Hkv, D = (settings[name] for name in ("dim", "n_heads", "n_kv_heads", "d_head"))
        width = settings.get("context_dim", C)
        variables: dict[str, tuple] = {"x": (B, T, C)} | ({"context": (B, Tk, width)} if Tk else {})
        rows = {"q": (H * D, C), "k": (Hkv * D, width), "v": (Hkv * D, width), "o": (C, H * D)}
        for name, shape in rows.items():
            variables |= {f"{name}_proj.weight": shape} | ({f"{name}_proj.bias": shape[:1]} if settings["bias"] else {})
        kind, given = positions
        if kind == "learned":
            variables["positions.weight"] = (given["context"], C)
        if kind == "relative":
            variables["positions.weight"] = (given["n_buckets"], H)
        found.append(
            {"title": title, "by": by, "positions": positions, "mask": mask, "settings": settings}
            | {"variables": variables, "at": 31 * len(found)}
        )

    some = {"causal": CAUSAL, "none": None, "padding": ["or", ["and", CAUSAL, ["padding", LATE]], ITSELF]}
    for i, (name, positions) in enumerate(POSITIONS.items()):
        for j, (heads, size) in enumerate(sizes.items()):
            mask = [*some][(i + j) % 3]
            case(f"{name}, {heads}, {mask}", size, positions, some[mask])
        if name in ("alibi", "relative", "relative, both ways"):
            case(f"{name}, window", sizes["grouped"], positions, ["window", 3])
            case(f"{name}, prefix", sizes["one"], positions, ["or", CAUSAL, ["first", [4, 1]]])
        if name not in ("none", "relative"):
            cross = sizes["as many"] | {"context_dim": 3}
            case(f"{name}, reading", cross, positions, ["padding", [[1, 1, 0], [1, 1, 1]]], Tk=3)
    for bias in (False, True):
        plain = {"dim": 6, "n_heads": 3, "bias": bias}
        for name in ("none", "causal", "padding", "dense of each text and head"):
            case(f"torch, {name}, bias={bias}", plain, None, masks(3)[name], by="MultiheadAttention")
        case(f"torch, reading, bias={bias}", plain, None, None, Tk=7, by="MultiheadAttention")
        case(
            f"torch, reading another width, bias={bias}",
            plain | {"context_dim": 5},
            None,
            ["padding", [[1, 1, 0], [1, 1, 1]]],
            Tk=3,
            by="MultiheadAttention",
        )
    return found


# --- masks and positions in PyTorch


def allowed(mask: Any, i: Any, j: Any) -> Any:
    """Which key positions `j` each query position `i` may look at, (..., Tq, Tk); None for all."""
    return None if mask is None else _square(mask, i, j)[..., i[:, None], j[None, :]]


def _square(mask: Any, i: Any, j: Any) -> Any:
    """A mask on the square of all positions."""
    import torch

    n = int(max(i.max(), j.max())) + 1
    kind, *given = mask
    everything = torch.ones(n, n, dtype=torch.bool)
    if kind in ("and", "or"):
        a, b = (_square(part, i, j) for part in given)
        return a & b if kind == "and" else a | b
    if kind == "causal":
        return everything.tril()
    if kind == "window":
        return everything.tril() ^ everything.tril(-given[0])
    if kind == "itself":
        return torch.eye(n, dtype=torch.bool)
    array = torch.as_tensor(given[0])
    if kind == "first" and array.ndim == 0:
        return torch.cat((everything[:, : given[0]], ~everything[:, given[0] :]), 1)
    if kind == "first":
        return torch.stack([_square(["first", m], i, j) for m in array.tolist()])[:, None]
    if kind == "padding":
        valid = torch.nn.functional.pad(array.bool(), (0, n - array.shape[1]))
        return valid[:, None, None, :].expand(-1, 1, n, n)
    if kind == "documents":
        one_hot = torch.nn.functional.one_hot(array.long()).to(torch.float32)
        same = (one_hot @ one_hot.mT) > 0
        return same if array.ndim == 1 else same[:, None]
    assert kind == "dense"
    square = torch.zeros(*array.shape[:-2], n, n, dtype=torch.bool)
    square[..., i[:, None], j[None, :]] = array.bool()
    return square


def sinusoids(n: int, dim: int, base: float, like: Any) -> Any:
    """Sine and cosine in turn: the parts of complex numbers of length one, exchanged."""
    import torch

    points = torch.polar(torch.ones((), dtype=torch.float64), _angles(torch.arange(n), dim, base))
    return torch.view_as_real(points).flip(-1).flatten(-2).to(like)


def turned(x: Any, at: Any, pairs: str, base: float, rotary_dim: int | None = None, factor: float = 1.0) -> Any:
    """Rotary positions: pairs of coordinates as complex numbers, times numbers of length one."""
    import torch

    r = x.shape[-1] if rotary_dim is None else rotary_dim
    part, rest = x[..., :r], x[..., r:]
    u = torch.polar(torch.ones((), dtype=torch.float64), _angles(at.double() / factor, r, base))
    u = u.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
    if pairs == "neighbours":
        y = torch.view_as_real(torch.view_as_complex(part.unflatten(-1, (-1, 2)).contiguous()) * u).flatten(-2)
    else:
        z = torch.complex(*part.chunk(2, -1)) * u
        y = torch.cat((z.real, z.imag), -1)
    return torch.cat((y, rest), -1)


def _angles(at: Any, dim: int, base: float) -> Any:
    import torch

    return torch.outer(at.double(), base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim))


def alibi_slopes(n: int) -> list[float]:
    """As in its authors' code."""

    def power_of_2(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    closest = 2 ** math.floor(math.log2(n))
    return power_of_2(n) if closest == n else power_of_2(closest) + alibi_slopes(2 * closest)[0::2][: n - closest]


def score_bias(positions: Any, weight: Any, n_heads: int, i: Any, j: Any, mask: Any, like: Any) -> Any:
    """What is added to the scores, (H, Tq, Tk), or None."""
    import torch

    kind, settings = positions
    if kind == "alibi":
        m = torch.tensor(alibi_slopes(n_heads), dtype=torch.float64)[:, None, None]
        later = j[None, :] > i[:, None]
        causal = mask is not None and not (mask & later).any()
        return (m * j.expand(len(i), -1) if causal else -m * (j[None, :] - i[:, None]).abs()).to(like)
    if kind == "relative":
        from transformers.models.t5.modeling_t5 import T5Attention

        found = T5Attention._relative_position_bucket(
            j[None, :] - i[:, None],
            bidirectional=not settings["causal"],
            num_buckets=settings["n_buckets"],
            max_distance=settings["max_distance"],
        )
        return torch.nn.functional.embedding(found, weight).permute(2, 0, 1)
    return None


def table_of(bias: Any, Tq: int, Tk: int) -> Any:
    """A bias by distance, as a table: each row begins one place earlier than the one above."""
    import torch

    return torch.stack([bias[:, Tq - 1 - i : Tq - 1 - i + Tk] for i in range(Tq)], 1)


# --- attention and layers in PyTorch


def scaled_dot(q: Any, k: Any, v: Any, mask: Any, bias: Any, scale: float | None = None, causal: bool = False) -> Any:
    """PyTorch's function: `bias` is a table, and together with a mask one of floats."""
    from torch.nn import functional as F

    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)
    if causal:
        mask = None
    gqa = q.shape[-3] != k.shape[-3]
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=gqa)


def attention(p: dict, mask: Any, scale: Any = None, start: Any = None, key_positions: Any = None) -> Any:
    """Of `q`, `k`, `v` and maybe `bias`, by the conventions of `fp_attention.scaled_dot`."""
    import torch

    q, k, v = (p[name][(None,) * max(4 - p[name].ndim, 0)] for name in "qkv")
    Tq, Tk = q.shape[-2], k.shape[-2]
    start = max(Tk - Tq, 0) if start is None else start
    i = torch.arange(start, start + Tq)
    j = torch.arange(Tk) if key_positions is None else torch.as_tensor(key_positions)
    table = table_of(p["bias"], Tq, Tk) if "bias" in p else None
    simple = mask == CAUSAL and Tq == Tk and start == 0 and table is None and key_positions is None
    y = scaled_dot(q, k, v, allowed(mask, i, j), table, scale, simple)
    return y.reshape(*p["q"].shape[:-1], v.shape[-1])


def layer(p: dict, settings: dict, positions: Any, mask: Any) -> Any:
    """Attention with several heads, written out."""
    import torch
    from torch.nn import functional as F

    kind, given = positions
    x, context = p["x"], p.get("context")
    T, C = x.shape[1:]
    if kind == "sinusoidal":
        x = x + sinusoids(T, C, given["base"], x)
    elif kind == "learned":
        x = x + F.embedding(torch.arange(T), p["positions.weight"])
    context = x if context is None else context
    Tk = context.shape[1]

    def heads(name: str, x: Any) -> Any:
        y = F.linear(x, p[f"{name}_proj.weight"], p.get(f"{name}_proj.bias"))
        return y.unflatten(-1, (-1, settings["d_head"])).transpose(1, 2)

    q, k, v = heads("q", x), heads("k", context), heads("v", context)
    if kind == "rope":
        q, k = turned(q, torch.arange(T), **given), turned(k, torch.arange(Tk), **given)
    may = allowed(mask, torch.arange(T), torch.arange(Tk))
    bias = score_bias(
        positions, p.get("positions.weight"), settings["n_heads"], torch.arange(T), torch.arange(Tk), may, x
    )
    y = scaled_dot(q, k, v, may, bias).transpose(1, 2).flatten(-2)
    return F.linear(y, p["o_proj.weight"], p.get("o_proj.bias"))


def multihead_attention(p: dict, settings: dict, mask: Any) -> tuple[Any, Any]:
    """By `torch.nn.MultiheadAttention`: the outcome, and the weights (B, H, T, Tk)."""
    import torch

    x, context = p["x"], p.get("context", p["x"])
    C, width, T, Tk = x.shape[2], context.shape[2], x.shape[1], context.shape[1]
    module = torch.nn.MultiheadAttention(
        C, settings["n_heads"], bias=settings["bias"], kdim=width, vdim=width, batch_first=True, dtype=x.dtype
    )
    parameters = {"out_proj.weight": p["o_proj.weight"]}
    if width == C:
        parameters["in_proj_weight"] = torch.cat([p[f"{name}_proj.weight"] for name in "qkv"])
    else:
        parameters |= {f"{name}_proj_weight": p[f"{name}_proj.weight"] for name in "qkv"}
    if settings["bias"]:
        parameters["in_proj_bias"] = torch.cat([p[f"{name}_proj.bias"] for name in "qkv"])
        parameters["out_proj.bias"] = p["o_proj.bias"]
    asked: dict[str, Any] = {"average_attn_weights": False}
    if mask is not None and mask[0] == "padding":
        asked["key_padding_mask"] = ~torch.as_tensor(mask[1]).bool()
    elif mask is not None:
        may = allowed(mask, torch.arange(T), torch.arange(Tk))
        asked["attn_mask"] = ~(may if may.ndim == 2 else may.expand(len(x), settings["n_heads"], T, Tk).flatten(0, 1))
    return torch.func.functional_call(module, parameters, (x, context, context), asked)


def attention_outcome(case: dict, p: dict) -> Any:
    """What an attention case makes of its variables."""
    return attention(p, case["mask"], **case["settings"])


def layer_outcome(case: dict, p: dict) -> Any:
    """What a layer case makes of its variables."""
    if case["by"] == "MultiheadAttention":
        return multihead_attention(p, case["settings"], case["mask"])[0]
    return layer(p, case["settings"], case["positions"], case["mask"])


# --- derivatives


def _tensor(x: Any) -> Any:
    import torch

    return torch.tensor(x, dtype=torch.float64)


def torch_case(case: dict, outcome: Callable[[dict, dict], Any]) -> dict:
    """Outcome, shortened gradients, slope and second derivative along a direction."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    read = reader(case["at"])
    p = {name: _tensor(x).requires_grad_() for name, x in variables(case, read).items()}
    leaves = list(p.values())
    out = outcome(case, p)
    c, v = _tensor(read(out.shape)), [_tensor(read(x.shape)) for x in leaves]

    def number(out: Any) -> Any:
        return (c * out + out * out / 2).sum()

    g = torch.autograd.grad(number(out), leaves, materialize_grads=True)
    with sdpa_kernel(SDPBackend.MATH):  # the one with a second derivative
        again = torch.autograd.grad(number(outcome(case, p)), leaves, create_graph=True, materialize_grads=True)
        slope = sum((a * b).sum() for a, b in zip(again, v, strict=True))
        moved = torch.autograd.grad(slope, leaves, materialize_grads=True)
    found = {
        "out": shortened(out),
        "gradient": {name: shortened(one) for name, one in zip(p, g, strict=True)},
        "slope": slope.item(),
        "second": sum((a * b).sum() for a, b in zip(moved, v, strict=True)).item(),
    }
    if case.get("by") == "MultiheadAttention":
        found["weights"] = shortened(multihead_attention(p, case["settings"], case["mask"])[1])
    return _rounded(found)


def _rounded(x: Any) -> Any:
    """Thirteen digits."""
    if isinstance(x, dict):
        return {key: _rounded(part) for key, part in x.items()}
    return [_rounded(part) for part in x] if isinstance(x, list) else float(f"{x:.13g}")


def compute() -> dict:
    """All that is frozen."""
    found = {
        "numbers": decimals(),
        "attention": [case | torch_case(case, attention_outcome) for case in attention_cases()],
        "layers": [case | torch_case(case, layer_outcome) for case in layer_cases()],
    }
    return json.loads(json.dumps(found))


def main() -> None:
    written = json.JSONEncoder(separators=(",", ":")).encode
    frozen = compute()
    parts = [f'"numbers": {written(frozen["numbers"])}']
    for name in ("attention", "layers"):
        parts.append(f'"{name}": [\n' + ",\n".join(map(written, frozen[name])) + "\n]")
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
    print(f"wrote {FIXTURE}")


if __name__ == "__main__":
    main()
