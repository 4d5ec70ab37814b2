r"""
Stage 10 of 10: learning from preferences.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

A language model imitates its training text, the good and the bad of it alike. People can seldom write the perfect
answer, but they can say which of two is better. How does a heap of such comparisons become a gradient, and what keeps
a model from learning to please the measure instead of the people?

## The sections

| section | what it will hold |
| --- | --- |
| `preferences` | Pairs of answers, and the log-probability of an answer given its prompt |
| `reward` | A score fitted to comparisons |
| `policy_gradient` | Climbing an expectation by sampling from it |
| `ppo` | Many steps on one batch of samples, without walking away from them |
| `grpo` | The same with a group of answers as its own baseline |
| `dpo` | Preferences without a reward model and without sampling |
| `exact` | A world small enough to list, in which every expectation is a finite sum |
| `hacking` | What happens when the measure becomes the target |

## What it will prove

- The policy that maximises $\mathbb{E}_\pi[r] - \beta\,\mathrm{KL}(\pi \,\|\, \pi_0)$ is
  $\pi(y) \propto \pi_0(y)\, e^{r(y)/\beta}$, and it is the only one.
- Solved for $r$ and put into the model of Bradley and Terry, the partition function cancels: what remains is a loss on
  the policy alone. Its gradient, and what its two factors mean.
- The likelihood of comparisons is concave in the scores, and where the comparisons connect all answers the
  scores are determined up to a constant.
- The policy-gradient theorem; a baseline that does not depend on the action changes the variance, never the mean.
- The gradient of PPO's clipped objective in all four cases of ratio and advantage.

In the small world of `exact` the optimum is known to the last digit, so each method can be asked whether it arrives
there.

## What it will need and add

The transformer of stage 6 and its fine-tuning from stage 9, the tokenizers of stage 7, the divergences of stage 1.
"""

__all__: list[str] = []
__version__ = "0.1.0"
