"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for the backward of an operation that the chapter derives
(implement), two for more than it says (challenge), and the last is a project: an engine of your own that learns XOR.
`fp start autograd` writes a file for each into `./exercises/autograd/`, with the question and an empty function;
nothing that is already there is overwritten. `fp check autograd/05` grades the fifth on your machine and says what was
expected and what came. `fp hint autograd/05` gives one hint at a time, `fp solution autograd/05` the model answer after
yours has passed.
"""

__all__ = [
    "e01_division",
    "e02_power",
    "e03_sigmoid",
    "e04_topological_order",
    "e05_gradient_flow",
    "e06_forward_mode",
    "e07_gradient_checker",
    "e08_broadcasting",
    "e09_matmul",
    "e10_two_layer_net",
    "e11_learn_xor",
]
