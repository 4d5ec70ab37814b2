"""Live: PyTorch's formulas on fresh numbers, and TRL's trainers, against `fp_align`. Run in the oracles environment."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tools.oracles import align_losses as oracle

from fp_align.dpo import dpo_loss
from fp_align.kl import k1, k2, k3
from fp_align.policy_gradient import leave_one_out
from fp_align.ppo import clipped_objective, gae
from fp_align.preferences import padded, sequence_log_probabilities, token_log_probabilities
from fp_align.reward import bradley_terry_loss
from fp_autograd.functional import grad
from fp_autograd.rules import exp
from fp_autograd.tracing import value_of

torch = pytest.importorskip("torch")
CLOSE = {"rtol": 1e-10, "atol": 1e-13}  # both compute in float64


def test_the_frozen_fixture_is_what_pytorch_says_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    given = oracle.inputs()
    for name, found in oracle.results(given).items():
        wanted = json.loads(json.dumps(given[name] | found))
        assert wanted.keys() == frozen[name].keys()
        for key in wanted:
            pairs = zip(_numbers(wanted[key]), _numbers(frozen[name][key]), strict=True)
            assert all(abs(a - b) <= 1e-12 * (1 + abs(b)) for a, b in pairs), (name, key)  # another build's rounding


def _numbers(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        return [x for part in tree for x in _numbers(part)]
    return [float(tree)]


@pytest.mark.parametrize("seed", range(1, 6))
def test_losses_and_gradients_on_fresh_numbers(seed):
    given = oracle.inputs(seed)
    found = oracle.results(given)
    case, wanted = given["kl"], found["kl"]
    logp, logq = np.array(case["logp"]), np.array(case["logq"])
    for name, k in (("k1", k1), ("k2", k2), ("k3", k3)):
        np.testing.assert_allclose(k(logp, logq), wanted[name]["values"], **CLOSE)
        np.testing.assert_allclose(grad(lambda p, k=k: k(p, logq).sum())(logp), wanted[name]["gradient"], **CLOSE)
    case, wanted = given["bradley_terry"], found["bradley_terry"]
    pair = np.array(case["chosen"]), np.array(case["rejected"])
    np.testing.assert_allclose(bradley_terry_loss(*pair), wanted["loss"], **CLOSE)
    for at in range(2):
        np.testing.assert_allclose(grad(bradley_terry_loss, at)(*pair), wanted["gradients"][at], **CLOSE)
    case, wanted = given["dpo"], found["dpo"]
    four = [np.array(case[name]) for name in oracle.DPO]
    np.testing.assert_allclose(dpo_loss(*four, case["beta"]), wanted["loss"], **CLOSE)
    for at in range(4):
        gradient = grad(lambda *four: dpo_loss(*four, given["dpo"]["beta"]), at)(*four)
        np.testing.assert_allclose(gradient, wanted["gradients"][at], **CLOSE)
    case = given["gae"]
    for (gamma, lam), advantages in zip(case["settings"], found["gae"]["advantages"], strict=True):
        ours = gae(np.array(case["rewards"]), np.array(case["values"]), gamma, lam)
        np.testing.assert_allclose(ours, advantages, **CLOSE)
    case, wanted = given["sequence"], found["sequence"]
    ids, mask = np.array(case["ids"]), np.array(case["mask"], bool)

    def sums(logits):
        return sequence_log_probabilities(lambda _: logits, ids, mask)

    np.testing.assert_allclose(sums(np.array(case["logits"])), wanted["values"], **CLOSE)
    np.testing.assert_allclose(grad(lambda z: sums(z).sum())(np.array(case["logits"])), wanted["gradient"], **CLOSE)


# --- TRL's trainers: their loss functions, with a stand-in for the trainer


class Stand(SimpleNamespace):
    """A trainer's settings; what only counts and logs accepts anything."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "_metrics":
            self._metrics = {mode: Log() for mode in ("train", "eval")}
            return self._metrics
        return False


class Log(dict):
    def __missing__(self, key):
        self[key] = []
        return self[key]


class Same:
    device = torch.device("cpu")
    num_processes = 1

    def __getattr__(self, name):
        return lambda x, *args, **kwargs: x


def texts(seed, V=7, B=4):
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(0, V, rng.integers(1, 4)).tolist()) for _ in range(B)]
    responses = [tuple(rng.integers(0, V, rng.integers(1, 5)).tolist()) for _ in range(2 * B)]
    ids, mask = padded(prompts * 2, responses)
    logits = [2 * rng.normal(size=(*ids.shape, V)) for _ in range(2)]
    return rng, ids, mask, logits


def token_logs(logits, ids, mask):
    """As TRL's models return them: zero where a token does not count."""
    logs = logits[:, :-1].log_softmax(-1).gather(-1, torch.tensor(ids)[:, 1:, None]).squeeze(-1)
    return logs * torch.tensor(mask)[:, 1:]


