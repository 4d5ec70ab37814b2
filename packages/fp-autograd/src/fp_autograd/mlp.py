r"""
Perceptrons: layers of neurons made of values, and how they learn.

Gradients are worth having because a step against them lowers the loss. This section builds the smallest thing that can
learn what no straight line can: a network of a few neurons on the scalar engine.

You need: `fp_autograd.value`; `fp_markov.probability` for variances.

## A neuron

A **neuron** weighs its inputs, adds a bias, and bends the result:

$$y = \varphi \Big( \sum_{i=1}^{n} w_i x_i + b \Big), \qquad \varphi = \tanh \text{ or } \operatorname{relu}.
\qquad \text{(E1)}$$

A **layer** is several neurons on the same inputs, a **multi-layer perceptron** several layers, each fed with the
outputs of the one before. The last layer is left unbent, $\varphi(s) = s$, so that its output may be any number.
Without $\varphi$ further layers would add nothing, since weighted sums of weighted sums are weighted sums; and weighted
sums are not enough for a table of four lines. Exclusive or, XOR, is $1$ if exactly one of two inputs is $1$.

**Claim** `autograd.xor`. No $f(x_1, x_2) = w_1 x_1 + w_2 x_2 + b$ is negative at $(0, 0)$ and $(1, 1)$ and positive at
$(0, 1)$ and $(1, 0)$. Two rectified neurons are enough:
$\operatorname{relu}(x_1 + x_2) - 2 \operatorname{relu}(x_1 + x_2 - 1)$ is XOR.

**Proof.** $f(0, 0) + f(1, 1) = w_1 + w_2 + 2b = f(0, 1) + f(1, 0)$: one number cannot be both negative and positive.
The second: for $x_1 + x_2 = 0, 1, 2$ it is $0 - 0 = 0$, $1 - 0 = 1$, $2 - 2 = 0$. $\blacksquare$

## What to begin with

If all weights of a layer were equal, all its neurons would compute the same, receive the same gradient, and stay the
same for ever. So the weights are drawn at random. How large? The sum in (E1) should be as large as the inputs are:
otherwise each layer enlarges or shrinks what comes in, and many layers do so exponentially.

**Claim** `autograd.neuron-variance`. Let $w_1, \dots, w_n$ be independent with mean $0$ and variance $s^2$, independent
of the inputs $x_i$, whose squares have means $\mathbb{E} x_i^2$. Then $S = \sum_i w_i x_i$ has mean $0$ and
$\mathbb{E} S^2 = s^2 \sum_i \mathbb{E} x_i^2$. If all $\mathbb{E} x_i^2$ equal $q > 0$, then $\mathbb{E} S^2 = q$
exactly for $s^2 = 1 / n$. If moreover $S$ and $-S$ have the same distribution, $\operatorname{relu}(S)$ has a mean
square of $\frac12 \mathbb{E} S^2$.

**Proof.** Because $w_i$ and $x_i$ are independent, $\mathbb{E}\, w_i x_i = \mathbb{E} w_i\, \mathbb{E} x_i = 0$.
Multiply out: $\mathbb{E} S^2 = \sum_i \sum_j \mathbb{E}\, w_i w_j x_i x_j$. For $i \ne j$ the weights are independent
of each other and of the inputs, so the term is $\mathbb{E} w_i\, \mathbb{E} w_j\, \mathbb{E}\, x_i x_j = 0$. For
$i = j$ it is $\mathbb{E} w_i^2\, \mathbb{E} x_i^2 = s^2\, \mathbb{E} x_i^2$. With equal squares the sum is $s^2 n q$.
Last, $S^2 = \operatorname{relu}(S)^2 + \operatorname{relu}(-S)^2$, because one of the two is zero and the other is
$S^2$; both have the same mean. $\blacksquare$

A number drawn evenly from $[-a, a]$ has the mean square $\frac{1}{2a} \int_{-a}^{a} w^2\, dw = \frac{a^2}{3}$. So for
$\tanh$, which near $0$ is close to its argument, and for the last layer, $a = \sqrt{3 / n}$; for the rectifier, which
halves the mean square, $s^2 = 2 / n$ and $a = \sqrt{6 / n}$. Biases begin at zero. (E2)

## Learning XOR

One step: compute the loss, sweep back, move every parameter against its gradient, forget the gradients.

>>> model = MLP(2, [3, 1], rng=np.random.default_rng(1))
>>> table = [((0, 0), -1), ((0, 1), 1), ((1, 0), 1), ((1, 1), -1)]
>>> for step in range(150):
...     loss = sum((model(x) - y) ** 2 for x, y in table)
...     loss.backward()
...     for p in model.parameters():
...         p.data -= 0.1 * p.grad
...     model.zero_grad()
>>> loss < 1e-6, [round(float(model(x))) for x, _ in table]
(True, [-1, 1, 1, -1])

## In practice

Frameworks draw weights by the same argument, under the names of X. Glorot and Y. Bengio, 2010, who average the numbers
of inputs and outputs, and K. He and others, 2015, for the rectifier. A layer is one matrix product there, and its
neurons are rows of a matrix (`fp_autograd.tensor`). Transformers still contain this section: two layers with a bend
between them, after each attention. That a wide enough hidden layer can come near any continuous function is a theorem,
G. Cybenko, 1989; that descent finds it is not.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from fp_autograd.value import Value

__all__ = ["Neuron", "Layer", "MLP"]  # the order of the page

Input = Value | float | int
GAIN = {"tanh": 3.0, "relu": 6.0, "linear": 3.0}  # (E2): a^2 times n


class Neuron:
    """
    One neuron (E1).

    Parameters
    ----------
    n_in
        How many inputs.
    activation
        `"tanh"`, `"relu"` or `"linear"`.
    rng
        Where the weights come from; by default a new generator, different each time.

    Raises
    ------
    ValueError
        If there is no input, or no such activation.

    Examples
    --------
    >>> y = Neuron(2, "relu")([0, 0])
    >>> y.data
    0.0
    """

    def __init__(self, n_in: int, activation: str = "tanh", rng: np.random.Generator | None = None) -> None:
        if n_in < 1:
            raise ValueError(f"a neuron needs at least one input, got n_in = {n_in}.")
        if activation not in GAIN:
            raise ValueError(f"an activation is one of {', '.join(GAIN)}, got {activation!r}.")
        rng = np.random.default_rng() if rng is None else rng
        a = math.sqrt(GAIN[activation] / n_in)
        self.weights = [Value(w) for w in rng.uniform(-a, a, n_in).tolist()]
        self.bias = Value(0.0)
        self.activation = activation

    def __call__(self, x: Iterable[Input]) -> Value:
        """The output for a list of `n_in` numbers or values; a `ValueError` if it has another length."""
        s = Value.dot(self.weights, x, self.bias)
        if self.activation == "linear":
            return s
        return s.tanh() if self.activation == "tanh" else s.relu()

    def parameters(self) -> list[Value]:
        """Weights, then bias."""
        return [*self.weights, self.bias]


class Layer:
    """
    Neurons side by side, on the same inputs.

    Parameters
    ----------
    n_in, n_out
        How many inputs, how many neurons.
    activation, rng
        As for `Neuron`.

    Raises
    ------
    ValueError
        If there is no input or no neuron, or no such activation.

    Examples
    --------
    >>> [y.data for y in Layer(2, 3)([0, 0])]
    [0.0, 0.0, 0.0]
    """

    def __init__(self, n_in: int, n_out: int, activation: str = "tanh", rng: np.random.Generator | None = None) -> None:
        if n_out < 1:
            raise ValueError(f"a layer needs at least one neuron, got n_out = {n_out}.")
        rng = np.random.default_rng() if rng is None else rng
        self.neurons = [Neuron(n_in, activation, rng) for _ in range(n_out)]

    def __call__(self, x: Iterable[Input]) -> list[Value]:
        """One output for each neuron."""
        x = list(x)
        return [neuron(x) for neuron in self.neurons]

    def parameters(self) -> list[Value]:
        """Those of the neurons, one neuron after the other."""
        return [p for neuron in self.neurons for p in neuron.parameters()]


class MLP:
    """
    Layers one after the other, the last without a bend.

    Parameters
    ----------
    n_in
        How many inputs.
    widths
        How many neurons each layer has; the last number is the number of outputs.
    rng
        Where the weights come from; by default a new generator, different each time.
    activation
        `"tanh"` or `"relu"`, for all layers but the last.

    Raises
    ------
    ValueError
        If there is no layer, an empty one, or no such activation.

    Examples
    --------
    >>> model = MLP(2, [16, 16, 1])
    >>> len(model.parameters())
    337
    >>> model([0, 0]).data
    0.0
    """

    def __init__(
        self, n_in: int, widths: Sequence[int], rng: np.random.Generator | None = None, activation: str = "tanh"
    ) -> None:
        if not widths:
            raise ValueError("a perceptron needs at least one layer, got no widths. MLP(2, [1]) is a single neuron.")
        rng = np.random.default_rng() if rng is None else rng
        bends = [activation] * (len(widths) - 1) + ["linear"]
        sizes = zip([n_in, *widths[:-1]], widths, bends, strict=True)
        self.layers = [Layer(n, m, bend, rng) for n, m, bend in sizes]

    def __call__(self, x: Iterable[Input]) -> Value | list[Value]:
        """
        The outputs for a list of `n_in` numbers or values; one output is returned bare.

        Raises
        ------
        TypeError
            If `x` is a single number.
        ValueError
            If it has another length.
        """
        if not isinstance(x, Iterable):
            raise TypeError(
                f"a list of numbers is needed, one for each input, got {x!r}. A single number goes in a list."
            )
        outputs = self.layers[0](x)
        for layer in self.layers[1:]:
            outputs = layer(outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def parameters(self) -> list[Value]:
        """Those of the layers, one layer after the other."""
        return [p for layer in self.layers for p in layer.parameters()]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.zero_grad()
