"""`midcut convert`: makes a safetensors file of a pickled state dict, without running code that a pickle may hold."""

from __future__ import annotations

import argparse
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")


def main(arguments: Sequence[str]) -> int:
    """Convert a file; the exit status is 1 when it cannot be converted."""
    parser = argparse.ArgumentParser(
        prog="midcut convert",
        description="Make a safetensors file of a .pth, .pt, .bin or .ckpt file with the weights of a model. Only "
        "tensors are read: a file that holds other objects is refused, because reading those could run code.",
    )
    parser.add_argument("source", help="the pickled state dict")
    parser.add_argument("target", nargs="?", help="the safetensors file; default: beside the source")
    options = parser.parse_args(arguments)
    from safetensors import SafetensorError  # noqa: PLC0415 - likewise
    from safetensors.torch import save_file  # noqa: PLC0415 - torch, which --help does not need

    source = Path(options.source)
    target = Path(options.target) if options.target else source.with_suffix(".safetensors")
    try:
        state = read_state(source)
        save_file(state, target, metadata={"note": f"converted from {source.name}"})
    except OSError as error:
        sys.stderr.write(f"midcut convert: {error.filename or source}: {error.strerror or error}\n")
        return 1
    except ValueError as error:
        sys.stderr.write(f"midcut convert: {error}\n")
        return 1
    except SafetensorError as error:  # this is how the package says that a file cannot be written
        sys.stderr.write(f"midcut convert: {target} cannot be written: {' '.join(str(error).split())}\n")
        return 1
    count = sum(tensor.numel() for tensor in state.values())
    sys.stdout.write(f"{target}: {len(state)} tensors, {count} numbers; use it as weights={target}\n")
    return 0


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickled state dict, also of one inside a checkpoint's dict.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds more than tensors and plain containers, or no state dict.
    """
    import torch  # noqa: PLC0415 - as above

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{path} holds more than tensors{f', such as {found[1]}' if found else ''}; where you trust it, load it in "
            "Python and save its weights alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except (RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{path} is not a file of torch.save: {' '.join(str(error).split())[:200]}") from None
    for _ in _WRAPPERS:
        inner = next((content[key] for key in _WRAPPERS if isinstance(content, Mapping) and key in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    if not isinstance(content, Mapping):  # of a file, so not the caller's mistake
        raise ValueError(  # noqa: TRY004
            f"{path} holds a {type(content).__name__}, not a state dict of names and tensors"
        )
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if len(tensors) < len(content) or not tensors:
        other = [str(name) for name in content if str(name) not in tensors]
        raise ValueError(f"{path} is no state dict: not tensors are {', '.join(other[:5]) or 'there at all'}")
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}
