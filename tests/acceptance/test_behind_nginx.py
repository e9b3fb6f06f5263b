"""The recipe of docs/deploy.md at work: TLS of an authority of one's own, a sub-path, files sent by nginx."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest

import outsourced
from outsourced.records import NewFile
from outsourced.states import State
from outsourced.wire.headers import dump_digest
from tests.acceptance.conftest import Deploy, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment, reserve_port
from tests.acceptance.gateway import Gateway
from tests.acceptance.nginx import Nginx, needs_nginx
from tests.server.loopback import on_one_database

pytestmark = [pytest.mark.slow, needs_worker, needs_nginx, on_one_database]

THREADS = ("-P", "threads", "-c", "2")
CONTENT = random.Random(2).randbytes(5_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BY_NGINX = {"OUTSOURCED_SENDFILE": "X-Accel-Redirect:/outsourced-files"}

Publish = Callable[..., Nginx]


@pytest.fixture
def publish(tmp_path: Path) -> Iterator[Publish]:
    """Puts nginx before a deployment, whose workers are configured for it from then on."""
    with ExitStack() as stack:

        def publish(deployment: Deployment, also: Mapping[str, str] = {}) -> Nginx:
            port = stack.enter_context(reserve_port())
            nginx = Nginx(
                tmp_path / "nginx",
                port.getsockname()[1],
                upstream="".join(f"server 127.0.0.1:{one};" for one in deployment.ports),
                files=tmp_path / "instance/outsourced",
                also=also,
            )
            stack.callback(nginx.process.end)
            nginx.start()
            deployment.flask("init", nginx.url)
            return nginx

        yield publish


def copy_a_file(deployment: Deployment) -> UUID:
    """Has a worker fetch an attachment and save it again; gives the job."""
    attachment = NewFile(open=lambda: io.BytesIO(CONTENT), filename="größe.bin")
    (job,) = deployment.enqueue("copy", attachment=attachment)
    deployment.wait_finished()
    assert deployment.state(job) is State.COMPLETED
    with deployment.backend.open_file(job, "copy") as file:
        assert file.read() == CONTENT
    return job


def failure_of(deployment: Deployment, job: UUID) -> str:
    """How the job failed."""
    error = deployment.backend.history(job)[-1].error
    assert error is not None
    return f"{error.type}: {error.message}"


@pytest.fixture(params=[{}, BY_NGINX], ids=["app", "nginx"])
def sender(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Who sends the files: the settings for it."""
    settings: Mapping[str, str] = request.param
    return settings


def test_worker_reaches_a_sub_path_over_tls_of_an_own_authority(
    deploy: Deploy, publish: Publish, sender: Mapping[str, str]
) -> None:
    deployment = deploy(servers=2, settings=sender)
    nginx = publish(deployment)
    worker = deployment.add_worker("near", *THREADS, settings={"ca_bundle": str(nginx.authority)})
    copy_a_file(deployment)
    deployment.drain()
    assert not worker.says("Traceback")


def test_rest_of_a_file_comes_through_nginx(
    deploy: Deploy, publish: Publish, sender: Mapping[str, str]
) -> None:
    deployment = deploy(settings=sender)
    nginx = publish(deployment)
    deployment.add_worker("near", *THREADS, settings={"ca_bundle": str(nginx.authority)})
    deployment.flask("client", "create", "shop")
    deployment.flask("client", "allow", "shop", QUEUE)
    deployment.flask("client", "config", "-o", str(deployment.folder / "client.yml"), "shop")
    client = outsourced.Client(deployment.folder / "client.yml", ca_bundle=str(nginx.authority))
    with client:
        result = client.enqueue("copy", queue=QUEUE, attachment=("größe.bin", CONTENT))
        result.get(timeout=20)
        with result.files["copy"].open() as file:
            assert file.read() == CONTENT
        path = f"/v1/jobs/{result.id}/files/copy"
        with client._transport.download(path, start=4_000_000, tag=f'"{SHA256}"') as rest:
            assert rest.start == 4_000_000
            assert rest.tag == f'"{SHA256}"'
            assert b"".join(rest.chunks) == CONTENT[4_000_000:]
        with client._transport.download(path, start=4_000_000, tag='"another"') as whole:
            assert whole.start == 0
            assert b"".join(whole.chunks) == CONTENT
        answer = client._transport._send(client._transport._prepare("HEAD", path, headers={}))
        assert answer.headers["Content-Length"] == str(len(CONTENT))
        assert answer.headers["Repr-Digest"] == dump_digest(SHA256)
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["Outsourced-Protocol"] == "1"


def test_refusal_of_a_large_file_says_that_it_is_the_web_servers(deploy: Deploy, publish: Publish) -> None:
    deployment = deploy()
    nginx = publish(deployment, {"client_max_body_size 1025m;": "client_max_body_size 1m;"})
    deployment.add_worker("near", *THREADS, settings={"ca_bundle": str(nginx.authority)})
    (job,) = deployment.enqueue("make", 5_000_000)
    deployment.wait_finished()
    assert "TooLarge: " in failure_of(deployment, job)
    assert "a web server or proxy before it" in failure_of(deployment, job)


def test_refusal_of_a_large_file_says_that_it_is_ours(deploy: Deploy, publish: Publish) -> None:
    deployment = deploy(settings={"OUTSOURCED_MAX_ATTACHMENT": "1000000"})
    nginx = publish(deployment)
    deployment.add_worker("near", *THREADS, settings={"ca_bundle": str(nginx.authority)})
    (job,) = deployment.enqueue("make", 50_000_000)
    deployment.wait_finished()
    assert "TooLarge: " in failure_of(deployment, job)
    assert "1,000,000 bytes this server accepts (its OUTSOURCED_MAX_ATTACHMENT)" in failure_of(
        deployment, job
    )


def test_method_override_gets_files_through_a_filter_that_stops_put(deploy: Deploy, publish: Publish) -> None:
    deployment = deploy()
    nginx = publish(deployment, {"proxy_request_buffering off;": "limit_except GET POST { deny all; }"})
    own = {"ca_bundle": str(nginx.authority)}
    deployment.add_worker("near", *THREADS, settings=own | {"method_override": "true"})
    copy_a_file(deployment)
    assert nginx.requests("PUT") == 0


@pytest.mark.parametrize("told_by", ["file", "environment"])
def test_worker_reaches_the_server_through_a_proxy_with_a_login(
    deploy: Deploy, publish: Publish, told_by: str
) -> None:
    deployment = deploy()
    nginx = publish(deployment)
    settings, environment = {"ca_bundle": str(nginx.authority)}, {}
    with Gateway(login="me:secret") as gateway:
        proxy = f"http://me:secret@{gateway.address}"
        if told_by == "file":
            settings["proxy"] = proxy
        else:
            environment["HTTPS_PROXY"] = proxy
        deployment.add_worker("near", *THREADS, settings=settings, environment=environment)
        copy_a_file(deployment)
        assert set(gateway.asked) == {f"127.0.0.1:{nginx.port}"}
        deployment.drain()


def test_download_that_is_cut_again_and_again_arrives(
    deploy: Deploy, publish: Publish, sender: Mapping[str, str]
) -> None:
    deployment = deploy(settings=sender)
    nginx = publish(deployment)
    with Gateway(cut_after=1_500_000) as gateway:
        deployment.add_worker(
            "near",
            *THREADS,
            settings={"ca_bundle": str(nginx.authority), "proxy": f"http://{gateway.address}"},
        )
        copy_a_file(deployment)
        assert gateway.cuts >= 3
        assert nginx.partial_answers() >= 3
        deployment.drain()
