r"""
Adapters: somebody else's backward passes in our trainer.

`fp_capstone.training.Trainer` does not know where a gradient comes from. It calls a function with token ids and targets
and takes from it a loss and an array for each parameter. So whoever has written the backward passes of this chapter can
train our model with them: same text, same optimizer, same schedule. This section is the plug that fits both sides.

You need: all sections up to `fp_capstone.training`. The project of this chapter (`fp check capstone`) uses it.

## Who does what

`AdaptedGradients` runs the **forward** pass with our functions, one line after the other, and keeps what a backward
pass may want to know. Every **backward** pass it asks of one function, `backward(operation, *given)`:

| operation | given | answer |
| --- | --- | --- |
| `"linear"` | `g, x, W` | `dx, dW, db` |
| `"cross_entropy"` | `z, y` | `loss, dz` |
| `"norm"` | `g, xhat, r, gain, centred` | `dx, dgain, dbias`, the last one None unless centred |
| `"activation"` | `g, h, gated` | `dh` |
| `"rotary"` | `g, cos, sin` | `dx` |
| `"attention"` | `g, q, k, v, P, M` | `dq, dk, dv` |
| `"stream"` | `g, backs, masks` | `dx` |
| `"model"` | `dz, n, ids, E, positions, back` | `dE, dW` |

The last two are given functions. A block is two **branches** on the stream, $x + m \odot f(x)$, first attention, then
the feed-forward layer; `backs` holds for each branch, from the first to the last of the whole model, the map from a
gradient at the branch's end to the gradient at its beginning, and `masks` the $m$ of each. `back`, for the whole model,
maps the gradient at the final norm's output to that at the sum of embedding and positions. Both ask, further down, for
the other operations. So the answers depend on nothing but what is given, and each can be tested alone.

The arrays that are handed out are copies: whoever changes them spoils nothing but his own.

## In practice

A library's extension point is the same idea: `torch.autograd.Function` and JAX's `custom_vjp` take a pair of functions,
forward and backward, and trust the second. Nobody checks it: a wrong one trains, a little worse. Test such a pair with
finite differences before you train with it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fp_capstone.linear import linear
from fp_capstone.model import Model
from fp_capstone.norms import layer_norm, rms_norm
from fp_capstone.parameters import LayerArrays, Parameters
from fp_capstone.rotary import rotary_tables, rotate

__all__ = ["AdaptedGradients", "AnswerError"]

Back = Callable[[np.ndarray], np.ndarray]


class AnswerError(ValueError):
    """A backward pass answered with something that has not the form of a gradient."""


class AdaptedGradients:
    """
    `Model.loss_and_grads`, with every backward pass asked of a function: what `Trainer` takes for `gradients`.

    Parameters
    ----------
    model
        A model without dropout whose output is tied to the embedding. Its parameters are read, not changed.
    backward
        Called as `backward(operation, *given)`; see the table at the top of the page.

    Raises
    ------
    ValueError
        If the model has dropout or an output table of its own.

    Examples
    --------
    What is asked for while one gradient of a model with one block is computed:

    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.llama(vocab_size=7, context_length=4, n_layers=1, n_heads=1, d_model=8)
    >>> asked = []
    >>> def zeros(operation, *given):
    ...     asked.append(operation)
    ...     match operation, given:
    ...         case "cross_entropy", (z, y):
    ...             return 0.0, 0 * z
    ...         case "linear", (g, x, W):
    ...             return 0 * x, 0 * W, 0 * g[0]
    ...         case "norm", (g, xhat, r, gain, centred):
    ...             return 0 * xhat, 0 * gain, None
    ...         case "attention", (g, q, k, v, P, M):
    ...             return 0 * q, 0 * k, 0 * v
    ...         case "activation", (g, h, gated):
    ...             return 0 * h
    ...         case "rotary", (g, cos, sin):
    ...             return 0 * g
    ...         case "stream", (g, backs, masks):
    ...             for back in reversed(backs):
    ...                 g = g + back(g)
    ...             return g
    ...         case "model", (dz, n, ids, E, positions, back):
    ...             back(0 * n)
    ...             return 0 * E, np.zeros((positions, E.shape[1]))
    >>> gradients = AdaptedGradients(Model(config, np.random.default_rng(0)), zeros)
    >>> loss, grads = gradients(np.array([[0, 1, 2]]), np.array([[1, 2, 3]]))
    >>> print(*asked[:8])
    cross_entropy model norm stream linear activation linear norm
    >>> print(*asked[8:])
    linear attention rotary rotary linear norm
    """

    def __init__(self, model: Model, backward: Callable[..., Any]) -> None:
        if model.config.dropout > 0 or not model.config.tied:
            raise ValueError(
                "an adapted model has no dropout, and its output is the embedding; got "
                f"dropout {model.config.dropout:g} and tied={model.config.tied}. Set dropout=0.0 and tied=True"
            )
        self._model, self._backward = model, backward
        self._p, self._dp = (Parameters(model.config, model.dtype) for _ in range(2))

    def __call__(
        self,
        ids: Int[np.ndarray, "B T"],
        targets: Int[np.ndarray, "B T"],
        rng: np.random.Generator | None = None,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """
        Mean loss in nats per token and its gradients, as the function given computes them.

        Parameters
        ----------
        ids, targets
            Token ids, and the ids that came next.
        rng
            Not used: nothing is erased.

        Returns
        -------
        loss : float
            Nats per token.
        grads : dict
            Gradients under the parameters' names, in memory that the next call reuses.

        Raises
        ------
        AnswerError
            If an answer has not the form that the operation's answer has.
        """
        p, dp, config = self._p, self._dp, self._model.config
        for name, array in self._model.parameters().items():
            p.named[name][:] = array
        B, T = ids.shape
        tables = None
        if config.is_llama:
            tables = rotary_tables(config.context_length, config.d_head, config.rope_base, self._model.dtype)
            tables = tables[0][:T], tables[1][:T]

        # forward, (M1) to (M3)
        x = p.embedding[ids]
        if p.positions is not None:
            x = x + p.positions[:T]
        backs: list[Back] = []
        for layer, dlayer in zip(p.layers, dp.layers, strict=True):
            for name, branch in (("norm1", partial(self._attention, tables)), ("norm2", self._feedforward)):
                n, back_norm = self._norm(x, layer, dlayer, name)
                y, back_branch = branch(n, layer, dlayer)
                x = x + y
                backs.append(_chain(back_branch, back_norm))
        n, back_norm = self._norm(x, p, dp, "norm")
        z = n @ p.embedding.T

        # backward
        V, C = p.embedding.shape
        loss, dz = self._ask("cross_entropy", (z.reshape(B * T, V), targets.reshape(-1)), (), (B * T, V))

        def back(dn: np.ndarray) -> np.ndarray:
            g = back_norm(self._expect("model", "what back is called with", dn, (B, T, C)))
            masks = [np.ones((B, T, C), x.dtype) for _ in backs]
            return np.asarray(self._ask("stream", (g, list(backs), masks), (B, T, C)))

        positions = 0 if p.positions is None else len(p.positions)
        given = (dz.reshape(B, T, V), n, ids, p.embedding, positions, back)
        dE, dW = self._ask("model", given, (V, C), (positions, C))
        dp.embedding[:] = dE
        if dp.positions is not None:
            dp.positions[:] = dW
        return float(loss), dp.named

    def _attention(
        self, tables: tuple[np.ndarray, np.ndarray] | None, n: np.ndarray, p: LayerArrays, dp: LayerArrays
    ) -> tuple[np.ndarray, Back]:
        """The attention branch (B3), and its backward pass down to the normalised stream."""
        config = self._model.config
        B, T, C = n.shape
        H, K, D = config.n_heads, config.n_kv_heads, config.d_head
        qkv, back_qkv = self._linear(n, p, dp, "qkv")
        q, k, v = np.split(qkv.reshape(B, T, H + 2 * K, D), [H, H + K], axis=2)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        P = _weights(q, np.repeat(k, H // K, axis=2))
        M = np.ones_like(P)
        y = (P * M) @ np.repeat(v, H // K, axis=2).swapaxes(1, 2)  # B H T D
        out, back_out = self._linear(y.swapaxes(1, 2).reshape(B, T, C), p, dp, "out")

        def back(g: np.ndarray) -> np.ndarray:
            g = back_out(g).reshape(B, T, H, D)
            dq, dk, dv = self._ask("attention", (g, q, k, v, P, M), q.shape, k.shape, v.shape)
            if tables is not None:
                dq, dk = (self._ask("rotary", (d, *tables), d.shape) for d in (dq, dk))
            return back_qkv(np.concatenate((dq, dk, dv), axis=2).reshape(B, T, -1))

        return out, back

    def _feedforward(self, n: np.ndarray, p: LayerArrays, dp: LayerArrays) -> tuple[np.ndarray, Back]:
        """The feed-forward branch (B4) or (B5), and its backward pass down to the normalised stream."""
        gated = self._model.config.is_llama
        h, back_up = self._linear(n, p, dp, "up")
        rows = h.reshape(-1, h.shape[-1])
        f = _bend(rows, gated)
        out, back_down = self._linear(f.reshape(*h.shape[:2], -1), p, dp, "down")

        def back(g: np.ndarray) -> np.ndarray:
            g = back_down(g).reshape(f.shape)
            return back_up(self._ask("activation", (g, rows, gated), rows.shape).reshape(h.shape))

        return out, back

    def _linear(self, x: np.ndarray, p: LayerArrays, dp: LayerArrays, name: str) -> tuple[np.ndarray, Back]:
        """The linear map with the weights of this name; its backward pass also fills in their gradients."""
        W, b = getattr(p, name), getattr(p, f"{name}_bias")
        rows = x.reshape(-1, x.shape[-1])
        y = linear(rows, W, b)

        def back(g: np.ndarray) -> np.ndarray:
            shapes = rows.shape, W.shape, W.shape[1:]
            dx, dW, db = self._ask("linear", (g.reshape(y.shape), rows, W), *shapes)
            getattr(dp, name)[:] = dW
            if b is not None:
                getattr(dp, f"{name}_bias")[:] = db
            return np.asarray(dx.reshape(x.shape))

        return y.reshape(*x.shape[:-1], -1), back

    def _norm(self, x: np.ndarray, p: Any, dp: Any, name: str) -> tuple[np.ndarray, Back]:
        """The norm with the gain of this name; its backward pass also fills in the gradients of gain and bias."""
        gain, bias, eps = getattr(p, name), getattr(p, f"{name}_bias"), self._model.config.norm_eps
        rows = x.reshape(-1, x.shape[-1])
        y, xhat, r = rms_norm(rows, gain, eps) if bias is None else layer_norm(rows, gain, bias, eps)

        def back(g: np.ndarray) -> np.ndarray:
            shapes = rows.shape, gain.shape, None if bias is None else gain.shape
            given = g.reshape(rows.shape), xhat, r, gain, bias is not None
            dx, dgain, db = self._ask("norm", given, *shapes)
            getattr(dp, name)[:] = dgain
            if bias is not None:
                getattr(dp, f"{name}_bias")[:] = db
            return np.asarray(dx.reshape(x.shape))

        return y.reshape(x.shape), back

    def _ask(self, operation: str, given: tuple[Any, ...], *shapes: tuple[int, ...] | None) -> Any:
        """One answer, its form made sure of; where a shape is None nothing is looked at."""
        own = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
        answer = self._backward(operation, *own)
        if len(shapes) == 1:
            return self._expect(operation, "the answer", answer, shapes[0])
        if not isinstance(answer, tuple | list) or len(answer) != len(shapes):
            raise AnswerError(f"{operation}: {len(shapes)} things are expected, got {_what(answer)}")
        parts = enumerate(zip(answer, shapes, strict=True), 1)
        return [self._expect(operation, f"answer {i}", part, shape) for i, (part, shape) in parts]

    def _expect(self, operation: str, what: str, a: Any, shape: tuple[int, ...] | None) -> Any:
        if shape is None:
            return a
        if shape == () and isinstance(a, float | np.floating):
            return a
        if not (isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.shape == shape):
            wanted = f"an array of floats of shape {shape}" if shape else "a float"
            raise AnswerError(f"{operation}: {what} must be {wanted}, got {_what(a)}")
        return a.copy()  # it may share memory with what the function still has


def _weights(q: Float[np.ndarray, "B T H D"], k: Float[np.ndarray, "B T H D"]) -> Float[np.ndarray, "B H T T"]:
    """Attention's weights (T1) and (T2), all heads at once."""
    T, D = q.shape[1], q.shape[3]
    S = q.swapaxes(1, 2) @ k.transpose(0, 2, 3, 1) / math.sqrt(D)
    S = np.where(np.tri(T, dtype=bool), S, -np.inf)
    e = np.exp(S - S.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _bend(h: Float[np.ndarray, "N hidden"], gated: bool) -> Float[np.ndarray, "N F"]:
    """SwiGLU or GELU, as `fp_capstone.activations` derives them."""
    if not gated:
        return np.asarray(0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))))
    gates, values = np.split(h, 2, axis=1)
    return np.asarray(gates * (0.5 + 0.5 * np.tanh(gates / 2)) * values)


def _chain(last: Back, first: Back) -> Back:
    """The backward pass of a branch from those of its two parts: the last part of the forward pass is first."""
    return lambda g: first(last(g))


def _what(a: Any) -> str:
    if isinstance(a, np.ndarray):
        return f"{a.dtype} of shape {a.shape}"
    return f"{len(a)} of them" if isinstance(a, tuple | list) else f"{a!r:.80}"
