"""What is published: that the wheel has all that the program reads, and runs where there is nothing else."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from vsr_pipeline import __version__
from vsr_pipeline.checkpoints.manifest import load_manifest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INCLUDED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


def shipped():
    return {f"checkpoints/{entry.file}" for entry in load_manifest() if entry.source == "shipped"}


def test_the_wheel_has_every_file_that_the_program_reads():
    assert shipped() | {"configs", "checkpoints/manifest.toml"} <= set(INCLUDED)
    assert all((ROOT / path).exists() for path in INCLUDED)
    assert all(inside == f"vsr_pipeline/_data/{path}" for path, inside in INCLUDED.items())


def test_the_notice_names_every_file_of_weights_that_ships():
    notice = (ROOT / "NOTICE").read_text()
    weights = [path for path in INCLUDED if Path(path).suffix in (".pb", ".onnx", ".safetensors")]
    weights += [str(path.relative_to(ROOT)) for path in (ROOT / "vsr_pipeline").rglob("*.npz")]
    assert len(weights) > 10
    assert [path for path in weights if path not in notice] == []


def test_every_extra_is_explained():
    page = (ROOT / "docs" / "install.md").read_text()
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert [extra for extra in sorted(extras) if f"| `{extra}` |" not in page] == []


@pytest.mark.parametrize("heading", ["## 0.0.1 (2026-01-01)", f"## {__version__} (unreleased)"])
def test_no_release_without_its_version_in_the_changelog(tmp_path, heading):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "vsr_pipeline").mkdir()
    shutil.copy(ROOT / "vsr_pipeline" / "__init__.py", tmp_path / "vsr_pipeline")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    result = subprocess.run(["make", "release"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert f"CHANGELOG.md has no heading '## {__version__} (YYYY-MM-DD)'" in result.stderr
    assert not (tmp_path / ".venv-release").exists()


def test_no_release_without_the_address_of_the_repository(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "vsr_pipeline").mkdir()
    shutil.copy(ROOT / "vsr_pipeline" / "__init__.py", tmp_path / "vsr_pipeline")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} (2026-01-01)\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "vsr-pipeline"\n')
    result = subprocess.run(["make", "release"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert "pyproject.toml does not say where the repository is" in result.stderr
    assert not (tmp_path / ".venv-release").exists()


def copied(folder):
    """Copy what git knows of this checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_wheel_makes_a_video_without_the_checkout(tmp_path):
    """Its dependencies are those of this environment; the nightly test below has nothing but the wheel."""
    source = copied(tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "installed", wheel], check=True)
    shutil.rmtree(source)
    shutil.copy(ROOT / "data" / "demo.mp4", tmp_path)
    where = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    asked = [sys.executable, "-c", "import vsr_pipeline; print(vsr_pipeline.__file__)"]
    found = subprocess.run(asked, cwd=tmp_path, env=where, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(tmp_path))
    words = ["run", "demo.mp4", "--model", "realbasicvsr-open-fast-x4", "--precision", "fp32", "--max-frames", "3"]
    made = subprocess.run(
        [sys.executable, "-m", "vsr_pipeline", *words], cwd=tmp_path, env=where, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "demo_x4.mp4").is_file()


@pytest.mark.nightly
def test_from_the_sdist_to_a_video_in_an_empty_environment(tmp_path):
    """As somebody has it who has nothing but the wheel: no checkout, no other package."""
    source = copied(tmp_path / "source")
    subprocess.run(["make", "dist", f"PYTHON={sys.executable}"], cwd=source, check=True)
    (wheel,), (sdist,) = source.glob("dist/*.whl"), source.glob("dist/*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packaged = {inside for path, inside in INCLUDED.items() if (ROOT / path).is_file()}
    assert "vsr_pipeline/_data/checkpoints/calibration/cat.jpg" in names
    assert packaged | {"vsr_pipeline/py.typed", "vsr_pipeline/_data/configs/realbasicvsr_x4.toml"} <= names
    assert {f"vsr_pipeline-{__version__}.dist-info/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    with tarfile.open(sdist) as archive:
        assert f"vsr_pipeline-{__version__}/tests/test_packaging.py" in archive.getnames()
    shutil.copy(ROOT / "data" / "demo.mp4", tmp_path / "demo.mp4")
    shutil.move(wheel, tmp_path / wheel.name)
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    python = tmp_path / "empty" / "bin" / "python"
    wanted = [tmp_path / wheel.name, "--constraint", ROOT / "constraints.txt"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [python.with_name("vsr"), "run", "demo.mp4", "--max-frames", "3"]
    result = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "realbasicvsr-open-x4" in result.stderr
    assert (tmp_path / "demo_x4.mp4").is_file()
