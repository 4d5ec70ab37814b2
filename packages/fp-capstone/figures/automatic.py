"""One gradient three ways: what each records, keeps and holds."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fp_autograd.tensor import Tensor
from fp_capstone.automatic import code_lines
from fp_capstone.gradient_checks import backward_passes
from fp_capstone.model import Model
from fp_transformer import Transformer
from fp_transformer.checkpoint import from_arrays, to_arrays
from fp_transformer.config import TransformerConfig

sys.path.append(str(Path(__file__).parent))

import _formulas as formulas
from _tape import Tape, peak, record

FAMILIES = {
    "GPT-2": lambda L, **sizes: TransformerConfig.gpt2(n_layers=L, **sizes),
    "Llama, two key heads": lambda L, **sizes: TransformerConfig.llama(n_layers=L, n_kv_heads=2, **sizes),
}
SIZES = {"vocab_size": 65, "context_length": 64, "n_heads": 4, "d_model": 128}
BATCH = 12
ELEMENTARY, STAGE_6, BY_HAND = "elementary rules", "stage 6", "by hand"


class Way(NamedTuple):
    """A model and how to get its loss, recorded or not, and its gradients by Hugging Face's names."""

    record: Callable[[], Tape] | None
    step: Callable[[], Any]
    gradients: Callable[[], dict[str, np.ndarray]]


def ways(config: TransformerConfig, ids: np.ndarray, targets: np.ndarray, dtype: Any) -> dict[str, Way]:
    """The three, with the same weights."""
    hand = Model(config, np.random.default_rng(0), dtype)
    tensors = {name: Tensor(a, requires_grad=True) for name, a in hand.parameters().items()}
    model = Transformer(config, dtype=dtype)
    from_arrays(model, hand.parameters())
    parameters = list(model.parameters())

    def forget() -> None:
        for x in (*tensors.values(), *parameters):
            x.grad = None

    def elementary() -> Any:
        return formulas.loss(tensors, config, ids, targets)

    def of_elementary() -> dict[str, np.ndarray]:
        forget()
        elementary().backward()
        return {name: x.grad for name, x in tensors.items()}

    def of_stage_6() -> dict[str, np.ndarray]:
        forget()
        model.loss(ids, targets).backward()
        found = Transformer(config, dtype=dtype)
        for p, q in zip(found.parameters(), parameters, strict=True):
            p.data = q.grad
        return to_arrays(found)

    def step_of_stage_6() -> None:
        forget()
        model.loss(ids, targets).backward()

    return {
        ELEMENTARY: Way(lambda: record(elementary(), tensors.values()), of_elementary, of_elementary),
        STAGE_6: Way(lambda: record(model.loss(ids, targets), parameters), step_of_stage_6, of_stage_6),
        BY_HAND: Way(None, lambda: hand.loss_and_grads(ids, targets), lambda: hand.loss_and_grads(ids, targets)[1]),
    }


def batch(config: TransformerConfig, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens and what came next."""
    ids = np.random.default_rng(1).integers(0, config.vocab_size, (rows, length + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def differences(family: str) -> dict[str, float]:
    """By how much the gradients of each way differ from ours, in float64, on a small model."""
    config = FAMILIES[family](2, vocab_size=17, context_length=11, n_heads=4, d_model=24)
    found = {name: way.gradients() for name, way in ways(config, *batch(config, 3, 11), np.float64).items()}
    ours = found[BY_HAND]
    return {name: max(float(np.abs(a - ours[key]).max()) for key, a in grads.items()) for name, grads in found.items()}


def measured(family: str) -> dict[str, tuple[Tape | None, Tape | None, int]]:
    """Of each way the records of models of two and of three blocks, and the further bytes of the third at the peak."""
    found = []
    for L in (2, 3):
        config = FAMILIES[family](L, **SIZES)
        # the gradients themselves are as large as the parameters, and no part of the comparison
        of_gradients = config.n_parameters * 4
        every = ways(config, *batch(config, BATCH, config.context_length), np.float32)
        for way in every.values():
            way.step()  # what is made once, such as tables of masks, is made now
        found.append(
            {name: (way.record and way.record(), peak(way.step) - of_gradients) for name, way in every.items()}
        )
    return {name: (found[0][name][0], found[1][name][0], found[1][name][1] - found[0][name][1]) for name in found[0]}


def render() -> str:
    """The table."""
    lines = sum(map(code_lines, dict.fromkeys(place for p in backward_passes() for place in p.functions)))
    width, rows = 4 * BATCH * SIZES["context_length"], []
    for family in FAMILIES:
        close = differences(family)
        for name, (two, three, further) in measured(family).items():
            cells = ["none", "0", "0", "0", "–", "–"]
            if two is not None and three is not None:
                kept, read = ((b - a) / width for a, b in ((two.kept, three.kept), (two.read, three.read)))
                counts = three.nodes, three.nodes - two.nodes, len(three.rules), three.reused
                cells = [*(f"{n:,}" for n in counts), f"{kept:,.0f}", f"{read:,.0f}"]
            cells += [f"{further / width:,.0f}", f"{close[name]:.0e}" if name != BY_HAND else "–"]
            data = "".join(f"<td>{cell}</td>" for cell in cells)
            rows.append(f'<tr><th scope="row">{family}: {name}</th>{data}</tr>')
    heads = [
        "model: how",
        "operations recorded, three blocks",
        "for each block",
        "kinds of operations",
        "values used more than once",
        "kept, numbers",
        "of them read",
        "most at once, numbers",
        "largest difference from ours",
    ]
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    sizes = "width {d_model}, {n_heads} heads, context {context_length}".format(**SIZES)
    caption = (
        f"A model with {sizes}, {BATCH} sequences: what the three record, and what a further block keeps for each "
        f"token. The functions by hand that compute slopes and gradients have {lines} lines of code together"
    )
    table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<table>{table}</table>"
