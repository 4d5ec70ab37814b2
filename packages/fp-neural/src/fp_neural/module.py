r"""
Modules: functions that own their parameters.

A network is a function with thousands of numbers inside that training will change. Who keeps them? If every function
took all of them as arguments, no one could read a call; if they were globals, no model could exist twice. So a layer is
an object: it makes its parameters once, uses them whenever it is called, and may be made of other layers. This section
holds what all layers share, so that a training loop can say *all parameters of this model* without knowing what the
model is.

You need: `fp_autograd.tensor`.

## Names

Every parameter has a name, the path that leads to it: `layers.0.weight` is the attribute `weight` of the first of
`layers`. The path is found by looking at the attributes of a module in the order in which they were set:

- a `Parameter` is trained;
- a `Module`, and each module in a list, tuple or dictionary, or in one within it, brings its own, under its name and a
  dot;
- a NumPy array is a **buffer**, numbers that belong to the model but are not trained, such as a running average. A name
  that begins with an underscore keeps an array out.

All of a model's numbers by their names are its **state**, what a file has to hold. Taking it and giving it back leaves
the model as it was:

>>> from fp_neural.layers import Linear, Sequential
>>> from fp_neural.activations import Tanh
>>> rng = np.random.default_rng(0)
>>> model = Sequential(Linear(2, 3, rng=rng), Tanh(), Linear(3, 1, rng=rng))
>>> {name: array.shape for name, array in model.state_dict().items()}
{'layers.0.weight': (3, 2), 'layers.0.bias': (3,), 'layers.2.weight': (1, 3), 'layers.2.bias': (1,)}
>>> model.n_parameters
13

## One parameter in two places

The same `Parameter` may stand in two modules, for instance as the table that turns tokens into vectors and as the
matrix that turns vectors into scores for tokens. It is trained once, under the name found first, and counted once.

**Claim** `neural.tied-gradient`. Let $f(u, v)$ be differentiable and $h(w) = f(w, w)$. Then $\nabla h(w)$ is the sum of
the gradients of $f$ in $u$ and in $v$, both at $(w, w)$.

**Proof.** $h$ is $f$ after the map $w \mapsto (w, w)$, which repeats $w$. By `autograd.copy-rule` the cotangent of what
was repeated is the sum of the cotangents of its copies; those are the two gradients. $\blacksquare$

Nothing has to be done for it: the sweep adds. But a rate that suits either use alone may be too large for both.

## The model as a function

`functional` lends the module other numbers for one call, and so makes a module a function of its state, as
`fp_autograd.functional` wants it: gradients of gradients, Hessian-vector products and `gradcheck` then apply to whole
models.

>>> from fp_autograd import grad
>>> x = np.ones((4, 2), np.float32)
>>> slopes = grad(lambda state: model.functional(state, x).mean())(model.state_dict())
>>> slopes["layers.2.bias"]
array([1.], dtype=float32)

## In practice

PyTorch's `nn.Module` has the same names, so a state may travel either way where the layers agree. It registers
parameters as they are assigned, which allows hooks and costs a look-up for each attribute; walking over the attributes
when they are asked for is enough here. JAX libraries (Flax, Equinox) make the model a tree of arrays in the first
place, which is what `state_dict` and `functional` give. State dictionaries of PyTorch hold a tied parameter under both
names; here it is under the first.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fp_autograd.tensor import Tensor, no_grad
from fp_markov._files import replacing

__all__ = ["Parameter", "Module"]  # the order of the page

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """
    A tensor that a module trains.

    Parameters
    ----------
    data
        Its first numbers, floating-point; they are copied.

    Raises
    ------
    TypeError
        If the numbers are not floating-point.
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(np.array(data), requires_grad=True)


