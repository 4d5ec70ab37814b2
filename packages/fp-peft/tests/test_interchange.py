"""What peft wrote computes the same here (fixtures of tools/oracles/peft_adapters.py), and what we write comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fp_peft.adapters import Adapter
from fp_peft.interchange import load_adapter, read_method, save_adapter
from fp_peft.lora import LoRA
from fp_peft.merging import lora_layers, merge, merged_model
from fp_peft.prefix import PrefixTuning, PromptTuning
from fp_peft.wrapping import wrap
from fp_transformer.checkpoint import from_arrays
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

FIXTURES = Path(__file__).parent / "fixtures"
TITLES = sorted(path.name for path in FIXTURES.iterdir())


def opened(title):
    expected = load_file(FIXTURES / title / "expected.safetensors")
    config = TransformerConfig.from_huggingface(json.loads((FIXTURES / title / "config.json").read_text()))
    model = Transformer(config, dtype=np.float64).eval()
    from_arrays(model, {n.removeprefix("base."): a for n, a in expected.items() if n.startswith("base.")})
    return model, expected


@pytest.mark.parametrize("title", TITLES)
def test_what_peft_saved_computes_here_what_it_computed_there(title):
    model, expected = opened(title)
    tuned = load_adapter(model, FIXTURES / title)
    ids = expected["ids"]
    # float64 on both sides, but the prompts' norms of transformers' Llama, whose angles are float64 by the oracle
    np.testing.assert_allclose(tuned(ids[:, :-1]).data, expected["logits"], atol=1e-9)
    loss = tuned.loss(ids[:, :-1], ids[:, 1:])
    np.testing.assert_allclose(loss.item(), expected["loss"][0], atol=1e-10)
    loss.backward()
    theirs = {n.removeprefix("grad."): a for n, a in expected.items() if n.startswith("grad.")}
    if "prompt" in title or "prefix" in title:
        (grad,) = theirs.values()
        assert grad.size == tuned.n_trainable
        if "prompt" in title:
            np.testing.assert_allclose(tuned.prompt.grad, grad, atol=1e-10)
        return
    shared = {id(layer.lora_A): layer for layer in lora_layers(tuned).values()}
    assert 2 * len(shared) == len(theirs)
    for name, layer in lora_layers(tuned).items():
        block = name.split(".")[1]
        ours = name.rpartition(".")[2]
        gpt2 = {"q_proj": "c_attn", "k_proj": "c_attn", "v_proj": "c_attn", "o_proj": "attn.c_proj", "up_proj": "c_fc"}
        place = ours if model.config.is_llama else gpt2.get(ours, "mlp.c_proj")
        (A,) = (a for n, a in theirs.items() if f".{block}." in n and f"{place}.lora_A" in n)
        (B,) = (a for n, a in theirs.items() if f".{block}." in n and f"{place}.lora_B" in n)
        np.testing.assert_allclose(layer.lora_A.grad, A, atol=1e-10)
        i = ["q_proj", "k_proj", "v_proj"].index(ours) * 12 if place == "c_attn" else 0
        np.testing.assert_allclose(layer.lora_B.grad, B[i : i + len(layer.lora_B.data)], atol=1e-10)


@pytest.mark.parametrize("title", TITLES)
def test_what_was_read_is_written_as_peft_wrote_it(title, tmp_path):
    model, _ = opened(title)
    save_adapter(load_adapter(model, FIXTURES / title), tmp_path)
    ours, theirs = (load_file(p / "adapter_model.safetensors") for p in (tmp_path, FIXTURES / title))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
    mine, config = (json.loads((p / "adapter_config.json").read_text()) for p in (tmp_path, FIXTURES / title))
    for name in ("peft_type", "task_type", "r", "lora_alpha", "use_rslora", "fan_in_fan_out", "num_virtual_tokens"):
        assert mine.get(name) == config.get(name) or (name == "fan_in_fan_out" and "lora_alpha" not in config)
    if title == "llama-patterns":  # ours are written out layer by layer
        assert mine["rank_pattern"] == {
            f"model.layers.{i}.{part}": r
            for i, part, r in ((0, "mlp.down_proj", 2), (1, "mlp.down_proj", 2), (1, "self_attn.k_proj", 4))
        }


METHODS = [
    LoRA(2, 3),
    LoRA(2, 5, ["q_proj", "v_proj"], rank_stabilized=True),
    LoRA(1, 1, ["down_proj"]),
    Adapter(3),
    Adapter(2, "feedforward"),
    PrefixTuning(3),
    PromptTuning(2),
]


@pytest.mark.claim("peft.split-factors")
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_what_was_tuned_here_comes_back(model, ids, method, tmp_path):
    tuned = wrap(model, method, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in tuned.trainable().values():
        p.data[...] = (p.data + 0.3 * rng.normal(size=p.shape)).astype(np.float32)  # as files hold them
    save_adapter(tuned, tmp_path / "adapter", base="somewhere")
    again = load_adapter(model, tmp_path / "adapter")
    np.testing.assert_allclose(again(ids).data, tuned(ids).data, atol=1e-12)
    assert type(read_method(tmp_path / "adapter")) is type(method)
    if isinstance(method, LoRA):
        np.testing.assert_allclose(merged_model(again)(ids).data, tuned(ids).data, atol=1e-10)


@pytest.mark.claim("peft.split-factors")
def test_a_factor_in_three_places_has_the_sum_of_three_gradients(small, ids, tmp_path):
    title = "gpt2-attention"
    model, expected = opened(title)
    ids = expected["ids"]
    one = load_adapter(model, FIXTURES / title)
    three = load_adapter(model, FIXTURES / title)
    for layer in lora_layers(three).values():
        layer.lora_A = type(layer.lora_A)(layer.lora_A.data)
    for tuned in (one, three):
        tuned.loss(ids[:, :-1], ids[:, 1:]).backward()
    assert 2 * one.n_trainable < 2 * three.n_trainable
    for block, other in zip(one.blocks, three.blocks, strict=True):
        parts = [getattr(other.attention, name).lora_A.grad for name in ("q_proj", "k_proj", "v_proj")]
        np.testing.assert_allclose(block.attention.q_proj.lora_A.grad, sum(parts), atol=1e-12)


def changed(folder, tmp_path, arrays=None, **settings):
    config = json.loads((folder / "adapter_config.json").read_text()) | settings
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    from fp_transformer.checkpoint import save_tensors

    found = load_file(folder / "adapter_model.safetensors")
    save_tensors(tmp_path / "adapter_model.safetensors", found if arrays is None else arrays(found))
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 5}, "rank 5 asks for"),
        ({"r": 0}, "from 1 on"),
        ({"lora_alpha": "much"}, "alpha is a positive number"),
    ],
)
def test_what_is_not_known_is_refused_by_name(settings, message, tmp_path, shapes_unchecked):
    model, _ = opened("llama-all")
    with pytest.raises(ValueError, match=message):
        load_adapter(model, changed(FIXTURES / "llama-all", tmp_path, **settings))


def test_arrays_that_do_not_fit_are_refused(small, tmp_path):
    model, _ = opened("llama-all")
    folder = FIXTURES / "llama-all"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    with pytest.raises(ValueError, match="one factor only"):
        load_adapter(model, changed(folder, tmp_path, lambda a: {n: x for n, x in a.items() if n != name}))
    with pytest.raises(ValueError, match="unexpected: other"):
        load_adapter(model, changed(folder, tmp_path, lambda a: a | {"other": a[name]}))
    with pytest.raises(ValueError, match="gpt2 family: unexpected"):
        load_adapter(small("gpt2"), folder)
    with pytest.raises(ValueError, match=r"where .* is needed"):
        load_adapter(model, FIXTURES / "gpt2-prompt")
    with pytest.raises(ValueError, match="no adapter: it has no adapter_config"):
        load_adapter(model, tmp_path / "nothing")
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold an object"):
        load_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="are pickles"):
        load_adapter(model, tmp_path)


def test_only_what_was_wrapped_and_is_not_merged_is_saved(model, tmp_path, shapes_unchecked):
    with pytest.raises(TypeError, match="only a model of wrap"):
        save_adapter(model, tmp_path)
    tuned = wrap(model, LoRA(2, 3), rng=np.random.default_rng(0))
    merge(tuned)
    with pytest.raises(ValueError, match="unmerge it before"):
        save_adapter(tuned, tmp_path)
    assert not list(tmp_path.iterdir())
