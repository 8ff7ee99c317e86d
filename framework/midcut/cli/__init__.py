"""The command `midcut`: `main` is its entry point, `VERBS` lists its verbs."""

from midcut.cli.main import VERBS, main

__all__ = ["VERBS", "main"]
