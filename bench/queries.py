"""What the metrics benchmark asks: (name, path, arguments). T is the end of the data in seconds; `pod` and `instance` are names
that occur in it."""
import urllib.parse

INSTANT, RANGE = "/api/v1/query", "/api/v1/query_range"


def path_of(path, args):
    return path + "?" + urllib.parse.urlencode(args, doseq=True)


def standard(begin, end, pod, instance):
    """About thirty questions from one series to everything, over `begin`..`end`."""
    def at(q):
        return INSTANT, {"query": q, "time": end, "nocache": 1}

    def over(q, step):
        return RANGE, {"query": q, "start": begin + 300, "end": end, "step": step, "nocache": 1}

    def meta(path, **args):
        return path, {"start": begin, "end": end, **args}

    p = f'pod="{pod}"'
    return [
        ("one series", *at(f"process_resident_memory_bytes{{{p}}}")),
        ("one series, raw 5m", *at(f"process_resident_memory_bytes{{{p}}}[5m]")),
        ("all of one target", *at(f'{{instance="{instance}"}}')),
        ("rate of one series", *at(f"rate(process_cpu_seconds_total{{{p}}}[5m])")),
        ("absent", *at("absent(nothing_of_this_name)")),
        ("count of a metric", *at("count(kube_pod_info)")),
        ("gauge, sum by namespace", *at("sum by (namespace) (container_memory_working_set_bytes)")),
        ("rate, sum by namespace, pod", *at("sum by (namespace, pod) (rate(container_cpu_usage_seconds_total[5m]))")),
        ("topk of rates", *at("topk(10, sum by (pod) (rate(container_network_receive_bytes_total[5m])))")),
        ("quantile of buckets", *at(
            "histogram_quantile(0.99, sum by (le, handler) (rate(http_request_duration_seconds_bucket[5m])))")),
        ("error ratio", *at('sum by (cluster) (rate(http_requests_total{code=~"5.."}[5m])) / '
                            "sum by (cluster) (rate(http_requests_total[5m]))")),
        ("join group_left", *at("sum by (namespace, host_ip) (kube_pod_container_resource_requests * on (namespace, pod) "
                                "group_left (host_ip) kube_pod_info)")),
        ("count by regex of names", *at('count by (__name__) ({__name__=~"container_.*"})')),
        ("regex of a label", *at('count({pod=~".*-1.*-7.*"})')),
        ("max_over_time, topk", *at("topk(5, max_over_time(container_memory_working_set_bytes[20m]))")),
        ("avg_over_time of a gauge", *at("avg_over_time(node_load1[10m])")),
        ("rate over everything", *at('sum by (job) (rate({__name__=~".+"}[5m]))')),
        ("range: one series", *over(f"process_resident_memory_bytes{{{p}}}", 15)),
        ("range: node CPU", *over('sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))', 15)),
        ("range: container CPU by namespace", *over("sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))", 15)),
        ("range: quantile of buckets", *over(
            "histogram_quantile(0.9, sum by (le, verb) (rate(apiserver_request_duration_seconds_bucket[5m])))", 15)),
        ("range: buckets by le", *over("sum by (le) (rate(http_request_duration_seconds_bucket[5m]))", 15)),
        ("range: gauge, avg by node", *over("avg by (node) (container_memory_working_set_bytes)", 15)),
        ("range: increase, topk", *over("topk(5, increase(container_network_transmit_bytes_total[10m]))", 60)),
        ("range: rate over everything", *over('sum by (job) (rate({__name__=~".+"}[5m]))', 60)),
        ("range: 900 K points as JSON", *over('{__name__=~"container_(cpu|memory)_.*"}', 15)),
        ("label names", *meta("/api/v1/labels")),
        ("label values of pod", *meta("/api/v1/label/pod/values")),
        ("label values of name", *meta("/api/v1/label/__name__/values")),
        ("series of a metric", *meta("/api/v1/series", **{"match[]": "kube_pod_info"})),
        ("series of a pod", *meta("/api/v1/series", **{"match[]": f"{{{p}}}"})),
        ("export of a metric", *meta("/api/v1/export", **{"match[]": "go_goroutines"})),
    ]


