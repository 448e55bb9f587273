"""coreutils, find, grep, sed, awk, tar, compressors and make give the same output and trees inside."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program

SETUP = "mkdir -p src/a/b src/empty; seq 5000 >src/numbers; echo text >src/a/t; echo deep >src/a/b/d; ln -s ../numbers src/a/link; " \
        "ln src/numbers src/hard; mkfifo src/pipe; printf 'x\\0y' >src/zero; chmod 751 src/a; touch -d @1000000000 src/a/t 'src/a b'; "  # fmt: skip

COMMANDS = {
    "cp -a": "cp -a src copy; diff -r --no-dereference src/a copy/a; stat -c '%n %a %Y %F' copy/a/t; cp src/numbers src/a/t copy/empty; cp -r src/a z; cp -s $PWD/src/zero soft; cp -l src/zero hard; cp --reflink=auto src/numbers r",
    "mv": "mv src/a src/empty/moved; mv src/numbers over; echo x >y; mv y over; mv -n src/zero over; mv missing z; echo $?; mv src dst",
    "rm": "rm src/zero; rm src/a; echo $?; rm -rf src/a; rm -f missing; rmdir src/empty; rmdir src; echo $?; rm -r src; ls -A",
    "ln": "ln src/zero h; ln -s src/zero s; ln -sf other s; readlink s; ln -sfn src d; ln src d2; echo $?; readlink -f s src/a/link | sed \"s,$PWD,,\"; realpath --relative-to=. src/a/link",
    "ls": "ls -A src; ls -l --time-style=+ src | awk '{print $1,$2,$5,$NF}' | grep -v ^total; ls -R src; ls -i src/numbers src/hard | awk '{print $1}' | uniq | wc -l; ls missing; ls -d src/*/",
    "stat": "stat -c '%n %s %a %h %F %N' src/* src/a/*; stat -L -c %s src/a/link; stat -f -c %l . ; stat missing; test src/numbers -ef src/hard && echo same",
    "touch": "touch new; touch -d '2001-02-03 04:05:06.789 UTC' new; stat -c %Y new; touch -r src/a/t new; stat -c %Y new; touch -h -d @5 src/a/link; stat -c %Y src/a/link src/numbers | head -1; touch missing/x",
    "mkdir": "mkdir -p x/y/z; mkdir x; mkdir -m 700 private; stat -c %a private; mkdir -p src/numbers/x; install -D -m 640 src/zero i/n/s; stat -c %a i/n/s; mktemp -u -p . t.XXXXXX | wc -c; rmdir $(mktemp -d -p .); mktemp | grep -c /tmp/",
    "dd": "dd if=src/numbers of=d bs=100 count=3 2>/dev/null; dd if=/dev/zero of=z bs=1M count=4 conv=fsync 2>/dev/null; stat -c %s d z; dd if=src/zero bs=1 skip=2 2>/dev/null; dd if=/dev/zero of=s bs=1 count=0 seek=1M 2>/dev/null; cat s | wc -c; truncate -s 10 d; cat d",
    "text": "sort -rn src/numbers | head -3; sort -S 100K -T . src/numbers | md5sum; uniq -c src/a/t; cut -c1 src/numbers | sort -u | tr '\\n' ,; paste -d: src/a/t src/a/b/d; join src/a/t src/a/t; comm src/a/t src/a/b/d; tac src/numbers | head -1; nl src/a/t; fold -w 2 src/a/t; split -l 1000 src/numbers p.; ls p.*; csplit -s src/numbers 10; wc xx*; shuf -n 3 src/numbers | wc -l; od -c src/zero; tail -n 2 src/numbers; head -c 7 src/numbers",
    "sums": "sha256sum src/numbers src/zero; cksum src/zero; md5sum src/numbers src/zero >sums; md5sum -c sums; b2sum src/a/t",
    "du": "du -sb src/numbers; du -a src | wc -l; df . | wc -l; df -i . | wc -l; sync; sync src/zero",
    "chmod": "chmod -R g-rwx,o-rwx src; find src -perm /077 ! -type l; chmod 000 src/zero; cat src/zero; chmod +x src/zero; chmod +t src/empty; stat -c %a src/empty; chmod -R a+rX src",
    "find": "find src | sort; find src -type f -size +1k; find src -name '*.x' -o -name d; find src -newer src/a/t -type f | sort; find src -type l -exec readlink {} \\;; find src -type f -print0 | xargs -0 -n1 basename | sort; find src -type d -empty; find -L src -type f | wc -l; find src -samefile src/hard | sort; find src -links 2 -type f | sort; find src -depth -delete; ls; find missing",
    "xargs": "seq 100 | xargs -P4 -n10 echo | sort -n | md5sum; seq 20 | xargs -I{} sh -c 'echo {} >x{}'; ls | wc -l; seq 3 | xargs false; echo $?",
    "grep": "grep -c 7 src/numbers; grep -rn deep src/a; grep -r --include=t e src/a; grep -l text -r src/a src/zero; grep -v 1 src/numbers | head -2; grep missing src/numbers; echo $?; grep x missing; grep -E '^(1|2)9$' src/numbers; grep -P '\\d{4}' src/numbers | wc -l; grep -o 99 src/numbers | wc -l; grep -a y src/zero | od -c",
    "sed": "sed -n 2,4p src/numbers; sed -i.bak s/text/changed/ src/a/t; cat src/a/t src/a/t.bak; sed -i --follow-symlinks 1d src/a/link; head -1 src/numbers; sed -e '1w out' src/numbers | tail -1; cat out; sed -s -n '$=' src/numbers src/a/t",
    "awk": "awk '{s+=$1} END {print s}' src/numbers; awk 'BEGIN {system(\"echo sub\"); while ((getline l < \"src/a/t\") > 0) print l; print \"o\" > \"made\"; \"pwd\" | getline d; print length(d) > 0}'; awk -f /dev/stdin src/a/t <src/a/t; cat made; awk 'BEGIN {print ENVIRON[\"USER\"] | \"cat\"}'",
    "tar": "tar cf a.tar src; tar tf a.tar | sort; mkdir out; tar xf a.tar -C out; diff -r --no-dereference src/a out/src/a; stat -c '%a %Y' out/src/a/t; tar czf a.tgz src/a; tar tzf a.tgz | wc -l; tar cJf a.txz src/a; tar xJf a.txz -C out; tar cf - src/a | (cd out && tar xvf - | wc -l); tar rf a.tar src/zero; tar df a.tar src/a; tar --delete -f a.tar src/zero; rm a.tar a.tgz a.txz",
    "gzip": "gzip -k -n src/numbers; gzip -l src/numbers.gz; zcat src/numbers.gz | md5sum; gunzip -f src/numbers.gz; gzip -t missing; gzip -9 -n <src/numbers | wc -c; gzip src/hard; echo $?",
    "xz": "xz -k src/zero; xz -dc src/zero.xz | od -c; xz -T2 -c src/numbers | xz -d | md5sum; xz -l src/zero.xz | wc -l; unxz src/a/t; echo $?",
    "diff and patch": "cp -r src/a new; echo changed >new/t; echo added >new/n; diff -ru src/a new | grep -v ^[-+][-+]; diff -rq src/a new; cmp src/numbers src/a/link; cmp src/a/t new/t",
    "links and loops": "ln -s loop loop; cat loop; ls -L loop; rm loop; ln -s missing m; cat m; echo made >m; cat missing; cp m n; find -L . -name m",
    "names": "touch 'a b' \"$(printf 'n\\nl')\" \"$(printf '\\377\\376')\" -- -x '*'; ls | wc -l; ls -b; for f in ./*; do test -e \"$f\" || echo lost; done; find . -print0 | sort -z | od -c; rm -- -x '*'",
    "pipes": "yes | head -1000 | md5sum; seq 100000 | tail -1; cat /dev/zero | head -c 10000000 | wc -c; seq 10 | tee t1 t2 | wc -l; cat t1 - t2 </dev/null | wc -l",
    "identity": "id -u; whoami | wc -l; groups | wc -w; id -G | wc -w; uname -s; nproc; getconf _NPROCESSORS_ONLN; printenv HOME | wc -l; tty; logname 2>/dev/null; date -u -d @0 +%Y",
    "processes": "sleep 100 & p=$!; kill -0 $p && echo there; { kill $p; wait $p; echo $?; kill -0 $p; } 2>/dev/null; timeout -s KILL 0.2 sleep 100; echo $?; ps -o comm= -p $$; nice -n 3 nice; ionice 2>/dev/null | wc -l; setsid echo own session",
    "wait for files": "tail -f src/a/t >seen & p=$!; until grep -qs text seen; do sleep 0.05; done; echo more >>src/a/t; until grep -q more seen; do sleep 0.05; done; kill $p; wait; cat seen",
    "preload": "stdbuf -oL echo buffered; stdbuf -o0 cat src/a/t; env LD_PRELOAD= true; ldd /bin/ls | grep -c libc",
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_command(twin: Twin, name: str) -> None:
    twin.same(SETUP + COMMANDS[name], status=None)


def test_make_in_parallel(twin: Twin) -> None:
    """make -j2 with a jobserver and recursive makes."""
    program("make")
    twin.write("Makefile", "all: $(addprefix out/,$(shell seq 40))\n\t$(MAKE) -C sub\nout/%: | out\n\t@sh -c 'echo $* >$@'\n"
               "out:\n\tmkdir out\n.PHONY: all\n")  # fmt: skip
    twin.write("sub/Makefile", "all: a b c d\na b c d:\n\t@echo $@ >$@; sleep 0.01\n")
    first = twin.same("make -j2 --output-sync=target --no-print-directory >log 2>&1; echo $?; rm log; make -j2 -q; echo $?")
    assert first.stdout.startswith(b"0\n")
