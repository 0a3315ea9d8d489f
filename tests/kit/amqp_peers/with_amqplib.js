// amqplib: node with_amqplib.js HOST:PORT COUNT HEARTBEAT CA MODULE
// Fifty publishes under way at a time, on the connection that consumes; see __init__.py for the rest.
'use strict';
const fs = require('fs');
const [ address, count, heartbeat, ca, module_ ] = process.argv.slice(2);
const amqp = require(module_);

const confirmed = new Set();
const came = new Map();
const report = { published: 0, delivered: 0, lost: 0, doubled: 0, redelivered: 0, failures: [] };
let going = true;
process.stdin.resume().on('end', () => { going = false; });

function print() {
  report.published = confirmed.size;
  report.delivered = came.size;
  for (const number of confirmed) if (!came.has(number)) report.lost++;
  for (const times of came.values()) report.doubled += times - 1;
  console.log(JSON.stringify(report));
  process.exit(0);
}

async function main() {
  const host = ca ? address.replace('127.0.0.1', 'localhost') : address;
  const options = ca ? { ca: [ fs.readFileSync(ca) ], servername: 'localhost' } : {};
  const connection = await amqp.connect(`${ca ? 'amqps' : 'amqp'}://guest:guest@${host}/?heartbeat=${heartbeat}`, options);
  let closing = false;
  connection.on('error', error => { report.failures.push(String(error)); print(); });
  connection.on('close', error => { if (!closing) { report.failures.push(`closed: ${error}`); print(); } });
  const reading = await connection.createChannel();
  const { queue } = await reading.assertQueue('', { exclusive: false });
  await reading.prefetch(100);
  await reading.consume(queue, message => {
    const number = Number(message.content.toString('latin1').split(' ')[0]);
    came.set(number, (came.get(number) || 0) + 1);
    if (message.fields.redelivered) report.redelivered++;
    reading.ack(message);
  });
  const channel = await connection.createConfirmChannel();
  console.log('ready');
  let number = 0;
  async function publish() {
    while (going || number < Number(count)) {
      const own = ++number;
      const body = Buffer.concat([ Buffer.from(`${own} `), Buffer.alloc(own % 5000) ]);
      await new Promise((resolve, reject) => {
        channel.sendToQueue(queue, body, {}, error => (error ? reject(error) : resolve()));
      });
      confirmed.add(own);
    }
  }
  await Promise.all(Array.from({ length: 50 }, publish));
  for (let left = 1200; left && came.size < confirmed.size; left--) await new Promise(resolve => setTimeout(resolve, 50));
  closing = true;
  await connection.close();
  print();
}

main().catch(error => { report.failures.push(String(error)); print(); });
