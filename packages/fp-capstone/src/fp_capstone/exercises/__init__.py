"""
Exercises of this chapter, one file each: the project of the whole book.

Nine ask for one backward pass each, from the linear map to the model as a whole. The tenth, the project, puts all nine
in place of ours: our trainer trains our model with *your* gradients, on real text, and the losses must be those that
our own functions reach, step by step. Derive before you look: the sections of this chapter hold the answers.

`fp start capstone` writes a file for each into `./exercises/capstone/`, with the question and an empty function;
nothing that is already there is overwritten. `fp check capstone` grades all of them in order, `fp check capstone/05`
the fifth, and says what was expected and what came. `fp hint capstone/05` gives one hint at a time, `fp solution
capstone/05` the model answer after yours has passed.
"""

__all__ = [
    "e01_linear",
    "e02_embedding",
    "e03_cross_entropy",
    "e04_norms",
    "e05_activations",
    "e06_rotary",
    "e07_attention",
    "e08_stream",
    "e09_tied_model",
    "e10_project_train_your_own",
]
