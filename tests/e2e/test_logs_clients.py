#!/usr/bin/env python3
"""Real senders of logs: OpenTelemetry's JavaScript exporters (protobuf, JSON, gRPC), logger, rsyslog, systemd-journal-upload.
What is not on this machine is skipped with a message; the exporters come from npm into a scratch folder."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import ingest_lib
from logs_lib import *

PACKAGES = ["api-logs", "resources", "sdk-logs", "exporter-logs-otlp-proto", "exporter-logs-otlp-http", "exporter-logs-otlp-grpc"]
SCRIPT = """
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const [kind, url] = process.argv.slice(2);
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-' + kind);
const exporter = new OTLPLogExporter({ url });
exporter.exporter = exporter; // newer releases take options, older ones the exporter
const processor = new BatchLogRecordProcessor(exporter);
const processors = { processors: [processor], resource: resourceFromAttributes({ 'service.name': 'js-' + kind, 'k8s.pod.name': 'p-1' }) };
const provider = new LoggerProvider(processors);
const logger = provider.getLogger('test-lib', '3.1');
for (let i = 0; i < 500; i++)
  logger.emit({ severityNumber: 9, severityText: 'INFO', body: 'line ' + i,
    attributes: { i, half: i + 0.5, ok: true, list: ['a', 1], nested: { deep: { x: 'y' } }, empty: '' } });
logger.emit({ severityNumber: 17, body: { message: 'structured', code: 7 }, eventName: 'my.event' });
provider.shutdown().then(() => process.exit(0), e => { console.error(e); process.exit(1); });
"""


def skip(why):
    ingest_lib.skipped += 1
    print("skipped: " + why)


def npm_folder(folder):
    """Installs the exporters; None when npm cannot."""
    if not shutil.which("npm") or not shutil.which("node"):
        return skip("no npm and node on PATH: OpenTelemetry's exporters")
    with open(folder + "/package.json", "w") as f:
        f.write('{"private": true}')
    argv = ["npm", "install", "--no-audit", "--no-fund", "--silent", *["@opentelemetry/" + p for p in PACKAGES]]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        return skip("npm install took too long")
    if done.returncode:
        return skip("npm install failed: " + (done.stderr or done.stdout).strip()[-200:])
    with open(folder + "/send.js", "w") as f:
        f.write(SCRIPT)
    return folder


def test_javascript():
    with tempfile.TemporaryDirectory() as scratch:
        folder = npm_folder(scratch)
        if not folder:
            return
        grpc_port = free_port()
        with logs_server(*grpc_flags(grpc_port)) as s:
            kinds = [("proto", s.base + "/insert/opentelemetry/v1/logs"), ("http", s.base + "/v1/logs")]
            if grpc_flags(grpc_port):
                kinds.append(("grpc", f"http://127.0.0.1:{grpc_port}"))
            else:
                skip("this build has no OTLP/gRPC listener")
            for kind, url in kinds:
                sent = subprocess.run(["node", "send.js", kind, url], cwd=folder, capture_output=True, text=True, timeout=120)
                check(f"exporter {kind}", (sent.returncode, sent.stderr), (0, ""))
                check_exported(kind, rows(s, f'"service.name":="js-{kind}"', wait_for=501))


def check_exported(kind, found):
    check(f"{kind}: rows", len(found), 501)
    lines = {r["_msg"]: r for r in found if r.get("_msg", "").startswith("line ")}
    check(f"{kind}: lines", sorted(lines), sorted(f"line {i}" for i in range(500)))
    got = {k: v for k, v in lines.get("line 7", {}).items() if k not in ("_time", "_stream_id")}
    check(f"{kind}: a row", got, {
        "_stream": '{k8s.pod.name="p-1",service.name="js-%s"}' % kind, "_msg": "line 7", "service.name": "js-" + kind,
        "k8s.pod.name": "p-1", "scope.name": "test-lib", "scope.version": "3.1", "severity_number": "9", "severity_text": "INFO",
        "severity": "INFO", "i": "7", "half": "7.5", "ok": "true", "list": '["a",1]', "nested.deep.x": "y"})
    event = [r for r in found if r.get("event_name")]
    check(f"{kind}: event", [(r["event_name"], r["message"], r["code"], r["severity"]) for r in event],
          [("my.event", "structured", "7", "Error")])


def grpc_flags(port):
    """The flag of the OTLP/gRPC listener, if this build has one."""
    flags = subprocess.run([ingest_lib.BIN, "help", "flags"], capture_output=True, text=True).stdout
    return [f"-otlp.grpcListenAddr=127.0.0.1:{port}"] if "`-otlp.grpcListenAddr`" in flags else []


def syslog_server(folder):
    port = free_port()
    return port, logs_server(f"-syslog.listenAddr.tcp=127.0.0.1:{port}", f"-syslog.listenAddr.udp=127.0.0.1:{port}",
                             f"-syslog.listenAddr.unix={folder}/stream", f"-syslog.listenAddr.unix=dgram:{folder}/dgram",
                             "-syslog.useRemoteIP.udp=true", '-syslog.extraFields.tcp={"via":"tcp"}')


def test_logger():
    if not shutil.which("logger"):
        return skip("no logger on PATH")
    with tempfile.TemporaryDirectory() as folder:
        port, server = syslog_server(folder)
        with server as s:
            net = ["-n", "127.0.0.1", "-P", str(port)]
            for options in ([*net, "-T"], [*net, "-T", "--octet-count"], [*net, "-T", "--rfc3164"], [*net, "-d"],
                            [*net, "-d", "--rfc3164"], ["-u", folder + "/stream"], ["-u", folder + "/dgram"]):
                text = "m " + "_".join(o.strip("-") for o in options[4:] or options[-1:]).replace(folder, "").replace("/", "")
                subprocess.run(["logger", *options, "-t", "tagged", "-p", "local3.warning", text], check=True)
            found = rows(s, wait_for=7)
            check("messages", [r.get("_msg") for r in found if r["app_name"] == "tagged"] and sorted(r["_msg"] for r in found),
                  sorted(["m T", "m T_octet-count", "m T_rfc3164", "m d", "m d_rfc3164", "m stream", "m dgram"]))
            for r in found:
                check(f"{r['_msg']}: priority", (r["level"], r["facility_keyword"], r["priority"]), ("warning", "local3", "156"))
                check(f"{r['_msg']}: remote", r.get("remote_ip"), "127.0.0.1" if r["_msg"].startswith("m d") and "dgram" not in r["_msg"] else None)
                check(f"{r['_msg']}: via", r.get("via"), "tcp" if r["_msg"].startswith("m T") else None)
                check_true(f"{r['_msg']}: time", abs(time.time() - time.mktime(time.strptime(r["_time"][:19], "%Y-%m-%dT%H:%M:%S")) +
                                                     time.timezone) < 120, r["_time"])
            lines = "".join(f"burst {i}\n" for i in range(3000))
            subprocess.run(["logger", *net, "-T", "-t", "burst"], input=lines, text=True, check=True)
            check("burst", sorted(int(r["_msg"].split()[1]) for r in rows(s, "app_name:=burst", wait_for=3000)), list(range(3000)))


def test_clean_stop():
    """What TCP took is stored by a clean stop, also the line without an end."""
    with tempfile.TemporaryDirectory() as data:
        port, http = free_port(), free_port()
        argv = [ingest_lib.BIN, "serve", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{http}", "-loggerLevel=ERROR",
                f"-syslog.listenAddr.tcp=127.0.0.1:{port}"]
        with started(argv, http, what="kofstore") as s:
            with socket.create_connection(("127.0.0.1", port)) as c:
                c.sendall(b"".join(b"<13>1 - h a - - - row %d\n" % i for i in range(1000)) + b"<13>1 - h a - - - the end")
            time.sleep(0.05)
            s.proc.terminate()
            s.proc.wait(20)
        with started(argv, http, what="kofstore") as s:
            check("after a clean stop", len(rows(s, "app_name:=a")), 1001)


RSYSLOG = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/in")
template(name="new" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% %PROCID% %MSGID% %STRUCTURED-DATA% %msg%\\n")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" template="RSYSLOG_TraditionalForwardFormat")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="udp" template="RSYSLOG_ForwardFormat")
"""


