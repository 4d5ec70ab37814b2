"""
Exercises of this chapter, one file each.

Four, one of each kind: questions to be answered with a pencil, a function to write, a harder one, and a project that
puts the chapter together. `fp start dynamics` writes a file for each into `./exercises/dynamics/`, with the question
and an empty function; nothing that is already there is overwritten. `fp check dynamics` grades all of them,
`fp check dynamics/02` the second, and says what was expected and what came. `fp hint dynamics/02` gives one hint at a
time, `fp solution dynamics/02` the model answer after yours has passed.
"""

__all__ = ["e01_reading_curves", "e02_unit_shares", "e03_batch_floor", "e04_project_watched_training"]
