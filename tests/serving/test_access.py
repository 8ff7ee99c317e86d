"""Tokens and TLS of a listening server, asked by the standard library's client."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from urllib.parse import urlsplit

import pytest
import structlog
import trustme

from midcut.config.settings import InputServer, ServerSettings
from midcut.errors import ConfigError, TelemetryError
from midcut.serving.access import warn_if_unprotected
from midcut.wire.credentials import client_tls, read_token, server_tls
from midcut.wire.watched_files import ClientTls, Token, WatchedFiles
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
    chosen = {"tls_cert": files("server.pem"), "tls_key": files("server.key"), "tls_client_ca": files("ca.pem")}
    with running_cloud(**chosen) as url:
        right = client_tls(files("ca.pem"), files("client.pem"), files("client.key"))
        assert get(url, tls=right)[0] == 200
        for cert, key in ((None, None), (files("stranger.pem"), files("stranger.key"))):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                get(url, tls=client_tls(files("ca.pem"), cert, key))
        assert get(url, tls=right)[0] == 200


def test_the_edges_probes_bring_token_and_certificate(running_cloud, files, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    chosen = {"tls_cert": files("server.pem"), "tls_key": files("server.key"), "tls_client_ca": files("ca.pem")}
    access = {"tls_ca": files("ca.pem"), "tls_cert": files("client.pem"), "tls_key": files("client.key")}
    with running_cloud(token_file=str(tmp_path / "token"), **chosen) as url:
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
    ("chosen", "warns"),
    [
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "cloud.example.org"}, True),
        ({"host": "0.0.0.0", "token_env": "TOKEN"}, True),
        ({"host": "0.0.0.0", "admin_token_file": "t", "tls_client_ca": "ca.pem", "tls_cert": "c.pem"}, False),
        ({"host": "0.0.0.0", "token_env": "TOKEN", "tls_cert": "c.pem"}, False),
        ({"host": "127.0.0.1", "token_env": "TOKEN"}, False),
        ({"host": "0.0.0.0", "tls_cert": "c.pem", "tls_client_ca": "ca.pem"}, False),
        ({"host": "0.0.0.0", "tls_cert": "c.pem"}, True),
    ],
)
def test_a_server_without_authentication_on_a_network_logs_a_warning(chosen, warns):
    with structlog.testing.capture_logs() as logs:
        warn_if_unprotected(ServerSettings(**chosen))
    assert [entry["log_level"] for entry in logs] == (["warning"] if warns else [])


@pytest.mark.parametrize(("settings", "section"), [(ServerSettings, "server"), (InputServer, "input")])
def test_a_warning_names_the_settings_with_their_section(settings, section):
    with structlog.testing.capture_logs() as logs:
        warn_if_unprotected(settings(host="0.0.0.0"))
        warn_if_unprotected(settings(host="0.0.0.0", token_env="TOKEN"))
    lines = [entry["event"] for entry in logs]
    assert f"set {section}.token_env, {section}.token_file or {section}.tls_client_ca" in lines[0]
    assert f"set {section}.tls_cert," in lines[1]


def test_health_names_no_model_to_a_stranger(locked):
    for path in ("/health", "/v2/health/ready", "/v2/health/live"):
        status, body, _ = get(locked, path)
        assert status == 200
        assert b"tiny" not in body
    assert b"tiny" in get(locked, "/health", {"Authorization": f"Bearer {TOKEN}"})[1]
    assert b"tiny" not in get(locked, "/health", {"Authorization": "Bearer wrong"})[1]


@pytest.mark.parametrize(
    ("configured", "given", "statuses"),
    [
        ({}, None, (404, 405)),
        ({"token": "user"}, None, (401, 401)),
        ({"token": "user"}, "user", (404, 403)),
        ({"token": "user", "admin": "root"}, "user", (404, 403)),
        ({"token": "user", "admin": "root"}, "root", (404, 405)),
        ({"token": "user", "admin": "root"}, "other", (401, 401)),
        ({"admin": "root"}, None, (404, 401)),
        ({"admin": "root"}, "root", (404, 405)),
        ({"admin": "root"}, "user", (404, 403)),
    ],
)
def test_reading_and_administration_have_tokens_of_their_own(running_cloud, tmp_path, configured, given, statuses):
    chosen = {}
    for name, key in (("token", "token_file"), ("admin", "admin_token_file")):
        if name in configured:
            (tmp_path / name).write_text(configured[name])
            chosen[key] = str(tmp_path / name)
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    with running_cloud(**chosen) as url:
        found = []
        for method, path in (("GET", "/none"), ("DELETE", "/v1/models")):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            connection.request(method, path, headers=headers)
            found.append(connection.getresponse().status)
            connection.close()
    assert tuple(found) == statuses


def test_a_token_file_that_changes_is_read_anew(running_cloud, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    file = tmp_path / "token"
    file.write_text("old")
    with running_cloud(token_file=str(file)) as url:
        assert get(url, headers={"Authorization": "Bearer old"})[0] == 200
        file.write_text("renewed")
        assert get(url, headers={"Authorization": "Bearer old"})[0] == 401
        assert get(url, headers={"Authorization": "Bearer renewed"})[0] == 200
        file.write_text("")  # being written: the server must not open itself, nor lock everybody out
        assert get(url)[0] == 401
        assert get(url, headers={"Authorization": "Bearer renewed"})[0] == 200
        file.unlink()
        assert get(url)[0] == 401


def test_a_clients_token_file_that_changes_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    file = tmp_path / "token"
    file.write_text("old")
    token = Token(None, str(file))
    assert token.current() == "old"
    file.write_text("renewed")
    assert token.current() == "renewed"


@pytest.fixture
def renewals(monkeypatch):
    """What a server of this process logs of its certificate, which it looks at all the time."""
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("midcut.serving.lifecycle._CERTIFICATES_EVERY_S", 0.02)
    log = structlog.testing.LogCapture()
    monkeypatch.setattr("midcut.wire.watched_files._log", structlog.wrap_logger(None, processors=[log]))

    def wait_for(event):
        deadline = time.monotonic() + 60
        while not any(event in entry["event"] for entry in log.entries):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        log.entries.clear()

    return wait_for


class Installed:
    """The files of a certificate, each replaced in one step."""

    def __init__(self, folder):
        self.cert, self.key, self.ca = (str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
        self.folder = folder

    def replace(self, path, data):
        (self.folder / "new").write_bytes(data)
        (self.folder / "new").rename(path)

    def certificate(self, issued):
        self.replace(self.cert, b"".join(each.bytes() for each in issued.cert_chain_pems))

    def private_key(self, issued):
        self.replace(self.key, issued.private_key_pem.bytes())


def trusting(*authorities):
    context = ssl.create_default_context()
    for authority in authorities:
        authority.configure_trust(context)
    return context


def test_a_certificate_before_its_key_changes_nothing(running_cloud, tmp_path, renewals):
    first, second = trustme.CA(), trustme.CA()
    old, new, files = first.issue_cert("127.0.0.1"), second.issue_cert("127.0.0.1"), Installed(tmp_path)
    files.certificate(old)
    files.private_key(old)
    with running_cloud(tls_cert=files.cert, tls_key=files.key) as url:
        files.certificate(new)
        renewals("stays as it was")
        assert get(url, tls=trusting(first))[0] == 200
        files.private_key(new)
        renewals("read anew")
        assert get(url, tls=trusting(second))[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            get(url, tls=trusting(first))


def test_a_certificate_with_a_key_of_another_kind_replaces_the_old_one(running_cloud, tmp_path, renewals):
    authority, files = trustme.CA(), Installed(tmp_path)
    kinds = [authority.issue_cert("127.0.0.1", key_type=kind) for kind in (trustme.KeyType.ECDSA, trustme.KeyType.RSA)]
    files.certificate(kinds[0])
    files.private_key(kinds[0])
    with running_cloud(tls_cert=files.cert, tls_key=files.key) as url:
        for issued in reversed(kinds):
            files.certificate(issued)
            renewals("stays as it was")
            files.private_key(issued)
            renewals("read anew")
            parts = urlsplit(url)
            with (
                socket.create_connection((parts.hostname, parts.port), timeout=60) as plain,
                trusting(authority).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                served = ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True))
            assert served.split() == issued.cert_chain_pems[0].bytes().decode().split()


def test_a_client_ca_that_is_replaced_counts_for_new_connections(running_cloud, tmp_path, renewals):
    ours, theirs = trustme.CA(), trustme.CA()
    server, files = ours.issue_cert("127.0.0.1"), Installed(tmp_path)
    files.certificate(server)
    files.private_key(server)
    files.replace(files.ca, ours.cert_pem.bytes())

    def ask(authority):
        context = trusting(ours)
        authority.issue_cert("edge@example.org").configure_cert(context)
        return get(url, tls=context)[0]

    with running_cloud(tls_cert=files.cert, tls_key=files.key, tls_client_ca=files.ca) as url:
        assert ask(ours) == 200
        files.replace(files.ca, b"no certificate")
        renewals("stays as it was")
        assert ask(ours) == 200
        files.replace(files.ca, theirs.cert_pem.bytes())
        renewals("read anew")
        assert ask(theirs) == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ask(ours)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            get(url, tls=trusting(ours))


def test_a_clients_certificate_before_its_key_changes_nothing(running_cloud, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    ours = trustme.CA()
    server, clients = ours.issue_cert("127.0.0.1"), [ours.issue_cert(f"edge{i}@example.org") for i in range(2)]
    installed, folder = Installed(tmp_path), tmp_path / "client"
    folder.mkdir()
    mine = Installed(folder)
    installed.certificate(server)
    installed.private_key(server)
    installed.replace(installed.ca, ours.cert_pem.bytes())
    mine.certificate(clients[0])
    mine.private_key(clients[0])
    with running_cloud(tls_cert=installed.cert, tls_key=installed.key, tls_client_ca=installed.ca) as url:
        tls = ClientTls(installed.ca, mine.cert, mine.key)
        before = tls.current()
        mine.certificate(clients[1])
        assert tls.current() is before
        assert get(url, tls=tls.current())[0] == 200
        mine.private_key(clients[1])
        assert tls.current() is not before
        assert get(url, tls=tls.current())[0] == 200


def test_a_file_that_became_readable_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    file = tmp_path / "key.pem"
    file.touch(0o200)
    files = WatchedFiles([str(file)])
    assert not files.changed()
    time.sleep(0.05)  # the clock of a file system may tick every few milliseconds only
    file.chmod(0o600)
    assert files.changed()


@pytest.mark.parametrize(
    ("path", "token", "length", "begins"),
    [
        ("/v2/models/tiny/infer", TOKEN, 10, b"HTTP/1.1 100 Continue"),
        ("/v2/models/tiny/infer", "wrong", 10, b"HTTP/1.1 401"),
        ("/v2/models/none/infer", TOKEN, 10, b"HTTP/1.1 404"),
        ("/none", TOKEN, 10, b"HTTP/1.1 404"),
        ("/v1/models", TOKEN, 10, b"HTTP/1.1 405"),
        ("/v2/models/tiny/infer", TOKEN, 10**10, b"HTTP/1.1 413"),
    ],
)
def test_a_client_is_asked_for_its_body_only_where_it_is_not_refused(locked, path, token, length, begins):
    parts = urlsplit(locked)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as sock:
        sock.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {length}\r\n\r\n".encode()
        )
        assert sock.recv(100).startswith(begins)
        if b"100" in begins:
            sock.sendall(b"x" * length)
            assert sock.recv(100).startswith(b"HTTP/1.1 400")
