r"""
Common mistakes: eighteen ways to step that still go downhill.

A wrong step is seldom seen. Most of what is wrong with it amounts to another rate, another direction not far from the
right one, or another point, and the loss falls all the same: a little later, to a little more, or until the run is
resumed. Each example below makes one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_optim.clipping`.

>>> import numpy as np
>>> from fp_optim import SGD, Accumulator, Adam, AdamW, Momentum, RMSprop
>>> from fp_optim import clip_by_global_norm, warmup_cosine
>>> from fp_optim.descent import gradient_descent
>>> rng = np.random.default_rng(0)

## The rate

**1. A rate above 2/L.** One direction is enough: where the curvature is $L$, the error is multiplied by $1 - \eta L$
(`optim.quadratic-descent`), and beyond $\eta = 2 / L$ that is less than $-1$. With a little more the loss falls first,
while the other directions still gain. The check is to halve the rate: what then falls for ever was not a bad model.

>>> curvatures = np.array([10.0, 0.1])
>>> for rate in (0.202, 0.101):
...     path = gradient_descent(lambda w: curvatures * w, np.array([0.1, 10.0]), rate, 400)
...     losses = 0.5 * (curvatures * path**2).sum(axis=1)
...     print(*losses[[0, 20, 400]].round(2))
5.05 2.32 379408.81
5.05 3.33 0.0

**2. A schedule off by one.** Step $0$ of $w$ steps of warmup is not at $0 / w$: nothing would move. And a schedule that
sets the rate *after* each step leaves the first one at the full rate, which warmup exists to avoid. The check is to
print the rates that were used, the first two and the last (`optim.schedule-ends`).

>>> def wrong(k):
...     return 8.0 * min(1.0, k / 4)
>>> optimizer, used = SGD({"w": np.zeros(1)}, lr=8.0), []
>>> for k in range(6):
...     used.append(optimizer.lr)
...     optimizer.step({"w": np.ones(1)})
...     optimizer.lr = wrong(k)
>>> used[:3], [wrong(k) for k in range(3)]
([8.0, 0.0, 2.0], [0.0, 2.0, 4.0])
>>> [warmup_cosine(k, n_steps=6, warmup=4, peak=8.0) for k in range(3)]
[2.0, 4.0, 6.0]

**3. Micro-batches counted as steps.** With four micro-batches to a step, a schedule that is asked once for each is past
its end after a quarter of the run. Many schedules then go on at the floor, or climb the cosine's other half, and the
run is merely worse. Those of `fp_optim.schedules` refuse.

>>> calls = np.array([24, 49, 74, 99])  # in steps 6, 12, 18 and 24 of 25
>>> (0.5 * (1 + np.cos(np.pi * calls / 25))).round(1)
array([0., 1., 0., 1.])
>>> warmup_cosine(25, n_steps=25, warmup=0)
Traceback (most recent call last):
    ...
ValueError: step must lie in [0, n_steps) = [0, 25), got 25; a longer run needs a larger n_steps

## Momentum

**4. A buffer that starts at zero.** If the buffer is a mean, $b \leftarrow \beta b + (1 - \beta) g$, its first values
are too small by $1 - \beta^t$: ten times at first. A sum without $1 - \beta$ may start at zero; a mean starts with the
first gradient (dampening, `optim.momentum-gain`) or is divided by $1 - \beta^t$ (`optim.adam-bias`). The check is a
gradient that never changes.

>>> w = {"w": np.zeros(1)}
>>> optimizer, b = Momentum(w, lr=1.0, momentum=0.9, dampening=0.9), 0.0
>>> for t in range(3):
...     b = 0.9 * b + 0.1 * 1.0
...     before = w["w"].copy()
...     optimizer.step({"w": np.ones(1)})
...     print(round(b, 3), (before - w["w"]).round(3).item())
0.1 1.0
0.19 1.0
0.271 1.0

**5. Momentum switched on, rate kept.** As a sum, the buffer of a steady gradient grows to $1 / (1 - \beta)$ times the
gradient (`optim.momentum-gain`): a comparison of "with momentum" and "without" at one rate compares two rates. So does
a change of $\beta$ from $0.9$ to $0.99$.

>>> for beta in (0.0, 0.9, 0.99):
...     w = {"w": np.zeros(1)}
...     optimizer = Momentum(w, lr=0.001, momentum=beta)
...     for _ in range(1000):
...         optimizer.step({"w": np.ones(1)})
...     print(w["w"].round(1).item())
-1.0
-9.9
-90.1

**6. Nesterov at the wrong point.** The gradient belongs to the point where momentum leads, $y$. Taken at $w$, before
the jump, the same line is the heavy ball: no less quick on quadratics, but without the guarantees, which rest on $y$
(`optim.heavy-ball-cycle`). The check is the parabola $\frac12 w^2$ at the rate $1$: from any $y$ the step
$y - \nabla f(y)$ ends in the minimum, and stays there.

>>> def follow(at_the_jump):
...     w, before, points = 1.0, 1.0, []
...     for _ in range(5):
...         y = w + 0.9 * (w - before)
...         w, before = y - (y if at_the_jump else w), w
...         points.append(round(w, 2))
...     return points
>>> follow(True), follow(False)
([0.0, 0.0, 0.0, 0.0, 0.0], [0.0, -0.9, -0.81, 0.08, 0.8])

## Adam

**7. Missing bias correction.** Both means start at zero, the second one forgets more slowly, and so it is the smaller:
without the two divisions the first steps are several times the rate (`optim.adam-first-step`), just when the gradients
say least. The check is the length of the first step, which is the rate.

>>> w, m, v, lengths = {"w": np.zeros(1)}, 0.0, 0.0, []
>>> optimizer = Adam(w, lr=1.0)
>>> for t in range(4):
...     m, v = 0.9 * m + 0.1 * 5.0, 0.999 * v + 0.001 * 5.0**2
...     before = w["w"].copy()
...     optimizer.step({"w": np.array([5.0])})
...     lengths.append((round(m / v**0.5, 2), (before - w["w"]).round(2).item()))
>>> lengths
[(3.16, 1.0), (4.25, 1.0), (4.95, 1.0), (5.44, 1.0)]

**8. Eps in charge.** Gradients as small as $\varepsilon$ are no longer divided by their size, and the steps shrink with
them: for a loss that was divided by a million, or a deep layer of a network with small first weights. Added inside the
root, $\varepsilon = 10^{-8}$ does that from $10^{-4}$ on. The check is to multiply the loss by a constant: nothing
should change.

>>> def step(scale, eps):
...     w = {"w": np.zeros(1)}
...     Adam(w, lr=1.0, eps=eps).step({"w": np.array([0.01 * scale])})
...     return -w["w"].round(2).item()
>>> [step(scale, 1e-8) for scale in (1.0, 1e-6)], [step(scale, 1e-15) for scale in (1.0, 1e-6)]
([1.0, 0.5], [1.0, 1.0])
>>> round(1e-5 / (1e-5**2 + 1e-8) ** 0.5, 2), round(1e-5 / (1e-5 + 1e-8), 2)  # inside, outside
(0.1, 1.0)

**9. A mean of roots for the root of a mean.** The mean of $|g| = \sqrt{g^2}$ looks like a cheaper measure of size. It
is never the larger of the two (`markov.jensen`), and much the smaller where large gradients are rare: the one that
comes is divided by next to nothing. The check is a single gradient after none: RMSprop moves by at most
$\eta / \sqrt{1 - \alpha}$, ten rates (`optim.rmsprop-bounded`).

>>> w = {"w": np.zeros(1)}
>>> RMSprop(w, lr=1.0, alpha=0.99).step({"w": np.array([3.0])})
>>> size = 0.99 * 0.0 + 0.01 * abs(3.0)
>>> -w["w"].round(2).item(), round(3.0 / size, 2)
(10.0, 100.0)

## Decay

**10. Decay through the gradient.** Added to Adam's gradient, the decay is divided by the gradients' size like all of
it: where the loss says nothing, every weight walks to zero at the rate, whatever the strength. `AdamW` keeps it outside
(`optim.decoupled-decay`). The check is a weight without a gradient: it must shrink by $1 - \eta \lambda$.

>>> for make in (Adam, AdamW):
...     shrunk = []
...     for strength in (0.001, 0.1):
...         w = {"w": np.array([[2.0]])}
...         make(w, lr=0.01, weight_decay=strength).step({"w": np.zeros((1, 1))})
...         shrunk.append(w["w"].round(6).item())
...     print(shrunk)
[1.99, 1.99]
[1.99998, 1.998]

**11. Decay on norms and biases.** Zero is no neutral gain. With "all parameters" decaying, a norm's gain that gets no
gradient to speak of falls from $1$ to nothing, and the layer with it. The check is the list of what decays. Mind what
goes by shape: a bias that was kept as a row of a matrix is one.

>>> model = {"weight": np.ones((3, 3)), "gain": np.ones(3), "bias": np.ones((1, 3))}
>>> optimizer = AdamW(model, weight_decay=0.1, decay=lambda name, array: True)
>>> for _ in range(1000):
...     optimizer.step({name: np.zeros_like(array) for name, array in model.items()}, lr=0.01)
>>> model["gain"].round(2)
array([0.37, 0.37, 0.37])
>>> [name for name, own in AdamW(model).options.items() if own["weight_decay"]]
['weight', 'bias']
>>> optimizer = AdamW(model, decay=lambda name, array: name == "weight")
>>> [name for name, own in optimizer.options.items() if own["weight_decay"]]
['weight']

## The gradient

**12. Clipping each array by itself.** Long gradients are cut and short ones are not, so the step goes elsewhere. The
norm is that of all together, and what is clipped keeps its direction (`optim.clip-direction`). The check is the cosine.

>>> g = {"head": np.array([30.0, 40.0]), "body": np.array([0.6, 0.8])}
>>> def cosine(a, b):
...     x, y = (np.concatenate(list(d.values())) for d in (a, b))
...     return round(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)), 3)
>>> each = {name: array / max(1, np.linalg.norm(array)) for name, array in g.items()}
>>> together = {name: array.copy() for name, array in g.items()}
>>> clip_by_global_norm(together, 1.0) > 50, cosine(g, each), cosine(g, together)
(True, 0.721, 1.0)

**13. Clipping micro-batches.** Large gradients that cancel leave a small one, and it is the sum that is to be clipped.
Clipped one by one, they all have the length $1$, and the sum says something else, or nothing. The check: a batch has to
give the same step in one part and in two.

>>> parts = [np.array([10.0]), np.array([-8.0])]
>>> sum(np.clip(g, -1, 1) for g in parts) / 2, np.clip(sum(parts) / 2, -1, 1)
(array([0.]), array([1.]))

**14. A mean of means.** Micro-batches hold different numbers of tokens, and the mean of their means weighs a token in a
short one more. `Accumulator` asks for the numbers (`optim.accumulation`). The check is again to cut one batch in two
ways.

>>> tokens = np.array([1.0, 5.0, 6.0, 8.0])  # the gradient of each
>>> def cut(at, weighted):
...     parts, total = (tokens[:at], tokens[at:]), Accumulator({"w": np.zeros(1)})
...     for part in parts:
...         total.add({"w": part.mean(keepdims=True)}, n_tokens=len(part) if weighted else 1)
...     return total.mean()["w"].round(3).item()
>>> [cut(at, weighted=False) for at in (1, 2)], [cut(at, weighted=True) for at in (1, 2)]
([3.667, 5.0], [5.0, 5.0])

**15. One bad batch, for ever.** A gradient with a NaN in it makes Adam's means NaN, and they stay so, however good the
gradients that follow. It has to be found before the step, not in the loss of the next one.

>>> for check in (False, True):
...     w = {"w": np.ones(2)}
...     optimizer = AdamW(w, check_finite=check)
...     for g in ([np.nan, 1.0], [1.0, 1.0], [1.0, 1.0]):
...         try:
...             optimizer.step({"w": np.array(g)}, lr=0.1)
...         except ValueError as error:
...             print(str(error).split()[-3:])
...     print(w["w"].round(1))
[nan 0.7]
['not', 'finite:', 'w']
[0.8 0.8]

## What is remembered

**16. Parameters replaced.** The optimizer updates the arrays it was given. If the model has others since, because a
checkpoint was loaded, or it was cast to another type, the steps go to arrays that nobody reads, and the loss stays as
it is. Load *into* the arrays. The check is a step: the model's own arrays have to move.

>>> model = {"w": np.zeros(2)}
>>> optimizer, loaded = SGD(model, lr=0.1), np.ones(2)
>>> model["w"] = loaded
>>> optimizer.step({"w": np.ones(2)})
>>> model["w"], np.shares_memory(model["w"], optimizer.parameters["w"])
(array([1., 1.]), False)
>>> optimizer.parameters["w"][...] = loaded  # as it should have been
>>> optimizer.step({"w": np.ones(2)})
>>> optimizer.parameters["w"]
array([0.9, 0.9])

**17. Resumed without the state.** The weights alone do not continue a run. Fresh means know nothing, so that Adam's
next step is a full rate in every coordinate, in the sign of one batch (`optim.adam-first-step`), and the loss jumps at
each restart. The number of steps belongs to the state: the schedule is asked for that step, not for the first. The
check is a run in two parts, which has to end in the same bits as one.

>>> def run(w, optimizer, n_steps):
...     for k in range(optimizer.n_steps, n_steps):
...         noise = np.random.default_rng(k).normal(size=100)
...         optimizer.step({"w": w["w"] + noise}, lr=warmup_cosine(k, n_steps=80, warmup=9))
...     return float((w["w"] ** 2).mean())
>>> w = {"w": np.zeros(100)}
>>> optimizer = AdamW(w, lr=0.1)
>>> middle = run(w, optimizer, 60)
>>> state, saved = {k: v.copy() for k, v in optimizer.state_dict().items()}, w["w"].copy()
>>> end = run(w, optimizer, 80)
>>> for restored in (False, True):
...     w = {"w": saved.copy()}
...     optimizer = AdamW(w, lr=0.1)
...     if restored:
...         optimizer.load_state_dict(state)
...     optimizer.step({"w": w["w"] + np.random.default_rng(60).normal(size=100)}, lr=1.0)
...     print(np.abs(w["w"] - saved).mean().round(2))  # in rates
1.0
0.18
>>> w["w"][...] = saved
>>> optimizer.load_state_dict(state)
>>> run(w, optimizer, 80) == end
True

**18. Tied weights under two names.** Where the head of a model is its embedding, one array has two names, and is moved
twice in a step, by two sets of means. The gradients of the two uses are to be added, and the array given once. An
optimizer of this package refuses an array that it gets twice; two optimizers do not know of each other. The check is
the number of parameters, counted by hand.

>>> table = np.zeros((2, 2))
>>> tied = {"embedding": table, "head": table}
>>> for name in tied:
...     SGD({name: tied[name]}, lr=0.1).step({name: np.ones((2, 2))})
>>> table[0, 0].item(), sum(array.size for array in tied.values())
(-0.2, 8)
>>> SGD(tied, lr=0.1)
Traceback (most recent call last):
    ...
ValueError: parameters embedding and head share memory and would be moved twice; give an array that is used in ...

## In practice

Four of these checks need no run at all: print the rates that a schedule gives, the list of what decays, the number of
parameters, and whether the arrays of the optimizer are those of the model. Two need a step: its length against the
rate, and a batch in one part against the same in two. The last takes a minute: stop, load, go on, and compare the bits
with a run that was not stopped. In 2024 the fourteenth was found in trainers that many people used.
"""

__all__: list[str] = []
