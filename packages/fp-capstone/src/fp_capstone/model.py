r"""
The model: embedding, blocks, output, and one backward pass through all of it.

You need: all the sections before this one.

## Derivation

For one sequence of token ids $t_1, \dots, t_T$ with targets $y$ (the ids one place further on), and for several
sequences side by side, $N$ tokens together,

$$
\begin{aligned}
x^{(0)}_n &= E_{t_n} \; (+\, W_n \text{ with learned positions}), && \text{(M1)} \\
x^{(l)} &= \operatorname{block}_l(x^{(l-1)}), \quad l = 1, \dots, L, && \text{(M2)} \\
z &= \operatorname{norm}(x^{(L)})\, U^\top, && \text{(M3)} \\
\ell &= \frac{1}{N} \sum_n \Big( \log \sum_j e^{z_{nj}} - z_{n, y_n} \Big), && \text{(M4)}
\end{aligned}
$$

with the embedding $E \in \mathbb{R}^{V \times C}$, the output table $U \in \mathbb{R}^{V \times C}$ and learned
positions $W$ (or rotations inside the blocks). The backward pass starts from $\partial \ell / \partial z$
(`capstone.cross-entropy-backward`) and goes through the lines in reverse.

**Claim** `capstone.position-gradient`. The gradient of $W_n$ is the sum over the sequences of the batch of the
cotangents at position $n$.

**Proof.** (M1) adds $W_n$ to the row of position $n$ in every sequence, so the sum of cotangents follows as for a bias,
step 3 of `capstone.linear-backward`. $\blacksquare$

**Claim** `capstone.tied-gradient`. If the output is **tied**, $U = E$, the gradient of the one table is the sum of the
two gradients that the two tables would have.

**Proof.** Let $\ell(E, U)$ be the loss with two tables. The tied loss is $f(E) = \ell(E, E)$. By the chain rule
$\partial f / \partial E_{vc} = \partial \ell / \partial E_{vc} + \partial \ell / \partial U_{vc}$, both at $U = E$,
because both arguments have derivative one with respect to the entry. $\blacksquare$

Counting it once is a mistake that trains anyway; only a gradient check sees it.

## Initialization

Gains are one and biases zero. The tables (embedding, positions, output) are drawn with standard deviation $0.02$, so
that the first logits are small and the first loss is close to $\log V$ (`capstone.uniform-loss`). An untied embedding
is drawn with $0.5$: it need not be small, and the branches should not drown it. GPT-2's matrices are drawn with $0.02$
too, as its authors do; in the Llama family a matrix that maps $I$ inputs is drawn with $1/\sqrt{I}$.

**Claim** `capstone.fan-in`. Let $x \in \mathbb{R}^I$ be random with $\sum_i \mathbb{E}[x_i^2] = I$, and let $x$ and all
entries of $W$ be jointly independent, the entries with mean zero and variance $1/I$. Then every entry of $xW$ has mean
zero and variance one.

**Proof.** $\mathbb{E}[x_i W_{io}] = \mathbb{E}[x_i]\, \mathbb{E}[W_{io}] = 0$. For $i \ne j$ the products $x_i W_{io}$
and $x_j W_{jo}$ are uncorrelated, since
$\mathbb{E}[x_i x_j W_{io} W_{jo}] = \mathbb{E}[x_i x_j]\, \mathbb{E}[W_{io}]\, \mathbb{E}[W_{jo}] = 0$. So the variance
of the sum is $\sum_i \mathbb{E}[x_i^2]\, \mathbb{E}[W_{io}^2] = \sum_i \mathbb{E}[x_i^2] / I = 1$. $\blacksquare$

A norm's output has $\sum_i x_i^2 = I$ nearly exactly, so the claim holds for queries, keys, values and the feed-forward
layer's first maps; averaged values and gated units, which the last maps read, are smaller. The matrices that write to
the residual stream are further divided by $\sqrt{2L}$: the stream is the embedding plus $2L$ such branches, and
independent branches of variance $1 / (2L)$ add up to variance one.

## In practice

Real libraries record the forward pass and derive the backward pass from the record; here it is written out, so that
nothing is hidden. The test suite checks it against finite differences and against PyTorch. Weights are those of Hugging
Face's `LlamaForCausalLM` and `GPT2LMHeadModel`, name by name.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fp_capstone.block import BlockTape, block, block_backward, norm, norm_backward
from fp_capstone.cross_entropy import cross_entropy_with_gradient, token_losses
from fp_capstone.dropout import dropout_mask
from fp_capstone.embedding import embedding, embedding_backward
from fp_capstone.generation import Cache, generate
from fp_capstone.linear import column_sums, linear, linear_backward
from fp_capstone.memory import HEAP, Memory
from fp_capstone.parameters import Parameters
from fp_capstone.recomputation import Recomputed
from fp_capstone.rotary import rotary_tables
from fp_transformer.checkpoint import load_model, save_model
from fp_transformer.config import TransformerConfig
from fp_transformer.initialization import initial_arrays

__all__ = ["Model"]


class Model:
    """
    A decoder-only transformer whose backward pass is written by hand.

    Parameters
    ----------
    config
        Family and sizes.
    rng
        Source of the initial weights.
    dtype
        `float32`, or `float64` to check gradients.

    Examples
    --------
    >>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=16)
    >>> model = Model(config, np.random.default_rng(0))
    >>> ids = np.array([[1, 2, 3, 4]])
    >>> model.forward(ids).shape
    (1, 4, 11)
    >>> loss, grads = model.loss_and_grads(ids[:, :-1], ids[:, 1:])
    >>> bool(abs(loss - np.log(11)) < 1), grads["model.norm.weight"].shape
    (True, (16,))
    """

    def __init__(
        self, config: TransformerConfig, rng: np.random.Generator, dtype: np.typing.DTypeLike = np.float32
    ) -> None:
        self._setup(config, np.dtype(dtype))
        for name, array in initial_arrays(config, rng, self.dtype).items():
            self._p.named[name][:] = array

    def _setup(self, config: TransformerConfig, dtype: np.dtype) -> None:
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"a model computes in float32 or float64, got dtype {dtype}")
        self.config = config
        self.dtype = dtype
        self._p = Parameters(config, dtype)
        self._rotary = None
        if config.is_llama:
            self._rotary = rotary_tables(config.context_length, config.d_head, config.rope_base, dtype)

    def parameters(self) -> dict[str, np.ndarray]:
        """
        The model's arrays under Hugging Face's names, in the order of the forward pass.

        Returns
        -------
        dict Live views: writing into an array changes the model. A new dict at each call, so rebinding a name changes
        nothing.
        """
        return dict(self._p.named)

    def forward(self, ids: Int[np.ndarray, "B T"], cache: Cache | None = None) -> Float[np.ndarray, "B T V"]:
        """
        Logits for the token after each position, (M1) to (M3).

        Parameters
        ----------
        ids
            Token ids, at most `context_length` positions.
        cache
            Keys and values of positions before these; extended. Its positions count towards the context.

        Returns
        -------
        ndarray
            Logits, shape `B T V`.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or there are no positions, or too many.
        """
        B, T = self._check(ids, cache.length if cache is not None else 0)
        start = cache.length if cache is not None else 0
        x, _ = self._embed(ids, start, None, HEAP)
        rotary = self._rows(start, T)
        for i, layer in enumerate(self._p.layers):
            block(x, layer, self.config, rotary, past=cache.layers[i] if cache is not None else None)
        n, _ = norm(x.reshape(B * T, -1), self._p.norm, self._p.norm_bias, self.config.norm_eps)
        return linear(n, self._p.output.T).reshape(B, T, -1)

    def token_losses(self, ids: Int[np.ndarray, "B T"], targets: Int[np.ndarray, "B T"]) -> Float[np.ndarray, "B T"]:
        """
        The loss of every token, in nats, without dropout.

        Parameters
        ----------
        ids, targets
            Token ids, and the ids that came next.

        Returns
        -------
        ndarray
            Losses in nats, shape `B T`.

        Raises
        ------
        ValueError
            As `forward`, and if the targets don't match.
        """
        B, T = self._check(ids, 0, targets)
        z = self.forward(ids).reshape(B * T, -1)
        return token_losses(z, targets.reshape(-1)).reshape(B, T)

    def loss(self, ids: Int[np.ndarray, "B T"], targets: Int[np.ndarray, "B T"]) -> float:
        """Mean of `token_losses`, in nats per token."""
        return float(self.token_losses(ids, targets).mean(dtype=np.float64))

    def loss_and_grads(
        self,
        ids: Int[np.ndarray, "B T"],
        targets: Int[np.ndarray, "B T"],
        rng: np.random.Generator | None = None,
        out: Parameters | None = None,
        memory: Memory = HEAP,
        n_total: int | None = None,
        recompute: bool = False,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """
        Mean loss (M4) and its gradient with respect to every parameter.

        Parameters
        ----------
        ids, targets
            Token ids, and the ids that came next.
        rng
            Source of dropout's randomness; without it nothing is erased.
        out
            Where the gradients go; new memory if not given.
        memory
            Where everything lies that the step forgets. An arena must be empty, and is empty again afterwards.
        n_total
            What the sums over tokens are divided by, if these are some of more tokens; their number if not given.
        recompute
            Keep only the stream in front of each block, and compute the block again when its backward pass needs it
            (`fp_capstone.recomputation`): less memory, more time, the same numbers.

        Returns
        -------
        loss : float
            Nats per token.
        grads : dict
            Gradients under the parameters' names.

        Raises
        ------
        ValueError
            As `forward`, and if the targets don't match.
        """
        B, T = self._check(ids, 0, targets)
        p, config = self._p, self.config
        dp = Parameters(config, self.dtype) if out is None else out

        N, C = B * T, config.d_model
        rotary = self._rows(0, T)

        # forward
        erase = rng if config.dropout > 0 else None
        x, mask = self._embed(ids, 0, erase, memory)
        kept: list[BlockTape | Recomputed | None] = []
        for layer in p.layers:
            if recompute:
                kept.append(Recomputed.before(x, erase, memory))
                block(x, layer, config, rotary, erase, memory=memory)
            else:
                kept.append(block(x, layer, config, rotary, erase, keep=True, memory=memory))
        n, norm_tape = norm(x.reshape(N, C), p.norm, p.norm_bias, config.norm_eps, memory)
        z = linear(n, p.output.T, memory=memory)
        loss, dz = cross_entropy_with_gradient(z, targets.reshape(-1), n_total)

        # backward, from the last line to the first
        dn = linear_backward(dz, n, p.output.T, dp.output.T, memory=memory)  # (M3)
        dx = norm_backward(dn, norm_tape, p.norm, dp.norm, dp.norm_bias, memory).reshape(B, T, C)
        for layer, dlayer in zip(reversed(p.layers), reversed(dp.layers), strict=True):  # (M2)
            mark, tape = memory.mark(), kept.pop()
            if isinstance(tape, Recomputed):
                tape = block(tape.x, layer, config, rotary, tape.rng, keep=True, memory=memory)
            assert tape is not None
            block_backward(dx, tape, layer, dlayer, config, rotary, memory)
            memory.release(mark)
        if mask is not None:
            dx *= mask
        if dp.positions is not None:
            column_sums(dx.reshape(B, T * C), out=dp.positions[:T].reshape(-1))  # (M1)
            dp.positions[T:] = 0
        if not config.tied:
            dp.embedding[:] = 0
        # tied: the output's gradient is already there, and this one is added to it (`capstone.tied-gradient`)
        embedding_backward(dx.reshape(N, C), ids.reshape(-1), dp.embedding)
        memory.release(0)
        return loss, dp.named

    def generate(
        self,
        prompt_ids: Sequence[int] | Int[np.ndarray, " R"],
        max_new_tokens: int,
        rng: np.random.Generator,
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | int | None = None,
    ) -> Iterator[int]:
        """Continue a prompt with a KV cache: `fp_capstone.generation.generate` on this model."""
        return generate(self, prompt_ids, max_new_tokens, rng, temperature, top_k, top_p)

    def save(self, directory: str | Path, tokenizer: Any = None) -> None:
        """
        Write `config.json`, `model.safetensors` and, if given, the tokenizer's `tokenizer.json`.

        Parameters
        ----------
        directory
            Made if absent. Weights of the same configuration are replaced; a directory with another configuration is
            refused.
        tokenizer
            Anything with `.save(path)`.

        Raises
        ------
        ValueError
            If the directory holds a model of another configuration. Nothing has been written then.

        Notes
        -----
        The file holds float32, whatever the model's data type.
        """
        save_model(directory, self.config, self.parameters(), tokenizer)

    @classmethod
    def load(cls, directory: str | Path, dtype: np.typing.DTypeLike = np.float32) -> "Model":
        """
        Read a model directory, ours or Hugging Face's.

        Parameters
        ----------
        directory
            Holds `config.json` and `model.safetensors`.
        dtype
            What the weights are converted to.

        Raises
        ------
        ValueError
            If a file is missing, foreign, or truncated, or its arrays don't fit the configuration.
        """
        config, arrays = load_model(directory)
        model = cls.__new__(cls)
        model._setup(config, np.dtype(dtype))
        for name, array in model._p.named.items():
            array[:] = arrays[name]
        return model

    def _embed(
        self, ids: Int[np.ndarray, "B T"], start: int, rng: np.random.Generator | None, memory: Memory
    ) -> tuple[Float[np.ndarray, "B T C"], Float[np.ndarray, "B T C"] | None]:
        """The residual stream before the first block (M1), and the mask of its dropout."""
        B, T = ids.shape
        x = embedding(ids.reshape(-1), self._p.embedding, memory).reshape(B, T, -1)
        if self._p.positions is not None:
            x += self._p.positions[start : start + T]
        if rng is None:
            return x, None
        mask = dropout_mask(x.shape, self.config.dropout, rng, x.dtype)
        x *= mask
        return x, mask

    def _rows(self, start: int, length: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The rotary tables' rows for these positions."""
        if self._rotary is None:
            return None
        cos, sin = self._rotary
        return cos[start : start + length], sin[start : start + length]

    def _check(self, ids: np.ndarray, past: int, targets: np.ndarray | None = None) -> tuple[int, int]:
        V, limit = self.config.vocab_size, self.config.context_length
        for what, a in (("ids", ids), ("targets", targets)):
            if a is not None and not (isinstance(a, np.ndarray) and np.issubdtype(a.dtype, np.integer)):
                kind = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
                raise TypeError(f"{what} must be a NumPy array of integers, the numbers of tokens; got {kind}")
        if ids.ndim != 2 or ids.size == 0:
            raise ValueError(f"ids must have the shape (batch, time), both at least 1; got {ids.shape}")
        B, T = ids.shape
        if past + T > limit:
            raise ValueError(
                f"the model sees at most {limit} positions (context_length); got {past + T}. "
                "Cut the text into windows, or build the model for a longer context"
            )
        if targets is not None and targets.shape != ids.shape:
            raise ValueError(f"targets must have the shape of ids, {ids.shape}; got {targets.shape}")
        for what, a in (("ids", ids), ("targets", targets)):
            if a is not None and (a.min() < 0 or a.max() >= V):
                raise ValueError(
                    f"{what} must lie in [0, {V}), the vocabulary of the model; got {a.min()} to {a.max()}. "
                    "Was the text encoded with the tokenizer that the model was built for?"
                )
        return B, T
