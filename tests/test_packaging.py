"""What a user installs: the package, its metadata, the Makefile and the README's links."""

import configparser
import contextlib
import email
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minitorch

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "numba", "cupy", "matplotlib", "tokenizers", "transformers", "sklearn", "PIL", "tensorboard"]


def python(code, cwd, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def source_packages():
    """Every folder of Python files, by its name in an import."""
    folders = {file.parent for folder in ("minitorch", "models") for file in (ROOT / folder).rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    return {"minitorch." + name if name.split(".")[0] == "models" else name for name in names}


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    assert listed == sorted(listed) and set(listed) == source_packages()
    for name in listed:
        folder = ROOT / name.replace("minitorch.models", "models").replace(".", "/")
        assert (folder / "__init__.py").exists(), f"{folder} has no __init__.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, made from a copy of the sources, so that nothing is left among them."""
    pytest.importorskip("setuptools", "77", reason="setuptools>=77 makes the wheel; `make test` installs it")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("minitorch", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "out"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return next((folder / "out").glob("minitorch-0.1.0-py3-none-any.whl"))


def test_wheel_holds_all_modules(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "site")
    files = {file.relative_to(ROOT) for name in ("minitorch", "models") for file in (ROOT / name).rglob("*.py")}
    expected = {("minitorch/" if file.parts[0] == "models" else "") + file.as_posix() for file in files}
    assert {name for name in held if name.endswith(".py")} == expected

    code = "import minitorch, minitorch.models.bert as bert; print(minitorch.__file__); print(bert.__file__)"
    for path in python(code, tmp_path, PYTHONPATH=str(tmp_path / "site")):
        assert Path(path).is_relative_to(tmp_path / "site")


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        assert name.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("minitorch", "0.1.0", ">=3.10")
    assert (metadata["License-Expression"] or metadata["License"]) == "MIT"
    assert metadata["Summary"] and metadata.get_payload().startswith("# minitorch")
    extras = set("fast cuda12 cuda13 nvrtc text vision tensorboard examples lessons dev parity".split())
    assert set(metadata.get_all("Provides-Extra")) == extras
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.split("[<>=]", line)[0] for line in needed} == {"numpy", "ml_dtypes", "safetensors"}


def test_installed_for_any_folder(tmp_path):
    """As `make` installs it (editable): both packages are found from anywhere, and are these files."""
    try:
        importlib.metadata.distribution("minitorch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("minitorch is not installed: pip install -e .")
    code = "import minitorch, minitorch.models.bert as bert; print(minitorch.__file__); print(bert.__file__)"
    assert python(code, tmp_path) == [str(ROOT / "minitorch" / "__init__.py"), str(ROOT / "models" / "bert.py")]


def test_import_is_light(tmp_path):
    code = f"""
import sys, time
start = time.perf_counter()
import minitorch
print(time.perf_counter() - start, *[name for name in {HEAVY} if name in sys.modules])
"""
    runs = [python(code, tmp_path, PYTHONPATH=str(ROOT)) for _ in range(3)]
    assert all(len(heavy) == 0 for _, *heavy in runs), f"import minitorch imports {runs[0][1:]}"
    seconds = min(float(run[0]) for run in runs)
    print(f"import minitorch: {seconds:.2f} s")
    assert seconds < 1


def links(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}, which does not exist"
        if heading:
            found = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), flags=re.M)
            assert heading in [re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in found], target


def readme_example():
    """The README's training loop, and what it says that it prints."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.S).groups()


def prints_the_same(code, expected):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    numbers, words = re.compile(r"\d+(?:\.\d+)?"), out.getvalue()
    assert numbers.sub("#", words) == numbers.sub("#", expected)
    found, said = ([float(n) for n in numbers.findall(text)] for text in (words, expected))
    assert found == pytest.approx(said, rel=0.01, abs=1e-3), words  # processors round differently


def test_readme_example():
    code, expected = readme_example()
    assert len(code.strip().splitlines()) <= 22
    prints_the_same(code, expected)


def test_readme_five_lines_of_fine_tuning(tmp_path, monkeypatch, capsys):
    """Load, tokenize, fine-tune, predict, save: as they stand there, with the folder of the published weights for its name."""
    pytest.importorskip("tokenizers", reason="fine-tuning reads published tokenizers: pip install minitorch[text]")
    data = os.environ.get("MINITORCH_DATA")
    folder = Path(data or ".").parent / "models" / "all-MiniLM-L6-v2"
    if data is None or not folder.is_dir():
        pytest.skip("MINITORCH_DATA is not set, or MiniLM is not beside the folder that it names")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)\n```", text, flags=re.S) if "from_pretrained" in code)
    name = '"sentence-transformers/all-MiniLM-L6-v2"'
    assert name in code
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    minitorch.manual_seed(0)
    exec(compile(code.replace(name, repr(str(folder))), "README.md", "exec"), names)
    assert capsys.readouterr().out.splitlines()[-1] == "[1, 0]"  # "great fun", "a mess"
    again = type(names["model"]).from_pretrained("my-model")
    batch = names["tokenizer"](["great fun", "a mess"])
    np.testing.assert_array_equal(again(**batch).logits.detach(), names["model"](**batch).logits.detach())


@pytest.mark.parity
def test_readme_example_under_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    code, expected = readme_example()
    prints_the_same(code.replace("minitorch", "torch"), expected)


@pytest.fixture
def make():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return lambda *arguments: subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_make_lists_its_targets(make):
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"\.PHONY: (.*)", makefile)[1].split()
    assert re.findall(r"^make (\S+)", make().stdout, flags=re.M) == targets


def test_make_without_python(make, tmp_path):
    result = make(f"VENV={tmp_path}", "PYTHON=/nowhere/python3", f"{tmp_path}/pyvenv.cfg")
    assert result.returncode != 0
    assert "needs Python 3.10 or newer, and found none of: /nowhere/python3" in result.stderr
