"""Contract suites for telemetry sources, executors, models and transports."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midcut.errors import CloudError, TelemetryError
from midcut.protocols import AgeingSource
from midcut.testing.fakes import installed_fields
from midcut.types import RunningExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import torch

    from midcut.protocols import Executor, Model, Network, TelemetrySource, Transport
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

    def test_what_it_brings_up_to_date_between_reads_is_of_the_same_fields(self) -> None:
        with closing(self.make()) as source:
            source.read()
            if not isinstance(source, AgeingSource):
                return
            for running in ([], [RunningExchange(time.monotonic() - 5.0, 100_000)]):
                present = source.present(running)
                assert set(present) <= installed_fields()
                assert all(np.isfinite(value) and value >= 0 for value in present.values())

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
    """The contract of `midcut.protocols.Executor`. Subclass it and implement `make`.

    `network` is a small model with a branch and an in-place operation; override it for a runtime that needs another.
    """

    tolerance: float = 0.0
    """How far a result may be from PyTorch's, as a share of the largest element; 0 demands equal bits."""

    def make(self) -> Executor:
        raise NotImplementedError

    def network(self) -> Network:
        from midcut.testing.networks import small_network

        return small_network()

    def _inputs(self, batch: int = 1) -> list[Any]:
        import torch

        return [torch.rand(batch, 3, 12, 12, generator=torch.Generator().manual_seed(batch))]

    def _assert_equal(self, found: Sequence[Any], expected: Sequence[Any]) -> None:
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert float((a - b).abs().max()) <= self.tolerance * float(b.abs().max())

    def test_its_identity_is_one_line(self) -> None:
        with closing(self.make()) as executor:
            assert executor.identity
            assert "\n" not in executor.identity

    def test_head_and_tail_give_what_pytorch_gives_at_every_cut_and_batch_size(self) -> None:
        network = self.network()
        last = network.table.last
        with closing(self.make()) as executor:
            executor.prepare(network, 0, last)
            for cut in range(last + 1):
                head, tail = executor.prepare(network, 0, cut), executor.prepare(network, cut, last)
                for batch in (1, 2):
                    inputs = self._inputs(batch)
                    payload, head_s = head.run(inputs)
                    output, tail_s = tail.run(payload)
                    self._assert_equal(payload, network.run(0, cut, inputs))
                    self._assert_equal(output, network.run(0, last, inputs))
                    assert min(head_s, tail_s) >= 0.0

    def test_a_prepared_segment_is_ready_and_does_not_change_its_inputs(self) -> None:
        network = self.network()
        with closing(self.make()) as executor:
            segment = executor.prepare(network, 0, network.table.last)
            assert executor.ready(network, 0, network.table.last)
            inputs = self._inputs()
            before = [value.clone() for value in inputs]
            first, second = segment.run(inputs)[0], segment.run(inputs)[0]
        assert all(bool((a == b).all()) for a, b in zip(inputs, before, strict=True))
        assert all(bool((a == b).all()) for a, b in zip(first, second, strict=True))

    def test_an_error_in_the_segment_comes_through(self) -> None:
        import torch

        network = self.network()
        with closing(self.make()) as executor:
            segment = executor.prepare(network, 0, network.table.last)
            with pytest.raises(Exception, match=r"."):
                segment.run([torch.zeros(1, 1)])
            self._assert_equal(segment.run(self._inputs())[0], network.run(0, network.table.last, self._inputs()))


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
