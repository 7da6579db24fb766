"""What a program sets for its process is set when it starts, never by an import."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from debiaslab.core.process import without

ROOT = Path(__file__).parents[2]

# compares the process before and after every module of the package is imported; libraries are imported before, as what
# they change is their own doing
IMPORT_ALL = """
import gc, importlib, logging, os, pkgutil, signal, sys, warnings
warnings.simplefilter("ignore")
import matplotlib, optuna, pandas, sacred, scipy, sklearn, torch
import debiaslab

def state():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    return {
        "environment": dict(os.environ),
        "path": list(sys.path),
        "collector": (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()),
        "warnings": list(warnings.filters),
        "signals": handlers,
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "optuna's logger": optuna.logging.get_verbosity(),
        "Sacred": (sacred.SETTINGS.CAPTURE_MODE, sacred.SETTINGS.CONFIG.READ_ONLY_CONFIG, sacred.optional.has_pandas),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "numbers": float(torch.tensor([1e-30]) * 1e-10) != 0,
        "deterministic": (torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark),
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        "random numbers": torch.get_rng_state().tolist(),
        "streams": (sys.stdout, sys.stderr, sys.excepthook),
    }

before = state()
names = [module.name for module in pkgutil.walk_packages(debiaslab.__path__, "debiaslab.")]
assert len(names) > 100, names
for name in names:
    importlib.import_module(name)
after = state()
print({key: (before[key], after[key]) for key in before if before[key] != after[key]})
"""

# prints how much new memory, in pages, the same work takes again and again: at first, and with what it frees kept
PAGES = """
import resource
from debiaslab.core.process import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [bytes([number]) * 2**22 for number in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

at_first = new_pages()
keep_freed_memory()
new_pages()
print(at_first, new_pages())
"""

# the same as `python -m debiaslab`, and tells what is there when torch is imported and when the run begins
START = """
import gc, os, runpy, sys
from debiaslab.core import process

class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print({variable: os.environ.get(variable) for variable in process.ENVIRONMENT} == process.ENVIRONMENT)
            print(gc.isenabled())

sys.meta_path.insert(0, Watch())
sys.argv = ["debiaslab", "print_named_configs"]
try:
    runpy.run_module("debiaslab", run_name="__main__")
except SystemExit as end:
    import sacred, torch
    product = float(torch.tensor([1e-30]) * 1e-10)
    print(end.code, gc.isenabled(), gc.get_freeze_count() > 0, product, sacred.optional.has_pandas)
"""


def output_of(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.processes
def test_importing_every_module_changes_nothing_in_the_process() -> None:
    assert output_of(IMPORT_ALL) == "{}\n"


@pytest.mark.processes
def test_a_program_sets_its_process_up_before_torch_is_imported() -> None:
    lines = output_of(START).splitlines()
    assert lines[:2] == ["True", "False"]
    assert lines[-1] == "0 True True 0.0 False"


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import debiaslab, sys; print([name for name in ('torch', 'numpy', 'sacred') if name in sys.modules])"
    assert output_of(code) == "[]\n"


def test_a_run_starts_without_what_only_other_commands_need() -> None:
    code = """if True:
        import sys; from debiaslab.core import process
        with process.starting():
            from debiaslab import main
        print([name for name in sys.argv[1:] if name in sys.modules])"""
    heavy = ["pandas", "pymongo", "gridfs", "matplotlib", "sklearn", "scipy.ndimage", "torchvision"]
    assert output_of(code, *heavy) == "[]\n"


def test_a_package_is_missing_within_the_block_only() -> None:
    sys.modules.pop("wave", None)
    with without("wave"), pytest.raises(ImportError):
        import wave
    import wave

    with without("wave"):
        assert sys.modules["wave"] is wave


@pytest.mark.processes
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere, the system's own way stays")
def test_freed_memory_stays_with_the_process() -> None:
    at_first, kept = map(int, output_of(PAGES).split())
    assert kept < at_first / 10
