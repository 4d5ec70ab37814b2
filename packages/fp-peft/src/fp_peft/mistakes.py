r"""
Common mistakes: eleven ways to fine-tune that almost work.

A fine-tuning with a mistake in it still lowers the loss: the base is good, and a little of everything helps. Each
example below makes one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_peft.finetune`.

>>> import numpy as np
>>> from fp_neural.layers import Linear
>>> from fp_peft import Adapter, LoRA, PrefixTuning, lora, merge, unmerge, wrap
>>> from fp_peft.data import IGNORE, batch, completion_example
>>> from fp_transformer import Transformer, TransformerConfig
>>> rng = np.random.default_rng(0)
>>> sizes = dict(vocab_size=300, context_length=16, n_layers=2, n_heads=2, d_model=8)
>>> model = Transformer(TransformerConfig.llama(**sizes), rng=rng, dtype=np.float64).eval()
>>> ids = np.array([[3, 1, 4, 1, 5, 9]])

## Beginning

**1. Both factors at zero.** Nothing is disturbed, and nothing is ever learned (`peft.one-zero-factor`). The check is
the gradient of the first step: of the two factors one has to have some.

>>> layer = lora.LoRALinear(Linear(6, 5, rng=rng).freeze(), 2, 1.0, rng=None)  # rng=None leaves A at zero too
>>> (layer(np.ones((3, 6), np.float32)) ** 2).sum().backward()
>>> bool(np.any(layer.lora_A.grad) or np.any(layer.lora_B.grad))
False

**2. Neither at zero.** The model starts with a random change of every matrix, and the first steps go into undoing it.
The check is exact: before the first step, tuned and base have the same scores, bit for bit (`peft.lora-identity`).

>>> tuned = wrap(model, LoRA(2, 4), rng=np.random.default_rng(1))
>>> same = [bool((tuned(ids).data == model(ids).data).all())]
>>> tuned.blocks[0].attention.q_proj.lora_B.data[...] = 0.01 * rng.normal(size=(8, 2))
>>> same + [bool((tuned(ids).data == model(ids).data).all())]
[True, False]

**3. The scale forgotten.** The update is $\frac{\alpha}{r} B A$. Left out when merging, the merged model is another
one. The check: merged and unmerged agree (`peft.merge`).

>>> part = tuned.blocks[0].attention.q_proj
>>> x = rng.normal(size=(4, 8))
>>> change = part.lora_B.data @ part.lora_A.data
>>> [bool(np.allclose(x @ (part.weight.data + s * change).T, part(x).data)) for s in (1.0, part.scale)]
[False, True]

## Gradients

**4. The input's gradient through the frozen path alone.** Factors above and below are trained together, and those below
get a wrong gradient (`peft.lora-gradient`). No check of $\bar A$ and $\bar B$ sees it; one of $\bar X$ does.

>>> from fp_autograd.functional import grad
>>> g = rng.normal(size=(4, 8))
>>> whole = grad(lambda x: (part(x) * g).sum())(x).data
>>> [bool(np.allclose(whole, dx)) for dx in (g @ part.weight.data, g @ (part.weight.data + part.update()))]
[False, True]

**5. Frozen, but still in the optimizer.** A weight without gradient that is decayed shrinks at every step, and with it
the base that all adapters share. The check is to compare the base after a few steps, bit for bit; here the optimizer
gets what requires a gradient and nothing else.

>>> sorted({name.rpartition(".")[2] for name in tuned.trainable()})
['lora_A', 'lora_B']

**6. Everything frozen.** `freeze` after `wrap` freezes the factors too, and the loss leads to no parameter. The check
is to count what is trained.

>>> tuned.freeze().n_trainable, tuned.unfreeze().n_trainable == tuned.n_parameters
(0, True)

The second is the opposite: `unfreeze` trains the base as well.

## Data

**7. The prompt is learned too.** The loss is lower and means something else: a mean over easy tokens and the ones that
matter. The check is the number of targets that count (`peft.masked-loss`).

>>> from fp_tokenize import ByteTokenizer
>>> example = completion_example("What is two and two?", " 4", ByteTokenizer())
>>> _, targets = batch([example])
>>> len(example.ids), int((targets != IGNORE).sum())
(22, 2)

**8. The mask shifted by one.** Targets are the *next* tokens: the first token of the answer is predicted at the last
position of the prompt. Masked by the flags of the tokens read, it is lost. The check is to decode what counts.

>>> flags = example.learned
>>> [bytes(example.ids[1:][f].tolist()).decode() for f in (flags[:-1], flags[1:])]
['4', ' 4']

## Use

**9. Unmerged by subtraction, and thought exact.** It is within rounding (`peft.merge-rounding`), and small weights with
large updates lose their digits. The check is equality, and it fails unless the originals were kept.

>>> single = Transformer(TransformerConfig.llama(**sizes), rng=np.random.default_rng(0)).eval()
>>> for keep in (False, True):
...     small = wrap(single, LoRA(2, 4), rng=np.random.default_rng(1))
...     for block in small.blocks:
...         block.attention.q_proj.lora_B.data[...] = 1
...     before = small.blocks[0].attention.q_proj.weight.data
...     merge(small, keep=keep)
...     unmerge(small)
...     print(bool((small.blocks[0].attention.q_proj.weight.data == before).all()))
False
True

**10. A prefix thought to cost no context.** Its positions are taken from those of the text. The check is a text as long
as the context.

>>> prefixed = wrap(model, PrefixTuning(4), rng=rng)
>>> try:
...     prefixed(np.zeros((1, 16), int))
... except ValueError as error:
...     print(str(error).partition(":")[0])
a prefix of 4 leaves 12 of the model's positions for the text, got 16

**11. What bends is merged.** No matrix does what an adapter does (`peft.adapter-not-linear`).

>>> try:
...     merge(wrap(model, Adapter(2), rng=rng))
... except ValueError as error:
...     print(str(error).partition(";")[0])
only the low-rank updates of LoRA are changes of weights and can be merged
"""

__all__: list[str] = []
