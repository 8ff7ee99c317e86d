"""What a page of another site can make a browser do to a server: nothing but what it may read anyway."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from midcut.config.settings import InputServer
from midcut.serving import json_response, new_app

UNLOAD = "/v2/repository/models/mnist/unload"


def ask(requests, **settings):
    """Statuses and bodies of (method, path, headers), from a server that has a page at `/` and takes POST and PUT."""

    async def answer(_: web.Request) -> web.Response:
        return json_response(b"{}")

    async def go():
        app = new_app(1000, InputServer(**settings), browsed=frozenset({"/"}))
        for method, path in (
            ("POST", UNLOAD),
            ("GET", "/"),
            ("GET", "/data"),
            ("POST", "/data"),
            ("PUT", "/data"),
            ("DELETE", "/data"),
        ):
            app.router.add_route(method, path, answer)
        async with TestServer(app, host="127.0.0.1") as server, ClientSession() as session:
            found = []
            for method, path, headers in requests:
                host = f"127.0.0.1:{server.port}"
                filled = {name: value.replace("HERE", host) for name, value in headers.items()}
                async with session.request(method, server.make_url(path), headers=filled) as response:
                    found.append((response.status, await response.read()))
            return found

    return asyncio.run(go())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # not a browser
        ({"Origin": "http://HERE"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://edge.lan", "X-Forwarded-Host": "edge.lan"}, True),  # a proxy in front
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "http://[::"}, False),
        ({"Origin": "http://HERE.evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://HERE"}, False),
    ],
)
def test_only_the_server_s_own_page_may_send(method, headers, allowed):
    ((status, body),) = ask([(method, "/data", headers)])
    assert status == (200 if allowed else 403)
    if not allowed:
        assert "a page of another site may not ask this server" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8701", True),
        ("[::1]:8701", True),
        ("[fe80::1%25eth0]", True),
        ("192.168.1.7", True),
        ("localhost:8701", True),
        ("pi", True),
        ("pi.local.", True),
        ("edge.plant.internal:8701", True),
        ("Edge.Example.org", True),  # the setting
        ("evil.example:8701", False),
        ("127.0.0.1.evil.example", False),
        ("local.evil.example", False),
        ("evil.example.org", False),
    ],
)
def test_a_site_that_points_its_name_here_sees_no_page_and_changes_nothing(host, known):
    headers = {"Host": host}
    requests = [(*what, headers) for what in (("GET", "/"), ("PUT", "/data"), ("DELETE", "/data"), ("GET", "/data"))]
    page, change, deletion, data = ask(requests, hosts=["edge.example.org"])
    assert {page[0], change[0], deletion[0]} == {200 if known else 421}
    assert data[0] == 200  # clients that are no browsers may use any name
    if not known:
        assert "is not known as" in json.loads(page[1])["error"]


@pytest.mark.parametrize("settings", [{"hosts": ["*"]}, {"token_env": "PAGE_TOKEN"}])
def test_every_name_is_known_where_a_token_guards_or_the_settings_say_so(settings, monkeypatch):
    monkeypatch.setenv("PAGE_TOKEN", "secret")
    headers = {"Host": "any.example", "Authorization": "Bearer secret"}
    ((status, _),) = ask([("GET", "/", headers)], **settings)
    assert status == 200


BROWSERS = {
    "over https": lambda own: {"Sec-Fetch-Site": "same-origin" if own else "cross-site"},
    "over http, where browsers send no Sec-Fetch-Site": lambda _: {},
}


@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize("settings", [{}, {"admin_token_env": "PAGE_TOKEN"}])
def test_a_page_behind_a_proxy_that_replaces_host_works_once_its_host_is_named(browser, settings, monkeypatch):
    monkeypatch.setenv("PAGE_TOKEN", "secret")

    async def put(session, proxy, page):
        headers = {"Host": "edge.example.org:8443", "Origin": page, "Authorization": "Bearer secret"}
        headers |= BROWSERS[browser](page.endswith("//edge.example.org:8443"))
        async with session.put(proxy.make_url("/data"), headers=headers, data=b"{}") as response:
            return response.status

    async def go(hosts):
        async def answer(_: web.Request) -> web.Response:
            return json_response(b"{}")

        async def passed_on(request: web.Request) -> web.Response:
            """As a proxy that is told only where to send requests: the upstream's name replaces that of the browser."""
            headers = {name: value for name, value in request.headers.items() if name != "Host"}
            sent = {"headers": headers, "data": await request.read()}
            async with (
                ClientSession() as upstream,
                upstream.request(request.method, server.make_url(request.path), **sent) as response,
            ):
                return web.Response(status=response.status, body=await response.read())

        app = new_app(1000, InputServer(hosts=hosts, **settings))
        app.router.add_put("/data", answer)
        front = web.Application()
        front.router.add_route("*", "/{path:.*}", passed_on)
        async with (
            TestServer(app, host="127.0.0.1") as server,
            TestServer(front, host="127.0.0.1") as proxy,
            ClientSession() as session,
        ):
            pages = ("https://edge.example.org:8443", "https://edge.example.org", "https://evil.example")
            return [await put(session, proxy, page) for page in pages]

    assert asyncio.run(go(["edge.example.org:8443"])) == [200, 403, 403]
    unnamed = 200 if browser == "over https" else 403
    assert asyncio.run(go([])) == asyncio.run(go(["*"])) == [unnamed, 403, 403]


def test_a_site_that_points_its_name_here_loads_and_unloads_no_model():
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    (refused, _), (taken, _) = ask([("POST", UNLOAD, rebound), ("POST", UNLOAD, {})])
    assert (refused, taken) == (421, 200)