class Module:
    """
    What layers and models have in common.

    A subclass calls `super().__init__()` first, sets its parameters and parts as attributes, and defines `forward`.

    Attributes
    ----------
    training : bool
        Whether the module is being trained: some layers compute differently then.
    """

    def __init__(self) -> None:
        self.training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward: define what calling it computes")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # --- its parts

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for name, part in vars(self).items():
            yield from self._within(name, part)

    def _within(self, name: str, part: Any) -> Iterator[tuple[str, Any]]:
        """An attribute, or the modules in a collection."""
        if not isinstance(part, list | tuple | dict):
            yield name, part
            return
        for i, p in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(p, Parameter):
                raise TypeError(
                    f"{type(self).__name__}.{name} collects parameters, which would not be found there: make each an "
                    "attribute, or put it into a module and collect those"
                )
            if isinstance(p, Module | list | tuple | dict):
                yield from self._within(f"{name}.{i}", p)

    def modules(self) -> Iterator["Module"]:
        """This module and all that it is made of."""
        yield self
        for _, part in self._parts():
            if isinstance(part, Module):
                yield from part.modules()

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, whose path is empty, and all that it is made of, each with the path that leads to it."""
        yield prefix, self
        for name, part in self._parts():
            if isinstance(part, Module):
                yield from part.named_modules(f"{prefix}.{name}" if prefix else name)

    def _places(self, prefix: str = "") -> Iterator[tuple[str, "Module", str, Parameter | np.ndarray]]:
        """Each parameter and buffer, every time it occurs: its name, its owner, the attribute there, itself."""
        if "training" not in vars(self):
            raise TypeError(f"{type(self).__name__} has to call super().__init__() before it sets its attributes")
        for name, part in self._parts():
            if isinstance(part, Module):
                yield from part._places(f"{prefix}{name}.")
            elif isinstance(part, Parameter) or (isinstance(part, np.ndarray) and not name.startswith("_")):
                yield prefix + name, self, name, part

    def _owned(self) -> dict[str, Parameter | np.ndarray]:
        """Each parameter and buffer once, under the first of its names."""
        owned: dict[int, tuple[str, Parameter | np.ndarray]] = {}
        for name, _, _, part in self._places():
            owned.setdefault(id(part), (name, part))
        return dict(owned.values())

    def named_parameters(self) -> dict[str, Parameter]:
        """The parameters by name, each once, frozen ones included."""
        return {name: part for name, part in self._owned().items() if isinstance(part, Parameter)}

    def parameters(self) -> list[Parameter]:
        """The parameters, each once, frozen ones included."""
        return list(self.named_parameters().values())

    def named_buffers(self) -> dict[str, np.ndarray]:
        """The arrays that are kept but not trained, by name."""
        return {name: part for name, part in self._owned().items() if isinstance(part, np.ndarray)}

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained, or could be if they were not frozen."""
        return sum(p.size for p in self.parameters())

    # --- its state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name."""
        return {name: (p.data if isinstance(p, Parameter) else p).copy() for name, p in self._owned().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """
        Take over the numbers of a state; nothing changes if they do not fit.

        Parameters
        ----------
        state
            Arrays by name.
        strict
            Whether the names have to be the same. If not, those in common are taken.

        Raises
        ------
        ValueError
            If names are missing or not expected, or shapes or kinds of numbers differ; it lists them all.
        """
        owned = self._owned()
        faults = []
        if strict:
            faults += [f"missing: {name}" for name in owned if name not in state]
            faults += [f"unexpected: {name}" for name in state if name not in owned]
        new = {name: np.asarray(array) for name, array in state.items() if name in owned}
        for name, array in new.items():
            if array.shape != owned[name].shape:
                faults.append(f"misshapen: {name} has shape {array.shape}, the model's has {owned[name].shape}")
            elif not np.can_cast(array.dtype, owned[name].dtype, "same_kind"):
                faults.append(f"of another kind: {name} holds {array.dtype}, the model's {owned[name].dtype}")
        if faults:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: {'; '.join(faults)}. "
                + ("strict=False takes the names in common." if strict else "Leave those out.")
            )
        with no_grad():
            for name, array in new.items():
                owned[name][...] = array

    def save(self, path: Path | str) -> None:
        """
        Write the state to an `.npz` file, whole or not at all.

        Parameters
        ----------
        path
            The file, which is replaced.
        """
        with replacing(path) as file:
            np.savez(file, **self.state_dict())  # type: ignore[arg-type]  # no parameter is named `file`

    def load(self: M, path: Path | str) -> M:
        """
        Take over the state in a file that `save` wrote, and return the module.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        ValueError
            If the file holds no state, or one that does not fit.
        """
        with Path(path).open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    state = dict(arrays)
            except Exception as error:  # damage makes zipfile, zlib and NumPy raise nearly anything
                raise ValueError(f"{path} is no state that Module.save wrote, or is damaged") from error
        self.load_state_dict(state)
        return self

    def astype(self: M, dtype: Any) -> M:
        """
        Compute in another precision from now on; gradients are forgotten.

        Parameters
        ----------
        dtype
            A floating-point type of NumPy, for all parameters and floating-point buffers.

        Returns
        -------
        Module
            The module itself.
        """
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"parameters are floating-point numbers, got {np.dtype(dtype)}")
        for _, owner, attribute, part in list(self._places()):
            if isinstance(part, Parameter):
                part.data, part.grad = part.data.astype(dtype, copy=False), None
            elif part.dtype.kind == "f":
                setattr(owner, attribute, part.astype(dtype, copy=False))
        return self

    # --- training it

    def train(self: M, mode: bool = True) -> M:
        """Compute as in training, in all parts; `False`: as in use. Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Compute as in use, in all parts. Returns the module."""
        return self.train(False)

    def draw_from(self: M, rng: np.random.Generator) -> M:
        """Let all parts that draw at random, such as dropout, draw from one generator. Returns the module."""
        for module in self.modules():
            if hasattr(module, "rng"):
                module.rng = rng
        return self

    def freeze(self: M) -> M:
        """Train none of the parameters from now on. Returns the module."""
        for p in self.parameters():
            p.requires_grad, p.grad = False, None
        return self

    def unfreeze(self: M) -> M:
        """Train all of the parameters from now on. Returns the module."""
        for p in self.parameters():
            p.requires_grad = True
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.zero_grad()

    # --- the model as a function

    def functional(self, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """
        Call the module with other numbers in place of its own.

        Parameters
        ----------
        state
            Arrays, tensors or boxes by name, for all parameters and buffers or some of them.
        *args, **kwargs
            What the module is called with.

        Returns
        -------
        Any
            What the call returns.

        Raises
        ------
        ValueError
            If a name is none of the module's, or a shape is not that of its parameter.
        """
        owned = self._owned()
        for name, new in state.items():
            if name not in owned:
                raise ValueError(f"{type(self).__name__} has no parameter {name}. Its names: {', '.join(owned)}.")
            if np.shape(new) != owned[name].shape:
                raise ValueError(f"{name} has shape {owned[name].shape}, got {np.shape(new)}")
        lent = {id(owned[name]): new for name, new in state.items()}
        places = [place for place in self._places() if id(place[3]) in lent]
        try:
            for _, owner, attribute, part in places:
                setattr(owner, attribute, lent[id(part)])
            return self(*args, **kwargs)
        finally:
            for _, owner, attribute, part in places:
                setattr(owner, attribute, part)

    # --- what it looks like

    def __repr__(self) -> str:
        lines = []
        for name, part in self._parts():
            if isinstance(part, Module):
                lines.append(f"{name}: " + repr(part).replace("\n", "\n  "))
            elif isinstance(part, Parameter):
                frozen = "" if part.requires_grad else ", frozen"
                lines.append(f"{name}: {' x '.join(map(str, part.shape)) or 'one number'}{frozen}")
        if not lines:
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
