"""How PyTorch's objects travel between the notebook and the ranks. PyTorch is imported only when one does travel.

What is large is a storage, which travels beside the pickle and is mapped where it arrives. Tensors that share one (views,
tied weights) share it there too; modules and optimizers are ordinary objects that hold tensors.
"""

from __future__ import annotations

import copyreg
import functools
import pickle
import sys
from collections.abc import Callable
from typing import Any

from hops_magic.errors import CaptureError
from hops_magic.frameworks.context import current

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]


def reducers() -> tuple[Reducer, ...]:
    """Return how tensors, storages and generators are pickled; what holds them is pickled as any object."""
    return (
        (_is_tensor, _reduce_tensor),
        (_is_storage, _reduce_storage),
        (_is_generator, _reduce_generator),
        (_is_compiled, _reduce_compiled),
        (_is_iterator, _refuse_iterator),
        (_is_schedule, _reduce_schedule),
    )


def update_in_place(original: Any, returned: Any) -> bool:
    """Make a tensor or generator of the notebook what the one that came back is; False for objects of another kind.

    Whatever refers to it (a module, an optimizer, a list) goes on with it.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if isinstance(original, torch.Generator):
        original.set_state(returned.get_state())
        return True
    if not isinstance(original, torch.Tensor) or type(original) is not type(returned):
        return False
    if original.grad_fn is not None:
        return False
    if original.shape == returned.shape and original.dtype == returned.dtype and _is_written_once(original):
        # in its place, for what else lies there: views, arrays of numpy
        original.detach().copy_(returned.detach())
    else:
        original.data = returned.data.to(original.device)
    original.requires_grad_(returned.requires_grad)
    original.grad = returned.grad
    vars(original).clear()
    vars(original).update(vars(returned))
    return True


def _is_written_once(tensor: Any) -> bool:
    """Whether each element has a place of its own."""
    return all(stride or size < 2 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _torch() -> Any:
    return sys.modules.get("torch")


def _is_tensor(value: Any) -> bool:
    torch = _torch()
    if torch is None or type(value) not in (torch.Tensor, torch.nn.Parameter):
        return False
    return value.layout is torch.strided and not value.is_quantized and value.device.type != "meta"


def _reduce_tensor(value: Any) -> Any:
    if value.grad_fn is not None and current() is None:
        raise CaptureError(
            "a tensor that was computed from parameters holds the graph of its computation, which cannot travel: "
            "keep tensor.detach() or tensor.item() of it"
        )
    # what comes back from a rank has its value, without the graph
    detached = value.detach().resolve_conj().resolve_neg()
    place = (detached.dtype, detached.storage_offset(), tuple(detached.shape), detached.stride())
    return _tensor, (
        type(value),
        detached.untyped_storage(),
        place,
        value.is_leaf and value.requires_grad,
        value.grad if value.is_leaf else None,
        dict(vars(value)),
    )


def _tensor(kind: Any, storage: Any, place: Any, requires_grad: bool, grad: Any, attributes: Any) -> Any:
    import torch

    dtype, offset, shape, strides = place
    made = torch.empty(0, dtype=dtype).set_(storage, offset, shape, strides)
    if kind is torch.nn.Parameter:
        made = torch.nn.Parameter(made, requires_grad=requires_grad)
    else:
        made.requires_grad_(requires_grad)
    made.grad = grad
    vars(made).update(attributes)
    return made


def _is_storage(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.UntypedStorage)


def _reduce_storage(value: Any) -> Any:
    import torch

    here = value if value.device.type == "cpu" else value.cpu()
    return _storage, (pickle.PickleBuffer(torch.tensor([], dtype=torch.uint8).set_(here).numpy()),)


def _storage(buffer: Any) -> Any:
    import torch

    view = memoryview(buffer)
    if not view.nbytes:
        return torch.UntypedStorage(0)
    if view.readonly:
        view = memoryview(bytearray(view))
    return torch.frombuffer(view, dtype=torch.uint8).untyped_storage()


def _is_generator(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.Generator)


def _reduce_generator(value: Any) -> Any:
    return _generator, (value.get_state().numpy().tobytes(),)


def _generator(state: bytes) -> Any:
    import torch

    made = torch.Generator()
    made.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return made


def _is_compiled(value: Any) -> bool:
    torch = _torch()
    return torch is not None and type(value).__name__ == "OptimizedModule" and isinstance(value, torch.nn.Module)


def _reduce_compiled(value: Any) -> Any:
    return _compiled, (value._orig_mod,)


def _compiled(module: Any) -> Any:
    import torch

    return torch.compile(module)


def _is_iterator(value: Any) -> bool:
    module = sys.modules.get("torch.utils.data.dataloader")
    return module is not None and isinstance(value, module._BaseDataLoaderIter)


def _refuse_iterator(_: Any) -> Any:
    raise CaptureError(
        "an iterator over a DataLoader is a place in a loop, which cannot travel: call iter(loader) in the cell"
    )


def _is_schedule(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.optim.lr_scheduler.LRScheduler)


def _reduce_schedule(value: Any) -> Any:
    return copyreg.__newobj__, (type(value),), dict(vars(value)), None, None, _set_schedule  # type: ignore[attr-defined]


def _set_schedule(made: Any, state: dict[str, Any]) -> None:
    vars(made).update(state)
    step = getattr(state.get("optimizer"), "step", None)
    # a schedule notes that its optimizer steps in an attribute of that, which is not pickled: it would warn for nothing
    if current() is not None and step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        optimizer, original = state["optimizer"], step.__func__

        @functools.wraps(step)
        def noted(*args: Any, **options: Any) -> Any:
            optimizer._opt_called = True
            return original(optimizer, *args, **options)

        noted._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
        optimizer.step = noted
