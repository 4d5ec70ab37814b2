"""Mirrors src/fp_transformer/config.py. Sizes are distinct primes where the heads allow it."""

import dataclasses
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_transformer.config import TransformerConfig

FROZEN = json.loads((Path(__file__).parent / "fixtures/huggingface_shapes.json").read_text(encoding="utf-8"))

LLAMA = TransformerConfig.llama(
    vocab_size=53, context_length=23, n_layers=2, n_heads=6, n_kv_heads=2, d_model=84, d_ff=19, rope_base=500.0
)
GPT2 = TransformerConfig.gpt2(vocab_size=59, context_length=31, n_layers=2, n_heads=3, d_model=21, dropout=0.25)

SMOLLM2 = {  # as published, less what has no meaning here
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}


@st.composite
def configs(draw):
    size = st.integers(1, 12)
    heads, kv_heads = draw(st.sampled_from([(h, k) for h in range(1, 9) for k in range(1, 9) if h % k == 0]))
    common = {
        "vocab_size": draw(size),
        "context_length": draw(size),
        "n_layers": draw(size),
        "n_heads": heads,
        "d_model": heads * 2 * draw(size),
        "d_ff": draw(st.none() | size),
        "tied": draw(st.booleans()),
    }
    common["dropout"] = draw(st.sampled_from([0.0, 0.1, 0.5]))
    if draw(st.booleans()):
        return TransformerConfig.llama(**common, n_kv_heads=kv_heads, rope_base=draw(st.sampled_from([1e4, 500.0])))
    return TransformerConfig.gpt2(**common)


@pytest.mark.claim("transformer.parameter-count")
@given(configs())
def test_the_formula_counts_what_the_shapes_hold(config):
    assert config.n_parameters == sum(math.prod(shape) for shape in config.parameter_shapes().values())


@pytest.mark.claim("transformer.parameter-count")
def test_the_formula_gives_the_published_counts():
    gpt2 = TransformerConfig.gpt2(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)
    llama_7b = TransformerConfig.llama(
        vocab_size=32000, context_length=2048, n_layers=32, n_heads=32, d_model=4096, d_ff=11008, tied=False
    )
    assert gpt2.n_parameters == 124_439_808
    assert llama_7b.n_parameters == 6_738_415_616
    assert TransformerConfig.from_huggingface(SMOLLM2).n_parameters == 134_515_008


@pytest.mark.claim("transformer.swiglu-width")
def test_the_default_width_is_the_smallest_multiple_of_16_that_matches_a_plain_layer():
    for C in range(2, 2000, 2):
        F = TransformerConfig.llama(vocab_size=2, context_length=2, n_layers=1, n_heads=1, d_model=C).d_ff
        assert F % 16 == 0 and F - 16 < Fraction(8 * C, 3) <= F
        if C % 6 == 0:
            assert 3 * C * F == 2 * C * 4 * C  # no rounding: exactly as many weights as two matrices of 4 C


@pytest.mark.parametrize("title", FROZEN)
def test_names_and_shapes_are_those_of_hugging_face(title):
    config = TransformerConfig.from_huggingface(FROZEN[title]["config"])
    assert {name: list(shape) for name, shape in config.parameter_shapes().items()} == FROZEN[title]["shapes"]


def test_the_order_is_that_of_the_forward_pass():
    short = [name.removesuffix(".weight") for name in LLAMA.parameter_shapes()]
    assert short == [
        "model.embed_tokens",
        *(
            f"model.layers.{i}.{part}"
            for i in (0, 1)
            for part in (
                "input_layernorm",
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.o_proj",
                "post_attention_layernorm",
                "mlp.gate_proj",
                "mlp.up_proj",
                "mlp.down_proj",
            )
        ),
        "model.norm",
    ]
    untied = dataclasses.replace(LLAMA, tied=False)
    assert list(untied.parameter_shapes())[-2:] == ["model.norm.weight", "lm_head.weight"]


@given(configs())
def test_a_configuration_survives_the_way_through_json(config):
    assert TransformerConfig.from_huggingface(json.loads(json.dumps(config.to_huggingface()))) == config


def test_the_configuration_of_a_published_model_is_read():
    assert TransformerConfig.from_huggingface(SMOLLM2) == TransformerConfig.llama(
        vocab_size=49152,
        context_length=8192,
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_model=576,
        d_ff=1536,
        rope_base=100000.0,
    )


def test_the_rotary_base_is_read_from_either_place():
    data = LLAMA.to_huggingface()
    old = {key: value for key, value in data.items() if key != "rope_parameters"}
    new = {key: value for key, value in data.items() if key != "rope_theta"}
    assert TransformerConfig.from_huggingface(old) == TransformerConfig.from_huggingface(new) == LLAMA


def test_what_is_absent_has_the_value_that_transformers_gives_it():
    llama, gpt2 = LLAMA.to_huggingface(), GPT2.to_huggingface()
    for key in ("num_key_value_heads", "rms_norm_eps", "rope_theta", "rope_parameters", "tie_word_embeddings"):
        del llama[key]
    for key in ("n_inner", "layer_norm_epsilon", "tie_word_embeddings", "embd_pdrop", "attn_pdrop", "resid_pdrop"):
        del gpt2[key]
    read = TransformerConfig.from_huggingface(llama)
    assert (read.n_kv_heads, read.norm_eps, read.rope_base, read.tied) == (6, 1e-6, 1e4, False)
    read = TransformerConfig.from_huggingface(gpt2)
    assert (read.d_ff, read.norm_eps, read.tied, read.dropout) == (84, 1e-5, True, 0.1)


