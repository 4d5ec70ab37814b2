"""Live: attention of random sizes in PyTorch and Hugging Face's models against `fp_attention`, in both precisions."""

import json
import zlib
from functools import partial
from itertools import cycle, islice

import numpy as np
import pytest
from tools.oracles import attention_layers as oracle

from fp_attention.masks import Causal, Dense, Documents, First, Itself, Padding, SlidingWindow
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import LearnedPositions, SinusoidalPositions
from fp_attention.relative import ALiBi, RelativeBias
from fp_attention.rotary import Linear, RoPE
from fp_attention.scaled_dot import scaled_dot_product_attention
from fp_attention.tiled import tiled_attention
from fp_autograd.functional import vjp

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)  # of numbers that are replaced
FUNCTIONS = [scaled_dot_product_attention, tiled_attention]
DTYPES = [np.float64, np.float32]
# by which sizes are drawn: in one piece; several strips; several strips and several tiles of each
LENGTHS = {"short": (1, 40), "middle": (65, 300), "long": (520, 900)}


def rng_of(*names):
    return np.random.default_rng(zlib.crc32(" ".join(names).encode()))


# --- the operation


CAUSAL, ITSELF = oracle.CAUSAL, oracle.ITSELF
MASKS = [*oracle.masks(2)]
SQUARE = {"none", "first", "padding", "dense", "dense of each head", "dense of each text and head"}  # more queries too


