"""The trained module as a file: a folder in MLflow's PyTorch format, with the signature and an example of what it saw.

The format is written here, since importing MLflow would take a rank longer than writing it.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import types
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle

ML_MODEL = "MLmodel"
MOST_EXAMPLES = 3
_DATA = "data"
_PICKLES = "mlflow.pytorch.pickle_module"
_EXAMPLE = "input_example.json"


class Seen:
    """What a module was called with for the first time, and gave.

    Parameters
    ----------
    given, made
        Tensors, of which the axis that has ``rows`` is that of rows; others are not told.
    """

    def __init__(self, given: Sequence[Any] = (), made: Any = None, rows: int = 0) -> None:
        self.inputs = [_Spec.of(each, rows) for each in given]
        self.output = _Spec.of(made, rows)

    def signature(self) -> dict[str, Any] | None:
        """Return MLflow's signature; None where the module takes something else than one tensor."""
        if len(self.inputs) != 1 or self.inputs[0] is None or self.output is None:
            return None
        told = [json.dumps([{"type": "tensor", "tensor-spec": each.spec}]) for each in (self.inputs[0], self.output)]
        return {"inputs": told[0], "outputs": told[1], "params": None}

    def example(self) -> Any:
        """Return some rows of the input, as nested lists."""
        return self.inputs[0].example if self.inputs and self.inputs[0] is not None else None


class _Spec:
    """A tensor's dtype and shape, of any number of rows, and some of its rows."""

    def __init__(self, tensor: Any, rows: int) -> None:
        axis = next((axis for axis, length in enumerate(tensor.shape) if length == rows), 0)
        shape = [-1 if place == axis else length for place, length in enumerate(tensor.shape)]
        self.spec = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}
        self.example = tensor.detach().narrow(axis, 0, min(MOST_EXAMPLES, tensor.size(axis))).cpu().tolist()

    @classmethod
    def of(cls, value: Any, rows: int) -> _Spec | None:
        import torch

        # what numpy has no name for has no place in a signature
        is_known = isinstance(value, torch.Tensor) and value.dim() and value.dtype not in (torch.bfloat16, torch.complex32)
        return cls(value, rows) if is_known else None


def is_module(value: Any) -> bool:
    """Whether a value is a module of PyTorch; PyTorch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def save_model(module: Any, folder: Path, seen: Seen | None = None) -> None:
    """Write a module into a folder, whole or not at all."""
    module = getattr(module, "_orig_mod", module)  # of torch.compile: the module is what is saved
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        (draft / _DATA).mkdir(parents=True)
        _write(module, draft, seen or Seen())
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_model(folder: Path) -> Any:
    """Load a module, ready to predict."""
    import torch

    module = torch.load(folder / _DATA / "model.pth", map_location="cpu", weights_only=False)
    module.eval()
    return module


def _write(module: Any, folder: Path, seen: Seen) -> None:
    import torch

    file = folder / _DATA / "model.pth"
    pickles = types.ModuleType(_PICKLES)
    pickles.Pickler = cloudpickle.CloudPickler  # type: ignore[attr-defined]  # what torch.save asks of a module
    own = _modules_by_value(module)
    try:
        for each in own:
            cloudpickle.register_pickle_by_value(each)
        torch.save(module, file, pickle_module=pickles)
    finally:
        for each in own:
            cloudpickle.unregister_pickle_by_value(each)
    (folder / _DATA / "pickle_module_info.txt").write_text(_PICKLES)
    needs = [f"torch=={torch.__version__}", f"cloudpickle=={cloudpickle.__version__}"]
    environments = _environments(needs)
    for name, text in environments.items():
        (folder / name).write_text(text)
    described = _described(seen, file.stat().st_size)
    if described["saved_input_example_info"] is not None:
        (folder / _EXAMPLE).write_text(json.dumps({"inputs": seen.example()}))
    # JSON is YAML as well
    (folder / ML_MODEL).write_text(json.dumps(described, indent=1))


def _described(seen: Seen, size: int) -> dict[str, Any]:
    import torch

    example = {"artifact_path": _EXAMPLE, "format": "tf-serving", "type": "ndarray"} if seen.signature() else None
    return {
        "artifact_path": "model",
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.pytorch",
                "data": _DATA,
                "pickle_module_name": _PICKLES,
                "python_version": platform.python_version(),
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            },
            "pytorch": {"model_data": _DATA, "pytorch_version": str(torch.__version__), "code": None},
        },
        "model_uuid": uuid.uuid4().hex,
        "model_size_bytes": size,
        "saved_input_example_info": example,
        "signature": seen.signature(),
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _environments(needs: Sequence[str]) -> dict[str, str]:
    python = platform.python_version()
    conda = {"name": "model", "dependencies": [f"python={python}", "pip", {"pip": ["mlflow", *needs]}]}
    virtual = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    texts = {"conda.yaml": json.dumps(conda), "python_env.yaml": json.dumps(virtual)}
    return {**texts, "requirements.txt": "\n".join(("mlflow", *needs)) + "\n"}


def _modules_by_value(module: Any) -> list[Any]:
    """Return the user's own modules with classes of a module's parts: they go into the file, others are installed."""
    names = {type(part).__module__ for part in module.modules()}
    found = [sys.modules[name] for name in sorted(names - {"__main__"}) if name in sys.modules]
    return [each for each in found if "-packages" not in (getattr(each, "__file__", None) or "-packages")]
