"""Makes a `Partition` of a model: captures it, verifies its cuts, and selects those that the config allows."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture, Order
from midcut.errors import ConfigError, GraphError, MidcutError
from midcut.graph.attention import has_fast_path, without_fast_path
from midcut.graph.batch_sizes import BatchBranchError
from midcut.graph.cache import CaptureCache, usable_key
from midcut.graph.capture import capture
from midcut.graph.examining import examine_graph, expected_values, find_refusals, make_cuts
from midcut.graph.features import describe_nodes
from midcut.graph.fingerprint import fingerprint
from midcut.graph.outputs import Position, name_outputs
from midcut.graph.partitioned import Captured, Partition
from midcut.graph.resizing import at_both_ends, check_ranges, resized
from midcut.graph.saving import keep, restore
from midcut.graph.shapes import learn_batch
from midcut.graph.sizes import SizedPartitions
from midcut.graph.stateless import observe
from midcut.graph.varying import find_varying
from midcut.graph.verify import same_bits
from midcut.planning.cuts import legal_cuts
from midcut.serving.picture_folder import picture_files, read_pictures
from midcut.types import CutTable

if TYPE_CHECKING:
    from midcut.config.settings import CutSettings
    from midcut.graph.program import Program
    from midcut.graph.stateless import Observed
    from midcut.types import LoadedModel

log = structlog.get_logger(__name__)
_LOGGED_REASONS: Final = 3
# Below this share of cuts on offer the other tracer is tried, too.
_ENOUGH: Final = 0.9


def partition(model: LoadedModel, settings: CutSettings) -> Partition:
    """Capture a model, verify its cuts, and select those that the config allows.

    If the configured tracer fails, its graph does not give the module's output, or it leaves few cuts, the other one is
    tried. The module is left as it is after its first call.

    Raises:
        GraphError: neither tracer can capture the model.
        ConfigError: the config allows no cut.
    """
    if model.exported is not None:
        raise GraphError(f"model {model.name!r} is an exported folder, which only `midcut edge` runs")
    if model.module.training:
        raise GraphError(f"model {model.name!r} cannot be cut: the module is in training mode; call eval() first")
    check_ranges(model)
    key = usable_key(model, settings)
    cache = CaptureCache(settings.cache, key) if settings.cache is not None and key else None
    restored = None if cache is None else restore(cache, model, settings)
    captured = restored or _capture_anew(model, settings)
    if cache is not None and restored is None:
        keep(cache, captured)
    if captured.refused:
        first = dict(itertools.islice(captured.refused.items(), _LOGGED_REASONS))
        log.warning("cuts not offered", model=model.name, count=len(captured.refused), cuts=first)
    return _with_sizes(model, settings, captured)


def partition_from_cache(model: LoadedModel, settings: CutSettings) -> Partition | None:
    """The model as it was captured before, by this process or another; None where it would have to be traced.

    Unlike `partition`, this may be called while other threads run models: tracers change torch's classes meanwhile.
    """
    key = usable_key(model, settings)
    if settings.cache is None or not key:
        return None
    captured = restore(CaptureCache(settings.cache, key), model, settings, trace=False)
    return None if captured is None else _with_sizes(model, settings, captured)


def _with_sizes(model: LoadedModel, settings: CutSettings, captured: Partition) -> Partition:
    if model.ranges:
        captured.sizes = SizedPartitions(captured.table, functools.partial(resized, model, settings, captured))
    captured.pictures = functools.partial(_pictures, model)
    captured.weights = [*model.module.parameters(), *model.module.buffers()]
    return captured


def _pictures(model: LoadedModel, folder: str, most: int, setting: str) -> list[tuple[Any, ...]]:
    if len(model.example) != 1:
        raise ConfigError(f"{setting}: model {model.name!r} takes {len(model.example)} inputs, so no pictures")
    return [(value,) for value in read_pictures(model, picture_files(folder, most, setting), setting)]


def _capture_anew(model: LoadedModel, settings: CutSettings) -> Partition:
    try:
        observed = observe(model.module, model.example)
    except GraphError as error:
        raise GraphError(f"model {model.name!r} cannot be cut: {error}") from error
    return _best_capture(model, settings, observed)


def _best_capture(model: LoadedModel, settings: CutSettings, observed: Observed) -> Partition:
    other = Capture.export if settings.capture is Capture.fx else Capture.fx
    best: Partition | None = None
    reasons: list[str] = []
    for how in (settings.capture, other):
        try:
            captured = _capture(model, settings, how, observed)
        except GraphError as error:
            reason = str(error)
            reasons.append(reason if reason.startswith(how.value) else f"{how.value}: {reason}")
            if best is None:
                log.warning("capture failed", model=model.name, capture=how.value, reason=str(error))
            continue
        why = "" if best is None else _why_better(captured, best)
        if why:
            log.info("captured by the other tracer", model=model.name, capture=how.value, reason=why)
        if best is None or why:
            best = captured
        if _share_offered(best) >= _ENOUGH and not best.captured.program.opaque:
            break
    if best is None:
        raise GraphError(f"model {model.name!r} cannot be captured; {'; '.join(reasons)}")
    return best


def _share_offered(parts: Partition) -> float:
    return 1.0 - len(parts.refused) / len(parts.table.cuts)


def _why_better(new: Partition, old: Partition) -> str:
    """Why a capture by the second tracer is used in place of the first one's; `""` if it is not."""
    if (
        old.captured.program.opaque
        and not new.captured.program.opaque
        and _share_offered(new) >= min(_share_offered(old), _ENOUGH)
    ):
        return f"{old.table.capture} takes {', '.join(old.captured.program.opaque[:_LOGGED_REASONS])} as a single node"
    offered, before = (len(parts.table.cuts) - len(parts.refused) for parts in (new, old))
    if offered > before and _share_offered(new) > _share_offered(old):
        return f"{offered} of {len(new.table.cuts)} cuts, {old.table.capture} has {before} of {len(old.table.cuts)}"
    return ""


