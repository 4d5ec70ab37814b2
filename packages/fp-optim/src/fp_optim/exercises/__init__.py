"""
Exercises of this chapter, one file each.

Four ask for a prediction before anything runs (concept), four for code that the chapter derives (implement), two for
more than it says (challenge), and the last is a project: an optimizer of your own, in a valley that was made to stop
it. `fp start optim` writes a file for each into `./exercises/optim/`, with the question and an empty function; nothing
that is already there is overwritten. `fp check optim/05` grades the fifth on your machine and says what was expected
and what came. `fp hint optim/05` gives one hint at a time, `fp solution optim/05` the model answer after yours has
passed.
"""

__all__ = [
    "e01_critical_points",
    "e02_step_size_stability",
    "e03_momentum",
    "e04_adam",
    "e05_adamw",
    "e06_schedules",
    "e07_clipping",
    "e08_comparison",
    "e09_lr_finder",
    "e10_batch_scaling",
    "e11_project_rosenbrock",
]
