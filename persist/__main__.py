"""``python -m persist`` is the command line."""

from persist.cli.main import main

main(prog_name="persist")
