#!/usr/bin/env python3
"""TLS on HTTP and syslog listeners with generated certificates, by Python's ssl and by openssl: versions, suites, whole
messages in any cut, certificates that change while the server runs, clients that do not speak TLS, clean stops."""
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from logs_lib import *  # noqa: F401,F403
import ingest_lib
from ingest_lib import check, check_true, finish, free_port, started

if not shutil.which("openssl"):
    print("skipped: no openssl on PATH")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def certificate(folder, name, kind="ec"):
    key = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    cert, keyfile = f"{folder}/{name}.pem", f"{folder}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", *key, "-nodes", "-keyout", keyfile, "-out", cert, "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, keyfile


def context(cert, **limits):
    c = ssl.create_default_context(cafile=cert)
    for k, v in limits.items():
        setattr(c, k, v)
    return c


def dial(port, ctx):
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    return ctx.wrap_socket(raw, server_hostname="localhost")


def refused(port, ctx):
    """Whether the handshake, or the first exchange behind it, is refused."""
    try:
        with dial(port, ctx) as c:
            c.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return c.recv(10) == b""
    except (ssl.SSLError, OSError):
        return True


def name_of(port, ctx):
    """The common name in the certificate a new connection is shown."""
    with dial(port, ctx) as c:
        return dict(x[0] for x in c.getpeercert()["subject"])["commonName"]


def cli(*args):
    return subprocess.run([ingest_lib.BIN, "serve", "-loggerLevel=ERROR", *args], capture_output=True, text=True, timeout=30)


def test_http(folder, data):
    cert, key = certificate(folder, "one")
    other, other_key = certificate(folder, "rsa", "rsa")
    plain, tls, modern = free_port(), free_port(), free_port()
    argv = [ingest_lib.BIN, "serve", f"-storageDataPath={data}", "-loggerLevel=ERROR",
            f"-httpListenAddr=127.0.0.1:{plain},127.0.0.1:{tls},127.0.0.1:{modern}", "-tls=false,true,true",
            f"-tlsCertFile={cert},{cert},{other}", f"-tlsKeyFile={key},{key},{other_key}", "-tlsMinVersion=TLS12,TLS12,TLS13"]
    with started(argv, plain, what="kofstore") as s:
        ctx = context(cert)
        c = http.client.HTTPSConnection("localhost", tls, context=ctx, timeout=30)
        line = json.dumps({"_time": NOW, "_msg": "over https", "app": "a"}) + "\n"
        big = "".join(json.dumps({"_time": NOW, "_msg": f"row {i} " + "x" * (i % 300), "app": "big"}) + "\n" for i in range(30000))
        for body in (line, big):
            c.request("POST", "/insert/jsonline?_stream_fields=app", body)
            r = c.getresponse()
            r.read()
            check("insert over one connection", r.status, 200)
        check("rows by http", len(rows(s, "app:=a", wait_for=1)), 1)
        c.request("GET", "/select/logsql/query?query=app:%3Dbig&limit=40000")
        got = c.getresponse().read().splitlines()
        check("a large answer over https", len(got), 30000)
        for low, port, ok in ((ssl.TLSVersion.TLSv1_2, tls, True), (ssl.TLSVersion.TLSv1_2, modern, False)):
            v = context(cert if port == tls else other, maximum_version=low)
            check(f"TLS 1.2 on {'tls' if ok else 'modern'}", refused(port, v), not ok)
        check("an unknown authority is the client's to refuse", refused(tls, context(other)), True)
        check("RSA, TLS 1.3", name_of(modern, context(other)), "rsa")
        with socket.create_connection(("127.0.0.1", tls), timeout=10) as raw:  # no TLS at all
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                check_true("plain HTTP is not answered", b"200" not in raw.recv(1000))
            except OSError:
                check_true("plain HTTP is not answered", True)
        threads = [threading.Thread(target=lambda: [name_of(tls, ctx) for _ in range(5)]) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        # A new certificate under the same names is used without a restart; half a pair is not.
        two, two_key = certificate(folder, "two")
        time.sleep(1.1)
        shutil.copy(two, cert)
        check("half a pair", name_of_any(tls), "one")
        shutil.copy(two_key, key)
        time.sleep(1.1)
        check("the new pair", name_of_any(tls), "two")
        check("alive", s.http("/health")[0], 200)


def name_of_any(port):
    """As name_of, whoever signed."""
    out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         timeout=30).stdout
    return next((line.split("CN = ")[1].strip() for line in out.splitlines() if line.startswith("subject=")), None)


def test_log_listener(folder, data):
    cert, key = certificate(folder, "logs")
    plain, audit = free_port(), free_port()
    argv = [ingest_lib.BIN, "serve", f"-storageDataPath={data}", "-loggerLevel=ERROR", f"-httpListenAddr=127.0.0.1:{plain}",
            "-logs.store=audit:1y", f"-logs.listenAddr=audit=127.0.0.1:{audit}", "-logs.tls", f"-tlsCertFile={cert}", f"-tlsKeyFile={key}"]
    with started(argv, plain, what="kofstore") as s:
        c = http.client.HTTPSConnection("localhost", audit, context=context(cert), timeout=30)
        c.request("POST", "/insert/jsonline", json.dumps({"_time": NOW, "_msg": "who did what"}) + "\n")
        check("audit insert", c.getresponse().status, 200)
        check("in its store", len(rows(s, prefix="/store/audit", wait_for=1)), 1)
        check("and in no other", rows(s), [])