def test_the_head_width_and_the_family():
    assert LLAMA.d_head == 14 and LLAMA.is_llama
    assert GPT2.d_head == 7 and not GPT2.is_llama


@pytest.mark.parametrize(
    ("config", "change", "sentence"),
    [
        (LLAMA, {"family": "bert"}, "family must be 'gpt2' or 'llama', got 'bert'"),
        (LLAMA, {"n_layers": 0}, "n_layers must be at least 1, got 0"),
        (LLAMA, {"vocab_size": -5}, "vocab_size must be at least 1, got -5"),
        (LLAMA, {"d_model": 85}, "d_model must be a multiple of n_heads.*d_model=85, n_heads=6"),
        (LLAMA, {"n_kv_heads": 4}, "n_heads must be a multiple of n_kv_heads.*n_heads=6, n_kv_heads=4"),
        (LLAMA, {"d_model": 78}, "the head width must be even.*78 / 6 = 13"),
        (LLAMA, {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        (LLAMA, {"rope_base": 0.0}, "rope_base must be positive and finite, got 0.0"),
        (LLAMA, {"norm_eps": float("nan")}, "norm_eps must be positive and finite, got nan"),
        (GPT2, {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        (GPT2, {"n_kv_heads": 1}, "one key-value head per query head"),
        (GPT2, {"rope_base": 1e4}, "learns its positions, so rope_base must be 0"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_numbers_that_do_not_fit_together_are_refused(config, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(config, **change)


@pytest.mark.parametrize("size", [2.0, True, "2"])
@pytest.mark.usefixtures("shapes_unchecked")
def test_a_size_that_is_not_an_integer_is_refused(size):
    with pytest.raises(TypeError, match="n_layers must be an integer, got"):
        dataclasses.replace(LLAMA, n_layers=size)


@pytest.mark.parametrize(
    ("config", "change", "sentence"),
    [
        (LLAMA, {"model_type": "mamba"}, "model_type must be one of 'gpt2', 'llama'.*'mamba'"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act must be 'silu'.*'gelu'"),
        (LLAMA, {"attention_bias": True}, "attention_bias must be False.*True"),
        (LLAMA, {"mlp_bias": True}, "mlp_bias must be False.*True"),
        (LLAMA, {"attention_dropout": 0.1}, "attention_dropout must be 0.*0.1"),
        (LLAMA, {"head_dim": 32}, "head_dim must be hidden_size / num_attention_heads = 14.*32"),
        (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling must ask for plain.*linear"),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters must ask.*yarn"),
        (LLAMA, {"rope_parameters": 3}, "rope_parameters must be an object or null.*3"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config must be None"),
        (LLAMA, {"hidden_size": "84"}, "hidden_size must be an integer.*'84'"),
        (LLAMA, {"hidden_size": None}, "hidden_size must be an integer.*None"),
        (LLAMA, {"rms_norm_eps": "small"}, "rms_norm_eps must be a number.*'small'"),
        (LLAMA, {"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false.*1"),
        (GPT2, {"activation_function": "relu"}, "activation_function must be 'gelu_new'.*'relu'"),
        (GPT2, {"scale_attn_weights": False}, "scale_attn_weights must be True"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx must be False"),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention must be False"),
        (GPT2, {"attn_pdrop": 0.2}, "the three dropout rates must be equal.*0.2"),
        (GPT2, {"n_head": 0}, "n_heads must be at least 1, got 0"),
    ],
)
def test_a_foreign_option_is_refused_by_name(config, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        TransformerConfig.from_huggingface(config.to_huggingface() | change)


def test_a_missing_size_is_named():
    data = LLAMA.to_huggingface()
    del data["vocab_size"]
    with pytest.raises(ValueError, match="vocab_size must be an integer, the configuration does not have it"):
        TransformerConfig.from_huggingface(data)


def test_another_name_of_the_tanh_gelu_is_accepted():
    assert TransformerConfig.from_huggingface(GPT2.to_huggingface() | {"activation_function": "gelu_pytorch_tanh"})


@pytest.mark.usefixtures("shapes_unchecked")
def test_numpy_integers_are_sizes_and_become_plain_ones():
    config = dataclasses.replace(LLAMA, vocab_size=np.int64(11))
    assert type(config.vocab_size) is int
    assert json.dumps(config.to_huggingface())


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_dropout_that_is_not_a_number_is_refused():
    with pytest.raises(TypeError, match="dropout must be a number, got 'x'"):
        dataclasses.replace(GPT2, dropout="x")


@pytest.mark.parametrize(
    "extra",
    [
        {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "factor": 2.0}},
        {"partial_rotary_factor": 0.5},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"sliding_window": 512},
        {"num_local_experts": 8},
        {"use_qk_norm": True},
    ],
)
def test_options_that_would_change_the_function_are_refused(extra):
    data = TransformerConfig.llama(vocab_size=7, context_length=8, n_layers=2, n_heads=2, d_model=8).to_huggingface()
    with pytest.raises(ValueError, match=next(iter(extra))):
        TransformerConfig.from_huggingface(data | extra)


def test_numbers_of_numpy_become_plain_ones_and_others_are_refused(shapes_unchecked):
    sizes = {"vocab_size": 7, "context_length": 8, "n_layers": 2, "n_heads": 2, "d_model": 8}
    config = TransformerConfig.llama(**sizes, norm_eps=np.float32(2**-17), rope_base=np.int64(100))
    assert json.dumps(config.to_huggingface()) and type(config.rope_base) is float
    for wrong in ({"tied": "no"}, {"rope_base": "1e4"}, {"dropout": True}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            TransformerConfig.llama(**sizes, **wrong)
