r"""
Stage 10 of 10: learning from preferences.

A language model imitates its training text, the good and the bad of it alike. People can seldom write the perfect
answer, but they can say which of two is better. How does a heap of such comparisons become a gradient, and what keeps a
model from learning to please the measure instead of the people? This chapter derives the best policy at a given
distance from where it started, three ways to get there, and the numbers by which one sees whether it was worth it.

>>> import numpy as np
>>> from fp_align import World, dpo_loss, wilson
>>> world = World(reference=np.array([[0.7, 0.2, 0.1]]), rewards=np.array([[0.0, 1.0, 2.0]]))
>>> world.optimum(beta=1.0).round(2)
array([[0.35, 0.27, 0.37]])
>>> [round(bound, 2) for bound in wilson(0.6, 100)]
[0.5, 0.69]

## The chapter as a problem

**Understand.** *What is unknown?* A policy that earns much and stays near the one it started from. *What is given?* A
model, prompts, and verdicts about pairs of answers. *What would count as an answer?* In a small world, the optimum to
two digits; in a large one, games that are won, at a distance and a price that are known.

**Plan.** *Do you know a related problem?* The divergence and its minimum (chapter 1), descent along a gradient
(chapter 4). *Could you solve a smaller problem?* List all answers: then every average is a sum, and the optimum has a
formula. *Could you look at it backwards?* Solve the formula for the reward, and the policy is its own reward model.

**Execute.** The optimum. Log-probabilities with the right mask. From verdicts to scores; from scores to a policy by
sampling; from verdicts to a policy without either. Then all of it on a model that speaks.

**Reflect.** *Can you check the result?* Each method against the formula, each gradient against differences and against
PyTorch's. *Can you see it at a glance?* Read what the model wrote before and after. *Is the answer to the question that
was asked?* A learned reward that rises is not: compare it with a judge who had no part in it.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_align.exact` | What is the best policy, in a world that can be listed? |
| `fp_align.preferences` | What does a comparison say, and how probable is an answer? |
| `fp_align.kl` | How is a distance estimated from samples? |
| `fp_align.reward` | How do comparisons become a score? |
| `fp_align.dpo` | … or a policy, without one? |
| `fp_align.policy_gradient` | How does one climb an average by sampling from it? |
| `fp_align.ppo` | … with several steps for each sample? |
| `fp_align.sft` | How does a model learn to answer at all? |
| `fp_align.task` | What is a good answer, if a program can say it? |
| `fp_align.evaluation` | Is it better, by how much, and at what cost? |
| `fp_align.directories` | What goes into a step, and what comes out? |
| `fp_align.pipeline` | What does each step buy? |
| `fp_align.cli` | How is it started? |
| `fp_align.mistakes` | What goes wrong without an error? |
| `fp_align.exercises` | Can you do it yourself? |

You need chapters 1, 2, 4, 6 and 7. `fp-align pipeline` goes the whole way on a model of `fp-capstone train`, in a few
minutes.

## In modern language models

Every assistant has gone through these steps, with people's verdicts, a larger model's, or programs that check answers
in place of the judge here. The reward model and PPO of InstructGPT (2022) are still used; DPO (2023) is what most open
models take, because it needs neither; reinforcement learning against checkable answers, with groups of samples in place
of a value model, is what makes models reason. All of them pay for distance from where they started, or stop early.

**Left out** so far: groups of samples as their own baseline (GRPO), losses that know no pairs (KTO) or no reference
(ORPO, SimPO), verdicts by models (RLAIF), reward models of single steps, and a section on over-optimisation by itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_align.directories import open_model as open_model
    from fp_align.directories import open_reward as open_reward
    from fp_align.directories import save_model as save_model
    from fp_align.directories import save_reward as save_reward
    from fp_align.dpo import DPO as DPO
    from fp_align.dpo import dpo_loss as dpo_loss
    from fp_align.dpo import implicit_rewards as implicit_rewards
    from fp_align.evaluation import divergences as divergences
    from fp_align.evaluation import wilson as wilson
    from fp_align.exact import World as World
    from fp_align.exact import total_variation as total_variation
    from fp_align.kl import k1 as k1
    from fp_align.kl import k2 as k2
    from fp_align.kl import k3 as k3
    from fp_align.policy_gradient import leave_one_out as leave_one_out
    from fp_align.policy_gradient import reinforce_loss as reinforce_loss
    from fp_align.ppo import PPO as PPO
    from fp_align.ppo import ValueModel as ValueModel
    from fp_align.ppo import clipped_objective as clipped_objective
    from fp_align.ppo import gae as gae
    from fp_align.preferences import Preference as Preference
    from fp_align.preferences import sample_responses as sample_responses
    from fp_align.preferences import sequence_log_probabilities as sequence_log_probabilities
    from fp_align.reward import RewardModel as RewardModel
    from fp_align.reward import bradley_terry_loss as bradley_terry_loss
    from fp_align.reward import fit_scores as fit_scores
    from fp_align.sft import fine_tune as fine_tune
    from fp_align.sft import sft_loss as sft_loss

__all__ = [  # sections, in reading order
    "exact",
    "preferences",
    "kl",
    "reward",
    "dpo",
    "policy_gradient",
    "ppo",
    "sft",
    "task",
    "evaluation",
    "directories",
    "pipeline",
    "cli",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "World": "exact",
    "total_variation": "exact",
    "Preference": "preferences",
    "sequence_log_probabilities": "preferences",
    "sample_responses": "preferences",
    "k1": "kl",
    "k2": "kl",
    "k3": "kl",
    "RewardModel": "reward",
    "bradley_terry_loss": "reward",
    "fit_scores": "reward",
    "DPO": "dpo",
    "dpo_loss": "dpo",
    "implicit_rewards": "dpo",
    "reinforce_loss": "policy_gradient",
    "leave_one_out": "policy_gradient",
    "PPO": "ppo",
    "ValueModel": "ppo",
    "clipped_objective": "ppo",
    "gae": "ppo",
    "fine_tune": "sft",
    "sft_loss": "sft",
    "wilson": "evaluation",
    "divergences": "evaluation",
    "open_model": "directories",
    "save_model": "directories",
    "open_reward": "directories",
    "save_reward": "directories",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
