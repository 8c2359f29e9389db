"""What the programs share: a pace, and a server of their own in a thread."""

import resource
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVER = ("127.0.0.1", 8080)
URL = "http://127.0.0.1:8080/"


def allow_many_files():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def each(per_second, seconds, work):
    """Works so often a second; what was kept stays until time is up."""
    began = time.monotonic()
    for i in range(int(per_second * seconds)):
        time.sleep(max(0, began + i / per_second - time.monotonic()))
        work(i)
    time.sleep(max(0, began + seconds - time.monotonic()))


def start_server(close=False):
    """Reads a line of each connection and answers it; then waits for the client to close, or not."""
    listener = socket.create_server(SERVER, backlog=128)

    def serve(connection):
        with connection:
            while connection.recv(100):
                connection.sendall(b"ok\n")
                if close:
                    return

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def ask(connection):
    connection.sendall(b"hello\n")
    assert connection.recv(100) == b"ok\n"


def connect():
    connection = socket.create_connection(SERVER)
    ask(connection)
    return connection


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * 20_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def start_http():
    server = Server(SERVER, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
