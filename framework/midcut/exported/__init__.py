"""Models in folders that an edge runs with ONNX Runtime and numpy alone: no module here imports torch."""

from midcut.exported.arena import use_shared_arena
from midcut.exported.folder import ExportedFolder, read_folder
from midcut.exported.network import ExportedNetwork

__all__ = ["ExportedFolder", "ExportedNetwork", "read_folder", "use_shared_arena"]
