"""A browser: many processes, which know each other by what the kernel says of their sockets."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Allow
from tests.helpers import Twin, free_port, interpreter, program

PAGE = """<body><script>
fetch('data').then(a => a.text()).then(text => { document.body.innerText = `${text} ${40 + 2}`; });
</script></body>"""


@pytest.mark.parametrize("network", ["loopback", [Allow("192.0.2.1:1")]], ids=["own namespace", "served"])
def test_chromium(twin: Twin, network: Any) -> None:
    """A page with a script that asks the server for more, from a server in the same guest. Its own sandbox needs namespaces."""
    chromium = program("chromium", "/usr/lib/chromium")  # not Debian's script around it, which reads /etc/chromium.d
    twin.network, port = network, free_port()
    twin.write("www/page.html", PAGE)
    twin.write("www/data", "fetched")
    script = f"""
{interpreter()} -m http.server --bind 127.0.0.1 --directory www {port} 2>log & server=$!
until grep -q GET log; do {interpreter()} -c "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/')" 2>/dev/null || sleep 0.05; done
{chromium} --no-sandbox --disable-gpu --headless --user-data-dir=$PWD/profile --timeout=60000 --virtual-time-budget=20000 \
  --dump-dom http://127.0.0.1:{port}/page.html 2>errors
kill $server; wait $server
"""
    done = twin.inside(script)
    assert b"<body>fetched 42</body>" in done.stdout, (done, (twin.there / "errors").read_bytes()[-3000:])
