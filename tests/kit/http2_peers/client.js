// node's http2 as a client: node client.js URL SESSIONS STREAMS [AUTHORITY]
// Posts bodies of many sizes and compares what comes back, until its stdin ends; then prints
// {"calls": n, "failures": [...]}. "ready" once every session was answered. AUTHORITY: a PEM file.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');

const SIZES = [ 0, 1, 100, 1024, 5000, 16384, 70000, 300000 ];
const [ url, sessions, streams, authority ] = process.argv.slice(2);
const report = { calls: 0, failures: [] };
let going = true;
process.stdin.resume().on('end', () => { going = false; });

function post(session, name, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': `/${name}`, 'x-name': name });
    const pieces = [];
    let answer, trailers;
    stream.on('response', headers => { answer = headers; });
    stream.on('trailers', headers => { trailers = headers; });
    stream.on('data', piece => pieces.push(piece));
    stream.on('error', reject);
    stream.on('close', () => {
      if (stream.rstCode) return reject(new Error(`reset with ${stream.rstCode}`));
      if (!answer || answer[':status'] !== 200) return reject(new Error(`status ${answer && answer[':status']}`));
      if (answer['x-echo'] !== name) return reject(new Error(`${answer['x-echo']} came for ${name}`));
      if (!Buffer.concat(pieces).equals(body)) return reject(new Error('other bytes came back'));
      if (!trailers || trailers['x-size'] !== String(body.length)) return reject(new Error('the trailer is missing'));
      resolve();
    });
    for (let at = 0; at < body.length; at += 30000) stream.write(body.subarray(at, at + 30000));
    stream.end();
  });
}

async function repeat(session, name) {
  for (let number = 0; going; number++) {
    try {
      await post(session, `${name}-${number}`, crypto.randomBytes(SIZES[Math.floor(Math.random() * SIZES.length)]));
    } catch (error) {
      report.failures.push(String(error));
      return;
    }
    report.calls++;
  }
}

async function main() {
  const options = authority ? { ca: fs.readFileSync(authority) } : {};
  const all = [];
  for (let number = 0; number < Number(sessions); number++) {
    const session = http2.connect(url, options);
    session.on('error', error => report.failures.push(`session: ${error.message}`));
    session.on('goaway', code => report.failures.push(`GOAWAY with ${code}`));
    await post(session, 'first', Buffer.from('hello'));
    all.push(session);
  }
  console.log('ready');
  await Promise.all(all.flatMap((session, one) =>
    Array.from({ length: Number(streams) }, (_, loop) => repeat(session, `${one}-${loop}`))));
  console.log(JSON.stringify(report));
  process.exit(0);
}

main().catch(error => {
  console.log(JSON.stringify({ calls: 0, failures: [ String(error) ] }));
  process.exit(1);
});
