"""What people do to clients: producers that enqueue over HTTP, and may do nothing else."""

from __future__ import annotations

from outsourced.sql.accounts import Accounts

_clients = Accounts("client")
create = _clients.create
lock = _clients.lock
unlock = _clients.unlock
allow = _clients.allow
deny = _clients.deny
add_credential = _clients.add_credential
add_secret = _clients.add_secret
revoke = _clients.revoke
reset = _clients.reset
destroy = _clients.destroy
id_of = _clients.id_of
