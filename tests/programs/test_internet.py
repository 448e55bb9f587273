"""Servers and clients that talk over a guest's own loopback."""

from __future__ import annotations

import os
import shutil

import pytest

from sandbox import Allow
from tests.helpers import Twin, interpreter, program


@pytest.fixture(autouse=True, params=["own namespace", "served"])
def with_loopback(twin: Twin, request: pytest.FixtureRequest) -> None:
    """The guest's loopback is that of its own network namespace, or, where a rule reaches outside, a slice of the host's."""
    twin.network = "loopback" if request.param == "own namespace" else [Allow("192.0.2.1:1")]


PYTHON = {
    "http": """
import http.server, threading, urllib.request, urllib.error
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
threading.Thread(target=server.serve_forever).start()
url = f"http://127.0.0.1:{server.server_port}"
open("page", "w").write("x" * 1000000)
print(len(urllib.request.urlopen(url + "/page").read()), urllib.request.urlopen(url).status)
try: urllib.request.urlopen(url + "/missing")
except urllib.error.HTTPError as error: print(error)
server.shutdown()
""",
    "asyncio": """
import asyncio
async def echo(reader, writer):
    while data := await reader.read(65536): writer.write(data); await writer.drain()
    writer.close()
async def talk(port, size):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * size); writer.write_eof()
    data = await reader.read(); writer.close(); return len(data)
class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, address): self.transport.sendto(data.upper(), address)
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*(talk(port, 10000 * n) for n in range(50)))))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    got = loop.create_future()
    class Ask(asyncio.DatagramProtocol):
        def connection_made(self, transport): transport.sendto(b"hello")
        def datagram_received(self, data, address): got.set_result(data)
    await loop.create_datagram_endpoint(Ask, remote_addr=transport.get_extra_info("sockname"))
    print(await got)
    try: await asyncio.open_connection("127.0.0.1", 1)
    except OSError as error: print(error.errno)
asyncio.run(main())
""",
    "managers": """
import multiprocessing as m
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import BaseManager
def serve(pipe):
    with Listener(("127.0.0.1", 0), authkey=b"k") as listener:
        pipe.send(listener.address)
        with listener.accept() as peer: peer.send(peer.recv() * 2)
class Manager(BaseManager): pass
Manager.register("square", callable=lambda n: n * n)
if __name__ == "__main__":
    m.set_start_method("fork")
    here, there = m.Pipe()
    process = m.Process(target=serve, args=(there,)); process.start()
    with Client(here.recv(), authkey=b"k") as client: client.send([1, 2]); print(client.recv())
    process.join()
    manager = Manager(address=("127.0.0.1", 0), authkey=b"k"); manager.start()
    print(manager.square(7)._getvalue()); manager.shutdown()
""",
    "options": """
import select, socket, struct
server = socket.socket(socket.AF_INET6); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); server.bind(("::", 0)); server.listen()
port = server.getsockname()[1]
print(server.getsockname()[0], server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
for host in ("127.0.0.1", "::1"):
    with socket.create_connection((host, port)) as client, server.accept()[0] as peer:
        for level, option, value in ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                                     (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30), (socket.IPPROTO_TCP, socket.TCP_CORK, 0)):
            client.setsockopt(level, option, value); print(client.getsockopt(level, option))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        print(peer.getpeername()[0], peer.getsockname()[0]); client.sendall(b"x", 0); peer.settimeout(0.05)
        print(peer.recv(9))
        try: peer.recv(9)
        except TimeoutError as error: print(error)
        client.send(b"!", socket.MSG_OOB); peer.setblocking(True); print(peer.recv(1, socket.MSG_OOB))
        client.shutdown(socket.SHUT_WR); print(peer.recv(9))
one = socket.socket(type=socket.SOCK_DGRAM); one.bind(("127.0.0.1", 0))
two = socket.socket(type=socket.SOCK_DGRAM); two.connect(one.getsockname()); two.send(b"connected"); data, address = one.recvfrom(99)
print(data, address == two.getsockname()); one.sendmsg([b"a", b"b"], [], 0, address); print(two.recvmsg(99)[0])
three = socket.socket(); three.setblocking(False)
print(three.connect_ex(("127.0.0.1", port)), select.select([], [three], [])[1] == [three])
print(three.connect_ex(("127.0.0.1", port)), three.connect_ex(("127.0.0.1", port)))
with socket.create_server(("127.0.0.1", 0)) as four:
    print(socket.socket(socket.AF_INET6).connect_ex(("::1", four.getsockname()[1])))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.sendto(b"lost", ("::1", one.getsockname()[1])); two.send(b"next"); print(one.recv(9))
for host in ("127.0.0.3", "::1"):
    with socket.socket(six.family if ":" in host else one.family, socket.SOCK_DGRAM) as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); here.bind((host, 0))
        print(here.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), here.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        with socket.socket(here.family, socket.SOCK_DGRAM) as there:
            there.connect(here.getsockname()); there.send(b"ask"); data, address = here.recvfrom(9)
            here.sendto(b"answer", address); there.settimeout(10); print(data, address[0], there.recv(9))
for address in (("127.0.0.1", port), ("127.0.0.2", 0), ("192.0.2.7", 0)):
    try: print(socket.socket().bind(address))
    except OSError as error: print(error.errno)
""",
}


