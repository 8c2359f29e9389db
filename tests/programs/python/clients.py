"""Programs that use HTTP clients of PyPI: clients.py NAME SECONDS."""

import sys

import httpx
import requests

from common import URL, allow_many_files, each, start_http

kept = []


def requests_right(seconds):
    with requests.Session() as session:
        each(15, seconds, lambda _: session.get(URL).content)


def requests_plain(seconds):
    """No session: a connection for each request, which is closed."""
    each(15, seconds, lambda _: requests.get(URL).content)


def requests_session_each(seconds):
    def request(_):
        session = requests.Session()
        session.get(URL)
        kept.append(session)  # the bug

    each(15, seconds, request)


def requests_stream(seconds):
    session = requests.Session()

    def request(_):
        response = session.get(URL, stream=True)
        kept.append(response)  # the bug: neither read nor closed

    each(15, seconds, request)


def httpx_right(seconds):
    with httpx.Client() as client:
        each(15, seconds, lambda _: client.get(URL).content)


def httpx_client_each(seconds):
    def request(_):
        client = httpx.Client(verify=False)
        client.get(URL)
        kept.append(client)  # the bug

    each(15, seconds, request)


if __name__ == "__main__":
    allow_many_files()
    start_http()
    globals()[sys.argv[1].replace("-", "_")](float(sys.argv[2]))
