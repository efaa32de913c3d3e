"""`python -m colotrace` is the colotrace command."""

from colotrace.cli import main

main(prog_name="colotrace")
