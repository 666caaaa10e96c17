"""What may import what, and what importing costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vsr_pipeline"

# Lowest first; a module may import its own layer and those under it.
LAYERS = [
    {"errors", "timeline", ""},
    {"runtime", "config_section", "config_text"},
    {"config", "presets", "config_steps", "config_zssr", "mmedit_config", "plan", "media", "models", "metrics"},
    {"clip", "checkpoints"},
    {"enhance"},
    {"demo", "degrade"},
    {"stages"},
    {"jobs"},
    {"compare", "live", "train", "bench", "bench_models", "bench_network", "doctor"},
    {"api"},
    {"serve"},
    {"cli", "library"},
    # Its own file gives the names of `library` when they are used.
    {"__main__", "__init__"},
]


def imports_of(path):
    """Modules of the package that a file imports, as their first name under it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vsr_pipeline":
            parts = node.module.split(".")[1:]
            names = [parts[0]] if parts else [a.name for a in node.names]
            yield from ("" if name.startswith("__") else name for name in names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    level = {module: n for n, layer in enumerate(LAYERS) for module in layer}
    own = level[name]
    upward = [module for module in imports_of(path) if level[module] > own]
    assert not upward, f"{path.name} imports {upward}, which are above it"


@pytest.mark.parametrize("module", ["vsr_pipeline", "vsr_pipeline.cli", "vsr_pipeline.config", "vsr_pipeline.plan"])
def test_cheap_to_import(module):
    heavy = ("torch", "av", "cv2", "scenedetect", "ray")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_only_two_modules_start_processes():
    users = [p.name for p in PACKAGE.rglob("*.py") if "import subprocess" in p.read_text()]
    assert sorted(users) == ["ffmpeg.py", "process.py"]


def test_a_process_that_reads_untried_files_does_not_load_torch():
    modules = "vsr_pipeline.runtime.process, vsr_pipeline.clip.footage, vsr_pipeline.media.streams.plan"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_only_one_module_imports_ray_and_that_when_it_is_needed():
    assert [p.name for p in PACKAGE.rglob("*.py") if "ray" in packages_imported_by(p)] == ["ray_cluster.py"]


def test_what_a_run_does_not_need_before_its_first_frame_is_imported_later():
    later = ("ray", "requests", "jinja2", "vsr_pipeline.bench", "vsr_pipeline.live", "vsr_pipeline.jobs.batch.run")
    code = (
        f"import sys, vsr_pipeline.api as api; print([m for m in {later} if m in sys.modules]); "
        "print([name for name in api.__all__ if not hasattr(api, name)])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]", "[]"]


def packages_imported_by(path):
    """First names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def modules():
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def files_imported_by(path, known):
    """Modules of the package that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vsr_pipeline":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module


def test_no_two_files_import_each_other():
    known = modules()
    imports = {name: set(files_imported_by(path, known)) for name, path in known.items()}
    both_ways = [(a, b) for a, others in imports.items() for b in others if a < b and a in imports.get(b, ())]
    assert both_ways == []


def test_files_and_functions_are_short():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path} has more than 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= 60, f"{path}: {node.name} has {lines} lines, with its signature and docstring"


def test_only_a_model_knows_what_is_special_about_it():
    """How many times it enlarges, whether it is an interpolation, how often it cleans."""
    special = re.compile(r"\bSCALE\b|== BICUBIC|cleaning_passes")
    files = [p for p in PACKAGE.rglob("*.py") if "realbasicvsr" not in p.name]
    found = [p.relative_to(PACKAGE) for p in files if special.search(p.read_text())]
    assert [path for path in found if path.parts[0] not in ("models", "train")] == []


def test_swscale_runs_on_one_thread_wherever_it_is_called():
    """Else a few pixels are wrong now and then: see `SWSCALE_THREADS`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reformat":
                threads = {word.arg: ast.unparse(word.value) for word in node.keywords}.get("threads")
                assert threads == "SWSCALE_THREADS", f"{path}:{node.lineno}"


def test_no_test_imports_a_test():
    tests = Path(__file__).parent
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                last = (node.module or "").rpartition(".")[2]
                assert not last.startswith("test_"), f"{path} imports {node.module}"


def test_the_page_on_architecture_names_what_is_there():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`((?:vsr_pipeline|tests|checkpoints)/[^`]*)`", text)
    assert len(paths) > 20
    assert [path for path in paths if not (PACKAGE.parent / path).exists()] == []
