"""Where results go: lines, webhooks, and a broker of MQTT, which is Debian's mosquitto."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from midcut.edge.frontend.outputs import Outputs
from midcut.errors import ConfigError, FileError
from midcut_models.mnist import DIGITS
from midcut_outputs.config import MqttConfig, WebhookConfig
from midcut_outputs.lines import JsonLines, stdout
from midcut_outputs.webhook import Webhook

RESULT = {"model": "mnist", "class": 7, "label": "seven", "probability": 0.75, "source": "door", "latency_s": 0.02}
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def wait_for(condition, what, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"no {what} in {limit_s:g} s"
        time.sleep(0.05)


class Posted(BaseHTTPRequestHandler):
    """Keeps what was posted, and answers with the server's `status`."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.headers["Content-Type"], self.headers["Authorization"], json.loads(body)))
        self.send_response(self.server.status)
        if self.server.status in (301, 302, 303, 307, 308):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Posted)
    server.posts, server.status = [], 204
    server.url = f"http://127.0.0.1:{server.server_port}/results"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_lines_are_added_to_a_file_and_go_to_stdout(tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    path.write_text('{"before":1}\n')
    for output in (JsonLines(str(path)), stdout()):
        output.write(RESULT)
        output.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"before": 1}, RESULT]
    assert json.loads(capsys.readouterr().out) == RESULT
    with pytest.raises(FileError, match=r"output\.jsonl\.path=.*nowhere"):
        JsonLines(str(tmp_path / "nowhere" / "results.jsonl"))


def test_a_webhook_posts_each_result_with_its_token(receiver, monkeypatch):
    monkeypatch.setenv("HOOK", "secret")
    webhook = Webhook(**vars(WebhookConfig(receiver.url, token_env="HOOK")))
    webhook.write(RESULT)
    assert receiver.posts == [("application/json", "Bearer secret", RESULT)]
    with pytest.raises(ConfigError, match=r"output\.webhook\.timeout_s must be finite and over 0, got inf"):
        Webhook(**vars(WebhookConfig(receiver.url, timeout_s=float("inf"))))
    with pytest.raises(ConfigError, match=r"output\.webhook\.url must begin with http"):
        Webhook(**vars(WebhookConfig("ftp://somewhere")))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_webhook_that_moved_is_named_and_gets_nothing_elsewhere(receiver, status):
    receiver.status = status
    with pytest.raises(OSError, match=str(status)):
        Webhook(**vars(WebhookConfig(receiver.url))).write(RESULT)
    assert len(receiver.posts) == 1


def test_an_output_that_fails_or_blocks_holds_up_nobody_and_the_others_get_all(receiver, tmp_path):
    class Blocked:
        go = threading.Event()

        def write(self, _):
            self.go.wait(60)

        def close(self):
            pass

    receiver.status = 500
    lines = tmp_path / "results.jsonl"
    webhook, blocked = Webhook(**vars(WebhookConfig(receiver.url))), Blocked()
    outputs = Outputs({"webhook": webhook, "blocked": blocked, "jsonl": JsonLines(str(lines))})
    try:
        for number in range(300):
            outputs.emit(RESULT | {"n": number})
            if number % 100 == 99:  # the two that work keep up; the blocked one holds 256 and the one it began with
                wait_for(lambda sent=number + 1: outputs.counts()["jsonl"]["written"] == sent, "lines")
                wait_for(lambda sent=number + 1: outputs.counts()["webhook"]["failed"] == sent, "posts")
        assert outputs.counts()["blocked"] == {"written": 0, "failed": 0, "dropped": 300 - 257}
    finally:
        blocked.go.set()
        outputs.close()
    assert [json.loads(line)["n"] for line in lines.read_text().splitlines()] == list(range(300))


@contextlib.contextmanager
def reserved_port():
    """A port that nobody else gets, where nothing listens yet; a broker may, as it shares addresses too."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def broker(folder, port=0, anonymous="true"):
    """A mosquitto of its own, and its port."""
    with contextlib.nullcontext(port) if port else reserved_port() as number, mosquitto(folder, number, anonymous):
        yield number


@contextlib.contextmanager
def mosquitto(folder, port, anonymous):
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous {anonymous}\npersistence false\n")
    log = folder / "mosquitto.log"
    with log.open("wb") as out:
        process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=out, stderr=out)
    try:
        with socket.socket() as probe:
            wait_for(lambda: process.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0, "broker")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def subscriber(port):
    """A queue of (topic, JSON or text) of all that the broker has and gets."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    messages, subscribed = queue.Queue(), threading.Event()

    def heard(_client, _data, message):
        text = message.payload.decode()
        messages.put((message.topic, json.loads(text) if text.startswith("{") else text))

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = heard
    client.on_connect = lambda of, *_: of.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert subscribed.wait(60)
        yield messages
    finally:
        client.disconnect()
        client.loop_stop()


