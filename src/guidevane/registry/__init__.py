"""The model registry: a directory of versions that never change, aliases that do, and what loads them.

::

    <root>/<name>/<version>/manifest.json    what it is, and the SHA-256 of each file beside it
    <root>/<name>/<version>/model.*          safetensors, UBJSON or JSON: formats that cannot run code
    <root>/<name>/aliases.json               {"champion": "1"}
"""

from guidevane.registry.growing import Growing
from guidevane.registry.manifest import Manifest
from guidevane.registry.predictor import Predictor, load
from guidevane.registry.store import ModelVersion, Registry
from guidevane.registry.tiled import Tiled

__all__ = ["Growing", "Manifest", "ModelVersion", "Predictor", "Registry", "Tiled", "load"]
