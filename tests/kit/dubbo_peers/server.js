// sofa-rpc-node as a Dubbo server: node server.js PORT
// The service test.Echo answers every text after the milliseconds that are wished.
// At the end of its stdin it prints {"calls": n, "failures": []}.
'use strict';
const dubbo = require('dubbo-remoting');
const { RpcServer } = require('sofa-rpc-node').server;

const [ port ] = process.argv.slice(2);
const report = { calls: 0, failures: [] };
const quiet = { info() {}, warn() {}, error: console.error, debug() {} };

const server = new RpcServer({ logger: quiet, port: Number(port), protocol: dubbo });
server.addService({ interfaceName: 'test.Echo', version: '1.0.0' }, {
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
