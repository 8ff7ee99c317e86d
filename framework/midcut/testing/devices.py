"""Contract suites for telemetry sources, executors, models and transports."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midcut.errors import CloudError, TelemetryError
from midcut.testing.fakes import installed_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import torch

    from midcut.protocols import Executor, Model, TelemetrySource, Transport
    from midcut.types import TailReply, TailRequest


class TelemetrySourceSuite:
    """The contract of `midcut.protocols.TelemetrySource`, for a source whose measurement works.

    Subclass it and implement `make`; `make_broken` lets the error be tested, too.
    """

    def make(self) -> TelemetrySource:
        raise NotImplementedError

    def test_a_read_gives_known_fields_with_finite_numbers(self) -> None:
        with closing(self.make()) as source:
            reading = source.read()
        assert set(reading) <= installed_fields()
        assert all(np.isfinite(value) and value >= 0 for value in reading.values())

    def test_its_interval_is_positive(self) -> None:
        with closing(self.make()) as source:
            assert source.interval_s > 0

    def test_it_can_be_read_again(self) -> None:
        with closing(self.make()) as source:
            source.read()
            source.read()

    def make_broken(self) -> TelemetrySource | None:
        """Make a source whose measurement fails; None where it cannot fail."""
        return None

    def test_a_failure_is_a_telemetry_error_of_one_line(self) -> None:
        source = self.make_broken()
        if source is None:
            pytest.skip("this source cannot fail")
        with closing(source), pytest.raises(TelemetryError) as caught:
            source.read()
        assert "\n" not in str(caught.value)


class ExecutorSuite:
    """The contract of `midcut.protocols.Executor`. Subclass it and implement `make`."""

    def make(self) -> Executor:
        raise NotImplementedError

    def test_it_returns_what_the_segment_returned_and_its_seconds(self) -> None:
        with closing(self.make()) as executor:
            values, seconds = executor.run(lambda: (1, 2))
        assert tuple(values) == (1, 2)
        assert seconds >= 0.0

    def test_an_error_in_the_segment_comes_through(self) -> None:
        def fails() -> tuple[int]:
            raise ValueError("inside")

        with closing(self.make()) as executor:
            with pytest.raises(ValueError, match="inside"):
                executor.run(fails)
            assert tuple(executor.run(lambda: (3,))[0]) == (3,)


class ModelSuite:
    """The contract of `midcut.protocols.Model`. Subclass it and implement `make`."""

    def make(self) -> Model:
        raise NotImplementedError

    def test_it_is_in_eval_mode_and_takes_its_example(self) -> None:
        import torch

        model = self.make().load()
        assert not model.module.training
        with torch.inference_mode():
            model.module(*model.example)

    def test_its_example_has_batch_size_1(self) -> None:
        assert all(tensor.shape[0] == 1 for tensor in self.make().load().example)

    def test_loading_twice_gives_the_same_weights(self) -> None:
        import torch

        first, second = self.make().load().module.state_dict(), self.make().load().module.state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_preprocessing_makes_an_input_it_accepts(self) -> None:
        import torch
        from PIL import Image

        model = self.make().load()
        value = model.preprocess(Image.new("RGB", (320, 240), (90, 120, 60)))
        assert value.shape == model.example[0].shape
        with torch.inference_mode():
            model.module(value)

    def test_preprocessing_does_not_show_what_transparency_hides(self) -> None:
        import torch
        from PIL import Image

        model = self.make().load()
        red, blue = (Image.new("RGBA", (320, 240), (*colour, 0)) for colour in ((200, 0, 0), (0, 0, 90)))
        assert torch.equal(model.preprocess(red), model.preprocess(blue))


class TransportSuite:
    """The contract of `midcut.protocols.Transport`. Subclass it and implement all four methods.

    `make` gives a transport whose cloud serves `request()`.
    """

    def make(self) -> Transport:
        raise NotImplementedError

    def request(self) -> TailRequest:
        """Give a request that the cloud can serve."""
        raise NotImplementedError

    def expected(self) -> Sequence[torch.Tensor | int]:
        """Give the tail's output values for `request()`."""
        raise NotImplementedError

    def make_unreachable(self) -> Transport:
        """Make a transport whose cloud cannot be reached."""
        raise NotImplementedError

    def test_it_brings_the_tails_output(self) -> None:
        async def infer() -> TailReply:
            async with _opened(self.make()) as transport:
                return await transport.infer(self.request())

        reply = asyncio.run(infer())
        _assert_same(reply.values, self.expected())
        assert reply.compute_s >= 0.0
        assert reply.server_s >= reply.compute_s
        assert reply.wall_s >= reply.server_s

    def test_requests_at_once_do_not_mix(self) -> None:
        async def infer_at_once() -> Sequence[TailReply]:
            async with _opened(self.make()) as transport:
                return await asyncio.gather(*(transport.infer(self.request()) for _ in range(5)))

        for reply in asyncio.run(infer_at_once()):
            _assert_same(reply.values, self.expected())

    def test_a_missing_cloud_is_a_cloud_error(self) -> None:
        async def infer() -> None:
            async with _opened(self.make_unreachable()) as transport:
                with pytest.raises(CloudError):
                    await asyncio.wait_for(transport.infer(self.request()), timeout=30)

        asyncio.run(infer())


@asynccontextmanager
async def _opened(transport: Transport) -> AsyncIterator[Transport]:
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def _assert_same(values: Sequence[torch.Tensor | int], expected: Sequence[torch.Tensor | int]) -> None:
    import torch

    assert len(values) == len(expected)
    for value, wanted in zip(values, expected, strict=True):
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(wanted))
