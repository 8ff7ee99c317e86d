from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError, TelemetryError
from midcut.types import Transfer

SOON_S = 60.0


class Scripted:
    """Gives what `values` holds at the time; an exception there is raised."""

    interval_s = 0.01

    def __init__(self, **values):
        self.values = values
        self.error = None
        self.closed_by = []
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return dict(self.values)

    def close(self):
        self.closed_by.append(threading.current_thread().name)


class Stuck(Scripted):
    def read(self):
        threading.Event().wait()


class Listener(Scripted):
    def __init__(self):
        super().__init__()
        self.heard = []

    def transferred(self, transfer):
        self.heard.append(transfer)
        if self.error is not None:
            raise self.error


class UntellableError(Exception):
    def __str__(self):
        raise ValueError("no text either")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("a panic"),
        MemoryError(),
        UntellableError(),
        RecursionError("deep"),
        ValueError("x" * 100_000),
        ValueError("two\nlines \x1b[2J"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_source_raises_is_reported_and_tried_again(error):
    source = Scripted(bandwidth_kbps=1000.0)
    source.error = error
    with capture_logs() as logs, TelemetryHub({"odd": source}, 30.0) as hub:
        until(lambda: source.reads > 1)
        why = hub.observe().missing["bandwidth_kbps"]
        assert type(error).__name__ in why
        assert len(why) < 500
        assert "\n" not in why
        source.error = None
        until(lambda: hub.observe().bandwidth_kbps == 1000.0)
    assert [entry["event"] for entry in logs] == ["telemetry source failed", "telemetry source recovered"]
    assert source.closed_by == ["telemetry-odd"]


def until(condition):
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "did not come to pass"
        time.sleep(0.005)


def read_again(source):
    """Wait for a whole read that began after this call."""
    done = source.reads
    until(lambda: source.reads > done + 1)


@pytest.fixture
def later(monkeypatch):
    """Puts the clock of hubs, sources and traffic forward."""
    ahead_s, monotonic = 0.0, time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + ahead_s)

    def go(seconds):
        nonlocal ahead_s
        ahead_s += seconds

    return go


def events(logs, source):
    return [entry["event"] for entry in logs if entry.get("source") == source]


def test_sources_merge_with_name_and_age():
    with TelemetryHub({"a": Scripted(clock_mhz=600), "b": Scripted(bandwidth_kbps=5.0, ping_ms=0)}, 5.0) as hub:
        assert hub.wait(SOON_S)
        seen = hub.observe()
    assert seen.values() == {"clock_mhz": 600.0, "bandwidth_kbps": 5.0, "ping_ms": 0.0}
    assert seen.source == {"clock_mhz": "a", "bandwidth_kbps": "b", "ping_ms": "b"}
    assert set(seen.age_s) == set(seen.source)
    assert all(0.0 <= age < SOON_S for age in seen.age_s.values())
    assert seen.missing == {}
    assert abs(seen.at_s - time.time()) < SOON_S


def test_before_anything_is_read_all_is_missing_with_the_reason():
    hub = TelemetryHub({"a": Scripted(clock_mhz=600)}, 5.0)
    seen = hub.observe()
    assert seen.clock_mhz is None
    assert seen.missing["clock_mhz"] == "no telemetry source gave it; a: not answered yet"
    hub.close()


def test_a_field_nobody_gives_is_missing():
    with TelemetryHub({"a": Scripted(clock_mhz=600)}, 5.0) as hub:
        assert hub.wait(SOON_S)
        assert hub.observe().missing == {
            "bandwidth_kbps": "no telemetry source gave it",
            "ping_ms": "no telemetry source gave it",
        }


def test_the_first_listed_wins_and_the_other_stands_in(later):
    first, second = Scripted(ping_ms=1.0), Scripted(ping_ms=2.0)
    with TelemetryHub({"first": first, "second": second}, 30.0) as hub:
        assert hub.wait(SOON_S)
        assert hub.observe().source == {"ping_ms": "first"}
        first.error = TelemetryError("cable pulled")
        read_again(first)
        later(40.0)
        until(lambda: hub.observe().source == {"ping_ms": "second"})
        assert hub.observe().ping_ms == 2.0
        first.error = None
        until(lambda: hub.observe().source == {"ping_ms": "first"})


