"""git on a thousand files."""

from __future__ import annotations

from tests.helpers import Twin, program

SCRIPT = """
set -e
git init -q -b main repo; cd repo
for d in $(seq 10); do mkdir d$d; for f in $(seq 100); do echo "file $d $f" >d$d/f$f; done; done
git add .; git commit -q -m 'a thousand files'; git status --short | wc -l; git log --oneline | wc -c; git ls-files | wc -l
echo changed >>d1/f1; rm d2/f2; echo new >new; git status --short; git diff --stat
git add -A; git commit -q -m second; git log --format='%s %an'; git show --stat --format=%s HEAD
git checkout -q -b side HEAD~1; git mv d3/f3 moved; git commit -q -am moved; git merge -q -m merged main; git log --graph --oneline | wc -l
cd ..; git clone -q repo copy; git clone -q --no-local repo copy2; git -C copy2 fsck --no-progress; git -C copy log --oneline | wc -l
cd copy; echo x >y; git add y; git commit -q -m y; git push -q origin HEAD:refs/heads/pushed; git -C ../repo branch
git gc -q; git stash list; git tag v1; git describe --tags; git rev-parse HEAD; git grep -c changed; git clean -fdq; git archive HEAD | tar t | wc -l
git worktree add -q ../tree; ls ../tree | wc -l; git blame -s new; git reflog | wc -l
"""
ENV = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
       for what, value in (("NAME", "A U Thor"), ("EMAIL", "a@example.org"), ("DATE", "1600000000 +0000"))}  # fmt: skip


def test_git(twin: Twin) -> None:
    """init, add, commit, status, merge, clone, push, fsck and gc of 1 000 files."""
    program("git")
    done = twin.same([program("bash"), "-c", SCRIPT], env={**ENV, "GIT_CONFIG_NOSYSTEM": "1"}, trees=False)
    assert b"1000\n" in done.stdout


def test_fast_import_with_threads(twin: Twin) -> None:
    """index-pack and pack-objects use threads and memory-mapped packs."""
    script = "git init -q r; cd r; seq 2000 | while read i; do echo blob; echo mark :$i; echo data ${#i}; echo $i; done | " \
             "git fast-import --quiet; git repack -adfq --threads=2; git count-objects | wc -l; git fsck --no-progress; ls .git/objects/pack | wc -l"  # fmt: skip
    twin.same(script, env=ENV, trees=False)
