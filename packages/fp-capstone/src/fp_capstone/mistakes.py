r"""
Common mistakes: eight ways to be wrong that raise no error.

A wrong backward pass seldom crashes. It trains, a little worse, and nobody knows. Each example below makes one mistake
on purpose and shows the one check that sees it. They run as tests.

You need: all the sections up to `fp_capstone.model`.

>>> import numpy as np
>>> from fp_capstone.embedding import embedding_backward
>>> from fp_capstone.model import Model
>>> from fp_transformer.config import TransformerConfig
>>> rng = np.random.default_rng(0)

**1. Rows of an embedding assigned, not added.** A token that stands twice in a batch has two cotangents. NumPy's
`dE[ids] += g` keeps the last one only.

>>> ids, g = np.array([1, 1, 1]), np.ones((3, 1))
>>> wrong, right = np.zeros((2, 1)), np.zeros((2, 1))
>>> wrong[ids] += g
>>> embedding_backward(g, ids, right)
>>> wrong[1].item(), right[1].item()
(1.0, 3.0)

**2. A bias whose gradient is not summed.** The bias was broadcast over the rows, so its gradient is the sum over the
rows. An average is a learning rate divided by the number of rows.

>>> g = np.ones((5, 2))
>>> g.mean(axis=0).tolist(), g.sum(axis=0).tolist()
([1.0, 1.0], [5.0, 5.0])

**3. The mask after the softmax.** Zeroing the future's weights leaves the future in the denominator: a later score
changes an earlier output.

>>> def masked_late(s):
...     p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
...     return np.tril(p)
>>> s = np.zeros((2, 2))
>>> before = masked_late(s)[0, 0]
>>> s[0, 1] = 5.0
>>> round(float(before), 3), round(float(masked_late(s)[0, 0]), 3)
(0.5, 0.007)

**4. No $1 / \sqrt D$.** The scores of wide heads have variance $D$, the softmax saturates, and its gradient
$p_j (h_j - \sum_k p_k h_k)$ is nearly zero.

>>> def largest_weight(scale, D=256):
...     q, k = rng.normal(size=(200, D)), rng.normal(size=(200, 16, D))
...     s = np.einsum("nd,nkd->nk", q, k) * scale
...     p = np.exp(s - s.max(axis=1, keepdims=True))
...     return float((p.max(axis=1) / p.sum(axis=1)).mean())
>>> largest_weight(1.0) > 0.9, largest_weight(1 / 16) < 0.4
(True, True)

**5. Targets not shifted.** A model that is asked for the token it was just given learns to copy it, and its loss falls
to zero: far below anything that real text allows. The target of position $t$ is the token at $t + 1$.

>>> text = np.array([3, 1, 4, 1, 5])
>>> text[:-1].tolist(), text[1:].tolist()
([3, 1, 4, 1], [1, 4, 1, 5])

**6. A tied table's gradient counted once.** The table is used at the bottom and at the top, and has both gradients.
With only the bottom's, tokens that are not in the input never learn not to be predicted.

>>> config = TransformerConfig.llama(vocab_size=5, context_length=4, n_layers=1, n_heads=1, d_model=4)
>>> _, grads = Model(config, rng).loss_and_grads(np.array([[0, 1, 0, 1]]), np.array([[1, 0, 1, 0]]))
>>> bool(np.abs(grads["model.embed_tokens.weight"][4]).max() > 0)  # token 4 occurs nowhere
True

**7. The loss of a batch taken as the mean of means.** Parts of different size need weights (`capstone.shards`).

>>> losses = [np.array([1.0, 1.0, 1.0]), np.array([5.0])]
>>> float(np.mean([part.mean() for part in losses])), float(np.concatenate(losses).mean())
(3.0, 2.0)

**8. A gradient check in float32.** Central differences divide a rounding error of about $6 \cdot 10^{-8}$ by the step.
With a step of $10^{-6}$ the answer is noise, and a right backward pass looks wrong; in float64 it agrees to nine
digits.

>>> def slope(x, h):
...     return float(((x + h) ** 3 - (x - h) ** 3) / (2 * h))
>>> abs(slope(np.float32(1.0), np.float32(1e-6)) - 3) > 0.01, abs(slope(1.0, 1e-6) - 3) < 1e-9
(True, True)

## In practice

Three checks find nearly all of these, and none needs a dataset: the first loss is close to $\log V$; the gradient of
every parameter agrees with central differences in float64; a small batch can be learned down to its own floor and not
below.
"""

__all__: list[str] = []
