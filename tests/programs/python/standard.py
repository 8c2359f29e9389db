"""Programs that need nothing but Python's own library: standard.py NAME SECONDS."""

import asyncio
import http.client
import os
import socket
import sys
import threading
import time

from common import SERVER, allow_many_files, ask, connect, each, start_http, start_server

kept = []


def fetch_and_forget(seconds):
    start_server()
    each(20, seconds, lambda _: kept.append(connect()))  # the bug


def close_wait(seconds):
    start_server(close=True)
    each(10, seconds, lambda _: kept.append(connect()))  # the bug


def error_path(seconds):
    start_server()

    def request(i):
        connection = connect()
        try:
            if i % 20 == 19:
                raise ValueError("not what was expected")
            connection.close()
        except ValueError as error:
            kept.append((error, connection))  # the bug

    each(40, seconds, request)


def bound_tcp(seconds):
    def reserve(_):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        kept.append(sock)  # the bug

    each(15, seconds, reserve)


def udp_connect(seconds):
    def open_channel(_):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", 5353))
        kept.append(sock)  # the bug

    each(20, seconds, open_channel)


def syn_sent(seconds):
    """Its server is so overloaded that it answers nobody."""
    listener = socket.socket()
    listener.bind(SERVER)
    listener.listen(0)

    def attempt(_):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(SERVER)
        kept.append(sock)  # the bug

    each(20, seconds, attempt)


def keepalive_clients(seconds):
    start_http()

    def request(_):
        client = http.client.HTTPConnection(*SERVER)
        client.request("GET", "/")
        client.getresponse().read()
        kept.append(client)  # the bug

    each(15, seconds, request)


def prefork(seconds):
    """A child for each job; the parent keeps its end of what it opened for it."""
    start_server()

    def job(_):
        connection = connect()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        kept.append(connection)  # the bug

    each(15, seconds, job)


def fork_inherit(seconds):
    """Becomes a daemon half way, and its child goes on with all that was kept."""
    start_server()
    each(20, seconds / 3, lambda _: kept.append(connect()))
    pid = os.fork()
    if pid:
        print("owner", pid, flush=True)
        os._exit(0)
    start = seconds * 2 / 3
    listener = ("127.0.0.1", 8081)
    threading.Thread(target=serve_on, args=(listener,), daemon=True).start()
    time.sleep(0.5)
    each(20, start, lambda _: kept.append(socket.create_connection(listener)))  # the bug


def serve_on(address):
    server = socket.create_server(address, backlog=128)
    accepted = []
    while True:
        accepted.append(server.accept()[0])


def reconnecting(seconds):
    def attempt(_):
        try:
            socket.create_connection(("127.0.0.1", 8081))
        except ConnectionRefusedError:
            pass

    each(20, seconds, attempt)


def gather(seconds):
    """Forty at once, every five seconds."""
    start_server()

    async def one():
        reader, writer = await asyncio.open_connection(*SERVER)
        writer.write(b"hello\n")
        await reader.readline()
        writer.close()
        await writer.wait_closed()

    async def all_of_them():
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await asyncio.gather(*(one() for _ in range(40)))
            await asyncio.sleep(5)

    asyncio.run(all_of_them())


def with_statement(seconds):
    start_server()

    def request(_):
        with socket.create_connection(SERVER) as connection:
            ask(connection)

    each(30, seconds, request)


def resolver(seconds):
    answers = socket.socket(type=socket.SOCK_DGRAM)
    answers.bind(("127.0.0.1", 5353))

    def answer():
        while True:
            answers.sendto(*answers.recvfrom(512))

    threading.Thread(target=answer, daemon=True).start()

    def question(_):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.sendto(b"who is it?", ("127.0.0.1", 5353))
            sock.recv(512)

    each(40, seconds, question)


def listener_load(seconds):
    """A server whose clients are its own threads."""
    start_server()

    def client():
        each(5, seconds, lambda _: connect().close())

    clients = [threading.Thread(target=client) for _ in range(8)]
    [thread.start() for thread in clients]
    [thread.join() for thread in clients]


if __name__ == "__main__":
    allow_many_files()
    globals()[sys.argv[1].replace("-", "_")](float(sys.argv[2]))
