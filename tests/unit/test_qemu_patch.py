"""The patcher of scripts/patched_qemu on small C texts: where lines go, and that anything unexpected is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from click.testing import CliRunner
from qemu_patch import build, cli, commands, hooks, qapi, source, tree
from qemu_patch.errors import BuildError, MachineError, MismatchError, UnknownVariantError
from qemu_patch.insertion import Anchor, Call, FirstStatement, Hook, LoopAround, Side, insert
from qemu_patch.variants import CORRECT, FAITHFUL, VARIANTS, Defect, defects, header

PROGRAM = """\
#include "first.h"
#include "second.h"

int *other(void);

static int work(struct box *b, int **problem)
{
    int outcome = -1;

    open_box(b, LID);
#ifdef DEEP
    shake(b);
#endif
    while (b->full) {
        do {
            outcome = take(b,
                           problem);
        } while (0);
        if (outcome < 0) {
            shake(b);
        }
    }
    switch (outcome) {
    case 0:
        close_box(b, LID);
        break;
    }
    close_box(b, HINGE);
    return finish(b);
}

int *other(void)
{
    return 0;
}
"""


def with_hook(anchor: Anchor, side: Side = Side.BEFORE, line: str = "HOOK();", text: str = PROGRAM) -> str:
    return insert("box.c", text, [Hook("work", side, anchor, line)], "hook.h")


def added(patched: str, text: str = PROGRAM) -> dict[int, str]:
    """The new lines by their line number; asserts that all the other lines are as they were."""
    old, new, found = text.splitlines(), patched.splitlines(), {}
    for number, line in enumerate(new, 1):
        if old and line == old[0]:
            old.pop(0)
        else:
            found[number] = line
    assert not old, "lines were changed, not only added"
    return found


def line_of(text: str, number: int) -> str:
    return text.splitlines()[number - 1].strip()


@pytest.mark.parametrize(
    "anchor, side, neighbour",
    [
        (Call("open_box"), Side.BEFORE, "open_box(b, LID);"),
        (Call("open_box", "LID"), Side.AFTER, "open_box(b, LID);"),
        (Call("take"), Side.BEFORE, "outcome = take(b,"),
        (Call("take"), Side.AFTER, "problem);"),
        (Call("close_box", "LID"), Side.AFTER, "close_box(b, LID);"),
        (Call("close_box", "HINGE"), Side.BEFORE, "close_box(b, HINGE);"),
        (Call("shake", before=Call("take")), Side.AFTER, "shake(b);"),
        (Call("shake", after=Call("take")), Side.BEFORE, "shake(b);"),
        (Call("shake", after=Call("take"), before=Call("close_box", "LID")), Side.BEFORE, "shake(b);"),
        (LoopAround(Call("take")), Side.BEFORE, "while (b->full) {"),
        (FirstStatement(), Side.BEFORE, "open_box(b, LID);"),
    ],
    ids=str,
)
def test_a_line_goes_beside_the_statement_with_its_indentation(anchor: Anchor, side: Side, neighbour: str) -> None:
    patched = with_hook(anchor, side)
    include, hook = added(patched)
    assert line_of(patched, include) == '#include "hook.h"'
    assert line_of(patched, hook) == "HOOK();"
    assert line_of(patched, hook + (1 if side is Side.BEFORE else -1)) == neighbour
    lines = patched.splitlines()
    if neighbour != "problem);":  # the second line of a statement is indented further
        beside = lines[hook if side is Side.BEFORE else hook - 2]
        assert lines[hook - 1].index("H") == len(beside) - len(beside.lstrip())


def test_the_right_one_of_several_equal_calls_is_taken() -> None:
    first = added(with_hook(Call("shake", before=Call("take"))))
    second = added(with_hook(Call("shake", after=Call("take"))))
    assert list(first)[1] < list(second)[1]


def test_the_include_follows_the_last_one() -> None:
    assert min(added(with_hook(Call("open_box")))) == 3


def test_lines_at_one_place_keep_their_order() -> None:
    calls = Call("open_box")
    both = [Hook("work", Side.BEFORE, calls, "ONE();"), Hook("work", Side.BEFORE, calls, "TWO();")]
    after = [Hook("work", Side.AFTER, calls, "THREE();"), Hook("work", Side.AFTER, calls, "FOUR();")]
    patched = [line.strip() for line in insert("box.c", PROGRAM, both + after, "hook.h").splitlines()]
    at = patched.index("open_box(b, LID);")
    assert patched[at - 2 : at + 3] == ["ONE();", "TWO();", "open_box(b, LID);", "THREE();", "FOUR();"]


def test_a_line_may_use_the_calls_own_words() -> None:
    line = "NOTE({assigned}, {argument1}, {last_argument});"
    assert "NOTE(outcome, b, problem);" in with_hook(Call("take"), Side.AFTER, line)


def test_text_that_is_not_ascii_does_not_shift_the_places() -> None:
    text = PROGRAM.replace("int *other(void);", "/* 检查点 äöü */")
    patched = with_hook(Call("open_box"), text=text)
    assert line_of(patched, max(added(patched, text)) + 1) == "open_box(b, LID);"


@pytest.mark.parametrize(
    "anchor, line, complaint",
    [
        (Call("absent"), "", r"box\.c: in work\(\), one call absent\(\) was looked for: found 0"),
        (Call("shake"), "", r"one call shake\(\) was looked for: found 2"),
        (Call("open_box", "HINGE"), "", r"one call open_box\(\.\.\., HINGE, \.\.\.\) was looked for: found 0"),
        (Call("shake", after=Call("close_box", "HINGE")), "", r"shake\(\) after close_box\(.*\) .* found 0"),
        (Call("shake", after=Call("close_box")), "", r"one call close_box\(\) was looked for: found 2"),
        (Call("finish"), "", r"finish\(\) was looked for as a statement: it is part of a larger one"),
        (LoopAround(Call("open_box")), "", r"a loop around open_box\(\) was looked for: the call is in no loop"),
        (Call("open_box"), "N({assigned});", r"open_box\(\) has no assigned to put into 'N\({assigned}\);'"),
        (Call("open_box"), "N({argument3});", r"open_box\(\) has no argument3 to put into"),
    ],
)
def test_what_is_not_there_exactly_once_is_an_error(anchor: Anchor, line: str, complaint: str) -> None:
    with pytest.raises(MismatchError, match=complaint):
        with_hook(anchor, line=line)


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("static int work", "static int walk", r"box\.c: 0 definitions of work\(\), expected 1"),
        ("int *other(void)\n", "int work(void)\n", r"2 definitions of work\(\), expected 1"),
        ("#include", "// include", r"no #include, expected at least 1"),
        ("    open_box(b, LID);", "    if (b) open_box(b, LID);", r"open_box\(\) is not a statement in a block"),
        ("    open_box(b, LID);", "again: open_box(b, LID);", r"open_box\(\) is not a statement in a block"),
        ("    open_box(b, LID);", "    if (open_box(b, LID)) {}", r"it is part of a larger one"),
        ("    open_box(b, LID);", "    open_box(b, LID", r"work\(\)"),
    ],
)
def test_another_source_is_an_error(old: str, new: str, complaint: str) -> None:
    assert old in PROGRAM
    with pytest.raises(MismatchError, match=complaint):
        with_hook(Call("open_box"), text=PROGRAM.replace(old, new))


def test_a_function_without_statements_is_an_error() -> None:
    with pytest.raises(MismatchError, match="a first statement was looked for: there is none"):
        with_hook(FirstStatement(), text='#include "a.h"\nvoid work(void)\n{\n    int i;\n}\n')


def test_places_in_another_order_are_an_error() -> None:
    late = Hook("work", Side.BEFORE, Call("close_box", "LID"), "END();")
    early = Hook("work", Side.BEFORE, Call("open_box"), "BEGIN();")
    with pytest.raises(MismatchError, match=r"open_box\(\) comes before what it was expected to follow \(END"):
        insert("box.c", PROGRAM, [late, early], "hook.h")


def test_every_phase_that_a_role_has_begins_and_ends_once() -> None:
    both = {"INIT", "WAIT", "TOTAL", "STAT", "RAM", "PUT", "RECV", "LOAD"}
    for role, places, phases in (
        ("PRIMARY", hooks.PRIMARY, both | {"DEV", "RESUME"}),
        ("SECONDARY", hooks.SECONDARY, both),
    ):
        lines = [hook.line for hook in places]
        assert lines.count(f"checkpoint_recorder_enter(CR_{role});") == 1  # init begins
        begun = sorted(line for line in lines if "_begin(" in line)
        assert begun == sorted(f"checkpoint_recorder_begin(CR_{phase});" for phase in phases - {"INIT"})
        ended = sorted(line for line in lines if "_end(" in line)
        assert ended == sorted(f"checkpoint_recorder_end(CR_{phase});" for phase in phases - {"TOTAL"})
        assert sum("_finish(" in line for line in lines) == 1  # the total ends


def test_a_tree_that_does_not_fit_is_left_alone(tmp_path: Path) -> None:
    files = {
        "migration/colo.c": PROGRAM,
        "migration/meson.build": "softmmu_ss.add(files(\n  'colo.c',\n))\n",
        "qapi/migration.json": "{ 'struct': 'MigrationInfo' }\n",
        "qapi/pragma.json": "'command-name-exceptions': [],\n'member-name-exceptions': []\n",
    }
    for name, text in files.items():
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
    with pytest.raises(MismatchError, match=r"migration/colo\.c: 0 definitions of migrate_start_colo_process\(\)"):
        tree.patch(tmp_path)
    assert {name: tmp_path.joinpath(name).read_text() for name in files} == files
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(files)
    tmp_path.joinpath("qapi/pragma.json").unlink()
    tmp_path.joinpath("migration/colo.c").unlink()
    with pytest.raises(MismatchError, match=r"migration/colo\.c was looked for in the QEMU source: it is not there"):
        tree.patch(tmp_path)


def test_the_schema_is_appended_to_once() -> None:
    text = "{ 'struct': 'MigrationInfo',\n  'data': {} }\n"
    addition = (tree.HERE / tree.SCHEMA_ADDITION).read_text()
    patched = qapi.with_schema("m.json", text, addition)
    assert patched == text + addition
    with pytest.raises(MismatchError, match=r"m\.json: CheckpointRecorder is defined already"):
        qapi.with_schema("m.json", patched, addition)
    with pytest.raises(MismatchError, match="the struct MigrationInfo was looked for"):
        qapi.with_schema("m.json", "", addition)


def test_the_pragmas_get_our_names() -> None:
    text = "# 'command-name-exceptions': [\n{ 'command-name-exceptions': [\n 'x' ],\n"
    text += "  'member-name-exceptions': [ # y\n 'Z' ] }\n"
    patched = qapi.with_exceptions("pragma.json", text)
    assert "{ 'command-name-exceptions': [\n        'info_checkpoint',\n        'reset_checkpoint',\n 'x' ]" in patched
    assert "'member-name-exceptions': [\n        'CheckpointRecorder', # y\n 'Z' ]" in patched
    with pytest.raises(MismatchError, match="the list command-name-exceptions was looked for: found 0"):
        qapi.with_exceptions("pragma.json", "")
    with pytest.raises(MismatchError, match="the list command-name-exceptions was looked for: found 2"):
        qapi.with_exceptions("pragma.json", text + text)


def test_the_build_gets_our_file() -> None:
    text = "softmmu_ss.add(x)\nsoftmmu_ss.add(files(\n  'colo.c',\n  'y.c',\n), z)\n"
    assert qapi.with_file("meson.build", text, "ours.c") == f"{text}\nsoftmmu_ss.add(files('ours.c'))\n"
    with pytest.raises(MismatchError, match=r"meson\.build: colo\.c was looked for"):
        qapi.with_file("meson.build", text.replace("colo.c", "polo.c"), "ours.c")


def test_the_variants_are_sets_of_defects() -> None:
    assert defects(CORRECT) == frozenset()
    assert defects(FAITHFUL) == frozenset(Defect) - {Defect.MICROSECONDS}
    assert defects("micro") == {Defect.MICROSECONDS}
    assert all(defects(defect.variant) == {defect} for defect in Defect)
    assert len({header(name) for name in VARIANTS}) == len(VARIANTS)
    with pytest.raises(UnknownVariantError, match="unknown variant 'wrong'") as caught:
        defects("wrong")
    assert caught.value.exit_code == 2


def test_the_header_defines_every_defect_that_the_c_file_asks_for() -> None:
    lines = header("recv-in-put").splitlines()
    assert "#define CR_DEFECT_RECV_IN_PUT 1" in lines
    assert "#define CR_DEFECT_INIT_NEGATED 0" in lines
    code = (tree.HERE / "checkpoint_recorder.c").read_text()
    assert all(defect.macro in code for defect in Defect)
    assert sum(line.startswith("#define CR_DEFECT_") for line in lines) == len(Defect)


def test_only_qemu_7_2_is_supported() -> None:
    assert source.is_supported("1:7.2+dfsg-7+deb12u18")
    assert source.is_supported("7.2.22-1")
    assert not source.is_supported("1:7.20+dfsg-1")
    assert not source.is_supported("1:10.0.2+ds-2")
    assert not source.is_supported("")


def test_another_installed_version_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "answer", lambda *words, **options: "1:10.0.2+ds-2")
    with pytest.raises(MachineError, match=r"qemu-system-x86 is 1:10\.0\.2\+ds-2; the patch is for QEMU 7\.2"):
        source.version()


def test_only_debians_own_archives_are_asked_for_sources() -> None:
    prefix = "deb-src [signed-by=k]"
    targets = f"""\
{prefix} http://mirror.example/pub/debian bookworm main
{prefix} http://deb.debian.org/debian/ bookworm main
{prefix} http://deb.debian.org/debian/ bookworm main
{prefix} http://security.example/debian-security/ bookworm-security main
{prefix} https://packages.example/apt tools main
{prefix} https://packages.example/debian-tools/ tools main
"""
    assert [line.split()[2] for line in source.source_lines(targets)] == [
        "http://mirror.example/pub/debian",
        "http://deb.debian.org/debian/",
        "http://security.example/debian-security/",
    ]


def test_another_version_or_patch_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.key("1:7.2-1") == build.key("1:7.2-1") != build.key("1:7.2-2")
    before = build.key("1:7.2-1")
    for name in build.PATCH_FILES:
        tmp_path.joinpath(name).write_bytes((tree.HERE / name).read_bytes())
    monkeypatch.setattr(tree, "HERE", tmp_path)
    assert build.key("1:7.2-1") == before
    with tmp_path.joinpath("hooks.py").open("a") as file:
        file.write("#\n")
    assert build.key("1:7.2-1") != before


def test_a_failed_command_is_quoted_from_its_own_begin(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands.run(["echo", "earlier"], log, BuildError)
    with pytest.raises(BuildError, match="failed with exit code 3: sh -c") as caught:
        commands.run(["sh", "-c", "seq 100; echo no >&2; exit 3"], log, BuildError, remedy="try")
    assert "  no\n" in str(caught.value) and "  100\n" in str(caught.value) and "  1\n" not in str(caught.value)
    assert "earlier" not in str(caught.value) and str(caught.value).endswith(f"the whole log: {log}")
    assert caught.value.remedy == "try" and "earlier" in log.read_text()
    with pytest.raises(BuildError, match="no-such-command is missing"):
        commands.run(["no-such-command"], log, BuildError)


def test_the_command_prints_one_path_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "binary", lambda variant: Path("/built") / variant)
    assert CliRunner().invoke(cli.main, []).output == "/built/correct\n"
    assert CliRunner().invoke(cli.main, ["faithful", "micro"]).output == "/built/faithful\n/built/micro\n"


def test_the_command_lists_the_variants() -> None:
    lines = CliRunner().invoke(cli.main, ["--list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(VARIANTS)
    assert lines[0].endswith("  no defects") and "recv-in-put, init-negated, " in lines[1]
    assert lines[-1].endswith("  all times are in microseconds")


def test_the_command_exits_with_the_errors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(variant: str) -> Path:
        raise MismatchError("not so", "do that")

    monkeypatch.setattr(cli, "binary", fail)
    run = CliRunner().invoke(cli.main, [])
    assert (run.exit_code, "error: not so" in run.output, "remedy: do that" in run.output) == (71, True, True)
    assert CliRunner().invoke(cli.main, ["wrong"]).exit_code == 2
