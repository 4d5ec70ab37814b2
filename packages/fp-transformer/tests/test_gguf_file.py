"""Mirrors src/fp_transformer/gguf_file.py."""

import itertools
import json
import math
import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.rotary import RoPE
from fp_transformer import gguf_file
from fp_transformer.checkpoint import load
from fp_transformer.config import TransformerConfig
from fp_transformer.gguf_file import (
    bits_per_weight,
    dequantize_blocks,
    permute_rows,
    quantize_blocks,
    read_gguf,
    unpermute_rows,
)
from fp_transformer.model import Transformer

FROZEN = json.loads((Path(__file__).parent / "fixtures/gguf_blocks.json").read_text(encoding="utf-8"))
NUMBER = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12, "BF16": 30}
SMOLLM2 = Path(os.environ.get("FP_SMOLLM2_GGUF", ""))

LLAMA = TransformerConfig.llama(
    vocab_size=13, context_length=11, n_layers=2, n_heads=4, n_kv_heads=2, d_model=32, d_ff=64, rope_base=500.0
)
GPT2 = TransformerConfig.gpt2(vocab_size=17, context_length=7, n_layers=1, n_heads=2, d_model=32, d_ff=64, tied=False)


# --- blocks


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_blocks_mean_what_the_library_says_bit_for_bit(kind):
    blocks = np.frombuffer(bytes.fromhex(FROZEN[kind]["blocks"]), np.uint8)
    numbers = dequantize_blocks(blocks.reshape(2, -1), kind)
    assert numbers.dtype == np.float32 and numbers.shape == (2, 32)
    np.testing.assert_array_equal(numbers.ravel(), FROZEN[kind]["numbers"])


@pytest.mark.parametrize("kind", FROZEN)
def test_the_sizes_of_blocks_are_the_librarys(kind):
    n = len(FROZEN[kind]["numbers"])
    assert bits_per_weight(kind) == 4 * len(FROZEN[kind]["blocks"]) / n  # two letters a byte


def bound(block, kind):
    """The claim's, for each number of a block, as exact fractions."""
    x = [Fraction(float(v)) for v in block]
    a, r, m, u = max(map(abs, x)), max(x) - min(x), min(x), Fraction(1, 2**11)
    if kind == "Q8_0":
        return [a * (Fraction(1, 254) + u)] * 32
    if kind == "Q4_1":
        return [(r * (Fraction(1, 30) + u) if r else 0) + u * abs(m)] * 32
    if a == 0:
        return [Fraction(0)] * 32
    d = max(x, key=abs) / -8
    return [a * (Fraction(1, 16 if v / d <= Fraction(15, 2) else 8) + u) for v in x]


def in_range(block, kind):
    """Whether scale and offset are zero or normal numbers of float16."""
    a, r = np.abs(block).max(), block.max() - block.min()
    d = {"Q8_0": a / 127, "Q4_0": a / 8, "Q4_1": r / 15}[kind]
    offset = abs(block.min()) if kind == "Q4_1" else 0.0
    return all(v == 0 or 2.0**-14 * 1.001 < v < 65504 for v in (d, offset))


@pytest.mark.claim("transformer.block-quantisation")
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
@given(st.data())
@settings(max_examples=25)
def test_no_number_is_further_off_than_the_bound(kind, data):
    scale = data.draw(st.sampled_from([0.01, 1.0, 300.0]))
    values = st.one_of(st.integers(-16, 16).map(lambda k: k / 16), st.floats(-1, 1, width=32), st.just(0.0))
    block = np.array(data.draw(st.lists(values, min_size=32, max_size=32)), np.float32) * np.float32(scale)
    if data.draw(st.booleans()):
        block = np.full(32, block[0])
    if not in_range(block, kind):
        return
    found = dequantize_blocks(quantize_blocks(block, kind), kind)
    for x, y, limit in zip(block, found, bound(block, kind), strict=True):
        # the product and the sum of a block are rounded to float32, and quotients to float64
        assert abs(Fraction(float(x)) - Fraction(float(y))) <= limit + Fraction(float(abs(y)) + scale) / 2**23


