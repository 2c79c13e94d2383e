"""``hops.ablate``: marks in a cell what can be left out, and, called, leaves out one component at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hops_magic.frameworks.ablating import Ablate

if TYPE_CHECKING:
    from hops_magic.cells.report import CaptureReport
    from hops_magic.engine.submit import StudyHandle
    from hops_magic.tuning.ablation import AblationStudy


class _Ablate(Ablate):
    def __call__(self, program: str | Callable[..., Any], **options: Any) -> AblationStudy | StudyHandle | CaptureReport:
        """Leave out one component of a function, or of the source of a cell, at a time; return what each is worth.

        Parameters
        ----------
        program : callable or str
            A function, which gets the flags that it has parameters for; or source code. Components that no option names are
            marked in it with the methods of this object.
        cluster, namespace, show
            As for :func:`hops_magic.train`.
        **options
            Fields of :class:`~hops_magic.tuning.ablation.AblateOptions`; one of ``minimize`` and ``maximize`` names the
            metric.

        Returns
        -------
        AblationStudy
            With ``detach=True`` a handle of the study instead, with ``dry_run=True`` the report of what would travel.
        """
        from hops_magic.session import session

        return session().ablate(program, **options)


ablate = _Ablate()
