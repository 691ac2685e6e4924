"""Stands where *.googleapis.com is, for clients that have those addresses built in.

A proxy for HTTPS_PROXY that answers CONNECT itself, with certificates of an authority of its own, and hands the requests
to the emulator. Clients stay as they are: proxy and authority are given to them by their documented environment.
"""

import datetime
import http.client
import http.server
import pathlib
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = [f"{name}.googleapis.com" for name in ("oauth2", "iamcredentials", "sts", "www")]


class GoogleApis:
    """The proxy, on a free port, until it is closed."""

    def __init__(self, emulator_host, directory):
        authority, chain = _certificates(pathlib.Path(directory))
        self._authority = authority
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain)
        handler = type("Handler", (_Handler,), {"tls": tls, "emulator_host": emulator_host, "requests": []})
        # Host and path of every request, in order.
        self.requests = handler.requests
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self):
        """For clients in Python (requests) and Node.js."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._server.server_port}",
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self._authority),
            "NODE_EXTRA_CA_CERTS": str(self._authority),
        }

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    host = None

    def do_CONNECT(self):
        host, _, port = self.path.rpartition(":")
        if host not in HOSTS or port != "443":
            return self.send_error(403, f"{self.path} is not one of Google's")
        self.send_response(200)
        self.end_headers()
        self.host = host
        # From here on this handler reads what is within TLS.
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def _forward(self):
        if self.host is None:
            return self.send_error(403, "only CONNECT")
        self.requests.append(f"{self.host}{self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        emulator = http.client.HTTPConnection(self.emulator_host, timeout=self.timeout)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        emulator.request(self.command, self.path, body, headers)
        answer = emulator.getresponse()
        content = answer.read()
        emulator.close()
        self.send_response(answer.status)
        for name in ("Content-Type", "Cache-Control"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward

    def log_message(self, *_):
        pass


def _certificates(directory):
    """An authority's certificate, and a file with a server's key and certificate of that authority."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "countersign interop authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTS[0])])
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _draft(issuer, issuer, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(authority_id, critical=False)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    server = (
        _draft(issuer, subject, server_key)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(digital_signature=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    authority_file, server_file = directory / "authority.pem", directory / "googleapis.pem"
    authority_file.write_bytes(authority.public_bytes(pem))
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server_file.write_bytes(key + server.public_bytes(pem))
    return authority_file, server_file


def _draft(issuer, subject, key):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )


def _usage(**on):
    off = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )
    return x509.KeyUsage(**{**dict.fromkeys(off, False), **on})
