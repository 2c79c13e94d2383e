"""What users install: the wheel made from the source distribution, in an environment of its own."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import listens, wait_until, where_it_is

import hops_magic

ROOT = Path(hops_magic.__file__).parents[1]
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
LAB = "share/jupyter/labextensions/hops-magic"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Holds the source distribution, and the wheel built from it without Node."""
    target = tmp_path_factory.mktemp("dist")
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    subprocess.run([UV, "build", "--quiet", "--python", sys.executable, "--out-dir", target], cwd=ROOT, env=env, check=True)
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """Python of a fresh environment: the wheel, and the dependencies that this environment has."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python3*/site-packages")
    # files that install the working tree here are not followed from there
    shared = next(path for path in sys.path if path.startswith(sys.prefix) and path.endswith("site-packages"))
    (site / "shared.pth").write_text(shared + "\n")
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, "--no-deps", "--offline", wheel], check=True)
    return python


def environment(home: Path) -> dict[str, str]:
    """Everything of the user's own stays away; the Lab's pages come from here, as a shared package keeps them."""
    places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    return {
        **os.environ,
        **{f"JUPYTER_{name}": str(home / folder) for name, folder in places.items()},
        "JUPYTERLAB_DIR": str(Path(sys.prefix) / "share/jupyter/lab"),
        "HOPS_HOME": str(home / "hops"),
        "IPYTHONDIR": str(home / "ipython"),
    }


def said(python: Path, home: Path, *module: str) -> str:
    """What a module prints, on both streams, without colours."""
    command = [python, "-m", *module]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=60, check=True)
    return re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)


def test_wheel_holds_widgets_sidebar_and_the_server_extensions_switch(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    data = f"{wheel.name.rsplit('-', 3)[0]}.data/data"
    assert {"hops_magic/widgets/static/run.js", "hops_magic/widgets/static/study.js", "hops_magic/py.typed"} <= set(names)
    ours = ("package.json", "install.json", "schemas/hops-magic/plugin.json")
    assert {f"{data}/{LAB}/{name}" for name in ours} <= set(names)
    assert f"{data}/etc/jupyter/jupyter_server_config.d/hops_magic.json" in names
    package = json.loads(zipfile.ZipFile(wheel).read(f"{data}/{LAB}/package.json"))
    assert f"{data}/{LAB}/{package['jupyterlab']['_build']['load']}" in names
    assert package["version"] == wheel.name.split("-")[1]


def test_wheel_holds_each_file_once_and_nothing_of_the_workshop(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("hops_magic/labextension/")]
    assert not [name for name in names if "__pycache__" in name or "node_modules" in name or name.endswith(".map")]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"hops_magic"}
    assert wheel.stat().st_size < 2_000_000


def test_what_the_page_loads_is_small(wheel: Path) -> None:
    packed = zipfile.ZipFile(wheel)
    scripts = [name for name in packed.namelist() if f"{LAB}/static/" in name and name.endswith(".js")]
    # all of it, with charts and details, which are loaded when they are first opened
    assert sum(len(gzip.compress(packed.read(name))) for name in scripts) < 500_000


def test_source_distribution_holds_the_sources_of_the_front_end(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"labextension/src/index.ts", "labextension/build.mjs", "package.json", "yarn.lock", "README.md"} <= names
    assert not [name for name in names if name.startswith(("labextension/lib/", "node_modules/"))]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The sources as a clone has them: nothing is built."""
    place = tmp_path / "clone"
    built = shutil.ignore_patterns("static", "lib", "__pycache__", "node_modules")
    shutil.copytree(ROOT / "hops_magic", place / "hops_magic", ignore=built)
    shutil.rmtree(place / "hops_magic/labextension", ignore_errors=True)
    shutil.copytree(ROOT / "labextension", place / "labextension", ignore=built)
    for name in ("package.json", "yarn.lock", ".yarnrc.yml", "hatch_build.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, place)
    return place


@pytest.fixture
def build_clone(clone: Path, tmp_path: Path):
    """Build a clone's wheel where no Node is at hand and npm's registry is out of reach."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "env", "uname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    unreachable = {"NPM_REGISTRY_SERVER": "http://127.0.0.1:9", "HTTP_RETRY": "0", "GLOBAL_FOLDER": str(tmp_path / "yarn")}
    unreachable["UNSAFE_HTTP_WHITELIST"] = "127.0.0.1"
    env = {**os.environ, "PATH": str(programs), **{f"YARN_{name}": value for name, value in unreachable.items()}}
    command = [UV, "build", "--wheel", "--python", sys.executable, "--out-dir", tmp_path / "dist"]
    return lambda: subprocess.run(command, check=False, cwd=clone, env=env, capture_output=True, text=True, timeout=240)


def test_a_clone_is_built_with_a_node_of_its_own(build_clone, clone: Path, tmp_path: Path) -> None:
    (clone / "node_modules").symlink_to(ROOT / "node_modules")
    done = build_clone()
    assert done.returncode == 0, done.stderr
    assert len((done.stdout + done.stderr).splitlines()) < 20
    (made,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(made).namelist()
    assert "hops_magic/widgets/static/run.js" in names
    assert [name for name in names if name.endswith(f"{LAB}/package.json")]


def test_a_clone_whose_front_end_cannot_be_fetched_says_what_to_do(build_clone) -> None:
    done = build_clone()
    assert done.returncode != 0
    assert "the front end is not built, since fetching the front end's packages failed: install a released" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 40


def test_jupyter_finds_both_extensions_after_installing_without_further_steps(installed: Path, tmp_path: Path) -> None:
    where = subprocess.check_output([installed, "-P", "-c", "import hops_magic; print(hops_magic.__file__)"], text=True)
    assert where.startswith(str(installed.parents[1])), "this is not what the wheel installed"
    sidebar = said(installed, tmp_path, "jupyterlab.labextensions", "list")
    (line,) = [line for line in sidebar.splitlines() if "hops-magic v" in line]
    assert "enabled" in line
    assert "OK" in line
    assert "(python, hops_magic)" in line
    server = said(installed, tmp_path, "jupyter_server.extension.serverextension", "list")
    told = [line.strip() for line in server.splitlines() if line.strip().startswith("hops_magic.server")]
    assert [line.split()[-1] for line in told] == ["enabled", "OK"]


@pytest.fixture
def lab(installed: Path, tmp_path: Path) -> Iterator[str]:
    """Address of JupyterLab, started in the fresh environment."""
    command = [installed, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ServerApp.ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment(tmp_path), cwd=tmp_path)
    told = tmp_path / "runtime" / f"jpserver-{server.pid}.json"
    try:
        wait_until(lambda: where_it_is(told) or server.poll() is not None, "the server's start")
        assert server.poll() is None, (tmp_path / "server.log").read_text()
        url = where_it_is(told)
        wait_until(lambda: listens(url), "the server's first answer")
        yield f"{url}/"
    finally:
        server.terminate()
        server.wait(60)


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=120) as answer:
        return answer.read()


def test_jupyterlab_of_the_fresh_environment_serves_the_sidebar_and_its_api(lab: str) -> None:
    page = fetched(f"{lab}lab").decode()
    config = json.loads(page.partition('id="jupyter-config-data" type="application/json">')[2].partition("</script>")[0])
    (ours,) = [each for each in config["federated_extensions"] if each["name"] == "hops-magic"]
    assert b"hops-magic" in fetched(f"{lab}lab/extensions/hops-magic/{ours['load']}")
    settings = json.loads(fetched(f"{lab}lab/api/settings/hops-magic:plugin"))
    assert settings["schema"]["title"] == "Hops"
    assert json.loads(fetched(f"{lab}hops/api/v1/groups"))["items"] == []