def messages_until(messages, topic, count=1):
    """The messages up to the `count`-th of a topic."""
    found = []
    while sum(name == topic for name, _ in found) < count:
        found.append(messages.get(timeout=60))
    return found


@pytest.fixture
def mqtt():
    pytest.importorskip("paho.mqtt", reason="extra mqtt is not installed")
    if MOSQUITTO is None:
        pytest.skip("Debian's mosquitto is not installed")
    from midcut_outputs.mqtt import Mqtt

    return lambda port, **settings: Mqtt(**vars(MqttConfig(port=port, **settings)))


@pytest.mark.parametrize(("place", "node"), [("site/door", "site_door"), ("site/tür", "site_tfcr")])
def test_a_broker_gets_each_result_and_home_assistant_the_sensors(mqtt, tmp_path, place, node):
    with broker(tmp_path) as port, subscriber(port) as messages:
        output = mqtt(port, topic=place, name="Front door")
        output.write(RESULT)
        output.close()
        found = messages_until(messages, f"{place}/status", 2)
    assert [value for topic, value in found if topic == f"{place}/status"] == ["online", "offline"]
    assert [value for topic, value in found if topic == f"{place}/result"] == [RESULT]
    sensors = {topic: value for topic, value in found if topic.startswith("homeassistant/")}
    assert set(sensors) == {
        f"homeassistant/sensor/{node}/{name}/config" for name in ("label", "probability", "latency")
    }
    for sensor in sensors.values():
        assert sensor["state_topic"] == f"{place}/result"
        assert sensor["availability_topic"] == f"{place}/status"
        assert sensor["device"]["name"] == "Front door"
    assert len({sensor["unique_id"] for sensor in sensors.values()}) == 3


def test_a_broker_that_comes_later_gets_the_result_that_waits(mqtt, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut_outputs.mqtt._WAIT_S", 120.0)
    listening = threading.Event()
    with reserved_port() as port, ThreadPoolExecutor(1) as pool:
        output = mqtt(port, discovery_prefix=None)
        announce = output._client.on_connect

        def announce_to_somebody(*args):  # a broker keeps no result for those who come later
            listening.wait(60)
            announce(*args)

        output._client.on_connect = announce_to_somebody
        writing = pool.submit(output.write, RESULT)
        with broker(tmp_path, port), subscriber(port) as messages:
            listening.set()
            writing.result(120)
            found = messages_until(messages, "midcut/result")
            output.close()
    assert found[-1][1] == RESULT
    assert not any(topic.startswith("homeassistant") for topic, _ in found)


def test_without_a_broker_nothing_piles_up(mqtt, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut_outputs.mqtt._WAIT_S", 0.2)
    with reserved_port() as port:
        output = mqtt(port, discovery_prefix=None)
        for number in range(3):
            with pytest.raises(ConnectionError, match=f"no connection to the broker 127.0.0.1:{port}"):
                output.write(RESULT | {"n": number})
        monkeypatch.undo()
        with broker(tmp_path, port), subscriber(port) as messages:
            wait_for(output._connected.is_set, "connection")
            output.write(RESULT | {"n": 3})
            output.close()
            found = messages_until(messages, "midcut/result")
    assert [value["n"] for topic, value in found if topic == "midcut/result"] == [3]


class Way:
    """A way to a broker that can be lost at the client's end alone, as when a network goes, or at both."""

    def __init__(self, port):
        self._broker, self._server = port, socket.create_server(("127.0.0.1", 0))
        self.port, self._deaf, self._pairs = self._server.getsockname()[1], (), []
        threading.Thread(target=self._accept, daemon=True).start()

    def deafen(self):
        """Let nothing more through on the connections that there are."""
        self._deaf = [end for pair in self._pairs for end in pair]

    def lose(self):
        """End the client's connection, which the broker does not see."""
        self._pairs[-1][0].shutdown(socket.SHUT_RDWR)

    def forget(self):
        """End the broker's connection that was lost first."""
        with contextlib.suppress(OSError):  # the broker may have done so
            self._pairs[0][1].shutdown(socket.SHUT_RDWR)

    def close(self):
        self._server.close()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker))
                self._pairs.append((client, broker))
                for ends in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if target not in self._deaf:
                    target.sendall(data)