def test_the_last_good_value_is_used_until_max_age_then_missing_with_the_cause(later):
    source = Scripted(clock_mhz=600)
    with TelemetryHub({"pi": source}, 30.0) as hub:
        assert hub.wait(SOON_S)
        source.error = TelemetryError("no such file")
        read_again(source)
        later(20.0)
        assert hub.observe().clock_mhz == 600.0
        assert hub.observe().age_s["clock_mhz"] > 20.0
        later(20.0)
        assert hub.observe().clock_mhz is None
        assert "pi: last value is" in hub.observe().missing["clock_mhz"]
        assert "over max_age_s=30 (no such file)" in hub.observe().missing["clock_mhz"]


@pytest.mark.parametrize("error", [TelemetryError("no route"), KeyError("x"), ZeroDivisionError("by me")])
def test_trouble_is_reported_once_and_once_more_on_recovery(later, error):
    source = Scripted(clock_mhz=600)
    with capture_logs() as logs, TelemetryHub({"pi": source}, 30.0) as hub:
        for _ in range(2):
            source.error = error
            for _ in range(3):
                read_again(source)
            later(40.0)
            assert hub.observe().clock_mhz is None
            source.error = None
            until(lambda: hub.observe().clock_mhz == 600.0)
            until(lambda: "telemetry source recovered" in events(logs, "pi")[-1:])
    assert events(logs, "pi") == ["telemetry source failed", "telemetry source recovered"] * 2
    assert [entry["log_level"] for entry in logs] == ["warning", "info"] * 2


def test_a_source_that_goes_quiet_is_reported_once(later):
    source = Scripted(bandwidth_kbps=600)
    with capture_logs() as logs, TelemetryHub({"passive": source}, 30.0) as hub:
        assert hub.wait(SOON_S)
        source.values = {}
        read_again(source)
        later(40.0)
        for _ in range(20):
            assert hub.observe().bandwidth_kbps is None
        source.values = {"bandwidth_kbps": 7}
        until(lambda: hub.observe().bandwidth_kbps == 7.0)
        until(lambda: len(events(logs, "passive")) == 2)
    assert events(logs, "passive") == ["telemetry source is stale", "telemetry source recovered"]


@pytest.mark.parametrize("values", [{"clock_mhz": float("nan")}, {"clock_mhz": 0}, {"ping_ms": -1}, {"speed": 3}])
def test_nonsense_is_a_failure_and_never_observed(values):
    with capture_logs() as logs, TelemetryHub({"odd": Scripted(**values)}, 5.0) as hub:
        assert hub.wait(SOON_S)
        assert set(hub.observe().values().values()) == {None}
    assert logs[0]["event"] == "telemetry source failed"
    assert next(iter(values)) in logs[0]["error"]