@pytest.mark.parametrize("seed", range(3))
def test_dpo_in_trl(seed):
    trl = pytest.importorskip("trl")
    _, ids, mask, (policy, reference) = texts(seed)
    leaf = torch.tensor(policy, requires_grad=True)

    class Fixed(torch.nn.Module):
        is_gradient_checkpointing = False

        def __init__(self, logits):
            super().__init__()
            self.numbers = [logits]

        def forward(self, **kwargs):
            logs = token_logs(self.numbers[0], ids, mask)
            nothing = torch.zeros(logs.shape)  # what is only logged
            rest = {"entropy": nothing, "mean_logits": nothing, "is_top1": nothing > 0}
            return SimpleNamespace(log_probs=logs, loss=None, logits=self.numbers[0], **rest)

    model = Fixed(leaf)
    trainer = Stand(
        model=model, ref_model=Fixed(torch.tensor(reference)), accelerator=Same(), ld_alpha=None, beta=0.3,
        f_divergence_type="reverse_kl", _tp_size=1, _total_train_tokens=0,
        loss_types=["sigmoid"], loss_weights=[1.0], label_smoothing=0.0,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
    )  # fmt: skip
    inputs = {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.ones(ids.shape, dtype=torch.long),
        "completion_mask": torch.tensor(mask).long(),
    }
    loss = _loss_of(trl.DPOTrainer._compute_loss, trainer, model, inputs, False)
    (gradient,) = torch.autograd.grad(loss, leaf)

    def ours(logits):
        n = len(ids) // 2
        logs = sequence_log_probabilities(lambda _: logits[:, :-1], ids, mask)
        known = value_of(sequence_log_probabilities(lambda _: reference[:, :-1], ids, mask))
        return dpo_loss(logs[:n], logs[n:], known[:n], known[n:], 0.3)

    np.testing.assert_allclose(float(ours(policy)), loss.item(), **CLOSE)
    np.testing.assert_allclose(grad(ours)(policy), gradient.numpy(), **CLOSE)


def _loss_of(function, *args):
    """The first value that is a loss: what stands behind it counts and logs."""
    out = function(*args)
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("seed", range(3))
def test_the_reward_loss_in_trl(seed):
    trl = pytest.importorskip("trl")
    scores = 3 * np.random.default_rng(seed).normal(size=10)
    leaf = torch.tensor(scores[:, None], requires_grad=True)
    trainer = Stand(
        model=SimpleNamespace(training=False), accelerator=Same(), args=SimpleNamespace(center_rewards_coefficient=None)
    )
    loss = trl.RewardTrainer.compute_loss(trainer, lambda **_: SimpleNamespace(logits=leaf), {})
    (gradient,) = torch.autograd.grad(loss, leaf)

    def ours(s):
        return bradley_terry_loss(s[:5], s[5:])

    np.testing.assert_allclose(float(ours(scores)), loss.item(), **CLOSE)
    np.testing.assert_allclose(grad(ours)(scores), gradient.numpy()[:, 0], **CLOSE)


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_the_clipped_objective_and_k3_in_trl(seed, beta):
    trl = pytest.importorskip("trl")
    rng, ids, mask, (new, reference) = texts(seed)
    n = int(mask.argmax(axis=1).min())  # the first token of a response
    before = new + 0.3 * rng.normal(size=new.shape)  # ratios on both sides of their kinks
    advantages = rng.normal(size=len(ids))
    leaf = torch.tensor(new, requires_grad=True)
    shown = mask[:, n:]

    def tail(logits):
        return token_logs(logits, ids, mask)[:, n - 1 :]

    trainer = Stand(
        model=SimpleNamespace(training=False), accelerator=Same(), beta=beta, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, importance_sampling_level="token", loss_type="bnpo", epsilon_low=0.2,
        epsilon_high=0.2, args=SimpleNamespace(delta=None, use_bias_correction_kl=False), pad_token_id=0,
        _get_per_token_logps_and_entropies=lambda *_, **__: (tail(leaf), torch.zeros(shown.shape), None),
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.tensor(ids[:, :n]), "prompt_mask": torch.ones(len(ids), n),
        "completion_ids": torch.tensor(ids[:, n:]), "completion_mask": torch.tensor(shown).long(),
        "advantages": torch.tensor(advantages), "old_per_token_logps": tail(torch.tensor(before)),
        "ref_per_token_logps": tail(torch.tensor(reference)), "num_items_in_batch": torch.tensor(1.0),
    }  # fmt: skip
    loss = _loss_of(trl.GRPOTrainer._compute_loss, trainer, None, inputs)
    (gradient,) = torch.autograd.grad(loss, leaf)

    def logs(logits):
        return token_log_probabilities(lambda _: logits[:, :-1], ids) * mask[:, 1:]

    def ours(logits):
        ratio = exp(logs(logits) - value_of(logs(before)))
        gain = clipped_objective(ratio, np.repeat(advantages[:, None], mask.shape[1] - 1, axis=1), 0.2)
        return ((beta * k3(logs(logits), value_of(logs(reference))) - gain) * mask[:, 1:]).sum() / mask.sum()

    np.testing.assert_allclose(float(ours(new)), loss.item(), **CLOSE)
    np.testing.assert_allclose(grad(ours)(new), gradient.numpy(), **CLOSE)


def test_the_leave_one_out_mean_in_trl_words():
    rewards = np.random.default_rng(0).normal(size=(3, 4))
    grouped = torch.tensor(rewards)  # as RLOOTrainer writes it
    baselines = (grouped.sum(dim=1, keepdim=True) - grouped) / 3
    np.testing.assert_allclose(leave_one_out(rewards), (grouped - baselines).numpy(), **CLOSE)
