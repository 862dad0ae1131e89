"""What stands in front of a Space on the Hub: https, and a name of its own."""

from __future__ import annotations

import asyncio
import datetime
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

NAME = "which-checkpoint.localhost"
"""Browsers find ``*.localhost`` on this machine, and keep its cookies from those of the Hub."""

_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


class HttpsFront:
    """Passes on to ``behind`` whatever comes in by https, as it comes.

    Attributes:
        host: Name and port.
        url: Of the same.
        stream_delay: Seconds by which each piece of an event stream comes later.
    """

    def __init__(self, behind: str, certificate: Path) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import Route

        self._behind = behind
        self.stream_delay = 0.0
        self._client = httpx2.AsyncClient(timeout=None, trust_env=False)
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
        app = Starlette(routes=[Route("/{path:path}", self._pass_on, methods=methods)])
        make_certificate(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"{NAME}:{self._socket.getsockname()[1]}"
        self.url = f"https://{self.host}/"
        config = uvicorn.Config(
            app, ssl_certfile=certificate, log_level="error", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def start(self) -> HttpsFront:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    async def _pass_on(self, request):
        from starlette.responses import Response, StreamingResponse

        headers = [pair for pair in request.headers.items() if pair[0] not in _OF_THE_CONNECTION]
        passed_on = self._client.build_request(
            request.method,
            f"{self._behind}{request.url.path}?{request.url.query}".rstrip("?"),
            headers=[*headers, ("x-forwarded-proto", "https")],
            content=request.stream(),
        )
        try:
            answer = await self._client.send(passed_on, stream=True)
        except httpx2.TransportError as error:
            return Response(f"No answer: {error!r}", 502)

        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")

        async def body() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.aiter_raw():
                    if is_stream:
                        await asyncio.sleep(self.stream_delay)
                    yield piece
            except (httpx2.TransportError, asyncio.CancelledError):
                return  # one of the two sides is gone
            finally:
                await answer.aclose()

        response = StreamingResponse(body(), answer.status_code)
        response.raw_headers = [
            pair
            for pair in answer.headers.raw
            if pair[0].decode().lower() not in _OF_THE_CONNECTION
        ]
        return response


def make_certificate(file: Path) -> None:
    """A certificate for :data:`NAME` that nobody vouches for, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