@pytest.fixture
def way(tmp_path):
    if MOSQUITTO is None:
        pytest.skip("Debian's mosquitto is not installed")
    with broker(tmp_path) as port, subscriber(port) as messages, contextlib.closing(Way(port)) as made:
        made.messages = messages
        yield made


def statuses(messages, count):
    found = messages_until(messages, "midcut/status", count)
    return [value for topic, value in found if topic == "midcut/status"]


def test_an_edge_full_of_unacknowledged_results_is_online_once_it_has_connected_anew(mqtt, way, monkeypatch):
    monkeypatch.setattr("midcut_outputs.mqtt._MOST_UNACKNOWLEDGED", 1)
    output = mqtt(way.port)
    assert statuses(way.messages, 1) == ["online"]
    monkeypatch.setattr("midcut_outputs.mqtt._WAIT_S", 0.2)
    way.deafen()
    with pytest.raises(TimeoutError):
        output.write(RESULT)
    way.lose()
    way.forget()
    assert statuses(way.messages, 2) == ["offline", "online"]
    assert messages_until(way.messages, "midcut/result")[-1][1] == RESULT
    output.close()
    assert statuses(way.messages, 1) == ["offline"]


def test_the_last_will_of_a_lost_connection_does_not_outlive_the_next_one(mqtt, way):
    output = mqtt(way.port)
    assert statuses(way.messages, 1) == ["online"]
    way.lose()
    wait_for(lambda: len(way._pairs) == 2 and output._connected.is_set(), "second connection")
    way.forget()
    assert statuses(way.messages, 2) == ["offline", "online"]
    output.close()
    assert statuses(way.messages, 1) == ["offline"]


def test_a_broker_that_refuses_is_quoted(mqtt, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut_outputs.mqtt._WAIT_S", 0.2)
    with broker(tmp_path, anonymous="false") as port:
        output = mqtt(port)
        wait_for(lambda: output._problem, "refusal")
        with pytest.raises(ConnectionError, match=f"{port}: Not authorized"):
            output.write(RESULT)
    wait_for(lambda: "authorized" not in output._problem, "failed connection")  # of the broker, which is down now
    with pytest.raises(ConnectionError, match=f"{port}: Connection refused$"):
        output.write(RESULT)
    output.close()


def test_settings_that_no_broker_takes_are_refused(mqtt, monkeypatch):
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    for settings, line in (
        ({"topic": "a/#"}, r"topic without \+ and #"),
        ({"topic": "/"}, r"topic without \+ and #"),
        ({"host": ""}, r"output\.mqtt"),
        ({"password_env": "HOME"}, r"password_env is set without output\.mqtt\.username"),
        ({"username": "a", "password_env": "NO_SUCH_PASSWORD"}, "variable NO_SUCH_PASSWORD is not set"),
    ):
        with pytest.raises(ConfigError, match=line):
            mqtt(1883, **settings)


@pytest.mark.usefixtures("mqtt")
def test_labels_of_a_folder_reach_stdout_a_broker_and_a_webhook(receiver, tmp_path):
    labels = [row.partition(",")[2] for row in (DIGITS / "labels.csv").read_text().split()[1:6]]
    with broker(tmp_path) as port, subscriber(port) as messages:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "midcut.cli", "edge", "model=mnist", "telemetry=constant"),
                *("cloud_url=http://127.0.0.1:9", "input=folder", f"input.path={DIGITS}", "input.limit=5"),
                *("input.plot=false", "output=[stdout,mqtt,webhook]", f"output.mqtt.port={port}"),
                *(f"output.webhook.url={receiver.url}", "hydra.run.dir=run"),
            ],
            cwd=tmp_path, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = messages_until(messages, "midcut/result", 5)
    published = [value for topic, value in found if topic == "midcut/result"]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert published == printed == [post for _, _, post in receiver.posts]
    assert sum(result["label"] == label for result, label in zip(published, labels, strict=True)) >= 4
    written = (Path(tmp_path) / "run" / "results.jsonl").read_bytes().splitlines()
    assert [result["latency_s"] for result in published] == [msgspec.json.decode(line)["latency_s"] for line in written]
