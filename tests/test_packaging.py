"""What goes into the package: every module, and a README whose links lead somewhere from a package index."""

import re
import shutil
import subprocess
import tomllib

import pytest
from tests.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="the sources are not in git here"
)
def test_no_source_is_ignored_by_git():
    """The build leaves out what git ignores: `runs/` once left out a package of that name."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard", "src", "tests", "docs"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_the_readme_of_the_package_has_absolute_links_alone():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    metadata = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert re.findall(r"\]\((?!https://)", text)
    for substitution in metadata["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    assert re.findall(r"\]\((?!https://).*?\)", text) == []
