// Calls methods of gRPC services at the address in argv; on each line of input a JSON list of {service, method, request, metadata?,
// timeout_ms?}. Prints a JSON list: {messages, code, details} for each. Bytes are base64 in both directions, 64-bit integers texts.
'use strict';
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const files = ['jaeger_v2.proto', 'jaeger_v3.proto', 'health.proto'].map((f) => path.join(__dirname, f));
const root = grpc.loadPackageDefinition(loader.loadSync(files, {keepCase: true, longs: String, bytes: String, defaults: true, oneofs: true}));

function find(name) {
  return name.split('.').reduce((at, part) => at[part], root);
}

function call(address, c) {
  return new Promise((done) => {
    const client = new (find(c.service))(address, grpc.credentials.createInsecure(), {'grpc.max_receive_message_length': -1});
    const meta = new grpc.Metadata();
    for (const [k, v] of Object.entries(c.metadata || {})) meta.add(k, v);
    const opts = {deadline: new Date(Date.now() + (c.timeout_ms || 20000))};
    const messages = [];
    const finish = (code, details) => { client.close(); done({messages, code, details}); };
    const method = client[c.method];
    if (!method.responseStream) {
      method.call(client, c.request, meta, opts, (err, answer) => {
        if (answer) messages.push(answer);
        finish(err ? err.code : 0, err ? err.details : '');
      });
      return;
    }
    const stream = method.call(client, c.request, meta, opts);
    let failed = null;
    stream.on('data', (m) => messages.push(m));
    stream.on('error', (e) => { failed = e; });
    stream.on('status', (s) => finish(s.code, s.details));
  });
}

// One line of calls, one line of answers, until the input ends.
async function main() {
  for await (const line of require('readline').createInterface({input: process.stdin})) {
    const out = [];
    for (const c of JSON.parse(line)) out.push(await call(process.argv[2], c));
    process.stdout.write(JSON.stringify(out) + '\n');
  }
}
main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
