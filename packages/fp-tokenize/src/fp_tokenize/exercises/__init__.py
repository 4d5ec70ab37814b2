"""
Exercises of this chapter, one file each.

Three ask for a prediction before anything runs (concept), seven for code that the chapter derives (implement), one for
more than it says (challenge), and the last is a project: match a given tokenizer exactly. `fp start tokenize` writes a
file for each into `./exercises/tokenize/`, with the question and an empty function; nothing that is already there is
overwritten. `fp check tokenize/05` grades the fifth on your machine and says what was expected and what came.
`fp hint tokenize/05` gives one hint at a time, `fp solution tokenize/05` the model answer after yours has passed.
"""

__all__ = [
    "e01_pair_counting",
    "e02_merging",
    "e03_bpe_from_scratch",
    "e04_encoding_order",
    "e05_vocabulary_analysis",
    "e06_wordpiece_score",
    "e07_greedy_matching",
    "e08_unigram_viterbi",
    "e09_expectation_maximization",
    "e10_fertility_across_languages",
    "e11_unicode_traps",
    "e12_project_match_a_tokenizer",
]
