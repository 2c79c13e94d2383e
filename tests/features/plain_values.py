"""Values as any library gives them, as plain Python; and how random cases are drawn."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pandas as pd
import polars
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile

UTC = datetime.UTC
# the case that fails is told as it was drawn: to look for smaller ones takes minutes
quick = profile(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def plain(value: Any) -> Any:
    """A value as any library gives it, as plain Python; what is missing, NaN too, is None."""
    if isinstance(value, np.ndarray | pd.Series | polars.Series):
        return [plain(each) for each in value.tolist()]
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    return value
