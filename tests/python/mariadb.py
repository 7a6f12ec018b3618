"""A MariaDB server of the tests' own, from the machine's packages: what EMR's own metastore rests on."""

import getpass
import shutil
import subprocess
import time

from postgres import free_port

SERVER, INSTALL, CLIENT = (shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("mariadbd", "mariadb-install-db", "mariadb"))  # fmt: skip


class MariaDb:
    jdbc_driver, scripts = "org.mariadb.jdbc.Driver", "mysql"

    def __init__(self, directory):
        assert SERVER and CLIENT, "install mariadb-server-core and mariadb-client-core"
        self.port, self.directory, self.socket = free_port(), directory, directory / "socket"
        # Hive goes by the product's name, and 2.3 and 3.1 know MySQL's alone.
        self.jdbc_url = f"jdbc:mysql://127.0.0.1:{self.port}/hive?useMysqlMetadata=true"
        directory.mkdir()
        self._where = ["--no-defaults", f"--datadir={directory / 'data'}", f"--user={getpass.getuser()}"]
        subprocess.run(
            [INSTALL, *self._where, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )

    def start(self):
        listen = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.socket}"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([SERVER, *self._where, *listen], stdout=log, stderr=log)
        give_up = time.monotonic() + 30
        while self._client("-e", "CREATE DATABASE IF NOT EXISTS hive", check=False):
            assert self.process.poll() is None and time.monotonic() < give_up, (self.directory / "log").read_text()
            time.sleep(0.1)
        self._client(
            "-e", "CREATE OR REPLACE USER sfbatch@'%' IDENTIFIED BY 'sfbatch'; GRANT ALL ON *.* TO sfbatch@'%'"
        )
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()

    def run(self, script):
        """A file of SQL, from its own directory: it may include others."""
        self._client("hive", "-e", f"SOURCE {script.name}", cwd=script.parent)

    def _client(self, *arguments, check=True, cwd=None):
        command = [CLIENT, "--no-defaults", f"--socket={self.socket}", "-u", "root", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
        assert not (check and ended.returncode), ended.stderr
        return ended.returncode
