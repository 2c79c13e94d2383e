"""Registered models: versions that come from runs, aliases, files."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.errors import NotFoundError, UsageError
from hops_magic.frameworks.torch import ML_MODEL, is_module, save_model
from hops_magic.registry import layout
from hops_magic.registry.files import RunFiles
from hops_magic.registry.finding import Wanted
from hops_magic.registry.infos import ModelInfo, ModelVersion, RunInfo, json_tag
from hops_magic.registry.keeping import keep_file, keep_folder
from hops_magic.registry.queries import any_of, in_parts
from hops_magic.runs.names import MODEL_NAME_RULE, is_model_name

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

TAG_METRICS = "hops.metrics"
TAG_FLAVOUR = "hops.flavour"
TAG_FILE = "hops.file"
TAG_SIZE = "hops.size"
KERAS_FILE = "model.keras"
MAX_MODELS = 1_000
MAX_METRICS = 30
_MODELS_STATE = (
    "select count(*), max(last_updated_time) from registered_models",
    "select count(*), max(last_updated_time), max(rowid) from model_versions",
    "select name, alias, version from registered_model_aliases order by name, alias",
)
_ALIAS = re.compile(r"[a-zA-Z][\w-]{0,99}", re.ASCII)


class Models(RunFiles):
    """Registered models beside the runs that made them."""

    def register(
        self,
        wanted: Wanted,
        name: str,
        path: Path | str | None = None,
        *,
        model: Any = None,
    ) -> ModelVersion:
        """Make a run's model the next version of a registered model, which is made if need be.

        Parameters
        ----------
        wanted
            The run: id, beginning of its id, or name.
        name
            Of the registered model.
        path
            File or folder of the model. Default: the model that the run has in its record, or its last checkpoint if that is
            a ``.keras`` file.
        model
            Instead of a path: a module of PyTorch, or a model that can ``save`` itself, as Keras models do.

        Raises
        ------
        NotFoundError
            If the run is unknown or left no model.
        """
        if not is_model_name(name):
            raise UsageError(f"a model's name {MODEL_NAME_RULE}, got {name[:80]!r}")
        info = self.run(wanted)
        if info.is_deleted:
            raise UsageError(f"run {info.name} is deleted: %experiments restore {info.run_id} brings it back")
        file, size = self._attach_model(info, None if path is None else Path(path), model)
        flavour = "pytorch" if file == ML_MODEL else "keras"
        tags = {layout.TAG_RUN_ID: info.run_id, layout.TAG_NAME: info.name[:1_000], TAG_FLAVOUR: flavour, TAG_FILE: file}
        tags[TAG_METRICS] = json.dumps(_headline(info))
        if size is not None:
            tags[TAG_SIZE] = str(size)
        with self._store.failures(f"registering model {name}"):
            self._make_model(name)
            source = f"{info.artifact_uri.rstrip('/')}/{layout.MODEL_FOLDER}"
            made = self._client.create_model_version(name, source, info.record_id, tags=tags)
        return self._version(made, {})

    def models(self) -> list[ModelInfo]:
        """Return the registered models, last changed first."""
        with self._store.failures("listing models"):
            found = self._client.search_registered_models(max_results=MAX_MODELS, order_by=["last_updated_timestamp DESC"])
        return [
            ModelInfo(
                name=model.name,
                description=model.description or "",
                latest_version=max((int(version.version) for version in model.latest_versions or ()), default=0),
                aliases={alias: int(version) for alias, version in dict(model.aliases or {}).items()},
                created_at=(model.creation_timestamp or 0) / 1000,
                changed_at=(model.last_updated_timestamp or 0) / 1000,
            )
            for model in found
        ]

    def state(self) -> tuple[object, ...]:
        """Return what is another after a run began, changed its state or ended, and after a model changed."""
        found = super().state()
        # the files of SQLite tell of models too
        return found if self.settings.database_file is not None else (*found, self.models())

    def models_state(self) -> object:
        """Return what is another after a model, a version or an alias changed."""
        file = self.settings.database_file
        if file is None:
            return self.models()
        with (
            self._store.failures("looking at the models"),
            contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection,
        ):
            return [connection.execute(question).fetchall() for question in _MODELS_STATE]

    def versions(self, name: str) -> list[ModelVersion]:
        """Return the versions of a model, newest first.

        Raises
        ------
        NotFoundError
            If there is no such model.
        """
        aliases = self._aliases(name)
        with self._store.failures(f"listing versions of {name}"):
            found = self._client.search_model_versions(
                f"name = '{name}'", max_results=MAX_MODELS, order_by=["version_number DESC"]
            )
        return [self._version(version, aliases) for version in found]

    def versions_by(self, info: RunInfo) -> list[ModelVersion]:
        """Return the versions of models that a run made, newest first."""
        return self.versions_by_runs([info])[info.record_id]

    def versions_by_runs(self, infos: Iterable[RunInfo]) -> dict[str, list[ModelVersion]]:
        """Return the versions of models that each run made, newest first, by MLflow's ids of the runs."""
        made: dict[str, list[ModelVersion]] = {info.record_id: [] for info in infos}
        with self._store.failures("listing the models of runs"):
            for some in in_parts(made):
                for each in self._client.search_model_versions(f"run_id {any_of(some)}", max_results=MAX_MODELS):
                    made[each.run_id].append(self._version(each, {}))
        return {record_id: sorted(each, key=lambda version: -version.created_at) for record_id, each in made.items()}

    def version(self, name: str, which: int | str | None = None) -> ModelVersion:
        """Return one version of a model: by number, by alias, or the newest."""
        versions = self.versions(name)
        if which is None or which == "":
            if not versions:
                raise NotFoundError(f"model {name} has no version: %models register {name} --run RUN adds one")
            return versions[0]
        for version in versions:
            if str(which) in {str(version.version), *version.aliases}:
                return version
        known = ", ".join([str(v.version) for v in versions[:10]] + [f"@{a}" for v in versions for a in v.aliases])
        raise NotFoundError(f"model {name} has no version or alias {str(which)[:80]}: it has {known or 'none'}")

    @contextlib.contextmanager
    def model_path(self, name: str, which: int | str | None = None) -> Iterator[Path]:
        """Yield the file or folder of a version, to be loaded inside the context; from afar it is copied for so long."""
        version = self.version(name, which)
        info = self.run(version.run_id)
        # a model in MLflow's own format is the folder
        kept = layout.MODEL_FOLDER if version.file == ML_MODEL else f"{layout.MODEL_FOLDER}/{version.file}"
        with self.artifact(info, kept) as path:
            if path is None:
                raise NotFoundError(f"the file of {name} version {version.version} is gone from {version.source}")
            yield path

    def load(self, name: str, which: int | str | None = None, *, loader: Callable[[Path], Any]) -> Any:
        """Load a version with a loader, such as the framework's."""
        with self.model_path(name, which) as path:
            return loader(path)

    def set_alias(self, name: str, alias: str, version: int | str) -> None:
        """Let an alias, such as ``champion``, mean a version; it moves there from any other."""
        if not _ALIAS.fullmatch(alias) or alias == "latest" or re.fullmatch(r"v\d+", alias, re.IGNORECASE):
            raise UsageError(
                f"an alias must be a word of letters, digits, _ and -, not latest and not v1, got {alias[:80]!r}"
            )
        found = self.version(name, version)
        with self._store.failures(f"setting alias {alias}"):
            self._client.set_registered_model_alias(name, alias, str(found.version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        if not any(alias in names for names in self._aliases(name).values()):
            raise NotFoundError(f"model {name} has no alias {alias[:80]}")
        with self._store.failures(f"deleting alias {alias}"):
            self._client.delete_registered_model_alias(name, alias)

    def delete_version(self, name: str, version: int | str) -> ModelVersion:
        """Take a version out of the registry for good; the file stays with its run."""
        found = self.version(name, version)
        with self._store.failures(f"deleting version {found.version} of {name}"):
            self._client.delete_model_version(name, str(found.version))
        return found

    def delete_model(self, name: str) -> None:
        """Take a model with all its versions out of the registry for good; the files stay with their runs."""
        self._aliases(name)
        with self._store.failures(f"deleting model {name}"):
            self._client.delete_registered_model(name)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _attach_model(self, info: RunInfo, path: Path | None, model: Any) -> tuple[str, int | None]:
        """Make sure that the run's record holds the model; return its name there and its size."""
        with tempfile.TemporaryDirectory(prefix="hops-model-") as folder:
            if is_module(model):
                save_model(model, Path(folder) / layout.MODEL_FOLDER)
                with self._store.failures(f"keeping the model of run {info.name}"):
                    keep_folder(self._client, info.record_id, Path(folder) / layout.MODEL_FOLDER, layout.MODEL_FOLDER)
                return ML_MODEL, _size(Path(folder))
            if model is not None:
                path = Path(folder) / KERAS_FILE
                model.save(str(path))
            if path is None:
                with self.artifact(info, f"{layout.MODEL_FOLDER}/{KERAS_FILE}") as kept:
                    if kept is not None:
                        return KERAS_FILE, _size(kept)
                with self.artifact(info, f"{layout.MODEL_FOLDER}/{ML_MODEL}") as kept:
                    if kept is not None:
                        return ML_MODEL, json.loads(kept.read_text())["model_size_bytes"]
                path = _checkpoint(info)
            if not path.exists():
                raise NotFoundError(f"there is no model file {path}")
            with self._store.failures(f"keeping the model of run {info.name}"):
                if path.is_dir():
                    keep_folder(self._client, info.record_id, path, f"{layout.MODEL_FOLDER}/{path.name}")
                else:
                    keep_file(self._client, info.record_id, path, layout.MODEL_FOLDER)
            return path.name, _size(path)

    def _make_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _aliases(self, name: str) -> dict[int, list[str]]:
        """Return the aliases by version; this also tells whether the model exists."""
        if not is_model_name(name):
            raise NotFoundError(self._no_model(name))
        try:
            with self._store.failures(f"looking for model {name}"):
                model = self._client.get_registered_model(name)
        except NotFoundError:
            raise NotFoundError(self._no_model(name)) from None
        aliases: dict[int, list[str]] = {}
        for alias, version in sorted(dict(model.aliases or {}).items()):
            aliases.setdefault(int(version), []).append(alias)
        return aliases

    def _no_model(self, name: str) -> str:
        known = [model.name for model in self.models()]
        close = get_close_matches(name[:200], known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known[:10]) or 'none yet'}"
        return f"there is no model {name[:80]!r}: {hint}"

    def _version(self, version: MlflowVersion, aliases: Mapping[int, Sequence[str]]) -> ModelVersion:
        tags = dict(version.tags)
        number = int(version.version)
        return ModelVersion(
            name=version.name,
            version=number,
            run_id=tags.get(layout.TAG_RUN_ID, version.run_id or ""),
            record_id=version.run_id or "",
            run_name=tags.get(layout.TAG_NAME, ""),
            created_at=(version.creation_timestamp or 0) / 1000,
            aliases=tuple(aliases.get(number, ())),
            metrics=json_tag(tags, TAG_METRICS),
            flavour=tags.get(TAG_FLAVOUR, ""),
            file=tags.get(TAG_FILE, KERAS_FILE),
            size_bytes=int(tags[TAG_SIZE]) if TAG_SIZE in tags else None,
            source=version.source or "",
        )


def _headline(info: RunInfo) -> dict[str, float]:
    plain = {name: value for name, value in info.metrics.items() if "/" not in name}
    return {name[:100]: value for name, value in list(plain.items())[:MAX_METRICS]}


def _checkpoint(info: RunInfo) -> Path:
    checkpoint = str(info.end.get("checkpoint", ""))
    if checkpoint.endswith(".keras") and Path(checkpoint).is_file():
        return Path(checkpoint)
    raise NotFoundError(
        f"run {info.name} left no model file in its record: give the model itself, with --var model, or a file, with --path"
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