def _capture(model: LoadedModel, settings: CutSettings, how: Capture, observed: Observed) -> Partition:
    if how is Capture.fx:
        try:
            return _capture_once(model, settings, how, observed)
        except BatchBranchError as error:
            captured = _capture_once(model, settings, how, observed, any_batch=False)
            _warn_of_one_batch(model, error)
            return captured
    output = observed.output
    with without_fast_path():
        if has_fast_path(model.module):
            with torch.no_grad():
                output = model.module(*[value.clone() for value in model.example])
            log.info("fast path of attention is off", model=model.name, reason="its parts give other last bits")
        observed = observed._replace(output=output)
        try:
            return _capture_once(model, settings, how, observed)
        except GraphError as error:
            try:
                captured = _capture_once(model, settings, how, observed, any_batch=False)
            except GraphError:
                raise error from None
            _warn_of_one_batch(model, error)
            return captured


def _warn_of_one_batch(model: LoadedModel, error: GraphError) -> None:
    log.warning("captured for batch size 1 only", model=model.name, reason=str(error))


def _capture_once(
    model: LoadedModel, settings: CutSettings, how: Capture, observed: Observed, *, any_batch: bool = True
) -> Partition:
    try:
        program = capture(model.module, model.example, how, any_batch=any_batch, ranges=model.ranges)
        parts = _make_partition(program, model, settings, how, observed, any_batch=any_batch)
        return at_both_ends(model, settings, parts)
    except MidcutError:
        raise
    except Exception as error:  # kernels and the user's classes may raise anything
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise GraphError(f"the captured graph cannot be used: {type(error).__name__}: {first_line}") from error
    finally:
        observed.state.restore()


def _make_partition(
    program: Program, model: LoadedModel, settings: CutSettings, how: Capture, observed: Observed, *, any_batch: bool
) -> Partition:
    if len(program.live[0]) != len(model.example):
        raise GraphError(f"the graph uses {len(program.live[0])} of the model's {len(model.example)} inputs")
    examination = examine_graph(program, model, settings)
    if settings.order is Order.narrow:
        nodes = describe_nodes(program, examination, model.module, model.example)
        from midcut.graph.ordering import reorder  # noqa: PLC0415 - scipy

        program = reorder(program, examination, nodes)
        examination = examine_graph(program, model, settings)
    leaves, structure = pytree.tree_flatten(observed.output)
    if not same_bits(pytree.tree_leaves(program.output_leaves(examination.output)), leaves):
        raise GraphError("the captured graph does not give the module's own output bit for bit")
    program.protect(examination.group, examination.writes)
    varying = find_varying(program, model.example, examination) if observed.data_dependent else set()
    growth = learn_batch(program, model.example, examination, observed.forward_s, any_batch=any_batch)
    expected = expected_values(program, examination, growth, varying)
    cuts = make_cuts(program, find_refusals(program, examination, varying), expected)
    graph, weights = fingerprint(program, cuts, model.module, model.ranges)
    table = CutTable(
        model=model.name,
        capture=how.value,
        nodes=describe_nodes(program, examination, model.module, model.example),
        cuts=cuts,
        graph=graph,
        weights=weights,
        ranges=tuple(model.ranges),
    )
    legal = legal_cuts(table, settings)
    captured = Captured(
        program, table, expected, examination.forms, structure, model.example, any_batch, settled=not observed.made
    )
    assembled = Partition(captured, legal).assemble([Position(index) for index in range(len(cuts[-1].values))])
    named = msgspec.structs.replace(table, outputs=name_outputs(assembled))
    return Partition(dataclasses.replace(captured, table=named), legal)
