"""``python -m pydisque``: the command line."""

from pydisque.cli import main

main(prog_name="pydisque")
