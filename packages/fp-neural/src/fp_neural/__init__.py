r"""
Stage 3 of 10: neural language models.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

A table of counts has to see a context before it can say anything of its own about it, and the number of contexts grows
as $V^n$. How can a model share what it learned about one context with all the similar ones, so that it has something
sensible to say about a context that it never saw?

## The sections

| section | what it will hold |
| --- | --- |
| `module` | Parameters with names: collecting them, saving them, freezing them |
| `layers` | Linear, embedding, activations, dropout, batch normalization, recurrent cells |
| `initialization` | How large the first weights must be for a signal to survive its way through the layers |
| `losses` | Softmax cross-entropy and what surrounds it |
| `language_model` | From a table, through a perceptron on the last $k$ tokens, to a recurrent network |

## What it will prove

- A table of $n$-gram probabilities that are all positive *is* a linear layer followed by a softmax; where some are
  zero, it is the limit of such layers.
- Linear layers stacked on each other collapse into one, while one hidden layer of rectifiers approximates every
  continuous function on a closed interval, with a bound on the error for Lipschitz functions.
- Looking up row $i$ of an embedding equals multiplying by a one-hot vector, and its gradient adds into row $i$: *adds*,
  because a token may occur twice.
- Softmax does not notice a shift of its logits; the gradient of the cross-entropy is $p - y$; its Hessian
  $\operatorname{diag}(p) - pp^\top$ is positive semidefinite, so the loss is convex in the logits.
- Cross-entropy is a strictly proper score: only the true distribution minimises it.
- The initial scales of Xavier and He, from the variance of a sum, forward and backward.
- A model that has learned nothing should start near $\log V$ nats; logits that are random with variance $\sigma^2$ cost
  about $\sigma^2 / 2$ more.

Then it is to be measured: on the same text and the same split, by how much does a network beat the counting models of
stage 1, and at what cost in parameters and seconds?

## What it will need and add

From stage 1: distributions, entropy, sampling. From stage 2: gradients of all of it. It will add orthogonality,
eigenvalues and the singular value decomposition.
"""

__all__: list[str] = []
__version__ = "0.1.0"
