import contextlib
import os
import socket
import stat
from types import SimpleNamespace

import pytest

from fastgate.control.resolve import Names, Resolved
from fastgate.control.sockets import (
    bind_admin,
    bind_listeners,
    close_sockets,
    release,
    renew,
    start_listening,
)
from fastgate.errors import StartError

TCP = socket.IPPROTO_TCP


def settings(**changes):
    values = {
        "workers": 3,
        "reuseport": True,
        "backlog": 128,
        "tcp_nodelay": True,
        "tcp_keepalive": 60_000,
        "tcp_user_timeout": 30_000,
        "send_timeout": 30_000,
        "tcp_notsent_lowat": 1_048_576,
    }
    return SimpleNamespace(**(values | changes))


def listener(*addresses):
    return SimpleNamespace(addresses=addresses, protocol="http")


@pytest.fixture
def bind():
    """Bind listeners that end with the test."""
    everything = []

    def bound(*addresses, before=None, name="main", **changes):
        main = {name: listener(*addresses)}
        found = bind_listeners(settings(**changes), main, Names(), before)
        everything.extend(found)
        return found

    yield bound
    release(everything)


def test_each_slot_has_a_socket_and_all_share_the_port_of_the_first(bind):
    (one,) = bind("127.0.0.1:0")

    assert len(set(one.sockets)) == 3
    assert {sock.getsockname()[1] for sock in one.sockets} == {one.port}
    assert one.url == f"http://127.0.0.1:{one.port}"
    assert not one.is_shared
    for sock in one.sockets:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_without_reuseport_all_slots_share_one_socket(bind):
    (one,) = bind("127.0.0.1:0", reuseport=False)

    assert len(one.sockets) == 3
    assert len(set(one.sockets)) == 1
    assert one.is_shared
    assert not one.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_accepted_connections_inherit_the_options(bind):
    (one,) = bind("127.0.0.1:0", workers=1)
    with socket.create_connection(("127.0.0.1", one.port)):
        one.sockets[0].setblocking(True)
        accepted, _ = one.sockets[0].accept()

    with accepted:
        assert accepted.getsockopt(TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(TCP, socket.TCP_KEEPIDLE) == 60
        assert accepted.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert accepted.getsockopt(TCP, socket.TCP_NOTSENT_LOWAT) == 1_048_576


def test_the_kernel_gives_up_no_client_before_send_timeout(bind):
    (one,) = bind("127.0.0.1:0", workers=1, send_timeout=300_000)

    assert one.sockets[0].getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 300_000


def test_options_that_are_off_stay_off(bind):
    with socket.socket() as untouched:
        default = untouched.getsockopt(TCP, socket.TCP_NOTSENT_LOWAT)
    off = {"tcp_nodelay": False, "tcp_keepalive": 0, "tcp_user_timeout": 0}
    (one,) = bind("127.0.0.1:0", workers=1, **off, tcp_notsent_lowat=0)

    (sock,) = one.sockets
    assert not sock.getsockopt(TCP, socket.TCP_NODELAY)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert not sock.getsockopt(TCP, socket.TCP_USER_TIMEOUT)
    assert sock.getsockopt(TCP, socket.TCP_NOTSENT_LOWAT) == default


def test_a_port_of_another_gateway_is_refused_though_it_is_reusable(bind):
    (first,) = bind("127.0.0.1:0")

    with pytest.raises(StartError) as caught:
        bind(f"127.0.0.1:{first.port}")
    where = f"127.0.0.1:{first.port}"
    assert str(caught.value) == (
        f"cannot listen on {where}: address already in use; `ss -ltnp` shows by whom"
    )


def test_a_failure_leaves_nothing_bound(bind, tmp_path):
    (first,) = bind("127.0.0.1:0")
    before = len(os.listdir("/proc/self/fd"))
    path = tmp_path / "socket"

    with pytest.raises(StartError):
        bind(f"unix:{path}", f"127.0.0.1:{first.port}")
    assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_address_of_another_machine_is_told(bind):
    hint = "; `ip address` shows those of this machine"
    with pytest.raises(
        StartError, match=rf"cannot listen on 192\.0\.2\.1:80: .*{hint}"
    ):
        bind("192.0.2.1:80")


def test_both_families_can_have_the_same_port(bind):
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    six = four = None
    while four is None:
        (six,) = bind("[::]:0")
        # What is free for IPv6 may be some IPv4 client's own port by chance.
        with contextlib.suppress(StartError):
            (four,) = bind(f"0.0.0.0:{six.port}")

    assert (six.address, four.address) == (f"[::]:{six.port}", f"0.0.0.0:{six.port}")


def test_localhost_is_bound_where_it_exists(bind):
    found = bind("localhost:0")

    assert "127.0.0.1" in {one.address.rpartition(":")[0] for one in found}


def test_a_unix_socket_is_shared_open_to_all_and_removed(bind, tmp_path):
    path = tmp_path / "socket"
    (one,) = bind(f"unix:{path}")
    mode = stat.S_IMODE(path.stat().st_mode)
    release([one])

    assert mode == 0o666
    assert len(set(one.sockets)) == 1
    assert one.url == f"http://unix:{path}"
    assert one.port == 0
    assert not path.exists()


def test_a_stale_socket_file_is_replaced(bind, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind(f"unix:{path}")

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_on_which_somebody_answers_is_left_alone(bind, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        with pytest.raises(
            StartError, match="address already in use; somebody answers"
        ):
            bind(f"unix:{path}")
        with pytest.raises(
            StartError, match="address already in use; somebody answers"
        ):
            bind_admin(str(path))
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(bind, tmp_path):
    path = tmp_path / "socket"
    path.write_text("precious")

    with pytest.raises(StartError, match="the file exists and is no socket"):
        bind(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_name_that_stands_for_nothing_is_told():
    names = Names(nowhere=Resolved((), "Name or service not known"))

    with pytest.raises(StartError) as caught:
        bind_listeners(settings(), {"main": listener("nowhere:80")}, names)
    assert str(caught.value) == (
        "cannot listen on nowhere:80: nowhere cannot be resolved:"
        " Name or service not known"
    )


def test_a_socket_file_with_the_number_of_a_file_that_is_gone_is_not_removed(
    bind, tmp_path, monkeypatch
):
    path = tmp_path / "socket"
    (one,) = bind(f"unix:{path}")
    # What file systems do when the first is gone: the next one has its number.
    monkeypatch.setattr(os.path, "samestat", lambda *_: True)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    one.file.unlink()

    assert path.exists()


def test_a_socket_file_is_removed_once(bind, tmp_path):
    path = tmp_path / "socket"
    (one,) = bind(f"unix:{path}")
    one.file.unlink()
    (other,) = bind(f"unix:{path}")
    one.file._made = path.lstat()
    one.file.unlink()

    assert path.exists()
    other.file.unlink()


def test_a_socket_file_that_became_anothers_is_not_removed(bind, tmp_path):
    path = tmp_path / "socket"
    (one,) = bind(f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    release([one])

    assert path.exists()


def test_a_worker_keeps_only_its_own_socket(bind):
    (one,) = bind("127.0.0.1:0")
    close_sockets([one], but=[one.sockets[1]])

    assert [sock.fileno() >= 0 for sock in one.sockets] == [False, True, False]


def test_a_worker_keeps_a_shared_socket(bind):
    (one,) = bind("127.0.0.1:0", reuseport=False)
    close_sockets([one], but=[one.sockets[1]])

    assert one.sockets[1].fileno() >= 0


# -- from one configuration to the next


def is_listening(sock):
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def test_an_address_of_both_configurations_keeps_its_sockets_and_its_port(bind):
    before = bind("127.0.0.1:0")
    after = bind("127.0.0.1:0", before=before)

    assert after[0].sockets == before[0].sockets
    assert after[0].port == before[0].port


def test_two_ports_of_the_kernels_choice_go_on_each_as_it_was(bind):
    before = bind("127.0.0.1:0", "127.0.0.1:0")
    after = bind("127.0.0.1:0", "127.0.0.1:0", before=before)

    assert [one.port for one in after] == [one.port for one in before]


def test_of_two_ports_of_the_kernels_choice_the_one_with_the_name_goes_on(bind):
    mine, theirs = bind("127.0.0.1:0"), bind("127.0.0.1:0", name="other")
    after = bind("127.0.0.1:0", name="other", before=[*mine, *theirs])

    assert after[0].port == theirs[0].port


def test_more_workers_get_sockets_of_the_same_port_that_nobody_reaches_yet(bind):
    before = bind("127.0.0.1:0", workers=1)
    after = bind("127.0.0.1:0", workers=3, before=before)

    kept, *new = after[0].sockets
    assert kept is before[0].sockets[0]
    assert {sock.getsockname()[1] for sock in new} == {before[0].port}
    assert not any(map(is_listening, new))
    start_listening(after[0].sockets, 128)
    assert all(map(is_listening, new))


def test_fewer_workers_leave_what_is_too_much_to_be_closed(bind):
    before = bind("127.0.0.1:0", workers=3)
    after = bind("127.0.0.1:0", workers=2, before=before)
    release(before, after)

    assert [sock.fileno() >= 0 for sock in before[0].sockets] == [True, True, False]


def test_an_address_that_is_gone_is_closed_and_its_file_removed(bind, tmp_path):
    gone, kept = tmp_path / "gone", tmp_path / "kept"
    before = bind(f"unix:{gone}", f"unix:{kept}", "127.0.0.1:0")
    after = bind(f"unix:{kept}", before=before)
    release(before, after)

    assert not gone.exists()
    assert kept.exists()
    assert [one.sockets[0].fileno() >= 0 for one in before] == [False, True, False]


def test_a_shared_socket_goes_on_for_another_number_of_workers(bind):
    before = bind("127.0.0.1:0", reuseport=False, workers=1)
    (after,) = bind("127.0.0.1:0", reuseport=False, workers=3, before=before)

    assert set(after.sockets) == set(before[0].sockets)
    assert len(after.sockets) == 3


def test_what_cannot_be_bound_leaves_what_was_bound_before_alone(bind, tmp_path):
    before = bind("127.0.0.1:0", workers=1)
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartError, match=r"192\.0\.2\.1:80"):
        bind(
            "127.0.0.1:0", f"unix:{tmp_path}/new", "192.0.2.1:80", workers=3,
            before=before,
        )  # fmt: skip

    assert len(os.listdir("/proc/self/fd")) == files
    assert not (tmp_path / "new").exists()
    assert is_listening(before[0].sockets[0])


def test_sockets_that_go_on_get_the_options_of_the_new_configuration(bind):
    before = bind("127.0.0.1:0", workers=1)
    renew(before, settings(tcp_nodelay=False, tcp_keepalive=0, tcp_user_timeout=0))

    (sock,) = before[0].sockets
    assert not sock.getsockopt(TCP, socket.TCP_NODELAY)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert not sock.getsockopt(TCP, socket.TCP_USER_TIMEOUT)


def test_the_admin_socket_is_its_owners_alone(tmp_path):
    path = tmp_path / "admin"
    sock, file = bind_admin(str(path))
    mode = stat.S_IMODE(path.stat().st_mode)
    sock.close()
    file.unlink()

    assert mode == 0o600
    assert not path.exists()


def test_an_admin_socket_that_cannot_be_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot open admin socket .*: no such file"):
        bind_admin(str(tmp_path / "none" / "admin"))
