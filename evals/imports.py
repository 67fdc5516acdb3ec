"""Patches of other programs, read to be scored: predictions of SWE-bench, `preds.json` of mini-swe-agent.

A file is JSON lines, a JSON list, or a JSON object of instance -> prediction; each prediction has
`instance_id`, `model_patch` (a text, or null for none) and `model_name_or_path`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from evals.benchmark import DatasetError
from evals.store import Run
from evals.types import AgentSpec, Instance, Rollout, RunManifest, plan_units


class Prediction(msgspec.Struct, frozen=True):
    instance_id: str
    model_patch: str | None
    model_name_or_path: str = ""


class Predictions(msgspec.Struct, frozen=True):
    patches: dict[str, str]
    """Instance -> patch; "" for none."""
    spec: AgentSpec
    """Whose they are, with the file's hash: other patches are another run."""


def read_predictions(path: Path) -> Predictions:
    """Raises DatasetError with the place of what cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    found = [_prediction(raw, where) for where, raw in _entries(path, data)]
    if not found:
        raise DatasetError(f"{path}: there is no prediction in it")
    patches: dict[str, str] = {}
    for one in found:
        if one.instance_id in patches:
            raise DatasetError(f"{path}: two predictions for {one.instance_id!r}; a run holds one for each")
        patches[one.instance_id] = one.model_patch or ""
    models = sorted({one.model_name_or_path for one in found})
    if len(models) > 1:
        raise DatasetError(f"{path}: predictions of {', '.join(models)}; import each model by itself")
    hashed = hashlib.sha256(data).hexdigest()[:16]
    return Predictions(patches, AgentSpec(name="imported", model=models[0], settings={"predictions": hashed}))


def _entries(path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    """Each prediction as it stands there, with its place."""
    if path.suffix != ".json":
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                yield f"{path}:{number}", _json(line, f"{path}:{number}")
        return
    match _json(data, str(path)):
        case list(entries):
            yield from ((f"{path}: entry {number}", entry) for number, entry in enumerate(entries, 1))
        case dict(entries):
            for key, entry in entries.items():
                yield f"{path}: {key}", {"instance_id": key, **entry} if isinstance(entry, dict) else entry
        case _:
            raise DatasetError(f"{path}: expected a list or an object of predictions")


def _json(data: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{where}: {error}") from error


def _prediction(raw: Any, where: str) -> Prediction:
    try:
        return msgspec.convert(raw, Prediction)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{where}: {error}") from error


def make_run(
    folder: Path, manifest: RunManifest, instances: Sequence[Instance], predictions: Predictions
) -> Run:
    """A run whose rollouts are the patches, still to be scored; an instance without one has an empty one.

    Raises StoreError, lease.RunBusy, CannotWrite.
    """
    units = plan_units(list(instances), manifest.agent, 1, manifest.seed, manifest.limits)
    run = Run.create(folder, manifest, list(instances), units)
    with run.held():
        for unit in units:
            if run.rollout(unit.id) is not None:
                continue
            patch = predictions.patches.get(unit.instance, "")
            rollout = Rollout(
                unit=unit.id,
                instance=unit.instance,
                attempt=0,
                agent=manifest.agent.name,
                model=manifest.agent.model,
                end="submitted" if patch.strip() else "no_change",
                detail="" if unit.instance in predictions.patches else "there was no prediction",
                patch=patch,
                tries=run.begin(unit.id),
            )
            run.commit_rollout(rollout, {"patch.diff": patch.encode("utf-8", "surrogateescape")})
    return run
