"""Two clouds behind a load balancer, with the config that ships, or a cloud on Ray Serve."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.processes import MIDCUT, free_port, start, start_ready, stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[1] / "deploy"
_CONFIGS = {"nginx": ("nginx.conf", 8780), "haproxy": ("haproxy.cfg", 8781)}
_RAY_START_S, _RAY_STOP_S = 120.0, 60.0


@contextmanager
def behind_balancer(
    name: str, log: Path, overrides: tuple[str, ...]
) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Two clouds behind `nginx` or `haproxy`; yields the balancer's address and the clouds."""
    if shutil.which(name) is None:
        raise SystemExit(f"{name} is not installed: apt-get install {name}")
    file, shipped = _CONFIGS[name]
    started: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            text, front_port = (DEPLOY / file).read_text(), free_port()
            for port in (8710, 8711):
                process, ready = start_ready([*MIDCUT, "cloud", *overrides, "server.port=0"], log)
                started.append(process)
                text = text.replace(f"127.0.0.1:{port}", ready[1].removeprefix("http://"))
            config = Path(folder) / file
            config.write_text(text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{front_port}"))
            command = [name, "-p", folder, "-c", str(config)] if name == "nginx" else [name, "-db", "-f", str(config)]
            started.append(start(command, log, piped=False))
            _wait_healthy(front_port, 10.0, log)
            yield f"http://127.0.0.1:{front_port}", started[:2]
        finally:
            for process in started:
                stop(process)


@contextmanager
def on_ray(python: str, log: Path, overrides: tuple[str, ...]) -> Iterator[str]:
    """`midcut.cloud.on_ray` in an interpreter that has Ray; yields its address."""
    port = free_port()
    command = [python, "-m", "midcut.cloud.on_ray", "--port", str(port), *overrides]
    process = start(command, log, piped=False)
    try:
        _wait_healthy(port, _RAY_START_S, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process, _RAY_STOP_S)


def _wait_healthy(port: int, seconds: float, log: Path) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.2)
    raise SystemExit(f"nothing is ready on port {port} after {seconds:g} s: {log.read_text()[-2000:]}")
