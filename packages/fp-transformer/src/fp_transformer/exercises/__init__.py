"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for code that the chapter derives (implement), two for
more than it says (challenge), and the last is a project, for which all parts of the chapter are needed. `fp start
transformer` writes a file for each into `./exercises/transformer/`, with the question and an empty function; nothing
that is already there is overwritten. `fp check transformer/05` grades the fifth on your machine and says what was
expected and what came. `fp hint transformer/05` gives one hint at a time, `fp solution transformer/05` the model answer
after yours has passed.
"""

__all__ = [
    "e01_residuals",
    "e02_layer_norm",
    "e03_rms_norm_backward",
    "e04_block",
    "e05_feedforward",
    "e06_stacking",
    "e07_parameter_counting",
    "e08_rope_in_a_model",
    "e09_swiglu",
    "e10_scaling_fit",
    "e11_project_transformer",
]
