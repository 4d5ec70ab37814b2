"""
Exercises of this chapter, one file each.

One asks for a prediction before anything runs (concept), one for code that the chapter derives (implement), one for
more than it says (challenge), and the last is a project. `fp start align` writes a file for each into
`./exercises/align/`, with the question and an empty function; nothing that is already there is overwritten. `fp check
align/02` grades the second on your machine and says what was expected and what came. `fp hint align/02` gives one hint
at a time, `fp solution align/02` the model answer after yours has passed.
"""

__all__ = ["e01_beta", "e02_bradley_terry", "e03_advantages", "e04_project_optimum"]
