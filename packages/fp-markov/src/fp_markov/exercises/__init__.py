"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for code that the chapter derives (implement), two for
more than it says (challenge), and the last is a project. `fp start markov` writes a file for each into
`./exercises/markov/`, with the question and an empty function; nothing that is already there is overwritten.
`fp check markov/05` grades the fifth on your machine and says what was expected and what came. `fp hint markov/05`
gives one hint at a time, `fp solution markov/05` the model answer after yours has passed.
"""

__all__ = [
    "e01_surprisal",
    "e02_choosing_the_order",
    "e03_temperature",
    "e04_context_explosion",
    "e05_trigram",
    "e06_perplexity",
    "e07_add_k",
    "e08_interpolation",
    "e09_held_out_weights",
    "e10_corpus_analysis",
    "e11_best_model_under_a_budget",
]
