"""midcut: cut a network between an edge server and a stateless cloud, and keep moving the cut.

What a plugin package needs to declare itself is here and imports in milliseconds: `Component` and
`hookimpl`. Everything heavier is a public module of its own: `midcut.types`, `midcut.protocols`,
`midcut.errors`, `midcut.planning`, `midcut.profiles`, `midcut.traces`, `midcut.testing`.
"""

from midcut.component import Component, Kind
from midcut.hookspecs import hookimpl

__all__ = ["Component", "Kind", "hookimpl"]
