// Sends one trace by each of the OpenTelemetry JS exporters; argv: base port numbers as JSON. Prints trace ids as JSON.
'use strict';
const ports = JSON.parse(process.argv[2]);
const {BasicTracerProvider, SimpleSpanProcessor} = require('@opentelemetry/sdk-trace-base');
const {resourceFromAttributes} = require('@opentelemetry/resources');
const api = require('@opentelemetry/api');
const host = 'http://127.0.0.1:';

function exporters() {
  const out = {};
  const http = require('@opentelemetry/exporter-trace-otlp-http').OTLPTraceExporter;
  const proto = require('@opentelemetry/exporter-trace-otlp-proto').OTLPTraceExporter;
  const grpc = require('@opentelemetry/exporter-trace-otlp-grpc').OTLPTraceExporter;
  out.json = new http({url: `${host}${ports.otlp}/v1/traces`});
  out.json_gzip = new http({url: `${host}${ports.otlp}/v1/traces`, compression: 'gzip'});
  out.proto = new proto({url: `${host}${ports.otlp}/v1/traces`});
  out.proto_gzip = new proto({url: `${host}${ports.otlp}/v1/traces`, compression: 'gzip'});
  out.grpc = new grpc({url: `${host}${ports.grpc}`});
  out.grpc_gzip = new grpc({url: `${host}${ports.grpc}`, compression: 'gzip'});
  out.zipkin = new (require('@opentelemetry/exporter-zipkin').ZipkinExporter)(
      {url: `${host}${ports.zipkin}/api/v2/spans`});
  try {
    out.jaeger = new (require('@opentelemetry/exporter-jaeger').JaegerExporter)(
        {endpoint: `${host}${ports.thrift}/api/traces`});
  } catch (e) { /* deprecated: not in every registry */ }
  return out;
}

async function main() {
  const ids = {};
  const failed = {};
  for (const [name, exporter] of Object.entries(exporters())) {
    const wrapped = {
      export(spans, done) {
        exporter.export(spans, (r) => { if (r.code !== 0) failed[name] = String(r.error); done(r); });
      },
      shutdown: () => exporter.shutdown(),
      forceFlush: () => exporter.forceFlush ? exporter.forceFlush() : Promise.resolve(),
    };
    const provider = new BasicTracerProvider({
      resource: resourceFromAttributes({'service.name': `js-${name}`, 'k8s.pod.name': 'pod-1'}),
      spanProcessors: [new SimpleSpanProcessor(wrapped)],
    });
    const tracer = provider.getTracer('e2e', '1.2.3');
    const root = tracer.startSpan('GET /cart', {kind: api.SpanKind.SERVER});
    root.setAttributes({'http.status_code': 503, 'http.method': 'GET', 'ok': true, 'ratio': 0.25, 'list': ['a', 'b']});
    const ctx = api.trace.setSpan(api.ROOT_CONTEXT, root);
    const child = tracer.startSpan('SELECT', {kind: api.SpanKind.CLIENT}, ctx);
    child.addEvent('cache miss', {key: 'k1'});
    child.setStatus({code: api.SpanStatusCode.ERROR, message: 'no rows'});
    child.end();
    root.end();
    ids[name] = root.spanContext().traceId;
    await provider.forceFlush();
    await provider.shutdown();
  }
  console.log(JSON.stringify({ids, failed}));
}
main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