def test_rsyslog():
    daemon = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
    if not daemon or not shutil.which("logger"):
        return skip("no rsyslogd (or logger) on PATH")
    with tempfile.TemporaryDirectory() as folder:
        port, server = syslog_server(folder)
        with server as s:
            with open(folder + "/rsyslog.conf", "w") as f:
                f.write(RSYSLOG.format(folder=folder, port=port))
            relay = subprocess.Popen([daemon, "-n", "-f", folder + "/rsyslog.conf", "-i", folder + "/pid"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                for _ in range(100):
                    if os.path.exists(folder + "/in") or relay.poll() is not None:
                        break
                    time.sleep(0.05)
                if relay.poll() is not None:
                    return skip("rsyslogd does not start here")
                for i in range(20):
                    subprocess.run(["logger", "-u", folder + "/in", "-t", "relayed", "-p", "daemon.err", f"number {i}"], check=True)
                found = rows(s, "app_name:=relayed", wait_for=60)
            finally:
                relay.terminate()
                relay.wait(10)
            check("each by three ways", sorted(r["_msg"].strip() for r in found), sorted([f"number {i}" for i in range(20)] * 3))
            check("formats", sorted({r["format"] for r in found}), ["rfc3164", "rfc5424"])
            check("levels", {(r["level"], r["facility_keyword"]) for r in found}, {("error", "daemon")})


def test_journal_upload():
    tool = shutil.which("systemd-journal-upload", path=os.environ["PATH"] + ":/lib/systemd:/usr/lib/systemd")
    if not tool or not shutil.which("journalctl") or not any(os.path.isdir(p) and os.listdir(p) for p in
                                                            ("/var/log/journal", "/run/log/journal") if os.path.isdir(p)):
        return skip("no systemd-journal-upload with a journal on this machine; its format is tested in test_logs_ingest.py")
    with logs_server() as s:
        subprocess.run([tool, "-u", s.base + "/insert/journald", "--save-state=/dev/null"], check=True, timeout=60)
        check_true("uploaded", len(rows(s)) > 0)


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or sys.argv[1] in name):
        test()
finish()
