"""What can go wrong in a feature store, each as one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from hops_magic.errors import HopsError, OptionError, UsageError


class FeatureError(UsageError):
    """A request that the feature store cannot fulfil as it was made."""


class UnknownNameError(FeatureError):
    """No feature, group, version or dataset of that name."""

    def __init__(self, kind: str, name: str, nearest: Sequence[str] = (), where: str = "") -> None:
        super().__init__(kind, name, tuple(nearest), where)
        self.kind, self.name, self.nearest, self.where = kind, name, tuple(nearest), where
        self.finder = "%features search TEXT"

    def __str__(self) -> str:
        place = f" in {self.where}" if self.where else ""
        hint = f": did you mean {' or '.join(self.nearest)}?" if self.nearest else f": {self.finder} finds names"
        return f"there is no {self.kind} {self.name[:200]!r}{place}{hint}"


class AmbiguousNameError(FeatureError):
    """A bare name that several groups have."""

    def __init__(self, name: str, choices: Sequence[str]) -> None:
        super().__init__(name, tuple(choices))
        self.name, self.choices = name, tuple(choices)

    def __str__(self) -> str:
        shown = ", ".join(self.choices[:8]) + (f" and {len(self.choices) - 8} more" if len(self.choices) > 8 else "")
        return f"{self.name!r} is in {len(self.choices)} groups: write one of {shown}"


class NoJoinPathError(FeatureError):
    """Groups that share no key."""


class RoleError(FeatureError, OptionError):
    """Roles that a request cannot join groups in."""


class AmbiguousJoinError(RoleError):
    """A group that another joins by several foreign keys: a team at home and away, say."""


class FanoutError(FeatureError):
    """A join that would give a row of the base several times."""


class SchemaMismatchError(FeatureError):
    """Rows that do not have the columns of their group."""


class KeyViolationError(FeatureError):
    """Null or duplicate keys."""


class RejectedError(FeatureError):
    """Rows that break a validation rule."""


class ConflictError(FeatureError):
    """Another writer was there first."""


class StoreError(HopsError):
    """The lake or the catalog cannot be read or written."""
