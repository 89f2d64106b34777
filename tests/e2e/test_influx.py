#!/usr/bin/env python3
"""InfluxDB line protocol over HTTP: writes, reads back, and compares with VictoriaMetrics where it is at hand."""
import gzip
import json

from ingest_lib import *

LINES = b"""cpu,cpu=cpu-total,host=web-1,region=eu\\ west usage_idle=98.25,usage_user=1.5,procs=17i,up=t,text="none",num="12.5" 1700000000000000000
mem,host=web-1 used=8123456i,free=1e9 1700000001000000000
# a comment

weather,city=N\\,Y,k\\=ey=v temp=-3.5,wind\\ speed=2u 1700000002000
"""


def basics():
    with kofstore() as s:
        status, headers, _ = s.http("/influx/write", LINES, args={"db": "telegraf"})
        check("write", (status, headers.get("X-Influxdb-Version")), (204, "1.8.0"))
        got = s.export('{db="telegraf"}')
        check("series", sorted(got), sorted([
            *(f"__name__=cpu_{f},cpu=cpu-total,db=telegraf,host=web-1,region=eu west"
              for f in ("usage_idle", "usage_user", "procs", "up", "text", "num")),
            "__name__=mem_used,db=telegraf,host=web-1", "__name__=mem_free,db=telegraf,host=web-1",
            "__name__=weather_temp,city=N,Y,db=telegraf,k=ey=v", "__name__=weather_wind speed,city=N,Y,db=telegraf,k=ey=v"]))
        check("value", got["__name__=mem_used,db=telegraf,host=web-1"], [(1700000001000, 8123456)])
        check("string field", got["__name__=cpu_text,cpu=cpu-total,db=telegraf,host=web-1,region=eu west"], [(1700000000000, 0)])

        for path in ("/influx/api/v2/write", "/write", "/api/v2/write", "/insert/3:4/influx/write", "/insert/3/influx/api/v2/write"):
            body = gzip.compress(f"p,path={path} f=1 1700000000".encode())
            check(path, s.http(path, body, {"Content-Encoding": "gzip"}, {"precision": "s", "extra_label": "by=test"})[0], 204)
        check("paths", sorted(s.export("p_f")), [f"__name__=p_f,by=test,path={p}" for p in
                                                 sorted(("/influx/api/v2/write", "/write", "/api/v2/write"))])
        check("tenant 3:4", len(s.export("p_f", "/select/3:4/prometheus")), 1)
        check("tenant 3:0", len(s.export("p_f", "/select/3/prometheus")), 1)
        s.http("/insert/multitenant/influx/write", b"t,vm_account_id=7,vm_project_id=2,a=b f=5 1700000000000")
        check("multitenant", s.export("t_f", "/select/7:2/prometheus"), {"__name__=t_f,a=b": [(1700000000000, 5)]})

        status, _, body = s.http("/write", b"good f=1 1700000000000\nbad f=oops 1\ngood g=2 1700000000000\n")
        check("bad line", (status, b"line 2" in body and b"2 lines stored" in body), (400, True))
        check("good lines kept", len(s.export('{__name__=~"good.*"}')), 2)
        check("stream mode", s.http("/write", b"bad\nkept f=1 1700000000000", {"Stream-Mode": "1"})[0], 204)
        check("kept", len(s.export("kept_f")), 1)
        check("bad gzip", s.http("/write", b"xx", {"Content-Encoding": "gzip"})[0], 400)

        status, _, body = s.http("/influx/query", args={"q": "SHOW DATABASES"})
        check("query", (status, json.loads(body)["results"][0]["series"][0]["name"]), (200, "databases"))
        check("health", json.loads(s.http("/influx/health")[2])["status"], "pass")


def naming():
    with kofstore("-influxDBLabel=base", "-influxMeasurementFieldSeparator=:", "-influxSkipSingleField") as s:
        s.http("/write", b"m f=1 1700000000000\nm f=1,g=2 1700000000000", args={"db": "x"})
        check("flags", sorted(s.export('{base="x"}')), ["__name__=m,base=x", "__name__=m:f,base=x", "__name__=m:g,base=x"])
    with kofstore("-influxSkipMeasurement", "-usePromCompatibleNaming") as s:
        s.http("/write", b"m,a.b=c d.e=1 1700000000000")
        check("names", sorted(s.export('{a_b="c"}')), ["__name__=d_e,a_b=c"])


def against_peer():
    path = peer("victoria-metrics")
    if not path:
        return
    with kofstore() as s, victoria_metrics(path) as vm:
        for one in (s, vm):
            check("peer write", one.http("/influx/write", LINES, args={"db": "d"})[0], 204)
        vm.flush()
        check("same as VictoriaMetrics", s.export('{db="d"}'), vm.export('{db="d"}'))
        check("query text", s.http("/influx/query")[2], vm.http("/influx/query")[2])
        check("health text", s.http("/influx/health")[2], vm.http("/influx/health")[2])


basics()
naming()
against_peer()
finish()