def drawn(name, rng, B, H, Tq, Tk):
    """A mask of this name, as the oracle writes it, for any sizes."""
    width, n, N = int(rng.integers(1, Tk + 1)), int(rng.integers(1, Tk + 1)), max(Tq, Tk)

    def dense(*before):
        array = rng.random((*before, Tq, Tk)) < rng.choice([0.02, 0.5, 0.98])
        array[..., np.arange(Tq), rng.integers(0, Tk, Tq)] = True
        return ["dense", array]

    def valid(first):
        array = np.arange(Tk) < rng.integers(1, Tk + 1, (B, 1))
        return ["padding", array if first else array[:, ::-1].copy()]

    def causal_dense(*before):
        mask = dense(*before)
        return ["or", ["and", CAUSAL, mask], ITSELF]

    return {
        "none": lambda: None,
        "causal": lambda: CAUSAL,
        "window": lambda: ["window", width],
        "itself": lambda: ITSELF,
        "first": lambda: ["first", n],
        "prefix": lambda: ["or", CAUSAL, ["first", n]],
        "prefix of each text": lambda: ["or", CAUSAL, ["first", rng.integers(0, Tk + 1, B).tolist()]],
        "window and sinks": lambda: ["or", ["window", width], ["and", CAUSAL, ["first", n // 3]]],
        "padding": lambda: valid(True),
        "causal and padding": lambda: ["and", CAUSAL, valid(True)],
        "padding before": lambda: ["or", ["and", CAUSAL, valid(False)], ITSELF],
        "documents": lambda: ["documents", np.sort(rng.integers(0, 5, N))],
        "documents of each text": lambda: ["and", CAUSAL, ["documents", rng.integers(0, 3, (B, N))]],
        "dense": dense,
        "dense of each head": lambda: dense(H),
        "dense of each text": lambda: dense(B, 1),
        "dense of each text and head": lambda: causal_dense(B, H) if Tq <= Tk else dense(B, H),
    }[name]()


def masked(mask, first=None):
    """What the oracle writes, as `fp_attention` takes it; `first` is the position of an array's first row."""
    if mask is None:
        return None
    kind, *given = mask
    if kind in ("and", "or"):
        a, b = (masked(part, first) for part in given)
        return a & b if kind == "and" else a | b
    if kind == "dense":
        return np.array(given[0], bool) if first is None else Dense(np.array(given[0], bool), first)
    made = {
        "causal": Causal,
        "itself": Itself,
        "window": SlidingWindow,
        "first": First,
        "padding": lambda valid: Padding(np.array(valid, bool)),
        "documents": lambda ids: Documents(np.array(ids)),
    }
    return made[kind](*given)


# --- both sides


def in_torch(function, variables):
    """Outcome, cotangent and gradients in float64."""
    leaves = {name: torch.tensor(x, dtype=torch.float64, requires_grad=True) for name, x in variables.items()}
    out = function(leaves)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).double()
    gradients = torch.autograd.grad(out, list(leaves.values()), g, materialize_grads=True)
    return out.detach().numpy(), g.numpy(), dict(zip(leaves, (x.numpy() for x in gradients), strict=True))


def the_same(ours, theirs, variables, roundings, what):
    """
    A function in both precisions, and its counterpart in PyTorch in float64 on the same numbers.

    `roundings` is how many errors of 2^-53 or 2^-24 of the largest number may come together. Gradients of one case are
    of about one size; if all of one cancels, as that of queries that see one key each, what is left is that of the
    others.
    """
    out, g, gradients = theirs
    size = max(np.abs(x).max(initial=0.0) for x in gradients.values())
    for dtype in DTYPES:
        y, back = vjp(ours, {name: x.astype(dtype) for name, x in variables.items()})
        (found,) = back(g.astype(dtype))
        near(y, out, dtype, roundings, np.abs(out).max(initial=0.0), f"out, {what}")
        for name, dx in found.items():
            terms = y.shape[-2] if name == "bias" else 1  # as many as queries are added, errors of either sign
            near(dx, gradients[name], dtype, roundings, size * np.sqrt(terms), f"gradient in {name}, {what}")


def near(ours, theirs, dtype, roundings, size, what):
    assert ours.dtype == dtype
    atol = roundings * np.finfo(dtype).eps * size
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=f"{what}, {dtype.__name__}")


def of_a_dict(function, mask, **settings):
    return lambda p: function(**p, mask=masked(mask), **settings)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("heads", ["as many", "grouped", "one"])
@pytest.mark.parametrize("name", MASKS)
def test_attention(name, heads, length):
    for biased in (False, True):
        rng = rng_of(name, heads, length, str(biased))
        B, Hkv, G = rng.integers(1, 3, 3).tolist() if length != "long" else (1, 1, 2)
        Hkv, G = {"as many": (Hkv, 1), "grouped": (2, G + 1), "one": (1, G + 1)}[heads]
        H, (D, Dv), (Tq, Tk) = Hkv * G, rng.integers(1, 33, 2).tolist(), rng.integers(*LENGTHS[length], 2).tolist()
        if (name not in SQUARE and Tq > Tk) or rng.random() < 0.5:
            Tq = Tk
        shapes = {"q": (B, H, Tq, D), "k": (B, Hkv, Tk, D), "v": (B, Hkv, Tk, Dv)}
        if biased:
            shapes["bias"] = (H, Tq + Tk - 1)
        variables = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        mask, scale = drawn(name, rng, B, H, Tq, Tk), rng.choice([None, 0.3, 2.0])
        theirs = in_torch(partial(oracle.attention, mask=mask, scale=scale), variables)
        # a score of the size s is wrong by a few times s 2^-53, and so are the weights and all that is made of them
        s = np.prod([np.linalg.norm(variables[name], axis=-1).max() for name in "qk"]) * (scale or D**-0.5)
        for function in FUNCTIONS:
            what = f"{function.__name__}, {shapes} {scale=}"
            the_same(of_a_dict(function, mask, scale=scale), theirs, variables, 6 * (2 + s), what)


@pytest.mark.parametrize("seed", range(12))
def test_attention_after_a_cache_with_gaps(seed):
    """Queries and keys at given positions."""
    rng = rng_of("gaps", str(seed))
    B, H, G, Tq, Tk, D = 2, 2, int(rng.integers(1, 4)), int(rng.integers(1, 90)), int(rng.integers(91, 300)), 8
    start = int(rng.integers(Tk, 2 * Tk))
    early, late = np.arange(start), np.arange(start, start + Tq)
    positions = np.concatenate((np.sort(rng.choice(early, Tk - Tq, replace=False)), late))
    mask = drawn("window and sinks", rng, B, H * G, Tq, Tk)
    variables = {"q": rng.normal(size=(B, H * G, Tq, D))}
    variables |= {name: rng.normal(size=(B, H, Tk, D)) for name in "kv"}
    variables = {name: x.astype(np.float32) for name, x in variables.items()}
    at = {"start": start, "key_positions": positions}
    theirs = in_torch(partial(oracle.attention, mask=mask, **at), variables)
    for function in FUNCTIONS:
        what = f"{function.__name__} {Tq=} {Tk=} {G=} {start=}"
        the_same(of_a_dict(function, mask, **at), theirs, variables, 72, what)  # scores up to 10


def test_attention_on_threads():
    """Large enough that texts and heads are shared out to threads, if BLAS has several."""
    rng = rng_of("threads")
    variables = {name: rng.normal(size=(3, 4, 400, 16)).astype(np.float32) for name in "qkv"}
    theirs = in_torch(partial(oracle.attention, mask=CAUSAL), variables)
    for function in FUNCTIONS:
        the_same(of_a_dict(function, CAUSAL), theirs, variables, 72, function.__name__)  # scores up to 10


# --- the layer


def placed(positions, dim, n_heads, d_head, dtype):
    kind, settings = positions
    if kind == "rope":
        settings = dict(settings)
        factor = settings.pop("factor", None)
        return RoPE(d_head, **settings, scaling=None if factor is None else Linear(factor))
    made = {
        "none": lambda: None,
        "sinusoidal": lambda base: SinusoidalPositions(dim, base),
        "learned": lambda context: LearnedPositions(context, dim, rng=RNG, dtype=dtype),
        "alibi": lambda: ALiBi(n_heads, dtype=dtype),
        "relative": lambda **settings: RelativeBias(n_heads, rng=RNG, dtype=dtype, **settings),
    }
    return made[kind](**settings)


def of_a_layer(settings, positions, mask, tiled):
    """A function of inputs and parameters by name."""

    def ours(p):
        dtype = p["x"].dtype
        where = placed(positions, *(settings[name] for name in ("dim", "n_heads", "d_head")), dtype)
        layer = MultiHeadAttention(**settings, positions=where, mask=masked(mask, 0), tiled=tiled, rng=RNG, dtype=dtype)
        parameters = {name: x for name, x in p.items() if "." in name}
        assert parameters.keys() == layer.named_parameters().keys()
        return layer.functional(parameters, *(p[name] for name in ("x", "context") if name in p))

    return ours


def layer_variables(rng, settings, positions, T, Tk=None):
    """Inputs and parameters, such that queries and keys have a size of about one."""
    C, H, Hkv, D = (settings[name] for name in ("dim", "n_heads", "n_kv_heads", "d_head"))
    width = settings.get("context_dim", C)
    B = int(rng.integers(1, 4))
    found = {"x": rng.normal(size=(B, T, C))}
    if Tk is not None:
        found["context"] = rng.normal(size=(B, Tk, width))
    for name, shape in {"q": (H * D, C), "k": (Hkv * D, width), "v": (Hkv * D, width), "o": (C, H * D)}.items():
        found[f"{name}_proj.weight"] = rng.normal(size=shape) / np.sqrt(shape[1])
        if settings["bias"]:
            found[f"{name}_proj.bias"] = rng.normal(size=shape[0])
    if positions[0] == "learned":
        found["positions.weight"] = rng.normal(size=(positions[1]["context"], C))
    if positions[0] == "relative":
        found["positions.weight"] = rng.normal(size=(positions[1]["n_buckets"], H))
    return {name: x.astype(np.float32) for name, x in found.items()}


def drawn_positions(name, rng, d_head, T):
    kind, _ = oracle.POSITIONS[name]
    some = {"base": float(rng.choice([20.0, 10_000.0, 500_000.0]))}
    if kind == "rope":
        some["pairs"] = "neighbours" if "neighbours" in name else "halves"
        if "part" in name:
            some["rotary_dim"] = 2 * int(rng.integers(1, d_head // 2 + 1))
        if name == "rope, interpolated":
            some["factor"] = float(rng.uniform(1, 8))
    elif kind == "learned":
        some = {"context": T + int(rng.integers(0, 5))}
    elif kind == "relative":
        causal = name == "relative"
        n = 2 * int(rng.integers(2, 17))
        some = {"n_buckets": n, "max_distance": int(rng.integers(n + 1, 200)), "causal": causal}
    elif kind != "sinusoidal":
        some = {}
    return [kind, some]


# Scores are up to 20 and wrong by as many roundings, forward and again backward; those of rotary tables in single
# precision and of four linear layers come on top.
ROUNDINGS = 60


@pytest.mark.parametrize("heads", ["as many", "grouped", "one"])
@pytest.mark.parametrize("name", oracle.POSITIONS)
def test_a_layer(name, heads):
    """Each kind of positions meets each mask twice, in the three kinds of heads together."""
    masks = cycle(np.roll(MASKS, -12 * ["as many", "grouped", "one"].index(heads)).tolist())
    for length in ("short", "middle"):
        for tiled in (False, True):
            rng = rng_of(name, heads, length, str(tiled))
            Hkv, G = {"as many": (5, 1), "grouped": (2, 3), "one": (1, 4)}[heads]
            settings = {"n_heads": Hkv * G, "n_kv_heads": Hkv, "d_head": 2 * int(rng.integers(1, 9))}
            settings |= {"dim": 2 * int(rng.integers(1, 20)), "bias": bool(rng.integers(2))}
            T = int(rng.integers(*LENGTHS[length]))
            positions = drawn_positions(name, rng, settings["d_head"], T)
            variables = layer_variables(rng, settings, positions, T)
            for which in islice(masks, 3):
                mask = drawn(which, rng, len(variables["x"]), Hkv * G, T, T)
                theirs = in_torch(partial(oracle.layer, settings=settings, positions=positions, mask=mask), variables)
                ours = of_a_layer(settings, positions, mask, tiled)
                the_same(ours, theirs, variables, ROUNDINGS, f"{positions} {which} {settings} {T=} {tiled=}")


@pytest.mark.parametrize("name", oracle.POSITIONS)
def test_a_layer_that_reads_another_text(name):
    if name == "relative":
        pytest.skip("its buckets are for keys before the query, and another text has no before")
    for tiled in (False, True):
        rng = rng_of(name, "reading", str(tiled))
        settings = {"n_heads": 4, "n_kv_heads": 2, "d_head": 6, "dim": 14, "context_dim": 9, "bias": True}
        T, Tk = (int(n) for n in rng.integers(1, 200, 2))
        positions = drawn_positions(name, rng, 6, T)
        variables = layer_variables(rng, settings, positions, T, Tk)
        for which in ("none", "padding", "dense of each head"):
            mask = drawn(which, rng, len(variables["x"]), 4, T, Tk)
            theirs = in_torch(partial(oracle.layer, settings=settings, positions=positions, mask=mask), variables)
            ours = of_a_layer(settings, positions, mask, tiled)
            the_same(ours, theirs, variables, ROUNDINGS, f"{positions} {which} {T=} {Tk=} {tiled=}")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reading", ["itself", "another", "another width"])
@pytest.mark.parametrize("which", ["none", "causal", "padding", "dense of each text and head"])
def test_torch_multihead_attention(which, reading, bias):
    rng = rng_of(which, reading, str(bias))
    settings = {"dim": 15, "n_heads": 3, "n_kv_heads": 3, "d_head": 5, "bias": bias}
    settings["context_dim"] = 8 if reading == "another width" else 15
    T, Tk = sorted(int(n) for n in rng.integers(1, 200, 2)) if reading != "itself" else (137, None)
    none = ["none", {}]
    variables = layer_variables(rng, settings, none, T, Tk)
    mask = drawn(which, rng, len(variables["x"]), 3, T, Tk or T)
    theirs = in_torch(lambda p: oracle.multihead_attention(p, settings, mask)[0], variables)
    for tiled in (False, True):
        the_same(of_a_layer(settings, none, mask, tiled), theirs, variables, ROUNDINGS, f"{T=} {Tk=} {tiled=}")


# --- layers of Hugging Face's models, with our parameters


def of_a_model(module, call, ours, T, renamed, factors):
    """Outcome and gradients in float64; a parameter's name and what it is multiplied by may differ."""
    own = ours.named_parameters()
    given = {renamed.get(name, name): torch.from_numpy(p.data * factors.get(name, 1)) for name, p in own.items()}
    module.double().load_state_dict(given)
    rng = rng_of(type(module).__name__)
    x, g = rng.normal(size=(2, T, ours.dim)), rng.normal(size=(2, T, ours.dim))
    leaf = torch.tensor(x, requires_grad=True)
    theirs = call(leaf)
    theirs.backward(torch.from_numpy(g))
    y, back = vjp(lambda x, p: ours.functional(p, x), x, {name: p.data for name, p in own.items()})
    dx, gradients = back(g)

    def same(mine, peer, what):
        # Llama's angles are computed in single precision: an error of 2^-24 of T radians turns queries and keys
        size = peer.abs().max().item()
        np.testing.assert_allclose(mine, peer.detach().numpy(), rtol=0, atol=T * 2.0**-24 * size, err_msg=what)

    same(y, theirs, "out")
    same(dx, leaf.grad, "gradient in x")
    found = dict(module.named_parameters())
    for name, dp in gradients.items():
        same(dp, found[renamed.get(name, name)].grad * factors.get(name, 1), f"gradient in {name}")


@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_the_attention_of_llama(n_kv_heads):
    transformers = pytest.importorskip("transformers")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    C, T = 24, 70
    config = transformers.LlamaConfig(
        hidden_size=C, num_attention_heads=6, num_key_value_heads=n_kv_heads, head_dim=8, attn_implementation="sdpa"
    )
    module, rotary = llama.LlamaAttention(config, layer_idx=0), llama.LlamaRotaryEmbedding(config)
    ours = MultiHeadAttention(
        C, 6, n_kv_heads=n_kv_heads, d_head=8, positions=RoPE(8), mask=Causal(), rng=rng_of("llama"), dtype=float
    )
    of_a_model(module, lambda x: module(x, rotary(x, torch.arange(T)[None]), None)[0], ours, T, {}, {})


@pytest.mark.parametrize("causal", [True, False])
def test_the_attention_of_t5(causal):
    """Its scores are not divided by the root of the width."""
    transformers = pytest.importorskip("transformers")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    C, T, H, D = 20, 70, 3, 8
    config = transformers.T5Config(d_model=C, d_kv=D, num_heads=H, is_decoder=causal, dropout_rate=0.0)
    module = t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    positions = RelativeBias(H, causal=causal, rng=rng_of("t5"), std=1.0, dtype=float)
    mask = Causal() if causal else None
    ours = MultiHeadAttention(C, H, d_head=D, positions=positions, mask=mask, rng=rng_of("t5 layer"), dtype=float)
    table = torch.zeros(1, 1, T, T, dtype=torch.float64)
    if causal:
        table = table.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    renamed = {f"{name}_proj.weight": f"{name}.weight" for name in "qkvo"}
    renamed["positions.weight"] = "relative_attention_bias.weight"
    of_a_model(module, lambda x: module(x, mask=table)[0], ours, T, renamed, {"q_proj.weight": D**-0.5})


# --- the fixture


def test_the_fixture_is_what_torch_says_today():
    frozen, today = json.loads(oracle.FIXTURE.read_text(encoding="utf-8")), oracle.compute()

    def compare(then, now):
        if isinstance(then, dict):
            assert then.keys() == now.keys()
            for key in then:
                compare(then[key], now[key])
        elif isinstance(then, list) and then and isinstance(then[0], list | dict | str):
            for a, b in zip(then, now, strict=True):
                compare(a, b)
        elif isinstance(then, str | bool | None):
            assert then == now
        else:
            # thirteen digits; another version, or another processor, may order sums of numbers up to 1000 otherwise
            np.testing.assert_allclose(np.array(then, float), np.array(now, float), rtol=1e-12, atol=1e-11)

    compare(frozen, today)