def test_a_source_that_blocks_for_ever_holds_up_nobody(monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.hub._JOIN_S", 0.1)
    with capture_logs() as logs:
        hub = TelemetryHub({"stuck": Stuck(), "good": Scripted(ping_ms=3.0)}, 0.05)
        hub.start()
        until(lambda: hub.observe().ping_ms == 3.0)
        until(lambda: hub.observe() and "telemetry source is stale" in events(logs, "stuck"))
        assert not hub.wait(0.01)
        begin = time.monotonic()
        hub.close()
        assert time.monotonic() - begin < SOON_S
    assert events(logs, "stuck")[-1] == "telemetry source does not return, abandoned"


def test_each_source_is_closed_once_after_its_last_read():
    source = Scripted(ping_ms=1.0)
    with TelemetryHub({"a": source}, 5.0) as hub:
        assert hub.wait(SOON_S)
    reads = source.reads
    assert source.closed_by == ["telemetry-a"]
    time.sleep(0.05)
    assert source.reads == reads


def test_transfers_reach_listeners_only_and_a_bad_one_is_reported_once():
    good, bad = Listener(), Listener()
    bad.error = ValueError("no")
    transfer = Transfer(sent_bytes=1, received_bytes=2, wall_s=0.1, server_s=0.0, at_s=0.0)
    hub = TelemetryHub({"bad": bad, "deaf": Scripted(), "good": good}, 5.0)
    with capture_logs() as logs:
        for _ in range(3):
            hub.transferred(transfer)
    hub.close()
    assert good.heard == [transfer] * 3
    assert events(logs, "bad") == ["telemetry source failed on a transfer"]


def test_an_interval_over_max_age_is_refused_by_name():
    slow = Scripted()
    slow.interval_s = 60.0
    with pytest.raises(ConfigError, match=r"telemetry\.probe\.interval_s must be over 0 and at most max_age_s=30"):
        TelemetryHub({"probe": slow}, 30.0)


def test_observing_from_many_threads_while_sources_change():
    sources = {f"s{i}": Scripted(clock_mhz=i + 1, ping_ms=i) for i in range(4)}
    with TelemetryHub(sources, 5.0) as hub:
        assert hub.wait(SOON_S)
        seen = []
        threads = [
            threading.Thread(target=lambda: seen.extend(hub.observe().clock_mhz for _ in range(200))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [1.0] * 800


class Standby(Scripted):
    standby = True


class Quiet(Scripted):
    quiet = True


def test_a_standby_rests_while_those_before_it_tell_and_is_not_called_stale(later):
    first, spare = Scripted(bandwidth_kbps=1.0), Standby(bandwidth_kbps=2.0)
    with capture_logs() as logs, TelemetryHub({"first": first, "spare": spare}, 30.0) as hub:
        assert hub.wait(SOON_S)
        until(lambda: first.reads > 3)
        done = spare.reads
        until(lambda: first.reads > 60)
        assert spare.reads <= done + 1
        hub.observe()
        first.values = {}
        read_again(first)
        later(20.0)
        until(lambda: spare.reads > done + 2)
        until(lambda: hub.observe().source == {"bandwidth_kbps": "spare"})
    assert "telemetry source is stale" not in events(logs, "spare")


def test_the_newer_value_of_a_standby_counts_where_the_first_is_past_half_its_life(later):
    first, spare = Scripted(bandwidth_kbps=1.0), Standby(bandwidth_kbps=2.0)
    with TelemetryHub({"first": first, "spare": spare}, 30.0) as hub:
        assert hub.wait(SOON_S)
        first.values = {}
        read_again(first)
        later(20.0)
        until(lambda: hub.observe().bandwidth_kbps == 2.0)
        assert first.reads > 0
        first.values = {"bandwidth_kbps": 3.0}
        until(lambda: hub.observe().bandwidth_kbps == 3.0)


def test_a_quiet_source_is_read_between_exchanges(monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", SOON_S)
    source = Quiet(ping_ms=20.0)
    with TelemetryHub({"ping": source}, 5.0) as hub:
        assert hub.wait(SOON_S)
        with hub.exchanging(), hub.exchanging():
            done = source.reads
            time.sleep(0.2)
            assert source.reads <= done + 1  # one was under way
            source.values = {"ping_ms": 21.0}
        until(lambda: hub.observe().ping_ms == 21.0)


def test_a_ping_during_an_exchange_does_not_replace_a_smaller_one_of_late(monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", 0.01)
    monkeypatch.setattr("midcut.edge.telemetry.source_state._KEEP_PING_S", SOON_S)
    source = Quiet(ping_ms=20.0)
    with TelemetryHub({"ping": source}, 5.0) as hub:
        assert hub.wait(SOON_S)
        with hub.exchanging():
            read_again(source)
            source.values = {"ping_ms": 180.0}
            read_again(source)
            assert hub.observe().ping_ms == 20.0
            source.values = {"ping_ms": 15.0}  # smaller it counts
            until(lambda: hub.observe().ping_ms == 15.0)
        source.values = {"ping_ms": 100.0}  # and what was read in calm does
        until(lambda: hub.observe().ping_ms == 100.0)


def test_a_ping_of_before_an_upload_holds_as_long_as_the_upload(later, monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", 0.01)
    source = Quiet(ping_ms=20.0)
    with TelemetryHub({"ping": source}, 3000.0) as hub:
        assert hub.wait(SOON_S)
        with hub.exchanging():
            source.values = {"ping_ms": 800.0}
            for _ in range(5):
                read_again(source)
                later(1000.0)
            read_again(source)
            assert hub.observe().ping_ms == 20.0
        until(lambda: hub.observe().ping_ms == 800.0)


def test_a_ping_that_an_upload_overtook_does_not_replace_the_one_from_before_it(monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", 0.01)

    class Overtaken(Quiet):
        def read(self):
            if self.values["ping_ms"] > 20.0:
                started.set()
                assert under_way.wait(SOON_S)
            return super().read()

    started, under_way = threading.Event(), threading.Event()
    source = Overtaken(ping_ms=20.0)
    with TelemetryHub({"ping": source}, 3000.0) as hub:
        assert hub.wait(SOON_S)
        source.values = {"ping_ms": 1000.0 * SOON_S}
        assert started.wait(SOON_S)
        with hub.exchanging():
            under_way.set()
            read_again(source)
            assert hub.observe().ping_ms == 20.0


def test_a_ping_during_exchanges_that_overlap_replaces_one_that_is_older_than_these(later, monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", 0.01)
    source = Quiet(ping_ms=20.0)
    with TelemetryHub({"ping": source}, 3000.0) as hub:
        assert hub.wait(SOON_S)
        with ExitStack() as under_way:
            under_way.enter_context(hub.exchanging())
            source.values = {"ping_ms": 800.0}
            read_again(source)
            assert hub.observe().ping_ms == 20.0
            later(1000.0)
            with hub.exchanging():
                under_way.close()
                until(lambda: hub.observe().ping_ms == 800.0)


def test_a_listener_is_read_soon_after_an_exchange():
    source = Listener()
    source.interval_s = 10 * SOON_S
    with TelemetryHub({"passive": source}, 20 * SOON_S) as hub:
        assert hub.wait(SOON_S)
        source.values = {"bandwidth_kbps": 7.0}
        hub.transferred(Transfer(sent_bytes=1, received_bytes=2, wall_s=0.1, server_s=0.0, at_s=0.0))
        until(lambda: hub.observe().bandwidth_kbps == 7.0)


def test_a_source_that_cannot_bring_its_value_up_to_date_keeps_it_and_is_logged_once():
    class Ageing(Scripted):
        def present(self, running):
            if running:
                raise RuntimeError("no estimate")
            return {"bandwidth_kbps": 5.0}

    with capture_logs() as logs, TelemetryHub({"ageing": Ageing(bandwidth_kbps=7.0)}, 300.0) as hub:
        assert hub.wait(SOON_S)
        assert hub.observe().bandwidth_kbps == 5.0
        with hub.exchanging(1000):
            assert [hub.observe().bandwidth_kbps for _ in range(3)] == [7.0] * 3
    assert events(logs, "ageing").count("telemetry source failed") == 1


def test_how_long_the_link_rests_between_exchanges_is_observed(later):
    hub = TelemetryHub({}, 5.0)
    assert hub.observe().pause_s is None
    for rest_s in (500.0, 500.0, 500.0, 0.0):
        with hub.exchanging():
            pass
        later(rest_s)
    assert 500.0 <= hub.observe().pause_s < 1000.0  # the median of three, though there was none lately
    later(3000.0)
    assert hub.observe().pause_s >= 3000.0  # it rests now for longer than that
    with hub.exchanging():
        assert hub.observe().pause_s < 3000.0
    hub.close()


def test_closing_waits_for_no_calm(monkeypatch):
    monkeypatch.setattr("midcut.edge.telemetry.source_state._CALM_S", 10 * SOON_S)
    monkeypatch.setattr("midcut.edge.telemetry.hub._JOIN_S", SOON_S)
    hub = TelemetryHub({"ping": Quiet(ping_ms=1.0)}, 5.0)
    with capture_logs() as logs, hub.exchanging():
        hub.start()
        hub.close()
    assert "telemetry source does not return, abandoned" not in events(logs, "ping")


def test_a_sources_own_max_age_is_shorter_than_the_hubs(later):
    quick, steady = Scripted(bandwidth_kbps=1.0), Scripted(bandwidth_kbps=2.0)
    quick.max_age_s = 20.0
    with TelemetryHub({"quick": quick, "steady": steady}, 60.0) as hub:
        assert hub.wait(SOON_S)
        assert hub.observe().source == {"bandwidth_kbps": "quick"}
        quick.values = {}  # it has nothing new to say
        read_again(quick)
        later(30.0)
        until(lambda: hub.observe().source == {"bandwidth_kbps": "steady"})
        assert hub.observe().bandwidth_kbps == 2.0


def test_an_interval_over_the_sources_own_max_age_is_refused():
    slow = Scripted()
    slow.interval_s, slow.max_age_s = 5.0, 3.0
    with pytest.raises(ConfigError, match=r"telemetry\.passive\.interval_s must be over 0 and at most max_age_s=3,"):
        TelemetryHub({"passive": slow}, 30.0)
