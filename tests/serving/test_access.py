"""Tokens and TLS of a listening server, asked by the standard library's client."""

from __future__ import annotations

import http.client
import json
import ssl
from urllib.parse import urlsplit

import pytest
import structlog
import trustme

from midcut.config.settings import ServerSettings
from midcut.errors import ConfigError, TelemetryError
from midcut.serving.access import warn_if_unprotected
from midcut.wire.credentials import client_tls, read_token, server_tls
from midcut_telemetry.bandwidth_probe import BandwidthProbe
from midcut_telemetry.http_ping import HttpPing

TOKEN = "correct-horse.battery_staple=="


def get(url, path="/v1/models", headers=None, tls=None):
    parts = urlsplit(url)
    connection = (
        http.client.HTTPSConnection(parts.netloc, timeout=60, context=tls)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.netloc, timeout=60)
    )
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response
    finally:
        connection.close()


@pytest.fixture(scope="module")
def locked(running_cloud, tmp_path_factory):
    """A cloud that asks for the token."""
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(TOKEN + "\n")
    with running_cloud(token_file=str(file)) as url:
        yield url


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_is_let_in(locked, scheme):
    assert get(locked, headers={"Authorization": f"{scheme} {TOKEN}"})[0] == 200


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "a token is required: Authorization: Bearer TOKEN"),
        ("", "a token is required: Authorization: Bearer TOKEN"),
        ("Bearer", "not this server's token"),
        ("Bearer ", "not this server's token"),
        (f"Bearer {TOKEN}x", "not this server's token"),
        (f"Bearer {TOKEN[:-1]}", "not this server's token"),
        (f"Bearer {TOKEN.upper()}", "not this server's token"),
        (f"Basic {TOKEN}", "not this server's token"),
        (TOKEN, "not this server's token"),
        (b"Bearer \xff\xfe", "not this server's token"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/infer", "/nowhere"])
def test_any_other_token_is_refused(locked, given, reason, path):
    status, body, response = get(locked, path, {"Authorization": given} if given is not None else None)
    assert (status, json.loads(body)) == (401, {"error": reason})
    assert response.getheader("WWW-Authenticate") == 'Bearer realm="midcut"'


def test_health_needs_no_token(locked):
    assert get(locked, "/health")[0] == 200


def test_no_token_is_ever_logged(running_cloud, monkeypatch, capfd):
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    with running_cloud(token_env="SOME_TOKEN") as url:
        assert get(url, headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert get(url, headers={"Authorization": "Bearer guessed-this"})[0] == 401
    logged = "".join(capfd.readouterr())
    assert "refused" in logged
    assert TOKEN not in logged
    assert "guessed-this" not in logged


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"two words", "characters that an HTTP header cannot carry"),
        ("schlüssel".encode(), "characters that an HTTP header cannot carry"),
        (b"\xff\xff", "cannot be read: not text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_token_file_without_a_token_is_one_line(tmp_path, content, part):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token(None, str(file))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_environment_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH", raising=False)
    with pytest.raises(ConfigError, match="token_env: the environment variable NO_SUCH is empty"):
        read_token("NO_SUCH", None)
    with pytest.raises(ConfigError, match="are both set"):
        read_token("A", "b")
    assert read_token(None, None) is None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A CA of ours with a server's and a client's certificate, and a stranger's."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = trustme.CA(), trustme.CA()
    for name, ca, who in (
        ("server", ours, "127.0.0.1"),
        ("client", ours, "edge@example.org"),
        ("stranger", theirs, "127.0.0.1"),
    ):
        certificate = ca.issue_cert(who)
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
    ours.cert_pem.write_to_path(folder / "ca.pem")
    theirs.cert_pem.write_to_path(folder / "other_ca.pem")
    (folder / "text.pem").write_text("no certificate")
    return lambda name: str(folder / name)


def test_tls_with_a_ca_of_ones_own(running_cloud, files):
    with running_cloud(tls_cert=files("server.pem"), tls_key=files("server.key")) as url:
        assert url.startswith("https://")
        assert get(url, tls=client_tls(files("ca.pem"), None, None))[0] == 200
        for wrong in (client_tls(files("other_ca.pem"), None, None), client_tls(None, None, None)):
            with pytest.raises(ssl.SSLCertVerificationError):
                get(url, tls=wrong)
        with pytest.raises((http.client.HTTPException, OSError)):
            get(url.replace("https", "http"))


def test_mutual_tls(running_cloud, files):
    knobs = {"tls_cert": files("server.pem"), "tls_key": files("server.key"), "tls_client_ca": files("ca.pem")}
    with running_cloud(**knobs) as url:
        right = client_tls(files("ca.pem"), files("client.pem"), files("client.key"))
        assert get(url, tls=right)[0] == 200
        for cert, key in ((None, None), (files("stranger.pem"), files("stranger.key"))):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                get(url, tls=client_tls(files("ca.pem"), cert, key))
        assert get(url, tls=right)[0] == 200


def test_the_edges_probes_bring_token_and_certificate(running_cloud, files, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    knobs = {"tls_cert": files("server.pem"), "tls_key": files("server.key"), "tls_client_ca": files("ca.pem")}
    access = {"tls_ca": files("ca.pem"), "tls_cert": files("client.pem"), "tls_key": files("client.key")}
    with running_cloud(token_file=str(tmp_path / "token"), **knobs) as url:
        probe = BandwidthProbe(url, 10_000, 5.0, 1.0, token_file=str(tmp_path / "token"), **access)
        assert probe.read()["bandwidth_kbps"] > 0.0
        probe.close()
        ping = HttpPing(url, 1, 5.0, 1.0, **access)  # health needs no token
        assert ping.read()["ping_ms"] > 0.0
        ping.close()
        nobody = BandwidthProbe(url, 10_000, 5.0, 1.0, **access)
        with pytest.raises(TelemetryError, match="status 401"):
            nobody.read()
        nobody.close()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "part"),
    [
        ("nothing.pem", None, None, "there is no such file"),
        ("text.pem", None, None, "it must be a certificate"),
        ("server.pem", None, None, "it must be a certificate"),
        ("server.pem", "client.key", None, "it must be a certificate"),
        ("server.pem", "server.key", "nothing.pem", "tls_client_ca"),
        ("server.pem", "server.key", "text.pem", "tls_client_ca"),
        (None, "server.key", None, "need tls_cert"),
        (None, None, "ca.pem", "need tls_cert"),
    ],
)
def test_tls_files_that_do_not_fit_are_one_line(files, cert, key, ca, part):
    with pytest.raises(ConfigError) as caught:
        server_tls(*(name and files(name) for name in (cert, key, ca)))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("knobs", "warns"),
    [
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "cloud.example.org"}, True),
        ({"host": "0.0.0.0", "token_env": "TOKEN"}, False),
        ({"host": "0.0.0.0", "tls_cert": "c.pem", "tls_client_ca": "ca.pem"}, False),
        ({"host": "0.0.0.0", "tls_cert": "c.pem"}, True),
    ],
)
def test_a_server_without_authentication_on_a_network_logs_a_warning(knobs, warns):
    with structlog.testing.capture_logs() as logs:
        warn_if_unprotected(ServerSettings(**knobs))
    assert [entry["log_level"] for entry in logs] == (["warning"] if warns else [])
