"""Programs that speak HTTP and TLS, with servers beside them and with one of the host's under a rule."""

from __future__ import annotations

import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Allow
from tests.helpers import Twin, free_port, interpreter, program
from tests.programs.outside import SmartGit, certificate, https, nginx

NETWORKS = {"own namespace": "loopback", "served": [Allow("192.0.2.1:1")]}


@pytest.fixture
def pair(twin: Twin) -> None:
    """A certificate and its authority, as ./pair and ./authority."""
    folder = twin.here.parent / "tls"
    folder.mkdir()
    certificate(folder)
    for name in ("pair", "authority"):
        twin.copy(folder / name, name)


@pytest.fixture
def outside(twin: Twin, pair: None) -> Iterator[str]:
    """A server of the host's that the guest may reach, with what is in the folder `site` beside the guest's."""
    site = twin.here.parent / "site"
    site.mkdir()
    with https(site, twin.here / "pair") as port:
        twin.network = [Allow(f"tcp://127.0.0.1:{port}")]
        yield f"https://127.0.0.1:{port}"


def site_of(twin: Twin) -> Path:
    return twin.here.parent / "site"


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_openssl(twin: Twin, pair: None, network: Any, host: str) -> None:
    """Its server and client; the client believes the right authority only."""
    openssl, port = program("openssl"), free_port()
    twin.network = network
    client = f"{openssl} s_client -connect {host}:{port} -brief -verify_return_error"
    script = f"""
exec 2>/dev/null
{openssl} s_server -accept {host}:{port} -cert pair -key pair -www -quiet & server=$!
until echo 'GET / HTTP/1.0' | {client} -CAfile authority -ign_eof >page; do sleep 0.05; done
grep -o 'HTTP/1.0 200 ok' page; {client} -CAfile /dev/null </dev/null || echo refused
kill $server; wait $server
"""
    assert twin.inside(script).stdout == b"HTTP/1.0 200 ok\nrefused\n"


def test_clients_of_a_server_outside(twin: Twin, outside: str) -> None:
    """curl, wget and Python, by TLS that they check; what is no address of a rule's is refused."""
    (site_of(twin) / "page").write_text("served")
    ask = f"import ssl, urllib.request as r; print(r.urlopen('{outside}/page', context=ssl.create_default_context(cafile='authority')).read().decode())"
    script = f"""
{program("curl")} -sS --cacert authority {outside}/page; echo; curl -sS {outside}/page 2>/dev/null || echo $?
wget -q --ca-certificate=authority -O - {outside}/page; echo; {interpreter()} -c "{ask}"
curl -s -o /dev/null https://192.0.2.1/ || echo $?
"""
    program("wget")
    assert twin.inside(script).stdout.split() == [b"served", b"60", b"served", b"served", b"7"]


def test_curl_by_http2(twin: Twin, pair: None) -> None:
    """Over TLS and plain: a file, a part of it, one that is not there, and many streams of one connection (over TLS:
    this curl begins several connections at once where it knows HTTP/2 before, and fails natively, too)."""
    folder, curl = twin.here.parent / "nginx", program("curl")
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "page").write_text("0123456789" * 100000)
    with nginx(folder, twin.here / "pair") as (tls, plain):
        twin.network = [Allow(f"tcp://127.0.0.1:{tls}"), Allow(f"tcp://127.0.0.1:{plain}")]
        script = f"""
told='%{{http_version}} %{{http_code}} %{{size_download}} %{{num_connects}}\\n'
for url in "--cacert authority https://127.0.0.1:{tls}" "--http2-prior-knowledge http://127.0.0.1:{plain}"; do
  {curl} -sS -o one -w "$told" $url/page; {curl} -sS -o part -r 7-9 -w "$told" $url/page; cat part; echo
  {curl} -sS -o none -w "$told" $url/missing | cut -d ' ' -f 1,2
done
{curl} -sS -Z --parallel-max 20 -w "$told" --cacert authority "https://127.0.0.1:{tls}/page?[1-20]" -o 'many#1' 2>/dev/null | sort | uniq -c
cat many* | wc -c
"""
        done = twin.inside(script)
    *lines, size = done.stdout.splitlines()
    assert lines[:8] == [b"2 200 1000000 1", b"2 206 3 1", b"789", b"2 404"] * 2 and size == b"20000000", done
    streams = Counter({words[-1]: int(words[0]) for words in map(bytes.split, lines[8:]) if words[1:4] == [b"2", b"200", b"1000000"]})
    assert sum(streams.values()) == 20 and streams[b"0"] > 0, done


