"""An object store on loopback that speaks S3, for tests: moto's server, in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import fsspec
import pytest
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """The environment in which `s3://` means this store, in force here in the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        # one that was made for another test's store knows only that
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        try:
            yield environment
        finally:
            server.stop()


def new_bucket() -> str:
    """The URL of an empty bucket in the store in force."""
    name = f"b-{uuid4()}"
    files, _ = fsspec.url_to_fs("s3://", use_listings_cache=False)
    files.mkdir(name)
    return f"s3://{name}/files"
