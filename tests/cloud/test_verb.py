from __future__ import annotations

import asyncio
import threading

import pytest
import torch

from midcut.cli.verbs import cloud
from midcut.cloud.assembly import tail_threads
from midcut.config.composition import compose
from midcut.config.settings import CloudSettings
from midcut.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["model=[]"], "midcut cloud needs a model"),
        (["cloud.workers=0"], "cloud.workers must be at least 1, got 0"),
        (["cloud.max_batch=-1"], "must be at least 1"),
        (["server.host=203.0.113.7"], "cannot listen on server.host=203.0.113.7 server.port=0"),
        (["server.host=no-such-host.invalid"], "cannot listen on server.host=no-such-host.invalid"),
        (["server.port=99999"], "cannot listen on server.host=127.0.0.1 server.port=99999"),
        (["cuts.first_cut=99"], "99"),
        (["cloud.device=abacus"], "cloud.device=abacus: torch cannot use this device here"),
        (["cloud.queue=-1"], "cloud.queue must be at least 0, got -1"),
        (["server.token_env=NO_SUCH_VARIABLE"], "the environment variable NO_SUCH_VARIABLE is empty"),
        (["server.body_timeout_s=0"], "server.body_timeout_s must be over 0, got 0.0"),
        (["server.idle_timeout_s=nan"], "server.idle_timeout_s must be over 0, got nan"),
        (["server.leave_s=-1"], "server.leave_s must be at least 0, got -1.0"),
        (["server.drain_s=-1"], "server.drain_s must be at least 0, got -1.0"),
        (["server.token_file=/no/such"], "token_file: /no/such cannot be read"),
        (["server.tls_key=key.pem"], "need tls_cert"),
        (["server.tls_cert=nothing.pem"], "there is no such file"),
    ],
)
def test_a_config_that_cannot_serve_is_one_line(overrides, part):
    plain = ["model=mnist", "cuts.verify=false", "server.port=0"]
    config = compose("cloud", [*plain, *overrides])
    with pytest.raises(ConfigError) as caught:
        cloud.run(config)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_configured_threads_hold_on_every_worker_and_none_records_gradients():
    threads = torch.get_num_threads() + 1
    both_there = threading.Barrier(2)

    def count():
        both_there.wait(60)
        return torch.get_num_threads(), torch.is_grad_enabled()

    async def count_on_both():
        return await asyncio.gather(pool.run(count), pool.run(count))

    with tail_threads(CloudSettings(threads=threads, workers=2)) as pool:
        assert asyncio.run(count_on_both()) == [(threads, False)] * 2


def test_the_loop_of_a_cloud_records_nothing_for_gradients(monkeypatch):
    async def record(_):
        recorded.append(torch.is_grad_enabled())

    recorded = []
    monkeypatch.setattr(cloud, "_serve", record)
    cloud.run(compose("cloud", ["model=mnist", "cuts.verify=false"]))
    assert recorded == [False]
    assert torch.is_grad_enabled()
