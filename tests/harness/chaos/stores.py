"""Valkeys that fail over: a primary with replicas under Sentinels, or a Cluster of six or more.

Formed over the wire alone. All is done to them that befalls such systems, or that whoever runs
them may do; what is to be kept all the same is said elsewhere. A primary that was killed is started
again only once another one has taken its place: what it had not written is gone with it, and a
primary that comes back with less than its replicas have takes it from them as well.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import hiredis

from harness.chaos.proxy import Proxies, Proxy
from pydisque.node.store.valkey.keys import MOST_SHARDS, Layout, slot
from support.servers import until
from support.valkeys import BINARY, ValkeyProcess

SERVICE = "mymaster"
UNREACHABLE = 1000
"""Milliseconds after which a server that says nothing is taken for dead."""
SETTLED = 60
"""Seconds within which Valkey itself is expected to get over anything."""


class Server(ValkeyProcess):
    """One server, with a folder of its own."""

    def __init__(self, folder: str, *options: str, proxies: Proxies | None = None) -> None:
        """Start it; with proxies, other servers, Sentinels and nodes reach it through one."""
        self.stopped = False
        self.alive = True
        self.proxies = proxies
        self.proxy: Proxy | None = None
        super().__init__(tempfile.mkdtemp(dir=folder), "--repl-diskless-sync-delay", "0", *options)

    def start(self) -> None:
        """Start it, and wait until it serves."""
        if self.proxies and self.proxy is None:
            self.proxy = self.proxies.to(self.port)
            self._options = (*self._options, "--replica-announce-port", str(self.proxy.port))
        super().start()

    @property
    def public_port(self) -> int:
        """Where others reach it."""
        return self.proxy.port if self.proxy else self.port

    def part(self, *kinds: str) -> None:
        """Cut it off from clients of these kinds, see `proxy.KINDS`; with none, from nobody."""
        assert self.proxies is not None
        assert self.proxy is not None
        self.proxies.do(self.proxy.part(*kinds))

    def role(self) -> str:
        """``master`` or ``slave``, or nothing when it does not say."""
        with contextlib.suppress(OSError, hiredis.ReplyError):
            if not self.stopped and self.alive:
                return self.ask("ROLE")[0].decode()
        return ""

    def is_copied(self, replicas: int = 1) -> bool:
        """Whether replicas have all it has, or soon will."""
        with contextlib.suppress(OSError, hiredis.ReplyError):
            return self.ask("INFO", "replication").count(b"state=online") >= replicas
        return False

    def kill(self) -> None:
        """End it at once."""
        self.alive = False
        super().kill()

    def rise(self, *options: str) -> None:
        """Start it again, with further options this time."""
        usual, self._options = self._options, (*self._options, *options)
        self.start()
        self._options = usual
        self.alive = True

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.stopped = False

    def hang_up(self) -> None:
        """Cut all connections but those of replicas."""
        for kind in ("normal", "pubsub"):
            self.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


class Sentinel(ValkeyProcess):
    """One Sentinel, over a primary that its configuration names."""

    def __init__(self, folder: str, primary: int, quorum: int) -> None:
        """Start it."""
        self._monitor = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {UNREACHABLE}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        super().__init__(tempfile.mkdtemp(dir=folder))

    def _command(self) -> list[str]:
        conf = Path(self._folder, "sentinel.conf")
        if not conf.exists():
            conf.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n{self._monitor}"
            )
        return [BINARY, str(conf), "--sentinel"]

    def knows(self, what: str) -> int:
        """How many ``replicas`` or ``sentinels`` it knows."""
        return len(self.ask("SENTINEL", what, SERVICE))


class Stores:
    """What both kinds have in common."""

    servers: list[Server]
    shards: int
    """How many a system gets here."""
    replicas_each: int
    """Replicas of each primary."""

    @property
    def url(self) -> str:
        """How nodes are told of it."""
        raise NotImplementedError

    def healthy(self) -> bool:
        """Whether all servers are there, each primary with a replica that follows it."""
        raise NotImplementedError

    def primaries(self) -> list[Server]:
        """Those that have jobs and are not replicas, as far as they say themselves."""
        return [server for server in self.servers if server.role() == "master"]

    def replicas(self) -> list[Server]:
        """The others that answer."""
        return [server for server in self.servers if server.role() == "slave"]

    def has_another(self, old: Server) -> bool:
        """Whether another server has taken the place of one that was a primary."""
        raise NotImplementedError

    def bring_back(self, server: Server, choose: Random) -> None:
        """Start one that was killed and whose place is taken."""
        raise NotImplementedError

    def fail_over(self, choose: Random) -> None:
        """Have another one be primary, in order."""
        raise NotImplementedError

    def kill_primary(self, choose: Random) -> None:
        """End one at once, at times ahead of its replica; start it when its place is taken."""
        primary = choose.choice(until(self.primaries, SETTLED))
        late = self.replicas() if choose.random() < 0.5 else []
        for replica in late:
            replica.stop()
        if late:  # what comes from now on they will not have
            primary.ask("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(choose.uniform(0.1, 0.7))
        primary.kill()
        for replica in late:
            replica.go_on()
        until(lambda: self.has_another(primary), SETTLED)
        time.sleep(choose.uniform(0, 1.5))
        self.bring_back(primary, choose)

    def kill_replica(self, choose: Random) -> None:
        """End one at once, and start it again."""
        replica = choose.choice(until(self.replicas, SETTLED))
        replica.kill()
        time.sleep(choose.uniform(0, 2))
        self.bring_back(replica, choose)

    def stop_primary(self, choose: Random) -> None:
        """SIGSTOP one for a moment, or for so long that another one takes its place."""
        primary = choose.choice(until(self.primaries, SETTLED))
        primary.stop()
        time.sleep(choose.choice((choose.uniform(0.1, 1), choose.uniform(1.5, 6))))
        primary.go_on()

    def hang_primary(self, choose: Random) -> None:
        """SIGSTOP one until another one takes its place, then let it go on as if nothing were."""
        primary = choose.choice(until(self.primaries, SETTLED))
        primary.stop()
        time.sleep(choose.uniform(1.5, 3.5) * UNREACHABLE / 1000)
        primary.go_on()

    def hang_replica(self, choose: Random) -> None:
        """The same of a replica."""
        replica = choose.choice(until(self.replicas, SETTLED))
        replica.stop()
        time.sleep(choose.choice((choose.uniform(0.1, 1), choose.uniform(1.5, 4))))
        replica.go_on()

    def replace(self, choose: Random) -> None:
        """Have another one take the place of a living primary, which nobody tells beforehand."""
        raise NotImplementedError

    def cut(self, choose: Random) -> None:
        """Cut the connections of all clients, some times."""
        for _ in range(choose.choice((1, 1, 2, 5))):
            for primary in self.primaries():
                primary.hang_up()
            time.sleep(choose.uniform(0, 0.4))

    def close(self) -> None:
        """End all."""
        for server in self.servers:
            server.__exit__()


class Sentinels(Stores):
    """A primary and its replicas, and those who watch over them."""

    shards = 1

    def __init__(
        self,
        folder: str,
        options: list[str],
        sentinels: int = 3,
        replicas: Sequence[int] = (100,),
        proxies: Proxies | None = None,
    ) -> None:
        """Start them, and wait until they know each other; `replicas` are their priorities."""
        self._proxies = proxies
        self.servers = []
        self.sentinels: list[Sentinel] = []
        self.replicas_each = len(replicas)
        self._options = options
        self._priorities = replicas
        try:
            self._form(folder, sentinels)
        except BaseException:
            self.close()
            raise

    def _form(self, folder: str, sentinels: int) -> None:
        for priority in (100, *self._priorities):
            options = *self._options, "--replica-priority", str(priority)
            self.servers.append(Server(folder, *options, proxies=self._proxies))
        primary, *replicas = self.servers
        for replica in replicas:
            replica.ask("REPLICAOF", "127.0.0.1", primary.public_port)
        until(lambda: primary.is_copied(self.replicas_each), SETTLED)
        quorum = sentinels // 2 + 1
        for _ in range(sentinels):
            self.sentinels.append(Sentinel(folder, primary.public_port, quorum))
        until(
            lambda: all(
                one.knows("REPLICAS") == self.replicas_each
                and one.knows("SENTINELS") == sentinels - 1
                for one in self.sentinels
            ),
            SETTLED,
        )

    @property
    def url(self) -> str:
        """The Sentinels."""
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"valkey://{hosts}?service={SERVICE}"

    def healthy(self) -> bool:
        """Whether they are one primary and its replicas, and all Sentinels say so."""
        primaries = self.primaries()
        if len(primaries) != 1 or not self._is_known(primaries[0]):
            return False
        return primaries[0].is_copied(self.replicas_each) and self._all_up()

    def _all_up(self) -> bool:
        """Whether no Sentinel takes a replica for dead."""
        return not any(
            b"s_down" in b",".join(row)
            for one in self.sentinels
            for row in one.ask("SENTINEL", "REPLICAS", SERVICE)
        )

    def has_another(self, old: Server) -> bool:
        """Whether the other one is the primary, for itself and for all who watch.

        As long as one of these does not know, an old one that comes back may be primary again, and
        the other is emptied after it: no Valkey that starts again on old files is safe from that.
        """
        return any(server is not old and self._is_known(server) for server in self.primaries())

    def _is_known(self, primary: Server) -> bool:
        """Whether all Sentinels say that it is the primary."""
        here = [b"127.0.0.1", b"%d" % primary.public_port]
        return all(
            one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE) == here
            for one in self.sentinels
        )

    def bring_back(self, server: Server, choose: Random) -> None:
        """As a replica; or as the primary it was, for the Sentinels to tell it otherwise."""
        [primary] = self.primaries()
        if choose.random() < 0.7:
            server.rise("--replicaof", "127.0.0.1", str(primary.public_port))
        else:
            server.rise()

    def fail_over(self, choose: Random) -> None:
        """Ask a Sentinel for it."""
        self._have_replaced(choose, *choose.choice(([], ["COORDINATED"])))

    def replace(self, choose: Random) -> None:
        """By Sentinels that do not tell the primary, which therefore goes on for a while."""
        self._have_replaced(choose)

    def partition(self, choose: Random) -> None:
        """Cut a primary off from its replicas, from Sentinels or from both, at times a replica.

        Nodes reach it all the time, and so may go on with a primary that others take for dead.
        """
        server = choose.choice(until(lambda: self.primaries() + self.replicas()[:1], SETTLED))
        server.part(*choose.choice((("replica",), ("sentinel",), *3 * [("replica", "sentinel")])))
        time.sleep(choose.choice((0.5, 2, 4, 7)))
        server.part()

    def _have_replaced(self, choose: Random, *options: str) -> None:
        primary = until(lambda: self.healthy() and self.primaries()[0], SETTLED)
        words = ["SENTINEL", "FAILOVER", SERVICE, *options]

        def done() -> bool:
            """Sentinels may give a failover up, and have to be asked again then."""
            _agreed(lambda: choose.choice(self.sentinels).ask(*words))
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not self.has_another(primary):
                time.sleep(0.05)
            return self.has_another(primary)

        until(done, SETTLED)

    def close(self) -> None:
        """End all."""
        for sentinel in self.sentinels:
            sentinel.__exit__()
        super().close()


class Cluster(Stores):
    """Three primaries, each with replicas, as long as nothing happens."""

    shards = MOST_SHARDS

    def __init__(
        self, folder: str, options: list[str], *, full_coverage: bool = True, replicas: int = 1
    ) -> None:
        """Start them, and wait until they are one Cluster."""
        self.servers = []
        self.replicas_each = replicas
        self.layout = Layout("disque", self.shards)
        self._options = [
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(UNREACHABLE)),
            *("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"),
            *("--cluster-require-full-coverage", "yes" if full_coverage else "no"),
            *options,
        ]
        try:
            self._form(folder)
        except BaseException:
            self.close()
            raise

    def _form(self, folder: str) -> None:
        for number in range(3 + 3 * self.replicas_each):
            self.servers.append(Server(folder, *self._options))
            self.servers[-1].ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._ids = {self.id(server): server for server in self.servers}
        for server in self.servers[1:]:
            self.servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        for number, server in enumerate(self.servers[:3]):
            first, after = number * 16384 // 3, (number + 1) * 16384 // 3
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        until(lambda: all(self._knows_all(server) for server in self.servers), SETTLED)
        for primary, replica in zip(cycle(self.servers[:3]), self.servers[3:], strict=False):
            replica.ask("CLUSTER", "REPLICATE", self.id(primary))
        until(self.healthy, SETTLED)

    def id(self, server: Server) -> str:
        """What a member is called, as long as it lives and after."""
        return server.ask("CLUSTER", "MYID").decode()

    def _rows(self, server: Server) -> list[list[str]]:
        return [row.split() for row in server.ask("CLUSTER", "NODES").decode().splitlines()]

    def _knows_all(self, server: Server) -> bool:
        rows = self._rows(server)
        return len(rows) == len(self.servers) and not any("handshake" in row[2] for row in rows)

    @property
    def url(self) -> str:
        """Three of them, which the nodes learn the others of."""
        return f"valkey://{','.join(server.address for server in self.servers[::2])}"

    def healthy(self) -> bool:
        """Whether all say that all is fine, and that the same ones have the same slots."""
        views = set()
        for server in self.servers:
            try:
                rows = self._rows(server)
                fine = b"cluster_state:ok" in server.ask("CLUSTER", "INFO")
            except (OSError, hiredis.ReplyError):
                return False
            if not fine or any("fail" in row[2] or row[7] != "connected" for row in rows):
                return False
            views.add(tuple(sorted((row[0], *row[8:]) for row in rows if "master" in row[2])))
        owners = self.primaries()
        copied = all(one.is_copied(self.replicas_each) for one in owners)
        return len(views) == 1 and len(owners) == 3 and copied

    def owner(self, number: int) -> Server:
        """Who has a slot."""
        for server in self.primaries():
            for row in self._rows(server):
                if "myself" in row[2] and any(_within(number, part) for part in row[8:]):
                    return server
        raise LookupError(number)

    def has_another(self, old: Server) -> bool:
        """Whether there are three again."""
        return sum(server is not old for server in self.primaries()) == 3

    def bring_back(self, server: Server, choose: Random) -> None:
        """As what it was, for the others to tell it otherwise."""
        server.rise()

    def fail_over(self, choose: Random) -> None:
        """Ask a replica for it."""
        self._promote(choose, *choose.choice(([], [], ["FORCE"])))

    def replace(self, choose: Random) -> None:
        """By a replica that does not tell the primary, which therefore goes on for a while."""
        self._promote(choose, choose.choice(("FORCE", "TAKEOVER")))

    def _promote(self, choose: Random, *options: str) -> None:
        replica = choose.choice(until(self.replicas, SETTLED))
        words = ["CLUSTER", "FAILOVER", *options]

        def asked() -> bool:
            if replica.role() != "master":
                _agreed(lambda: replica.ask(*words))
                time.sleep(0.5)
            return replica.role() == "master"

        until(asked, SETTLED)

    # Moving slots

    def _move(self, choose: Random) -> tuple[int, Server, Server]:
        """A slot with a shard in it, who has it, and who shall."""
        number = slot(choose.choice(self.layout.tags))
        source = self.owner(number)
        return number, source, choose.choice([one for one in self.primaries() if one is not source])

    def reshard(self, choose: Random) -> None:
        """Move a shard's slot key by key, as valkey-cli does it."""
        number, source, target = self._move(choose)
        target.ask("CLUSTER", "SETSLOT", number, "IMPORTING", self.id(source))
        source.ask("CLUSTER", "SETSLOT", number, "MIGRATING", self.id(target))
        pause = choose.choice((0, 0.01, 0.1))
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", number, choose.choice((1, 5))):
            for key in keys:
                source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
                time.sleep(pause)
        for server in (target, source, *self.primaries()):
            server.ask("CLUSTER", "SETSLOT", number, "NODE", self.id(target))

    def migrate(self, choose: Random) -> None:
        """Move some shards' slots at once, as Valkey does it from 9 on."""
        number, source, target = self._move(choose)
        last = min(number + choose.choice((0, 300, 1000)), 16383)
        while self.owner(last) is not source:  # it has another neighbour there
            last = number
        words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", number, last, "NODE", self.id(target)]
        until(lambda: _agreed(lambda: source.ask(*words)), SETTLED)
        until(lambda: self.owner(number) is target, SETTLED)


