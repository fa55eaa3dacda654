"""The manifest of a model version: what it is, what it was made of, and which bytes are it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

# A name that is no path: it cannot climb out of the registry.
Plain: TypeAlias = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
# Formats that hold numbers and nothing that runs: a pickle has no name it could be listed under.
Weights: TypeAlias = Annotated[str, Field(pattern=r"^\w[\w-]*\.(safetensors|ubj|json)$")]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What is written beside a version's files; a field that is not known refuses to load.

    ``inputs`` are the encoders whose numbers the model was trained on, in order, and ``feature_set`` the identity
    of the features that made them. ``factory`` and ``kwargs`` build the module that a torch model's weights fill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Plain
    version: Plain
    framework: Literal["torch", "xgboost", "river"]
    files: Annotated[dict[Weights, Sha256], Field(min_length=1)]
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    inputs: tuple[str, ...]
    feature_set: str
    data: dict[str, Sha256] = {}
    metrics: dict[str, float] = {}
    libraries: dict[str, str] = {}
    seed: int | None = None


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
