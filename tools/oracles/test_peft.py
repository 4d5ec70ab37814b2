"""Live: Hugging Face's peft against `fp_peft`, both ways. Run in the oracles environment, with peft installed."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from fp_peft.interchange import load_adapter, save_adapter
from fp_peft.lora import LoRA
from fp_peft.merging import merged_model
from fp_peft.prefix import PrefixTuning, PromptTuning
from fp_peft.wrapping import wrap
from fp_transformer.checkpoint import load, save
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, caused by peft

from tools.oracles import peft_adapters as oracle  # noqa: E402  it needs torch and peft

SIZES = {"vocab_size": 29, "context_length": 23, "n_layers": 2}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_heads=4, n_kv_heads=2, d_model=24),
    "llama, untied": TransformerConfig.llama(**SIZES, n_heads=3, d_model=18, tied=False),
    "gpt2": TransformerConfig.gpt2(**SIZES, n_heads=3, d_model=18),
}
METHODS = [
    LoRA(2, 3),
    LoRA(3, 7, ["q_proj", "v_proj", "down_proj"], rank_stabilized=True),
    LoRA(2, 2, ["o_proj"]),
    PrefixTuning(4),
    PromptTuning(3),
]


@pytest.mark.parametrize("title", oracle.CASES)
def test_the_fixture_is_what_peft_says_today(title, tmp_path):
    folder = oracle.FOLDER / title
    found, frozen = oracle.compute(title), load_file(folder / "expected.safetensors")
    assert found.keys() == frozen.keys()
    for name, array in frozen.items():
        np.testing.assert_allclose(found[name], array, atol=1e-11, err_msg=name)  # float64
    oracle.save(title, tmp_path)
    now, then = (load_file(p / "adapter_model.safetensors") for p in (tmp_path, folder))
    assert now.keys() == then.keys() and all(np.array_equal(now[n], then[n]) for n in then)
    settings, before = (json.loads((p / "adapter_config.json").read_text()) for p in (tmp_path, folder))
    for name in ("peft_type", "r", "lora_alpha", "target_modules", "rank_pattern", "use_rslora", "num_virtual_tokens"):
        mine, theirs = settings.get(name), before.get(name)
        assert (sorted(mine), sorted(theirs)) if isinstance(mine, list) else mine == theirs


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("title", CONFIGS)
def test_what_was_tuned_here_runs_in_peft_and_comes_back(title, method, tmp_path):
    model = Transformer(CONFIGS[title], rng=np.random.default_rng(0)).eval()
    tuned = wrap(model, method, rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for p in tuned.trainable().values():
        p.data[...] += (0.3 * rng.normal(size=p.shape)).astype(np.float32)
    save(model, tmp_path / "base")
    save_adapter(tuned, tmp_path / "adapter", base=str(tmp_path / "base"))
    ids = rng.integers(0, 29, (2, 11))
    ours = tuned(ids).data
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        logits = oracle.scores_of(theirs, ids).numpy()
    np.testing.assert_allclose(ours, logits, atol=3e-5)  # float32, in another order
    theirs.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(load_adapter(model, tmp_path / "again")(ids).data, ours, atol=3e-5)
    if isinstance(method, LoRA):
        theirs.merge_and_unload().save_pretrained(tmp_path / "merged")
        np.testing.assert_allclose(load(tmp_path / "merged")(ids).data, merged_model(tuned)(ids).data, atol=3e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_of_training_there_is_a_step_here(family, tmp_path):
    title = f"{family}-all"
    model, _ = oracle.tuned_of(title)
    ids = oracle.ids_of(title)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss = torch.nn.functional.cross_entropy(
        oracle.scores_of(model, ids[:, :-1]).flatten(0, 1), torch.from_numpy(ids[:, 1:]).flatten()
    )
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        after = oracle.scores_of(model, ids[:, :-1]).numpy()
    from fp_transformer.checkpoint import from_arrays

    config, arrays = oracle.CASES[title][0], load_file(oracle.FOLDER / title / "expected.safetensors")
    base = Transformer(config, dtype=np.float64).eval()
    from_arrays(base, {n.removeprefix("base."): a for n, a in arrays.items() if n.startswith("base.")})
    tuned = load_adapter(base, oracle.FOLDER / title)
    tuned.loss(ids[:, :-1], ids[:, 1:]).backward()
    for p in {id(p): p for p in tuned.trainable().values()}.values():
        p.data -= 0.1 * p.grad
    np.testing.assert_allclose(tuned(ids[:, :-1]).data, after, atol=1e-9)  # float64
