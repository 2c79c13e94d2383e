"""Boards: what the sidebar shows, as widgets for notebooks and voila pages."""

from __future__ import annotations

from hops_magic.boards.board import Board
from hops_magic.boards.kinds import ExperimentBoard, FeatureBoard, ModelBoard, RunBoard, StudyBoard

__all__ = ["Board", "ExperimentBoard", "FeatureBoard", "ModelBoard", "RunBoard", "StudyBoard"]
