"""Two servers that share no disk, with their files in an object store."""

from __future__ import annotations

import io
import random

import pytest

from outsourced.records import NewFile
from outsourced.states import State
from tests.acceptance.conftest import Deploy, needs_worker
from tests.objectstore import new_bucket, object_store
from tests.server.loopback import on_one_database

pytestmark = [pytest.mark.slow, needs_worker, on_one_database]


def test_files_go_through_an_object_store(deploy: Deploy) -> None:
    content = random.Random(3).randbytes(20_000_000)
    with object_store() as environment:
        deployment = deploy(servers=2, settings=environment | {"OUTSOURCED_STORAGE": new_bucket()})
        deployment.add_worker("near", "-P", "threads", "-c", "2")
        attachment = NewFile(open=lambda: io.BytesIO(content), filename="large")
        (job,) = deployment.enqueue("copy", attachment=attachment)
        deployment.wait_finished()
        assert deployment.state(job) is State.COMPLETED
        with deployment.backend.open_file(job, "copy") as file:
            assert file.read() == content
        assert not (deployment.folder / "instance/outsourced").exists()
        deployment.stop()
