"""The reference scripts write the files that are shipped."""

from pathlib import Path

import numpy
import pytest

from tests.golden import reference_dpr, reference_ecs_ga, reference_jtt

SCRIPTS = {"dpr": reference_dpr.main, "ecs_ga": reference_ecs_ga.main, "jtt": reference_jtt.main}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shipped_file_is_the_script_s(tmp_path: Path, name: str) -> None:
    SCRIPTS[name](tmp_path / "written.npz")
    with numpy.load(tmp_path / "written.npz") as ours, numpy.load(Path(__file__).parent / f"{name}.npz") as shipped:
        assert ours.files == shipped.files
        assert str(ours["meta"]) == str(shipped["meta"])
        for array in set(ours.files) - {"meta"}:
            numpy.testing.assert_allclose(ours[array], shipped[array], rtol=1e-4, atol=1e-5, err_msg=array)
