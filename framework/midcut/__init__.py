"""midcut: cut a network between an edge server and a stateless cloud, and keep moving the cut while it runs.

A plugin package declares itself with `Component` and `hookimpl`, which are here and import in milliseconds.

The rule of the house: a file directly in `midcut` is public contract (`component`, `errors`, `hookspecs`, `pictures`,
`protocols`, `settings`, `tensors`, `terms`, `traces`, `types`), a folder is a room. A plugin may import the public
files, `midcut.wire`, the checks of `midcut.planning`, `midcut.profiles`, `midcut.results` and `midcut.testing`,
nothing else; `lint-imports` refuses the rest, and every import between rooms that points upwards. The rooms, from the
lowest to the highest:

    results      the files that runs leave behind: each format defined once, for its writer and its reader
    proxies      TCP proxies for experiments: an emulated slow link, and one that breaks connections
    wire         what travels between edge and cloud: messages, their sizes, TCP figures, credentials
    config       from plugins and YAML to typed settings and built components
    planning     placements of a cut table, and a planner's decision among them
    serving      what the HTTP servers of edge and cloud share
    graph        capturing a model, cutting it anywhere, and verifying each cut
    profiles     measured seconds per node, and the clock laws fitted to them
    simulation   planners and predictors evaluated on many observations without sockets
    testing      contract suites and fakes for authors of plugins
    edge         the edge server: telemetry, planning loop, head of the network, calibration, choice of a cloud
    cloud        the cloud server: tails of the networks it holds
    reporting    pages, figures and tables made of result files
    api          midcut from Python: cut, plan, simulate, Edge, Cloud, Client
    cli          the command `midcut`: one module a verb
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

from midcut.component import Component, Kind
from midcut.hookspecs import hookimpl

if TYPE_CHECKING:
    from midcut.api.client import Client
    from midcut.api.cutting import cut
    from midcut.api.planning import plan
    from midcut.api.servers import Cloud, Edge
    from midcut.api.simulating import simulate

__all__ = ["Client", "Cloud", "Component", "Edge", "Kind", "cut", "hookimpl", "plan", "simulate"]

_HOMES: Final = {
    "Client": "client",
    "Cloud": "servers",
    "Edge": "servers",
    "cut": "cutting",
    "plan": "planning",
    "simulate": "simulating",
}


def __getattr__(name: str) -> Any:
    """The names of `midcut.api`, imported when they are first used: a plugin's declaration must stay light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"midcut.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'midcut' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