NODE = """
const https = require('https'), fs = require('fs'), pair = fs.readFileSync('pair'), ca = fs.readFileSync('authority');
const server = https.createServer({key: pair, cert: pair}, (q, a) => { let n = 0; q.on('data', d => n += d.length); q.on('end', () => a.end(`${q.method} ${n}`)); });
const ask = (options, body) => new Promise((done, fail) => { const q = https.request({host: HOST, port: server.address().port, ...options},
  a => { let text = ''; a.on('data', d => text += d); a.on('end', () => done(text)); }); q.on('error', e => done(e.code)); q.end(body); });
server.listen(0, HOST, async () => {
  console.log(await ask({ca}), await ask({ca, method: 'POST'}, 'x'.repeat(3000000)), await ask({}));
  const agent = new https.Agent({keepAlive: true, maxSockets: 4});
  console.log((await Promise.all([...Array(40).keys()].map(() => ask({ca, agent})))).length);
  agent.destroy(); server.closeAllConnections(); server.close();
});"""


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_node(twin: Twin, pair: None, network: Any, host: str) -> None:
    twin.network = network
    script = twin.write("program.js", NODE.replace("HOST", repr(host)))
    twin.same([program("node"), script], errors=False)


@pytest.fixture
def repository(twin: Twin) -> str:
    """To be served as plain files, which git's own protocol over HTTP falls back to."""
    script = """
git init -q -b main work; cd work; seq 20000 >numbers; git add .; git -c user.name=a -c user.email=a@b commit -qm one
git clone -q --bare . ../repository; git -C ../repository update-server-info; rm -rf ../work
"""
    program("git")
    subprocess.run(["sh", "-ec", script], cwd=twin.here.parent, check=True, env=twin.env)
    return "repository"


def test_git_by_https(twin: Twin, outside: str, repository: str) -> None:
    (twin.here.parent / repository).rename(site_of(twin) / repository)
    done = twin.inside(f"git -c http.sslCAInfo=authority clone -q {outside}/{repository} copy && wc -l <copy/numbers")
    assert done.stdout == b"20000\n", done


def test_git_by_its_own_protocol(twin: Twin, pair: None, repository: str) -> None:
    """Over HTTPS: a clone of the last commit only, which no plain files give, a commit that is pushed, and its fetch."""
    with https(twin.here.parent, twin.here / "pair", SmartGit) as port:
        twin.network = [Allow(f"tcp://127.0.0.1:{port}")]
        script = f"""
export GIT_SSL_CAINFO=$PWD/authority; exec 2>errors
git clone -q --depth 1 https://127.0.0.1:{port}/{repository} copy || cat errors; git clone -q https://127.0.0.1:{port}/{repository} other; cd copy; wc -l <numbers
echo more >>numbers; git -c user.name=a -c user.email=a@b commit -qam two; git push -q origin HEAD:main || cat ../errors
git -C ../other pull -q; tail -n 1 ../other/numbers; git -C ../other fsck --no-progress; git ls-remote -q https://127.0.0.1:{port}/nothing || echo $?
"""
        done = twin.inside(script)
    assert done.stdout.split() == [b"20000", b"more", b"128"], done


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_git_by_http(twin: Twin, network: Any, repository: str) -> None:
    """From a server in the same guest."""
    twin.network = network
    twin.copy(twin.here.parent / repository, repository)
    port = free_port()
    script = f"""
{interpreter()} -m http.server --bind 127.0.0.1 {port} 2>/dev/null & server=$!
until git clone -q http://127.0.0.1:{port}/{repository} copy 2>/dev/null; do sleep 0.1; done
wc -l <copy/numbers; kill $server; wait $server
"""
    assert twin.inside(script).stdout == b"20000\n"


def wheel(folder: Path) -> None:
    """A package `apackage`, in an index of its own."""
    about = "apackage-1.0.dist-info"
    (folder / "simple" / "apackage").mkdir(parents=True)
    with zipfile.ZipFile(folder / "simple" / "apackage" / "apackage-1.0-py3-none-any.whl", "w") as file:
        file.writestr("apackage.py", "answer = 42\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: apackage\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


def test_pip(twin: Twin, outside: str) -> None:
    """From an index by TLS."""
    if twin.native([interpreter(), "-m", "pip", "--version"]).status:
        pytest.skip("the interpreter has no pip")
    wheel(site_of(twin))
    script = f"""
{interpreter()} -m pip -q --isolated --disable-pip-version-check install --root-user-action=ignore --no-cache-dir --cert authority \
  --index-url {outside}/simple/ --target here apackage && PYTHONPATH=here {interpreter()} -c 'import apackage; print(apackage.answer)'
"""
    done = twin.inside(script)
    assert done.stdout == b"42\n", done