def _within(number: int, part: str) -> bool:
    """Whether a slot is in a part as CLUSTER NODES tells it."""
    first, _, last = part.partition("-")
    return first.isdigit() and int(first) <= number <= int(last or first)


def _agreed(ask: Callable[[], Any]) -> bool:
    """Whether a server does what it is asked for; it may not yet, or not just now."""
    try:
        ask()
    except (OSError, hiredis.ReplyError):
        time.sleep(0.1)
        return False
    return True


@contextlib.contextmanager
def running(
    topology: str,
    appendonly: str,
    choose: Random,
    priorities: Sequence[int] = (100,),
    *,
    parted: bool = False,
) -> Iterator[Stores]:
    """Servers of one kind, which write to their disk or not, with what else may be either way."""
    options = ["--appendonly", "no"]
    if appendonly != "none":
        options = ["--appendonly", "yes", "--appendfsync", appendonly]
    with (
        tempfile.TemporaryDirectory(prefix="pydisque-chaos-valkey-") as folder,
        contextlib.ExitStack() as parts,
    ):
        stores: Stores
        if topology == "sentinel":
            sentinels = choose.choice((1, 3, 3)) if len(priorities) == 1 else 3
            proxies = parts.enter_context(Proxies()) if parted else None
            stores = Sentinels(folder, options, sentinels, priorities, proxies)
        else:
            covered = choose.random() < 0.5
            stores = Cluster(folder, options, full_coverage=covered, replicas=len(priorities))
        try:
            yield stores
        finally:
            stores.close()