@pytest.mark.claim("transformer.block-quantisation")
def test_the_bounds_are_nearly_reached():
    both = np.zeros(32)
    both[3], both[7] = 1, -1
    off = np.abs(dequantize_blocks(quantize_blocks(both, "Q4_0"), "Q4_0") - both)
    assert off[7] == 1 / 8 and off[3] == 0
    halfway = np.zeros(32)
    halfway[0], halfway[1] = 127, 0.5001
    assert abs(dequantize_blocks(quantize_blocks(halfway, "Q8_0"), "Q8_0")[1] - 0.5001) == pytest.approx(0.4999)
    steps = np.zeros(32)
    steps[0], steps[1] = 15, 0.4999
    assert abs(dequantize_blocks(quantize_blocks(steps, "Q4_1"), "Q4_1")[1] - 0.4999) == pytest.approx(0.4999)


@pytest.mark.claim("transformer.block-quantisation")
@pytest.mark.parametrize("value", [0.0, 0.75, -3.0, 1 / 3])
def test_blocks_of_one_number_keep_it(value):
    block = np.full(32, value)
    for kind in ("Q8_0", "Q4_0", "Q4_1"):
        y = dequantize_blocks(quantize_blocks(block, kind), kind)
        assert (np.abs(y - value) <= (1 / 254 + 2.0**-11 if kind == "Q8_0" else 2.0**-11) * abs(value) + 1e-9).all()


def test_blocks_are_made_row_by_row():
    x = np.random.default_rng(3).normal(size=(2, 3, 64)).astype(np.float32)
    for kind, size in (("Q8_0", 34), ("Q4_0", 18), ("Q4_1", 20)):
        blocks = quantize_blocks(x, kind)
        assert blocks.shape == (2, 3, 2 * size) and blocks.dtype == np.uint8
        np.testing.assert_array_equal(blocks[1, 2, size:], quantize_blocks(x[1, 2, 32:], kind))
        y = dequantize_blocks(blocks, kind)
        assert y.shape == x.shape
        np.testing.assert_array_equal(quantize_blocks(y[:1], kind).shape, blocks[:1].shape)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: quantize_blocks(np.zeros(32), "Q4_K"), "are Q8_0, Q4_0 and Q4_1, got 'Q4_K'"),
        (lambda: quantize_blocks(np.zeros((2, 33)), "Q8_0"), r"blocks of 32 numbers, got the shape \(2, 33\)"),
        (lambda: quantize_blocks(np.full(32, np.nan), "Q8_0"), "numbers must be finite"),
        (lambda: quantize_blocks(np.full(32, 1e9), "Q4_0"), "their scales at most 65504"),
        (lambda: quantize_blocks(np.full(32, -1e9), "Q4_1"), "their scales at most 65504"),
        (lambda: dequantize_blocks(np.zeros(33, np.uint8), "Q8_0"), r"have 34 bytes each, got rows of the shape \(33,"),
        (lambda: dequantize_blocks(np.zeros(34, np.uint8), "IQ2_S"), "got 'IQ2_S'"),
        (lambda: bits_per_weight("IQ2_S"), "the kinds are F32, .*, got 'IQ2_S'"),
        (lambda: permute_rows(np.zeros((6, 2)), 2), "6 rows do not make 2 of those"),
        (lambda: unpermute_rows(np.zeros((6, 2)), 0), "6 rows do not make 0 of those"),
    ],
)
def test_what_is_no_block_is_refused(call, sentence, shapes_unchecked):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- the order of rows


@pytest.mark.claim("transformer.gguf-rotary")
def test_the_permutation_is_the_one_of_the_claim_and_is_undone():
    for heads, half in itertools.product((1, 2, 3, 5), (1, 2, 3, 7)):
        D = 2 * half
        W = np.arange(heads * D * 2.0).reshape(heads * D, 2)
        other = permute_rows(W, heads)
        for head, i, s in itertools.product(range(heads), range(half), (0, 1)):
            np.testing.assert_array_equal(other[head * D + 2 * i + s], W[head * D + i + s * half])
        np.testing.assert_array_equal(unpermute_rows(other, heads), W)
        np.testing.assert_array_equal(permute_rows(unpermute_rows(W, heads), heads), W)


