r"""
Common mistakes: twelve ways to align a model to something else.

A wrong sign in a training loop makes the loss rise, and one sees it. A wrong mask, a reference that moves, a reward
that lies: with these the curves look as they should, and the model learns something that nobody wanted. Each example
below makes one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_align.evaluation`.

>>> import numpy as np
>>> from fp_align.dpo import DPO
>>> from fp_align.evaluation import wilson
>>> from fp_align.exact import World, all_responses
>>> from fp_align.preferences import Preference, padded, sequence_log_probabilities, token_log_probabilities
>>> from fp_autograd.functional import grad
>>> from fp_autograd.rules import exp, log_softmax, softmax
>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> config = TransformerConfig.llama(vocab_size=3, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> def made(seed=0):
...     return Transformer(config, rng=np.random.default_rng(seed), dtype=np.float64).eval()
>>> model, prompt = made(), (1, 2, 2)
>>> responses = all_responses(3, 2, stop=0)
>>> ids, mask = padded([prompt] * len(responses), responses)
>>> def total(log_probabilities):
...     return np.exp(log_probabilities.data).sum().round(3).item()

## Which tokens count

**1. The prompt counted.** Then a response is the better the more probable its question was, and fine-tuning spends
itself on learning questions. The check: the probabilities of all responses to a prompt sum to one
(`align.response-tree`).

>>> everything = np.concatenate([np.zeros((len(ids), 1), bool), mask[:, 1:] | (np.arange(1, ids.shape[1]) < 3)], axis=1)
>>> [total(sequence_log_probabilities(model, ids, m)) == 1 for m in (everything, mask)]
[False, True]

**2. Padding counted.** A short response is charged for what fills it up. The check is the same sum, or a batch with
more padding, which must change nothing.

>>> total(token_log_probabilities(model, ids)[:, 2:].sum(axis=1)) == 1
False
>>> wider, wider_mask = padded([prompt] * 2, [responses[0], (1,) * 5])
>>> one, other = (sequence_log_probabilities(model, i, m).data[0] for i, m in ((ids, mask), (wider, wider_mask)))
>>> bool(np.isclose(one, other))
True

**3. The stop left out.** Cut off the token that ends a response, and ending costs nothing: the model is never taught to
stop, and short responses seem more probable than they are. The check is the sum again.

>>> last = mask & (ids != 0)
>>> ended = [y for y in responses if y != (0,)]
>>> ended_ids, ended_mask = padded([prompt] * len(ended), ended)
>>> total(sequence_log_probabilities(model, ended_ids, ended_mask & (ended_ids != 0))) > 1
True

**4. Means for sums.** Divided by its length, a log-probability is not one any more: what is learned is no longer tied
to the optimum of `align.kl-optimum`, and length itself is rewarded or punished. That may be wanted (SimPO does it), but
not by accident.

>>> total(sequence_log_probabilities(model, ids, mask) / mask.sum(axis=1)) == 1
False

## The reference

**5. A reference that is the policy.** Python assigns names and copies nothing. The reference moves along, all margins
are zero, and the loss stays at $\ln 2 = 0.693$. The pull is never satisfied, and the policy walks away without end.
`DPO` and `PPO` refuse the policy itself, but cannot see it inside a function. The check is the loss of the second step.

>>> verdicts = [Preference((1,), (2,), (0,))]
>>> for policy, reference in ((one := made(), lambda ids: one(ids)), (made(), made())):
...     trainer = DPO(policy, reference, beta=0.5, lr=0.01)
...     print([round(trainer.step(verdicts)["loss"], 3) for _ in range(3)][1:])
[0.693, 0.693]
[0.649, 0.611]

**6. The sign of the divergence.** With $+\beta$ the policy is paid for walking away. Rewards rise all the same, and
faster. The check: without rewards, what is likelier than under the reference must have a negative advantage, so that it
comes back.

>>> reference, policy = np.array([[0.5, 0.5]]), np.array([[0.8, 0.2]])
>>> log_ratio = np.log(policy / reference)
>>> for f in (0.1 * log_ratio, -0.1 * log_ratio):
...     advantage = f - (policy * f).sum()
...     print(bool(advantage[0, 0] < 0))
False
True

**7. An estimate of the divergence as a loss.** $k_1$ has the right mean and the wrong gradient, none at all on average
(`align.kl-loss-gradients`): the penalty is on the screen and pulls at nothing. The check is a small world, summed.

>>> q, z = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.0, -1.0])
>>> p = softmax(z)
>>> def k1_of_samples(z):  # the samples come from p, which is held fixed
...     return (p * (log_softmax(z) - np.log(q))).sum()
>>> def k2_of_samples(z):
...     return (p * 0.5 * (log_softmax(z) - np.log(q)) ** 2).sum()
>>> def divergence(z):
...     return (softmax(z) * (log_softmax(z) - np.log(q))).sum()
>>> [bool(np.allclose(grad(f)(z), grad(divergence)(z))) for f in (k1_of_samples, k2_of_samples)]
[False, True]
>>> bool(np.allclose(grad(k1_of_samples)(z), 0))
True

## Old samples

**8. Old log-probabilities computed again.** If $\ln \pi_{\text{old}}$ is taken from the policy as it is now, every
ratio is one: nothing is ever clipped, and the policy walks away from its samples. Not held fixed, it even cancels in
the gradient. The check: in the second pass over a batch some ratios differ from one.

>>> A, old = np.array([1.0, -1.0, 0.5]), np.log(p)
>>> def recomputed(z):
...     return (p * exp(log_softmax(z) - log_softmax(z)) * A).sum()
>>> def kept(z):
...     return (p * exp(log_softmax(z) - old) * A).sum()
>>> [bool(np.abs(grad(f)(z)).max() > 0.01) for f in (recomputed, kept)]
[False, True]

**9. Clipping without the minimum.** A good token that has become too rare lies outside the interval, where the clipped
product is flat: it is never pulled back. The check is the slope in all four cases (`align.ppo-clip`).

>>> from fp_align.ppo import clipped_objective
>>> def slopes(f):
...     ratios, A = np.array([0.5, 1.5, 0.5, 1.5]), np.array([1.0, 1.0, -1.0, -1.0])
...     return ((f(ratios + 1e-6, A) - f(ratios - 1e-6, A)) / 2e-6).round(3).tolist()
>>> slopes(lambda ratio, A: np.clip(ratio, 0.8, 1.2) * A)
[0.0, 0.0, 0.0, 0.0]
>>> slopes(lambda ratio, A: clipped_objective(ratio, A, 0.2))
[1.0, 0.0, 0.0, -1.0]

**10. Advantages whitened response by response.** Each response then has the mean zero, and which of them was better is
gone. Over the whole batch only the batch's mean goes. The check: the better response has the larger sum.

>>> batch = np.array([[0.0, 1.0], [10.0, 11.0]])
>>> for axis in (1, None):
...     white = (batch - batch.mean(axis=axis, keepdims=True)) / batch.std(axis=axis, keepdims=True)
...     print(bool(white[1].sum() > white[0].sum() + 0.1))
False
True

## What is reported

**11. The learned reward as the result.** It was fitted where there were comparisons. A response that the reference
hardly ever gives was never compared, and if the fit is too high there, the policy finds it: the learned reward rises,
and what it stands for falls. The check is a judge who had no part in training, and the divergence beside it.

>>> reference = np.array([[0.5, 0.499, 0.001]])
>>> gold, learned = np.array([[0.0, 1.0, -5.0]]), np.array([[0.0, 1.0, 3.0]])
>>> for beta in (2.0, 0.5, 0.25):
...     policy = World(reference, learned).optimum(beta)
...     print([round(World(reference, r).expected_reward(policy), 2) for r in (learned, gold)])
[0.63, 0.6]
[1.07, 0.36]
[2.71, -4.13]

**12. A win rate without an interval.** Sixty wins of a hundred sound like progress, and so do thirty of fifty. The
check is whether one half lies in the interval.

>>> for n in (50, 100, 400):
...     print(n, [round(bound, 2) for bound in wilson(0.6, n)])
50 [0.46, 0.72]
100 [0.5, 0.69]
400 [0.55, 0.65]

## In practice

Most of these are seen by three habits. Sum over everything in a world small enough to list: probabilities to one, the
objective to its known optimum. Look at the first step, where the policy is the reference: the loss is $\ln 2$, the
divergence zero, every ratio one; and at the second, where none of these may hold. And read what the model writes. A
curve that rises is a reason to look, not to stop looking.
"""

__all__: list[str] = []
