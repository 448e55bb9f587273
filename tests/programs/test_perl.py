"""perl."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program

PROGRAMS = {
    "files": 'open F,">f" or die; print F "line $_\\n" for 1..100; close F; open F,"f"; print scalar(@l=<F>),"\\n"; print -s "f"; rename "f","g"; print -e "f" ? 1 : 0; opendir D,"."; print join ",", sort grep {!/^\\./} readdir D',
    "processes": 'print `echo back`; system("exit 3"); print $?>>8, "\\n"; open P,"|-","cat"; print P "piped\\n"; close P; if (!fork) {exit 5} wait; print $?>>8; pipe R,W; if (!fork) {close R; print W "kid"; exit} close W; print <R>',
    "modules": 'use File::Temp "tempfile"; use File::Find; use Cwd; use POSIX ":sys_wait_h"; use File::Copy; ($h,$n)=tempfile(); print $h "x"; close $h; copy($n,"c"); print -s "c"; find(sub {print "$_\\n"}, "."); print cwd() eq $ENV{HOME}; print POSIX::strerror(2)',
    "signals": '$SIG{ALRM}=sub{die "alarm\\n"}; eval {alarm 1; select undef,undef,undef,10}; print $@; $SIG{USR1}=sub{print "usr1\\n"}; kill USR1=>$$; $!=0; open(F,"missing") or print $!+0; exit 9',
    "sockets": 'use IO::Socket::UNIX; $s=IO::Socket::UNIX->new(Local=>"s",Listen=>1) or die $!; if (!fork) {$c=IO::Socket::UNIX->new(Peer=>"s"); print $c "hi\\n"; exit} $c=$s->accept; print <$c>; use IO::Socket::INET; print defined(IO::Socket::INET->new(PeerAddr=>"127.0.0.1:1")) ? 1 : 0',
    "locks": 'use Fcntl ":flock"; open F,">l"; flock F,LOCK_EX; if (!fork) {open G,">l"; print flock(G,LOCK_EX|LOCK_NB) ? 1 : 0; exit} wait',
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_perl(twin: Twin, name: str) -> None:
    twin.same([program("perl"), "-we", "$|=1; no strict; no warnings; " + PROGRAMS[name]], status=None)