@pytest.mark.claim("transformer.gguf-rotary")
def test_neighbours_with_permuted_rows_score_as_halves_do():
    rng = np.random.default_rng(11)
    H, D, C, T = 3, 10, 7, 5
    Wq, Wk, x = rng.normal(size=(H * D, C)), rng.normal(size=(H * D, C)), rng.normal(size=(T, C))

    def scores(Wq, Wk, pairs):
        rope = RoPE(D, 100.0, pairs=pairs)
        q, k = (rope.on_heads((x @ W.T).reshape(T, H, D).swapaxes(0, 1), np.arange(T)) for W in (Wq, Wk))
        return q @ k.swapaxes(1, 2)

    halves = scores(Wq, Wk, "halves")
    # float64 and the same sums in another order
    np.testing.assert_allclose(scores(permute_rows(Wq, H), permute_rows(Wk, H), "neighbours"), halves, atol=1e-12)
    assert np.abs(scores(Wq, Wk, "neighbours") - halves).max() > 0.1


# --- files


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<Ii" if v < 0 else "<II", 5 if v < 0 else 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, list) and v and isinstance(v[0], str):
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    if isinstance(v, list):
        return struct.pack(f"<IIQ{len(v)}i", 9, 5, len(v), *v)
    return struct.pack("<I", 8) + text(v)


def entries_of(config):
    a = config.family
    entries = {
        "general.architecture": a, "general.name": "tiny", f"{a}.block_count": config.n_layers,
        f"{a}.context_length": config.context_length, f"{a}.embedding_length": config.d_model,
        f"{a}.feed_forward_length": config.d_ff, f"{a}.attention.head_count": config.n_heads,
        "tokenizer.ggml.tokens": ["a", "b", "c"], "tokenizer.ggml.scores": [1, -2],
    }  # fmt: skip
    if not config.is_llama:
        return entries | {"gpt2.attention.layer_norm_epsilon": config.norm_eps}
    return entries | {
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": config.norm_eps,
        "llama.rope.freq_base": config.rope_base,
        "llama.rope.dimension_count": config.d_head,
        "llama.vocab_size": config.vocab_size,
    }


def stored_of(config, arrays, kind="F32"):
    """The arrays as the file has them: name to kind, shape and bytes. Matrices in blocks, and what those mean."""
    names = {"model.embed_tokens": "token_embd", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
             "model.norm": "output_norm", "transformer.ln_f": "output_norm", "lm_head": "output",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "ln_1": "attn_norm",
             "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
             "mlp.c_proj": "ffn_down"}  # fmt: skip
    found, meant = {}, {}
    for theirs, array in arrays.items():
        module, _, part = theirs.rpartition(".")
        block, inside = "", module
        if module.split(".")[1:2] in (["layers"], ["h"]):
            i, inside = module.split(".", 3)[2:]
            block = f"blk.{i}."
        x, back = array, lambda y: y
        if inside[-6:] in ("q_proj", "k_proj"):
            heads = config.n_heads if inside[-6:] == "q_proj" else config.n_kv_heads
            x, back = permute_rows(array, heads), lambda y, heads=heads: unpermute_rows(y, heads)
        elif ".c_" in theirs and array.ndim == 2:
            x, back = np.ascontiguousarray(array.T), lambda y: y.T
        used = kind if array.ndim == 2 else "F32"
        if used == "F32":
            data, y = x.astype("<f4"), x
        elif used == "F16":
            data = x.astype("<f2")
            y = data.astype(np.float32)
        elif used == "BF16":
            data = (x.view(np.uint32) >> 16).astype("<u2")
            y = (data.astype(np.uint32) << 16).view(np.float32)
        else:
            data = quantize_blocks(x, used)
            y = dequantize_blocks(data, used)
        found[f"{block}{names[inside]}.{part}"] = (NUMBER[used], x.shape, data.tobytes())
        meant[theirs] = back(y)
    return found, meant


