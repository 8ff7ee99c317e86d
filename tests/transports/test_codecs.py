"""Every codec over a socket, and the credentials that a cloud may ask for."""

from __future__ import annotations

import asyncio

import pytest
import torch
import trustme
from msgspec.structs import replace

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.errors import CloudRefusedError, CloudUnreachableError, ConfigError
from midcut.types import TailRequest
from midcut_transports.http import HttpTransport


@pytest.fixture(scope="module")
def codecs():

    from midcut.config.composition import compose

    config = compose("cloud", ["model=mnist"])
    return build_each(Kind.CODEC, config.codec)


@pytest.fixture
def request_at_4(tiny, tiny_model):
    with torch.inference_mode():
        values = tiny.head(4, tiny_model.example)
    names = [spec.name for spec in tiny.table.cuts[4].values]
    return lambda codec: TailRequest("tiny", 4, tiny.table.fingerprint, values, "r", codec, names=names)


def send(url, *requests, **settings):
    async def go():
        transport = HttpTransport(url, 60.0, 60.0, **settings)
        await transport.open()
        try:
            return [await transport.infer(request) for request in requests]
        finally:
            await transport.close()

    return asyncio.run(go())


def test_codecs_bring_what_they_promise(running_cloud, codecs, tiny_model, request_at_4):
    with torch.inference_mode():
        whole = tiny_model.module(*tiny_model.example)
    with running_cloud(codecs=codecs) as url:
        names = ["raw", "base64", "zstd", "fp16", "int8"]
        replies = dict(zip(names, send(url, *map(request_at_4, names), codecs=codecs), strict=True))
    for name in ("raw", "base64", "zstd"):
        assert torch.equal(replies[name].values[0], whole), name
    assert torch.allclose(replies["fp16"].values[0], whole, atol=2e-3)
    assert torch.allclose(replies["int8"].values[0], whole, atol=5e-2)
    sent = {name: reply.sent_bytes for name, reply in replies.items()}
    payload = 2 * 8 * 16 * 16 * 4
    assert payload < sent["raw"] < payload + 800
    assert payload / 2 < sent["fp16"] < payload / 2 + 900
    assert payload / 4 < sent["int8"] < payload / 4 + 1000
    assert payload * 4 / 3 < sent["base64"] < payload * 4 / 3 + 800


def test_a_codec_the_cloud_does_not_take_is_refused_with_what_it_takes(cloud_url, codecs, request_at_4):
    with pytest.raises(CloudRefusedError, match="400: codec 'int8' is not accepted here; accepted: raw") as caught:
        send(cloud_url, request_at_4("int8"), codecs=codecs)
    assert caught.value.http_status == 400


def test_a_codec_the_edge_does_not_have_is_refused_here(cloud_url, request_at_4):
    with pytest.raises(CloudRefusedError, match="no codec 'int8' here"):
        send(cloud_url, request_at_4("int8"))


def test_the_token_is_shown(running_cloud, request_at_4, monkeypatch, tmp_path):
    monkeypatch.setenv("TINY_TOKEN", "s3cret")
    (tmp_path / "wrong").write_text("other\n")
    with running_cloud(token_env="TINY_TOKEN") as url:
        assert send(url, request_at_4("raw"), token_env="TINY_TOKEN")
        for settings in ({}, {"token_file": str(tmp_path / "wrong")}):
            with pytest.raises(CloudRefusedError, match="the cloud says 401") as caught:
                send(url, request_at_4("raw"), **settings)
            assert "s3cret" not in str(caught.value)


def test_a_refusal_that_reads_no_body_is_logged_under_the_askers_id(running_cloud, request_at_4, monkeypatch, capfd):
    monkeypatch.setenv("TINY_TOKEN", "s3cret")
    asked = replace(request_at_4("raw"), request_id="from-the-edge.7")
    with running_cloud(token_env="TINY_TOKEN") as url, pytest.raises(CloudRefusedError, match="401"):
        send(url, asked)
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "refused" in line]
    assert "from-the-edge.7" in line


def test_an_id_can_add_no_header(cloud_url, request_at_4):
    """A second framing beside Content-Length would be refused as broken HTTP."""
    asked = replace(request_at_4("raw"), request_id="x\r\nTransfer-Encoding: chunked")
    assert send(cloud_url, asked)


def test_tls_with_the_right_and_the_wrong_authority(running_cloud, request_at_4, tmp_path):
    ours, theirs = trustme.CA(), trustme.CA()
    server, client, stranger = ours.issue_cert("127.0.0.1"), ours.issue_cert("edge"), theirs.issue_cert("edge")
    files = {}
    for name, blob in {
        "ours": ours.cert_pem, "theirs": theirs.cert_pem, "server": server.private_key_and_cert_chain_pem,
        "client": client.private_key_and_cert_chain_pem, "stranger": stranger.private_key_and_cert_chain_pem,
    }.items():  # fmt: skip
        blob.write_to_path(tmp_path / name)
        files[name] = str(tmp_path / name)
    with running_cloud(tls_cert=files["server"], tls_client_ca=files["ours"]) as url:
        right = {"tls_ca": files["ours"], "tls_cert": files["client"]}
        assert len(send(url, request_at_4("raw"), request_at_4("raw"), **right)) == 2
        for wrong in (
            right | {"tls_ca": files["theirs"]},
            right | {"tls_cert": files["stranger"]},
            {"tls_ca": files["ours"]},
            {},
        ):
            with pytest.raises(CloudUnreachableError):
                send(url, request_at_4("raw"), **wrong)


def test_a_certificate_that_is_renewed_is_read_anew(running_cloud, request_at_4, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    ours, theirs = trustme.CA(), trustme.CA()
    server, client, stranger = ours.issue_cert("127.0.0.1"), ours.issue_cert("edge"), theirs.issue_cert("edge")
    files = {name: tmp_path / name for name in ("ca", "server", "client")}
    ours.cert_pem.write_to_path(files["ca"])
    server.private_key_and_cert_chain_pem.write_to_path(files["server"])
    stranger.private_key_and_cert_chain_pem.write_to_path(files["client"])

    async def exchange(url):
        transport = HttpTransport(url, 60.0, 60.0, tls_ca=str(files["ca"]), tls_cert=str(files["client"]))
        await transport.open()
        try:
            with pytest.raises(CloudUnreachableError):
                await transport.infer(request_at_4("raw"))
            files["client"].write_text("half of a file")  # changes nothing yet
            with pytest.raises(CloudUnreachableError):
                await transport.infer(request_at_4("raw"))
            client.private_key_and_cert_chain_pem.write_to_path(files["client"])
            return await transport.infer(request_at_4("raw"))
        finally:
            await transport.close()

    with running_cloud(tls_cert=str(files["server"]), tls_client_ca=str(files["ca"])) as url:
        assert asyncio.run(exchange(url)).values


@pytest.mark.parametrize(
    ("url", "settings", "part"),
    [
        ("http://127.0.0.1:1", {"tls_ca": "ca.pem"}, "need an https url"),
        ("https://127.0.0.1:1", {"tls_ca": "no-such-file.pem"}, "tls_ca"),
        ("http://127.0.0.1:1", {"token_env": "NO_SUCH_TOKEN"}, "token_env"),
    ],
)
def test_credentials_that_cannot_be_had(url, settings, part):
    with pytest.raises(ConfigError, match=part):
        HttpTransport(url, 1.0, 1.0, **settings)
