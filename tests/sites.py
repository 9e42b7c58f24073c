"""A sites file for tests: one site whose EHR is told what was decided."""

from pathlib import Path


def write_sites_file(folder: Path, site: str, ehr_url: str) -> Path:
    """The file, with write-back on for `site`."""
    path = folder / "sites.toml"
    path.write_text(
        f'[sites.{site}.fhir]\nbase_url = "{ehr_url}"\n\n[sites.{site}.write_back]\nis_on = true\n'
    )
    return path