def write(path, entries, stored, version=3, alignment=32, tail=b""):
    head = b"GGUF" + struct.pack("<IQQ", version, len(stored), len(entries))
    head += b"".join(text(key) + value(v) for key, v in entries.items())
    data = b""
    for name, (number, shape, part) in stored.items():
        data += b"\0" * (-len(data) % alignment)
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], number, len(data))
        data += part
    path.write_bytes(head + b"\0" * (-len(head) % alignment) + data + tail)
    return path


def random_arrays(config, seed=3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, s).astype(np.float32) for name, s in config.parameter_shapes().items()}


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_file_reads_back_as_what_its_blocks_mean(config, kind, tmp_path):
    stored, meant = stored_of(config, random_arrays(config), kind)
    path = write(tmp_path / "m.gguf", entries_of(config), stored)
    read_config, read = read_gguf(path)
    assert read_config == config
    assert list(read) == list(config.parameter_shapes()) and read.shapes == config.parameter_shapes()
    for name, array in read.items():
        np.testing.assert_array_equal(array, meant[name])


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_model_loads_from_it_and_computes_the_same(config, tmp_path):
    from fp_transformer.checkpoint import from_arrays

    arrays = random_arrays(config)
    model = load(write(tmp_path / "m.gguf", entries_of(config), stored_of(config, arrays)[0]))
    same = Transformer(config)
    from_arrays(same, arrays)
    ids = np.array([[3, 1, 4, 1, 5]])
    np.testing.assert_array_equal(model(ids).data, same(ids).data)
    assert not model.training


def test_an_output_layer_that_is_the_embedding_is_tied_and_another_is_not(tmp_path):
    arrays = random_arrays(LLAMA)
    stored, _ = stored_of(LLAMA, arrays, "Q8_0")
    stored["output.weight"] = stored["token_embd.weight"]
    assert read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))[0].tied
    number, shape, data = stored["token_embd.weight"]
    stored["output.weight"] = (number, shape, data[:-1] + bytes([data[-1] ^ 1]))
    config, read = read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))
    assert not config.tied and not np.array_equal(read["lm_head.weight"], read["model.embed_tokens.weight"])


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"])
def test_names_of_other_formats_are_unexpected(name, tmp_path):
    stored, _ = stored_of(LLAMA, random_arrays(LLAMA))
    stored[name] = stored["token_embd.weight"]
    with pytest.raises(ValueError, match=rf"unexpected: {name} \(not a name of GGUF\)"):
        read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))


def test_other_alignments_versions_and_orders_are_read(tmp_path):
    stored, meant = stored_of(LLAMA, random_arrays(LLAMA))
    for alignment, version in ((1, 2), (64, 3)):
        entries = entries_of(LLAMA) | {"general.alignment": alignment}
        read = read_gguf(write(tmp_path / "m.gguf", entries, dict(reversed(stored.items())), version, alignment))[1]
        for name, array in read.items():
            np.testing.assert_array_equal(array, meant[name])
    per_block = entries_of(LLAMA) | {"llama.attention.head_count_kv": [2, 2]}
    assert read_gguf(write(tmp_path / "m.gguf", per_block, stored))[0] == LLAMA


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"general.architecture": "mamba"}, "general.architecture must be one of llama, gpt2; the file says 'mamba'"),
        ({"llama.block_count": None}, "llama.block_count is missing"),
        ({"llama.block_count": 10**9}, "arrays, and the configuration claims 1000000000 blocks"),
        ({"llama.block_count": 3}, r"missing: model.layers.2.mlp.up_proj.weight \(64, 32\)"),
        (
            {"llama.embedding_length": 48, "llama.rope.dimension_count": None},
            r"misshapen: model.norm.weight must be \(48,\), got \(32,\)",
        ),
        ({"llama.embedding_length": "wide"}, "llama.embedding_length must be of type int, got 'wide'"),
        ({"llama.attention.head_count_kv": [1, 2]}, r"head_count_kv must be of type int, got '\[1, 2\]'"),
        ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type = yarn: not supported, as it would change"),
        ({"llama.rope.dimension_count": 4}, "llama.rope.dimension_count = 4: not supported"),
        ({"llama.expert_count": 8, "llama.new": 1}, "llama.expert_count = 8, llama.new = 1: not supported"),
        ({"general.alignment": 0}, "general.alignment of 0"),
        ({"general.alignment": "x"}, "general.alignment of 'x'"),
    ],
)
def test_sizes_that_do_not_fit_and_unknown_options_are_refused(change, sentence, tmp_path):
    entries = {key: v for key, v in (entries_of(LLAMA) | change).items() if v is not None}
    path = write(tmp_path / "m.gguf", entries, stored_of(LLAMA, random_arrays(LLAMA))[0])
    with pytest.raises(ValueError, match=sentence) as caught:
        read_gguf(path)
    assert "m.gguf" in str(caught.value)