def month(begin, end):
    """Long windows; begin..end is 29 days."""
    day = 86400

    def over(q, step):
        return RANGE, {"query": q, "start": begin + day, "end": end, "step": step, "nocache": 1}

    def at(q):
        return INSTANT, {"query": q, "time": end, "nocache": 1}

    return [
        ("29d max_over_time, one value", *at("max(max_over_time(node_memory_MemAvailable_bytes[28d]))")),
        ("29d avg_over_time of all gauges", *at("sum(avg_over_time(node_filesystem_avail_bytes[28d]))")),
        ("29d count_over_time of all", *at('sum(count_over_time({job="node-exporter"}[28d]))')),
        ("max_over_time[1d] by day", *over("max(max_over_time(node_load1[1d]))", day)),
        ("min_over_time[6h] by 6 h", *over("min by (mountpoint) (min_over_time(node_filesystem_avail_bytes[6h]))", day // 4)),
        ("increase[1d] by day", *over("sum by (mode) (increase(node_cpu_seconds_total[1d]))", day)),
        ("rate[1h] by hour", *over("sum by (mode) (rate(node_cpu_seconds_total[1h]))", 3600)),
        ("avg_over_time[1h] by hour", *over("avg(avg_over_time(node_hwmon_temp_celsius[1h]))", 3600)),
    ]


def million(end):
    """Selectors over a million series."""
    def at(q):
        return INSTANT, {"query": q, "time": end, "nocache": 1}

    return [
        ("1 M: regex of a label", *at('count({pod=~".*-1.*-.*7a.*"})')),
        ("1 M: regex, few match", *at('count({pod=~"payments-4.*-.*[bcd]z.*"})')),
        ("1 M: regex and a name", *at('count({pod=~"ledger-.*-.*b.*",__name__="go_threads"})')),
        ("1 M: sum of a metric", *at("sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))")),
        ("1 M: buckets by le", *at("sum by (le) (rate(http_request_duration_seconds_bucket[5m]))")),
    ]


def tiny(end, pods):
    """What alert rules ask all day: small aggregates."""
    out = []
    for pod in pods:
        for q in (f'sum(rate(http_requests_total{{pod="{pod}",code=~"5.."}}[5m])) > 0',
                  f'max by (namespace) (container_memory_working_set_bytes{{pod="{pod}"}})',
                  f'absent(process_start_time_seconds{{pod="{pod}"}})',
                  f'count by (phase) (kube_pod_status_phase{{pod="{pod}"}} == 1)'):
            out.append(path_of(INSTANT, {"query": q, "time": end, "nocache": 1}))
    return out


def dashboard(instance):
    """Panels of a dashboard: (name, query, step); asked for again and again, each time a step later."""
    return [
        ("container CPU by namespace", "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))", 15),
        ("node CPU", 'sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))', 15),
        ("quantile of buckets", "histogram_quantile(0.9, sum by (le, verb) (rate(apiserver_request_duration_seconds_bucket[5m])))", 15),
        ("gauges as they are", "node_load1", 15),
        ("one target", f'{{instance="{instance}"}}', 30),
    ]


def day_dashboard():
    """The same over a day a point a minute, as a dashboard left open asks."""
    return [
        ("CPU by mode", "sum by (mode) (rate(node_cpu_seconds_total[5m]))", 60),
        ("idle share", 'avg(rate(node_cpu_seconds_total{mode="idle"}[5m]))', 60),
        ("free space", "min by (mountpoint) (node_filesystem_avail_bytes)", 60),
        ("load, the most of an hour", "max(max_over_time(node_load1[1h]))", 60),
        ("gauges as they are", "node_load1", 60),
    ]
