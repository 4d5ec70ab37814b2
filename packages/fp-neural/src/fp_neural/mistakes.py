r"""
Common mistakes: seventeen ways to train a model that looks healthy.

A network with a mistake in it still has a gradient, and its loss still falls: training makes the best of whatever it is
given. What it ends with is a model that is a little worse, or a number that is much too good. Each example below makes
one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_neural.embedding_map`.

>>> import numpy as np
>>> from fp_autograd.functional import grad
>>> from fp_autograd.rules import log, softmax, tanh
>>> from fp_autograd.tensor import Tensor
>>> from fp_neural import LSTM, BatchNorm1d, Dropout, Embedding, Linear
>>> from fp_neural import MLPLanguageModel, Module, Parameter
>>> from fp_neural import Sequential, TextDataset, cross_entropy, gradient_step, mse, train
>>> from fp_neural.batches import split_ids
>>> from fp_neural.training import gradient_norm
>>> rng = np.random.default_rng(0)

## The loss

**1. Softmax over the wrong axis.** Along axis 0 the texts of a batch compete for each token. All numbers are positive,
columns sum to one, and a batch of another size gives another answer. The check is the loss of equal scores: it is the
logarithm of the number of tokens, $\ln 65$, and not that of the number of texts.

>>> z = np.zeros((8, 65))
>>> first = [round(-np.log(softmax(z, axis=axis)[0, 0]).item(), 2) for axis in (0, 1)]
>>> first, round(np.log(65).item(), 2)
([2.08, 4.17], 4.17)

**2. The logarithm of a finished softmax.** A probability that underflows has the logarithm $-\infty$. The usual patch,
a small number inside the logarithm, trades the infinity for silence: the prediction that is most wrong gets no
gradient, so it stays wrong. `cross_entropy` never makes the probability (`neural.cross-entropy-gradient`).

>>> z = np.array([0.0, 40.0])  # token 0 came
>>> patched = grad(lambda z: -log(softmax(z)[0] + 1e-9))(z)
>>> bool(np.abs(patched).max() < 1e-8), grad(lambda z: cross_entropy(z, 0))(z)
(True, array([-1.,  1.]))

**3. Softmax twice.** `cross_entropy` takes scores. Given probabilities, which lie between $0$ and $1$, it takes a
softmax of them again. Training works, slowly, and the loss has a floor, which a perfect prediction of 65 tokens does
not get below: $\ln (e + 64) - 1$. The check is a prediction that is certain and right. It costs nothing.

>>> certain = np.where(np.arange(65) == 7, 1000.0, 0.0)
>>> [round(float(cross_entropy(scores, 7)), 2) for scores in (softmax(certain), certain)]
[3.2, 0.0]

**4. Shapes that fit by accident.** A column minus a row is a matrix, and the mean of its squares a number: every
prediction is compared with every answer, and the best fit is the average answer. `mse` refuses to repeat.

>>> guess, answer = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0])
>>> round(float(((guess - answer) ** 2).mean()), 2), float(mse(guess[:, 0], answer))
(1.33, 0.0)
>>> mse(guess, answer)
Traceback (most recent call last):
    ...
ValueError: mse compares arrays of one shape, got (3, 1) and (3,): repeating one of them would be a mistake ...

**5. Padding that counts.** Short texts are filled up, the filling is easy to predict, and the mean over all positions
falls with every position that should not be there. The check: one more column of padding must not change the loss.

>>> z = 4 * np.eye(3)[[[1, 2, 0, 0], [2, 0, 0, 0]]]  # sure of the token that will come, or of the padding, 0
>>> y = np.array([[2, 1, 0, 0], [1, 0, 0, 0]])
>>> def wider(a):
...     return np.concatenate([a, a[:, -1:]], axis=1)
>>> [round(float(cross_entropy(z, y)), 2), round(float(cross_entropy(wider(z), wider(y))), 2)]
[1.54, 1.24]
>>> rows = [(z, y), (wider(z), wider(y))]
>>> [round(float(cross_entropy(z, y, ignore=0)), 2) for z, y in rows]
[4.04, 4.04]

**6. Summed or averaged.** A rate is chosen for one of the two. The gradient of a sum grows with the batch, so a rate
that was good for 8 examples leaps with 64 of the same kind; that of a mean does not change.

>>> layer = Linear(3, 5, rng=rng, dtype=np.float64)
>>> x, y = rng.normal(size=(8, 3)), rng.integers(0, 5, 8)
>>> def norm(times, reduction):
...     layer.zero_grad()
...     z = layer(np.tile(x, (times, 1)))
...     cross_entropy(z, np.tile(y, times), reduction=reduction).backward()
...     return gradient_norm(layer.named_parameters())
>>> [round(norm(8, how) / norm(1, how), 6) for how in ("sum", "mean")]
[8.0, 1.0]

## The layers

**7. Overwritten embedding gradients.** A row that is read twice gets two gradients (`neural.embedding-gradient`).
NumPy's `+=` with an array of ids reads, adds and writes back each row once, whatever the number of times it is named.

>>> ids, g = np.array([4, 0, 4]), np.ones((3, 2))
>>> lost, kept = np.zeros((5, 2)), np.zeros((5, 2))
>>> lost[ids] += g
>>> np.add.at(kept, ids, g)
>>> lost[:, 0], kept[:, 0]
(array([1., 0., 0., 0., 1.]), array([1., 0., 0., 0., 2.]))
>>> table = Embedding(5, 2, rng=rng, dtype=np.float64)
>>> table(ids).backward(g)
>>> bool((table.weight.grad == kept).all())
True

**8. Bias forgotten.** Without a bias the scores of a zero input are zero, whatever the weights: all tokens are equally
likely where the network has nothing to say. With one it says how frequent they are. The check is a model with no input
at all: its loss should come down to the entropy of the tokens.

>>> y = np.array([0] * 9 + [1])
>>> nothing = np.zeros((10, 3), np.float32)
>>> for bias in (False, True):
...     layer = Linear(3, 2, rng=rng, bias=bias)
...     history = train(layer, lambda: cross_entropy(layer(nothing), y), [()] * 100, rate=2.0)
...     print(f"{history.losses[-1]:.3f}")
0.693
0.325
>>> round(float(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1))), 3)
0.325

**9. Contexts flattened in the wrong order.** The vectors of a context stand in axes 1 and 2 of $B \times k \times D$,
and the next layer wants $B \times kD$. If the axes were exchanged before, as they are in code that goes position by
position, `reshape` runs without complaint and mixes the texts of the batch. The check: change one text, and look at the
answer to another.

>>> e = rng.normal(size=(4, 3, 2))
>>> other = e.copy()
>>> other[1] = 0
>>> def answer(e, order):
...     return e.transpose(order).reshape(4, 6)[0]
>>> orders = (0, 1, 2), (1, 0, 2)
>>> [bool((answer(e, order) == answer(other, order)).all()) for order in orders]
[True, False]

**10. First weights ten times too large.** Every unit of the hidden layer begins at $\pm 1$, where $\tanh$ has no slope
(`autograd.tanh-slope`), and the model is sure of itself before it has seen anything. Two checks: the share of
saturated units, and the first loss, which should be near $\ln 27$ (`neural.first-loss`).

>>> x, y = rng.normal(size=(512, 30)).astype(np.float32), rng.integers(0, 27, 512)
>>> for gain in (1, 10):
...     h = tanh(Linear(30, 200, rng=rng, gain=gain)(x))
...     first = cross_entropy(Linear(200, 27, rng=rng, gain=gain)(h), y)
...     saturated = np.mean(np.abs(h.data) > 0.99)
...     print(f"{saturated:.0%} saturated, the first loss is {first.item():.1f}")
1% saturated, the first loss is 3.5
79% saturated, the first loss is 18.9
>>> round(np.log(27).item(), 1)
3.3

**11. A parameter that nobody knows.** `parameters()` lists what was set as a `Parameter`. A plain tensor receives its
gradient as well, and no step ever moves it. The check is the number of parameters, counted by hand.

>>> class Scaled(Module):
...     def __init__(self, kind):
...         super().__init__()
...         self.scale = kind(np.ones(3))
>>> plain = Scaled(lambda x: Tensor(x, requires_grad=True))
>>> plain.n_parameters, Scaled(Parameter).n_parameters
(0, 3)

## Training

**12. Gradients not zeroed.** Sweeps add to what is there. A step then goes along the sum of all gradients so far, which
is motion without friction: instead of coming to rest in the minimum, the parameter swings through it for ever.

>>> for forget in (False, True):
...     w, largest = Parameter(np.array([1.0])), 0.0
...     for step in range(200):
...         if forget:
...             w.zero_grad()
...         (0.5 * w * w).sum().backward()
...         gradient_step([w], 0.1)
...         # in the last fifty steps
...         largest = max(largest, abs(w.data[0])) if step >= 150 else 0.0
...     print(f"{largest:.2f}")
1.01
0.00

**13. Off by one.** If the target at a position is the token that was read there, the model learns to copy, and its loss
falls to zero on any text. The check is a text that nobody can predict: below the entropy of its tokens there is no
honest loss. Here 8 tokens are drawn evenly, and $\ln 8 \approx 2.08$.

>>> ids = rng.integers(0, 8, 2001)
>>> for shift in (0, 1):
...     x, y = ids[:2000], ids[shift : shift + 2000]
...     table = Embedding(8, 8, rng=rng)
...     history = train(table, lambda: cross_entropy(table(x), y), [()] * 300, rate=10.0)
...     print(f"{history.losses[-1]:.2f}")
0.00
2.06

**14. A state from another text.** A recurrent layer begins where it is told to begin. Carried on to the next chunk of
the same text, the state is memory; carried on to another text, it is noise, and what a text is worth depends on what
was read before it. It has to be kept from row to row in `fp_neural.batches.streams`, and dropped between texts.

>>> lstm, texts = LSTM(4, 6, rng=rng), rng.normal(size=(2, 1, 9, 4)).astype(np.float32)
>>> _, state = lstm(texts[0])
>>> alone, after = lstm(texts[1])[0], lstm(texts[1], state)[0]
>>> bool(np.allclose(alone.data, after.data, atol=1e-3))
False

## Judging

**15. Training loss reported as held-out loss.** A text of tokens that are drawn evenly from 8 has the perplexity 8, and
no model does better on what it has not seen. On what it has seen, a model with enough parameters does as well as it
likes.

>>> training, held_out = split_ids(rng.integers(0, 8, 400), held_out=0.5)
>>> model = MLPLanguageModel(8, context=4, dim=8, hidden=128, rng=rng)
>>> history = train(model, model.loss, [model.examples(training)] * 400, rate=1.0)
>>> print(f"{model.perplexity(training):.2f}", model.perplexity(held_out) > 8)
1.01 True

The same happens by accident if windows are cut from the text first and some of them held out (`neural.window-leak`): of
the tokens to be predicted in those, nearly all are in a window that was trained on. Cut the text first.

>>> def share(trained, judged):
...     seen, asked = (np.concatenate([y for _, y in part]) for part in (trained, judged))
...     return np.isin(asked, seen).mean()
>>> places, cut = np.arange(400), rng.random(392) < 0.1  # each token is its own place
>>> windows = [TextDataset(places, 8).windows(i) for i in range(392)]
>>> judged = [w for w, out in zip(windows, cut) if out]
>>> print(f"{share([w for w, out in zip(windows, cut) if not out], judged):.0%}")
100%
>>> before, rest = (TextDataset(part, 8) for part in split_ids(places))
>>> parts = ([part.windows(i) for i in range(len(part))] for part in (before, rest))
>>> print(f"{share(*parts):.0%}")
0%

**16. Dropout left on.** In training mode a part of the network is missing, another one at each call: the loss on text
held out is too high, and differs from call to call. The check is to ask twice. `cross_entropy` and `generate` of a
`LanguageModel` switch to use and back; whoever calls the model itself has to.

>>> model = Sequential(Linear(4, 50, rng=rng), Dropout(0.5, rng=rng))
>>> x = rng.normal(size=(2, 4)).astype(np.float32)
>>> bool((model(x).data == model(x).data).all())
False
>>> model = model.eval()
>>> bool((model(x).data == model(x).data).all())
True

**17. Batch normalization left in training.** The answer to one question then depends on the others that happen to be in
the batch, a single one cannot be asked at all, and each question moves the running averages: held-out text leaks into
the model. The check: a row by itself, and with company, has to give the same.

>>> layer, row = BatchNorm1d(3), np.ones((1, 3), np.float32)
>>> company = rng.normal(3, 2, size=(9, 3)).astype(np.float32)
>>> together = layer(np.concatenate([row, company])).data[:1]
>>> layer.running_mean.round(1)  # at first it was zero
array([0.3, 0.2, 0.2], dtype=float32)
>>> layer(row)
Traceback (most recent call last):
    ...
ValueError: a batch of shape (1, 3) is a single row, whose every number is its own mean: nothing of it would be ...
>>> layer = layer.eval()
>>> bool((layer(row).data == layer(np.concatenate([row, company])).data[:1]).all())
True

## In practice

A. Karpathy's advice (2019) on training networks is an order in which to find these: look at the data; compare the first
loss with $\ln V$; train with the input set to zero, and see that the input helps; overfit one batch, to a loss of zero;
change one example of a batch, and see that no other answer changes; only then regularize, and tune last. Each of these
takes a minute, and most of the mistakes above do not survive the first five.
"""

__all__: list[str] = []
