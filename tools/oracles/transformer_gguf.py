"""
Freeze what the library `gguf` makes of blocks, and write GGUF files with it as llama.cpp's converter does.

    python -m tools.oracles.transformer_gguf

writes packages/fp-transformer/tests/fixtures/gguf_blocks.json, which the default tests read.
"""

import json
from pathlib import Path

import numpy as np

from fp_transformer.config import TransformerConfig

FIXTURE = Path(__file__).parents[2] / "packages/fp-transformer/tests/fixtures/gguf_blocks.json"
KINDS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16")


def random_blocks(kind: str, rows: int, n: int, seed: int) -> np.ndarray:
    """Bytes that are blocks with finite scales: of random bits, with the exponents of all float16 in them limited."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (rows, n // block, size), dtype=np.uint8)
    halves = {"Q6_K": [208], "Q3_K": [108], "Q2_K": [80, 82], "BF16": [], "Q8_0": [0], "Q4_0": [0], "Q5_0": [0]}
    for at in halves.get(kind, [0, 2]):
        blocks[..., at + 1] = blocks[..., at + 1] & 0x83 | 0x2C  # exponents from -4 on
    if kind == "BF16":
        blocks[..., 1] = blocks[..., 1] & 0x80 | 0x3F
    return blocks.reshape(rows, -1)


def meant(blocks: np.ndarray, kind: str) -> np.ndarray:
    """The numbers, by the library."""
    from gguf import GGMLQuantizationType, quants

    return quants.dequantize(blocks, GGMLQuantizationType[kind])


def write(path: Path, config: TransformerConfig, arrays: dict[str, np.ndarray], kind: str = "F32") -> None:
    """A GGUF file as llama.cpp's converter would write it, matrices in blocks of a kind that the library can make."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    writer = GGUFWriter(path, config.family)
    writer.add_block_count(config.n_layers)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_heads)
    if config.is_llama:
        writer.add_head_count_kv(config.n_kv_heads)
        writer.add_layer_norm_rms_eps(config.norm_eps)
        writer.add_rope_freq_base(config.rope_base)
        writer.add_rope_dimension_count(config.d_head)
        writer.add_vocab_size(config.vocab_size)
    else:
        writer.add_layer_norm_eps(config.norm_eps)
    names = {
        "model.embed_tokens": "token_embd", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
        "model.norm": "output_norm", "transformer.ln_f": "output_norm", "lm_head": "output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "ln_1": "attn_norm",
        "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    for theirs, array in arrays.items():
        module, _, part = theirs.rpartition(".")
        block, inside = "", module
        if ".layers." in module or ".h." in module:
            i, inside = module.split(".", 3)[2:]
            block = f"blk.{i}."
        if inside.endswith(("q_proj", "k_proj")):  # as permute in the converter
            heads = config.n_heads if inside.endswith("q_proj") else config.n_kv_heads
            array = (
                array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
                .swapaxes(1, 2)
                .reshape(array.shape)
            )
        if ".c_" in theirs and array.ndim == 2:
            array = array.T
        array = np.ascontiguousarray(array)
        stored = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        data = quants.quantize(array, stored)
        writer.add_tensor(f"{block}{names[inside]}.{part}", data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    frozen = {}
    for i, kind in enumerate(KINDS):
        blocks = random_blocks(kind, 1, 256 if kind.endswith("_K") else 64, i)
        frozen[kind] = {"blocks": blocks.tobytes().hex(), "numbers": meant(blocks, kind).ravel().tolist()}
    FIXTURE.write_text(json.dumps(frozen) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
