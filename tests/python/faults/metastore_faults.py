"""The metastore's proxy with dice: calls that never arrive, answers that are lost, changes that are carried out late. It keeps what came late."""

import contextlib
import random
import socket
import threading
import time
from collections import Counter

from metastore_proxy import Proxy
from pymetastore.hive_metastore import ThriftHiveMetastore
from thrift.protocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport import TTransport

CHANGES = {
    "alter_partitions_with_environment_context",
    "alter_table_with_environment_context",
    "add_partitions",
    "drop_partitions_req",
}
#: Of every 1,000 calls, how many meet what.
PER_MILLE = {
    "change": {"cut": 20, "lose": 50, "late": 40},
    "lock": {"cut": 10, "lose": 20, "late": 10},
    "other": {"cut": 3, "lose": 3},
}
#: From when to when, of each four minutes, there are so many times as many: the second is longer than a writer's patience.
STORMS, CYCLE_S, TIMES = ((30, 38), (90, 125)), 240, 9


class FaultyMetastore(Proxy):
    """As Proxy; `.met` counts, `.troubled` turns the faults on. `.changes` is [(before it, after it, call, its arguments, whether it came late)] of the
    changes that the metastore carried out, or may have: not those it refused.
    """

    def __init__(self, uri, seed):
        super().__init__(uri)
        self._dice = random.Random(f"metastore {seed}")
        self.met, self.changes, self.troubled = Counter(), [], False
        self._late_ones = []

    def _fault(self, call):
        kind = "change" if call in CHANGES else "lock" if call == "lock" else "other"
        now = time.monotonic() % CYCLE_S
        times = TIMES if any(begins <= now < ends for begins, ends in STORMS) else 1
        with self._lock:
            throw = self._dice.uniform(0, 1000) / times
        found = None
        for fault, share in PER_MILLE[kind].items():
            throw -= share
            if throw < 0 and self.troubled:
                found = fault
                break
        self.met[f"{call} {found}" if found else call] += 1
        return found

    def _serve(self, client):
        with client, contextlib.suppress(OSError, EOFError), socket.create_connection(self._server) as server:
            while True:
                name, answered, call = _message(client)
                fault = self._fault(name)
                if fault == "cut":
                    return
                if fault == "late":
                    one = threading.Thread(target=self._carry_out_late, args=(name, call), daemon=True)
                    self._late_ones.append(one)
                    one.start()
                    return
                if not answered:
                    server.sendall(call)
                    continue
                answer = self._answer(server, name, call)
                if fault == "lose":
                    return
                client.sendall(answer)

    def _carry_out_late(self, name, call):
        time.sleep(self._dice.uniform(0.1, 8))
        with contextlib.suppress(OSError, EOFError), socket.create_connection(self._server) as server:
            self._answer(server, name, call, late=True)

    def _answer(self, server, name, call, late=False):
        """What the metastore says; a change it did not refuse is kept, also when no answer came: it may have been restarted after it."""
        began, refused = time.time(), False
        try:
            server.sendall(call)
            _, _, answer = _message(server)
            refused = _refused(answer)
            return answer
        finally:
            if name in CHANGES and not refused:
                self.changes.append((began, time.time(), name, _arguments(name, call), late))

    def wait_for_late_ones(self):
        for one in self._late_ones:
            one.join(30)


class _Tap(TTransport.TTransportBase):
    """Reads from a socket what there is, and keeps it; on a connection one call, or answer, is under way at a time."""

    def __init__(self, connection):
        self._connection, self.seen, self._at = connection, bytearray(), 0

    def read(self, size):
        if self._at == len(self.seen):
            data = self._connection.recv(1 << 16)
            if not data:
                raise EOFError
            self.seen += data
        found = bytes(self.seen[self._at : self._at + size])
        self._at += len(found)
        return found


def _message(connection):
    """One whole thrift message, as bytes: (name, whether it is to be answered, bytes)."""
    tap = _Tap(connection)
    protocol = TBinaryProtocol.TBinaryProtocol(tap)
    name, kind, _ = protocol.readMessageBegin()
    protocol.skip(TType.STRUCT)
    return name, kind != TMessageType.ONEWAY, bytes(tap.seen)


def _refused(answer):
    """Whether an answer holds an exception: field 0 of its struct is a result, a call without one has no field at all."""
    protocol = TBinaryProtocol.TBinaryProtocol(TTransport.TMemoryBuffer(answer))
    _, kind, _ = protocol.readMessageBegin()
    protocol.readStructBegin()
    _, field, number = protocol.readFieldBegin()
    return kind == TMessageType.EXCEPTION or (field != TType.STOP and number != 0)


def _arguments(name, call):
    protocol = TBinaryProtocol.TBinaryProtocol(TTransport.TMemoryBuffer(call))
    protocol.readMessageBegin()
    arguments = getattr(ThriftHiveMetastore, f"{name}_args")()
    arguments.read(protocol)
    return arguments
