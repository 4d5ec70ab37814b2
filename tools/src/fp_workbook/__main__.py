"""`python -m fp_workbook` is the command `fp`."""

from fp_workbook.cli import main

main()
