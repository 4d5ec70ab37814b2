"""
Exercises of this chapter, one file each.

One asks for predictions before anything runs (concept), one for code that the chapter derives (implement), one for more
than it says (challenge), and the last is a project. `fp start peft` writes a file for each into `./exercises/peft/`,
with the question and an empty function; nothing that is already there is overwritten. `fp check peft/02` grades the
second on your machine and says what was expected and what came. `fp hint peft/02` gives one hint at a time, `fp
solution peft/02` the model answer after yours has passed.
"""

__all__ = [
    "e01_counting_numbers",
    "e02_lora_backward",
    "e03_prefix_share",
    "e04_project_recover_update",
]
