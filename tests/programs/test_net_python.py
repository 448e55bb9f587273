"""Python's own servers and the clients that people install."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest

from sandbox import Allow
from tests.helpers import Twin, interpreter

NETWORKS = {"own namespace": "loopback", "served": [Allow("192.0.2.1:1")]}
OWN = {
    "socketserver": """
import socket, socketserver, threading
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline().upper())
class Datagram(socketserver.DatagramRequestHandler):
    def handle(self): self.wfile.write(self.rfile.read().upper())
class Six(socketserver.ForkingTCPServer): address_family = socket.AF_INET6
for kind, address in ((socketserver.ThreadingTCPServer, ("127.0.0.1", 0)), (socketserver.ForkingTCPServer, ("", 0)), (Six, ("::1", 0)),
                      (socketserver.ThreadingUnixStreamServer, "stream")):
    with kind(address, Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,)); thread.start()
        for _ in range(5):
            with socket.socket(server.address_family) as client:
                client.connect(server.server_address); client.sendall(b"hello\\n"); print(kind.__name__, client.makefile().readline())
        server.shutdown(); thread.join()
for kind, address in ((socketserver.ThreadingUDPServer, ("127.0.0.1", 0)), (socketserver.ThreadingUnixDatagramServer, "datagrams")):
    with kind(address, Datagram) as server, socket.socket(server.address_family, socket.SOCK_DGRAM) as client:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,)); thread.start()
        client.bind("client" if server.address_family == socket.AF_UNIX else ("127.0.0.1", 0)); client.sendto(b"hello", server.server_address)
        print(kind.__name__, client.recv(99)); server.shutdown(); thread.join()
""",
    "managers": """
import multiprocessing as m, os
from multiprocessing.managers import SharedMemoryManager
def work(shared, queue, lock, number):
    with lock: shared["sum"] = shared.get("sum", 0) + number
    queue.put(number)
def count(number): return number * number
if __name__ == "__main__":
    for how in ("fork", "spawn", "forkserver"):
        context = m.get_context(how)
        with context.Manager() as manager:
            shared, queue, lock = manager.dict(), manager.Queue(), manager.Lock()
            workers = [context.Process(target=work, args=(shared, queue, lock, number)) for number in range(5)]
            for worker in workers: worker.start()
            for worker in workers: worker.join()
            print(how, shared["sum"], sorted(queue.get() for _ in workers), type(manager.address) is str)
        with context.Pool(3) as pool: print(pool.map(count, range(8)))
    with SharedMemoryManager() as shared: print(sum(shared.ShareableList(range(10))))
""",
}
INSTALLED = {
    "requests": """
import http.server, socket, threading, requests
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, code, body, **headers):
        self.send_response(code); self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        if self.path == "/away": return self.answer(302, b"", Location="/there")
        self.answer(200, b"x" * 100000 if self.path == "/large" else self.path.encode())
    def do_POST(self): self.answer(201, str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode())
class Six(http.server.ThreadingHTTPServer): address_family = socket.AF_INET6
for kind, host in ((http.server.ThreadingHTTPServer, "127.0.0.1"), (Six, "::1")):
    with kind((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,)); thread.start()
        url = f"http://{'[::1]' if ':' in host else 'localhost'}:{server.server_port}"
        with requests.Session() as session:
            session.trust_env = False
            print(session.get(url + "/away").text, session.post(url, data=b"y" * 3000000).text, len(session.get(url + "/large").content))
            print([session.get(f"{url}/{number}").status_code for number in range(20)])
        server.shutdown(); thread.join()
    try: requests.get(url, timeout=5)
    except requests.ConnectionError as error: print("refused" in str(error))
""",
    "aiohttp": """
import asyncio, socket, aiohttp
from aiohttp import web
async def page(request): return web.Response(text=f"{request.method} {len(await request.read())}")
async def talk(request):
    channel = web.WebSocketResponse(); await channel.prepare(request)
    async for message in channel: await channel.send_str(message.data.upper())
    return channel
async def main():
    app = web.Application(client_max_size=1 << 24); app.add_routes([web.route("*", "/", page), web.get("/talk", talk)])
    runner = web.AppRunner(app); await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0); await site.start()
    port = site._server.sockets[0].getsockname()[1]
    for family in (socket.AF_UNSPEC, socket.AF_INET):  # its resolver asks with AI_ADDRCONFIG
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(family=family)) as session:
            async with session.post(f"http://localhost:{port}/", data=b"z" * 3000000) as answer: print(await answer.text())
            async def one():
                async with session.get(f"http://localhost:{port}/") as answer: return answer.status
            print(await asyncio.gather(*(one() for _ in range(30))))
            async with session.ws_connect(f"http://localhost:{port}/talk") as channel:
                await channel.send_str("hello"); print((await channel.receive()).data)
    await runner.cleanup()
asyncio.run(main())
""",
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("name", OWN)
def test_own(twin: Twin, name: str, network: Any) -> None:
    twin.network = network
    script = twin.write("program.py", OWN[name])
    twin.same([interpreter(), "-B", script], trees=False)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("name", INSTALLED)
def test_installed(twin: Twin, name: str, network: Any) -> None:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not installed beside the tests")
    packages = os.path.dirname(os.path.dirname(found.origin))
    twin.network, twin.mounts = network, {packages: packages}
    script = twin.write("program.py", INSTALLED[name])
    twin.same([interpreter(), "-B", script], env={"PYTHONPATH": packages})
