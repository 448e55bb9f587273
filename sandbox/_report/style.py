"""How a page looks. It has no other resource: the policy in its head allows this text by its hash, and nothing else."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; font: 14px/1.45 system-ui, sans-serif; }
body { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h2 { margin: 2rem 0 .4rem; border-bottom: 1px solid; }
bdi { font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .1rem .8rem .1rem 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
ul { list-style: none; margin: 0; padding-left: 1.2rem; }
summary { cursor: pointer; }
nav a { margin-right: 1rem; }
.wrong { border: 2px solid #c00; padding: .5rem 1rem; }
.note { opacity: .75; max-width: 60rem; }
i { font-style: normal; opacity: .85; padding-left: .6rem; white-space: nowrap; font-size: .9em; }
.refused { color: #c00; opacity: 1; font-weight: bold; }
.changed, .written { color: #b60; opacity: 1; }
.run { color: #07a; }
.failed { opacity: .55; }
.row { display: grid; grid-template-columns: 5rem 16rem 1fr 8rem 7rem; gap: .6rem; }
.process table { margin: .2rem 0 .8rem 5.6rem; }
.process p { margin: .2rem 0 .2rem 5.6rem; }
svg { width: 100%; height: 1.2rem; }
svg.all { height: 5rem; }
.l0 { fill: #8885; } .l1 { fill: #9bd; } .l2 { fill: #59c; } .l3 { fill: #26a; } .l4 { fill: #c00; }
@media (prefers-color-scheme: dark) {
  .refused, .wrong { color: #f77; } .changed, .written { color: #fa5; } .run { color: #6cf; }
}
"""

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
HEAD = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<title>sandbox report</title><style>{STYLE}</style></head>
<body>
"""
