r"""
Named arrays in one flat buffer: what the model owns and what a gradient looks like.

A model is a set of named arrays. Files, optimizers and people want them one by one, under the names of
`TransformerConfig.parameter_shapes`. The forward pass wants some of them together: queries, keys and values are three
linear maps of the same input, and one matrix product of triple width is faster than three. Whoever sums the gradients
of several threads wants all of them as one vector.

All three are served by laying the arrays side by side in one buffer, in the order of the forward pass, and handing out
**views**. In row-major order the matrices $A \in \mathbb{R}^{m \times C}$ and $B \in \mathbb{R}^{n \times C}$, one
after the other, *are* the matrix with the rows of $A$ followed by those of $B$: its entry $(i, c)$ lies at offset
$iC + c$, which for $i \ge m$ is $mC + (i - m) C + c$, the place of $B_{i - m, c}$. So the fused matrix costs no copy.

The gradient of a parameter has the parameter's shape, so gradients live in a second buffer of the same layout, and the
backward pass writes into the same views there.

## In practice

PyTorch fuses only what the model's author fused by hand, and gives each parameter memory of its own; llm.c keeps one
buffer, as here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fp_transformer.config import TransformerConfig

__all__ = ["Parameters", "LayerArrays"]


@dataclass(frozen=True)
class LayerArrays:
    """
    The arrays of one block, every matrix as (in, out), whatever the file's order; None where the family has none.

    `qkv` maps to queries, keys and values side by side, `up` to the feed-forward layer's hidden units (in the Llama
    family to gates, then values).
    """

    norm1: np.ndarray
    norm1_bias: np.ndarray | None
    qkv: np.ndarray
    qkv_bias: np.ndarray | None
    out: np.ndarray
    out_bias: np.ndarray | None
    norm2: np.ndarray
    norm2_bias: np.ndarray | None
    up: np.ndarray
    up_bias: np.ndarray | None
    down: np.ndarray
    down_bias: np.ndarray | None


class Parameters:
    """
    One buffer of zeros, and views of it under the names and in the shapes of a configuration.

    Parameters
    ----------
    config
        Says which arrays there are.
    dtype
        Data type of the buffer.

    Attributes
    ----------
    flat : ndarray
        The whole buffer, shape `P`, the number of parameters.
    named : dict
        Name to view, in the order of the forward pass.
    layers : list of LayerArrays
        The views that the blocks use.
    embedding, output : ndarray
        Tables of shape `V C`; the same array if the output is tied.
    positions : ndarray or None
        Learned positions, shape `T C`.
    norm, norm_bias : ndarray, ndarray or None
        Of the final norm.

    Examples
    --------
    >>> config = TransformerConfig.llama(vocab_size=5, context_length=3, n_layers=1, n_heads=1, d_model=2, d_ff=3)
    >>> p = Parameters(config, np.dtype("float32"))
    >>> p.named["model.layers.0.self_attn.k_proj.weight"][:] = 1
    >>> p.layers[0].qkv
    array([[0., 0., 1., 1., 0., 0.],
           [0., 0., 1., 1., 0., 0.]], dtype=float32)
    """

    def __init__(self, config: TransformerConfig, dtype: np.dtype) -> None:
        self.config = config
        shapes = config.parameter_shapes()
        self.flat: Float[np.ndarray, " P"] = np.zeros(config.n_parameters, dtype)
        self.named: dict[str, np.ndarray] = {}
        start = 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            self.named[name] = self.flat[start : start + size].reshape(shape)
            start += size
        if config.is_llama:
            self.layers = [self._llama_layer(f"model.layers.{i}.") for i in range(config.n_layers)]
            self.embedding = self.named["model.embed_tokens.weight"]
            self.positions = None
            self.norm, self.norm_bias = self.named["model.norm.weight"], None
        else:
            self.layers = [self._gpt2_layer(f"transformer.h.{i}.") for i in range(config.n_layers)]
            self.embedding = self.named["transformer.wte.weight"]
            self.positions = self.named["transformer.wpe.weight"]
            self.norm, self.norm_bias = self.named["transformer.ln_f.weight"], self.named["transformer.ln_f.bias"]
        self.output = self.embedding if config.tied else self.named["lm_head.weight"]

    def _fused(self, *names: str) -> np.ndarray:
        """The matrices of these names, which lie one after the other, as one of (in, out)."""
        arrays = [self.named[name] for name in names]
        size, width = sum(a.size for a in arrays), arrays[0].shape[1]
        start = (arrays[0].ctypes.data - self.flat.ctypes.data) // self.flat.itemsize
        return self.flat[start : start + size].reshape(-1, width).T

    def _llama_layer(self, prefix: str) -> LayerArrays:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        return LayerArrays(
            norm1=self.named[prefix + "input_layernorm.weight"],
            norm1_bias=None,
            qkv=self._fused(attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"),
            qkv_bias=None,
            out=self.named[attention + "o_proj.weight"].T,
            out_bias=None,
            norm2=self.named[prefix + "post_attention_layernorm.weight"],
            norm2_bias=None,
            up=self._fused(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            up_bias=None,
            down=self.named[mlp + "down_proj.weight"].T,
            down_bias=None,
        )

    def _gpt2_layer(self, prefix: str) -> LayerArrays:
        def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
            return self.named[f"{prefix}{name}.weight"], self.named[f"{prefix}{name}.bias"]

        (norm1, norm1_bias), (norm2, norm2_bias) = pair("ln_1"), pair("ln_2")
        (qkv, qkv_bias), (out, out_bias) = pair("attn.c_attn"), pair("attn.c_proj")
        (up, up_bias), (down, down_bias) = pair("mlp.c_fc"), pair("mlp.c_proj")
        return LayerArrays(
            norm1, norm1_bias, qkv, qkv_bias, out, out_bias, norm2, norm2_bias, up, up_bias, down, down_bias
        )
