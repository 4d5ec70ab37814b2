r"""
What all optimizers have in common.

An optimizer is a rule that turns the gradients seen so far into a step. The rules differ in a line or two; around them
everything is the same: which arrays are moved, with which settings, what is remembered between steps, and what is
refused. This section holds that, so that the others can be as short as their formulas.

## Named arrays

Parameters are arrays under names. Nothing here knows about tensors or models: a model of stage 3 hands over its
parameters' `data` and `grad`, the capstone the arrays whose gradients it derived by hand. The arrays are updated where
they are, so the model need not be told.

>>> parameters = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([0.5])}
>>> optimizer = SGD(parameters, lr=0.1, weight_decay=1.0)
>>> optimizer.step({"weight": np.array([[1.0, 0.0]]), "bias": np.array([1.0])})
>>> {name: array.round(3).tolist() for name, array in parameters.items()}
{'weight': [[0.8, 1.8]], 'bias': [0.4]}

## Settings of some parameters

**Groups.** `groups` is asked once for each parameter, with its name and array, and returns the settings in which that
one differs from the rest. `lr_scale` multiplies the rate, whatever the schedule makes of it.

>>> optimizer = SGD(parameters, lr=0.1, groups=lambda name, array: {"lr_scale": 0.1} if name == "bias" else {})
>>> optimizer.options["bias"]["lr_scale"], optimizer.options["weight"]["lr_scale"]
(0.1, 1.0)

**Decay by role.** A weight matrix multiplies, and pulling it towards zero makes the function it computes smoother. A
norm's gain, a bias, anything with a single axis sets a scale or an offset, for which zero is no neutral value. So
`weight_decay` holds for what `decay(name, array)` says, by default for arrays of two axes or more.

A rule may be defined with the decay beside it, $w \leftarrow (1 - \eta \lambda) w$, or with $\lambda w$, the gradient
of the penalty $\frac12 \lambda |w|^2$, added to the gradient that it is given: `PENALTY` says which.

## What is remembered

`state_dict` gives it as named arrays, the number of steps among them: a run that is stopped, loaded and continued makes
the same steps to the bit. Settings are not part of it, because a run may be continued with others.

## One pass over memory

A step reads and writes each number a few times, and does next to no arithmetic on it, so memory sets its time. Done
array by array, a rule of ten elementwise operations passes over memory ten times. Here arrays are cut into pieces that
stay in a core's cache: all operations on a piece are done before the next one is touched, and nothing is allocated.

**Claim** `optim.pieces`. Let a rule compute each number of the new parameter and state from the numbers at the same
place alone, and let the pieces cover each place once. Then a step in pieces computes what a step on whole arrays does,
to the bit.

**Proof.** A new number depends on old numbers at its place. These are unchanged until their piece is updated, since the
other pieces hold other places; so it is computed from the same numbers by the same operations, and each is rounded by
itself. $\blacksquare$

The proof asks for no order. With `threads`, several of them take different pieces at the same time: NumPy lets go of
the interpreter's lock inside an operation. Pieces are larger then, so that there are fewer operations to take it for.

A small model has pieces that are far smaller than a cache, and then the calls are what a step costs: ten for each
array. But a rule does not ask where one array ends. Parameters that lie side by side in memory, with the same settings,
are moved as one array if their gradients lie side by side too, as in a model that keeps all its parameters in one
buffer and all its gradients in another. Only the decay beside the rule is done array by array.

Muon mixes the numbers of a matrix and is not of this kind; the threads of its matrix products are those of BLAS.

## In practice

PyTorch's optimizers have `param_groups`, a list of settings with lists of parameters; a scheduler writes into it. Here
a schedule is a function whose value is handed to `step`.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_optim._named import (
    CHUNK,
    check_gradients,
    check_not_negative,
    check_parameters,
    check_rate,
    copy_state,
    joined,
)

__all__ = ["Optimizer", "SGD", "is_matrix"]  # the order of the page

Array = Float[np.ndarray, "..."]
SHARED = 4 * CHUNK
"""Numbers per piece of one of several threads, which wait for the interpreter's lock after every operation."""
WORTHWHILE = 2 * SHARED
"""Numbers for which a thread is worth waking."""

