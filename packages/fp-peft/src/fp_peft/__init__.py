r"""
Stage 9 of 10: fine-tuning with few parameters.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

To fine-tune a model in full is to store a whole new model, and during training several times that in gradients and
optimizer state. The change that a new task needs is often far simpler than the model it changes. How few numbers can
describe it, and what is lost?

## The sections

| section | what it will hold |
| --- | --- |
| `lora` | A weight matrix plus a product of two thin ones: training it, merging it, taking it out again |
| `adapters` | Small networks between the layers |
| `prefix` | Trained keys and values, and trained inputs, in front of the text |
| `quantize` | Frozen weights in few bits, and the error that this makes |
| `interchange` | Reading and writing the files that other libraries use |
| `finetune` | The whole way from a file of examples to a tuned model, with the prompt left out of the loss |

## What it will prove

- The gradients of a low-rank update $W + \frac{\alpha}{r} BA$ with respect to $A$, to $B$ and to the input; that it
  starts as exactly the model it was put into; and why one factor starts at zero but not both.
- A merged model and an unmerged one compute the same function.
- The truncated singular value decomposition is the best approximation of a given rank (Eckart, Young): what rank $r$
  can and cannot express.
- Attention with a trained prefix is a convex mixture of attention to the prefix and attention to the text, so a prefix
  can shift what a head reads but not rearrange what it reads from the text.

Then it is to be measured: a model moved to another text, each method against full fine-tuning with as many steps.

## What it will need and add

The transformer of stage 6, the tokenizers of stage 7, the optimizers of stage 4, the singular value decomposition of
stage 3.
"""

__all__: list[str] = []
__version__ = "0.1.0"
