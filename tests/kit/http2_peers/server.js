// node's http2 as a server: node server.js PORT [CERT KEY]
// POST echoes the body, as it comes, and ends with the trailer x-size; GET /N answers N bytes, / one KB.
// At the end of its stdin it prints {"calls": whole streams, "failures": [...]}.
'use strict';
const fs = require('fs');
const http2 = require('http2');

const [ port, cert, key ] = process.argv.slice(2);
const report = { calls: 0, failures: [] };

function serve(stream, headers) {
  stream.on('error', error => report.failures.push(`stream: ${error.message}`));
  stream.on('aborted', () => report.failures.push('stream: aborted'));
  if (headers[':method'] !== 'POST') {
    const size = Number(headers[':path'].slice(1).split('?')[0] || 1024);
    stream.respond({ ':status': 200, 'content-length': size });
    stream.end(Buffer.alloc(size, 120));
    report.calls++;
    return;
  }
  let size = 0;
  stream.respond({ ':status': 200, 'x-echo': headers['x-name'] || '' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-size': String(size) }));
  stream.on('data', piece => { size += piece.length; });
  stream.on('end', () => { report.calls++; });
  stream.pipe(stream);
}

const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
  : http2.createServer();
server.on('stream', serve);
server.on('sessionError', error => report.failures.push(`session: ${error.message}`));
server.listen(Number(port), '127.0.0.1', () => console.log('ready'));
process.stdin.resume().on('end', () => {
  console.log(JSON.stringify(report));
  process.exit(0);
});
