"""What /proc says of a process, from saved texts."""

from __future__ import annotations

import pytest

from colotrace.target.discovery import looks_like_qemu, vm_name
from colotrace.target.process import Mapping, parse_maps, parse_start_time, parse_status
from colotrace.target.sites import SiteState, site_state

MAPS = """\
55b0c5c00000-55b0c5f4c000 r--p 00000000 fe:01 1056412                    /usr/bin/qemu-system-x86_64
55b0c5f4c000-55b0c6678000 r-xp 0034c000 fe:01 1056412                    /usr/bin/qemu-system-x86_64
7f7b40000000-7f7b80000000 rw-p 00000000 00:00 0 
7f7b98021000-7f7b9c000000 ---p 00000000 00:00 0 
7f7ba4000000-7f7ba5000000 rw-s 00000000 00:01 2053                       /memfd:a name with spaces (deleted)
7ffd1b3c9000-7ffd1b3ea000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""  # noqa: W291 (the kernel puts a space there)

STAT = "4711 ({name}) S 1 4711 4711 0 -1 4194560 9014 0 3 0 230 118 0 0 20 0 7 0 84219 1385 9411 18446744073709551615"

STATUS = """\
Name:\tqemu-system-x86
Umask:\t0022
State:\tS (sleeping)
Tgid:\t4711
Pid:\t4711
TracerPid:\t0
Uid:\t1000\t1000\t1000\t1000
NSpid:\t4711\t12
CapEff:\t0000000000000000
voluntary_ctxt_switches:\t150
"""


def test_maps() -> None:
    mappings = parse_maps(MAPS)
    assert len(mappings) == 7
    exe = "/usr/bin/qemu-system-x86_64"
    assert mappings[1] == Mapping(0x55B0C5F4C000, 0x55B0C6678000, "r-xp", 0x34C000, "fe:01", 1056412, exe)
    assert [m.name for m in mappings[2:]] == [
        "", "", "/memfd:a name with spaces (deleted)", "[stack]", "[vsyscall]",
    ]  # fmt: skip
    assert mappings[-1].start == 0xFFFFFFFFFF600000 and mappings[4].permissions == "rw-s"


@pytest.mark.parametrize(
    "text",
    ["", "\n", "not a mapping", "1000-2000", "1000-2000 r--p", "1000-2000 r--p 0 fe:01", "zz-2000 r--p 0 fe:01 1 /a",
     "1000-2000 r--p 0 fe:01 inode /a", "1000 r--p 0 fe:01 1 /a"],
)  # fmt: skip
def test_lines_that_are_no_mappings(text: str) -> None:
    assert parse_maps(text) == []
    assert len(parse_maps(f"{text}\n{MAPS}")) == 7


@pytest.mark.parametrize("name", ["/tmp/a\tb", "/tmp/new\\012line", "/tmp/x y  z", "/tmp/1-2 r-xp 0 0:0 0 /b"])
def test_mapped_files_with_nasty_names(name: str) -> None:
    (mapping,) = parse_maps(f"1000-2000 r-xp 00000000 fe:01 7    {name}\n")
    assert mapping.name == name and mapping.inode == 7


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_the_newline_ends_a_line_of_maps(character: str) -> None:
    name = f"/tmp/a{character}5000-6000 r-xp 00000000 fe:01 7 /b"
    assert [m.start for m in parse_maps(f"1000-2000 r--p 00000000 fe:01 8    {name}\n")] == [0x1000]


@pytest.mark.parametrize(
    "name", ["qemu-system-x86", "a) b (c", ")", "(", "((", "))", "", " ", ") S 1 2 3", "1 2 3", "a\nb", "CPU 0/KVM"]
)
def test_the_start_time_behind_any_name(name: str) -> None:
    assert parse_start_time(STAT.format(name=name)) == 84219


def test_status() -> None:
    status = parse_status(STATUS)
    assert status["TracerPid"] == "0" and status["Name"] == "qemu-system-x86"
    assert status["Uid"].split() == ["1000"] * 4
    assert status["NSpid"].split()[-1] == "12"


def test_a_status_whose_name_holds_a_colon() -> None:
    assert parse_status("Name:\ta: b\nPid:\t3") == {"Name": "a: b", "Pid": "3"}


def test_a_status_has_no_nameless_entry() -> None:
    assert "" not in parse_status(STATUS)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-name", "guest"], "guest"),
        (["--name", "guest"], "guest"),
        (["-name", "guest=web1"], "web1"),
        (["-name", "guest=web1,debug-threads=on"], "web1"),
        (["-name", "debug-threads=on,guest=web1"], "web1"),
        (["-name", "web1,debug-threads=on"], "web1"),
        (["-name", "web1,process=qemu:web1"], "web1"),
        (["-name", "guest=a,,b,debug-threads=on"], "a,b"),
        (["-name", "a,,b,,c"], "a,b,c"),
        (["-name", ",,"], ","),
        (["-name", "guest=,,,debug-threads=on"], ","),
        (["-name", "guest=a=b"], "a=b"),
        (["-name", "guest=with space"], "with space"),
        (["-name", "process=qemu"], None),
        (["-name", "guest="], None),
        (["-name", ""], None),
        (["-name"], None),
        (["-m", "64", "-nographic"], None),
        ([], None),
        (["-m", "64", "-name", "late", "-S"], "late"),
        (["-name", "one", "-name", "guest=two", "-name", "process=three"], "two"),
    ],
)
def test_vm_names(arguments: list[str], name: str | None) -> None:
    assert vm_name(["/usr/bin/qemu-system-x86_64", *arguments]) == name


@pytest.mark.parametrize(
    "exe",
    ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/kvm", "/usr/bin/qemu-system-x86_64 (deleted)",
     "/usr/lib/xen-4.17/bin/xen-qemu-system-i386", "/opt/q/qemu-system-x86_64-7.2"],
)  # fmt: skip
def test_what_is_called_like_a_qemu(exe: str) -> None:
    assert looks_like_qemu(exe)


@pytest.mark.parametrize(
    "exe",
    ["/usr/bin/qemu-img", "/usr/bin/qemu-x86_64-static", "/usr/bin/bash", "/usr/bin/qemu-system-", "/usr/bin/kvm-ok",
     "/qemu-system-x86_64/bash", "/usr/bin/my-qemu-system-x86_64", "", "/usr/bin/qemu-system-x86_64 (deleted) x"],
)  # fmt: skip
def test_what_is_not(exe: str) -> None:
    assert not looks_like_qemu(exe)


@pytest.mark.parametrize(
    ("memory", "file", "state"),
    [
        ("e812345678", "e812345678", SiteState.CLEAN),
        ("cc12345678", "e812345678", SiteState.BREAKPOINT),
        ("cc12345679", "e812345678", SiteState.DIFFERENT),
        ("cc12345678", "cc12345678", SiteState.CLEAN),
        ("e912345678", "e812345678", SiteState.DIFFERENT),
        ("cc", "53", SiteState.BREAKPOINT),
        ("", "53", SiteState.DIFFERENT),
        ("cc1234", "e812345678", SiteState.DIFFERENT),
        ("e812345678cc", "e812345678", SiteState.DIFFERENT),
    ],
)
def test_what_stands_at_a_site(memory: str, file: str, state: SiteState) -> None:
    assert site_state(bytes.fromhex(memory), bytes.fromhex(file)) is state
