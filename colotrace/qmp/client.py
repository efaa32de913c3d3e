"""One question to a QMP socket, with a time limit."""

from __future__ import annotations

import asyncio
import logging

from colotrace.errors import QmpError

TIMEOUT_S = 5.0


def query_migrate(path: str, timeout_s: float = TIMEOUT_S) -> dict[str, object]:
    """query-migrate's answer (MigrationInfo, qapi/migration.json), which the seed's object carries as `info`.

    Raises QmpError if nothing answers within `timeout_s`, or what answers does not speak QMP.
    """
    return asyncio.run(_execute(path, "query-migrate", timeout_s))


async def _execute(path: str, command: str, timeout_s: float) -> dict[str, object]:
    from qemu.qmp import ExecuteError, QMPClient, QMPError

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # its warnings repeat what the exception says
    client = QMPClient("colotrace")
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(path)
            answer = await client.execute(command)
    except TimeoutError as error:
        raise QmpError(
            f"{path} did not answer {command} within {timeout_s:g} s", "A QMP socket takes one client: is it in use?"
        ) from error
    except ExecuteError as error:
        raise QmpError(f"{command} failed on {path}: {error}") from error
    except (QMPError, OSError) as error:
        raise QmpError(
            f"cannot talk QMP on {path}: {error}", "Name the socket given to -qmp unix:PATH,server."
        ) from error
    finally:
        await _disconnect(client)
    if not isinstance(answer, dict):
        raise QmpError(f"{path} answered {command} with something that is no object")
    return answer


async def _disconnect(client: object) -> None:
    from qemu.qmp import QMPClient, QMPError

    assert isinstance(client, QMPClient)
    try:
        async with asyncio.timeout(1):
            await client.disconnect()
    except (QMPError, OSError, TimeoutError, EOFError):
        pass
