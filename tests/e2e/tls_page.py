#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A metrics page over TLS: tls_page.py OPTIONS

OPTIONS is a JSON object: address [host, port], cert, key, token (a file: what a client must send), log,
and where wanted client_ca (clients must have a certificate of it) and redirect (a URL to go to
instead). Each request is a line of the log: path, Host and Authorization."""
import http.server
import json
import ssl
import sys
from pathlib import Path

from server import PAGE, SIGNALS

options = json.loads(sys.argv[1])


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        said = self.headers.get("Authorization")
        with open(options["log"], "a") as log:
            print(self.path, self.headers.get("Host"), said, file=log, flush=True)
        good = said == "Bearer " + Path(options["token"]).read_text().strip()
        body = PAGE.format(**SIGNALS).encode() if good else b""
        self.send_response(302 if options.get("redirect") else 200 if good else 401)
        self.send_header("Content-Length", str(len(body)))
        if options.get("redirect"):
            self.send_header("Location", options["redirect"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options["cert"], options["key"])
if options.get("client_ca"):
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(options["client_ca"])
server = http.server.ThreadingHTTPServer(tuple(options["address"]), Page)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.daemon_threads = True
server.serve_forever()
