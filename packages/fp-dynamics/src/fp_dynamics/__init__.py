r"""
Stage 8 of 10: the dynamics of training.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

A training run that goes wrong rarely stops with an error. The loss is merely higher than it could be, and nothing says
by how much or why. What can be measured while a model learns, which healthy values do the measurements have, and
which failure does each sick value point to?

## The sections

| section | what it will hold |
| --- | --- |
| `history` | Reading a run's metrics, also while the run still writes them, and smoothing them without being fooled |
| `gradients` | Their norms through depth, layer by layer, and the size of updates against the size of weights |
| `activations` | Dead, saturated and exploding units, each judged by its own activation function |
| `lr_range` | Finding the learning rate at which a run starts to diverge |
| `noise` | How much of a gradient is signal, and which batch size makes use of it |
| `failures` | Broken runs, small and reproducible, each with one known cause |
| `doctor` | From measurements to a diagnosis: the evidence first, then the remedy |

## What it will prove

- The loss to expect before the first step: $\log V$ when the logits are equal, about $\log V + \sigma^2/2$ when they
  are random with variance $\sigma^2$. A run that starts elsewhere has a mistake in it.
- An exponentially smoothed curve lags behind and starts biased; the correction that makes its weights sum to one.
- A gradient that passes $L$ layers is multiplied by $L$ Jacobians, so its norm lies between products of their smallest
  and largest singular values: it vanishes or explodes exponentially in depth unless they stay near one.
- On a quadratic of curvature $\lambda$, a step of size $\eta$ converges if and only if $0 < \eta\lambda < 2$.

A diagnosis is a claim as well: the doctor has to name the cause of each broken run on seeds that it was not built on,
and to raise no alarm about healthy ones.

## What it will need and add

Models from stage 6 and from the capstone (anything with named arrays will do), optimizers from stage 4.
"""

__all__: list[str] = []
__version__ = "0.1.0"
