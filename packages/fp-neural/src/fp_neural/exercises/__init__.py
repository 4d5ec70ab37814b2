"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for code that the chapter derives (implement), two for
more than it says (challenge), and the last is a project: a language model of your own. `fp start neural` writes a file
for each into `./exercises/neural/`, with the question and an empty function; nothing that is already there is
overwritten. `fp check neural/05` grades the fifth on your machine and says what was expected and what came.
`fp hint neural/05` gives one hint at a time, `fp solution neural/05` the model answer after yours has passed.
"""

__all__ = [
    "e01_embedding_algebra",
    "e02_cross_entropy_by_hand",
    "e03_embedding",
    "e04_stable_log_softmax",
    "e05_initialization",
    "e06_dropout",
    "e07_ngram_comparison",
    "e08_two_layer_model",
    "e09_context_sweep",
    "e10_embedding_map",
    "e11_project_language_model",
]
