// sofa-rpc-node as a server: node server.js PORT
// The service test.Echo answers every text after the milliseconds that are wished.
'use strict';
const { RpcServer } = require('sofa-rpc-node').server;

const quiet = { info() {}, warn() {}, error: console.error, debug() {} };
const server = new RpcServer({ logger: quiet, port: Number(process.argv[2]) });
server.addService({ interfaceName: 'test.Echo' }, {
  async echo(text, delay) {
    if (delay) await new Promise(resolve => setTimeout(resolve, delay));
    return text;
  },
});
server.start().then(() => console.log('ready'));
process.stdin.resume().on('end', () => process.exit(0));
