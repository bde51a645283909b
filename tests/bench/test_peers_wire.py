"""What a request to the lab costs is work, not waiting."""

import asyncio
import socket

from archipel.cli.listening import listen


def test_answers_of_the_lab_do_not_wait_for_acknowledgements() -> None:
    found: list[int] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def talk() -> None:
        server = await asyncio.start_server(serve, sock=listen("127.0.0.1", 0))
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()

    asyncio.run(talk())
    assert found == [1]
