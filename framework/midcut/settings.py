"""The typed settings of the core, for callers of the parts below `midcut.cut`, such as `midcut.graph.partition`.

They are defined in `midcut.config.settings`, which the core itself imports.
"""

from midcut.config.settings import *  # noqa: F403 - the same names
from midcut.config.settings import __all__ as __all__  # noqa: PLC0414 - re-exported