Groups = Callable[[str, np.ndarray], Mapping[str, Any]]
Decay = Callable[[str, np.ndarray], bool]


def is_matrix(name: str, array: np.ndarray) -> bool:
    """The default choice of what decays: arrays with two axes or more, whatever their name."""
    return array.ndim >= 2


def _owner(array: np.ndarray) -> int:
    """Arrays with different ones share no memory, unless it was made outside NumPy."""
    return id(array if array.base is None else array.base)


class _Span(NamedTuple):
    """Parameters side by side, moved as one: their numbers, state and common settings."""

    names: tuple[str, ...]
    numbers: np.ndarray
    state: tuple[np.ndarray, ...]
    options: dict[str, Any]
    lr_scale: float
    penalty: float
    decays: tuple[tuple[int, int, float], ...]  # of which numbers, and how strong: beside the rule

    def part(self, name: str, place: slice) -> "_Span":
        """One of the parameters by itself."""
        decays = tuple((0, place.stop - place.start, d) for start, _, d in self.decays if start == place.start)
        state = tuple(array[place] for array in self.state)
        return self._replace(names=(name,), numbers=self.numbers[place], state=state, decays=decays)


class Optimizer:
    """
    A rule for steps of named arrays, in place.

    A subclass names the arrays that it keeps for each parameter in `STATE`, checks its settings in `check`, says in
    `PENALTY` whether its decay goes into the gradient, and defines `update`, the rule for a piece.

    Parameters
    ----------
    parameters
        Name to array; the arrays are updated where they are.
    lr
        The learning rate, not negative. The attribute `lr` may be changed at any time.
    groups
        `groups(name, array)` returns the settings in which that parameter differs from the others.
    decay
        `decay(name, array)` says whether that parameter decays; `is_matrix` if not given.
    check_finite
        Refuse gradients with an infinity or a NaN, by name, before anything is changed. Costs one more pass over them.
    threads
        How many threads share the pieces of a step, at most: a small model gets fewer. The numbers do not depend on it.
    **options
        The settings of the rule.

    Attributes
    ----------
    options : mapping
        For each parameter its settings: those of the rule, `weight_decay` and `lr_scale`. To be read only: they are
        fixed from the start.
    n_steps : int
        Steps taken.

    Raises
    ------
    ValueError
        If a setting is out of range or unknown, or a parameter cannot be updated in place.
    """

    STATE: tuple[str, ...] = ()
    PENALTY = False

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int,
        *,
        groups: Groups | None = None,
        decay: Decay | None = None,
        check_finite: bool = False,
        threads: int = 1,
        **options: Any,
    ) -> None:
        check_parameters(parameters)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        check_rate(lr)
        self.parameters, self.lr, self.check_finite = dict(parameters), lr, check_finite
        options_of: dict[str, Mapping[str, Any]] = {}
        for name, array in parameters.items():
            own = dict(groups(name, array)) if groups else {}
            everyone = {"lr_scale": 1.0, "weight_decay": 0.0} | options
            if unknown := own.keys() - everyone.keys():
                raise ValueError(
                    f"{type(self).__name__} has no setting {', '.join(sorted(unknown))}, given for {name}; it has "
                    f"{', '.join(everyone)}"
                )
            mine = everyone | own
            check_not_negative(mine["lr_scale"], "lr_scale")
            check_not_negative(mine["weight_decay"], "weight_decay")
            self.check(**{key: value for key, value in mine.items() if key not in ("lr_scale", "weight_decay")})
            if "weight_decay" not in own and not (decay or is_matrix)(name, array):
                mine["weight_decay"] = 0.0
            options_of[name] = MappingProxyType(mine)
        self.options: Mapping[str, Mapping[str, Any]] = MappingProxyType(options_of)
        self.threads = max(1, min(threads, sum(array.size for array in parameters.values()) // WORTHWHILE))
        self._step = np.zeros((), dtype=np.int64)
        self._prepare()

    def _prepare(self) -> None:
        """State of zeros, and all that is a view of something or room for something."""
        self.state: dict[str, dict[str, np.ndarray]] = {key: {} for key in self.STATE}
        self._spans = [self._span(names) for names in self._neighbours()]
        self._known: tuple[list[np.ndarray], list[tuple[_Span, np.ndarray]]] = ([], [])
        self._owners = {_owner(array) for array in self.parameters.values()}
        self._size = SHARED if self.threads > 1 else CHUNK
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._scratch = {
            array.dtype: np.empty((self.threads, 2, self._size), dtype=array.dtype)
            for array in self.parameters.values()
        }

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of. Copied one by one, two views of the same numbers would part."""
        own = ("parameters", "lr", "check_finite", "threads")
        return {name: getattr(self, name) for name in own} | {
            "options": {name: dict(options) for name, options in self.options.items()},
            "state_dict": self.state_dict(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state_dict, options = state.pop("state_dict"), state.pop("options")
        self.__dict__.update(state)
        self.options = MappingProxyType({name: MappingProxyType(mine) for name, mine in options.items()})
        self._step = np.zeros((), dtype=np.int64)
        self._prepare()
        self.load_state_dict(state_dict)

    @property
    def n_steps(self) -> int:
        return int(self._step)

    def check(self, **options: Any) -> None:
        """Raise `ValueError` for a setting out of range."""

    def update(
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, *state: np.ndarray, **options: Any
    ) -> None:
        """
        The rule, for one piece of one parameter.

        Parameters
        ----------
        t
            The number of this step, counted from 1.
        lr
            The rate, `lr_scale` included.
        p
            The numbers to move.
        g
            Their gradient, which is only read.
        s
            Room for as many numbers, with anything in it.
        *state
            The arrays of `STATE`, to be brought up to date.
        **options
            The settings, without those that are dealt with: `lr_scale` and `weight_decay`.
        """
        raise NotImplementedError

    def step(self, grads: Mapping[str, Array], lr: float | int | None = None) -> None:
        """
        Move every parameter.

        Parameters
        ----------
        grads
            Name to gradient, one per parameter. They are only read; contiguous ones are not copied.
        lr
            The rate of this step; the attribute `lr` if not given.

        Raises
        ------
        ValueError
            If a gradient is missing, unexpected, misshapen, in a parameter's memory or (if asked for) not finite.
            Nothing has changed then.
        """
        lr = self._begin(grads, lr)
        shares = self._shares(grads)
        if self._pool is None:
            self._move(shares, lr, 0)
            return
        # in copies of the caller's context, where NumPy keeps what is to become of an overflow
        work = [self._pool.submit(copy_context().run, self._move, shares, lr, i) for i in range(1, self.threads)]
        try:
            self._move(shares, lr, 0)
        finally:
            wait(work)
        for share in work:
            share.result()

    def _neighbours(self) -> list[list[str]]:
        """The names of the parameters, those together that can be moved as one."""
        groups: list[list[str]] = []
        for name in self.parameters:
            if groups and self._together(groups[-1][-1], name):
                groups[-1].append(name)
            else:
                groups.append([name])
        return groups

    def _together(self, one: str, other: str) -> bool:
        a, b = dict(self.options[one]), dict(self.options[other])
        if not self.PENALTY:  # the decay beside the rule may differ
            a["weight_decay"] = b["weight_decay"] = 0.0
        both = joined([self.parameters[one], self.parameters[other]])
        return a == b and both is not None and both.flags.writeable

    def _span(self, names: list[str]) -> _Span:
        arrays = [self.parameters[name] for name in names]
        numbers = joined(arrays)
        assert numbers is not None, "one array, or neighbours"
        state = tuple(np.zeros_like(numbers) for _ in self.STATE)
        decays, start = [], 0
        for name, array in zip(names, arrays, strict=True):
            place = slice(start, start + array.size)
            for key, kept in zip(self.STATE, state, strict=True):
                self.state[key][name] = kept[place].reshape(array.shape)
            if not self.PENALTY and self.options[name]["weight_decay"]:
                decays.append((place.start, place.stop, self.options[name]["weight_decay"]))
            start = place.stop
        options = dict(self.options[names[0]])
        lr_scale, penalty = options.pop("lr_scale"), options.pop("weight_decay") if self.PENALTY else 0.0
        options.pop("weight_decay", None)
        return _Span(tuple(names), numbers, state, options, lr_scale, penalty, tuple(decays))

    def _shares(self, grads: Mapping[str, Array]) -> list[tuple[_Span, np.ndarray]]:
        """The spans with their gradients; one whose gradients do not lie side by side is taken apart."""
        arrays = [grads[name] for name in self.parameters]
        if self._is_known(arrays):
            return self._known[1]
        shares: list[tuple[_Span, np.ndarray]] = []
        for span in self._spans:
            gradient = joined([grads[name] for name in span.names])
            if gradient is not None:
                shares.append((span, gradient))
                continue
            start = 0
            for name in span.names:
                place = slice(start, start + self.parameters[name].size)
                shares.append((span.part(name, place), grads[name].reshape(-1)))
                start = place.stop
        # gradients that lie side by side are those of a buffer that the next step uses again
        self._known = (arrays, shares) if len(shares) == len(self._spans) < len(arrays) else ([], [])
        return shares

    def _is_known(self, arrays: list[np.ndarray]) -> bool:
        """Whether these are the very arrays of the last step, checked and joined then."""
        known = self._known[0]
        return len(known) == len(arrays) and all(a is b for a, b in zip(arrays, known, strict=True))

    def _move(self, shares: list[tuple[_Span, np.ndarray]], lr: float, thread: int) -> None:
        """A thread's part of a step: of each span every so-manieth piece, from another one each time."""
        t, size = self.n_steps, self._size
        for k, (span, gradient) in enumerate(shares):
            rate = lr * span.lr_scale
            scratch, total = self._scratch[span.numbers.dtype][thread]
            first = (thread + k) % self.threads
            for start in range(first * size, span.numbers.size, self.threads * size):
                piece = slice(start, start + size)
                p, g = span.numbers[piece], gradient[piece]
                if span.penalty:
                    g = np.add(g, np.multiply(p, span.penalty, out=total[: p.size]), out=total[: p.size])
                for begin, end, decay in span.decays:
                    if begin < piece.stop and end > start:
                        p[max(begin - start, 0) : end - start] *= 1 - rate * decay
                self.update(t, rate, p, g, scratch[: p.size], *[kept[piece] for kept in span.state], **span.options)

    def _begin(self, grads: Mapping[str, Array], lr: float | int | None) -> float:
        """Check all that a step is given, count it, and return its rate."""
        lr = self.lr if lr is None else lr
        check_rate(lr)
        known = grads.keys() == self.parameters.keys() and self._is_known([grads[name] for name in self.parameters])
        if not known or self.check_finite:
            check_gradients(self.parameters, grads, self.check_finite)
        for name, gradient in grads.items() if not known else ():
            for other in self.parameters if _owner(gradient) in self._owners else (name,):
                if np.may_share_memory(self.parameters[other], gradient):
                    raise ValueError(
                        f"the gradient of {name} shares memory with {'it' if other == name else other}, and would "
                        "change during the step: copy it"
                    )
        self._step += 1
        return float(lr)  # a number of NumPy would widen the arrays it meets

    def state_dict(self) -> dict[str, np.ndarray]:
        """
        What the next step depends on besides parameters and settings, as flat named arrays.

        Returns
        -------
        dict
            `step`, and `KEY.NAME` for each array of each parameter: the optimizer's own arrays, not copies.
        """
        arrays = {f"{key}.{name}": array for key, kept in self.state.items() for name, array in kept.items()}
        return {"step": self._step, **arrays}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """
        Continue from a state of `state_dict`, whose arrays are copied.

        Raises
        ------
        ValueError
            If it is not the state of an optimizer of the same parameters; all differences are listed.
        """
        copy_state(self.state_dict(), state)


class SGD(Optimizer):
    """
    Gradient descent, $w \\leftarrow (1 - \\eta\\lambda) w - \\eta g$: stochastic, if the gradient is that of a batch.

    Parameters
    ----------
    parameters, lr
        As for `Optimizer`.
    weight_decay
        The strength $\\lambda$ of the decay, not negative. For this rule decay and the gradient of
        $\\frac12 \\lambda |w|^2$ are the same.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `Optimizer`.
    """

    def __init__(
        self, parameters: Mapping[str, Array], lr: float | int, *, weight_decay: float | int = 0.0, **common: Any
    ) -> None:
        super().__init__(parameters, lr, weight_decay=weight_decay, **common)

    def update(
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, *state: np.ndarray, **options: Any
    ) -> None:
        np.multiply(g, lr, out=s)
        p -= s
