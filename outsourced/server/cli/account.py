"""What `worker` and `client` can both do: lock, let in, allow, deny, and end credentials."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from outsourced.server.cli.group import actor, confirm, yes_option
from outsourced.server.services import here
from outsourced.sql.accounts import JobsOfDestroyed


def add_commands(group: AppGroup, verbs: Any, kind: str) -> None:
    """Adds the commands to the group; `verbs` is the module of what people do to accounts of this kind."""
    _add_doors(group, verbs, kind.capitalize())
    _add_permissions(group, verbs, kind.capitalize())
    _add_ends_of_credentials(group, verbs, kind)
    _add_destroy(group, verbs, kind)


def _add_doors(group: AppGroup, verbs: Any, title: str) -> None:
    @group.command()
    @click.argument("name")
    def lock(name: str) -> None:
        """Locks the account out at once; what it has in hand goes back."""
        done = verbs.lock(here().backend, name, actor=actor())
        state = "is now locked out" if done.changed else "is locked out already"
        back = f"; {len(done.moved)} jobs were taken back" if done.moved else ""
        click.echo(f"{title} {name!r} {state}{back}.")

    @group.command()
    @click.argument("name")
    def unlock(name: str) -> None:
        """Lets a locked account in again; it goes on by itself."""
        done = verbs.unlock(here().backend, name, actor=actor())
        click.echo(f"{title} {name!r} is {'let in again' if done.changed else 'not locked out'}.")


def _add_permissions(group: AppGroup, verbs: Any, title: str) -> None:
    @group.command()
    @click.argument("name")
    @click.argument("queues", metavar="QUEUE…", nargs=-1, required=True)
    def allow(name: str, queues: tuple[str, ...]) -> None:
        """Lets the account enqueue into these queues (a worker: its tasks, while they run)."""
        for queue in queues:
            done = verbs.allow(here().backend, name, queue, actor=actor())
            word = "may now" if done.changed else "may already"
            click.echo(f"{title} {name!r} {word} enqueue into {queue!r}.")

    @group.command()
    @click.argument("name")
    @click.argument("queues", metavar="QUEUE…", nargs=-1, required=True)
    def deny(name: str, queues: tuple[str, ...]) -> None:
        """Takes that back; what was enqueued stays."""
        for queue in queues:
            done = verbs.deny(here().backend, name, queue, actor=actor())
            word = "may no longer" if done.changed else "was not allowed to"
            click.echo(f"{title} {name!r} {word} enqueue into {queue!r}.")


def _add_ends_of_credentials(group: AppGroup, verbs: Any, kind: str) -> None:
    title = kind.capitalize()

    # a key id may begin with a dash: so there is no short option, which click would find anywhere in it
    @group.command(context_settings={"ignore_unknown_options": True})
    @click.argument("name")
    @click.argument("kid")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def revoke(name: str, kid: str, *, yes: bool) -> None:
        """Ends one credential of the account; KID is in `show`."""
        confirm(f"Processes of {kind} {name!r} that use credential {kid} will be refused. Go on?", yes=yes)
        verbs.revoke(here().backend, name, kid, actor=actor())
        click.echo(f"Credential {kid} of {kind} {name!r} is void.")

    @group.command()
    @click.argument("name")
    @yes_option
    def reset(name: str, *, yes: bool) -> None:
        """Ends all credentials of the account; `config` gives it a new one."""
        confirm(f"Every process of {kind} {name!r} will be refused. Go on?", yes=yes)
        ended = verbs.reset(here().backend, name, actor=actor())
        click.echo(
            f"{title} {name!r} has no credentials any more ({ended} ended): "
            f"`flask outsourcer {kind} config -o FILE {name}`"
        )


def _add_destroy(group: AppGroup, verbs: Any, kind: str) -> None:
    title = kind.capitalize()

    @group.command()
    @click.argument("name")
    @click.option(
        "--jobs",
        type=click.Choice(["finish", "release", "cancel"]),
        default="finish",
        show_default=True,
        help="What becomes of jobs it has begun; `finish` refuses while there are any.",
    )
    @yes_option
    def destroy(name: str, *, jobs: JobsOfDestroyed, yes: bool) -> None:
        """Ends the account for good, with its credentials."""
        confirm(f"{title} {name!r} and its credentials will be gone. Go on?", yes=yes)
        done = verbs.destroy(here().backend, name, jobs=jobs, actor=actor())
        back = f"; {len(done.moved)} jobs were taken from it" if done.moved else ""
        click.echo(f"{title} {name!r} is destroyed{back}.")
