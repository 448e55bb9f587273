"""node: promises of the file system, child processes, worker threads."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program

SCRIPTS = {
    "files": """
const fs = require('fs/promises');
(async () => {
  await fs.mkdir('a/b', {recursive: true});
  await Promise.all([...Array(200).keys()].map(i => fs.writeFile(`a/f${i}`, `${i}`)));
  console.log((await fs.readdir('a')).length, (await fs.stat('a/f7')).size);
  await fs.rename('a/f1', 'a/g'); await fs.symlink('g', 'a/l'); console.log(await fs.readlink('a/l'), await fs.realpath('a/l') === process.cwd() + '/a/g');
  try { await fs.open('missing'); } catch (e) { console.log(e.code, e.syscall); }
  const h = await fs.open('a/f2', 'r+'); await h.truncate(0); await h.chmod(0o600); await h.utimes(1, 2); await h.close();
  await fs.copyFile('a/f3', 'a/c'); await fs.appendFile('a/c', 'x'); console.log(String(await fs.readFile('a/c')));
  await fs.cp('a', 'z', {recursive: true}); await fs.rm('z', {recursive: true}); console.log(await fs.access('a/f4'));
  for await (const e of await fs.opendir('.')) console.log(e.name, e.isDirectory());
})();""",
    "child processes": """
const {execFileSync, spawn, exec, spawnSync, fork} = require('child_process');
console.log(String(execFileSync('/bin/echo', ['hello'])));
console.log(spawnSync('sh', ['-c', 'exit 3']).status, spawnSync('sleep', ['100'], {timeout: 200}).signal, spawnSync('/no/such').error.code);
const c = spawn('cat'); c.stdout.on('data', d => console.log(String(d))); c.stdin.end('through cat');
c.on('close', code => exec('kill -TERM $$', (e) => { console.log(code, e.signal);
  Promise.all([...Array(20).keys()].map(i => new Promise(r => exec(`echo ${i}`, (e, o) => r(o.trim()))))).then(o => console.log(o.join())); }));""",
    "workers": """
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');
const fs = require('fs');
let sum = 0, left = 4;
for (let i = 0; i < 4; i++) new Worker(`const {parentPort, workerData} = require('worker_threads'); const fs = require('fs');
  for (let j = 0; j < 50; j++) fs.writeFileSync('w' + workerData + '-' + j, 'x'); parentPort.postMessage(fs.readdirSync('.').length > 0 ? workerData : -99)`,
  {eval: true, workerData: i}).on('message', m => { sum += m; if (!--left) console.log(sum); });""",
    "streams and crypto": """
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto'), {pipeline} = require('stream');
fs.writeFileSync('in', Buffer.alloc(3000000, 'abc'));
pipeline(fs.createReadStream('in'), zlib.createGzip(), fs.createWriteStream('out.gz'), e => {
  console.log(e || crypto.createHash('sha256').update(zlib.gunzipSync(fs.readFileSync('out.gz'))).digest('hex')); fs.unlinkSync('out.gz');
  process.exitCode = 6; });""",
    "unix sockets": """
const net = require('net');
const s = net.createServer(c => c.end('served')).listen('sock', () => net.connect('sock').on('data', d => { console.log(String(d)); s.close(); }));""",
    "watch": """
const fs = require('fs');
fs.writeFileSync('f', '1');
const w = fs.watch('.', (kind, name) => { if (name === 'made') { console.log('seen'); w.close(); } });
fs.writeFileSync('made', 'x');""",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_node(twin: Twin, name: str) -> None:
    node = program("node")
    twin.write("main.js", SCRIPTS[name])
    twin.same([node, "main.js"], status=None)


def test_node_sees_the_machine(twin: Twin) -> None:
    twin.same([program("node"), "-p", "const o = require('os'); [o.cpus().length, o.platform(), o.totalmem() > 0, o.userInfo().uid]"])