@pytest.mark.parametrize("name", PYTHON)
def test_python(twin: Twin, name: str) -> None:
    script = twin.write("program.py", PYTHON[name])
    twin.same([interpreter(), "-B", script], timeout=120)


SERVE = """
: >log
{python} -u -m http.server --bind 127.0.0.1 0 >log 2>&1 & server=$!
until grep -q 'port [0-9]' log; do sleep 0.05; done
port=$(sed -n 's/.* port \\([0-9]*\\).*/\\1/p' log)
{client}
status=$?; kill $server; wait $server 2>/dev/null; rm -f log; exit $status
"""
CLIENTS = {
    "curl": "curl -sS http://127.0.0.1:$port/page && curl -sS -r 2-4 http://127.0.0.1:$port/page; curl -s http://127.0.0.1:1/ || echo $?",
    "wget": "wget -q -O - http://127.0.0.1:$port/page && wget -q http://127.0.0.1:$port/missing || echo $?",
}


@pytest.mark.parametrize("name", CLIENTS)
def test_http_client(twin: Twin, name: str) -> None:
    client = program(name)
    twin.write("page", "served\n")
    twin.same(SERVE.format(python=interpreter(), client=CLIENTS[name].replace(name, client)))


NODE = {
    "http": """
const http = require('http');
const server = http.createServer((q, a) => { let n = 0; q.on('data', d => n += d.length); q.on('end', () => a.end(`${q.method} ${n}`)); });
server.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  console.log(await (await fetch(url)).text(), await (await fetch(url, {method: 'POST', body: 'x'.repeat(3000000)})).text());
  console.log((await Promise.all([...Array(50).keys()].map(async i => (await fetch(url + i)).status))).length);
  server.closeAllConnections(); server.close();
  try { await fetch(url); } catch (e) { console.log(e.cause.code); }
});""",
    "datagrams": """
const dgram = require('dgram'), server = dgram.createSocket('udp4'), client = dgram.createSocket('udp4');
server.on('message', (m, from) => server.send(String(m).toUpperCase(), from.port, from.address));
server.bind(0, '127.0.0.1', () => client.send('hello', server.address().port, '127.0.0.1'));
client.on('message', m => { console.log(String(m)); client.close(); server.close(); });""",
}


@pytest.mark.parametrize("name", NODE)
def test_node(twin: Twin, name: str) -> None:
    script = twin.write("program.js", NODE[name])
    twin.same([program("node"), script], errors=False)


GO = """
package main
import ("fmt"; "io"; "net"; "net/http"; "sync")
func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil { panic(err) }
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { io.WriteString(w, q.URL.Path) }))
	var wait sync.WaitGroup
	var lock sync.Mutex
	total := 0
	for i := 0; i < 40; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			answer, err := http.Get("http://" + listener.Addr().String() + "/page")
			if err != nil { panic(err) }
			text, _ := io.ReadAll(answer.Body)
			lock.Lock(); total += len(text); lock.Unlock()
		}()
	}
	wait.Wait()
	fmt.Println(total)
	_, err = net.Dial("tcp", "127.0.0.1:1")
	fmt.Println(err)
	plain, _ := net.ListenPacket("udp", "127.0.0.1:0")
	there, _ := net.Dial("udp", plain.LocalAddr().String())
	there.Write([]byte("datagram"))
	buffer := make([]byte, 99)
	n, from, _ := plain.ReadFrom(buffer)
	fmt.Println(string(buffer[:n]), from.String() == there.LocalAddr().String())
}
"""


