"""What midcut's two HTTP servers share: body limits, authentication, metrics, JSON errors, graceful shutdown."""

from __future__ import annotations

from midcut.serving.access import OPEN_PATHS, check_credentials
from midcut.serving.app import ARRIVED_AT_S, METRICS_PATH, REGISTRY, REQUEST_ID, bind_request_id, new_app
from midcut.serving.error_responses import RefusedError, json_response
from midcut.serving.in_flight import UPLOADS_PER_PLACE, InFlightCounter
from midcut.serving.inference import ModelRef, add_inference_routes, message_response, unknown_version
from midcut.serving.lifecycle import DRAIN, Drain, Served, make_runner, serve, stop_signals
from midcut.serving.request_body import discard_body, read_body, read_chunks

__all__ = [
    "ARRIVED_AT_S",
    "DRAIN",
    "METRICS_PATH",
    "OPEN_PATHS",
    "REGISTRY",
    "REQUEST_ID",
    "UPLOADS_PER_PLACE",
    "Drain",
    "InFlightCounter",
    "ModelRef",
    "RefusedError",
    "Served",
    "add_inference_routes",
    "bind_request_id",
    "check_credentials",
    "discard_body",
    "json_response",
    "make_runner",
    "message_response",
    "new_app",
    "read_body",
    "read_chunks",
    "serve",
    "stop_signals",
    "unknown_version",
]
