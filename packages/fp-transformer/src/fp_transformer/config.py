r"""
The configuration: a handful of integers that fix every array of a transformer, its name and its shape.

A trained transformer is a set of named arrays. Before there is any code that multiplies them, one question can be
answered completely: *which* arrays, and how large? This section answers it for two families, counts the numbers that
training will have to find, and speaks the `config.json` of Hugging Face model directories both ways.

You need: `fp_attention.multihead` for heads, `fp_attention.rotary`.

## The sizes

| letter | field | what it counts |
| --- | --- | --- |
| $V$ | `vocab_size` | tokens of the vocabulary |
| $T$ | `context_length` | positions that the model is trained to see |
| $L$ | `n_layers` | blocks, one above the other |
| $C$ | `d_model` | numbers in the row of a position |
| $H$ | `n_heads` | query heads, each of width $D = C / H$ |
| $K$ | `n_kv_heads` | key-value heads, each shared by $H / K$ query heads |
| $F$ | `d_ff` | width of the feed-forward layer |

## The two families

What the parts do is what the next sections are about; here only their arrays count. **GPT-2** normalises with LayerNorm
(a gain and a bias), learns one vector per position, has a bias in every affine map
and a feed-forward layer of two matrices with GELU between them, in its tanh form (`gelu_new`).
**Llama** normalises with RMSNorm (a gain only), rotates queries and keys by their position (RoPE, which has nothing to
learn), has no biases, and has a gated feed-forward layer of three matrices, SwiGLU.

The names are Hugging Face's, so that a directory written here opens there. One trap comes with them: GPT-2's
affine maps are stored **(in, out)**, to be used as $x W + b$ (there the layer is called `Conv1D`), while Llama's are
stored as `torch.nn.Linear` stores them, **(out, in)**, to be used as $x W^\top$. A square matrix such as
`attn.c_proj.weight` does not show which it is: the family does.

## Counting

**Claim** `transformer.parameter-count`. With $u = 0$ if the output layer is tied to the embedding and $u = 1$ if
not, the numbers of parameters are

$$
\begin{aligned}
N_{\text{llama}} &= (1 + u) V C + L \Big( 2 C^2 \big( 1 + \tfrac{K}{H} \big) + 3 C F + 2 C \Big) + C, &\text{(E1)} \\
N_{\text{gpt2}}  &= (1 + u) V C + T C + L \big( 4 C^2 + 2 C F + 9 C + F \big) + 2 C. &\text{(E2)}
\end{aligned}
$$

**Proof.** Count array by array. Outside the blocks both families have the token embedding, $V C$, and an output layer
of the same size, which is the embedding itself when tied: $(1 + u) V C$.

Llama. Queries need $H D = C$ rows of length $C$, so `q_proj` has $C^2$ numbers and so has `o_proj`. Keys and values
need $K D = C K / H$ rows each: together $2 C^2 K / H$. The gated layer has three matrices of $C F$. The block's two
norms have $C$ gains each, the final norm $C$ more. Sum: (E1).

GPT-2. `c_attn` holds queries, keys and values side by side: $3 C^2$ weights and $3 C$ biases; `attn.c_proj` has $C^2$
and $C$; `c_fc` $C F$ and $F$; `mlp.c_proj` $F C$ and $C$. The block's two norms have a gain and a bias each, $4 C$. A
block has $4 C^2 + 2 C F$ weights and $3 C + C + F + C + 4 C = 9 C + F$ others. The positions add $T C$, the final
norm $2 C$. Sum: (E2). $\blacksquare$

For wide models with $K = H$ and $F = 4 C$ in GPT-2, $F = \tfrac83 C$ in Llama (the next claim), the quadratic terms
rule, and both formulas are close to the rule of thumb $N \approx 12 L C^2$ once the embedding is left out.

**Claim** `transformer.swiglu-width`. The gated layer has as many weights as a plain layer of width $4 C$ exactly when
$F = \tfrac83 C$; the smallest multiple of 16 that is not below $\tfrac83 C$ is $16 \lceil C / 6 \rceil$.

**Proof.** Three matrices of $C F$ against two of $4 C^2$: $3 C F = 8 C^2$ if and only if $F = \tfrac83 C$. A multiple
$16 m$ satisfies $16 m \ge \tfrac83 C$ if and only if $m \ge C / 6$, and the smallest such integer is
$\lceil C / 6 \rceil$. $\blacksquare$

Multiples of 16 make every row of a matrix whole cache lines of 64 bytes in float32, so this is the default of
`TransformerConfig.llama`.

## In practice

Real checkpoints differ from these two families in options: scaled rotary positions for long contexts, biases in
attention, other activations, head widths that are not $C / H$. Each would change the function that the weights
compute, so `TransformerConfig.from_huggingface` refuses them by name instead of loading a model that is quietly
wrong. GPT-2's three dropout rates (embedding, attention, residual) are one number here. Llama's configuration has no
rate for embeddings and branches, since large models see each text once; small ones on small texts need it, so here
the family has one, under GPT-2's key `resid_pdrop`. It acts in training only, so the function that the weights compute
is the same for a reader that does not know the key.

References: Radford et al., *Language Models are Unsupervised Multitask Learners* (2019); Touvron et al., *LLaMA*
(arXiv 2302.13971); Shazeer, *GLU Variants Improve Transformer* (arXiv 2002.05202).
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["TransformerConfig", "swiglu_width"]

_SIZES = ("vocab_size", "context_length", "n_layers", "n_heads", "n_kv_heads", "d_model", "d_ff")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """
    The sizes and the family of a transformer. `llama` and `gpt2` fill in what a family fixes.

    Parameters
    ----------
    family
        `"gpt2"` or `"llama"`.
    vocab_size, context_length, n_layers, n_heads, n_kv_heads, d_model, d_ff
        The sizes of the table above, each at least 1.
    tied
        Whether the output layer is the embedding.
    dropout
        Rate in `[0, 1)` at which training erases entries of the embedding and of each branch, and in GPT-2 also
        attention weights.
    norm_eps
        What the norms add under the root, positive.
    rope_base
        The base of the rotary angles, positive; 0 for GPT-2, which learns its positions.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If the numbers do not fit together; the message says which and why.

    Examples
    --------
    >>> config = TransformerConfig.llama(
    ...     vocab_size=65, context_length=32, n_layers=2, n_heads=4, n_kv_heads=2, d_model=48
    ... )
    >>> config.d_head, config.d_ff, config.n_parameters
    (12, 128, 54048)
    """

    family: Literal["gpt2", "llama"]
    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_ff: int
    tied: bool
    dropout: float = 0.0
    norm_eps: float
    rope_base: float

    def __post_init__(self) -> None:
        if self.family not in ("gpt2", "llama"):
            raise ValueError(f"family must be 'gpt2' or 'llama', got {self.family!r}")
        for name in _SIZES:
            size = getattr(self, name)
            if isinstance(size, bool) or not hasattr(size, "__index__"):
                raise TypeError(f"{name} must be an integer, got {size!r} of type {type(size).__name__}")
            size = operator.index(size)  # a NumPy integer will do
            object.__setattr__(self, name, size)
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads, so that every head has the same width; "
                f"got d_model={self.d_model}, n_heads={self.n_heads}"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads, so that every key-value head serves the same number of "
                f"query heads; got n_heads={self.n_heads}, n_kv_heads={self.n_kv_heads}"
            )
        if not isinstance(self.tied, bool):
            raise TypeError(f"tied is True or False, got {self.tied!r}")
        for name in ("dropout", "norm_eps", "rope_base"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float | np.integer | np.floating):
                raise TypeError(f"{name} must be a number, got {number!r} of type {type(number).__name__}")
            object.__setattr__(self, name, float(number))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not (self.norm_eps > 0 and math.isfinite(self.norm_eps)):
            raise ValueError(f"norm_eps must be positive and finite, got {self.norm_eps}")
        if self.family == "llama":
            self._check_llama()
        else:
            self._check_gpt2()

    def _check_llama(self) -> None:
        if self.d_head % 2:
            raise ValueError(
                f"rotary positions turn pairs of channels, so the head width must be even; got d_model / n_heads = "
                f"{self.d_model} / {self.n_heads} = {self.d_head}"
            )
        if not (self.rope_base > 0 and math.isfinite(self.rope_base)):
            raise ValueError(f"rope_base must be positive and finite, got {self.rope_base}")

    def _check_gpt2(self) -> None:
        if self.n_kv_heads != self.n_heads:
            raise ValueError(
                f"the gpt2 family has one key-value head per query head; got n_heads={self.n_heads}, "
                f"n_kv_heads={self.n_kv_heads}. Use TransformerConfig.llama for grouped heads"
            )
        if self.rope_base:
            raise ValueError(f"the gpt2 family learns its positions, so rope_base must be 0; got {self.rope_base}")

    @classmethod
    def llama(
        cls,
        *,
        vocab_size: int,
        context_length: int,
        n_layers: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        d_model: int,
        d_ff: int | None = None,
        dropout: float = 0.0,
        tied: bool = True,
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> "TransformerConfig":
        """
        A Llama: RMSNorm, rotary positions, SwiGLU, no biases.

        Parameters
        ----------
        vocab_size, context_length, n_layers, n_heads, d_model, dropout, tied, rope_base, norm_eps
            As for the class.
        n_kv_heads
            One per query head if not given.
        d_ff
            `8/3 d_model` rounded up to a multiple of 16 if not given (`transformer.swiglu-width`).
        """
        return cls(
            family="llama",
            vocab_size=vocab_size,
            context_length=context_length,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_heads if n_kv_heads is None else n_kv_heads,
            d_model=d_model,
            d_ff=swiglu_width(d_model) if d_ff is None else d_ff,
            tied=tied,
            dropout=dropout,
            norm_eps=norm_eps,
            rope_base=rope_base,
        )

    @classmethod
    def gpt2(
        cls,
        *,
        vocab_size: int,
        context_length: int,
        n_layers: int,
        n_heads: int,
        d_model: int,
        d_ff: int | None = None,
        dropout: float = 0.0,
        tied: bool = True,
        norm_eps: float = 1e-5,
    ) -> "TransformerConfig":
        """
        A GPT-2: LayerNorm, learned positions, GELU in its tanh form, biases everywhere.

        Parameters
        ----------
        vocab_size, context_length, n_layers, n_heads, d_model, dropout, tied, norm_eps
            As for the class.
        d_ff
            `4 d_model` if not given.

        Examples
        --------
        >>> gpt2_small = TransformerConfig.gpt2(
        ...     vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768
        ... )
        >>> gpt2_small.n_parameters
        124439808
        """
        return cls(
            family="gpt2",
            vocab_size=vocab_size,
            context_length=context_length,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_heads,
            d_model=d_model,
            d_ff=4 * d_model if d_ff is None else d_ff,
            tied=tied,
            dropout=dropout,
            norm_eps=norm_eps,
            rope_base=0.0,
        )

    @property
    def is_llama(self) -> bool:
        """Whether the family is Llama; the other is GPT-2."""
        return self.family == "llama"

    @property
    def d_head(self) -> int:
        """Width $D = C / H$ of a head."""
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        """The number of parameters by (E1) or (E2); a tied output layer is counted once."""
        V, T, L, C, F = self.vocab_size, self.context_length, self.n_layers, self.d_model, self.d_ff
        embeddings = (1 if self.tied else 2) * V * C
        if self.is_llama:
            attention = 2 * C * C + 2 * C * self.n_kv_heads * self.d_head
            return embeddings + L * (attention + 3 * C * F + 2 * C) + C
        return embeddings + T * C + L * (4 * C * C + 2 * C * F + 9 * C + F) + 2 * C

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """
        Every parameter's name and shape, in the order in which the forward pass meets them.

        Returns
        -------
        dict
            Hugging Face's name to shape. Llama's matrices are (out, in), GPT-2's are (in, out), and both families'
            embeddings and output layer have one row per token. A tied output layer has no entry of its own.
        """
        shapes = self._llama_shapes() if self.is_llama else self._gpt2_shapes()
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.d_model)
        return shapes

    def _llama_shapes(self) -> dict[str, tuple[int, ...]]:
        C, F, D = self.d_model, self.d_ff, self.d_head
        queries, keys = self.n_heads * D, self.n_kv_heads * D
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, C)}
        for i in range(self.n_layers):
            block = f"model.layers.{i}."
            shapes |= {
                block + "input_layernorm.weight": (C,),
                block + "self_attn.q_proj.weight": (queries, C),
                block + "self_attn.k_proj.weight": (keys, C),
                block + "self_attn.v_proj.weight": (keys, C),
                block + "self_attn.o_proj.weight": (C, queries),
                block + "post_attention_layernorm.weight": (C,),
                block + "mlp.gate_proj.weight": (F, C),
                block + "mlp.up_proj.weight": (F, C),
                block + "mlp.down_proj.weight": (C, F),
            }
        return shapes | {"model.norm.weight": (C,)}

    def _gpt2_shapes(self) -> dict[str, tuple[int, ...]]:
        C, F = self.d_model, self.d_ff
        shapes: dict[str, tuple[int, ...]] = {
            "transformer.wte.weight": (self.vocab_size, C),
            "transformer.wpe.weight": (self.context_length, C),
        }
        for i in range(self.n_layers):
            block = f"transformer.h.{i}."
            shapes |= {
                block + "ln_1.weight": (C,),
                block + "ln_1.bias": (C,),
                block + "attn.c_attn.weight": (C, 3 * C),
                block + "attn.c_attn.bias": (3 * C,),
                block + "attn.c_proj.weight": (C, C),
                block + "attn.c_proj.bias": (C,),
                block + "ln_2.weight": (C,),
                block + "ln_2.bias": (C,),
                block + "mlp.c_fc.weight": (C, F),
                block + "mlp.c_fc.bias": (F,),
                block + "mlp.c_proj.weight": (F, C),
                block + "mlp.c_proj.bias": (C,),
            }
        return shapes | {"transformer.ln_f.weight": (C,), "transformer.ln_f.bias": (C,)}

    def to_huggingface(self) -> dict[str, Any]:
        """
        The contents of a `config.json` that Hugging Face transformers opens.

        Returns
        -------
        dict
            Plain JSON values. The rotary base stands twice, as `rope_theta` and inside `rope_parameters`, for older and
            newer versions of transformers. No token ids are named: they belong to the tokenizer.
        """
        shared = {
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": self.tied,
            "bos_token_id": None,
            "eos_token_id": None,
            "torch_dtype": "float32",
        }
        if self.is_llama:
            return {
                "model_type": "llama",
                "architectures": ["LlamaForCausalLM"],
                "hidden_size": self.d_model,
                "intermediate_size": self.d_ff,
                "num_hidden_layers": self.n_layers,
                "num_attention_heads": self.n_heads,
                "num_key_value_heads": self.n_kv_heads,
                "head_dim": self.d_head,
                "max_position_embeddings": self.context_length,
                "rms_norm_eps": self.norm_eps,
                "rope_theta": self.rope_base,
                "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_base},
                "hidden_act": "silu",
                "attention_bias": False,
                "mlp_bias": False,
                "attention_dropout": 0.0,
                "resid_pdrop": self.dropout,
            } | shared
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": self.d_model,
            "n_inner": self.d_ff,
            "n_layer": self.n_layers,
            "n_head": self.n_heads,
            "n_positions": self.context_length,
            "layer_norm_epsilon": self.norm_eps,
            "activation_function": "gelu_new",
            "embd_pdrop": self.dropout,
            "attn_pdrop": self.dropout,
            "resid_pdrop": self.dropout,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        } | shared

    @classmethod
    def from_huggingface(cls, data: Mapping[str, Any]) -> "TransformerConfig":
        """
        Read the contents of a `config.json`.

        Parameters
        ----------
        data
            The parsed JSON. What is absent has the value that transformers gives it; sizes must be there.

        Returns
        -------
        TransformerConfig
            With `from_huggingface(c.to_huggingface()) == c`.

        Raises
        ------
        ValueError
            For an unknown `model_type`, an option that would change the function computed, or a missing size.
        """
        model_type = data.get("model_type")
        if model_type == "llama":
            return cls._from_llama(data)
        if model_type == "gpt2":
            return cls._from_gpt2(data)
        raise ValueError(f"model_type must be one of 'gpt2', 'llama'; this configuration says {model_type!r}")

    @classmethod
    def _from_llama(cls, data: Mapping[str, Any]) -> "TransformerConfig":
        _require(data, "hidden_act", "silu")
        _require(data, "attention_bias", False)
        _require(data, "mlp_bias", False)
        _require(data, "attention_dropout", 0)
        _require(data, "rope_interleaved", False)
        _require(data, "quantization_config", None)
        _require(data, "partial_rotary_factor", 1)
        _require(data, "sliding_window", None)
        _require(data, "use_qk_norm", False)
        _require(data, "num_local_experts", None)
        layers = data.get("layer_types")
        if layers is not None and set(layers) != {"full_attention"}:
            raise ValueError(f"layer_types must all be 'full_attention', the configuration says {sorted(set(layers))}")
        heads, width = _size(data, "num_attention_heads"), _size(data, "hidden_size")
        config = cls.llama(
            vocab_size=_size(data, "vocab_size"),
            context_length=_size(data, "max_position_embeddings"),
            n_layers=_size(data, "num_hidden_layers"),
            n_heads=heads,
            n_kv_heads=heads if data.get("num_key_value_heads") is None else _size(data, "num_key_value_heads"),
            d_model=width,
            d_ff=_size(data, "intermediate_size"),
            dropout=_number(data, "resid_pdrop", 0.0),
            tied=_flag(data, "tie_word_embeddings", False),
            rope_base=_rope_base(data),
            norm_eps=_number(data, "rms_norm_eps", 1e-6),
        )
        if data.get("head_dim") not in (None, config.d_head):
            raise ValueError(
                f"head_dim must be hidden_size / num_attention_heads = {config.d_head}, the configuration says "
                f"{data['head_dim']!r}; other head widths are not supported"
            )
        return config

    @classmethod
    def _from_gpt2(cls, data: Mapping[str, Any]) -> "TransformerConfig":
        if data.get("activation_function") != "gelu_pytorch_tanh":  # another name of the same function
            _require(data, "activation_function", "gelu_new")
        _require(data, "scale_attn_weights", True)
        _require(data, "scale_attn_by_inverse_layer_idx", False)
        _require(data, "add_cross_attention", False)
        _require(data, "quantization_config", None)
        rates = {name: _number(data, name, 0.1) for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")}
        if len(set(rates.values())) > 1:
            raise ValueError(f"the three dropout rates must be equal to be supported, got {rates}")
        return cls.gpt2(
            vocab_size=_size(data, "vocab_size"),
            context_length=_size(data, "n_positions"),
            n_layers=_size(data, "n_layer"),
            n_heads=_size(data, "n_head"),
            d_model=_size(data, "n_embd"),
            d_ff=None if data.get("n_inner") is None else _size(data, "n_inner"),
            dropout=rates["embd_pdrop"],
            tied=_flag(data, "tie_word_embeddings", True),
            norm_eps=_number(data, "layer_norm_epsilon", 1e-5),
        )


def swiglu_width(width: int) -> int:
    """
    How wide a gated layer is by default: 8/3 of its input, rounded up to a multiple of 16 (`transformer.swiglu-width`).

    Parameters
    ----------
    width
        $C$, numbers in a row of its input.

    Returns
    -------
    int
        $F$.

    Examples
    --------
    >>> swiglu_width(48), swiglu_width(49)
    (128, 144)
    """
    return 16 * -(-width // 6)


def _require(data: Mapping[str, Any], name: str, supported: object) -> None:
    """Refuse an option that would change what the weights compute."""
    if name in data and data[name] != supported:
        raise ValueError(
            f"{name} must be {supported!r}, the only value that is supported; the configuration says {data[name]!r}"
        )


def _size(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        problem = f"says {value!r}" if name in data else "does not have it"
        raise ValueError(f"{name} must be an integer, the configuration {problem}")
    return value


def _number(data: Mapping[str, Any], name: str, default: float) -> float:
    value = data.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, the configuration says {value!r}")
    return float(value)


def _flag(data: Mapping[str, Any], name: str, default: bool) -> bool:
    value = data.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, the configuration says {value!r}")
    return value


def _rope_base(data: Mapping[str, Any]) -> float:
    """The rotary base, from the newer `rope_parameters` or the older `rope_theta`; scaled positions are refused."""
    base = _number(data, "rope_theta", 10000.0)
    for name in ("rope_scaling", "rope_parameters"):
        options = data.get(name)
        if options is None:
            continue
        if not isinstance(options, Mapping):
            raise ValueError(f"{name} must be an object or null, the configuration says {options!r}")
        kind = options.get("rope_type", options.get("type", "default"))
        known = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
        if kind != "default" or options.get("partial_rotary_factor", 1) != 1 or not options.keys() <= known:
            raise ValueError(f"{name} must ask for plain rotary positions, rope_type 'default'; got {dict(options)}")
        base = _number(options, "rope_theta", base)
    return base