def test_arrays_that_do_not_fit_are_all_listed(tmp_path):
    stored, _ = stored_of(LLAMA, random_arrays(LLAMA))
    del stored["blk.1.ffn_up.weight"]
    stored["blk.0.attn_q.bias"] = (0, (32,), bytes(128))
    stored["blk.0.ffn_norm.weight"] = (0, (31,), bytes(124))
    with pytest.raises(ValueError, match="must fit the configuration") as caught:
        read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))
    for line in (
        "missing: model.layers.1.mlp.up_proj.weight (64, 32)",
        "unexpected: model.layers.0.self_attn.q_proj.bias (32,)",
        "misshapen: model.layers.0.post_attention_layernorm.weight must be (32,), got (31,)",
    ):
        assert line in str(caught.value)
    del stored["token_embd.weight"]
    with pytest.raises(ValueError, match=r"there must be a matrix token_embd\.weight"):
        read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))
    stored["rope_freqs.weight"] = (0, (4,), bytes(16))
    with pytest.raises(ValueError, match="scales its rotary positions"):
        read_gguf(write(tmp_path / "m.gguf", entries_of(LLAMA), stored))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    small = TransformerConfig.llama(vocab_size=2, context_length=2, n_layers=1, n_heads=1, d_model=2, d_ff=2)
    path = write(tmp_path / "m.gguf", entries_of(small), stored_of(small, random_arrays(small))[0])
    whole = path.read_bytes()
    assert read_gguf(path)[0] == small
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"m\.gguf cannot be read: it .*(Is it cut off|no GGUF file)"):
            read_gguf(path)


@given(st.data())
@settings(max_examples=25)
def test_a_file_with_a_changed_byte_is_read_or_refused_with_a_sentence(tmp_path_factory, data):
    small = TransformerConfig.llama(vocab_size=2, context_length=2, n_layers=1, n_heads=1, d_model=2, d_ff=2)
    path = tmp_path_factory.mktemp("g") / "m.gguf"
    whole = bytearray(write(path, entries_of(small), stored_of(small, random_arrays(small))[0]).read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        config, arrays = read_gguf(path)
    except (ValueError, ImportError):
        return
    assert sum(array.size for array in arrays.values()) == config.n_parameters


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no GGUF file|ends at byte 0"),
        (b"GGML" + bytes(40), "no GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1, and only 2 and 3, little-endian"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), f"claims {HUGE} members of its list of arrays"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), f"claims {HUGE} members of its list of entries"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE) + bytes(99), f"claims {HUGE} members of a key"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IQ", 8, HUGE) + bytes(9), "members of k"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, HUGE) + bytes(9),
            "members of k",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 5, HUGE) + bytes(9),
            "members of k",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(9),
            "list of type 9",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 13) + bytes(9), "gives k the type 13"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (text("k") + value(1)), "has the entry k twice"),
    ],
)
def test_what_is_no_gguf_or_claims_too_much_is_refused(data, sentence, tmp_path):
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=rf"m\.gguf cannot be read: it .*({sentence})"):
        read_gguf(tmp_path / "m.gguf")


