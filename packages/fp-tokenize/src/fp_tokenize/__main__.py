"""`python -m fp_tokenize` is the command `fp-tokenize`."""

from fp_tokenize.cli import main

main()
