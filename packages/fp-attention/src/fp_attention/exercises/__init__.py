"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for code that the chapter derives (implement), two for
more than it says (challenge), and the last is a project: attention, with every gradient by hand, that learns to recall.
`fp start attention` writes a file for each into `./exercises/attention/`, with the question and an empty function;
nothing that is already there is overwritten. `fp check attention/05` grades the fifth on your machine and says what was
expected and what came. `fp hint attention/05` gives one hint at a time, `fp solution attention/05` the model answer
after yours has passed.
"""

__all__ = [
    "e01_attention_by_hand",
    "e02_scaling",
    "e03_causal_mask",
    "e04_multi_head_shapes",
    "e05_attention_backward",
    "e06_sinusoidal_shift",
    "e07_rope_relativity",
    "e08_kv_cache",
    "e09_alibi",
    "e10_online_softmax",
    "e11_project_recall",
]
