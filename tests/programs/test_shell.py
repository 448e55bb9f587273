"""Shell scripts give the same output and status inside."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program

PIPELINES = 'i=0; while [ $i -lt 200 ]; do seq 1000 | sort -n | uniq -c | wc -l || exit 1; i=$((i + 1)); done'

SCRIPTS = {
    "variables and quotes": "a='x y'; set -- \"$a\" b; echo \"$#\" \"$1\"; echo ${a#x } ${#a} \"${b:-none}\"; echo $((7*6))",
    "functions and loops": "f() { for x in \"$@\"; do echo \"<$x>\"; done; return 3; }; f 1 '2 3'; echo $?; while :; do break; done",
    "here documents": "cat <<EOF\nhome $HOME\nEOF\ncat <<'EOF'\n$HOME\nEOF\ncat <<-EOF\n\tdedented\n\tEOF\n",
    "redirections": "echo out >f; echo more >>f; cat <f; ls missing 2>err; wc -l <err; exec 5>g; echo five >&5; cat g; exec 5>&-",
    "globs": "touch a1 a2 b .hidden 'c d'; echo *; echo a?; echo [ab]*; echo .h*; echo nothing*",
    "pipes and statuses": "true | false; echo $?; ! true; echo $?; (exit 7); echo $?; echo a | tr a b | cat -A",
    "subshells": "x=1; (x=2; cd /; pwd); echo $x; pwd >/dev/null; { echo a; echo b; } | wc -l; echo $(echo nested $(echo deep))",
    "background jobs": "for i in 1 2 3 4 5; do (echo $i >job$i) & done; wait; cat job*; sleep 100 & kill $!; wait $!; echo $?",
    "traps": "trap 'echo exit trap' EXIT; trap 'echo got usr1' USR1; kill -USR1 $$; trap '' TERM; kill -TERM $$; echo alive",
    "killed by itself": "kill -KILL $$",
    "terminated": "echo before; kill -TERM $$; echo never",
    "not found": "no-such-command; echo $?; ./missing; echo $?; touch plain; ./plain; echo $?; /; echo $?",
    "directories": "mkdir -p a/b; cd a/b; ln -s .. up; cd up; pwd | sed \"s,$HOME,,\"; pwd -P | sed \"s,$HOME,,\"; cd -",
    "umask and permissions": "umask 027; touch f; mkdir d; stat -c %a f d; chmod u=rw,go= f; [ -x f ] || echo no; [ -w f ] && echo yes",
    "read": "printf 'a b c\\nd\\n' | while read -r x y; do echo \"$x-$y\"; done; IFS=: read -r u _ </etc/passwd; echo ${u:+some}",
    "scripts": "printf '#!/bin/sh\\necho script $0 $1\\n' >s; chmod +x s; ./s arg; PATH=.:$PATH s arg2; . ./s; sh s x",
    "exec": "exec 3<&0; exec echo replaced",
    "limits": "ulimit -n 50; ulimit -n; ulimit -c; (ulimit -f 1; head -c 100000 /dev/zero >big) 2>/dev/null; stat -c %s big",
    "fifo": "mkfifo p; cat p & echo through >p; wait",
    "deleted script": "echo 'rm -f \"$0\"; echo still' >gone; sh ./gone; ls gone 2>&1 | wc -l",
    "many files": "i=0; while [ $i -lt 300 ]; do echo $i >f$i; i=$((i+1)); done; ls | wc -l; cat f* | sort -n | tail -1",
    "many processes": "i=0; while [ $i -lt 100 ]; do /bin/true || echo bad; i=$((i+1)); done; echo done",
    "large output": "head -c 3000000 /dev/zero | tr '\\0' x",
    "nice and time": "nice -n 5 nice; nohup echo hup 2>/dev/null </dev/null; env -i A=1 env; timeout 5 echo quick",
}  # fmt: skip

BASH = {
    "process substitution": "diff <(seq 5) <(seq 2 6); cat <(echo one) <(echo two); echo x | tee >(cat >copy) >/dev/null; wait",
    "arrays": "a=(1 '2 3' 4); echo ${#a[@]} \"${a[1]}\"; declare -A m=([k]=v); echo ${m[k]}; mapfile -t l < <(seq 3); echo ${l[2]}",
    "here strings": "cat <<<'text'; read -r a b <<<'1 2'; echo $b; [[ abc =~ b(.) ]] && echo ${BASH_REMATCH[1]}",
    "pipefail": "set -o pipefail; false | true; echo $?; echo ${PIPESTATUS[@]}; set -e; trap 'echo err' ERR; false; echo never",
    "job control": "set -m; sleep 100 & kill -STOP %1; until jobs -s | grep -q Stopped; do :; done; kill -KILL %1; wait %1 2>/dev/null; until ! kill -0 $! 2>/dev/null; do :; done; echo end",
    "coproc": "coproc cat; echo hello >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo $x; exec {COPROC[1]}>&-; wait",
    "globstar": "shopt -s globstar nullglob; mkdir -p a/b/c; touch a/x a/b/y a/b/c/z; echo **/*; echo none*",
    "read -t": "read -r -t 0.1 x </dev/zero; echo $?; printf '%q\\n' 'a b'; printf '%(%Y)T\\n' 0; echo $BASHPID >/dev/null",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("interpreter", ["bash", "dash"])
def test_script(twin: Twin, interpreter: str, name: str) -> None:
    twin.same([program(interpreter), "-c", SCRIPTS[name]], status=None)


@pytest.mark.parametrize("name", BASH)
def test_bash_script(twin: Twin, name: str) -> None:
    twin.same([program("bash"), "-c", BASH[name]], status=None)


@pytest.mark.parametrize("interpreter", ["bash", "dash"])
def test_two_hundred_pipelines(twin: Twin, interpreter: str) -> None:
    """No pipeline hangs or loses a line."""
    assert twin.same([program(interpreter), "-c", PIPELINES]).stdout == b"1000\n" * 200


def test_script_with_input(twin: Twin) -> None:
    """A script on standard input; the rest of the input is its programs'."""
    twin.same([program("bash")], input=b"read -r x\nline one\necho $x\ncat\nrest\nof it\n")
    twin.same(["/bin/cat"], input=bytes(range(256)) * 20000)