def test_go(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> None:
    go = program("go", "/usr/local/go/bin", "/usr/lib/go/bin")
    twin.write("main.go", GO)
    cache = tmp_path_factory.mktemp("go")
    env = {
        "GOCACHE": str(cache),
        "GOPATH": str(cache),
        "GO111MODULE": "off",
        "PATH": twin.env["PATH"] + ":" + os.path.dirname(go),
    }
    assert twin.native([go, "build", "-o", "program", "main.go"], env=env, timeout=300).status == 0
    shutil.copy2(twin.here / "program", twin.there)
    twin.same([twin.here / "program"])


JAVA = """
import java.net.*; import java.net.http.*; import com.sun.net.httpserver.*;
public class Main {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", e -> { byte[] text = e.getRequestURI().getPath().getBytes(); e.sendResponseHeaders(200, text.length); e.getResponseBody().write(text); e.close(); });
        server.start();
        HttpClient client = HttpClient.newHttpClient();
        URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/page");
        System.out.println(client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString()).body());
        server.stop(0);
        try { new Socket("127.0.0.1", 1); } catch (ConnectException e) { System.out.println(e.getMessage()); }
        System.exit(0);
    }
}
"""


def test_java(twin: Twin) -> None:
    java, javac = program("java"), program("javac")
    twin.write("Main.java", JAVA)
    assert twin.native([javac, "Main.java"], timeout=300).status == 0
    for path in twin.here.glob("*.class"):
        shutil.copy2(path, twin.there)
    twin.same([java, "-Xshare:auto", "-cp", ".", "Main"], errors=False, trees=False)


def test_redis(twin: Twin) -> None:
    """Server, client and benchmark, as processes of one guest."""
    redis, tool = program("redis-server"), program("redis-cli")
    script = f"""
{redis} --port 7777 --bind 127.0.0.1 -::1 --save '' --daemonize yes --pidfile $PWD/pid --logfile $PWD/log >/dev/null
until {tool} -p 7777 ping >/dev/null 2>&1; do sleep 0.05; done
{tool} -p 7777 set key value; {tool} -h ::1 -p 7777 get key; {tool} -p 7777 incr n
{tool.replace("redis-cli", "redis-benchmark")} -p 7777 -n 2000 -c 20 -t set,get -q | grep -c 'requests per second'
{tool} -p 7777 shutdown nosave; rm -f log pid
"""
    done = twin.inside(script)
    assert done.stdout.split() == [b"OK", b"value", b"1", b"2"], done


def test_git_daemon(twin: Twin) -> None:
    """A repository cloned over the network from a server beside it."""
    git = program("git")
    script = f"""
exec 2>/dev/null
{git} init -q repo; cd repo; echo x >file; {git} add .; {git} -c user.name=a -c user.email=a@b commit -qm one; cd ..
{git} daemon --reuseaddr --export-all --base-path=$PWD --listen=127.0.0.1 --port=7778 --pid-file=pid --detach
until {git} clone -q git://127.0.0.1:7778/repo copy; do sleep 0.1; done
cat copy/file; kill $(cat pid)
"""
    done = twin.inside(script)
    assert done.stdout == b"x\n", done


NGINX = """
{user} worker_processes 2; pid {here}/pid; error_log {here}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3; uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;
  server {{ listen 127.0.0.1:7779; listen [::1]:7779; location / {{ root {here}/www; }} }} }}
"""


def test_nginx(twin: Twin) -> None:
    """A master with workers, asked by many at once."""
    nginx, curl = program("nginx"), program("curl")
    twin.write("www/page", "x" * 100000)
    twin.write("conf", NGINX.format(here=twin.here, user="user root root;" if os.getuid() == 0 else ""))
    script = f"""
{nginx} -c $PWD/conf -e $PWD/error.log || exit 9
until {curl} -s -o /dev/null http://127.0.0.1:7779/page; do sleep 0.05; done
for i in $(seq 20); do {curl} -s http://127.0.0.1:7779/page | wc -c & done | sort | uniq -c; wait
{curl} -s -g -o /dev/null -w '%{{http_code}}' 'http://[::1]:7779/missing'
kill $(cat pid); while [ -e pid ]; do sleep 0.05; done
"""
    done = twin.inside(script)
    assert done.stdout.split() == [b"20", b"100000", b"404"], done
