"""Every mask, kind of heads and kind of positions, forward and backward, against frozen results of PyTorch."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fp_attention import scaled_dot, tiled
from fp_attention.masks import Causal, Documents, First, Itself, Padding, SlidingWindow
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import LearnedPositions, SinusoidalPositions
from fp_attention.relative import ALiBi, RelativeBias
from fp_attention.rotary import Linear, RoPE
from fp_attention.scaled_dot import scaled_dot_product_attention
from fp_attention.tiled import tiled_attention
from fp_autograd.functional import hvp, jvp, vjp
from fp_autograd.tracing import value_of

TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text(encoding="utf-8"))
NUMBERS = np.array(TORCH["numbers"])
RNG = np.random.default_rng(0)  # of numbers that are replaced
# PyTorch says what the shapes are; to check those of every small operation besides would take twice the time
pytestmark = pytest.mark.usefixtures("shapes_unchecked")


@pytest.fixture
def small_pieces(monkeypatch):
    """So that a table of five by five has several strips and tiles."""
    monkeypatch.setattr(scaled_dot, "_rows", lambda G, Tk: 2)
    monkeypatch.setattr(tiled, "ROWS", 4)
    monkeypatch.setattr(tiled, "COLUMNS", 2)


def the_same(ours, theirs, what, size=0.0):
    """Of numbers that are sums, where terms of `size` may have cancelled."""
    theirs = np.array(theirs)
    # Thirteen digits are frozen, 5e-13 of a number. A score of size s has an error of s 2^-53, and so have the weights:
    # 1e-13 where scores are near a thousand, 1e-15 elsewhere, before some dozen terms of either sign are added.
    atol = 2e-13 * max(size, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=atol, err_msg=what)
    assert np.asarray(ours).dtype == float


def shortened(x):
    return x @ np.cos(np.arange(x.shape[-1]))


def reader(at):
    """Arrays of given shapes, read off the list of numbers one after the other."""

    def read(shape):
        nonlocal at
        start, at = at, at + math.prod(shape)
        return np.resize(np.roll(NUMBERS, -start), shape)

    return read


def variables(case, read):
    return {name: read(shape) / (2 if "." in name else 1) for name, shape in case["variables"].items()}


def agree(case, function, second=False):
    """Outcome, and gradients, slope in both modes, and second derivative of L = sum(c out + out^2 / 2)."""
    read = reader(case["at"])
    p = variables(case, read)
    out, back = vjp(function, p)
    c, v = read(out.shape), {name: read(x.shape) for name, x in p.items()}
    the_same(shortened(out), case["out"], "out")
    (gradient,) = back(c + out)
    size = max(np.abs(np.array(theirs)).max() for theirs in case["gradient"].values())
    for name, theirs in case["gradient"].items():  # that of a bias of the keys is zero, but for rounding
        the_same(shortened(gradient[name]), theirs, f"gradient in {name}", size)
    # products with a direction: up to 300 terms of the size of the gradient
    slope = sum((a * v[name]).sum() for name, a in gradient.items())
    the_same(slope, case["slope"], "slope, reverse", 10 * size)
    same, moved = jvp(function, (p,), (v,))
    assert (same == out).all()
    the_same(((c + out) * moved).sum(), case["slope"], "slope, forward", 10 * size)
    if second:

        def number(p):
            y = function(p)
            return (c * y + y * y / 2).sum()

        assert (value_of(function(p)) == out).all()  # whether a derivative is wanted makes no difference
        product = hvp(number)(p, v)
        the_same(sum((a * v[name]).sum() for name, a in product.items()), case["second"], "second", 10 * size)


# --- the operation


def masked(mask):
    """Of `fp_attention.masks`, or an array."""
    if mask is None:
        return None
    kind, *given = mask
    if kind in ("and", "or"):
        a, b = map(masked, given)
        return a & b if kind == "and" else a | b
    if kind == "dense":
        return np.array(given[0], bool)
    made = {
        "causal": Causal,
        "itself": Itself,
        "window": SlidingWindow,
        "first": First,
        "padding": lambda valid: Padding(np.array(valid, bool)),
        "documents": lambda ids: Documents(np.array(ids)),
    }
    return made[kind](*given)


def title(case):
    return case["title"]


def attention(case, function):
    settings = case["settings"] | {"mask": masked(case["mask"])}
    if "key_positions" in settings:
        settings["key_positions"] = np.array(settings["key_positions"])
    return lambda p: function(**p, **settings)


EACH = pytest.mark.parametrize("case", TORCH["attention"], ids=title)


@EACH
def test_attention_agrees_with_torch(case):
    agree(case, attention(case, scaled_dot_product_attention), second=True)


@EACH
@pytest.mark.parametrize("function", [scaled_dot_product_attention, tiled_attention])
def test_attention_in_small_pieces_agrees_with_torch(case, function, small_pieces):
    agree(case, attention(case, function))  # the second derivative is computed without pieces


# --- the layer


def placed(positions, dim, n_heads, d_head):
    kind, settings = positions
    if kind == "rope":
        settings = dict(settings)
        factor = settings.pop("factor", None)
        return RoPE(d_head, **settings, scaling=None if factor is None else Linear(factor))
    made = {
        "none": lambda: None,
        "sinusoidal": lambda base: SinusoidalPositions(dim, base),
        "learned": lambda context: LearnedPositions(context, dim, rng=RNG, dtype=float),
        "alibi": lambda: ALiBi(n_heads, dtype=float),
        "relative": lambda **settings: RelativeBias(n_heads, rng=RNG, dtype=float, **settings),
    }
    return made[kind](**settings)


def built(case, tiles):
    settings = case["settings"]
    positions = placed(case["positions"], *(settings[name] for name in ("dim", "n_heads", "d_head")))
    return MultiHeadAttention(
        **settings, positions=positions, mask=masked(case["mask"]), tiled=tiles, rng=RNG, dtype=float
    )


def inputs(p):
    return [p[name] for name in ("x", "context") if name in p]


def parameters(p):
    return {name: x for name, x in p.items() if "." in name}


def gives(case, tiles):
    layer = built(case, tiles)
    own = {name: p.shape for name, p in layer.named_parameters().items()}
    assert own == {name: tuple(shape) for name, shape in parameters(case["variables"]).items()}
    return lambda p: layer.functional(parameters(p), *inputs(p))


EACH_LAYER = pytest.mark.parametrize("case", TORCH["layers"], ids=title)


@EACH_LAYER
def test_a_layer_agrees_with_torch(case):
    agree(case, gives(case, tiles=False), second=True)


@EACH_LAYER
def test_a_layer_in_tiles_agrees_with_torch(case, small_pieces):
    agree(case, gives(case, tiles=True))


@pytest.mark.parametrize("case", [case for case in TORCH["layers"] if "weights" in case], ids=title)
def test_weights_of_a_layer_agree_with_torch(case):
    layer, p = built(case, tiles=False), variables(case, reader(case["at"]))
    layer.load_state_dict(parameters(p))
    the_same(shortened(layer.weights(*inputs(p))), case["weights"], "weights")


def kinds(mask):
    """All masks that are part of one, arrays by their axes."""
    if mask is None:
        return {"none"}
    if mask[0] in ("and", "or"):
        return {mask[0]} | kinds(mask[1]) | kinds(mask[2])
    return {f"{mask[0]}, {np.ndim(mask[1])} axes" if mask[0] in ("first", "documents", "dense") else mask[0]}


def shared(H, Hkv):
    return "as many" if Hkv == H else "one" if Hkv == 1 else "grouped"


def test_every_kind_is_frozen():
    """Every mask and every kind of positions with every kind of heads, and all positions with several masks."""
    met = {heads: set() for heads in ("as many", "grouped", "one")}
    placed_with = {heads: set() for heads in met}
    masked_with = {}
    for case in TORCH["attention"]:
        q, k = (case["variables"][name] for name in "qk")
        if len(q) == 4:
            met[shared(q[1], k[1])] |= kinds(case["mask"]) | ({"bias"} if "bias" in case["variables"] else set())
    for case in TORCH["layers"]:
        kind, how = case["positions"][0], case["positions"][1].get("pairs")
        placed_with[shared(case["settings"]["n_heads"], case["settings"]["n_kv_heads"])].add((kind, how))
        masked_with.setdefault((kind, how), set()).add(str(case["mask"]))
    arrays = {"first, 0 axes", "first, 1 axes", "documents, 1 axes", "documents, 2 axes"}
    arrays |= {f"dense, {n} axes" for n in (2, 3, 4)}
    everything = arrays | {"none", "causal", "window", "itself", "padding", "and", "or", "bias"}
    assert all(found == everything for found in met.values())
    places = {(kind, None) for kind in ("none", "sinusoidal", "learned", "alibi", "relative")}
    places |= {("rope", "halves"), ("rope", "neighbours")}
    assert all(found == places for found in placed_with.values())
    assert all(len(found) >= 3 for found in masked_with.values())
    assert {case["by"] for case in TORCH["layers"]} == {"hand", "MultiheadAttention"}
