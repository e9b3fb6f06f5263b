"""What docs/deploy.md has people write, checked by those who read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from outsourced_worker.config import WorkerConfig
from tests.acceptance.recipes import recipe

UNITS = ("shop.service", "shop-maintain.service", "outsourced-worker.service")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path, name: str) -> None:
    unit = tmp_path / name
    # what it starts has to exist
    text = re.sub(
        r"^(ExecStart=)/srv/\S+",
        rf"\1{sys.executable}",
        recipe("ini", f"# /etc/systemd/system/{name}"),
        flags=re.M,
    )
    unit.write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [line for line in checked.stderr.splitlines() if name in line] == []
    assert checked.returncode == 0, checked.stderr


def test_settings_of_a_workers_file_are_known() -> None:
    names = re.findall(r"^(\w+):", recipe("yaml", "proxy:"), re.MULTILINE)
    assert set(names) <= set(WorkerConfig.__dataclass_fields__)


def test_url_of_two_hosts_is_understood() -> None:
    (text,) = re.findall(r"'(postgresql://.*)'", recipe("sh", "export OUTSOURCED_DATABASE_URL"))
    url = make_url(text)
    assert url.database == "shop"
