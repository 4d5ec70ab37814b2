"""A stage with one exercise, for the tests of the grader."""
