"""`midcut VERB [hydra overrides]`: takes the verb off and hands the rest to Hydra."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omegaconf import DictConfig


FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Verb:
    """One thing midcut does. `hydra` verbs take overrides; the others parse their own arguments."""

    summary: str
    example: str
    hydra: bool = True


VERBS = {
    "plan": Verb("forecast every cut for one observation and pick one", "midcut plan model=vgg16 planner.w=0.3"),
    "profile": Verb("measure seconds per node on this machine", "midcut profile model=resnet18 role=edge"),
    "fit": Verb("fit the clock law of the paper's Figure 4 to profiles", "midcut fit profiles='[a.json,b.json]'"),
    "cloud": Verb("serve tails: the stateless cloud", "midcut cloud model='[alexnet,mnist]'"),
    "edge": Verb("serve or stream inferences, moving the cut", "midcut edge model=mnist input=folder input.path=DIR"),
    "simulate": Verb("evaluate planners on many samples, no sockets", "midcut simulate w=0:1:0.05 population=200"),
    "report": Verb("turn run and sweep directories into one page", "midcut report outputs multirun", hydra=False),
    "plugins": Verb("list what is installed, and what is wrong with it", "midcut plugins --kind planner", hydra=False),
}

_FLAGS = """\
Any verb takes Hydra's overrides and flags:
  group=name        choose a component          planner=weighted_sum  policy=paper
  a.b=value         set a knob                  planner.w=0.3  telemetry.constant.ping_ms=80
  -m, --multirun    sweep                       planner.w='range(0,1.01,0.05)'
  --cfg job         show the composed config    -sc install=bash    shell completion
  --help            the verb's groups and knobs
"""


def main() -> None:
    """Entry point of the `midcut` command."""
    arguments = sys.argv[1:]
    try:
        _dispatch(arguments)
    except KeyboardInterrupt:
        sys.stderr.write(f"{' '.join(['midcut', *arguments[:1]])}: interrupted\n")
        sys.exit(INTERRUPTED)


def _dispatch(arguments: Sequence[str]) -> None:
    if arguments[:1] in (["-sc"], ["--shell-completion"]) or arguments[:1] == ["--shell_completion"]:
        _complete(arguments)
    elif not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
    elif arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"midcut {importlib.metadata.version('midcut')}\n")
    elif arguments[0] not in VERBS:
        close = difflib.get_close_matches(arguments[0], VERBS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        sys.exit(f"midcut: no verb {arguments[0]!r}; {hint}there are: {', '.join(VERBS)}")
    elif VERBS[arguments[0]].hydra and {"-h", "--help"} & set(arguments):
        from midcut.cli.usage import verb_usage  # noqa: PLC0415 - loads the plugins

        sys.stdout.write(verb_usage(arguments[0], VERBS[arguments[0]].summary))
    elif VERBS[arguments[0]].hydra:
        _run(arguments[0], arguments[1:])
    else:
        sys.exit(importlib.import_module(f"midcut.cli.verbs.{arguments[0]}").main(arguments[1:]))


def usage() -> str:
    """What `midcut --help` prints."""
    rows = "".join(f"  {name:<9}{verb.summary}\n{'':<11}{verb.example}\n" for name, verb in VERBS.items())
    return f"usage: midcut VERB [overrides]\n\n{rows}\n{_FLAGS}"


def _run(verb: str, arguments: Sequence[str]) -> None:
    """Hand over to Hydra. An expected error ends in one line; HYDRA_FULL_ERROR=1 asks for its traceback."""
    import hydra  # noqa: PLC0415 - a quarter of a second that `midcut --help` does not owe
    from hydra.errors import CompactHydraException  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    from midcut.cli import choices, failures  # noqa: PLC0415
    from midcut.config import composition  # noqa: PLC0415
    from midcut.config.folders import conf_dir  # noqa: PLC0415
    from midcut.config.registry import registry  # noqa: PLC0415
    from midcut.errors import MidcutError  # noqa: PLC0415

    composition.register()
    for problem in registry().problems:
        sys.stderr.write(f"midcut: warning: {problem}\n")
    sys.argv = ["midcut", *arguments]
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # Hydra then raises what it would otherwise print in several lines
    try:
        choices.check(arguments)
        task = _task(verb, traceback_wanted=traceback_wanted)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
    except (CompactHydraException, MidcutError, YAMLError) as error:
        if traceback_wanted:
            raise
        sys.exit(f"midcut {verb}: {failures.one_line(error)}")


def _task(verb: str, *, traceback_wanted: bool) -> Callable[[DictConfig], Any]:
    """What Hydra runs. It imports the verb's module itself: help and completion owe no torch."""

    def task(config: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
        from hydra.types import RunMode  # noqa: PLC0415
        from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

        from midcut.cli import failures, logs  # noqa: PLC0415
        from midcut.cli.sweeps import objectives, scored  # noqa: PLC0415
        from midcut.config import composition  # noqa: PLC0415
        from midcut.errors import MidcutError  # noqa: PLC0415

        composition.register()
        logs.configure()
        try:
            names = objectives(config)
            return scored(importlib.import_module(f"midcut.cli.verbs.{verb}").run(config), names)
        except (MidcutError, OmegaConfBaseException) as error:
            if traceback_wanted or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # a sweep records it and says which job it was
            sys.exit(f"midcut {verb}: {failures.one_line(error)}")

    return task


def _complete(arguments: Sequence[str]) -> None:
    """Answer a shell: `install=SHELL` prints Hydra's script, `query=SHELL` the words that fit COMP_LINE."""
    if not any(argument.startswith("query=") for argument in arguments):
        _run("plan", arguments)
        return
    line = os.environ.get("COMP_LINE", "")
    words = [*line.split()[1:], *([""] if line.endswith(" ") else [])]
    if len(words) < 2:
        found = [verb for verb in VERBS if verb.startswith("".join(words))]
    elif words[0] in VERBS and VERBS[words[0]].hydra:
        from midcut.cli.usage import completions  # noqa: PLC0415 - loads the plugins

        found = completions(words[0], words[1:])
    else:
        found = []
    sys.stdout.write(" ".join(found) + "\n")
