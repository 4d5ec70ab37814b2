r"""
Project: an adapter out of two models, in the layout that others read.

Level: project. You need `fp_peft.low_rank`, `fp_peft.lora` and `fp_peft.interchange`.

Somebody tuned a Llama in full and gives you all of its arrays, before and after, under Hugging Face's names. Make a
small adapter of the difference. For every linear layer of the blocks (the arrays whose names end in `_proj.weight`)
take the change of its weights, and find factors $A$ of shape $(r, n)$ and $B$ of shape $(m, r)$ such that $s B A$ with
$s = \alpha / r$ is the nearest matrix of rank $r$. What changed elsewhere cannot be held and is left out.

Return what goes into the two files of a `peft` directory: the settings, with `peft_type`, `task_type`, `r`,
`lora_alpha` and `target_modules` (the last parts of the layers' names, sorted), and the arrays under their names there.

What is checked: names, shapes and settings; that each update is the nearest of its rank, and not only near; and that
`fp_peft.load_adapter` makes the tuned model of the base, where the changes have rank $r$ and nothing else was changed.

You learn how much of a fine-tuning is of low rank, and to write a file that another program reads.
"""

from typing import Any

import numpy as np

HINTS = (
    "The nearest matrix of rank r keeps the r largest singular values of the change. Which two factors have it as "
    "their product, and where does the scale go?",
    "`model.layers.0.self_attn.q_proj.weight` becomes "
    "`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` and the same with lora_B.",
    "With `U, s, V = np.linalg.svd(after - before, full_matrices=False)`: `B = U[:, :r] * s[:r] * r / alpha` and "
    "`A = V[:r]`.",
)


def extract_adapter(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], rank: int, alpha: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """
    The nearest adapter to the difference of two models, as `peft` stores it.

    Parameters
    ----------
    before, after
        All arrays of the two models, under Hugging Face's names.
    rank, alpha
        Of the adapter.

    Returns
    -------
    settings, arrays : dict
        The contents of the two files.

    Examples
    --------
    >>> name = "model.layers.0.mlp.up_proj"
    >>> before, after = {name + ".weight": np.zeros((2, 2))}, {name + ".weight": np.diag([3.0, 1.0])}
    >>> settings, arrays = extract_adapter(before, after, 1, 2.0)
    >>> settings["r"], settings["target_modules"], sorted(arrays)[0]
    (1, ['up_proj'], 'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight')
    >>> A, B = (arrays[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    >>> (2.0 * B @ A).round(6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    arrays, targets = {}, set()
    for name in before:
        if not name.endswith("_proj.weight"):
            continue
        layer = name.removesuffix(".weight")
        U, s, V = np.linalg.svd(after[name] - before[name], full_matrices=False)
        arrays[f"base_model.model.{layer}.lora_A.weight"] = V[:rank]
        arrays[f"base_model.model.{layer}.lora_B.weight"] = U[:, :rank] * s[:rank] * (rank / alpha)
        targets.add(layer.rpartition(".")[2])
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(targets),
    }
    return settings, arrays


def _models(true_rank: int, seed: int, everything: bool) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A small Llama, its arrays, and the same after a change."""
    from fp_transformer import Transformer, TransformerConfig
    from fp_transformer.checkpoint import to_arrays

    config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=8)
    base = Transformer(config, rng=np.random.default_rng(seed)).eval()
    before, rng = to_arrays(base), np.random.default_rng(seed + 1)
    after = {}
    for name, array in before.items():
        after[name] = array.copy()
        if name.endswith("_proj.weight"):
            m, n = array.shape
            after[name] += (0.3 * rng.normal(size=(m, true_rank)) @ rng.normal(size=(true_rank, n))).astype(np.float32)
        elif everything:
            after[name] += 0.1
    return base, before, after


