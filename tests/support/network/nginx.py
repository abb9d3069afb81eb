"""A real nginx with the project's own configuration, changed in its addresses and nothing else."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from config.stack.process import Child
from config.stack.server import HOST, Server

CONF = Path(__file__).parents[3] / "config" / "nginx" / "dropgate.conf"
MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/dropgate.conf;
}}
"""


class Nginx(Server):
    """Listens on `port` and passes on to the gateway at `gateway_port`."""

    name = "nginx"

    def __init__(self, folder: Path, gateway_port: int) -> None:
        super().__init__(folder)
        self._gateway_port = gateway_port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    async def prepare(self) -> None:
        """Write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = CONF.read_text(encoding="utf-8")
        for ours, here in (
            ("/var/cache/nginx/dropgate", f"{self.folder}/cache"),
            ("server 127.0.0.1:8080", f"server {HOST}:{self._gateway_port}"),
            ("listen 80 ", f"listen {HOST}:{self.port} "),
        ):
            assert text.count(ours) == 1, ours
            text = text.replace(ours, here)
        (self.folder / "dropgate.conf").write_text(text)
        user = "user root;" if os.getuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder, user=user))

    def make_child(self) -> Child:
        """See Server."""
        binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert binary, "no nginx: install it (Debian: apt-get install nginx-light)"
        command = [binary, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        return Child(command, log=self.folder / "nginx.log")

    async def ready(self) -> bool:
        """See Server."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}/livez") as response,
            ):
                return response.status == 404  # the path is not for buyers
        except aiohttp.ClientConnectionError:
            return False


@asynccontextmanager
async def proxied(folder: Path, gateway_port: int) -> AsyncIterator[Nginx]:
    """Nginx in front of a gateway until the block ends."""
    server = Nginx(folder, gateway_port)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
