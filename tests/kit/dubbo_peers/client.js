// sofa-rpc-node as a Dubbo client: node client.js HOST:PORT CLIENTS DEPTH [LONGEST]
// LONGEST: milliseconds that the server may take for a call.
// Calls until its stdin ends, then prints {"calls": n, "failures": [...]}; "ready" once every client was answered.
'use strict';
const dubbo = require('dubbo-remoting');
const { RpcClient } = require('sofa-rpc-node').client;

const [ address, clients, depth, longest = '400' ] = process.argv.slice(2);
const quiet = { info() {}, warn() {}, error() {}, debug() {} };
const report = { calls: 0, failures: [] };
let going = true;
process.stdin.resume().on('end', () => { going = false; });

const java = (text, delay) => [ { $class: 'java.lang.String', $: text }, { $class: 'int', $: delay } ];

async function repeat(consumer, name) {
  for (let number = 0; going; number++) {
    const text = `${name} ${number}`;
    try {
      const answer = await consumer.invoke('echo', java(text, Math.floor(Math.random() * Number(longest))), { responseTimeout: 20000 });
      if (answer !== text) report.failures.push(`${answer} came for ${text}`);
    } catch (error) {
      report.failures.push(String(error));
      return;
    }
    report.calls++;
  }
}

async function main() {
  const consumers = [];
  for (let number = 0; number < Number(clients); number++) {
    const client = new RpcClient({ logger: quiet, protocol: dubbo });
    const consumer = client.createConsumer({ interfaceName: 'test.Echo', version: '1.0.0', serverHost: `dubbo://${address}` });
    await consumer.ready();
    await consumer.invoke('echo', java('first', 0), { responseTimeout: 20000 });
    consumers.push(consumer);
  }
  console.log('ready');
  const loops = consumers.flatMap((consumer, client) =>
    Array.from({ length: Number(depth) }, (_, loop) => repeat(consumer, `${client}-${loop}`)));
  await Promise.all(loops);
  console.log(JSON.stringify(report));
  process.exit(0);
}

main().catch(error => {
  console.log(JSON.stringify({ calls: 0, failures: [ String(error) ] }));
  process.exit(1);
});
