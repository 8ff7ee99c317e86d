"""The files that runs leave behind: each format is defined once, here, and written and read by that definition.

| file | module | written by |
|---|---|---|
| `plan.json` | `midcut.results.plan` | `midcut plan` |
| `results.jsonl`, `summary.json` | `midcut.results.stream` | `midcut edge input=folder` |
| `simulation.json` | `midcut.results.simulation` | `midcut simulate` |
| `users.json` | `midcut.results.users` | `midcut simulate users=N` |
| `schedule.json` | `midcut.results.schedule` | `midcut schedule` |
| `sweep.jsonl` | `midcut.results.sweep` | every verb with `-m` |
| `evaluation.json` | `midcut.results.evaluation` | `tools/evaluate` |

Each module names its file and has the structs of its format, a function that writes and one that reads. Profiles and
fits are in `midcut.profiles`. Plugins may use all of these modules; none imports torch. Units are in the names:
`_s` seconds, `_usd` US dollars, `_bytes`, `_mhz`, `_kbps` kbit/s, `_ms` milliseconds. JSON has no NaN and no infinity:
both are written as `null`.

    from pathlib import Path
    from midcut.results.plan import read_plan

    plan = read_plan(Path("outputs/plan/2026-01-31_12-00-00/plan.json"))
    fastest = min(plan.rows, key=lambda row: row.latency_s)
"""
