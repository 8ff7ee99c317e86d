"""The command line `midcut VERB [hydra overrides]`: splits off the verb and passes the rest to Hydra."""

from __future__ import annotations

import atexit
import difflib
import gc
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
"""Exit status after Ctrl-C, by the convention of shells."""
CLOSED_PIPE = 141
"""Exit status after the reader of the output has gone, likewise."""


@dataclass(frozen=True)
class Verb:
    """A verb of the command. With `hydra` it takes Hydra overrides; otherwise it parses its own arguments."""

    summary: str
    example: str
    hydra: bool = True


VERBS = {
    "plan": Verb(
        "forecast latency and cost of every cut for one observation, and pick a cut",
        "midcut plan model=vgg16 planner.w=0.3",
    ),
    "profile": Verb(
        "measure the seconds per node of a model on this machine", "midcut profile model=resnet18 role=edge"
    ),
    "export": Verb(
        "write a model as a folder that an edge runs without PyTorch", "midcut export model=alexnet out=alexnet-export"
    ),
    "fit": Verb(
        "fit the paper's clock law, or the seconds of each kind of layer, to profiles",
        "midcut fit profiles='[a.json,b.json]'",
    ),
    "cloud": Verb(
        "serve the cloud: compute what comes after the cut, without keeping state",
        "midcut cloud model='[alexnet,mnist]'",
    ),
    "edge": Verb(
        "serve or stream inferences at the edge, and move the cut as conditions change",
        "midcut edge model=mnist input=folder input.path=DIR",
    ),
    "simulate": Verb("evaluate planners on many samples, without sockets", "midcut simulate w=0:1:0.05 population=200"),
    "schedule": Verb(
        "place several applications with deadlines on device, edge and cloud",
        "midcut schedule applications='[{model: alexnet, deadline_s: 0.3}]'",
    ),
    "report": Verb(
        "make a report, one page, from run and sweep directories", "midcut report outputs multirun", hydra=False
    ),
    "trace": Verb(
        "import recorded links: mahimahi, Pensieve, Norway, Ghent, UCC, iperf3, CSV",
        "midcut trace import mahimahi Verizon.up --fill clock_mhz=1500,ping_ms=20",
        hydra=False,
    ),
    "prices": Verb(
        "find a price in a price file of AWS, as a setting of cost=billed",
        "midcut prices index.json --type t3.xlarge --location 'US East (N. Virginia)'",
        hydra=False,
    ),
    "convert": Verb(
        "make a safetensors file of a .pth file with weights", "midcut convert net.pth net.safetensors", hydra=False
    ),
    "plugins": Verb(
        "list installed plugins and components, and their problems", "midcut plugins --kind planner", hydra=False
    ),
}

_FLAGS = """\
Any verb takes Hydra's overrides and flags:
  group=name        choose a component          planner=weighted_sum  policy=paper
  a.b=value         change a setting            planner.w=0.3  telemetry.constant.ping_ms=80
  -m, --multirun    sweep over several values   planner.w='range(0,1.01,0.05)'
  --cfg job         show the composed config    -sc install=bash    shell completion
  --help            show the verb's groups and settings
"""


def main() -> None:
    """Entry point of the `midcut` command."""
    arguments = sys.argv[1:]
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    # At exit Python searches all objects for cycles: half a second with torch, of which nobody has any use.
    atexit.register(gc.freeze)
    gc.disable()  # until the verb runs: what imports and configs make stays
    try:
        try:
            _dispatch(arguments)
        finally:
            gc.enable()
            sys.stdout.flush()
    except BrokenPipeError:  # what reads the output, such as `head`, has read enough
        _silence_stdout()
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        if traceback_wanted:
            raise
        _silence_stdout()
        sys.exit(f"{' '.join(['midcut', *arguments[:1]])}: {_os_error_line(error)}")
    except KeyboardInterrupt:
        sys.stderr.write(f"{' '.join(['midcut', *arguments[:1]])}: interrupted\n")
        sys.exit(INTERRUPTED)


