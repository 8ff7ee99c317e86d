"""Changes the codec of a request for a cloud that does not take it, as after a failover to an older one."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import replace

from midcut.chains import accepts
from midcut.edge.picture_input import FileRequest
from midcut.errors import CloudRefusedError, WireError
from midcut.types import TailRequest
from midcut.wire.oip import FILE, RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.types import HeldModel


class CodecAdapter:
    """Gives a request the first exact codec that a cloud takes, where it does not take the planned one.

    Planning follows the cloud that it last asked for its models, and a request may reach another one.

    Args:
        exact_codecs: those that change no payload, in the order of the config.
        digests: format -> digest of what this edge makes of reference pictures; empty if it sends no files.
        on_adapting: called for each request that is changed, so that planning learns of the cloud in use.
    """

    def __init__(
        self, exact_codecs: Sequence[str], digests: Mapping[str, str], on_adapting: Callable[[], None]
    ) -> None:
        self._exact_codecs = [name for name in exact_codecs if name != FILE]
        self._digests, self._on_adapting = digests, on_adapting

    def takes(self, held: HeldModel, request: TailRequest) -> bool:
        """Whether a cloud takes a request as it is."""
        if not isinstance(request, FileRequest) or request.picture is None:
            return accepts(held, request.codec)
        digest = self._digests.get(request.picture.file_format)
        return accepts(held, FILE) and digest is not None and held.pictures.get(request.picture.file_format) == digest

    async def adapt(self, held: HeldModel, request: TailRequest) -> TailRequest:
        """The request with another codec; the file of a picture is decoded here.

        Raises:
            CloudRefusedError: the picture cannot be decoded, which is no fault of the cloud.
        """
        self._on_adapting()
        codec = next((name for name in self._exact_codecs if accepts(held, name)), RAW)
        if not isinstance(request, FileRequest) or request.picture is None:
            return replace(request, codec=codec)
        try:
            value = await request.picture.tensor()
        except WireError as error:
            raise CloudRefusedError(str(error), http_status=HTTPStatus.BAD_REQUEST) from None
        return TailRequest(
            request.model,
            request.cut,
            request.fingerprint,
            (value,),
            request.request_id,
            codec=codec,
            timeout_s=request.timeout_s,
            names=request.names,
            reply_limit_bytes=request.reply_limit_bytes,
        )
