"""Finds what a dotted path names, and makes a module of it."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError, GraphError
from midcut_models.torchvision_shim import declare_operators, use_declared_operators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def make_module(path: str, kwargs: Mapping[str, Any], seed: int, key: str) -> torch.nn.Module:
    """Call the class, factory or class method at a path, with torch seeded, or take the module that is there.

    The module is in eval mode.

    Args:
        key: the config path of `path`, for errors.

    Raises:
        ConfigError: there is no such thing, or it cannot be imported.
        GraphError: the call fails, or gives no module.
    """
    try:
        with _current_folder_importable(), torch.random.fork_rng(devices=[]):
            declare_operators()
            torch.manual_seed(seed)  # also for a module that is made while its file is imported
            found = _find(path, key)
            use_declared_operators()
            torch.manual_seed(seed)
            ready = isinstance(found, (torch.nn.Module, torch.export.ExportedProgram)) and not kwargs
            made = found if ready else found(**kwargs)
            if isinstance(made, torch.export.ExportedProgram):
                made = made.module()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # the user's constructor may raise anything
        raise GraphError(f"{path}(**{dict(kwargs)}) failed: {_error_line(error)}") from error
    if not isinstance(made, torch.nn.Module):
        raise GraphError(f"{path} returned a {type(made).__name__}, not a torch.nn.Module")
    return _in_eval_mode(made, path)


def _in_eval_mode(module: torch.nn.Module, path: str) -> torch.nn.Module:
    try:
        return module.eval()
    except NotImplementedError:  # what torch.export makes has no modes: it is what it was when it was exported
        for part in module.modules():
            part.training = False
        return module
    except Exception as error:  # the user's eval may raise anything
        raise GraphError(f"{path}: eval() failed: {_error_line(error)}") from error


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Let imports search the current folder, too, as `python -m` does and a console script does not."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the imported module may have edited the list
            sys.path.remove(folder)


def _find(path: str, key: str) -> Any:
    """Import the longest part of a path that is a module, and take the rest as attributes."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:count])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if count > 1 and f"{module_name}.".startswith(f"{error.name}."):  # this part may be a class
                continue
            raise _cannot_import(module_name, path, key, error) from error
        except (Exception, SystemExit) as error:  # the user's file may raise anything
            raise _cannot_import(module_name, path, key, error) from error
        return _attribute(module, parts[count:], path, key)
    raise ConfigError(f"{key}: cannot import '' of {path!r}: a path has a module and a name, such as my_net.Net")


def _attribute(owner: Any, names: list[str], path: str, key: str) -> Any:
    known = owner.__name__
    for name in names:
        if not hasattr(owner, name):
            raise ConfigError(f"{key}: {known!r} has no {name!r}")
        owner, known = getattr(owner, name), f"{known}.{name}"
    if not callable(owner) and not isinstance(owner, torch.export.ExportedProgram):
        raise ConfigError(f"{key}: {path!r} is a {type(owner).__name__}, not a class or factory")
    return owner


def _cannot_import(module_name: str, path: str, key: str, error: BaseException) -> ConfigError:
    return ConfigError(
        f"{key}: cannot import {module_name!r} of {path!r}, from {Path.cwd()} or installed: {_error_line(error)}"
    )


def _error_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
