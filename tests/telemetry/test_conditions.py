"""Conditions that a cloud states; an older cloud is not asked again and again."""

from __future__ import annotations

from midcut_telemetry import conditions


def test_a_cloud_without_conditions_is_asked_once_a_minute_and_its_log_stays_short(cloud, monkeypatch):
    source = conditions.Conditions(cloud.url, timeout_s=60.0, interval_s=2.0)
    cloud.status = 404
    try:
        assert [source.read() for _ in range(5)] == [{}] * 5
        assert cloud.requests == [("GET", "/v1/conditions")]
        cloud.status = 200
        later_s = conditions.time.monotonic() + 61.0
        monkeypatch.setattr(conditions.time, "monotonic", lambda: later_s)
        source.read()
        assert len(cloud.requests) == 2
    finally:
        source.close()