def test_syslog(folder, data):
    cert, key = certificate(folder, "syslog")
    http_port, tls, plain, old = (free_port() for _ in range(4))
    argv = [ingest_lib.BIN, "serve", f"-storageDataPath={data}", "-loggerLevel=FATAL", f"-httpListenAddr=127.0.0.1:{http_port}",
            f"-syslog.listenAddr.tcp=127.0.0.1:{tls},127.0.0.1:{plain}", "-syslog.tls=true,false", f"-syslog.tlsCertFile={cert}",
            f"-syslog.tlsKeyFile={key}", "-syslog.useRemoteIP.tcp"]
    ctx = context(cert)
    with started(argv, http_port, what="kofstore") as s:
        lines = [b"<13>1 - h py - - - line %d %s" % (i, b"y" * (i * 37 % 2000)) for i in range(4000)]
        text = b"".join(x + b"\n" if i % 2 else b"%d %s" % (len(x), x) for i, x in enumerate(lines))
        with dial(tls, ctx) as c:
            at = 0
            for i in range(100000):
                n = (i * 7919) % 40000 + 1
                c.sendall(text[at:at + n])
                at += n
                if at >= len(text):
                    break
            c.unwrap()
        found = rows(s, "app_name:=py | limit 5000", wait_for=4000)
        check("each message whole", sorted(int(r["_msg"].split()[1]) for r in found), list(range(4000)))
        check("its text", all(r["_msg"].split(" ", 2)[2] == "y" * (int(r["_msg"].split()[1]) * 37 % 2000) for r in found if
                              int(r["_msg"].split()[1])), True)
        check("its address", {r.get("remote_ip") for r in found}, {"127.0.0.1"})
        tool = subprocess.run(["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{tls}", "-CAfile", cert],
                              input=b"<13>1 - h openssl - - - by openssl\n<13>1 - h openssl - - - the last line has no end",
                              capture_output=True, timeout=30)
        check("openssl", tool.returncode, 0)
        check("openssl's lines", sorted(r["_msg"] for r in rows(s, "app_name:=openssl", wait_for=2)),
              ["by openssl", "the last line has no end"])
        with socket.create_connection(("127.0.0.1", plain)) as c:
            c.sendall(b"<13>1 - h plain - - - plain\n")
        check("the other listener stays plain", len(rows(s, "app_name:=plain", wait_for=1)), 1)
        check("TLS 1.2 is below the least", refused(tls, context(cert, maximum_version=ssl.TLSVersion.TLSv1_2)), True)
        # Clients that stop half way, or say something else, harm nobody.
        half = [socket.create_connection(("127.0.0.1", tls)) for _ in range(20)]
        for i, c in enumerate(half):
            c.sendall([b"\x16\x03\x01\x02\x00\x01", b"<13>1 - h x - - - no tls\n", b"\x16\x03\x01" + b"\xff" * 400, b""][i % 4])
        many = [dial(tls, ctx) for _ in range(50)]
        for i, c in enumerate(many):
            c.sendall(b"<13>1 - h many - - - one of many\n")
        check("many at once", len(rows(s, "app_name:=many", wait_for=50)), 50)
        for c in half:
            c.close()
        for c in many:
            c.shutdown(socket.SHUT_RDWR)  # without a farewell of TLS
            c.close()
        check("nothing invented", rows(s, "app_name:=x"), [])
        with dial(tls, ctx) as c:  # a clean stop keeps what came
            c.sendall(b"<13>1 - h stop - - - before the stop\n<13>1 - h stop - - - still being wr")
            time.sleep(0.3)
            s.proc.terminate()
            s.proc.wait(20)
    with started(argv, http_port, what="kofstore") as s:
        check("after a clean stop", len(rows(s, "app_name:=stop")), 1)
    suite = [*argv, "-syslog.tlsMinVersion=TLS12", "-syslog.tlsCipherSuites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
    with started(suite, http_port, what="kofstore") as s:
        v12 = context(cert, maximum_version=ssl.TLSVersion.TLSv1_2)
        with dial(tls, v12) as c:
            check("the suite asked for", c.cipher()[0], "ECDHE-ECDSA-AES256-GCM-SHA384")
        v12.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        check("another suite", refused(tls, v12), True)


def test_refused_flags(folder, data):
    cert, key = certificate(folder, "flags")
    _, wrong = certificate(folder, "wrong")
    base = [f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{free_port()}"]
    for flags, say in ((["-tls"], "certificate file"), (["-tls", f"-tlsCertFile={cert}", f"-tlsKeyFile={folder}/none"], "none"),
                       (["-tls", f"-tlsCertFile={cert}", f"-tlsKeyFile={wrong}"], "key"),
                       (["-tls", f"-tlsCertFile={key}", f"-tlsKeyFile={key}"], "certificate"),
                       (["-tls", f"-tlsCertFile={cert}", f"-tlsKeyFile={key}", "-tlsMinVersion=SSL3"], "TLS12"),
                       (["-tls", f"-tlsCertFile={cert}", f"-tlsKeyFile={key}", "-tlsCipherSuites=TLS_RSA_WITH_RC4_128_SHA"], "RC4"),
                       (["-tls=maybe"], "true or false"),
                       ([f"-syslog.listenAddr.tcp=127.0.0.1:{free_port()}", "-syslog.tls"], "certificate file")):
        r = cli(*base, *flags)
        check_true(f"refused: {flags}", r.returncode != 0 and say in r.stdout + r.stderr, r.stdout + r.stderr)


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or sys.argv[1] in name):
        with tempfile.TemporaryDirectory() as certs, tempfile.TemporaryDirectory() as store:
            test(certs, store)
finish()
