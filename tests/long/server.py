# SPDX-License-Identifier: Apache-2.0
"""In the guest: send one client's bytes back to it, then their SHA-256."""
import hashlib
import socket

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("0.0.0.0", 8080))
server.listen(1)
print("listening", flush=True)
client, _ = server.accept()
seen = hashlib.sha256()
while True:
    data = client.recv(65536)
    if not data:
        break
    seen.update(data)
    client.sendall(data)
client.sendall(seen.digest())
client.close()