def _os_error_line(error: OSError) -> str:
    """What the system refused, and at which file, where it names one."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return reason
    return f"{reason}: {error.filename}; hydra.run.dir=DIR chooses another run directory"


def _silence_stdout() -> None:
    """Drop what is still buffered for an output that takes no more, which Python would try to write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _dispatch(arguments: Sequence[str]) -> None:
    if arguments[:1] in (["-sc"], ["--shell-completion"]) or arguments[:1] == ["--shell_completion"]:
        _print_completions(arguments)
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

        sys.stdout.write(verb_usage(arguments[0], VERBS[arguments[0]].summary, arguments[1:]))
    elif VERBS[arguments[0]].hydra:
        _run_hydra(arguments[0], arguments[1:])
    else:
        module = importlib.import_module(f"midcut.cli.verbs.{arguments[0]}")
        gc.enable()
        sys.exit(module.main(arguments[1:]))


def usage() -> str:
    """The text of `midcut --help`."""
    rows = "".join(f"  {name:<10}{verb.summary}\n{'':<12}{verb.example}\n" for name, verb in VERBS.items())
    return f"usage: midcut VERB [overrides]\n\n{rows}\n{_FLAGS}"


def _run_hydra(verb: str, arguments: Sequence[str]) -> None:
    """Let Hydra run the verb. An expected error is printed as one line; HYDRA_FULL_ERROR=1 prints its traceback."""
    import hydra  # noqa: PLC0415 - a quarter of a second that `midcut --help` saves
    from hydra.errors import CompactHydraException  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    from midcut.cli import choices, hints  # noqa: PLC0415
    from midcut.cli.sweeps import SweepRecorder  # noqa: PLC0415
    from midcut.config import composition, failures  # noqa: PLC0415
    from midcut.config.folders import conf_dir  # noqa: PLC0415
    from midcut.config.registry import registry  # noqa: PLC0415
    from midcut.errors import MidcutError  # noqa: PLC0415

    composition.register()
    for problem in registry().problems:
        sys.stderr.write(f"midcut: warning: {problem}\n")
    sys.argv = ["midcut", *arguments]
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # Hydra then raises errors instead of printing them in several lines
    try:
        hints.check_form(verb, arguments)
        choices.check_choices(arguments)
        task = _make_task(verb, traceback_wanted=traceback_wanted)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
    except (CompactHydraException, MidcutError, YAMLError) as error:
        if traceback_wanted:
            raise
        SweepRecorder.print_table()
        line = failures.one_line(error)
        meant = hints.better_key(verb, arguments, line)
        sys.exit(f"midcut {verb}: {line.partition('; ')[0]}; {meant}" if meant else f"midcut {verb}: {line}")


def _make_task(verb: str, *, traceback_wanted: bool) -> Callable[[DictConfig], Any]:
    """The function that Hydra calls. It imports the verb's module, so that help and completion need no torch."""

    def task(config: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
        from hydra.types import RunMode  # noqa: PLC0415
        from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

        from midcut.cli import logs  # noqa: PLC0415
        from midcut.cli.sweeps import objective_names, with_objectives  # noqa: PLC0415
        from midcut.config import composition, failures  # noqa: PLC0415
        from midcut.errors import MidcutError  # noqa: PLC0415

        composition.register()
        logs.configure()
        try:
            names = objective_names(config)
            module = importlib.import_module(f"midcut.cli.verbs.{verb}")
            gc.enable()
            return with_objectives(module.run(config), names)
        except (MidcutError, OmegaConfBaseException) as error:
            if traceback_wanted or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the sweep records the error with the number of the job
            sys.exit(f"midcut {verb}: {failures.one_line(error)}")

    return task


def _print_completions(arguments: Sequence[str]) -> None:
    """Serve shell completion: `install=SHELL` prints Hydra's script, `query=SHELL` what can complete COMP_LINE."""
    if not any(argument.startswith("query=") for argument in arguments):
        _run_hydra("plan", arguments)
        return
    typed = os.environ.get("COMP_LINE", "")
    words = [*typed.split()[1:], *([""] if typed.endswith(" ") else [])]
    if len(words) < 2:
        candidates = [verb for verb in VERBS if verb.startswith("".join(words))]
    elif words[0] in VERBS and VERBS[words[0]].hydra:
        from midcut.cli.usage import completions  # noqa: PLC0415 - loads the plugins

        candidates = completions(words[0], words[1:])
    else:
        candidates = []
    sys.stdout.write(" ".join(candidates) + "\n")
