r"""
Common mistakes: twenty ways to build a transformer that almost works.

A transformer with a mistake in it has the right shapes, runs, and learns something. Norms repair sizes, residuals lead
around what is broken, and what remains is a loss that is a little too high, or far too low. Each example below makes
one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_transformer.generation`.

>>> import numpy as np
>>> from fp_autograd.functional import grad, vjp
>>> from fp_autograd.rules import softmax
>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> from fp_transformer.norms import layer_norm, rms_norm
>>> rng = np.random.default_rng(0)
>>> sizes = dict(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=8)
>>> llama, gpt2 = TransformerConfig.llama(**sizes), TransformerConfig.gpt2(**sizes)
>>> def made(config):
...     return Transformer(config, rng=np.random.default_rng(0), dtype=np.float64).eval()
>>> model = made(llama)
>>> text = np.array([[3, 1, 4, 1, 5, 9]])
>>> logits = model(text).data

## Norms

**1. The norm over the wrong axis.** Over the positions each feature is divided by its size elsewhere in the text, later
places included. Trained so, a model reads the future from the sizes. The check is that of every mask: change the last
token, and look at the rows before it.

>>> x = rng.normal(size=(6, 8))
>>> other = x.copy()
>>> other[-1] += 1
>>> def over_positions(x):
...     return rms_norm(x.T, np.ones(6)).T
>>> def over_features(x):
...     return rms_norm(x, np.ones(8))
>>> [bool(np.allclose(f(x)[:-1], f(other)[:-1])) for f in (over_positions, over_features)]
[False, True]

**2. Epsilon outside the root.** It is added to the mean square, and matters for rows of the size
$\sqrt \varepsilon = 0.003$ (`transformer.norm-eps`). Added to the root it matters for rows of $\varepsilon = 0.00001$,
and rows in between come out differently. The check is a row whose mean square is $\varepsilon$: it comes out at
$1 / \sqrt 2$ of the full size.

>>> row = np.sqrt(1e-5) * np.array([1.0, -1.0])
>>> outside = row / (np.sqrt((row**2).mean()) + 1e-5)
>>> outside.round(3), rms_norm(row, np.ones(2), 1e-5).round(3)
(array([ 0.997, -0.997]), array([ 0.707, -0.707]))

**3. Divided by one less.** To estimate a variance from a sample one divides by $C - 1$, and PyTorch's `var` does so if
not told otherwise. Here nothing is estimated. The difference is small for wide rows, and makes a function that is not
the one whose weights are published. The check is the mean square of what comes out, without gain: one.

>>> z = x - x.mean(axis=1, keepdims=True)
>>> sample = z / z.std(axis=1, ddof=1, keepdims=True)
>>> [(y**2).mean().round(3).item() for y in (sample, layer_norm(x, np.ones(8), np.zeros(8), 0))]
[0.875, 1.0]

**4. The variance in one pass.** The mean of squares less the square of the mean is the same number, and loses all its
digits where a row stands far from zero (`transformer.variance-one-pass`). The check is a row with a large mean: to add
a number to a row changes nothing (`transformer.norm-invariance`).

>>> near, far = (np.array([s - 1, s + 1], np.float32) for s in (0, 4096))
>>> def one_pass(row):
...     return (row - row.mean()) / np.sqrt((row * row).mean() - row.mean() ** 2 + np.float32(1e-5))
>>> def two_passes(row):
...     return layer_norm(row, np.ones(2, np.float32), np.zeros(2, np.float32))
>>> [bool(np.allclose(f(near), f(far), atol=1e-3)) for f in (one_pass, two_passes)]
[False, True]

**5. The size held fixed.** On the way back the row is divided by its size, and that the size is made of the row is
forgotten. The gradient then has a part that pulls the row longer, which does nothing, and training drifts. The check
costs one product: at $\varepsilon = 0$ the gradient is orthogonal to the row (`transformer.norm-orthogonal`).

>>> g = rng.normal(size=(6, 8))
>>> size = np.sqrt((x**2).mean(axis=1, keepdims=True))
>>> _, back = vjp(lambda x: rms_norm(x, np.ones(8), 0), x)
>>> [bool(np.abs((x * dx).sum(axis=1)).max() < 1e-9) for dx in (g / size, back(g)[0])]
[False, True]

## The stream

**6. Post-norm for pre-norm.** The norm stands on the line, behind the addition. Both have been built, and weights of
one are useless in the other; without norms on the line, a branch that passes no gradient costs nothing
(`transformer.post-norm-gradient`). The check is to silence the branches: where the line is free, what goes in comes
out.

>>> from fp_transformer.residual import Stack
>>> for norm_first in (False, True):
...     silent = Stack(8, 4, rng=rng, norm_first=norm_first, scale=0.0, dtype=np.float64)
...     print(bool(np.allclose(silent.layer(0, x[None]).data, x)))
False
True

**7. The residual forgotten.** Each branch replaces the stream. A shallow model still learns something, but no term of
the gradient runs straight through any more (`transformer.pre-norm-gradient`). The check is the same: a block whose
branches are silenced is the identity, and not zero.

>>> block = made(llama).blocks[0]
>>> for last in (block.attention.o_proj, block.feedforward.down_proj):
...     last.weight.data[...] = 0
>>> def replaced(x):
...     return block.feedforward(block.norm2(block.attention(block.norm1(x))))
>>> [bool(np.allclose(f(x[None]).data, x)) for f in (replaced, block)]
[False, True]

**8. Gate and value exchanged.** The two matrices have one shape, so that weights load under either name, and a new
model learns as well either way. What sees it is a number that the model's own code gives; or gates that are shut, and
let nothing through.

>>> from fp_transformer.feedforward import SwiGLU, swiglu
>>> layer, ones = SwiGLU(8, rng=rng, dtype=np.float64), np.ones((1, 8))
>>> layer.gate_proj.weight.data[...] = -10
>>> def exchanged(x):
...     return layer.down_proj(swiglu(layer.up_proj(x), layer.gate_proj(x)))
>>> [bool(np.allclose(f(ones).data, 0)) for f in (exchanged, layer)]
[False, True]

**9. The final norm forgotten.** The stream is read as it is, and since it grows from block to block, a deep model
starts out very sure of itself. With trained weights the likeliest token may still be right, and the probabilities are
not. The check: a stream twice as large gives the same scores, but for $\varepsilon$.

>>> *_, top = model.stream(text)
>>> def unnormed(x):
...     return x @ model.embedding.weight.data.T
>>> [bool(np.allclose(read(2 * top).data, read(top).data, rtol=1e-3)) for read in (unnormed, model.read)]
[False, True]

## One table, two uses

**10. The tied gradient counted once.** The row of a token has two, from where it is read and from where it is predicted
(`transformer.tied-gradient`). With either alone the loss falls. The check is a difference quotient for one number of
the table, of a token that occurs.

>>> from fp_neural.losses import cross_entropy
>>> before, after = text[:, :-1], text[:, 1:]
>>> def loss(E):
...     return cross_entropy(model.functional({"embedding.weight": E}, before), after).item()
>>> E, step = model.embedding.weight.data, np.zeros((11, 8))
>>> step[1, 0] = 1e-5
>>> slope = (loss(E + step) - loss(E - step)) / 2e-5
>>> model.loss(before, after).backward()
>>> *_, top = model.stream(before)
>>> h, p = model.norm(top).data[0], softmax(model(before).data[0], axis=-1)
>>> as_output = ((p[:, 1] - (after[0] == 1)) / 5) @ h[:, 0]
>>> [bool(np.isclose(found, slope, atol=1e-7)) for found in (as_output, model.embedding.weight.grad[1, 0])]
[False, True]

**11. A copy for a tie.** Two arrays that begin with the same numbers are not tied: after one step they differ. The
check is the number of parameters.

>>> from dataclasses import replace
>>> copied = made(replace(llama, tied=False))
>>> copied.output.weight.data[...] = copied.embedding.weight.data
>>> [m.n_parameters - llama.n_parameters for m in (copied, model)]
[88, 0]

## Positions and targets

**12. Positions past the context.** A learned table has no row for them, and a modulo or a clipped index hides it: the
ninth token gets the position of the first. With rotary positions there is a number for each place, and the model was
never trained on it. The check is one token more than the context. It has to be an error, or a decision: here
generation lets the text slide (`transformer.slide`).

>>> table = made(gpt2).positions.weight.data
>>> wrapped = np.take(table, np.arange(9), axis=0, mode="wrap")
>>> bool((wrapped[8] == table[0]).all())
True
>>> made(gpt2)(np.zeros((1, 9), int))
Traceback (most recent call last):
    ...
ValueError: the model sees at most 8 positions (context_length), got 9: cut the text into windows, or build the model...
>>> len(list(model.generate([1, 2, 3], 20, temperature=0)))
20

**13. Targets that are not shifted.** The model is asked for the token that it is given, and learns to copy in no time.
The loss looks wonderful. The check is a text of random tokens: nobody can get below $\ln V$ for long.

>>> def trained(shift):
...     student, noise = made(llama), np.random.default_rng(1)
...     for _ in range(20):
...         ids = noise.integers(0, 11, (8, 9))
...         student.zero_grad()
...         found = student.loss(ids[:, :8], ids[:, shift : 8 + shift])
...         found.backward()
...         for p in student.parameters():
...             p.data[...] -= 0.5 * p.grad
...     return found.item()
>>> [bool(trained(shift) < np.log(11) - 0.3) for shift in (0, 1)]
[True, False]

## Caches

**14. The whole text again.** Each new token is appended to the text, and the text is given to a model with a cache,
which holds most of it already. The model sees everything twice. The check is the length of the cache.

>>> cache = model.new_cache()
>>> for n in (3, 4):  # the prompt, then the prompt and one token more
...     again = model(text[:, :n], cache=cache).data
>>> cache.length, bool(np.allclose(again[0, -1], logits[0, 3]))
(7, False)
>>> cache.clear()
>>> for new in (text[:, :3], text[:, 3:4]):
...     right = model(new, cache=cache).data
>>> cache.length, bool(np.allclose(right[0, -1], logits[0, 3]))
(4, True)

**15. A cache without an offset.** With learned positions it is the model that has to know where the new tokens stand.
If it counts from zero at every call, a prompt in one piece comes out right, and everything after it wrong. The check is
to feed a text in portions, and in one piece.

>>> writer = made(gpt2)
>>> def from_zero(ids, cache):
...     x = writer.positions.on_input(writer.embedding(ids))
...     for block, layer in zip(writer.blocks, cache.layers):
...         x = block(x, cache=layer)
...     return writer.read(x)
>>> def in_portions(step):
...     cache = writer.new_cache()
...     return np.concatenate([step(text[:, n : n + 2], cache=cache).data for n in (0, 2, 4)], axis=1)
>>> [bool(np.allclose(in_portions(step), writer(text).data)) for step in (from_zero, writer)]
[False, True]

## Batches

**16. Padding attended.** A short prompt is filled up in front, and what fills it takes weight from its tokens. The
answer then depends on the longest text of the batch. A padding token has to see something, or its row of weights is
empty: let it see itself. The check is the text alone. (`fp_transformer.generation.generate_batch` needs no padding.)

>>> padded = np.concatenate([np.zeros((1, 2), int), text], axis=1)
>>> real = np.arange(8) >= 2
>>> seen = np.tri(8, dtype=bool) & (real | np.eye(8, dtype=bool))
>>> for mask in (None, seen[None, None]):
...     print(np.allclose(model(padded, mask=mask).data[:, 2:], logits))
False
True

**17. A mean over padding.** Behind a causal mask, padding at the end is seen by nobody, but its own predictions are
counted, and a model that predicts padding after padding looks good. The check: more padding must not change the loss.

>>> def filled(ids, n):
...     return np.concatenate([ids, np.zeros((1, n), int)], axis=1)
>>> def losses(**settings):
...     return [model.loss(filled(before, n), filled(after, n), **settings).item() for n in (0, 3)]
>>> np.ptp(losses()) > 1e-3, np.ptp(losses(ignore=0)) < 1e-12
(np.True_, np.True_)

## Choosing

**18. An arg-max in place of a gradient.** The number of the likeliest token is constant until it jumps: its slope is
zero, and so is that of everything computed from it alone, such as the row of the token that was chosen, or the share of
right answers. No gradient passes a choice, drawn at random or not. What has a slope are probabilities: the
cross-entropy, or a mean over the distribution. The check is a gradient that is exactly zero.

>>> from fp_transformer.decoding import choose
>>> z, rows = logits[0, -1], model.embedding.weight.data
>>> def through_the_choice(z):
...     return 100 * rows[choose(z, temperature=0)].sum()
>>> def through_the_mean(z):
...     return 100 * (softmax(z) @ rows).sum()
>>> def slopes(f):
...     return np.array([(f(z + step) - f(z - step)) / 2e-5 for step in 1e-5 * np.eye(11)])
>>> np.abs(slopes(through_the_choice)).max(), bool(np.abs(slopes(through_the_mean)).max() > 0.1)
(np.float64(0.0), True)
>>> bool(np.allclose(slopes(through_the_mean), grad(through_the_mean)(z)))
True

**19. Dropout left on.** In training mode the same prompt gives other scores each time, and all of them worse. The check
is to ask twice. Generation asks for you.

>>> dropping = Transformer(replace(llama, dropout=0.5), rng=rng)
>>> bool((dropping(text).data == dropping(text).data).all())
False
>>> dropping.generate([1, 2, 3], 5, temperature=0)
Traceback (most recent call last):
    ...
ValueError: the model is in training mode and would drop 50% of its activations: call model.eval() before generating

## Loading

**20. A square matrix the wrong way round.** GPT-2's files have matrices as (in, out), most others as (out, in). Where
both sizes differ, loading fails; the matrix behind the heads is square, loads, and computes something else. What sees
it is a number that somebody else computed from the same file.

>>> from fp_transformer.checkpoint import from_arrays, to_arrays
>>> name, arrays = "transformer.h.0.attn.c_proj.weight", to_arrays(writer)
>>> for array in (arrays[name].T, arrays[name]):
...     loaded = made(gpt2)
...     from_arrays(loaded, {**arrays, name: array})
...     print(np.allclose(loaded(text).data, writer(text).data))
False
True

## In practice

Most of these are found by a handful of questions, asked of a model with random weights before it is trained. Does the
loss begin at $\ln V$? Do the scores at $t$ stay if later tokens change, if the text is put into a batch with longer
ones, if it comes in portions with a cache? Is a block without branches the identity? Do gradients agree with difference
quotients, for one number of each array? Does the model fail to learn from noise, and does it learn one small text by
heart? The conventions, which of two matrices is the gate, where epsilon stands, how pairs of RoPE are laid out, are
seen by no such question. For them there is one: are the logits those of somebody else's code, to the last digits? The
test suite of this chapter asks most of them.
"""

__all__: list[str] = []
"""The list of mistakes is what its first line says; its examples run as doctests."""
