"""Runs the command `midcut` as `python -m midcut.cli`."""

from midcut.cli.main import main

main()
