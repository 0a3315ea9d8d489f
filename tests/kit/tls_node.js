// Node's TLS:
//   node tls_node.js client HOST PORT CA VERSION     a connection: stdin goes there, what comes goes to stdout
//   node tls_node.js server CERT KEY VERSION         an HTTPS server on 127.0.0.1; prints its port, then ends with stdin
// The server answers POST with the request's body, GET with {"connections": n, "requests": n} and GET /bytes?n= with
// n bytes. VERSION: TLSv1.2 or TLSv1.3. Whatever goes wrong ends the program with status 1 and a line on stderr.
'use strict';
const fs = require('fs');
const https = require('https');
const tls = require('tls');

const [ role, ...given ] = process.argv.slice(2);

function fail(error) {
  console.error(String(error));
  process.exit(1);
}

function client(host, port, ca, version) {
  const socket = tls.connect({
    host,
    port,
    servername: 'edge.test',
    ca: fs.readFileSync(ca),
    minVersion: version,
    maxVersion: version,
  });
  let told = false; // our stdin ended first: the end of the connection is wanted
  socket.on('secureConnect', () => console.error(`ready ${socket.getProtocol()} ${socket.getCipher().standardName}`));
  socket.on('error', fail);
  socket.on('close', () => (told ? process.exit(0) : fail('closed by the server')));
  process.stdin.on('end', () => { told = true; });
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);
}

function server(cert, key, version) {
  const count = { connections: 0, requests: 0 };
  const options = {
    cert: fs.readFileSync(cert),
    key: fs.readFileSync(key),
    minVersion: version,
    maxVersion: version,
    keepAliveTimeout: 0,
  };
  const listening = https.createServer(options, (request, response) => {
    count.requests++;
    const pieces = [];
    request.on('data', piece => pieces.push(piece));
    request.on('end', () => {
      const url = new URL(request.url, 'https://edge.test');
      if (request.method === 'POST') response.end(Buffer.concat(pieces));
      else if (url.pathname === '/bytes') response.end(Buffer.alloc(Number(url.searchParams.get('n')), 'node '));
      else response.end(JSON.stringify(count));
    });
  });
  listening.on('secureConnection', () => { count.connections++; });
  listening.on('tlsClientError', error => console.error(String(error)));
  listening.listen(0, '127.0.0.1', () => console.log(listening.address().port));
  process.stdin.resume().on('end', () => process.exit(0));
}

({ client, server })[role](...given);
