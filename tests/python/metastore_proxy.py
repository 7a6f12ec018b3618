"""A TCP proxy before the metastore that reads the names of the calls: counts them, holds one back, loses an answer, refuses.

Test code's own; speaks thrift's strict binary protocol, one call at a time on a connection, as Hive's clients do.
"""

import contextlib
import select
import socket
import struct
import threading
from urllib.parse import urlparse

from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.protocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport import TTransport

ALTER = "alter_partitions_with_environment_context"
ALTER_TABLE = "alter_table_with_environment_context"
ADD = "add_partitions"
#: The first call on a connection; Hive's clients go on without an answer to it.
GREETING = "set_ugi"


class Proxy:
    """`with Proxy(uri) as proxy:` and a writer on `proxy.uri`."""

    def __init__(self, uri):
        parsed = urlparse(uri)
        self._server = (parsed.hostname, parsed.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"thrift://127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = []
        self._rules = []
        self._lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def hold(self, call):
        """The next such call does not reach the server until `.release()`; `.held` is set when it is held. Its client never gets an answer."""
        return self._rule(call, "hold", 1)

    def lose_answer(self, call):
        """The next such call is carried out; its client is cut off instead of an answer."""
        return self._rule(call, "lose", 1)

    def cut(self, call=None, times=10**9):
        """Such calls (None: all but the greeting) do not reach the server; their clients are cut off instead of an answer."""
        return self._rule(call, "cut", times)

    def refuse(self, call, error, times=10**9):
        """Such calls are answered by `error` (e.g. ttypes.MetaException) and do not reach the server."""
        return self._rule(call, "refuse", times, error)

    def allow(self):
        """Nothing is held, lost or refused any more."""
        with self._lock:
            self._rules.clear()

    def _rule(self, call, action, times, error=None):
        rule = Rule(call, action, times, error)
        with self._lock:
            self._rules.append(rule)
        return rule

    def _match(self, call):
        with self._lock:
            self.calls.append(call)
            for rule in self._rules:
                if rule.times > 0 and (rule.call == call or (rule.call is None and call != GREETING)):
                    rule.times -= 1
                    return rule
        return None

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError), socket.create_connection(self._server) as server:
            expecting = True  # the next bytes of the client begin a call
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if server in ready:
                    data = server.recv(1 << 16)
                    if not data:
                        return
                    client.sendall(data)
                    expecting = True
                if client in ready:
                    data = client.recv(1 << 16)
                    if not data:
                        return
                    rule = None
                    if expecting:
                        name, sequence = _header(data)
                        rule, expecting = self._match(name), False
                    if rule is None:
                        server.sendall(data)
                    elif rule.action == "refuse":
                        _whole(data, client)
                        client.sendall(_answer(name, sequence, rule.error))
                        expecting = True
                    elif rule.action == "cut":
                        return
                    elif rule.action == "lose":
                        server.sendall(_whole(data, client))
                        server.recv(1 << 16)
                        return
                    else:
                        data = _whole(data, client)
                        rule.held.set()
                        rule.released.wait()
                        server.sendall(data)
                        server.recv(1 << 16)
                        rule.landed.set()
                        return


class Rule:
    """What happens to some calls."""

    def __init__(self, call, action, times, error):
        self.call, self.action, self.times, self.error = call, action, times, error
        self.held, self.released, self.landed = threading.Event(), threading.Event(), threading.Event()

    def release(self):
        """What was held goes to the server now, and is carried out when this returns."""
        self.released.set()
        assert self.landed.wait(120)


def _header(data):
    _, length = struct.unpack("!II", data[:8])
    return data[8 : 8 + length].decode(), struct.unpack("!I", data[8 + length : 12 + length])[0]


def _whole(data, client):
    """The call that begins with `data`, to the end of its arguments."""
    while True:
        protocol = TBinaryProtocol.TBinaryProtocol(TTransport.TMemoryBuffer(data))
        try:
            protocol.readMessageBegin()
            protocol.skip(TType.STRUCT)
            return data
        except EOFError:
            more = client.recv(1 << 16)
            if not more:
                raise ConnectionError("the client hung up within a call") from None
            data += more


def _answer(name, sequence, error):
    kinds = {
        spec[2]: spec[3][0] for spec in getattr(ThriftHiveMetastore, f"{name}_result").thrift_spec if spec and spec[0]
    }
    field = next(key for key, kind in kinds.items() if kind is type(error))
    memory = TTransport.TMemoryBuffer()
    protocol = TBinaryProtocol.TBinaryProtocol(memory)
    protocol.writeMessageBegin(name, TMessageType.REPLY, sequence)
    getattr(ThriftHiveMetastore, f"{name}_result")(**{field: error}).write(protocol)
    protocol.writeMessageEnd()
    return memory.getvalue()


DENIED = ttypes.MetaException("java.security.AccessControlException: Permission denied: user=bob, access=WRITE")
REFUSED = ttypes.InvalidOperationException("alter is not possible: the test says so")
NOT_ADDED = ttypes.InvalidObjectException("add is not possible: the test says so")
