"""A site's code map: read whole, or refused with the line that is wrong."""

import hashlib
from pathlib import Path

import pytest

from adapters.sites.code_map import MalformedCodeMapError, read_code_map
from adapters.sites.file import read_sites
from clinical.timeline.code import Code, CodeSystem

HEADER = "system,code,to_system,to_code,to_display\n"
LOCAL = "http://hospital.example/codes"


def written(folder: Path, content: str, encoding: str = "utf-8") -> Path:
    path = folder / "codes.csv"
    path.write_bytes(content.encode(encoding))
    return path


def test_a_map_says_what_each_code_means_and_is_named_by_its_bytes(tmp_path: Path) -> None:
    rows = f'{LOCAL},GLU,LOINC,2339-0,"Glucose, blood"\n,GL,SNOMED-CT,33747003,\n'
    path = written(tmp_path, HEADER + rows)
    found = read_code_map(path)
    assert found.meanings == {
        (LOCAL, "GLU"): Code(CodeSystem.LOINC, "2339-0", "Glucose, blood"),
        ("", "GL"): Code(CodeSystem.SNOMED_CT, "33747003"),
    }
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_mark_that_spreadsheets_write_first_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + f"{LOCAL},GLU,LOINC,2339-0,\n", "utf-8-sig")
    assert len(read_code_map(path).meanings) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "line 1: the header is"),
        ("system;code;to_system;to_code;to_display\n", "line 1: the header is"),
        (HEADER + "a,b,LOINC,c\n", "line 2: 5 columns"),
        (HEADER + "a,b,LOINC,c,\na,b,LOINC,d,\n", "line 3: this code is mapped above already"),
        (HEADER + "a,b,LOINC,c,\n\na,e,http://loinc.org,d,\n", "line 4: to_system is one of ATC"),
        (HEADER + "a,b,text,c,\n", "line 2: to_system is one of"),
        (HEADER + "a,,LOINC,c,\n", "line 2: code and to_code"),
        (HEADER + "a,b,LOINC,,\n", "line 2: code and to_code"),
        (HEADER + "a, b,LOINC,c,\n", "line 2: a cell holds spaces"),
        (HEADER + 'a,"b,LOINC,c,\n', "line 2: "),
    ],
)
def test_a_bad_map_is_refused_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(MalformedCodeMapError, match=f"^codes.csv, {words}"):
        read_code_map(written(tmp_path, content))


def test_a_map_that_is_no_utf_8_or_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MalformedCodeMapError, match=r"codes\.csv is not UTF-8"):
        read_code_map(written(tmp_path, HEADER + "a,b,LOINC,c,ä\n", "latin-1"))
    with pytest.raises(MalformedCodeMapError, match=r"none\.csv: No such file"):
        read_code_map(tmp_path / "none.csv")


def test_the_sites_file_names_the_map_of_a_site_beside_it(tmp_path: Path) -> None:
    written(tmp_path, HEADER + f"{LOCAL},GLU,LOINC,2339-0,\n")
    sites = tmp_path / "sites.toml"
    sites.write_text('[sites.north]\ncode_map = "codes.csv"\n[sites.south]\n', "utf-8")
    found = read_sites(sites)
    north = found["north"].code_map
    assert north is not None
    assert north.value == read_code_map(tmp_path / "codes.csv")
    assert found["south"].code_map is None
    written(tmp_path, "nonsense\n")
    with pytest.raises(MalformedCodeMapError, match=r"codes\.csv, line 1"):
        read_sites(sites)