def announced(name="w", shape=(4,), number=0, begin=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, begin)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ([announced(shape=())], "gives w 0 axes"),
        ([announced(shape=(1,) * 5)], "gives w 5 axes"),
        ([announced(number=23)], "has w in blocks of type 23, which is not read; those read are F32"),
        ([announced(shape=(0,))], r"gives w the shape \(0,\)"),
        ([announced(shape=(33,), number=8)], r"gives w the shape \(33,\), and Q8_0 takes rows of blocks of 32"),
        ([announced(shape=(1 << 40, 1 << 40))], "bytes for w, and has .* in all. Is it cut off"),
        ([announced(begin=HUGE)], "and w at .* Is it cut off"),
        ([announced(begin=4)], "begin at no multiple of 32"),
        ([announced(), announced("v")], "lets v overlap|lets w overlap"),
        ([announced(shape=(16,)), announced("v", begin=32)], "lets v overlap"),
        ([announced(), announced(begin=32)], "has the array w twice"),
    ],
)
def test_arrays_out_of_place_are_refused(arrays, sentence, tmp_path):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(arrays), 0) + b"".join(arrays)
    (tmp_path / "m.gguf").write_bytes(head + bytes(-len(head) % 32 + 100))
    with pytest.raises(ValueError, match=rf"cannot be read: it .*({sentence})"):
        read_gguf(tmp_path / "m.gguf")


def test_a_missing_file_a_directory_and_a_pipe_are_refused(tmp_path):
    for read in (read_gguf, load):
        with pytest.raises(ValueError, match=r"m\.gguf does not exist"):
            read(tmp_path / "m.gguf")
    (tmp_path / "d.gguf").mkdir()
    with pytest.raises(ValueError, match="no regular file"):
        read_gguf(tmp_path / "d.gguf")


def k_quants(tmp_path):
    """A model of one matrix in Q4_K, as the library's blocks."""
    config = TransformerConfig.llama(vocab_size=1, context_length=2, n_layers=1, n_heads=1, d_model=256, d_ff=1)
    stored, _ = stored_of(config, random_arrays(config))
    stored["token_embd.weight"] = (12, (1, 256), bytes.fromhex(FROZEN["Q4_K"]["blocks"]))
    return write(tmp_path / "m.gguf", entries_of(config), stored)


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"has blocks of Q4_K, .*pip install 'fp-transformer\[gguf\]'"):
        read_gguf(k_quants(tmp_path))


def test_k_quants_are_unpacked_by_the_library(tmp_path):
    pytest.importorskip("gguf", reason="needs the library gguf, an extra")
    read = read_gguf(k_quants(tmp_path))[1]
    np.testing.assert_array_equal(read["model.embed_tokens.weight"][0], FROZEN["Q4_K"]["numbers"])


@pytest.mark.parametrize("kind", FROZEN)
def test_every_kind_is_unpacked_as_was_frozen(kind):
    if kind not in gguf_file._OURS:
        pytest.importorskip("gguf", reason="needs the library gguf, an extra")
    n = len(FROZEN[kind]["numbers"])
    array = gguf_file._Array(kind, (1, n), 0, 0)
    flat = np.frombuffer(bytes.fromhex(FROZEN[kind]["blocks"]), np.uint8)
    np.testing.assert_array_equal(gguf_file._unpacked(flat, array)[0], np.float32(FROZEN[kind]["numbers"]))


@pytest.mark.skipif(not SMOLLM2.is_file(), reason="needs FP_SMOLLM2_GGUF, the path of SmolLM2-135M-Instruct.Q4_1.gguf")
def test_smollm2_opens():
    config, arrays = read_gguf(SMOLLM2)
    assert config == TransformerConfig.llama(
        vocab_size=49152, context_length=8192, n_layers=30, n_heads=9, n_kv_heads=3, d_model=576, d_ff=1536,
        rope_base=100_000.0,
    )  # fmt: skip
    assert sum(math.prod(shape) for shape in arrays.shapes.values()) == config.n_parameters == 134_515_008
    model = load(SMOLLM2)
    # "The capital of France is": the best next token is " Paris"
    scores = model(np.array([[504, 3575, 282, 4649, 314]]), last=True).data[0, 0]
    assert scores.argmax() == 7042
