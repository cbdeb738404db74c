"""What is bound from httptools, and what is said when it cannot be."""

import ctypes
import subprocess
import sys
import textwrap
from pathlib import Path

import httptools.parser.parser as httptools_parser
import pytest

from fastgate.dataplane.native import llhttp as native


def import_with(patch: str) -> str:
    """Import native in a process where `patch` ran first; its last error line."""
    code = textwrap.dedent(patch) + "\nimport fastgate.dataplane.native.llhttp"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_versions_say_which_httptools_is_bound() -> None:
    told = native.native_versions()["llhttp"]

    assert "httptools" in told
    assert "96 B" in told


def test_versions_say_whether_llhttp_reads_values_sixteen_bytes_at_a_time(
    tmp_path: Path,
) -> None:
    source = tmp_path / "value.c"
    source.write_text(
        """#ifdef __SSE4_2__
        #include <x86intrin.h>
        int stop(__m128i set, __m128i text) {
            return _mm_cmpestri(set, 2, text, 16, _SIDD_CMP_RANGES);
        }
        #endif
        """
    )
    for flag, expected in (("-msse4.2", True), ("-mno-sse4.2", False)):
        program = tmp_path / "value.o"
        told = subprocess.run(
            ["gcc", "-c", "-O2", flag, "-o", program, source],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode:
            pytest.skip("this machine's gcc does not build for x86-64")

        assert native.has_sse42(program.read_bytes()) is expected


def test_the_probe_runs_again_without_complaint() -> None:
    native.check_sizes()
    native.check_fields()


@pytest.mark.parametrize("name", ["llhttp_execute", "llhttp_settings_init"])
def test_llhttp_is_not_made_visible_to_the_whole_process(name: str) -> None:
    everywhere = ctypes.CDLL(None)

    assert not hasattr(everywhere, name)


def test_a_module_without_llhttp_is_an_import_error_naming_working_versions() -> None:
    told = import_with(
        """
        import httptools.parser.parser as parser, _ctypes
        parser.__file__ = _ctypes.__file__
        """
    )

    assert told.startswith("ImportError: llhttp inside httptools")
    assert "is not exported" in told
    assert "0.7.1 to 0.9.0" in told


def test_a_module_that_is_not_loaded_is_an_import_error() -> None:
    told = import_with(
        """
        import httptools.parser.parser as parser
        parser.__file__ = "/nowhere/parser.so"
        """
    )

    assert "cannot be opened again" in told


def test_another_struct_size_is_refused(tmp_path) -> None:
    source = tmp_path / "other.c"
    names = [
        "execute", "reset", "resume", "get_errno", "get_error_pos", "get_method",
        "get_http_major", "get_http_minor", "get_status_code", "method_name",
        "get_error_reason", "set_lenient_headers", "set_lenient_optional_cr_before_lf",
        "set_lenient_spaces_after_chunk_size",
        "set_lenient_version",
    ]  # fmt: skip
    source.write_text(
        "#include <string.h>\n"
        "void llhttp_init(void *p, int t, void *s) { memset(p, 0, 96); }\n"
        "void llhttp_settings_init(void *s) { memset(s, 0, 184); }\n"
        + "".join(f"void llhttp_{name}(void) {{}}\n" for name in names)
    )
    library = tmp_path / "other.so"
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=False
    )
    assert built.returncode == 0

    told = import_with(
        f"""
        import ctypes
        import httptools.parser.parser as parser
        ctypes.CDLL({str(library)!r})
        parser.__file__ = {str(library)!r}
        """
    )

    assert "its structs are 96 and 184 bytes, not 96 and 200" in told


def test_the_bound_module_is_the_loaded_one() -> None:
    with open("/proc/self/maps", encoding="ascii") as maps:
        loaded = {line.split()[-1] for line in maps if "httptools" in line}

    assert httptools_parser.__file__ in loaded