def _plain(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shapes = {"self_attn.q_proj": (4, 5), "mlp.down_proj": (6, 3)}
    before, after = (
        {f"model.layers.{i}.{n}.weight": rng.normal(size=s) for i in range(2) for n, s in shapes.items()} for _ in "ba"
    )
    return before | {"model.norm.weight": np.ones(3)}, after | {"model.norm.weight": np.zeros(3)}


PROBES = ((*_plain(0), 2, 3.0), (*_plain(1), 1, 4.0))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    from fp_peft.low_rank import truncate

    for true_rank, rank, alpha, everything in ((2, 2, 2.0, False), (2, 2, 6.0, False), (4, 2, 3.0, True)):
        what = f"changes of rank {true_rank}, an adapter of rank {rank} and alpha {alpha}"
        base, before, after = _models(true_rank, 0, everything)
        given = [{name: array.copy() for name, array in arrays.items()} for arrays in (before, after)]
        got = learner.extract_adapter(*given, rank, alpha)
        assert isinstance(got, tuple | list) and len(got) == 2 and all(isinstance(part, dict) for part in got), (
            f"{what}: expected two dictionaries, the settings and the arrays, got {got!r:.80}"
        )
        settings, arrays = got
        layers = [name.removesuffix(".weight") for name in before if name.endswith("_proj.weight")]
        expected = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha,
            "target_modules": sorted({layer.rpartition(".")[2] for layer in layers}),
        }  # fmt: skip
        for name, value in expected.items():
            assert settings.get(name) == value, f"{what}: the setting {name} is {value!r}, got {settings.get(name)!r}"
        names = {f"base_model.model.{layer}.lora_{x}.weight" for layer in layers for x in "AB"}
        assert arrays.keys() == names, (
            f"{what}: the arrays should have {len(names)} names such as {min(names)}, got {sorted(arrays)[:2]}"
        )
        for layer in layers:
            A, B = (np.asarray(arrays[f"base_model.model.{layer}.lora_{x}.weight"]) for x in "AB")
            m, n = before[layer + ".weight"].shape
            assert A.shape == (rank, n) and B.shape == (m, rank), (
                f"{what}: the factors of {layer} have the shapes {(rank, n)} and {(m, rank)}, got {A.shape}, {B.shape}"
            )
            wanted = truncate(after[layer + ".weight"] - before[layer + ".weight"], rank)
            miss = float(np.abs(alpha / rank * B @ A - wanted).max())
            # float32: six digits of numbers near one
            assert miss < 1e-4, f"{what}: the update of {layer} is up to {miss:.2g} away from the nearest of its rank"
        if true_rank <= rank:
            _computes_the_same(base, after, settings, arrays, what)


def _computes_the_same(base: Any, after: Any, settings: Any, arrays: Any, what: str) -> None:
    import json
    import tempfile
    from pathlib import Path

    from fp_peft.interchange import load_adapter
    from fp_transformer import Transformer
    from fp_transformer.checkpoint import from_arrays, save_tensors

    tuned = Transformer(base.config).eval()
    from_arrays(tuned, after)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "adapter_config.json").write_text(json.dumps(settings))
        singles = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        save_tensors(Path(folder) / "adapter_model.safetensors", singles)
        ids = np.array([[3, 1, 4, 1, 5]])
        apart = float(np.abs(load_adapter(base, folder)(ids).data - tuned(ids).data).max())
    assert apart < 1e-3, f"{what}: loaded into the base, its scores are up to {apart:.2g} from those of the tuned model"


_Files = tuple[dict[str, Any], dict[str, np.ndarray]]


def _scale_forgotten(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    return settings, {n: a * (alpha / rank) if "lora_B" in n else a for n, a in arrays.items()}


def _divided_twice(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    return settings, {n: a * (rank / alpha) if "lora_A" in n else a for n, a in arrays.items()}


def _wrong_direction(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    return settings, {n: -a if "lora_B" in n else a for n, a in arrays.items()}


def _smallest_kept(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    for name in before:
        if name.endswith("_proj.weight"):
            layer = f"base_model.model.{name.removesuffix('.weight')}"
            U, s, V = np.linalg.svd(after[name] - before[name], full_matrices=False)
            arrays[f"{layer}.lora_A.weight"] = V[-rank:]
            arrays[f"{layer}.lora_B.weight"] = U[:, -rank:] * s[-rank:] * (rank / alpha)
    return settings, arrays


def _attention_alone(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    return extract_adapter({n: a for n, a in before.items() if ".mlp." not in n}, after, rank, alpha)


def _factors_exchanged(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    other = {"A": "B", "B": "A"}
    return settings, {
        n.replace(f"lora_{x}", f"lora_{other[x]}"): a for n, a in arrays.items() for x in "AB" if f"lora_{x}" in n
    }


def _names_of_the_base(before: Any, after: Any, rank: int, alpha: float) -> _Files:
    settings, arrays = extract_adapter(before, after, rank, alpha)
    return settings, {n.removeprefix("base_model.model."): a for n, a in arrays.items()}


MISTAKES = (
    (_scale_forgotten, "You leave alpha / r out. The update is that times B A: divide one factor by it."),
    (_divided_twice, "You divide both factors by alpha / r. It multiplies their product once."),
    (_wrong_direction, "You take before minus after. The update is what was added to the base."),
    (
        _smallest_kept,
        "You keep the smallest singular values. NumPy sorts them from the largest down, and the nearest matrix keeps "
        "the largest.",
    ),
    (_attention_alone, "You adapt attention alone. The feed-forward layers changed as well."),
    (_factors_exchanged, "You exchange the factors. A is (r, n) and meets the input first; B is (m, r)."),
    (
        _names_of_the_base,
        "You give the arrays the base's names. A peft file puts base_model.model. in front of them.",
    ),
)
