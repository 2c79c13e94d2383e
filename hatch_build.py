"""Puts the front end into the distribution, or says what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontEndHook(BuildHookInterface):
    """A wheel without the bundle would show static pictures for ever: build it, or end with a sentence."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        """Bundle the widgets unless that has been done; an editable install may do it later."""
        root = Path(self.root)
        lab = root / "hops_magic/labextension"
        if version == "editable":
            # what an editable install copies beside the package must be there, if only as an empty folder
            lab.mkdir(exist_ok=True)
            return
        if (root / "hops_magic/widgets/static/run.js").exists() and (lab / "package.json").exists():
            return
        node, builder = shutil.which("node"), shutil.which("jupyter-builder")
        if node is None or builder is None or not (root / "node_modules/esbuild").is_dir():
            raise RuntimeError("the front end is not built: run `make front` first, or install a released wheel")
        for script in (
            ["labextension/build.mjs"],
            ["node_modules/typescript/bin/tsc", "-p", "labextension/tsconfig.build.json"],
        ):
            subprocess.run([node, *script], cwd=root, check=True)  # noqa: S603 (our own scripts)
        subprocess.run([builder, "build", "."], cwd=root, check=True)  # noqa: S603
