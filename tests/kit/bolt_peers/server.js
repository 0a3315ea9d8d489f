// sofa-rpc-node as a server: node server.js PORT [IDLE CERT KEY]
// The service test.Echo answers every text after the milliseconds that are wished.
// IDLE: milliseconds of silence after which it closes a connection. CERT, KEY: PEM files, TLS beside plaintext.
// At the end of its stdin it prints {"calls": n, "failures": [], "idle": connections that it closed for silence}.
'use strict';
const fs = require('fs');
const net = require('net');
const tls = require('tls');
const { RpcServer } = require('sofa-rpc-node').server;

const HANDSHAKE = 22; // the first byte of TLS, RFC 8446 section 5.1; bolt begins with its version
const [ port, idle = '90000', cert, key ] = process.argv.slice(2);
const report = { calls: 0, failures: [], idle: 0 };
const quiet = { info() {}, warn(text) { report.idle += String(text).includes('is idle for'); }, error: console.error, debug() {} };

class BothWays extends RpcServer {
  _startServer(port) {
    if (!cert) return super._startServer(port);
    const secure = tls.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
    secure.on('secureConnection', socket => this._handleSocket(socket));
    const server = net.createServer(socket => {
      socket.on('error', () => {});
      socket.once('data', data => {
        socket.pause();
        socket.unshift(data);
        if (data[0] === HANDSHAKE) secure.emit('connection', socket);
        else this._handleSocket(socket);
      });
    });
    return server.listen(port);
  }
}

const server = new BothWays({ logger: quiet, port: Number(port), maxIdleTime: Number(idle) });
server.addService({ interfaceName: 'test.Echo' }, {
  async echo(text, delay) {
    report.calls++;
    if (delay) await new Promise(resolve => setTimeout(resolve, delay));
    return text;
  },
});
server.start().then(() => console.log('ready'));
process.stdin.resume().on('end', () => {
  console.log(JSON.stringify(report));
  process.exit(0);
});
