"""At start, the edge asks the cloud what it holds: planning for a cloud with other weights is planning in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

if TYPE_CHECKING:
    from midcut.types import CutTable

_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 16 * 1024 * 1024


class CloudAbsentError(Exception):
    """The cloud did not list its models; it may do so later."""


async def difference(cloud_url: str, table: CutTable) -> str:
    """Why the cloud cannot finish this model's inferences, `""` where it can.

    Raises:
        CloudAbsentError: nobody there, or not a midcut cloud.
    """
    held = await _listing(cloud_url.rstrip("/") + "/v1/models")
    fingerprint = held.get(table.model)
    if fingerprint is None:
        return f"the cloud does not hold model {table.model!r}; it holds: {', '.join(held) or 'none'}"
    if fingerprint != table.fingerprint:
        return (
            f"the cloud's model {table.model!r} is {fingerprint}, here it is {table.fingerprint}: "
            f"other {_what_differs(fingerprint, table)}"
        )
    return ""


def _what_differs(fingerprint: str, table: CutTable) -> str:
    graph, _, weights = fingerprint.partition("-")
    parts = (("graph or cuts", graph != table.graph), ("weights", weights != table.weights))
    differing = [name for name, differs in parts if differs]
    return " and ".join(differing) if differing else "format of fingerprints"


async def _listing(url: str) -> dict[str, str]:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            answer: Any = msgspec.json.decode(await response.content.read(_MAX_BYTES))
            return {str(model["name"]): str(model["fingerprint"]) for model in answer["models"]}
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CloudAbsentError(" ".join(str(error).split()) or f"no answer in {_TIMEOUT_S:g} s") from None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise CloudAbsentError(f"{url} does not list models as a midcut cloud does: {error}") from None
