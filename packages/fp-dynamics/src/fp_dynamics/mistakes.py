r"""
Common mistakes: ten ways to measure something else than was meant.

A wrong measurement is worse than none: it is believed. Each example below makes one mistake on purpose and shows the
check that sees it. They run as tests.

You need: the sections up to `fp_dynamics.lr_range`.

>>> import numpy as np
>>> from fp_dynamics.history import RunHistory, smooth
>>> from fp_dynamics.recorder import Recorder, loss_and_gradients, named_arrays
>>> from fp_dynamics.sanity import batch_floor, check_initialization
>>> from fp_dynamics.stability import step_curvature
>>> from fp_dynamics.statistics import activation_statistics
>>> from fp_optim import AdamW, clip_by_global_norm
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> def made():
...     return Transformer(config, rng=np.random.default_rng(0), dtype=np.float64)
>>> rows = np.random.default_rng(1).integers(0, 11, (5, 9))
>>> ids, targets = rows[:, :-1], rows[:, 1:]

## Curves

**1. An average that starts at zero.** Uncorrected it begins a tenth of the way up and seems to rise, where the loss
does not move at all (`dynamics.smoothing-bias`). The check is a constant: what is smoothed must stay.

>>> m, seen = 0.0, []
>>> for loss in np.full(4, 3.0):
...     m = 0.9 * m + 0.1 * loss
...     seen.append(round(float(m), 2))
>>> seen, smooth(np.full(4, 3.0), 0.9).round(2).tolist()
([0.3, 0.57, 0.81, 1.03], [3.0, 3.0, 3.0, 3.0])

**2. The better run is the one smoothed less.** A curve that falls lags behind by $\beta / (1 - \beta)$ steps
(`dynamics.smoothing-lag`). The same losses, smoothed twice, look like two runs; compare only what was smoothed alike.

>>> losses = 4 - 0.01 * np.arange(200)
>>> [round(float(smooth(losses, decay)[-1]), 3) for decay in (0.5, 0.9, 0.99)]
[2.02, 2.1, 2.691]

**3. The last line of a growing file.** It may have been written by half: a number without its last digits is still a
number. The check is the line break.

>>> import tempfile
>>> from pathlib import Path
>>> run = Path(tempfile.mkdtemp())
>>> _ = (run / "settings.toml").write_text("")
>>> _ = (run / "metrics.csv").write_text("step,train_loss\n99,2.75\n100,2")
>>> last = (run / "metrics.csv").read_text().splitlines()[-1]
>>> last.split(","), RunHistory(run).records[-1]
(['100', '2'], {'step': 99, 'loss': 2.75})

## Units

**4. All activations judged by zeros.** Half of a relu's entries are zero and nothing is wrong; a tanh is wrong where it
is far from zero; a gate at zero is shut only if its input is far on the left. The check is the gradient that passes.

>>> x = np.random.default_rng(0).normal(0, 8, (100, 5))
>>> [round(float((f(x) == 0).mean()), 1) for f in (lambda x: np.maximum(x, 0), np.tanh)]
[0.5, 0.0]
>>> round(activation_statistics("tanh", x)["saturated_share"], 1), activation_statistics("relu", x)["dead_share"]
(0.8, 0.0)

**5. Dead in a batch, dead for ever.** A share of dead units falls with the number of inputs. Compare shares of equal
batches only, and of large ones.

>>> x = np.random.default_rng(0).normal(-1.5, 1, (400, 50))
>>> [round(activation_statistics("relu", x[:n])["dead_share"], 2) for n in (4, 40, 400)]
[0.78, 0.08, 0.0]

## Steps

**6. The gradient measured behind the clipping.** Its length then never exceeds the limit, and the spike that was to be
seen is cut off. Clipping functions return the length before it for that reason; `Recorder.step(clip=…)` measures first.

>>> _, grads = loss_and_gradients(made(), ids, targets)
>>> before = clip_by_global_norm(grads, 0.01)
>>> after = np.sqrt(sum(float((g * g).sum()) for g in grads.values()))
>>> round(float(after), 4), before > 0.1
(0.01, True)

**7. The two losses of a step from two batches.** How far a step brought the loss down is measured on the batch that it
was made for. Between two batches the loss differs by more than a step changes it, and the curvature (E3) of
`fp_dynamics.stability` becomes noise. The check is a rate near zero: there the curvature hardly depends on it.

>>> def measured(lr, same):
...     model = made()
...     other = (ids, targets) if same else (ids[::-1] * 3 % 11, targets)
...     loss, grads = loss_and_gradients(model, ids, targets)
...     for name, array in named_arrays(model).items():
...         array -= lr * grads[name]
...     length = np.sqrt(sum(float((g * g).sum()) for g in grads.values()))
...     return step_curvature(loss, loss_and_gradients(model, *other)[0], length, lr)
>>> [[round(measured(lr, same)) for lr in (0.001, 0.01)] for same in (True, False)]
[[3, 4], [-22870, -179]]

**8. Gradient over weight for update over weight.** AdamW divides the gradient's length out: of two losses that differ
by a factor only, the gradients differ by it, and the steps hardly. What tells how fast a layer moves is the step.

>>> def first_step(factor):
...     model = made()
...     recorder = Recorder(model, AdamW(named_arrays(model), lr=1e-3, eps=1e-12))
...     loss, grads = loss_and_gradients(model, ids, targets)
...     record = recorder.step(loss, {name: factor * g for name, g in grads.items()})
...     layer = record["layers"]["blocks.0.feedforward.up_proj"]
...     return layer["grad_norm"] / layer["weight_norm"], layer["update_ratio"]
>>> one, hundred = first_step(1.0), first_step(100.0)
>>> [round(b / a, 2) for a, b in zip(one, hundred, strict=True)]
[100.0, 1.0]

## Before the run

**9. Zero as the goal of the one-batch test.** Texts that begin alike cannot all be continued with certainty, so a right
model stays above zero, and somebody looks for a fault for a day. Compare with the floor (`dynamics.batch-floor`).

>>> begun_alike = np.concatenate([np.ones((5, 1), int), rows[:, 1:]], axis=1)
>>> round(batch_floor(begun_alike[:, :-1], begun_alike[:, 1:]), 2)
0.2

**10. A first loss that looks good.** Below $\ln V$ before any training is no luck. Here the targets were not shifted,
and a tied model repeats what it reads; the check compares the loss with what its logits give for targets that they do
not know.

>>> model, large = made(), np.random.default_rng(2).integers(0, 11, (40, 8))
>>> model.embedding.weight.data *= 10
>>> faults = check_initialization(model, large, large).faults
>>> model.loss(large, large).item() < float(np.log(11)), [fault.partition(": ")[2][:27] for fault in faults]
(True, ['the model sees its targets.'])

## In practice

The most expensive mistake is none of these: to look at a number that is easy to get in place of the one that matters,
which is the loss on text that was held out.
"""

__all__: list[str] = []
