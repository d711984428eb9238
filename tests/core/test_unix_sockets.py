"""/proc/net/unix -> who stands at each socket."""

from qmp_exporter.core.unix_sockets import Crowd, crowds

TABLE = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20001 /run/qemu-server/101.qmp
0000000000000000: 00000003 00000000 00000000 0001 03 20002 /run/qemu-server/101.qmp
0000000000000000: 00000002 00000000 00000000 0001 02 20003 /run/qemu-server/101.qmp
0000000000000000: 00000002 00000000 00010000 0001 01 20004 /run/with a space.qmp
0000000000000000: 00000003 00000000 00000000 0001 03 20005
0000000000000000: 00000002 00000000 00010000 0001 01 20006 @abstract
"""


def test_listeners_are_told_from_the_ends_of_clients():
    assert crowds(TABLE) == {
        "/run/qemu-server/101.qmp": Crowd(listening=1, clients=2),
        "/run/with a space.qmp": Crowd(listening=1, clients=0),
        "@abstract": Crowd(listening=1, clients=0),
    }


def test_nothing_is_nobody():
    assert crowds("") == {}
