"""The harness that tests frameworks in environments of their own, without making any."""

import pytest
from tests.frameworks.environment import ROOT, Framework, frameworks, judge

SUITE = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


def written(folder, requirements):
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_requirements_say_what_a_framework_needs(tmp_path):
    text = "# extra: jax\n# example: examples/plain_network.py examples/digit_images.py\n"
    text += "# setting: A=1 A=2\njax==0.10.2\nflax\n"
    framework = Framework.read(written(tmp_path / "some", text))
    assert framework.packages == ("jax", "flax")
    assert framework.extras == ("jax",)
    assert framework.settings == ("A=1", "A=2")
    assert [str(path) for path in framework.examples] == [
        "examples/plain_network.py",
        "examples/digit_images.py",
    ]


def test_an_example_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"some: there is no examples/missing\.py"):
        Framework.read(written(tmp_path / "some", "# example: examples/missing.py\n"))


@pytest.mark.parametrize(
    ("counts", "passed", "complaints"),
    [
        ((5, 0, 0, 0), 5, ()),
        ((5, 1, 1, 0), 3, ("1 failed", "1 in error")),
        ((5, 0, 0, 2), 3, ("2 skipped",)),
        ((0, 0, 0, 0), 0, ("no test ran",)),
    ],
)
def test_a_skipped_test_is_a_complaint(counts, passed, complaints, tmp_path):
    (tmp_path / "report.xml").write_text(SUITE.format(*counts))
    assert judge(tmp_path / "report.xml") == (passed, complaints)


def test_an_environment_without_a_report_is_a_complaint(tmp_path):
    assert judge(tmp_path / "report.xml") == (0, ("no test ran",))


def test_every_framework_pins_its_packages():
    for framework in frameworks().values():
        lines = framework.requirements.read_text(encoding="utf-8").splitlines()
        loose = [line for line in lines if line and not line.startswith(("#", "-")) and "==" not in line]
        assert loose == [], f"{framework.requirements.relative_to(ROOT)} leaves versions open"
