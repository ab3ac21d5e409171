"""Ask a licence service whether it can decide: readyz.py AUTHORITY NAME ADDRESS PORT."""

import http.client
import socket
import ssl
import sys

authority, name, address, port = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
with socket.create_connection((address, int(port)), 60) as plain:
    connection = http.client.HTTPConnection(name)
    connection.sock = context.wrap_socket(plain, server_hostname=name)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    print(answer.status, answer.read(4096).decode())
    sys.exit(answer.status != 200)
